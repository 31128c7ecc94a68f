//! The worker: the life of a job, and the loop that starts lives.
//!
//! Start with [`life`]: the steps of one job from delivery to settlement, in order; each verb there is a module of the
//! same name. [`dispatch`] is the loop around it, [`board`] what it pulls and why. [`gates`] says which lanes and parked
//! jobs may go: [`ledger`] keeps the money, [`limiter`] the permits, [`fleet`] the deployments' health. [`desk`] answers questions about jobs, [`scout`]
//! ends those that wait in vain.
//!
//! Deliberately absent: who goes next and what a failure means (`policy`), how a provider is called (`providers`), how
//! NATS works (`queue`).

mod admit;
mod answered;
mod board;
mod cache;
mod call;
mod capture;
mod commit;
mod config;
mod context;
mod copies;
mod delays;
mod deltas;
mod desk;
mod dispatch;
mod elsewhere;
mod end;
mod fleet;
mod flight;
mod found;
mod gates;
mod guards;
mod hold;
mod hopeless;
mod identify;
mod intake;
mod ledger;
mod life;
mod limiter;
mod meters;
mod notes;
mod park;
mod reply;
mod report;
mod room;
mod route;
mod routes;
mod run;
mod running;
mod scout;
mod screen;
mod stopped;
mod suspect;
mod unreadable;
mod verdict;
mod worker;

pub use config::{Config, Parts, Pool};
pub use routes::{ANY, Priced, Routes, Serving, StandIns};
pub use tollgate_queue::CrashPlan;
pub use worker::{Worker, WorkerError, WorkerStatus};
