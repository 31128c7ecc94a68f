//! Embeddings and responses, where the server has the vendor's.
//!
//! It has no `:batchEmbedContents` of Gemini, and answers Ollama's `/api/embed` in the shape of an older endpoint: those
//! two are tested against recorded answers alone.

use serde_json::{Value, json};
use tollgate_providers::Vendor;
use tollgate_types::{Billed, Endpoint, FailureKind, UsageSource};

use crate::server::Independent;
use crate::{KEY, SERVICES, Service, arrived, called_at, used};

/// Where a vendor's calls of an endpoint arrive.
type Place = (Vendor, &'static str);

const EMBEDDINGS: [Place; 3] =
    [(Vendor::OpenAi, "/v1/embeddings"), (Vendor::Azure, "/openai/v1/embeddings"), (Vendor::Mistral, "/v1/embeddings")];
const RESPONSES: [Place; 3] =
    [(Vendor::OpenAi, "/v1/responses"), (Vendor::Azure, "/openai/v1/responses"), (Vendor::Xai, "/v1/responses")];

fn service(vendor: Vendor) -> &'static Service {
    SERVICES.iter().find(|service| service.vendor == vendor).expect("every vendor has a service")
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn texts_become_vectors() {
    let server = Independent::from_environment();
    for (vendor, path) in EMBEDDINGS {
        for (input, count) in [(json!("a text to embed"), 1), (json!(["a text to embed", "another"]), 2)] {
            let (service, what) = (service(vendor), format!("{}, {input}", vendor.as_str()));
            let (to, body) = (service.deployment(&server, &[KEY]), json!({ "model": "fast", "input": input }));
            let (called, journal) = called_at(&server, &to, Endpoint::Embeddings, &body, None).await;
            arrived(service, path, &["a text to embed"], &journal, &what);
            let answer = called.outcome.expect(&what);
            let body: Value = serde_json::from_str(answer.body.get()).expect("JSON");
            let vectors = body["data"].as_array().expect("a list");
            assert_eq!(vectors.len(), count, "{what}");
            for (at, vector) in vectors.iter().enumerate() {
                assert_eq!(
                    (&vector["index"], &vector["embedding"]),
                    (&at.into(), &json!([0.25, -0.5, 0.75])),
                    "{what}"
                );
            }
            // The server says that nothing was used.
            assert_eq!((answer.usage_source, answer.tokens.output), (UsageSource::Estimated, 0), "{what}");
            assert!(answer.tokens.input > 0, "{what}");
        }
    }
}

/// What a response must hold: an item of this kind, and this text in it.
fn holds(body: &Value, kind: &str, text: &str, what: &str) {
    let items = body["output"].as_array().expect("a list");
    let item = items.iter().find(|item| item["type"] == kind).unwrap_or_else(|| panic!("{what}: no {kind}: {body}"));
    assert!(item.to_string().contains(text), "{what}: {item}");
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn a_response_is_passed_on_and_its_end_and_usage_are_read() {
    let server = Independent::from_environment();
    let tool = json!({ "type": "function", "name": "weather_at", "parameters": { "type": "object" } });
    for (vendor, path) in RESPONSES {
        for (says, tools, finish, kind, text) in [
            ("a plain question", json!([]), "stop", "message", "a plain answer"),
            ("a question for a tool", json!([tool]), "tool_calls", "function_call", r#"{\"city\":\"Oslo\"}"#),
        ] {
            let (service, what) = (service(vendor), format!("{}, {says}", vendor.as_str()));
            let to = service.deployment(&server, &[KEY]);
            let body = json!({ "model": "fast", "instructions": "be brief", "input": says, "tools": tools });
            let (called, journal) = called_at(&server, &to, Endpoint::Responses, &body, None).await;
            arrived(service, path, &["be brief", says], &journal, &what);
            let answer = called.outcome.expect(&what);
            assert_eq!(answer.finish, finish, "{what}");
            used(service, &answer, &what);
            holds(&serde_json::from_str(answer.body.get()).expect("JSON"), kind, text, &what);
        }
    }
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn a_refused_response_is_what_its_code_says() {
    let server = Independent::from_environment();
    for (vendor, _) in RESPONSES {
        for (says, kind) in [
            ("a prompt that is too long", FailureKind::ContextLength),
            ("a call too many", FailureKind::RateLimited),
            ("a call without credit", FailureKind::QuotaExhausted),
        ] {
            let (to, what) = (service(vendor).deployment(&server, &[KEY]), format!("{}, {says}", vendor.as_str()));
            let body = json!({ "model": "fast", "input": says });
            let (called, _) = called_at(&server, &to, Endpoint::Responses, &body, None).await;
            let failure = called.outcome.expect_err(&what);
            assert_eq!((failure.kind, failure.billed), (kind, Billed::No), "{what}: {failure}");
        }
    }
}
