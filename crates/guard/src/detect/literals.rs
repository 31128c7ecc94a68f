//! Many literals, sought all at once whatever the case of their ASCII letters.
//!
//! At nearly every place of a text none of them begins, and the four bytes there tell so by one bit of a small table, which
//! is asked for many places at a time. An automaton of a thousand literals is some megabytes, and waits for memory byte
//! after byte: it took most of the time of a look at prose.

use std::ops::Range;

/// How many bytes the table goes by.
const BEGINNING: usize = 4;

/// The fewest bytes of a literal: the byte that it lacks makes for 128 beginnings.
const LITERAL_MIN: usize = BEGINNING - 1;

/// The bits of a hash: some thousand beginnings then leave all but one of a hundred unused, in 32 KiB.
const HASH_BITS: u32 = 18;

/// The words of the table.
const WORDS: usize = 1 << HASH_BITS >> 6;

/// How many places are looked up at a time; the beginnings of all of them are in the eight bytes from the first on.
const STRIDE: usize = 4;

/// How many of the hashes share a list.
const LIST_HASHES: usize = 64;

/// What makes a capital its small letter, in each byte. Some other bytes become the same, too.
const SMALL: u64 = 0x2020_2020_2020_2020;

/// A literal of two bytes, which would make for so many beginnings that the table is of no use.
pub(crate) type Pair = [u8; 2];

/// Literals, ready to be sought.
pub(crate) struct Literals {
    /// One bit for each hash, set if a literal begins with it.
    begun: Box<[u64; WORDS]>,
    /// Where the list of each of so many hashes begins; one more at the end.
    lists: Vec<u32>,
    beginnings: Vec<Beginning>,
    literals: Vec<Vec<u8>>,
    pair: u16,
}

/// The first bytes of a literal, up to eight, for a look at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Beginning {
    hash: u32,
    number: u32,
    bytes: u64,
    /// Which of them the literal has.
    mask: u64,
}

impl Literals {
    /// Literals of at least three bytes each, by their numbers, and one of two letters, which comes last.
    pub(crate) fn new(mut literals: Vec<Vec<u8>>, pair: Pair) -> Literals {
        let mut beginnings: Vec<Beginning> = Vec::new();
        for (number, literal) in (0..).zip(&literals) {
            assert!(literal.len() >= LITERAL_MIN, "a literal is too short to be sought with others");
            let (bytes, mask) = (eight(literal), eight(&vec![u8::MAX; literal.len()]));
            let of = |start: u64| Beginning { hash: hash(start as u32), number, bytes: bytes & mask, mask };
            if literal.len() >= BEGINNING {
                beginnings.push(of(bytes));
            } else {
                beginnings.extend((0..=u8::MAX).map(|last| of(bytes | SMALL | u64::from(last) << 24)));
            }
        }
        beginnings.sort_unstable();
        beginnings.dedup();
        let mut begun = Box::new([0; WORDS]);
        for beginning in &beginnings {
            begun[beginning.hash as usize / 64] |= 1 << (beginning.hash % 64);
        }
        let first =
            |list: usize| beginnings.partition_point(|beginning| (beginning.hash as usize) < list * LIST_HASHES);
        let lists = (0..=(1 << HASH_BITS) / LIST_HASHES).map(|list| first(list) as u32).collect();
        literals.push(pair.to_vec());
        let pair = u16::from_le_bytes(pair.map(|byte| byte | 0x20));
        Literals { begun, lists, beginnings, literals, pair }
    }

    /// Calls for each literal of the text, also for those that overlap, by where they begin: its number, and its place.
    pub(crate) fn each(&self, text: &[u8], mut found: impl FnMut(usize, Range<usize>)) {
        let mut at = 0;
        while let Some(here) = text[at..].first_chunk() {
            let here = u64::from_le_bytes(*here) | SMALL;
            // All of them before the first branch, so that none waits for another.
            let begun = (0..STRIDE).fold(0, |begun, place| begun | self.may_begin(here >> (8 * place)) << place);
            for place in (0..STRIDE).filter(|place| begun >> place & 1 != 0) {
                self.begin(text, at + place, &mut found);
            }
            at += STRIDE;
        }
        (at..text.len()).for_each(|at| self.begin(text, at, &mut found));
    }

    /// One if a literal may begin with the first of these bytes, else zero.
    #[inline(always)]
    fn may_begin(&self, here: u64) -> u64 {
        let hash = hash(here as u32);
        (self.begun[hash as usize / 64] >> (hash % 64) & 1) | u64::from(here as u16 == self.pair)
    }

    #[inline(never)]
    fn begin(&self, text: &[u8], at: usize, found: &mut impl FnMut(usize, Range<usize>)) {
        let here = eight(&text[at..]);
        let hash = hash(here as u32);
        let list = hash as usize / LIST_HASHES;
        let list = &self.beginnings[self.lists[list] as usize..self.lists[list + 1] as usize];
        let begun = |of: &&Beginning| of.hash == hash && (here ^ of.bytes) & of.mask == 0;
        let numbers = list.iter().filter(begun).map(|beginning| beginning.number as usize);
        let pair = (here as u16 == self.pair).then_some(self.literals.len() - 1);
        for number in numbers.chain(pair) {
            let literal = &self.literals[number];
            let place = at..at + literal.len();
            if text.get(place.clone()).is_some_and(|here| here.eq_ignore_ascii_case(literal)) {
                found(number, place);
            }
        }
    }
}

/// The first eight bytes in small letters; of a shorter text, as if spaces followed.
#[inline(always)]
fn eight(text: &[u8]) -> u64 {
    let bytes = text.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; 8];
        bytes[..text.len()].copy_from_slice(text);
        bytes
    });
    u64::from_le_bytes(bytes) | SMALL
}

#[inline(always)]
fn hash(start: u32) -> u32 {
    start.wrapping_mul(0x9E37_79B1) >> (u32::BITS - HASH_BITS)
}

#[cfg(test)]
mod tests {
    use aho_corasick::AhoCorasick;
    use proptest::prelude::*;

    use super::*;

    const LITERALS: [&str; 9] = ["abc", "ABCD", "bcd", "a b", "://", "好", "é a", "aaaa", "abcabc"];
    const PAIR: Pair = *b"db";

    fn check(text: &str) -> Result<(), TestCaseError> {
        let literals = Literals::new(LITERALS.iter().map(|literal| literal.as_bytes().to_vec()).collect(), PAIR);
        let mut found = Vec::new();
        literals.each(text.as_bytes(), |number, place| found.push((place.start, number, place.end)));
        found.sort_unstable();
        let automaton =
            AhoCorasick::builder().ascii_case_insensitive(true).build(LITERALS.into_iter().chain(["db"])).unwrap();
        let hits = automaton.find_overlapping_iter(text);
        let mut expected: Vec<_> = hits.map(|hit| (hit.start(), hit.pattern().as_usize(), hit.end())).collect();
        expected.sort_unstable();
        prop_assert_eq!(found, expected, "{:?}", text);
        Ok(())
    }

    proptest! {
        #[test]
        fn all_are_found_that_an_automaton_finds(text in "[abcdABCD :/é好]{0,40}") {
            check(&text)?;
        }
    }
}
