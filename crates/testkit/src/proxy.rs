//! A TCP proxy with switches, to be put in front of a real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They go through.
    #[default]
    Pass,
    /// They go through, each read this much later.
    Late(Duration),
    /// They are lost. TCP never loses bytes in the middle: [`Proxy::cut`] before passing again.
    Lost,
    /// They wait, as behind a cable that was pulled.
    Held,
}

/// Listens on a free port of 127.0.0.1 and passes on to one address, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    to_server: watch::Sender<Flow>,
    to_client: watch::Sender<Flow>,
    cuts: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts in front of `port` on 127.0.0.1.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (to_server, to_client) = (watch::Sender::new(Flow::Pass), watch::Sender::new(Flow::Pass));
        let cuts = watch::Sender::new(0);
        let mut tasks = JoinSet::new();
        let (server, client, cut) = (to_server.subscribe(), to_client.subscribe(), cuts.subscribe());
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                pairs.spawn(pair(socket, port, server.clone(), client.clone(), cut.clone()));
                while pairs.try_join_next().is_some() {}
            }
        });
        Proxy { address, to_server, to_client, cuts, _tasks: tasks }
    }

    /// Where clients connect to, as a NATS URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Switches the bytes from clients to the server.
    pub fn to_server(&self, flow: Flow) {
        self.to_server.send_replace(flow);
    }

    /// Switches the bytes from the server to clients.
    pub fn to_client(&self, flow: Flow) {
        self.to_client.send_replace(flow);
    }

    /// Closes every connection that is open now.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pair(
    client: TcpStream,
    port: u16,
    to_server: watch::Receiver<Flow>,
    to_client: watch::Receiver<Flow>,
    mut cut: watch::Receiver<u64>,
) {
    cut.mark_unchanged();
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    // Whichever side ends first ends both, as does a cut.
    tokio::select! {
        () = pump(client_read, server_write, to_server) => {}
        () = pump(server_read, client_write, to_client) => {}
        _ = cut.changed() => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if flow.wait_for(|flow| *flow != Flow::Held).await.is_err() {
            return;
        }
        let now = *flow.borrow();
        match now {
            Flow::Lost => continue,
            Flow::Late(by) => tokio::time::sleep(by).await,
            Flow::Pass | Flow::Held => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
