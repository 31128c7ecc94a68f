//! Which jobs run here, so that a cancelled one is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;
use tollgate_types::JobId;

/// The jobs that run in this worker.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<(String, JobId), CancellationToken>>>);

/// One job that runs; it leaves when this is dropped.
pub(crate) struct Cancelled {
    running: Running,
    key: (String, JobId),
    token: CancellationToken,
}

impl Running {
    /// Notes that a job runs. The same id can run twice for a moment; a cancellation reaches the one that came last, and
    /// the other one loses the race for the result.
    pub(crate) fn enter(&self, team: &str, job: &JobId) -> Cancelled {
        let (key, token) = ((team.to_owned(), job.clone()), CancellationToken::new());
        self.0.lock().expect("no holder panics").insert(key.clone(), token.clone());
        Cancelled { running: self.clone(), key, token }
    }

    /// Tells a job that it was cancelled, if it runs here.
    pub(crate) fn cancel(&self, team: &str, job: &JobId) {
        if let Some(token) = self.0.lock().expect("no holder panics").get(&(team.to_owned(), job.clone())) {
            token.cancel();
        }
    }

    /// Whether a job runs here.
    pub(crate) fn has(&self, team: &str, job: &JobId) -> bool {
        self.0.lock().expect("no holder panics").contains_key(&(team.to_owned(), job.clone()))
    }
}

impl Cancelled {
    /// Whether it was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.running.0.lock().expect("no holder panics").remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_runs_here_hears_that_it_was_cancelled_and_leaves_with_its_run() {
        let running = Running::default();
        let job: JobId = "a:1".parse().unwrap();
        let entry = running.enter("a", &job);
        running.cancel("b", &job);
        assert!(!entry.is_cancelled());
        running.cancel("a", &job);
        assert!(entry.is_cancelled() && running.has("a", &job));
        drop(entry);
        assert!(!running.has("a", &job));
    }
}
