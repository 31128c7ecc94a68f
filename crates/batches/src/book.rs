//! What the counter has in memory of batches: the records as it last read or wrote them. The server has them all.

use std::collections::{BTreeMap, HashMap};

use tollgate_queue::{ApiError, Batches};
use tollgate_types::batch::{self, BatchProgress, LinesDone, Tally, VERSION};
use tollgate_types::event::EventKind;
use tollgate_types::{BatchId, BatchSpec, NanoUsd, Status, UnixMillis, UsageEvent};

/// Records of lines that are kept in memory together: a record is about 4 KiB.
const PARTS_MAX: usize = 4096;

/// A team's batch.
pub(crate) type Of = (String, BatchId);

/// The batches that were counted lately.
#[derive(Default)]
pub(crate) struct Books(HashMap<Of, Book>);

/// One batch.
pub(crate) struct Book {
    /// What it is; `None` for jobs whose ids only look like those of a batch.
    pub(crate) spec: Option<BatchSpec>,
    /// Those of its parts that have a record.
    pub(crate) parts: BTreeMap<u64, Part>,
    /// The sequence of its progress record.
    pub(crate) progress_at: u64,
    /// The time of the last result.
    pub(crate) at: UnixMillis,
    /// Whether its end is announced.
    pub(crate) done: bool,
    /// Whether it is known to be stopped.
    pub(crate) stopped: bool,
}

/// A part of it, with the sequence of its record; 0 before the first.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) lines: LinesDone,
    pub(crate) sequence: u64,
}

impl Books {
    /// A batch as it is known, or as the server has it.
    pub(crate) async fn open(&mut self, of: &Of, batches: &Batches) -> Result<&mut Book, ApiError> {
        if !self.0.contains_key(of) {
            let kept: usize = self.0.values().map(|book| book.parts.len().max(1)).sum();
            if kept >= PARTS_MAX {
                self.0.clear();
            }
            let book = Book::read(of, batches).await?;
            self.0.insert(of.clone(), book);
        }
        Ok(self.0.get_mut(of).expect("it was just put in"))
    }

    /// Reads it anew the next time.
    pub(crate) fn forget(&mut self, of: &Of) {
        self.0.remove(of);
    }
}

/// Whether a batch is counted: its submitter wrote that record, and may write what it likes.
pub(crate) fn is_counted(spec: &BatchSpec, id: &BatchId) -> bool {
    spec.version == VERSION && spec.id == *id && (1..=batch::LINES_MAX).contains(&spec.jobs)
}

impl Book {
    async fn read((team, id): &Of, batches: &Batches) -> Result<Book, ApiError> {
        let spec = batches.spec(team, id).await?.filter(|spec| is_counted(spec, id));
        let mut book = Book {
            spec,
            parts: BTreeMap::new(),
            progress_at: 0,
            at: UnixMillis::default(),
            done: false,
            stopped: false,
        };
        let Some(spec) = &book.spec else { return Ok(book) };
        // However large it says that it is, only what was counted of it is read.
        for part in batches.parts(team, id).await? {
            if part < batch::parts(spec.jobs)
                && let Some((lines, sequence)) = batches.lines(team, id, part).await?
            {
                book.parts.insert(part, Part { lines, sequence });
            }
        }
        if let Some((progress, sequence)) = batches.progress(team, id).await? {
            (book.progress_at, book.at) = (sequence, progress.at);
        }
        book.done = batches.done(team, id).await?.is_some();
        Ok(book)
    }

    /// What all its lines came to.
    pub(crate) fn tally(&self) -> Tally {
        self.parts.values().fold(Tally::default(), |sum, part| sum.plus(part.lines.tally))
    }

    pub(crate) fn progress(&self, jobs: u64) -> BatchProgress {
        BatchProgress { version: VERSION, jobs, tally: self.tally(), at: self.at }
    }
}

impl Part {
    /// Before its first record.
    pub(crate) fn empty() -> Part {
        let lines = LinesDone {
            version: VERSION,
            log: String::new(),
            through: 0,
            tally: Tally::default(),
            ended: Default::default(),
            failed: Default::default(),
        };
        Part { lines, sequence: 0 }
    }
}

/// Folds a record of the log into the lines of its part; `at` is the line's place there. A line that ended has ended:
/// only what was spent is added, by whatever run.
pub(crate) fn fold(lines: &mut LinesDone, at: u64, event: &UsageEvent) {
    let tally = &mut lines.tally;
    if event.kind == EventKind::Result && lines.ended.insert(at) {
        tally.ends.add(event.status);
        if event.status != Status::Succeeded {
            lines.failed.insert(at);
        }
    }
    tally.cost_nanousd += event.cost();
    tally.unknown_nanousd = (tally.unknown_nanousd + event.unknown_nanousd).max(NanoUsd::ZERO);
    tally.tokens += event.tokens();
}
