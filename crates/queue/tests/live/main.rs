//! What the crate does over a real nats-server, that is killed where it matters.

mod answers;
mod directory;
mod flights;
mod jobs;
mod ledger;
mod office;
mod scan;
mod service;
mod spoken;
mod wait;
mod world;
