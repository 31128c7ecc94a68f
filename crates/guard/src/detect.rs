//! Where in a text something is that a rule looks for.

use std::ops::Range;

/// One place that a rule fired on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which rule, as its place in the list that the detector was made of.
    pub rule: usize,
    /// The bytes of the text, on borders of characters.
    pub range: Range<usize>,
}
