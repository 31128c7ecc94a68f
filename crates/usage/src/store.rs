//! The connection to one ClickHouse database: inserts under a token, and simple reads.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clickhouse::Client;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Fault, StoreError};
use crate::row::Row;
use crate::tls;

/// Where ClickHouse is and who we are there.
#[derive(Clone, Debug)]
pub struct ClickHouseConfig {
    /// The address of its HTTP interface, `http://…` or `https://…`.
    pub url: String,
    /// The database that holds our tables: letters, digits and `_`.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password; empty for none.
    pub password: SecretString,
    /// A PEM file of the authority that signed the server's certificate, trusted beside those of the system.
    pub tls_ca: Option<PathBuf>,
    /// How long we wait.
    pub timeouts: Timeouts,
}

impl ClickHouseConfig {
    /// The user `default` without a password, in the database `tollgate`.
    pub fn new(url: impl Into<String>) -> Self {
        ClickHouseConfig {
            url: url.into(),
            database: "tollgate".to_owned(),
            user: "default".to_owned(),
            password: SecretString::from(String::new()),
            tls_ca: None,
            timeouts: Timeouts::default(),
        }
    }
}

/// How long each kind of call may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A sign of life.
    pub ping: Duration,
    /// A question, or one statement of the schema.
    pub query: Duration,
    /// One insert with all its materialized views.
    pub insert: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { ping: Duration::from_secs(5), query: Duration::from_secs(60), insert: Duration::from_secs(60) }
    }
}

/// Says why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address is none of an HTTP interface.
    #[error("'{0}' does not start with http:// or https://")]
    Url(String),
    /// The database's name would have to be quoted.
    #[error("'{0}' is not a database name of letters, digits and _")]
    Database(String),
    /// The file of `tls_ca` cannot be used.
    #[error("cannot use the authority in {path}: {why}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// One ClickHouse database. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Store {
    client: Client,
    /// Without a default database, because that may not exist yet.
    bootstrap: Client,
    database: String,
    timeouts: Timeouts,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Store {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`ConfigError`], before anything fails later with a worse message.
    pub fn new(config: ClickHouseConfig) -> Result<Self, ConfigError> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(ConfigError::Url(config.url));
        }
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let plain = config.database.chars().all(|c| letter(c) || c.is_ascii_digit());
        if !plain || !config.database.starts_with(letter) {
            return Err(ConfigError::Database(config.database));
        }
        let client = tls::client(config.tls_ca.as_deref()).map_err(|error| ConfigError::Authority {
            path: config.tls_ca.clone().unwrap_or_default(),
            why: error.to_string(),
        })?;
        let mut bootstrap = client.with_url(config.url).with_user(config.user);
        if !config.password.expose_secret().is_empty() {
            bootstrap = bootstrap.with_password(config.password.expose_secret());
        }
        let client = bootstrap.clone().with_database(&config.database);
        Ok(Store { client, bootstrap, database: config.database, timeouts: config.timeouts })
    }

    /// The database that holds our tables.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Asks for a sign of life, as our user. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        within(self.timeouts.ping, self.bootstrap.query_raw("SELECT 1").execute()).await
    }

    /// The server's version, such as `26.7.2.1`. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn version(&self) -> Result<String, StoreError> {
        within(self.timeouts.ping, self.bootstrap.query_raw("SELECT version()").fetch_one()).await
    }

    /// The version of the schema that the database has; `None` for a database without our tables. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn schema_version(&self) -> Result<Option<u32>, StoreError> {
        let newest = format!("SELECT max(version) FROM {}.schema_migrations", self.database);
        match within(self.timeouts.query, self.bootstrap.query_raw(&newest).fetch_one::<u32>()).await {
            // Zero is the maximum of no rows: nothing was applied yet.
            Ok(newest) => Ok((newest > 0).then_some(newest)),
            // Neither the table nor the database has to exist.
            Err(error) if error.fault() == Fault::Schema => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Inserts a batch as one block under `token`; the same token counts once, in the table and in every rollup.
    ///
    /// The token must name exactly these rows: other rows under it are dropped in silence. After an error, a timeout
    /// or a cancelled call the batch may be in, half in (the table without the rollup) or absent; the same batch under
    /// the same token mends each case. An empty batch is not sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&self, batch: &[Row], token: &str) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let outcome = within(self.timeouts.insert, self.send(batch, token)).await;
        if outcome.as_ref().is_err_and(|error| error.fault() == Fault::Schema) {
            // The client keeps the table's columns; a schema that was mended must be seen.
            self.client.clear_cached_metadata().await;
        }
        outcome
    }

    async fn send(&self, batch: &[Row], token: &str) -> Result<(), clickhouse::error::Error> {
        let mut insert = self
            .client
            .insert::<Row>("usage_events")
            .await?
            // The server's default would collect rows and answer for a block that is not ours.
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            // Off by default on servers before 26: then a batch sent again doubles every rollup.
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            .with_setting("insert_deduplication_token", token);
        for row in batch {
            insert.write(row).await?;
        }
        insert.end().await
    }

    /// Runs a statement that names its database. Cancel safe only if the statement may run twice.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), StoreError> {
        within(self.timeouts.query, self.bootstrap.query_raw(sql).execute()).await
    }

    /// Asks a question that has its values in it.
    pub(crate) async fn fetch_text<T>(&self, sql: &str) -> Result<Vec<T>, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        within(self.timeouts.query, self.bootstrap.query_raw(sql).fetch_all()).await
    }

    /// Writes rows whose table keeps one per key, so that they may be written twice.
    pub(crate) async fn replace<T>(&self, table: &str, rows: &[T]) -> Result<(), StoreError>
    where
        T: clickhouse::Row + clickhouse::RowWrite + for<'a> clickhouse::Row<Value<'a> = T>,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let outcome = within(self.timeouts.insert, async {
            let mut insert = self.client.insert::<T>(table).await?.with_setting("async_insert", "0");
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await
        })
        .await;
        if outcome.as_ref().is_err_and(|error| error.fault() == Fault::Schema) {
            self.client.clear_cached_metadata().await;
        }
        outcome
    }

    /// Asks a question with `?` for each bound value, which is a number or a text.
    pub(crate) async fn fetch<T>(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<T>, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let query = bound.iter().fold(self.client.query(sql), |query, value| match value {
            Bound::Integer(number) => query.bind(*number),
            Bound::Text(text) => query.bind(*text),
        });
        within(self.timeouts.query, query.fetch_all()).await
    }
}

/// A value in a question.
pub(crate) enum Bound<'a> {
    Integer(i64),
    Text(&'a str),
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome.map_err(StoreError::from),
        Err(_) => Err(StoreError::TimedOut(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_could_not_work_is_refused_at_once() {
        let with = |url: &str, database: &str| {
            let config = ClickHouseConfig { database: database.to_owned(), ..ClickHouseConfig::new(url) };
            Store::new(config).map(|_| ())
        };
        assert_eq!(with("http://localhost:8123", "tollgate_2"), Ok(()));
        assert_eq!(with("localhost:8123", "tollgate"), Err(ConfigError::Url("localhost:8123".into())));
        for bad in ["", "2x", "a b", "a`b", "a.b"] {
            assert_eq!(with("https://c", bad), Err(ConfigError::Database(bad.into())));
        }
    }

    #[test]
    fn an_authority_that_is_none_is_refused_by_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let check = |text: Option<&str>, expected: &str| {
            let path = dir.path().join("ca.pem");
            let _ = std::fs::remove_file(&path);
            if let Some(text) = text {
                std::fs::write(&path, text).expect("written");
            }
            let config = ClickHouseConfig { tls_ca: Some(path), ..ClickHouseConfig::new("https://c") };
            let refused = Store::new(config).map(|_| ()).expect_err("refused").to_string();
            assert!(refused.contains("ca.pem: ") && refused.contains(expected), "{refused}");
        };
        check(None, "No such file");
        check(Some("not a certificate"), "it holds no certificate");
        check(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "BadEncoding");
    }
}
