//! Passwords and keys within URLs: before the host, and as values of the query.

use super::assigned::{has_digit, is_placeholder};
use super::scan::{Rank, Scan};
use crate::Entity;

/// The most bytes between `://` and the `@`, and of a value.
const USERINFO_MAX: usize = 256;
const VALUE_MAX: usize = 512;

/// Names of query parameters that hold keys.
pub(crate) const PARAMETERS: [&str; 22] = [
    "api_key",
    "apikey",
    "api-key",
    "key",
    "token",
    "access_token",
    "auth_token",
    "auth",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "sig",
    "signature",
    "x-amz-signature",
    "refresh_token",
    "id_token",
    "private_key",
    "access_key",
    "sas",
    "jwt",
];

/// The shortest value that is taken of a parameter whose name can mean other things.
const KEY_MIN: usize = 16;

/// Looks behind the `://` that ends at this place.
pub(crate) fn userinfo(scan: &mut Scan<'_>, from: usize) {
    let bytes = scan.bytes();
    let bounded = &bytes[from..bytes.len().min(from + USERINFO_MAX)];
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>`\\,".contains(byte);
    let authority = &bounded[..bounded.iter().position(ends).unwrap_or(bounded.len())];
    let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else { return };
    let Some(colon) = authority[..at].iter().position(|&byte| byte == b':') else { return };
    let range = from + colon + 1..from + at;
    let plain = scan.text.get(range.clone()).is_some_and(|value| !value.is_empty() && !is_placeholder(value));
    if plain {
        scan.saw(Entity::UrlCredentials, range, Rank::Confirmed);
    }
}

/// How far the values of parameters were read, so that one within another is not read again.
#[derive(Default)]
pub(crate) struct Read {
    /// Up to here no byte behind the last value's start ends one.
    until: usize,
}

impl Read {
    /// Where the value ends that begins here; asked in ascending order.
    fn end(&mut self, bytes: &[u8], from: usize) -> usize {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"&#\"'<>`\\,;)]}|".contains(byte) || !byte.is_ascii();
        let last = bytes.len().min(from + VALUE_MAX);
        let unread = self.until.clamp(from, last);
        self.until = bytes[unread..last].iter().position(ends).map_or(last, |len| unread + len);
        self.until
    }
}

/// Looks at the value of the query parameter whose `=` is before this place.
pub(crate) fn parameter(scan: &mut Scan<'_>, from: usize, name: &str, read: &mut Read) {
    let end = read.end(scan.bytes(), from);
    let value = scan.text[from..end].trim_end_matches('.');
    let secret = matches!(name, "password" | "passwd" | "pwd" | "secret" | "client_secret") && value.len() >= 4;
    let random = value.len() >= 8 && value.len() >= if name == "key" { KEY_MIN } else { 8 } && has_digit(value);
    if (secret || random) && !is_placeholder(value) {
        scan.saw(Entity::UrlCredentials, from..from + value.len(), Rank::Confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn what_opens_a_door_within_a_url_is_found() {
        check(Entity::UrlCredentials, "postgres://joe:s3cr3t@db.example.com:5432/x", &["s3cr3t"]);
        check(Entity::UrlCredentials, "https://x.example/a?api_key=0a1b2c3d4e5f&x=1", &["0a1b2c3d4e5f"]);
        check(Entity::UrlCredentials, "https://x.example/a?x=1&token=0a1b2c3d4e5f.", &["0a1b2c3d4e5f"]);
        check(Entity::UrlCredentials, "mongodb+srv://u:p%40ss@c.example.net", &["p%40ss"]);
    }

    #[test]
    fn urls_without_are_not() {
        for text in [
            "https://example.com:8080/@joe",
            "https://joe@example.com",
            "https://x.example/?token=",
            "http://user:password@host",
            "https://x.example/?token=<token>",
            "https://${USER}:${PASSWORD}@x.example",
            "see https://x.example/a?key=home",
        ] {
            check(Entity::UrlCredentials, text, &[]);
        }
    }
}
