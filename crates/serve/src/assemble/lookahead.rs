//! A look at the next entry, with the way back to what makes them.

/// Like [`std::iter::Peekable`], which does not give back what it reads.
pub(super) struct Lookahead<I: Iterator> {
    pub(super) inner: I,
    /// The next one, if it was looked at: `Some(None)` is the end.
    next: Option<Option<I::Item>>,
}

impl<I: Iterator> Lookahead<I> {
    pub(super) fn new(inner: I) -> Self {
        Self { inner, next: None }
    }

    pub(super) fn peek(&mut self) -> Option<&I::Item> {
        self.next.get_or_insert_with(|| self.inner.next()).as_ref()
    }

    pub(super) fn next(&mut self) -> Option<I::Item> {
        match self.next.take() {
            Some(next) => next,
            None => self.inner.next(),
        }
    }

    pub(super) fn next_if(&mut self, is_it: impl FnOnce(&I::Item) -> bool) -> Option<I::Item> {
        if self.peek().is_some_and(is_it) { self.next() } else { None }
    }
}
