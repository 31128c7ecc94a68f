//! Dead letters go back to where they were published. The letters stay.
//!
//! A letter is published first and noted in the audit after it, under the next free place of the letter's own notes. The
//! job's fresh id is made from the letter and that place: killed between the two, the same command publishes the same
//! job, which the server (within its duplicate window) or the worker (by the job's result) takes for what it is.
//!
//! The headers of NATS itself acted when the job was accepted, and would act with the broker's own rights now: of them
//! only the job's id comes back.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, Stream};
use bytes::Bytes;
use serde::Serialize;
use tollgate_queue::blobs::Fetched;
use tollgate_queue::{Blobs, Results};
use tollgate_types::{JobId, JobSpec, headers, subjects};

use super::{Letter, unread};
use crate::exit::{Code, Failure};
use crate::live::Operator;
use crate::live::audit::{Seq, Stored};
use crate::live::diff::Change;

/// How letters are replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Under the id that each was answered under, not a fresh one.
    pub original_id: bool,
    /// Also those that were replayed before.
    pub again: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What became of one letter.
#[derive(Debug, Serialize)]
pub struct Step {
    /// The letter's sequence.
    pub seq: u64,
    /// The job that it was.
    pub job: String,
    /// The id that it comes again under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// Where it is published.
    pub subject: String,
    /// What was done, in a word or two: [`BEFORE`], [`SKIPPED`], or what it says.
    pub change: &'static str,
    /// What else there is to know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The letter was replayed before, and was left.
pub const BEFORE: &str = "replayed before";
/// The letter cannot be replayed.
pub const SKIPPED: &str = "skipped";

/// Replays letters, the first ones first, up to the first that fails: what was done, and what stopped it.
///
/// # Errors
/// Why none was tried.
pub async fn replay(
    operator: &Operator,
    stream: &Stream<Info>,
    letters: &[Letter],
    how: How,
) -> Result<(Vec<Step>, Option<Failure>), Failure> {
    let replayed = Replayed::read(operator, stream).await?;
    let results = Results::open(&operator.connection.client).await.map_err(|error| unread(&error))?;
    let replay = Replay { how, operator, stream, replayed: &replayed, results: &results };
    let mut steps = Vec::new();
    for letter in letters {
        match replay.letter(letter).await {
            Ok(step) => steps.push(step),
            Err(failure) => return Ok((steps, Some(failure))),
        }
    }
    Ok((steps, None))
}

/// Which letters of this stream were replayed, and how often.
pub struct Replayed {
    /// When the stream was made: sequences of another one mean nothing.
    made_ns: i128,
    notes: BTreeMap<String, Vec<Stored>>,
}

/// The kind of the notes in the audit.
const KIND: &str = "dead";

impl Replayed {
    /// Reads what the audit says of the letters of this stream.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub async fn read(operator: &Operator, stream: &Stream<Info>) -> Result<Self, Failure> {
        let mut notes: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for stored in operator.history(Some((KIND, String::new()))).await? {
            notes.entry(stored.entry.name.clone()).or_default().push(stored);
        }
        Ok(Replayed { made_ns: stream.cached_info().created.unix_timestamp_nanos(), notes })
    }

    fn name(&self, seq: u64) -> String {
        format!("{:x}:{seq}", self.made_ns)
    }

    /// The notes about one letter, the oldest first.
    pub fn of(&self, seq: u64) -> &[Stored] {
        self.notes.get(&self.name(seq)).map_or(&[], Vec::as_slice)
    }

    /// The id of a letter's next replay: the same until that is noted.
    fn fresh_id(&self, letter: &Letter) -> Result<JobId, String> {
        let place = self.of(letter.seq).len() + 1;
        let id = format!("{}:r:{}:{place}", letter.team, self.name(letter.seq));
        id.parse().map_err(|error| format!("no id can be made for it: {error}"))
    }
}

struct Replay<'a> {
    how: How,
    operator: &'a Operator,
    stream: &'a Stream<Info>,
    replayed: &'a Replayed,
    results: &'a Results,
}

impl Replay<'_> {
    async fn letter(&self, letter: &Letter) -> Result<Step, Failure> {
        let step = |subject: &str, id, change, detail: String| {
            let (seq, job, subject) = (letter.seq, letter.job.clone(), subject.to_owned());
            Step { seq, job, id, subject, change, detail }
        };
        let before = self.replayed.of(letter.seq);
        if let Some(last) = before.last().filter(|_| !self.how.again) {
            let what = last.entry.changes.first().map(|change| change.what.clone()).unwrap_or_default();
            return Ok(step("", None, BEFORE, format!("{what}, by {} at {}", last.entry.author, last.at.to_rfc3339())));
        }
        let message = match self.stream.get_raw_message(letter.seq).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                return Ok(step("", None, SKIPPED, "it is gone meanwhile".to_owned()));
            }
            Err(error) => return Err(unread(&error)),
        };
        let again = match Again::new(&message.headers) {
            Ok(again) => again,
            Err(why) => return Ok(step("", None, SKIPPED, why)),
        };
        let id = match self.id(letter, &again).await? {
            Ok(id) => id,
            Err(why) => return Ok(step(&again.subject, None, SKIPPED, why)),
        };
        if self.how.dry_run {
            return Ok(step(&again.subject, Some(id), "would be replayed", again.lost));
        }
        if let Err(why) = self.bring_body(letter, &again.team, &id, &message.payload).await? {
            return Ok(step(&again.subject, Some(id), SKIPPED, why));
        }
        let duplicate = publish(&self.operator.context, &again, &id, message.payload).await?;
        // Killed here, nothing is noted, and the next try publishes under the same id.
        let change = Change { scope: String::new(), budget: None, what: format!("replayed as {id}") };
        let name = self.replayed.name(letter.seq);
        let last: Seq = before.last().map_or(0, |stored| stored.seq);
        let noted = self.operator.note_after((KIND, &name), "dead replay", change, last).await?;
        let detail = match (duplicate, noted) {
            (_, false) => "somebody else replayed it in the same moment".to_owned(),
            (true, true) => "the server has it already".to_owned(),
            (false, true) => again.lost,
        };
        Ok(step(&again.subject, Some(id), "replayed", detail))
    }

    /// Puts a body that lay beside the letter's line under the new id, or says why it cannot.
    async fn bring_body(
        &self,
        letter: &Letter,
        team: &str,
        id: &JobId,
        payload: &Bytes,
    ) -> Result<Result<(), String>, Failure> {
        let job = JobSpec::decode(payload, usize::MAX);
        let (Ok(old), Some(claim)) = (letter.job.parse::<JobId>(), job.ok().and_then(|job| job.options.body)) else {
            return Ok(Ok(()));
        };
        let blobs = Blobs::new(&self.operator.context.client());
        Ok(match blobs.fetch(team, &old, &claim).await.map_err(|error| unread(&error))? {
            Fetched::Body(body) => blobs.put(team, id, &body).await.map(drop).map_err(|error| error.to_string()),
            Fetched::Missing | Fetched::Other => Err("its body is not kept any more".to_owned()),
        })
    }

    /// Under which id the job comes again, or why it cannot.
    async fn id(&self, letter: &Letter, again: &Again) -> Result<Result<JobId, String>, Failure> {
        if !self.how.original_id {
            return Ok(self.replayed.fresh_id(letter));
        }
        let Ok(id) = letter.job.parse::<JobId>() else {
            return Ok(Err("it has no id of its own; replay it with --id fresh".to_owned()));
        };
        let found = self.results.find(&again.team, &id).await.map_err(|error| unread(&error))?;
        Ok(match found {
            Some(_) => Err("the result of that id is kept and would come again; use --id fresh".to_owned()),
            None => Ok(id),
        })
    }
}

/// What is published again.
#[derive(Debug)]
struct Again {
    subject: String,
    team: String,
    headers: HeaderMap,
    /// What does not come along, in words.
    lost: String,
}

impl Again {
    fn new(letter: &HeaderMap) -> Result<Again, String> {
        let subject = letter.get(headers::DEAD_SUBJECT).map(|subject| subject.as_str().to_owned()).unwrap_or_default();
        let literal = |token: &str| token.bytes().all(|b| b.is_ascii_graphic()) && token != "*" && token != ">";
        let lane = subjects::parse_jobs(&subject).filter(|lane| literal(&lane.class) && literal(&lane.team));
        let lane = lane.ok_or("it was published on no subject that a job can be published on again")?;
        let mut kept = HeaderMap::new();
        let mut lost: Vec<String> = Vec::new();
        for (name, values) in letter.iter() {
            let name: &str = name.as_ref();
            match origin(name) {
                Origin::Producer => values.iter().for_each(|value| kept.append(name, value.clone())),
                Origin::Ours => {}
                Origin::Unreadable => lost.push("headers that could not be read".to_owned()),
                Origin::Nats(own) => lost.push(own),
            }
        }
        let lost = if lost.is_empty() { String::new() } else { format!("without {}", lost.join(", ")) };
        Ok(Again { subject, team: lane.team, headers: kept, lost })
    }
}

/// Who wrote a header of a dead letter.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Producer,
    /// The broker, about the letter.
    Ours,
    /// The broker, in place of headers that nobody can read.
    Unreadable,
    /// The producer, to NATS itself; under its first name.
    Nats(String),
}

fn origin(name: &str) -> Origin {
    let ours = [headers::DEAD_REASON, headers::DEAD_SUBJECT, headers::DEAD_JOB, headers::DEAD_MSG_ID];
    let starts = |start: &str| name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    match () {
        () if ours.iter().any(|known| known.eq_ignore_ascii_case(name)) => Origin::Ours,
        () if name.eq_ignore_ascii_case(headers::DEAD_HEADERS) => Origin::Unreadable,
        // On the letter itself: its own id.
        () if starts(headers::NATS) => Origin::Ours,
        () if starts(headers::DEAD) => Origin::Nats(format!("{}{}", headers::NATS, &name[headers::DEAD.len()..])),
        () => Origin::Producer,
    }
}

/// Returns whether the server had it already.
async fn publish(context: &Context, again: &Again, id: &JobId, payload: bytes::Bytes) -> Result<bool, Failure> {
    let message = PublishMessage::build().payload(payload).headers(again.headers.clone()).message_id(id.as_str());
    let refused = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Nats, format!("a job was not accepted on {}", again.subject)).because(error)
    };
    let sent = context.send_publish(again.subject.clone(), message).await.map_err(|error| refused(&error))?;
    Ok(sent.await.map_err(|error| refused(&error))?.duplicate)
}

#[cfg(test)]
mod tests {
    use tollgate_types::UnixMillis;

    use super::*;
    use crate::live::audit::Entry;

    fn letter(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        pairs.iter().for_each(|(name, value)| map.append(*name, *value));
        map
    }

    #[test]
    fn the_producers_headers_come_back_and_those_to_nats_do_not() {
        let again = Again::new(&letter(&[
            (headers::JOB_ID, "search/search:1"),
            (headers::DEAD_REASON, "poison"),
            (headers::DEAD_SUBJECT, "tollgate.jobs.batch.search"),
            (headers::DEAD_JOB, "search:1"),
            (headers::DEAD_MSG_ID, "search:1"),
            ("Tollgate-Dead-Trace-Dest", "tollgate.jobs.interactive.marketing"),
            ("traceparent", "00-1"),
            ("Tollgate-Key", "k1"),
            ("X-Two", "a"),
            ("X-Two", "b"),
        ]))
        .expect("a job");
        assert_eq!((again.subject.as_str(), again.team.as_str()), ("tollgate.jobs.batch.search", "search"));
        assert_eq!(again.lost, "without Nats-Trace-Dest");
        let mut names: Vec<String> =
            again.headers.iter().map(|(name, values)| format!("{name}{}", values.len())).collect();
        names.sort();
        assert_eq!(names, ["Tollgate-Key1", "X-Two2", "traceparent1"]);
    }

    #[test]
    fn a_letter_without_a_subject_to_go_back_to_is_skipped() {
        for subject in
            ["", "tollgate.jobs.batch", "tollgate.jobs.*.a", "tollgate.jobs.batch.>", "$SYS.x.y", "tollgate.jobs.a b.c"]
        {
            let again = Again::new(&letter(&[(headers::DEAD_SUBJECT, subject)]));
            assert!(again.is_err(), "{subject:?}");
        }
    }

    #[test]
    fn a_fresh_id_stays_the_same_until_the_replay_is_noted() {
        let letter = Letter::new(7, UnixMillis(0), "tollgate.dead.batch.search", &HeaderMap::new(), 0);
        let mut replayed = Replayed { made_ns: 255, notes: BTreeMap::new() };
        let first = replayed.fresh_id(&letter).expect("an id");
        assert_eq!(first.as_str(), "search:r:ff:7:1");
        assert_eq!(replayed.fresh_id(&letter), Ok(first));
        let note = Stored { seq: 1, at: UnixMillis(0), entry: Entry::default() };
        replayed.notes.insert("ff:7".to_owned(), vec![note]);
        assert_eq!(replayed.fresh_id(&letter).expect("an id").as_str(), "search:r:ff:7:2");
    }
}
