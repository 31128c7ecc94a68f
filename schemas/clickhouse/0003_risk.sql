-- The risk of a job's prompt beside the names of the guardrail rules that fired on it.

ALTER TABLE {{database}}.usage_events
    ADD COLUMN IF NOT EXISTS risk UInt8 COMMENT 'job: what the guardrail rules that fired on the prompt add up to, 0 to 100. Other kinds: 0' AFTER guardrails;
