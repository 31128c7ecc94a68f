//! Names: job ids, teams, classes, lanes, digests. All of them become subject tokens, so all of them are bounded.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

/// The most characters that a job id may have.
pub const JOB_ID_MAX: usize = 128;
/// The most characters that a team's name may have.
pub const TEAM_MAX: usize = 64;

/// The id of a job: what the producer wrote in `Nats-Msg-Id`, or one made from the stream and the sequence.
///
/// `[A-Za-z0-9_:=-]{1,128}`: it is a token of the result's subject, so it holds no `.`, `*`, `>` or space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct JobId(#[schemars(regex(pattern = r"^[A-Za-z0-9_:=-]{1,128}$"))] String);

/// Says why a text is not a job id or a team.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text has more than `max` characters.
    #[error("it has {len} characters and may have {max}")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// The text holds a character that its place in a subject does not allow.
    #[error("it holds {0:?}, which is not allowed")]
    Character(char),
}

fn check_name(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { len: text.len(), max });
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

impl JobId {
    /// The id of a message that came without one, from the stream's creation time (nanoseconds) and its sequence,
    /// so that a recreated stream cannot repeat an id.
    pub fn from_sequence(stream_created_ns: i128, sequence: u64) -> Self {
        JobId(format!("s:{stream_created_ns:x}:{sequence}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text, JOB_ID_MAX, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '=' | '-'))?;
        Ok(JobId(text.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of a team, `[A-Za-z0-9_-]{1,64}`; it comes from the subject, which NATS enforces, never from a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct Team(#[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))] String);

impl Team {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Team {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text, TEAM_MAX, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))?;
        Ok(Team(text.to_owned()))
    }
}

impl fmt::Display for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Team {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How urgent a job is; a token of the subject it was published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Somebody waits for the answer.
    Interactive,
    /// The default.
    Standard,
    /// Bulk work that may take hours.
    Batch,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Class; 3] = [Class::Interactive, Class::Standard, Class::Batch];

    /// The token that stands for it in subjects and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Standard => "standard",
            Class::Batch => "batch",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Class::ALL
            .into_iter()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not a class; the classes are interactive, standard and batch"))
    }
}

/// A lane: one class of one team, first in first out, as the two tokens of its subject.
///
/// The tokens are kept as they came: a lane of an unknown team or class exists too, and its jobs are answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// The class token.
    pub class: String,
    /// The team token.
    pub team: String,
}

impl LaneKey {
    /// The lane of a known class and team.
    pub fn new(class: Class, team: &Team) -> Self {
        LaneKey { class: class.as_str().to_owned(), team: team.as_str().to_owned() }
    }

    /// The class, if the token is one of the three.
    pub fn known_class(&self) -> Option<Class> {
        self.class.parse().ok()
    }

    /// Whether no consumer should carry it: its class is unknown or its team is no name. Whoever may publish jobs
    /// chooses the class token freely, also `*`, or bytes that break a client's parser.
    pub fn is_stray(&self) -> bool {
        self.known_class().is_none() || self.team.parse::<Team>().is_err()
    }

    /// The lane with tokens that every subject may hold: other characters become `_`, and 64 remain.
    pub fn plain(&self) -> LaneKey {
        let plain = |token: &str| {
            let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
            token.chars().take(TEAM_MAX).map(clean).collect()
        };
        LaneKey { class: plain(&self.class), team: plain(&self.team) }
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.class, self.team)
    }
}

/// SHA-256 of what a job asks for, kept with its result: the same id with another digest is a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts`, with their lengths, so that moving a border changes it.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in a time that does not tell where they differ: for secrets.
    #[must_use]
    pub fn is_same_as(&self, other: &Digest) -> bool {
        // Every byte is looked at, and the sum alone is judged.
        std::hint::black_box(self.0.iter().zip(other.0).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
    }

    /// Reads the hexadecimal digits that [`Digest`] is shown as.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        (text.len() == 64).then_some(())?;
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(&pair[0])? << 4 | digit(&pair[1])?;
        }
        Some(Digest(bytes))
    }

    /// Its first eight bytes as hexadecimal digits: a short, stable name for what was digested.
    pub fn short(&self) -> String {
        self.0[..8].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_break_a_subject_are_refused() {
        for bad in ["", "a.b", "a*", ">", "a b", "ü", "a\r\n", &"x".repeat(129)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
        assert!("search:0198-AB_=".parse::<JobId>().is_ok());
        assert!(JobId::from_sequence(1_763_000_000_000_000_000, u64::MAX).as_str().parse::<JobId>().is_ok());
    }

    #[test]
    fn lanes_that_no_consumer_may_carry_are_told_apart_and_made_plain() {
        let lane = |class: &str, team: &str| LaneKey { class: class.into(), team: team.into() };
        assert!(!lane("batch", "search").is_stray());
        for stray in [lane("*", "search"), lane("a\u{a0}b", "search"), lane("urgent", "search"), lane("batch", "a b")] {
            assert!(stray.is_stray(), "{stray:?}");
        }
        assert_eq!(lane("a\u{b}b", ">").plain(), lane("a_b", "_"));
        assert_eq!(lane(&"x".repeat(4000), "search").plain().class.len(), TEAM_MAX);
    }

    #[test]
    fn a_digest_depends_on_where_the_parts_end() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_eq!(Digest::of(&[b"ab"]).to_string().len(), 64);
    }

    #[test]
    fn a_digest_is_read_back_and_compared_whole() {
        let (one, other) = (Digest::of(&[b"ab"]), Digest::of(&[b"ac"]));
        assert_eq!(Digest::from_hex(&one.to_string()), Some(one));
        assert!(one.is_same_as(&one) && !one.is_same_as(&other));
        for bad in ["", "ab", &"g".repeat(64), &"A".repeat(64)] {
            assert_eq!(Digest::from_hex(bad), None, "{bad}");
        }
    }
}
