//! Health and metrics over HTTP.
//!
//! [`Http`] answers `/livez`, `/readyz`, `/metrics` and `/version`, and knows nothing else: whoever runs it says through
//! [`Readiness`] what is amiss, by name. Start with [`server`].
//!
//! Deliberately absent: jobs, NATS, ClickHouse, and any authentication. Listen on an address that only probes reach.

mod readiness;
mod server;

pub use readiness::Readiness;
pub use server::{Http, HttpError, Probes};
