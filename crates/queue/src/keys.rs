//! The front door's API keys: a bucket of records by their ids, followed, so that what is revoked anywhere is refused
//! everywhere a moment later.
//!
//! A record holds digests of secrets, never a secret. One that cannot be read is no key: a scope that this program is too
//! old to know must not open more than it says.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_nats::jetstream::Context;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tollgate_types::api_key::Presented;
use tollgate_types::{Class, Digest, Door, KeyId, Team, UnixMillis, subjects};

use crate::bucket::{Bucket, BucketError, Seen, Version};
use crate::directory::is_allowed;

/// One key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Whose jobs come in with it.
    pub team: Team,
    /// What people call it.
    pub name: String,
    /// The digest of its secret.
    pub digest: String,
    /// The secret before the last rotation, as long as it still opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Who made it.
    pub created_by: String,
    /// When it stops to open; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<UnixMillis>,
    /// The models that it may ask for; all if empty, and `gpt-4o*` is all that begin so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The classes that its jobs may have; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// The endpoints that it opens; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Door>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its digest.
    pub digest: String,
    /// Until when it still opens.
    pub until: UnixMillis,
}

/// Why a key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// There is no such key, or its secret is another. Which of the two is not told.
    Unknown,
    /// It was revoked. Told to who has the secret alone.
    Revoked,
    /// Its time is over, or that of the secret before a rotation. Told to who has the secret alone.
    Expired,
}

impl KeyRecord {
    /// Whether a model may be asked for with it.
    pub fn model(&self, name: &str) -> bool {
        is_allowed(&self.models, name)
    }

    /// Whether jobs of a class may come in with it.
    pub fn class(&self, class: Class) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }

    /// Whether it opens an endpoint.
    pub fn door(&self, door: Door) -> bool {
        self.endpoints.is_empty() || self.endpoints.contains(&door)
    }

    /// Whether a secret with that digest opens now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn opens(&self, digest: &Digest, now: UnixMillis) -> Result<(), Shut> {
        let is = |stored: &str| Digest::from_hex(stored).is_some_and(|stored| stored.is_same_as(digest));
        // Both are always compared, so that the time tells nothing of them.
        let (current, before) = (is(&self.digest), self.before.as_ref().filter(|before| is(&before.digest)));
        let until = match (current, before) {
            (true, _) => self.expires_at,
            (false, Some(before)) => Some(self.expires_at.map_or(before.until, |at| at.min(before.until))),
            (false, None) => return Err(Shut::Unknown),
        };
        if self.revoked_at.is_some() {
            return Err(Shut::Revoked);
        }
        if until.is_some_and(|at| at <= now) { Err(Shut::Expired) } else { Ok(()) }
    }
}

/// The keys as this process knows them. Clones share what they know.
#[derive(Clone)]
pub struct Keys {
    bucket: Bucket,
    shared: Arc<Shared>,
}

struct Shared {
    known: RwLock<HashMap<KeyId, Entry>>,
    changes: watch::Sender<u64>,
}

/// What is known of an id: a record, or that there is none any more.
#[derive(Clone)]
struct Entry {
    record: Option<Arc<KeyRecord>>,
    revision: u64,
}

type Known = HashMap<KeyId, Entry>;

impl Keys {
    /// Opens the bucket and reads it whole.
    ///
    /// # Errors
    /// Why it was not read.
    pub async fn open(context: &Context) -> Result<Keys, BucketError> {
        let bucket = Bucket::open(context, subjects::KEYS_BUCKET).await?;
        let mut known = Known::new();
        for version in bucket.read_all("").await? {
            put(&mut known, &version);
        }
        let (changes, _) = watch::channel(0);
        Ok(Keys { bucket, shared: Arc::new(Shared { known: RwLock::new(known), changes }) })
    }

    /// The record that a presented key opens now.
    ///
    /// # Errors
    /// Why it opens none. The same work is done for an id that nobody has.
    pub fn find(&self, presented: &Presented, now: UnixMillis) -> Result<Arc<KeyRecord>, Shut> {
        let found = self.known().get(&presented.id).and_then(|entry| entry.record.clone());
        let Some(record) = found else {
            let _ = presented.digest.is_same_as(&Digest::of(&[]));
            return Err(Shut::Unknown);
        };
        record.opens(&presented.digest, now).map(|()| record)
    }

    /// A key by its id, whatever became of it.
    pub fn key(&self, id: &KeyId) -> Option<Arc<KeyRecord>> {
        self.known().get(id)?.record.clone()
    }

    /// Every key, by its id.
    pub fn all(&self) -> Vec<(KeyId, Arc<KeyRecord>)> {
        let known = self.known();
        let records = known.iter().filter_map(|(id, entry)| Some((id.clone(), entry.record.clone()?)));
        let mut all: Vec<_> = records.collect();
        all.sort_by(|a, b| (&a.1.team, a.1.created_at, &a.0).cmp(&(&b.1.team, b.1.created_at, &b.0)));
        all
    }

    /// A number that grows with every change that was taken in.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// A key as it is stored now, with what a change of it must expect.
    ///
    /// # Errors
    /// Why it was not read; a record that is not valid is [`BucketError::Unreadable`].
    pub async fn stored(&self, id: &KeyId) -> Result<Option<(KeyRecord, u64)>, BucketError> {
        let Some((value, revision)) = self.bucket.get(id.as_str()).await? else { return Ok(None) };
        let record = serde_json::from_slice(&value).map_err(|error| BucketError::Unreadable(error.into()))?;
        Ok(Some((record, revision)))
    }

    /// Adds a key. Killed before the write there is none; killed after it there is one whose secret nobody was shown.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if the id is taken, [`BucketError::Unknown`] without an answer.
    pub async fn create(&self, id: &KeyId, record: &KeyRecord) -> Result<(), BucketError> {
        let revision = self.bucket.create(id.as_str(), value_of(record)).await?;
        self.noted(id, record, revision);
        Ok(())
    }

    /// Changes a key that was read at `revision`.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if it was changed since, [`BucketError::Unknown`] without an answer.
    pub async fn update(&self, id: &KeyId, record: &KeyRecord, revision: u64) -> Result<(), BucketError> {
        let revision = self.bucket.update(id.as_str(), value_of(record), revision).await?;
        self.noted(id, record, revision);
        Ok(())
    }

    /// Follows changes for ever, and reads everything again whenever the connection comes back. Cancel safe: what was
    /// taken in stays.
    pub async fn follow(&self) {
        let mut changes = self.bucket.watch("");
        // What is being read whole, until it is complete.
        let mut fresh: Option<Known> = None;
        loop {
            match (changes.next().await, &mut fresh) {
                (Seen::Anew, _) => fresh = Some(Known::new()),
                (Seen::Put(version), Some(fresh)) => drop(put(fresh, &version)),
                (Seen::Put(version), None) => self.note(|known| put(known, &version)),
                (Seen::Gone { .. }, Some(_)) | (Seen::Complete, None) => {}
                (Seen::Gone { key, revision }, None) => self.note(|known| gone(known, &key, revision)),
                (Seen::Complete, Some(read)) => {
                    let read = std::mem::take(read);
                    fresh = None;
                    self.note(|known| {
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

    /// This process knows at once, with or without a watch.
    fn noted(&self, id: &KeyId, record: &KeyRecord, revision: u64) {
        let version = Version { key: id.to_string(), value: value_of(record), revision, at: UnixMillis::default() };
        self.note(|known| put(known, &version));
    }

    fn note(&self, change: impl FnOnce(&mut Known) -> bool) {
        let changed = change(&mut self.shared.known.write().expect("no holder panics"));
        if changed {
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }
}

fn value_of(record: &KeyRecord) -> Bytes {
    serde_json::to_vec(record).expect("texts and numbers always serialise").into()
}

fn put(known: &mut Known, version: &Version) -> bool {
    let Version { key, value, revision, .. } = version;
    let Ok(id) = key.parse::<KeyId>() else {
        tracing::error!(key, "this name in the bucket of API keys is no key's id");
        return false;
    };
    if known.get(&id).is_some_and(|entry| entry.revision >= *revision) {
        return false;
    }
    let record = serde_json::from_slice::<KeyRecord>(value).map(Arc::new);
    if let Err(error) = &record {
        // Closed, not kept as it was: what changed may be a narrower scope.
        tracing::error!(key, revision, %error, "an API key's record is not valid; it opens nothing");
    }
    known.insert(id, Entry { record: record.ok(), revision: *revision });
    true
}

fn gone(known: &mut Known, key: &str, revision: u64) -> bool {
    let Ok(id) = key.parse::<KeyId>() else { return false };
    match known.get(&id) {
        Some(entry) if entry.revision >= revision => false,
        _ => known.insert(id, Entry { record: None, revision }).is_some_and(|entry| entry.record.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use tollgate_types::api_key::digest_of;

    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            team: "search".parse().expect("a team"),
            name: "ci".to_owned(),
            digest: digest_of("now").to_string(),
            before: Some(Before { digest: digest_of("then").to_string(), until: UnixMillis(50) }),
            created_at: UnixMillis(1),
            created_by: "ann".to_owned(),
            expires_at: Some(UnixMillis(100)),
            revoked_at: None,
            models: vec!["gpt-4o*".to_owned()],
            classes: vec![Class::Batch],
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_secret_opens_until_its_time_and_only_who_has_it_hears_why_not() {
        let check = |secret: &str, now: i64, expected: Result<(), Shut>| {
            assert_eq!(record().opens(&digest_of(secret), UnixMillis(now)), expected, "{secret} at {now}");
        };
        check("now", 99, Ok(()));
        check("now", 100, Err(Shut::Expired));
        check("then", 49, Ok(()));
        check("then", 50, Err(Shut::Expired));
        check("other", 1, Err(Shut::Unknown));
        let revoked = KeyRecord { revoked_at: Some(UnixMillis(2)), ..record() };
        assert_eq!(revoked.opens(&digest_of("now"), UnixMillis(3)), Err(Shut::Revoked));
        assert_eq!(revoked.opens(&digest_of("other"), UnixMillis(3)), Err(Shut::Unknown));
        let unreadable = KeyRecord { digest: String::new(), before: None, ..record() };
        assert_eq!(unreadable.opens(&digest_of(""), UnixMillis(3)), Err(Shut::Unknown));
    }

    #[test]
    fn a_scope_that_names_nothing_allows_everything() {
        let record = record();
        assert!(record.model("gpt-4o-mini") && !record.model("gpt-5"));
        assert!(record.class(Class::Batch) && !record.class(Class::Interactive));
        assert!(Door::ALL.into_iter().all(|door| record.door(door)));
    }

    #[test]
    fn a_record_that_is_not_valid_closes_its_key_and_an_older_one_changes_nothing() {
        let id = "abcdefghijkl";
        let version = |value: Bytes, revision| Version { key: id.to_owned(), value, revision, at: UnixMillis(0) };
        let mut known = Known::new();
        assert!(put(&mut known, &version(value_of(&record()), 2)));
        assert!(!put(&mut known, &version(Bytes::from_static(b"{}"), 1)));
        let known_key: KeyId = id.parse().expect("an id");
        assert!(known[&known_key].record.is_some());
        let newer = serde_json::to_string(&record()).expect("JSON").replacen('{', r#"{"regions":["eu"],"#, 1);
        assert!(put(&mut known, &version(newer.into(), 3)));
        assert!(known[&known_key].record.is_none());
        assert!(!gone(&mut known, id, 4) && !put(&mut known, &version(value_of(&record()), 3)));
    }
}
