//! The front door: its routes before anything is connected, its way to the broker once there is one.

use std::net::SocketAddr;

use anyhow::Context as _;
use async_nats::jetstream;
use tollgate_front::{Front, Parts};
use tollgate_http::Http;
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::{Calls, Connection, Keys, Records, Switchboard};

use super::{Broker, not_there};
use crate::config::{Loaded, build};
use crate::connect;
use crate::exit::{Code, Failure};

impl Broker {
    /// The front door, if the configuration wants one.
    pub(super) fn front_door(&mut self, loaded: &Loaded) -> Option<Front> {
        let front = loaded.config.front.enabled.then(|| Front::new(build::front(&loaded.config)));
        self.plan.front = front.clone();
        front
    }

    /// Serves the front door on an address of its own.
    pub(super) async fn serve_apart(&mut self, listen: SocketAddr, front: &Front) -> Result<(), Failure> {
        let taken = |error| {
            let failure = Failure::new(Code::Usage, "the front door cannot be opened").because(&error);
            failure.try_this("name another address with [front] listen; port 0 takes a free one")
        };
        let http = Http::pages(listen, front.router()).await.map_err(taken)?;
        tracing::info!(addr = %http.addr(), "answering at the front door");
        self.supervisor.spawn("front http", |stop| async move { http.run(stop).await.context("the front door") });
        Ok(())
    }

    /// Connects the front door to the broker, on a connection of its own: its callers' traffic holds up nothing else.
    pub(super) async fn open_front(
        &mut self,
        beside: &Connection,
        context: &jetstream::Context,
    ) -> Result<(), Failure> {
        let Some(front) = self.plan.front.take() else { return Ok(()) };
        let name = format!("tollgate {} front", self.plan.name);
        let connect = async || beside.another(&name).await.map_err(not_there);
        let connection = self.until("front", connect).await;
        let switchboard = async || Switchboard::open(&connection).await.map_err(not_there);
        let switchboard = self.until("front", switchboard).await;
        let keys = self.until("front", async || Keys::open(context).await.map_err(not_there)).await;
        let calls = self.until("front", async || Calls::open(context).await.map_err(not_there)).await;
        let directory = self.until("front", async || connect::directory(context).await.map_err(not_there)).await;
        let clock = self.clock();
        self.until("front", async || ask_the_time(&connection.client, &clock).await.map_err(not_there)).await;
        let records = self.until("front", async || Records::open(context).await.map_err(not_there)).await;
        let parts = Parts { switchboard, keys, calls, directory, clock, records };
        self.supervisor.spawn("front", |stop| async move {
            front.run(parts, stop).await;
            Ok(())
        });
        Ok(())
    }
}
