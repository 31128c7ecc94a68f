//! How long texts are kept: results lose theirs when their team's time is over, and jobs when somebody has them
//! forgotten. What the books need stays.
//!
//! [`forget`] is what forgetting does, step by step; [`Sweeper`] is the one task, of one process at a time, that does it
//! for results that are old enough and finishes what was begun elsewhere. [`request`] keeps what was asked until it is
//! done. How a result becomes a tombstone is `entomb.rs`, over `tollgate_queue::tombs`; where else texts lie,
//! `tollgate_queue::texts`.
//!
//! Nothing is removed before the settler and the sink have read it ([`passed`]).
//!
//! Deliberately absent: who may ask for it, and the audit. Those are the binary's.

mod entomb;
pub mod forget;
pub mod passed;
pub mod request;
mod sweep;
mod sweeper;

pub use entomb::{Entomb, EntombError, Entombed};
pub use forget::{Forget, ForgetError, Forgotten};
pub use passed::{Passed, PassedError, passed};
pub use request::{Kept, Request, Whom};
pub use sweeper::{Sweeper, SweeperConfig};
