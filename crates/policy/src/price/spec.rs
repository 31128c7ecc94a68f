//! A price as people write it: decimals as text, in US dollars per million tokens, read exactly.

use serde::Deserialize;

use super::{Price, PriceError, RATE_MAX, Tier};

/// A price as an operator writes it in a file.
///
/// Rates are texts such as `"0.15"`: a TOML or JSON number would pass through a float first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSpec {
    /// The version that is booked with every cost; `override` if left out.
    #[serde(default)]
    pub version: Option<String>,
    /// US dollars per million prompt tokens.
    pub input: String,
    /// US dollars per million answer tokens.
    pub output: String,
    /// US dollars per million prompt tokens read from the cache; the input price if left out.
    #[serde(default)]
    pub cache_read: Option<String>,
    /// US dollars per million prompt tokens written to the cache; the input price if left out.
    #[serde(default)]
    pub cache_write: Option<String>,
    /// What the vendor's batch service saves, as a part of one such as `"0.5"`; nothing if left out.
    #[serde(default)]
    pub batch_discount: Option<String>,
    /// Other rates for requests with long prompts, from the smallest up.
    #[serde(default)]
    pub long_prompts: Vec<TierSpec>,
}

/// Rates for requests above a prompt size, as an operator writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// Requests with more prompt tokens than this are priced here, as a whole.
    pub above_prompt_tokens: u64,
    /// US dollars per million prompt tokens.
    pub input: String,
    /// US dollars per million answer tokens.
    pub output: String,
    /// US dollars per million prompt tokens read from the cache; this tier's input price if left out.
    #[serde(default)]
    pub cache_read: Option<String>,
    /// US dollars per million prompt tokens written to the cache; this tier's input price if left out.
    #[serde(default)]
    pub cache_write: Option<String>,
}

impl TryFrom<&PriceSpec> for Price {
    type Error = PriceError;

    fn try_from(spec: &PriceSpec) -> Result<Price, PriceError> {
        let first = TierSpec {
            above_prompt_tokens: 0,
            input: spec.input.clone(),
            output: spec.output.clone(),
            cache_read: spec.cache_read.clone(),
            cache_write: spec.cache_write.clone(),
        };
        let tiers = std::iter::once(&first).chain(&spec.long_prompts).map(tier).collect::<Result<_, _>>()?;
        let discount = spec.batch_discount.as_deref().map(|text| millionths("batch_discount", text, 1_000_000));
        let discount = u32::try_from(discount.transpose()?.unwrap_or(0)).expect("at most a million");
        Price::new(spec.version.as_deref().unwrap_or("override"), tiers, discount)
    }
}

fn tier(spec: &TierSpec) -> Result<Tier, PriceError> {
    let input = rate("input", &spec.input)?;
    let cache = |field, text: &Option<String>| text.as_deref().map_or(Ok(input), |text| rate(field, text));
    Ok(Tier {
        above_prompt_tokens: spec.above_prompt_tokens,
        input,
        cache_read: cache("cache_read", &spec.cache_read)?,
        cache_write: cache("cache_write", &spec.cache_write)?,
        output: rate("output", &spec.output)?,
    })
}

/// Dollars per million tokens as pico-dollars per token: both are millionths of the written number.
fn rate(field: &'static str, text: &str) -> Result<u64, PriceError> {
    millionths(field, text, RATE_MAX)
}

/// Reads a plain decimal as a whole number of millionths, exactly.
fn millionths(field: &'static str, text: &str, max: u64) -> Result<u64, PriceError> {
    const DECIMALS: usize = 6;
    if text.is_empty() {
        return Err(PriceError::Missing { field });
    }
    let shown = || text.chars().take(32).collect::<String>();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return Err(PriceError::NotADecimal { field, text: shown() });
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > DECIMALS {
        return Err(PriceError::TooManyDecimals { field, text: shown() });
    }
    let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().expect("six digits fit");
    let whole = whole.parse::<u64>().ok();
    let number = whole.and_then(|whole| whole.checked_mul(1_000_000)).and_then(|n| n.checked_add(fraction));
    number.filter(|&n| n <= max).ok_or_else(|| PriceError::OutOfRange { field, text: shown() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, pico) in [
            ("0", 0),
            ("0.0", 0),
            ("0.000001", 1),
            ("0.01", 10_000),
            ("0.15", 150_000),
            ("1", 1_000_000),
            ("12.5", 12_500_000),
            ("2.500000000", 2_500_000),
            ("1000000", RATE_MAX),
        ] {
            assert_eq!(rate("input", text), Ok(pico), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_decimal_is_refused_with_its_field() {
        let field = "output";
        assert_eq!(rate(field, ""), Err(PriceError::Missing { field }));
        for text in ["-1", "+1", "1e3", ".5", "5.", "NaN", "1,5", " 1", "0x1", "1.2.3", "٣"] {
            assert_eq!(rate(field, text), Err(PriceError::NotADecimal { field, text: text.into() }), "{text}");
        }
        assert!(matches!(rate(field, "0.0000001"), Err(PriceError::TooManyDecimals { .. })));
        for text in ["1000000.000001", "99999999999999999999999"] {
            assert!(matches!(rate(field, text), Err(PriceError::OutOfRange { .. })), "{text}");
        }
    }

    #[test]
    fn missing_cache_prices_are_the_input_price_of_their_tier() {
        let text = |t: &str| t.to_owned();
        let long = TierSpec { above_prompt_tokens: 1000, input: text("4"), output: text("8"), ..TierSpec::default() };
        let spec = PriceSpec { input: text("2"), output: text("5"), long_prompts: vec![long], ..PriceSpec::default() };
        let price = Price::try_from(&spec).expect("a price");
        let cache: Vec<_> = price.tiers().iter().map(|t| (t.cache_read, t.cache_write)).collect();
        assert_eq!(cache, [(2_000_000, 2_000_000), (4_000_000, 4_000_000)]);
        assert_eq!(price.version(), "override");
    }
}
