//! Checks over the whole system: real servers, real processes, real crashes.

mod chaos;
mod harness;
mod layers;
mod outage;
mod poison;
mod zombie;
