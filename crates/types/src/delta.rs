//! What is published while an answer is written: pieces of it, for who reads along. Nothing is stored; the final result
//! is whole and validated all the same.
//!
//! A reader keeps the pieces of one attempt, in order. Whenever [`DeltaEvent::Start`] comes, everything before it is void:
//! the provider before broke off, or the worker died. A gap in `seq` means that pieces were lost on the way; then the
//! result says what they were.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::JobId;

/// One message on `tollgate.stream.<team>.<job id>`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeltaMessage {
    /// The version of this object; 1.
    pub version: u32,
    /// The job's id.
    pub job: JobId,
    /// The run: another one has begun anew.
    pub run: String,
    /// The call to a provider within the run, from 1: another one has begun anew.
    pub attempt: u32,
    /// Counts the messages of an attempt, from 0.
    pub seq: u64,
    /// What happened.
    pub event: DeltaEvent,
    /// With `delta`: an OpenAI `chat.completion.chunk`. Of a job for `/v1/responses` each thing of the output is a choice under
    /// its place there, and `item_id` and `item_type` say which it is; thoughts and further parts come with the result alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub chunk: Option<Box<RawValue>>,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeltaEvent {
    /// An attempt begins: what came before is void.
    Start,
    /// A piece of the answer.
    Delta,
    /// The job has its result, which says how it ended. One that was cancelled or expired elsewhere ends without this.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_small_object_and_reads_back() {
        let chunk = RawValue::from_string(r#"{"choices":[]}"#.to_owned()).expect("JSON");
        let message = DeltaMessage {
            version: 1,
            job: "search:1".parse().expect("an id"),
            run: "r".to_owned(),
            attempt: 1,
            seq: 3,
            event: DeltaEvent::Delta,
            chunk: Some(chunk),
        };
        let text = serde_json::to_string(&message).expect("it serialises");
        let expected =
            r#"{"version":1,"job":"search:1","run":"r","attempt":1,"seq":3,"event":"delta","chunk":{"choices":[]}}"#;
        assert_eq!(text, expected);
        let read: DeltaMessage = serde_json::from_str(&text).expect("it reads back");
        assert_eq!((read.seq, read.event, read.chunk.map(|chunk| chunk.get().len())), (3, DeltaEvent::Delta, Some(14)));
    }
}
