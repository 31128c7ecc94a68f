//! Changing the directory: every write names what it expects to replace.

use bytes::Bytes;
use tollgate_types::Team;

use super::records::{ORGANISATION, Record, decode, pause_key, team_key};
use super::{Directory, DirectoryError, Expected, Organisation, Pause, Paused, TeamRecord};
use crate::bucket::{BucketError, Version};

impl Directory {
    /// A team's record as it is stored now, and what a write must expect to replace it.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] for a stored record that is not valid; [`DirectoryError::Bucket`].
    pub async fn team_entry(&self, team: &Team) -> Result<(Option<TeamRecord>, Expected), DirectoryError> {
        self.entry(&team_key(team)).await
    }

    /// Registers a team or changes it.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] and [`DirectoryError::Conflict`], with nothing written; [`DirectoryError::Bucket`].
    pub async fn put_team(&self, team: &Team, record: &TeamRecord, expected: Expected) -> Result<(), DirectoryError> {
        self.put(team_key(team), record, expected).await
    }

    /// Takes a team off the register. Says whether it was there.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] if it was changed while it was removed; [`DirectoryError::Bucket`].
    pub async fn remove_team(&self, team: &Team) -> Result<bool, DirectoryError> {
        Ok(self.delete(&team_key(team)).await?.is_some())
    }

    /// The organisation's record as it is stored now, and what a write must expect to replace it.
    ///
    /// # Errors
    /// As [`Directory::team_entry`].
    pub async fn organisation_entry(&self) -> Result<(Option<Organisation>, Expected), DirectoryError> {
        self.entry(ORGANISATION).await
    }

    /// Changes what holds for everybody together.
    ///
    /// # Errors
    /// As [`Directory::put_team`].
    pub async fn put_organisation(&self, record: &Organisation, expected: Expected) -> Result<(), DirectoryError> {
        self.put(ORGANISATION.to_owned(), record, expected).await
    }

    /// Pauses a lane, a team or a model, and returns the pause that it replaces.
    ///
    /// # Errors
    /// As [`Directory::put_team`].
    pub async fn pause(&self, paused: &Paused, pause: &Pause) -> Result<Option<Pause>, DirectoryError> {
        let key = pause_key(paused);
        let (before, expected) = match self.entry(&key).await {
            // What nobody can read is no loss.
            Err(DirectoryError::Invalid { .. }) => (None, Expected::Any),
            entry => entry?,
        };
        self.put(key, pause, expected).await?;
        Ok(before)
    }

    /// Ends a pause, and returns it; `None` if there was none.
    ///
    /// # Errors
    /// As [`Directory::remove_team`].
    pub async fn resume(&self, paused: &Paused) -> Result<Option<Pause>, DirectoryError> {
        let ended = self.delete(&pause_key(paused)).await?;
        // One that cannot be read was a pause to nobody.
        Ok(ended.and_then(|value| decode(&value, self.shared.checks).ok()))
    }

    async fn entry<R: Record>(&self, key: &str) -> Result<(Option<R>, Expected), DirectoryError> {
        let found = self.bucket.get(key).await.map_err(|source| DirectoryError::Bucket { action: "read", source })?;
        let Some((value, revision)) = found else { return Ok((None, Expected::Absent)) };
        let record = decode(&value, self.shared.checks)
            .map_err(|reason| DirectoryError::Invalid { key: key.to_owned(), reason })?;
        Ok((Some(record), Expected::Revision(revision)))
    }

    /// Killed before the write, nothing changed; killed after it, the watch tells everybody all the same.
    async fn put<R: Record>(&self, key: String, record: &R, expected: Expected) -> Result<(), DirectoryError> {
        let value = Bytes::from(serde_json::to_vec(record).expect("texts and numbers always serialise"));
        // Read back as everybody will read it.
        let judged = decode::<R>(&value, self.shared.checks).and_then(|_| record.check_write(self.shared.checks));
        judged.map_err(|reason| DirectoryError::Invalid { key: key.clone(), reason })?;
        let written = match expected {
            Expected::Absent => self.bucket.create(&key, value.clone()).await,
            Expected::Revision(revision) => self.bucket.update(&key, value.clone(), revision).await,
            Expected::Any => self.bucket.put(&key, value.clone()).await,
        };
        let revision = written.map_err(|source| failed(&key, source))?;
        // This process knows at once, with or without a watch.
        let version = Version { key, value, revision, at: Default::default() };
        self.note(|known, checks| known.put(&version, checks) == super::Taken::Changed);
        Ok(())
    }

    /// The value that was deleted, if there was one.
    async fn delete(&self, key: &str) -> Result<Option<Bytes>, DirectoryError> {
        let found = self.bucket.get(key).await.map_err(|source| DirectoryError::Bucket { action: "read", source })?;
        let Some((value, revision)) = found else { return Ok(None) };
        self.bucket.delete(key, revision).await.map_err(|source| failed(key, source))?;
        // The deletion's own revision is larger; it comes in by the watch.
        self.note(|known, _| known.remove(key, revision + 1));
        Ok(Some(value))
    }
}

fn failed(key: &str, source: BucketError) -> DirectoryError {
    match source {
        BucketError::Conflict => DirectoryError::Conflict { key: key.to_owned() },
        source => DirectoryError::Bucket { action: "change", source },
    }
}
