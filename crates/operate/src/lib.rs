//! What operators see and do over NATS, for the command line and for screens: the audited changes of the live
//! configuration, where accounts stand, what waits, and dead letters that are replayed.
//!
//! Start with [`live`], which holds how every change is made, and [`lanes`], [`accounts`] and [`dead`] for what is
//! looked at. A [`Failure`](exit::Failure) says what happened, why, and what to try, in words that both can show.
//!
//! Deliberately absent: flags, pages, files of configuration, and how a connection is made.

pub mod accounts;
pub mod budgets;
pub mod connect;
pub mod dead;
pub mod exit;
pub mod lanes;
pub mod live;
mod period;
pub mod stream;
pub mod waiting;

pub use period::Period;
