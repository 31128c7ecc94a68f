//! The log file: lines are gathered in memory and written by one task, at the latest after [`FLUSH_EVERY`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The most that a crash may lose.
const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// Enough for one write to be worth its system call.
const FLUSH_BYTES: usize = 256 << 10;
/// Requests wait while more than this is unwritten. Ends are added beyond it, since a dropped connection cannot wait;
/// there are no more of them than requests under way.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// An append-only file of JSON lines.
pub(crate) struct Jsonl {
    shared: Arc<Pending>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Pending {
    bytes: Mutex<Vec<u8>>,
    /// The first line has come.
    some: Notify,
    /// `FLUSH_BYTES` are there.
    enough: Notify,
    /// The writer took what was pending.
    taken: Notify,
    closing: CancellationToken,
    errors: AtomicU64,
}

impl Jsonl {
    /// Opens `path` for appending and starts the task that writes to it.
    pub(crate) async fn open(path: &Path) -> std::io::Result<Self> {
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await?;
        let shared = Arc::new(Pending::default());
        #[allow(clippy::disallowed_methods, reason = "the log is the task's owner, and waits for it when it is closed")]
        let task = tokio::spawn(write_all(file, Arc::clone(&shared)));
        Ok(Self { shared, task: Mutex::new(Some(task)) })
    }

    /// Adds one line. Never waits.
    pub(crate) fn append(&self, line: &[u8]) {
        let mut bytes = self.shared.bytes.lock().expect("no holder of the lock panics");
        let before = bytes.len();
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let after = bytes.len();
        drop(bytes);
        if before == 0 {
            self.shared.some.notify_one();
        }
        if before < FLUSH_BYTES && after >= FLUSH_BYTES {
            self.shared.enough.notify_one();
        }
    }

    /// Waits until less than [`PENDING_BYTES_MAX`] is unwritten. Cancel safe.
    pub(crate) async fn keep_pace(&self) {
        loop {
            let taken = self.shared.taken.notified();
            if self.shared.pending() < PENDING_BYTES_MAX {
                return;
            }
            taken.await;
        }
    }

    /// How many writes failed.
    pub(crate) fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends the task.
    pub(crate) async fn close(&self) {
        self.shared.closing.cancel();
        let task = self.task.lock().expect("no holder of the lock panics").take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "call log writer failed");
        }
    }
}

impl Pending {
    fn pending(&self) -> usize {
        self.bytes.lock().expect("no holder of the lock panics").len()
    }

    fn take(&self) -> Vec<u8> {
        let bytes = std::mem::take(&mut *self.bytes.lock().expect("no holder of the lock panics"));
        self.taken.notify_waiters();
        bytes
    }
}

async fn write_all(mut file: File, shared: Arc<Pending>) {
    loop {
        let closing = shared.closing.is_cancelled();
        let bytes = shared.take();
        if !bytes.is_empty() {
            let written = async {
                file.write_all(&bytes).await?;
                file.flush().await
            };
            if let Err(error) = written.await {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = &error as &dyn std::error::Error, "call log not written");
            }
        } else if closing {
            return;
        }
        tokio::select! {
            () = shared.closing.cancelled() => {}
            () = shared.some.notified() => {
                tokio::select! {
                    () = tokio::time::sleep(FLUSH_EVERY) => {}
                    () = shared.enough.notified() => {}
                    () = shared.closing.cancelled() => {}
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_is_in_the_file_after_close() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let log = Arc::new(Jsonl::open(&path).await.unwrap());
        let writers = (0..8).map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for line in 0..2_000 {
                    log.append(format!("{writer}-{line}-{}", "x".repeat(100)).as_bytes());
                    log.keep_pace().await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        log.close().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 16_000);
        assert_eq!(log.errors(), 0);
    }

    #[tokio::test]
    async fn a_line_reaches_the_file_without_a_close() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let log = Jsonl::open(&path).await.unwrap();
        log.append(b"one");
        let arrives = async {
            while std::fs::read_to_string(&path).unwrap() != "one\n" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), arrives).await.expect("the line is written");
        log.close().await;
    }
}
