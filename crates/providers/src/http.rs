//! One call: sends a request to a deployment and returns an answer or a typed failure, with what was measured.
//!
//! Nothing here logs a prompt, an answer, a key, or a failure's message.

mod exchange;
mod stream;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use reqwest::redirect;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tollgate_types::job::Request;
use tollgate_types::{Failure, Tokens, UsageSource};

use crate::deployment::Deployment;

/// Makes ring the process' one source of cryptography. Every call after the first does nothing; so does the first if
/// somebody else was faster.
pub fn install_crypto() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // An error says that a provider is already installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// What holds for all calls of a [`Caller`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerOptions {
    /// The longest time to find the host, connect, and agree on TLS.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept; shorter than servers commonly keep theirs.
    pub idle_timeout: Duration,
    /// The proxy that all calls go through. Proxies in the environment are not used.
    pub proxy: Option<String>,
}

impl Default for CallerOptions {
    fn default() -> Self {
        CallerOptions { connect_timeout: Duration::from_secs(5), idle_timeout: Duration::from_secs(50), proxy: None }
    }
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// The proxy is not a URL.
    #[error("`proxy` is not a URL")]
    Proxy,
    /// The client could not be built; most often the system has no CA certificates.
    #[error("the HTTP client could not be built; are CA certificates installed?")]
    Client(#[source] reqwest::Error),
}

/// Calls providers over one pool of connections. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Caller {
    client: reqwest::Client,
}

/// Takes the deltas of an answer, in their order: each is one JSON object in the shape of OpenAI's
/// `chat.completion.chunk`, on one line, whatever the vendor. It is called while the answer is read, so it must never
/// block: what it cannot take at once, it drops or keeps.
///
/// Chunks without a choice, in which some vendors report usage, are not passed on.
pub type OnDelta<'a> = &'a (dyn Fn(Bytes) + Send + Sync);

/// What is asked of a deployment.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The request body, byte for byte as the job carried it.
    pub body: &'a Bytes,
    /// What was read in that body.
    pub request: &'a Request,
    /// The W3C trace context to pass on.
    pub traceparent: Option<&'a str>,
    /// The W3C vendor trace state to pass on.
    pub tracestate: Option<&'a str>,
    /// The job's id.
    pub job: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// Which attempt of the run this is, from 1.
    pub attempt: u32,
    /// How much time the job has left.
    pub deadline_in: Option<Duration>,
    /// Who reads along. With somebody, the answer is asked for as a stream; it comes as one delta where the vendor cannot
    /// stream, the server does not, or the request does not say `"stream": true`.
    pub deltas: Option<OnDelta<'a>>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("job", &self.job)
            .field("run", &self.run)
            .field("attempt", &self.attempt)
            .field("deadline_in", &self.deadline_in)
            .field("has_deltas", &self.deltas.is_some())
            .finish_non_exhaustive()
    }
}

/// How a call went.
#[derive(Debug)]
pub struct Called {
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Failure>,
    /// The provider's HTTP status, if it answered.
    pub http_status: Option<u16>,
    /// The provider's id of the request, at most 64 printable characters; empty if it gave none.
    pub request_id: String,
    /// From the start of the call to the end of the answer.
    pub latency: Duration,
    /// From the start of the call to the response's headers.
    pub first_byte: Option<Duration>,
    /// From the start of the call to the first content of the model (text, the call of a tool, a refusal, a thought), if
    /// somebody read along.
    pub first_token: Option<Duration>,
    /// What a failed call used: where the provider answered, billed and said so, and the answer is unusable; or where a
    /// stream broke off after the model wrote something.
    pub failed_usage: Option<Usage>,
    /// The id of the key that was sent; empty if none was.
    pub key: String,
    /// Whether the call failed for its key ([`FailureKind::Auth`](tollgate_types::FailureKind::Auth) or
    /// [`QuotaExhausted`](tollgate_types::FailureKind::QuotaExhausted)), and the same call can be made at once with
    /// another key of the provider.
    pub another_key: bool,
}

/// A usable answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The provider's body, byte for byte; of a vendor with another shape, or of a stream, the same as a chat completion.
    pub body: Box<RawValue>,
    /// The provider's HTTP status, a 2xx.
    pub http_status: u16,
    /// What was used.
    pub tokens: Tokens,
    /// Whether the provider said so or we counted.
    pub usage_source: UsageSource,
    /// The provider's own usage object as compact JSON; empty if absent or too long for a usage record.
    pub raw_usage: String,
    /// Why the first choice ended, such as `stop`, `length` or `content_filter`; empty if the provider did not say.
    pub finish: String,
    /// How many bytes of JSON hold what the model wrote.
    pub answer_text_bytes: usize,
}

/// What a failed call used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The counts.
    pub tokens: Tokens,
    /// Whether the provider said so, or a part of it was counted by us.
    pub source: UsageSource,
    /// The provider's own usage object as compact JSON; empty if there is none or it is too long for a usage record.
    pub raw: String,
}

impl Caller {
    /// A caller with an empty pool. Installs the cryptography that it needs.
    ///
    /// # Errors
    /// Returns what is wrong with the proxy, or that the system cannot verify certificates.
    pub fn new(options: &CallerOptions) -> Result<Self, CallerError> {
        install_crypto();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            // A connection per call in flight costs little, and no answer waits behind another.
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(usize::MAX)
            // A redirect would carry the prompt to a host that nobody configured.
            .redirect(redirect::Policy::none())
            .referer(false)
            // Whether to try again is for `policy` to decide, which knows what it may cost.
            .retry(reqwest::retry::never())
            .no_proxy();
        if let Some(proxy) = &options.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|_| CallerError::Proxy)?);
        }
        Ok(Caller { client: builder.build().map_err(CallerError::Client)? })
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends one request and reads the whole answer, giving its deltas on if somebody reads along.
    ///
    /// Never retries. A key that it fails for is out of use from then on; without any usable key nothing is sent, and the
    /// failure says when the first comes back. The call ends at the earliest of the deployment's timeouts and the deadline. An answer without
    /// credible usage is counted here, after its latency was taken.
    ///
    /// Cancel safety: dropping the future closes the connection of an unfinished call; the provider may have worked
    /// and may bill.
    pub async fn call(&self, deployment: &Deployment, call: &Call<'_>) -> Called {
        let started = Instant::now();
        let (keys, model) = (&deployment.keys, deployment.model.as_str());
        let mut seen = exchange::Seen::default();
        let (outcome, key, another_key) = match keys.pick(model, started) {
            Ok(picked) => {
                let key = picked.as_ref().map(|picked| &picked.key);
                let outcome = exchange::run(&self.client, (deployment, key), call, started, &mut seen).await;
                let now = Instant::now();
                let another = picked.as_ref().map(|picked| keys.learn(picked, model, outcome.as_ref().err(), now));
                (outcome, picked.map(|picked| picked.id), another.unwrap_or(false))
            }
            Err(unusable) => (Err(keys.refusal(&unusable, started)), None, false),
        };
        let latency = seen.end.unwrap_or_else(Instant::now) - started;
        tracing::debug!(
            provider = deployment.provider,
            model = deployment.model,
            http_status = seen.http_status,
            latency_ms = latency.as_millis(),
            failure = outcome.as_ref().err().map(|failure| tracing::field::debug(failure.kind)),
            "called a provider"
        );
        Called {
            outcome,
            http_status: seen.http_status,
            request_id: seen.request_id,
            latency,
            first_byte: seen.first_byte,
            first_token: seen.first_token,
            failed_usage: seen.failed_usage,
            key: key.unwrap_or_default(),
            another_key,
        }
    }
}
