//! Where a key comes from, and how it is read from there.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ApiKey, KEY_BYTES_MAX, KeyError, command};

/// Where a provider's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An environment variable; read once.
    Env(String),
    /// A file that holds the key and nothing else; a final line break does not count.
    File(PathBuf),
    /// What a program writes on its standard output, and nothing else; a final line break does not count.
    Command {
        /// The program and its arguments. It is run without a shell, with our environment and no input.
        argv: Vec<String>,
        /// How long its key is used before it is run again.
        every: Duration,
    },
    /// The provider takes none.
    None,
}

/// How much is read of what should be a key: one byte more than a key and its line break may have, so that what is
/// longer is refused and not cut.
pub(super) const READ_BYTES_MAX: u64 = KEY_BYTES_MAX as u64 + 3;

impl KeySource {
    /// Finds the key. `env` looks up an environment variable; a file is read and a command run here.
    ///
    /// Blocks: a command may take ten seconds.
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
                file.take(READ_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
                let text = SecretString::from(text);
                ApiKey::found(text.expose_secret(), &format!("the file {}", path.display())).map(Some)
            }
            KeySource::Command { argv, .. } => {
                let said = command::output(argv, command::TIME_MAX)?;
                let program = argv.first().map_or("", String::as_str);
                ApiKey::found(said.expose_secret(), &format!("the output of `{program}`")).map(Some)
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

    fn command(argv: &[&str]) -> KeySource {
        KeySource::Command { argv: argv.iter().map(|&arg| arg.to_owned()).collect(), every: Duration::from_secs(600) }
    }

    #[test]
    fn keys_come_from_the_environment_a_file_or_a_command() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-file\r\n").expect("it can be written");
        let key = |source: KeySource| source.resolve(&env).expect("it resolves").map(|key| key.expose().to_owned());
        assert_eq!(key(KeySource::None), None);
        assert_eq!(key(KeySource::Env("GOOD".into())).as_deref(), Some("sk-good"));
        assert_eq!(key(KeySource::File(path)).as_deref(), Some("sk-file"));
        assert_eq!(key(command(&["echo", "sk-$HOME"])).as_deref(), Some("sk-$HOME"), "no shell reads it");
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = dir.path().join("long");
        std::fs::write(&long, "k".repeat(KEY_BYTES_MAX + 10)).expect("it can be written");
        let error = |source: KeySource| source.resolve(&env).err().expect("it is refused");
        assert!(matches!(error(KeySource::Env("UNSET".into())), KeyError::NotSet(name) if name == "UNSET"));
        assert!(matches!(error(KeySource::File(dir.path().join("none"))), KeyError::File { .. }));
        let two_words = command(&["echo", "sk-one", "sk-two"]);
        for source in [KeySource::Env("TWO".into()), KeySource::Env("EMPTY".into()), KeySource::File(long), two_words] {
            let error = error(source);
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("sk-"), "{error}");
        }
    }
}
