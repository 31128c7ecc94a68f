//! The life of a server: start, listen, stop, in that order.

use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auth::Credentials;
use crate::config::Config;
use crate::engine::Engine;
use crate::errors::Error;
use crate::http::{self, App};

/// How often idle sessions are looked for: their memory is held so much longer than asked.
const EVICTION_PERIOD: Duration = Duration::from_secs(5);

/// Runs an embedded ClickHouse until it is told to stop, and calls `ready` with its address once it takes requests.
///
/// It stops at `SIGTERM`; at the end of standard input if [`Config::watch_stdin`] is set, and at an interrupt if not.
/// Requests under way are finished within [`Config::shutdown_grace`]. A statement that takes longer goes on in a
/// blocking thread of the runtime, so a process that must end then has to exit without waiting for its runtime.
///
/// Not cancel safe: dropped, it leaves the engine open until the requests under way are done.
///
/// # Errors
///
/// The engine or the listener does not start, or the listener ends by itself.
pub async fn run(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    // Before the engine, so that a signal during its start is not lost.
    let stop = stop_asked(config.watch_stdin).map_err(Error::Signals)?;
    let mut server = Server::start(config).await?;
    ready(server.addr());
    let outcome = tokio::select! {
        () = stop => Ok(()),
        _ = &mut server.serving => Err(Error::Stopped),
    };
    server.shutdown().await;
    outcome
}

/// Ends when the process is asked to stop. From here on, signals no longer kill it.
fn stop_asked(watch_stdin: bool) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stdin = if watch_stdin { Some(stdin_ended()?) } else { None };
    Ok(async move {
        match stdin {
            Some(stdin) => tokio::select! {
                _ = terminate.recv() => {}
                _ = stdin => {}
            },
            None => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
        }
    })
}

/// Resolves at the end of standard input, on a thread of its own: the runtime would wait for a read of its pool.
fn stdin_ended() -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("stdin-watch".to_owned()).spawn(move || {
        let mut ignored = [0; 256];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut ignored) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        // The receiver is gone when the server has stopped for another reason.
        let _ = ended.send(());
    })?;
    Ok(end)
}

/// An embedded ClickHouse that takes requests. Dropped, it stops when the requests under way are done.
pub struct Server {
    addr: SocketAddr,
    app: Arc<App>,
    serving: JoinHandle<()>,
    evicting: JoinHandle<()>,
    grace: Duration,
    stop: DropGuard,
}

impl Server {
    /// Starts the engine, then listens. A process can run one at a time.
    ///
    /// Cancelled, it may leave the engine starting in the background.
    ///
    /// # Errors
    ///
    /// Everything in [`Error`] but a failure to run on.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if !config.listen.ip().is_loopback() && config.password.is_none() {
            return Err(Error::Exposed { addr: config.listen });
        }
        let not_listening = |source| Error::Listen { addr: config.listen, source };
        // Bound before the engine starts, because a taken port is the cheaper failure.
        let listener = TcpListener::bind(config.listen).await.map_err(not_listening)?;
        let addr = listener.local_addr().map_err(not_listening)?;
        let (engine, config) = start_engine(config).await?;
        tracing::info!(%addr, version = engine.identity().version, data = %config.data.display(), "clickhouse started");
        let app = Arc::new(App {
            engine: engine.clone(),
            credentials: Credentials { user: config.user, password: config.password },
            statements: Arc::new(Semaphore::new(config.limits.statements_max)),
            limits: config.limits,
        });
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "`shutdown` waits for both, and a drop cancels what stops both")]
        let (serving, evicting) = (
            tokio::spawn(serve(listener, app.clone(), stop.clone())),
            tokio::spawn(evict_idle_sessions(engine, stop.clone())),
        );
        Ok(Self { addr, app, serving, evicting, grace: config.shutdown_grace, stop: stop.drop_guard() })
    }

    /// Where it listens, with the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops: takes no more requests, finishes those under way within [`Config::shutdown_grace`], closes the engine.
    ///
    /// Not cancel safe: dropped, it leaves the engine open until the requests under way are done.
    pub async fn shutdown(self) {
        let Self { app, mut serving, evicting, grace, stop, .. } = self;
        drop(stop);
        let deadline = tokio::time::Instant::now() + grace;
        if !serving.is_finished() && tokio::time::timeout_at(deadline, &mut serving).await.is_err() {
            tracing::warn!("requests cut off at the end of the grace period");
            serving.abort();
        }
        // Statements outlive the requests of clients that left; with every permit in hand, none runs.
        let permits = u32::try_from(app.limits.statements_max).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout_at(deadline, app.statements.clone().acquire_many_owned(permits)).await;
        app.statements.close();
        // It only panics if the engine did, and then there is nothing left to do for it.
        let _ = evicting.await;
        if drained.is_err() {
            tracing::warn!("statements still run at the end of the grace period, the engine is not closed");
            return;
        }
        let _ = tokio::task::spawn_blocking(move || drop(app)).await;
        tracing::info!("clickhouse stopped");
    }
}

async fn start_engine(config: Config) -> Result<(Arc<Engine>, Config), Error> {
    let starting = tokio::task::spawn_blocking(move || {
        let engine = Engine::start(&config)?;
        Ok((Arc::new(engine), config))
    });
    starting.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    // Answers are small and clients wait for them; a failure costs latency only.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving = axum::serve(listener, http::router(app)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(error = &error as &dyn std::error::Error, "http server failed");
    }
}

async fn evict_idle_sessions(engine: Arc<Engine>, stop: CancellationToken) {
    while tokio::time::timeout(EVICTION_PERIOD, stop.cancelled()).await.is_err() {
        let engine = engine.clone();
        // Closing a connection is the engine's work, and may block.
        let _ = tokio::task::spawn_blocking(move || engine.evict_idle_sessions(Instant::now())).await;
    }
}
