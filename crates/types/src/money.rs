//! Money as integers: nano-dollars, from the price table to the report, never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An amount of US dollars in units of 1e-9; 1 USD = 1,000,000,000.
///
/// The range of an `i64` is about ±9.2 billion dollars; arithmetic saturates there instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// No money.
    pub const ZERO: NanoUsd = NanoUsd(0);

    /// The amount for whole dollars.
    pub fn from_usd(usd: i64) -> Self {
        NanoUsd(usd.saturating_mul(1_000_000_000))
    }

    /// Parses a plain decimal such as `12`, `0.5` or `$3.000000001` exactly.
    ///
    /// # Errors
    /// Returns the reason when the text is not a decimal number, has more than nine decimals, or is out of range.
    pub fn parse_usd(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('$').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return Err(format!("'{text}' is not an amount of dollars such as 12.50"));
        }
        if fraction.len() > 9 {
            return Err(format!("'{text}' has more than nine decimals"));
        }
        let out_of_range = || format!("'{text}' is more than Tollgate can count");
        let whole: i64 = whole.parse().map_err(|_| out_of_range())?;
        let fraction: i64 = format!("{fraction:0<9}").parse().expect("nine digits fit an i64");
        whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(fraction)).map(NanoUsd).ok_or_else(out_of_range)
    }
}

impl fmt::Display for NanoUsd {
    /// Writes dollars with all nine decimals, so that what is shown is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let n = self.0.unsigned_abs();
        write!(f, "{sign}${}.{:09}", n / 1_000_000_000, n % 1_000_000_000)
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        NanoUsd(self.0.saturating_add(other.0))
    }
}

impl Sub for NanoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        NanoUsd(self.0.saturating_sub(other.0))
    }
}

impl Neg for NanoUsd {
    type Output = Self;
    fn neg(self) -> Self {
        NanoUsd(self.0.saturating_neg())
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(NanoUsd::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_parse_exactly_and_print_exactly() {
        for (text, nanos) in [("1", 1_000_000_000), ("0.000000001", 1), ("$12.5", 12_500_000_000), ("0", 0)] {
            assert_eq!(NanoUsd::parse_usd(text), Ok(NanoUsd(nanos)), "{text}");
        }
        assert_eq!(NanoUsd(41_250).to_string(), "$0.000041250");
        assert_eq!(NanoUsd(-1_500_000_000).to_string(), "-$1.500000000");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "-5", "NaN", "1e400", "1.0000000001", "99999999999999999999", "1,5", "."] {
            assert!(NanoUsd::parse_usd(text).is_err(), "{text}");
        }
    }
}
