//! The sweeper as its process sees it: stand by, be active, stand by again, until told to stop.
//!
//! Two sweepers at once (a paused one that wakes) do the same work twice, and every step of it bears that.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;
use tollgate_queue::tombs::{Removal, Tombs};
use tollgate_queue::{Connection, CrashPlan, Directory, ServerClock};

use crate::entomb::Entomb;
use crate::forget::Forget;
use crate::passed::passed;
use crate::request::{AGAIN, Kept};
use crate::sweep::{Round, Sweep};

/// How a sweeper works.
#[derive(Clone, Debug)]
pub struct SweeperConfig {
    /// Names this process among those that could be active.
    pub name: String,
    /// A sweeper that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// How often old results and requests are looked for.
    pub look: Duration,
    /// The pause between two rounds while there is more: it bounds what sweeping takes of the server.
    pub breath: Duration,
    /// Where the process dies on purpose; empty outside of tests.
    pub crash: CrashPlan,
}

impl SweeperConfig {
    /// A look every five seconds, and at most 200 results of each walk in a tenth of a second.
    pub fn new(name: impl Into<String>) -> Self {
        SweeperConfig {
            name: name.into(),
            lease: Duration::from_secs(5),
            look: Duration::from_secs(5),
            breath: Duration::from_millis(100),
            crash: CrashPlan::default(),
        }
    }
}

/// Removes the texts of old results, and finishes what somebody wanted forgotten.
pub struct Sweeper {
    config: SweeperConfig,
    log: CommitLog,
    state: State,
    directory: Directory,
    clock: ServerClock,
    tombs: Tombs,
    forget: Forget,
    /// When requests were looked for last.
    looked: Option<Instant>,
}

/// The key of the sweeper's office.
const KEY: &str = "sweeper";

impl Sweeper {
    /// A sweeper that does nothing yet; the directory must be followed by somebody.
    pub fn new(
        config: SweeperConfig,
        connection: &Connection,
        log: CommitLog,
        state: State,
        (directory, clock): (Directory, ServerClock),
    ) -> Sweeper {
        let crash = config.crash.clone();
        let tombs = Tombs::new(connection, Removal::Delete, crash.clone());
        let forget = Forget::new(connection.clone(), state.clone(), log.clone(), clock.clone(), crash);
        Sweeper { config, log, state, directory, clock, tombs, forget, looked: None }
    }

    /// Runs until `shutdown`: stands by, and sweeps while it is in office. Trouble with the server is logged and waited
    /// out. May be dropped at any time with the effect of a crash.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut office = Office::new(self.state.clone(), KEY, &self.config.name, self.config.lease);
        metrics::gauge!("tollgate_sweeper_active").set(0.0);
        while let Some(mut term) = office.stand_by(&shutdown).await {
            metrics::gauge!("tollgate_sweeper_active").set(1.0);
            let left = self.serve(&mut term, &shutdown).await;
            metrics::gauge!("tollgate_sweeper_active").set(0.0);
            match left {
                Left::Stopped => {
                    term.release().await;
                    break;
                }
                Left::Fenced => tracing::warn!(name = self.config.name, "another sweeper took over; standing by"),
            }
        }
    }

    async fn serve(&mut self, term: &mut Term, stop: &CancellationToken) -> Left {
        let mut sweep = Sweep::default();
        loop {
            let round = match self.round_in_office(&mut sweep, term, stop).await {
                Ok(round) => round,
                Err(left) => return left,
            };
            if let Err(left) = term.advance(Value::Null, stop).await {
                return left;
            }
            let more = round.is_some_and(|round| round.more);
            let pause = if more { self.config.breath } else { self.config.look.min(self.config.lease / 2) };
            tokio::select! {
                () = stop.cancelled() => return Left::Stopped,
                () = sleep(pause) => {}
            }
        }
    }

    /// One round, with signs of life on the way: to finish what somebody wanted forgotten may take minutes.
    async fn round_in_office(
        &mut self,
        sweep: &mut Sweep,
        term: &mut Term,
        stop: &CancellationToken,
    ) -> Result<Option<Round>, Left> {
        // What is dropped half-way is found and finished by whoever looks next.
        let mut round = pin!(self.round(sweep));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Left::Stopped),
                round = &mut round => return Ok(round),
                () = sleep_until(term.touch_at()) => term.touch(stop).await?,
            }
        }
    }

    async fn round(&mut self, sweep: &mut Sweep) -> Option<Round> {
        match self.try_round(sweep).await {
            Ok(round) => {
                if round.swept > 0 {
                    metrics::counter!("tollgate_results_swept_total").increment(round.swept);
                    tracing::debug!(count = round.swept, "results lost their texts, being older than they are kept");
                }
                Some(round)
            }
            Err(error) => {
                tracing::warn!(error = &*error, "results not swept; again");
                None
            }
        }
    }

    async fn try_round(&mut self, sweep: &mut Sweep) -> Result<Round, Box<dyn std::error::Error + Send + Sync>> {
        let log = self.log.reopen().await?;
        if log.identity() != self.log.identity() {
            sweep.clear();
        }
        self.log = log;
        if self.looked.is_none_or(|looked| looked.elapsed() >= self.config.look) {
            self.finish_requests().await?;
            self.looked = Some(Instant::now());
        }
        let passed = passed(&self.state, &self.log).await?;
        let entomb = Entomb::new(&self.tombs, &self.state, &self.log, passed);
        Ok(sweep.round((&self.tombs, &entomb), &self.directory, &passed, self.clock.now()).await?)
    }

    /// Looks after every request that is due.
    async fn finish_requests(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for kept in Kept::all(&self.state).await? {
            if kept.request.due > self.clock.now() {
                continue;
            }
            let team = kept.request.team.clone();
            match self.forget.once(&kept.request).await {
                Ok(done) if done.pending == 0 => {
                    kept.done(&self.state).await?;
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, %team, "not forgotten yet");
                }
            }
            kept.put_off(self.clock.now().plus(AGAIN), &self.state).await?;
        }
        Ok(())
    }
}
