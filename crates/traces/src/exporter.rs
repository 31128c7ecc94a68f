//! Posts spans to a collector, by OTLP over HTTP with protobuf.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::names;

/// How long one post may take.
const POST_WITHIN: Duration = Duration::from_secs(10);
/// The longest that a collector may ask us to wait.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Where spans go.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    /// The collector's address, such as `http://localhost:4318`; `/v1/traces` is added where it has no path.
    pub endpoint: String,
    /// Headers that go along, such as `authorization`.
    pub headers: BTreeMap<String, SecretString>,
    /// The name of this service.
    pub service: String,
    /// The version of this program.
    pub version: &'static str,
    /// A proxy for the way out.
    pub proxy: Option<String>,
}

/// Why spans cannot be posted at all.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The address is none.
    #[error("this is not an address such as http://localhost:4318")]
    Endpoint,
    /// A header is none; its value is not repeated.
    #[error("`{0}` cannot be a header")]
    Header(String),
    /// The client cannot be made.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

impl ExporterConfig {
    /// Says whether spans could be posted with it; nothing is sent.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn check(&self) -> Result<(), Unusable> {
        self.parts().map(drop)
    }

    fn parts(&self) -> Result<(Url, HeaderMap), Unusable> {
        let mut url = Url::parse(&self.endpoint).map_err(|_| Unusable::Endpoint)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(Unusable::Endpoint);
        }
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = || Unusable::Header(name.clone());
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name.as_str()).map_err(|_| bad())?, value);
        }
        Ok((url, headers))
    }
}

/// Posts spans.
pub(crate) struct Exporter {
    client: Client,
    url: Url,
    resource: Resource,
    scope: InstrumentationScope,
}

/// What became of one post.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// The collector has them.
    Taken,
    /// It may take them later, and not before so long.
    Again(String, Duration),
    /// It never will.
    Refused(String),
}

impl Exporter {
    pub(crate) fn new(config: &ExporterConfig) -> Result<Exporter, Unusable> {
        let (url, headers) = config.parts()?;
        let mut builder = Client::builder()
            .no_proxy()
            .timeout(POST_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers);
        if let Some(proxy) = &config.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(Unusable::Client)?);
        }
        let text = |name: &str, value: &str| KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
            ..KeyValue::default()
        };
        let about = vec![text(names::SERVICE, &config.service), text(names::SERVICE_VERSION, config.version)];
        Ok(Exporter {
            client: builder.build().map_err(Unusable::Client)?,
            url,
            resource: Resource { attributes: about, ..Resource::default() },
            scope: InstrumentationScope {
                name: "tollgate".to_owned(),
                version: config.version.to_owned(),
                ..InstrumentationScope::default()
            },
        })
    }

    /// Posts spans once. The answer's text is not repeated, because it may hold what was sent.
    pub(crate) async fn post(&self, spans: Vec<Span>) -> Posted {
        let spans = ScopeSpans { scope: Some(self.scope.clone()), spans, ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        let all = ResourceSpans { resource, scope_spans: vec![spans], ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![all] }.encode_to_vec();
        let sent = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(body).send();
        match sent.await {
            Ok(answer) => judge(answer.status(), answer.headers()),
            Err(error) => Posted::Again(in_words(&error.without_url()), Duration::ZERO),
        }
    }
}

/// By <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>: 429, 502, 503 and 504 may be tried again.
fn judge(status: StatusCode, headers: &HeaderMap) -> Posted {
    let reason = format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Posted::Taken,
        429 | 502 | 503 | 504 => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Posted::Again(reason, Duration::from_secs(seconds.unwrap_or(0)).min(WAIT_MAX))
        }
        _ => Posted::Refused(reason),
    }
}

fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_trying_again_helps() {
        let check = |status: u16, after: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.extend(after.map(|after| (RETRY_AFTER, after.parse().expect("a value"))));
            let wait = match judge(StatusCode::from_u16(status).expect("a status"), &headers) {
                Posted::Again(_, wait) => Some(wait.as_secs()),
                Posted::Taken | Posted::Refused(_) => None,
            };
            assert_eq!(wait, expected, "{status} {after:?}");
        };
        check(200, None, None);
        check(400, Some("5"), None);
        check(500, None, None);
        check(429, Some("7"), Some(7));
        check(503, None, Some(0));
        check(503, Some("99999"), Some(300));
    }

    #[test]
    fn an_address_that_is_none_and_a_header_that_is_none_are_refused_by_name() {
        let of = |endpoint: &str, header: Option<(&str, &str)>| {
            let headers =
                header.map(|(name, value)| (name.to_owned(), SecretString::from(value))).into_iter().collect();
            let (endpoint, service) = (endpoint.to_owned(), "tollgate".to_owned());
            let config = ExporterConfig { endpoint, headers, service, version: "1", proxy: None };
            let _ = rustls::crypto::ring::default_provider().install_default();
            Exporter::new(&config).map(|exporter| exporter.url.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(of("http://localhost:4318", None), Ok("http://localhost:4318/v1/traces".into()));
        assert_eq!(of("https://c/otlp/v1/traces", None), Ok("https://c/otlp/v1/traces".into()));
        assert!(of("localhost:4318", None).is_err());
        assert_eq!(of("http://c", Some(("x-key", "a\nb"))), Err("`x-key` cannot be a header".into()));
    }
}
