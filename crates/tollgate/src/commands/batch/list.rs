//! `batch status`, `list` and `cancel`.

use serde_json::{Value, json};
use tollgate_bulk::Standing;
use tollgate_types::Usd;

use super::{Desk, Which, Whose, code_of, records};
use crate::commands::Cx;
use crate::commands::span::now;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Format};

pub(super) async fn status(which: &Which, cx: &Cx) -> Outcome {
    let desk = Desk::open(which.whose.team.as_ref(), cx).await?;
    let standing = desk.unless_refused(desk.standing(&which.id)).await?;
    print(&standing, cx)?;
    Ok(code_of(&standing))
}

pub(super) async fn cancel(which: &Which, cx: &Cx) -> Outcome {
    let desk = Desk::open(which.whose.team.as_ref(), cx).await?;
    let standing = desk.unless_refused(desk.standing(&which.id)).await?;
    if standing.done.is_some() {
        output::say("it had ended already");
        return Ok(Code::Failed);
    }
    desk.bulk.stop(&which.id, now()).await.map_err(|error| records(&error))?;
    let flag = desk.team_flag();
    output::say(format_args!("what waits or runs is being cancelled: tollgate batch watch {} {flag}", which.id));
    Ok(Code::Ok)
}

pub(super) async fn list(whose: &Whose, cx: &Cx) -> Outcome {
    let desk = Desk::open(whose.team.as_ref(), cx).await?;
    let listed = async {
        desk.bulk.list().await.map_err(|error| {
            let failure = Failure::new(Code::Nats, "the batches cannot be listed").because(&error);
            failure.try_this("a worker answers this; does one run? `tollgate batch status ID` needs none")
        })
    };
    let all: Vec<Value> = desk.unless_refused(listed).await?.iter().map(record).collect();
    let header = ["batch", "state", "ended", "jobs", "no answer", "cost", "file", "made"];
    cx.output.records(&all, &header, |one| {
        let text = |name: &str| match &one[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        ["id", "state", "ended", "jobs", "not_succeeded", "cost_usd", "file", "created_at"].map(text).to_vec()
    })?;
    Ok(Code::Ok)
}

/// Prints how a batch stands.
pub(super) fn print(standing: &Standing, cx: &Cx) -> Result<(), Failure> {
    let record = record(standing);
    match cx.output.format() {
        Format::Json | Format::Jsonl => cx.output.record(&record, Value::to_string),
        Format::Table | Format::Csv => {
            let mut table = cx.output.table(&["fact", "value"]);
            for (name, value) in record.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Object(parts) => {
                        let parts = parts.iter().filter(|(_, part)| **part != json!(0));
                        parts.map(|(name, part)| format!("{part} {name}")).collect::<Vec<_>>().join(", ")
                    }
                    other => other.to_string(),
                };
                table.add_row([name.clone(), text]);
            }
            cx.output.text(&table.trim_fmt())
        }
    }
}

/// A batch for people and programs.
fn record(standing: &Standing) -> Value {
    let Standing { spec, submitted, stop, done, .. } = standing;
    let tally = standing.tally();
    json!({
        "id": spec.id,
        "state": standing.state(),
        "file": spec.file,
        "format": spec.format,
        "class": spec.class,
        "key": spec.key,
        "again": spec.again,
        "jobs": spec.jobs,
        "submitted": submitted.as_ref().map_or(0, |submitted| submitted.through),
        "ended": standing.ended(),
        "not_succeeded": tally.ends.not_succeeded(),
        "ends": tally.ends,
        "not_submitted": done.as_ref().map(|done| done.not_submitted),
        "cost_usd": Usd(tally.cost_nanousd).to_string(),
        "cost_nanousd": tally.cost_nanousd,
        "may_have_cost_more_nanousd": (tally.unknown_nanousd.0 > 0).then_some(tally.unknown_nanousd),
        "max_cost_usd": spec.max_cost_usd,
        "tokens": tally.tokens,
        "stopped": stop.as_ref().map(|stop| stop.reason.as_str()),
        "created_at": spec.created_at.to_rfc3339(),
        "ended_at": done.as_ref().map(|done| done.ended_at.to_rfc3339()),
    })
}
