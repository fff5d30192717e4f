//! The program, run in a folder, and what became of it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it in `folder`, without a configuration of the machine.
pub(crate) fn forecart(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
    command.current_dir(folder).env_remove("FORECART_CONFIG").args(arguments).output().unwrap()
}

/// What it printed, after an exit with 0.
pub(crate) fn good(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said on standard error, after an exit with `code`.
pub(crate) fn refused(output: &Output, code: i32) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{message}");
    message
}
