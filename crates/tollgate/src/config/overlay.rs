//! What lies over the file: contexts of the `nats` command, the environment, flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use tollgate_types::{Class, Team};

use super::sections::{Config, Nats};
use super::values::Secret;
use super::{Origin, Origins, Problem, context};
use crate::env::Env;

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Configuration file [env: TOLLGATE_CONFIG; default: ./tollgate.toml if it exists]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// NATS server URLs, comma separated [env: NATS_URL; also NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CA, …]
    #[arg(short = 's', long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Context of the `nats` command [env: NATS_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// NATS credentials file [env: NATS_CREDS]
    #[arg(long, global = true, value_name = "PATH")]
    pub creds: Option<PathBuf>,
    /// NATS NKey seed file [env: NATS_NKEY]
    #[arg(long, global = true, value_name = "PATH")]
    pub nkey: Option<PathBuf>,
    /// ClickHouse URL [env: CLICKHOUSE_URL; also CLICKHOUSE_USER, CLICKHOUSE_PASSWORD]
    #[arg(long, global = true, value_name = "URL")]
    pub clickhouse_url: Option<String>,
    /// Where probes and metrics listen; a flag of `serve`.
    #[arg(skip)]
    pub listen: Option<SocketAddr>,
    /// The worker's name; a flag of `serve`.
    #[arg(skip)]
    pub name: Option<String>,
    /// The classes that the worker serves; a flag of `serve`.
    #[arg(skip)]
    pub classes: Option<Vec<Class>>,
    /// The teams that it serves; a flag of `serve`.
    #[arg(skip)]
    pub teams: Option<Vec<Team>>,
    /// Its jobs in flight; a flag of `serve`.
    #[arg(skip)]
    pub concurrency: Option<usize>,
}

/// Lays everything over the file, the weakest first.
///
/// # Errors
/// Returns which context cannot be read.
pub fn apply(config: &mut Config, origins: &mut Origins, overrides: &Overrides, env: &Env) -> Result<(), Problem> {
    lay_context(config, origins, overrides, env)?;
    let mut lay = Layer { config, origins };
    lay.environment(env);
    lay.flags(overrides);
    Ok(())
}

fn lay_context(config: &mut Config, origins: &mut Origins, flags: &Overrides, env: &Env) -> Result<(), Problem> {
    let named_by_file = config.nats.context.clone();
    let server_is_named = flags.server.is_some() || env.get("NATS_URL").is_some() || origins.contains_key("nats.url");
    let (name, named_by) = if let Some(name) = &flags.context {
        (name.clone(), Origin::Flag("--context"))
    } else if let Some(name) = env.get("NATS_CONTEXT") {
        (name, Origin::Env("NATS_CONTEXT"))
    } else if let Some(name) = named_by_file {
        (name, origins.get("nats.context").cloned().unwrap_or(Origin::Default))
    } else if let Some(name) = context::selected(env).filter(|_| !server_is_named) {
        (name.clone(), Origin::Context(name))
    } else {
        return Ok(());
    };
    let failed = |reason| Problem { key: "nats.context".to_owned(), origin: named_by.clone(), reason };
    // A context is a server with its credentials, so it replaces the section: the file's password is for the file's
    // server alone.
    let nats = context::read(&name, env).map_err(failed)?;
    origins.retain(|key, _| !key.starts_with("nats."));
    for key in spoken(&nats) {
        origins.insert(format!("nats.{key}"), Origin::Context(name.clone()));
    }
    config.nats = Nats { context: Some(name), ..nats };
    origins.insert("nats.context".to_owned(), named_by);
    Ok(())
}

/// The keys that differ from their defaults.
fn spoken(nats: &Nats) -> Vec<&'static str> {
    let keys = [
        ("url", true),
        ("user", nats.user.is_some()),
        ("password", nats.password.is_some()),
        ("token", nats.token.is_some()),
        ("creds", nats.creds.is_some()),
        ("nkey", nats.nkey.is_some()),
        ("tls_ca", nats.tls_ca.is_some()),
        ("tls_cert", nats.tls_cert.is_some()),
        ("tls_key", nats.tls_key.is_some()),
        ("inbox_prefix", nats.inbox_prefix.is_some()),
    ];
    keys.into_iter().filter(|(_, spoken)| *spoken).map(|(key, _)| key).collect()
}

/// Puts a text where it belongs.
type Set = fn(&mut Config, String);

struct Layer<'a> {
    config: &'a mut Config,
    origins: &'a mut Origins,
}

impl Layer<'_> {
    fn environment(&mut self, env: &Env) {
        let texts: [(&str, &'static str, Set); 16] = [
            ("nats.url", "NATS_URL", |c, v| c.nats.url = v),
            ("nats.user", "NATS_USER", |c, v| c.nats.user = Some(v)),
            ("nats.password", "NATS_PASSWORD", |c, v| c.nats.password = Some(Secret::new(v))),
            ("nats.token", "NATS_TOKEN", |c, v| c.nats.token = Some(Secret::new(v))),
            ("nats.creds", "NATS_CREDS", |c, v| c.nats.creds = Some(v.into())),
            ("nats.nkey", "NATS_NKEY", |c, v| c.nats.nkey = Some(v.into())),
            ("nats.tls_cert", "NATS_CERT", |c, v| c.nats.tls_cert = Some(v.into())),
            ("nats.tls_key", "NATS_KEY", |c, v| c.nats.tls_key = Some(v.into())),
            ("nats.tls_ca", "NATS_CA", |c, v| c.nats.tls_ca = Some(v.into())),
            ("clickhouse.url", "CLICKHOUSE_URL", |c, v| c.clickhouse.url = v),
            ("clickhouse.user", "CLICKHOUSE_USER", |c, v| c.clickhouse.user = v),
            ("clickhouse.password", "CLICKHOUSE_PASSWORD", |c, v| c.clickhouse.password = Secret::new(v)),
            ("telemetry.log", "RUST_LOG", |c, v| c.telemetry.log = v),
            ("telemetry.log", "TOLLGATE_LOG", |c, v| c.telemetry.log = v),
            ("telemetry.traces.endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", |c, v| c.telemetry.traces.endpoint = Some(v)),
            ("telemetry.traces.service", "OTEL_SERVICE_NAME", |c, v| c.telemetry.traces.service = v),
        ];
        for (key, variable, set) in texts {
            if let Some(value) = env.get(variable) {
                set(self.config, value);
                self.origins.insert(key.to_owned(), Origin::Env(variable));
            }
        }
    }

    fn flags(&mut self, flags: &Overrides) {
        let flags = flags.clone();
        self.flag("nats.url", "--server", flags.server, |c, v| c.nats.url = v);
        self.flag("nats.creds", "--creds", flags.creds, |c, v| c.nats.creds = Some(v));
        self.flag("nats.nkey", "--nkey", flags.nkey, |c, v| c.nats.nkey = Some(v));
        self.flag("clickhouse.url", "--clickhouse-url", flags.clickhouse_url, |c, v| c.clickhouse.url = v);
        self.flag("http.listen", "--listen", flags.listen, |c, v| c.http.listen = v);
        self.flag("worker.name", "--name", flags.name, |c, v| c.worker.name = Some(v));
        self.flag("worker.classes", "--classes", flags.classes, |c, v| c.worker.classes = v);
        self.flag("worker.teams", "--teams", flags.teams, |c, v| c.worker.teams = v);
        self.flag("worker.concurrency", "--concurrency", flags.concurrency, |c, v| c.worker.concurrency = v);
    }

    fn flag<T>(&mut self, key: &str, flag: &'static str, value: Option<T>, set: fn(&mut Config, T)) {
        if let Some(value) = value {
            set(self.config, value);
            self.origins.insert(key.to_owned(), Origin::Flag(flag));
        }
    }
}
