//! Texts that only we can have written.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// A key that is this process's own, or shared by configuration.
pub(crate) struct Seal {
    key: [u8; 32],
}

impl Seal {
    /// Of a secret; by chance without one.
    pub(crate) fn new(secret: Option<&SecretString>) -> Seal {
        let mut key = [0; 32];
        match secret.map(|secret| secret.expose_secret()).filter(|secret| !secret.is_empty()) {
            // Whatever its length is, the key has its own.
            Some(secret) => {
                let mut mac = <Hmac<Sha256>>::new_from_slice(secret.as_bytes()).expect("any length is a key");
                mac.update(b"tollgate dashboard");
                key.copy_from_slice(&mac.finalize().into_bytes());
            }
            None => rand::fill(&mut key),
        }
        Seal { key }
    }

    fn mac(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.key).expect("any length is a key");
        // The length keeps a purpose from running over into the text.
        mac.update(&(purpose.len() as u64).to_le_bytes());
        mac.update(purpose.as_bytes());
        mac.update(text.as_bytes());
        mac
    }

    /// A mark of a text for a purpose.
    pub(crate) fn mark(&self, purpose: &str, text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.mac(purpose, text).finalize().into_bytes())
    }

    /// Whether a mark is that of the text, in a time that tells nothing.
    pub(crate) fn is_mark(&self, purpose: &str, text: &str, mark: &str) -> bool {
        let mark = BASE64_URL_SAFE_NO_PAD.decode(mark).unwrap_or_default();
        self.mac(purpose, text).verify_slice(&mark).is_ok()
    }

    /// Whether two texts are the same, in a time that tells nothing of where they differ.
    pub(crate) fn are_same(&self, one: &str, other: &str) -> bool {
        let one = self.mac("same", one).finalize().into_bytes();
        self.mac("same", other).verify_slice(&one).is_ok()
    }

    /// A text with its mark, as one word.
    pub(crate) fn close(&self, purpose: &str, text: &str) -> String {
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(text), self.mark(purpose, text))
    }

    /// The text of [`Seal::close`], if we wrote it.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Option<String> {
        let (text, mark) = sealed.split_once('.')?;
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        self.is_mark(purpose, &text, mark).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_by_its_own_key_and_purpose_alone() {
        let seal = Seal::new(Some(&SecretString::from("a key that two processes share")));
        let same = Seal::new(Some(&SecretString::from("a key that two processes share")));
        let sealed = seal.close("note", "paused");
        assert_eq!(same.open("note", &sealed).as_deref(), Some("paused"));
        assert_eq!(seal.open("session", &sealed), None);
        assert_eq!(Seal::new(None).open("note", &sealed), None);
        let (text, _) = sealed.split_once('.').expect("two parts");
        for forged in [text.to_owned(), format!("{text}."), format!("{text}.AAAA"), String::new(), ".".into()] {
            assert_eq!(seal.open("note", &forged), None, "{forged}");
        }
        assert!(seal.are_same("a", "a") && !seal.are_same("a", "b"));
    }
}
