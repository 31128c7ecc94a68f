//! Reads what one column cannot hold: several numbers in a tuple, and numbers that may be unknown.

use serde::{Deserialize, Deserializer};
use tollgate_types::Tokens;

/// Five sums, in the order of the fields of [`Tokens`].
pub(super) fn tokens<'de, D: Deserializer<'de>>(reader: D) -> Result<Tokens, D::Error> {
    let (input, cache_read, cache_write, output, reasoning) = Deserialize::deserialize(reader)?;
    Ok(Tokens { input, cache_read, cache_write, output, reasoning })
}

/// Six counts, in the order of [`Status::ALL`](tollgate_types::Status::ALL).
pub(super) fn six<'de, D: Deserializer<'de>>(reader: D) -> Result<[u64; 6], D::Error> {
    let (a, b, c, d, e, f) = Deserialize::deserialize(reader)?;
    Ok([a, b, c, d, e, f])
}

/// A quantile or mean of no values is not a number: it is unknown.
pub(super) fn known<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(reader)?;
    Ok(number.is_finite().then_some(number))
}
