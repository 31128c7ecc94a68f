//! Whose call it is, by its API key.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use tollgate_queue::KeyRecord;
use tollgate_queue::keys::Shut;
use tollgate_types::api_key::Presented;
use tollgate_types::order::door_of;
use tollgate_types::{Class, Door, Endpoint, JobId, KeyId};

use crate::Parts;
use crate::refused::Refused;

/// Somebody with a key that opens.
pub(crate) struct Caller {
    pub(crate) id: KeyId,
    pub(crate) record: Arc<KeyRecord>,
}

/// Finds out whose call it is.
pub(crate) fn caller(headers: &HeaderMap, parts: &Parts) -> Result<Caller, Refused> {
    let text = presented(headers)?;
    let unknown = || unauthorized("invalid_api_key", "this is no API key that opens here; ask the operator for one");
    let presented = Presented::read(text).ok_or_else(unknown)?;
    let record = parts.keys.find(&presented, parts.clock.now()).map_err(|shut| match shut {
        Shut::Unknown => unknown(),
        Shut::Revoked => unauthorized("api_key_revoked", "this API key was revoked"),
        Shut::Expired => unauthorized("api_key_expired", "this API key has expired"),
    })?;
    if parts.directory.team(record.team.as_str()).is_none() {
        let why = "the team of this API key is not registered any more";
        return Err(Refused::new(StatusCode::FORBIDDEN, "unknown_team", why));
    }
    Ok(Caller { id: presented.id, record })
}

fn unauthorized(code: &'static str, message: &str) -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, code, message)
}

/// The one key of a call. Two that differ are no key: which of them counts must not depend on who reads.
fn presented(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut found = None;
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let own = headers.get_all("x-api-key").iter().map(|value| value.to_str().ok().map(str::trim));
    for key in bearer.chain(own) {
        let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
            unauthorized("invalid_api_key", "the Authorization header is not `Bearer` and an API key")
        })?;
        if found.is_some_and(|before| before != key) {
            return Err(unauthorized("invalid_api_key", "the call carries two different API keys"));
        }
        found = Some(key);
    }
    found.ok_or_else(|| {
        unauthorized("missing_api_key", "no API key: send it as `Authorization: Bearer …` or as `x-api-key`")
    })
}

impl Caller {
    /// The team's name.
    pub(crate) fn team(&self) -> &str {
        self.record.team.as_str()
    }

    /// Refuses an endpoint that the key does not open.
    pub(crate) fn may_enter(&self, door: Door) -> Result<(), Refused> {
        if self.record.door(door) {
            return Ok(());
        }
        let why = format!("this API key does not open the endpoint `{door}`");
        Err(Refused::new(StatusCode::FORBIDDEN, "endpoint_not_allowed", why))
    }

    /// Refuses files and batches to a key that opens no endpoint whose requests a batch may have.
    pub(crate) fn may_use_batches(&self) -> Result<(), Refused> {
        if Endpoint::ALL.into_iter().any(|endpoint| self.record.door(door_of(endpoint))) {
            return Ok(());
        }
        let why = "this API key opens no endpoint whose requests a batch may have";
        Err(Refused::new(StatusCode::FORBIDDEN, "endpoint_not_allowed", why))
    }

    /// The class of a job: the one that is asked for, else the usual one, else the first that the key may use.
    pub(crate) fn class(&self, asked: Option<Class>, usual: Class) -> Result<Class, Refused> {
        match asked {
            Some(class) if self.record.class(class) => Ok(class),
            Some(class) => {
                let why = format!("jobs that come in with this API key may not be of the class {class}");
                Err(Refused::new(StatusCode::FORBIDDEN, "class_not_allowed", why))
            }
            None if self.record.class(usual) => Ok(usual),
            None => Ok(*self.record.classes.first().unwrap_or(&usual)),
        }
    }

    /// Refuses a model that the key may not ask for.
    pub(crate) fn may_ask_for(&self, model: &str) -> Result<(), Refused> {
        if self.record.model(model) {
            return Ok(());
        }
        let shown: String = model.chars().filter(|c| !c.is_control()).take(64).collect();
        let why = format!("this API key may not ask for the model `{shown}`");
        let refused = Refused::new(StatusCode::FORBIDDEN, "model_not_allowed", why);
        Err(Refused { param: Some("model".to_owned()), ..refused })
    }

    /// How the ids of all jobs begin that come in with this key. What is kept under them is this key's to see.
    pub(crate) fn prefix(&self) -> String {
        format!("{}:{}:", self.record.team, self.id)
    }

    /// The door that a job came in by, if it came in with this key.
    pub(crate) fn door_of(&self, job: &JobId) -> Option<Door> {
        Door::of_letter(job.as_str().strip_prefix(&self.prefix())?.chars().next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn one_key_is_found_where_either_vendor_puts_it_and_two_are_none() {
        let check = |pairs: &[(&'static str, &str)], expected: Result<&str, &str>| {
            let headers = headers(pairs);
            assert_eq!(presented(&headers).map_err(|refused| refused.code), expected, "{pairs:?}");
        };
        check(&[("authorization", "Bearer k")], Ok("k"));
        check(&[("authorization", "bearer  k ")], Ok("k"));
        check(&[("x-api-key", "k")], Ok("k"));
        check(&[("authorization", "Bearer k"), ("x-api-key", "k")], Ok("k"));
        check(&[("authorization", "Bearer k"), ("x-api-key", "l")], Err("invalid_api_key"));
        check(&[("authorization", "Bearer k"), ("authorization", "Bearer l")], Err("invalid_api_key"));
        check(&[("authorization", "Basic k")], Err("invalid_api_key"));
        check(&[("authorization", "Bearer ")], Err("invalid_api_key"));
        check(&[("x-api-key", "")], Err("invalid_api_key"));
        check(&[], Err("missing_api_key"));
    }
}
