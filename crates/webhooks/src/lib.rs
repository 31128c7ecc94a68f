//! Tells teams' webhooks of results, and of the ends of batches: signed as [Standard Webhooks](https://www.standardwebhooks.com) has it, in no order, at
//! least once, and again until they are taken or a day is over.
//!
//! Start with [`Webhooks`]; [`post`] is one request and what its answer means, [`signature`] the signature, [`event`] what is
//! said of a batch. Several processes
//! share the work: the place in the log is the server's ([`tollgate_queue::notices`]).
//!
//! Killed between the request and the note that it was taken, it is told again under the same `webhook-id`, the job's id or
//! that of the batch's end, by which a receiver knows it.

pub mod event;
pub mod post;
pub mod signature;

use std::time::Duration;

use async_nats::jetstream::Context;
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_queue::blobs::Fetched;
use tollgate_queue::notices::{About, Notice, Notices, Topic};
use tollgate_queue::{Batches, Blobs};
use tollgate_types::{BatchId, JobId, JobResult, Team};

pub use post::{Endpoint, Poster, Taken, Unusable};

/// How many requests to one address run at once.
const AT_ONCE: usize = 16;
/// The wait after the first try; each further one is twice as long, up to [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const AGAIN_MAX: Duration = Duration::from_secs(3600);
/// After so many tries a result is given up: a day and a half with the waits above.
const TRIES_MAX: u64 = 45;
/// From this try on a result is told without an answer that lay beside it and is gone.
const WITHOUT_ANSWER: u64 = 5;
/// Before results are followed anew after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the webhooks of some teams.
pub struct Webhooks {
    context: Context,
    posters: Vec<(Team, Topic, Poster)>,
    again: Duration,
}

impl Webhooks {
    /// Over the broker's connection. Nothing is sent yet.
    ///
    /// # Errors
    /// An address that is none, or no HTTP client.
    pub fn new(context: Context, endpoints: Vec<(Team, Endpoint)>, proxy: Option<&str>) -> Result<Webhooks, Unusable> {
        let mut posters = Vec::new();
        for (team, endpoint) in endpoints {
            let topics = endpoint.topics.clone();
            let poster = Poster::new(endpoint, proxy)?;
            posters.extend(topics.into_iter().map(|topic| (team.clone(), topic, poster.clone())));
        }
        Ok(Webhooks { context, posters, again: AGAIN })
    }

    /// With a shorter wait after the first try, for tests.
    #[must_use]
    pub fn again_after(self, again: Duration) -> Webhooks {
        Webhooks { again, ..self }
    }

    /// Tells until it is stopped; what is under way is told to its end.
    pub async fn run(self, stop: CancellationToken) {
        let Webhooks { context, posters, again } = &self;
        let client = context.client();
        let mut teams = JoinSet::new();
        for (team, topic, poster) in posters {
            let hook = Hook {
                context: context.clone(),
                blobs: Blobs::new(&client),
                batches: Batches::new(client.clone()),
                topic: *topic,
                team: team.clone(),
                poster: poster.clone(),
                again: *again,
            };
            let stop = stop.clone();
            teams.spawn(async move { hook.run(&stop).await });
        }
        while teams.join_next().await.is_some() {}
    }
}

/// The webhook of one team: a slow or dead one holds up no other.
#[derive(Clone)]
struct Hook {
    context: Context,
    blobs: Blobs,
    batches: Batches,
    topic: Topic,
    team: Team,
    poster: Poster,
    again: Duration,
}

impl Hook {
    async fn run(&self, stop: &CancellationToken) {
        let durable = match self.topic {
            Topic::Results => format!("webhook-{}", self.team),
            Topic::Batches => format!("webhook-batches-{}", self.team),
        };
        while !stop.is_cancelled() {
            let ended = match Notices::open(&self.context, (self.topic, self.team.as_str()), &durable).await {
                Ok(notices) => self.follow(notices, stop).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                tracing::warn!(%error, team = %self.team, "a webhook waits");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    async fn follow(
        &self,
        mut notices: Notices,
        stop: &CancellationToken,
    ) -> Result<(), tollgate_queue::notices::NoticesError> {
        let mut telling = JoinSet::new();
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                Some(_) = telling.join_next(), if !telling.is_empty() => {}
                notice = notices.next(), if telling.len() < AT_ONCE => match notice {
                    Ok(notice) => {
                        let hook = self.clone();
                        telling.spawn(async move { hook.tell(notice).await });
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        while telling.join_next().await.is_some() {}
        ended
    }

    async fn tell(&self, notice: Notice) {
        let (id, taken) = match self.said(&notice).await {
            Ok(Some((id, body))) => {
                let taken = self.poster.post(&id, body).await;
                (id, taken)
            }
            // Another notice says it.
            Ok(None) => return notice.told().await,
            Err(reason) => (String::new(), Taken::Later { reason, after: None }),
        };
        let team = self.team.to_string();
        let told = |as_what: &'static str| {
            metrics::counter!("tollgate_webhook_posts_total", "team" => team.clone(), "outcome" => as_what)
                .increment(1);
        };
        match taken {
            Taken::Yes => {
                told("taken");
                notice.told().await;
            }
            Taken::Later { reason, .. } | Taken::Gone { reason } if notice.tries >= TRIES_MAX => {
                tracing::error!(team, id, reason, "what was not taken by the webhook is given up");
                told("given_up");
                notice.given_up().await;
            }
            Taken::Gone { reason } => {
                tracing::error!(
                    team,
                    id,
                    reason,
                    "the webhook wants no more; what is to be told waits for an hour each"
                );
                told("refused");
                notice.later(AGAIN_MAX).await;
            }
            Taken::Later { reason, after } => {
                tracing::warn!(team, id, reason, tries = notice.tries, "the webhook did not take what it was told");
                told("later");
                // Never sooner than without the wish, or a zero would use up the tries.
                let wait = wait(self.again, notice.tries).max(after.unwrap_or_default()).min(AGAIN_MAX);
                notice.later(wait).await;
            }
        }
    }

    /// What is posted, under which id; nothing if another notice says it.
    async fn said(&self, notice: &Notice) -> Result<Option<(String, bytes::Bytes)>, String> {
        match &notice.about {
            About::Result(job) => Ok(Some((job.to_string(), self.whole(notice, job).await?))),
            About::Batch(batch, record) => self.end_of(batch, record).await,
        }
    }

    async fn end_of(&self, batch: &BatchId, record: &str) -> Result<Option<(String, bytes::Bytes)>, String> {
        let found = event::of(&self.batches, &self.team, batch).await.map_err(|error| error.to_string())?;
        // A batch of which something was submitted ends when that has; until then its outcome is no end.
        Ok(found.filter(|event| event.record == record).map(|event| (event.id, event.body)))
    }

    /// The line with its answer, also if that lies beside it. One that is gone is told without.
    async fn whole(&self, notice: &Notice, job: &JobId) -> Result<bytes::Bytes, String> {
        let Some(claim) = JobResult::elsewhere(&notice.line) else { return Ok(notice.line.clone()) };
        match self.blobs.fetch(self.team.as_str(), job, &claim).await {
            Ok(Fetched::Body(body)) => Ok(JobResult::whole(&notice.line, body).unwrap_or_else(|| notice.line.clone())),
            Ok(Fetched::Missing | Fetched::Other) if notice.tries < WITHOUT_ANSWER => {
                Err("its answer is not there".to_owned())
            }
            Ok(Fetched::Missing | Fetched::Other) => Ok(notice.line.clone()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Twice as long each time, and up to a quarter more by chance, so that results that failed together do not come together.
fn wait(again: Duration, tries: u64) -> Duration {
    let doubled = again.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(AGAIN_MAX);
    doubled.mul_f64(1.0 + rand::rng().random_range(0.0..0.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_an_hour_and_last_for_more_than_a_day() {
        let first = wait(AGAIN, 1);
        assert!((AGAIN..=AGAIN * 5 / 4).contains(&first), "{first:?}");
        assert!(wait(AGAIN, 60) >= AGAIN_MAX && wait(AGAIN, 60) <= AGAIN_MAX * 5 / 4);
        let least: Duration =
            (1..TRIES_MAX).map(|tries| AGAIN.saturating_mul(1 << (tries - 1).min(20)).min(AGAIN_MAX)).sum();
        assert!(least > Duration::from_secs(24 * 3600), "{least:?}");
    }
}
