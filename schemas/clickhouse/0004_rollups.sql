-- What screens ask by: guardrail rules, waiting times, risk, labels, end users, and why calls failed.
--
-- Every rollup is summed from usage_events by a view of its own on each insert, under the same token and with the same
-- window as the table itself. What was there before this file is filled in by rebuilding the hours.

ALTER TABLE {{database}}.usage_events
    ADD COLUMN IF NOT EXISTS guardrail_rules Array(LowCardinality(String)) COMMENT 'job: the rule of each hit; the four guardrail_ arrays are parallel, one entry per rule, side and action. Other kinds: empty' AFTER risk,
    ADD COLUMN IF NOT EXISTS guardrail_sides Array(LowCardinality(String)) COMMENT 'job: what each rule looked at, request or answer' AFTER guardrail_rules,
    ADD COLUMN IF NOT EXISTS guardrail_actions Array(LowCardinality(String)) COMMENT 'job: what followed: passed, flag, redact or block' AFTER guardrail_sides,
    ADD COLUMN IF NOT EXISTS guardrail_counts Array(UInt32) COMMENT 'job: how often each fired, at least' AFTER guardrail_actions;

ALTER TABLE {{database}}.usage_hourly
    ADD COLUMN IF NOT EXISTS retries SimpleAggregateFunction(sum, UInt64) COMMENT 'How many calls were not the first of their run',
    ADD COLUMN IF NOT EXISTS queued_hist SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)) COMMENT 'job: how many had which queued_ms: bucket = round(16 * log2(ms)), so exp2(bucket / 16) is within 2.2 percent',
    ADD COLUMN IF NOT EXISTS risk_hist SimpleAggregateFunction(sumMap, Map(UInt8, UInt64)) COMMENT 'job: how many jobs had which risk: 0 for none, 10 for 1 to 10, and so on to 100';

-- The statement of 0001 with the new columns at its end.
ALTER TABLE {{database}}.usage_hourly_mv MODIFY QUERY
SELECT
    toStartOfHour(usage_events.ts) AS hour, kind, team, class, provider, model, project, status, outcome,
    count() AS events,
    sum(usage_events.tokens_in) AS tokens_in,
    sum(usage_events.tokens_cache_read) AS tokens_cache_read,
    sum(usage_events.tokens_cache_write) AS tokens_cache_write,
    sum(usage_events.tokens_out) AS tokens_out,
    sum(usage_events.tokens_reasoning) AS tokens_reasoning,
    countIf(usage_events.usage_source = 'estimated') AS estimated,
    sum(usage_events.cost_nanousd) AS cost_nanousd,
    sum(usage_events.job_cost_nanousd) AS job_cost_nanousd,
    sum(usage_events.saved_nanousd) AS saved_nanousd,
    sum(usage_events.unknown_attempts) AS unknown_attempts,
    sum(usage_events.unknown_nanousd) AS unknown_nanousd,
    countIf(usage_events.cache = 'hit') AS cache_hits,
    countIf(notEmpty(usage_events.guardrails)) AS guardrail_events,
    sum(usage_events.queued_ms) AS queued_sum_ms,
    max(usage_events.queued_ms) AS queued_max_ms,
    sum(usage_events.latency_ms) AS latency_sum_ms,
    max(usage_events.latency_ms) AS latency_max_ms,
    sumMap(map(toUInt16(least(1019, round(log2(greatest(usage_events.latency_ms, 1)) * 16))), toUInt64(1))) AS latency_hist,
    sumMapIf(map(toUInt16(least(1019, round(log2(greatest(usage_events.first_byte_ms, 1)) * 16))), toUInt64(1)), usage_events.first_byte_ms > 0) AS first_byte_hist,
    countIf(kind = 'attempt' AND attempt > 1) AS retries,
    sumMapIf(map(toUInt16(least(1019, round(log2(greatest(usage_events.queued_ms, 1)) * 16))), toUInt64(1)), kind = 'job') AS queued_hist,
    sumMapIf(map(toUInt8(intDiv(least(usage_events.risk, 100) + 9, 10) * 10), toUInt64(1)), kind = 'job') AS risk_hist
FROM {{database}}.usage_events
GROUP BY hour, kind, team, class, provider, model, project, status, outcome;

CREATE TABLE IF NOT EXISTS {{database}}.guardrails_hourly
(
    hour               DateTime('UTC') COMMENT 'The hour, by the timestamp of the server' CODEC(Delta(4), ZSTD(1)),
    team               LowCardinality(String) COMMENT 'The team',
    model              LowCardinality(String) COMMENT 'The model of the job',
    rule               LowCardinality(String) COMMENT 'The rule that fired',
    side               LowCardinality(String) COMMENT 'What it looked at: request or answer',
    action             LowCardinality(String) COMMENT 'What followed: passed, flag, redact or block',
    jobs               SimpleAggregateFunction(sum, UInt64) COMMENT 'On how many jobs',
    hits               SimpleAggregateFunction(sum, UInt64) COMMENT 'How often, at least'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (team, hour, rule, side, action, model)
TTL hour + INTERVAL 5 YEAR
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'Guardrail rules that fired, by hour; always read with sum()';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.guardrails_hourly_mv TO {{database}}.guardrails_hourly AS
SELECT
    toStartOfHour(usage_events.ts) AS hour, team, model, rule, side, action,
    count() AS jobs,
    sum(toUInt64(often)) AS hits
FROM {{database}}.usage_events
ARRAY JOIN guardrail_rules AS rule, guardrail_sides AS side, guardrail_actions AS action, guardrail_counts AS often
WHERE kind = 'job'
GROUP BY hour, team, model, rule, side, action;

CREATE TABLE IF NOT EXISTS {{database}}.labels_hourly
(
    hour               DateTime('UTC') COMMENT 'The hour, by the timestamp of the server' CODEC(Delta(4), ZSTD(1)),
    team               LowCardinality(String) COMMENT 'The team',
    label              LowCardinality(String) COMMENT 'The name of the label',
    value              String COMMENT 'Its value; one that differs for every job makes this table as long as usage_events' CODEC(ZSTD(1)),
    status             Enum8('succeeded' = 1, 'failed' = 2, 'rejected' = 3, 'blocked' = 4, 'expired' = 5, 'cancelled' = 6) COMMENT 'How the run ended',
    jobs               SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs',
    attempts           SimpleAggregateFunction(sum, UInt64) COMMENT 'Calls to providers',
    ok_attempts        SimpleAggregateFunction(sum, UInt64) COMMENT 'Calls that ended well',
    ok_latency_sum_ms  SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of latency_ms of the calls that ended well',
    tokens_in          SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_in',
    tokens_cache_read  SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_read',
    tokens_cache_write SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_write',
    tokens_out         SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_out',
    tokens_reasoning   SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_reasoning',
    cost_nanousd       SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of cost_nanousd: every call once',
    saved_nanousd      SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of saved_nanousd',
    unknown_attempts   SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_attempts',
    unknown_nanousd    SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_nanousd',
    guardrail_jobs     SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs on which a guardrail rule fired',
    cache_hit_jobs     SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs answered from the cache'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (team, label, hour, value, status)
TTL hour + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'usage_events summed by hour for each label that a job carries: a job with two labels is in two rows, so filter on the label; always read with sum()';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.labels_hourly_mv TO {{database}}.labels_hourly AS
SELECT
    toStartOfHour(usage_events.ts) AS hour, team, label, value, status,
    countIf(kind = 'job') AS jobs,
    countIf(kind = 'attempt') AS attempts,
    countIf(outcome = 'ok') AS ok_attempts,
    sumIf(usage_events.latency_ms, outcome = 'ok') AS ok_latency_sum_ms,
    sum(usage_events.tokens_in) AS tokens_in,
    sum(usage_events.tokens_cache_read) AS tokens_cache_read,
    sum(usage_events.tokens_cache_write) AS tokens_cache_write,
    sum(usage_events.tokens_out) AS tokens_out,
    sum(usage_events.tokens_reasoning) AS tokens_reasoning,
    sum(usage_events.cost_nanousd) AS cost_nanousd,
    sum(usage_events.saved_nanousd) AS saved_nanousd,
    sum(usage_events.unknown_attempts) AS unknown_attempts,
    sum(usage_events.unknown_nanousd) AS unknown_nanousd,
    countIf(kind = 'job' AND notEmpty(usage_events.guardrails)) AS guardrail_jobs,
    countIf(kind = 'job' AND cache = 'hit') AS cache_hit_jobs
FROM {{database}}.usage_events
ARRAY JOIN mapKeys(labels) AS label, mapValues(labels) AS value
GROUP BY hour, team, label, value, status;

CREATE TABLE IF NOT EXISTS {{database}}.users_hourly
(
    hour               DateTime('UTC') COMMENT 'The hour, by the timestamp of the server' CODEC(Delta(4), ZSTD(1)),
    team               LowCardinality(String) COMMENT 'The team',
    end_user           String COMMENT 'The end user that the job named; empty if none' CODEC(ZSTD(1)),
    project            LowCardinality(String) COMMENT 'The project; empty if none',
    model              LowCardinality(String) COMMENT 'The model',
    status             Enum8('succeeded' = 1, 'failed' = 2, 'rejected' = 3, 'blocked' = 4, 'expired' = 5, 'cancelled' = 6) COMMENT 'How the run ended',
    jobs               SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs',
    attempts           SimpleAggregateFunction(sum, UInt64) COMMENT 'Calls to providers',
    ok_attempts        SimpleAggregateFunction(sum, UInt64) COMMENT 'Calls that ended well',
    ok_latency_sum_ms  SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of latency_ms of the calls that ended well',
    tokens_in          SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_in',
    tokens_cache_read  SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_read',
    tokens_cache_write SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_write',
    tokens_out         SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_out',
    tokens_reasoning   SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_reasoning',
    cost_nanousd       SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of cost_nanousd: every call once',
    saved_nanousd      SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of saved_nanousd',
    unknown_attempts   SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_attempts',
    unknown_nanousd    SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_nanousd',
    guardrail_jobs     SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs on which a guardrail rule fired',
    cache_hit_jobs     SimpleAggregateFunction(sum, UInt64) COMMENT 'Finished jobs answered from the cache'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (team, hour, end_user, project, model, status)
TTL hour + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'usage_events summed by hour and end user; always read with sum()';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.users_hourly_mv TO {{database}}.users_hourly AS
SELECT
    toStartOfHour(usage_events.ts) AS hour, team, end_user, project, model, status,
    countIf(kind = 'job') AS jobs,
    countIf(kind = 'attempt') AS attempts,
    countIf(outcome = 'ok') AS ok_attempts,
    sumIf(usage_events.latency_ms, outcome = 'ok') AS ok_latency_sum_ms,
    sum(usage_events.tokens_in) AS tokens_in,
    sum(usage_events.tokens_cache_read) AS tokens_cache_read,
    sum(usage_events.tokens_cache_write) AS tokens_cache_write,
    sum(usage_events.tokens_out) AS tokens_out,
    sum(usage_events.tokens_reasoning) AS tokens_reasoning,
    sum(usage_events.cost_nanousd) AS cost_nanousd,
    sum(usage_events.saved_nanousd) AS saved_nanousd,
    sum(usage_events.unknown_attempts) AS unknown_attempts,
    sum(usage_events.unknown_nanousd) AS unknown_nanousd,
    countIf(kind = 'job' AND notEmpty(usage_events.guardrails)) AS guardrail_jobs,
    countIf(kind = 'job' AND cache = 'hit') AS cache_hit_jobs
FROM {{database}}.usage_events
GROUP BY hour, team, end_user, project, model, status;

CREATE TABLE IF NOT EXISTS {{database}}.errors_hourly
(
    hour               DateTime('UTC') COMMENT 'The hour, by the timestamp of the server' CODEC(Delta(4), ZSTD(1)),
    team               LowCardinality(String) COMMENT 'The team',
    provider           LowCardinality(String) COMMENT 'The provider called',
    model              LowCardinality(String) COMMENT 'The model called',
    outcome            Enum8('none' = 0, 'ok' = 1, 'rate_limited' = 2, 'timeout' = 3, 'cancelled' = 4, 'error' = 5) COMMENT 'How the call ended; never ok',
    error              LowCardinality(String) COMMENT 'Short stable reason',
    http_status        UInt16 COMMENT 'The HTTP status of the provider; 0 if there was none',
    calls              SimpleAggregateFunction(sum, UInt64) COMMENT 'How many calls',
    last               SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'When the last of them was stored'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (team, hour, provider, model, outcome, error, http_status)
TTL hour + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'Calls that did not end well, by hour and reason; always read with sum()';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.errors_hourly_mv TO {{database}}.errors_hourly AS
SELECT
    toStartOfHour(usage_events.ts) AS hour, team, provider, model, outcome, error, http_status,
    count() AS calls,
    max(usage_events.ts) AS last
FROM {{database}}.usage_events
WHERE outcome NOT IN ('none', 'ok')
GROUP BY hour, team, provider, model, outcome, error, http_status;
