//! How calls are taken.

use std::time::Duration;

use tollgate_types::Class;

/// How calls are taken.
#[derive(Clone, Debug)]
pub struct Config {
    /// The class of jobs whose caller names none: somebody waits for the answer.
    pub class: Class,
    /// How long a caller waits at most. Below the ten minutes after which the vendors' own clients give up and call
    /// again, which would be another job.
    pub wait: Duration,
    /// How long a stream is silent at most; until then, what ends a job before its first piece is told by a status.
    pub heartbeat: Duration,
    /// The largest body.
    pub body_bytes_max: usize,
    /// How long a body may come without a byte.
    pub body_pause_max: Duration,
    /// How long a body may take.
    pub body_within: Duration,
    /// The most calls at a time.
    pub calls_max: usize,
    /// The most bytes of bodies at a time that are not submitted yet.
    pub bodies_bytes_max: usize,
    /// The largest file that is uploaded.
    pub file_bytes_max: u64,
    /// The most bytes of one team's files.
    pub team_files_bytes_max: u64,
    /// The names of models that are served.
    pub models: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            class: Class::Interactive,
            wait: Duration::from_secs(9 * 60),
            heartbeat: Duration::from_secs(10),
            body_bytes_max: 1 << 20,
            body_pause_max: Duration::from_secs(10),
            body_within: Duration::from_secs(120),
            calls_max: 4096,
            bodies_bytes_max: 256 << 20,
            file_bytes_max: 512 << 20,
            team_files_bytes_max: 2 << 30,
            models: Vec::new(),
        }
    }
}
