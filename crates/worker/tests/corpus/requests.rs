//! 20, 21, 41: jobs whose model is not served or not allowed, and jobs about pictures at addresses that are traps.

use serde_json::{Value, json};
use tollgate_providers::Vendor;
use tollgate_types::ErrorCode;

use crate::bench::check;
use crate::row::{Row, row, sim};
use crate::server::{Raw, Reply};

/// A question about pictures at these addresses.
fn pictures(addresses: &[String]) -> Value {
    let one = |url: &String| json!({ "type": "image_url", "image_url": { "url": url } });
    addresses.iter().map(one).collect()
}

fn about(number: u32, name: &'static str, vendor: Vendor, addresses: &[String]) -> Row {
    Row { vendor, content: Some(pictures(addresses)), ..row(number, name, sim("ok")) }
}

fn names() -> Vec<Row> {
    let ask = |number, name, team, model, code, says| {
        let row = row(number, name, sim("ok")).fails(code, says).tries([]);
        Row { team, model: Some(model), ..row }
    };
    use ErrorCode::{ForbiddenModel, UnknownModel};
    vec![
        ask(20, "a misspelt model", "search", "goood", UnknownModel, "serves the model 'goood'; known: good, "),
        ask(20, "another misspelt model", "search", "lager", UnknownModel, "serves the model 'lager'; known: larger, "),
        ask(20, "a model that nobody has", "search", "gpt-99", UnknownModel, "serves the model 'gpt-99'; known: "),
        // Who may use one model hears of no other.
        ask(21, "an unknown model", "marketing", "gpt-99", UnknownModel, "serves the model 'gpt-99'; known: good"),
        ask(21, "a model of others", "marketing", "larger", ForbiddenModel, "may not use the model 'larger'"),
    ]
}

/// Addresses are passed on to the provider or refused. The trap stands at our own machine, in three notations, and
/// behind a redirect.
fn addresses(trap: u16, redirecting: u16) -> Vec<Row> {
    let traps: Vec<String> = vec![
        format!("http://127.0.0.1:{trap}/p.png"),
        format!("http://[::ffff:127.0.0.1]:{trap}/p.png"),
        format!("http://localhost:{trap}/p.png"),
        format!("http://127.0.0.1:{redirecting}/p.png"),
    ];
    let metadata = vec!["http://169.254.169.254/latest/meta-data".to_owned()];
    let file = vec!["file:///etc/passwd".to_owned()];
    let many: Vec<String> = (0..10_000).map(|n| format!("http://127.0.0.1:{trap}/{n}")).collect();
    let mut rows = vec![
        about(41, "10,000 addresses", Vendor::OpenAi, &many),
        about(41, "addresses of this machine", Vendor::OpenAi, &traps),
        about(41, "a metadata service", Vendor::OpenAi, &metadata),
        about(41, "a file", Vendor::OpenAi, &file),
    ];
    let cannot = [
        ("Gemini, addresses of this machine", Vendor::Gemini, &traps),
        ("Gemini, a file", Vendor::Gemini, &file),
        ("Anthropic, addresses of this machine", Vendor::Anthropic, &traps),
        ("Anthropic, a metadata service", Vendor::Anthropic, &metadata),
        ("Ollama, addresses of this machine", Vendor::Ollama, &traps),
    ];
    for (name, vendor, addresses) in cannot {
        rows.push(about(41, name, vendor, addresses).fails(ErrorCode::Unsupported, "cannot do this").tries([]));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_for_an_unknown_or_forbidden_model_ends_and_no_address_in_a_job_is_fetched() {
    let trap = Raw::replying(vec![Reply::json("{}")]).await;
    let to_the_trap = format!("location: http://127.0.0.1:{}/inside", trap.port());
    let redirecting = Raw::replying(vec![Reply::http("302 Found", &[&to_the_trap], "")]).await;
    let rows = [names(), addresses(trap.port(), redirecting.port())].into_iter().flatten();
    check(rows.collect()).await;
    assert_eq!((trap.connections(), redirecting.connections()), (0, 0), "41: an address in a job was fetched");
}
