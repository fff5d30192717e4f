//! What the server does with jobs: it begins them when it is time or when it is asked to, and serves what passed the gate.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::app::App;
use crate::jobs::{self, Ended, JobError, JobState, Training};
use crate::metrics::{JobLabels, ModelName, PhaseLabels};
use crate::models::ServedModelError;

impl App {
    /// Trains by the schedule, until the process ends.
    pub(crate) async fn retrain(self: &Arc<Self>) {
        let Some(plan) = &self.config.retrain else { return };
        let Some(schedule) = &plan.schedule else { return };
        loop {
            tokio::time::sleep(schedule.wait(Timestamp::now())).await;
            for task in &plan.tasks {
                match self.begin_job(task) {
                    Ok(id) => self.run_job(&id, task).await,
                    Err(error) => tracing::warn!(task, %error, "nothing was trained"),
                }
            }
        }
    }

    /// Begins a job now, beside whatever is asked meanwhile; its id.
    ///
    /// # Errors
    /// [`JobError`] if it cannot begin.
    pub(crate) fn train(self: &Arc<Self>, task: &str) -> Result<String, JobError> {
        let id = self.begin_job(task)?;
        let (app, task, own) = (Arc::downgrade(self), task.to_owned(), id.clone());
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            if let Some(app) = app.upgrade() {
                app.run_job(&own, &task).await;
            }
        });
        Ok(id)
    }

    fn begin_job(&self, task: &str) -> Result<String, JobError> {
        let plan = self.config.retrain.as_ref().ok_or(JobError::NoFolder)?;
        jobs::checked(plan, task)?;
        let id = self.jobs.begin(task)?;
        tracing::info!(job = id, task, "a model is trained anew");
        Ok(id)
    }

    async fn run_job(&self, id: &str, task: &str) {
        let Some(plan) = &self.config.retrain else { return };
        let Ok((folder, task)) = jobs::checked(plan, task) else { return };
        let started = Instant::now();
        let live = self.models.live();
        let named = plan.models.get(&task).map(String::as_str);
        let model = named.or_else(|| live.in_slot(&task).map(|(model, _)| model));
        let what = Training { task: &task, model, store: &self.config.store, into: folder };
        let ended = self.jobs.run(id, plan, &what).await;
        let text =
            |outcome: &Value, key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
        let (state, outcome, error) = match ended {
            Ended::Trained(outcome) => {
                match self.serve_trained(&task, &text(&outcome, "version")).await {
                    Ok(()) => {
                        let model =
                            ModelName { model: format!("{task}/{}", text(&outcome, "model")) };
                        self.memory
                            .metrics
                            .trained
                            .get_or_create(&model)
                            .set(Timestamp::now().as_second());
                        (JobState::Promoted, Some(outcome), None)
                    }
                    Err(error) => (JobState::Failed, Some(outcome), Some(error.to_string())),
                }
            }
            Ended::NotMet(outcome) => (JobState::GateNotMet, outcome, None),
            Ended::Failed(error) => (JobState::Failed, None, Some(error)),
        };
        let model = outcome.as_ref().map_or_else(|| "unknown".to_owned(), |own| text(own, "model"));
        let phase = PhaseLabels { model, phase: "retrain".to_owned() };
        let took = started.elapsed().as_secs_f64();
        self.memory.metrics.trainings.get_or_create(&phase).observe(took);
        match (state, &error) {
            (JobState::Failed, error) => {
                let kind = JobLabels { kind: "retrain".to_owned() };
                self.memory.metrics.jobs_failed.get_or_create(&kind).inc();
                let reason = error.as_deref().unwrap_or_default();
                tracing::error!(job = id, task, reason, "what was trained is not served");
            }
            (state, _) => tracing::info!(job = id, task, ?state, took, "the job has ended"),
        }
        self.jobs.end(id, state, outcome, error);
    }

    /// Serves the version that a job has written, and lets go of older files.
    async fn serve_trained(&self, task: &str, version: &str) -> Result<(), ServedModelError> {
        let promoted = self.models.promote(task, version).await;
        self.model_changed().await;
        self.let_go_of_older(task).await?;
        promoted.map(drop)
    }

    async fn let_go_of_older(&self, task: &str) -> Result<(), ServedModelError> {
        let Some(plan) = &self.config.retrain else { return Ok(()) };
        let Some(folder) = &plan.folder else { return Ok(()) };
        let promoted = self.store.promotions(task).await?;
        let found = self.models.found()?;
        let live = self.models.live();
        let is_beside =
            |version: &str| live.beside.values().any(|own| own.header().content_hash == version);
        // What answers, in experiments too, and what a rollback would go back to.
        let keeps = found.into_iter().filter(|own| {
            own.is_live
                || is_beside(&own.version)
                || promoted.iter().take(2).any(|promoted| promoted.version == own.version)
        });
        let keeps: Vec<String> = keeps.map(|own| own.file).collect();
        if let Err(error) = jobs::prune(folder, task, plan.n_kept, &keeps) {
            tracing::warn!(%error, "older files of models were not removed");
        }
        Ok(())
    }
}
