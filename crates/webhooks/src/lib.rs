//! Tells teams' webhooks of results: signed as [Standard Webhooks](https://www.standardwebhooks.com) has it, in no order, at
//! least once, and again until they are taken or a day is over.
//!
//! Start with [`Webhooks`]; [`post`] is one request and what its answer means, [`signature`] the signature. Several processes
//! share the work: the place in the log is the server's ([`tollgate_queue::notices`]).
//!
//! Killed between the request and the note that it was taken, the result is told again under the same `webhook-id`, the
//! job's id, by which a receiver knows it.

pub mod post;
pub mod signature;

use std::time::Duration;

use async_nats::jetstream::Context;
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_queue::Blobs;
use tollgate_queue::blobs::Fetched;
use tollgate_queue::notices::{Notice, Notices};
use tollgate_types::{JobResult, Team};

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
    blobs: Blobs,
    posters: Vec<(Team, Poster)>,
    again: Duration,
}

impl Webhooks {
    /// Over the broker's connection. Nothing is sent yet.
    ///
    /// # Errors
    /// An address that is none, or no HTTP client.
    pub fn new(context: Context, endpoints: Vec<(Team, Endpoint)>, proxy: Option<&str>) -> Result<Webhooks, Unusable> {
        let blobs = Blobs::new(&context.client());
        let poster = |(team, endpoint): (Team, Endpoint)| Poster::new(endpoint, proxy).map(|poster| (team, poster));
        let posters = endpoints.into_iter().map(poster).collect::<Result<_, _>>()?;
        Ok(Webhooks { context, blobs, posters, again: AGAIN })
    }

    /// With a shorter wait after the first try, for tests.
    #[must_use]
    pub fn again_after(self, again: Duration) -> Webhooks {
        Webhooks { again, ..self }
    }

    /// Tells results until it is stopped; what is under way is told to its end.
    pub async fn run(self, stop: CancellationToken) {
        let Webhooks { context, blobs, posters, again } = &self;
        let mut teams = JoinSet::new();
        for (team, poster) in posters {
            let hook = Hook {
                context: context.clone(),
                blobs: blobs.clone(),
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
    team: Team,
    poster: Poster,
    again: Duration,
}

impl Hook {
    async fn run(&self, stop: &CancellationToken) {
        let durable = format!("webhook-{}", self.team);
        while !stop.is_cancelled() {
            let ended = match Notices::open(&self.context, self.team.as_str(), &durable).await {
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
        let taken = match self.whole(&notice).await {
            Ok(body) => self.poster.post(&notice.job, body).await,
            Err(reason) => Taken::Later { reason, after: None },
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
                tracing::error!(team, job = %notice.job, reason, "a result was not taken by the webhook and is given up");
                told("given_up");
                notice.given_up().await;
            }
            Taken::Gone { reason } => {
                tracing::error!(team, job = %notice.job, reason, "the webhook wants no more; results wait for an hour each");
                told("refused");
                notice.later(AGAIN_MAX).await;
            }
            Taken::Later { reason, after } => {
                tracing::warn!(team, job = %notice.job, reason, tries = notice.tries, "a result was not taken by the webhook");
                told("later");
                // Never sooner than without the wish, or a zero would use up the tries.
                let wait = wait(self.again, notice.tries).max(after.unwrap_or_default()).min(AGAIN_MAX);
                notice.later(wait).await;
            }
        }
    }

    /// The line with its answer, also if that lies beside it. One that is gone is told without.
    async fn whole(&self, notice: &Notice) -> Result<bytes::Bytes, String> {
        let Some(claim) = JobResult::elsewhere(&notice.line) else { return Ok(notice.line.clone()) };
        match self.blobs.fetch(self.team.as_str(), &notice.job, &claim).await {
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
