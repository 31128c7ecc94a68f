//! `guardrails test`: what the rules make of a text, on this terminal alone.

use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use tollgate_guard::{Guard, Screened, Vault, Verdict};
use tollgate_types::Team;
use tollgate_types::guardrails::{Hit, Side};

use super::{guard, policy, to_try};
use crate::commands::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The most that is read of a file.
const BYTES_MAX: u64 = 64 << 20;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The text, a request body, or a job line; standard input if left out
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    text: Option<String>,
    /// Read it from a file
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The team whose rules are tried; those of everybody if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<Team>,
    /// Take it for an answer, with the rules of `output`
    #[arg(long)]
    answer: bool,
}

/// What the rules made of it.
#[derive(Debug, Serialize)]
struct Tried {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<String>,
    risk: u8,
    rules: Vec<Hit>,
    /// External checkers that would be asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_asked: Vec<String>,
    /// What would go on: the text, or the whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    goes_on: Option<String>,
}

pub(super) fn run(args: &Args, cx: &Cx) -> Outcome {
    let config = cx.load()?.config;
    let guard = guard(&to_try(policy(&config, args.team.as_ref())?), &config)?;
    let text = read(args)?;
    let side = if args.answer { Side::Answer } else { Side::Request };
    let tried = try_on(&guard, side, &text);
    let code = if tried.blocked_by.is_some() { Code::Rejected } else { Code::Ok };
    cx.output.record(&tried, |tried| in_words(tried, &cx.output))?;
    Ok(code)
}

fn read(args: &Args) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::Usage, "the text cannot be read").because(&error);
    let mut text = String::new();
    match (&args.text, &args.file) {
        (Some(text), _) => return Ok(text.clone()),
        (None, Some(path)) => {
            std::fs::File::open(path).map_err(failed)?.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?
        }
        (None, None) => std::io::stdin().take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?,
    };
    Ok(text)
}

fn try_on(guard: &Guard, side: Side, text: &str) -> Tried {
    let (body, is_text) = match request(text) {
        Some(body) => (body, false),
        None => (wrapped(side, text), true),
    };
    let mut vault = Vault::default();
    let Screened { verdict, body: changed, fired, risk } = match side {
        Side::Request => guard.screen_request(body.as_bytes(), &mut vault),
        Side::Answer => guard.screen_answer(body.as_bytes(), &mut vault),
    };
    let too_risky = side == Side::Request && guard.block_from().is_some_and(|from| risk >= from);
    let blocked_by = match verdict {
        Verdict::Block { rule } => Some(rule.to_string()),
        Verdict::Pass => too_risky.then(|| tollgate_guard::RISK.to_owned()),
    };
    let body = changed.map_or(body, |changed| String::from_utf8_lossy(&changed).into_owned());
    Tried {
        verdict: if blocked_by.is_some() { "blocked" } else { "passes" },
        risk,
        rules: fired,
        not_asked: guard.checkers(side).map(|(name, _)| name.to_owned()).collect(),
        goes_on: blocked_by.is_none().then(|| if is_text { unwrapped(side, &body) } else { body }),
        blocked_by,
    }
}

/// The body, if the text is a request or a job line.
fn request(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let is_a_body =
        |value: &Value| ["messages", "input", "choices", "output"].iter().any(|key| value.get(key).is_some());
    match value.get("body") {
        Some(body) if is_a_body(body) => Some(body.to_string()),
        _ => is_a_body(&value).then(|| text.to_owned()),
    }
}

/// A plain text as the body that it would come in.
fn wrapped(side: Side, text: &str) -> String {
    match side {
        Side::Request => json!({"messages": [{"role": "user", "content": text}]}),
        Side::Answer => json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}),
    }
    .to_string()
}

fn unwrapped(side: Side, body: &str) -> String {
    let at = match side {
        Side::Request => "/messages/0/content",
        Side::Answer => "/choices/0/message/content",
    };
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn in_words(tried: &Tried, output: &output::Output) -> String {
    let mut text = match &tried.blocked_by {
        Some(rule) => format!("blocked by the rule '{rule}'\n"),
        None => "passes\n".to_owned(),
    };
    text.push_str(&format!("risk {} of 100\n", tried.risk));
    if !tried.rules.is_empty() {
        let mut table = output.table(&["rule", "what follows", "count"]);
        for hit in &tried.rules {
            table.add_row([hit.rule.clone(), hit.action.as_str().to_owned(), hit.count.to_string()]);
        }
        text.push_str(&format!("{}\n", table.trim_fmt()));
    }
    for name in &tried.not_asked {
        text.push_str(&format!("the checker '{name}' is not asked here\n"));
    }
    if let Some(goes_on) = &tried.goes_on {
        text.push_str(&format!("goes on as:\n{goes_on}\n"));
    }
    text
}
