//! What counting tokens costs per KiB: tiktoken-rs as `tollgate_providers::tokens` calls it, bpe-openai in its place, and
//! the guarded path of the product over both honest and hostile texts.
//!
//! `texts.rs` makes the texts, `counters.rs` are the contenders. Where both answer, their counts must be equal, else the
//! benchmark fails.

mod counters;
mod texts;

use std::hint::black_box;
use std::time::Duration;

use benches::procfs::own_cpu;
use benches::report::{Spread, progress, say, table, whole};
use clap::Parser;
use tokio::runtime::Runtime;
use tollgate_providers::tokens;

use crate::counters::{Counter, ENCODINGS, Encoding, Refused};
use crate::texts::Text;

/// Measures the counting of tokens.
#[derive(Debug, clap::Parser)]
#[command(name = "tokens")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// One round and only the newer encoding, less than half a minute
    #[arg(long)]
    quick: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench tokens`");
        return Ok(());
    }
    let (encodings, rounds) = if options.quick { (&ENCODINGS[..1], 1) } else { (&ENCODINGS[..], 3) };
    // The contenders panic on some of the texts, which is caught and told in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Runtime::new()?;
    for &encoding in encodings {
        progress(format_args!("{}: tables are loaded", encoding.name()));
        let loaded = [Counter::Tiktoken, Counter::Bpe].map(|counter| cpu(|| counter.count(encoding, "warm up")).1);
        let [tiktoken, bpe] = loaded.map(|cpu| cpu.as_millis());
        say(format_args!(
            "\n{}: first use {tiktoken} ms of CPU with tiktoken-rs, {bpe} ms with bpe-openai",
            encoding.name()
        ));
        honest(encoding, rounds)?;
        hostile(encoding, &runtime)?;
    }
    Ok(())
}

/// What a piece of work returns, and the CPU that this process used for it.
fn cpu<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = own_cpu();
    let done = work();
    (done, own_cpu() - before)
}

/// Short texts are counted so often that a turn takes at least this many bytes.
const TURN_BYTES: usize = 1 << 20;

fn honest(encoding: Encoding, rounds: usize) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (kind, text) in texts::honest()? {
        for bytes in [1 << 10, 32 << 10, 1 << 20] {
            let text = texts::start_of(&text, bytes);
            let tokens = agreed(kind, text, encoding)?;
            let turn = |counter: Counter| {
                let times = TURN_BYTES.div_ceil(bytes);
                let ((), cpu) = cpu(|| {
                    (0..times).for_each(|_| {
                        black_box(counter.count(encoding, text)).ok();
                    })
                });
                cpu.as_secs_f64() * 1e6 / (times * text.len()) as f64 * 1024.0
            };
            let (mut tiktoken, mut bpe) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                tiktoken.push(turn(Counter::Tiktoken));
                bpe.push(turn(Counter::Bpe));
            }
            let ratio = Spread::of(bpe.iter().zip(&tiktoken).map(|(bpe, tiktoken)| bpe / tiktoken));
            rows.push(vec![
                format!("{kind}, {} KiB", bytes >> 10),
                format!("{:.2}", text.len() as f64 / tokens as f64),
                format!("{:.1}", Spread::of(tiktoken).median),
                format!("{:.1}", Spread::of(bpe).median),
                ratio.ratio(),
            ]);
        }
    }
    let columns = ["text", "bytes/token", "tiktoken-rs µs/KiB", "bpe-openai µs/KiB", "ratio"];
    table(&format!("Honest texts, {}: CPU per KiB; the counts are equal", encoding.name()), &columns, rows);
    Ok(())
}

/// The count on which both agree.
fn agreed(kind: &str, text: &str, encoding: Encoding) -> anyhow::Result<u64> {
    let [tiktoken, bpe] = [Counter::Tiktoken, Counter::Bpe].map(|counter| counter.count(encoding, text));
    match (tiktoken, bpe) {
        (Ok(tiktoken), Ok(bpe)) if tiktoken == bpe => Ok(bpe),
        counts => anyhow::bail!("{kind}, {}: {counts:?} where both should be the same", encoding.name()),
    }
}

fn hostile(encoding: Encoding, runtime: &Runtime) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for Text { name, make } in texts::HOSTILE {
        for bytes in [10 << 10, tokens::COUNT_BYTES_MAX, 1 << 20] {
            // The middle one is the longest that the guarded path still counts.
            let text = make(bytes);
            let (tiktoken, tiktoken_cpu) = cpu(|| Counter::Tiktoken.count(encoding, &text));
            let (bpe, bpe_cpu) = cpu(|| Counter::Bpe.count(encoding, &text));
            let exact = bpe.map_err(|_| anyhow::anyhow!("bpe-openai gives up on {name} of {bytes} bytes"))?;
            if let Ok(tiktoken) = tiktoken {
                anyhow::ensure!(tiktoken == exact, "{name} of {bytes} bytes: {tiktoken} and {exact} tokens");
            }
            let (guarded, guarded_cpu) = cpu(|| runtime.block_on(tokens::count(text.clone(), encoding.model())));
            let millis = |cpu: Duration| format!("{:.1}", cpu.as_secs_f64() * 1e3);
            rows.push(vec![
                format!("{name}, {} KiB", bytes >> 10),
                whole(exact as f64),
                match tiktoken {
                    Ok(_) => millis(tiktoken_cpu),
                    Err(Refused::Error) => format!("error after {}", millis(tiktoken_cpu)),
                    Err(Refused::Panic) => format!("panic after {}", millis(tiktoken_cpu)),
                },
                if tiktoken.is_err() { counters::ordinary(encoding, &text).to_owned() } else { String::new() },
                millis(bpe_cpu),
                millis(guarded_cpu),
                format!("{:.2}", guarded as f64 / exact as f64),
            ]);
        }
        progress(format_args!("{}: {name}", encoding.name()));
    }
    let columns =
        ["text", "tokens", "tiktoken-rs ms", "its `count_ordinary`", "bpe-openai ms", "guarded ms", "guarded / exact"];
    table(&format!("Hostile texts, {}: CPU of one count", encoding.name()), &columns, rows);
    Ok(())
}
