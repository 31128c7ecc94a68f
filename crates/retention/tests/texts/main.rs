//! Texts that are forgotten, swept and captured: a real nats-server, real workers, settlers, sinks and ClickHouse.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod bench;
mod books;
mod captured;
mod forgotten;
mod swept;
