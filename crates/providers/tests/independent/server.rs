//! The independent server, and what it remembers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use crate::KEY;

/// The variable that holds the server's address, such as `http://127.0.0.1:4010`.
const URL: &str = "TOLLGATE_INDEPENDENT_URL";

/// A server that was started by somebody else.
pub(crate) struct Independent {
    url: String,
}

/// A request as the server understood it.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The values of keys are masked.
    pub(crate) headers: BTreeMap<String, Value>,
    /// In the shape of a chat completion, whatever the vendor's is.
    pub(crate) body: Value,
}

impl Independent {
    #[allow(clippy::disallowed_methods, reason = "a test that is told its server's address")]
    pub(crate) fn from_environment() -> Self {
        let url = std::env::var(URL).unwrap_or_else(|_| panic!("{URL} is not set; .ci/adapters sets it"));
        Independent { url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A trace context that no other call has, by which the journal's entries are found.
    pub(crate) fn new_trace(&self) -> String {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
        format!("00-{now:032x}-{:016x}-01", CALLS.fetch_add(1, Ordering::Relaxed))
    }

    /// The requests that carried the trace context.
    pub(crate) async fn journal(&self, trace: &str) -> Vec<Entry> {
        tollgate_providers::install_crypto();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.get(format!("{}/__aimock/journal", self.url)).bearer_auth(KEY);
        let response = request.send().await.expect("the server answers").error_for_status().expect("it lets us in");
        let entries: Vec<Entry> = response.json().await.expect("a journal");
        entries.into_iter().filter(|entry| entry.headers.get("traceparent").is_some_and(|of| of == trace)).collect()
    }
}
