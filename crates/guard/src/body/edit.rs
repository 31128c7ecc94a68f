//! Changes to a text: what stands there instead of what.

use std::ops::Range;

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// What goes.
    pub(crate) range: Range<usize>,
    /// What comes.
    pub(crate) text: String,
}

/// The text with the changes, which stand in order and do not overlap. All else stays as it is, byte for byte.
pub(crate) fn edited(text: &str, edits: &[Edit]) -> String {
    let grown: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for edit in edits {
        debug_assert!(edit.range.start >= at, "edits are in order");
        out.push_str(&text[at..edit.range.start]);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(&text[at..]);
    out
}
