//! What the broker looks like at one moment, as far as the rules need it. Parts that could not be read are absent.

use tollgate_types::{NanoUsd, Scope, UnixMillis};

pub use tollgate_queue::blobs::Space as Blobs;

/// One look at the broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, by the server's clock.
    pub at: UnixMillis,
    /// Every lane in which something waits or runs.
    pub lanes: Option<Vec<Lane>>,
    /// Where every cap stands.
    pub budgets: Option<Vec<BudgetState>>,
    /// Dead letters by team, those of no team under an empty name.
    pub dead: Option<Vec<Dead>>,
    /// How far the sink is.
    pub sink: Option<Sink>,
    /// How full the room for bodies that do not fit a message is.
    pub blobs: Option<Blobs>,
    /// How the calls of the last minutes went, by deployment.
    pub providers: Option<Vec<Deployment>>,
    /// What a job of one kind uses now, and used in the week before.
    pub drift: Option<Vec<Drift>>,
    /// In how many places the books disagree.
    pub books: Option<Books>,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// The class, as it is in the subject.
    pub class: String,
    /// The team, as it is in the subject.
    pub team: String,
    /// Jobs in the lane, with those that run.
    pub waiting: u64,
    /// Jobs parked behind gates that are narrower than the lane.
    pub parked: u64,
    /// When its oldest job was accepted, of those in the lane itself.
    pub oldest: Option<UnixMillis>,
    /// Jobs that workers hold.
    pub in_flight: u64,
    /// Deliveries from it since its consumer was made.
    pub delivered: u64,
    /// The team's share against others of its class; 0 if it is not registered.
    pub weight: u32,
    /// Why it stands still, if somebody paused it.
    pub paused: Option<String>,
}

/// Where one cap stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// Whose money it is.
    pub scope: Scope,
    /// The team, if it is a team's.
    pub team: Option<String>,
    /// The window, such as `day`.
    pub window: String,
    /// When the window began.
    pub starts: UnixMillis,
    /// When it ends.
    pub ends: UnixMillis,
    /// The cap now.
    pub cap: NanoUsd,
    /// What results cost.
    pub settled: NanoUsd,
    /// What workers hold.
    pub held: NanoUsd,
    /// What will be settled at the window's end if things go on as they went.
    pub at_end: Option<NanoUsd>,
    /// When the cap will be spent, if that is before the end.
    pub spent_at: Option<UnixMillis>,
}

/// Dead letters of one team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The team; empty for those whose subject names none.
    pub team: String,
    /// How many there are.
    pub letters: u64,
}

/// How far the sink is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sink {
    /// Records that are not in ClickHouse yet.
    pub behind: u64,
    /// When the oldest of them was stored.
    pub oldest: Option<UnixMillis>,
}

/// How the calls to one deployment went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Calls that ended in the last minutes.
    pub calls: u64,
    /// Those that a provider is to blame for.
    pub failed: u64,
}

/// What a job of one kind uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The team.
    pub team: String,
    /// The kind: `model gpt-4o`, or a label and its value.
    pub kind: String,
    /// Jobs of the last day.
    pub jobs: u64,
    /// Their tokens per job.
    pub tokens_per_job: f64,
    /// Jobs of the week before.
    pub jobs_before: u64,
    /// Their tokens per job.
    pub tokens_per_job_before: f64,
}

/// Whether the log's sums, the raw table and the rollups agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// In how many places they do not.
    pub differences: u64,
    /// The first of them, in words.
    pub first: Option<String>,
}
