//! How long work tells its caller how far it is; the binary draws it, tests and servers do not.

/// Receives the progress of one long operation. Calls may come from several threads.
pub trait Progress: Sync {
    /// A stage begins: what it does, in a word or two, and how many steps it has, if known.
    fn begin(&self, stage: &str, n_steps: Option<u64>);

    /// `n` more steps of the current stage are done.
    fn advance(&self, n: u64);

    /// Something worth a line, such as the loss after an epoch.
    fn note(&self, message: &str);

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
