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
    use ErrorCode::UnknownModel;
    vec![
        ask(20, "a misspelt model", "search", "goood", UnknownModel, "serves the model 'goood'; there are: good, "),
        ask(20, "another misspelt model", "search", "lager", UnknownModel, "the model 'lager'; there are: larger, "),
        ask(20, "a model that nobody has", "search", "gpt-99", UnknownModel, "the model 'gpt-99'; there are: "),
        // Who may use one model hears of no other, and a model of others is as one that nobody has.
        ask(21, "an unknown model", "marketing", "gpt-99", UnknownModel, "serves the model 'gpt-99'; there are: good"),
        ask(21, "a model of others", "marketing", "larger", UnknownModel, "serves the model 'larger'; there are: good"),
    ]
}

/// Addresses in the open are passed on to a provider that takes any, and others are refused. The trap stands at our own
/// machine, in three notations, and behind a redirect.
fn addresses(trap: u16, redirecting: u16) -> Vec<Row> {
    let inside = [
        ("this machine", format!("http://127.0.0.1:{trap}/p.png")),
        ("this machine, as IPv6", format!("http://[::ffff:127.0.0.1]:{trap}/p.png")),
        ("this machine, by its name", format!("http://localhost:{trap}/p.png")),
        ("a redirect at this machine", format!("http://127.0.0.1:{redirecting}/p.png")),
        ("a metadata service", "http://169.254.169.254/latest/meta-data".to_owned()),
        ("a file", "file:///etc/passwd".to_owned()),
    ];
    let says = "`body.messages.0.content.0.image_url.url` is ";
    let refused =
        |(name, address)| about(41, name, Vendor::OpenAi, &[address]).fails(ErrorCode::ForbiddenUrl, says).tries([]);
    let mut rows: Vec<Row> = inside.into_iter().map(refused).collect();
    let open: Vec<String> = (0..10_000).map(|n| format!("https://pictures.example/{n}")).collect();
    rows.push(about(41, "10,000 addresses in the open", Vendor::OpenAi, &open));
    for (name, vendor) in [("Gemini takes no address", Vendor::Gemini), ("Ollama takes no address", Vendor::Ollama)] {
        rows.push(about(41, name, vendor, &open[..1]).fails(ErrorCode::Unsupported, "cannot do this").tries([]));
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
