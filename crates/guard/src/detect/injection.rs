//! Tripwires: phrases that try to take the place of the instructions, or to talk a model out of its rules.
//!
//! They catch what is written as it usually is, in a dozen languages, and nothing else: who rewords it passes. Each group
//! of them begins with one of a few words, is matched from that word on, and reads no further than a sentence.

mod phrases;

use std::sync::LazyLock;

use regex::Regex;

use super::scan::{Rank, Scan};
use super::view::floor;
use crate::Entity;
use phrases::{INSTRUCTIONS, PRIOR};

pub(crate) use phrases::GROUPS;

/// How far a tripwire reads.
const PHRASE_MAX: usize = 200;

/// The fewest characters of the block of tags in a row that are no flag.
const TAGS_MIN: usize = 8;

/// The first bytes of the block of tags, U+E0000 to U+E007F.
pub(crate) const TAGS: [&[u8]; 2] = [b"\xF3\xA0\x80", b"\xF3\xA0\x81"];

/// Tripwires that begin with the same words.
pub(crate) struct Group {
    entity: Entity,
    /// What each of them begins with.
    pub(crate) starts: &'static [&'static str],
    /// What is matched from there on; spaces stand for any white space.
    phrases: &'static [&'static str],
}

static PHRASES: LazyLock<Vec<Regex>> = LazyLock::new(|| GROUPS.iter().map(compiled).collect());

fn compiled(group: &Group) -> Regex {
    // The starts themselves are matched by the phrases where they name them, and passed over where they do not.
    let starts: Vec<String> = group.starts.iter().map(|start| regex::escape(start.trim_end())).collect();
    let named = group.phrases.iter().map(|phrase| {
        phrase
            .replace("PRIOR", PRIOR)
            .replace("INSTRUCTIONS", INSTRUCTIONS)
            .replace("YOUR ", "your ")
            .replace(' ', r"\s+")
    });
    let phrases: Vec<String> = named.collect();
    let phrases = phrases.join("|");
    let pattern = format!(r"(?i)\A(?:(?:{})\s+(?:{phrases})|(?:{phrases}))", starts.join("|"));
    regex::RegexBuilder::new(&pattern).size_limit(32 << 20).build().expect("the pattern is one")
}

/// Looks at the tripwires of this group whose first word begins here.
pub(crate) fn at(scan: &mut Scan<'_>, group: usize, start: usize) {
    let entity = GROUPS[group].entity;
    let bytes = scan.bytes();
    let joined = start
        .checked_sub(1)
        .is_some_and(|at| bytes[at].is_ascii_alphanumeric() && bytes[start].is_ascii_alphanumeric());
    if !scan.wanted.has(entity) || joined {
        return;
    }
    let window = &scan.text[start..floor(scan.text, start + PHRASE_MAX)];
    if let Some(hit) = PHRASES[group].find(window) {
        scan.saw(entity, start..start + hit.end(), Rank::Formed);
    }
}

/// Looks at the invisible tags that begin here: text that a reader does not see. A flag is a few of them behind its sign.
pub(crate) fn tags(scan: &mut Scan<'_>, start: usize) {
    let is_tag = |character: &char| ('\u{E0000}'..='\u{E007F}').contains(character);
    let before = scan.text[..start].chars().next_back();
    if !scan.wanted.has(Entity::PromptInjection) || before.is_some_and(|before| is_tag(&before)) {
        return;
    }
    let len: usize = scan.text[start..].chars().take_while(is_tag).map(char::len_utf8).sum();
    if len / 4 >= TAGS_MIN || (before != Some('\u{1F3F4}') && len / 4 > 1) {
        scan.saw(Entity::PromptInjection, start..start + len, Rank::Formed);
    }
}

#[cfg(test)]
mod tests;
