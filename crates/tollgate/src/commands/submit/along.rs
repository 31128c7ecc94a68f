//! Prints an answer while it is written.

use bytes::Bytes;
use tollgate_client::{Piece, Producer, text_of};
use tollgate_types::JobId;

use super::{Cx, unanswered};
use crate::exit::Failure;
use crate::output::{self, Format};

/// What was printed of an answer.
pub(super) struct Along<'a> {
    wanted: bool,
    cx: &'a Cx,
    printed: String,
    /// Whether something is missing in what was printed.
    lost: bool,
}

impl<'a> Along<'a> {
    pub(super) fn new(wanted: bool, cx: &'a Cx) -> Along<'a> {
        Along { wanted, cx, printed: String::new(), lost: false }
    }

    /// Waits for the result, and prints what comes before it, if that is wanted.
    ///
    /// # Errors
    /// Those of the waiting, or that nothing can be heard or printed.
    pub(super) async fn read(
        &mut self,
        id: &JobId,
        producer: &Producer,
        result: impl Future<Output = Result<Bytes, Failure>>,
    ) -> Result<Bytes, Failure> {
        if !self.wanted {
            return result.await;
        }
        // Before the job is submitted: nothing of it is stored.
        let mut deltas = producer.deltas(id).await.map_err(|error| unanswered(&error))?;
        tokio::pin!(result);
        let (mut ended, mut found) = (false, None);
        loop {
            tokio::select! {
                biased;
                piece = deltas.next(), if !ended => match piece {
                    Some(Piece::End) | None => ended = true,
                    Some(piece) => self.take(&piece)?,
                },
                result = &mut result, if found.is_none() => found = Some(result?),
                // A result without an end: what was on its way is here by now.
                () = std::future::ready(()), if found.is_some() => ended = true,
            }
            if let Some(result) = found.take_if(|_| ended) {
                return Ok(result);
            }
        }
    }

    fn take(&mut self, piece: &Piece) -> Result<(), Failure> {
        match piece {
            Piece::StartOver => {
                self.end_line()?;
                output::say("the answer begins anew; what stands above is void");
                (self.printed, self.lost) = (String::new(), false);
            }
            Piece::Lost => {
                self.end_line()?;
                output::say("a piece was lost on the way; the whole answer follows");
                self.lost = true;
            }
            Piece::Chunk(chunk) => match self.cx.output.format() {
                Format::Table | Format::Csv => {
                    let text = text_of(chunk);
                    self.printed.push_str(text);
                    self.cx.output.part(text)?;
                }
                Format::Jsonl => self.cx.output.text(&chunk.to_string())?,
                Format::Json => {}
            },
            Piece::End => {}
        }
        Ok(())
    }

    fn end_line(&self) -> Result<(), Failure> {
        if self.printed.is_empty() { Ok(()) } else { self.cx.output.text("") }
    }

    /// Prints what is left of the answer: all of it, unless it was printed piece by piece.
    ///
    /// # Errors
    /// Returns that standard output cannot be written.
    pub(super) fn rest(&self, answer: &str) -> Result<(), Failure> {
        match answer.strip_prefix(self.printed.as_str()).filter(|_| !self.lost) {
            Some(rest) => self.cx.output.text(rest),
            None => {
                self.end_line()?;
                self.cx.output.text(answer)
            }
        }
    }
}
