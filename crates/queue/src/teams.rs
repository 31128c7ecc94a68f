//! The registered teams: a watched bucket, so that one `team add` reaches every worker at once.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{Operation, Store};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tollgate_types::{Team, subjects};

/// What is configured about one team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamRecord {
    /// Its share against other teams of the same class; at least 1.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl Default for TeamRecord {
    fn default() -> Self {
        TeamRecord { weight: 1 }
    }
}

/// Why the teams could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the teams; does the bucket exist? run `tollgate init`")]
pub struct TeamsError {
    action: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The registered teams as this process knows them. Clones share what they know.
#[derive(Clone)]
pub struct Teams {
    store: Store,
    known: Arc<RwLock<HashMap<String, TeamRecord>>>,
}

impl Teams {
    /// Opens the bucket and reads it whole.
    ///
    /// # Errors
    /// Returns why the bucket could not be read.
    pub async fn open(context: &Context) -> Result<Teams, TeamsError> {
        let store = context.get_key_value(subjects::CONFIG_BUCKET).await.map_err(|e| failed("open", e))?;
        let teams = Teams { store, known: Arc::default() };
        teams.reload().await?;
        Ok(teams)
    }

    /// Registers a team or changes it.
    ///
    /// # Errors
    /// Returns why the record could not be written.
    pub async fn put(&self, team: &Team, record: &TeamRecord) -> Result<(), TeamsError> {
        let value = serde_json::to_vec(record).expect("numbers serialise");
        self.store.put(key(team), value.into()).await.map_err(|e| failed("change", e))?;
        self.note(team.as_str(), Some(record.clone()));
        Ok(())
    }

    /// The record of a team, if it is registered.
    pub fn record(&self, team: &str) -> Option<TeamRecord> {
        self.known.read().expect("no holder panics").get(team).cloned()
    }

    /// Every registered team, by name.
    pub fn all(&self) -> Vec<(String, TeamRecord)> {
        let mut all: Vec<_> = self.known.read().expect("no holder panics").clone().into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Reads the bucket whole.
    ///
    /// # Errors
    /// Returns why the bucket could not be read; what was known stays.
    pub async fn reload(&self) -> Result<(), TeamsError> {
        let keys: Vec<String> = self
            .store
            .keys()
            .await
            .map_err(|e| failed("list", e))?
            .try_collect()
            .await
            .map_err(|e| failed("list", e))?;
        let mut fresh = HashMap::new();
        for key in keys {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let Some(value) = self.store.get(&key).await.map_err(|e| failed("read", e))? else { continue };
            if let Some(record) = decode(name, &value) {
                fresh.insert(name.to_owned(), record);
            }
        }
        *self.known.write().expect("no holder panics") = fresh;
        Ok(())
    }

    /// Follows changes for ever. After a server restart the watch reports one error and goes on, or ends; either way
    /// the bucket is read whole again, so that nothing is missed. Cancel safe.
    pub async fn follow(&self) {
        loop {
            if let Ok(mut changes) = self.store.watch(format!("{PREFIX}>")).await {
                if let Err(error) = self.reload().await {
                    tracing::warn!(%error, "teams not read again");
                }
                while let Some(change) = changes.next().await {
                    let Ok(entry) = change else { break };
                    let Some(name) = entry.key.strip_prefix(PREFIX) else { continue };
                    match entry.operation {
                        Operation::Put => {
                            if let Some(record) = decode(name, &entry.value) {
                                self.note(name, Some(record));
                            }
                        }
                        Operation::Delete | Operation::Purge => self.note(name, None),
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn note(&self, name: &str, record: Option<TeamRecord>) {
        let mut known = self.known.write().expect("no holder panics");
        match record {
            Some(record) => known.insert(name.to_owned(), record),
            None => known.remove(name),
        };
    }
}

const PREFIX: &str = "team.";

fn key(team: &Team) -> String {
    format!("{PREFIX}{team}")
}

fn decode(name: &str, value: &[u8]) -> Option<TeamRecord> {
    match serde_json::from_slice(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(team = name, %error, "a team's record is invalid; the old one stays");
            None
        }
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(action: &'static str, source: E) -> TeamsError {
    TeamsError { action, source: Box::new(source) }
}
