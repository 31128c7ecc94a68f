//! Rows of traces as jobs: whose each is, when it is due, and what it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tollgate_types::{Class, Endpoint, Team, job};
use toml::{Table, Value};

use super::file::{self, Row, TraceError};
use super::options::{Options, Speed};
use super::prompt::Filler;
use super::shares::rounded;
use crate::commands::demo::workload::{self, Due, Ids, Planned, Workload};
use crate::exit::{Code, Failure};

/// As many as the demo's own workload may have: what is kept of each job fits into memory.
const JOBS_MAX: usize = 1_000_000;

/// A team in its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// Whose.
    pub(super) team: Team,
    /// How urgent.
    pub(super) class: Class,
    /// Its share against others of its class.
    pub(super) weight: u32,
    /// How often it submits each of its rows.
    pub(super) copies: u32,
}

/// A row of a trace, whose it is and when it is due.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    due: Duration,
    lane: usize,
    row: Row,
}

/// What is replayed, in words for programs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Facts {
    traces: Vec<Trace>,
    /// How many times faster than recorded; nothing if everything was due at once.
    pub(super) speed: Option<f64>,
    rows: usize,
    /// From the first job to the last.
    span_seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Trace {
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<Team>,
}

/// Traces that are ready to be replayed. The rows are in memory, at some fifty bytes each; their jobs are not.
#[derive(Clone, Debug)]
pub(in crate::commands::demo) struct Replay {
    pub(super) lanes: Vec<Lane>,
    pub(super) facts: Facts,
    arrivals: Vec<Arrival>,
}

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub(in crate::commands::demo) struct Asking {
    /// The model.
    pub(in crate::commands::demo) model: String,
    /// Whether the provider is the simulated one, which can be told how long its answer is.
    pub(in crate::commands::demo) simulated: bool,
    /// The ids.
    pub(in crate::commands::demo) ids: Ids,
}

impl Replay {
    /// Reads every trace. `class` is that of all rows; otherwise each of the demo's teams has its own, and others have
    /// `standard`.
    ///
    /// # Errors
    /// A failure with [`Code::Usage`]: what is wrong with a trace, or with the options.
    pub(in crate::commands::demo) fn read(options: &Options, class: Option<Class>) -> Result<Self, Failure> {
        let mut lanes = Lanes::new(options, class)?;
        let mut arrivals = Vec::new();
        for source in &options.traces {
            let rows = file::read(&source.path, options.limit, JOBS_MAX).map_err(|error| refused(&error))?;
            for row in rows {
                let lane = lanes.of(source.team.as_ref());
                arrivals.push(Arrival { due: options.speed.due(row.after), lane, row });
            }
        }
        // Stable: rows of the same moment stay in the order of the files.
        arrivals.sort_by_key(|arrival| arrival.due);
        let lanes = lanes.all();
        let jobs: usize = arrivals.iter().map(|arrival| lanes[arrival.lane].copies as usize).sum();
        if jobs > JOBS_MAX {
            let failure = Failure::new(Code::Usage, format!("these are {jobs} jobs, more than {JOBS_MAX}"));
            return Err(failure.try_this("replay fewer rows with --limit, or a smaller --flood"));
        }
        let facts = Facts {
            traces: options.traces.iter().cloned().map(|of| Trace { file: of.path, team: of.team }).collect(),
            speed: match options.speed {
                Speed::Times(times) => Some(times),
                Speed::Max => None,
            },
            rows: arrivals.len(),
            span_seconds: arrivals.last().map_or(0.0, |last| rounded(last.due.as_secs_f64(), 1e3)),
        };
        Ok(Replay { lanes, facts, arrivals })
    }

    /// No rows, at the speed 1.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Self {
        Replay { lanes: vec![], facts: Facts { speed: Some(1.0), ..Facts::default() }, arrivals: vec![] }
    }

    /// The teams that have jobs.
    pub(in crate::commands::demo) fn teams(&self) -> impl Iterator<Item = &Team> {
        self.lanes.iter().map(|lane| &lane.team)
    }

    /// The weights as the broker's configuration has them.
    pub(in crate::commands::demo) fn weights(&self) -> Table {
        let weight = |lane: &Lane| {
            let weight = Table::from_iter([("weight".to_owned(), Value::from(i64::from(lane.weight)))]);
            (lane.team.to_string(), Value::Table(weight))
        };
        self.lanes.iter().map(weight).collect()
    }

    /// The jobs, each made when its turn comes. What a prompt takes is measured first.
    pub(in crate::commands::demo) async fn workload(&self, asking: Asking) -> Workload {
        let most = |of: fn(&Row) -> u32| self.arrivals.iter().map(|arrival| of(&arrival.row)).max().unwrap_or(1);
        let filler = Filler::calibrate(&asking.model, most(|row| row.prompt)).await;
        // One limit for all, as a service has it: how long an answer will be is not known beforehand.
        let limit = asking.simulated.then(|| most(|row| row.answer).next_power_of_two());
        let mut by_team = BTreeMap::new();
        for arrival in &self.arrivals {
            let lane = &self.lanes[arrival.lane];
            *by_team.entry(lane.team.clone()).or_default() += lane.copies as usize;
        }
        let lanes = self.lanes.clone();
        let copies: Vec<usize> = lanes.iter().map(|lane| lane.copies as usize).collect();
        let jobs = self
            .arrivals
            .clone()
            .into_iter()
            .flat_map(move |arrival| std::iter::repeat_n(arrival, copies[arrival.lane]));
        let due = move |(n, arrival): (usize, Arrival)| {
            let prompt = filler.prompt(n, arrival.row.prompt);
            let planned = planned(n, &lanes[arrival.lane], &arrival.row, (prompt, limit), &asking);
            Due { after: arrival.due, planned }
        };
        Workload::new(by_team, jobs.enumerate().map(due))
    }

    /// What will happen, in words.
    pub(in crate::commands::demo) fn in_words(&self) -> String {
        let speed = match self.facts.speed {
            Some(speed) => format!("over {:.1} s (speed {speed})", self.facts.span_seconds),
            None => "all at once".to_owned(),
        };
        let lanes: Vec<String> = self
            .lanes
            .iter()
            .map(|Lane { team, class, weight, copies }| {
                let copies = if *copies > 1 { format!(", {copies} copies of each row") } else { String::new() };
                format!("{team} ({class}, weight {weight}{copies})")
            })
            .collect();
        format!("replaying {} rows {speed}: {}", self.facts.rows, lanes.join(", "))
    }

    /// Whether the weights compare nothing, because no two teams share a class.
    pub(in crate::commands::demo) fn weights_compare_nothing(&self) -> bool {
        let classes: BTreeSet<Class> = self.lanes.iter().map(|lane| lane.class).collect();
        self.lanes.iter().any(|lane| lane.weight > 1) && classes.len() == self.lanes.len()
    }
}

fn refused(error: &TraceError) -> Failure {
    Failure::new(Code::Usage, "the trace cannot be replayed").because(error).try_this(error.fix())
}

fn planned(n: usize, lane: &Lane, row: &Row, (prompt, limit): (String, Option<u32>), asking: &Asking) -> Planned {
    let mut body = json!({
        "model": asking.model,
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": limit.unwrap_or(row.answer),
    });
    if asking.simulated {
        body["metadata"] = json!({ "sim": format!("tokens={}", row.answer) });
    }
    let line = json!({
        "custom_id": format!("trace-{n}"),
        "method": "POST",
        "url": Endpoint::ChatCompletions.as_str(),
        "body": body,
        "tollgate": { "version": job::VERSION, "project": "trace" },
    });
    let (team, class) = (lane.team.clone(), lane.class);
    Planned { id: asking.ids.of(&team, n), team, class, line: line.to_string().into() }
}

/// Deals rows to lanes.
struct Lanes {
    lanes: Vec<Lane>,
    /// Those that rows without a team go to in turn; never empty where there are such rows.
    dealt: Vec<usize>,
    turn: usize,
}

impl Lanes {
    fn new(options: &Options, class: Option<Class>) -> Result<Self, Failure> {
        let anyones = options.traces.iter().any(|source| source.team.is_none());
        if !anyones && !options.teams.is_empty() {
            let failure = Failure::new(Code::Usage, "--teams deals rows that have no team, and every trace has one");
            return Err(failure.try_this("leave --teams out, or one TEAM= of --trace"));
        }
        let dealt: Vec<Team> = match &options.teams[..] {
            [] if anyones => workload::teams().map(|(team, _)| team).to_vec(),
            teams => teams.to_vec(),
        };
        once("--teams", dealt.iter())?;
        let mut teams = dealt.clone();
        for team in options.traces.iter().filter_map(|source| source.team.as_ref()) {
            if !teams.contains(team) {
                teams.push(team.clone());
            }
        }
        let given =
            |list: &[(Team, u32)], team: &Team| list.iter().find(|(of, _)| of == team).map_or(1, |(_, number)| *number);
        for (flag, list) in [("--flood", &options.flood), ("--weights", &options.weights)] {
            once(flag, list.iter().map(|(team, _)| team))?;
            known(flag, list, &teams)?;
        }
        let lane = |team: &Team| Lane {
            team: team.clone(),
            class: class.unwrap_or_else(|| class_of(team)),
            weight: given(&options.weights, team),
            copies: given(&options.flood, team),
        };
        Ok(Lanes { lanes: teams.iter().map(lane).collect(), dealt: (0..dealt.len()).collect(), turn: 0 })
    }

    fn of(&mut self, team: Option<&Team>) -> usize {
        if let Some(team) = team {
            return self.lanes.iter().position(|lane| lane.team == *team).expect("every team of a trace has a lane");
        }
        self.turn += 1;
        self.dealt[(self.turn - 1) % self.dealt.len()]
    }

    fn all(self) -> Vec<Lane> {
        self.lanes
    }
}

fn class_of(team: &Team) -> Class {
    let demos = workload::teams();
    demos.iter().find(|(name, _)| name == team).map_or(Class::Standard, |(_, class)| *class)
}

fn once<'a>(flag: &str, teams: impl Iterator<Item = &'a Team>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for team in teams {
        if !seen.insert(team) {
            return Err(Failure::new(Code::Usage, format!("{flag} names {team} twice")));
        }
    }
    Ok(())
}

fn known(flag: &str, list: &[(Team, u32)], teams: &[Team]) -> Result<(), Failure> {
    let Some((stranger, _)) = list.iter().find(|(team, _)| !teams.contains(team)) else { return Ok(()) };
    let names: Vec<&str> = teams.iter().map(Team::as_str).collect();
    let failure = Failure::new(Code::Usage, format!("{flag} names {stranger}, which has no rows"));
    Err(failure.try_this(format!("use one of: {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tollgate_types::JobSpec;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[arg(long)]
        count: Option<usize>,
        #[arg(long)]
        faults: Option<String>,
        #[command(flatten)]
        options: Options,
    }

    fn options(flags: &[&str]) -> Options {
        let line = <Line as clap::Parser>::try_parse_from([&["demo"], flags].concat()).expect("they are well formed");
        line.options
    }

    /// Five rows, a second apart.
    fn trace() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "TIMESTAMP,ContextTokens,GeneratedTokens").expect("it is written");
        for second in 0..5 {
            writeln!(file, "2023-11-16 18:15:4{second}.5,{},{}", 100 + second, 20 + second).expect("it is written");
        }
        file
    }

    fn asking(simulated: bool) -> Asking {
        Asking { model: "m".into(), simulated, ids: Ids { run: "0a".into() } }
    }

    async fn jobs(replay: &Replay, simulated: bool) -> Vec<Due> {
        replay.workload(asking(simulated)).await.collect()
    }

    #[tokio::test]
    async fn rows_are_dealt_in_turn_and_due_at_their_time_divided_by_the_speed() {
        let file = trace();
        let path = file.path().to_str().expect("a plain path");
        let replay = Replay::read(&options(&["--trace", path, "--speed", "10"]), None).expect("a replay");
        let jobs = jobs(&replay, true).await;
        let lanes: Vec<(&str, Class)> = jobs.iter().map(|job| (job.planned.team.as_str(), job.planned.class)).collect();
        let own = [("search", Class::Interactive), ("marketing", Class::Standard), ("batchers", Class::Batch)];
        assert_eq!(lanes, [own[0], own[1], own[2], own[0], own[1]]);
        let due: Vec<u128> = jobs.iter().map(|job| job.after.as_millis()).collect();
        assert_eq!(due, [0, 100, 200, 300, 400]);
        assert_eq!(replay.facts.span_seconds, 0.4);
    }

    #[tokio::test]
    async fn a_job_tells_the_simulated_provider_the_length_of_its_answer_and_a_real_one_its_limit() {
        let file = trace();
        let path = file.path().to_str().expect("a plain path");
        let replay =
            Replay::read(&options(&["--trace", path, "--speed", "max"]), Some(Class::Batch)).expect("a replay");
        for (simulated, limit, sim) in [(true, 32, Some("tokens=24")), (false, 24, None)] {
            let jobs = jobs(&replay, simulated).await;
            let spec = JobSpec::decode(&jobs[4].planned.line, 4096).expect("a job");
            assert_eq!((spec.request.max_tokens, jobs[4].planned.class), (Some(limit), Class::Batch));
            let body: serde_json::Value = serde_json::from_slice(&spec.body).expect("a body");
            assert_eq!(body["metadata"]["sim"].as_str(), sim);
        }
    }

    #[tokio::test]
    async fn a_flood_copies_each_row_of_its_team_and_several_traces_run_side_by_side() {
        let file = trace();
        let path = file.path().to_str().expect("a plain path");
        let (a, b) = (format!("a={path}"), format!("b={path}"));
        let flags = ["--trace", &a, "--trace", &b, "--flood", "b=3", "--weights", "a=7", "--limit", "2"];
        let replay = Replay::read(&options(&flags), None).expect("a replay");
        let workload = replay.workload(asking(true)).await;
        assert_eq!(workload.len(), 8);
        let counts: Vec<(String, usize)> =
            workload.by_team().iter().map(|(team, jobs)| (team.to_string(), *jobs)).collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 6)]);
        let jobs: Vec<Due> = workload.collect();
        let order: Vec<&str> = jobs.iter().map(|job| job.planned.team.as_str()).collect();
        assert_eq!(order, ["a", "b", "b", "b", "a", "b", "b", "b"]);
        let ids: BTreeSet<String> = jobs.iter().map(|job| job.planned.id.to_string()).collect();
        assert_eq!(ids.len(), 8, "each copy is a job of its own");
        assert_eq!(replay.weights()["a"]["weight"].as_integer(), Some(7));
        assert!(!replay.weights_compare_nothing(), "both have the class standard");
    }

    #[test]
    fn options_that_say_nothing_are_refused() {
        let file = trace();
        let path = file.path().to_str().expect("a plain path");
        let check = |flags: &[&str], expected: &str| {
            let failure = Replay::read(&options(flags), None).expect_err("refused");
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.to_string().contains(expected), "{failure}");
        };
        check(&["--trace", path, "--flood", "stranger=2"], "--flood names stranger, which has no rows");
        check(&["--trace", path, "--weights", "search=2,search=3"], "--weights names search twice");
        check(&["--trace", path, "--teams", "a,b,a"], "--teams names a twice");
        check(&["--trace", &format!("a={path}"), "--teams", "b"], "every trace has one");
        check(&["--trace", "/no/such.csv"], "/no/such.csv: it cannot be read");
        let million = ["--trace", path, "--teams", "a", "--flood", "a=10000"];
        assert!(Replay::read(&options(&million), None).is_ok(), "50,000 jobs");
    }
}
