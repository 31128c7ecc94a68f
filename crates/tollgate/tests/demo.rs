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
