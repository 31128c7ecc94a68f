//! The one place where tasks are started: each with a name, a way to stop it, and what its end means.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Tasks by name.
#[derive(Default)]
pub struct Supervisor {
    running: JoinSet<anyhow::Result<()>>,
    tasks: Vec<Task>,
}

struct Task {
    name: &'static str,
    id: Id,
    stop: CancellationToken,
    abort: AbortHandle,
}

/// A task that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// How: without an error only when it was asked to stop.
    pub outcome: anyhow::Result<()>,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It ended within its grace, or had ended before.
    InTime,
    /// It did not, and was dropped.
    Dropped,
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new() -> Self {
        Supervisor::default()
    }

    /// Starts a task. It must end soon after the token it is given is cancelled, and not before.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let abort = self.running.spawn(task(stop.clone()));
        self.tasks.push(Task { name, id: abort.id(), stop, abort });
    }

    /// Waits for a task to end. One that nobody stopped ends with an error, whatever it returned. Pends for ever while
    /// nothing runs. Cancel safe.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.running.join_next_with_id().await {
                Some(joined) => {
                    if let Some(ended) = self.take(joined) {
                        return ended;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    fn take(&mut self, joined: Result<(Id, anyhow::Result<()>), JoinError>) -> Option<Ended> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow::Error::new(error))),
        };
        let at = self.tasks.iter().position(|task| task.id == id)?;
        let task = self.tasks.swap_remove(at);
        let unasked = !task.stop.is_cancelled();
        let outcome = outcome.with_context(|| format!("the task `{}` failed", task.name));
        let outcome = outcome.and_then(|()| {
            anyhow::ensure!(!unasked, "the task `{}` ended by itself", task.name);
            Ok(())
        });
        Some(Ended { name: task.name, outcome })
    }

    /// Asks a task to stop, waits up to `grace`, then drops it. Not cancel safe: dropped, the task stays asked.
    pub async fn stop(&mut self, name: &str, grace: Duration) -> Stopped {
        let Some(task) = self.tasks.iter().find(|task| task.name == name) else { return Stopped::InTime };
        task.stop.cancel();
        let deadline = tokio::time::Instant::now() + grace;
        loop {
            match tokio::time::timeout_at(deadline, self.ended()).await {
                Ok(ended) => {
                    if let Err(error) = &ended.outcome {
                        tracing::error!(task = ended.name, error = format!("{error:#}"), "task failed");
                    }
                    if ended.name == name {
                        return Stopped::InTime;
                    }
                }
                Err(_) => {
                    tracing::warn!(task = name, grace_s = grace.as_secs(), "task did not stop in time and is dropped");
                    if let Some(at) = self.tasks.iter().position(|task| task.name == name) {
                        self.tasks.swap_remove(at).abort.abort();
                    }
                    return Stopped::Dropped;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_unasked_or_panics_is_an_error_with_its_name() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("brief", |_| async { Ok(()) });
        let ended = supervisor.ended().await;
        assert_eq!(ended.outcome.expect_err("nobody asked").to_string(), "the task `brief` ended by itself");
        supervisor.spawn("unlucky", |_| async { panic!("oops") });
        let ended = supervisor.ended().await;
        assert_eq!((ended.name, ended.outcome.is_err()), ("unlucky", true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_its_grace_and_no_longer() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("polite", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        supervisor.spawn("deaf", |_| std::future::pending());
        assert_eq!(supervisor.stop("polite", Duration::from_secs(1)).await, Stopped::InTime);
        assert_eq!(supervisor.stop("deaf", Duration::from_secs(1)).await, Stopped::Dropped);
        assert_eq!(supervisor.stop("polite", Duration::from_secs(1)).await, Stopped::InTime, "it is gone already");
    }
}
