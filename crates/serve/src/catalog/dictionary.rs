//! Values that stand once and are counted: a column holds their codes.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// Different values with codes. A value lives as long as somebody holds it, then its code is given to another.
///
/// Codes stay small, so that a table by code is small too; memory follows what is held now, however often items change.
#[derive(Debug)]
pub(crate) struct Dictionary<K: ?Sized> {
    values: Vec<Option<Box<K>>>,
    /// How many hold each value.
    n_holders: Vec<u32>,
    free: Vec<u32>,
    codes: HashTable<u32>,
    hasher: RandomState,
    /// Of the values themselves.
    n_value_bytes: usize,
}

// Derived, it would ask for a `K` that can be cloned.
impl<K: ?Sized> Clone for Dictionary<K>
where
    Box<K>: Clone,
{
    fn clone(&self) -> Self {
        Self {
            values: self.values.clone(),
            n_holders: self.n_holders.clone(),
            free: self.free.clone(),
            codes: self.codes.clone(),
            hasher: self.hasher.clone(),
            n_value_bytes: self.n_value_bytes,
        }
    }
}

impl<K: ?Sized> Default for Dictionary<K> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            n_holders: Vec::new(),
            free: Vec::new(),
            codes: HashTable::new(),
            hasher: RandomState::new(),
            n_value_bytes: 0,
        }
    }
}

impl<K> Dictionary<K>
where
    K: ?Sized + Hash + Eq,
    for<'a> Box<K>: From<&'a K>,
{
    /// The code of `value`, if somebody holds it.
    pub(crate) fn code(&self, value: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(value);
        self.codes.find(hash, |code| self.get(*code) == value).copied()
    }

    /// The value of a code that is held.
    pub(crate) fn get(&self, code: u32) -> &K {
        self.values[code as usize].as_deref().expect("a code that is held has a value")
    }

    /// Holds `value` once more; whether it is new here.
    pub(super) fn hold(&mut self, value: &K) -> (u32, bool) {
        if let Some(code) = self.code(value) {
            self.n_holders[code as usize] += 1;
            return (code, false);
        }
        self.n_value_bytes += size_of_val(value);
        let code = match self.free.pop() {
            Some(code) => {
                self.values[code as usize] = Some(value.into());
                self.n_holders[code as usize] = 1;
                code
            }
            None => {
                self.values.push(Some(value.into()));
                self.n_holders.push(1);
                (self.values.len() - 1) as u32
            }
        };
        let (values, hasher) = (&self.values, &self.hasher);
        self.codes.insert_unique(hasher.hash_one(value), code, |code| {
            hasher.hash_one(values[*code as usize].as_deref().expect("held"))
        });
        (code, true)
    }

    /// Holds a code once less; its value, if nobody holds it any more.
    pub(super) fn release(&mut self, code: u32) -> Option<Box<K>> {
        let n_holders = &mut self.n_holders[code as usize];
        *n_holders -= 1;
        if *n_holders > 0 {
            return None;
        }
        let hash = self.hasher.hash_one(self.get(code));
        let entry = self.codes.find_entry(hash, |other| *other == code);
        entry.expect("a value that is held can be found").remove();
        self.free.push(code);
        let value = self.values[code as usize].take()?;
        self.n_value_bytes -= size_of_val(&*value);
        Some(value)
    }

    /// Memory in use, estimated: with what an allocator adds to each value.
    pub(super) fn n_bytes(&self) -> usize {
        const PER_VALUE: usize = 16;
        self.values.capacity() * size_of::<Box<K>>()
            + (self.n_holders.capacity() + self.free.capacity()) * 4
            + self.codes.capacity() * 5
            + self.n_value_bytes
            + self.codes.len() * PER_VALUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lives_while_it_is_held_and_its_code_is_used_again() {
        let mut words = Dictionary::<str>::default();
        assert_eq!(words.hold("red"), (0, true));
        assert_eq!(words.hold("blue"), (1, true));
        assert_eq!(words.hold("red"), (0, false));
        assert_eq!(words.release(0), None);
        assert_eq!(words.code("red"), Some(0));
        assert_eq!(words.release(0).as_deref(), Some("red"));
        assert_eq!(words.code("red"), None);
        assert_eq!(words.hold("green"), (0, true));
        assert_eq!((words.get(0), words.get(1), words.values.len()), ("green", "blue", 2));
    }

    #[test]
    fn memory_follows_what_is_held() {
        let mut words = Dictionary::<str>::default();
        let mut change = |n: u32| {
            let (code, _) = words.hold(&format!("price {n}"));
            words.release(code);
            words.n_bytes()
        };
        let first = change(0);
        assert_eq!((1..10_000).map(&mut change).max(), Some(first));
    }
}
