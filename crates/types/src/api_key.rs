//! API keys of the front door: the text that a caller presents, and what is kept of it.
//!
//! A key is `tgk_<id>_<secret>`: the id names its record and is no secret, the secret is chance of 256 bits. Only a digest
//! of the secret is kept; because it is chance and not a password, one round of SHA-256 is enough.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{Digest, NameError};

/// How every key begins, so that scanners for lost secrets can find one.
pub const PREFIX: &str = "tgk_";
/// The characters of a key's id.
pub const ID_CHARS: usize = 12;
/// The characters of a secret: 62 to the 43rd power is above two to the 256th.
pub const SECRET_CHARS: usize = 43;

/// What a key is called in records, budgets and reports: `[a-z0-9]{12}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9')) {
            Some(c) => Err(NameError::Character(c)),
            None if text.is_empty() => Err(NameError::Empty),
            None if text.len() != ID_CHARS => Err(NameError::TooLong { len: text.len(), max: ID_CHARS }),
            None => Ok(KeyId(text.to_owned())),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key as it was presented: whose it says it is, and the digest of its secret. It does not hold the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The record that it names.
    pub id: KeyId,
    /// The digest of its secret.
    pub digest: Digest,
}

impl Presented {
    /// Reads a key; `None` for what does not have the form of one.
    pub fn read(text: &str) -> Option<Presented> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let plain = secret.len() == SECRET_CHARS && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then_some(())?;
        Some(Presented { id: id.parse().ok()?, digest: digest_of(secret) })
    }
}

/// What is kept of a secret.
pub fn digest_of(secret: &str) -> Digest {
    Digest::of(&[b"tollgate api key", secret.as_bytes()])
}

/// The whole key, to be shown once.
pub fn written(id: &KeyId, secret: &str) -> String {
    format!("{PREFIX}{id}_{secret}")
}

/// What a key may be used for at the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`, in Anthropic's shape.
    Messages,
}

impl Door {
    /// Every door.
    pub const ALL: [Door; 4] = [Door::Chat, Door::Embeddings, Door::Responses, Door::Messages];

    /// The word in records and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Door::Chat => "chat",
            Door::Embeddings => "embeddings",
            Door::Responses => "responses",
            Door::Messages => "messages",
        }
    }

    /// The letter that stands for it in the ids of jobs.
    pub fn letter(self) -> char {
        match self {
            Door::Chat => 'c',
            Door::Embeddings => 'e',
            Door::Responses => 'r',
            Door::Messages => 'm',
        }
    }

    /// The door of that letter.
    pub fn of_letter(letter: char) -> Option<Door> {
        Door::ALL.into_iter().find(|door| door.letter() == letter)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Door {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Door::ALL.map(Door::as_str).join(", ");
        let door = Door::ALL.into_iter().find(|door| door.as_str() == text);
        door.ok_or_else(|| format!("'{text}' is not an endpoint of the front door; there are: {known}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_what_is_none_is_refused() {
        let id: KeyId = "k3v9x2m1q8z7".parse().expect("an id");
        let secret = "aZ3".repeat(15)[..SECRET_CHARS].to_owned();
        let text = written(&id, &secret);
        let presented = Presented::read(&text).expect("a key");
        assert_eq!((presented.id, presented.digest), (id, digest_of(&secret)));
        let longer = format!("{text}x");
        let in_a_line = format!("{text}\n");
        for bad in
            ["", "tgk_", "sk-abc", &text[1..], &text[..text.len() - 1], &longer, &in_a_line, "tgk_K3V9X2M1Q8Z7_x"]
        {
            assert_eq!(Presented::read(bad), None, "{bad:?}");
        }
        assert!(!format!("{:?}", Presented::read(&text)).contains(&secret), "the secret is not in it");
    }

    #[test]
    fn doors_are_known_by_word_and_by_letter() {
        for door in Door::ALL {
            assert_eq!((door.as_str().parse(), Door::of_letter(door.letter())), (Ok(door), Some(door)));
        }
        assert!("files".parse::<Door>().is_err_and(|why| why.contains("chat, embeddings")));
    }
}
