//! What a Rust producer links: submit a job, await its result, read along while it is written, look one up, ask where it
//! is, cancel it; and an [`outbox`] for producers that may die in between.
//!
//! Start with [`Producer`]. It needs only a NATS connection as a user of the team's account; it knows the wire types and
//! NATS, not the broker. A producer in another language does the same with its stock NATS client: see the README.
//!
//! Deliberately absent: connecting (you own the [`async_nats::Client`] and its options) and any retry of a job; ids make
//! resubmitting safe.

mod ask;
mod blobs;
mod deltas;
pub mod outbox;
mod submit;
mod wait;

pub use ask::{AskError, JobStatus};
pub use deltas::{Deltas, Piece, text_of};
pub use submit::{Receipt, SubmitError};
pub use wait::{WaitError, Waiting};

use tollgate_types::Team;

/// One team's producer on a NATS connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Producer {
    client: async_nats::Client,
    team: Team,
}

impl Producer {
    /// A producer for `team`; the connection must have the team's permissions.
    pub fn new(client: async_nats::Client, team: Team) -> Producer {
        Producer { client, team }
    }

    /// The team.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// The connection.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }
}
