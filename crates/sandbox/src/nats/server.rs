//! A `nats-server` as a child process.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::config::{NatsConfig, Placement};
use crate::cache::{self, io_error};
use crate::{Error, Lifeline, Process, ProcessSpec, port};

const NAME: &str = "nats-server";

/// Recovering the store of a large test takes a second or two; a machine under load multiplies that.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often a starting server is asked.
const READY_POLL: Duration = Duration::from_millis(10);
/// One connection attempt over the loopback; a paused or foreign listener must not eat the whole time.
const GREETING_WITHIN: Duration = Duration::from_millis(500);
/// Between picking a port and the server's bind somebody else may take it; five times in a row is not chance.
const PORTS_MAX: usize = 5;
/// A reload takes a millisecond.
const RELOAD_WITHIN: Duration = Duration::from_secs(10);
/// The server writes its streams out when asked to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How to run a `nats-server`.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// The program, see [`crate::nats_server`].
    pub binary: PathBuf,
    /// A directory of its own for the configuration and the log; created where it is missing.
    pub work_dir: PathBuf,
    /// The directory of the streams; `None` means `store` in the work directory.
    pub store_dir: Option<PathBuf>,
    /// Who may use it.
    pub config: NatsConfig,
    /// The port on 127.0.0.1; `None` picks a free one.
    pub port: Option<u16>,
}

/// A running `nats-server` on 127.0.0.1.
///
/// It is killed when this is dropped, and when the process that owns it dies without a word.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    placement: Placement,
    config_file: PathBuf,
}

impl NatsServer {
    /// Starts a server and waits until it greets.
    ///
    /// Cancel safety: dropping the future kills the server.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the work directory cannot be written or no port is free, [`Error::Spawn`] when the binary
    /// cannot be run, [`Error::Exited`] and [`Error::NotReady`] with the end of the log when it does not come up.
    pub async fn start(options: NatsOptions) -> Result<Self, Error> {
        let mut picked = 0;
        loop {
            picked += 1;
            let port = options.port.map_or_else(port::free, Ok)?;
            match Self::start_on(&options, port).await {
                Err(Error::Exited { log_tail, .. })
                    if options.port.is_none() && picked < PORTS_MAX && log_tail.contains("address already in use") => {}
                result => return result,
            }
        }
    }

    async fn start_on(options: &NatsOptions, port: u16) -> Result<Self, Error> {
        let work_dir = &options.work_dir;
        fs::create_dir_all(work_dir).map_err(io_error("create", work_dir))?;
        // Absolute, for the server runs in its work directory.
        let work_dir = work_dir.canonicalize().map_err(io_error("find", work_dir))?;
        let store_dir = options.store_dir.clone().unwrap_or_else(|| work_dir.join("store"));
        let placement = Placement {
            // Tells our server from one that was faster to take the port.
            server_name: format!("tollgate-{}", Uuid::new_v4().simple()),
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
            store_dir: std::path::absolute(&store_dir).map_err(io_error("find", &store_dir))?,
        };
        let config_file = work_dir.join("nats.conf");
        cache::write_private(&config_file, &options.config.render(&placement))?;
        let process = Process::spawn(ProcessSpec {
            name: NAME,
            program: options.binary.clone(),
            args: vec!["-c".into(), config_file.clone().into()],
            envs: vec![],
            log: work_dir.join("nats.log"),
            work_dir,
            lifeline: Lifeline::Watchdog,
        })?;
        let mut server = Self { process, placement, config_file };
        server.ready().await?;
        Ok(server)
    }

    /// The address for clients: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.placement.host, self.placement.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.placement.port
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The directory of the streams.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.placement.store_dir
    }

    /// The configuration file that it was started with.
    #[must_use]
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// How the process ended, by itself or by us; `None` while it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses the question.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.ended()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Kills the server (SIGKILL) and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses.
    pub fn kill9(&mut self) -> Result<(), Error> {
        self.process.kill9()
    }

    /// Starts the server again on the same port and store, killing it first where it still runs, and waits until it
    /// greets.
    ///
    /// Cancel safety: dropping the future leaves a server that is about to be ready.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.process.respawn()?;
        self.ready().await
    }

    /// Gives the server another configuration while it runs (SIGHUP), and waits until it has taken it.
    ///
    /// It is made to read the file twice: after the first time (2.15.1) what a *new* account calls in another one
    /// reaches nobody; after the second it does. Clients stay connected.
    ///
    /// Cancel safety: dropping the future may leave the server at the first reading.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be written, [`Error::NotRunning`] when there is no server to read it,
    /// [`Error::ReloadRefused`] when the server finds fault with it and keeps the old one, [`Error::NotReady`] when
    /// it does not react.
    pub async fn reload(&mut self, config: &NatsConfig) -> Result<(), Error> {
        cache::write_private(&self.config_file, &config.render(&self.placement))?;
        for _ in 0..2 {
            self.read_again().await?;
        }
        Ok(())
    }

    async fn read_again(&mut self) -> Result<(), Error> {
        let log = self.process.log().to_owned();
        let before = fs::metadata(&log).map_err(io_error("read", &log))?.len();
        self.process.signal(Signal::HUP, "reload")?;
        let started = Instant::now();
        while started.elapsed() < RELOAD_WITHIN {
            let said = fs::read(&log).map_err(io_error("read", &log))?;
            let said = String::from_utf8_lossy(said.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default());
            if said.contains("Reloaded server configuration") {
                return Ok(());
            }
            if said.contains("Failed to reload server configuration") {
                return Err(Error::ReloadRefused { log_tail: said.into_owned() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Err(Error::NotReady { what: NAME, within: RELOAD_WITHIN, log_tail: self.log_tail() })
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and answer nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended, [`Error::Signal`] when the system refuses.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.process.pause()
    }

    /// Lets it go on after [`NatsServer::pause`] (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended, [`Error::Signal`] when the system refuses.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.process.resume()
    }

    /// Stops the server: asks it (SIGTERM), waits ten seconds, kills it.
    ///
    /// Cancel safety: dropping the future kills it.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.process.stop(STOP_GRACE).await
    }

    /// Waits until the server greets; it opens its port after its streams are recovered.
    async fn ready(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let port = self.placement.port;
        while started.elapsed() < READY_WITHIN {
            if let Some(status) = self.process.ended()? {
                return Err(Error::Exited { what: NAME, status, log_tail: self.log_tail() });
            }
            let greeting = tokio::time::timeout(GREETING_WITHIN, greeted_by(port)).await;
            if let Ok(Some(name)) = greeting
                && name == self.placement.server_name
            {
                return Ok(());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Err(Error::NotReady { what: NAME, within: READY_WITHIN, log_tail: self.log_tail() })
    }
}

/// The name that the server on this port greets with, in its [`INFO`] line.
///
/// [`INFO`]: https://docs.nats.io/reference/reference-protocols/nats-protocol#info
async fn greeted_by(port: u16) -> Option<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.ok()?;
    let info: serde_json::Value = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    Some(info.get("server_name")?.as_str()?.to_owned())
}
