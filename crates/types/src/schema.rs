//! The JSON Schemas of everything on the wire, generated from the types; `schemas/` holds them as files.

use schemars::Schema;

use crate::alert::Alert;
use crate::batch::{BatchDone, BatchProgress, BatchSpec};
use crate::capture::Captured;
use crate::delta::DeltaMessage;
use crate::event::UsageEvent;
use crate::job::JobLine;
use crate::result::JobResult;

/// Every schema with the name of its file.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("job.schema.json", schemars::schema_for!(JobLine)),
        ("result.schema.json", schemars::schema_for!(JobResult)),
        ("delta.schema.json", schemars::schema_for!(DeltaMessage)),
        ("captured.schema.json", schemars::schema_for!(Captured)),
        ("alert.schema.json", schemars::schema_for!(Alert)),
        ("batch-spec.schema.json", schemars::schema_for!(BatchSpec)),
        ("batch-progress.schema.json", schemars::schema_for!(BatchProgress)),
        ("batch-done.schema.json", schemars::schema_for!(BatchDone)),
        ("usage-event.schema.json", schemars::schema_for!(UsageEvent)),
    ]
}

/// A schema as the text of its file.
pub fn text(schema: &Schema) -> String {
    let mut text = serde_json::to_string_pretty(schema).expect("schemas always serialise");
    text.push('\n');
    text
}
