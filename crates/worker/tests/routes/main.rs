//! Which deployment serves a job, and the way around each failure.

mod access;
mod bench;
mod keys;
mod outages;
mod slowness;
mod stand_ins;
mod streams;
mod waits;
