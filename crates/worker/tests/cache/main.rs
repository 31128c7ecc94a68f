//! Answers that are given again, and calls that are shared, by the simulated provider's own log.

mod bench;
mod crashes;
mod hits;
mod kept;
mod servers;
mod shared;
