//! One test's server, and what all tests do with it.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use sandbox::{BROKER_USER, Locations, NatsOptions, NatsServer, Progress, TeamAccount};
use tempfile::TempDir;
use tollgate_queue::connect::{Connection, NatsConfig};
use tollgate_queue::streams::{self, Limits};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

const MIB: i64 = 1 << 20;

/// A server with the streams, and the broker's connection to it.
pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) connection: Connection,
    pub(crate) context: Context,
    _dir: TempDir,
}

impl World {
    /// Starts a server on which the teams `search` and `marketing` have accounts, and makes the streams.
    pub(crate) async fn start() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let locations = Locations::from_env().expect("a cache directory");
        let binary = sandbox::nats_server(&locations, &Progress::silent()).await.expect("a nats-server");
        let teams = ["search", "marketing"].map(|team| TeamAccount::new(team, "secret").expect("a team"));
        let config = sandbox::NatsConfig::new(teams.to_vec(), "secret", "secret");
        let options = NatsOptions { binary, work_dir: dir.path().join("nats"), store_dir: None, config, port: None };
        let server = NatsServer::start(options).await.expect("nats-server starts");
        let connection = connect(&server, BROKER_USER, None).await;
        let context = jetstream::new(connection.client.clone());
        streams::ensure(&context, &small()).await.expect("the streams are made");
        World { server, connection, context, _dir: dir }
    }

    /// A connection of a team.
    pub(crate) async fn team(&self, team: &str) -> Connection {
        connect(&self.server, team, Some(format!("_INBOX_{team}"))).await
    }

    /// Kills the server as a power cut of the process would, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.server.kill9().expect("it is killed");
        self.server.restart().await.expect("it starts again");
    }
}

async fn connect(server: &NatsServer, user: &str, inbox_prefix: Option<String>) -> Connection {
    let config = NatsConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some("secret".to_owned().into()),
        inbox_prefix,
        ..NatsConfig::default()
    };
    Connection::open(&config, "test").await.expect("a connection")
}

/// Limits for a test's disk.
pub(crate) fn small() -> Limits {
    Limits {
        jobs_bytes_max: 64 * MIB,
        wait_bytes_max: 64 * MIB,
        results_bytes_max: 64 * MIB,
        dead_bytes_max: 8 * MIB,
        blobs_bytes_max: 8 * MIB,
        files_bytes_max: 8 * MIB,
        ..Limits::default()
    }
}

/// Waits until `condition` holds, asking every 10 ms.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(since.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
