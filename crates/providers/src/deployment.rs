//! A deployment: one model at one provider, with everything that a call to it needs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::ApiKey;

/// The largest answer that is read, in bytes, unless the operator says otherwise: far above any model's longest.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whose wire format a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// OpenAI's chat completions, and every server that copies them.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: [Vendor; 3] = [Vendor::OpenAi, Vendor::Anthropic, Vendor::Gemini];

    /// The base URL of the vendor's own service.
    pub fn own_address(self) -> &'static str {
        match self {
            Vendor::OpenAi => "https://api.openai.com/v1",
            Vendor::Anthropic => "https://api.anthropic.com/v1",
            Vendor::Gemini => "https://generativelanguage.googleapis.com/v1beta",
        }
    }

    /// What a base URL without a path means.
    pub fn base_path(self) -> &'static str {
        self.adapter().base_path
    }

    /// The environment variable in which the vendor's own clients look for the key.
    pub fn key_variable(self) -> &'static str {
        match self {
            Vendor::OpenAi => "OPENAI_API_KEY",
            Vendor::Anthropic => "ANTHROPIC_API_KEY",
            Vendor::Gemini => "GEMINI_API_KEY",
        }
    }

    /// The headers that every request to the vendor has, with the key if there is one; its value is marked sensitive.
    pub fn headers(self, key: Option<&ApiKey>) -> HeaderMap {
        let adapter = self.adapter();
        let of_all = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        adapter.headers.iter().map(of_all).chain(key.map(|key| adapter.credential.header(key))).collect()
    }

    /// The word in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Vendor::OpenAi => "openai",
            Vendor::Anthropic => "anthropic",
            Vendor::Gemini => "gemini",
        }
    }
}

impl FromStr for Vendor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Vendor::ALL.into_iter().find(|vendor| vendor.as_str() == text);
        known.ok_or_else(|| {
            let vendors = Vendor::ALL.map(Vendor::as_str).join(", ");
            format!("'{text}' is not a vendor; the vendors are {vendors}")
        })
    }
}

/// How long the stages of a call may take. The time to connect is the [`Caller`](crate::Caller)'s, as its pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of the call to the response's headers; a whole answer is computed before they come.
    pub first_byte: Duration,
    /// From the start of the call to the end of the answer.
    pub total: Duration,
    /// How long a stream may be silent. Before the model's first word, silence may be thought: there it is the time to
    /// the first byte, if that is longer.
    pub stall: Duration,
}

impl Default for Timeouts {
    /// Two minutes to the first byte; ten minutes in all, as the vendors' own clients have it; a minute of silence.
    fn default() -> Self {
        Timeouts {
            first_byte: Duration::from_secs(120),
            total: Duration::from_secs(600),
            stall: Duration::from_secs(60),
        }
    }
}

/// One model at one provider.
#[derive(Clone)]
pub struct Deployment {
    /// The operator's name of the provider.
    pub provider: String,
    /// Whose wire format it speaks.
    pub vendor: Vendor,
    /// The provider's own name of the model.
    pub model: String,
    /// Where it runs, if the operator said so; else empty.
    pub region: String,
    /// How long a call may take.
    pub timeouts: Timeouts,
    /// The largest answer that is read, in bytes after decompression; of a stream, the largest that is kept.
    pub response_bytes_max: usize,
    /// Whether job, run and attempt go along as `x-tollgate-…` headers. They are no secret, but no business of a third
    /// party either, so they are off unless the operator owns the provider.
    pub correlation_headers: bool,
    pub(crate) endpoint: Url,
    /// The model as a JSON string, as it is spliced into bodies.
    pub(crate) model_json: String,
    /// The vendor's own headers and the one that carries the key.
    pub(crate) headers: HeaderMap,
    pub(crate) key: Option<ApiKey>,
}

/// Why a deployment cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeploymentError {
    /// The base URL is not an absolute URL.
    #[error("`base_url` is not a URL ({0}); write one such as https://api.openai.com/v1")]
    NotAUrl(String),
    /// The base URL is neither http nor https.
    #[error("`base_url` starts with `{0}:`; it must be https, or http inside a trusted network")]
    Scheme(String),
    /// The base URL carries a user or a password.
    #[error("`base_url` carries a user or a password; give the key by its own setting")]
    UserInfo,
    /// The base URL carries a query or a fragment.
    #[error("`base_url` carries a query or a fragment; remove it")]
    Query,
    /// The model has no name.
    #[error("`model` is empty")]
    NoModel,
}

impl Deployment {
    /// A deployment with default timeouts and limits and no region.
    ///
    /// `base_url` is what the vendors' own clients take, such as `https://api.openai.com/v1`; a URL without any path
    /// means the vendor's own, mostly `/v1`. Plain http is accepted, with a warning unless it stays on this machine.
    ///
    /// # Errors
    /// Returns what is wrong with the URL or the model.
    pub fn new(
        provider: impl Into<String>,
        vendor: Vendor,
        base_url: &str,
        model: impl Into<String>,
        key: Option<ApiKey>,
    ) -> Result<Self, DeploymentError> {
        let (provider, model) = (provider.into(), model.into());
        if model.is_empty() {
            return Err(DeploymentError::NoModel);
        }
        let adapter = vendor.adapter();
        let endpoint = endpoint(base_url, vendor.base_path(), &(adapter.path)(&model))?;
        if endpoint.scheme() == "http" && !is_loopback(&endpoint) {
            tracing::warn!(provider, "base_url is plain http: key and prompts travel unencrypted");
        }
        Ok(Deployment {
            model_json: serde_json::to_string(&model).expect("texts always serialise"),
            headers: vendor.headers(key.as_ref()),
            provider,
            vendor,
            model,
            region: String::new(),
            timeouts: Timeouts::default(),
            response_bytes_max: RESPONSE_BYTES_MAX,
            correlation_headers: false,
            endpoint,
            key,
        })
    }

    /// The address that requests go to.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("provider", &self.provider)
            .field("vendor", &self.vendor)
            .field("model", &self.model)
            .field("endpoint", &self.endpoint.as_str())
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

fn endpoint(base_url: &str, base_path: &str, path: &str) -> Result<Url, DeploymentError> {
    let mut url = Url::parse(base_url).map_err(|error| DeploymentError::NotAUrl(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(DeploymentError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(DeploymentError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(DeploymentError::Query);
    }
    let base = match url.path().trim_end_matches('/') {
        "" => base_path,
        base => base,
    };
    let path = format!("{base}/{path}");
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base_url: &str) -> Result<Deployment, DeploymentError> {
        Deployment::new("p", Vendor::OpenAi, base_url, "m", None)
    }

    #[test]
    fn the_endpoint_follows_from_the_base_url() {
        for (base, endpoint) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
            ("https://gateway.example/openai/v1", "https://gateway.example/openai/v1/chat/completions"),
        ] {
            assert_eq!(at(base).expect(base).endpoint(), endpoint);
        }
    }

    #[test]
    fn urls_that_could_leak_or_mislead_are_refused() {
        assert!(matches!(at("api.openai.com"), Err(DeploymentError::NotAUrl(_))));
        assert!(matches!(at(""), Err(DeploymentError::NotAUrl(_))));
        assert_eq!(at("file:///etc/passwd").err(), Some(DeploymentError::Scheme("file".into())));
        assert_eq!(at("https://user:pw@api.openai.com/v1").err(), Some(DeploymentError::UserInfo));
        assert_eq!(at("https://user@api.openai.com/v1").err(), Some(DeploymentError::UserInfo));
        assert_eq!(at("https://api.openai.com/v1?x=1").err(), Some(DeploymentError::Query));
        let no_model = Deployment::new("p", Vendor::OpenAi, "https://api.openai.com", "", None);
        assert_eq!(no_model.err(), Some(DeploymentError::NoModel));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = ApiKey::new("sk-very-secret").expect("a key");
        let deployment = Deployment::new("p", Vendor::OpenAi, "https://api.openai.com", "m", Some(key)).expect("valid");
        let shown = format!("{deployment:?}");
        assert!(!shown.contains("secret") && shown.contains("has_key: true"), "{shown}");
    }

    #[test]
    fn a_vendor_reads_back_from_its_word() {
        for vendor in Vendor::ALL {
            assert_eq!(vendor.as_str().parse(), Ok(vendor));
        }
        assert!("openai2".parse::<Vendor>().is_err());
    }
}
