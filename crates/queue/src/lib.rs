//! Lanes, deliveries, results and live configuration over NATS JetStream; the only crate that knows its streams and
//! consumers.
//!
//! Read [`streams`] for what exists, [`lanes`] and [`pull`] for how jobs are found and taken, [`delivery`] for what
//! holding one means, and [`results`] for the commit log that everything hangs on: one create-only publish per job.
//!
//! Deliberately absent: which lane goes next and what a job does. Those are `policy` and `worker`.

mod api;
pub mod clock;
pub mod commit_log;
pub mod connect;
pub mod dead;
pub mod delivery;
pub mod in_flight;
pub mod lanes;
pub mod lookup;
pub mod pull;
pub mod quarantine;
pub mod results;
pub mod state;
pub mod streams;
pub mod teams;

pub use api::ApiError;
pub use clock::ServerClock;
pub use connect::{Connection, NatsConfig};
pub use delivery::{Delivery, Leases, Settlement};
pub use in_flight::InFlight;
pub use lanes::{Backlog, LaneConfig, Lanes};
pub use pull::{Arrival, Pull, PullEvent, Puller};
pub use results::{Commit, Existing, Results};
