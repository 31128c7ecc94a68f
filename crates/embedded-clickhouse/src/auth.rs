//! Who may ask: one user, named in any of the ways ClickHouse's clients do.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::errors::Exception;
use crate::params::Params;

/// The only user, and the password if there is one.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Option<SecretString>,
}

/// What a request claims.
struct Claim {
    user: String,
    password: String,
}

impl Credentials {
    /// Lets a request pass, or not.
    ///
    /// # Errors
    ///
    /// ClickHouse's `AUTHENTICATION_FAILED`, the same for a wrong user and a wrong password.
    pub(crate) fn check(&self, headers: &HeaderMap, params: &Params) -> Result<(), Exception> {
        let refused = || {
            let message = "authentication failed: password is incorrect, or there is no user with such name";
            Exception::new(516, "AUTHENTICATION_FAILED", message)
        };
        let claim = claim(headers, params).ok_or_else(refused)?;
        let user = same(&claim.user, &self.user);
        let password = self.password.as_ref().is_none_or(|password| same(&claim.password, password.expose_secret()));
        // Both are always compared, so that the time taken does not tell which one was wrong.
        if user & password { Ok(()) } else { Err(refused()) }
    }
}

/// Reads the claim: ClickHouse's own headers, else HTTP Basic, else the URL. `None` when it cannot be understood.
fn claim(headers: &HeaderMap, params: &Params) -> Option<Claim> {
    let header = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (user, password) = (header("x-clickhouse-user"), header("x-clickhouse-key"));
    let (user, password) = if user.is_some() || password.is_some() {
        (user, password)
    } else if let Some(value) = headers.get(AUTHORIZATION) {
        let (user, password) = basic(value.as_bytes())?;
        (Some(user), Some(password))
    } else {
        (params.text("user").map(str::to_owned), params.text("password").map(str::to_owned))
    };
    let user = user.filter(|user| !user.is_empty()).unwrap_or_else(|| "default".to_owned());
    Some(Claim { user, password: password.unwrap_or_default() })
}

/// Reads `Basic base64(user:password)`; the password may hold colons.
fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Compares in a time that depends on the lengths only.
fn same(claimed: &str, right: &str) -> bool {
    let differences = claimed.bytes().zip(right.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b));
    claimed.len() == right.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// Checks whether a request with these headers and this query gets past `ada` with the password `s:3`.
    fn check(headers: &[(&'static str, &str)], query: &str, passes: bool) {
        let credentials = Credentials { user: "ada".to_owned(), password: Some("s:3".into()) };
        let headers = headers
            .iter()
            .map(|&(name, value)| (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        let outcome = credentials.check(&headers.collect(), &Params::parse(query).unwrap());
        assert_eq!(outcome.map_err(|error| error.code()), if passes { Ok(()) } else { Err(516) }, "{query}");
    }

    #[test]
    fn each_way_to_give_a_password_works() {
        check(&[("x-clickhouse-user", "ada"), ("x-clickhouse-key", "s:3")], "", true);
        check(&[("authorization", &format!("Basic {}", STANDARD.encode("ada:s:3")))], "", true);
        check(&[("authorization", &format!("basic  {}", STANDARD.encode("ada:s:3")))], "", true);
        check(&[], "user=ada&password=s%3A3", true);
    }

    #[test]
    fn a_wrong_or_absent_claim_is_refused() {
        check(&[], "", false);
        check(&[], "user=ada", false);
        check(&[], "user=ada&password=s:", false);
        check(&[], "user=ada&password=s:33", false);
        check(&[], "user=adb&password=s:3", false);
        check(&[("x-clickhouse-user", "ada")], "password=s:3", false);
        check(&[("authorization", "Bearer token")], "user=ada&password=s:3", false);
        for garbage in ["Basic", "Basic ", "Basic ====", "Basic YWRh", "Basic \u{fc}", ""] {
            check(&[("authorization", garbage)], "", false);
        }
    }

    #[test]
    fn without_a_password_the_user_alone_is_checked() {
        let open = Credentials { user: "default".to_owned(), password: None };
        assert_eq!(open.check(&HeaderMap::new(), &Params::parse("").unwrap()), Ok(()));
        assert_eq!(open.check(&HeaderMap::new(), &Params::parse("password=any").unwrap()), Ok(()));
        assert!(open.check(&HeaderMap::new(), &Params::parse("user=root").unwrap()).is_err());
    }
}
