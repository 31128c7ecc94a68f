//! Odd values in every place of every recorded request and reply: an adapter refuses them, and never panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tollgate_types::JobSpec;

use super::{Refusal, Sent, To};
use crate::vendor::Vendor;

/// The recorded exchanges of a vendor: the job, if it is not any, and the reply, if there is one.
fn recorded(vendor: Vendor) -> Vec<(Option<Value>, Option<Value>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(vendor.as_str());
    let mut exchanges = Vec::new();
    for entry in std::fs::read_dir(directory).expect("every vendor has a directory") {
        let text = std::fs::read(entry.expect("a readable directory").path()).expect("a readable file");
        let file: Value = serde_json::from_slice(&text).expect("JSON");
        for case in file["cases"].as_array().expect("a list") {
            exchanges.push((case.get("job").cloned(), case["reply"].get("json").cloned()));
        }
    }
    exchanges
}

/// Every document that differs from `value` by one odd value in one place.
fn mutations(value: &Value) -> Vec<Value> {
    let odd =
        [json!(null), json!(true), json!(-1.5), json!("x"), json!([]), json!(["x"]), json!([[7]]), json!({ "x": 1 })];
    let mut all = odd.to_vec();
    match value {
        Value::Object(fields) => {
            for name in fields.keys() {
                for odd in mutations(&fields[name]) {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), odd);
                    all.push(changed.into());
                }
            }
        }
        Value::Array(items) => {
            for at in 0..items.len() {
                for odd in mutations(&items[at]) {
                    let mut changed = items.clone();
                    changed[at] = odd;
                    all.push(changed.into());
                }
            }
        }
        _ => {}
    }
    all
}

fn survives(what: &str, input: &Value, work: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(work)).is_ok(), "{what} panics at {input}");
}

#[test]
fn no_job_makes_an_adapter_panic() {
    let to = To { model_json: "\"m\"", context_tokens: Some(9) };
    let mut tried = 0;
    // Whatever is written for one vendor may be sent to another.
    for job in Vendor::ALL.into_iter().flat_map(recorded).filter_map(|(job, _)| job) {
        for body in mutations(&job["body"]) {
            let line = json!({ "url": job["url"], "body": body });
            let Ok(spec) = JobSpec::decode(&Bytes::from(line.to_string()), 1 << 20) else { continue };
            for vendor in Vendor::ALL {
                let Some(exchange) = vendor.adapter().exchange(spec.request.endpoint) else { continue };
                survives(vendor.as_str(), &body, || drop((exchange.body)(&spec.body, &spec.request, &to)));
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000, "only {tried} jobs were tried");
}

#[test]
fn no_reply_makes_an_adapter_panic() {
    let mut tried = 0;
    for vendor in Vendor::ALL {
        let adapter = vendor.adapter();
        for reply in recorded(vendor).into_iter().filter_map(|(_, reply)| reply).flat_map(|reply| mutations(&reply)) {
            let text = reply.to_string().into_bytes();
            let body = Bytes::from_static(br#"{"model":"m","input":"x"}"#);
            let sent = Sent { body: &body, max_tokens: None, n: 1 };
            for exchange in [Some(&adapter.chat), adapter.embeddings.as_ref(), adapter.responses.as_ref()] {
                let Some(exchange) = exchange else { continue };
                survives(vendor.as_str(), &reply, || {
                    if let Ok(read) = (exchange.read)(text.clone(), &sent) {
                        (exchange.answer_text)(&read.body);
                    }
                });
                tried += 1;
            }
            for status in [400, 429] {
                let headers = HeaderMap::new();
                let refusal = Refusal { status, headers: &headers, body: &text, keys: &[] };
                survives(vendor.as_str(), &reply, || drop((adapter.refuse)(&refusal)));
            }
        }
    }
    assert!(tried > 10_000, "only {tried} replies were tried");
}
