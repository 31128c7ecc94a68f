//! The ways to NATS and ClickHouse that all commands share.

pub use tollgate_operate::connect::{CHECKS, backlog, directory, jetstream, server_clock};
use tollgate_queue::Connection;
use tollgate_queue::connect::{ConnectFailure, redacted};
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
