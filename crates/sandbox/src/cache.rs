//! The cache directory: one lock per thing in it, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Error, Event, Progress};

/// A fetch of the engine's 180 MB over a slow line takes minutes; beyond this the holder hangs.
const LOCK_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How often a waiting process looks whether the lock is free; a fetch lasts seconds, so this adds nothing.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Holds the cross-process lock of one thing in the cache until dropped; the system frees it when a process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock of `what`.
///
/// Cancel safety: nothing is held after the future is dropped.
pub(crate) async fn lock(cache_dir: &Path, what: &str, progress: &Progress) -> Result<Lock, Error> {
    lock_within(cache_dir, what, progress, LOCK_WITHIN).await
}

async fn lock_within(cache_dir: &Path, what: &str, progress: &Progress, within: Duration) -> Result<Lock, Error> {
    fs::create_dir_all(cache_dir).map_err(io_error("create", cache_dir))?;
    let path = cache_dir.join(format!("{what}.lock"));
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
    let started = Instant::now();
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if started.elapsed() >= within => {
                return Err(Error::Locked { path, waited: within });
            }
            Err(TryLockError::WouldBlock) => {
                if !said {
                    progress.say(Event::Waiting { what: what.to_owned() });
                    said = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
        }
    }
}

/// A private directory in the cache to unpack into: same file system, so that a rename can publish from it.
pub(crate) fn scratch(cache_dir: &Path) -> Result<TempDir, Error> {
    fs::create_dir_all(cache_dir).map_err(io_error("create", cache_dir))?;
    tempfile::Builder::new().prefix("fetching-").tempdir_in(cache_dir).map_err(io_error("create", cache_dir))
}

/// Moves a finished file of a [`scratch`] directory to its place: written out first, then renamed, so that neither
/// another process nor a power cut ever shows half of it.
pub(crate) fn publish(finished: &Path, place: &Path) -> Result<(), Error> {
    let dir = place.parent().expect("a place in the cache is below the cache directory");
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    File::open(finished).and_then(|file| file.sync_all()).map_err(io_error("write out", finished))?;
    fs::rename(finished, place).map_err(io_error("create", place))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("write out", dir))
}

/// Writes a file that holds passwords, for its owner alone.
pub(crate) fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(true).write(true).mode(0o600).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(io_error("write", file))
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn the_second_waits_says_so_and_gets_the_lock_when_the_first_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let silent = Progress::silent();
        let first = lock(dir.path(), "thing", &silent).await.unwrap();

        let refused = lock_within(dir.path(), "thing", &silent, Duration::ZERO).await;
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");

        // The first lets go as soon as the second says that it waits.
        let first = Mutex::new(Some(first));
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let progress = Progress::new(move |event| {
            seen.lock().unwrap().push(event);
            first.lock().unwrap().take();
        });
        lock(dir.path(), "thing", &progress).await.unwrap();
        assert_eq!(*events.lock().unwrap(), [Event::Waiting { what: "thing".to_owned() }]);
    }

    #[tokio::test]
    async fn different_things_have_different_locks() {
        let dir = tempfile::tempdir().unwrap();
        let _one = lock(dir.path(), "one", &Progress::silent()).await.unwrap();
        lock_within(dir.path(), "two", &Progress::silent(), Duration::ZERO).await.unwrap();
    }

    #[test]
    fn a_published_file_replaces_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("thing-1").join("thing");
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "broken").unwrap();
        let scratch = scratch(dir.path()).unwrap();
        let finished = scratch.path().join("thing");
        fs::write(&finished, "whole").unwrap();
        publish(&finished, &place).unwrap();
        assert_eq!(fs::read_to_string(place).unwrap(), "whole");
    }
}
