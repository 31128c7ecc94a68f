//! The providers' keys: where they come from, and a type that does not show them.

use std::io::Read as _;
use std::path::PathBuf;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// The longest key, in bytes; longer than any vendor's, also when it is a signed token.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Where a provider's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An environment variable.
    Env(String),
    /// A file that holds the key and nothing else; a final line break does not count.
    File(PathBuf),
    /// The provider takes none.
    None,
}

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

impl KeySource {
    /// Finds the key. `env` looks up an environment variable; a file is read here.
    ///
    /// # Errors
    /// Returns where no usable key was found, and why.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<ApiKey>, KeyError> {
        match self {
            KeySource::None => Ok(None),
            KeySource::Env(name) => {
                let text = env(name).map(SecretString::from).ok_or_else(|| KeyError::NotSet(name.clone()))?;
                ApiKey::found(text.expose_secret(), &format!("the environment variable `{name}`")).map(Some)
            }
            KeySource::File(path) => {
                let unreadable = |source| KeyError::File { path: path.clone(), source };
                let file = std::fs::File::open(path).map_err(unreadable)?;
                let mut text = String::new();
                // One byte more than a key may have, so that a longer file is refused and not cut.
                file.take(KEY_BYTES_MAX as u64 + 3).read_to_string(&mut text).map_err(unreadable)?;
                let text = SecretString::from(text);
                ApiKey::found(text.expose_secret(), &format!("the file {}", path.display())).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "GOOD" => Some("sk-good".into()),
            "TWO" => Some("sk-one sk-two".into()),
            "EMPTY" => Some(" \n".into()),
            _ => None,
        }
    }

    #[test]
    fn keys_come_from_the_environment_or_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-file\r\n").expect("it can be written");
        let key = |source: KeySource| source.resolve(&env).expect("it resolves").map(|key| key.expose().to_owned());
        assert_eq!(key(KeySource::None), None);
        assert_eq!(key(KeySource::Env("GOOD".into())).as_deref(), Some("sk-good"));
        assert_eq!(key(KeySource::File(path)).as_deref(), Some("sk-file"));
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = dir.path().join("long");
        std::fs::write(&long, "k".repeat(KEY_BYTES_MAX + 10)).expect("it can be written");
        let error = |source: KeySource| source.resolve(&env).err().expect("it is refused");
        assert!(matches!(error(KeySource::Env("UNSET".into())), KeyError::NotSet(name) if name == "UNSET"));
        assert!(matches!(error(KeySource::File(dir.path().join("none"))), KeyError::File { .. }));
        for source in [KeySource::Env("TWO".into()), KeySource::Env("EMPTY".into()), KeySource::File(long)] {
            let error = error(source);
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("sk-"), "{error}");
        }
    }
}
