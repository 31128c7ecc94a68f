//! One pass over the digits: every word that holds one is looked at by what finds numbers.

use std::ops::Range;

use super::scan::Scan;
use super::{address, card, crypto, iban, lettered, national, phone};
use crate::Entity;

/// The most groups of digits that are looked at together; a French social security number has seven.
pub(crate) const GROUPS_MAX: usize = 8;

/// The most digits of one number that is looked for.
pub(crate) const DIGITS_MAX: usize = 20;

/// The fewest bytes of what is found in groups of digits: 1.1.1.1.
const GROUPED_MIN: usize = 7;

/// Groups of digits with single separators, from one of them on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster<'t> {
    bytes: &'t [u8],
    groups: [Group; GROUPS_MAX],
    count: usize,
}

/// One group of digits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// What stands between it and the next, or 0.
    pub(crate) separator: u8,
}

impl<'t> Cluster<'t> {
    /// The groups from the digit at this place on; none if a letter follows the first.
    pub(crate) fn at(bytes: &'t [u8], start: usize) -> Option<Cluster<'t>> {
        let mut cluster = Cluster { bytes, groups: [Group::default(); GROUPS_MAX], count: 0 };
        let mut at = start;
        while cluster.count < GROUPS_MAX {
            let len = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let end = at + len;
            if len == 0 || bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
                break;
            }
            cluster.groups[cluster.count] = Group { start: at, len, separator: 0 };
            cluster.count += 1;
            match bytes.get(end) {
                Some(&separator @ (b' ' | b'-' | b'.' | b'/'))
                    if bytes.get(end + 1).is_some_and(u8::is_ascii_digit) =>
                {
                    cluster.groups[cluster.count - 1].separator = separator;
                    at = end + 1;
                }
                _ => break,
            }
        }
        (cluster.count > 0).then_some(cluster)
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups[..self.count]
    }

    /// The bytes of the first groups.
    pub(crate) fn range(&self, count: usize) -> Range<usize> {
        let last = self.groups[count - 1];
        self.groups[0].start..last.start + last.len
    }

    /// The digits of the first groups as numbers, and how many there are; none if too many.
    pub(crate) fn digits(&self, count: usize) -> ([u8; DIGITS_MAX], usize) {
        let mut digits = [0; DIGITS_MAX];
        let mut len = 0;
        for group in &self.groups[..count] {
            for &byte in &self.bytes[group.start..group.start + group.len] {
                if len == DIGITS_MAX {
                    return (digits, 0);
                }
                digits[len] = byte - b'0';
                len += 1;
            }
        }
        (digits, len)
    }

    /// Whether the number goes on behind the first groups, by a dash, dot or slash and more.
    pub(crate) fn goes_on(&self, count: usize) -> bool {
        let end = self.range(count).end;
        matches!(self.bytes.get(end), Some(b'-' | b'.' | b'/'))
            && self.bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
    }

    /// Whether the first groups are the start of a decimal.
    pub(crate) fn goes_on_decimal(&self, count: usize) -> bool {
        self.groups[count - 1].separator == b'.'
    }

    /// Whether other digits stand before the first group, a space apart.
    pub(crate) fn follows_digits(&self) -> bool {
        let start = self.groups[0].start;
        start >= 4 && self.bytes[start - 1] == b' ' && self.bytes[start - 4..start - 1].iter().all(u8::is_ascii_digit)
    }

    /// The groups from so many bytes further on, or back.
    pub(crate) fn moved(&self, by: isize) -> Option<Cluster<'t>> {
        let start = self.groups[0].start.checked_add_signed(by).filter(|&start| start < self.bytes.len())?;
        Cluster::at(self.bytes, start)
    }

    /// Whether the first groups, by spaces, are within a table of such: others of four characters stand beside them.
    pub(crate) fn is_in_table(&self, count: usize) -> bool {
        let Range { start, end } = self.range(count);
        let cell = |four: &[u8]| four.iter().all(u8::is_ascii_alphanumeric) && four.iter().any(u8::is_ascii_digit);
        let border = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let before = start >= 5
            && self.bytes[start - 1] == b' '
            && cell(&self.bytes[start - 5..start - 1])
            && border(start.checked_sub(6).map(|at| &self.bytes[at]));
        let behind = self.bytes.get(end) == Some(&b' ')
            && self.bytes.get(end + 1..end + 5).is_some_and(cell)
            && border(self.bytes.get(end + 5));
        before || behind
    }

    /// Whether the first group stands behind digits and a dash, as the parts of an order's number do.
    pub(crate) fn is_behind_digits(&self) -> bool {
        let start = self.groups[0].start;
        start >= 2 && self.bytes[start - 1] == b'-' && self.bytes[start - 2].is_ascii_digit()
    }

    /// Whether the first group is itself behind a dash or slash and what stands before that.
    pub(crate) fn is_continued(&self) -> bool {
        let start = self.groups[0].start;
        start >= 2 && matches!(self.bytes[start - 1], b'-' | b'/') && self.bytes[start - 2].is_ascii_alphanumeric()
    }
}

/// Passes over the text once and lets the finders look at each word that holds a digit.
pub(crate) fn scan(scan: &mut Scan<'_>) {
    let bytes = scan.bytes();
    let mut passed = Passed::default();
    let mut at = 0;
    while let Some(digit) = next_digit(bytes, at) {
        let start = word_start(bytes, digit, at);
        let end = word_end(bytes, digit);
        word(scan, &(start..end), &mut passed);
        at = end;
    }
}

/// How far finders read that read on over the word.
#[derive(Default)]
struct Passed {
    phone: usize,
    colons: usize,
}

fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    const STRIDE: usize = 32;
    let mut at = from;
    while let Some(stride) = bytes.get(at..at + STRIDE) {
        // Without a branch inside, so that the compiler looks at all of them at once.
        if stride.iter().fold(false, |any, byte| any | byte.is_ascii_digit()) {
            break;
        }
        at += STRIDE;
    }
    bytes[at..].iter().position(u8::is_ascii_digit).map(|place| at + place)
}

fn word_start(bytes: &[u8], digit: usize, floor: usize) -> usize {
    bytes[floor..digit].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(floor, |at| floor + at + 1)
}

fn word_end(bytes: &[u8], digit: usize) -> usize {
    bytes[digit..].iter().position(|byte| !byte.is_ascii_alphanumeric()).map_or(bytes.len(), |len| digit + len)
}

fn word(scan: &mut Scan<'_>, word: &Range<usize>, passed: &mut Passed) {
    let bytes = scan.bytes();
    // Hashes and base64 hold nothing that is found by its digits.
    if word.len() > crypto::CHARACTERS_MAX {
        return;
    }
    let colons = bytes.get(word.end) == Some(&b':') || (word.start > 0 && bytes[word.start - 1] == b':');
    if colons && word.start >= passed.colons && word.len() <= 4 {
        passed.colons = address::colons(scan, word);
    }
    address::hardware(scan, word);
    let decimal = word.start >= 2 && bytes[word.start - 1] == b'.' && bytes[word.start - 2].is_ascii_digit();
    if decimal {
        return;
    }
    if word.len() >= 25 {
        crypto::at(scan, word);
    }
    lettered::at(scan, word);
    if bytes[word.start].is_ascii_digit() {
        digits(scan, word, passed);
    } else {
        iban::at(scan, word.start);
    }
}

fn digits(scan: &mut Scan<'_>, word: &Range<usize>, passed: &mut Passed) {
    let joined = |&byte: &u8| matches!(byte, b'0'..=b'9' | b' ' | b'-' | b'.' | b'/');
    // Nearly all numbers of a text end here.
    let long = scan.bytes().get(word.start..word.start + GROUPED_MIN).is_some_and(|head| head.iter().all(joined));
    if long && let Some(cluster) = Cluster::at(scan.bytes(), word.start) {
        if scan.wanted.has(Entity::PaymentCard) {
            card::at(scan, &cluster);
        }
        national::at(scan, &cluster);
        address::v4(scan, &cluster);
    }
    if word.start >= passed.phone
        && let Some(end) = phone::at(scan, word.start)
    {
        passed.phone = end;
    }
}
