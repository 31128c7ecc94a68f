//! Who answers jobs: providers with their keys, and what serves a model name, for how much.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tollgate_policy::routing::Strategy;
use tollgate_providers::{KeySource, Vendor};
use tollgate_types::Limits;

use crate::config::values::{Decimal, Period};

/// One provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Whose wire format it speaks.
    pub vendor: String,
    /// What the vendor's own clients take; the vendor's own address if left out.
    pub base_url: Option<String>,
    /// The dated version of Azure's API; the undated one if left out. For Azure alone.
    pub api_version: Option<String>,
    /// How the key goes along: as Azure's API key, or as a bearer token of Microsoft Entra. For Azure alone.
    pub credential: Option<Credential>,
    /// Where its key comes from.
    pub key: Option<Key>,
    /// Where its keys come from, in place of `key`, if it has several: they are used in turn.
    pub keys: Vec<Key>,
    /// Whether `base_url` may be an address that only neighbours on the same wire have.
    pub allow_link_local: bool,
    /// The vendor whose list prices hold here; for the vendor's own address, that vendor.
    pub prices_as: Option<String>,
    /// Where it runs, for reports.
    pub region: Option<String>,
    /// From the start of a call to the response's headers.
    pub first_byte_timeout: Period,
    /// From the start of a call to the end of the answer.
    pub total_timeout: Period,
    /// How long a streamed answer may be silent; before the model's first word the first byte's time holds, if longer.
    pub stall_timeout: Period,
    /// Whether job, run and attempt go along as headers.
    pub correlation_headers: bool,
    /// Whether it costs nothing.
    pub free: bool,
}

impl Provider {
    /// Whose wire format it speaks, if that is known.
    pub fn speaks(&self) -> Option<Vendor> {
        self.vendor.parse().ok()
    }

    /// The base URL, without a slash at its end.
    pub fn address(&self) -> &str {
        let own = || self.speaks().and_then(Vendor::own_address).unwrap_or_default();
        self.base_url.as_deref().unwrap_or_else(own).trim_end_matches('/')
    }

    /// The vendor, if this is its own address; of Azure, a resource's.
    pub fn is_the_vendor_itself(&self) -> Option<Vendor> {
        self.speaks().filter(|vendor| match vendor {
            Vendor::Azure => self.is_at_azure(),
            vendor => vendor.own_address() == Some(self.address()),
        })
    }

    /// Whether it is a resource of Azure, by the hosts that Azure gives out.
    fn is_at_azure(&self) -> bool {
        const RESOURCES: [&str; 3] = [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"];
        let rest = self.address().strip_prefix("https://").unwrap_or_default();
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        RESOURCES.iter().any(|domain| host.ends_with(domain))
    }
}

impl Default for Provider {
    fn default() -> Self {
        let timeouts = tollgate_providers::Timeouts::default();
        Provider {
            vendor: "openai".into(),
            base_url: None,
            api_version: None,
            credential: None,
            key: None,
            keys: Vec::new(),
            allow_link_local: false,
            prices_as: None,
            region: None,
            first_byte_timeout: Period(timeouts.first_byte),
            total_timeout: Period(timeouts.total),
            stall_timeout: Period(timeouts.stall),
            correlation_headers: false,
            free: false,
        }
    }
}

/// How a key goes along to Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// In the header `api-key`, as if nothing were said.
    ApiKey,
    /// As a bearer token.
    Bearer,
}

/// Where a key comes from: one of `env`, `file` and `command`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// An environment variable.
    pub env: Option<String>,
    /// A file that holds the key and nothing else.
    pub file: Option<PathBuf>,
    /// A program with its arguments that prints the key and nothing else.
    pub command: Option<Vec<String>>,
    /// How long the command's key is used before it is run again.
    pub every: Option<Period>,
    /// What logs and metrics call the key; `key-1` and so on if left out.
    pub name: Option<String>,
}

impl Key {
    /// How long a command's key is used if nobody says otherwise.
    const EVERY: Period = Period::secs(600);

    /// What it says, if that is a source.
    pub fn source(&self) -> Option<KeySource> {
        match self {
            Key { env: Some(name), .. } => Some(KeySource::Env(name.clone())),
            Key { file: Some(path), .. } => Some(KeySource::File(path.clone())),
            Key { command: Some(argv), every, .. } => {
                Some(KeySource::Command { argv: argv.clone(), every: every.unwrap_or(Key::EVERY).0 })
            }
            Key { env: None, file: None, command: None, .. } => None,
        }
    }
}

/// What serves a model name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The deployments, in the order in which they are tried.
    pub deployments: Vec<Deployment>,
    /// How they share the calls: `ordered`, `weighted`, `lowest_cost` or `lowest_latency`.
    pub routing: Strategy,
    /// The most answer tokens that the model can give, for upper bounds; what is known of the vendor's model if left out.
    pub output_tokens_max: Option<u64>,
    /// The most prompt tokens that the model can read; what is known of the vendor's model if left out. Ollama is told it
    /// (its `num_ctx`), and cuts longer prompts.
    pub context_tokens: Option<u64>,
    /// The operator's own price, in US dollars per million tokens, in place of the list price.
    pub price: Option<Price>,
    /// The models that serve its jobs when none of its deployments answers, in order.
    pub fallbacks: Vec<String>,
    /// The models that serve a job whose prompt is too long for it.
    pub on_context_length: Vec<String>,
    /// The models that serve a job whose prompt its content policy refuses.
    pub on_content_policy: Vec<String>,
}

/// A model at a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    /// The provider's name in this file.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Its part of the calls with `routing = "weighted"`, against the others'; 1 if left out, 0 for a last resort.
    pub weight: Option<u32>,
    /// Where it runs; as its provider if left out.
    pub region: Option<String>,
    /// What jobs can ask for by `tollgate.tags`.
    pub tags: BTreeSet<String>,
    /// As of the model.
    pub output_tokens_max: Option<u64>,
    /// As of the model.
    pub context_tokens: Option<u64>,
    /// As of the model.
    pub price: Option<Price>,
    /// The most requests in any sliding minute, over all workers.
    pub requests_per_minute: Option<u32>,
    /// The most tokens in any sliding minute, over all workers.
    pub tokens_per_minute: Option<u64>,
    /// The most calls at once, over all workers.
    pub concurrency: Option<u32>,
}

impl Deployment {
    /// How fast it may be called.
    pub fn limits(&self) -> Limits {
        let Deployment { requests_per_minute, tokens_per_minute, concurrency, .. } = *self;
        Limits { requests_per_minute, tokens_per_minute, concurrency }
    }
}

/// A price in US dollars per million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Prompt tokens.
    pub input: Option<Decimal>,
    /// Answer tokens.
    pub output: Option<Decimal>,
    /// Prompt tokens read from the provider's cache; the input price if left out.
    pub cache_read: Option<Decimal>,
    /// Prompt tokens written to it; the input price if left out.
    pub cache_write: Option<Decimal>,
    /// What the vendor's batch service saves, as a part of one.
    pub batch_discount: Option<Decimal>,
    /// Other rates for whole requests with long prompts, from the smallest up.
    pub long_prompts: Vec<LongPrompts>,
    /// What is booked with every cost as the price's version; `override` if left out.
    pub version: Option<String>,
}

/// The price of a request whose prompt is long, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LongPrompts {
    /// It holds for prompts of more tokens than this.
    pub above_prompt_tokens: u64,
    /// Prompt tokens.
    pub input: Option<Decimal>,
    /// Answer tokens.
    pub output: Option<Decimal>,
    /// Prompt tokens read from the provider's cache; this input price if left out.
    pub cache_read: Option<Decimal>,
    /// Prompt tokens written to it; this input price if left out.
    pub cache_write: Option<Decimal>,
}
