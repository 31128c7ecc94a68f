//! Anthropic's Messages over jobs, which are chat completions ([`tollgate_messages`]): the body of a call, and an answer in
//! events.

mod events;

use bytes::Bytes;
use serde_json::{Map, Value};
use tollgate_messages::{Chat, Inexpressible};

use crate::order::Asked;
use crate::refused::Refused;

pub(crate) use events::Events;

/// The chat completion request, and how a stream of it is asked for.
pub(crate) fn job_body(body: &[u8]) -> Result<(Bytes, Asked), Refused> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| Refused::of_field("body", "`body` is not a JSON object"))?;
    let Chat { body, thoughts } = tollgate_messages::chat(fields)?;
    let body = serde_json::to_vec(&body).expect("values always serialise");
    Ok((body.into(), Asked { usage: true, thoughts }))
}

impl From<Inexpressible> for Refused {
    fn from(error: Inexpressible) -> Refused {
        Refused::of_field(&error.at, error.to_string())
    }
}
