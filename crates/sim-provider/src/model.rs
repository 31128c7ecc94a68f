//! The seeded model: latency, length, words and token counts of one answer, as a pure function.

use std::borrow::Cow;
use std::f64::consts::TAU;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// The longest answer without a limit in the request, so that a wild profile cannot fill the memory.
const ANSWER_TOKENS_MAX: u64 = 1_048_576;
/// The longest time to a first token that a profile may draw: beyond it every caller has given up.
const TTFT_MAX: Duration = Duration::from_secs(3_600);

/// A lognormal distribution, by its median and the standard deviation of its logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogNormal {
    /// The median; 0 makes every draw 0.
    pub median: f64,
    /// The standard deviation of the logarithm; 0 makes every draw the median.
    pub sigma: f64,
}

impl LogNormal {
    /// The distribution whose every draw is `value`.
    pub const fn always(value: f64) -> Self {
        Self { median: value, sigma: 0.0 }
    }

    fn draw(&self, chance: &mut Chance) -> f64 {
        self.median * (self.sigma * chance.normal()).exp()
    }

    fn sound(&self) -> bool {
        self.median.is_finite() && self.median >= 0.0 && self.sigma.is_finite() && (0.0..=10.0).contains(&self.sigma)
    }
}

/// How fast and how long the answers are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The time to the first token, in milliseconds.
    pub ttft_ms: LogNormal,
    /// How many tokens a second are generated after it; `None` generates all at once.
    pub tokens_per_second: Option<f64>,
    /// How many tokens an answer has, before the request's limit.
    pub answer_tokens: LogNormal,
    /// Which part of an answer is reasoning that is not shown, from 0 to 1.
    pub reasoning_share: f64,
    /// Which part of a prompt is read from a cache, from 0 to 1.
    pub cached_share: f64,
}

impl Profile {
    /// Answers of about 32 tokens without any delay: for benches and tests.
    pub const fn instant() -> Self {
        Self {
            ttft_ms: LogNormal::always(0.0),
            tokens_per_second: None,
            answer_tokens: LogNormal { median: 32.0, sigma: 0.5 },
            reasoning_share: 0.0,
            cached_share: 0.25,
        }
    }

    /// Answers of about 60 tokens, 60 ms to the first and 400 a second: for demonstrations.
    pub const fn fast() -> Self {
        Self {
            ttft_ms: LogNormal { median: 60.0, sigma: 0.3 },
            tokens_per_second: Some(400.0),
            answer_tokens: LogNormal { median: 60.0, sigma: 0.6 },
            reasoning_share: 0.1,
            cached_share: 0.25,
        }
    }

    /// Answers of about 250 tokens, 400 ms to the first and 60 a second: like a hosted model.
    pub const fn realistic() -> Self {
        Self {
            ttft_ms: LogNormal { median: 400.0, sigma: 0.5 },
            tokens_per_second: Some(60.0),
            answer_tokens: LogNormal { median: 250.0, sigma: 0.8 },
            reasoning_share: 0.2,
            cached_share: 0.25,
        }
    }

    /// Checks the ranges; the error names the field that is out of its own.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        match self {
            p if !p.ttft_ms.sound() => Err("ttft_ms: median must be finite and not negative, sigma from 0 to 10"),
            p if !p.answer_tokens.sound() => {
                Err("answer_tokens: median must be finite and not negative, sigma from 0 to 10")
            }
            p if p.tokens_per_second.is_some_and(|rate| !rate.is_finite() || rate < 0.01) => {
                Err("tokens_per_second: must be finite and at least 0.01")
            }
            p if !share(p.reasoning_share) => Err("reasoning_share: must be from 0 to 1"),
            p if !share(p.cached_share) => Err("cached_share: must be from 0 to 1"),
            _ => Ok(()),
        }
    }
}

/// The name is none of `instant`, `fast`, `realistic`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile {0:?}: expected instant, fast or realistic")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "instant" => Ok(Self::instant()),
            "fast" => Ok(Self::fast()),
            "realistic" => Ok(Self::realistic()),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

/// What makes one answer: two equal questions get equal answers from equal profiles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) seed: u64,
    /// The stable hash of the request's content.
    pub(crate) content: u64,
    /// How often this content was asked before.
    pub(crate) attempt: u32,
    pub(crate) prompt_tokens: u64,
    /// The request's limit on the answer.
    pub(crate) tokens_max: Option<u64>,
    /// The answer's length, where a directive sets it.
    pub(crate) tokens_exact: Option<u32>,
}

impl Question {
    /// A generator of its own for each `purpose`, so that a new draw for one thing does not shift another.
    pub(crate) fn chance(&self, purpose: &str) -> Chance {
        let mut hash = StableHash::new(self.seed);
        hash.number(self.content);
        hash.number(u64::from(self.attempt));
        hash.text(purpose);
        Chance(hash.finish())
    }
}

/// One answer, before any fault touches it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) ttft: Duration,
    /// The time from one token to the next.
    pub(crate) per_token: Duration,
    pub(crate) usage: Usage,
    /// Whether the request's limit cut the answer short.
    pub(crate) cut_by_limit: bool,
    words_seed: u64,
    /// What is said in place of words by chance.
    said: Option<Arc<[String]>>,
}

impl Answer {
    /// Answers `question` as `profile` would.
    pub(crate) fn to(question: &Question, profile: &Profile) -> Self {
        let ttft_ms = profile.ttft_ms.draw(&mut question.chance("ttft"));
        let drawn = match question.tokens_exact {
            Some(exact) => u64::from(exact),
            None => profile.answer_tokens.draw(&mut question.chance("length")).round() as u64,
        };
        let wanted = drawn.clamp(1, ANSWER_TOKENS_MAX);
        let completion_tokens = wanted.min(question.tokens_max.unwrap_or(u64::MAX)).max(1);
        // At least one token is shown: an answer of reasoning alone is a fault, and faults are asked for.
        let reasoning = (completion_tokens as f64 * profile.reasoning_share).floor() as u64;
        Self {
            ttft: Duration::from_secs_f64((ttft_ms / 1e3).min(TTFT_MAX.as_secs_f64())),
            per_token: profile.tokens_per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            usage: Usage {
                prompt_tokens: question.prompt_tokens,
                cached_tokens: (question.prompt_tokens as f64 * profile.cached_share).floor() as u64,
                completion_tokens,
                reasoning_tokens: reasoning.min(completion_tokens - 1),
            },
            cut_by_limit: completion_tokens < wanted,
            words_seed: question.chance("words").next(),
            said: None,
        }
    }

    /// The same answer with these words, as far as the request's limit lets them.
    pub(crate) fn saying(mut self, text: &str, tokens_max: Option<u64>) -> Self {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let wanted = (words.len() as u64).min(ANSWER_TOKENS_MAX);
        let tokens = wanted.min(tokens_max.unwrap_or(u64::MAX)).max(1);
        self.usage = Usage { completion_tokens: tokens, reasoning_tokens: 0, ..self.usage };
        self.cut_by_limit = tokens < wanted;
        self.said = Some(words.into());
        self
    }

    /// The time until token number `count` (from 1) is there.
    pub(crate) fn due(&self, count: u64) -> Duration {
        self.ttft + self.per_token.mul_f64(count as f64)
    }

    /// How many tokens exist `elapsed` after the start.
    pub(crate) fn generated(&self, elapsed: Duration) -> u64 {
        let total = self.usage.completion_tokens;
        match elapsed.checked_sub(self.ttft) {
            None => 0,
            Some(_) if self.per_token.is_zero() => total,
            Some(since) => ((since.as_secs_f64() / self.per_token.as_secs_f64()) as u64).min(total),
        }
    }

    /// The shown words, one for each token that is not reasoning.
    pub(crate) fn words(&self) -> Words {
        let left = self.usage.completion_tokens - self.usage.reasoning_tokens;
        Words { chance: Chance(self.words_seed), left, said: self.said.clone(), at: 0 }
    }
}

/// The words of one answer, in order.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    chance: Chance,
    left: u64,
    said: Option<Arc<[String]>>,
    at: usize,
}

impl Iterator for Words {
    type Item = Cow<'static, str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.at += 1;
        Some(match &self.said {
            Some(words) => words.get(self.at - 1).cloned().unwrap_or_default().into(),
            None => WORDS[(self.chance.next() % WORDS.len() as u64) as usize].into(),
        })
    }
}

/// Short words that need no escaping in JSON.
const WORDS: [&str; 32] = [
    "amber", "birch", "cedar", "delta", "ember", "fable", "grain", "hazel", "inlet", "jolly", "kayak", "lemon",
    "maple", "north", "ocean", "pearl", "quiet", "river", "stone", "tulip", "umbra", "vivid", "wheat", "xenon",
    "yield", "zebra", "brook", "cliff", "drift", "field", "grove", "heath",
];

/// A small generator (SplitMix64) whose sequence will never change with a dependency.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 inclusive to 1 exclusive.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal number (Box–Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

/// A 64-bit hash that is the same on every machine and in every version (FNV-1a, then mixed).
#[derive(Debug, Clone)]
pub(crate) struct StableHash(u64);

impl StableHash {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325 ^ mix(seed))
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0 = mix(self.0 ^ mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }

    pub(crate) fn finish(&self) -> u64 {
        mix(self.0)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(seed: u64, content: u64, attempt: u32) -> Question {
        Question { seed, content, attempt, prompt_tokens: 100, tokens_max: None, tokens_exact: None }
    }

    #[test]
    fn the_sequence_never_changes() {
        let mut chance = question(1, 2, 3).chance("test");
        let mut same = question(1, 2, 3).chance("test");
        let drawn: Vec<u64> = (0..4).map(|_| chance.next()).collect();
        assert_eq!(drawn, (0..4).map(|_| same.next()).collect::<Vec<_>>());
        // The published first output of SplitMix64 for the state 0.
        assert_eq!(Chance(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn seed_content_and_attempt_each_change_the_answer() {
        let profile = Profile::realistic();
        let base = Answer::to(&question(1, 1, 0), &profile);
        assert_eq!(base, Answer::to(&question(1, 1, 0), &profile));
        for other in [question(2, 1, 0), question(1, 2, 0), question(1, 1, 1)] {
            let other = Answer::to(&other, &profile);
            assert_ne!(base.ttft, other.ttft);
            assert_ne!(base.words().collect::<Vec<_>>(), other.words().collect::<Vec<_>>());
        }
    }

    #[test]
    fn draws_follow_the_median() {
        let profile = Profile::realistic();
        let mut ttfts: Vec<Duration> = (0..2_001).map(|n| Answer::to(&question(7, n, 0), &profile).ttft).collect();
        ttfts.sort();
        let median = ttfts[1_000].as_secs_f64();
        assert!((0.36..0.44).contains(&median), "median {median} s");
        assert!(ttfts[100] < ttfts[1_900] / 2, "no spread");
    }

    #[test]
    fn the_presets_are_sound_and_named() {
        for name in ["instant", "fast", "realistic"] {
            let profile: Profile = name.parse().unwrap();
            assert_eq!(profile.check(), Ok(()), "{name}");
        }
        assert!("slow".parse::<Profile>().unwrap_err().to_string().contains("\"slow\""));
        let bad = Profile { cached_share: 1.5, ..Profile::instant() };
        assert!(bad.check().unwrap_err().starts_with("cached_share"));
        let bad = Profile { tokens_per_second: Some(0.0), ..Profile::instant() };
        assert!(bad.check().unwrap_err().starts_with("tokens_per_second"));
    }

    #[test]
    fn the_wildest_profile_that_is_allowed_stays_in_bounds() {
        let wild = LogNormal { median: f64::MAX, sigma: 10.0 };
        let profile =
            Profile { ttft_ms: wild, answer_tokens: wild, tokens_per_second: Some(0.01), ..Profile::instant() };
        assert_eq!(profile.check(), Ok(()));
        for content in 0..100 {
            let answer = Answer::to(&question(1, content, 0), &profile);
            assert!(answer.ttft <= TTFT_MAX);
            assert!(answer.usage.completion_tokens <= ANSWER_TOKENS_MAX);
            assert!(answer.due(answer.usage.completion_tokens) < Duration::from_secs(100 * ANSWER_TOKENS_MAX + 7_200));
        }
    }

    proptest! {
        #[test]
        fn counts_are_consistent_whatever_the_profile(
            (seed, content, attempt) in (any::<u64>(), any::<u64>(), any::<u32>()),
            (median, sigma) in (0.0..1e4_f64, 0.0..3.0_f64),
            (reasoning_share, cached_share) in (0.0..=1.0_f64, 0.0..=1.0_f64),
            prompt_tokens in 0..1_000_000_u64,
            tokens_max in proptest::option::of(1..2_000_u64),
            tokens_exact in proptest::option::of(0..5_000_u32),
        ) {
            let profile = Profile {
                answer_tokens: LogNormal { median, sigma }, reasoning_share, cached_share, ..Profile::fast()
            };
            let question = Question { seed, content, attempt, prompt_tokens, tokens_max, tokens_exact };
            let answer = Answer::to(&question, &profile);
            let usage = answer.usage;
            prop_assert_eq!(usage.prompt_tokens, prompt_tokens);
            prop_assert!(usage.cached_tokens <= usage.prompt_tokens);
            prop_assert!(usage.reasoning_tokens < usage.completion_tokens);
            prop_assert_eq!(answer.words().count() as u64, usage.completion_tokens - usage.reasoning_tokens);
            if let Some(max) = tokens_max {
                prop_assert!(usage.completion_tokens <= max);
            }
            if let (Some(exact), None) = (tokens_exact, tokens_max) {
                prop_assert_eq!(usage.completion_tokens, u64::from(exact.max(1)));
                prop_assert!(!answer.cut_by_limit);
            }
            prop_assert_eq!(answer.generated(answer.due(usage.completion_tokens + 1)), usage.completion_tokens);
        }
    }
}
