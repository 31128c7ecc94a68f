//! What teams ask of the broker: a NATS micro service (ADR-32), answered by any one worker.
//!
//! A team's questions come in on `tollgate.api.<team>.…`, and its account lets it ask under its own name only. The
//! connection is the service's own: headers that a team makes unreadable drop the client's connection, or end the client
//! for good (see [`quarantine`](crate::quarantine)), and nothing else shall suffer.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::PublishError;
use async_nats::client::{Request as ClientRequest, RequestErrorKind};
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Request, Service, ServiceExt as _};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll, select_all};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tollgate_types::{BatchId, JobId, Team};

use crate::api::ApiError;
use crate::connect::{ConnectFailure, Connection};

/// What the service is called in `nats micro ls`.
pub const NAME: &str = "tollgate";
/// All workers together: one of them answers.
const QUEUE_GROUP: &str = "tollgate-api";
/// How long before the service is opened once more after its client ended for good.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// The most characters of an error's words.
const WORDS_MAX: usize = 500;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// What became of a job.
    Status,
    /// That a job be cancelled.
    Cancel,
    /// What was used.
    Usage,
    /// How the budgets stand.
    Budget,
    /// Which batches there are.
    Batches,
}

impl Ask {
    /// Everything that can be asked.
    pub const ALL: [Ask; 5] = [Ask::Status, Ask::Cancel, Ask::Usage, Ask::Budget, Ask::Batches];

    /// The last token of its subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Ask::Status => "status",
            Ask::Cancel => "cancel",
            Ask::Usage => "usage",
            Ask::Budget => "budget",
            Ask::Batches => "batches",
        }
    }
}

/// A question of a team; dropped without an answer, whoever asked waits in vain.
#[derive(Debug)]
pub struct Question {
    /// Who asks, as the server enforces it.
    pub team: Team,
    /// What is asked.
    pub what: Ask,
    /// What came with it.
    pub payload: Bytes,
    request: Request,
}

impl Question {
    /// Answers with JSON.
    ///
    /// # Errors
    /// Why it could not be handed to the connection, or that nobody waits for an answer.
    pub async fn ok(self, answer: &impl Serialize) -> Result<(), PublishError> {
        let payload = serde_json::to_vec(answer).expect("what we answer always serialises");
        self.request.respond(Ok(payload.into())).await
    }

    /// Answers that it failed, with a code like HTTP's, in the headers that micro services have for it.
    ///
    /// # Errors
    /// As [`Question::ok`].
    pub async fn error(self, code: u16, words: &str) -> Result<(), PublishError> {
        refuse(&self.request, code, words).await
    }
}

async fn refuse(request: &Request, code: u16, words: &str) -> Result<(), PublishError> {
    // A line break would end the header.
    let status = words.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    request.respond(Err(ServiceError { status, code: code.into() })).await
}

/// What came of asking for a job to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelling {
    /// This is its end.
    Cancelled,
    /// It had its end already.
    Ended,
    /// Nobody knows it.
    Unknown,
    /// It is not known: the backlog was too long to be read to its end.
    Unread,
}

/// Jobs of a team that are to be cancelled, as they are asked for together: the backlog is read once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// Their ids; no more than [`Together::MAX`].
    pub jobs: Vec<JobId>,
}

impl Together {
    /// The most jobs of one question.
    pub const MAX: usize = 500;
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Each of the jobs that were asked for.
    pub jobs: BTreeMap<JobId, Cancelling>,
}

/// A batch whose waiting jobs are to be cancelled, a stretch of the backlog at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeBatch {
    /// The batch.
    pub batch: BatchId,
    /// Where to go on; the beginning if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Stretch>,
}

/// A place in the backlog: lanes first, then what waits behind gates or for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Whether the lanes are passed.
    pub parked: bool,
    /// The sequence.
    pub sequence: u64,
}

/// What came of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// So many jobs got their end by this.
    pub cancelled: u64,
    /// Where the next stretch begins; `None` at the end of the backlog.
    pub next: Option<Stretch>,
}

/// Asks the workers to cancel a stretch of a batch, in the place of its team. Cancel safe; asked again, nothing is
/// cancelled twice.
///
/// # Errors
/// As [`cancel`]; [`ApiError::Refused`] with 404 if nobody knows the team.
pub async fn cancel_batch(connection: &Connection, team: &str, asked: &WholeBatch) -> Result<Swept, ApiError> {
    let unknown = ApiError::Refused { code: 404, description: "unknown_team".to_owned() };
    ask(connection, team, Ask::Cancel, asked).await?.ok_or(unknown)
}

/// How long an answer may take: a worker may have to read a long backlog for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// Asks the workers to cancel jobs, in the place of their team. Cancel safe; a cancelled question may still be answered.
///
/// # Errors
/// [`ApiError::Absent`] if there is no worker, [`ApiError::Unknown`] without an answer, else why it was refused.
pub async fn cancel(
    connection: &Connection,
    team: &str,
    jobs: &[JobId],
) -> Result<BTreeMap<JobId, Cancelling>, ApiError> {
    let mut all = BTreeMap::new();
    for some in jobs.chunks(Together::MAX) {
        match ask::<Told>(connection, team, Ask::Cancel, &Together { jobs: some.to_vec() }).await? {
            Some(told) => all.extend(told.jobs),
            // Nobody knows the team.
            None => all.extend(some.iter().map(|job| (job.clone(), Cancelling::Unknown))),
        }
    }
    Ok(all)
}

/// Asks the workers where a job is, in the place of its team; `None` for one that nobody knows. Cancel safe.
///
/// # Errors
/// As [`cancel`].
pub async fn status(connection: &Connection, team: &str, job: &JobId) -> Result<Option<serde_json::Value>, ApiError> {
    ask(connection, team, Ask::Status, &serde_json::json!({ "job": job })).await
}

/// Asks the workers something, in the place of a team; `None` for what nobody knows.
async fn ask<T: DeserializeOwned>(
    connection: &Connection,
    team: &str,
    what: Ask,
    question: &impl Serialize,
) -> Result<Option<T>, ApiError> {
    let subject = format!("tollgate.api.{team}.{}", what.as_str());
    let payload = serde_json::to_vec(question).expect("texts and numbers always serialise");
    let request = ClientRequest::new().payload(payload.into()).timeout(Some(ANSWER_WITHIN));
    let answer = connection.client.send_request(subject.clone(), request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => ApiError::Absent { subject },
        _ => ApiError::Unknown,
    })?;
    let header = |name: &str| Some(answer.headers.as_ref()?.get(name)?.as_str().to_owned());
    match header("Nats-Service-Error-Code").as_deref() {
        None => {
            let told = serde_json::from_slice(&answer.payload);
            told.map(Some).map_err(|error| ApiError::Unreadable(error.to_string()))
        }
        Some("404") => Ok(None),
        Some(code) => {
            let code = code.parse().unwrap_or_default();
            Err(ApiError::Refused { code, description: header("Nats-Service-Error").unwrap_or_default() })
        }
    }
}

/// The service.
pub struct Api {
    beside: Connection,
    name: String,
    /// `None` after its client ended, until it is opened again.
    open: Option<Open>,
}

/// The service as it was opened; it ends with its connection.
struct Open {
    service: Service,
    questions: SelectAll<BoxStream<'static, (Ask, Request)>>,
    _connection: Connection,
}

/// Says why the service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiFailure {
    /// There is no connection for it.
    #[error("cannot connect for the service")]
    Connect(#[from] ConnectFailure),
    /// It could not be registered.
    #[error("cannot register the service")]
    Register(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Api {
    /// Connects like `beside` and begins to listen.
    ///
    /// # Errors
    /// [`ApiFailure`].
    pub async fn open(beside: &Connection, name: &str) -> Result<Api, ApiFailure> {
        let name = format!("{name}-api");
        let open = Some(Open::new(beside, &name).await?);
        Ok(Api { beside: beside.clone(), name, open })
    }

    /// The next question. It waits for ever, and listens again whatever ends the connection. Cancel safe.
    pub async fn next(&mut self) -> Question {
        loop {
            let Some(open) = &mut self.open else {
                tokio::time::sleep(REOPEN_PAUSE).await;
                match Open::new(&self.beside, &self.name).await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "no service for teams yet");
                    }
                }
                continue;
            };
            let Some((what, request)) = open.questions.next().await else {
                tracing::error!("the connection for the teams' service ended for good; making another");
                self.open = None;
                continue;
            };
            // Without an account per team the asker chooses freely where the answer goes, and it is published with the
            // broker's rights.
            if request.message.reply.as_ref().is_none_or(|reply| is_ours(reply)) {
                tracing::warn!(subject = %request.message.subject, "a question without an inbox to answer to");
                continue;
            }
            match team_of(&request.message.subject) {
                Some(team) => return Question { team, what, payload: request.message.payload.clone(), request },
                None => {
                    if let Err(error) = refuse(&request, 400, "the subject names no team").await {
                        tracing::debug!(%error, "a question of nobody not answered");
                    }
                }
            }
        }
    }

    /// Stops listening; questions that were handed out can still be answered, as long as they are held.
    pub async fn stop(self) {
        if let Some(Open { service, .. }) = self.open
            && let Err(error) = service.stop().await
        {
            tracing::debug!(%error, "the teams' service was not stopped");
        }
    }
}

/// Whether a subject is the broker's own or the server's: no answer may be published there.
fn is_ours(reply: &str) -> bool {
    reply.starts_with("tollgate.") || reply.starts_with('$')
}

impl Open {
    async fn new(beside: &Connection, name: &str) -> Result<Open, ApiFailure> {
        let connection = beside.another(name).await?;
        let builder = connection.client.service_builder();
        let builder = builder.description("jobs, usage and budgets of a team").queue_group(QUEUE_GROUP);
        let service = builder.start(NAME, env!("CARGO_PKG_VERSION")).await.map_err(ApiFailure::Register)?;
        let mut questions = Vec::new();
        for what in Ask::ALL {
            let endpoint = service.endpoint_builder().name(what.as_str());
            let endpoint = endpoint.add(format!("tollgate.api.*.{}", what.as_str())).await;
            let endpoint = endpoint.map_err(ApiFailure::Register)?;
            questions.push(endpoint.map(move |request| (what, request)).boxed());
        }
        // The server knows of the subscriptions once it answers what was said after them.
        connection.client.flush().await.map_err(|error| ApiFailure::Register(error.into()))?;
        Ok(Open { service, questions: select_all(questions), _connection: connection })
    }
}

fn team_of(subject: &str) -> Option<Team> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let ["tollgate", "api", team, _] = tokens[..] else { return None };
    team.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_team_is_read_from_the_subject_alone() {
        assert_eq!(team_of("tollgate.api.search.status").map(|team| team.to_string()).as_deref(), Some("search"));
        for none in ["tollgate.api.search", "tollgate.api.a b.status", "tollgate.api.search.status.x", "_R_.x"] {
            assert_eq!(team_of(none), None, "{none}");
        }
    }

    #[test]
    fn nobody_makes_us_answer_into_a_lane() {
        for ours in ["tollgate.jobs.batch.other", "$JS.API.STREAM.DELETE.X", "tollgate.results.a.b"] {
            assert!(is_ours(ours), "{ours}");
        }
        for inbox in ["_INBOX.abc", "_INBOX_search.abc", "_R_.x.y"] {
            assert!(!is_ours(inbox), "{inbox}");
        }
    }
}
