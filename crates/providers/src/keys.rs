//! The providers' keys: where they come from, which of them is used, and a type that does not show them.
//!
//! A provider has a [`Ring`] of keys that all its deployments share. A key that the provider refuses, or whose quota is
//! spent, is out of use for a while, and the others go on.

mod command;
mod pool;
mod ring;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

pub use ring::{Reload, Ring};
pub use source::KeySource;

pub(crate) use pool::{Picked, Unusable, Why};

/// The longest key, in bytes; longer than any vendor's, also when it is a signed token.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Why there is no usable key. Nothing here repeats the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The environment variable is not set.
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("the key file {path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The command cannot be started or waited for.
    #[error("the key command `{program}` cannot be run")]
    Command {
        /// The program, without its arguments, which may hold a secret.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The command ran, and said by its status that it has no key.
    #[error("the key command `{program}` ended with {status}")]
    Failed {
        /// The program, without its arguments.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The command took too long and was killed, with what it had started.
    #[error("the key command `{program}` did not end within {} s", limit.as_secs())]
    TooSlow {
        /// The program, without its arguments.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
    /// What was found is empty, too long, or not one word of printable ASCII.
    #[error("the key in {place} is not one word of 1 to {KEY_BYTES_MAX} printable ASCII characters")]
    Malformed {
        /// Where it was found.
        place: String,
    },
}

/// A provider's key. It has no `Debug` and no `Display`, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// A key from its text, without surrounding white space.
    ///
    /// # Errors
    /// Refuses what cannot stand in an HTTP header.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        ApiKey::found(text, "the text")
    }

    fn found(text: &str, place: &str) -> Result<Self, KeyError> {
        let key = text.trim();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError::Malformed { place: place.to_owned() });
        }
        Ok(ApiKey(SecretString::from(key)))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The key behind `prefix`, as a header's value that is never printed.
    pub(crate) fn header(&self, prefix: &str) -> HeaderValue {
        let text = SecretString::from(format!("{prefix}{}", self.expose()));
        let mut value = HeaderValue::from_str(text.expose_secret()).expect("keys are printable ASCII");
        value.set_sensitive(true);
        value
    }
}
