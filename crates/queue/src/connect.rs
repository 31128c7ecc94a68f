//! The connection: how to reach the server, how to come back after losing it, and who hears of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

/// The oldest server that has what Tollgate uses.
pub const MINIMUM_SERVER: (i64, i64, i64) = (2, 12, 0);

/// How to reach NATS. Secrets are never shown.
#[derive(Clone, Debug, Default)]
pub struct NatsConfig {
    /// One or more server URLs, comma separated. A `user:password@` in the first counts where nothing below says who
    /// we are; a lone `token@` is a token.
    pub url: String,
    /// User name, with `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<SecretString>,
    /// A bare token.
    pub token: Option<SecretString>,
    /// A credentials file (JWT and seed).
    pub creds: Option<PathBuf>,
    /// An NKey seed file.
    pub nkey: Option<PathBuf>,
    /// A PEM file of the authority that signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file of our own certificate.
    pub tls_cert: Option<PathBuf>,
    /// The PEM file of its key.
    pub tls_key: Option<PathBuf>,
    /// Refuse to talk without TLS.
    pub tls_required: bool,
    /// The prefix of our inboxes; `_INBOX` unless permissions ask for another.
    pub inbox_prefix: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// A file that the configuration names could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `tls_cert` and `tls_key` must be given together.
    #[error("tls_cert and tls_key must be given together")]
    HalfCertificate,
    /// The server refused or could not be reached.
    #[error("cannot connect to NATS at {url}")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The two do not agree on TLS: a certificate is not trusted, or one of them does not speak it.
    #[error("no TLS with NATS at {url}")]
    Tls {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is older than [`MINIMUM_SERVER`].
    #[error("nats-server {0} is too old; Tollgate needs 2.12 or newer")]
    TooOld(String),
}

/// A connection and what became of it.
#[derive(Clone)]
pub struct Connection {
    /// The client; clones share the connection.
    pub client: Client,
    health: watch::Receiver<Health>,
    config: Arc<NatsConfig>,
}

/// What the connection has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it stands.
    pub connected: bool,
    /// How often it was lost.
    pub losses: u64,
    /// How often the server refused something for lack of permission, or similar.
    pub errors: u64,
}

impl Connection {
    /// Connects, waiting for the first connection.
    ///
    /// After that it reconnects for ever, with jittered delays so that a fleet does not come back in one instant.
    ///
    /// # Errors
    /// Returns why the first connection could not be made.
    pub async fn open(config: &NatsConfig, name: &str) -> Result<Connection, ConnectFailure> {
        let (sender, health) = watch::channel(Health::default());
        let sender = Arc::new(sender);
        let options = options(config, name).await?.event_callback(move |event| {
            note(&sender, &event);
            std::future::ready(())
        });
        let servers: Vec<String> = config.url.split(',').map(|s| s.trim().to_owned()).collect();
        let connect_error = |source| {
            let url = redacted(&config.url);
            if is_tls(&source) { ConnectFailure::Tls { url, source } } else { ConnectFailure::Connect { url, source } }
        };
        let client = options.connect(servers).await.map_err(connect_error)?;
        let (major, minor, patch) = MINIMUM_SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            return Err(ConnectFailure::TooOld(client.server_info().version));
        }
        Ok(Connection { client, health, config: Arc::new(config.clone()) })
    }

    /// Another connection, made like this one.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn another(&self, name: &str) -> Result<Connection, ConnectFailure> {
        Connection::open(&self.config, name).await
    }

    /// The largest message that the server takes, headers included, in bytes.
    pub fn payload_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    /// Drops the connection and makes it anew.
    ///
    /// # Errors
    /// Returns why that could not be asked for.
    pub async fn renew(&self) -> Result<(), async_nats::client::ReconnectError> {
        self.client.force_reconnect().await
    }

    /// Publishes a copy of a result, at most once and unacknowledged.
    ///
    /// # Errors
    /// Returns why it could not be handed to the connection.
    pub async fn reply(&self, subject: String, result: Bytes) -> Result<(), async_nats::PublishError> {
        self.client.publish(subject, result).await
    }

    /// What the connection has been through so far, and a way to wait for changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

/// Whether TLS is what went wrong; the client calls most of it an error of input and output.
fn is_tls(error: &async_nats::ConnectError) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    let rustls = io.and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>());
    rustls || error.kind() == async_nats::ConnectErrorKind::Tls
}

/// URLs can carry a password; it is not for logs.
pub fn redacted(url: &str) -> String {
    let one = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        (None, Some(at)) => format!("…{}", &url[at..]),
        _ => url.to_owned(),
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

fn note(sender: &watch::Sender<Health>, event: &Event) {
    match event {
        Event::Connected => {
            tracing::info!("connected to nats");
            sender.send_modify(|health| health.connected = true);
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("connection to nats lost");
            metrics::counter!("tollgate_nats_disconnects_total").increment(1);
            sender.send_modify(|health| {
                health.connected = false;
                health.losses += 1;
            });
        }
        Event::ServerError(error) => {
            tracing::error!(%error, "nats refused something");
            sender.send_modify(|health| health.errors += 1);
        }
        Event::ClientError(error) => tracing::warn!(%error, "nats client error"),
        Event::LameDuckMode => tracing::info!("nats server is going away; the client moves on"),
        Event::SlowConsumer(sid) => tracing::warn!(sid, "slow consumer"),
        Event::Draining => {}
    }
}

async fn options(config: &NatsConfig, name: &str) -> Result<ConnectOptions, ConnectFailure> {
    let mut options = ConnectOptions::new()
        .name(name)
        .require_tls(config.tls_required)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(reconnect_delay)
        // The lanes' wildcard inbox carries at most one message per permit; this leaves room for status messages.
        .subscription_capacity(64 * 1024);
    if config.user.is_none() && config.token.is_none() && config.creds.is_none() && config.nkey.is_none() {
        options = identified_by_url(options, &config.url);
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose_secret().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose_secret().to_owned());
    }
    if let Some(path) = &config.creds {
        let text = read(path).await?;
        let failed = |source| ConnectFailure::File { path: path.clone(), source };
        options = options.credentials(&text).map_err(failed)?;
    }
    if let Some(path) = &config.nkey {
        options = options.nkey(read(path).await?.trim().to_owned());
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone());
    }
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => options = options.add_client_certificate(cert.clone(), key.clone()),
        (None, None) => {}
        _ => return Err(ConnectFailure::HalfCertificate),
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options)
}

/// The client itself passes over what a URL says about us.
fn identified_by_url(options: ConnectOptions, urls: &str) -> ConnectOptions {
    let first = urls.split(',').next().unwrap_or_default().trim();
    let rest = first.split_once("://").map_or(first, |(_, rest)| rest);
    let Some((identity, _)) = rest.split('/').next().unwrap_or_default().rsplit_once('@') else { return options };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    match identity.split_once(':') {
        Some((user, password)) => options.user_and_password(decoded(user), decoded(password)),
        None => options.token(decoded(identity)),
    }
}

async fn read(path: &PathBuf) -> Result<String, ConnectFailure> {
    tokio::fs::read_to_string(path).await.map_err(|source| ConnectFailure::File { path: path.clone(), source })
}

/// 0–200 ms at first, up to 2–4 s: fast after a restart, spread out after an outage.
fn reconnect_delay(attempts: usize) -> Duration {
    let cap = 100u64.saturating_mul(1 << attempts.min(5)).min(2_000);
    Duration::from_millis(cap / 2 + rand::random_range(0..=cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown() {
        assert_eq!(redacted("nats://a:b@h:4222,tls://h2"), "nats://…@h:4222,tls://h2");
        assert_eq!(redacted("a:b@h"), "…@h");
    }

    #[test]
    fn reconnects_are_spread_and_bounded() {
        for attempt in 0..100 {
            assert!(reconnect_delay(attempt) <= Duration::from_secs(4));
        }
    }
}
