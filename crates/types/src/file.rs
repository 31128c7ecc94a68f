//! Files of requests that came by HTTP, before they are batches: in chunks in a stream of their own.
//!
//! The record of a file is written last, so a file is there only when it is whole. What was begun and has no record is
//! nobody's, and is removed after a while.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::batch::BatchId;
use crate::instant::UnixMillis;

/// The version of all records.
pub const VERSION: u32 = 1;
/// Bytes of every chunk but the last. It never changes: whoever writes and whoever reads must cut alike.
pub const CHUNK_BYTES: usize = 512 << 10;

/// How an id begins.
const PREFIX: &str = "file-";
/// Hexadecimal digits of an id.
const DIGITS: usize = 32;

/// The id of an uploaded file, `file-` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FileId(String);

impl FileId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit)) {
            return Ok(FileId(text.to_owned()));
        }
        let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        Err(format!("'{shown}' is not the id of a file, which is {PREFIX} and {DIGITS} hexadecimal digits"))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Which of a batch's two files of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The answers.
    Output,
    /// The requests that have none.
    Errors,
}

impl Side {
    /// The last word of its id.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Output => "output",
            Side::Errors => "errors",
        }
    }
}

/// What the id of a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileName {
    /// One that was uploaded.
    Uploaded(FileId),
    /// The results of a batch, which are written when they are read: `file-<digits of the batch>-output`, or `-errors`.
    Results(BatchId, Side),
}

impl FileName {
    /// Reads an id; `None` for what is none.
    pub fn read(text: &str) -> Option<FileName> {
        if let Ok(id) = text.parse() {
            return Some(FileName::Uploaded(id));
        }
        let (digits, side) = text.strip_prefix(PREFIX)?.split_once('-')?;
        let side = [Side::Output, Side::Errors].into_iter().find(|known| known.as_str() == side)?;
        Some(FileName::Results(format!("batch_{digits}").parse().ok()?, side))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Uploaded(id) => id.fmt(f),
            FileName::Results(batch, side) => write!(f, "{PREFIX}{}-{}", batch.digits(), side.as_str()),
        }
    }
}

/// That an upload was begun: how much room it takes until its record says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBegun {
    /// The version of this object; 1.
    pub version: u32,
    /// The most bytes that it can have.
    pub room: u64,
    /// When it was begun, by the server's clock.
    pub at: UnixMillis,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The version of this object; 1.
    pub version: u32,
    /// Its id.
    pub id: FileId,
    /// What its uploader calls it.
    pub name: String,
    /// What it is for: `batch`.
    pub purpose: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it, hexadecimal.
    pub sha256: String,
    /// The id of the API key that it came in with.
    pub key: String,
    /// When it was begun, by the server's clock.
    pub created_at: UnixMillis,
    /// From when on it is not there any more.
    pub expires_at: UnixMillis,
}

impl FileRecord {
    /// In how many chunks it lies.
    pub fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_an_upload_or_the_results_of_a_batch_and_nothing_else() {
        let digits = "0123456789abcdef0123456789abcdef";
        let uploaded = format!("file-{digits}");
        assert_eq!(FileName::read(&uploaded), Some(FileName::Uploaded(uploaded.parse().unwrap())));
        for side in [Side::Output, Side::Errors] {
            let name = FileName::Results(format!("batch_{digits}").parse().unwrap(), side);
            assert_eq!(FileName::read(&name.to_string()), Some(name));
        }
        for bad in ["", "file-", "file-../x", "file-abc", &uploaded[1..], &uploaded.to_uppercase(), "file-*", "file->"]
        {
            assert_eq!(FileName::read(bad), None, "{bad}");
        }
        for bad in ["-output2", "-", "-output-errors", ".meta", "/content"] {
            assert_eq!(FileName::read(&format!("{uploaded}{bad}")), None, "{bad}");
        }
    }
}
