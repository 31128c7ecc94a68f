//! What a token is here, and the usage counts of one answer.

use serde::Serialize;
use serde_json::Value;

/// Tokens that every message costs beside its text, and that prime the answer once.
const TOKENS_PER_MESSAGE: u64 = 3;
/// What an inline image costs, whatever its size: a picture's bytes are not text.
const TOKENS_PER_IMAGE: u64 = 85;

/// The token counts of one answer: the simulation's truth.
///
/// A prompt costs, for each message, 3 tokens and a quarter of the bytes of its strings (rounded up; an inline image is
/// 85), a quarter of the bytes of `tools`, and 3 more. An answer's token is one word. No real tokenizer agrees with
/// these counts; whoever reserves by an estimate has to settle by what the provider reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(into = "WireUsage")]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// The part of the prompt that was read from a cache.
    pub cached_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u64,
    /// The part of the answer that is never shown.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// All tokens, of the prompt and the answer.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }

    /// The usage of the same answer when it was broken off after `generated` tokens. Reasoning comes first.
    pub(crate) fn cut(self, generated: u64) -> Self {
        let completion_tokens = self.completion_tokens.min(generated);
        Self { completion_tokens, reasoning_tokens: self.reasoning_tokens.min(completion_tokens), ..self }
    }
}

/// The shape in which the vendor reports usage.
#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning_tokens,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

/// Counts the tokens of a prompt, by the rule in [`Usage`].
pub(crate) fn prompt_tokens(messages: &[Value], tools_bytes: usize) -> u64 {
    let messages: u64 = messages.iter().map(message_tokens).sum();
    messages + quarter(tools_bytes as u64) + TOKENS_PER_MESSAGE
}

fn message_tokens(message: &Value) -> u64 {
    let mut text_bytes = 0;
    let mut images = 0;
    add_strings(message, &mut text_bytes, &mut images);
    quarter(text_bytes) + images * TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE
}

fn add_strings(value: &Value, text_bytes: &mut u64, images: &mut u64) {
    match value {
        Value::String(text) if text.starts_with("data:") => *images += 1,
        Value::String(text) => *text_bytes += text.len() as u64,
        Value::Array(items) => items.iter().for_each(|item| add_strings(item, text_bytes, images)),
        Value::Object(fields) => fields.values().for_each(|field| add_strings(field, text_bytes, images)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn quarter(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_cost_what_the_rule_says() {
        let check = |messages: Value, tools_bytes, expected| {
            assert_eq!(prompt_tokens(messages.as_array().unwrap(), tools_bytes), expected, "{messages}");
        };
        check(json!([]), 0, 3);
        check(json!([{"role": "user", "content": ""}]), 0, 3 + 3 + 1);
        check(json!([{"role": "user", "content": "12345"}]), 0, 3 + 3 + 3);
        check(json!([{"role": "user", "content": "12345"}]), 9, 3 + 3 + 3 + 3);
        check(json!([{"role": "user", "content": [{"text": "abcd", "type": "text"}]}]), 0, 3 + 3 + 3);
        let image = format!("data:image/png;base64,{}", "A".repeat(100_000));
        check(json!([{"role": "user", "content": [{"image_url": {"url": image}}]}]), 0, 3 + 3 + 1 + 85);
    }

    #[test]
    fn the_wire_shape_is_the_vendors() {
        let usage = Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 2 };
        assert_eq!(
            serde_json::to_value(usage).unwrap(),
            json!({
                "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 2, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
                },
            })
        );
    }

    #[test]
    fn a_cut_answer_keeps_reasoning_within_completion() {
        let usage = Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 3 };
        assert_eq!(usage.cut(2), Usage { completion_tokens: 2, reasoning_tokens: 2, ..usage });
        assert_eq!(usage.cut(5), Usage { completion_tokens: 5, ..usage });
        assert_eq!(usage.cut(50), usage);
    }
}
