//! Dead letters: jobs that could not be run, with their original bytes and headers.

mod replay;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, Stream};
use serde::Serialize;
use tollgate_types::{UnixMillis, headers, subjects};

use crate::exit::{Code, Failure};
use crate::stream::{self, Part, Read};

pub use replay::{BEFORE, How, Replayed, SKIPPED, Step, replay};

/// The stream of dead letters.
///
/// # Errors
/// It is not there, or the server does not answer.
pub async fn opened(context: &Context) -> Result<Stream<Info>, Failure> {
    let stream = context.get_stream(subjects::DEAD_STREAM).await;
    stream.map_err(|error| unread(&error).try_this("run `tollgate init`"))
}

/// The dead letters cannot be read.
pub fn unread(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, "the dead letters cannot be read").because(error)
}

/// A dead letter without its payload.
#[derive(Clone, Debug, Serialize)]
pub struct Letter {
    /// Its sequence in the stream.
    pub seq: u64,
    /// When it was buried, by RFC 3339.
    pub at: String,
    /// The class that it was published for.
    pub class: String,
    /// Its team.
    pub team: String,
    /// The job's id.
    pub job: String,
    /// Why it could not be run: a code.
    pub reason: String,
    /// How long its payload is.
    pub bytes: usize,
}

impl Letter {
    /// Reads one from its message.
    pub fn new(seq: u64, at: UnixMillis, subject: &str, headers: &HeaderMap, bytes: usize) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        let lane = subject.strip_prefix("tollgate.dead.").and_then(|lane| lane.split_once('.')).unwrap_or_default();
        Letter {
            seq,
            at: at.to_rfc3339(),
            class: lane.0.to_owned(),
            team: lane.1.to_owned(),
            job: text(headers::DEAD_JOB),
            reason: text(headers::DEAD_REASON),
            bytes,
        }
    }
}

/// Every dead letter, the oldest first. Only headers travel.
///
/// # Errors
/// The stream cannot be read.
pub async fn all(stream: &Stream<Info>) -> Result<Vec<Letter>, Failure> {
    let mut letters = Vec::new();
    let mut take =
        |read: &Read<'_>| letters.push(Letter::new(read.seq, read.at, read.subject, read.headers, read.bytes));
    stream::each(stream, subjects::DEAD, Part::Headers, &mut take).await.map_err(|error| unread(&error))?;
    Ok(letters)
}

/// The newest dead letters, the newest first, and how many there are. Only headers travel.
///
/// # Errors
/// The stream cannot be read.
pub async fn newest(stream: &Stream<Info>, most: u64) -> Result<(Vec<Letter>, u64), Failure> {
    let state = &stream.cached_info().state;
    let from = state.last_sequence.saturating_sub(most.saturating_sub(1)).max(state.first_sequence);
    let mut letters = Vec::new();
    let mut take =
        |read: &Read<'_>| letters.push(Letter::new(read.seq, read.at, read.subject, read.headers, read.bytes));
    let read = stream::each_from(stream, (subjects::DEAD, from), Part::Headers, &mut take).await;
    read.map_err(|error| unread(&error))?;
    letters.reverse();
    Ok((letters, state.messages))
}

/// One dead letter, if it is there.
///
/// # Errors
/// The stream cannot be read.
pub async fn one(stream: &Stream<Info>, seq: u64) -> Result<Option<Letter>, Failure> {
    match stream.get_raw_message(seq).await {
        Ok(message) => {
            let (subject, bytes) = (message.subject.as_str(), message.payload.len());
            Ok(Some(Letter::new(seq, message.time.into(), subject, &message.headers, bytes)))
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unread(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_from_its_subject_and_headers() {
        let mut map = HeaderMap::new();
        map.insert(headers::DEAD_JOB, "search:1");
        map.insert(headers::DEAD_REASON, "poison");
        let letter = Letter::new(7, UnixMillis(0), "tollgate.dead.batch.search", &map, 12);
        let texts = [letter.at, letter.class, letter.team, letter.job, letter.reason];
        assert_eq!(texts, ["1970-01-01T00:00:00Z", "batch", "search", "search:1", "poison"]);
        assert_eq!((letter.seq, letter.bytes), (7, 12));
    }
}
