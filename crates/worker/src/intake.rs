//! Where jobs come in: a connection of its own, so that a message that the client cannot survive costs nothing else.
//!
//! A header block that cannot be read makes the client drop its connection; one with a bare carriage return ends the
//! client for good (a panic in async-nats 0.51). Results, acks and lease renewals go over another connection.

use tokio::sync::watch;
use tollgate_queue::connect::Health;
use tollgate_queue::{Connection, Puller};

use crate::worker::WorkerError;

/// The connection that jobs come in by, and its pulls.
pub(crate) struct Intake {
    pub(crate) connection: Connection,
    pub(crate) puller: Puller,
    pub(crate) health: watch::Receiver<Health>,
    /// Losses of the connection that were looked into; `None` before the first look.
    losses_seen: Option<u64>,
    /// Losses of the connections before this one.
    losses_before: u64,
}

impl Intake {
    /// Connects like `beside`, and subscribes.
    pub(crate) async fn open(beside: &Connection, name: &str) -> Result<Intake, WorkerError> {
        let connection = beside.another(&format!("{name}-jobs")).await?;
        let puller = Puller::open(&connection).await.map_err(|error| WorkerError::Subscribe(error.into()))?;
        let health = connection.health();
        Ok(Intake { connection, puller, health, losses_seen: None, losses_before: 0 })
    }

    /// Takes the place of one that ended for good.
    pub(crate) fn replace(&mut self, other: Intake) {
        let losses_before = self.losses() + 1;
        *self = Intake { losses_before, ..other };
    }

    /// How often the connection was lost, with those before it.
    pub(crate) fn losses(&self) -> u64 {
        self.losses_before + self.health.borrow().losses
    }

    /// Whether the connection stands and nobody has looked yet at what happened while it did not.
    pub(crate) fn unexamined(&self) -> bool {
        let health = *self.health.borrow();
        health.connected && self.losses_seen != Some(health.losses)
    }

    /// The losses until now were looked into.
    pub(crate) fn examined(&mut self, losses: u64) {
        self.losses_seen = Some(losses);
    }
}
