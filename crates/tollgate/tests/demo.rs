//! The demo as people and programs run it: the program itself, with real servers.

use std::process::{Command, Output};

use serde_json::Value;

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    // What the machine's owner has set up must not reach into the demo.
    for name in ["CLICKHOUSE_URL", "NATS_URL", "NATS_CONTEXT", "TOLLGATE_CONFIG", "OPENAI_API_KEY"] {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).arg("demo").args(args);
    command.output().expect("the program runs")
}

/// One object on one line; the rest is on standard error.
fn object(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "stdout: {text}\nstderr: {said}");
    serde_json::from_str(&text).expect("an object")
}

#[test]
fn every_job_of_the_workload_has_one_result_and_the_books_agree_also_with_the_provider() {
    let output = demo(&["--count", "120", "--output", "json"]);
    let report = object(&output);
    assert!(output.status.success(), "{report:#}");
    for (key, value) in [("accepted", 120), ("results", 120), ("lost", 0), ("duplicated", 0), ("changed", 0)] {
        assert_eq!(report[key], value, "{key} in {report:#}");
    }
    assert_eq!((&report["agree"], &report["by_status"]["succeeded"]), (&true.into(), &120.into()), "{report:#}");
    let cost = &report["cost_nanousd"];
    assert!(cost["results"].as_i64().is_some_and(|nanos| nanos > 0) && cost["results"] == cost["clickhouse"], "{cost}");
    let calls: u64 = report["calls"].as_object().expect("calls").values().filter_map(Value::as_u64).sum();
    assert_eq!(report["provider"]["calls"], calls, "the provider counted for itself");
    assert_eq!(report["provider"]["billable"], 120);
}

#[test]
fn a_file_of_requests_questions_and_nonsense_is_answered_line_by_line() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let lines = [
        r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"no-such-model","messages":[{"role":"user","content":"x"}]}}"#,
        r#"{"question":"How many?","answer":"18"}"#,
        "nonsense",
    ];
    std::fs::write(file.path(), lines.join("\n")).expect("it can be written");
    let path = file.path().to_str().expect("a plain path");
    let output = demo(&["--jobs", path, "--output", "json"]);
    let report = object(&output);
    assert!(output.status.success(), "a rejected job has its one result too: {report:#}");
    let ends = (&report["by_status"]["succeeded"], &report["by_status"]["rejected"]);
    assert_eq!(ends, (&2.into(), &1.into()), "{report:#}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 line(s) are questions"));
}

#[test]
fn a_cap_that_nothing_fits_under_is_refused_with_the_arithmetic() {
    let output = demo(&["--count", "3", "--max-cost-usd", "0.0000001"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("not even the first job fits under $0.000000100") && said.contains("times 6 calls"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

/// A small trace of thirty rows.
const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trace.csv");

/// The sums of prompt and answer tokens of a trace's rows.
fn tokens_of(trace: &str) -> (u64, u64) {
    let text = std::fs::read_to_string(trace).expect("the trace is there");
    let row = |line: &str| {
        let columns: Vec<u64> = line.split(',').skip(1).map(|number| number.parse().expect("a number")).collect();
        (columns[0], columns[1])
    };
    text.lines().skip(1).map(row).fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
}

#[test]
fn a_trace_is_replayed_with_its_tokens_and_the_report_says_who_got_what() {
    let trace = format!("one={TRACE}");
    let flooding = format!("two={TRACE}");
    let flags = ["--trace", &trace, "--trace", &flooding, "--flood", "two=3", "--weights", "one=3", "--speed", "4"];
    let output = demo(&[&flags[..], &["--concurrency", "4", "--output", "json"]].concat());
    let report = object(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!((&report["results"], &report["agree"]), (&120.into(), &true.into()), "{report:#}");

    let (prompt, answer) = tokens_of(TRACE);
    let provider = &report["provider"];
    assert_eq!(provider["completion_tokens"], 4 * answer, "answers are as long as the rows say: {provider}");
    let counted = provider["prompt_tokens"].as_u64().expect("a count");
    assert!(counted.abs_diff(4 * prompt) * 20 <= 4 * prompt, "{counted} for {}", 4 * prompt);

    let replay = &report["replay"];
    assert_eq!((&replay["rows"], &replay["speed"]), (&60.into(), &4.0.into()), "{replay:#}");
    let lane = |n: usize| &replay["lanes"][n];
    for (n, team, weight, jobs) in [(0, "one", 3.0, 30), (1, "two", 1.0, 90)] {
        assert_eq!((&lane(n)["team"], &lane(n)["class"]), (&team.into(), &"standard".into()), "{replay:#}");
        assert_eq!((&lane(n)["weight"], &lane(n)["jobs"]), (&weight.into(), &jobs.into()), "{replay:#}");
        let waits = ["p50", "p95", "max"].map(|rank| lane(n)["queued_ms"][rank].as_u64().expect("a wait"));
        assert!(waits.is_sorted() && lane(n)["drought"]["fair_bound"].as_u64() > Some(0), "{replay:#}");
    }
    let cost = lane(0)["token_cost"].as_u64().expect("a cost");
    assert_eq!(lane(1)["token_cost"], 3 * cost, "three copies of each row");
    let waited = lane(1)["queued_ms"]["max"].as_u64();
    assert!(replay["longest_wait_ms"].as_u64() >= waited && waited > Some(0), "four slots are too few: {replay:#}");
    assert!(lane(1)["weight_share"].as_f64().is_none_or(|due| due == 0.25), "{replay:#}");
    assert_eq!(replay["evenness"][0]["teams_of"], "standard", "{replay:#}");
    assert!(replay["evenness"][0]["window_token_cost"].as_u64() > Some(0), "{replay:#}");
    assert!(replay.get("slots").is_some() && replay["starved"].is_array(), "{replay:#}");
}

#[test]
fn a_trace_that_is_none_is_refused_before_anything_starts() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-03-02 09:00:00,-3,5\n")
        .expect("written");
    let path = file.path().to_str().expect("a plain path");
    let output = demo(&["--trace", path, "--speed", "max"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{path}, line 2: ContextTokens is -3, which is negative")), "{said}");
    assert!(said.contains("try: write how many tokens it were") && !said.contains("starting"), "{said}");
    assert!(output.stdout.is_empty());
}
