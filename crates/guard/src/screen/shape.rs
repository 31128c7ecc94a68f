//! How large a request is, and in which languages its user writes.

use crate::body::escape::unescaped;
use crate::body::place::{Place, Standing};
use crate::clauses::Clauses;
use crate::language::{SAMPLE_CHARS, language};

/// The most texts whose language is asked for in one request; a conversation has fewer, a batch of embeddings one language.
const TEXTS_MAX: usize = 64;

/// What was measured in a body.
#[derive(Default)]
pub(crate) struct Measure {
    /// The characters of all texts.
    pub(crate) characters: u64,
    /// How many texts are in a language that is not allowed.
    pub(crate) foreign: u32,
    /// The texts of the item that is being read.
    samples: Vec<String>,
    /// Whether somebody else than the user wrote it.
    by_other: bool,
    looked: usize,
}

impl Measure {
    /// Asks for the language of the texts since the last call: those of one item, or those around items.
    pub(super) fn item_ends(&mut self, clauses: &Clauses) {
        let texts = std::mem::take(&mut self.samples);
        let by_other = std::mem::take(&mut self.by_other);
        let Some((allowed, _)) = clauses.language.as_ref().filter(|_| !by_other) else { return };
        self.looked += texts.len();
        let is_foreign = |text: &&String| language(text).is_some_and(|code| !allowed.contains(code));
        self.foreign += texts.iter().filter(is_foreign).map(|_| 1).sum::<u32>();
    }

    /// Takes a name that a machine gave: the role of a message, the type of another item.
    pub(super) fn name(&mut self, standing: &Standing<'_>, raw: &str) {
        let other = match standing.key {
            Some("role") => raw != "user",
            Some("type") => raw != "message",
            _ => false,
        };
        self.by_other |= other && standing.place == Place::Item;
    }

    /// Takes a text as it stands in the body.
    pub(super) fn text(&mut self, standing: &Standing<'_>, raw: &str) {
        let text = unescaped(raw);
        self.characters += text.chars().count() as u64;
        let prompt = matches!(
            (standing.place, standing.key),
            (Place::Item, Some("content"))
                | (Place::Part, Some("text"))
                | (Place::Items, _)
                | (Place::Top, Some("input" | "prompt"))
        );
        if prompt && self.samples.len() + self.looked < TEXTS_MAX {
            self.samples.push(text.chars().take(SAMPLE_CHARS).collect());
        }
    }
}
