//! Live configuration: teams with their budgets and limits, the organisation, and what is paused.
//!
//! One bucket, watched: a change reaches every worker at once, and everything is read again whenever a connection comes
//! back. An invalid record is refused whole, with its key and the reason in the log, and the one of before stays; the
//! writers here refuse it too, before it is stored.

mod access;
mod records;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_nats::jetstream::Context;
use tokio::sync::watch;
use tollgate_types::{Budget, CacheRules, Gate, LaneKey, Scope, UnixMillis, subjects};

use crate::bucket::{Bucket, BucketError, Seen, Version};
pub use access::{Access, is_allowed};
use records::{About, about, decode, pauses_of};
pub use records::{
    Checks, ClassWeights, Organisation, Pause, Paused, RESULTS_KEEP_SECS_MAX, RESULTS_KEEP_SECS_MIN, Record,
    TeamRecord, WEIGHT_MAX,
};

/// Says why the directory was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Somebody else changed the record meanwhile; nothing was written.
    #[error("{key} was changed by somebody else meanwhile; look again and repeat")]
    Conflict {
        /// The record's key.
        key: String,
    },
    /// The record is not valid; nothing was written.
    #[error("{key} is not valid: {reason}")]
    Invalid {
        /// The record's key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// The bucket could not be read or written. A write may have happened if its source is [`BucketError::Unknown`].
    #[error("cannot {action} the live configuration")]
    Bucket {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: BucketError,
    },
}

/// What a write expects to find, so that nobody's change is overwritten unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No record.
    Absent,
    /// The record that was read at this revision.
    Revision(u64),
    /// Whatever is there.
    Any,
}

/// Live configuration as this process knows it. Clones share what they know.
#[derive(Clone)]
pub struct Directory {
    bucket: Bucket,
    shared: Arc<Shared>,
}

struct Shared {
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
    checks: Checks,
}

/// Every valid record.
#[derive(Default)]
struct Known {
    teams: BTreeMap<String, Stored<TeamRecord>>,
    organisation: Stored<Organisation>,
    pauses: HashMap<Paused, Arc<Pause>>,
    /// The newest revision of each key that was looked at, so that an older one that arrives late changes nothing.
    revisions: HashMap<String, u64>,
}

/// A record, and when the server stored it.
#[derive(Default)]
struct Stored<T> {
    record: Arc<T>,
    at: UnixMillis,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Stored<T> {
        Stored { record: self.record.clone(), at: self.at }
    }
}

impl Directory {
    /// Opens the bucket and reads it whole; `checks` judge the parts of each record.
    ///
    /// # Errors
    /// [`DirectoryError::Bucket`].
    pub async fn open(context: &Context, checks: Checks) -> Result<Directory, DirectoryError> {
        let failed = |source| DirectoryError::Bucket { action: "read", source };
        let bucket = Bucket::open(context, subjects::CONFIG_BUCKET).await.map_err(failed)?;
        let mut known = Known::default();
        for version in bucket.read_all("").await.map_err(failed)? {
            // With nothing known before, a record that is refused is as good as absent.
            known.put(&version, checks);
        }
        let (changes, _) = watch::channel(0);
        Ok(Directory { bucket, shared: Arc::new(Shared { known: RwLock::new(known), changes, checks }) })
    }

    /// A team's record, if it is registered.
    pub fn team(&self, name: &str) -> Option<Arc<TeamRecord>> {
        self.known().teams.get(name).map(|team| team.record.clone())
    }

    /// Every registered team, by name.
    pub fn teams(&self) -> Vec<(String, Arc<TeamRecord>)> {
        self.known().teams.iter().map(|(name, team)| (name.clone(), team.record.clone())).collect()
    }

    /// What is configured about everybody together; the default if nothing is.
    pub fn organisation(&self) -> Arc<Organisation> {
        self.known().organisation.record.clone()
    }

    /// The budgets of whoever owns a scope: the organisation's for the organisation, else its team's. None for a team that
    /// is not registered. With them comes when the server stored them.
    pub fn budgets_of(&self, scope: &Scope) -> (Vec<Budget>, UnixMillis) {
        let known = self.known();
        match scope.team() {
            None => (known.organisation.record.budgets.clone(), known.organisation.at),
            Some(team) => known.teams.get(team).map(|team| (team.record.budgets.clone(), team.at)).unwrap_or_default(),
        }
    }

    /// What a team's jobs get of the cache of answers.
    pub fn cache_rules(&self, team: &str) -> CacheRules {
        let known = self.known();
        let everybody = &known.organisation.record.cache;
        known.teams.get(team).map_or_else(|| everybody.clone(), |team| team.record.cache.over(everybody))
    }

    /// Why a lane is paused, if it is: by itself, or with all lanes of its team.
    pub fn lane_pause(&self, lane: &LaneKey) -> Option<Arc<Pause>> {
        let known = self.known();
        // Asked for every lane with every plan; mostly nothing is paused.
        if known.pauses.is_empty() {
            return None;
        }
        pauses_of(lane)?.iter().find_map(|paused| known.pauses.get(paused).cloned())
    }

    /// Why a model is paused, if it is, by the model's name.
    pub fn model_pause(&self, model: &str) -> Option<Arc<Pause>> {
        let known = self.known();
        if known.pauses.is_empty() {
            return None;
        }
        known.pauses.get(&Paused::model(model)).cloned()
    }

    /// Why the model of a gate is paused, if it is; other gates cannot be.
    pub fn gate_pause(&self, gate: &Gate) -> Option<Arc<Pause>> {
        match gate {
            Gate::Model(digest) => self.known().pauses.get(&Paused::Model { digest: digest.clone() }).cloned(),
            Gate::Due | Gate::Account(_) | Gate::Answer(_) => None,
        }
    }

    /// Everything that is paused, in a stable order.
    pub fn pauses(&self) -> Vec<(Paused, Arc<Pause>)> {
        let mut all: Vec<_> =
            self.known().pauses.iter().map(|(paused, pause)| (paused.clone(), pause.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// A number that grows with every change that was taken in.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Follows changes for ever, and reads everything again whenever the connection comes back. Cancel safe: what was
    /// taken in stays.
    pub async fn follow(&self) {
        let mut changes = self.bucket.watch("");
        // What is being read whole, until it is complete.
        let mut fresh: Option<Known> = None;
        loop {
            match (changes.next().await, &mut fresh) {
                (Seen::Anew, _) => fresh = Some(Known::default()),
                (Seen::Put(version), Some(fresh)) => {
                    if let Taken::Refused(about) = fresh.put(&version, self.shared.checks) {
                        fresh.inherit(about, &self.known());
                    }
                }
                (Seen::Put(version), None) => self.note(|known, checks| known.put(&version, checks) == Taken::Changed),
                (Seen::Gone { .. }, Some(_)) => {}
                (Seen::Gone { key, revision }, None) => self.note(|known, _| known.remove(&key, revision)),
                (Seen::Complete, None) => {}
                (Seen::Complete, Some(read)) => {
                    let read = std::mem::take(read);
                    fresh = None;
                    self.note(|known, _| {
                        *known = read;
                        true
                    });
                }
            }
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.shared.known.read().expect("no holder panics")
    }

    /// Changes what is known, and tells if something did change.
    fn note(&self, change: impl FnOnce(&mut Known, Checks) -> bool) {
        let changed = change(&mut self.shared.known.write().expect("no holder panics"), self.shared.checks);
        if changed {
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }
}

/// What became of a record that came in.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// It holds now.
    Changed,
    /// It is older than what is known, or nothing of ours.
    Passed,
    /// It is not valid; what it is about keeps the record of before.
    Refused(About),
}

impl Known {
    fn put(&mut self, version: &Version, checks: Checks) -> Taken {
        let Version { key, value, revision, at } = version;
        if self.revisions.get(key).is_some_and(|known| known >= revision) {
            return Taken::Passed;
        }
        let about = match about(key) {
            Ok(Some(about)) => about,
            Ok(None) => return Taken::Passed,
            Err(reason) => {
                tracing::error!(key, reason, "this key of the live configuration means nothing");
                return Taken::Passed;
            }
        };
        self.revisions.insert(key.clone(), *revision);
        let taken = match &about {
            About::Team(team) => decode(value, checks).map(|record| {
                self.teams.insert(team.to_string(), Stored { record: Arc::new(record), at: *at });
            }),
            About::Organisation => {
                decode(value, checks).map(|record| self.organisation = Stored { record: Arc::new(record), at: *at })
            }
            About::Pause(paused) => decode(value, checks).map(|pause| {
                self.pauses.insert(paused.clone(), Arc::new(pause));
            }),
        };
        match taken {
            Ok(()) => Taken::Changed,
            Err(reason) => {
                tracing::error!(
                    key,
                    revision,
                    reason,
                    "a record of the live configuration is invalid; the old one stays"
                );
                Taken::Refused(about)
            }
        }
    }

    /// Keeps what was known of something whose record is not valid any more.
    fn inherit(&mut self, about: About, before: &Known) {
        match about {
            About::Team(team) => {
                if let Some(record) = before.teams.get(team.as_str()) {
                    self.teams.insert(team.to_string(), record.clone());
                }
            }
            About::Organisation => self.organisation = before.organisation.clone(),
            About::Pause(paused) => {
                if let Some(pause) = before.pauses.get(&paused) {
                    self.pauses.insert(paused, pause.clone());
                }
            }
        }
    }

    fn remove(&mut self, key: &str, revision: u64) -> bool {
        if self.revisions.get(key).is_some_and(|&known| known >= revision) {
            return false;
        }
        self.revisions.insert(key.to_owned(), revision);
        match about(key) {
            Ok(Some(About::Team(team))) => self.teams.remove(team.as_str()).is_some(),
            Ok(Some(About::Organisation)) => {
                self.organisation = Stored::default();
                true
            }
            Ok(Some(About::Pause(paused))) => self.pauses.remove(&paused).is_some(),
            Ok(None) | Err(_) => false,
        }
    }
}
