//! An outbox: a job is on disk before it is submitted, and until its result was seen. For producers that may die in
//! between, and must neither forget a job nor submit it under two ids.
//!
//! One file per job, named by its id: `<class>\n<line>`. It is written beside its name, synchronised, and then renamed, so a
//! file with a job's name is whole. Killed before the rename: the job was never submitted. Killed after it: the next
//! [`Outbox::resume`] submits it again under the same id, and the broker answers it once.
//!
//! Deliberately absent: any deadline of its own. A job whose result was never fetched stays until somebody calls
//! [`Outbox::done`]; after the broker's retention it would run again, so resume at least once a day.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use tollgate_types::{Class, JobId};

use crate::{Producer, Receipt, SubmitError, WaitError};

/// Jobs that were submitted and whose results were not seen, in a directory. One process at a time has it.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    /// Held while it is open; the system lets go of it when the process ends, however it ends.
    _lock: fs::File,
}

/// Why a job is not in the outbox, or not submitted.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another process has the directory.
    #[error("another process uses the outbox {}", .0.display())]
    Locked(PathBuf),
    /// The directory cannot be read or written.
    #[error("the outbox {} cannot be used: {source}", .path.display())]
    Disk {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it is none of ours.
    #[error("{} is no job of an outbox: remove it, or mend it", .0.display())]
    Foreign(PathBuf),
    /// It is in the outbox and was not accepted, or this is unknown: [`Outbox::resume`] submits it again.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// Its result could not be looked up; it stays.
    #[error(transparent)]
    Lookup(#[from] WaitError),
}

/// What a job of an earlier life came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It has its result. It stays in the outbox until [`Outbox::done`].
    Ended(JobId, Bytes),
    /// It was submitted again under its id; the broker knows whether it runs already.
    Submitted(JobId),
}

const LOCK: &str = ".lock";
const PART: &str = ".part";

impl Outbox {
    /// Opens a directory, and makes it if it is absent.
    ///
    /// # Errors
    /// [`OutboxError::Locked`], [`OutboxError::Disk`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Outbox, OutboxError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(disk(&dir))?;
        let lock = fs::File::create(dir.join(LOCK)).map_err(disk(&dir))?;
        match lock.try_lock() {
            Ok(()) => Ok(Outbox { dir, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(OutboxError::Locked(dir)),
            Err(fs::TryLockError::Error(source)) => Err(OutboxError::Disk { path: dir, source }),
        }
    }

    /// Keeps a job and submits it, under a fresh id. It blocks for as long as the disk takes to keep some KiB.
    ///
    /// Cancelled, the job is in the outbox, or nothing happened.
    ///
    /// # Errors
    /// [`OutboxError::Disk`]: nothing was submitted. [`OutboxError::Submit`]: it is kept.
    pub async fn submit(&self, producer: &Producer, class: Class, line: Bytes) -> Result<Receipt, OutboxError> {
        let id = producer.fresh_id();
        self.keep(&id, class, &line)?;
        Ok(producer.submit(class, line, Some(id)).await?)
    }

    fn keep(&self, id: &JobId, class: Class, line: &[u8]) -> Result<(), OutboxError> {
        let (path, part) = (self.path(id), self.dir.join(format!("{}{PART}", name(id))));
        let write = || {
            let mut file = fs::File::create(&part)?;
            file.write_all(format!("{class}\n").as_bytes())?;
            file.write_all(line)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            // The name, too.
            fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(disk(&path))
    }

    /// The jobs in it, the oldest ids first. Half-written ones were never submitted and are removed.
    ///
    /// # Errors
    /// [`OutboxError::Disk`], [`OutboxError::Foreign`].
    pub fn jobs(&self) -> Result<Vec<JobId>, OutboxError> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(disk(&self.dir))? {
            let path = entry.map_err(disk(&self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == LOCK {
                continue;
            }
            if name.ends_with(PART) {
                fs::remove_file(&path).map_err(disk(&path))?;
                continue;
            }
            jobs.push(id(name).ok_or(OutboxError::Foreign(path))?);
        }
        jobs.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(jobs)
    }

    /// Goes on after a restart: every job has its result, or is submitted again under its id.
    ///
    /// # Errors
    /// The first one that is in the way; what was done stays done, and it may be repeated.
    pub async fn resume(&self, producer: &Producer) -> Result<Vec<Resumed>, OutboxError> {
        let mut resumed = Vec::new();
        for id in self.jobs()? {
            if let Some(result) = producer.result(&id).await? {
                resumed.push(Resumed::Ended(id, result));
                continue;
            }
            let path = self.path(&id);
            let kept = fs::read(&path).map_err(disk(&path))?;
            let (class, line) = parse(kept).ok_or(OutboxError::Foreign(path))?;
            producer.submit(class, line, Some(id.clone())).await?;
            resumed.push(Resumed::Submitted(id));
        }
        Ok(resumed)
    }

    /// Forgets a job: its result was seen, and what it means is done. `false` if it is not in it.
    ///
    /// # Errors
    /// [`OutboxError::Disk`].
    pub fn done(&self, id: &JobId) -> Result<bool, OutboxError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(OutboxError::Disk { path, source }),
        }
    }

    fn path(&self, id: &JobId) -> PathBuf {
        self.dir.join(format!("{}.job", name(id)))
    }
}

/// A colon is no character of a file's name everywhere, and `@` is none of an id.
fn name(id: &JobId) -> String {
    id.as_str().replace(':', "@")
}

fn id(name: &str) -> Option<JobId> {
    name.strip_suffix(".job")?.replace('@', ":").parse().ok()
}

fn parse(kept: Vec<u8>) -> Option<(Class, Bytes)> {
    let kept = Bytes::from(kept);
    let end = kept.iter().position(|&byte| byte == b'\n')?;
    let word = std::str::from_utf8(&kept[..end]).ok()?;
    let class = Class::ALL.into_iter().find(|class| class.as_str() == word)?;
    Some((class, kept.slice(end + 1..)))
}

fn disk(path: &Path) -> impl Fn(io::Error) -> OutboxError {
    move |source| OutboxError::Disk { path: path.to_owned(), source }
}
