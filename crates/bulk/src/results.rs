//! Reading results: which lines have ended is in the broker's records, so that only what is new is asked for.

use futures_util::StreamExt as _;
use futures_util::stream;
use tollgate_client::WaitError;
use tollgate_types::BatchSpec;
use tollgate_types::batch::{LINES_PER_PART, LineSet, parts};

use crate::bulk::Bulk;
use crate::records::RecordError;
use crate::render::{Rendered, lost, render};

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

impl Bulk {
    /// Reads every result that is there and was not read, gives each to `write`, then notes it in `read`. Returns how many
    /// there were.
    ///
    /// `ended` says that the batch has ended: a result that is not there then will not come any more.
    ///
    /// # Errors
    /// [`ReadError`]; what was noted was written.
    pub async fn read_results(
        &self,
        spec: &BatchSpec,
        (read, order, ended): (&mut Read, Order, bool),
        mut write: impl FnMut(&Rendered, &Read) -> std::io::Result<()>,
    ) -> Result<u64, ReadError> {
        let mut count = 0;
        for part in 0..parts(spec.jobs) {
            let Some(lines) = self.lines(&spec.id, part).await? else {
                if order == Order::Input {
                    break;
                }
                continue;
            };
            let first = part * LINES_PER_PART;
            let here = LINES_PER_PART.min(spec.jobs - first);
            let known = read.part(part).clone();
            let open = (0..here).filter(|&at| !known.contains(at));
            let new: Vec<u64> = match order {
                Order::Completion => open.filter(|&at| lines.ended.contains(at)).collect(),
                Order::Input => open.take_while(|&at| lines.ended.contains(at)).collect(),
            };
            let ask = |at: u64| async move {
                let job = spec.id.job(first + at + 1);
                let kept = match self.producer().result(&job).await {
                    // Its facts are there and its answer is gone: no line of it will ever be whole.
                    Err(WaitError::Answer(_)) if ended => None,
                    kept => kept?,
                };
                Ok::<_, WaitError>((at, job, kept))
            };
            let mut found = stream::iter(new).map(ask).buffered(AT_ONCE);
            let mut gap = false;
            while let Some(found) = found.next().await {
                let (at, job, kept) = found?;
                let rendered = match kept {
                    Some(kept) => render(spec.format, &job, &kept),
                    None if ended => lost(spec.format, &job),
                    // A replica that is behind; it is asked again.
                    None if order == Order::Input => {
                        gap = true;
                        break;
                    }
                    None => continue,
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
