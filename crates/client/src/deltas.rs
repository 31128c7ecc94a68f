//! Reading along while an answer is written.

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use serde_json::Value;
use tollgate_types::{DeltaEvent, DeltaMessage, JobId, subjects};

use crate::Producer;
use crate::wait::WaitError;

/// What comes of a job's answer while it is written.
pub struct Deltas {
    subscriber: Subscriber,
    reader: Reader,
}

/// A piece of the answer, or what happened to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// The answer begins anew: what came before is void.
    StartOver,
    /// What the model wrote next, as an OpenAI `chat.completion.chunk`.
    Chunk(Value),
    /// Pieces were lost on the way; the result has them.
    Lost,
    /// The job has its result.
    End,
}

/// Which attempt is read, and how far.
#[derive(Default)]
struct Reader {
    attempt: Option<(String, u32)>,
    next: u64,
    lost: bool,
    /// Whether any piece of this attempt was given on: else nothing is void when it ends.
    gave: bool,
}

impl Producer {
    /// Listens for the pieces of a job's answer; begin before the job is submitted, because nothing is stored. The job's
    /// body must say `"stream": true`.
    ///
    /// # Errors
    /// Why nothing can be heard.
    pub async fn deltas(&self, id: &JobId) -> Result<Deltas, WaitError> {
        let subject = subjects::stream(self.team().as_str(), id);
        let subscriber =
            self.client().subscribe(subject).await.map_err(|error| WaitError::Subscribe(error.to_string()))?;
        Ok(Deltas { subscriber, reader: Reader::default() })
    }
}

impl Deltas {
    /// The next piece; `None` when the connection is closed for good. Cancel safe.
    ///
    /// Wait for the result beside it: a job that is cancelled or expires elsewhere has no end here.
    pub async fn next(&mut self) -> Option<Piece> {
        loop {
            let message = self.subscriber.next().await?;
            let read = serde_json::from_slice(&message.payload).ok().and_then(|message| self.reader.take(message));
            if read.is_some() {
                return read;
            }
        }
    }
}

impl Reader {
    /// What a message is to who has read those before it; `None` for one that says nothing new.
    fn take(&mut self, message: DeltaMessage) -> Option<Piece> {
        let DeltaMessage { run, attempt, seq, event, chunk, .. } = message;
        let its = (run, attempt);
        let (begun, gave) = (self.attempt.is_some(), self.gave);
        match event {
            DeltaEvent::End => return Some(Piece::End),
            DeltaEvent::Start => {
                *self = Reader { attempt: Some(its), next: 1, ..Reader::default() };
                return gave.then_some(Piece::StartOver);
            }
            // The start of this attempt was missed, or another one has begun since.
            DeltaEvent::Delta if self.attempt.as_ref() != Some(&its) => {
                if begun {
                    return None;
                }
                (self.attempt, self.next) = (Some(its), 1);
            }
            DeltaEvent::Delta => {}
        }
        // Without a piece the rest of the attempt makes no sense.
        if self.lost || seq < self.next {
            return None;
        }
        if seq > self.next {
            (self.lost, self.gave) = (true, true);
            return Some(Piece::Lost);
        }
        (self.next, self.gave) = (seq + 1, true);
        serde_json::from_str(chunk?.get()).ok().map(Piece::Chunk)
    }
}

/// What a chunk adds to the text of the first answer.
pub fn text_of(chunk: &Value) -> &str {
    chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(run: &str, attempt: u32, seq: u64, event: &str) -> DeltaMessage {
        let mut message =
            json!({ "version": 1, "job": "a:1", "run": run, "attempt": attempt, "seq": seq, "event": event });
        if event == "delta" {
            message["chunk"] = json!({ "choices": [{ "delta": { "content": format!("{seq} ") } }] });
        }
        serde_json::from_value(message).expect("a message")
    }

    fn read(messages: &[(&str, u32, u64, &str)]) -> String {
        let mut reader = Reader::default();
        let mut out = String::new();
        for &(run, attempt, seq, event) in messages {
            match reader.take(message(run, attempt, seq, event)) {
                None => {}
                Some(Piece::Chunk(chunk)) => out.push_str(text_of(&chunk)),
                Some(other) => out.push_str(&format!("{other:?} ")),
            }
        }
        out
    }

    #[test]
    fn pieces_come_in_order_and_a_new_attempt_starts_over() {
        let one = [("r", 1, 0, "start"), ("r", 1, 1, "delta"), ("r", 1, 2, "delta"), ("r", 0, 0, "end")];
        assert_eq!(read(&one), "1 2 End ");
        let two = [
            ("r", 1, 0, "start"),
            ("r", 1, 1, "delta"),
            ("r", 2, 0, "start"),
            ("r", 1, 2, "delta"),
            ("r", 2, 1, "delta"),
            ("s", 1, 0, "start"),
            ("s", 1, 1, "delta"),
        ];
        assert_eq!(read(&two), "1 StartOver 1 StartOver 1 ");
        let nothing_yet = [("r", 1, 0, "start"), ("r", 2, 0, "start"), ("r", 2, 1, "delta")];
        assert_eq!(read(&nothing_yet), "1 ", "nothing was given on that could be void");
    }

    #[test]
    fn a_gap_is_told_once_and_ends_with_the_attempt() {
        let gap = [
            ("r", 1, 0, "start"),
            ("r", 1, 1, "delta"),
            ("r", 1, 3, "delta"),
            ("r", 1, 4, "delta"),
            ("r", 2, 0, "start"),
            ("r", 2, 1, "delta"),
        ];
        assert_eq!(read(&gap), "1 Lost StartOver 1 ");
        assert_eq!(read(&[("r", 1, 2, "delta"), ("r", 1, 3, "delta")]), "Lost ");
        assert_eq!(read(&[("r", 1, 1, "delta"), ("r", 1, 1, "delta"), ("r", 1, 2, "delta")]), "1 2 ");
    }
}
