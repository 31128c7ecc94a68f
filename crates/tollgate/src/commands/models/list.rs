//! `models list`: every model and its deployments.

use serde::Serialize;
use tollgate_policy::price::Price;
use tollgate_policy::routing::Strategy;
use tollgate_worker::{Priced, Routes};

use super::price::per_million;
use crate::commands::Cx;
use crate::config::build;
use crate::exit::{Code, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List the models of all vendors whose price and context are known, served or not
    #[arg(long)]
    known: bool,
}

/// One deployment of one model.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    routing: Strategy,
    provider: String,
    deployment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
    weight: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    context_tokens: Option<u64>,
    output_tokens_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_usd_per_million: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_usd_per_million: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fallbacks: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_context_length: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_content_policy: Vec<String>,
}

pub(super) fn run(args: &Args, cx: &Cx) -> Outcome {
    if args.known {
        return known(cx);
    }
    let routes = build::served(&cx.load()?.config, &build::Rings::default());
    let rows = rows(&routes);
    if rows.is_empty() {
        output::say("the configuration serves no model; `[providers.openai]` alone serves OpenAI's");
    }
    let header = ["model", "routing", "provider", "deployment", "region", "tags", "context", "in", "out", "instead"];
    cx.output.records(&rows, &header, |row| {
        let instead = [&row.fallbacks, &row.on_context_length, &row.on_content_policy];
        vec![
            row.model.clone(),
            word(row.routing, row.weight),
            row.provider.clone(),
            row.deployment.clone(),
            row.region.clone(),
            row.tags.join(" "),
            row.context_tokens.map(|count| count.to_string()).unwrap_or_default(),
            row.input_usd_per_million.clone().unwrap_or_else(|| "no price".to_owned()),
            row.output_usd_per_million.clone().unwrap_or_default(),
            instead.into_iter().flatten().cloned().collect::<Vec<_>>().join(" "),
        ]
    })?;
    Ok(Code::Ok)
}

fn rows(routes: &Routes) -> Vec<Row> {
    let of_model = |model: &str| {
        let serving = routes.serving(model).cloned().unwrap_or_default();
        let stand_ins = serving.stand_ins;
        let row = |priced: &Priced| {
            let rate = |of: fn(&Price) -> u64| priced.price.as_ref().map(|price| per_million(of(price)));
            Row {
                model: model.to_owned(),
                routing: serving.strategy,
                provider: priced.deployment.provider.clone(),
                deployment: priced.deployment.model.clone(),
                region: priced.deployment.region.clone(),
                weight: priced.weight,
                tags: priced.tags.iter().cloned().collect(),
                context_tokens: priced.context_tokens,
                output_tokens_max: priced.output_tokens_max,
                input_usd_per_million: rate(|price| price.tiers()[0].input),
                output_usd_per_million: rate(|price| price.tiers()[0].output),
                price_version: priced.price.as_ref().map(|price| price.version().to_owned()),
                fallbacks: stand_ins.fallbacks.clone(),
                on_context_length: stand_ins.on_context_length.clone(),
                on_content_policy: stand_ins.on_content_policy.clone(),
            }
        };
        serving.deployments.iter().map(row).collect::<Vec<_>>()
    };
    routes.names().flat_map(of_model).collect()
}

fn word(routing: Strategy, weight: u32) -> String {
    match routing {
        Strategy::Ordered => "ordered".to_owned(),
        Strategy::Weighted => format!("weight {weight}"),
        Strategy::LowestCost => "lowest cost".to_owned(),
        Strategy::LowestLatency => "lowest latency".to_owned(),
    }
}

/// A model of the shipped tables.
#[derive(Debug, Serialize)]
struct Known {
    vendor: String,
    model: String,
    context_tokens: Option<u64>,
    output_tokens_max: Option<u64>,
    input_usd_per_million: String,
    output_usd_per_million: String,
    price_version: String,
}

fn known(cx: &Cx) -> Outcome {
    let (book, catalogue) = (build::price_book(), build::catalogue());
    let mut rows = Vec::new();
    for vendor in book.vendors() {
        for model in book.models(vendor) {
            let price = book.price("", Some(vendor), model).expect("the table just named it");
            let facts = catalogue.facts(Some(vendor), model);
            rows.push(Known {
                vendor: vendor.to_owned(),
                model: model.to_owned(),
                context_tokens: facts.context_tokens,
                output_tokens_max: facts.output_tokens_max,
                input_usd_per_million: per_million(price.tiers()[0].input),
                output_usd_per_million: per_million(price.tiers()[0].output),
                price_version: price.version().to_owned(),
            });
        }
    }
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    cx.output.records(&rows, &["vendor", "model", "context", "answer", "in", "out", "price of"], |row| {
        vec![
            row.vendor.clone(),
            row.model.clone(),
            count(row.context_tokens),
            count(row.output_tokens_max),
            row.input_usd_per_million.clone(),
            row.output_usd_per_million.clone(),
            row.price_version.clone(),
        ]
    })?;
    Ok(Code::Ok)
}
