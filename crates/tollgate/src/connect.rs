//! The ways to NATS and ClickHouse that all commands share.

use async_nats::jetstream;
use tollgate_policy::budget::check_budgets;
use tollgate_queue::connect::{ConnectFailure, redacted};
use tollgate_queue::directory::{Checks, DirectoryError, RESULTS_KEEP_SECS_MIN};
use tollgate_queue::{Backlog, Connection, Directory, LaneConfig, Lanes, ServerClock};
use tollgate_usage::{Fault, Store, StoreError};

use crate::config::{Config, build};
use crate::exit::{Code, Failure};

/// Connects to NATS, or says in the user's words why not.
///
/// # Errors
/// A failure with [`Code::Nats`], or [`Code::Usage`] for files that the configuration names.
pub async fn nats(config: &Config, name: &str) -> Result<Connection, Failure> {
    tollgate_providers::install_crypto();
    Connection::open(&build::nats(config), name).await.map_err(|error| nats_failure(config, &error))
}

fn nats_failure(config: &Config, error: &ConnectFailure) -> Failure {
    let url = redacted(&config.nats.url);
    match error {
        ConnectFailure::File { .. } | ConnectFailure::HalfCertificate => {
            Failure::new(Code::Usage, "the NATS credentials cannot be used").because(error)
        }
        ConnectFailure::TooOld(_) => Failure::new(Code::Nats, format!("the NATS server at {url} cannot be used"))
            .because(error)
            .try_this("upgrade nats-server to 2.12 or newer"),
        ConnectFailure::Tls { source, .. } => Failure::new(Code::Nats, format!("no TLS with NATS at {url}"))
            .because(source)
            .try_this("check tls_ca, tls_cert, tls_key and tls_required in [nats], and whether the server speaks TLS"),
        ConnectFailure::Connect { source, .. } => {
            use async_nats::ConnectErrorKind as Kind;
            let remedy = match source.kind() {
                Kind::Authentication | Kind::AuthorizationViolation => {
                    "check user and password; `tollgate config show` says where they come from"
                }
                _ => {
                    "start nats-server, or name another with --server, NATS_URL or [nats] url; \
                      `tollgate dev` starts a whole system"
                }
            };
            Failure::new(Code::Nats, format!("cannot reach NATS at {url}")).because(source).try_this(remedy)
        }
    }
}

/// JetStream over a connection.
pub fn jetstream(connection: &Connection) -> jetstream::Context {
    jetstream::new(connection.client.clone())
}

/// The live configuration.
///
/// # Errors
/// Why it could not be read.
pub async fn directory(context: &jetstream::Context) -> Result<Directory, DirectoryError> {
    Directory::open(context, CHECKS).await
}

/// What the live configuration is judged by.
pub const CHECKS: Checks = Checks {
    budgets: |budgets| check_budgets(budgets).map_err(|error| error.to_string()),
    guardrails: |policy| tollgate_guard::check(policy).map_err(|error| error.to_string()),
    results_keep_secs_min: RESULTS_KEEP_SECS_MIN,
};

/// The server's clock: people's clocks differ, windows and raises follow that one.
///
/// # Errors
/// A failure with [`Code::Nats`].
pub async fn server_clock(connection: &Connection) -> Result<ServerClock, Failure> {
    Ok(backlog(connection).await?.0)
}

/// The server's clock, and which lanes have jobs.
///
/// # Errors
/// A failure with [`Code::Nats`].
pub async fn backlog(connection: &Connection) -> Result<(ServerClock, Backlog), Failure> {
    let clock = ServerClock::new();
    let unread = |error| {
        Failure::new(Code::Nats, "the jobs stream cannot be read").because(&error).try_this("run `tollgate init`")
    };
    let lanes = Lanes::open(&connection.client, LaneConfig::default(), clock.clone()).await.map_err(unread)?;
    let backlog = lanes.backlog().await.map_err(unread)?;
    Ok((clock, backlog))
}

/// Prepares the way to ClickHouse; nothing is sent yet.
///
/// # Errors
/// A failure with [`Code::Usage`].
pub fn clickhouse(config: &Config) -> Result<Store, Failure> {
    tollgate_providers::install_crypto();
    Store::new(build::clickhouse(config))
        .map_err(|error| Failure::new(Code::Usage, "clickhouse is not configured").because(&error))
}

/// What a failed call to ClickHouse means for a command.
pub fn clickhouse_failure(config: &Config, error: &StoreError) -> Failure {
    let remedy = match error.fault() {
        Fault::Access => "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD, or user and password in [clickhouse]",
        Fault::Schema => "run `tollgate init`",
        Fault::Transient | Fault::Data | Fault::Unknown => "check --clickhouse-url, CLICKHOUSE_URL or [clickhouse] url",
    };
    let url = redacted(&config.clickhouse.url);
    Failure::new(Code::Upstream, format!("ClickHouse at {url} did not do it")).because(error).try_this(remedy)
}
