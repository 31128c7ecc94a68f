//! Checks over the whole system: real servers, real processes, real crashes.

#![allow(clippy::print_stderr, reason = "a seed or a kept directory is what whoever reads a failure needs")]
#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod batches;
mod bodies;
mod chaos;
mod clock;
mod deploy;
mod fairness;
mod forgetful;
mod freshness;
mod harness;
mod lanes;
mod layers;
mod ledger;
mod money;
mod orders;
mod outage;
mod poison;
mod retention;
mod secrets;
mod zombie;
