//! Why ClickHouse did not do what it was asked, and whether asking again can help.

use std::time::Duration;

use clickhouse::error::Error as ClientError;

/// What kind of trouble it was: it decides whether to try again, and whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The server was away, busy or out of a resource: the same call may succeed later.
    Transient,
    /// Tables, columns or settings are not what this code expects.
    Schema,
    /// The server refused the content of the call.
    Data,
    /// The user may not do this, or the password is wrong.
    Access,
    /// The server's code is none that this code knows.
    Unknown,
}

impl Fault {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Transient => "transient",
            Fault::Schema => "schema",
            Fault::Data => "data",
            Fault::Access => "access",
            Fault::Unknown => "unknown",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(self) -> bool {
        match self {
            Fault::Transient => true,
            Fault::Schema | Fault::Data | Fault::Access | Fault::Unknown => false,
        }
    }
}

/// A call to ClickHouse that did not succeed. An insert may have happened all the same: send it again under its token.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer came in time.
    #[error("clickhouse did not answer within {0:?}")]
    TimedOut(Duration),
    /// The server or the connection to it failed.
    #[error("clickhouse failed: {}", fault.as_str())]
    Failed {
        /// What kind of trouble it was.
        fault: Fault,
        /// What the client says.
        source: ClientError,
    },
}

impl StoreError {
    /// What kind of trouble it was.
    pub fn fault(&self) -> Fault {
        match self {
            StoreError::TimedOut(_) => Fault::Transient,
            StoreError::Failed { fault, .. } => *fault,
        }
    }
}

impl From<ClientError> for StoreError {
    fn from(source: ClientError) -> Self {
        StoreError::Failed { fault: fault_of(&source), source }
    }
}

fn fault_of(error: &ClientError) -> Fault {
    match error {
        ClientError::Network(_) | ClientError::TimedOut => Fault::Transient,
        ClientError::BadResponse(text) => fault_of_answer(text),
        ClientError::InvalidColumnsHeader(_)
        | ClientError::SchemaMismatch(_)
        | ClientError::NotEnoughData
        | ClientError::RowNotFound => Fault::Schema,
        ClientError::Compression(_)
        | ClientError::Decompression(_)
        | ClientError::DataFormat(_)
        | ClientError::SequenceMustHaveLength
        | ClientError::DeserializeAnyNotSupported
        | ClientError::InvalidUtf8Encoding(_)
        | ClientError::InvalidTagEncoding(_)
        | ClientError::VariantDiscriminatorIsOutOfBound(_)
        | ClientError::Custom(_) => Fault::Data,
        ClientError::InvalidParams(_) | ClientError::Unsupported(_) | ClientError::Other(_) => Fault::Unknown,
        // The client's error type is open-ended: a kind that is new to us says nothing about another try.
        _ => Fault::Unknown,
    }
}

/// Reads the server's own code, as in `Code: 60. DB::Exception: …`; the codes are listed in ClickHouse's
/// `src/Common/ErrorCodes.cpp`.
fn fault_of_answer(text: &str) -> Fault {
    let digits = text.split_once("Code: ").map(|(_, rest)| rest.trim_start());
    let code = digits.and_then(|d| d.split(|c: char| !c.is_ascii_digit()).next()).and_then(|d| d.parse::<u32>().ok());
    match code {
        // Something between us and the server answered: a proxy, or a server that is going down.
        None => Fault::Transient,
        // Timeouts, limits, disk and memory, network, replicas, cancelled queries, exceptions of its libraries.
        Some(
            159 | 160 | 173 | 198 | 202 | 203 | 209 | 210 | 236 | 241 | 242 | 243 | 252 | 279 | 285 | 286 | 319 | 394
            | 425 | 473 | 999 | 1000 | 1001 | 1002,
        ) => Fault::Transient,
        // Unknown columns, identifiers, types, tables, databases, functions, settings; syntax.
        Some(8 | 10 | 16 | 20 | 36 | 46 | 47 | 50 | 60 | 62 | 81 | 115) => Fault::Schema,
        // Unparsable, out of range, of another type, unknown to an enumeration, against a constraint.
        Some(6 | 26 | 27 | 33 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 349 | 407 | 469 | 691) => Fault::Data,
        // Read-only, unknown user, wrong password, access denied.
        Some(164 | 192 | 193 | 194 | 291 | 497 | 516) => Fault::Access,
        Some(_) => Fault::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_answer_decides() {
        let check = |text: &str, expected| assert_eq!(fault_of_answer(text), expected, "{text}");
        check("Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE) (version 26.7)", Fault::Schema);
        check("Code: 252. DB::Exception: Too many parts", Fault::Transient);
        check("Code: 516. DB::Exception: Authentication failed", Fault::Access);
        check("Code: 117. DB::Exception: Incorrect data", Fault::Data);
        check("Code: 123456. DB::Exception: new", Fault::Unknown);
        check("502 Bad Gateway", Fault::Transient);
    }
}
