//! What somebody wants forgotten, kept until it is done, whoever is killed meanwhile.
//!
//! The request is stored before anything is removed. Whoever asked does the work at once, as far as it goes; the sweeper
//! does it once more a while later, which finishes what was cut short or had to wait, and removes a copy that a worker
//! had in his hands and put somewhere meanwhile.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tollgate_queue::state::{State, StateError};
use tollgate_types::{Digest, JobId, Team, UnixMillis};

/// Whose texts are to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// Those of one job.
    Job(JobId),
    /// Those of all jobs that name this end user.
    EndUser(String),
}

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The version of this object; 1.
    pub version: u32,
    /// The team.
    pub team: Team,
    /// Whose texts.
    pub whom: Whom,
    /// When it was asked for, by the server's clock: an end user's jobs that were accepted later are not meant.
    pub asked_at: UnixMillis,
    /// When the sweeper looks after it.
    pub due: UnixMillis,
}

const VERSION: u32 = 1;
/// How requests are found among the broker's other small records.
const PREFIX: &str = "forget.";
/// The sweeper's look comes so long after the request: a worker that had the job in his hands when it was cancelled has
/// put it down by then.
pub const SECOND_LOOK: Duration = Duration::from_secs(120);
/// A request that is not done is looked after again so much later.
pub const AGAIN: Duration = Duration::from_secs(10);

impl Request {
    /// A request of now.
    pub fn new(team: Team, whom: Whom, now: UnixMillis) -> Request {
        Request { version: VERSION, team, whom, asked_at: now, due: now.plus(SECOND_LOOK) }
    }

    /// Where it is kept: what is asked twice is kept once. The name of an end user is in the record, not in the key.
    fn key(&self) -> String {
        let whom = match &self.whom {
            Whom::Job(job) => ["job", job.as_str()],
            Whom::EndUser(user) => ["user", user.as_str()],
        };
        let digest = Digest::of(&[self.team.as_str().as_bytes(), whom[0].as_bytes(), whom[1].as_bytes()]);
        format!("{PREFIX}{digest}")
    }

    /// Keeps it, in the place of the same that was asked before.
    ///
    /// # Errors
    /// Why it may not be kept; then nothing may be removed.
    pub async fn keep(&self, state: &State) -> Result<Kept, StateError> {
        let revision = state.put(&self.key(), self.bytes()).await?;
        Ok(Kept { request: self.clone(), revision })
    }

    fn bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts and numbers always serialise").into()
    }
}

/// A request as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The request.
    pub request: Request,
    revision: u64,
}

impl Kept {
    /// Strikes it off, unless the same was asked for again since.
    ///
    /// # Errors
    /// Why it may still be kept; then it is done again, which changes nothing.
    pub async fn done(self, state: &State) -> Result<(), StateError> {
        unless_asked_again(state.delete(&self.request.key(), self.revision).await)
    }

    /// Lets the next look wait, unless the same was asked for again since.
    ///
    /// # Errors
    /// Why it may be due as before.
    pub async fn put_off(self, due: UnixMillis, state: &State) -> Result<(), StateError> {
        let request = Request { due, ..self.request };
        unless_asked_again(state.update(&request.key(), request.bytes(), self.revision).await.map(drop))
    }

    /// Every request that is kept. One that cannot be read is left for a newer version.
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn all(state: &State) -> Result<Vec<Kept>, StateError> {
        let mut all = Vec::new();
        for version in state.read_all(PREFIX).await? {
            match serde_json::from_slice::<Request>(&version.value) {
                Ok(request) if request.version == VERSION => all.push(Kept { request, revision: version.revision }),
                Ok(Request { version, .. }) => tracing::error!(version, "a request to forget of a newer version"),
                Err(error) => tracing::error!(key = version.key, %error, "a request to forget cannot be read"),
            }
        }
        Ok(all)
    }
}

/// What was asked anew is another request, with a time of its own: it stays as it is.
fn unless_asked_again(written: Result<(), StateError>) -> Result<(), StateError> {
    match written {
        Err(StateError::Conflict) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_twice_is_kept_once_and_a_key_names_nobody() {
        let request = |team: &str, whom, at| Request::new(team.parse().unwrap(), whom, UnixMillis(at)).key();
        let user = || Whom::EndUser("ann@example.com".to_owned());
        assert_eq!(request("a", user(), 1), request("a", user(), 2));
        assert_ne!(request("a", user(), 1), request("b", user(), 1));
        assert_ne!(request("a", Whom::Job("x".parse().unwrap()), 1), request("a", Whom::EndUser("x".into()), 1));
        assert!(!request("a", user(), 1).contains("ann"));
    }
}
