//! `models price`: the rates of every deployment of a model, and the cost of a call.

use serde::Serialize;
use tollgate_policy::price::{Price, Service};
use tollgate_types::{Tokens, Usd};
use tollgate_worker::Priced;

use crate::commands::Cx;
use crate::config::build;
use crate::exit::{Code, Failure, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model, as jobs ask for it
    #[arg(value_name = "MODEL")]
    model: String,
    /// Prompt tokens of the call that is to be priced
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    prompt: u64,
    /// How many of them are read from the provider's cache
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    cached: u64,
    /// Answer tokens of that call, reasoning included
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    answer: u64,
}

/// One tier of one deployment.
#[derive(Debug, Serialize)]
struct Row {
    provider: String,
    deployment: String,
    version: String,
    above_prompt_tokens: u64,
    input_usd_per_million: String,
    cache_read_usd_per_million: String,
    cache_write_usd_per_million: String,
    output_usd_per_million: String,
    batch_discount_percent: f64,
    /// What the call costs that was asked about; only on the tier that it falls into.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_usd: Option<String>,
}

pub(super) fn run(args: &Args, cx: &Cx) -> Outcome {
    if args.cached > args.prompt {
        return Err(Failure::new(Code::Usage, "--cached is a part of --prompt, and is larger"));
    }
    let routes = build::served(&cx.load()?.config, &build::Rings::default());
    let Some(serving) = routes.serving(&args.model) else {
        let known: Vec<&str> = routes.names().take(20).collect();
        let message = format!("nothing serves the model '{}'; there are: {}", args.model, known.join(", "));
        return Err(Failure::new(Code::Usage, message).try_this("`tollgate models list --known` shows all list prices"));
    };
    let tokens =
        Tokens { input: args.prompt - args.cached, cache_read: args.cached, output: args.answer, ..Tokens::default() };
    let asked = args.prompt > 0 || args.answer > 0;
    let rows: Vec<Row> = serving.deployments.iter().flat_map(|priced| rows(priced, &tokens, asked)).collect();
    if rows.is_empty() {
        let message = format!("no deployment of '{}' has a price, so its jobs are rejected", args.model);
        return Err(Failure::new(Code::Usage, message).try_this("set models.….price, or free = true on its provider"));
    }
    let header = ["provider", "deployment", "version", "prompts above", "in", "cached", "cache write", "out", "call"];
    cx.output.records(&rows, &header, |row| {
        vec![
            row.provider.clone(),
            row.deployment.clone(),
            row.version.clone(),
            row.above_prompt_tokens.to_string(),
            row.input_usd_per_million.clone(),
            row.cache_read_usd_per_million.clone(),
            row.cache_write_usd_per_million.clone(),
            row.output_usd_per_million.clone(),
            row.call_usd.clone().unwrap_or_default(),
        ]
    })?;
    Ok(Code::Ok)
}

fn rows(priced: &Priced, tokens: &Tokens, asked: bool) -> Vec<Row> {
    let Some(price) = &priced.price else { return Vec::new() };
    let of_call = tier_of(price, tokens);
    let tiers = price.tiers().iter().enumerate();
    tiers
        .map(|(at, tier)| Row {
            provider: priced.deployment.provider.clone(),
            deployment: priced.deployment.model.clone(),
            version: price.version().to_owned(),
            above_prompt_tokens: tier.above_prompt_tokens,
            input_usd_per_million: per_million(tier.input),
            cache_read_usd_per_million: per_million(tier.cache_read),
            cache_write_usd_per_million: per_million(tier.cache_write),
            output_usd_per_million: per_million(tier.output),
            batch_discount_percent: f64::from(price.batch_discount_ppm()) / 1e4,
            call_usd: (asked && at == of_call).then(|| format!("${}", Usd(price.cost(tokens, Service::Standard)))),
        })
        .collect()
}

fn tier_of(price: &Price, tokens: &Tokens) -> usize {
    let reached = price.tiers().iter().rposition(|tier| tokens.prompt() > tier.above_prompt_tokens);
    reached.unwrap_or(0)
}

/// Pico-dollars per token as dollars per million tokens, which are the same digits.
pub(super) fn per_million(pico_per_token: u64) -> String {
    let (whole, fraction) = (pico_per_token / 1_000_000, pico_per_token % 1_000_000);
    let text = format!("{whole}.{fraction:06}");
    format!("${}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use tollgate_policy::price::Tier;

    use super::*;

    #[test]
    fn rates_are_shown_as_vendors_quote_them() {
        for (pico, text) in [(0, "$0"), (150_000, "$0.15"), (2_500_000, "$2.5"), (1, "$0.000001"), (10_000_000, "$10")]
        {
            assert_eq!(per_million(pico), text);
        }
    }

    #[test]
    fn a_call_is_priced_in_the_tier_that_its_prompt_falls_into() {
        let tier =
            |above, input| Tier { above_prompt_tokens: above, input, cache_read: 0, cache_write: input, output: 1 };
        let price = Price::new("v", vec![tier(0, 1_000_000), tier(1000, 2_000_000)], 0).expect("a price");
        let tokens = |input| Tokens { input, ..Tokens::default() };
        assert_eq!([0, 1000, 1001].map(|prompt| tier_of(&price, &tokens(prompt))), [0, 0, 1]);
        let deployment = tollgate_providers::Deployment::new(
            "p",
            tollgate_providers::Vendor::OpenAi,
            "https://api.openai.com/v1",
            "m",
            None,
        );
        let priced = Priced::new(deployment.expect("a deployment"), Some(price), 16);
        let [low, high] = &rows(&priced, &tokens(2_000), true)[..] else { panic!("two tiers") };
        assert_eq!((low.call_usd.as_deref(), high.call_usd.as_deref()), (None, Some("$0.004")));
    }
}
