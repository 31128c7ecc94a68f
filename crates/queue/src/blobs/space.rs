//! How full the stream of large bodies is, and who fills it.
//!
//! Teams write it themselves, and the server has no limit of bytes for a part of a stream's subjects. What the broker writes
//! for a team keeps to the team's share of it: no more than is left free then, as for every room that teams share. It counts
//! in chunks, because that is what the server counts by subject.

use std::collections::BTreeMap;

use async_nats::Client;
use serde::Deserialize;
use serde_json::json;
use tollgate_types::claim::CHUNK_BYTES;
use tollgate_types::subjects;

use super::Blobs;
use crate::api::{self, ApiError, NO_STREAM};

/// Pages of subjects that are read at most; the server tells 100,000 subjects on each, some 50 GB of whole chunks.
const PAGES_MAX: usize = 100;

/// How full the stream of large bodies is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What is in it, in bytes.
    pub bytes: u64,
    /// What it takes at most; `None` without a limit.
    pub bytes_max: Option<u64>,
    /// Bytes of each team, counted as whole chunks: at most so much, where chunks are as they should be.
    pub teams: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Info {
    /// Subjects that match, on all pages.
    #[serde(default)]
    total: usize,
    config: Config,
    state: State,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    max_bytes: i64,
}

#[derive(Deserialize)]
struct State {
    bytes: u64,
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

impl Blobs {
    /// How full the stream is, and who fills it; `None` if there is no stream. Reads the names of all chunks.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn space(&self) -> Result<Option<Space>, ApiError> {
        let mut space = Space::default();
        let mut offset = 0;
        for _ in 0..PAGES_MAX {
            let question = json!({ "subjects_filter": subjects::BLOBS, "offset": offset });
            let Some(Info { total, config, state }) = info(&self.client, &question).await? else { return Ok(None) };
            (space.bytes, space.bytes_max) = (state.bytes, u64::try_from(config.max_bytes).ok());
            let page = state.subjects.unwrap_or_default();
            offset += page.len();
            for (subject, chunks) in &page {
                if let Some(team) = subject.split('.').nth(2) {
                    *space.teams.entry(team.to_owned()).or_default() += chunks * CHUNK_BYTES as u64;
                }
            }
            if page.is_empty() || offset >= total {
                break;
            }
        }
        Ok(Some(space))
    }

    /// Whether a body of so many bytes is within the team's share of the stream: a team that has some there already has no
    /// more than is left free with it. As long as the stream is half empty nobody is asked for; what others write at the same
    /// moment is not seen.
    pub(super) async fn is_within_share(&self, team: &str, more: u64) -> Result<bool, ApiError> {
        let Some(Info { config, state, .. }) = info(&self.client, &json!({})).await? else { return Ok(true) };
        let Ok(size) = u64::try_from(config.max_bytes) else { return Ok(true) };
        if state.bytes + more <= size / 2 {
            return Ok(true);
        }
        let question = json!({ "subjects_filter": format!("tollgate.blobs.{team}.>") });
        let Some(Info { total, state, .. }) = info(&self.client, &question).await? else { return Ok(true) };
        let on_page = state.subjects.unwrap_or_default().len();
        let held = (total.max(on_page) as u64 * CHUNK_BYTES as u64).min(state.bytes);
        Ok(held == 0 || held + more <= size.saturating_sub(state.bytes + more))
    }
}

async fn info(client: &Client, question: &serde_json::Value) -> Result<Option<Info>, ApiError> {
    let subject = format!("$JS.API.STREAM.INFO.{}", subjects::BLOBS_STREAM);
    match api::ask(client, subject, question.to_string().into()).await {
        Ok(info) => Ok(Some(info)),
        Err(ApiError::Refused { code: NO_STREAM, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
