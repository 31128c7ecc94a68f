//! The neutral answer, a chat completion, as adapters of other wire formats write it.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tollgate_types::Tokens;

/// One answer, and why it ended.
pub(crate) struct Choice {
    /// What the model wrote.
    pub(crate) message: Written,
    /// A finish reason of a chat completion.
    pub(crate) finish: &'static str,
    /// The stop sequence that ended it, if the vendor tells it: in `stop_reason`, as vLLM has it.
    pub(crate) stop_reason: Option<String>,
}

/// What a model wrote, by kind.
#[derive(Default)]
pub(crate) struct Written {
    /// For the user.
    pub(crate) text: String,
    /// Thoughts that are shown.
    pub(crate) thoughts: String,
    /// Thoughts with their vendor's signatures, to be sent back whole.
    pub(crate) thinking_blocks: Vec<Value>,
    /// Calls of tools, in the shape of a chat completion.
    pub(crate) tool_calls: Vec<Value>,
}

impl Written {
    /// How much the model wrote.
    pub(crate) fn bytes(&self) -> usize {
        let calls: usize = self.tool_calls.iter().map(|call| call["function"].to_string().len()).sum();
        self.text.len() + self.thoughts.len() + calls
    }

    fn into_message(self) -> Value {
        let content = if self.text.is_empty() { Value::Null } else { self.text.into() };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = self.tool_calls.into();
        }
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = self.thoughts.into();
        }
        if !self.thinking_blocks.is_empty() {
            message["thinking_blocks"] = self.thinking_blocks.into();
        }
        message
    }
}

/// The whole completion, made now.
pub(crate) fn completion(
    id: Option<String>,
    model: Option<String>,
    choices: Vec<Choice>,
    tokens: Option<&Tokens>,
) -> Box<RawValue> {
    let choice = |(index, Choice { message, finish, stop_reason }): (usize, Choice)| {
        let message = message.into_message();
        let mut choice = json!({ "index": index, "message": message, "logprobs": null, "finish_reason": finish });
        if let Some(sequence) = stop_reason {
            choice["stop_reason"] = sequence.into();
        }
        choice
    };
    let completion = json!({
        "id": id.unwrap_or_default(),
        "object": "chat.completion",
        "created": OffsetDateTime::now_utc().unix_timestamp(),
        "model": model.unwrap_or_default(),
        "choices": choices.into_iter().enumerate().map(choice).collect::<Vec<Value>>(),
        "usage": tokens.map(usage),
    });
    serde_json::value::to_raw_value(&completion).expect("values always serialise")
}

/// The usage object of a chat completion.
fn usage(tokens: &Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.prompt(),
        "completion_tokens": tokens.completion(),
        "total_tokens": tokens.total(),
        "prompt_tokens_details": { "cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write },
        "completion_tokens_details": { "reasoning_tokens": tokens.reasoning },
    })
}
