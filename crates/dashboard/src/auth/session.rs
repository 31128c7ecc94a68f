//! Sessions: a cookie that says who signed in and until when, sealed; nothing is kept on the server.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Seal;

/// The cookie's names: over TLS a browser takes the first from this very host alone.
pub(crate) const COOKIE_NAMES: [&str; 2] = ["__Host-tollgate", "tollgate"];
const PURPOSE: &str = "session";

/// Who signed in.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) name: String,
    /// A mark of the password that it was opened with.
    pub(super) of: String,
    /// Until when, in seconds since the epoch.
    until: i64,
    /// Makes each session another.
    salt: String,
}

impl Session {
    pub(super) fn new(name: &str, of: String, until: i64) -> Session {
        let salt = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        Session { name: name.to_owned(), of, until, salt }
    }

    pub(super) fn open(seal: &Seal, sealed: &str, now: i64) -> Option<Session> {
        let session: Session = serde_json::from_str(&seal.open(PURPOSE, sealed)?).ok()?;
        (now < session.until).then_some(session)
    }

    /// The header's value that gives it to a browser.
    pub(super) fn cookie(&self, seal: &Seal, lasts: Duration, plain_http: bool) -> String {
        let sealed = seal.close(PURPOSE, &serde_json::to_string(self).expect("texts and numbers"));
        attributes(&sealed, lasts.as_secs(), plain_http)
    }
}

/// The header's value that takes a session away.
pub(crate) fn expired_cookie(plain_http: bool) -> String {
    attributes("", 0, plain_http)
}

fn attributes(value: &str, seconds: u64, plain_http: bool) -> String {
    let [over_tls, plain] = COOKIE_NAMES;
    let (name, secure) = if plain_http { (plain, "") } else { (over_tls, "; Secure") };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// A cookie that a browser sent.
pub(crate) fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned());
    found.into_iter().next()
}
