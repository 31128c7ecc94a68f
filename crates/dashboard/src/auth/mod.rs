//! Who asks, and what he or she may do.
//!
//! Without users the screens are shown on loopback addresses alone, and only under names that mean this machine, so that
//! no page elsewhere reaches them through a name of its own. With users nobody sees anything without a session or a
//! token. Whatever changes something comes as a POST from our own pages, with a token that belongs to the session.

mod seal;
mod session;
mod throttle;

use std::time::Instant;

use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};

pub(crate) use seal::Seal;
pub(crate) use session::{COOKIE_NAMES, cookie_of, expired_cookie};
pub(crate) use throttle::Throttle;

use crate::config::{Config, Role, User};
use session::Session;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The name, as the audit shows it.
    pub(crate) name: String,
    /// What he or she may do.
    pub(crate) role: Role,
    /// How it is known.
    pub(crate) by: By,
}

/// How somebody is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// By a session, whose own text tokens against forged requests belong to.
    Session(String),
    /// By a token, which no browser sends by itself.
    Token,
    /// By the loopback address.
    Loopback,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are no users, and the address is not a loopback one.
    Off,
    /// The request names a host that is not this machine.
    ForeignHost,
    /// Sign in first.
    SignIn,
}

/// Judges requests.
pub(crate) struct Door {
    config: Config,
    seal: Seal,
    loopback: bool,
    throttle: Throttle,
}

impl Door {
    pub(crate) fn new(config: Config, loopback: bool) -> Door {
        let seal = Seal::new(config.session_key.as_ref());
        Door { config, seal, loopback, throttle: Throttle::default() }
    }

    /// Seals what comes back to us in addresses and forms.
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Whether the cookie may travel over plain HTTP.
    pub(crate) fn plain_http(&self) -> bool {
        self.loopback || self.config.plain_http
    }

    /// Who asks; `now` in seconds since the epoch.
    pub(crate) fn who(&self, headers: &HeaderMap, now: i64) -> Result<Who, Refused> {
        if self.config.users.is_empty() {
            return self.anybody(headers);
        }
        if let Some(given) = bearer(headers) {
            let named = self.config.users.iter().filter(|(_, user)| user.token.is_some());
            // All are compared, so that the time tells nothing.
            let known = named.filter(|(_, user)| self.is_secret(user.token.as_ref(), given)).last();
            let (name, user) = known.ok_or(Refused::SignIn)?;
            return Ok(Who { name: name.clone(), role: user.role, by: By::Token });
        }
        let sealed = COOKIE_NAMES.iter().find_map(|name| cookie_of(headers, name)).ok_or(Refused::SignIn)?;
        let session = Session::open(&self.seal, &sealed, now).ok_or(Refused::SignIn)?;
        // The role is the one of now, and a user who was removed is out.
        let user = self.config.users.get(&session.name).ok_or(Refused::SignIn)?;
        if session.of != self.mark_of(user) {
            return Err(Refused::SignIn);
        }
        Ok(Who { name: session.name.clone(), role: user.role, by: By::Session(sealed) })
    }

    fn anybody(&self, headers: &HeaderMap) -> Result<Who, Refused> {
        if !self.loopback {
            return Err(Refused::Off);
        }
        if !host_of(headers).is_some_and(is_this_machine) {
            return Err(Refused::ForeignHost);
        }
        let role = if self.config.loopback_operator { Role::Operator } else { Role::Viewer };
        Ok(Who { name: "loopback".to_owned(), role, by: By::Loopback })
    }

    /// Signs somebody in and returns the cookie; `None` if name and password do not fit, `Err` if too many were tried.
    pub(crate) fn sign_in(&self, name: &str, password: &str, now: i64) -> Result<Option<String>, ()> {
        if !self.throttle.may_try(name, Instant::now()) {
            return Err(());
        }
        let user = self.config.users.get(name);
        // Somebody who does not exist takes as long as somebody who does.
        let fits = self.is_secret(user.and_then(|user| user.password.as_ref()), password);
        let Some(user) = user.filter(|_| fits) else {
            self.throttle.failed(name, Instant::now());
            return Ok(None);
        };
        let lasts = i64::try_from(self.config.session_max.as_secs()).unwrap_or(i64::MAX);
        let session = Session::new(name, self.mark_of(user), now.saturating_add(lasts));
        Ok(Some(session.cookie(&self.seal, self.config.session_max, self.plain_http())))
    }

    /// Ties sessions to the password that they were opened with.
    fn mark_of(&self, user: &User) -> String {
        let password = user.password.as_ref().map(|secret| secret.expose_secret()).unwrap_or_default();
        self.seal.mark("password", password)
    }

    fn is_secret(&self, secret: Option<&SecretString>, given: &str) -> bool {
        let expected = secret.map(|secret| secret.expose_secret()).unwrap_or_default();
        let same = self.seal.are_same(expected, given);
        same && !expected.is_empty()
    }

    /// The token that a form of this person must bring back.
    pub(crate) fn form_token(&self, who: &Who) -> String {
        self.seal.mark("form", who.bound_to())
    }

    /// Whether a request that changes something comes from one of our own pages, for this person.
    pub(crate) fn is_our_form(&self, who: &Who, headers: &HeaderMap, token: Option<&str>) -> bool {
        match who.by {
            By::Token => true,
            By::Session(_) | By::Loopback => {
                let fits = token.is_some_and(|token| self.seal.is_mark("form", who.bound_to(), token));
                fits && is_same_origin(headers)
            }
        }
    }
}

impl Who {
    fn bound_to(&self) -> &str {
        match &self.by {
            By::Session(sealed) => sealed,
            By::Token | By::Loopback => &self.name,
        }
    }
}

/// Whether a browser sent a request from a page of the same host. A request that says neither where it comes from nor
/// how is no browser's form.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match (text("origin"), host_of(headers)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
        (None, _) => site.is_some(),
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "::1"
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests;
