//! The sessions that clients asked to keep (`session_id`), each a connection of the engine.
//!
//! A session serves one request at a time and is refused to a second, as on a server. It ends when it is idle for as
//! long as its last request allowed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::errors::Exception;

/// The sessions of one engine; `C` is its connection.
pub(crate) struct Sessions<C> {
    slots: Mutex<HashMap<String, Slot<C>>>,
    sessions_max: usize,
}

enum Slot<C> {
    Idle { connection: C, expires: Instant },
    Busy,
}

/// A session's connection, on loan to one request. Dropped before [`keep`](Self::keep), it ends the session.
pub(crate) struct Lease<'s, C> {
    sessions: &'s Sessions<C>,
    id: String,
    /// `None` in a new session, whose connection the borrower opens.
    pub(crate) connection: Option<C>,
}

impl<C> Sessions<C> {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self { slots: Mutex::new(HashMap::new()), sessions_max }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot<C>>> {
        // Nothing that can panic runs under the lock.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Borrows the session `id`, a new one unless it `must_exist`.
    ///
    /// # Errors
    ///
    /// The session is busy, is not there, or would be one too many.
    pub(crate) fn borrow(&self, id: &str, must_exist: bool, now: Instant) -> Result<Lease<'_, C>, Exception> {
        let mut slots = self.slots();
        let count = slots.len();
        let connection = match slots.entry(id.to_owned()) {
            Entry::Occupied(mut slot) => match slot.insert(Slot::Busy) {
                Slot::Busy => {
                    let message = format_args!("session {id:?} is locked by a concurrent client");
                    return Err(Exception::new(373, "SESSION_IS_LOCKED", message));
                }
                Slot::Idle { connection, expires } if expires > now => Some(connection),
                Slot::Idle { connection, .. } => {
                    slot.remove();
                    drop(slots);
                    // Outside of the lock, because closing takes its time.
                    drop(connection);
                    return self.borrow(id, must_exist, now);
                }
            },
            Entry::Vacant(_) if must_exist => {
                return Err(Exception::new(372, "SESSION_NOT_FOUND", format_args!("session {id:?} not found")));
            }
            Entry::Vacant(_) if count >= self.sessions_max => {
                let message = format_args!("{count} sessions are open, which is the limit");
                return Err(Exception::new(202, "TOO_MANY_SIMULTANEOUS_QUERIES", message));
            }
            Entry::Vacant(slot) => {
                slot.insert(Slot::Busy);
                None
            }
        };
        Ok(Lease { sessions: self, id: id.to_owned(), connection })
    }

    /// Takes out what has been idle for too long; closing it is left to the caller.
    #[must_use]
    pub(crate) fn take_expired(&self, now: Instant) -> Vec<C> {
        let mut slots = self.slots();
        let expired = slots.extract_if(|_, slot| matches!(slot, Slot::Idle { expires, .. } if *expires <= now));
        let connection = |(_, slot)| match slot {
            Slot::Idle { connection, .. } => Some(connection),
            Slot::Busy => None,
        };
        expired.filter_map(connection).collect()
    }
}

impl<C> Lease<'_, C> {
    /// Gives the connection back, for `idle` from `now` on.
    pub(crate) fn keep(mut self, connection: C, idle: Duration, now: Instant) {
        let slot = Slot::Idle { connection, expires: now + idle };
        // With an empty name there is nothing left for `drop` to remove.
        let id = std::mem::take(&mut self.id);
        self.sessions.slots().insert(id, slot);
    }
}

impl<C> Drop for Lease<'_, C> {
    fn drop(&mut self) {
        self.sessions.slots().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    /// Opens the session `id` with the connection `connection` and leaves it idle.
    fn open(sessions: &Sessions<u32>, id: &str, connection: u32, now: Instant) {
        sessions.borrow(id, false, now).unwrap().keep(connection, IDLE, now);
    }

    fn code(borrowed: Result<Lease<'_, u32>, Exception>) -> u32 {
        borrowed.map(|lease| lease.connection).expect_err("it should be refused").code()
    }

    #[test]
    fn a_session_is_found_again_until_it_expires() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        open(&sessions, "a", 7, start);
        let lease = sessions.borrow("a", true, start + IDLE - Duration::from_nanos(1)).unwrap();
        assert_eq!(lease.connection, Some(7));
        lease.keep(7, IDLE, start);

        assert_eq!(code(sessions.borrow("a", true, start + IDLE)), 372);
        assert_eq!(sessions.borrow("a", false, start + IDLE).unwrap().connection, None);
    }

    #[test]
    fn a_busy_session_is_refused_to_a_second_request_and_does_not_expire() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        open(&sessions, "a", 7, start);
        let lease = sessions.borrow("a", false, start).unwrap();
        assert_eq!(code(sessions.borrow("a", false, start + IDLE)), 373);
        assert!(sessions.take_expired(start + 2 * IDLE).is_empty());
        lease.keep(7, IDLE, start + 2 * IDLE);
        assert_eq!(sessions.borrow("a", true, start + 2 * IDLE).unwrap().connection, Some(7));
    }

    #[test]
    fn a_lease_that_is_not_kept_ends_its_session() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        open(&sessions, "a", 7, start);
        drop(sessions.borrow("a", true, start).unwrap());
        assert_eq!(code(sessions.borrow("a", true, start)), 372);
    }

    #[test]
    fn only_idle_sessions_past_their_time_are_evicted() {
        let (sessions, start) = (Sessions::new(3), Instant::now());
        open(&sessions, "a", 1, start);
        open(&sessions, "b", 2, start + IDLE / 2);
        assert_eq!(sessions.take_expired(start + IDLE), [1]);
        assert!(sessions.take_expired(start + IDLE).is_empty());
        assert_eq!(sessions.take_expired(start + 2 * IDLE), [2]);
    }

    #[test]
    fn sessions_are_bounded() {
        let (sessions, start) = (Sessions::new(1), Instant::now());
        open(&sessions, "a", 1, start);
        assert_eq!(code(sessions.borrow("b", false, start)), 202);
        assert_eq!(sessions.borrow("a", false, start).unwrap().connection, Some(1));
    }
}
