//! Where the parts of a stack are, as `--ready-file` tells it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where everything is, with user names and passwords. The file of it is for its owner alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    /// The directory of everything.
    pub dir: PathBuf,
    /// The configuration that the brokers run with.
    pub config: PathBuf,
    /// NATS.
    pub nats: NatsEndpoint,
    /// ClickHouse.
    pub clickhouse: ClickHouseEndpoint,
    /// The simulated provider.
    pub sim: SimEndpoint,
    /// The broker's processes; their URLs answer `/readyz` and `/metrics`.
    pub brokers: Vec<ProcessEndpoint>,
}

/// NATS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NatsEndpoint {
    /// Its address.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// The broker's user, in the account with the streams.
    pub user: String,
    /// The broker's password.
    pub password: String,
    /// The user of the system account.
    pub sys_user: String,
    /// The password of that user.
    pub sys_password: String,
    /// The teams, by name.
    pub teams: BTreeMap<String, TeamEndpoint>,
}

/// How a team connects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TeamEndpoint {
    /// Its user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The prefix that its inboxes must have.
    pub inbox_prefix: String,
}

/// ClickHouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClickHouseEndpoint {
    /// Its address.
    pub url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The database with our tables.
    pub database: String,
    /// Its process, if it is ours.
    pub pid: Option<u32>,
}

/// The simulated provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SimEndpoint {
    /// Its address; `/__sim/calls` tells what it was asked.
    pub url: String,
    /// What OpenAI's clients take.
    pub base_url: String,
    /// Its process.
    pub pid: u32,
    /// The log of its calls, one JSON object a line.
    pub log: PathBuf,
}

/// A process of the broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessEndpoint {
    /// Its name.
    pub name: String,
    /// Where its probes are.
    pub url: String,
    /// Its process.
    pub pid: u32,
}
