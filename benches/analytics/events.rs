//! What is asked about: 20 teams of very different size over 30 days, made by the engine itself.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use benches::report::{progress, say, whole};
use tollgate_types::UnixMillis;
use tollgate_usage::HourRange;

use crate::world::Tables;

/// How long the events reach back.
const DAYS: i64 = 30;

/// How many are made by one statement: it is one insert with all its views.
const CHUNK: u64 = 500_000;

const HOUR: i64 = 3600;

/// The stretch that is filled: it ends with the last whole hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Filled {
    pub(crate) fn now() -> anyhow::Result<Filled> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let to = now / HOUR * HOUR;
        Ok(Filled { from: to - DAYS * 24 * HOUR, to })
    }

    /// The last so many days.
    pub(crate) fn last(self, days: i64) -> HourRange {
        let millis = |seconds: i64| UnixMillis(seconds * 1000);
        HourRange::covering(millis(self.to - days * 24 * HOUR), millis(self.to))
    }
}

/// Fills the raw table, and so every rollup.
pub(crate) async fn fill(tables: &Tables, database: &str, rows: u64, filled: Filled) -> anyhow::Result<()> {
    let since = Instant::now();
    let mut from = 0;
    while from < rows {
        let count = CHUNK.min(rows - from);
        tables.went(&made(database, from, count, rows, filled)).await?;
        from += count;
        progress(format_args!("{} of {} rows", whole(from as f64), whole(rows as f64)));
    }
    say(format_args!("{} rows were made in {:.0} s", whole(rows as f64), since.elapsed().as_secs_f64()));
    for table in ["usage_events", "usage_hourly", "users_hourly", "labels_hourly", "guardrails_hourly", "errors_hourly"]
    {
        // As they are after a while: parts are merged in the background.
        tables.went(&format!("OPTIMIZE TABLE {database}.{table} FINAL")).await?;
    }
    Ok(())
}

/// Rows `from` and on: in turn a call and the job that made it, in the order of time. A hash of the number of the job stands
/// for chance, so that every run makes the same. As in a company: a team has up to three projects of its own, each of one
/// class and with two models, one of them for every fourth call; in one hour forty of its five hundred users are active.
fn made(database: &str, from: u64, count: u64, rows: u64, filled: Filled) -> String {
    let millis = (filled.to - filled.from) * 1000;
    let jobs = (rows / 2).max(1);
    format!(
        "INSERT INTO {database}.usage_events (event_id, kind, record, ts, accepted_at, started_at, stream, stream_seq, job_id, \
            run, worker, delivery, attempt, team, class, project, end_user, labels, model_requested, provider, model, \
            status, error_code, outcome, error, http_status, cache, guardrails, risk, guardrail_rules, guardrail_sides, \
            guardrail_actions, guardrail_counts, usage_source, tokens_in, tokens_cache_read, tokens_out, tokens_reasoning, \
            cost_nanousd, job_cost_nanousd, saved_nanousd, queued_ms, first_byte_ms, latency_ms, price_version) \
         SELECT generateUUIDv4(), if(is_job, 'job', 'attempt'), 'result', at, at - wait - took, at - took, '18a', job, \
            'job-' || hex(h), hex(h2), 'w' || toString(h % 4), 1, 1, team, \
            arrayElement(['interactive', 'standard', 'batch'], 1 + project % 3), 'project-' || toString(project), \
            'user-' || toString((intDiv(toUnixTimestamp(at), 3600) * 17 + h2 % 40) % 512), if(h % 5 = 0, map(), \
            map('feature', 'f' || toString(h2 % 12), 'tier', arrayElement(['free', 'pro', 'team'], 1 + h2 % 3))), model, \
            arrayElement(['openai', 'anthropic', 'azure', 'mistral'], 1 + of_model % 4), model, \
            if(failed, 'failed', 'succeeded'), if(failed, 'provider_error', ''), \
            if(is_job, 'none', if(failed, arrayElement(['rate_limited', 'timeout', 'error'], 1 + h2 % 3), 'ok')), \
            if(failed AND NOT is_job, 'unavailable', ''), if(failed, 503, 200), if(hit, 'hit', 'miss'), \
            if(is_job AND guarded, ['payment_card'], []), if(is_job AND guarded, 10 + h2 % 91, 0), \
            if(is_job AND guarded, ['payment_card'], []), if(is_job AND guarded, ['request'], []), \
            if(is_job AND guarded, ['redact'], []), if(is_job AND guarded, [toUInt32(1)], []), \
            if(is_job, 'none', 'provider'), if(is_job, 0, 200 + h % 2000), if(is_job, 0, h2 % 500), \
            if(is_job, 0, 50 + h2 % 800), if(is_job, 0, h2 % 100), if(is_job, 0, cost), if(is_job, cost, 0), \
            if(is_job AND hit, 90000, 0), if(is_job, wait, 0), if(is_job, 0, intDiv(took, 4) + 1), took, 'v1' \
         FROM (SELECT {from} + number AS n, intDiv(n, 2) AS job, n % 2 = 1 AS is_job, cityHash64(job) AS h, \
                cityHash64(job, 'two') AS h2, toDateTime64({from_seconds}, 3, 'UTC') + toIntervalMillisecond(intDiv(job * {millis}, {jobs})) AS at, \
                toUInt32(20 * pow((h % 10007) / 10007, 2)) AS of_team, 'team-' || toString(of_team) AS team, \
                of_team * 3 + bitShiftRight(h, 20) % (1 + of_team % 3) AS project, \
                (project * 5 + (h2 % 4 = 0)) % 8 AS of_model, 'model-' || toString(of_model) AS model, \
                h2 % 16 = 0 AS failed, h2 % 9 = 0 AS hit, h % 50 = 0 AS guarded, \
                toInt64(60 * exp(4 * (h2 % 9973) / 9973)) AS took, toInt64(2 * exp(8 * (h % 9967) / 9967)) AS wait, \
                toInt64(20000 + h % 3000000) AS cost \
            FROM numbers({count}))",
        from_seconds = filled.from,
    )
}
