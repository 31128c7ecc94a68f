//! Batches that were ordered at the front door: each order's file is read, checked and submitted, as the command line does
//! it for a file at hand.
//!
//! One clerk is in office, others stand by. Start reading at [`Clerk`]; `take.rs` is the life of one order as a list of
//! steps, and says what a crash at each leaves behind.
//!
//! Deliberately absent: taking files and orders in, and telling how they stand (the front door's), counting results and
//! stopping (`batches`).

mod clerk;
mod judge;
mod take;

pub use clerk::{Clerk, ClerkConfig, KEY, Parts};
