//! `[front]`: OpenAI's and Anthropic's APIs over jobs.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tollgate_types::Class;

use crate::config::values::{Period, Size};

/// The front door, which is served where the probes are, or on an address of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens, away from probes and dashboards; where they do if left out.
    pub listen: Option<SocketAddr>,
    /// The class of jobs whose caller names none.
    pub class: Class,
    /// How long a caller waits at most; then he is told where his job goes on.
    pub wait: Period,
    /// How long a stream is silent at most.
    pub heartbeat: Period,
    /// The most calls at a time.
    pub calls_max: usize,
    /// The most bytes of bodies at a time that are not submitted yet.
    pub bodies_bytes_max: Size,
    /// The most bytes of one uploaded file.
    pub file_bytes_max: Size,
    /// The most bytes of all files of one team.
    pub team_files_bytes_max: Size,
}

impl Default for Front {
    fn default() -> Self {
        let front = tollgate_front::Config::default();
        Front {
            enabled: true,
            listen: None,
            class: front.class,
            wait: Period(front.wait),
            heartbeat: Period(front.heartbeat),
            calls_max: front.calls_max,
            bodies_bytes_max: Size(front.bodies_bytes_max as u64),
            file_bytes_max: Size(front.file_bytes_max),
            team_files_bytes_max: Size(front.team_files_bytes_max),
        }
    }
}
