//! Token counts in disjoint buckets, so that each token is priced once whatever the vendor calls it.

use std::ops::{Add, AddAssign};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of tokens; the buckets do not overlap.
///
/// Vendors nest their counts (OpenAI's `cached_tokens` are part of `prompt_tokens`, its `reasoning_tokens` part of
/// `completion_tokens`); adapters take them apart before they get here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Prompt tokens that were neither read from nor written to the provider's cache.
    pub input: u64,
    /// Prompt tokens that the provider read from its cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Prompt tokens that the provider wrote to its cache.
    #[serde(default)]
    pub cache_write: u64,
    /// Answer tokens that are not reasoning.
    pub output: u64,
    /// Reasoning tokens, billed like answer tokens.
    #[serde(default)]
    pub reasoning: u64,
}

impl Tokens {
    /// All prompt tokens.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// All answer tokens, reasoning included.
    pub fn completion(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }

    /// Every token, each once.
    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.completion())
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        Tokens {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        *self = *self + other;
    }
}
