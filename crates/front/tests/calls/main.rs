//! The front door over real connections: a real nats-server, a real worker, a real provider at the other end of a socket.

#![allow(clippy::unwrap_used, reason = "what tests call is a test too")]

mod batches;
mod chat;
mod files;
mod hostile;
mod keys;
mod limits;
mod shapes;
mod world;
