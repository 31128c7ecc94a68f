//! Claim checks: a body that does not fit a message lies in chunks in a stream of its own, and the line says which.
//!
//! A request line then has no `body` but `tollgate.body`, and a result line has `response.body` null and the same in its
//! facts. The chunks lie on subjects that name team, job and digest ([`subjects::blob`]), so that they can be read one by
//! one without a consumer, belong to one job alone, and go when it is forgotten.

use std::fmt;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::JobId;
use crate::subjects;

/// Bytes of every chunk but the last. It never changes: whoever writes and whoever reads must cut alike.
pub const CHUNK_BYTES: usize = 512 << 10;
/// The largest body, in bytes.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

/// Which body, and how long it is.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// SHA-256 of the body, as 64 lower case hexadecimal digits.
    #[schemars(length(equal = 64))]
    pub sha256: String,
    /// Bytes of the body; at most 64 MiB.
    pub bytes: u64,
}

impl Claim {
    /// The claim check of a body.
    pub fn of(body: &[u8]) -> Claim {
        let mut sha256 = String::with_capacity(64);
        for byte in Sha256::digest(body) {
            write!(sha256, "{byte:02x}").expect("a text takes everything");
        }
        Claim { sha256, bytes: body.len() as u64 }
    }

    /// Whether it can be one.
    pub fn is_valid(&self) -> bool {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        self.sha256.len() == 64 && self.sha256.bytes().all(hex) && (1..=BODY_BYTES_MAX).contains(&self.bytes)
    }

    /// In how many chunks the body lies.
    pub fn chunks(&self) -> usize {
        usize::try_from(self.bytes.min(BODY_BYTES_MAX)).expect("64 MiB can be counted").div_ceil(CHUNK_BYTES)
    }

    /// Whether these bytes are the body.
    pub fn is_of(&self, body: &[u8]) -> bool {
        *self == Claim::of(body)
    }

    /// The subject of a chunk, counted from 0, of a job of a team.
    pub fn subject(&self, team: &str, job: &JobId, chunk: usize) -> String {
        subjects::blob(team, job, &self.sha256, chunk)
    }
}

/// Without the digest: that of a short prompt could be guessed.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes elsewhere", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_knows_its_body_and_its_chunks() {
        let claim = Claim::of(b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(claim.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(claim.is_valid() && claim.is_of(b"abc") && !claim.is_of(b"abd") && !claim.is_of(b"abcd"));
        let of = |bytes: u64| Claim { bytes, ..claim.clone() };
        let chunk = CHUNK_BYTES as u64;
        let counts = [1, chunk, chunk + 1, BODY_BYTES_MAX].map(|bytes| of(bytes).chunks());
        assert_eq!(counts, [1, 1, 2, 128]);
        assert!(!of(0).is_valid() && !of(BODY_BYTES_MAX + 1).is_valid());
        assert!(!Claim { sha256: "AB".repeat(32), bytes: 1 }.is_valid(), "digits are lower case");
        assert!(!Claim { sha256: "a.>".to_owned(), bytes: 1 }.is_valid(), "it is a token of a subject");
    }
}
