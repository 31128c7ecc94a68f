//! `[dashboard]`: who may look at the screens, and who may act there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::values::{Period, Secret};

/// The screens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dashboard {
    /// Whether there are any.
    pub enabled: bool,
    /// Who may sign in, by name. With nobody, they are shown on a loopback address alone, to whoever reaches it.
    pub users: BTreeMap<String, DashboardUser>,
    /// What sessions are sealed with, if several processes stand behind one address; by chance if absent.
    pub session_key: Option<Secret>,
    /// How long one stays signed in.
    pub session: Period,
    /// Whether whoever reaches a loopback address may act without signing in, not only look.
    pub loopback_operator: bool,
    /// Whether browsers reach us over plain HTTP, elsewhere than on this machine.
    pub plain_http: bool,
}

impl Default for Dashboard {
    fn default() -> Self {
        let dashboard = tollgate_dashboard::Config::default();
        Dashboard {
            enabled: true,
            users: BTreeMap::new(),
            session_key: None,
            session: Period(dashboard.session_max),
            loopback_operator: dashboard.loopback_operator,
            plain_http: dashboard.plain_http,
        }
    }
}

/// Somebody who may sign in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardUser {
    /// For the form.
    pub password: Option<Secret>,
    /// For scripts.
    pub token: Option<Secret>,
    /// What he or she may do.
    pub role: DashboardRole,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DashboardRole {
    /// Look.
    #[default]
    Viewer,
    /// Look, pause, replay and raise.
    Operator,
}
