//! Models that are trained anew beside the server: each in a process of its own, one at a time.
//!
//! A job is `forecart retrain`, which reads the store, trains, measures, and writes a model file only if the gate is met. What it says then
//! decides: met, the file is promoted; not met, nothing changes. A process that dies, is killed for its memory or takes too long changes
//! nothing either. How it is begun and ended is in `process`.

mod process;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use process::{Ended, Training};

use crate::clock::now_ms;
use crate::ids::new_id;
use crate::schedule::Schedule;

/// Jobs that are remembered.
const N_KEPT: usize = 100;
/// Last lines of what a job wrote that are kept.
const N_LINES: usize = 50;
/// Longest of them, in bytes.
const MAX_LINE_BYTES: usize = 2_000;

/// What is trained anew, and how.
#[derive(Debug, Clone)]
pub struct RetrainPlan {
    /// When; never by itself if not set.
    pub schedule: Option<Schedule>,
    /// What for, one after the other.
    pub tasks: Vec<String>,
    /// Which model, for each task; where none is named, the one that answers.
    pub models: BTreeMap<String, String>,
    /// The program that trains, and what it is told before anything else.
    pub program: PathBuf,
    /// Arguments of every job.
    pub arguments: Vec<OsString>,
    /// The folder that new files of models go to.
    pub folder: Option<PathBuf>,
    /// How long a job may take.
    pub timeout: Duration,
    /// Files of earlier jobs that are kept, for each task.
    pub n_kept: usize,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It runs.
    Running,
    /// Its model passed the gate and answers now.
    Promoted,
    /// Its model is not better than the baselines: what was live still is.
    GateNotMet,
    /// It failed, took too long or too much memory: what was live still is.
    Failed,
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What the model is for.
    pub task: String,
    /// How far it is.
    pub state: JobState,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// What it says of the model: `model`, `version`, `file`, the figures of the gate.
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>)]
    pub outcome: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// The last lines that it wrote.
    pub log: Vec<String>,
}

/// Why no job was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Another one runs.
    #[error("the job {id} runs: one trains at a time")]
    Busy {
        /// Its id.
        id: String,
    },
    /// Nothing is trained for this.
    #[error("{task:?} is not trained from the store; {known}")]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// What is.
        known: String,
    },
    /// There is nowhere to put a model.
    #[error("the server has no folder of models: start it with `--model DIR`")]
    NoFolder,
}

/// The jobs of a process.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    kept: Mutex<VecDeque<Job>>,
}

impl Jobs {
    /// All that are remembered, the newest first.
    pub(crate) fn all(&self) -> Vec<Job> {
        self.kept().iter().rev().cloned().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Option<Job> {
        self.kept().iter().find(|job| job.id == id).cloned()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a job begins, unless one runs.
    pub(crate) fn begin(&self, task: &str) -> Result<String, JobError> {
        let mut kept = self.kept();
        if let Some(running) = kept.iter().find(|job| job.state == JobState::Running) {
            return Err(JobError::Busy { id: running.id.clone() });
        }
        if kept.len() == N_KEPT {
            kept.pop_front();
        }
        let id = new_id();
        kept.push_back(Job {
            id: id.clone(),
            task: task.to_owned(),
            state: JobState::Running,
            began_ms: now_ms(),
            ended_ms: None,
            outcome: None,
            error: None,
            log: Vec::new(),
        });
        Ok(id)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.kept().iter_mut().find(|job| job.id == id) {
            change(job);
        }
    }

    /// Notes how a job ended.
    pub(crate) fn end(
        &self,
        id: &str,
        state: JobState,
        outcome: Option<Value>,
        error: Option<String>,
    ) {
        self.change(id, |job| {
            job.state = state;
            job.ended_ms = Some(now_ms());
            job.outcome = outcome;
            job.error = error;
        });
    }

    fn wrote(&self, id: &str, line: &str) {
        let end = line.floor_char_boundary(MAX_LINE_BYTES);
        self.change(id, |job| {
            if job.log.len() == N_LINES {
                job.log.remove(0);
            }
            job.log.push(line[..end].to_owned());
        });
    }
}

/// Whether a file was written by a job for a task, by its name.
fn is_of_job(name: &str, task: &str) -> bool {
    let stem = name.strip_prefix(task).and_then(|rest| rest.strip_prefix('-'));
    let stem = stem.and_then(|rest| rest.strip_suffix(".forecart"));
    stem.is_some_and(|stem| {
        stem.len() == 16 && stem.bytes().all(|byte| byte.is_ascii_digit() || b"TZ".contains(&byte))
    })
}

/// Removes files of earlier jobs for a task but the newest `n_kept` and those named by `keeps`.
pub(crate) fn prune(
    folder: &Path,
    task: &str,
    n_kept: usize,
    keeps: &[String],
) -> std::io::Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_of_job(name, task))
        .collect();
    // Their names are in the order of their times.
    names.sort_unstable_by(|a, b| b.cmp(a));
    for name in names.into_iter().skip(n_kept) {
        if !keeps.contains(&name) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

/// What a job is to be begun for.
pub(crate) fn checked<'a>(
    plan: &'a RetrainPlan,
    task: &str,
) -> Result<(&'a Path, String), JobError> {
    let Some(folder) = &plan.folder else { return Err(JobError::NoFolder) };
    match plan.tasks.iter().find(|own| *own == task) {
        Some(task) => Ok((folder, task.clone())),
        None => {
            let known = format!("serve.retrain.tasks names {}", plan.tasks.join(", "));
            Err(JobError::UnknownTask { task: task.to_owned(), known })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_jobs_are_pruned_and_never_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = |day: u32| format!("recommend-202611{day:02}T030000Z.forecart");
        let others =
            ["recommend-mine.forecart", "question-20261101T030000Z.forecart", "model.forecart"];
        let names = (1..=6).map(file).chain(others.map(str::to_owned));
        for name in names {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        prune(folder.path(), "recommend", 2, &[file(1)]).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<String> =
            left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut expected = vec![file(1), file(5), file(6)];
        expected.extend(others.map(str::to_owned));
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn one_job_runs_at_a_time_and_old_ones_are_let_go() {
        let jobs = Jobs::default();
        let first = jobs.begin("recommend").unwrap();
        assert_eq!(jobs.begin("recommend"), Err(JobError::Busy { id: first.clone() }));
        jobs.end(&first, JobState::Failed, None, Some("why".into()));
        for _ in 0..N_KEPT {
            let id = jobs.begin("recommend").unwrap();
            (0..2 * N_LINES).for_each(|n| jobs.wrote(&id, &n.to_string()));
            jobs.end(&id, JobState::Promoted, None, None);
        }
        assert!(jobs.get(&first).is_none());
        let all = jobs.all();
        assert_eq!((all.len(), all[0].log.len(), all[0].log[0].as_str()), (N_KEPT, N_LINES, "50"));
    }
}
