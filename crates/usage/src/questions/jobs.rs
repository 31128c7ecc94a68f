//! Single jobs: a page of them, and one with all its calls.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use tollgate_types::Tokens;

use super::facts::Facts;
use super::filter::Filter;
use super::{Asked, Questions, literal, read};
use crate::error::StoreError;

/// The most jobs of one page.
const PAGE_MAX: usize = 1_000;

/// The most rows of one job: hundreds of redeliveries with all their calls.
const JOB_ROWS_MAX: usize = 2_000;

/// Which jobs; all by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// When, and who and what.
    pub about: Filter,
    /// How the job ended, such as `failed`.
    pub status: Option<String>,
    /// The stable code of why it did not succeed.
    pub error_code: Option<String>,
    /// `miss`, `hit` or `bypass`.
    pub cache: Option<String>,
    /// The id of the job begins with this.
    pub job: Option<String>,
    /// This stands in the job's id, user or project, whatever the case of its letters.
    pub text: Option<String>,
    /// Jobs before this one: the next page.
    pub before: Option<Cursor>,
    /// How many; 0 for the most that a page may have.
    pub limit: usize,
}

/// The place of a job in the order of the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// [`JobLine::ts_ms`].
    pub ts_ms: i64,
    /// [`JobLine::team`].
    pub team: String,
    /// [`JobLine::job`].
    pub job: String,
}

/// A finished job.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct JobLine {
    /// When its result was stored, milliseconds.
    pub ts_ms: i64,
    /// The job.
    pub job: String,
    /// The team.
    pub team: String,
    /// The class.
    pub class: String,
    /// The project; empty if none.
    pub project: String,
    /// The end user; empty if none.
    pub user: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// The model that it asked for.
    pub model_requested: String,
    /// The model of its last call.
    pub model: String,
    /// The provider of its last call.
    pub provider: String,
    /// How it ended.
    pub status: String,
    /// Why it did not succeed; empty if it did.
    pub error_code: String,
    /// `miss`, `hit` or `bypass`.
    pub cache: String,
    /// The guardrail rules that fired.
    pub guardrails: Vec<String>,
    /// What those on the prompt add up to, 0 to 100.
    pub risk: u8,
    /// How many calls its last run made.
    pub attempts: u16,
    /// Which delivery that run was.
    pub delivery: u64,
    /// What the calls of that run cost.
    pub cost_nanousd: i64,
    /// What a cached answer would have cost.
    pub saved_nanousd: i64,
    /// From acceptance to the start of that run, ms.
    pub queued_ms: u64,
    /// From its start to its end, ms.
    pub run_ms: u64,
}

impl JobLine {
    /// What to ask for the page that begins after this job.
    pub fn cursor(&self) -> Cursor {
        Cursor { ts_ms: self.ts_ms, team: self.team.clone(), job: self.job.clone() }
    }
}

/// One row of a job: a call, its end, or what may have been paid without a record. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct JobRow {
    /// `attempt`, `job` or `unknown`.
    pub kind: String,
    /// The record that it came from: `result`, `extra` or `started`.
    pub record: String,
    /// When that was stored.
    pub ts_ms: i64,
    /// When the job was accepted.
    pub accepted_ms: i64,
    /// Of a call, when it started; else when its run did.
    pub started_ms: i64,
    /// One delivery of the job to one worker.
    pub run: String,
    /// That worker.
    pub worker: String,
    /// Which delivery it was, from 1.
    pub delivery: u64,
    /// Which call of its run, from 1; of a job, how many.
    pub attempt: u16,
    /// The class.
    pub class: String,
    /// The project; empty if none.
    pub project: String,
    /// The end user; empty if none.
    pub user: String,
    /// The API key of the front door; empty if none.
    pub api_key_id: String,
    /// The job's labels.
    pub labels: Vec<(String, String)>,
    /// The model that the job asked for.
    pub model_requested: String,
    /// The provider called.
    pub provider: String,
    /// The model called.
    pub model: String,
    /// Where that model runs.
    pub region: String,
    /// How the run ended.
    pub status: String,
    /// Why it did not succeed.
    pub error_code: String,
    /// How the call ended; `none` on other kinds.
    pub outcome: String,
    /// Short stable reason when the call did not end well.
    pub error: String,
    /// The HTTP status of the provider; 0 if there was none.
    pub http_status: u16,
    /// `miss`, `hit` or `bypass`.
    pub cache: String,
    /// Whether deltas were asked for.
    pub streamed: bool,
    /// The rule of each guardrail hit; the four are parallel.
    pub guardrail_rules: Vec<String>,
    /// What it looked at.
    pub guardrail_sides: Vec<String>,
    /// What followed.
    pub guardrail_actions: Vec<String>,
    /// How often, at least.
    pub guardrail_counts: Vec<u32>,
    /// What those on the prompt add up to.
    pub risk: u8,
    /// Who counted the tokens: `none`, `provider` or `estimated`.
    pub usage_source: String,
    /// What the call used.
    #[serde(deserialize_with = "read::tokens")]
    pub tokens: Tokens,
    /// What the call cost.
    pub cost_nanousd: i64,
    /// Of a job, what its calls cost together.
    pub job_cost_nanousd: i64,
    /// What a cached answer would have cost.
    pub saved_nanousd: i64,
    /// Deliveries that may have been paid for and left no record.
    pub unknown_attempts: i64,
    /// The most that those may have cost.
    pub unknown_nanousd: i64,
    /// Of a job, from acceptance to the start of the run, ms.
    pub queued_ms: u64,
    /// Of a call, from the request to the first byte of the answer, ms; 0 if there was none.
    pub first_byte_ms: u64,
    /// Of a call, to the end of the answer; of a job, from the start of the run to its end, ms.
    pub latency_ms: u64,
    /// The version of the price that was applied.
    pub price_version: String,
    /// The provider's id of the request.
    pub request_id: String,
}

const LINE: &str = "toInt64(toUnixTimestamp64Milli(u.ts)) AS ts_ms, u.job_id AS job, toString(u.team) AS team, \
    toString(u.class) AS class, toString(u.project) AS project, u.end_user AS user, u.labels AS labels, \
    toString(u.model_requested) AS model_requested, toString(u.model) AS model, toString(u.provider) AS provider, \
    toString(u.status) AS status, toString(u.error_code) AS error_code, toString(u.cache) AS cache, \
    u.guardrails AS guardrails, u.risk AS risk, u.attempt AS attempts, u.delivery AS delivery, \
    u.job_cost_nanousd AS cost_nanousd, u.saved_nanousd AS saved_nanousd, u.queued_ms AS queued_ms, u.latency_ms AS run_ms";

const ROW: &str = "toString(u.kind) AS kind, toString(u.record) AS record, toInt64(toUnixTimestamp64Milli(u.ts)) AS ts_ms, \
    toInt64(toUnixTimestamp64Milli(u.accepted_at)) AS accepted_ms, toInt64(toUnixTimestamp64Milli(u.started_at)) AS started_ms, \
    u.run AS run, toString(u.worker) AS worker, u.delivery AS delivery, u.attempt AS attempt, toString(u.class) AS class, \
    toString(u.project) AS project, u.end_user AS user, toString(u.api_key_id) AS api_key_id, u.labels AS labels, \
    toString(u.model_requested) AS model_requested, toString(u.provider) AS provider, toString(u.model) AS model, \
    toString(u.region) AS region, toString(u.status) AS status, toString(u.error_code) AS error_code, \
    toString(u.outcome) AS outcome, toString(u.error) AS error, u.http_status AS http_status, toString(u.cache) AS cache, \
    u.streamed AS streamed, u.guardrail_rules AS guardrail_rules, u.guardrail_sides AS guardrail_sides, \
    u.guardrail_actions AS guardrail_actions, u.guardrail_counts AS guardrail_counts, u.risk AS risk, \
    toString(u.usage_source) AS usage_source, \
    tuple(u.tokens_in, u.tokens_cache_read, u.tokens_cache_write, u.tokens_out, u.tokens_reasoning) AS tokens, \
    u.cost_nanousd AS cost_nanousd, u.job_cost_nanousd AS job_cost_nanousd, u.saved_nanousd AS saved_nanousd, \
    u.unknown_attempts AS unknown_attempts, u.unknown_nanousd AS unknown_nanousd, u.queued_ms AS queued_ms, \
    u.first_byte_ms AS first_byte_ms, u.latency_ms AS latency_ms, toString(u.price_version) AS price_version, \
    u.request_id AS request_id";

impl JobFilter {
    fn conditions(&self) -> Vec<String> {
        let mut conditions = vec!["u.kind = 'job'".to_owned()];
        // As texts: a word that the enumeration does not know finds nothing, instead of failing.
        let texts = [("status", &self.status), ("error_code", &self.error_code), ("cache", &self.cache)];
        for (column, wanted) in texts {
            conditions.extend(wanted.as_ref().map(|value| format!("toString(u.{column}) = {}", literal::text(value))));
        }
        conditions.extend(self.job.as_ref().map(|begin| format!("startsWith(u.job_id, {})", literal::text(begin))));
        conditions.extend(self.text.as_ref().map(|text| {
            let found = |column: &str| format!("positionCaseInsensitiveUTF8({column}, {}) > 0", literal::text(text));
            format!("({} OR {} OR {})", found("u.job_id"), found("u.end_user"), found("toString(u.project)"))
        }));
        conditions.extend(self.before.as_ref().map(|before| {
            let at = literal::millisecond(before.ts_ms);
            let (team, job) = (literal::text(&before.team), literal::text(&before.job));
            format!("u.ts <= {at} AND (u.ts, toString(u.team), u.job_id) < ({at}, {team}, {job})")
        }));
        conditions
    }
}

impl Questions<'_> {
    /// One page of finished jobs, the newest first. From the raw table, which is quick for a team or a short time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Asked<JobLine>, StoreError> {
        let limit = if filter.limit == 0 { PAGE_MAX } else { filter.limit.min(PAGE_MAX) };
        let from = |more: Option<String>| {
            let conditions: Vec<String> = filter.conditions().into_iter().chain(more).collect();
            self.from(Facts::Raw, &filter.about, &conditions)
        };
        // First only the times: the table is not sorted by them, so every row of the span is looked at, and its other
        // columns only from where the page begins. Twice as many, because a job may be there twice.
        let begin = format!(
            "u.ts >= (SELECT min(at) FROM (SELECT u.ts AS at {} ORDER BY at DESC LIMIT {}))",
            from(None),
            2 * limit
        );
        self.rows(format!(
            "SELECT {LINE} {} ORDER BY u.ts DESC, team DESC, job DESC LIMIT 1 BY u.ts, u.team, u.job_id LIMIT {limit}",
            from(Some(begin)),
        ))
        .await
    }

    /// All that is known of one job, in the order in which it happened; empty if there is no such job. From the raw table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn job(&self, team: &str, job: &str) -> Result<Asked<JobRow>, StoreError> {
        let about = Filter { team: Some(team.to_owned()), ..Filter::default() };
        self.rows(format!(
            "SELECT {ROW} {} ORDER BY u.started_at, u.delivery, u.kind, u.attempt LIMIT 1 BY u.event_id LIMIT {JOB_ROWS_MAX}",
            self.from(Facts::Raw, &about, &[format!("u.job_id = {}", literal::text(job))]),
        ))
        .await
    }
}
