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

/// The text with the changes, which stand in the order of their beginnings. All else stays as it is, byte for byte.
///
/// Of those that overlap the first comes in place of what any of them takes away: nothing of a finding is left.
pub(crate) fn edited(text: &str, edits: &[Edit]) -> String {
    let grown: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for edit in edits {
        if edit.range.start < at {
            at = at.max(edit.range.end);
            continue;
        }
        out.push_str(&text[at..edit.range.start]);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(edits: &[(Range<usize>, &str)], expected: &str) {
        let edits: Vec<Edit> =
            edits.iter().map(|(range, text)| Edit { range: range.clone(), text: (*text).to_owned() }).collect();
        assert_eq!(edited("0123456789", &edits), expected);
    }

    #[test]
    fn of_changes_that_overlap_the_first_stands_for_all() {
        check(&[(1..2, "a"), (2..2, "b"), (9..10, "c")], "0ab2345678c");
        check(&[(1..8, "null"), (2..4, "a"), (5..6, "b")], "0null89");
        check(&[(1..4, "a"), (3..6, "b"), (6..7, "c")], "0ac789");
    }
}
