//! A nats-server with a configuration of the test's own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Instant;

use sandbox::{Lifeline, Locations, Process, ProcessSpec, Progress};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;

use super::DEADLINE;

pub(super) struct Server {
    process: Process,
    port: u16,
    dir: TempDir,
}

impl Server {
    /// Starts a server with that configuration beside its port.
    pub(super) async fn start(config: &str) -> Self {
        Server::start_in(tempfile::tempdir().expect("a directory"), config).await
    }

    /// As [`Server::start`], in a directory that holds files which the configuration names.
    pub(super) async fn start_in(dir: TempDir, config: &str) -> Self {
        let locations = Locations::from_env().expect("a cache directory");
        let program = sandbox::nats_server(&locations, &Progress::silent()).await.expect("a nats-server");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        let file = dir.path().join("nats.conf");
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{config}\n")).expect("written");
        drop(free);
        let process = Process::spawn(ProcessSpec {
            name: "nats-server",
            program,
            args: vec!["-c".into(), file.into()],
            envs: vec![],
            work_dir: dir.path().to_owned(),
            log: dir.path().join("nats.log"),
            lifeline: Lifeline::Watchdog,
        });
        let mut server = Server { process: process.expect("it starts"), port, dir };
        server.ready().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Writes a file for a client.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub(super) fn kill9(&mut self) {
        self.process.kill9().expect("it dies");
    }

    pub(super) async fn restart(&mut self) {
        self.process.respawn().expect("it starts");
        self.ready().await;
    }

    /// Waits for its greeting, which comes in the clear even where all else is under TLS.
    async fn ready(&mut self) {
        let started = Instant::now();
        loop {
            let ended = self.process.ended().expect("it can be asked");
            assert!(ended.is_none() && started.elapsed() < DEADLINE, "{ended:?}: {}", self.process.log_tail());
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                let mut line = String::new();
                if BufReader::new(stream).read_line(&mut line).await.is_ok() && line.starts_with("INFO ") {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
