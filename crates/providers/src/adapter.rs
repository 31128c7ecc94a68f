//! The seam between vendors: what a wire format must provide, and the one match that finds it.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tollgate_types::job::Request;
use tollgate_types::{Endpoint, Failure, FailureKind, Tokens};

use crate::keys::ApiKey;
use crate::stream::Streaming;
use crate::vendor::Vendor;
use crate::{anthropic, azure, gemini, mistral, ollama, openai, xai};

/// One vendor's wire format, as functions without state.
pub(crate) struct Adapter {
    /// Chat completions, which every vendor has.
    pub(crate) chat: Exchange,
    /// Embeddings, where there are any.
    pub(crate) embeddings: Option<Exchange>,
    /// Responses, where there are any.
    pub(crate) responses: Option<Exchange>,
    /// What a base URL without a path means.
    pub(crate) base_path: &'static str,
    /// How the key goes along.
    pub(crate) credential: Credential,
    /// Headers that every request has.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// What follows the base URL to list the models.
    pub(crate) listing: &'static str,
    /// Reads a response that is not 2xx.
    pub(crate) refuse: fn(&Refusal<'_>) -> Failure,
}

impl Adapter {
    /// What is exchanged at an endpoint, if the vendor has one like it.
    pub(crate) fn exchange(&self, endpoint: Endpoint) -> Option<&Exchange> {
        match endpoint {
            Endpoint::ChatCompletions => Some(&self.chat),
            Endpoint::Embeddings => self.embeddings.as_ref(),
            Endpoint::Responses => self.responses.as_ref(),
        }
    }
}

/// What is sent to one endpoint and what comes back.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    /// What follows the base URL, for a model.
    pub(crate) path: fn(&str) -> String,
    /// The body to send.
    pub(crate) body: fn(&Bytes, &Request, &To<'_>) -> Result<Bytes, Unsendable>,
    /// Reads the body of a 2xx.
    pub(crate) read: fn(Vec<u8>, &Sent<'_>) -> Result<Read, Unusable>,
    /// The text of a usable answer, for counting it.
    pub(crate) answer_text: fn(&RawValue) -> String,
    /// How an answer comes in pieces, where it can.
    pub(crate) streaming: Option<Streaming>,
}

/// Whom a body is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    /// The deployment's model, as a JSON string.
    pub(crate) model_json: &'a str,
    /// The model's context, if the operator said how long it is, in tokens.
    pub(crate) context_tokens: Option<u64>,
}

impl Vendor {
    pub(crate) fn adapter(self) -> &'static Adapter {
        match self {
            Vendor::OpenAi => &openai::ADAPTER,
            Vendor::Anthropic => &anthropic::ADAPTER,
            Vendor::Gemini => &gemini::ADAPTER,
            Vendor::Azure => &azure::ADAPTER,
            Vendor::Mistral => &mistral::ADAPTER,
            Vendor::Xai => &xai::ADAPTER,
            Vendor::Ollama => &ollama::ADAPTER,
        }
    }
}

#[cfg(test)]
impl<'a> To<'a> {
    /// A model of which nothing else is known.
    pub(crate) fn model(model_json: &'a str) -> To<'a> {
        To { model_json, context_tokens: None }
    }
}

/// How a vendor wants its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header of the vendor's own.
    Header(&'static str),
}

impl Credential {
    /// The header that carries the key, marked so that nothing prints it.
    pub(crate) fn header(self, key: &ApiKey) -> (HeaderName, HeaderValue) {
        match self {
            Credential::Bearer => (AUTHORIZATION, key.header("Bearer ")),
            Credential::Header(name) => (HeaderName::from_static(name), key.header("")),
        }
    }
}

/// Why a request cannot be sent to this vendor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    /// The ranges that were read in the request are not those of this body.
    AnotherBody,
    /// The vendor has nothing that does what a field asks for: what, and what to do instead; without the prompt.
    Unsupported(String),
}

impl Unsendable {
    /// The vendor has no such endpoint.
    pub(crate) fn no_endpoint(endpoint: Endpoint) -> Unsendable {
        Unsendable::Unsupported(match endpoint {
            Endpoint::ChatCompletions => format!("it has no endpoint like {endpoint}"),
            Endpoint::Embeddings => format!("it has no endpoint like {endpoint}; ask for a model of a vendor that has"),
            Endpoint::Responses => {
                let chat = Endpoint::ChatCompletions;
                format!("it has no endpoint like {endpoint}; send a chat completion ({chat}) instead")
            }
        })
    }
}

/// What was asked for, to judge whether reported usage is possible.
pub(crate) struct Sent<'a> {
    /// The body that was sent.
    pub(crate) body: &'a Bytes,
    /// The longest answer that was asked for.
    pub(crate) max_tokens: Option<u64>,
    /// How many answers were asked for.
    pub(crate) n: u64,
}

/// A usable answer.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) body: Box<RawValue>,
    pub(crate) finish: String,
    pub(crate) answer_text_bytes: usize,
    pub(crate) reported: Reported,
}

/// What the provider says was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The counts, if they are there and possible.
    pub(crate) tokens: Option<Tokens>,
    /// The provider's own usage object, compact; empty if absent or too long.
    pub(crate) raw: String,
}

/// A 2xx that is no answer.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// What that means: a bad response, unless the provider says what went wrong.
    pub(crate) kind: FailureKind,
    /// What it is instead, without any of its content except a provider's error message.
    pub(crate) message: String,
    /// What the provider says was used all the same.
    pub(crate) reported: Reported,
}

impl Unusable {
    /// A response that is no answer, for no reason that the provider gives.
    pub(crate) fn bad(message: impl Into<String>, reported: Reported) -> Unusable {
        Unusable { kind: FailureKind::BadResponse, message: message.into(), reported }
    }
}

/// A response that is not 2xx.
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// The provider's keys, to mask them.
    pub(crate) keys: &'a [ApiKey],
}

#[cfg(test)]
mod hostile;
