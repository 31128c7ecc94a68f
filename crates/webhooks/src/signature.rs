//! The signature of a request, as [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)
//! has it: HMAC-SHA256 of `<id>.<seconds>.<body>`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// How secrets begin that are written in base64; any other text is the key as it stands.
const PREFIX: &str = "whsec_";
/// The shortest key, in bytes: what the standard asks for.
pub const KEY_BYTES_MIN: usize = 24;

/// The key of a secret; `None` for one that is too short, or base64 that is none.
pub fn key(secret: &SecretString) -> Option<Vec<u8>> {
    let secret = secret.expose_secret();
    let key = match secret.strip_prefix(PREFIX) {
        Some(encoded) => BASE64_STANDARD.decode(encoded).ok()?,
        None => secret.as_bytes().to_vec(),
    };
    (key.len() >= KEY_BYTES_MIN).then_some(key)
}

/// The value of the header `webhook-signature`.
pub fn sign(key: &[u8], id: &str, seconds: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_the_standard_does_it() {
        // The example of the standard's own libraries.
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = key(&secret).expect("a key");
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_short_or_broken_secret_is_none() {
        for bad in ["", "short", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ="] {
            assert!(key(&SecretString::from(bad)).is_none(), "{bad}");
        }
        assert!(key(&SecretString::from("a text of at least 24 bytes")).is_some());
    }
}
