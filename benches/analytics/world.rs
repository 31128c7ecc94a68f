//! The engine that is asked, in a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::procfs::{Memory, memory};
use sandbox::{ClickHouse, ClickHouseOptions, EmbeddedCommand, Locations, Progress};
use secrecy::SecretString;
use tempfile::TempDir;
use tollgate_usage::{ClickHouseConfig, Schema, Store, Timeouts};

/// The most that one statement of this benchmark may take.
const STATEMENT: Duration = Duration::from_secs(600);

/// One ClickHouse, and a way to ask it beside the product's own.
pub(crate) struct Tables {
    server: ClickHouse,
    http: reqwest::Client,
    _dir: TempDir,
}

/// How one statement went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Went {
    /// From the request to the last byte of the answer.
    pub(crate) took: Duration,
    /// How many rows the engine read for it.
    pub(crate) read: u64,
}

impl Tables {
    pub(crate) async fn start() -> anyhow::Result<Tables> {
        let dir = tempfile::tempdir()?;
        let source = sandbox::clickhouse(&Locations::from_env()?, &Progress::silent()).await?;
        let embedded = EmbeddedCommand {
            program: std::env::current_exe()?,
            args: ["--role", "clickhouse"].map(Into::into).to_vec(),
        };
        let options =
            ClickHouseOptions { work_dir: Path::join(dir.path(), "tables"), embedded: Some(embedded), port: None };
        let server = ClickHouse::start(&source, options).await?;
        tollgate_providers::install_crypto();
        let http = reqwest::Client::builder().timeout(STATEMENT).build()?;
        Ok(Tables { server, http, _dir: dir })
    }

    /// A database of its own with the schema.
    pub(crate) async fn store(&self, database: &str) -> anyhow::Result<Store> {
        let store = Store::new(ClickHouseConfig {
            database: database.to_owned(),
            user: self.server.user().to_owned(),
            password: SecretString::from(self.server.password().to_owned()),
            timeouts: Timeouts { query: STATEMENT, insert: STATEMENT, ..Timeouts::default() },
            ..ClickHouseConfig::new(self.server.url())
        })?;
        Schema::apply(&store).await?;
        Ok(store)
    }

    /// Runs a statement as any client would, and takes its time.
    pub(crate) async fn went(&self, sql: &str) -> anyhow::Result<Went> {
        Ok(self.send(sql).await?.0)
    }

    /// What a statement answers, as text.
    pub(crate) async fn text(&self, sql: &str) -> anyhow::Result<String> {
        Ok(self.send(sql).await?.1)
    }

    async fn send(&self, sql: &str) -> anyhow::Result<(Went, String)> {
        let request = self
            .http
            .post(self.server.url())
            .header("X-ClickHouse-User", self.server.user())
            .header("X-ClickHouse-Key", self.server.password())
            .body(sql.to_owned());
        let since = Instant::now();
        let answer = request.send().await?;
        let summary = answer.headers().get("X-ClickHouse-Summary").cloned();
        let status = answer.status();
        let text = answer.text().await?;
        let took = since.elapsed();
        ensure!(status.is_success(), "{sql}: {text}");
        let summary: serde_json::Value = serde_json::from_slice(summary.context("no summary")?.as_bytes())?;
        let read = summary["read_rows"].as_str().and_then(|rows| rows.parse().ok()).unwrap_or(0);
        Ok((Went { took, read }, text))
    }

    /// The engine's memory; `None` for one that was given by URL.
    pub(crate) fn memory(&self) -> anyhow::Result<Option<Memory>> {
        self.server.pid().map(memory).transpose()
    }

    /// Ends the engine; its files go with it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.server.stop().await?)
    }
}
