//! The audit: who changed what, and when. Entries are only ever added.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_types::{Digest, UnixMillis, subjects};

use super::diff::Change;
use crate::exit::{Code, Failure};
use crate::stream;

/// How long the server may take to store an entry.
const STORE_WITHIN: Duration = Duration::from_secs(5);

/// The sequence of an entry.
pub type Seq = u64;

/// One entry. Fields of later versions are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What kind of thing was changed: `team`, `organisation`, `pause`, `dead`, `cache`, `forget`.
    pub kind: String,
    /// Which one: a team, a lane, a model.
    pub name: String,
    /// What was done, as the command that does it is called.
    pub action: String,
    /// Who did it.
    pub author: String,
    /// Why, as far as anybody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is different, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The whole record of before; nothing if there was none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// The whole record as it was going to be stored; nothing if it was removed, or if there is none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
    /// The entry that this one takes back, because its change lost against another's and did not happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdraws: Option<Seq>,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its sequence.
    pub seq: Seq,
    /// When the server stored it.
    pub at: UnixMillis,
    /// What it says.
    pub entry: Entry,
}

/// Writes and reads the audit.
#[derive(Clone, Debug)]
pub struct Audit {
    context: Context,
}

/// The subject of the entries about one thing: its name as a digest, because names hold what subjects do not.
fn subject(kind: &str, name: &str) -> String {
    format!("tollgate.audit.{kind}.{}", Digest::of(&[name.as_bytes()]).short())
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn unwritten(what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, what).because(error).try_this("run `tollgate init`")
}

impl Audit {
    /// Over JetStream; the stream must exist when something is noted.
    pub fn new(context: Context) -> Self {
        Audit { context }
    }

    /// Adds an entry, and returns its sequence once the server has stored it.
    ///
    /// # Errors
    /// It may not be stored; then what it tells of must not be done.
    pub async fn note(&self, entry: &Entry) -> Result<Seq, Failure> {
        let stored = self.store(entry, PublishMessage::build()).await;
        stored.map_err(|error| unwritten("nothing was changed, because the audit cannot be written", &*error))
    }

    /// Adds an entry if `last` is the last one about the same thing, 0 for none. Returns `false` if another came first.
    ///
    /// # Errors
    /// It may not be stored.
    pub async fn note_after(&self, entry: &Entry, last: Seq) -> Result<bool, Failure> {
        let stored = self.store(entry, PublishMessage::build().expected_last_subject_sequence(last)).await;
        match stored {
            Ok(_) => Ok(true),
            Err(error) => match error.downcast_ref::<PublishError>().map(PublishError::kind) {
                Some(PublishErrorKind::WrongLastSequence) => Ok(false),
                _ => Err(unwritten("it is done, but the audit cannot be written", &*error)),
            },
        }
    }

    async fn store(&self, entry: &Entry, message: PublishMessage) -> Result<Seq, Cause> {
        let payload = serde_json::to_vec(entry).expect("texts and numbers always serialise");
        let (subject, message) = (subject(&entry.kind, &entry.name), message.payload(payload.into()));
        let stored =
            async { Ok::<_, PublishError>(self.context.send_publish(subject, message).await?.await?.sequence) };
        Ok(tokio::time::timeout(STORE_WITHIN, stored).await??)
    }

    /// Notes that the change of an entry did not happen.
    ///
    /// # Errors
    /// As [`Audit::note`].
    pub async fn withdraw(&self, entry: &Entry, seq: Seq) -> Result<(), Failure> {
        let Entry { kind, name, author, .. } = entry.clone();
        let reason = "it lost against another change, or was refused".to_owned();
        let entry = Entry {
            kind,
            name,
            author,
            reason,
            action: "withdraw".to_owned(),
            withdraws: Some(seq),
            ..Entry::default()
        };
        self.note(&entry).await.map(drop)
    }

    /// Every entry that was not taken back, the oldest first: about one thing of a kind, about all of it where the name
    /// is empty, about everything without a word.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn history(&self, about: Option<(&str, String)>) -> Result<Vec<Stored>, Failure> {
        let unread = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(Code::Nats, "the audit cannot be read").because(error).try_this("run `tollgate init`")
        };
        let stream = self.context.get_stream(subjects::AUDIT_STREAM).await.map_err(|error| unread(&error))?;
        let filter = match about {
            None => subjects::AUDIT.to_owned(),
            Some((kind, name)) if name.is_empty() => format!("tollgate.audit.{kind}.*"),
            Some((kind, name)) => subject(kind, &name),
        };
        let mut all = Vec::new();
        let mut take = |message: &stream::Read<'_>| {
            if let Ok(entry) = serde_json::from_slice::<Entry>(message.payload) {
                all.push(Stored { seq: message.seq, at: message.at, entry });
            }
        };
        let read = stream::each(&stream, &filter, stream::Part::Whole, &mut take).await;
        read.map_err(|error| unread(&error))?;
        Ok(standing(all))
    }
}

/// Without what was taken back and what takes it back.
fn standing(mut all: Vec<Stored>) -> Vec<Stored> {
    let withdrawn: std::collections::BTreeSet<Seq> = all.iter().filter_map(|stored| stored.entry.withdraws).collect();
    all.retain(|stored| stored.entry.withdraws.is_none() && !withdrawn.contains(&stored.seq));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_is_not_told() {
        let entry = |seq, withdraws| {
            let entry = Entry { withdraws, ..Entry::default() };
            Stored { seq, at: UnixMillis(0), entry }
        };
        let told = standing(vec![entry(1, None), entry(4, None), entry(5, Some(4)), entry(9, None)]);
        assert_eq!(told.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn entries_of_later_versions_are_read() {
        let later = r#"{"kind":"team","name":"a","action":"set","author":"ann","new":1}"#;
        let entry: Entry = serde_json::from_str(later).expect("an entry");
        assert_eq!((entry.author.as_str(), entry.withdraws), ("ann", None));
    }
}
