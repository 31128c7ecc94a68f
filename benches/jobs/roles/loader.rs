//! A team's producer, across the border of its account: preloads a backlog, or keeps a number of jobs outstanding.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox::BROKER_USER;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tollgate_client::Producer;
use tollgate_types::{Class, JobId, subjects};

use super::{MODEL, TEAM, connect, now, ready};
use crate::world::teams;
use benches::report::say;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long)]
    nats: String,
    /// How many jobs
    #[arg(long)]
    count: u64,
    /// Bytes of a job
    #[arg(long)]
    bytes: usize,
    /// Publishes under way, or with `--closed` jobs without a result
    #[arg(long)]
    outstanding: usize,
    /// Submits the next job when the result of one is there
    #[arg(long)]
    closed: bool,
    /// Submits so many each second, however fast they are done
    #[arg(long, conflicts_with = "closed")]
    rate: Option<u64>,
    /// The first jobs of a closed loop are spread over this time, so that they do not march in step
    #[arg(long, default_value_t = 0)]
    spread_ms: u64,
    /// Over how many lanes the jobs are spread; more than one are filled by the broker's user
    #[arg(long, default_value_t = 1)]
    lanes: usize,
    /// Where to write when each job was submitted
    #[arg(long)]
    stamps: Option<PathBuf>,
}

/// Says `done` when all jobs are accepted, or in a closed loop when all have their results.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let user = if args.lanes > 1 { BROKER_USER } else { TEAM };
    let client = connect(&args.nats, user).await?.client;
    let producer = Producer::new(client.clone(), TEAM.parse()?);
    let producers: anyhow::Result<Vec<Producer>> =
        teams(args.lanes).iter().map(|team| Ok(Producer::new(client.clone(), team.parse()?))).collect();
    let producers = producers?;
    let line = Bytes::from(line(args.bytes));
    ready();
    if args.closed {
        closed(&args, producer, line).await?;
    } else {
        paced(args.count, args.rate)
            .try_for_each_concurrent(args.outstanding, |number| spread(&producers, &line, number))
            .await?;
    }
    say("done");
    Ok(())
}

/// The numbers of the jobs; with a rate, each at its time.
fn paced(count: u64, rate: Option<u64>) -> impl futures_util::Stream<Item = anyhow::Result<u64>> {
    let begun = tokio::time::Instant::now();
    stream::iter(0..count).then(move |number| async move {
        if let Some(rate) = rate {
            tokio::time::sleep_until(begun + Duration::from_micros(number * 1_000_000 / rate)).await;
        }
        Ok(number)
    })
}

/// A request line of exactly so many bytes: prose with an escape here and there, as prompts are.
pub(crate) fn line(bytes: usize) -> String {
    let (head, tail) = (
        format!(r#"{{"custom_id":"bench","body":{{"model":"{MODEL}","messages":[{{"role":"user","content":""#),
        r#""}]},"tollgate":{"version":1}}"#,
    );
    let prose = r#"She said \"no\" twice,\nand the quick brown fox jumps over the lazy dog without a further word. "#;
    let room = bytes.saturating_sub(head.len() + tail.len());
    let mut content = prose.repeat(room / prose.len());
    // Blanks, because an escape must not be cut.
    content.extend(std::iter::repeat_n(' ', room - content.len()));
    format!("{head}{content}{tail}")
}

fn id(number: u64) -> anyhow::Result<JobId> {
    Ok(format!("{TEAM}:{number:012}").parse()?)
}

async fn submit(producer: &Producer, line: &Bytes, number: u64) -> anyhow::Result<()> {
    let receipt = producer.submit(Class::Standard, line.clone(), Some(id(number)?)).await?;
    ensure!(!receipt.duplicate, "the server took job {number} for another");
    Ok(())
}

/// Submits to the lane whose turn it is.
async fn spread(producers: &[Producer], line: &Bytes, number: u64) -> anyhow::Result<()> {
    let turn = usize::try_from(number)?;
    let producer = &producers[turn % producers.len()];
    if producers.len() == 1 {
        return submit(producer, line, number).await;
    }
    let class = Class::ALL[turn / producers.len() % 3];
    let receipt = producer.submit(class, line.clone(), Some(id(number)?)).await?;
    ensure!(!receipt.duplicate, "the server took job {number} for another");
    Ok(())
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

/// How long one job may take before the loop gives up.
const RESULT_WITHIN: Duration = Duration::from_secs(60);

async fn closed(args: &Args, producer: Producer, line: Bytes) -> anyhow::Result<()> {
    let waiting = Waiting::default();
    let prefix = subjects::result(TEAM, &id(0)?).trim_end_matches(id(0)?.as_str()).to_owned();
    let mut results = producer.client().subscribe(format!("{prefix}*")).await?;
    producer.client().flush().await?;
    let answered = waiting.clone();
    tokio::spawn(async move {
        while let Some(message) = results.next().await {
            let id = message.subject.strip_prefix(&prefix).unwrap_or_default();
            if let Some(sender) = answered.lock().expect("no holder panics").remove(id) {
                let _ = sender.send(());
            }
        }
    });
    let numbers = Arc::new(Mutex::new(0..args.count));
    let mut slots = JoinSet::new();
    for slot in 0..args.outstanding {
        let start = Instant::now() + Duration::from_millis(args.spread_ms * slot as u64 / args.outstanding as u64);
        let slot =
            Slot { producer: producer.clone(), line: line.clone(), waiting: waiting.clone(), numbers: numbers.clone() };
        slots.spawn(async move {
            tokio::time::sleep_until(start.into()).await;
            slot.run().await
        });
    }
    let mut stamps = String::new();
    while let Some(slot) = slots.join_next().await {
        for (id, at) in slot?? {
            writeln!(stamps, "{id} {}", at.as_nanos())?;
        }
    }
    if let Some(path) = &args.stamps {
        std::fs::write(path, stamps).context("the times cannot be written")?;
    }
    Ok(())
}

/// One job outstanding at a time.
struct Slot {
    producer: Producer,
    line: Bytes,
    waiting: Waiting,
    numbers: Arc<Mutex<std::ops::Range<u64>>>,
}

impl Slot {
    async fn run(self) -> anyhow::Result<Vec<(JobId, Duration)>> {
        let mut stamps = Vec::new();
        loop {
            let Some(number) = self.numbers.lock().expect("no holder panics").next() else { return Ok(stamps) };
            let id = id(number)?;
            let (sender, receiver) = oneshot::channel();
            self.waiting.lock().expect("no holder panics").insert(id.to_string(), sender);
            stamps.push((id, now()));
            submit(&self.producer, &self.line, number).await?;
            tokio::time::timeout(RESULT_WITHIN, receiver).await.context("no result in time")??;
        }
    }
}
