//! What a stack's parts are configured with: passwords, ports, the broker's configuration, command lines.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use sandbox::{BROKER_USER, ClickHouse, Lifeline, NatsConfig, NatsServer, ProcessSpec, SYS_USER, TeamAccount};
use toml::{Table, Value};

use super::child::{Child, free_port};
use super::endpoints::{NatsEndpoint, TeamEndpoint};
use super::{StackOptions, file, server};
use crate::config::models;
use crate::exit::{Code, Failure};

/// Ports that must be known beforehand; the others are free ones.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// NATS.
    pub nats: Option<u16>,
    /// ClickHouse.
    pub clickhouse: Option<u16>,
    /// The simulated provider.
    pub sim: Option<u16>,
    /// The probes of the first worker.
    pub http: Option<u16>,
}

/// The simulated provider.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// How fast and how long answers are: `instant`, `fast` or `realistic`.
    pub profile: String,
    /// Faults by chance, such as `429@0.05;hang@0.01`; empty for none.
    pub faults: String,
    /// The seed of every draw.
    pub seed: u64,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions { profile: "fast".into(), faults: String::new(), seed: 1 }
    }
}

/// The environment of the caller must not reach into the stack: the file alone holds there. Empty counts as unset.
const SHIELDED: [&str; 15] = [
    "NATS_URL",
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_TOKEN",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_CERT",
    "NATS_KEY",
    "NATS_CA",
    "NATS_CONTEXT",
    "CLICKHOUSE_URL",
    "CLICKHOUSE_USER",
    "CLICKHOUSE_PASSWORD",
    "TOLLGATE_CONFIG",
    "RUST_LOG",
];

/// How long jobs in flight may go on when a stack is stopped; a simulated answer takes seconds.
const DRAIN: &str = "10s";
/// What a process may take to stop: its drain, the server's held pulls, the sink's last insert.
const GRACE: Duration = Duration::from_secs(60);
/// Long enough not to be guessed, and plain enough for any place it is pasted into.
const PASSWORD_CHARS: usize = 24;

const SIM: &str = "sim-provider";

pub(super) struct Plan {
    pub(super) options: StackOptions,
    broker_password: String,
    sys_password: String,
    team_passwords: BTreeMap<String, String>,
}

impl Plan {
    pub(super) fn new(options: StackOptions) -> Result<Self, Failure> {
        std::fs::create_dir_all(options.dir.join("logs")).map_err(|error| file("create", &options.dir, &error))?;
        let team_passwords = options.teams.iter().map(|team| (team.clone(), password())).collect();
        Ok(Plan { options, broker_password: password(), sys_password: password(), team_passwords })
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.options.dir.join("tollgate.toml")
    }

    pub(super) fn sim_log(&self) -> PathBuf {
        self.options.dir.join("sim-calls.jsonl")
    }

    pub(super) fn database(&self) -> String {
        let overridden = self.options.overrides.get("clickhouse").and_then(|section| section.get("database"));
        overridden.and_then(Value::as_str).unwrap_or("tollgate").to_owned()
    }

    pub(super) fn nats_config(&self) -> Result<NatsConfig, Failure> {
        let accounts = self.team_passwords.iter().map(|(team, password)| TeamAccount::new(team, password.as_str()));
        let accounts = accounts.collect::<Result<Vec<_>, _>>().map_err(server)?;
        let config = NatsConfig::new(accounts, self.broker_password.as_str(), self.sys_password.as_str());
        // Room for the default limits of all streams together; nothing is taken before it is used.
        Ok(NatsConfig { file_store_bytes_max: 64 << 30, ..config })
    }

    pub(super) fn nats_endpoint(&self, nats: &NatsServer) -> NatsEndpoint {
        let team = |(team, password): (&String, &String)| {
            let inbox_prefix = format!("_INBOX_{team}");
            (team.clone(), TeamEndpoint { user: team.clone(), password: password.clone(), inbox_prefix })
        };
        NatsEndpoint {
            url: nats.url(),
            pid: nats.pid(),
            user: BROKER_USER.to_owned(),
            password: self.broker_password.clone(),
            sys_user: SYS_USER.to_owned(),
            sys_password: self.sys_password.clone(),
            teams: self.team_passwords.iter().map(team).collect(),
        }
    }

    pub(super) fn write_config(&self, nats: &NatsServer, clickhouse: &ClickHouse, sim: &Child) -> Result<(), Failure> {
        let mut config = self.config(&nats.url(), clickhouse, &sim.url());
        merge(&mut config, &self.options.overrides);
        let path = self.config_path();
        let written = write_private(&path, &config.to_string());
        written.map_err(|error| file("write", &path, &error))
    }

    fn config(&self, nats: &str, clickhouse: &ClickHouse, sim: &str) -> Table {
        let texts = |pairs: &[(&str, &str)]| -> Table {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
        };
        let mut provider = texts(&[("base_url", &format!("{sim}/v1")), ("prices_as", "openai")]);
        provider.insert("correlation_headers".into(), true.into());
        let teams: Table = self.options.teams.iter().map(|team| (team.clone(), Value::Table(Table::new()))).collect();
        let sections = [
            ("nats", texts(&[("url", nats), ("user", BROKER_USER), ("password", &self.broker_password)])),
            (
                "clickhouse",
                texts(&[
                    ("url", clickhouse.url()),
                    ("user", clickhouse.user()),
                    ("password", clickhouse.password()),
                    ("database", "tollgate"),
                ]),
            ),
            ("worker", texts(&[("drain", DRAIN)])),
            // Everything listens on this machine alone, and whoever started it may do everything.
            ("dashboard", Table::from_iter([("loopback_operator".to_owned(), true.into())])),
            ("providers", Table::from_iter([("sim".to_owned(), Value::Table(provider))])),
            ("models", models()),
            ("teams", teams),
        ];
        sections.into_iter().map(|(name, section)| (name.to_owned(), Value::Table(section))).collect()
    }

    pub(super) async fn init(&self) -> Result<(), Failure> {
        let mut command = tokio::process::Command::new(&self.options.program);
        command.args(["init", "--config"]).arg(self.config_path()).envs(SHIELDED.map(|name| (name, "")));
        let ran = command.kill_on_drop(true).output().await;
        let ran = ran.map_err(|error| file("run", &self.options.program, &error))?;
        if ran.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        Err(Failure::new(Code::Failed, format!("`tollgate init` did not succeed:\n{}", said.trim_end())))
    }

    pub(super) fn sim(&self) -> Result<Child, Failure> {
        let port = self.options.ports.sim.map_or_else(free_port, Ok)?;
        let sim = &self.options.sim;
        let mut args: Vec<OsString> =
            vec!["sim-provider".into(), "--listen".into(), format!("127.0.0.1:{port}").into()];
        args.extend(["--profile".into(), sim.profile.clone().into(), "--faults".into(), sim.faults.clone().into()]);
        args.extend(["--seed".into(), sim.seed.to_string().into(), "--log".into(), self.sim_log().into()]);
        self.child(SIM, SIM.into(), args, port)
    }

    pub(super) fn worker(&self, n: usize) -> Result<Child, Failure> {
        let roles =
            if n == 0 && !self.options.separate_sink { "worker,sink,settler,http" } else { "worker,settler,http" };
        let port = self.options.ports.http.filter(|_| n == 0);
        self.broker("worker", format!("worker-{}", n + 1), roles, port)
    }

    pub(super) fn sink(&self) -> Result<Child, Failure> {
        self.broker("sink", "sink-1".into(), "sink,http", None)
    }

    fn broker(&self, kind: &'static str, name: String, roles: &str, port: Option<u16>) -> Result<Child, Failure> {
        let port = port.map_or_else(free_port, Ok)?;
        let mut args: Vec<OsString> = vec!["serve".into(), "--config".into(), self.config_path().into()];
        args.extend(["--roles".into(), roles.into(), "--name".into(), name.clone().into()]);
        args.extend(["--listen".into(), format!("127.0.0.1:{port}").into()]);
        self.child(kind, name, args, port)
    }

    fn child(&self, kind: &'static str, name: String, args: Vec<OsString>, port: u16) -> Result<Child, Failure> {
        let mut envs: Vec<(OsString, OsString)> = SHIELDED.iter().map(|name| (name.into(), OsString::new())).collect();
        if kind != SIM {
            envs.extend(self.options.broker_envs.iter().map(|(name, value)| (name.into(), value.into())));
        }
        let spec = ProcessSpec {
            name: kind,
            program: self.options.program.clone(),
            args,
            envs,
            work_dir: self.options.dir.clone(),
            log: self.options.dir.join("logs").join(format!("{name}.log")),
            lifeline: Lifeline::Watchdog,
        };
        Child::spawn(name, spec, port, GRACE)
    }
}

/// Everything that OpenAI's table names, and two names that say what they are for.
fn models() -> Table {
    let named = models::of_vendor("openai").map(|model| (model, model));
    let named = named.chain([("fast", "gpt-4o-mini"), ("smart", "gpt-4o")]);
    let serve = |(alias, model): (&str, &str)| {
        let deployment = Table::from_iter([("provider".to_owned(), "sim".into()), ("model".to_owned(), model.into())]);
        let deployments = Value::Array(vec![Value::Table(deployment)]);
        (alias.to_owned(), Value::Table(Table::from_iter([("deployments".to_owned(), deployments)])))
    };
    named.map(serve).collect()
}

/// Lays one table over another, key by key.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

fn password() -> String {
    let rest = rand::rng().sample_iter(&Alphanumeric).take(PASSWORD_CHARS - 1).map(char::from);
    // A letter first: some places would read a number otherwise.
    std::iter::once('p').chain(rest).collect()
}

/// Writes a file that its owner alone can read.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    // Written beside and moved, so that nobody reads half of it.
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, build, load_text};
    use crate::env::Env;

    #[test]
    fn overrides_lie_over_the_generated_configuration_key_by_key() {
        let mut under: Table = toml::from_str("[worker]\ndrain = \"10s\"\nconcurrency = 1").expect("a table");
        let over: Table = toml::from_str("[worker]\nconcurrency = 2\n[sink]\nlease = \"2s\"").expect("a table");
        merge(&mut under, &over);
        assert_eq!(under["worker"]["drain"].as_str(), Some("10s"));
        assert_eq!(under["worker"]["concurrency"].as_integer(), Some(2));
        assert_eq!(under["sink"]["lease"].as_str(), Some("2s"));
    }

    #[test]
    fn the_generated_models_are_all_priced() {
        let mut config = Table::from_iter([("models".to_owned(), Value::Table(models()))]);
        merge(
            &mut config,
            &toml::from_str("[providers.sim]\nbase_url = \"http://127.0.0.1:1/v1\"\nprices_as = \"openai\"")
                .expect("a table"),
        );
        let loaded = load_text(&config.to_string(), None, &Overrides::default(), &Env::default()).expect("it loads");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let routes = build::routes(&loaded.config, &Env::default()).expect("no key is needed");
        assert!(routes.names().any(|name| name == "fast") && routes.names().any(|name| name == "gpt-4o"));
    }

    #[test]
    fn passwords_are_long_plain_and_different() {
        let (one, two) = (password(), password());
        assert!(one != two && one.len() == PASSWORD_CHARS && one.chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
