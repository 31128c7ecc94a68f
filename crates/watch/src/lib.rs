//! Watches the broker: records its queues and budgets over time, and says when something crosses a line.
//!
//! A [`Sample`] is one look at the broker; the [`rules`] judge it, purely; [`Alarms`] remembers what is crossed, so that
//! each line is announced once when it is crossed, again when it gets much worse, and once when it is over. Start
//! reading at [`Watch::run`], the loop that one process of many runs.
//!
//! Deliberately absent: where alerts go. Whoever runs the watch hands them on.

mod alarms;
mod finding;
mod look;
mod record;
pub mod rules;
mod sample;
mod watch;

pub use alarms::Alarms;
pub use finding::{Finding, Judged};
pub use rules::{Lines, judge};
pub use sample::{Blobs, Books, BudgetState, Dead, Deployment, Drift, Lane, Sample, Sink};
pub use watch::{KEY, Parts, Watch, WatchConfig, firing};
