//! How well the detector did, by entity.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Range;

use tollgate_guard::{Detector, Entity, Found, Rule};

use crate::sentence::{Kind, Sentence};

/// How many misses of one entity a report shows.
const MISSES_SHOWN: usize = 12;

/// What became of one entity's labels and findings.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Labels of it.
    pub(crate) labelled: usize,
    /// Labels that a finding of it overlaps.
    pub(crate) hit: usize,
    /// Findings of it.
    pub(crate) found: usize,
    /// Findings that overlap a label of it.
    pub(crate) right: usize,
    /// Bytes of the labels.
    pub(crate) bytes: usize,
    /// Bytes of the labels that no finding covers: what would have passed.
    pub(crate) leaked: usize,
    /// Bytes beside the labels that right findings cover: what would have been lost.
    pub(crate) lost: usize,
    /// Each miss, for the reader of a failure.
    misses: Vec<String>,
}

impl Tally {
    /// The share of the labels that was found.
    pub(crate) fn recall(&self) -> f64 {
        share(self.hit, self.labelled)
    }

    /// The share of the findings that was right.
    pub(crate) fn precision(&self) -> f64 {
        share(self.right, self.found)
    }

    /// The share of the labelled bytes that would have passed.
    pub(crate) fn leak(&self) -> f64 {
        1.0 - share(self.bytes - self.leaked, self.bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a corpus are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// What became of the whole corpus.
#[derive(Debug)]
pub(crate) struct Score {
    /// By entity.
    pub(crate) tallies: BTreeMap<Entity, Tally>,
    /// Sentences in which nothing is.
    pub(crate) empty: usize,
    /// Of these, the ones in which something was found.
    pub(crate) disturbed: usize,
}

impl Score {
    /// Runs a detector of all entities over the sentences.
    pub(crate) fn of(sentences: &[Sentence]) -> Score {
        let rules: Vec<Rule<'_>> = Entity::ALL.iter().copied().map(Rule::Entity).collect();
        let detector = Detector::new(&rules, Some("US")).expect("the built-in rules are sound");
        let tallies = Entity::ALL.iter().map(|&entity| (entity, Tally::default())).collect();
        let mut score = Score { tallies, empty: 0, disturbed: 0 };
        let mut found = Vec::new();
        for sentence in sentences {
            found.clear();
            detector.find(&sentence.text, &mut found);
            score.count(sentence, &found);
        }
        score
    }

    /// The share of the sentences in which nothing is and something was found.
    pub(crate) fn disturbance(&self) -> f64 {
        share(self.disturbed, self.empty)
    }

    fn count(&mut self, sentence: &Sentence, found: &[Found]) {
        if sentence.kind != Kind::Entity {
            self.empty += 1;
            self.disturbed += usize::from(!found.is_empty());
        }
        self.count_labels(sentence, found);
        self.count_found(sentence, found);
    }

    fn count_labels(&mut self, sentence: &Sentence, found: &[Found]) {
        for label in sentence.labels() {
            let tally = self.tallies.get_mut(&label.entities[0]).expect("every entity has a tally");
            let is_hit = |one: &Found| label.entities.contains(&entity(one)) && common(&one.range, &label.range) > 0;
            let covered: usize = found.iter().map(|one| common(&one.range, &label.range)).sum();
            tally.labelled += 1;
            tally.bytes += label.range.len();
            tally.leaked += label.range.len() - covered;
            if found.iter().any(is_hit) {
                tally.hit += 1;
                if covered < label.range.len() {
                    tally.misses.push(miss("cut short", &label.range, sentence));
                }
            } else {
                tally.misses.push(miss("MISSED", &label.range, sentence));
            }
        }
    }

    fn count_found(&mut self, sentence: &Sentence, found: &[Found]) {
        let labels = sentence.labels();
        for one in found {
            let tally = self.tallies.get_mut(&entity(one)).expect("every entity has a tally");
            let accepting = labels.iter().filter(|label| label.entities.contains(&entity(one)));
            let covered: usize = accepting.map(|label| common(&one.range, &label.range)).sum();
            tally.found += 1;
            if covered == 0 {
                tally.misses.push(miss("WRONG", &one.range, sentence));
                continue;
            }
            tally.right += 1;
            tally.lost += one.range.len() - covered;
            if covered < one.range.len() {
                tally.misses.push(miss("too long", &one.range, sentence));
            }
        }
    }

    /// A table of all entities and the first misses of each, in full if asked for.
    pub(crate) fn report(&self, in_full: bool) -> String {
        let mut out = String::new();
        writeln!(out, "{self}").expect("a string takes all that is written");
        for (entity, tally) in self.tallies.iter().filter(|(_, tally)| !tally.misses.is_empty()) {
            writeln!(out, "\n## {entity}").expect("a string takes all that is written");
            let shown = if in_full { usize::MAX } else { MISSES_SHOWN };
            for line in tally.misses.iter().take(shown) {
                writeln!(out, "- {line}").expect("a string takes all that is written");
            }
        }
        out
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:20} {:>6} {:>7} {:>6} {:>9} {:>6} {:>5}",
            "", "labels", "recall", "found", "precision", "leak", "lost"
        )?;
        for (entity, tally) in &self.tallies {
            writeln!(
                f,
                "{:20} {:>6} {:>7.4} {:>6} {:>9.4} {:>6.4} {:>5}",
                entity.as_str(),
                tally.labelled,
                tally.recall(),
                tally.found,
                tally.precision(),
                tally.leak(),
                tally.lost
            )?;
        }
        write!(f, "{} of {} sentences without anything are disturbed", self.disturbed, self.empty)
    }
}

/// The entity that a finding is of: the rules are all entities, in order.
fn entity(found: &Found) -> Entity {
    Entity::ALL[found.rule]
}

fn common(one: &Range<usize>, other: &Range<usize>) -> usize {
    one.end.min(other.end).saturating_sub(one.start.max(other.start))
}

fn miss(what: &str, range: &Range<usize>, sentence: &Sentence) -> String {
    format!("{what} `{}` in {:?} ({} {})", &sentence.text[range.clone()], sentence.text, sentence.lang, sentence.place)
}
