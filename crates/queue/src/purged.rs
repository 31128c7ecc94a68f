//! Purged: until when kept answers were forgotten, so that an answer whose call was under way is not kept afterwards.
//!
//! Whoever purges writes the time first, and removes what is kept then. Whoever keeps an answer publishes it first, and
//! reads the times then. So of an answer whose call began before a purge, the purge finds the message, or its keeper
//! finds the time and takes it back. A keeper that is killed between the two leaves it; it ends with its own time.

use futures_util::future::try_join_all;
use tollgate_types::UnixMillis;

use crate::answers::{Purge, Slot};
use crate::state::{State, StateError};

/// How the times are found among the broker's other small records.
const PREFIX: &str = "purged";
/// Stands for all teams, and for all models; no name and no digest is this.
const ALL: &str = "=";

/// Notes that answers are forgotten which were asked for before `at`. A purge of one request is not noted.
///
/// # Errors
/// Why it may not be noted; then nothing should be removed, because it could come back.
pub async fn note(state: &State, purge: &Purge, at: UnixMillis) -> Result<(), StateError> {
    if purge.key.is_some() {
        return Ok(());
    }
    let [team, model] = [&purge.team, &purge.model].map(|token| token.as_deref().unwrap_or(ALL));
    state.put(&key(team, model), at.0.to_string().into()).await.map(drop)
}

/// When answers of a place were last forgotten; `None` if they never were. Cancel safe.
///
/// # Errors
/// Why it is not known.
pub async fn last(state: &State, slot: &Slot) -> Result<Option<UnixMillis>, StateError> {
    let (team, model) = (slot.team.as_str(), slot.model.as_str());
    let reaching = [(ALL, ALL), (team, ALL), (ALL, model), (team, model)];
    let read = reaching.map(|(team, model)| async move { state.get(&key(team, model)).await });
    let times = try_join_all(read).await?.into_iter().flatten().map(|(value, _)| {
        let text = std::str::from_utf8(&value).ok();
        // One that cannot be read is of a newer version, and may be of now.
        text.and_then(|text| text.parse().ok()).map_or(UnixMillis(i64::MAX), UnixMillis)
    });
    Ok(times.max())
}

fn key(team: &str, model: &str) -> String {
    format!("{PREFIX}.{team}.{model}")
}
