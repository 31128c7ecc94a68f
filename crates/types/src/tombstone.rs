//! Tombstones: what takes the place of a result whose texts are gone, and says nothing that the books do not need.
//!
//! A tombstone has the subject, the digest and the usage event of the result that it replaces, so that a copy of the job
//! that comes later is answered and not run. It is another record of the log, with a sequence and a time of its own;
//! whoever adds up must count the one that it stands for, by the sequence and the time named here, and each once.

use serde::{Deserialize, Serialize};

use crate::code::ErrorCode;
use crate::event::{EventError, UsageEvent, ascii_json};
use crate::instant::UnixMillis;
use crate::job::VERSION;
use crate::result::{JobError, JobResult, ResultFacts};

/// What a tombstone says of the record that it stands for, in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The version of this object; 1.
    pub version: u32,
    /// The sequence of the record.
    pub sequence: u64,
    /// When the server stored the record.
    pub at: UnixMillis,
    /// Whether ClickHouse had the record already: then no sink counts the tombstone. Else whoever made it saw no sink, and
    /// the first one decides by its own looks which of the two counts.
    pub sunk: bool,
}

impl Tombstone {
    /// Of the record with that sequence and time.
    pub fn new(sequence: u64, at: UnixMillis, sunk: bool) -> Self {
        Tombstone { version: VERSION, sequence, at, sunk }
    }

    /// The header's value.
    pub fn to_header(self) -> String {
        ascii_json(&self)
    }

    /// Reads the header's value.
    ///
    /// # Errors
    /// Why it is no tombstone, or that it is one which this code is too old to read.
    pub fn from_header(text: &str) -> Result<Self, EventError> {
        match serde_json::from_str(text) {
            Ok(tombstone @ Tombstone { version: VERSION, .. }) => Ok(tombstone),
            Ok(Tombstone { version, .. }) => Err(EventError::Newer(version)),
            Err(error) => Err(EventError::Malformed(error.to_string())),
        }
    }
}

impl JobResult {
    /// The result that a tombstone carries: its facts without any text, and why the texts are gone.
    ///
    /// `line` is the result line that it replaces. One that cannot be read is told by its usage event alone.
    pub fn entombed(line: &[u8], event: &UsageEvent, code: ErrorCode) -> JobResult {
        let read = serde_json::from_slice::<JobResult>(line).map(|result| result.tollgate);
        // Warnings may quote what the producer wrote; so may its own name for the request.
        let tollgate = match read {
            Ok(facts) => ResultFacts { warnings: Vec::new(), ..facts },
            Err(_) => ResultFacts::from_event(event, Vec::new()),
        };
        let message = match code {
            ErrorCode::NotKept => "the result is older than its team keeps results; its answer is gone",
            _ => "the job was forgotten; its prompt and its answer are gone",
        };
        let error = Some(JobError { code, message: message.to_owned() });
        JobResult { id: event.job.clone(), custom_id: None, response: None, error, tollgate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_read_back_and_one_of_a_newer_version_is_told() {
        let tombstone = Tombstone::new(7, UnixMillis(9), true);
        assert_eq!(Tombstone::from_header(&tombstone.to_header()), Ok(tombstone));
        let newer = tombstone.to_header().replace("\"version\":1", "\"version\":2");
        assert_eq!(Tombstone::from_header(&newer), Err(EventError::Newer(2)));
        assert!(matches!(Tombstone::from_header("{}"), Err(EventError::Malformed(_))));
    }

    #[test]
    fn nothing_that_somebody_wrote_is_left_in_an_entombed_result() {
        let event = r#"{"version":1,"kind":"result","job":"a:1","team":"a","class":"batch","run":"r","worker":"w",
            "delivery":1,"status":"succeeded","attempts":[],"cache":"miss","accepted_at":0,"queued_ms":5,"run_ms":0}"#;
        let event: UsageEvent = serde_json::from_str(event).unwrap();
        let body = serde_json::value::RawValue::from_string("{\"text\":\"CANARY\"}".into()).unwrap();
        let result = JobResult {
            id: event.job.clone(),
            custom_id: Some("CANARY".into()),
            response: Some(crate::result::Response { status_code: 200, request_id: "CANARY".into(), body }),
            error: Some(JobError { code: ErrorCode::InvalidRequest, message: "CANARY".into() }),
            tollgate: ResultFacts::from_event(&event, vec!["CANARY".into()]),
        };
        for line in [serde_json::to_vec(&result).unwrap(), b"CANARY".to_vec()] {
            let left = JobResult::entombed(&line, &event, ErrorCode::Forgotten);
            let text = serde_json::to_string(&left).unwrap();
            assert!(!text.contains("CANARY"), "{text}");
            assert_eq!((left.tollgate.status, left.tollgate.queued_ms), (event.status, 5));
            assert_eq!(left.error.map(|error| error.code), Some(ErrorCode::Forgotten));
        }
    }
}
