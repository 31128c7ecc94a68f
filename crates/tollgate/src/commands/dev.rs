//! `dev`: a whole system on this machine, to try things out.

use std::path::PathBuf;
use std::time::Duration;

use sandbox::{Event, Progress};

use super::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::signals::Signals;
use crate::stack::{Endpoints, Ports, SimOptions, Stack, StackOptions, write_private};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of all data and logs; kept afterwards. Without it, a temporary one that is removed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Teams, comma separated
    #[arg(long, value_delimiter = ',', default_value = "search,marketing,batchers", value_name = "NAMES")]
    teams: Vec<String>,
    /// Worker processes
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Run the sink as a process of its own
    #[arg(long)]
    separate_sink: bool,
    /// Port of NATS; a free one if left out
    #[arg(long, value_name = "PORT")]
    nats_port: Option<u16>,
    /// Port of ClickHouse; a free one if left out
    #[arg(long, value_name = "PORT")]
    clickhouse_port: Option<u16>,
    /// Port of the simulated provider; a free one if left out
    #[arg(long, value_name = "PORT")]
    sim_port: Option<u16>,
    /// Port of probes and metrics; a free one if left out
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// How fast and how long answers are: instant, fast or realistic
    #[arg(long, default_value = "fast")]
    profile: String,
    /// Faults of the simulated provider by chance, such as `429@0.05;hang@0.01`
    #[arg(long, default_value = "", value_name = "PLAN")]
    faults: String,
    /// File that gets all addresses and passwords as JSON once everything is ready
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until a signal, or until a part ends by itself.
///
/// # Errors
/// Which part did not start or ended.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let mut signals = Signals::listen()?;
    // Removed when it is dropped, after the stack.
    let temporary = match args.dir {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("tollgate-dev-")
                .tempdir()
                .map_err(|error| failed("make a directory", &error))?,
        ),
    };
    let dir = args.dir.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let dir = dir.expect("one of the two is there");
    let program = std::env::current_exe().map_err(|error| failed("find this program", &error))?;
    let options = StackOptions {
        teams: args.teams,
        workers: args.workers,
        separate_sink: args.separate_sink,
        sim: SimOptions { profile: args.profile, faults: args.faults, ..SimOptions::default() },
        ports: Ports {
            nats: args.nats_port,
            clickhouse: args.clickhouse_port,
            sim: args.sim_port,
            http: args.http_port,
        },
        ..StackOptions::new(program, dir)
    };
    output::say("starting NATS, ClickHouse, a simulated provider and the broker …");
    let progress = progress();
    let mut stack = tokio::select! {
        started = Stack::start(options, &progress) => started?,
        _ = signals.next() => return Ok(Code::Interrupted),
    };
    let endpoints = stack.endpoints();
    if let Some(path) = &args.ready_file {
        let json = serde_json::to_string_pretty(&endpoints).expect("texts and numbers serialise");
        write_private(path, &json).map_err(|error| failed("write the ready file", &error))?;
    }
    cx.output.record(&endpoints, welcome)?;
    let outcome = loop {
        tokio::select! {
            _ = signals.next() => break Ok(Code::Ok),
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Some(fallen) = stack.fallen() {
            break Err(Failure::new(Code::Failed, fallen));
        }
    };
    output::say("stopping …");
    tokio::select! {
        stopped = stack.stop() => stopped?,
        // Dropped, everything is killed.
        _ = signals.next() => return Ok(Code::Interrupted),
    }
    outcome
}

fn failed(doing: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::Usage, format!("cannot {doing}")).because(error)
}

fn progress() -> Progress {
    Progress::new(|event| match event {
        Event::Waiting { what } => output::say(format_args!("waiting for another process that fetches {what} …")),
        Event::Fetching { what, from, .. } => output::say(format_args!("fetching {what} from {from} …")),
        Event::Unpacking { what, .. } => output::say(format_args!("unpacking {what} …")),
        Event::Done { path, took } => output::say(format_args!("{} is there after {took:.1?}", path.display())),
        Event::Progress { .. } | _ => {}
    })
}

fn welcome(endpoints: &Endpoints) -> String {
    let Endpoints { nats, clickhouse, sim, .. } = endpoints;
    let mut lines = vec![
        format!("Tollgate is running in {}", endpoints.dir.display()),
        String::new(),
        format!("  NATS          {}   broker: {} / {}", nats.url, nats.user, nats.password),
    ];
    for (name, team) in &nats.teams {
        lines.push(format!(
            "    team {name:<12} {} / {}   inbox prefix {}",
            team.user, team.password, team.inbox_prefix
        ));
    }
    lines.push(format!(
        "  ClickHouse    {}   {} / {}   database {}",
        clickhouse.url, clickhouse.user, clickhouse.password, clickhouse.database
    ));
    lines.push(format!("  Provider      {}   simulated; {}/__sim/calls", sim.base_url, sim.url));
    for broker in &endpoints.brokers {
        lines.push(format!("  Broker        {}   {}: /v1 /dashboard /readyz /metrics", broker.url, broker.name));
    }
    lines.push(format!("  Configuration {}", endpoints.config.display()));
    if let Some((name, team)) = nats.teams.iter().next() {
        lines.extend(examples(endpoints, name, &team.password));
    }
    lines.push("Ctrl-C stops everything.".to_owned());
    lines.join("\n")
}

fn examples(endpoints: &Endpoints, team: &str, password: &str) -> Vec<String> {
    let Endpoints { nats, clickhouse, .. } = endpoints;
    let body = r#"{"body":{"model":"fast","messages":[{"role":"user","content":"Say hello."}]}}"#;
    let chat = r#"{"model":"fast","messages":[{"role":"user","content":"Say hello."}]}"#;
    let front = endpoints.brokers.first().map(|broker| broker.url.as_str()).unwrap_or_default();
    let ask = format!("SELECT team, model, status, count() FROM {}.usage_events GROUP BY ALL", clickhouse.database);
    vec![
        String::new(),
        "With the `nats` command, as a team:".to_owned(),
        format!(
            "  nats context add tollgate-{team} --server {} --user {team} --password {password} --inbox-prefix _INBOX_{team}",
            nats.url
        ),
        format!(
            "  nats --context tollgate-{team} request tollgate.jobs.standard.{team} '{body}' -H Nats-Msg-Id:{team}:1"
        ),
        format!("  nats --context tollgate-{team} sub 'tollgate.results.{team}.>'"),
        "With this program, as the operator:".to_owned(),
        format!("  tollgate doctor --config {}", endpoints.config.display()),
        "With OpenAI's or Anthropic's client, or curl, as a team:".to_owned(),
        format!("  KEY=$(tollgate key create --team {team} --name me --config {})", endpoints.config.display()),
        format!("  curl {front}/v1/chat/completions -H \"Authorization: Bearer $KEY\" --json '{chat}'"),
        "With any NATS client, as a team:".to_owned(),
        format!("  export NATS_URL={} NATS_USER={team} NATS_PASSWORD={password}", nats.url),
        "What was spent:".to_owned(),
        format!("  curl -u {}:{} {}/ --data '{ask}'", clickhouse.user, clickhouse.password, clickhouse.url),
        String::new(),
    ]
}
