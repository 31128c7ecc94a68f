//! Decisions as pure functions: order, price, classify, retry.
//!
//! Start with [`price`] (what tokens cost) or [`failure`] (what to do after a failed call).
//!
//! Deliberately absent: tokio, clocks, randomness and any I/O. What a decision needs to know is an argument, what it
//! decides is its result, and the layers above act on it.

pub mod failure;
pub mod order;
pub mod price;
