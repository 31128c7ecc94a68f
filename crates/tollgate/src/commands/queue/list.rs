//! `queue list`.

use tollgate_operate::lanes::{Names, Row, rows};
use tollgate_types::{LaneKey, Team};

use crate::accounts;
use crate::commands::Cx;
use crate::config::Config;
use crate::exit::{Code, Failure, Outcome};
use crate::live::Operator;
use crate::output;
use crate::waiting::Everywhere;

pub(super) async fn run(team: Option<&Team>, operator: &Operator, config: &Config, cx: &Cx) -> Outcome {
    let everywhere = Everywhere::count(&operator.connection, &operator.context).await?;
    let accounts = accounts::read(&operator.context).await.map_err(|error| {
        Failure::new(Code::Nats, "the accounts cannot be read").because(&error).try_this("run `tollgate init`")
    })?;
    let mut names = Names::new(accounts.keys(), config.models.keys().map(String::as_str));
    let pauses = operator.directory.pauses();
    names.note(&pauses);
    let weight = |lane: &LaneKey| operator.directory.team(&lane.team).map(|record| record.weight);
    let rows = rows(&everywhere.lanes, &pauses, &weight, &names);
    let wanted = |row: &Row| team.is_none_or(|team| row.team.as_deref() == Some(team.as_str()));
    let rows: Vec<Row> = rows.into_iter().filter(wanted).collect();
    cx.output.records(&rows, &["team", "class", "weight", "waiting", "parked", "behind", "state"], Row::row)?;
    if everywhere.for_later > 0 {
        output::say(format_args!("{} more job(s) wait for their time", everywhere.for_later));
    }
    Ok(Code::Ok)
}
