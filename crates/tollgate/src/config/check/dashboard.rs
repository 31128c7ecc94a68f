//! What `[dashboard]` may not say.

use super::{Checker, MINUTE};

/// A name that is shown and stands in the audit.
const NAME_CHARS_MAX: usize = 64;
/// Shorter secrets are guessed.
const PASSWORD_BYTES_MIN: usize = 8;
const TOKEN_BYTES_MIN: usize = 16;

impl Checker<'_> {
    pub(super) fn dashboard(&mut self) {
        let dashboard = &self.config.dashboard;
        if dashboard.session.0 < MINUTE {
            self.problem("dashboard.session", "must be at least 1m");
        }
        if dashboard.session_key.as_ref().is_some_and(|key| key.expose().len() < TOKEN_BYTES_MIN) {
            self.problem(
                "dashboard.session_key",
                format!("must have at least {TOKEN_BYTES_MIN} bytes, or be left out"),
            );
        }
        for (name, user) in &dashboard.users {
            let key = format!("dashboard.users.{name}");
            if name.is_empty() || name.len() > NAME_CHARS_MAX || name.contains(|c: char| c.is_control() || c == '@') {
                self.problem(&key, format!("a name has 1 to {NAME_CHARS_MAX} bytes, and no @"));
            }
            if user.password.is_none() && user.token.is_none() {
                self.problem(&key, "must have a password or a token");
            }
            if user.password.as_ref().is_some_and(|password| password.expose().len() < PASSWORD_BYTES_MIN) {
                self.problem(format!("{key}.password"), format!("must have at least {PASSWORD_BYTES_MIN} bytes"));
            }
            if user.token.as_ref().is_some_and(|token| token.expose().len() < TOKEN_BYTES_MIN) {
                self.problem(format!("{key}.token"), format!("must have at least {TOKEN_BYTES_MIN} bytes"));
            }
        }
        let listen = self.config.http.listen;
        if dashboard.enabled && dashboard.users.is_empty() && !listen.ip().is_loopback() {
            let what =
                format!("the dashboards stay off, because {listen} is no loopback address and nobody may sign in");
            self.warning("dashboard.users", what);
        }
    }
}
