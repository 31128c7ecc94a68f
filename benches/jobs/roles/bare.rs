//! The bare loop: the least that could be called the same work. Pull, POST, one result whose storage is awaited, ack.
//!
//! It reads nothing of the job, keeps no cost, asks for no earlier result, and loses none of what it has by a crash
//! only because it acks last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt;
use sandbox::BROKER_USER;
use tokio::sync::Semaphore;
use tollgate_types::{headers, subjects};

use super::{TEAM, connect, ready};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long)]
    nats: String,
    /// The provider
    #[arg(long)]
    provider: String,
    /// The most jobs in flight
    #[arg(long)]
    in_flight: usize,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    tollgate_providers::install_crypto();
    let context = jetstream::new(connect(&args.nats, BROKER_USER).await?.client);
    let config = pull::Config {
        durable_name: Some("bare".into()),
        filter_subject: format!("tollgate.jobs.standard.{TEAM}"),
        max_ack_pending: 20_000,
        ack_wait: Duration::from_secs(15),
        ..pull::Config::default()
    };
    let consumer = context.create_consumer_on_stream(config, subjects::JOBS_STREAM).await?;
    let mut messages = consumer.stream().max_messages_per_batch(args.in_flight.min(256)).messages().await?;
    let http = reqwest::Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(usize::MAX)
        .no_proxy()
        .build()?;
    let url: Arc<str> = format!("http://{}/v1/chat/completions", args.provider).into();
    let slots = Arc::new(Semaphore::new(args.in_flight));
    ready();
    loop {
        let slot = slots.clone().acquire_owned().await?;
        let message = messages.next().await.context("the stream of jobs ended")??;
        let (context, http, url) = (context.clone(), http.clone(), url.clone());
        tokio::spawn(async move {
            job(message, &context, &http, &url).await.expect("on one healthy machine nothing fails");
            drop(slot);
        });
    }
}

async fn job(
    message: jetstream::Message,
    context: &Context,
    http: &reqwest::Client,
    url: &str,
) -> Result<(), async_nats::Error> {
    let id = message.headers.as_ref().and_then(|all| all.get(headers::JOB_ID)).ok_or("a job without an id")?;
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .header("x-tollgate-job", id.as_str())
        .body(message.payload.clone());
    let answer: Bytes = request.send().await?.error_for_status()?.bytes().await?;
    context.publish(format!("tollgate.results.{TEAM}.{id}"), answer).await?.await?;
    message.ack().await
}
