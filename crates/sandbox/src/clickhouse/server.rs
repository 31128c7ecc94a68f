//! A ClickHouse, started here where it is not given by URL.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::config;
use super::find::{ClickHouseSource, server_args};
use crate::cache::{io_error, write_private};
use crate::{Error, Lifeline, Process, ProcessSpec, port};

const NAME: &str = "ClickHouse";
const USER: &str = "tollgate";
/// The variable through which the embedded engine learns its password: arguments are visible to every user.
const PASSWORD_VARIABLE: &str = "TOLLGATE_EMBEDDED_PASSWORD";

/// The engine alone takes a third of a second to load; a machine under load multiplies that.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a starting server is asked.
const READY_POLL: Duration = Duration::from_millis(20);
/// One question over the loopback interface; a foreign listener must not eat the whole time.
const PING_WITHIN: Duration = Duration::from_millis(1000);
/// As much of an answer to a ping as is read: its headers are well below.
const PING_BYTES_MAX: u64 = 4096;
/// Between picking a port and the server's bind somebody else may take it; five times in a row is not chance.
const PORTS_MAX: usize = 5;
/// Inserts that are under way are finished, parts are written out.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// The command that runs the embedded engine behind ClickHouse's HTTP interface.
///
/// It is given `--library <file> --path <dir> --listen 127.0.0.1:<port> --user <name>` in addition, the password in
/// the variable `TOLLGATE_EMBEDDED_PASSWORD`, and ends when its standard input closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedCommand {
    /// The program: usually the caller's own.
    pub program: PathBuf,
    /// The arguments that come first: usually a subcommand.
    pub args: Vec<OsString>,
}

/// How to run a ClickHouse.
#[derive(Debug, Clone)]
pub struct ClickHouseOptions {
    /// A directory of its own for tables, configuration and log; created where it is missing.
    pub work_dir: PathBuf,
    /// How to run the embedded engine; without it that source is refused.
    pub embedded: Option<EmbeddedCommand>,
    /// The port on 127.0.0.1; `None` picks a free one.
    pub port: Option<u16>,
}

/// A ClickHouse that answers.
///
/// One that was started here is killed when this is dropped, and ends when the process that owns it dies without a
/// word. One that was given by URL is left alone.
#[derive(Debug)]
pub struct ClickHouse {
    /// `None` for one that was given by URL.
    process: Option<Process>,
    url: String,
    port: u16,
    user: String,
    password: String,
}

impl ClickHouse {
    /// Starts a server and waits until it answers; one that was given by URL is not asked.
    ///
    /// Cancel safety: dropping the future kills the server.
    ///
    /// # Errors
    ///
    /// [`Error::ClickHouseUrl`] for a URL that is none, [`Error::NoEmbeddedCommand`] for the engine without its
    /// command, [`Error::Io`] when the work directory cannot be written or no port is free, [`Error::Spawn`] when
    /// the program cannot be run, [`Error::Exited`] and [`Error::NotReady`] with the end of the log when it does not
    /// come up.
    pub async fn start(source: &ClickHouseSource, options: ClickHouseOptions) -> Result<Self, Error> {
        if let ClickHouseSource::Url(url) = source {
            return Self::given(url);
        }
        let mut picked = 0;
        loop {
            picked += 1;
            let port = options.port.map_or_else(port::free, Ok)?;
            match Self::start_on(source, &options, port).await {
                Err(Error::Exited { log_tail, .. })
                    if options.port.is_none() && picked < PORTS_MAX && is_taken(&log_tail) => {}
                result => return result,
            }
        }
    }

    async fn start_on(source: &ClickHouseSource, options: &ClickHouseOptions, port: u16) -> Result<Self, Error> {
        let work_dir = &options.work_dir;
        fs::create_dir_all(work_dir).map_err(io_error("create", work_dir))?;
        // Absolute, for the server runs in its work directory.
        let work_dir = work_dir.canonicalize().map_err(io_error("find", work_dir))?;
        let password = Uuid::new_v4().simple().to_string();
        let spec = match source {
            ClickHouseSource::Url(_) => unreachable!("one that is given by URL is not started"),
            ClickHouseSource::Binary(binary) => server_spec(binary, work_dir, port, &password)?,
            ClickHouseSource::Embedded { library } => {
                let command = options.embedded.as_ref().ok_or(Error::NoEmbeddedCommand)?;
                let library = std::path::absolute(library).map_err(io_error("find", library))?;
                embedded_spec(command, &library, work_dir, port, &password)
            }
        };
        let process = Some(Process::spawn(spec)?);
        let url = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        let mut server = Self { process, url, port, user: USER.to_owned(), password };
        server.ready().await?;
        Ok(server)
    }

    /// Takes the credentials out of the URL, where it has some; else they are ClickHouse's defaults.
    fn given(url: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::ClickHouseUrl { why: why.to_owned() };
        let mut parsed = reqwest::Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused("the scheme is neither http nor https"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = match parsed.username() {
            "" => "default".to_owned(),
            user => decoded(user),
        };
        let password = parsed.password().map(decoded).unwrap_or_default();
        parsed.set_username("").and_then(|()| parsed.set_password(None)).map_err(|()| refused("it has no host"))?;
        let port = parsed.port_or_known_default().ok_or_else(|| refused("it has no port"))?;
        let url = parsed.as_str().trim_end_matches('/').to_owned();
        Ok(Self { process: None, url, port, user, password })
    }

    /// The address of its HTTP interface, without credentials and without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The user to connect as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The process id, where it was started here.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// How the process ended, by itself or by us; `None` while it runs, and always for one that was given by URL.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses the question.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.as_mut().map_or(Ok(None), Process::ended)
    }

    /// The last lines of its log, where it was started here.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Kills the server (SIGKILL) and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for one given by URL, [`Error::Signal`] when the system refuses.
    pub fn kill9(&mut self) -> Result<(), Error> {
        self.own("kill")?.kill9()
    }

    /// Starts the server again on the same port and tables, killing it first where it still runs, and waits until it
    /// answers.
    ///
    /// Cancel safety: dropping the future leaves a server that is about to be ready.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for one given by URL, else as [`ClickHouse::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.own("restart")?.respawn()?;
        self.ready().await
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and answer nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for one given by URL, [`Error::NotRunning`] when it has ended.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.own("pause")?.pause()
    }

    /// Lets it go on after [`ClickHouse::pause`] (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for one given by URL, [`Error::NotRunning`] when it has ended.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.own("resume")?.resume()
    }

    /// Stops the server: asks it, waits fifteen seconds, kills it. One given by URL is left alone.
    ///
    /// Cancel safety: dropping the future kills it.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when the system refuses.
    pub async fn stop(mut self) -> Result<(), Error> {
        match &mut self.process {
            Some(process) => process.stop(STOP_GRACE).await,
            None => Ok(()),
        }
    }

    fn own(&mut self, doing: &'static str) -> Result<&mut Process, Error> {
        self.process.as_mut().ok_or(Error::Unsupported { doing })
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let port = self.port;
        let process = self.own("await")?;
        while started.elapsed() < READY_WITHIN {
            // Before the question: what answers on the port of an ended server is not ours.
            if let Some(status) = process.ended()? {
                return Err(Error::Exited { what: NAME, status, log_tail: process.log_tail() });
            }
            let answer = tokio::time::timeout(PING_WITHIN, ping(port)).await;
            if matches!(answer, Ok(Ok(true))) && process.ended()?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Err(Error::NotReady { what: NAME, within: READY_WITHIN, log_tail: process.log_tail() })
    }
}

/// Whether the log of a server that ended speaks of a port that somebody else has; servers word it differently.
fn is_taken(log_tail: &str) -> bool {
    log_tail.to_ascii_lowercase().contains("address already in use")
}

fn server_spec(binary: &Path, work_dir: PathBuf, port: u16, password: &str) -> Result<ProcessSpec, Error> {
    let config_file = work_dir.join("config.xml");
    write_private(&config_file, &config::server(&work_dir, port))?;
    write_private(&work_dir.join("users.xml"), &config::users(USER, password))?;
    let mut config_arg = OsString::from("--config-file=");
    config_arg.push(&config_file);
    let mut args: Vec<OsString> = server_args(binary).iter().map(OsString::from).collect();
    args.push(config_arg);
    Ok(ProcessSpec {
        name: NAME,
        program: binary.to_owned(),
        args,
        envs: vec![],
        log: work_dir.join("clickhouse.log"),
        work_dir,
        lifeline: Lifeline::Watchdog,
    })
}

fn embedded_spec(
    command: &EmbeddedCommand,
    library: &Path,
    work_dir: PathBuf,
    port: u16,
    password: &str,
) -> ProcessSpec {
    let mut args = command.args.clone();
    let listen = format!("{}:{port}", Ipv4Addr::LOCALHOST);
    let added: [OsString; 8] = [
        "--library".into(),
        library.into(),
        "--path".into(),
        work_dir.join("data").into(),
        "--listen".into(),
        listen.into(),
        "--user".into(),
        USER.into(),
    ];
    args.extend(added);
    ProcessSpec {
        name: NAME,
        program: command.program.clone(),
        args,
        envs: vec![(PASSWORD_VARIABLE.into(), password.into())],
        log: work_dir.join("clickhouse.log"),
        work_dir,
        lifeline: Lifeline::Stdin,
    }
}

/// Asks [`/ping`](https://clickhouse.com/docs/interfaces/http); without an HTTP client, for one line is all of it.
async fn ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /ping HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(PING_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let ok = answer.split(' ').nth(1) == Some("200");
    Ok(ok && answer.trim_end().ends_with("Ok."))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn given(url: &str) -> Result<ClickHouse, Error> {
        let options = ClickHouseOptions { work_dir: "/nonexistent".into(), embedded: None, port: None };
        ClickHouse::start(&ClickHouseSource::Url(url.to_owned()), options).await
    }

    #[tokio::test]
    async fn a_url_gives_its_credentials_and_nothing_can_be_done_to_its_server() {
        let mut clickhouse = given("https://ada:p%40ss@ch.example:8443/").await.unwrap();
        assert_eq!(clickhouse.url(), "https://ch.example:8443");
        assert_eq!((clickhouse.user(), clickhouse.password()), ("ada", "p@ss"));
        assert_eq!(clickhouse.pid(), None);
        assert!(matches!(clickhouse.ended(), Ok(None)));
        assert!(matches!(clickhouse.kill9(), Err(Error::Unsupported { doing: "kill" })));
        assert!(matches!(clickhouse.pause(), Err(Error::Unsupported { .. })));
        assert!(matches!(clickhouse.restart().await, Err(Error::Unsupported { .. })));
        clickhouse.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_url_without_credentials_means_clickhouses_default_user() {
        let clickhouse = given("http://127.0.0.1:8123").await.unwrap();
        assert_eq!((clickhouse.user(), clickhouse.password()), ("default", ""));
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_refused_without_repeating_it() {
        for url in ["tcp://ada:secret@ch.example:9000", "ada:secret@ch.example"] {
            let error = given(url).await.unwrap_err();
            assert!(matches!(error, Error::ClickHouseUrl { .. }), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_engine_needs_its_command() {
        let dir = tempfile::tempdir().unwrap();
        let source = ClickHouseSource::Embedded { library: "/nonexistent/libchdb.so".into() };
        let options = ClickHouseOptions { work_dir: dir.path().into(), embedded: None, port: None };
        let error = ClickHouse::start(&source, options).await.unwrap_err();
        assert!(matches!(error, Error::NoEmbeddedCommand), "{error}");
    }
}
