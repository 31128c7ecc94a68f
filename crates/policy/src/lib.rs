//! Decisions as pure functions: order, spend, price, classify, retry.
//!
//! Start with [`price`] (what tokens cost), [`account`] (who may spend) or [`failure`] (what to do after a failed
//! call).
//!
//! Deliberately absent: tokio, clocks, randomness and any I/O. What a decision needs to know is an argument, what it
//! decides is its result, and the layers above act on it.

pub mod account;
pub mod budget;
pub mod cache;
pub mod catalogue;
pub mod estimate;
pub mod failure;
pub mod health;
pub mod limit;
pub mod order;
pub mod price;
pub mod routing;
pub mod share;
pub mod window;
