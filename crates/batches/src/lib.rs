//! Follows the commit log and counts batches: how each stands, what it cost, that it ended.
//!
//! One counter is in office, others stand by. Start reading at [`Counter`]; `count.rs` says what a crash at each step leaves
//! behind, and `stopping.rs` how a batch comes to its end that was cancelled or reached its cap.
//!
//! Deliberately absent: submitting, and reading results. That is the submitter's (`bulk`), with its own rights.

mod book;
mod count;
mod counter;
mod stopping;

pub use counter::{Counter, CounterConfig, KEY};
