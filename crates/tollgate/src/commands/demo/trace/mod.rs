//! `--trace`: a recorded LLM service as the workload, and how fairly its jobs were served.
//!
//! [`options`] is what can be asked, [`file`] reads a trace, [`replay`] makes jobs of its rows, with [`prompt`]s of the
//! right lengths; afterwards [`fairness`] is the arithmetic, [`shares`] what it says of the run,
//! [`slots`] what the workers counted, [`report`] the words.

mod fairness;
mod file;
mod options;
mod prompt;
mod replay;
mod report;
mod shares;
mod slots;

pub(super) use fairness::percentile;
pub(super) use options::Options;
pub(super) use replay::{Asking, Replay};
pub(super) use report::{Measured, Replayed};
pub(super) use shares::Samples;
pub(super) use slots::SlotTime;
