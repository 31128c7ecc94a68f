//! How one call to a provider can fail, in the words that decisions are made in.

use std::time::Duration;

/// One failed call: what happened, what the provider asked for, and whether it may have been billed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// The provider's HTTP status, if it answered.
    pub http_status: Option<u16>,
    /// How long the provider asked us to wait, already capped.
    pub retry_after: Option<Duration>,
    /// Whether the provider may have charged for it.
    pub billed: Billed,
    /// One line for the producer: keys masked, at most 300 characters. A provider's own message can echo a part of the
    /// prompt, so it goes into the producer's result and nowhere else: neither into logs nor into the books.
    pub message: String,
}

/// The classes of failure; decisions match on these without a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No connection: refused, DNS, TLS, or not within the connect timeout.
    Connect,
    /// The request was sent and no response began in time.
    FirstByteTimeout,
    /// The response began and did not end in time.
    TotalTimeout,
    /// The connection broke after the request was sent.
    Reset,
    /// HTTP 429 for rate: it passes.
    RateLimited,
    /// The account is out of quota or credit: waiting does not help this key.
    QuotaExhausted,
    /// HTTP 408, 409, 425, 5xx: it may pass.
    ServerError,
    /// The provider failed, and says that another try there is in vain.
    NotAgain,
    /// HTTP 401 or 403: the key is bad.
    Auth,
    /// HTTP 404: the deployment is wrong.
    NotFound,
    /// The prompt does not fit the model.
    ContextLength,
    /// The provider's policy refused the prompt.
    ContentPolicy,
    /// Any other 4xx: the request itself is wrong.
    InvalidRequest,
    /// The vendor has nothing that does what the request asks for: it was not sent.
    Unsupported,
    /// HTTP 2xx or 3xx that is no usable answer.
    BadResponse,
    /// The caller's time ended while the call ran.
    Deadline,
}

/// Whether a failed call may have cost money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billed {
    /// The provider refused before it worked.
    No,
    /// The provider may have worked; what is booked is an estimate, and flagged.
    Maybe,
}
