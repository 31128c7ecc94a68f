//! `usage reprice`: what calls would have cost at the prices of now. What was booked stays as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tollgate_policy::price::{Price, Service};
use tollgate_types::NanoUsd;
use tollgate_usage::{BilledCall, RepricedCost};

use crate::commands::Cx;
use crate::commands::span::{self, Span};
use crate::config::build;
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    span: Span,
    /// Keep the new costs beside the booked ones, in the table `repriced_costs`
    #[arg(long)]
    store: bool,
}

const DEFAULT_SPAN: Period = Period(std::time::Duration::from_secs(31 * 24 * 3600));

/// What one model of one provider was booked at and comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Row {
    provider: String,
    model: String,
    calls: u64,
    booked_nanousd: i64,
    /// At the prices of now.
    now_nanousd: i64,
    /// Calls that no price is known for any more; they count as booked.
    unpriced: u64,
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let (range, loaded) = (args.span.hours(DEFAULT_SPAN, span::now())?, cx.load()?);
    let store = connect::clickhouse(&loaded.config)?;
    let failed = |error| connect::clickhouse_failure(&loaded.config, &error);
    let (prices, at) = (prices(&loaded.config), span::now().0);
    let (mut rows, mut last): (BTreeMap<(String, String), Row>, Option<BilledCall>) = (BTreeMap::new(), None);
    loop {
        let page = store.billed_calls(range, last.as_ref()).await.map_err(failed)?;
        let priced: Vec<RepricedCost> = page.iter().filter_map(|call| reprice(call, &prices, &mut rows, at)).collect();
        if args.store {
            store.record_repriced(&priced).await.map_err(failed)?;
        }
        match page.into_iter().next_back() {
            Some(call) => last = Some(call),
            None => break,
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| -(row.now_nanousd - row.booked_nanousd).abs());
    output::say(span::in_words(range));
    let header = ["provider", "model", "calls", "booked", "now", "difference", "without a price"];
    cx.output.records(&rows, &header, |row| {
        vec![
            row.provider.clone(),
            row.model.clone(),
            row.calls.to_string(),
            NanoUsd(row.booked_nanousd).to_string(),
            NanoUsd(row.now_nanousd).to_string(),
            NanoUsd(row.now_nanousd.saturating_sub(row.booked_nanousd)).to_string(),
            row.unpriced.to_string(),
        ]
    })?;
    Ok(Code::Ok)
}

type Prices = BTreeMap<(String, String), Arc<Price>>;

/// The price of every deployment that the configuration serves, by provider and model.
fn prices(config: &crate::config::Config) -> Prices {
    let routes = build::served(config, &build::Rings::default());
    let names: Vec<String> = routes.names().map(str::to_owned).collect();
    let deployments = names.iter().flat_map(|name| routes.of(name));
    let priced = deployments.filter_map(|priced| {
        let key = (priced.deployment.provider.clone(), priced.deployment.model.clone());
        Some((key, priced.price.clone()?))
    });
    priced.collect()
}

/// Adds a call to the sums of its model, and says what it comes to if that is known.
fn reprice(
    call: &BilledCall,
    prices: &Prices,
    rows: &mut BTreeMap<(String, String), Row>,
    at: i64,
) -> Option<RepricedCost> {
    let key = (call.provider.clone(), call.model.clone());
    let price = prices.get(&key);
    let now = price.map_or(call.cost_nanousd, |price| price.cost(&call.tokens(), Service::Standard).0);
    let row = rows.entry(key).or_insert_with(|| Row {
        provider: call.provider.clone(),
        model: call.model.clone(),
        ..Row::default()
    });
    row.calls += 1;
    row.booked_nanousd = row.booked_nanousd.saturating_add(call.cost_nanousd);
    row.now_nanousd = row.now_nanousd.saturating_add(now);
    row.unpriced += u64::from(price.is_none());
    Some(RepricedCost {
        event_id: call.event_id,
        ts: call.at,
        team: call.team.clone(),
        provider: call.provider.clone(),
        model: call.model.clone(),
        price_version: price?.version().to_owned(),
        cost_nanousd: now,
        booked_nanousd: call.cost_nanousd,
        at,
    })
}
