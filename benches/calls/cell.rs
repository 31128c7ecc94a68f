//! One measured thing: a call of one size, to one vendor, whole or as a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use benches::procfs::own_cpu;
use benches::report::Spread;
use tokio::task::JoinSet;
use tollgate_providers::Vendor;

use crate::answers::{Answer, Pace};
use crate::callers::{Callers, Contender, Prepared};

/// Calls under way together, as a worker has them: the thread then seldom waits, and waking it is a small part.
const TOGETHER: usize = 16;
/// The formats that differ; the other vendors' are OpenAI's, or near it.
const VENDORS: [Vendor; 3] = [Vendor::OpenAi, Vendor::Anthropic, Vendor::Gemini];
/// Prompt and answer in KiB.
const SIZES: [(usize, usize); 2] = [(1, 1), (64, 16)];
/// The tokens of the streams of which one token's cost is told.
const STREAM_TOKENS: usize = 1_000;
/// What an answer's token has, in bytes.
const TOKEN_BYTES: usize = 4;

/// One measured thing.
pub(crate) struct Cell {
    pub(crate) answer: Answer,
    prompt_kib: usize,
    /// How many calls one turn makes, so that it lasts about a fifth of a second.
    calls: usize,
}

/// CPU of one call in nanoseconds, medians over the rounds.
pub(crate) struct Cost {
    pub(crate) reqwest: f64,
    pub(crate) tollgate: f64,
    /// Tollgate's as a multiple of reqwest's, round by round.
    pub(crate) ratio: Spread,
}

impl Cell {
    /// Calls whose cost is told by the call.
    pub(crate) fn calls() -> impl Iterator<Item = Cell> {
        VENDORS.into_iter().flat_map(|vendor| {
            SIZES.into_iter().flat_map(move |(prompt_kib, answer_kib)| {
                [Pace::Whole, Pace::AtOnce].map(|pace| {
                    let tokens = (answer_kib << 10) / TOKEN_BYTES;
                    let calls = match pace {
                        Pace::Whole => 3_200 / answer_kib.min(4),
                        Pace::AtOnce | Pace::Paced => 160_000 / tokens,
                    };
                    Cell { answer: Answer { vendor, pace, tokens }, prompt_kib, calls }
                })
            })
        })
    }

    /// Streams whose cost is told by the token.
    pub(crate) fn streams() -> impl Iterator<Item = Cell> {
        VENDORS.into_iter().flat_map(|vendor| {
            [(Pace::AtOnce, 320), (Pace::Paced, TOGETHER)].map(|(pace, calls)| Cell {
                answer: Answer { vendor, pace, tokens: STREAM_TOKENS },
                prompt_kib: 1,
                calls,
            })
        })
    }

    /// What it is called in tables.
    pub(crate) fn name(&self) -> String {
        let vendor = self.answer.vendor.as_str();
        match self.answer.pace {
            Pace::Paced => format!("{vendor}, events 1 ms apart"),
            Pace::AtOnce if self.answer.tokens == STREAM_TOKENS => format!("{vendor}, events at once"),
            pace => {
                let pace = if pace == Pace::Whole { "whole" } else { "stream" };
                let answer_kib = (self.answer.tokens * TOKEN_BYTES) >> 10;
                format!("{vendor}, {} + {answer_kib} KiB, {pace}", self.prompt_kib)
            }
        }
    }

    /// Lets both contenders take turns. Both are warm: each made calls before.
    pub(crate) async fn measure(&self, callers: &Callers, rounds: usize) -> anyhow::Result<Cost> {
        let prepared = Arc::new(callers.prepare(self.answer, self.prompt_kib << 10)?);
        let (mut reqwest, mut tollgate) = (Vec::new(), Vec::new());
        for contender in Contender::pair(0) {
            turn(contender, callers, &prepared, self.calls.min(4 * TOGETHER)).await?;
        }
        for round in 0..rounds {
            for contender in Contender::pair(round) {
                let cpu = turn(contender, callers, &prepared, self.calls).await?;
                let nanos = cpu.as_nanos() as f64 / self.calls as f64;
                match contender {
                    Contender::Reqwest => reqwest.push(nanos),
                    Contender::Tollgate => tollgate.push(nanos),
                }
            }
        }
        let ratio = Spread::of(tollgate.iter().zip(&reqwest).map(|(ours, plain)| ours / plain));
        Ok(Cost { reqwest: Spread::of(reqwest).median, tollgate: Spread::of(tollgate).median, ratio })
    }
}

/// The CPU that this process used for so many calls.
async fn turn(
    contender: Contender,
    callers: &Callers,
    prepared: &Arc<Prepared>,
    calls: usize,
) -> anyhow::Result<Duration> {
    let made = Arc::new(AtomicUsize::new(0));
    let before = own_cpu();
    let mut loops = JoinSet::new();
    for _ in 0..TOGETHER {
        let (callers, prepared, made) = (callers.clone(), prepared.clone(), made.clone());
        loops.spawn(async move {
            while made.fetch_add(1, Ordering::Relaxed) < calls {
                callers.call(contender, &prepared).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(own_cpu() - before)
}
