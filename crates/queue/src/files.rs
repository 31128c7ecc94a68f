//! Uploaded files in the stream of files: written in chunks, there once their record is, read a chunk at a time.
//!
//! In the order of writing: `begun`, which takes the room; the chunks; `meta`, the record. Killed before the record, the
//! file is not there, and [`Files::sweep`] removes what there is of it. Removed in the order `meta`, all else: killed in
//! between, the file is gone, and the sweep removes the rest.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tollgate_types::file::{FileBegun, FileId, FileRecord};
use tollgate_types::subjects::{self, FILES_STREAM};
use tollgate_types::{Team, UnixMillis};

use crate::api::{self, ApiError, NO_STREAM, Stored};
use crate::direct;
use crate::tombs::page;

/// Chunks that are read ahead of who reads.
const AHEAD: usize = 4;
/// Tries of one write, all with the same effect.
const TRIES: u32 = 4;
/// The most records of one page.
const PAGE_MAX: usize = 500;

/// The stream of uploaded files. It may be missing: then nothing is found, and nothing can be put.
#[derive(Clone)]
pub struct Files {
    client: Client,
}

/// What a team's files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How many there are, whole or begun.
    pub files: u64,
    /// Their bytes, or what they may come to have.
    pub bytes: u64,
}

impl Files {
    /// Over a connection of the broker; nothing is asked yet.
    pub fn new(client: &Client) -> Files {
        Files { client: client.clone() }
    }

    /// Begins an upload: its room is taken from now on.
    ///
    /// # Errors
    /// Why it was not stored, or not certainly; so below.
    pub async fn begin(&self, team: &str, file: &FileId, begun: &FileBegun) -> Result<(), ApiError> {
        self.put(subjects::file_begun(team, file), to_json(begun)).await
    }

    /// Puts a chunk, counted from 0. Idempotent.
    ///
    /// # Errors
    /// As [`Files::begin`].
    pub async fn put_chunk(&self, team: &str, file: &FileId, chunk: u64, bytes: Bytes) -> Result<(), ApiError> {
        self.put(subjects::file_chunk(team, file, chunk), bytes).await
    }

    /// Puts the record: from now on the file is there. Whether it was not before.
    ///
    /// # Errors
    /// As [`Files::begin`].
    pub async fn seal(&self, team: &str, record: &FileRecord) -> Result<bool, ApiError> {
        let (subject, payload) = (subjects::file_record(team, &record.id), to_json(record));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let headers = HeaderMap::new();
            match api::publish_expecting(&self.client, subject.clone(), headers, payload.clone(), 0).await {
                // After a try without an answer, what is there is our own.
                Ok(stored) => return Ok(stored == Stored::New || attempt > 1),
                Err(ApiError::Unknown | ApiError::Absent { .. }) if attempt < TRIES => pause(attempt).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A whole file; `None` if there is none. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn record(&self, team: &str, file: &FileId, now: UnixMillis) -> Result<Option<FileRecord>, ApiError> {
        // By the leader: who was just told that the file is there finds it.
        let found = api::last_of_leader(&self.client, FILES_STREAM, &subjects::file_record(team, file)).await?;
        let Some(bytes) = found else { return Ok(None) };
        let record: Option<FileRecord> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| record.expires_at > now))
    }

    /// Removes a file, whole or not. Idempotent.
    ///
    /// # Errors
    /// Why the server did not; then some of it may be there, and it is to be repeated.
    pub async fn remove(&self, team: &str, file: &FileId) -> Result<(), ApiError> {
        // First the record: a file without all of its chunks must not be there.
        self.purge(subjects::file_record(team, file)).await?;
        self.purge(format!("tollgate.files.{team}.{file}.*")).await
    }

    /// The bytes of a whole file, from the beginning, a few chunks ahead. It ends with an error where a chunk is missing.
    pub fn read(
        &self,
        team: &str,
        record: &FileRecord,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
        let (files, team, file) = (self.clone(), team.to_owned(), record.id.clone());
        let chunk = move |n| {
            let (files, subject) = (files.clone(), subjects::file_chunk(&team, &file, n));
            async move { files.chunk(subject).await }
        };
        Box::pin(stream::iter(0..record.chunks()).map(chunk).buffered(AHEAD))
    }

    async fn chunk(&self, subject: String) -> io::Result<Bytes> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match api::last(&self.client, FILES_STREAM, &subject).await {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => return Err(io::Error::new(io::ErrorKind::NotFound, "a part of the file is not there")),
                Err(ApiError::Unknown | ApiError::Absent { .. }) if attempt < TRIES => pause(attempt).await,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// A team's whole files, the oldest first. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn list(&self, team: &str, now: UnixMillis) -> Result<Vec<FileRecord>, ApiError> {
        let mut records = Vec::new();
        self.each(&format!("tollgate.files.{team}.*.meta"), |stored| {
            let record: Option<FileRecord> = read(stored);
            records.extend(record.filter(|record| record.expires_at > now));
        })
        .await?;
        Ok(records)
    }

    /// What a team's files take, with those that were begun and are not whole. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn room(&self, team: &str) -> Result<Room, ApiError> {
        let mut bytes: HashMap<FileId, u64> = HashMap::new();
        self.each(&format!("tollgate.files.{team}.*.begun"), |stored| {
            if let (Some((_, file, _)), Some(begun)) =
                (subjects::parse_file(&stored.subject), read::<FileBegun>(stored))
            {
                bytes.insert(file, begun.room);
            }
        })
        .await?;
        // Behind the first walk: a file that became whole in between counts with its size.
        self.each(&format!("tollgate.files.{team}.*.meta"), |stored| {
            if let Some(record) = read::<FileRecord>(stored) {
                bytes.insert(record.id, record.bytes);
            }
        })
        .await?;
        Ok(Room { files: bytes.len() as u64, bytes: bytes.values().sum() })
    }

    /// Removes what was begun longer than `abandoned` ago and is not whole, and whole files whose time is over; says how
    /// many.
    ///
    /// # Errors
    /// Why the server did not; it is to be repeated.
    pub async fn sweep(&self, now: UnixMillis, abandoned: Duration) -> Result<u64, ApiError> {
        let mut old: Vec<(Team, FileId)> = Vec::new();
        self.each("tollgate.files.*.*.begun", |stored| {
            if let (Some((team, file, _)), Some(begun)) =
                (subjects::parse_file(&stored.subject), read::<FileBegun>(stored))
                && now.since(begun.at) > abandoned
            {
                old.push((team, file));
            }
        })
        .await?;
        let mut removed = 0;
        for (team, file) in old {
            // One whose time is over is none either.
            if self.record(team.as_str(), &file, now).await?.is_none() {
                self.remove(team.as_str(), &file).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn each(&self, filter: &str, mut look: impl FnMut(&direct::Stored)) -> Result<(), ApiError> {
        let mut from = Some(1);
        while let Some(next) = from {
            let page = match page(&self.client, FILES_STREAM, filter, next, PAGE_MAX).await {
                Err(ApiError::Absent { .. }) if next == 1 => return Ok(()),
                page => page?,
            };
            page.messages.iter().for_each(&mut look);
            from = page.messages.last().filter(|_| page.pending > 0).map(|last| last.sequence + 1);
        }
        Ok(())
    }

    async fn put(&self, subject: String, payload: Bytes) -> Result<(), ApiError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match api::acknowledged(&self.client, subject.clone(), HeaderMap::new(), payload.clone()).await {
                Err(ApiError::Unknown | ApiError::Absent { .. }) if attempt < TRIES => pause(attempt).await,
                stored => return stored,
            }
        }
    }

    async fn purge(&self, filter: String) -> Result<(), ApiError> {
        match api::purge(&self.client, FILES_STREAM, &filter).await {
            Ok(_) | Err(ApiError::Refused { code: NO_STREAM, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A server that just restarted knows its streams a moment later.
async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
}

fn read<T: DeserializeOwned>(stored: &direct::Stored) -> Option<T> {
    serde_json::from_slice(&stored.payload).ok()
}

fn to_json(record: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(record).expect("texts and numbers always serialise").into()
}
