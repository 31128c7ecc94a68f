//! The keys of one provider, shared by all its deployments.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;
use tollgate_types::{Failure, FailureKind};

use super::pool::{Disabled, Pool};
use super::{ApiKey, KeyError, KeySource, Picked, Unusable, Why};

/// The keys of one provider: used in turn, each out of use while the provider refuses it or its quota is spent, and
/// replaced while calls run.
pub struct Ring {
    provider: String,
    /// In the order of the pool's slots.
    sources: Vec<KeySource>,
    state: Mutex<State>,
}

struct State {
    pool: Pool,
    /// When each key was last read.
    read: Vec<Instant>,
}

/// Which keys are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Files, and commands whose time has come.
    Due,
    /// Files and commands.
    All,
}

impl Ring {
    /// Finds every key of a provider. Each has an id, which logs and metrics show, and a source. `env` looks up an
    /// environment variable. Blocks while files are read and commands run.
    ///
    /// # Errors
    /// Returns the id of the first key that cannot be found, and why.
    pub fn open(
        provider: impl Into<String>,
        sources: Vec<(String, KeySource)>,
        env: &dyn Fn(&str) -> Option<String>,
        now: Instant,
    ) -> Result<Arc<Self>, (String, KeyError)> {
        let (mut keys, mut kept) = (Vec::new(), Vec::new());
        for (id, source) in sources {
            match source.resolve(env) {
                Ok(Some(key)) => {
                    keys.push((id, key));
                    kept.push(source);
                }
                Ok(None) => {}
                Err(error) => return Err((id, error)),
            }
        }
        Ok(Arc::new(Ring::over(provider.into(), keys, kept, now)))
    }

    /// A ring of one key that never changes, or of none.
    pub(crate) fn of_one(provider: &str, key: Option<ApiKey>) -> Arc<Self> {
        let keys = key.map(|key| ("key-1".to_owned(), key)).into_iter().collect();
        Arc::new(Ring::over(provider.to_owned(), keys, Vec::new(), Instant::now()))
    }

    /// A ring without keys, for who takes none.
    pub fn of_none(provider: &str) -> Arc<Self> {
        Ring::of_one(provider, None)
    }

    fn over(provider: String, keys: Vec<(String, ApiKey)>, sources: Vec<KeySource>, now: Instant) -> Self {
        let read = vec![now; keys.len()];
        Ring { provider, sources, state: Mutex::new(State { pool: Pool::new(keys), read }) }
    }

    /// How many keys there are; none for a provider that takes none.
    pub fn len(&self) -> usize {
        self.state().pool.slots().len()
    }

    /// Whether the provider takes no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every key with its id.
    pub fn keys(&self) -> Vec<(String, ApiKey)> {
        self.state().pool.slots().iter().map(|slot| (slot.id.clone(), slot.key.clone())).collect()
    }

    /// Reads keys again: what comes from the environment stays. A key that changed is usable at once, whatever was held
    /// against its former value; one that cannot be read stays as it is, with a warning that quotes nothing of it.
    /// Returns how many changed. Blocks while files are read and commands run.
    pub fn reload(&self, which: Reload, now: Instant) -> usize {
        let mut changed = 0;
        for (at, source) in self.sources.iter().enumerate() {
            if !self.is_due(at, source, which, now) {
                continue;
            }
            // The lock is not held meanwhile: a command takes its time.
            let found = source.resolve(&|_| None);
            changed += usize::from(self.take_in(at, found, now));
        }
        changed
    }

    /// Returns whether the key changed.
    fn take_in(&self, at: usize, found: Result<Option<ApiKey>, KeyError>, now: Instant) -> bool {
        let mut state = self.state();
        state.read[at] = now;
        let id = state.pool.slots()[at].id.clone();
        let changed = found.map(|key| key.is_some_and(|key| state.pool.replace(at, key)));
        drop(state);
        let provider = self.provider.as_str();
        match &changed {
            Ok(true) => tracing::info!(provider, key = id, "a key changed"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(provider, key = id, %error, cause, "a key is not reloaded and stays as it is");
            }
        }
        changed.unwrap_or(false)
    }

    fn is_due(&self, at: usize, source: &KeySource, which: Reload, now: Instant) -> bool {
        match source {
            KeySource::Env(_) | KeySource::None => false,
            KeySource::File(_) => true,
            KeySource::Command { every, .. } => {
                which == Reload::All || now.saturating_duration_since(self.state().read[at]) >= *every
            }
        }
    }

    /// The key for a call of the model; `None` for a provider that takes none.
    pub(crate) fn pick(&self, model: &str, now: Instant) -> Result<Option<Picked>, Unusable> {
        self.state().pool.pick(model, now)
    }

    /// Learns from a call how its key is doing. Returns whether another key can be tried at once, where the key is what
    /// the call failed for.
    pub(crate) fn learn(&self, picked: &Picked, model: &str, failure: Option<&Failure>, now: Instant) -> bool {
        let Some((why, failure)) = failure.and_then(|failure| Some((blame(failure)?, failure))) else {
            if failure.is_none() {
                self.state().pool.worked(picked, model);
            }
            return false;
        };
        let (disabled, another) = {
            let mut state = self.state();
            let disabled = state.pool.disable(picked, why, (model, failure.retry_after), now);
            (disabled, state.pool.is_usable(model, now))
        };
        if let Some(disabled) = disabled {
            self.tell(disabled, why, model);
        }
        another
    }

    fn tell(&self, disabled: Disabled, why: Why, model: &str) {
        let Disabled { id, wait, first } = disabled;
        let (provider, for_s, why) = (self.provider.as_str(), wait.as_secs(), why.as_str());
        metrics::counter!("tollgate_keys_disabled_total", "provider" => provider.to_owned(), "key" => id.clone(), "why" => why)
            .increment(1);
        if first {
            tracing::error!(
                provider,
                key = id,
                model,
                why,
                for_s,
                "a key is out of use; replace it or mend its account"
            );
        } else {
            tracing::debug!(provider, key = id, model, why, for_s, "a key is still out of use");
        }
    }

    /// A failure of a call that is not made, as no key is usable.
    pub(crate) fn refusal(&self, unusable: &Unusable, now: Instant) -> Failure {
        let ago = now.saturating_duration_since(unusable.since).as_secs();
        let wait = unusable.until.saturating_duration_since(now);
        let what = match unusable.why {
            Why::Refused => "was refused",
            Why::Forbidden => "was not allowed to use the model",
            Why::Spent => "was out of quota",
        };
        let message = format!(
            "no key of {} is usable: the last one {what} {ago} s ago, and none is tried again for {} s",
            self.provider,
            wait.as_secs_f64().ceil()
        );
        let billed = tollgate_types::Billed::No;
        Failure { kind: unusable.why.kind(), http_status: None, retry_after: Some(wait), billed, message }
    }

    /// Every key, to mask them in what the provider says: those of now, and the one that the call was made with.
    pub(crate) fn secrets(&self, picked: Option<&ApiKey>) -> Vec<ApiKey> {
        let mut secrets: Vec<ApiKey> = self.keys().into_iter().map(|(_, key)| key).collect();
        secrets.extend(picked.cloned());
        // The longest first, as one may be the beginning of another.
        secrets.sort_by_key(|key| std::cmp::Reverse(key.expose().len()));
        secrets
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// What a failure says about the key. A 403 is about what the key may do, and the same key may do for another model.
fn blame(failure: &Failure) -> Option<Why> {
    match failure.kind {
        FailureKind::Auth if failure.http_status == Some(403) => Some(Why::Forbidden),
        FailureKind::Auth => Some(Why::Refused),
        FailureKind::QuotaExhausted => Some(Why::Spent),
        FailureKind::Connect
        | FailureKind::FirstByteTimeout
        | FailureKind::TotalTimeout
        | FailureKind::Reset
        | FailureKind::RateLimited
        | FailureKind::ServerError
        | FailureKind::NotAgain
        | FailureKind::NotFound
        | FailureKind::ContextLength
        | FailureKind::ContentPolicy
        | FailureKind::InvalidRequest
        | FailureKind::Unsupported
        | FailureKind::BadResponse
        | FailureKind::Deadline => None,
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<String> = self.keys().into_iter().map(|(id, _)| id).collect();
        f.debug_struct("Ring").field("provider", &self.provider).field("keys", &ids).finish()
    }
}

#[cfg(test)]
mod tests;
