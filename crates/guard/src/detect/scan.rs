//! One pass over one folded text: what the finders share.

use std::cell::{Cell, OnceCell};
use std::ops::Range;

use phonenumber::country;

use super::context::Contexts;
use super::{anchors, encoded, numbers};
use crate::Entity;

/// A set of entities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entities(u64);

const _: () = assert!(Entity::ALL.len() <= 64, "a set of entities is one word");

impl Entities {
    pub(crate) const fn of(entities: &[Entity]) -> Entities {
        let mut bits = 0;
        let mut at = 0;
        while at < entities.len() {
            bits |= 1 << entities[at] as u64;
            at += 1;
        }
        Entities(bits)
    }

    pub(crate) fn has(self, entity: Entity) -> bool {
        self.0 & (1 << entity as u64) != 0
    }
}

impl FromIterator<Entity> for Entities {
    fn from_iter<T: IntoIterator<Item = Entity>>(entities: T) -> Entities {
        Entities(entities.into_iter().fold(0, |bits, entity| bits | 1 << entity as u64))
    }
}

/// How sure a finder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Only what stands beside it says what it is.
    Said,
    /// It has the form.
    Formed,
    /// A check digit, a prefix of its own or its structure confirms it.
    Confirmed,
    /// The same, and a word beside it or more structure says what it is.
    Certain,
}

/// What a finder saw, in the folded text.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) entity: Entity,
    pub(crate) range: Range<usize>,
    pub(crate) rank: Rank,
    /// How far the word is that says what it is.
    pub(crate) distance: usize,
}

/// A folded text and what was seen in it so far.
pub(crate) struct Scan<'t> {
    pub(crate) text: &'t str,
    pub(crate) wanted: Entities,
    pub(crate) phone_country: Option<country::Id>,
    sightings: Vec<Sighting>,
    contexts: OnceCell<Contexts<'t>>,
    /// How many more phone numbers are looked up in the plans.
    plans_left: Cell<u32>,
}

/// The most phone numbers of one text that are looked up in the numbering plans: each takes some 10 µs, so that these take
/// 20 ms. A text with more is a table of them.
const PLANS_MAX: u32 = 2_000;

impl<'t> Scan<'t> {
    pub(crate) fn new(text: &'t str, wanted: Entities, phone_country: Option<country::Id>) -> Scan<'t> {
        Scan {
            text,
            wanted,
            phone_country,
            sightings: Vec::new(),
            contexts: OnceCell::new(),
            plans_left: Cell::new(PLANS_MAX),
        }
    }

    /// Looks at the text and into what is encoded in it.
    pub(crate) fn run(&mut self) {
        self.look();
        encoded::scan(self);
    }

    /// Looks at the text as it is.
    pub(crate) fn look(&mut self) {
        anchors::scan(self);
        numbers::scan(self);
    }

    pub(crate) fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    /// Notes what was seen, if it is wanted.
    pub(crate) fn saw(&mut self, entity: Entity, range: Range<usize>, rank: Rank) {
        self.saw_at(entity, range, rank, 0);
    }

    /// Notes what was seen at some distance from the word that says what it is.
    pub(crate) fn saw_at(&mut self, entity: Entity, range: Range<usize>, rank: Rank, distance: usize) {
        debug_assert!(self.text.get(range.clone()).is_some_and(|text| !text.is_empty()), "{entity}: {range:?}");
        if self.wanted.has(entity) {
            self.sightings.push(Sighting { entity, range, rank, distance });
        }
    }

    /// How far the next word is that says that what stands here is such a thing.
    pub(crate) fn distance(&self, entity: Entity, range: &Range<usize>) -> Option<usize> {
        self.contexts.get_or_init(|| Contexts::of(self.text)).distance(entity, range)
    }

    /// Whether the nearest word before it says that it is something else.
    pub(crate) fn is_other(&self, entity: Entity, range: &Range<usize>) -> bool {
        self.contexts.get_or_init(|| Contexts::of(self.text)).is_other(entity, range)
    }

    /// Whether one more phone number may be looked up in the plans.
    pub(crate) fn may_plan(&self) -> bool {
        let left = self.plans_left.get();
        self.plans_left.set(left.saturating_sub(1));
        left > 0
    }

    pub(crate) fn into_sightings(self) -> Vec<Sighting> {
        self.sightings
    }
}
