-- Who may read what is one team's alone: the role tollgate_team_{{team}}.
--
-- Put your database's name in place of {{database}} and the team in place of {{team}} (letters, digits, - and _), and run it
-- once as a user who may manage access, after analyst.sql. Every statement may run twice. Then:
-- GRANT `tollgate_team_{{team}}` TO ada. Who has this role must not have tollgate_analyst too: policies add up.
--
-- The views run with the rights of whoever asks, so these policies hold through them.

CREATE ROLE IF NOT EXISTS `tollgate_team_{{team}}` SETTINGS readonly = 2;

GRANT SELECT ON {{database}}.* TO `tollgate_team_{{team}}`;

REVOKE SELECT ON {{database}}.schema_migrations FROM `tollgate_team_{{team}}`;

CREATE ROW POLICY IF NOT EXISTS `tollgate_team_{{team}}`
    ON {{database}}.usage_events, {{database}}.usage_hourly, {{database}}.users_hourly, {{database}}.labels_hourly,
       {{database}}.guardrails_hourly, {{database}}.errors_hourly, {{database}}.budget_samples, {{database}}.lane_samples,
       {{database}}.repriced_costs
    FOR SELECT USING team = '{{team}}' TO `tollgate_team_{{team}}`;
