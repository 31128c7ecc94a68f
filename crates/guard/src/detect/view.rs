//! The text as the finders see it: without what hides.
//!
//! Fullwidth and mathematical letters, digits of other scripts and other spaces become plain ones, and what has no width
//! (joiners, marks of direction, soft hyphens) is left out. A text in which nothing hides is looked at as it is.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;

/// A text without what hides, and the way back to the text that it was made of.
#[derive(Debug)]
pub(crate) struct View<'t> {
    text: Cow<'t, str>,
    /// By place in the view, which is empty of them if the text is looked at as it is.
    pieces: Vec<Piece>,
}

/// A stretch of the view that came from one stretch of the original.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the view.
    at: usize,
    /// Where it begins in the original.
    from: usize,
    /// Where it ends in the original.
    until: usize,
    /// Whether it is the same bytes in both; else it is one character that became others.
    copied: bool,
}

impl<'t> View<'t> {
    pub(crate) fn of(text: &'t str) -> View<'t> {
        match next_folded(text, 0) {
            None => View { text: Cow::Borrowed(text), pieces: Vec::new() },
            Some(first) => folded(text, first),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text is looked at as it is.
    pub(crate) fn is_original(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes of the original that became these of the view.
    pub(crate) fn original(&self, range: Range<usize>) -> Range<usize> {
        if self.is_original() {
            return range;
        }
        let first = self.piece(range.start);
        // The last character's piece: what was left out behind it stays outside.
        let last = self.piece(range.end.saturating_sub(1));
        let start = if first.copied { first.from + (range.start - first.at) } else { first.from };
        let end = if last.copied { last.from + (range.end - last.at) } else { last.until };
        start..end
    }

    fn piece(&self, at: usize) -> Piece {
        let after = self.pieces.partition_point(|piece| piece.at <= at);
        self.pieces[after.saturating_sub(1)]
    }
}

/// The view of a text in which something is folded, first at this place.
#[cold]
fn folded(original: &str, first: usize) -> View<'_> {
    let mut text = String::with_capacity(original.len());
    let mut pieces = Vec::new();
    let (mut done, mut next) = (0, Some(first));
    loop {
        let until = next.unwrap_or(original.len());
        if until > done {
            pieces.push(Piece { at: text.len(), from: done, until, copied: true });
            text.push_str(&original[done..until]);
        }
        let Some(place) = next else { break };
        let Some(character) = original[place..].chars().next() else { break };
        done = place + character.len_utf8();
        let at = text.len();
        fold(character, &mut text);
        if text.len() > at {
            pieces.push(Piece { at, from: place, until: done, copied: false });
        }
        next = next_folded(original, done);
    }
    if pieces.is_empty() {
        // Nothing is left; one piece keeps the way back total.
        pieces.push(Piece { at: 0, from: 0, until: original.len(), copied: false });
    }
    View { text: Cow::Owned(text), pieces }
}

/// The first bytes of characters that may be folded, so that most of any script is passed over without decoding.
static SUSPECT: [bool; 256] = {
    let mut suspect = [false; 256];
    let leads =
        [0xC2, 0xC5, 0xC7, 0xCA, 0xCB, 0xCD, 0xD8, 0xD9, 0xDB, 0xDF, 0xE0, 0xE1, 0xE2, 0xE3, 0xEA, 0xEF, 0xF0, 0xF3];
    let mut at = 0;
    while at < leads.len() {
        suspect[leads[at]] = true;
        at += 1;
    }
    suspect
};

/// The next character from this place on that is folded.
fn next_folded(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        let lead = bytes[at];
        if lead < 0x80 {
            // Plain text goes by in strides.
            at += if bytes.get(at..at + 32).is_some_and(<[u8]>::is_ascii) { 32 } else { 1 };
            continue;
        }
        let suspect = SUSPECT[usize::from(lead)] && !is_kana(&bytes[at..]);
        if suspect && text[at..].chars().next().is_some_and(is_folded) {
            return Some(at);
        }
        at += match lead {
            0xF0.. => 4,
            0xE0.. => 3,
            _ => 2,
        };
    }
    None
}

/// Whether kana begins here, or the marks of Chinese and Japanese sentences: a tenth of such a text, none of it folded.
fn is_kana(bytes: &[u8]) -> bool {
    matches!(bytes, [0xE3, 0x81..=0x87, ..] | [0xE3, 0x80, 0x81..=0xBF, ..])
}

fn is_folded(character: char) -> bool {
    if let FULLWIDTH_FIRST..=FULLWIDTH_LAST = character as u32 {
        return true;
    }
    if is_invisible(character) || digit(character).is_some() {
        return true;
    }
    match character as u32 {
        // Marks of Latin text, which stand alone as often as not.
        0x00A8 | 0x00AF | 0x00B4 | 0x00B8 | 0x02D8..=0x02DD => false,
        0x00A0..=0x00BE | 0x017F | 0x01C4..=0x01CC | 0x02B0..=0x02B8 | 0x02E0..=0x02E4 => compatible(character),
        0x2000..=0x2BFF | 0x3000 | 0x3200..=0x33FF | 0xFB00..=0xFB06 | 0xFE10..=0xFE6B => compatible(character),
        0xFF01..=0xFFEE | 0x1D400..=0x1D7FF | 0x1F100..=0x1F190 => compatible(character),
        _ => false,
    }
}

/// The plain characters from `!` to `~`, as wide as a Chinese one; every Chinese text has commas of them.
const FULLWIDTH_FIRST: u32 = 0xFF01;
const FULLWIDTH_LAST: u32 = 0xFF5E;

/// Whether it stands for other characters.
fn compatible(character: char) -> bool {
    is_dash(character) || std::iter::once(character).nfkc().next() != Some(character)
}

/// Appends what the character stands for.
fn fold(character: char, text: &mut String) {
    if let FULLWIDTH_FIRST..=FULLWIDTH_LAST = character as u32 {
        text.extend(char::from_u32(character as u32 - FULLWIDTH_FIRST + u32::from(b'!')));
    } else if let Some(digit) = digit(character) {
        text.push(char::from(b'0' + digit));
    } else if is_dash(character) {
        text.push('-');
    } else if !is_invisible(character) {
        text.extend(std::iter::once(character).nfkc());
    }
}

/// Hyphens and dashes that are written between groups of digits.
fn is_dash(character: char) -> bool {
    matches!(character, '\u{2010}'..='\u{2013}' | '\u{2212}' | '\u{FE63}' | '\u{FF0D}')
}

/// Whether it has no width and so may stand within a word unseen. Tags (U+E0000 and on) stay, being looked for.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180B}'..='\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{1D173}'..='\u{1D17A}'
    )
}

/// The last border of characters up to this place.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The first border of characters from this place on.
pub(crate) fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// Whether its script is written without spaces or joins words to names, so that a word can stand right beside a value.
pub(crate) fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{0E00}'..='\u{0EFF}' | '\u{1100}'..='\u{11FF}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}' | '\u{20000}'..='\u{2FFFF}')
}

/// Where the ten decimal digits of other scripts begin.
const ZEROS: [u32; 37] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0,
];

/// What a decimal digit of another script counts.
fn digit(character: char) -> Option<u8> {
    let code = character as u32;
    let zero = ZEROS[ZEROS.partition_point(|&zero| zero <= code).checked_sub(1)?];
    u8::try_from(code - zero).ok().filter(|&digit| digit < 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(original: &str, expected: &str) {
        assert_eq!(View::of(original).text(), expected);
    }

    #[test]
    fn what_hides_becomes_plain() {
        check("４１１１　１１１１", "4111 1111");
        check("41\u{200B}11\u{AD}-\u{2060}11", "4111-11");
        check("٤١١١ و ४१११", "4111 و 4111");
        check("𝟜𝟙𝟙𝟙 𝐢𝐠𝐧𝐨𝐫𝐞", "4111 ignore");
        check("a\u{A0}b\u{2011}c", "a b-c");
        check("joe＠example．com", "joe@example.com");
        check("！（Ａ－ｚ～，", "!(A-z~,");
    }

    #[test]
    fn plain_texts_of_any_script_are_looked_at_as_they_are() {
        for text in ["", "plain", "Grüße, José", "Привет, мир", "你好。世界", "안녕하세요", "שלום"]
        {
            assert!(View::of(text).is_original(), "{text}");
        }
    }

    #[test]
    fn a_range_leads_back_to_what_it_came_from() {
        let original = "x ４１\u{200B}１１\u{200B} y";
        let view = View::of(original);
        assert_eq!(view.text(), "x 4111 y");
        assert_eq!(&original[view.original(2..6)], "４１\u{200B}１１");
        assert_eq!(&original[view.original(7..8)], "y");
    }

    proptest! {
        #[test]
        fn every_range_of_characters_leads_to_borders_of_characters(original in "[a4４１\u{200B}é٤好ﬁ🂡\u{E0041}]{0,12}") {
            let view = View::of(&original);
            let mut borders: Vec<usize> = view.text().char_indices().map(|(at, _)| at).collect();
            borders.push(view.text().len());
            let mut before = 0;
            for pair in borders.windows(2) {
                let range = view.original(pair[0]..pair[1]);
                prop_assert!(original.get(range.clone()).is_some_and(|text| !text.is_empty()));
                prop_assert!(range.start >= before || !view.is_original());
                before = range.start;
            }
        }
    }
}
