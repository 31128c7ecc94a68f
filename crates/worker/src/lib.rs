//! The worker: the life of a job, and the loop that starts lives.
//!
//! Start with [`life`]: the steps of one job from delivery to settlement, in order; each verb there is a module of the
//! same name. [`dispatch`] is the loop around it, [`board`] what it pulls and why.
//!
//! Deliberately absent: who goes next and what a failure means (`policy`), how a provider is called (`providers`), how
//! NATS works (`queue`).

mod admit;
mod answered;
mod board;
mod call;
mod commit;
mod config;
mod context;
mod crash;
mod delays;
mod dispatch;
mod end;
mod identify;
mod intake;
mod life;
mod meters;
mod reply;
mod route;
mod routes;
mod run;
mod suspect;
mod unreadable;
mod worker;

pub use config::{Config, Parts};
pub use crash::CrashPlan;

pub use routes::{ANY, Priced, Routes};
pub use worker::{Worker, WorkerError, WorkerStatus};
