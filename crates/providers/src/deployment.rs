//! A deployment: one model at one provider, with everything that a call to it needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tollgate_types::Endpoint;

use crate::adapter::{Credential, To};
use crate::address::Addresses;
use crate::azure;
use crate::keys::{ApiKey, Ring};
use crate::vendor::Vendor;

/// The largest answer that is read, in bytes, unless the operator says otherwise: far above any model's longest.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    /// The longest context in tokens, prompt and answer together, for vendors that must be told: Ollama, which else cuts
    /// prompts at a length of its own choice.
    pub context_tokens: Option<u64>,
    /// The keys of the provider, which its deployments share.
    pub keys: Arc<Ring>,
    addresses: Addresses,
    credential: Credential,
    /// The model as a JSON string, as it is spliced into bodies.
    pub(crate) model_json: String,
    /// The vendor's own headers.
    pub(crate) headers: HeaderMap,
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
    /// The base URL is that of a cloud's metadata service.
    #[error("`base_url` is a metadata service, which hands out this machine's credentials; name a provider")]
    Metadata,
    /// The model has no name.
    #[error("`model` is empty")]
    NoModel,
    /// A setting of Azure at another vendor.
    #[error("`{0}` is for azure alone; remove it")]
    NotAzure(&'static str),
    /// The version of the API is none.
    #[error("`api_version` is not a version such as 2024-10-21")]
    ApiVersion,
}

impl Deployment {
    /// A deployment with default timeouts and limits, no region, and one key or none; more go into its `keys`.
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
        let addresses = Addresses::read(base_url, adapter, &model)?;
        if addresses.is_open() {
            tracing::warn!(provider, "base_url is plain http: key and prompts travel unencrypted");
        }
        Ok(Deployment {
            model_json: serde_json::to_string(&model).expect("texts always serialise"),
            headers: vendor.headers(),
            keys: Ring::of_one(&provider, key),
            provider,
            vendor,
            model,
            region: String::new(),
            timeouts: Timeouts::default(),
            response_bytes_max: RESPONSE_BYTES_MAX,
            correlation_headers: false,
            context_tokens: None,
            addresses,
            credential: adapter.credential,
        })
    }

    /// The same deployment under a dated version of Azure's API, whose addresses name the deployment
    /// (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>). Without one, Azure's undated `v1` is used.
    ///
    /// # Errors
    /// Refuses other vendors, and what is no version.
    pub fn with_api_version(mut self, version: &str) -> Result<Self, DeploymentError> {
        if self.vendor != Vendor::Azure {
            return Err(DeploymentError::NotAzure("api_version"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if version.is_empty() || !version.chars().all(plain) {
            return Err(DeploymentError::ApiVersion);
        }
        self.addresses = self.addresses.versioned(&azure::DATED, &self.model, ("api-version", version));
        Ok(self)
    }

    /// The same deployment with its key as a bearer token, as Microsoft Entra gives them out.
    ///
    /// # Errors
    /// Refuses other vendors than Azure.
    pub fn with_bearer_token(mut self) -> Result<Self, DeploymentError> {
        if self.vendor != Vendor::Azure {
            return Err(DeploymentError::NotAzure("credential"));
        }
        self.credential = Credential::Bearer;
        Ok(self)
    }

    /// The address that chat completions go to.
    pub fn endpoint(&self) -> &str {
        self.addresses.chat().as_str()
    }

    /// The address at which the models are listed, and the headers to ask with; the key's value is marked sensitive.
    pub fn listing(&self, key: Option<&ApiKey>) -> (&str, HeaderMap) {
        let mut headers = self.headers.clone();
        headers.extend(key.map(|key| self.credential(key)));
        (self.addresses.listing().as_str(), headers)
    }

    /// The header that carries a key.
    pub(crate) fn credential(&self, key: &ApiKey) -> (HeaderName, HeaderValue) {
        self.credential.header(key)
    }

    /// The address that requests for an endpoint go to, if the vendor has one like it.
    pub(crate) fn address(&self, endpoint: Endpoint) -> Option<&Url> {
        self.addresses.of(endpoint)
    }

    /// What an adapter has to know of it to write a body.
    pub(crate) fn to(&self) -> To<'_> {
        To { model_json: &self.model_json, context_tokens: self.context_tokens }
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("provider", &self.provider)
            .field("vendor", &self.vendor)
            .field("model", &self.model)
            .field("endpoint", &self.endpoint())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
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
    fn azure_has_addresses_with_and_without_a_version() {
        let azure = |base: &str| Deployment::new("az", Vendor::Azure, base, "gpt 4/o", None).expect(base);
        let all = |deployment: &Deployment| {
            Endpoint::ALL.map(|endpoint| deployment.address(endpoint).expect("azure has it").as_str().to_owned())
        };
        let base = "https://r.openai.azure.com";
        let undated = ["chat/completions", "embeddings", "responses"].map(|path| format!("{base}/openai/v1/{path}"));
        assert_eq!(all(&azure(base)), undated);
        let dated = azure(base).with_api_version("2024-10-21").expect("a version");
        let paths = ["deployments/gpt%204%2Fo/chat/completions", "deployments/gpt%204%2Fo/embeddings", "responses"];
        assert_eq!(all(&dated), paths.map(|path| format!("{base}/openai/{path}?api-version=2024-10-21")));
        assert_eq!(dated.listing(None).0, format!("{base}/openai/models?api-version=2024-10-21"));
        let behind = azure("https://gateway.example/mine/").with_api_version("v").expect("a version");
        assert_eq!(
            behind.endpoint(),
            "https://gateway.example/mine/deployments/gpt%204%2Fo/chat/completions?api-version=v"
        );
        assert_eq!(azure(base).with_api_version("2024&x=1").err(), Some(DeploymentError::ApiVersion));
        assert_eq!(
            at(base).expect("openai").with_api_version("v").err(),
            Some(DeploymentError::NotAzure("api_version"))
        );
    }

    #[test]
    fn what_a_vendor_has_no_endpoint_for_has_no_address() {
        for vendor in Vendor::ALL {
            let base = vendor.own_address().unwrap_or("https://r.openai.azure.com");
            let deployment = Deployment::new("p", vendor, base, "m", None).expect(base);
            for endpoint in Endpoint::ALL {
                assert_eq!(deployment.address(endpoint).is_some(), vendor.serves(endpoint), "{vendor:?} {endpoint}");
            }
            assert!(vendor.serves(Endpoint::ChatCompletions));
        }
        assert!(!Vendor::Anthropic.serves(Endpoint::Embeddings) && !Vendor::Gemini.serves(Endpoint::Responses));
    }

    #[test]
    fn urls_that_could_leak_or_mislead_are_refused() {
        assert!(matches!(at("api.openai.com"), Err(DeploymentError::NotAUrl(_))));
        assert!(matches!(at(""), Err(DeploymentError::NotAUrl(_))));
        assert_eq!(at("file:///etc/passwd").err(), Some(DeploymentError::Scheme("file".into())));
        assert_eq!(at("https://user:pw@api.openai.com/v1").err(), Some(DeploymentError::UserInfo));
        assert_eq!(at("https://user@api.openai.com/v1").err(), Some(DeploymentError::UserInfo));
        assert_eq!(at("https://api.openai.com/v1?x=1").err(), Some(DeploymentError::Query));
        assert_eq!(at("http://169.254.169.254/v1").err(), Some(DeploymentError::Metadata));
        let no_model = Deployment::new("p", Vendor::OpenAi, "https://api.openai.com", "", None);
        assert_eq!(no_model.err(), Some(DeploymentError::NoModel));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = ApiKey::new("sk-very-secret").expect("a key");
        let deployment = Deployment::new("p", Vendor::OpenAi, "https://api.openai.com", "m", Some(key)).expect("valid");
        let shown = format!("{deployment:?}");
        assert!(!shown.contains("secret") && shown.contains("keys: 1"), "{shown}");
    }
}
