//! The seam between vendors: what a wire format must provide, and the one match that finds it.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tollgate_types::job::ChatRequest;
use tollgate_types::{Failure, Tokens};

use crate::deployment::Vendor;
use crate::keys::ApiKey;
use crate::stream::Streaming;
use crate::{anthropic, gemini, openai};

/// One vendor's wire format, as functions without state.
pub(crate) struct Adapter {
    /// What follows the base URL, for a model.
    pub(crate) path: fn(&str) -> String,
    /// What a base URL without a path means.
    pub(crate) base_path: &'static str,
    /// How the key goes along.
    pub(crate) credential: Credential,
    /// Headers that every request has.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The body to send, with the deployment's model (a JSON string) in place.
    pub(crate) body: fn(&Bytes, &ChatRequest, &str) -> Result<Bytes, Unsendable>,
    /// Reads the body of a 2xx.
    pub(crate) read: fn(Vec<u8>, &Sent<'_>) -> Result<Read, Unusable>,
    /// Reads any other response.
    pub(crate) refuse: fn(&Refusal<'_>) -> Failure,
    /// The text of a usable answer, for counting it.
    pub(crate) answer_text: fn(&RawValue) -> String,
    /// How an answer comes in pieces, where it can.
    pub(crate) streaming: Option<Streaming>,
}

impl Vendor {
    pub(crate) fn adapter(self) -> &'static Adapter {
        match self {
            Vendor::OpenAi => &openai::ADAPTER,
            Vendor::Anthropic => &anthropic::ADAPTER,
            Vendor::Gemini => &gemini::ADAPTER,
        }
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
    /// What it is instead, without any of its content except a provider's error message.
    pub(crate) message: String,
    /// What the provider says was used all the same.
    pub(crate) reported: Reported,
}

/// A response that is not 2xx.
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// The key that was sent, to mask it.
    pub(crate) key: Option<&'a str>,
}
