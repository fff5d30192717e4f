//! The process of a job: begun, listened to, and ended when it takes too long or the server ends.
//!
//! The server holds the other end of the process's standard input and writes nothing to it. However the server ends, killed too, the system
//! closes that end, and the process and whatever has inherited it read that it is over. No signal says this as surely: one on the death of a
//! parent is tied to the thread that began the process, and threads of a runtime come and go.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::{Jobs, RetrainPlan};

/// The exit code of a model that does not pass the gate.
const GATE_NOT_MET: i32 = 4;
/// What a program that is refused memory or a thread says, in the words of the standard library, of the system and of SQLite.
const REFUSED: [&str; 6] = [
    "memory allocation of ",
    "(os error 11)",
    "(os error 12)",
    "Os { code: 11,",
    "Os { code: 12,",
    "out of memory",
];
/// How the line begins that a panic ends with, which says nothing of it.
const NOTE: &str = "note: run with `RUST_BACKTRACE";

/// What a job trains.
#[derive(Debug)]
pub(crate) struct Training<'a> {
    pub(crate) task: &'a str,
    pub(crate) model: Option<&'a str>,
    /// The address of the store.
    pub(crate) store: &'a str,
    /// The folder that the file goes to.
    pub(crate) into: &'a Path,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A file was written, of this version.
    Trained(Value),
    /// The gate was not met.
    NotMet(Option<Value>),
    /// Nothing came of it.
    Failed(String),
}

impl Jobs {
    /// Runs the process of a job to its end. It dies with this future.
    pub(crate) async fn run(&self, id: &str, plan: &RetrainPlan, what: &Training<'_>) -> Ended {
        let mut command = tokio::process::Command::new(&plan.program);
        command.arg("retrain").arg("--end-with-stdin");
        command.args(["--task", what.task]).arg("--into").arg(what.into);
        if let Some(model) = what.model {
            command.args(["--model", model]);
        }
        command.args(&plan.arguments).arg("--json");
        // An address of PostgreSQL may hold a password: others can read what a process was told, not its environment.
        command.env("FORECART_STORE", what.store);
        // A backtrace takes memory and a lock. Where no memory is left while one is written, the report of that waits for the same lock: the
        // process would hang, not end.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return Ended::Failed(format!("{:?} cannot be started: {error}", plan.program));
            }
        };
        // Waiting for a child closes what it has of this: it is held here, until the job has ended.
        let held = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let last = Mutex::new(None);
        let ended = tokio::time::timeout(plan.timeout, async {
            let said = self.follow(stdout, |line| {
                if let Ok(own @ Value::Object(_)) = serde_json::from_str(line) {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
                }
            });
            let logged = self.follow(stderr, |line| self.wrote(id, line));
            tokio::join!(said, logged);
            child.wait().await
        })
        .await;
        drop(held);
        let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Err(_) => {
                let _ = child.kill().await;
                Ended::Failed(format!(
                    "it took longer than the {} minutes of serve.retrain.timeout_minutes: raise them, or name a model in serve.retrain.models that learns faster",
                    plan.timeout.as_secs_f64() / 60.0
                ))
            }
            Ok(Err(error)) => Ended::Failed(error.to_string()),
            Ok(Ok(status)) => self.outcome(id, status, last),
        }
    }

    fn outcome(&self, id: &str, status: ExitStatus, last: Option<Value>) -> Ended {
        match (status.code(), last) {
            (Some(0), Some(outcome)) => Ended::Trained(outcome),
            (Some(0), None) => Ended::Failed("it said nothing of what it trained".to_owned()),
            (Some(GATE_NOT_MET), last) => Ended::NotMet(last),
            (code, _) => {
                let log = self.get(id).map(|job| job.log).unwrap_or_default();
                let how = match code {
                    Some(code) => format!("exit code {code}"),
                    None => status.to_string(),
                };
                Ended::Failed(reason(&how, &log))
            }
        }
    }

    async fn follow(&self, pipe: Option<impl AsyncRead + Unpin>, take: impl Fn(&str)) {
        let Some(pipe) = pipe else { return };
        let mut lines = BufReader::new(pipe).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                take(line.trim_end());
            }
        }
    }
}

/// Why a process failed, by what it wrote last.
fn reason(how: &str, log: &[String]) -> String {
    if let Some(line) = log.iter().rev().find(|line| REFUSED.iter().any(|sign| line.contains(sign)))
    {
        return format!(
            "{how}: it was refused memory or a thread: raise serve.retrain.memory, or lower serve.retrain.threads: {line}"
        );
    }
    match log.iter().rev().find(|line| !line.starts_with(NOTE)) {
        Some(line) => format!("{how}: {line}"),
        None => how.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> String {
        let log: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        reason("exit code 101", &log)
    }

    #[test]
    fn what_was_refused_is_told_with_what_bounds_it() {
        let note = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        for line in [
            "memory allocation of 30011 bytes failed",
            "OS can't spawn worker thread: Resource temporarily unavailable (os error 11)",
            "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }",
            "failed to allocate an alternative stack: Cannot allocate memory (os error 12)",
            "SqliteError { code: 7, message: \"out of memory\" }",
        ] {
            let said = of(&["thread 'main' panicked at x.rs:1:1:", line, note]);
            assert!(said.starts_with("exit code 101: ") && said.ends_with(line), "{said}");
            assert!(said.contains("serve.retrain.memory"), "{said}");
        }
        let other = of(&["thread 'main' panicked at x.rs:1:1:", "no such thing", note]);
        assert_eq!(other, "exit code 101: no such thing");
        assert_eq!(of(&[]), "exit code 101");
    }
}
