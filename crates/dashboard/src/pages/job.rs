//! One job: how it ended, and what happened when.

use maud::{Markup, html};
use tollgate_types::{NanoUsd, Tokens};
use tollgate_usage::questions::JobRow;

use super::jobs::ended;
use crate::charts::{About, Phase, phases};
use crate::num;
use crate::page::{Content, Panel, Source, cell, panels, table};
use crate::sources::Cx;

/// The page's panels, and whether anything is known of the job.
pub(crate) async fn body(cx: &Cx<'_>, team: &str, id: &str) -> (bool, Markup) {
    let (of, job) = (team.to_owned(), id.to_owned());
    let name = format!("job {team} {id}");
    let asked = cx.ask(&name, |store| async move { store.ask().job(&of, &job).await }).await;
    let found = asked.as_ref().map_or(true, |asked| !asked.rows.is_empty());
    if !found {
        let nothing = html! {
            p.empty { "No result of this job is in the tables: it may wait, run, be unknown, or have ended in the last \
                       seconds. " code { "tollgate job explain" } " tells." }
        };
        return (false, nothing);
    }
    let content = |make: &dyn Fn(&[JobRow]) -> Content| {
        asked
            .as_ref()
            .map_err(Clone::clone)
            .map(|asked| Content { sources: vec![Source::Sql(asked.sql.clone())], ..make(&asked.rows) })
    };
    let all = [
        Panel::new("p-facts", "What is known", content(&facts)).wide(),
        Panel::new("p-waterfall", "What happened when", content(&waterfall)).wide(),
        Panel::new("p-job-tokens", "Calls", content(&calls)).wide(),
        Panel::new("p-job-rules", "Guardrails", content(&rules)).wide(),
    ];
    (true, panels(&all))
}

fn shown(markup: Markup) -> Content {
    Content { shown: markup, ..Content::default() }
}

/// The row of the result: the last one that ended it.
fn result(rows: &[JobRow]) -> Option<&JobRow> {
    rows.iter().filter(|row| row.kind == "job").max_by_key(|row| (row.record == "result", row.ts_ms))
}

fn facts(rows: &[JobRow]) -> Content {
    let Some(job) = result(rows) else {
        return shown(html! { p.empty { "Calls of this job are known, its end is not." } });
    };
    let labels: Vec<String> = job.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let unknown = rows.iter().map(|row| row.unknown_attempts).sum::<i64>();
    let lost: i64 = rows.iter().map(|row| row.unknown_nanousd).sum();
    let facts = [
        ("Accepted", format!("{} UTC", num::moment(job.accepted_ms))),
        ("Ended", format!("{} UTC", num::moment(job.ts_ms))),
        ("Class", job.class.clone()),
        ("Project", job.project.clone()),
        ("End user", job.user.clone()),
        ("API key", job.api_key_id.clone()),
        ("Labels", labels.join(", ")),
        ("Asked for", job.model_requested.clone()),
        ("Answered by", [job.model.as_str(), job.provider.as_str(), job.region.as_str()].join(" ").trim().to_owned()),
        ("Cost", num::money(NanoUsd(job.job_cost_nanousd))),
        (
            "Saved by the cache",
            if job.saved_nanousd > 0 { num::money(NanoUsd(job.saved_nanousd)) } else { String::new() },
        ),
        (
            "May have cost more",
            if unknown > 0 {
                format!("at most {} in {unknown} lost runs", num::money(NanoUsd(lost)))
            } else {
                String::new()
            },
        ),
        ("Cache", job.cache.clone()),
        ("Risk", format!("{} of 100", job.risk)),
        ("Worker", job.worker.clone()),
        ("Delivery", job.delivery.to_string()),
    ];
    shown(html! {
        p { (ended(&job.status)) @if !job.error_code.is_empty() { " " (job.error_code) } }
        dl.facts {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) { dt { (name) } dd { (value) } }
        }
    })
}

fn of_call(row: &JobRow) -> String {
    let Tokens { .. } = row.tokens;
    let tokens = format!("{} in, {} out", num::count(row.tokens.prompt()), num::count(row.tokens.completion()));
    let failed = if row.error.is_empty() { String::new() } else { format!(", {}", row.error) };
    format!("{}{failed}, {tokens}, {}", row.outcome, num::money(NanoUsd(row.cost_nanousd)))
}

/// Queued, screened, each call with its first token, and the end.
fn story(rows: &[JobRow]) -> Vec<Phase> {
    let Some(job) = result(rows) else { return Vec::new() };
    let since = |ms: i64| (ms - job.accepted_ms).max(0) as f64;
    let phase = |name: String, class, from_ms: f64, took_ms: f64, text: String| Phase {
        name,
        class,
        from_ms,
        took_ms: took_ms.max(0.0),
        text,
    };
    let began = since(job.started_ms);
    let mut all = vec![phase("queued".into(), "wait", 0.0, began, format!("delivery {}", job.delivery))];
    let mut calls: Vec<&JobRow> = rows.iter().filter(|row| row.kind == "attempt").collect();
    calls.sort_by_key(|row| (row.started_ms, row.attempt));
    let of_run = calls.iter().find(|row| row.run == job.run);
    let first = of_run.map_or(began + job.latency_ms as f64, |row| since(row.started_ms));
    let before = if job.cache == "hit" { "screened, answered from the cache" } else { "screened and admitted" };
    all.push(phase(before.into(), "done", began, first - began, String::new()));
    let mut last = first;
    for call in calls {
        let (from, took) = (since(call.started_ms), call.latency_ms as f64);
        let gap = from - last;
        if call.run == job.run && call.attempt > 1 && gap >= 1.0 {
            all.push(phase("waited to try again".into(), "wait", last, gap, String::new()));
        }
        let name = format!("call {} of delivery {}: {} at {}", call.attempt, call.delivery, call.model, call.provider);
        if call.outcome == "ok" && call.first_byte_ms > 0 && call.first_byte_ms < call.latency_ms {
            let first_byte = call.first_byte_ms as f64;
            all.push(phase(name, "call", from, first_byte, "until the first byte".into()));
            all.push(phase("answer".into(), "answer", from + first_byte, took - first_byte, of_call(call)));
        } else {
            all.push(phase(name, if call.outcome == "ok" { "answer" } else { "bad" }, from, took, of_call(call)));
        }
        last = last.max(from + took);
    }
    let ran_to = (began + job.latency_ms as f64).max(last);
    if ran_to > last {
        all.push(phase("answer screened".into(), "done", last, ran_to - last, String::new()));
    }
    all.push(phase("committed".into(), "done", ran_to, since(job.ts_ms) - ran_to, job.status.clone()));
    all
}

fn waterfall(rows: &[JobRow]) -> Content {
    let story = story(rows);
    if story.is_empty() {
        return shown(html! { p.empty { "The end of this job is not known." } });
    }
    let about = About {
        id: "c-waterfall",
        title: "What happened when",
        description: "One bar for each phase on one scale of time from acceptance: queued, screened, each call with its \
                      first byte, and the commit.",
    };
    let row = |phase: &Phase| {
        [phase.name.clone(), num::ms(phase.from_ms), num::ms(phase.took_ms), phase.text.clone()].map(cell).to_vec()
    };
    let cells: Vec<Vec<Markup>> = story.iter().map(row).collect();
    let columns = [("Phase", false), ("From", true), ("Took", true), ("", false)];
    let table = Some(table("t-waterfall", "The phases, from acceptance on", &columns, &cells));
    Content { shown: phases(about, &story), table, ..Content::default() }
}

fn calls(rows: &[JobRow]) -> Content {
    let made: Vec<&JobRow> = rows.iter().filter(|row| row.kind == "attempt").collect();
    if made.is_empty() {
        return shown(html! { p.empty { "No provider was called." } });
    }
    let row = |row: &&JobRow| {
        let status = if row.http_status == 0 { "–".to_owned() } else { row.http_status.to_string() };
        let Tokens { input, cache_read, cache_write, output, reasoning } = row.tokens;
        let numbers = [input, cache_read, cache_write, output, reasoning].map(num::count);
        let names = [
            format!("{}.{}", row.delivery, row.attempt),
            row.provider.clone(),
            row.model.clone(),
            row.outcome.clone(),
            row.error.clone(),
            status,
        ];
        let rest = [
            num::ms(row.first_byte_ms as f64),
            num::ms(row.latency_ms as f64),
            num::money(NanoUsd(row.cost_nanousd)),
            row.usage_source.clone(),
            row.price_version.clone(),
            row.request_id.clone(),
        ];
        names.into_iter().chain(numbers).chain(rest).map(cell).collect()
    };
    let cells: Vec<Vec<Markup>> = made.iter().map(row).collect();
    let columns = [
        ("Call", false),
        ("Provider", false),
        ("Model", false),
        ("Outcome", false),
        ("Error", false),
        ("HTTP", true),
        ("Prompt", true),
        ("From cache", true),
        ("Into cache", true),
        ("Answer", true),
        ("Thinking", true),
        ("First byte", true),
        ("Took", true),
        ("Cost", true),
        ("Counted by", false),
        ("Price", false),
        ("Request", false),
    ];
    shown(table("t-job-calls", "Calls to providers, in their order", &columns, &cells))
}

fn rules(rows: &[JobRow]) -> Content {
    let Some(job) = result(rows).filter(|job| !job.guardrail_rules.is_empty()) else {
        return shown(html! { p.empty { "No rule fired." } });
    };
    let text = |list: &[String], at: usize| list.get(at).cloned().unwrap_or_default();
    let row = |(at, rule): (usize, &String)| {
        let often = job.guardrail_counts.get(at).copied().unwrap_or(0);
        [rule.clone(), text(&job.guardrail_sides, at), text(&job.guardrail_actions, at), num::count(often)]
            .map(cell)
            .to_vec()
    };
    let cells: Vec<Vec<Markup>> = job.guardrail_rules.iter().enumerate().map(row).collect();
    let columns = [("Rule", false), ("On", false), ("What followed", false), ("At least", true)];
    shown(table("t-job-rules", "Rules that fired; what they found is kept nowhere", &columns, &cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str) -> JobRow {
        let text = String::new;
        JobRow {
            kind: kind.into(),
            record: "result".into(),
            ts_ms: 1_900,
            accepted_ms: 1_000,
            started_ms: 1_100,
            run: "r".into(),
            worker: text(),
            delivery: 1,
            attempt: 2,
            class: text(),
            project: text(),
            user: text(),
            api_key_id: text(),
            labels: Vec::new(),
            model_requested: text(),
            provider: "p".into(),
            model: "m".into(),
            region: text(),
            status: "succeeded".into(),
            error_code: text(),
            outcome: "none".into(),
            error: text(),
            http_status: 0,
            cache: "miss".into(),
            streamed: false,
            guardrail_rules: Vec::new(),
            guardrail_sides: Vec::new(),
            guardrail_actions: Vec::new(),
            guardrail_counts: Vec::new(),
            risk: 0,
            usage_source: text(),
            tokens: Tokens::default(),
            cost_nanousd: 0,
            job_cost_nanousd: 0,
            saved_nanousd: 0,
            unknown_attempts: 0,
            unknown_nanousd: 0,
            queued_ms: 100,
            first_byte_ms: 0,
            latency_ms: 750,
            price_version: text(),
            request_id: text(),
        }
    }

    #[test]
    fn a_story_goes_from_the_queue_over_every_call_to_the_commit() {
        let call = |attempt, started_ms, latency_ms, first_byte_ms, outcome: &str| JobRow {
            attempt,
            started_ms,
            latency_ms,
            first_byte_ms,
            outcome: outcome.into(),
            ..row("attempt")
        };
        let rows = [row("job"), call(2, 1_400, 400, 150, "ok"), call(1, 1_150, 50, 0, "rate_limited")];
        let told: Vec<(String, f64, f64)> =
            story(&rows).into_iter().map(|phase| (phase.name, phase.from_ms, phase.took_ms)).collect();
        let expected = [
            ("queued", 0.0, 100.0),
            ("screened and admitted", 100.0, 50.0),
            ("call 1 of delivery 1: m at p", 150.0, 50.0),
            ("waited to try again", 200.0, 200.0),
            ("call 2 of delivery 1: m at p", 400.0, 150.0),
            ("answer", 550.0, 250.0),
            ("answer screened", 800.0, 50.0),
            ("committed", 850.0, 50.0),
        ];
        assert_eq!(told, expected.map(|(name, from, took)| (name.to_owned(), from, took)));
    }

    #[test]
    fn a_job_that_called_nobody_has_a_story_too() {
        let hit = JobRow { cache: "hit".into(), latency_ms: 3, ..row("job") };
        let names: Vec<String> = story(&[hit]).into_iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["queued", "screened, answered from the cache", "committed"]);
        assert!(story(&[]).is_empty() && story(&[row("attempt")]).is_empty());
    }
}
