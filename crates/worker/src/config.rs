//! What a worker is told, and what it works with.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_policy::failure::Limits;
use tollgate_providers::outbound::Reach;
use tollgate_providers::{Caller, Checker};
use tollgate_queue::Directory;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::ledger::Records;
use tollgate_queue::state::State;
use tollgate_queue::{Connection, CrashPlan, LaneConfig, Lanes, Results, ServerClock, Wait};
use tollgate_types::{Class, LaneKey};

use crate::routes::Routes;

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in results, records and logs; unique among workers.
    pub name: String,
    /// The most jobs in flight.
    pub concurrency: usize,
    /// How the lanes' consumers are made; their ack wait is the lease of a job.
    pub lanes: LaneConfig,
    /// The largest payload that is read, in bytes.
    pub payload_bytes_max: usize,
    /// The most memory that prompts take which do not fit a message, in bytes; the largest takes all of it, if need be.
    pub bodies_bytes_max: u64,
    /// How much may be tried for one job.
    pub limits: Limits,
    /// Tokens of an answer without a limit of its own, where the model's is not known either; for upper bounds.
    pub output_tokens_default: u64,
    /// How long jobs in flight may go on after a stop was asked for.
    pub drain: Duration,
    /// Which lanes are served.
    pub pool: Pool,
    /// How long a block of money or of permits is leased; a dead worker's is back after it and a few seconds.
    pub lease: Duration,
    /// The most bytes of kept answers that are held in memory beside the stream of them.
    pub cache_memory_bytes_max: u64,
    /// What prompts may name for a provider to fetch.
    pub reach: Reach,
    /// Where the process dies on purpose; empty outside of tests.
    pub crash: CrashPlan,
}

/// Which lanes a worker serves; nothing named means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// These classes.
    pub classes: Vec<Class>,
    /// These teams. A pool that names teams does not answer jobs of unknown ones.
    pub teams: Vec<String>,
}

impl Pool {
    /// Whether a lane is served.
    pub fn serves(&self, lane: &LaneKey) -> bool {
        let class = self.classes.is_empty() || lane.known_class().is_some_and(|class| self.classes.contains(&class));
        class && (self.teams.is_empty() || self.teams.contains(&lane.team))
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "worker".into(),
            concurrency: 256,
            lanes: LaneConfig::default(),
            payload_bytes_max: 64 << 20,
            // The largest fits eight times.
            bodies_bytes_max: 512 << 20,
            limits: Limits::default(),
            output_tokens_default: 16_384,
            drain: Duration::from_secs(120),
            pool: Pool::default(),
            lease: crate::ledger::LEASE,
            cache_memory_bytes_max: 64 << 20,
            reach: Reach::Public,
            crash: CrashPlan::default(),
        }
    }
}

/// What a worker works with; the binary builds the parts and owns their order of start and stop.
pub struct Parts {
    /// The connection that everything below shares.
    pub connection: Connection,
    /// The server's clock.
    pub clock: ServerClock,
    /// The jobs.
    pub lanes: Lanes,
    /// The commit log.
    pub results: Results,
    /// Dead letters.
    pub dead: DeadLetters,
    /// The broker's small state; suspects are marked there.
    pub state: State,
    /// Who is registered, and what they may.
    pub directory: Directory,
    /// The waiting jobs.
    pub wait: Wait,
    /// Account and limit records.
    pub records: Records,
    /// The identity of the results stream.
    pub log: String,
    /// Which deployments serve what.
    pub routes: Routes,
    /// The way out.
    pub caller: Caller,
    /// The external checkers that rules of guardrails name.
    pub checkers: BTreeMap<String, Checker>,
}
