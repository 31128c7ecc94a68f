-- The views that an analyst finds by name. Each runs with the rights of whoever asks, so the row policies of the tables
-- hold through them. Dollars stand beside the nano-dollars that are exact.

CREATE VIEW IF NOT EXISTS {{database}}.token_waterfall SQL SECURITY INVOKER AS
SELECT
    toDate(usage_hourly.hour, 'UTC') AS day,
    team,
    provider,
    model,
    sum(usage_hourly.events) AS attempts,
    sum(usage_hourly.tokens_in) AS tokens_in,
    sum(usage_hourly.tokens_cache_read) AS tokens_cache_read,
    sum(usage_hourly.tokens_cache_write) AS tokens_cache_write,
    sum(usage_hourly.tokens_out) AS tokens_out,
    sum(usage_hourly.tokens_reasoning) AS tokens_reasoning,
    tokens_in + tokens_cache_read + tokens_cache_write + tokens_out + tokens_reasoning AS tokens,
    sum(usage_hourly.cost_nanousd) AS cost_nanousd,
    toDecimal128(sum(usage_hourly.cost_nanousd), 9) / 1000000000 AS cost_usd
FROM {{database}}.usage_hourly
WHERE kind = 'attempt'
GROUP BY day, team, provider, model
COMMENT 'Where the tokens went: five parts that do not overlap, by day (UTC), team and model';

CREATE VIEW IF NOT EXISTS {{database}}.latency_heatmap SQL SECURITY INVOKER AS
SELECT
    hour,
    team,
    provider,
    model,
    toUInt8(intDiv(pair.1 + 2, 4)) AS bucket,
    round(exp2(bucket / 4), 1) AS ms,
    sum(pair.2) AS calls
FROM
(
    SELECT usage_hourly.hour AS hour, team, provider, model, sumMap(usage_hourly.latency_hist) AS histogram
    FROM {{database}}.usage_hourly
    WHERE kind = 'attempt' AND outcome = 'ok'
    GROUP BY hour, team, provider, model
)
ARRAY JOIN arrayZip(mapKeys(histogram), mapValues(histogram)) AS pair
GROUP BY hour, team, provider, model, bucket, ms
COMMENT 'How many calls that ended well took how long: ms is the middle of a bucket that is 19 percent wide';

CREATE VIEW IF NOT EXISTS {{database}}.cache_savings SQL SECURITY INVOKER AS
SELECT
    toDate(usage_hourly.hour, 'UTC') AS day,
    team,
    model,
    sum(usage_hourly.events) AS jobs,
    sum(usage_hourly.cache_hits) AS hits,
    round(hits / jobs, 4) AS hit_rate,
    sum(usage_hourly.saved_nanousd) AS saved_nanousd,
    toDecimal128(sum(usage_hourly.saved_nanousd), 9) / 1000000000 AS saved_usd
FROM {{database}}.usage_hourly
WHERE kind = 'job'
GROUP BY day, team, model
COMMENT 'Jobs answered from the cache and what their answers would have cost, by day (UTC)';

CREATE VIEW IF NOT EXISTS {{database}}.guardrail_hits SQL SECURITY INVOKER AS
SELECT
    guardrails_hourly.hour AS hour,
    team,
    model,
    rule,
    side,
    action,
    sum(guardrails_hourly.jobs) AS jobs,
    sum(guardrails_hourly.hits) AS hits
FROM {{database}}.guardrails_hourly
GROUP BY hour, team, model, rule, side, action
COMMENT 'Which guardrail rules fired, on how many jobs and how often, by hour';

CREATE VIEW IF NOT EXISTS {{database}}.risk SQL SECURITY INVOKER AS
SELECT hour, team, model, pair.1 AS risk, pair.2 AS jobs
FROM
(
    SELECT usage_hourly.hour AS hour, team, model, sumMap(usage_hourly.risk_hist) AS histogram
    FROM {{database}}.usage_hourly
    WHERE kind = 'job'
    GROUP BY hour, team, model
)
ARRAY JOIN arrayZip(mapKeys(histogram), mapValues(histogram)) AS pair
COMMENT 'How many jobs had which risk, by hour: 0 is none, 10 stands for 1 to 10, and so on to 100';

CREATE VIEW IF NOT EXISTS {{database}}.budget_burn SQL SECURITY INVOKER AS
SELECT
    team,
    scope,
    name,
    period,
    max(budget_samples.ts) AS sampled_at,
    argMax(budget_samples.window_from, budget_samples.ts) AS window_from,
    argMax(budget_samples.window_to, budget_samples.ts) AS window_to,
    argMax(budget_samples.limit_nanousd, budget_samples.ts) AS limit_nanousd,
    argMax(budget_samples.spent_nanousd, budget_samples.ts) AS spent_nanousd,
    argMax(budget_samples.held_nanousd, budget_samples.ts) AS held_nanousd,
    toDecimal128(limit_nanousd, 9) / 1000000000 AS limit_usd,
    toDecimal128(spent_nanousd, 9) / 1000000000 AS spent_usd,
    toDecimal128(held_nanousd, 9) / 1000000000 AS held_usd,
    if(limit_nanousd > 0, round(spent_nanousd / limit_nanousd, 4), NULL) AS spent_share,
    toUnixTimestamp64Milli(sampled_at) - toUnixTimestamp64Milli(window_from) AS elapsed_ms,
    toUnixTimestamp64Milli(window_to) - toUnixTimestamp64Milli(window_from) AS window_ms,
    if(elapsed_ms > 0, round(spent_nanousd / 1e9 * window_ms / elapsed_ms, 4), NULL) AS projected_usd
FROM {{database}}.budget_samples
GROUP BY team, scope, name, period
COMMENT 'Each budget as it was last seen, and what it comes to at the end of its window if spending goes on as so far';

CREATE VIEW IF NOT EXISTS {{database}}.prompt_drift SQL SECURITY INVOKER AS
SELECT
    team,
    dimension,
    label,
    value,
    sumIf(counted, recent) AS jobs,
    sumIf(counted, NOT recent) AS jobs_before,
    if(jobs > 0, round(sumIf(tokens, recent) / jobs, 1), NULL) AS tokens_per_job,
    if(jobs_before > 0, round(sumIf(tokens, NOT recent) / jobs_before, 1), NULL) AS tokens_per_job_before,
    if(tokens_per_job_before > 0, round(tokens_per_job / tokens_per_job_before, 3), NULL) AS ratio,
    sumIf(nanousd, recent) AS cost_nanousd,
    toDecimal128(sumIf(nanousd, recent), 9) / 1000000000 AS cost_usd
FROM
(
    SELECT
        team, 'label' AS dimension, toString(label) AS label, value, labels_hourly.jobs AS counted, labels_hourly.cost_nanousd AS nanousd,
        tokens_in + tokens_cache_read + tokens_cache_write + tokens_out + tokens_reasoning AS tokens,
        hour > now('UTC') - INTERVAL 24 HOUR AS recent
    FROM {{database}}.labels_hourly
    WHERE hour > now('UTC') - INTERVAL 8 DAY
    UNION ALL
    SELECT
        team, 'model' AS dimension, '' AS label, toString(model) AS value, if(kind = 'job', events, 0) AS counted,
        usage_hourly.cost_nanousd AS nanousd,
        tokens_in + tokens_cache_read + tokens_cache_write + tokens_out + tokens_reasoning AS tokens,
        hour > now('UTC') - INTERVAL 24 HOUR AS recent
    FROM {{database}}.usage_hourly
    WHERE hour > now('UTC') - INTERVAL 8 DAY
)
GROUP BY team, dimension, label, value
HAVING jobs > 0
COMMENT 'Tokens per job in the last 24 hours against the seven days before, of each team by the value of each label and by model';
