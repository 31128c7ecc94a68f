//! The sink's one record: how far ClickHouse is, what is on its way there, and who moves it. Pure.
//!
//! It is changed only by compare-and-swap, and only by [`Manifest::step`], so that every state that can be stored is
//! one from which any sink can go on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Where the record is kept in the bucket of the broker's state.
pub(crate) const KEY: &str = "sink.manifest";

const VERSION: u32 = 1;

/// A stretch of the log that is about to be in ClickHouse, or already is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The first sequence of the stretch.
    pub(crate) first: u64,
    /// The last.
    pub(crate) last: u64,
    /// How many rows it makes, to notice records that were removed since.
    pub(crate) count: u64,
    /// The token it is inserted under, which names these records and no others for ever.
    pub(crate) token: String,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// The incarnation of the results stream that the sequences belong to.
    pub(crate) stream: String,
    /// Every record up to this sequence is in ClickHouse.
    pub(crate) committed_seq: u64,
    /// What follows, if an insert is under way.
    pub(crate) pending: Option<Pending>,
    /// The end of the log when it was first looked at: which tombstones count; see `entombed.rs`. `None` before that,
    /// and in a record of a version that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) survey_end: Option<u64>,
    /// Who moves it; empty if nobody does.
    pub(crate) owner: String,
    /// Counts the claims: with the owner it names one time in office.
    pub(crate) term: u64,
}

/// A change of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A sink takes office.
    Claim { owner: String },
    /// The end of the log is known.
    Survey { end: u64 },
    /// An insert is about to start.
    Begin { first: u64, last: u64, count: u64 },
    /// The pending insert is known to be in.
    Commit,
    /// What lies up to here needs no insert: it holds no rows, or was removed.
    Skip { to: u64 },
    /// The stream was made anew.
    Recreated { stream: String },
    /// The sink leaves office.
    Release,
}

/// A change that the record does not permit: a mistake in the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misstep {
    #[error("an insert is pending")]
    Pending,
    #[error("no insert is pending")]
    NothingPending,
    #[error("{to} is not after {committed}")]
    Backwards { committed: u64, to: u64 },
}

/// A record that this code cannot read and therefore must not replace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the record is not one of a sink")]
    Json(#[from] serde_json::Error),
    #[error("the record has version {0} and this code knows {VERSION}")]
    Version(u32),
}

impl Manifest {
    /// The record of a stream that nobody has moved: records up to `committed_seq` are known to be in ClickHouse.
    pub(crate) fn new(stream: &str, committed_seq: u64, owner: &str) -> Self {
        let (stream, owner) = (stream.to_owned(), owner.to_owned());
        Manifest { version: VERSION, stream, committed_seq, pending: None, survey_end: None, owner, term: 1 }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        if manifest.version == VERSION { Ok(manifest) } else { Err(Unreadable::Version(manifest.version)) }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a record of numbers and texts always serialises").into()
    }

    /// The record after a change.
    pub(crate) fn step(&self, step: Step) -> Result<Manifest, Misstep> {
        let mut next = self.clone();
        match step {
            Step::Claim { owner } => {
                next.owner = owner;
                next.term += 1;
            }
            Step::Release => next.owner = String::new(),
            Step::Begin { first, last, count } => {
                self.must_be_idle()?;
                self.must_advance(first, last)?;
                next.pending = Some(Pending { first, last, count, token: token(&self.stream, first, last) });
            }
            Step::Commit => {
                let pending = next.pending.take().ok_or(Misstep::NothingPending)?;
                next.committed_seq = pending.last;
            }
            Step::Skip { to } => {
                self.must_be_idle()?;
                self.must_advance(to, to)?;
                next.committed_seq = to;
            }
            Step::Recreated { stream } => {
                next.stream = stream;
                next.committed_seq = 0;
                next.pending = None;
                next.survey_end = None;
            }
            Step::Survey { end } => {
                self.must_be_idle()?;
                next.survey_end = Some(end);
            }
        }
        Ok(next)
    }

    fn must_be_idle(&self) -> Result<(), Misstep> {
        if self.pending.is_some() { Err(Misstep::Pending) } else { Ok(()) }
    }

    fn must_advance(&self, first: u64, last: u64) -> Result<(), Misstep> {
        let advances = first > self.committed_seq && last >= first;
        if advances { Ok(()) } else { Err(Misstep::Backwards { committed: self.committed_seq, to: first.min(last) }) }
    }
}

fn token(stream: &str, first: u64, last: u64) -> String {
    format!("{stream}:{first}-{last}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn fresh() -> Manifest {
        Manifest::new("18a", 0, "a")
    }

    #[test]
    fn an_insert_begins_and_commits_or_stays_pending_through_every_change_of_office() {
        let begun = fresh().step(Step::Begin { first: 1, last: 9, count: 12 }).expect("it begins");
        assert_eq!(begun.pending.as_ref().map(|p| p.token.as_str()), Some("18a:1-9"));
        let handed = begun.step(Step::Release).and_then(|m| m.step(Step::Claim { owner: "b".into() })).expect("it may");
        assert_eq!((handed.owner.as_str(), handed.term, &handed.pending), ("b", 2, &begun.pending));
        let done = handed.step(Step::Commit).expect("it commits");
        assert_eq!((done.committed_seq, done.pending), (9, None));
    }

    #[test]
    fn what_would_cut_the_log_anew_or_go_back_is_refused() {
        let begun = fresh().step(Step::Begin { first: 1, last: 9, count: 1 }).expect("it begins");
        assert_eq!(begun.step(Step::Begin { first: 1, last: 5, count: 1 }), Err(Misstep::Pending));
        assert_eq!(begun.step(Step::Skip { to: 20 }), Err(Misstep::Pending));
        let done = begun.step(Step::Commit).expect("it commits");
        assert_eq!(done.step(Step::Commit), Err(Misstep::NothingPending));
        let back = Err(Misstep::Backwards { committed: 9, to: 9 });
        assert_eq!(done.step(Step::Begin { first: 9, last: 12, count: 1 }), back);
        assert_eq!(done.step(Step::Skip { to: 9 }), back);
    }

    #[test]
    fn a_stream_made_anew_starts_over_under_other_tokens() {
        let moved = fresh().step(Step::Begin { first: 1, last: 9, count: 1 }).expect("it begins");
        let anew = moved.step(Step::Recreated { stream: "18b".into() }).expect("it may");
        assert_eq!((anew.committed_seq, &anew.pending, anew.term), (0, &None, moved.term));
        let begun = anew.step(Step::Begin { first: 1, last: 9, count: 1 }).expect("it begins");
        assert_ne!(begun.pending.map(|p| p.token), moved.pending.map(|p| p.token));
    }

    #[test]
    fn a_record_reads_back_and_one_of_a_newer_sink_is_left_alone() {
        let begun = fresh().step(Step::Begin { first: 1, last: 9, count: 1 }).expect("it begins");
        assert_eq!(Manifest::read(&begun.to_bytes()).expect("it reads back"), begun);
        let newer =
            String::from_utf8(begun.to_bytes().to_vec()).expect("JSON").replace("\"version\":1", "\"version\":2");
        assert!(matches!(Manifest::read(newer.as_bytes()), Err(Unreadable::Version(2))));
        assert!(Manifest::read(b"{}").is_err());
    }

    proptest! {
        /// A log of 100 records moved by sinks that die anywhere: after each crash the next one replays what is
        /// pending. Whatever the order, each record is in exactly one token.
        #[test]
        fn every_record_is_in_exactly_one_token(ops in prop::collection::vec((0u8..5, 1u64..8), 1..200)) {
            let mut manifest = fresh();
            let mut table: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            let insert = |table: &mut BTreeMap<String, Vec<u64>>, pending: &Pending| {
                // What ClickHouse does: a token that is there already changes nothing.
                table.entry(pending.token.clone()).or_insert_with(|| (pending.first..=pending.last).collect());
            };
            for (op, size) in ops {
                let first = manifest.committed_seq + 1;
                let step = match (op, &manifest.pending) {
                    (0, _) => Some(Step::Claim { owner: format!("owner-{size}") }),
                    (1, None) => Some(Step::Begin { first, last: first + size, count: size }),
                    // Crashes before the insert, after it, and after the commit.
                    (2, Some(pending)) => { insert(&mut table, pending); None }
                    (3, Some(pending)) => { insert(&mut table, pending); Some(Step::Commit) }
                    (4, _) => Some(Step::Release),
                    _ => None,
                };
                if let Some(step) = step {
                    manifest = manifest.step(step).expect("permitted by construction");
                }
            }
            let mut seen: Vec<u64> = table.into_values().flatten().collect();
            seen.sort_unstable();
            let pending_last = manifest.pending.as_ref().map(|p| p.last);
            let upto = seen.last().copied().unwrap_or(0);
            prop_assert!(upto == manifest.committed_seq || Some(upto) == pending_last);
            prop_assert_eq!(seen, (1..=upto).collect::<Vec<_>>());
        }
    }
}
