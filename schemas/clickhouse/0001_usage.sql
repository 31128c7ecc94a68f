-- One row per provider attempt (what was used and paid), one per job (how it ended), and rows of what may have been
-- paid without leaving a record. Rows are a pure function of a message of the results stream.
--
-- The broker puts its database's name in place of {{database}} and applies each file once, in the order of the
-- numbers. Every statement may run twice.
--
-- A batch is inserted under a token; the window (in inserts) must be set on the target of every materialized view
-- too, or a batch that is sent again counts twice there.

CREATE TABLE IF NOT EXISTS {{database}}.usage_events
(
    event_id           UUID COMMENT 'Hash of team, job, run, record, kind and attempt: the same for a record that is stored twice',
    kind               Enum8('attempt' = 1, 'job' = 2, 'unknown' = 3) COMMENT 'attempt: one call to a provider, holds tokens and cost_nanousd. job: one finished job, holds its end, waiting time and job_cost_nanousd. unknown: spend that left no record, outside a job row. Always filter on it or group by it',
    record             Enum8('result' = 1, 'extra' = 2, 'started' = 3) COMMENT 'The record this row came from: a job result, spend of a run that lost the race for the result, or the notice that a redelivered job is about to pay',
    ts                 DateTime64(3, 'UTC') COMMENT 'When the server stored the record; every window and budget counts by it' CODEC(Delta(8), ZSTD(1)),
    accepted_at        DateTime64(3, 'UTC') COMMENT 'When the server accepted the job' CODEC(Delta(8), ZSTD(1)),
    started_at         DateTime64(3, 'UTC') COMMENT 'attempt: when the call started. Other kinds: when the run started' CODEC(Delta(8), ZSTD(1)),
    stream             LowCardinality(String) COMMENT 'Incarnation of the results stream: its creation time in nanoseconds, hexadecimal',
    stream_seq         UInt64 COMMENT 'Sequence of the record in that stream' CODEC(Delta(8), ZSTD(1)),
    job_id             String COMMENT 'The job' CODEC(ZSTD(1)),
    run                String COMMENT 'One delivery of the job to one worker' CODEC(ZSTD(1)),
    worker             LowCardinality(String) COMMENT 'The worker of that run',
    delivery           UInt64 COMMENT 'Which delivery of the job this run was, from 1' CODEC(T64, ZSTD(1)),
    attempt            UInt16 COMMENT 'attempt: which call of its run, from 1. job: how many calls its run made. unknown: 0',
    team               LowCardinality(String) COMMENT 'The team, from the subject that the server enforces',
    class              LowCardinality(String) COMMENT 'interactive, standard or batch; another word if the subject said so',
    project            LowCardinality(String) COMMENT 'The project that the job named; empty if none',
    api_key_id         LowCardinality(String) COMMENT 'The API key of the front door; empty if the job came by NATS',
    end_user           String COMMENT 'The end user that the job named; empty if none' CODEC(ZSTD(1)),
    labels             Map(LowCardinality(String), String) COMMENT 'Free dimensions of the job' CODEC(ZSTD(1)),
    model_requested    LowCardinality(String) COMMENT 'The model that the job asked for; empty if it could not be read',
    provider           LowCardinality(String) COMMENT 'attempt: the provider called. Other kinds: that of the last call; empty if there was none',
    model              LowCardinality(String) COMMENT 'attempt: the model called. Other kinds: that of the last call, or the one asked for',
    region             LowCardinality(String) COMMENT 'Where that model runs, if the operator said so',
    status             Enum8('succeeded' = 1, 'failed' = 2, 'rejected' = 3, 'blocked' = 4, 'expired' = 5, 'cancelled' = 6) COMMENT 'How the run ended, on all its rows; on kind job: how the job ended',
    error_code         LowCardinality(String) COMMENT 'Stable code of why the run did not succeed; empty if it did',
    outcome            Enum8('none' = 0, 'ok' = 1, 'rate_limited' = 2, 'timeout' = 3, 'cancelled' = 4, 'error' = 5) COMMENT 'attempt: how the call ended. Other kinds: none',
    error              LowCardinality(String) COMMENT 'attempt: short stable reason why the call did not end well',
    http_status        UInt16 COMMENT 'attempt: the HTTP status of the provider; 0 if there was none',
    cache              Enum8('miss' = 0, 'hit' = 1, 'bypass' = 2) COMMENT 'Whether a kept answer was used',
    streamed           Bool COMMENT 'Whether deltas were asked for',
    guardrails         Array(LowCardinality(String)) COMMENT 'job: the guardrail rules that fired. Other kinds: empty',
    usage_source       Enum8('none' = 0, 'provider' = 1, 'estimated' = 2) COMMENT 'attempt: who counted the tokens',
    tokens_in          UInt64 COMMENT 'attempt: prompt tokens neither read from nor written to the cache of the provider. Other kinds: 0' CODEC(T64, ZSTD(1)),
    tokens_cache_read  UInt64 COMMENT 'attempt: prompt tokens read from the cache of the provider. Other kinds: 0' CODEC(T64, ZSTD(1)),
    tokens_cache_write UInt64 COMMENT 'attempt: prompt tokens written to the cache of the provider. Other kinds: 0' CODEC(T64, ZSTD(1)),
    tokens_out         UInt64 COMMENT 'attempt: answer tokens without reasoning. Other kinds: 0' CODEC(T64, ZSTD(1)),
    tokens_reasoning   UInt64 COMMENT 'attempt: reasoning tokens. Other kinds: 0' CODEC(T64, ZSTD(1)),
    cost_nanousd       Int64 COMMENT 'attempt: what the call cost, 1 USD = 1e9. Other kinds: 0, so its sum over any rows counts every call once' CODEC(T64, ZSTD(1)),
    job_cost_nanousd   Int64 COMMENT 'job: what all calls of its run cost together, repeated from the attempt rows for reports per job. Other kinds: 0. Never add it to cost_nanousd' CODEC(T64, ZSTD(1)),
    saved_nanousd      Int64 COMMENT 'job: what a cached answer would have cost. Other kinds: 0' CODEC(T64, ZSTD(1)),
    unknown_attempts   Int64 COMMENT 'job and unknown: deliveries that may have been paid for and left no record. Corrections are negative: only the sum means something' CODEC(T64, ZSTD(1)),
    unknown_nanousd    Int64 COMMENT 'job and unknown: the most that those may have cost; never part of a cost. Corrections are negative' CODEC(T64, ZSTD(1)),
    queued_ms          UInt64 COMMENT 'job: from acceptance to the start of the run. Other kinds: 0' CODEC(T64, ZSTD(1)),
    first_byte_ms      UInt64 COMMENT 'attempt: from the request to the first byte of the answer; 0 if there was none' CODEC(T64, ZSTD(1)),
    latency_ms         UInt64 COMMENT 'attempt: from the request to the end of the answer. job: from the start of the run to its end. unknown: 0' CODEC(T64, ZSTD(1)),
    price_version      LowCardinality(String) COMMENT 'attempt: version of the price that was applied',
    request_id         String COMMENT 'attempt: the id that the provider gave the request' CODEC(ZSTD(1)),
    raw_usage          String COMMENT 'attempt: the usage object of the provider as JSON, to price again; empty if absent or too long' CODEC(ZSTD(3)),
    ingested_at        DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written here; not part of the record' CODEC(Delta(8), ZSTD(1)),
    cost_usd           Decimal(38, 9) ALIAS toDecimal128(cost_nanousd, 9) / 1000000000 COMMENT 'cost_nanousd in dollars, for reading',

    INDEX ix_job   job_id     TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_event event_id   TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_user  end_user   TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX ix_seq   stream_seq TYPE minmax             GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (team, kind, toStartOfHour(ts), model, ts)
TTL toDateTime(ts) + INTERVAL 13 MONTH
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'What every job and every call to a provider used, cost and came to';

CREATE TABLE IF NOT EXISTS {{database}}.usage_hourly
(
    hour               DateTime('UTC') COMMENT 'The hour, by the timestamp of the server' CODEC(Delta(4), ZSTD(1)),
    kind               Enum8('attempt' = 1, 'job' = 2, 'unknown' = 3) COMMENT 'As in usage_events; always filter on it or group by it',
    team               LowCardinality(String) COMMENT 'The team',
    class              LowCardinality(String) COMMENT 'The class',
    provider           LowCardinality(String) COMMENT 'The provider',
    model              LowCardinality(String) COMMENT 'The model',
    project            LowCardinality(String) COMMENT 'The project',
    status             Enum8('succeeded' = 1, 'failed' = 2, 'rejected' = 3, 'blocked' = 4, 'expired' = 5, 'cancelled' = 6) COMMENT 'How the run ended',
    outcome            Enum8('none' = 0, 'ok' = 1, 'rate_limited' = 2, 'timeout' = 3, 'cancelled' = 4, 'error' = 5) COMMENT 'How the call ended; none on other kinds than attempt',
    events             SimpleAggregateFunction(sum, UInt64) COMMENT 'How many rows of usage_events',
    tokens_in          SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_in',
    tokens_cache_read  SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_read',
    tokens_cache_write SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_cache_write',
    tokens_out         SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_out',
    tokens_reasoning   SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of tokens_reasoning',
    estimated          SimpleAggregateFunction(sum, UInt64) COMMENT 'How many rows whose tokens were estimated',
    cost_nanousd       SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of cost_nanousd: every call once',
    job_cost_nanousd   SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of job_cost_nanousd; never add it to cost_nanousd',
    saved_nanousd      SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of saved_nanousd',
    unknown_attempts   SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_attempts',
    unknown_nanousd    SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of unknown_nanousd',
    cache_hits         SimpleAggregateFunction(sum, UInt64) COMMENT 'How many rows with cache hit',
    guardrail_events   SimpleAggregateFunction(sum, UInt64) COMMENT 'How many rows on which a guardrail rule fired',
    queued_sum_ms      SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of queued_ms',
    queued_max_ms      SimpleAggregateFunction(max, UInt64) COMMENT 'Highest queued_ms',
    latency_sum_ms     SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of latency_ms',
    latency_max_ms     SimpleAggregateFunction(max, UInt64) COMMENT 'Highest latency_ms',
    latency_hist       SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)) COMMENT 'How many had which latency_ms: bucket = round(16 * log2(ms)), so exp2(bucket / 16) is within 2.2 percent',
    first_byte_hist    SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)) COMMENT 'The same of first_byte_ms above 0'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (team, kind, hour, class, provider, model, project, status, outcome)
TTL hour + INTERVAL 5 YEAR
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'usage_events summed by hour; parts are merged in the background, so always read with sum() or sumMap()';

-- Columns of the source are qualified: otherwise an alias of the same name would be found inside its own aggregate.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.usage_hourly_mv TO {{database}}.usage_hourly AS
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
    sumMapIf(map(toUInt16(least(1019, round(log2(greatest(usage_events.first_byte_ms, 1)) * 16))), toUInt64(1)), usage_events.first_byte_ms > 0) AS first_byte_hist
FROM {{database}}.usage_events
GROUP BY hour, kind, team, class, provider, model, project, status, outcome;
