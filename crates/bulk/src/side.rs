//! The results of an ended batch as a stream of lines: its answers, or the requests that have none, in the order of its
//! file, a few results in memory at a time.
//!
//! A request is on the side that the broker counted it on. One whose answer is not kept any more stays there, with the
//! code `not_kept`.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tollgate_client::WaitError;
use tollgate_types::batch::{BatchDone, LINES_PER_PART};
use tollgate_types::{BatchSpec, file};

use crate::bulk::Bulk;
use crate::render::{lost, not_submitted, render};
use crate::results::ReadError;
use crate::source::Source;

pub use file::Side;

/// Results that are read ahead of who takes the lines: each may have an answer of 64 MiB.
const AHEAD: usize = 4;

/// Bytes of the file that a batch was made of.
pub type Input = Pin<Box<dyn AsyncRead + Send>>;

/// What is known of a line before its name is looked up.
enum Found {
    Line(String),
    Gone,
    Never,
}

impl Bulk {
    /// The lines of one side, each with its end. `input` is the batch's own file, for the names of requests whose result
    /// is not there; without it they have none.
    ///
    /// # Errors
    /// The records cannot be read; the stream ends with an error where a result cannot be.
    pub async fn side(
        &self,
        spec: BatchSpec,
        done: &BatchDone,
        side: Side,
        input: Option<Input>,
    ) -> Result<impl Stream<Item = Result<Bytes, ReadError>> + Send + use<>, ReadError> {
        let parts = self.ended_lines(&spec, done).await?;
        let jobs = spec.jobs;
        let wanted = parts.into_iter().enumerate().flat_map(move |(part, lines)| {
            let first = part as u64 * LINES_PER_PART;
            (0..LINES_PER_PART.min(jobs - first)).filter_map(move |at| {
                let (ended, failed) = (lines.ended.contains(at), lines.failed.contains(at));
                let here = if ended && !failed { Side::Output } else { Side::Errors };
                (here == side).then_some((first + at + 1, ended))
            })
        });
        let (bulk, id, format) = (self.clone(), spec.id.clone(), spec.format);
        let look = move |(line, ended): (u64, bool)| {
            let (bulk, job) = (bulk.clone(), id.job(line));
            async move {
                if !ended {
                    return Ok((line, Found::Never));
                }
                match bulk.producer().result(&job).await {
                    Ok(Some(kept)) => Ok((line, Found::Line(render(format, &job, &kept).text))),
                    // Its facts are there and its answer is gone.
                    Ok(None) | Err(WaitError::Answer(_)) => Ok((line, Found::Gone)),
                    Err(error) => Err(ReadError::from(error)),
                }
            }
        };
        let found = stream::iter(wanted).map(look).buffered(AHEAD);
        let named = stream::try_unfold((Box::pin(found), Names::new(input)), move |(mut found, mut names)| {
            let id = spec.id.clone();
            async move {
                let Some((line, what)) = found.try_next().await? else { return Ok(None) };
                let job = id.job(line);
                let mut text = match what {
                    Found::Line(text) => text,
                    Found::Gone => lost(format, &job, names.of(line).await.as_deref()).text,
                    Found::Never => not_submitted(format, &job, names.of(line).await.as_deref()).text,
                };
                text.push('\n');
                Ok(Some((Bytes::from(text), (found, names))))
            }
        });
        Ok(named)
    }
}

/// The names of requests, read from their file as far as they are asked for, in its order.
struct Names {
    input: Option<Input>,
    source: Option<Source<Input>>,
}

impl Names {
    fn new(input: Option<Input>) -> Names {
        Names { input, source: None }
    }

    /// The name of a request behind the last that was asked for. A file that is not there any more has none.
    async fn of(&mut self, line: u64) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            custom_id: String,
        }
        if let Some(input) = self.input.take() {
            self.source = Source::open(input).await.ok();
        }
        loop {
            let source = self.source.as_mut()?;
            let Ok(Some(raw)) = source.next().await else {
                self.source = None;
                return None;
            };
            if raw.number >= line {
                let named: Option<Named> = raw.text.and_then(|text| serde_json::from_slice(&text).ok());
                return named.map(|named| named.custom_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_read_in_the_order_of_the_file() {
        let line = |n: u64| format!("{{\"custom_id\":\"q-{n}\",\"method\":\"POST\",\"url\":\"u\",\"body\":{{}}}}\n\n");
        let text: String = (1..=50).map(line).collect();
        let mut names = Names::new(Some(Box::pin(std::io::Cursor::new(text))));
        assert_eq!(names.of(3).await.as_deref(), Some("q-3"));
        assert_eq!(names.of(4).await.as_deref(), Some("q-4"));
        assert_eq!(names.of(50).await.as_deref(), Some("q-50"));
        assert_eq!(names.of(51).await, None);
        assert_eq!(Names::new(None).of(1).await, None);
    }
}
