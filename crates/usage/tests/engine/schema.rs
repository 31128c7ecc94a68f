//! What the schema promises beside the tables: samples, views, access, and replicated servers.

use tollgate_types::UnixMillis;
use tollgate_types::event::{AttemptOutcome, EventKind};
use tollgate_types::{Tokens, UsageEvent};
use tollgate_usage::questions::Filter;
use tollgate_usage::{BudgetSample, LaneSample, RepricedCost, script};
use uuid::Uuid;

use super::events::{AT, attempt, event};
use super::{Case, batch};

const VIEWS: [&str; 9] = [
    "team_spend_daily",
    "model_latency",
    "token_waterfall",
    "latency_heatmap",
    "cache_savings",
    "guardrail_hits",
    "budget_burn",
    "prompt_drift",
    "risk",
];

fn budget(at: i64, spent: i64) -> BudgetSample {
    BudgetSample {
        ts: AT.0 + at,
        scope: "team".into(),
        name: String::new(),
        team: "search".into(),
        period: "day".into(),
        window_from: AT.0,
        window_to: AT.0 + 86_400_000,
        limit_nanousd: 10_000_000_000,
        spent_nanousd: spent,
        held_nanousd: 5,
    }
}

fn lane(at: i64, waiting: u64) -> LaneSample {
    LaneSample {
        ts: AT.0 + at,
        team: "search".into(),
        class: "batch".into(),
        waiting,
        parked: 1,
        oldest_ms: 900,
        in_flight: 2,
        weight: 3,
        served: 4,
        state: "closed".into(),
        reason: "budget".into(),
    }
}

pub(super) async fn a_sample_that_is_written_twice_counts_once(case: &Case) {
    for _ in 0..2 {
        case.store
            .record_budgets(&[budget(0, 1_000_000_000), budget(21_600_000, 2_000_000_000)])
            .await
            .expect("written");
        case.store.record_lanes(&[lane(0, 5), lane(1000, 9), lane(60_000, 1)]).await.expect("written");
    }
    let all = Filter::default();
    let burn = case.store.ask().budget_burn(&all).await.expect("an answer").rows;
    assert_eq!((burn.len(), burn[0].spent_nanousd, burn[0].ts_ms), (1, 2_000_000_000, AT.0 + 21_600_000));
    assert_eq!(case.store.ask().budget_burn_over_time(&all).await.expect("an answer").rows.len(), 2);
    let projected = "SELECT toUInt64(assumeNotNull(projected_usd)) FROM budget_burn WHERE spent_share = 0.2";
    assert_eq!(case.number(projected).await, 8);

    let lanes = case.store.ask().lanes(&all, 60).await.expect("an answer").rows;
    let served: Vec<(u64, u64)> = lanes.iter().map(|lane| (lane.waiting, lane.served)).collect();
    assert_eq!(served, [(9, 8), (1, 4)], "{lanes:?}");
    assert_eq!((lanes[0].state.as_str(), lanes[0].reason.as_str()), ("closed", "budget"));
    let other = Filter { team: Some("ads".into()), ..all };
    assert_eq!(case.store.ask().lanes(&other, 60).await.expect("an answer").rows, []);

    let cost = |at, cost_nanousd| RepricedCost {
        event_id: Uuid::from_u128(7),
        ts: AT.0,
        team: "search".into(),
        provider: "sim".into(),
        model: "gpt".into(),
        price_version: "v2".into(),
        cost_nanousd,
        booked_nanousd: 84,
        at,
    };
    case.store.record_repriced(&[cost(1, 90)]).await.expect("written");
    case.store.record_repriced(&[cost(2, 91)]).await.expect("written");
    assert_eq!(case.number("SELECT toUInt64(sum(cost_nanousd)) FROM repriced_costs FINAL").await, 91);
}

pub(super) async fn every_view_is_found_by_name_and_explains_itself(case: &Case) {
    let now =
        UnixMillis(i64::try_from(case.number("SELECT toUInt64(toUnixTimestamp(now())) * 1000").await).expect("a time"));
    let job = |name: &str| -> UsageEvent {
        let call =
            attempt("gpt", AttemptOutcome::Ok, Tokens { input: 90, output: 10, ..Tokens::default() }, 2_000_000_000);
        let mut job = event(EventKind::Result, name, vec![call]);
        job.risk = 35;
        job.guardrails = vec![super::hit("pii")];
        job.labels = [("template".to_owned(), "t".to_owned())].into();
        job
    };
    case.store.insert(&batch(&[job("a"), job("b")], now), "views").await.expect("inserted");
    case.store.record_budgets(&[budget(0, 1)]).await.expect("written");
    for view in VIEWS {
        assert!(case.number(&format!("SELECT count() FROM {view}")).await > 0, "{view}");
        let explained = format!(
            "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = '{view}' AND comment != ''"
        );
        assert_eq!(case.number(&explained).await, 1, "{view}");
    }
    assert_eq!(case.number("SELECT toUInt64(cost_usd) FROM token_waterfall").await, 4);
    assert_eq!(case.number("SELECT sum(calls) FROM latency_heatmap").await, 2);
    assert_eq!(case.number("SELECT jobs FROM risk WHERE risk = 40").await, 2);
    assert_eq!(case.number("SELECT hits FROM guardrail_hits WHERE rule = 'pii' AND action = 'flag'").await, 2);
    assert_eq!(
        case.number("SELECT toUInt64(assumeNotNull(tokens_per_job)) FROM prompt_drift WHERE label = 'template'").await,
        100
    );
}

/// A single embedded engine has no Keeper, so that the statements run is not seen here; that they are statements is.
pub(super) async fn what_is_sent_to_a_cluster_are_statements(case: &Case) {
    let sent = script("wanted", Some("main-1"));
    assert!(sent.len() > 20);
    for statement in sent {
        let formatted = format!("SELECT length(formatQuery({}))", quoted(&statement));
        assert!(case.number(&formatted).await > 20, "{statement}");
        assert!(statement.contains(" ON CLUSTER 'main-1'"), "{statement}");
        assert!(!statement.contains("non_replicated") && !statement.contains("{{"), "{statement}");
        assert_eq!(statement.contains("CREATE TABLE"), statement.contains("{replica}"), "{statement}");
    }
}

pub(super) async fn the_templates_of_access_are_statements(case: &Case) {
    let templates = [
        include_str!("../../../../schemas/clickhouse/access/analyst.sql"),
        include_str!("../../../../schemas/clickhouse/access/team.sql"),
    ];
    let text = templates.join("\n").replace("{{database}}", "access_case").replace("{{team}}", "search");
    let text = text.replace("{{user}}", "default");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    let statements: Vec<String> =
        lines.join("\n").split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
    assert_eq!(statements.len(), 7);
    for statement in &statements {
        assert!(case.number(&format!("SELECT length(formatQuery({}))", quoted(statement))).await > 20, "{statement}");
        // The embedded engine has one user, who may not manage access: it understands the statement and refuses it.
        if let Err(refused) = case.client.query_raw(statement).execute().await {
            let refused = refused.to_string();
            let understood = ["(ACCESS_DENIED)", "(UNKNOWN_ROLE)"].iter().any(|code| refused.contains(code));
            assert!(understood, "{statement}: {refused}");
        }
    }
    let policy = statements.last().expect("the policy of a team");
    let with_team = "SELECT groupArray(table) AS tables FROM (SELECT DISTINCT table FROM system.columns WHERE \
                     database = 'access_case' AND name = 'team' AND table NOT IN (SELECT name FROM system.tables \
                     WHERE database = 'access_case' AND engine LIKE '%View') ORDER BY table)";
    let tables: Vec<String> = case.client.query_raw(with_team).fetch_one().await.expect("the tables");
    assert!(tables.len() > 8, "{tables:?}");
    for table in tables {
        assert!(policy.contains(&format!("access_case.{table}")), "{table} has a team and no policy");
    }
}

fn quoted(statement: &str) -> String {
    format!("'{}'", statement.replace('\\', "\\\\").replace('\'', "\\'"))
}
