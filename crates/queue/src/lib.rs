//! Lanes, deliveries, results, waiting jobs, records and live configuration over NATS JetStream; the only crate that
//! knows its streams and consumers.
//!
//! Read [`streams`] for what exists, [`lanes`] and [`pull`] for how jobs are found and taken, [`delivery`] for what
//! holding one means, [`wait`] for how one is put off, and [`results`] for the commit log that everything hangs on: one
//! create-only publish per job. [`bucket`] is what [`directory`], [`ledger`] and [`state`] are made of; [`office`] says
//! who does what only one may do. [`tombs`] and [`texts`] remove what somebody wrote, and leave what the books need. [`scan`] looks without taking, [`service`] and [`control`] are what is said.
//!
//! [`batches`] are the records of whole files of jobs, [`files`] such files that came by HTTP. [`answers`] are kept to be given again, and [`flights`] says who is fetching one; nothing hangs on either.
//!
//! [`keys`] are those of the front door, the [`switchboard`] is how it submits jobs and hears of their results, and
//! [`calls`] are those that came under an idempotency key.
//!
//! Deliberately absent: which lane goes next, what a job does, what a record of money means. Those are `policy` and
//! `worker`.

pub mod answers;
mod api;
pub mod batches;
pub mod blobs;
pub mod bucket;
pub mod calls;
pub mod clock;
pub mod commit_log;
pub mod connect;
pub mod control;
mod crash;
pub mod dead;
pub mod delivery;
mod direct;
pub mod directory;
pub mod files;
pub mod flights;
pub mod in_flight;
pub mod keys;
pub mod lanes;
pub mod ledger;
pub mod lookup;
pub mod notices;
pub mod office;
pub mod pull;
pub mod purged;
pub mod quarantine;
mod queue_key;
pub mod results;
pub mod scan;
pub mod service;
pub mod state;
pub mod streams;
pub mod switchboard;
pub mod texts;
pub mod tombs;
pub mod wait;

pub use answers::Answers;
pub use api::ApiError;
pub use batches::Batches;
pub use blobs::Blobs;
pub use calls::Calls;
pub use clock::ServerClock;
pub use connect::{Connection, NatsConfig};
pub use crash::CrashPlan;
pub use delivery::{Delivery, Leases, Settlement};
pub use directory::{Directory, TeamRecord};
pub use files::Files;
pub use flights::Flights;
pub use in_flight::InFlight;
pub use keys::{KeyRecord, Keys};
pub use lanes::{Backlog, LaneConfig, Lanes};
pub use ledger::Records;
pub use pull::{Arrival, Pull, PullEvent, Puller};
pub use queue_key::{Origin, QueueKey};
pub use results::{Commit, Existing, Results};
pub use scan::Scan;
pub use switchboard::Switchboard;
pub use wait::{Kept, Parked, Until, Wait};
