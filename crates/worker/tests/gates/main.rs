//! What makes a job wait, and what ends it meanwhile: pauses, times, deadlines, cancellations, limits, pools.

mod bench;
mod cancelled;
mod deadlines;
mod explained;
mod later;
mod limits;
mod pauses;
mod pools;
mod stopped;
mod twice;
