//! Events that a caller has not taken yet.

use std::collections::VecDeque;

use bytes::Bytes;

/// From here on a caller reads too slowly for pieces.
const FULL_BYTES: usize = 256 * 1024;

/// Events that wait for the connection.
#[derive(Default)]
pub(super) struct Backlog {
    events: VecDeque<Bytes>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn push(&mut self, event: String) {
        self.bytes += event.len();
        self.events.push_back(event.into());
    }

    pub(super) fn extend(&mut self, events: Vec<String>) {
        events.into_iter().for_each(|event| self.push(event));
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let event = self.events.pop_front()?;
        self.bytes -= event.len();
        Some(event)
    }

    /// Everything that waits.
    pub(super) fn drain(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        self.events.drain(..).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }
}
