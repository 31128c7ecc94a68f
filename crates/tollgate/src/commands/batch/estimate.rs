//! What a file may cost, before anything is submitted.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_bulk::Checked;
use tollgate_providers::tokens::prompt_bound;
use tollgate_types::{JobSpec, NanoUsd, Usd};
use tollgate_worker::Routes;

use crate::commands::Cx;
use crate::config::build;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// Bytes of a body that are expected to be a token: English prose has four and a half, JSON around it is dear.
const BYTES_A_TOKEN: u64 = 4;
/// Answers of which nothing is known are expected to be as long as the broker expects them.
const ANSWER_TOKENS: u64 = 256;

/// Adds up what requests may cost, with the prices of the configuration that the command sees.
pub(super) struct Estimate {
    routes: Routes,
    models: BTreeMap<String, Sum>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    expected: NanoUsd,
    most: NanoUsd,
    unpriced: bool,
}

#[derive(Serialize)]
struct Row {
    model: String,
    requests: u64,
    body_bytes: u64,
    expected_usd: Option<String>,
    most_usd: Option<String>,
}

impl Estimate {
    pub(super) fn new(cx: &Cx) -> Result<Estimate, Failure> {
        let routes = build::served(&cx.load()?.config, &build::Rings::default());
        Ok(Estimate { routes, models: BTreeMap::new() })
    }

    pub(super) fn add(&mut self, job: &JobSpec) {
        let request = &job.request;
        let sum = self.models.entry(request.model.clone()).or_default();
        let bytes = job.body.len() as u64;
        let expected_answer = request.max_tokens.unwrap_or(u64::MAX).min(ANSWER_TOKENS) * request.n;
        let priced = self.routes.of(&request.model).iter().filter_map(|priced| {
            let price = priced.price.as_ref()?;
            let longest = request.max_tokens.unwrap_or(priced.output_tokens_max).saturating_mul(request.n);
            let most = price.upper_bound(prompt_bound(job.body.len()), longest);
            Some((price.upper_bound(bytes / BYTES_A_TOKEN, expected_answer).min(most), most))
        });
        // The first deployment is the one that is meant; the dearest one may be needed.
        let all: Vec<_> = priced.collect();
        match all.first() {
            Some((expected, _)) => {
                sum.expected += *expected;
                sum.most += all.iter().map(|&(_, most)| most).max().unwrap_or_default();
            }
            None => sum.unpriced = true,
        }
    }

    /// Prints what a file asks for and may cost.
    pub(super) fn print(&self, checked: &Checked, cx: &Cx) -> Outcome {
        let row = |(model, asked): (&String, &tollgate_bulk::check::Asked)| {
            let sum = self.models.get(model).filter(|sum| !sum.unpriced);
            Row {
                model: model.clone(),
                requests: asked.requests,
                body_bytes: asked.body_bytes,
                expected_usd: sum.map(|sum| Usd(sum.expected).to_string()),
                most_usd: sum.map(|sum| Usd(sum.most).to_string()),
            }
        };
        let rows: Vec<Row> = checked.asked.iter().map(row).collect();
        cx.output.records(&rows, &["model", "requests", "bytes", "expected $", "at most $"], |row| {
            let unknown = || "no price known here".to_owned();
            vec![
                row.model.clone(),
                row.requests.to_string(),
                row.body_bytes.to_string(),
                row.expected_usd.clone().unwrap_or_else(unknown),
                row.most_usd.clone().unwrap_or_else(unknown),
            ]
        })?;
        let total = self.models.values().fold(Sum::default(), |all, sum| Sum {
            expected: all.expected + sum.expected,
            most: all.most + sum.most,
            unpriced: all.unpriced || sum.unpriced,
        });
        output::say(format_args!(
            "{} requests; expected ${}, at most ${} without retries{}; nothing was submitted",
            checked.requests,
            Usd(total.expected),
            Usd(total.most),
            if total.unpriced { ", and what has no price here" } else { "" },
        ));
        Ok(Code::Ok)
    }
}
