//! The desk: answers what teams and operators ask about jobs, usage and budgets, and cancels jobs.
//!
//! A NATS service, `tollgate.api.<team>.<question>`; the team is the subject's, which the account border enforces. Any
//! worker answers. What is asked is JSON; what is answered is JSON too, errors with a code and a message.

mod batches;
mod cancel;
mod money;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tollgate_queue::control::cancellations;
use tollgate_queue::service::{Api, Ask, Question, Together, WholeBatch};
use tollgate_types::JobId;

use crate::context::Context;

/// Answers questions.
pub(crate) struct Desk {
    cx: Arc<Context>,
}

/// Questions answered at once: the dearest one reads a lane.
const AT_ONCE: usize = 16;
/// Before the service is opened again after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP-like number that NATS services use.
    pub(crate) number: u16,
    /// A stable word and what to do.
    pub(crate) message: String,
}

impl Refusal {
    fn new(number: u16, message: impl Into<String>) -> Refusal {
        Refusal { number, message: message.into() }
    }

    fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
        Refusal::new(503, format!("unavailable: {error}; ask again"))
    }
}

type Answer = Result<serde_json::Value, Refusal>;

/// What is asked about one job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AboutJob {
    /// The job's id.
    job: JobId,
    /// Whether to say what it waits for, and where it stands: reads its lane.
    #[serde(default)]
    explain: bool,
}

impl Desk {
    pub(crate) fn new(cx: Arc<Context>) -> Desk {
        Desk { cx }
    }

    /// Answers, and passes on cancellations, for ever.
    pub(crate) async fn answer(self) {
        let Desk { cx } = self;
        let listening = listen(cx.clone());
        let serving = serve(cx);
        tokio::join!(listening, serving);
    }
}

/// Tells jobs that run here that they were cancelled.
async fn listen(cx: Arc<Context>) {
    loop {
        match cancellations(&cx.connection).await {
            Ok(mut heard) => {
                while let Some(cancelled) = heard.next().await {
                    cx.running.cancel(&cancelled.team, &cancelled.job);
                }
            }
            Err(error) => tracing::warn!(%error, "cancellations are not heard yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(cx: Arc<Context>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut api = loop {
        match Api::open(&cx.connection, &cx.config.name).await {
            Ok(api) => break api,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "questions are not answered yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let mut answering = JoinSet::new();
    loop {
        let question = api.next().await;
        while answering.try_join_next().is_some() {}
        let permit = Arc::clone(&slots).acquire_owned().await.expect("the slots are never closed");
        let cx = cx.clone();
        answering.spawn(async move {
            let _permit = permit;
            let sent = match answer(&question, &cx).await {
                Ok(value) => question.ok(&value).await,
                Err(Refusal { number, message }) => question.error(number, &message).await,
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "an answer was not sent");
            }
        });
    }
}

async fn answer(question: &Question, cx: &Context) -> Answer {
    let team = question.team.as_str();
    if cx.directory.team(team).is_none() {
        return Err(Refusal::new(404, "unknown_team: it is not registered; the operator adds teams"));
    }
    match question.what {
        Ask::Status => {
            let AboutJob { job, explain } = read(&question.payload)?;
            if explain { status::explain(team, &job, cx).await } else { status::status(team, &job, cx).await }
        }
        Ask::Cancel => match serde_json::from_slice::<Together>(&question.payload) {
            Ok(Together { jobs }) => cancel::together(team, &jobs, cx).await,
            Err(_) => match serde_json::from_slice::<WholeBatch>(&question.payload) {
                Ok(asked) => batches::cancel(team, &asked, cx).await,
                Err(_) => {
                    let AboutJob { job, .. } = read(&question.payload)?;
                    cancel::cancel(team, &job, cx).await
                }
            },
        },
        Ask::Usage => money::usage(team, cx).await,
        Ask::Budget => money::budget(team, cx).await,
        Ask::Batches => batches::list(&question.team, &read(&question.payload)?, cx).await,
    }
}

/// Reads what is asked; nothing at all is `{}`.
fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    let payload = if payload.is_empty() { b"{}" } else { payload };
    serde_json::from_slice(payload).map_err(|error| {
        Refusal::new(400, format!("bad_request: {error}; ask with an object such as {{\"job\": \"search:1\"}}"))
    })
}
