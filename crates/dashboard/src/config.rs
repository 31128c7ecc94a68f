//! What an operator decides about the screens.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    #[default]
    Viewer,
    /// Looks, pauses, replays and raises.
    Operator,
}

impl Role {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        }
    }
}

/// Somebody who may sign in.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// For the form.
    pub password: Option<SecretString>,
    /// For scripts, as `Authorization: Bearer`.
    pub token: Option<SecretString>,
    /// What he or she may do.
    pub role: Role,
}

/// The screens' configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may sign in, by name. With nobody, the screens are shown on a loopback address alone.
    pub users: BTreeMap<String, User>,
    /// What sessions are sealed with, for several processes behind one address; chosen by chance if absent, and then
    /// sessions end with the process.
    pub session_key: Option<SecretString>,
    /// How long a session lasts.
    pub session_max: Duration,
    /// Whether anybody who reaches a loopback address without users may act, not only look.
    pub loopback_operator: bool,
    /// Whether browsers reach us over plain HTTP; then the cookie may travel so.
    pub plain_http: bool,
    /// The models that are served, whose gates are shown by their names.
    pub models: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            users: BTreeMap::new(),
            session_key: None,
            session_max: Duration::from_secs(12 * 3600),
            loopback_operator: false,
            plain_http: false,
            models: Vec::new(),
        }
    }
}
