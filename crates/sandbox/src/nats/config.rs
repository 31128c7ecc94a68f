//! The server's configuration: the streams in the account CORE, each team in an account of its own.
//!
//! One account for all would let a team choose another team's lane as the reply subject of its own publish, and have
//! the server drop its acknowledgement there: reply subjects are not checked against permissions. Across the border
//! of an account the reply goes nowhere. See `tests/accounts.rs`.

use std::path::PathBuf;

use super::team::{Password, TeamAccount, quoted};

/// The user of the account CORE: the broker's processes.
pub const BROKER_USER: &str = "broker";
/// The user of the system account: the operator's tools.
pub const SYS_USER: &str = "sys";

/// Who may use the server, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// The teams; their names must differ.
    pub teams: Vec<TeamAccount>,
    /// The password of [`BROKER_USER`].
    pub broker_password: Password,
    /// The password of [`SYS_USER`].
    pub sys_password: Password,
    /// The largest message in bytes, headers included. The server's own default; larger bodies have another way.
    pub payload_bytes_max: u64,
    /// The bytes that all streams on disk may take.
    pub file_store_bytes_max: u64,
    /// The bytes that all streams in memory may take.
    pub memory_store_bytes_max: u64,
}

impl NatsConfig {
    /// A configuration with the limits of a small server: messages of 1 MiB, 10 GiB on disk, 256 MiB in memory.
    #[must_use]
    pub fn new(
        teams: Vec<TeamAccount>,
        broker_password: impl Into<Password>,
        sys_password: impl Into<Password>,
    ) -> Self {
        Self {
            teams,
            broker_password: broker_password.into(),
            sys_password: sys_password.into(),
            payload_bytes_max: 1 << 20,
            file_store_bytes_max: 10 << 30,
            memory_store_bytes_max: 256 << 20,
        }
    }

    /// The configuration file of a server at that place.
    #[must_use]
    pub fn render(&self, place: &Placement) -> String {
        let exports: String = self.teams.iter().map(TeamAccount::exports).collect();
        let accounts: String = self.teams.iter().map(|team| format!("\n{}", team.block())).collect();
        format!(
            r"# Streams live in the account CORE. Each team has an account of its own and reaches, across the
# border, its own lanes, results, replies and stored results, and nothing else.

server_name: {server_name}
host: {host}
port: {port}
max_payload: {payload}

jetstream {{
  store_dir: {store_dir}
  max_file_store: {file_store}
  max_memory_store: {memory_store}
}}

system_account: SYS

accounts {{
  SYS {{
    users: [ {{ user: {sys}, password: {sys_password} }} ]
  }}

  CORE {{
    jetstream: enabled
    users: [ {{ user: {broker}, password: {broker_password} }} ]
    exports: [
{exports}    ]
  }}
{accounts}}}
",
            server_name = quoted(&place.server_name),
            host = quoted(&place.host),
            port = place.port,
            payload = self.payload_bytes_max,
            store_dir = quoted(&place.store_dir.to_string_lossy()),
            file_store = self.file_store_bytes_max,
            memory_store = self.memory_store_bytes_max,
            sys = quoted(SYS_USER),
            sys_password = self.sys_password.rendered(),
            broker = quoted(BROKER_USER),
            broker_password = self.broker_password.rendered(),
        )
    }
}

/// Where a server listens and stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The server's name; clients see it when they connect.
    pub server_name: String,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// The directory of the streams.
    pub store_dir: PathBuf,
}
