//! Reading results: which lines have ended is in the broker's records, so that only what is new is asked for.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tollgate_client::WaitError;
use tollgate_types::BatchSpec;
use tollgate_types::batch::{BatchDone, LINES_PER_PART, LineSet, LinesDone, parts};

use crate::bulk::Bulk;
use crate::records::RecordError;
use crate::render::{Rendered, lost, not_submitted, render};

/// Results that are asked for at once: a message has a megabyte at most, unless an operator said otherwise.
const AT_ONCE: usize = 32;

/// In which order results are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they come: in the order of the file among those that are there.
    #[default]
    Completion,
    /// In the order of the file: only up to the first that is not there.
    Input,
}

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A result cannot be read.
    #[error(transparent)]
    Result(#[from] WaitError),
    /// What was read cannot be written.
    #[error("the results cannot be written")]
    Write(#[source] std::io::Error),
}

/// Which lines were read, by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Read(Vec<LineSet>);

impl Read {
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(LineSet::count).sum()
    }

    fn part(&mut self, part: u64) -> &mut LineSet {
        let at = usize::try_from(part).expect("parts are few");
        if self.0.len() <= at {
            self.0.resize(at + 1, LineSet::default());
        }
        &mut self.0[at]
    }
}

/// What is there of a request.
enum Kept {
    /// Its result.
    Line(Bytes),
    /// It ended, and its result is not there.
    Gone,
    /// It was never submitted.
    Never,
}

/// Which lines of a part have ended, and which of them did not succeed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) ended: LineSet,
    pub(crate) failed: LineSet,
}

impl From<LinesDone> for Ended {
    fn from(lines: LinesDone) -> Self {
        Ended { ended: lines.ended, failed: lines.failed }
    }
}

/// How often records of lines that are behind the end of their batch are asked for again, and after what pause.
const BEHIND: (u32, Duration) = (20, Duration::from_millis(250));

impl Bulk {
    /// Which lines of an ended batch have ended, by part. A replica may know of the end before it knows of the lines: then
    /// it is asked again, because what has no end is believed never to have been submitted.
    pub(crate) async fn ended_lines(&self, spec: &BatchSpec, done: &BatchDone) -> Result<Vec<Ended>, RecordError> {
        let submitted = spec.jobs.saturating_sub(done.not_submitted);
        for _ in 0..BEHIND.0 {
            let mut all = Vec::new();
            for part in 0..parts(spec.jobs) {
                all.push(self.lines(&spec.id, part).await?.map(Ended::from).unwrap_or_default());
            }
            if all.iter().map(|part| part.ended.count()).sum::<u64>() >= submitted {
                return Ok(all);
            }
            tokio::time::sleep(BEHIND.1).await;
        }
        Err(RecordError::Unknown)
    }

    /// Reads every result that is there and was not read, gives each to `write`, then notes it in `read`. Returns how many
    /// there were.
    ///
    /// `done` says that the batch has ended: a result that is not there then will not come any more, and what has no end
    /// then was never submitted.
    ///
    /// # Errors
    /// [`ReadError`]; what was noted was written.
    pub async fn read_results(
        &self,
        spec: &BatchSpec,
        (read, order, done): (&mut Read, Order, Option<&BatchDone>),
        mut write: impl FnMut(&Rendered, &Read) -> std::io::Result<()>,
    ) -> Result<u64, ReadError> {
        let (mut count, ended) = (0, done.is_some());
        let whole = match done {
            Some(done) => Some(self.ended_lines(spec, done).await?),
            None => None,
        };
        for part in 0..parts(spec.jobs) {
            let lines = match &whole {
                Some(whole) => usize::try_from(part).ok().and_then(|part| whole.get(part)).cloned().unwrap_or_default(),
                None => match self.lines(&spec.id, part).await? {
                    Some(lines) => lines.into(),
                    None if order == Order::Input => break,
                    None => continue,
                },
            };
            let first = part * LINES_PER_PART;
            let here = LINES_PER_PART.min(spec.jobs - first);
            let known = read.part(part).clone();
            let open = (0..here).filter(|&at| !known.contains(at));
            let new: Vec<u64> = match order {
                _ if ended => open.collect(),
                Order::Completion => open.filter(|&at| lines.ended.contains(at)).collect(),
                Order::Input => open.take_while(|&at| lines.ended.contains(at)).collect(),
            };
            let came = &lines.ended;
            let ask = |at: u64| async move {
                let job = spec.id.job(first + at + 1);
                if !came.contains(at) {
                    return Ok((at, job, Kept::Never));
                }
                let kept = match self.producer().result(&job).await {
                    // Its facts are there and its answer is gone: no line of it will ever be whole.
                    Err(WaitError::Answer(_)) if ended => None,
                    kept => kept?,
                };
                Ok::<_, WaitError>((at, job, kept.map_or(Kept::Gone, Kept::Line)))
            };
            let mut found = stream::iter(new).map(ask).buffered(AT_ONCE);
            let mut gap = false;
            while let Some(found) = found.next().await {
                let (at, job, kept) = found?;
                let rendered = match kept {
                    Kept::Line(kept) => render(spec.format, &job, &kept),
                    Kept::Never => not_submitted(spec.format, &job, None),
                    Kept::Gone if ended => lost(spec.format, &job, None),
                    // A replica that is behind; it is asked again.
                    Kept::Gone if order == Order::Input => {
                        gap = true;
                        break;
                    }
                    Kept::Gone => continue,
                };
                read.part(part).insert(at);
                write(&rendered, read).map_err(ReadError::Write)?;
                count += 1;
            }
            if order == Order::Input && (gap || read.part(part).count() < here) {
                break;
            }
        }
        Ok(count)
    }
}
