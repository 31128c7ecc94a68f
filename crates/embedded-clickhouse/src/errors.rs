//! What can go wrong: starting ([`Error`]), and answering one request ([`Exception`]).

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::StatusCode;

/// Why the embedded ClickHouse did not start or did not stay up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library is absent, is for another platform, or lacks a function of the version this crate knows.
    #[error("cannot load the ClickHouse engine from {path}")]
    Library {
        /// The library that was asked for.
        path: PathBuf,
        /// The loader's answer.
        source: libloading::Error,
    },
    /// A process can hold one engine library, and holds another.
    #[error("this process has already loaded the ClickHouse engine from {loaded}")]
    OtherLibrary {
        /// The library that is loaded.
        loaded: PathBuf,
    },
    /// The data directory cannot be created, or its path is not valid UTF-8.
    #[error("cannot use the data directory {path}")]
    DataDirectory {
        /// The directory that was asked for.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The engine did not open the data directory. It tells the cause on standard error only.
    #[error(
        "the ClickHouse engine did not open {path} (its own message is on standard error; most often another process \
         holds the directory)"
    )]
    Open {
        /// The directory that was asked for.
        path: PathBuf,
    },
    /// The engine started and then failed its first statement.
    #[error("the ClickHouse engine failed its first statement")]
    FirstStatement(#[source] Exception),
    /// An address beyond loopback was asked for without a password.
    #[error("listening on {addr} needs a password")]
    Exposed {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Signals or the watch of standard input could not be set up.
    #[error("cannot wait for the signal to stop")]
    Signals(#[source] std::io::Error),
    /// The HTTP server ended without being asked to.
    #[error("the HTTP server stopped by itself")]
    Stopped,
}

/// A refusal or failure of one statement, in ClickHouse's words: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Exception {
    code: u32,
    text: String,
    status: StatusCode,
}

impl Exception {
    /// An exception of our own, under ClickHouse's code and name for its kind.
    pub(crate) fn new(code: u32, name: &str, message: impl std::fmt::Display) -> Self {
        Self { code, text: format!("Code: {code}. DB::Exception: {message}. ({name})"), status: status_of(code) }
    }

    /// An exception as the engine tells it.
    pub(crate) fn from_engine(text: String) -> Self {
        let code = text
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split('.').next())
            .and_then(|code| code.trim().parse().ok())
            .unwrap_or(UNKNOWN_EXCEPTION);
        Self { code, text, status: status_of(code) }
    }

    pub(crate) fn bad_arguments(message: impl std::fmt::Display) -> Self {
        Self::new(36, "BAD_ARGUMENTS", message)
    }

    pub(crate) fn not_implemented(message: impl std::fmt::Display) -> Self {
        Self::new(48, "NOT_IMPLEMENTED", message)
    }

    pub(crate) fn syntax(message: impl std::fmt::Display) -> Self {
        Self::new(62, "SYNTAX_ERROR", message)
    }

    /// The engine broke its own contract, or our task died.
    pub(crate) fn logical(message: impl std::fmt::Display) -> Self {
        Self::new(49, "LOGICAL_ERROR", message)
    }

    pub(crate) fn too_large(body_bytes_max: usize) -> Self {
        let message = format!("the request's body exceeds {body_bytes_max} bytes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::new(307, "TOO_MANY_BYTES", message) }
    }

    /// ClickHouse's number for the kind of failure.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The whole text, without the tail that names the version.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

/// What ClickHouse calls a failure that is none of its own.
const UNKNOWN_EXCEPTION: u32 = 1002;

/// The HTTP status of a code, as ClickHouse maps it.
///
/// Source: <https://github.com/ClickHouse/ClickHouse/blob/master/src/Server/HTTP/exceptionCodeToHTTPStatus.cpp>.
fn status_of(code: u32) -> StatusCode {
    match code {
        194 => StatusCode::UNAUTHORIZED,
        192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
        6
        | 8
        | 15
        | 25..=27
        | 36..=38
        | 41
        | 44
        | 53
        | 62
        | 72
        | 117
        | 123
        | 167
        | 168
        | 223
        | 321
        | 376
        | 427
        | 441
        | 675
        | 676 => StatusCode::BAD_REQUEST,
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => StatusCode::NOT_FOUND,
        159 => StatusCode::REQUEST_TIMEOUT,
        229 => StatusCode::PAYLOAD_TOO_LARGE,
        48 => StatusCode::NOT_IMPLEMENTED,
        76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_message_keeps_its_code_and_gets_the_servers_status() {
        let unknown_table = Exception::from_engine("Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE)".into());
        assert_eq!((unknown_table.code(), unknown_table.status()), (60, StatusCode::NOT_FOUND));

        for odd in ["", "Code: ", "Code: x. y", "std::exception"] {
            assert_eq!(Exception::from_engine(odd.to_owned()).code(), UNKNOWN_EXCEPTION, "{odd:?}");
        }
    }

    #[test]
    fn an_exception_of_our_own_reads_like_one_of_the_engine() {
        let ours = Exception::bad_arguments("no such thing");
        assert_eq!(ours.text(), "Code: 36. DB::Exception: no such thing. (BAD_ARGUMENTS)");
        assert_eq!(Exception::from_engine(ours.text().to_owned()), ours);
    }
}
