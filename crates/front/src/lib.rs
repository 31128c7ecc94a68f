//! The front door: an app that speaks OpenAI's or Anthropic's API changes its address and its key, and its calls become
//! jobs.
//!
//! Read [`call`] first: it is the life of one call as a list of steps. [`auth`] says whose it is, [`wish`] what it wants of
//! Tollgate, [`order`] makes the job of it, [`answer`] the response of its result, [`streamed`] one that comes in pieces.
//! [`messages`] and [`responses`] are the two shapes that jobs do not have by themselves; [`refused`] is how each vendor
//! words an error, [`limits`] how it says what is left of limits. [`jobs`] is where a call goes on whose wait ended.
//! [`files`] and [`batches`] are OpenAI's Batch API: what is ordered there, the broker submits (`tollgate-orders`).
//!
//! Deliberately absent: what a job may do, cost or say. That is decided where all jobs are run; a call that is refused
//! there is answered here in the words of its vendor.

mod answer;
mod auth;
mod batches;
mod call;
mod config;
mod count;
mod files;
mod jobs;
mod limits;
mod messages;
mod models;
mod order;
mod page;
mod read;
mod refused;
mod responses;
mod router;
mod streamed;
mod wish;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::{Calls, Directory, Files, Keys, Records, ServerClock, Switchboard, service};
use tollgate_types::{FileId, JobId, Team};

use files::uploads::{self, Uploads};

pub use config::Config;

/// How often the server is asked for its time.
const TIME_EVERY: Duration = Duration::from_secs(5);
/// Cancellations of callers who left that wait to be passed on; more are dropped, and their jobs go on.
const CANCELS_MAX: usize = 1024;
/// Files that are read at a time: each holds some chunks, or some results.
const DOWNLOADS_MAX: usize = 32;

/// What the front door reaches the broker by, once there is a connection.
#[derive(Clone)]
pub struct Parts {
    /// Submits jobs and hears of their results.
    pub switchboard: Switchboard,
    /// Who may come in.
    pub keys: Keys,
    /// Which jobs were submitted under an idempotency key.
    pub calls: Calls,
    /// What teams may use.
    pub directory: Directory,
    /// The server's time.
    pub clock: ServerClock,
    /// What is taken of limits; only read.
    pub records: Records,
}

/// The front door. Clones are the same.
#[derive(Clone)]
pub struct Front {
    shared: Arc<Shared>,
}

/// What all calls share.
struct Shared {
    config: Config,
    parts: OnceLock<Parts>,
    /// Calls at a time.
    calls: Arc<Semaphore>,
    /// The bodies that are held at a time.
    bodies: read::Bodies,
    /// Prompts that are counted at a time.
    counting: Semaphore,
    /// What was last read of limits.
    standings: limits::Standings,
    /// No caller waits any longer.
    stop: CancellationToken,
    /// Jobs whose callers left and wanted them cancelled then.
    cancels: mpsc::Sender<(String, JobId)>,
    cancelling: std::sync::Mutex<Option<mpsc::Receiver<(String, JobId)>>>,
    /// Uploads at a time.
    uploads: Uploads,
    /// Files that are read at a time.
    downloads: Arc<Semaphore>,
    /// Uploads that failed, whose chunks are to be removed.
    remains: mpsc::Sender<(Team, FileId)>,
    removing: std::sync::Mutex<Option<mpsc::Receiver<(Team, FileId)>>>,
}

impl Front {
    /// One that answers that it is not ready yet.
    pub fn new(config: Config) -> Front {
        let (cancels, cancelling) = mpsc::channel(CANCELS_MAX);
        let (remains, removing) = mpsc::channel(CANCELS_MAX);
        Front {
            shared: Arc::new(Shared {
                calls: Arc::new(Semaphore::new(config.calls_max)),
                bodies: read::Bodies::new(config.bodies_bytes_max),
                config,
                parts: OnceLock::new(),
                counting: Semaphore::new(count::AT_ONCE),
                standings: limits::Standings::default(),
                stop: CancellationToken::new(),
                cancels,
                cancelling: std::sync::Mutex::new(Some(cancelling)),
                uploads: Uploads::default(),
                downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
                remains,
                removing: std::sync::Mutex::new(Some(removing)),
            }),
        }
    }

    /// Everything under `/v1`, to be served beside others.
    pub fn router(&self) -> axum::Router {
        router::router(self.shared.clone())
    }

    /// Takes the connection in and follows what changes, until `stop`; then callers who wait are sent away with the
    /// address of their job.
    ///
    /// Cancel safe: calls then go by what was known last.
    pub async fn run(self, parts: Parts, stop: CancellationToken) {
        let Shared { cancelling, removing, .. } = &*self.shared;
        let mut cancelling = cancelling.lock().expect("no holder panics").take().expect("it runs once");
        let mut removing = removing.lock().expect("no holder panics").take().expect("it runs once");
        let parts = self.shared.parts.get_or_init(|| parts);
        let connection = parts.switchboard.connection();
        let time = async {
            loop {
                tokio::time::sleep(TIME_EVERY).await;
                if let Err(error) = ask_the_time(&connection.client, &parts.clock).await {
                    tracing::debug!(%error, "the server did not tell its time");
                }
            }
        };
        let cancels = async {
            while let Some((team, job)) = cancelling.recv().await {
                if let Err(error) = service::cancel(connection, &team, std::slice::from_ref(&job)).await {
                    tracing::warn!(%job, %error, "a job whose caller left could not be cancelled");
                }
            }
        };
        let removes = uploads::remove_failed(Files::new(&connection.client), &mut removing);
        tokio::select! {
            () = stop.cancelled() => {}
            () = removes => {}
            () = parts.keys.follow() => {}
            () = parts.directory.follow() => {}
            () = time => {}
            () = cancels => {}
        }
        self.shared.stop.cancel();
    }
}
