//! How a job can end, and the stable code of each reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The six ends of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The provider answered, and the answer is in the result.
    Succeeded,
    /// Every way that was open failed.
    Failed,
    /// The job was not run: malformed, unknown, unpriced, forbidden, or over its budget by policy.
    Rejected,
    /// A guardrail stopped the prompt or the answer.
    Blocked,
    /// The deadline passed first.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// Every end.
    pub const ALL: [Status; 6] =
        [Status::Succeeded, Status::Failed, Status::Rejected, Status::Blocked, Status::Expired, Status::Cancelled];

    /// The word on the wire and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Rejected => "rejected",
            Status::Blocked => "blocked",
            Status::Expired => "expired",
            Status::Cancelled => "cancelled",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $status:ident, $cause:literal, $remedy:literal;)*) => {
        /// The stable code of a reason why a job did not succeed; `docs/errors.md` lists cause and remedy of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $(#[doc = $cause] $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// The end that a job with this code comes to.
            pub fn status(self) -> Status {
                match self { $(ErrorCode::$variant => Status::$status,)* }
            }

            /// What went wrong, one sentence.
            pub fn cause(self) -> &'static str {
                match self { $(ErrorCode::$variant => $cause,)* }
            }

            /// What to do about it, one sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(ErrorCode::$variant => $remedy,)* }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request", Rejected, "The payload is empty or is not a request line.", "Publish one request line of the OpenAI Batch format.";
    InvalidJson = "invalid_json", Rejected, "The payload is not valid JSON.", "Mend the JSON at the line and column that the message names.";
    BadEncoding = "bad_encoding", Rejected, "The payload is not plain UTF-8 (a byte order mark, UTF-16, compressed, or invalid bytes).", "Send uncompressed UTF-8 without a byte order mark.";
    TooDeep = "too_deep", Rejected, "The JSON is nested more than 64 levels deep.", "Flatten it.";
    TooLarge = "too_large", Rejected, "The payload has more bytes or more values than the broker accepts.", "Split the job.";
    PayloadMissing = "payload_missing", Rejected, "The body that `tollgate.body` names is not there, not whole, or expired.", "Publish its chunks before the job, under the job's own id, and submit it again under a fresh id.";
    PayloadDigest = "payload_digest", Rejected, "The chunks of the body do not have the digest or the length that `tollgate.body` says.", "Cut the body into chunks of 512 KiB and give the SHA-256 of the whole; submit it again under a fresh id.";
    DuplicateField = "duplicate_field", Rejected, "An object names the same field twice.", "Keep one of the two.";
    UnknownField = "unknown_field", Rejected, "A field outside `body` is not one that Tollgate knows.", "Remove it, or mend the name that the message suggests.";
    ForbiddenField = "forbidden_field", Rejected, "A field tries to set what only the operator may set (keys, addresses, priority).", "Remove it; class and team come from the subject.";
    MissingField = "missing_field", Rejected, "A required field is missing.", "Add the field that the message names.";
    InvalidField = "invalid_field", Rejected, "A field has the wrong type or a value out of range.", "Mend the field that the message names.";
    NoMessages = "no_messages", Rejected, "`body.messages` is empty.", "Send at least one message.";
    UnsupportedVersion = "unsupported_version", Rejected, "`tollgate.version` is not one that this broker speaks.", "Use a version that the message lists.";
    UnsupportedUrl = "unsupported_url", Rejected, "`method` and `url` name an endpoint that this broker does not serve.", "Use one that the message lists.";
    BadId = "bad_id", Rejected, "The `Nats-Msg-Id` header is not a job id.", "Use 1 to 128 characters of A-Z a-z 0-9 _ : = -.";
    BadHeader = "bad_header", Rejected, "A message header is too large or not text.", "Keep all headers together under 16 KiB of UTF-8.";
    ForbiddenReply = "forbidden_reply", Rejected, "`reply_to` lies outside the team's own prefixes; nothing was published there.", "Use `reply.<team>.…` or `_INBOX_<team>.…`.";
    ForbiddenUrl = "forbidden_url", Rejected, "A picture or a file in the prompt has an address that no provider may fetch from (not http or https, or inside of a private network).", "Send it as a `data:` URL, or under a public address.";
    Conflict = "conflict", Rejected, "The id already has a result for another request.", "Use a fresh id for a new request; the first result stays.";
    UnknownTeam = "unknown_team", Rejected, "The subject's team is not registered.", "Ask the operator for `tollgate team add`, or mend the subject.";
    UnknownClass = "unknown_class", Rejected, "The subject's class is not one of interactive, standard, batch.", "Mend the subject.";
    UnknownModel = "unknown_model", Rejected, "No deployment serves the model.", "Use a model that the message lists.";
    ForbiddenModel = "forbidden_model", Rejected, "The team may not use the model, or none of its deployments (provider, region).", "Use a model that the team may use, or ask the operator.";
    UnknownTag = "unknown_tag", Rejected, "No deployment of the model has all of the job's `tags`.", "Leave tags out, or ask the operator which there are.";
    UnpricedModel = "unpriced_model", Rejected, "The model has no price, so its cost could not be counted.", "Ask the operator to price it or declare its deployment free.";
    OverBudget = "over_budget", Rejected, "A budget has no money for the job and its policy is to reject, or the job can never fit its cap.", "Wait for the next window, ask for a raise, or ask for less (`max_tokens`).";
    CostAboveMax = "cost_above_max", Rejected, "The most that the job can cost is above its own `max_cost_usd`.", "Allow more, or ask for less (`max_tokens`, a cheaper model).";
    OverLimit = "over_limit", Rejected, "The job needs more tokens than a limit allows in a whole minute.", "Split the prompt, ask for a shorter answer, or ask the operator to raise the limit.";
    PromptBlocked = "prompt_blocked", Blocked, "A guardrail rule of the team fired on the prompt; nothing was sent to a provider.", "Take out what the rule looks for; the message names the rule, never what it found.";
    AnswerBlocked = "answer_blocked", Blocked, "A guardrail rule of the team fired on the answer; it was paid for and is not delivered.", "Ask for something else; the message names the rule, never what it found.";
    GuardrailFailed = "guardrail_failed", Blocked, "A guardrail of the team could not be applied (a checker that does not answer, a part that cannot be read), and the team's jobs do not pass without it.", "Try later; the operator should look at the checker, or let jobs pass (`on_failure = \"allow\"`).";
    Cancelled = "cancelled", Cancelled, "Somebody cancelled the job.", "Submit it again under a fresh id if that was a mistake.";
    Forgotten = "forgotten", Cancelled, "Somebody had the job forgotten: its prompt and its answer are gone. The status of a job that had ended stays what it was.", "Submit it again under a fresh id if its answer is still needed.";
    NotKept = "not_kept", Cancelled, "The result is older than its team keeps results, and its answer is gone. The status stays what it was.", "Submit it again under a fresh id if its answer is still needed.";
    DeadlineExceeded = "deadline_exceeded", Expired, "The deadline passed before there was an answer.", "Give it more time.";
    Poison = "poison", Failed, "The job ended the process that ran it, repeatedly, also when it ran alone.", "Look at the dead letter; it can be replayed after the cause is mended.";
    RateLimited = "rate_limited", Failed, "The provider kept refusing for its rate limit.", "Try later, or add capacity.";
    QuotaExhausted = "quota_exhausted", Failed, "The provider's account is out of quota or credit.", "The operator must top up the provider's account.";
    ProviderAuth = "provider_auth", Failed, "The provider refused the operator's key.", "The operator must mend the key.";
    ProviderUnavailable = "provider_unavailable", Failed, "The provider could not be reached, or kept failing.", "Try later, or add a deployment.";
    ProviderTimeout = "provider_timeout", Failed, "The provider did not answer in time.", "Allow more time, or ask for a shorter answer.";
    BadResponse = "bad_response", Failed, "The provider's answer was not usable (not JSON, cut, empty, too large, a redirect).", "The operator should look at the provider.";
    Unsupported = "unsupported", Rejected, "No deployment of the model can do what a field of `body` asks for; nothing was sent.", "Leave out what the message names, or use a model of another provider.";
    InvalidRequest = "invalid_request", Failed, "The provider refused the request itself.", "Mend what the provider's message names.";
    ContextLengthExceeded = "context_length_exceeded", Failed, "The prompt is longer than the model's context.", "Shorten it, or use a model with a larger context.";
    ContentFiltered = "content_filtered", Failed, "The provider's content policy refused the prompt.", "Change the prompt.";
    ModelNotFound = "model_not_found", Failed, "The provider does not know the deployment's model.", "The operator must mend the deployment.";
    ResultTooLarge = "result_too_large", Failed, "The answer does not fit a NATS message, and could not be put beside it.", "Ask for a shorter answer, or make room in the stream of large bodies.";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_code_is_its_word_on_the_wire() {
        for &code in ErrorCode::ALL {
            let wire = serde_json::to_value(code).expect("codes serialise");
            assert_eq!(wire, code.as_str());
            assert!(!code.cause().is_empty() && !code.remedy().is_empty());
        }
    }
}
