//! What stands between the sink and ClickHouse, and can fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How the proxy behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything goes through.
    Forward = 0,
    /// Connections are closed, also those that stand.
    Refuse = 1,
    /// Inserts go through and are answered, but the answer does not arrive.
    LoseInsertAnswers = 2,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    mode: Arc<AtomicU8>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let proxy = Proxy { addr, mode: Arc::default(), lost: Arc::default() };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = accepting.clone();
                tokio::spawn(async move { proxy.carry(client, upstream).await });
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// How many answers to inserts were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    /// Ends, and so closes both connections, when either side does or the mode says so.
    async fn carry(&self, mut client: TcpStream, upstream: SocketAddr) {
        if self.is(Mode::Refuse) {
            return;
        }
        let Ok(mut server) = TcpStream::connect(upstream).await else { return };
        let (mut sent, mut answer) = (vec![0; 65536], vec![0; 65536]);
        let mut inserting = false;
        loop {
            tokio::select! {
                read = client.read(&mut sent) => match read {
                    Ok(count @ 1..) if !self.is(Mode::Refuse) => {
                        let text = &sent[..count];
                        if let Some(head) = text.strip_prefix(b"POST ") {
                            inserting = head.windows(11).any(|part| part == b"INSERT+INTO" || part == b"INSERT%20IN");
                        }
                        if server.write_all(text).await.is_err() { return }
                    }
                    _ => return,
                },
                read = server.read(&mut answer) => match read {
                    Ok(count @ 1..) if !self.is(Mode::Refuse) => {
                        if inserting && self.is(Mode::LoseInsertAnswers) {
                            self.lost.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        if client.write_all(&answer[..count]).await.is_err() { return }
                    }
                    _ => return,
                },
            }
        }
    }
}
