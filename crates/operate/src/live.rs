//! How operators change the live configuration: read, edit, compare-and-swap, with every change in the audit.
//!
//! The entry in the audit comes **before** the change. Killed in between, the audit tells of a change that did not
//! happen; no change ever happens without an entry. One that lost its race is withdrawn by a later entry.

pub mod audit;
pub mod diff;

use std::time::Duration;

use async_nats::jetstream;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::directory::{DirectoryError, Expected, Organisation, Pause, Paused, Record, TeamRecord};
use tollgate_queue::{Connection, Directory, ServerClock};
use tollgate_types::{Team, UnixMillis};

use crate::connect;
use crate::exit::{Code, Failure};
use audit::{Audit, Entry, Seq};
use diff::Change;

/// How often a change is tried against others who change the same record; people are rarely that many.
const TRIES: u32 = 8;
/// The wait after a swap that brought no answer.
const AGAIN: Duration = Duration::from_millis(300);

/// An operator at work. Clones share the connection and what is known.
#[derive(Clone)]
pub struct Operator {
    /// The connection.
    pub connection: Connection,
    /// JetStream over it.
    pub context: jetstream::Context,
    /// The live configuration.
    pub directory: Directory,
    clock: ServerClock,
    audit: Audit,
    author: String,
    reason: String,
}

/// What a change did to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<R> {
    /// The record of before.
    pub before: Option<R>,
    /// The record of now.
    pub after: R,
    /// What is different, in words; empty if nothing was.
    pub changes: Vec<Change>,
}

impl Operator {
    /// Reads the live configuration and the server's clock. `reason` may be empty.
    ///
    /// # Errors
    /// What cannot be read.
    pub async fn new(connection: Connection, author: String, reason: String) -> Result<Operator, Failure> {
        let context = connect::jetstream(&connection);
        let directory = connect::directory(&context).await.map_err(|error| unread(&error))?;
        let clock = connect::server_clock(&connection).await?;
        let audit = Audit::new(context.clone());
        Ok(Operator { connection, context, directory, clock, audit, author, reason })
    }

    /// The same for somebody else, and for another reason.
    #[must_use]
    pub fn acting(&self, author: &str, reason: &str) -> Operator {
        Operator { author: author.to_owned(), reason: reason.to_owned(), ..self.clone() }
    }

    /// The time, by the server's clock.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The server's clock.
    pub fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Who acts.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Why, as far as anybody said.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Notes something that is going to be done and is no change of a record.
    ///
    /// # Errors
    /// The entry may not be stored; then it must not be done.
    pub async fn note(&self, (kind, name): (&str, &str), action: &str, change: Change) -> Result<(), Failure> {
        let entry = Entry { changes: vec![change], ..self.entry((kind, name.to_owned()), action) };
        self.audit.note(&entry).await.map(drop)
    }

    /// Notes something that was done and is no change of a record, if `last` is the last entry about the same thing.
    /// Returns `false` if somebody else's came first.
    ///
    /// # Errors
    /// The entry may not be stored.
    pub async fn note_after(
        &self,
        (kind, name): (&str, &str),
        action: &str,
        change: Change,
        last: Seq,
    ) -> Result<bool, Failure> {
        let entry = Entry { changes: vec![change], ..self.entry((kind, name.to_owned()), action) };
        self.audit.note_after(&entry, last).await
    }

    /// Every entry of the audit about one thing, the oldest first; about all of a kind where the name is empty, about
    /// everything without a word.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub async fn history(&self, about: Option<(&str, String)>) -> Result<Vec<audit::Stored>, Failure> {
        self.audit.history(about).await
    }

    /// Changes what is configured about a team or about everybody; `edit` gets the record as it is stored, and is asked
    /// again if somebody else changed it meanwhile.
    ///
    /// # Errors
    /// What `edit` says, with nothing changed; that the record is not valid; what cannot be written.
    pub async fn change<O: Owner>(
        &self,
        owner: &O,
        action: &str,
        edit: impl Fn(Option<&O::Record>) -> Result<O::Record, Failure>,
    ) -> Result<Changed<O::Record>, Failure> {
        let mut tried: Option<Tried<O::Record>> = None;
        for _ in 0..TRIES {
            let (before, expected) = owner.read(&self.directory).await.map_err(|error| unread(&error))?;
            let again = match tried.take() {
                // The swap whose answer was lost.
                Some(tried) if before.as_ref() == Some(&tried.changed.after) => return Ok(tried.changed),
                // It did not happen, and nothing else did.
                Some(tried) if tried.expected == expected => Some(tried),
                Some(tried) => {
                    self.audit.withdraw(&tried.entry, tried.seq).await?;
                    None
                }
                None => None,
            };
            let attempt = match again {
                Some(attempt) => attempt,
                None => {
                    let after = edit(before.as_ref())?;
                    let changes = owner.diff(before.as_ref(), Some(&after));
                    let changed = Changed { before, after, changes };
                    if changed.before.as_ref() == Some(&changed.after) {
                        return Ok(changed);
                    }
                    self.announce(owner, action, expected, changed).await?
                }
            };
            match owner.write(&self.directory, &attempt.changed.after, expected).await {
                Ok(()) => return Ok(attempt.changed),
                Err(DirectoryError::Conflict { .. }) => {}
                Err(DirectoryError::Bucket { source: BucketError::Unknown(_), .. }) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    self.audit.withdraw(&attempt.entry, attempt.seq).await?;
                    return Err(unwritten(&error));
                }
            }
            tried = Some(attempt);
        }
        let what = "others change the same record all the time; it is not known whether ours holds";
        Err(Failure::new(Code::Failed, what).try_this("look at it, and repeat the command"))
    }

    /// Notes a change that is going to be made. Before anything is told, what is not valid is refused whole.
    async fn announce<O: Owner>(
        &self,
        owner: &O,
        action: &str,
        expected: Expected,
        changed: Changed<O::Record>,
    ) -> Result<Tried<O::Record>, Failure> {
        changed.after.check_write(connect::CHECKS).map_err(|why| refused(&why))?;
        let json = |record| serde_json::to_value(record).expect("records are texts and numbers");
        let entry = Entry {
            changes: changed.changes.clone(),
            before: changed.before.as_ref().map(json).unwrap_or_default(),
            after: json(&changed.after),
            ..self.entry(owner.subject(), action)
        };
        let seq = self.audit.note(&entry).await?;
        Ok(Tried { entry, seq, expected, changed })
    }

    /// Takes a team off the register. Says whether it was there.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn remove_team(&self, team: &Team, action: &str) -> Result<bool, Failure> {
        let (before, _) = team.read(&self.directory).await.map_err(|error| unread(&error))?;
        let Some(before) = before else { return Ok(false) };
        let entry = Entry {
            changes: team.diff(Some(&before), None),
            before: serde_json::to_value(&before).expect("records are texts and numbers"),
            ..self.entry(team.subject(), action)
        };
        let removed = self.noted(&entry, async || self.directory.remove_team(team).await.map(|was| was.then_some(())));
        Ok(removed.await?.is_some())
    }

    /// Pauses something; returns the pause that it replaces.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn pause(&self, paused: &Paused, what: &str) -> Result<Option<Pause>, Failure> {
        let pause = Pause {
            what: what.to_owned(),
            author: self.author.clone(),
            at: self.now(),
            reason: self.reason().to_owned(),
        };
        let entry = Entry {
            after: serde_json::to_value(&pause).expect("texts and numbers"),
            ..self.entry(("pause", paused.to_string()), "queue pause")
        };
        // It is a change also where something was paused already: by another, for another reason.
        let done = self.noted(&entry, async || self.directory.pause(paused, &pause).await.map(Some)).await?;
        Ok(done.flatten())
    }

    /// Ends a pause, and returns it; `None` if there was none.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn resume(&self, paused: &Paused) -> Result<Option<Pause>, Failure> {
        let entry = self.entry(("pause", paused.to_string()), "queue resume");
        self.noted(&entry, async || self.directory.resume(paused).await).await
    }

    /// Notes a change, and makes it. The entry is taken back if nothing came of it.
    async fn noted<T>(
        &self,
        entry: &Entry,
        change: impl AsyncFnOnce() -> Result<Option<T>, DirectoryError>,
    ) -> Result<Option<T>, Failure> {
        let seq = self.audit.note(entry).await?;
        match change().await {
            Ok(Some(done)) => Ok(Some(done)),
            Ok(None) => self.audit.withdraw(entry, seq).await.map(|()| None),
            // It may have happened.
            Err(error @ DirectoryError::Bucket { source: BucketError::Unknown(_), .. }) => Err(unwritten(&error)),
            Err(error) => {
                self.audit.withdraw(entry, seq).await?;
                Err(unwritten(&error))
            }
        }
    }

    fn entry(&self, (kind, name): (&str, String), action: &str) -> Entry {
        Entry {
            kind: kind.to_owned(),
            name,
            action: action.to_owned(),
            author: self.author.clone(),
            reason: self.reason().to_owned(),
            ..Entry::default()
        }
    }
}

/// A change that is in the audit and may be in the bucket.
struct Tried<R> {
    entry: Entry,
    seq: Seq,
    expected: Expected,
    changed: Changed<R>,
}

/// Whose record it is: a team's, or everybody's.
pub trait Owner {
    /// What is kept about it.
    type Record: Record + Clone + PartialEq;

    /// The kind and the name under which its changes are in the audit.
    fn subject(&self) -> (&'static str, String);

    /// Reads the record as it is stored.
    fn read(
        &self,
        directory: &Directory,
    ) -> impl Future<Output = Result<(Option<Self::Record>, Expected), DirectoryError>>;

    /// Swaps it.
    fn write(
        &self,
        directory: &Directory,
        record: &Self::Record,
        expected: Expected,
    ) -> impl Future<Output = Result<(), DirectoryError>>;

    /// What is different between two records, in words.
    fn diff(&self, before: Option<&Self::Record>, after: Option<&Self::Record>) -> Vec<Change>;
}

impl Owner for Team {
    type Record = TeamRecord;

    fn subject(&self) -> (&'static str, String) {
        ("team", self.to_string())
    }

    async fn read(&self, directory: &Directory) -> Result<(Option<TeamRecord>, Expected), DirectoryError> {
        directory.team_entry(self).await
    }

    async fn write(
        &self,
        directory: &Directory,
        record: &TeamRecord,
        expected: Expected,
    ) -> Result<(), DirectoryError> {
        directory.put_team(self, record, expected).await
    }

    fn diff(&self, before: Option<&TeamRecord>, after: Option<&TeamRecord>) -> Vec<Change> {
        diff::team(self, before, after)
    }
}

/// Everybody together.
#[derive(Clone, Copy, Debug)]
pub struct Everybody;

impl Owner for Everybody {
    type Record = Organisation;

    fn subject(&self) -> (&'static str, String) {
        ("organisation", "organisation".to_owned())
    }

    async fn read(&self, directory: &Directory) -> Result<(Option<Organisation>, Expected), DirectoryError> {
        directory.organisation_entry().await
    }

    async fn write(
        &self,
        directory: &Directory,
        record: &Organisation,
        expected: Expected,
    ) -> Result<(), DirectoryError> {
        directory.put_organisation(record, expected).await
    }

    fn diff(&self, before: Option<&Organisation>, after: Option<&Organisation>) -> Vec<Change> {
        diff::organisation(before, after)
    }
}

/// The live configuration could not be read.
pub fn unread(error: &DirectoryError) -> Failure {
    let failure = Failure::new(Code::Nats, "the live configuration cannot be read").because(error);
    match error {
        DirectoryError::Invalid { .. } => failure.try_this(
            "somebody wrote it by hand: delete the key in the bucket TOLLGATE_CONFIG, then `tollgate config apply`",
        ),
        DirectoryError::Conflict { .. } | DirectoryError::Bucket { .. } => failure.try_this("run `tollgate init`"),
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(Code::Usage, format!("nothing was changed: {why}"))
}

fn unwritten(error: &DirectoryError) -> Failure {
    match error {
        DirectoryError::Invalid { reason, .. } => refused(reason),
        DirectoryError::Conflict { .. } => Failure::new(Code::Failed, "nothing was changed").because(error),
        DirectoryError::Bucket { source: BucketError::Unknown(_), .. } => {
            Failure::new(Code::Nats, "it is not known whether the change holds")
                .because(error)
                .try_this("look at it, and repeat the command")
        }
        DirectoryError::Bucket { .. } => Failure::new(Code::Nats, "nothing was changed").because(error),
    }
}
