//! Folds the commit log into the accounts: what was held for a job becomes what it spent.
//!
//! One settler is active, others stand by; that only saves work. What keeps the accounts right is that each record
//! carries the sequence up to which it is folded, so that whoever folds, and however often, each record of the log counts
//! once. Start reading at [`fold`]; `active.rs` is the loop around it, and says what a crash at each step leaves behind.
//! [`rebuild`] makes the accounts anew from the log.
//!
//! Deliberately absent: what an account is and which changes it permits (`policy`), and any decision about a job.

mod active;
mod alerts;
pub mod fold;
pub mod rebuild;
mod settler;

pub use alerts::BudgetAlert;
pub use settler::{KEY, Progress, Settler, SettlerConfig};
