//! A stack that runs, as the demo uses it: it submits as its teams, and reads as the broker and the analyst.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tollgate_client::Producer;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_queue::{Connection, NatsConfig};
use tollgate_types::{NanoUsd, Team};
use tollgate_usage::questions::{Dimension, Filter};
use tollgate_usage::{ClickHouseConfig, HourRange, Store};

use super::bounds::Bounds;
use super::guard::Guard;
use super::progress::Show;
use super::report::Found;
use super::run::Run;
use super::trace::SlotTime;
use super::witness::Witness;
use super::workload::{Planned, Workload};
use crate::books;
use crate::exit::{Code, Failure};
use crate::stack::{Endpoints, ProcessEndpoint};

/// How long ClickHouse may take to have everything: a batch takes a second, a busy machine some more.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// The ways into a stack that runs.
pub(super) struct World {
    broker: Connection,
    log: CommitLog,
    state: State,
    store: Store,
    producers: BTreeMap<Team, Producer>,
    /// The simulated provider's address, if that is what is called.
    simulated: Option<String>,
    brokers: Vec<ProcessEndpoint>,
}

impl World {
    /// Connects to everything, as the broker and as each team that has jobs.
    ///
    /// # Errors
    /// What cannot be reached.
    pub(super) async fn open(endpoints: &Endpoints, jobs: &Workload, simulated: bool) -> Result<Self, Failure> {
        let Endpoints { nats, clickhouse, .. } = endpoints;
        let open = async |user: &str, password: &str, inbox_prefix: Option<String>| {
            let (user, password) = (Some(user.to_owned()), Some(password.to_owned().into()));
            let config = NatsConfig { url: nats.url.clone(), user, password, inbox_prefix, ..NatsConfig::default() };
            Connection::open(&config, "tollgate demo").await.map_err(|error| nats_failed(&error))
        };
        let broker = open(&nats.user, &nats.password, None).await?;
        let mut producers = BTreeMap::new();
        for (name, endpoint) in &nats.teams {
            let team: Team = name.parse().expect("the stack's teams have names");
            if jobs.by_team().contains_key(&team) {
                let connection = open(&endpoint.user, &endpoint.password, Some(endpoint.inbox_prefix.clone())).await?;
                producers.insert(team.clone(), Producer::new(connection.client, team));
            }
        }
        let context = crate::connect::jetstream(&broker);
        let log = CommitLog::open(&context).await.map_err(books::unread)?;
        let state = State::open(&context).await.map_err(|error| nats_failed(&error))?;
        let config = ClickHouseConfig {
            user: clickhouse.user.clone(),
            password: clickhouse.password.clone().into(),
            database: clickhouse.database.clone(),
            ..ClickHouseConfig::new(clickhouse.url.clone())
        };
        let store = Store::new(config).map_err(|error| clickhouse_failed(&error))?;
        let simulated = simulated.then(|| endpoints.sim.url.clone());
        Ok(World { broker, log, state, store, producers, simulated, brokers: endpoints.brokers.clone() })
    }

    /// The servers' versions, in words.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub(super) async fn versions(&self) -> Result<String, Failure> {
        let clickhouse = self.store.version().await.map_err(|error| clickhouse_failed(&error))?;
        Ok(format!("nats-server {}, ClickHouse {clickhouse}", self.broker.client.server_info().version))
    }

    /// The database that the rows go into.
    pub(super) fn database(&self) -> &str {
        self.store.database()
    }

    /// Runs the jobs and checks everything.
    ///
    /// # Errors
    /// What could not be read; jobs that are lost are no error here, but in the report.
    pub(super) async fn work(
        &self,
        jobs: Workload,
        bounds: Option<&Bounds>,
        patience: Duration,
        show: &Show,
    ) -> Result<Found, Failure> {
        let teams = jobs.by_team().iter().map(|(team, jobs)| (team.to_string(), *jobs as u64));
        let mut shown = show.results(&teams.collect::<Vec<_>>());
        show.say(format_args!("submitting {} jobs …", jobs.len()));
        let run = Run::new(self.producers.clone(), bounds.map(|bounds| Guard::new(bounds.cap)), patience);
        let bound =
            |job: &Planned| bounds.and_then(|bounds| bounds.of(job)).map_or(NanoUsd::ZERO, |bound| bound.total());
        let mut live = run.subscribe().await.map_err(|error| nats_failed(&error))?;
        let before = SlotTime::ask(&self.brokers).await;
        let started = Instant::now();
        let (took, slots, changed) = tokio::select! {
            done = async {
                let ((), followed) = tokio::join!(run.submit(jobs, bound), run.follow(self.log.tail(1), &mut shown));
                followed?;
                let took = run.last_result().map_or(Duration::ZERO, |last| last.duration_since(started));
                // Now: what follows is no work of theirs.
                let after = SlotTime::ask(&self.brokers).await;
                run.heard().await;
                Ok::<_, Failure>((took, after.zip(before), run.changed().await.len()))
            } => done?,
            () = run.listen(&mut live) => unreachable!("it listens for ever"),
        };
        shown.end();
        show.say("waiting for ClickHouse to have everything …");
        let last = self.log.bounds().await.map_err(books::unread)?.last;
        // What is missing then shows in the comparison.
        if let Err(late) = books::catch_up(&self.state, &self.log, last, CATCH_UP_MAX).await {
            show.say(late);
        }
        let folded = books::fold(&self.log, last, HourRange::ALL).await?;
        let compared =
            books::compare(folded, &self.store, HourRange::ALL).await.map_err(|error| clickhouse_failed(&error))?;
        let by = &[Dimension::Team, Dimension::Model];
        let usage =
            self.store.ask().usage(&Filter::default(), by).await.map_err(|error| clickhouse_failed(&error))?.rows;
        let heard = run.heard_count();
        let witness = match &self.simulated {
            Some(url) => Witness::ask(url).await,
            None => None,
        };
        let tally = run.into_tally();
        for (id, why) in tally.refused.iter().take(3) {
            show.say(format_args!("{id} was not accepted: {why}"));
        }
        Ok(Found {
            tally,
            changed,
            heard,
            books: compared,
            usage,
            witness,
            took,
            slots: slots.and_then(|(after, before)| after.since(before)),
        })
    }
}

fn nats_failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, "the demo's NATS did not do it").because(error)
}

fn clickhouse_failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Upstream, "the demo's ClickHouse did not do it").because(error)
}
