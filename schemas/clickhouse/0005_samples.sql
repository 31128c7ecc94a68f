-- What the rollups cannot know: how budgets and lanes stood over time, and what a call would cost at other prices.
--
-- These tables keep one row per key: a sample that is written twice counts once, at the latest when parts are merged,
-- so read them with FINAL or LIMIT 1 BY the key.

CREATE TABLE IF NOT EXISTS {{database}}.budget_samples
(
    ts             DateTime64(3, 'UTC') COMMENT 'When it was so' CODEC(Delta(8), ZSTD(1)),
    scope          LowCardinality(String) COMMENT 'Whose budget: organisation, team, project, user or key',
    name           String COMMENT 'The name of the project, user or key; empty for the organisation and teams' CODEC(ZSTD(1)),
    team           LowCardinality(String) COMMENT 'The team; empty for the organisation',
    period         LowCardinality(String) COMMENT 'The window of the budget, such as day or month',
    window_from    DateTime64(3, 'UTC') COMMENT 'When this window began' CODEC(Delta(8), ZSTD(1)),
    window_to      DateTime64(3, 'UTC') COMMENT 'When it ends' CODEC(Delta(8), ZSTD(1)),
    limit_nanousd  Int64 COMMENT 'The most that may be spent in it, 1 USD = 1e9' CODEC(T64, ZSTD(1)),
    spent_nanousd  Int64 COMMENT 'What was spent in it so far' CODEC(T64, ZSTD(1)),
    held_nanousd   Int64 COMMENT 'What was held for jobs that were running' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (team, scope, name, period, ts)
TTL toDateTime(ts) + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Budgets over time';

CREATE TABLE IF NOT EXISTS {{database}}.lane_samples
(
    ts             DateTime64(3, 'UTC') COMMENT 'When it was so' CODEC(Delta(8), ZSTD(1)),
    team           LowCardinality(String) COMMENT 'The team',
    class          LowCardinality(String) COMMENT 'The class',
    waiting        UInt64 COMMENT 'Jobs in the lane that nobody runs' CODEC(T64, ZSTD(1)),
    parked         UInt64 COMMENT 'Jobs that wait until something changes or their time comes' CODEC(T64, ZSTD(1)),
    oldest_ms      UInt64 COMMENT 'How long the oldest of those that wait has waited; 0 if none does' CODEC(T64, ZSTD(1)),
    in_flight      UInt64 COMMENT 'Jobs that were running' CODEC(T64, ZSTD(1)),
    weight         UInt32 COMMENT 'The weight of the lane against the others' CODEC(T64, ZSTD(1)),
    served         UInt64 COMMENT 'Jobs taken from the lane since the sample before' CODEC(T64, ZSTD(1)),
    state          LowCardinality(String) COMMENT 'open, or what keeps jobs from being taken, such as closed or paused',
    reason         LowCardinality(String) COMMENT 'Why it is not open; empty if it is'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (team, class, ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Lanes over time';

CREATE TABLE IF NOT EXISTS {{database}}.repriced_costs
(
    event_id       UUID COMMENT 'The call: event_id of a row of kind attempt in usage_events',
    ts             DateTime64(3, 'UTC') COMMENT 'ts of that row' CODEC(Delta(8), ZSTD(1)),
    team           LowCardinality(String) COMMENT 'The team',
    provider       LowCardinality(String) COMMENT 'The provider called',
    model          LowCardinality(String) COMMENT 'The model called',
    price_version  LowCardinality(String) COMMENT 'Version of the price that was applied again',
    cost_nanousd   Int64 COMMENT 'What the call costs at that price, 1 USD = 1e9' CODEC(T64, ZSTD(1)),
    booked_nanousd Int64 COMMENT 'What was booked for it; that stays in usage_events as it was' CODEC(T64, ZSTD(1)),
    at             DateTime64(3, 'UTC') COMMENT 'When it was priced again; the latest counts' CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY toYYYYMM(ts)
ORDER BY (team, price_version, ts, event_id)
TTL toDateTime(ts) + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1
COMMENT 'What calls cost at other prices than those that were booked; no part of any bill';
