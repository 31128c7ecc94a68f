//! The parts that look on: the watch over the broker, and the export of traces.

use async_nats::jetstream;
use tollgate_batches::{Counter, CounterConfig};
use tollgate_orders::{Clerk, ClerkConfig};
use tollgate_queue::Connection;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::state::State;
use tollgate_traces::Traces;
use tollgate_watch::{Parts, Watch};
use tollgate_webhooks::Webhooks;

use super::{Broker, keep_time, not_there};
use crate::config::build;
use crate::connect;
use crate::exit::{Code, Failure};
use crate::webhook::Webhook;

impl Broker {
    /// Starts the watch, which records budgets and lanes and says what crosses a line.
    pub(super) async fn watch(
        &mut self,
        connection: &Connection,
        context: &jetstream::Context,
        webhook: Option<Webhook>,
    ) -> Result<(), Failure> {
        let config = &self.plan.loaded.config;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        let directory = self.until("streams", async || connect::directory(context).await.map_err(not_there)).await;
        let (clock, client) = (self.clock(), connection.client.clone());
        self.until("streams", async || ask_the_time(&client, &clock).await.map_err(not_there)).await;
        let store = Some(connect::clickhouse(config)?);
        let parts =
            Parts { connection: connection.clone(), directory: directory.clone(), state, clock: clock.clone(), store };
        let hand_over = move |alert: &tollgate_types::Alert| webhook.iter().for_each(|webhook| webhook.tell(alert));
        let watch = Watch::new(build::watch(config, &self.plan.name), parts, hand_over);
        self.supervisor.spawn("watch", |stop| async move {
            tokio::select! {
                () = watch.run(stop) => Ok(()),
                () = directory.follow() => anyhow::bail!("the directory is not followed any more"),
                () = keep_time(&client, &clock) => anyhow::bail!("nobody asks for the time any more"),
            }
        });
        Ok(())
    }

    /// Starts what tells teams' webhooks of results, if there are any; all processes with this role share the work.
    pub(super) fn webhooks(&mut self, context: &jetstream::Context) -> Result<(), Failure> {
        let config = &self.plan.loaded.config;
        if config.webhooks.is_empty() {
            return Ok(());
        }
        let mut endpoints = Vec::new();
        for (team, webhook) in &config.webhooks {
            let team =
                team.parse().map_err(|error| Failure::new(Code::Usage, "webhooks names no team").because(&error))?;
            endpoints.push((team, webhook.endpoint()));
        }
        let unusable = |error| Failure::new(Code::Usage, "a webhook cannot be used").because(&error);
        tollgate_providers::install_crypto();
        let webhooks = Webhooks::new(context.clone(), endpoints, config.worker.proxy.as_deref()).map_err(unusable)?;
        self.supervisor.spawn("webhooks", |stop| async move {
            webhooks.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Starts the counter of batches.
    pub(super) async fn counter(&mut self, connection: &Connection, context: &jetstream::Context) {
        let log = self.until("streams", async || CommitLog::open(context).await.map_err(not_there)).await;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        let lease = build::settler(&self.plan.loaded.config, &self.plan.name).lease;
        let config = CounterConfig { lease, crash: self.plan.crash.clone(), ..CounterConfig::new(&self.plan.name) };
        let directory = self.until("streams", async || connect::directory(context).await.map_err(not_there)).await;
        let counter = Counter::new(config, connection.clone(), log, state, directory.clone());
        self.supervisor.spawn("batches", |stop| async move {
            tokio::select! {
                () = counter.run(stop) => Ok(()),
                () = directory.follow() => anyhow::bail!("the directory is not followed any more"),
            }
        });
    }

    /// Starts the clerk, who submits batches that were ordered at the front door of any process.
    pub(super) async fn clerk(&mut self, connection: &Connection, context: &jetstream::Context) {
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        // On a connection of its own: a file that is submitted holds up nothing else.
        let name = format!("tollgate {} orders", self.plan.name);
        let connection = self.until("orders", async || connection.another(&name).await.map_err(not_there)).await;
        let (clock, client) = (self.clock(), connection.client.clone());
        self.until("streams", async || ask_the_time(&client, &clock).await.map_err(not_there)).await;
        let lease = build::settler(&self.plan.loaded.config, &self.plan.name).lease;
        let config = ClerkConfig { name: self.plan.name.clone(), lease, crash: self.plan.crash.clone() };
        let clerk = Clerk::new(config, tollgate_orders::Parts { connection, state, clock: clock.clone() });
        self.supervisor.spawn("orders", |stop| async move {
            tokio::select! {
                () = clerk.run(stop) => Ok(()),
                () = keep_time(&client, &clock) => anyhow::bail!("nobody asks for the time any more"),
            }
        });
    }

    /// Starts the export of traces, if there is somewhere to export them to.
    pub(super) async fn traces(&mut self, context: &jetstream::Context) -> Result<(), Failure> {
        let Some(settings) = build::traces(&self.plan.loaded.config, &self.plan.name) else { return Ok(()) };
        let log = self.until("streams", async || CommitLog::open(context).await.map_err(not_there)).await;
        let state = self.until("streams", async || State::open(context).await.map_err(not_there)).await;
        let unusable = |error| Failure::new(Code::Usage, "traces cannot be exported").because(&error);
        let traces = Traces::new(settings, log, state).map_err(unusable)?;
        self.supervisor.spawn("traces", |stop| async move {
            traces.run(stop).await;
            Ok(())
        });
        Ok(())
    }
}
