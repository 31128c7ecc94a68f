//! A simulated checker of texts: OpenAI's moderations, and Tollgate's own contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::server::Shared;

/// The texts that are kept in memory; more are checked and forgotten.
const TEXTS_MAX: usize = 10_000;

/// What a checker objects to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckerPlan {
    /// A text with one of these words is flagged.
    pub words: Vec<String>,
    /// These are found wherever they stand, as names of people.
    pub names: Vec<String>,
    /// It answers with this status and nothing else.
    pub status: Option<u16>,
    /// It takes its time.
    pub delay: Duration,
}

/// What a checker was asked.
#[derive(Default)]
pub(crate) struct Checks {
    texts: Mutex<Vec<String>>,
}

impl Checks {
    pub(crate) fn texts(&self) -> Vec<String> {
        self.texts.lock().expect("no holder panics").clone()
    }

    fn keep(&self, texts: &[String]) {
        let mut kept = self.texts.lock().expect("no holder panics");
        let room = TEXTS_MAX.saturating_sub(kept.len());
        kept.extend(texts.iter().take(room).cloned());
    }
}

/// `POST /v1/moderations`.
pub(crate) async fn moderations(State(shared): State<Arc<Shared>>, Json(question): Json<Value>) -> Response {
    let texts = texts(&question["input"]);
    let plan = match ready(&shared, &texts).await {
        Ok(plan) => plan,
        Err(status) => return status.into_response(),
    };
    let results: Vec<Value> = texts
        .iter()
        .map(|text| {
            let flagged = plan.flags(text);
            json!({"flagged": flagged, "categories": {"violence": flagged, "hate": false},
                   "category_scores": {"violence": if flagged { 0.98 } else { 0.01 }, "hate": 0.01}})
        })
        .collect();
    Json(json!({"id": "modr-sim", "model": "omni-moderation-sim", "results": results})).into_response()
}

/// `POST /check`: Tollgate's own contract.
pub(crate) async fn check(State(shared): State<Arc<Shared>>, Json(question): Json<Value>) -> Response {
    let texts = texts(&question["texts"]);
    let plan = match ready(&shared, &texts).await {
        Ok(plan) => plan,
        Err(status) => return status.into_response(),
    };
    let named = plan.names.iter().filter(|name| texts.iter().any(|text| text.contains(*name)));
    let found: Vec<Value> = named.map(|name| json!({"kind": "PERSON", "value": name})).collect();
    let flagged = !found.is_empty() || texts.iter().any(|text| plan.flags(text));
    Json(json!({"flagged": flagged, "found": found})).into_response()
}

async fn ready(shared: &Shared, texts: &[String]) -> Result<CheckerPlan, StatusCode> {
    shared.checks.keep(texts);
    let plan = shared.behaviour().checker.clone();
    tokio::time::sleep(plan.delay).await;
    match plan.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => Err(status),
        None => Ok(plan),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

impl CheckerPlan {
    fn flags(&self, text: &str) -> bool {
        self.words.iter().any(|word| text.contains(word))
    }
}
