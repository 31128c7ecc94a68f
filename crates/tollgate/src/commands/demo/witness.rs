//! What the simulated provider itself counted: a witness that knows nothing of the books.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long it may take to answer: it is on this machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a provider would have billed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    /// Requests received.
    #[serde(rename(deserialize = "received"))]
    pub(super) calls: u64,
    /// Requests that a real provider would have billed.
    pub(super) billable: u64,
    /// Prompt tokens of those.
    #[serde(rename(deserialize = "billable_prompt_tokens"))]
    pub(super) prompt_tokens: u64,
    /// Answer tokens of those.
    #[serde(rename(deserialize = "billable_completion_tokens"))]
    pub(super) completion_tokens: u64,
}

impl Witness {
    /// Asks the simulated provider at `url`; `None` if it does not say.
    pub(super) async fn ask(url: &str) -> Option<Self> {
        tollgate_providers::install_crypto();
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build().ok()?;
        let answer = http.get(format!("{url}/__sim/stats")).send().await.ok()?.error_for_status().ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// What it counted, beside what the books say.
    pub(super) fn in_words(&self, calls: u64, prompt_tokens: u64, completion_tokens: u64) -> String {
        let same =
            (self.calls, self.prompt_tokens, self.completion_tokens) == (calls, prompt_tokens, completion_tokens);
        let counted = format!(
            "the provider itself counted {} calls, {} of them billable, {} + {} tokens",
            self.calls, self.billable, self.prompt_tokens, self.completion_tokens
        );
        if same {
            format!("{counted}: the same")
        } else {
            format!("{counted}; the books say {calls} calls, {prompt_tokens} + {completion_tokens} tokens")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_own_words_are_understood() {
        let stats =
            r#"{"received":5,"ended":5,"billable":4,"billable_prompt_tokens":30,"billable_completion_tokens":7}"#;
        let witness: Witness = serde_json::from_str(stats).expect("it reads");
        assert!(witness.in_words(5, 30, 7).ends_with("30 + 7 tokens: the same"));
        assert!(witness.in_words(5, 30, 8).ends_with("the books say 5 calls, 30 + 8 tokens"));
    }

    #[test]
    fn a_real_simulated_provider_is_understood_too() {
        let stats = serde_json::to_value(sim_provider::Stats::default()).expect("it serialises");
        assert_eq!(serde_json::from_value::<Witness>(stats).expect("it reads"), Witness::default());
    }
}
