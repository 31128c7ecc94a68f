//! A batch: the lines of one file as jobs, with what the submitter says of it and what the broker counted.
//!
//! Two sides write, each its own records, and each record is read by its subject alone: [`BatchSpec`], [`Submitted`] and
//! [`Stop`] are the submitter's, [`LinesDone`], [`BatchProgress`] and [`BatchDone`] the broker's. A line is the job
//! `<batch>:<line>`, so that whoever sees a result knows where it belongs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::budget::Usd;
use crate::code::Status;
use crate::ids::{Class, Digest, JobId};
use crate::instant::UnixMillis;
use crate::money::NanoUsd;
use crate::tokens::Tokens;

/// The version of all records.
pub const VERSION: u32 = 1;
/// The most lines of one batch: the hashes of as many names take 80 MB, and a gigabyte of the shortest requests has fewer.
pub const LINES_MAX: u64 = 10_000_000;
/// Lines that one [`LinesDone`] tells of: its two sets take 5.5 KB as base64.
pub const LINES_PER_PART: u64 = 16_384;

/// How an id begins.
const PREFIX: &str = "batch_";
/// Hexadecimal digits of an id: 128 bits, so that nobody guesses the ids of its jobs.
const DIGITS: usize = 32;

/// The id of a batch, `batch_` and 32 hexadecimal digits, made of the file, the options and the key: submitted again, it is
/// the same batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct BatchId(#[schemars(regex(pattern = r"^batch_[0-9a-f]{32}$"))] String);

impl BatchId {
    /// The id of what is made of these parts.
    pub fn of(parts: &[&[u8]]) -> BatchId {
        let digest = Digest::of(parts).to_string();
        BatchId(format!("{PREFIX}{}", &digest[..DIGITS]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of these 128 bits.
    pub fn from_bits(bits: u128) -> BatchId {
        BatchId(format!("{PREFIX}{bits:032x}"))
    }

    /// Its hexadecimal digits.
    pub fn digits(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The job of a line, from 1.
    pub fn job(&self, line: u64) -> JobId {
        format!("{self}:{line}").parse().expect("a batch and a number make an id")
    }

    /// Batch and line of a job, if its id has that form; a batch need not exist for that.
    pub fn of_job(job: &JobId) -> Option<(BatchId, u64)> {
        let (batch, line) = job.as_str().split_once(':')?;
        let plain = !line.starts_with('0') && line.bytes().all(|byte| byte.is_ascii_digit());
        let line = line.parse().ok().filter(|line| plain && (1..=LINES_MAX).contains(line))?;
        Some((batch.parse().ok()?, line))
    }
}

impl FromStr for BatchId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == DIGITS && digits.bytes().all(hexadecimal) {
            return Ok(BatchId(text.to_owned()));
        }
        let shown: String = text.chars().take(64).collect();
        Err(format!("'{shown}' is not the id of a batch, which is {PREFIX} and {DIGITS} hexadecimal digits"))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BatchId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose format the file has, and the results get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchFormat {
    /// OpenAI's: one request a line.
    OpenAi,
    /// Anthropic's message batches: one document with `requests`, or one of them a line.
    Anthropic,
}

impl fmt::Display for BatchFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BatchFormat::OpenAi => "openai",
            BatchFormat::Anthropic => "anthropic",
        })
    }
}

/// What a batch is: written once, before its first line is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchSpec {
    /// The version of this object; 1.
    pub version: u32,
    /// The batch.
    pub id: BatchId,
    /// The format of the file.
    pub format: BatchFormat,
    /// The file's name, without folders.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The bytes of the file.
    pub bytes: u64,
    /// How many requests it has; they are numbered from 1, in the order of the file.
    pub jobs: u64,
    /// The class that they are submitted in.
    pub class: Class,
    /// What each line's `tollgate` object says where the line itself says nothing.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// The model in place of that of each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The submitter's own name for it, which makes the same file another batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Once its results cost as much, what still waits is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_cost_usd: Option<Usd>,
    /// The batch whose failed lines it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<BatchId>,
    /// When it was made, by the submitter's clock.
    pub created_at: UnixMillis,
}

/// How far the submission is. It is a note for who goes on after a crash; lines behind it may be accepted too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The version of this object; 1.
    pub version: u32,
    /// All lines up to this one are accepted.
    pub through: u64,
    /// Whether the submitter has left: all is accepted, or it was told to stop.
    pub ended: bool,
    /// When this was written, by the submitter's clock.
    pub at: UnixMillis,
}

/// Why a batch is stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody cancelled it.
    Cancelled,
    /// Its results cost as much as it may cost.
    MaxCost,
}

impl StopReason {
    /// The word on the wire and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Cancelled => "cancelled",
            StopReason::MaxCost => "max_cost",
        }
    }
}

/// That a batch is to be stopped: nothing more is submitted, and what waits is cancelled. Written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// The version of this object; 1.
    pub version: u32,
    /// Why.
    pub reason: StopReason,
    /// When, by the writer's clock.
    pub at: UnixMillis,
}

/// How many lines ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// With an answer.
    pub succeeded: u64,
    /// Every way that was open failed.
    pub failed: u64,
    /// They were not run.
    pub rejected: u64,
    /// A guardrail stopped them.
    pub blocked: u64,
    /// Their deadline passed.
    pub expired: u64,
    /// They were cancelled.
    pub cancelled: u64,
}

impl Ends {
    /// One more.
    pub fn add(&mut self, status: Status) {
        *match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Failed => &mut self.failed,
            Status::Rejected => &mut self.rejected,
            Status::Blocked => &mut self.blocked,
            Status::Expired => &mut self.expired,
            Status::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.succeeded + self.not_succeeded()
    }

    /// All that have no answer.
    pub fn not_succeeded(&self) -> u64 {
        self.failed + self.rejected + self.blocked + self.expired + self.cancelled
    }

    fn plus(self, other: Ends) -> Ends {
        Ends {
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            rejected: self.rejected + other.rejected,
            blocked: self.blocked + other.blocked,
            expired: self.expired + other.expired,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

/// What lines came to: their ends and what they used. All spend counts, also of runs that lost the race for a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// How many ended how.
    pub ends: Ends,
    /// What they cost.
    pub cost_nanousd: NanoUsd,
    /// The most that runs may have cost that left no record; not part of the cost.
    #[serde(default)]
    pub unknown_nanousd: NanoUsd,
    /// What they used.
    pub tokens: Tokens,
}

impl Tally {
    /// Both together.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            ends: self.ends.plus(other.ends),
            cost_nanousd: self.cost_nanousd + other.cost_nanousd,
            unknown_nanousd: self.unknown_nanousd + other.unknown_nanousd,
            tokens: self.tokens + other.tokens,
        }
    }
}

/// Which of some lines have ended, and what they came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinesDone {
    /// The version of this object; 1.
    pub version: u32,
    /// The identity of the commit log that it is folded from.
    pub log: String,
    /// Everything up to this sequence of the log is folded.
    pub through: u64,
    /// What they came to.
    pub tally: Tally,
    /// The lines that have ended.
    pub ended: LineSet,
    /// Those of them that did not succeed.
    pub failed: LineSet,
}

/// Some of the lines of a part, on the wire as base64: bit `n % 8` of byte `n / 8` is the `n`th line of the part, from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct LineSet(Vec<u8>);

impl LineSet {
    /// Puts a line of the part in; says whether it was not there.
    pub fn insert(&mut self, at: u64) -> bool {
        let (byte, bit) = place(at);
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        let fresh = self.0[byte] & bit == 0;
        self.0[byte] |= bit;
        fresh
    }

    /// Whether a line of the part is there.
    pub fn contains(&self, at: u64) -> bool {
        let (byte, bit) = place(at);
        self.0.get(byte).is_some_and(|bits| bits & bit != 0)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }
}

fn place(at: u64) -> (usize, u8) {
    let at = usize::try_from(at % LINES_PER_PART).expect("a part is small");
    (at / 8, 1 << (at % 8))
}

impl Serialize for LineSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for LineSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
        if bytes.len() as u64 > LINES_PER_PART / 8 {
            return Err(serde::de::Error::custom("more lines than a part has"));
        }
        Ok(LineSet(bytes))
    }
}

/// The part that a line, from 1, belongs to, and its place there.
pub fn part_of(line: u64) -> (u64, u64) {
    ((line - 1) / LINES_PER_PART, (line - 1) % LINES_PER_PART)
}

/// How many parts so many lines have.
pub fn parts(lines: u64) -> u64 {
    lines.div_ceil(LINES_PER_PART)
}

/// How a batch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchProgress {
    /// The version of this object; 1.
    pub version: u32,
    /// How many jobs it has.
    pub jobs: u64,
    /// What has ended.
    pub tally: Tally,
    /// When this was counted, by the server's clock as far as results tell it.
    pub at: UnixMillis,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchEnd {
    /// Every line has its result.
    Completed,
    /// It was cancelled, and what was submitted has its result.
    Cancelled,
    /// It was stopped at its cap, and what was submitted has its result.
    MaxCost,
}

impl BatchEnd {
    /// The word on the wire and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchEnd::Completed => "completed",
            BatchEnd::Cancelled => "cancelled",
            BatchEnd::MaxCost => "max_cost",
        }
    }
}

/// That a batch has ended: announced on `tollgate.batches.<team>.<batch>.done`, and kept there.
///
/// It is stored once. Whoever listens may hear it twice after a crash; `id` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchDone {
    /// The version of this object; 1.
    pub version: u32,
    /// Names this message: `<team>:<batch>:done`.
    pub id: String,
    /// Whose batch it is.
    pub team: String,
    /// The batch.
    pub batch: BatchId,
    /// How it ended.
    pub end: BatchEnd,
    /// The file's name.
    pub file: String,
    /// The submitter's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many jobs it has.
    pub jobs: u64,
    /// How many of them were never submitted, because it was stopped before.
    pub not_submitted: u64,
    /// What it came to.
    pub tally: Tally,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When its last line ended.
    pub ended_at: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_tells_its_batch_and_line_and_nothing_else_does() {
        let batch = BatchId::of(&[b"file", b"key"]);
        assert_eq!(BatchId::of_job(&batch.job(17)), Some((batch.clone(), 17)));
        for other in ["0", "017", "x", "", "-1", "10000001", "1:2"] {
            let job: JobId = format!("{batch}:{other}").parse().unwrap();
            assert_eq!(BatchId::of_job(&job), None, "{other}");
        }
        assert_eq!(BatchId::of_job(&"search:1".parse().unwrap()), None);
        for bad in ["batch_", "batch_XYZ", &batch.as_str()[1..], &batch.as_str().to_uppercase()] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad}");
        }
        assert_ne!(BatchId::of(&[b"file", b"key"]), BatchId::of(&[b"filek", b"ey"]));
    }

    #[test]
    fn lines_of_a_part_are_read_back_and_no_more_than_a_part_has() {
        let mut set = LineSet::default();
        assert!(set.insert(0) && set.insert(LINES_PER_PART - 1) && !set.insert(0));
        let text = serde_json::to_string(&set).unwrap();
        let read: LineSet = serde_json::from_str(&text).unwrap();
        assert_eq!((read.count(), read.contains(0), read.contains(1)), (2, true, false));
        let longer = format!("\"{}\"", BASE64_STANDARD.encode([0; 2049]));
        assert!(serde_json::from_str::<LineSet>(&longer).is_err());
        assert_eq!((part_of(1), part_of(LINES_PER_PART), part_of(LINES_PER_PART + 1)), ((0, 0), (0, 16_383), (1, 0)));
        assert_eq!((parts(0), parts(1), parts(LINES_PER_PART), parts(LINES_PER_PART + 1)), (0, 1, 1, 2));
    }

    #[test]
    fn tallies_add_up() {
        let mut tally = Tally { cost_nanousd: NanoUsd(5), ..Tally::default() };
        [Status::Succeeded, Status::Failed, Status::Expired].into_iter().for_each(|status| tally.ends.add(status));
        let both = tally.plus(tally);
        assert_eq!((both.ends.total(), both.ends.not_succeeded(), both.cost_nanousd), (6, 4, NanoUsd(10)));
    }
}
