//! Entry 38 of the corpus of bad input: a prompt of 50 MB goes through real processes, and what a worker needs for it is
//! a few times its size and given back.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::{Class, JobResult, Status};

use crate::harness::System;

const LONG: Duration = Duration::from_secs(120);
const PROMPT_BYTES: usize = 50 * 1000 * 1000;
/// As often a prompt may be in a worker's memory: as it was fetched, with its model replaced, and what is on its way. Seen: 2.1.
const TIMES_MAX: usize = 4;

/// What `/proc` says of a process's memory, in bytes.
fn memory(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel says it");
    let kib: usize = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_of_fifty_megabytes_runs_and_takes_a_few_times_its_size() {
    let system = System::start("", "").await;
    let producer = system.producer("search").await;
    let line = |bytes: usize| {
        let prompt = "many words ".repeat(bytes / 11);
        let body =
            json!({ "model": "gpt-4o-mini", "max_tokens": 20, "messages": [{ "role": "user", "content": prompt }] });
        json!({ "custom_id": "large", "body": body }).to_string()
    };
    let run = async |bytes: usize| {
        let receipt = producer.submit(Class::Standard, line(bytes).into(), None).await.expect("accepted");
        let result = async || producer.result(&receipt.id).await.ok().flatten();
        let result = eventually("a result", LONG, result).await;
        let result: JobResult = serde_json::from_slice(&result).expect("readable");
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
        result
    };
    // What each needs once: tables, connections.
    for _ in 0..4 {
        run(100).await;
    }
    let pids: Vec<u32> = system.stack.workers.iter().map(|worker| worker.pid()).collect();
    let idle: Vec<usize> = pids.iter().map(|&pid| memory(pid, "VmRSS")).collect();
    for pid in &pids {
        // From here on the peak is counted anew.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the kernel takes it");
    }
    let result = run(PROMPT_BYTES).await;
    assert!(result.tollgate.tokens.prompt() > PROMPT_BYTES as u64 / 20, "the whole prompt arrived: {result:?}");
    let above: Vec<usize> =
        pids.iter().zip(&idle).map(|(&pid, idle)| memory(pid, "VmHWM").saturating_sub(*idle)).collect();
    eprintln!("above idle at the peak, MB: {:?}", above.iter().map(|bytes| bytes / 1_000_000).collect::<Vec<_>>());
    let most = above.iter().max().copied().unwrap_or_default();
    assert!(most >= PROMPT_BYTES, "one of them had it: {above:?}");
    assert!(most <= TIMES_MAX * PROMPT_BYTES, "{above:?}");
    system.stop().await;
}
