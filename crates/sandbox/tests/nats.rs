//! The real `nats-server` as a child: started, killed, restarted, stopped; and the sample configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, stream};
use sandbox::{
    BROKER_USER, Error, Locations, NatsConfig, NatsOptions, NatsServer, Password, Placement, Progress, TeamAccount,
    nats_server,
};
use tokio::net::TcpStream;

/// Starting takes a tenth of a second; a busy machine multiplies that.
const SOON: Duration = Duration::from_secs(30);

async fn binary() -> PathBuf {
    nats_server(&Locations::from_env().unwrap(), &Progress::silent()).await.unwrap()
}

fn options(binary: PathBuf, dir: &Path) -> NatsOptions {
    let teams = vec![TeamAccount::new("t1", "secret").unwrap()];
    NatsOptions {
        binary,
        work_dir: dir.join("nats"),
        store_dir: None,
        config: NatsConfig::new(teams, r#"a "quoted" \ $password"#, "sys-secret"),
        port: None,
    }
}

async fn broker(server: &NatsServer) -> jetstream::Context {
    let password = r#"a "quoted" \ $password"#.to_owned();
    let options = ConnectOptions::with_user_and_password(BROKER_USER.into(), password);
    jetstream::new(options.connect(server.url()).await.unwrap())
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_it_had_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let (url, pid) = (server.url(), server.pid());
    let js = broker(&server).await;
    let config = stream::Config { name: "S".into(), subjects: vec!["s".into()], ..Default::default() };
    js.create_stream(config).await.unwrap();
    js.publish("s", "kept".into()).await.unwrap().await.unwrap();

    assert!(server.ended().unwrap().is_none());
    server.kill9().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).await.is_err());
    assert!(server.ended().unwrap().is_some_and(|status| !status.success()));
    server.restart().await.unwrap();
    assert!(server.ended().unwrap().is_none());
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    let stream = broker(&server).await.get_stream("S").await.unwrap();
    assert_eq!(stream.get_raw_message(1).await.unwrap().payload, "kept");

    // Restarting a server that runs kills it first.
    server.restart().await.unwrap();
    broker(&server).await.get_stream("S").await.unwrap();
}

#[tokio::test]
async fn stop_lets_the_server_write_out_and_frees_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let server = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let port = server.port();
    server.stop().await.unwrap();
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let log = std::fs::read_to_string(dir.path().join("nats/nats.log")).unwrap();
    assert!(log.contains("Server Exiting"), "{log}");
}

#[tokio::test]
async fn dropping_the_handle_kills_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

/// Starts a server and says its port in a file.
async fn own(dir: &Path) -> NatsServer {
    let server = NatsServer::start(options(binary().await, dir)).await.unwrap();
    std::fs::write(dir.join("port.part"), server.port().to_string()).unwrap();
    std::fs::rename(dir.join("port.part"), dir.join("port")).unwrap();
    server
}

/// The next test runs this one in a process of its own, with a directory: then it owns a server until it is killed.
#[tokio::test]
async fn an_owner_says_the_port_of_its_server() {
    if let Some(dir) = std::env::args().find_map(|arg| arg.strip_prefix("--owned-dir=").map(PathBuf::from)) {
        let _server = own(&dir).await;
        std::future::pending::<()>().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = own(dir.path()).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("port")).unwrap(), server.port().to_string());
}

#[tokio::test]
async fn a_server_does_not_outlive_an_owner_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["an_owner_says_the_port_of_its_server", "--exact", "--"])
        .arg(format!("--owned-dir={}", dir.path().display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let port: u16 = loop {
        if let Ok(port) = std::fs::read_to_string(dir.path().join("port")) {
            break port.parse().unwrap();
        }
        assert!(started.elapsed() < SOON && owner.try_wait().unwrap().is_none(), "the owner does not start its server");
        tokio::task::yield_now().await;
    };
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    let killed = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(killed.elapsed() < SOON, "the server outlives its owner");
    }
}

#[tokio::test]
async fn a_paused_server_answers_only_after_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let js = broker(&server).await;
    server.pause().unwrap();
    let asked = js.query_account();
    tokio::pin!(asked);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err());
    server.resume().unwrap();
    asked.await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_an_error_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(binary().await, dir.path());
    // A store that is a file.
    let store = dir.path().join("store");
    std::fs::write(&store, "").unwrap();
    options.store_dir = Some(store);
    let error = NatsServer::start(options).await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }), "{error}");
    assert!(error.to_string().contains("not a directory"), "{error}");
}

#[tokio::test]
async fn a_taken_port_that_was_asked_for_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut second = options(binary().await, elsewhere.path());
    second.port = Some(first.port());
    let error = NatsServer::start(second).await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }), "{error}");
}

#[tokio::test]
async fn the_configuration_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = NatsServer::start(options(binary().await, dir.path())).await.unwrap();
    let mode = server.config_file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

const SAMPLE_TEAMS: [&str; 3] = ["search", "marketing", "batchers"];

fn sample_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/tollgate.conf")
}

fn password_of(name: &str) -> Password {
    Password::Variable(format!("TOLLGATE_{}_PASSWORD", name.to_uppercase()))
}

fn sample() -> String {
    let teams = SAMPLE_TEAMS.iter().map(|team| TeamAccount::new(team, password_of(team)).unwrap()).collect();
    let place = Placement {
        server_name: "tollgate".to_owned(),
        host: "0.0.0.0".to_owned(),
        port: 4222,
        store_dir: "/var/lib/nats".into(),
    };
    NatsConfig::new(teams, password_of("broker"), password_of("sys")).render(&place)
}

/// With `TOLLGATE_BLESS=1` the sample is written anew first.
#[test]
#[allow(clippy::disallowed_methods, reason = "nobody hands a test what it is told to bless")]
fn the_sample_is_what_the_generator_renders() {
    if std::env::var_os("TOLLGATE_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(sample_file(), sample()).unwrap();
    }
    let shipped = std::fs::read_to_string(sample_file()).unwrap();
    assert!(shipped == sample(), "run `TOLLGATE_BLESS=1 cargo test -p sandbox --test nats the_sample`");
}

#[tokio::test]
async fn the_sample_is_accepted_by_the_server() {
    let check = |with_passwords: bool, binary: &Path| {
        let mut command = Command::new(binary);
        command.arg("-t").arg("-c").arg(sample_file());
        for name in SAMPLE_TEAMS.iter().chain(&["broker", "sys"]).filter(|_| with_passwords) {
            command.env(format!("TOLLGATE_{}_PASSWORD", name.to_uppercase()), format!("{name}-secret"));
        }
        command.output().unwrap()
    };
    let binary = binary().await;
    let accepted = check(true, &binary);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    assert!(!check(false, &binary).status.success());
}
