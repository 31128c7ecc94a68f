//! Which of a record and its tombstone counts: exactly one, whenever the first sink came.
//!
//! Who removes a record's texts stores its tombstone first, then looks whether there is a sink, and removes the record
//! only if there is none or that has passed the record (`tollgate_retention::entomb`). A tombstone that was made when a
//! sink had passed the record says so ([`Tombstone::sunk`](tollgate_types::Tombstone::sunk)) and never counts. Of the
//! others, what the maker knew decides nothing, because a first sink may come at any moment: between his looks, or
//! after he was killed with both stored. The sink decides, by one sequence: the end of the log, asked for once after its
//! own record was created and before it read anything, and kept in that record (`survey_end`).
//!
//! - A tombstone **up to the survey's end** counts, and the record that it stands for does not, whether it is met or
//!   not. Before a batch is cut, the log is read up to that end for the tombstones in it ([`Entombed`]); none can join
//!   them later.
//! - A tombstone **behind it** counts nothing. It was stored after the sink's record was, so its maker, who looks
//!   afterwards, sees a sink, and leaves the record until the sink has passed it: the sink meets the record, and counts
//!   that. The same holds for whoever repeats his work.
//!
//! So what a stretch of the log adds depends on the log and on the survey's end alone, and a batch that is sent again is
//! the same batch. Killed before the end is stored: the next sink stores a later one, and nothing was counted yet.
//!
//! What it relies on: both looks are answered by the streams' leaders. A leader that was deposed and does not know it yet
//! may answer with the past for a moment.

use tollgate_queue::commit_log::{LogEntry, Ranges};
use tollgate_types::UsageEvent;
use tollgate_usage::Stamp;

/// The tombstones that count, and the records that do not because of them.
#[derive(Debug)]
pub(crate) struct Entombed {
    survey_end: u64,
    records: Ranges,
}

impl Entombed {
    /// None yet of those up to the survey's end.
    pub(crate) fn new(survey_end: u64) -> Entombed {
        Entombed { survey_end, records: Ranges::default() }
    }

    /// The rule of a batch that a sink without a survey began: every record and every tombstone counts.
    pub(crate) fn unsurveyed() -> Entombed {
        Entombed::new(u64::MAX)
    }

    /// Takes in an entry of the survey; says whether it was the last.
    pub(crate) fn survey(&mut self, entry: &LogEntry) -> bool {
        if let Some(buried) = entry.buried.as_ref().filter(|buried| !buried.tombstone.sunk)
            && entry.seq <= self.survey_end
        {
            self.records.insert(buried.tombstone.sequence);
        }
        entry.seq >= self.survey_end
    }

    /// What an entry adds to the tables, if it counts.
    pub(crate) fn counted<'a>(&self, entry: &'a LogEntry, stream: &'a str) -> Option<(Stamp<'a>, &'a UsageEvent)> {
        let (seq, at, event) = match &entry.buried {
            None if self.records.contains(entry.seq) => return None,
            None => (entry.seq, entry.at, entry.event.as_ref().ok()?),
            Some(buried) if buried.tombstone.sunk || entry.seq > self.survey_end => return None,
            Some(buried) => (buried.tombstone.sequence, buried.tombstone.at, &buried.event),
        };
        Some((Stamp { stream, seq, at }, event))
    }
}
