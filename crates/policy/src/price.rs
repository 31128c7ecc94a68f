//! What tokens cost: integer rates per token, whole requests in one tier, rounded once.
//!
//! Rates are pico-dollars (1e-12 USD) per token, because vendors quote dollars per million tokens with up to six
//! decimals: 1 USD per million tokens is 1,000,000 pico-dollars per token, exactly. [`book`] holds the table of
//! vendors' list prices and the operator's own on top.
//!
//! Not covered: prices per request, per image, per second of audio, per hour of cache storage or per web search.

pub mod book;
pub mod spec;

use tollgate_types::{NanoUsd, Tokens};

pub use book::{BookError, PriceBook};
pub use spec::{PriceSpec, TierSpec};

/// The longest version text, in bytes: it travels in every usage record.
pub const VERSION_BYTES_MAX: usize = 32;
/// The highest rate, in pico-dollars per token; a million dollars per million tokens is a typing error.
pub const RATE_MAX: u64 = 1_000_000_000_000;

const PICO_PER_NANO: u128 = 1_000;
const PPM: u128 = 1_000_000;

/// The rates of requests above a prompt size, in pico-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Requests with more prompt tokens than this belong here, if no later tier takes them; 0 in the first tier, which
    /// takes a prompt of no tokens too.
    pub above_prompt_tokens: u64,
    /// A prompt token that no cache was involved in.
    pub input: u64,
    /// A prompt token read from the provider's cache.
    pub cache_read: u64,
    /// A prompt token written to the provider's cache.
    pub cache_write: u64,
    /// An answer token; reasoning is billed like it.
    pub output: u64,
}

/// Which of the vendor's services a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// An ordinary call, answered at once.
    Standard,
    /// The vendor's own batch service, at its discount if it has one.
    Batch,
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    version: String,
    tiers: Vec<Tier>,
    batch_discount_ppm: u32,
}

/// Why something is not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// A rate or discount is not a plain decimal such as `0.15`.
    #[error("`{field}` is '{text}', not a plain decimal such as 0.15")]
    NotADecimal {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A rate or discount has more decimals than can be kept exactly.
    #[error("`{field}` is '{text}' and may have six decimals")]
    TooManyDecimals {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A rate or discount is too large to be meant.
    #[error("`{field}` is '{text}', which is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A field that a price needs is empty.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The tiers do not start at 0 prompt tokens, or do not rise.
    #[error(
        "the tier above {above_prompt_tokens} prompt tokens is out of order; the first starts at 0 and each starts above the one before"
    )]
    TierOrder {
        /// Where the wrong tier starts.
        above_prompt_tokens: u64,
    },
    /// The version is empty, too long, or not printable ASCII.
    #[error("the version is not 1 to {VERSION_BYTES_MAX} characters of printable ASCII")]
    Version,
}

impl Price {
    /// A price of at least one tier. `batch_discount_ppm` is the part of the standard price, in millionths, that the
    /// vendor's batch service saves.
    ///
    /// # Errors
    /// Returns what is wrong: no tier, tiers out of order, a rate above [`RATE_MAX`], a discount above the whole, or a
    /// version that does not fit a usage record.
    pub fn new(version: impl Into<String>, tiers: Vec<Tier>, batch_discount_ppm: u32) -> Result<Self, PriceError> {
        let version = version.into();
        if !(1..=VERSION_BYTES_MAX).contains(&version.len()) || !version.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(PriceError::Version);
        }
        let first = tiers.first().ok_or(PriceError::Missing { field: "tiers" })?;
        let out_of_order = |tier: &Tier| PriceError::TierOrder { above_prompt_tokens: tier.above_prompt_tokens };
        if first.above_prompt_tokens != 0 {
            return Err(out_of_order(first));
        }
        if let Some(pair) = tiers.windows(2).find(|pair| pair[1].above_prompt_tokens <= pair[0].above_prompt_tokens) {
            return Err(out_of_order(&pair[1]));
        }
        for tier in &tiers {
            let rates = [
                ("input", tier.input),
                ("cache_read", tier.cache_read),
                ("cache_write", tier.cache_write),
                ("output", tier.output),
            ];
            if let Some((field, rate)) = rates.into_iter().find(|&(_, rate)| rate > RATE_MAX) {
                return Err(PriceError::OutOfRange { field, text: format!("{rate} pico-dollars per token") });
            }
        }
        if u128::from(batch_discount_ppm) > PPM {
            let text = format!("{batch_discount_ppm} millionths");
            return Err(PriceError::OutOfRange { field: "batch_discount", text });
        }
        Ok(Price { version, tiers, batch_discount_ppm })
    }

    /// The price of a deployment that the operator declared free.
    pub fn free() -> Self {
        let tier = Tier { above_prompt_tokens: 0, input: 0, cache_read: 0, cache_write: 0, output: 0 };
        Price { version: "free".to_owned(), tiers: vec![tier], batch_discount_ppm: 0 }
    }

    /// The version that is booked with every cost.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The tiers, from the smallest prompts up; never empty.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// What the vendor's batch service saves, in millionths of the standard price.
    pub fn batch_discount_ppm(&self) -> u32 {
        self.batch_discount_ppm
    }

    /// What one attempt cost.
    ///
    /// The whole request is priced in the tier of its prompt size. The sum is exact in pico-dollars and rounded up to
    /// the nano-dollar once, so that what is booked is never below the true cost and at most one nano-dollar per
    /// attempt above it. A sum beyond the range of [`NanoUsd`] saturates.
    pub fn cost(&self, tokens: &Tokens, service: Service) -> NanoUsd {
        let tier = self.tier(tokens.prompt());
        let parts = [
            (tokens.input, tier.input),
            (tokens.cache_read, tier.cache_read),
            (tokens.cache_write, tier.cache_write),
            (tokens.output, tier.output),
            (tokens.reasoning, tier.output),
        ];
        let pico = pico_sum(&parts);
        match service {
            Service::Standard => nano_up(pico, PICO_PER_NANO),
            Service::Batch => {
                let left = PPM - u128::from(self.batch_discount_ppm);
                nano_up(pico.saturating_mul(left), PICO_PER_NANO * PPM)
            }
        }
    }

    /// The most that a request of at most so many prompt and answer tokens can cost, in any service.
    ///
    /// Every prompt token counts at the dearest of the three prompt rates, in the dearest tier that the prompt can
    /// reach. For `n` answers, `output_tokens_max` is the bound of all of them together.
    pub fn upper_bound(&self, prompt_tokens_max: u64, output_tokens_max: u64) -> NanoUsd {
        let reachable = |tier: &&Tier| tier.above_prompt_tokens == 0 || prompt_tokens_max > tier.above_prompt_tokens;
        let bound = |tier: &Tier| {
            let prompt = tier.input.max(tier.cache_read).max(tier.cache_write);
            pico_sum(&[(prompt_tokens_max, prompt), (output_tokens_max, tier.output)])
        };
        let pico = self.tiers.iter().filter(reachable).map(bound).max().unwrap_or(0);
        nano_up(pico, PICO_PER_NANO)
    }

    fn tier(&self, prompt_tokens: u64) -> &Tier {
        let reached = self.tiers.iter().rev().find(|tier| prompt_tokens > tier.above_prompt_tokens);
        reached.unwrap_or(&self.tiers[0])
    }
}

fn pico_sum(parts: &[(u64, u64)]) -> u128 {
    // Each product of two u64 fits a u128; only their sum can saturate.
    parts.iter().fold(0, |sum, &(tokens, rate)| sum.saturating_add(u128::from(tokens) * u128::from(rate)))
}

fn nano_up(amount: u128, per_nano: u128) -> NanoUsd {
    NanoUsd(i64::try_from(amount.div_ceil(per_nano)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
