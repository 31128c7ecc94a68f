//! Which table answers, and what is counted there.

use tollgate_types::Status;

use super::filter::{Dimension, Filter};
use super::literal;

/// A table with what was used. In statements it is called `u`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    /// `usage_events`: a row per call and per job.
    Raw,
    /// `usage_hourly`.
    Hourly,
    /// `users_hourly`.
    Users,
    /// `labels_hourly`, of one label.
    Labels,
}

impl Facts {
    /// The smallest table that knows all that the filter and the break-down name.
    pub(super) fn of(filter: &Filter, by: &[Dimension]) -> Facts {
        let mut named = filter.names();
        named.extend_from_slice(by);
        let all = |known: fn(&Dimension) -> bool| named.iter().all(known);
        if all(|d| !matches!(d, Dimension::User | Dimension::Label(_))) {
            return Facts::Hourly;
        }
        if all(|d| !matches!(d, Dimension::Provider | Dimension::Class | Dimension::Label(_))) {
            return Facts::Users;
        }
        let mut labels = named.iter().filter(|d| matches!(d, Dimension::Label(_)));
        let label = labels.next();
        let one = label.is_some() && labels.all(|other| Some(other) == label);
        let known =
            |d: &Dimension| matches!(d, Dimension::Team | Dimension::Day | Dimension::Hour | Dimension::Label(_));
        if one && all(known) { Facts::Labels } else { Facts::Raw }
    }

    pub(super) fn table(self) -> &'static str {
        match self {
            Facts::Raw => "usage_events",
            Facts::Hourly => "usage_hourly",
            Facts::Users => "users_hourly",
            Facts::Labels => "labels_hourly",
        }
    }

    /// The column of time.
    pub(super) fn at(self) -> &'static str {
        match self {
            Facts::Raw => "u.ts",
            Facts::Hourly | Facts::Users | Facts::Labels => "u.hour",
        }
    }

    pub(super) fn is_raw(self) -> bool {
        self == Facts::Raw
    }

    /// What a row is grouped by, as an expression.
    pub(super) fn key(self, by: &Dimension) -> String {
        match by {
            Dimension::Team => "u.team".to_owned(),
            Dimension::Project => "u.project".to_owned(),
            Dimension::User => "u.end_user".to_owned(),
            Dimension::Model => "u.model".to_owned(),
            Dimension::Provider => "u.provider".to_owned(),
            Dimension::Class => "u.class".to_owned(),
            Dimension::Day => format!("toDate({})", self.at()),
            Dimension::Hour => format!("formatDateTime(toStartOfHour({}), '%Y-%m-%dT%H:00:00Z', 'UTC')", self.at()),
            Dimension::Label(_) if self == Facts::Labels => "u.value".to_owned(),
            Dimension::Label(name) => format!("u.labels[{}]", literal::text(name)),
        }
    }

    /// The rows that a break-down is about.
    pub(super) fn about(self, by: &[Dimension]) -> Vec<String> {
        let condition = |name: &String| match self {
            Facts::Labels => format!("u.label = {}", literal::text(name)),
            Facts::Raw | Facts::Hourly | Facts::Users => format!("mapContains(u.labels, {})", literal::text(name)),
        };
        let label = |by: &Dimension| match by {
            Dimension::Label(name) => Some(condition(name)),
            _ => None,
        };
        by.iter().filter_map(label).collect()
    }

    /// Finished jobs.
    pub(super) fn jobs(self) -> &'static str {
        match self {
            Facts::Raw => "countIf(u.kind = 'job')",
            Facts::Hourly => "sumIf(u.events, u.kind = 'job')",
            Facts::Users | Facts::Labels => "sum(u.jobs)",
        }
    }

    /// Everything that is told of a use, as columns with the names of the fields of [`Usage`](super::Usage).
    pub(super) fn measures(self) -> String {
        let ends: Vec<String> = Status::ALL.iter().map(|end| self.ended(end.as_str())).collect();
        let (attempts, guardrails, hits) = match self {
            Facts::Raw => (
                "countIf(u.kind = 'attempt')",
                "countIf(u.kind = 'job' AND notEmpty(u.guardrails))",
                "countIf(u.kind = 'job' AND u.cache = 'hit')",
            ),
            Facts::Hourly => (
                "sumIf(u.events, u.kind = 'attempt')",
                "sumIf(u.guardrail_events, u.kind = 'job')",
                "sumIf(u.cache_hits, u.kind = 'job')",
            ),
            Facts::Users | Facts::Labels => ("sum(u.attempts)", "sum(u.guardrail_jobs)", "sum(u.cache_hit_jobs)"),
        };
        let [p50, p95, p99] = self.quantiles();
        format!(
            "{} AS jobs, tuple({}) AS jobs_by_status, {attempts} AS attempts, {TOKENS} AS tokens, \
             sum(u.cost_nanousd) AS cost_nanousd, sum(u.saved_nanousd) AS saved_nanousd, \
             sum(u.unknown_attempts) AS unknown_attempts, sum(u.unknown_nanousd) AS unknown_nanousd, \
             {guardrails} AS guardrail_jobs, {hits} AS cache_hit_jobs, {} AS avg_ms, \
             {p50} AS p50_ms, {p95} AS p95_ms, {p99} AS p99_ms",
            self.jobs(),
            ends.join(", "),
            self.mean(),
        )
    }

    fn ended(self, end: &str) -> String {
        match self {
            Facts::Raw => format!("countIf(u.kind = 'job' AND u.status = '{end}')"),
            Facts::Hourly => format!("sumIf(u.events, u.kind = 'job' AND u.status = '{end}')"),
            Facts::Users | Facts::Labels => format!("sumIf(u.jobs, u.status = '{end}')"),
        }
    }

    /// The mean latency of calls that ended well; of none, it is not a number.
    fn mean(self) -> &'static str {
        match self {
            Facts::Raw => "sumIf(u.latency_ms, u.outcome = 'ok') / countIf(u.outcome = 'ok')",
            Facts::Hourly => "sumIf(u.latency_sum_ms, u.outcome = 'ok') / sumIf(u.events, u.outcome = 'ok')",
            Facts::Users | Facts::Labels => "sum(u.ok_latency_sum_ms) / sum(u.ok_attempts)",
        }
    }

    /// The quantiles 0.5, 0.95 and 0.99 of the latency of calls that ended well; not numbers where they are not kept.
    pub(super) fn quantiles(self) -> [String; 3] {
        match self {
            Facts::Raw => exact("quantilesTDigestIf(0.5, 0.95, 0.99)(u.latency_ms, u.outcome = 'ok')"),
            Facts::Hourly => within("sumMapIf(u.latency_hist, u.outcome = 'ok')"),
            Facts::Users | Facts::Labels => ["nan", "nan", "nan"].map(str::to_owned),
        }
    }
}

/// The quantiles of an expression that makes all three.
pub(super) fn exact(digest: &str) -> [String; 3] {
    [1, 2, 3].map(|at| format!("toFloat64(({digest})[{at}])"))
}

/// The quantiles 0.5, 0.95 and 0.99 of a histogram whose buckets are `round(16 * log2(ms))`: the middle of the bucket in
/// which it lies, so within 2.2 %. Merging digests instead takes five times as long, and gives no such bound.
pub(super) fn within(histogram: &str) -> [String; 3] {
    let (keys, counts) = (format!("mapKeys({histogram})"), format!("mapValues({histogram})"));
    ["0.5", "0.95", "0.99"].map(|quantile| {
        let at = format!("arrayFirstIndex(c -> c >= {quantile} * arraySum({counts}), arrayCumSum({counts}))");
        format!("if(empty({keys}), nan, exp2({keys}[{at}] / 16))")
    })
}

/// The bucket of a heatmap, 19 % wide, that a bucket of a histogram falls in.
pub(super) fn coarse(bucket: &str) -> String {
    format!("toUInt8(intDiv({bucket} + 2, 4))")
}

/// The bucket of a histogram that a time falls in; the views of the rollups say the same.
pub(super) fn bucket(column: &str) -> String {
    format!("toUInt16(least(1019, round(log2(greatest({column}, 1)) * 16)))")
}

/// The sums of the five parts, in the order of the fields of [`Tokens`](tollgate_types::Tokens).
pub(super) const TOKENS: &str = "tuple(sum(u.tokens_in), sum(u.tokens_cache_read), sum(u.tokens_cache_write), \
                                 sum(u.tokens_out), sum(u.tokens_reasoning))";

/// The sum of all tokens.
pub(super) const ALL_TOKENS: &str = "sum(u.tokens_in + u.tokens_cache_read + u.tokens_cache_write + u.tokens_out + \
                                     u.tokens_reasoning)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_table_that_knows_everything_answers() {
        let check = |filter: Filter, by: &[Dimension], expected| assert_eq!(Facts::of(&filter, by), expected, "{by:?}");
        let label = |name: &str| Dimension::Label(name.to_owned());
        let team = || Filter { team: Some("t".into()), ..Filter::default() };
        let labelled = || Filter { label: Some(("a".into(), "1".into())), ..Filter::default() };
        check(Filter::default(), &[], Facts::Hourly);
        check(team(), &[Dimension::Provider, Dimension::Class, Dimension::Day, Dimension::Project], Facts::Hourly);
        check(team(), &[Dimension::User, Dimension::Model, Dimension::Hour], Facts::Users);
        check(team(), &[Dimension::User, Dimension::Class], Facts::Raw);
        check(Filter { class: Some("batch".into()), ..Filter::default() }, &[Dimension::User], Facts::Raw);
        check(team(), &[label("a"), Dimension::Day], Facts::Labels);
        check(labelled(), &[label("a")], Facts::Labels);
        check(labelled(), &[label("b")], Facts::Raw);
        check(labelled(), &[Dimension::Model], Facts::Raw);
        check(labelled(), &[Dimension::User], Facts::Raw);
    }
}
