//! Exports jobs and calls as OpenTelemetry spans with GenAI attributes, over OTLP.
//!
//! The commit log is the source: [`spans`] turns one record into spans, purely, and [`Traces`] follows the log and posts
//! them. So a span says what the books say, a worker that dies loses none, and no worker waits for a collector. The
//! names of the attributes are in one module, `names`, because the conventions still move.
//!
//! Deliberately absent: prompts and answers. Spans hold names, counts, times and money.

mod exporter;
mod names;
mod spans;
mod traces;

pub use exporter::{ExporterConfig, Unusable};
pub use spans::spans;
pub use traces::{KEY, Traces, TracesConfig};
