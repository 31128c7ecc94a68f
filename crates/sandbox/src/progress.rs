//! What a fetch tells the person who waits for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One step of a fetch, in the order in which they happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another process fetches the same thing; we wait for it.
    Waiting {
        /// What is waited for, such as "nats-server".
        what: String,
    },
    /// A fetch starts.
    Fetching {
        /// What is fetched, with its version where it is known.
        what: String,
        /// Where it comes from, in words for the user.
        from: String,
        /// The size, where it is known beforehand.
        bytes_total: Option<u64>,
    },
    /// A downloaded archive, already checked, is being unpacked.
    Unpacking {
        /// What is unpacked.
        what: String,
        /// The unpacked size, where it is known beforehand.
        bytes_total: Option<u64>,
    },
    /// So many bytes of the current step are done.
    Progress {
        /// Bytes since the step began, not since the last event.
        bytes: u64,
    },
    /// It is there.
    Done {
        /// The file that can be used now.
        path: PathBuf,
        /// How long it took, the wait for other processes included.
        took: Duration,
    },
}

/// Receives the events of a fetch, from any thread.
///
/// Cloning shares the receiver. It is called often, and must not block.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Event) + Send + Sync>);

impl Progress {
    /// Hands every event to `receiver`.
    pub fn new(receiver: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receiver))
    }

    /// Drops every event.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(drop)
    }

    pub(crate) fn say(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
