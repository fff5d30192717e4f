//! How long work tells its caller how far it is; the binary draws it, tests and servers do not.

/// Receives the progress of one long operation. Calls may come from several threads.
pub trait Progress: Sync {
    /// A stage begins: what it does, in a word or two, and how many steps it has, if known.
    fn begin(&self, stage: &str, n_steps: Option<u64>);

    /// `n` more steps of the current stage are done.
    fn advance(&self, n: u64);

    /// `n` steps of the current stage were done by an earlier run, and took this one no time.
    fn skip(&self, n: u64) {
        self.advance(n);
    }

    /// Something worth a line for who wants to know more, such as the loss after an epoch.
    fn note(&self, message: &str);

    /// An epoch of training is over, with what it reached on the validation part, where that is looked at. Whoever knows
    /// that this will come to nothing answers `true` from [`Self::is_cancelled`] from now on.
    fn epoch_ended(&self, _epoch: usize, _validation: Option<f64>) {}

    /// Something that everybody should see before a long stage, such as the memory that it needs.
    fn announce(&self, message: &str) {
        self.note(message);
    }

    /// Whether the user asked to stop; long loops look between steps and end with an error.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Progress that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}
