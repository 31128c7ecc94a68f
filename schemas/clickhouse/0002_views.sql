-- What people ask most, as plain views over the hourly rollup.

CREATE VIEW IF NOT EXISTS {{database}}.team_spend_daily AS
SELECT
    toDate(usage_hourly.hour, 'UTC') AS day,
    team,
    model,
    sumIf(usage_hourly.events, kind = 'job') AS jobs,
    sumIf(usage_hourly.events, kind = 'job' AND status = 'succeeded') AS jobs_succeeded,
    sumIf(usage_hourly.events, kind = 'attempt') AS attempts,
    sum(usage_hourly.tokens_in + usage_hourly.tokens_cache_read + usage_hourly.tokens_cache_write) AS prompt_tokens,
    sum(usage_hourly.tokens_out + usage_hourly.tokens_reasoning) AS answer_tokens,
    sum(usage_hourly.cost_nanousd) AS cost_nanousd,
    toDecimal128(sum(usage_hourly.cost_nanousd), 9) / 1000000000 AS cost_usd,
    sum(usage_hourly.unknown_attempts) AS unknown_attempts,
    sum(usage_hourly.unknown_nanousd) AS unknown_nanousd,
    sum(usage_hourly.saved_nanousd) AS saved_nanousd,
    sumIf(usage_hourly.guardrail_events, kind = 'job') AS guardrail_jobs,
    sumIf(usage_hourly.cache_hits, kind = 'job') AS cache_hit_jobs
FROM {{database}}.usage_hourly
GROUP BY day, team, model
COMMENT 'What each team spent on each model, by day (UTC)';

CREATE VIEW IF NOT EXISTS {{database}}.model_latency AS
SELECT
    usage_hourly.hour AS hour,
    provider,
    model,
    outcome,
    sum(usage_hourly.events) AS calls,
    round(sum(usage_hourly.latency_sum_ms) / sum(usage_hourly.events), 1) AS avg_ms,
    sumMap(usage_hourly.latency_hist) AS latency_hist,
    sumMap(usage_hourly.first_byte_hist) AS first_byte_hist,
    arrayMap(q -> round(exp2(mapKeys(latency_hist)[arrayFirstIndex(c -> c >= q * calls, arrayCumSum(mapValues(latency_hist)))] / 16), 1), [0.5, 0.95, 0.99]) AS latency_quantiles,
    latency_quantiles[1] AS p50_ms,
    latency_quantiles[2] AS p95_ms,
    latency_quantiles[3] AS p99_ms,
    max(usage_hourly.latency_max_ms) AS max_ms,
    arrayMap(q -> round(exp2(mapKeys(first_byte_hist)[arrayFirstIndex(c -> c >= q * arraySum(mapValues(first_byte_hist)), arrayCumSum(mapValues(first_byte_hist)))] / 16), 1), [0.5, 0.95, 0.99]) AS first_byte_quantiles
FROM {{database}}.usage_hourly
WHERE kind = 'attempt'
GROUP BY hour, provider, model, outcome
COMMENT 'How long calls took, by hour, provider, model and how they ended; quantiles are 0.5, 0.95, 0.99, within 2.2 percent';
