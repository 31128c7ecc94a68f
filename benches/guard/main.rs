//! What it costs to look for everything that the guardrails know, beside one `RegexSet` of comparable patterns, over what
//! people send and over what makes a detector work hard.
//!
//! The set only says which pattern is somewhere in the text: it checks no digit, looks for no word beside a number, knows
//! a third of the kinds, and would have to be followed by a search for each that hit. It is what a quick solution would do.

mod texts;
#[path = "../tokens/texts.rs"]
#[expect(dead_code, reason = "the tokens' benchmark has hostile texts of its own")]
mod tokens;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use benches::procfs::own_cpu;
use benches::report::{Spread, say, table};
use clap::Parser;
use regex::RegexSet;
use serde_json::json;
use tollgate_guard::{Detector, Entity, Found, Guard, Rule, Vault};

/// Measures the looking for what must not pass.
#[derive(Debug, clap::Parser)]
#[command(name = "guard")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// One round
    #[arg(long)]
    quick: bool,
}

/// Patterns as they are found in lists of such: no check digits, no words around.
const PATTERNS: [&str; 18] = [
    r"(?-u:\b)(?:\d[ -]?){12,18}\d(?-u:\b)",
    r"(?-u:\b)[A-Z]{2}\d{2}[ ]?(?:[A-Z0-9]{4}[ ]?){2,7}[A-Z0-9]{1,4}(?-u:\b)",
    r"(?-u:\b)\d{3}-\d{2}-\d{4}(?-u:\b)",
    r"[a-zA-Z0-9._%+-]{1,64}@[a-zA-Z0-9.-]{1,255}\.[a-zA-Z]{2,18}",
    r"\+\d[\d ().-]{6,18}\d",
    r"(?-u:\b)(?:\d{1,3}\.){3}\d{1,3}(?-u:\b)",
    r"(?-u:\b)(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?-u:\b)",
    r"(?-u:\b)(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?-u:\b)",
    r"(?-u:\b)[A-Z]{2}\d{6}[A-D](?-u:\b)",
    r"(?-u:\b)\d{11}(?-u:\b)",
    r"(?-u:\b)(?:sk|rk|pk)[-_][A-Za-z0-9_-]{20,200}",
    r"(?-u:\b)(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)",
    r"(?-u:\b)gh[pousr]_[A-Za-z0-9]{36}(?-u:\b)",
    r"(?-u:\b)eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]*",
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
    r"(?i)(?-u:\b)(?:password|passwd|pwd)\s*[:=]\s*\S+",
    r"(?i)ignore (?:all )?(?:previous|prior|above) instructions",
    r"(?-u:\b)(?:0x[0-9a-fA-F]{40}|bc1[a-z0-9]{30,60})(?-u:\b)",
];

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench guard`");
        return Ok(());
    }
    let rounds = if options.quick { 1 } else { 5 };
    let rules: Vec<Rule<'_>> = Entity::ALL.iter().map(|&entity| Rule::Entity(entity)).collect();
    let (detector, made) = cpu(|| Detector::new(&rules, Some("US")));
    let detector = detector?;
    let (_, first) = cpu(|| count(&detector, "warm up +1 212 555 0123, ssn 536221234, password: hunter22"));
    say(format_args!("the first detector: {} ms of CPU, its first text {} µs", made.as_millis(), first.as_micros()));
    let set = RegexSet::new(PATTERNS)?;
    honest(&detector, &set, rounds)?;
    bodies(rounds)?;
    hostile(&detector);
    Ok(())
}

/// What a piece of work returns, and the CPU that this process used for it.
fn cpu<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = own_cpu();
    let done = work();
    (done, own_cpu() - before)
}

fn count(detector: &Detector, text: &str) -> usize {
    let mut found: Vec<Found> = Vec::new();
    detector.find(black_box(text), &mut found);
    found.len()
}

/// Short texts are looked at so often that a turn takes at least this many bytes.
const TURN_BYTES: usize = 32 << 20;

/// Megabytes a second of CPU, over and over the same text.
fn speed(text: &str, turn_bytes: usize, look: impl Fn(&str)) -> f64 {
    let times = turn_bytes.div_ceil(text.len());
    let ((), cpu) = cpu(|| (0..times).for_each(|_| look(text)));
    (times * text.len()) as f64 / 1e6 / cpu.as_secs_f64()
}

fn honest(detector: &Detector, set: &RegexSet, rounds: usize) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (kind, text) in honest_texts()? {
        for bytes in [1 << 10, 32 << 10, 1 << 20] {
            let text = tokens::start_of(&text, bytes);
            let (mut ours, mut plain) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                ours.push(speed(text, TURN_BYTES, |text| {
                    black_box(count(detector, text));
                }));
                plain.push(speed(text, TURN_BYTES, |text| {
                    black_box(set.matches(black_box(text)).len());
                }));
            }
            let ratio = Spread::of(ours.iter().zip(&plain).map(|(ours, plain)| ours / plain));
            rows.push(vec![
                format!("{kind}, {} KiB", bytes >> 10),
                count(detector, text).to_string(),
                format!("{:.0}", Spread::of(ours).median),
                format!("{:.0}", Spread::of(plain).median),
                ratio.ratio(),
            ]);
        }
    }
    let columns = ["text", "found", "all rules MB/s", "RegexSet MB/s", "ratio"];
    table("What people send: megabytes a second of CPU", &columns, rows);
    Ok(())
}

/// What people send; the English of the tokens' benchmark is this repository's documentation with its tables of numbers.
fn honest_texts() -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut texts = vec![("prose", texts::prose()?)];
    texts.extend(
        tokens::honest()?.into_iter().map(|(kind, text)| (if kind == "English" { "docs" } else { kind }, text)),
    );
    Ok(texts)
}

/// What a request costs as a whole, whose body is read, screened, and written anew if something is in it.
fn bodies(rounds: usize) -> anyhow::Result<()> {
    const POLICY: &str = r#"{"input":{"pii":"redact","secrets":"redact","prompt_safety":"flag"},"phone_country":"US"}"#;
    const TURNS: u32 = 2_000;
    let guard = Guard::new(&serde_json::from_str(POLICY)?, &BTreeSet::new())?;
    let mut rows = Vec::new();
    for (kind, text) in honest_texts()? {
        for (kib, with) in [(1, ""), (1, "I am joe@example.com, card 4111 1111 1111 1111. "), (64, "")] {
            let text = format!("{with}{}", tokens::start_of(&text, (kib << 10) - 128 - with.len()));
            let content = json!([{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]);
            let body = json!({"model": "gpt-4o-mini", "messages": content, "max_tokens": 256}).to_string();
            let micros = (0..rounds).map(|_| {
                let ((), cpu) = cpu(|| {
                    for _ in 0..TURNS / kib as u32 {
                        black_box(guard.screen_request(black_box(body.as_bytes()), &mut Vault::default()));
                    }
                });
                cpu.as_secs_f64() * 1e6 / f64::from(TURNS / kib as u32)
            });
            let found = if with.is_empty() { "" } else { ", redacted" };
            rows.push(vec![format!("{kind}, {kib} KiB{found}"), format!("{:.1}", Spread::of(micros).median)]);
        }
    }
    table("A request, screened as a whole", &["body", "µs of CPU"], rows);
    Ok(())
}

/// A text four times as long must not take much more than four times as long.
fn hostile(detector: &Detector) {
    let mut rows = Vec::new();
    for hostile in texts::HOSTILE {
        let speeds = [64 << 10, 1 << 20].map(|bytes| {
            let text = texts::repeated(hostile, bytes);
            let speed = speed(&text, 1 << 20, |text| {
                black_box(count(detector, text));
            });
            if speed < 9.95 { format!("{speed:.1}") } else { format!("{speed:.0}") }
        });
        let [short, long] = speeds;
        rows.push(vec![hostile.name.to_owned(), short, long]);
    }
    let columns = ["text", "64 KiB", "1 MiB"];
    table("What makes it work hard: megabytes a second of CPU, equal if linear", &columns, rows);
}
