//! The stream's guard: lets pass what is surely clean, and holds back what could become a finding.

mod chunk;
mod guess;
mod held;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clauses::Clauses;
use crate::guard::{TOO_MANY, UNREADABLE};
use crate::look::{Looker, Tally};
use crate::policy::Hit;
use crate::restore;
use crate::screen::Screen;
use crate::vault::Vault;
use chunk::{Field, Key};
use held::{Common, Held, Stop, held_chars};

/// The most texts that one answer may have: choices, their fields, and their calls.
const TEXTS_MAX: usize = 1024;
/// The most bytes that are put back into one stream: what was redacted in a long prompt, a few times. Behind it placeholders
/// stay as they are.
const RESTORED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Screens and restores one job's answer while it is being written.
///
/// All that has left, put together, is what [`screen_answer`](crate::Guard::screen_answer) and
/// [`restore`](crate::Guard::restore) make of the whole answer; but the answer may still be blocked behind it, and a topic
/// whose words come one by one is replaced from the word on that makes it one. The arguments of calls, and texts that are
/// JSON, leave in one piece when they have ended. If anything is looked for, texts that are not known to come piece by piece
/// do not leave: they come with the whole answer.
pub struct Sieve {
    clauses: Arc<Clauses>,
    vault: Vault,
    restores: bool,
    /// How many bytes may still be put back.
    room: usize,
    tally: Tally,
    texts: BTreeMap<Key, Held>,
    /// The last chunk without its choices, for what leaves after it.
    frame: Map<String, Value>,
    stopped: Option<Arc<str>>,
}

/// What of a stream may leave.
#[derive(Clone, PartialEq, Eq)]
pub enum Sifted {
    /// These chunks, in this order; often none.
    Pass(Vec<Vec<u8>>),
    /// Nothing more: a rule blocks the answer.
    Blocked {
        /// The rule's name.
        rule: Arc<str>,
    },
}

impl Sieve {
    pub(crate) fn new(clauses: Arc<Clauses>, vault: Vault, restores: bool) -> Sieve {
        let restores = restores && vault.keeps();
        let (tally, texts, frame) = (Tally::default(), BTreeMap::new(), Map::new());
        Sieve { clauses, vault, restores, room: RESTORED_BYTES_MAX, tally, texts, frame, stopped: None }
    }

    /// Takes one `chat.completion.chunk`, as JSON. What is no JSON object is dropped.
    pub fn push(&mut self, chunk: &[u8]) -> Sifted {
        if let Some(rule) = &self.stopped {
            return Sifted::Blocked { rule: rule.clone() };
        }
        if !self.clauses.look() && !self.restores {
            return Sifted::Pass(vec![chunk.to_vec()]);
        }
        let Ok(Value::Object(chunk)) = serde_json::from_slice(chunk) else {
            return Sifted::Pass(Vec::new());
        };
        let sifted = self.chunk(chunk);
        self.settled(sifted)
    }

    /// Lets go of what is still held, after the last chunk; a choice's texts also leave with its `finish_reason`.
    pub fn finish(&mut self) -> Sifted {
        if let Some(rule) = &self.stopped {
            return Sifted::Blocked { rule: rule.clone() };
        }
        let mut leaving = BTreeMap::new();
        let choices: Vec<u64> = self.texts.keys().map(|key| key.choice).collect();
        let ended = choices.into_iter().try_for_each(|choice| self.end_choice(choice, &mut leaving));
        let chunks = ended.map(|()| chunk::of_texts(&self.frame, leaving));
        self.settled(chunks)
    }

    /// What fired so far, on what has left or would have.
    pub fn fired(&self) -> Vec<Hit> {
        self.tally.fired(&self.clauses)
    }

    fn settled(&mut self, sifted: Result<Vec<Value>, Stop>) -> Sifted {
        let rule: Arc<str> = match sifted {
            Ok(chunks) => return Sifted::Pass(chunks.iter().map(|chunk| chunk.to_string().into_bytes()).collect()),
            Err(Stop::Rule(rule)) => rule,
            Err(Stop::TooMany) => TOO_MANY.into(),
            Err(Stop::TooLong) => UNREADABLE.into(),
        };
        self.texts.clear();
        self.stopped = Some(rule.clone());
        Sifted::Blocked { rule }
    }

    fn chunk(&mut self, mut chunk: Map<String, Value>) -> Result<Vec<Value>, Stop> {
        let taken = chunk::take(&mut chunk);
        if self.clauses.look() {
            chunk::strip(&mut chunk);
        }
        let mut chunk = self.rest(chunk)?;
        self.frame = chunk::frame(&chunk);
        let mut leaving: BTreeMap<Key, String> = BTreeMap::new();
        for (key, piece) in taken.pieces {
            let text = self.push_text(key, &piece)?;
            leaving.entry(key).or_default().push_str(&text);
        }
        for &choice in &taken.ended {
            self.end_choice(choice, &mut leaving)?;
        }
        // What a choice still holds leaves before the word that it has ended: clients stop reading there.
        let (last, more): (BTreeMap<_, _>, _) = leaving
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .partition(|(key, _)| taken.ended.contains(&key.choice));
        let mut out = Vec::new();
        if !last.is_empty() {
            // A call's name may come with its last words.
            out.extend(chunk::split(&mut chunk, &taken.ended).map(Value::Object));
            out.extend(chunk::of_texts(&self.frame, last));
        }
        for (key, text) in more {
            chunk::put(&mut chunk, key, text);
        }
        if !chunk::is_hollow(&chunk) {
            out.push(Value::Object(chunk));
        }
        Ok(out)
    }

    /// Screens and restores what is left of a chunk, in place.
    fn rest(&mut self, chunk: Map<String, Value>) -> Result<Map<String, Value>, Stop> {
        let text = Value::Object(chunk).to_string();
        let clauses = self.clauses.clone();
        let screen = Screen::of(&text, Looker::new(&clauses, std::mem::take(&mut self.tally)));
        self.tally = screen.looker.tally.clone();
        held::stop(&screen.looker)?;
        let redacted = screen.redacted(&mut self.vault)?.unwrap_or_else(|| text.clone());
        let most = redacted.len() + self.room;
        let restored = if self.restores { restore::body(&redacted, &self.vault, most) } else { Ok(None) };
        let restored = restored.ok().flatten().unwrap_or_else(|| redacted.clone());
        self.room -= restored.len().saturating_sub(redacted.len());
        serde_json::from_str(&restored).map_err(|_| Stop::TooLong)
    }

    fn push_text(&mut self, key: Key, piece: &str) -> Result<String, Stop> {
        if self.texts.len() >= TEXTS_MAX && !self.texts.contains_key(&key) {
            return Err(Stop::TooMany);
        }
        let mut held = self.texts.remove(&key).unwrap_or_else(|| match key.field {
            Field::Arguments | Field::Input | Field::FunctionCall => Held::whole(),
            Field::ReasoningContent | Field::Reasoning | Field::Content | Field::Refusal => Held::default(),
        });
        let leaving = self.with_common(|common| held.push(piece, common));
        self.texts.insert(key, held);
        leaving
    }

    /// Adds all that a choice still holds.
    fn end_choice(&mut self, choice: u64, leaving: &mut BTreeMap<Key, String>) -> Result<(), Stop> {
        let keys: Vec<Key> = self.texts.keys().filter(|key| key.choice == choice).copied().collect();
        for key in keys {
            let Some(mut held) = self.texts.remove(&key) else { continue };
            let rest = self.with_common(|common| held.end(common))?;
            leaving.entry(key).or_default().push_str(&rest);
        }
        Ok(())
    }

    fn with_common<T>(&mut self, run: impl FnOnce(&mut Common<'_, '_>) -> T) -> T {
        let mut looker = Looker::new(&self.clauses, std::mem::take(&mut self.tally));
        let held_chars = held_chars(&self.clauses);
        let vault = &mut self.vault;
        let (restores, room) = (self.restores, &mut self.room);
        let done = run(&mut Common { looker: &mut looker, vault, restores, room, held_chars });
        self.tally = looker.tally;
        done
    }
}

impl fmt::Debug for Sieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sieve")
            .field("texts", &self.texts.len())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Tells how many chunks pass, not what they say.
impl fmt::Debug for Sifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sifted::Pass(chunks) => f.debug_tuple("Pass").field(&chunks.len()).finish(),
            Sifted::Blocked { rule } => f.debug_struct("Blocked").field("rule", rule).finish(),
        }
    }
}
