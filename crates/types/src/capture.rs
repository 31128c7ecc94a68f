//! A capture: a prompt as it was sent and its answer as it was delivered, kept where a team wants that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::JobId;

/// What is kept of one job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Captured {
    /// The version of this object; 1.
    pub version: u32,
    /// The team's token in the subject.
    pub team: String,
    /// The job's id.
    pub job: JobId,
    /// The body of the request, as it was sent to providers.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub request: Box<RawValue>,
    /// The result line, as it was delivered; with placeholders for what guardrails redacted in the prompt.
    #[schemars(with = "crate::result::JobResult")]
    pub result: Box<RawValue>,
}
