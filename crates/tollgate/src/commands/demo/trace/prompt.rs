//! Prompts of a wanted length in tokens. What a word costs is counted once; after that, making one is a copy.

use bytes::Bytes;
use serde_json::json;
use tollgate_providers::tokens;

/// Common words of three letters: each is a token with its space, and four bytes, so that also whoever takes four bytes
/// for a token (the simulated provider) counts the same.
const WORDS: [&str; 32] = [
    "the", "and", "for", "you", "not", "are", "all", "new", "was", "can", "has", "but", "our", "one", "may", "out",
    "use", "any", "see", "his", "who", "now", "get", "how", "its", "top", "had", "day", "two", "buy", "her", "add",
];
/// A word and its space.
const WORD_BYTES: usize = 4;
/// So many words tell a million jobs apart.
const NUMBER_WORDS: usize = 4;
/// How many words are counted once: enough for an error far below one in a hundred, few enough to take milliseconds.
const SAMPLE_WORDS: usize = 4096;

/// Makes prompts for one model.
#[derive(Clone, Debug)]
pub(super) struct Filler {
    text: String,
    /// Tokens of a request beside its words.
    frame: f64,
    per_word: f64,
}

impl Filler {
    /// Counts words under the encoding of `model`; prompts have at most `tokens_max`.
    pub(super) async fn calibrate(model: &str, tokens_max: u32) -> Self {
        let sample = text(SAMPLE_WORDS);
        let count = async |words: usize| {
            let content = sample[..words * WORD_BYTES].trim_end();
            let body = json!({ "messages": [{ "role": "user", "content": content }] }).to_string();
            tokens::estimate_prompt(Bytes::from(body), model).await as f64
        };
        let (one, all) = (count(1).await, count(SAMPLE_WORDS).await);
        let per_word = (all - one) / (SAMPLE_WORDS - 1) as f64;
        let mut filler = Filler { text: String::new(), frame: one - per_word, per_word };
        filler.text = text(filler.words(tokens_max));
        filler
    }

    /// Text that makes a request of one user's message have about so many tokens, and at least one word.
    ///
    /// It begins with `n` in words, so that no two of a million jobs ask the same unless they are shorter than that.
    pub(super) fn prompt(&self, n: usize, tokens: u32) -> String {
        let words = self.words(tokens).min(self.text.len() / WORD_BYTES);
        let number = words.min(NUMBER_WORDS);
        let mut prompt = String::with_capacity(words * WORD_BYTES);
        let mut rest = n;
        for _ in 0..number {
            prompt.push_str(WORDS[rest % WORDS.len()]);
            prompt.push(' ');
            rest /= WORDS.len();
        }
        prompt.push_str(&self.text[..(words - number) * WORD_BYTES]);
        prompt.truncate(prompt.trim_end().len());
        prompt
    }

    fn words(&self, tokens: u32) -> usize {
        ((f64::from(tokens) - self.frame) / self.per_word).round().max(1.0) as usize
    }
}

/// So many words, each with a space behind it; neighbours differ.
fn text(words: usize) -> String {
    let word = |n: usize| WORDS[(n.wrapping_mul(13) + n / WORDS.len() * 5) % WORDS.len()];
    (0..words).flat_map(|n| [word(n), " "]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The most that a prompt may be off.
    fn close(got: u64, wanted: u32) -> bool {
        got.abs_diff(u64::from(wanted)) as f64 <= 0.05 * f64::from(wanted)
    }

    #[tokio::test]
    async fn prompts_have_the_tokens_that_were_asked_for_under_each_encoding() {
        for model in ["gpt-4o-mini", "gpt-4", "sim-small"] {
            let filler = Filler::calibrate(model, 60_000).await;
            for (n, wanted) in [10, 11, 37, 110, 374, 4808, 14_050, 60_000].into_iter().enumerate() {
                let content = filler.prompt(n * 7919, wanted);
                let bytes = content.len();
                let body = json!({ "messages": [{ "role": "user", "content": content }] }).to_string();
                let got = tokens::estimate_prompt(body.into(), model).await;
                assert!(close(got, wanted), "{model}: {got} for {wanted}");
                // The simulated provider's own count: a quarter of the bytes, also of the role's four, and six.
                assert!(close((bytes + 4).div_ceil(4) as u64 + 6, wanted), "{bytes} bytes for {wanted}");
            }
        }
    }

    #[tokio::test]
    async fn a_prompt_shorter_than_its_frame_is_a_word_and_one_above_the_most_is_cut() {
        let filler = Filler::calibrate("gpt-4o", 100).await;
        assert_eq!(filler.prompt(0, 1), "the");
        assert_eq!(filler.prompt(5, 1_000_000).len(), filler.prompt(6, 100).len());
    }

    #[tokio::test]
    async fn no_two_jobs_ask_the_same() {
        let filler = Filler::calibrate("gpt-4o", 20).await;
        let prompts: HashSet<String> = (0..40_000).map(|n| filler.prompt(n, 20)).collect();
        assert_eq!(prompts.len(), 40_000);
    }
}
