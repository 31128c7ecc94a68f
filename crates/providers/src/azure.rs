//! OpenAI's models at Microsoft's Azure: OpenAI's formats at other addresses, with the key in a header of Azure's own.
//!
//! Source: the Azure OpenAI reference (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>) for dated
//! versions, and the undated `v1` (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle>).
//! What a filter did to a prompt or an answer (`prompt_filter_results`, `content_filter_results`,
//! <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/concepts/content-filter>) passes on with the answer: a
//! filtered prompt is a refusal with the code `content_filter`, a filtered answer ends with it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::adapter::{Adapter, Credential, Exchange};
use crate::{openai, refusal};

/// Without a version: the model stands in the body.
pub(crate) static ADAPTER: Adapter = Adapter {
    chat: openai::CHAT,
    embeddings: Some(openai::EMBEDDINGS),
    responses: Some(openai::RESPONSES),
    base_path: "/openai/v1",
    credential: Credential::Header("api-key"),
    headers: &[],
    listing: "models",
    refuse: refusal::refuse,
};

/// Under a dated version: the deployment stands in the address, but not for responses.
pub(crate) static DATED: Adapter = Adapter {
    chat: Exchange { path: |model| format!("deployments/{}/chat/completions", escaped(model)), ..openai::CHAT },
    embeddings: Some(Exchange {
        path: |model| format!("deployments/{}/embeddings", escaped(model)),
        ..openai::EMBEDDINGS
    }),
    responses: Some(openai::RESPONSES),
    base_path: "/openai",
    credential: Credential::Header("api-key"),
    headers: &[],
    listing: "models",
    refuse: refusal::refuse,
};

/// What may stand in a segment of a path as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn escaped(model: &str) -> String {
    utf8_percent_encode(model, SEGMENT).to_string()
}
