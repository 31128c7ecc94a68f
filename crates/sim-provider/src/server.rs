//! The sockets: accepting, serving, resetting and shutting down.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::calls::{Call, CallLog};
use crate::checker::{CheckerPlan, Checks};
use crate::config::{Config, StartError};
use crate::faults::FaultPlan;
use crate::jsonl::Jsonl;
use crate::model::Profile;
use crate::stats::Stats;
use crate::{chat, checker, control};

/// Connections served at once; more wait in the system's queue. Above what a bench opens, below what a system allows.
const CONNECTIONS_MAX: usize = 16_384;
/// The pause after a failed accept, which mostly means that the system is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log: CallLog,
    pub(crate) attempts: Attempts,
    pub(crate) started: Instant,
    /// The server is to end.
    pub(crate) stop: CancellationToken,
    pub(crate) checks: Checks,
    behaviour: RwLock<Arc<Behaviour>>,
}

/// What can be changed while running.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub(crate) profile: Profile,
    pub(crate) faults: FaultPlan,
    pub(crate) checker: CheckerPlan,
}

impl Shared {
    pub(crate) fn behaviour(&self) -> Arc<Behaviour> {
        Arc::clone(&self.behaviour.read().expect("no holder of the lock panics"))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(Arc::make_mut(&mut self.behaviour.write().expect("no holder of the lock panics")));
    }
}

/// A running simulated provider. Dropping it ends the server without waiting; the last lines of a log file may then be
/// missing, so prefer [`SimProvider::shutdown`].
pub struct SimProvider {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl SimProvider {
    /// Starts a server on the current runtime; it accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// When the address or the log file cannot be opened, or the profile or the fault plan make no sense.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (listener, addr, shared) = open(config).await?;
        #[allow(clippy::disallowed_methods, reason = "the server is the task's owner, which stops it and waits")]
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, task })
    }

    /// The address that is listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for a client: `http://127.0.0.1:<port>/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// All calls in memory, in the order of their ordinals, including those under way.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.log.since(0, usize::MAX)
    }

    /// Counts over the calls.
    pub fn stats(&self) -> Stats {
        self.shared.log.stats()
    }

    /// Changes speed and length for calls that arrive from now on.
    ///
    /// # Errors
    ///
    /// When a number of the profile is out of its range.
    pub fn set_profile(&self, profile: Profile) -> Result<(), StartError> {
        profile.check().map_err(StartError::Profile)?;
        self.shared.change(|behaviour| behaviour.profile = profile);
        Ok(())
    }

    /// Changes the faults for calls that arrive from now on.
    ///
    /// # Errors
    ///
    /// When the plan's probabilities make no sense.
    pub fn set_faults(&self, faults: FaultPlan) -> Result<(), StartError> {
        faults.check()?;
        self.shared.change(|behaviour| behaviour.faults = faults);
        Ok(())
    }

    /// Changes what the checker objects to, from now on.
    pub fn set_checker(&self, plan: CheckerPlan) {
        self.shared.change(|behaviour| behaviour.checker = plan);
    }

    /// The base URL of the server without a path, for the checker: `http://127.0.0.1:<port>`.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The texts that the checker was asked about, in order.
    pub fn checked(&self) -> Vec<String> {
        self.shared.checks.texts()
    }

    /// Stops accepting, waits for answers under way up to the configured grace, drops the rest, completes the log, and
    /// returns all calls in memory.
    pub async fn shutdown(mut self) -> Vec<Call> {
        self.shared.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(error = &error as &dyn std::error::Error, "simulated provider failed");
        }
        self.calls()
    }
}

impl Drop for SimProvider {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Runs a simulated provider until `shutdown` is over, then ends it as [`SimProvider::shutdown`] does. `ready` gets the
/// address once connections are accepted.
///
/// # Errors
///
/// As [`SimProvider::start`].
pub async fn run(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (listener, addr, shared) = open(config).await?;
    ready(addr);
    let mut serving = pin!(accept(listener, Arc::clone(&shared)));
    tokio::select! {
        () = &mut serving => {}
        () = shutdown => {
            shared.stop.cancel();
            serving.await;
        }
    }
    Ok(())
}

async fn open(config: Config) -> Result<(TcpListener, SocketAddr, Arc<Shared>), StartError> {
    config.profile.check().map_err(StartError::Profile)?;
    config.faults.check()?;
    let failed = |source| StartError::Listen { addr: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let file = match &config.log_path {
        Some(path) => {
            let file = Jsonl::open(path).await;
            Some(file.map_err(|source| StartError::Log { path: path.clone(), source })?)
        }
        None => None,
    };
    let behaviour =
        Behaviour { profile: config.profile.clone(), faults: config.faults.clone(), checker: CheckerPlan::default() };
    let shared = Shared {
        log: CallLog::new(config.calls_max, file),
        config,
        attempts: Attempts::default(),
        started: Instant::now(),
        stop: CancellationToken::new(),
        checks: Checks::default(),
        behaviour: RwLock::new(Arc::new(behaviour)),
    };
    Ok((listener, addr, Arc::new(shared)))
}

fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions).fallback(chat::unknown))
        .route("/v1/embeddings", post(chat::embeddings).fallback(chat::unknown))
        .route("/v1/responses", post(chat::responses).fallback(chat::unknown))
        .route("/v1/models", get(chat::models).fallback(chat::unknown))
        .route("/v1/moderations", post(checker::moderations).fallback(chat::unknown))
        .route("/check", post(checker::check).fallback(chat::unknown))
        .route("/healthz", get(control::healthz))
        .route("/__sim/calls", get(control::calls))
        .route("/__sim/stats", get(control::stats))
        .route("/__sim/profile", post(control::profile))
        .route("/__sim/faults", post(control::faults))
        .route("/__sim/reset-log", post(control::reset_log))
        .fallback(chat::unknown)
        .with_state(Arc::clone(shared))
}

/// Serves until `stop`, then ends in this order: no new connections, the grace for open ones, the log.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let router = router(&shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(shared.config.shutdown_grace, ended).await.is_ok();
    if !in_time {
        connections.shutdown().await;
    }
    shared.log.close().await;
}

async fn serve(stream: TcpStream, router: Router, shared: Arc<Shared>) {
    // Without it, the last small write of a stream waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "no-delay not set");
    }
    let connection = Connection { abort: CancellationToken::new() };
    let abort = connection.abort.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(connection.clone());
        TowerToHyperService::new(router.clone()).call(request)
    });
    let wire = Wire { stream, abort: abort.clone() };
    // No timeouts: a client's idle connections stay usable, as their number is bounded.
    let serving = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(wire), service);
    let mut serving = pin!(serving);
    let stopping = tokio::select! {
        _ = serving.as_mut() => false,
        () = abort.cancelled() => false,
        () = shared.stop.cancelled() => true,
    };
    if stopping {
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            _ = serving => {}
            () = abort.cancelled() => {}
        }
    }
}

/// A handle by which a request reaches the connection it came on.
#[derive(Clone)]
pub(crate) struct Connection {
    abort: CancellationToken,
}

impl Connection {
    /// Resets the connection; the caller is dropped with it.
    pub(crate) async fn reset(&self) -> Infallible {
        self.abort.cancel();
        std::future::pending().await
    }

    /// Keeps silent until the client leaves, the cap is over or the server ends, then resets.
    pub(crate) async fn hold(&self, shared: &Shared) -> Infallible {
        tokio::select! {
            () = tokio::time::sleep(shared.config.hang_cap) => {}
            () = shared.stop.cancelled() => {}
        }
        self.reset().await
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.abort.is_cancelled()
    }
}

/// A socket that closes with a reset once `abort` is set.
struct Wire {
    stream: TcpStream,
    abort: CancellationToken,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.abort.is_cancelled()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "connection closed without a reset");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
