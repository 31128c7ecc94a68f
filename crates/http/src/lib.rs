//! Health and metrics over HTTP.
//!
//! [`Http`] answers `/livez`, `/readyz`, `/metrics` and `/version`, and knows nothing else: whoever runs it says through
//! [`Readiness`] what is amiss, by name, and brings the pages that are served beside them. Start with [`server`]; [`connection`] says
//! what a peer may do with one.
//!
//! Deliberately absent: jobs, NATS, ClickHouse, and any authentication of probes. Listen on an address that only those
//! reach who may know.

mod connection;
mod readiness;
mod server;

pub use readiness::Readiness;
pub use server::{Http, HttpError, Probes};
