//! What can be done from the screens: pause and resume, replay a dead letter, raise a budget.
//!
//! Each goes the way that the command line goes, with the person who is signed in as its author, so that the audit tells
//! one from the other. Nothing is done for a viewer, or for a form that is not ours.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use tollgate_operate::budgets::{change, raise_cap, the_one};
use tollgate_operate::exit::{Code, Failure};
use tollgate_operate::live::Operator;
use tollgate_operate::{Period, accounts, dead};
use tollgate_queue::directory::Paused;
use tollgate_types::{Budget, Class, Raise, Scope, Team, Usd};

use crate::auth::Who;
use crate::config::Role;
use crate::router::status;
use crate::sources::Shared;
use crate::view::View;

/// What a note is sealed for, so that no link makes a page say what nobody did.
pub(crate) const NOTE: &str = "note";
/// The longest raise from a screen; longer ones are a matter for `tollgate budget set`.
const RAISE_MAX: std::time::Duration = std::time::Duration::from_secs(31 * 24 * 3600);

/// Does it, and goes back to the page that asked, with what came of it.
pub(crate) async fn act(shared: &Shared, who: &Who, action: &str, form: &View, headers: &HeaderMap) -> Response {
    if !shared.door.is_our_form(who, headers, form.value("token")) {
        return status(StatusCode::FORBIDDEN, "this form did not come from a page of this session");
    }
    if who.role != Role::Operator {
        return status(StatusCode::FORBIDDEN, "a viewer changes nothing");
    }
    let nats = match shared.nats() {
        Ok(nats) => nats,
        Err(why) => return status(StatusCode::SERVICE_UNAVAILABLE, &why),
    };
    let reason = form.value("reason").unwrap_or_default().trim();
    let operator = nats.operator.acting(&format!("{}@dashboard", who.name), reason);
    let done = match action {
        "pause" => pause(&operator, form).await,
        "resume" => resume(&operator, form).await,
        "replay" => replay(&operator, form).await,
        "raise" => raise(&operator, form).await,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let note = match done {
        Ok(done) => done,
        Err(failure) => {
            let remedy = failure.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            format!("Not done: {}{remedy}", failure.reason())
        }
    };
    let ours =
        |back: &&str| back.starts_with("/dashboard/") && !back.contains(['\\', '\r', '\n']) && !back.contains("//");
    let back = form.value("back").filter(ours).unwrap_or("/dashboard/overview");
    let (path, query) = back.split_once('?').unwrap_or((back, ""));
    let sealed = shared.door.seal().close(NOTE, &note);
    Redirect::to(&View::read(query).with("note", Some(&sealed)).link(path)).into_response()
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Code::Usage, what)
}

/// What is meant by a form: a model, a team, or one lane of it. With it how it is called.
fn which(form: &View) -> Result<(Paused, String, Option<Team>), Failure> {
    if let Some(model) = form.value("model") {
        return Ok((Paused::model(model), format!("model {model}"), None));
    }
    let name = form.value("team").ok_or_else(|| wrong("neither a team nor a model is named"))?;
    let team: Team = name.parse().map_err(|error| wrong(format!("'{name}' is not a team: {error}")))?;
    let class: Option<Class> = match form.value("class") {
        None | Some("all") => None,
        Some(class) => Some(class.parse().map_err(|_| wrong(format!("'{class}' is not a class")))?),
    };
    let words = class.map_or_else(|| team.to_string(), |class| format!("{team}/{class}"));
    Ok((Paused::Lane { class, team: team.clone() }, words, Some(team)))
}

async fn pause(operator: &Operator, form: &View) -> Result<String, Failure> {
    let (paused, words, team) = which(form)?;
    if let Some(team) = team.filter(|team| operator.directory.team(team.as_str()).is_none()) {
        return Err(wrong(format!("the team {team} is not registered")));
    }
    operator.pause(&paused, &words).await?;
    Ok(format!("{words} is paused: what runs goes on, the rest waits."))
}

async fn resume(operator: &Operator, form: &View) -> Result<String, Failure> {
    let (paused, words, _) = which(form)?;
    let before = operator.resume(&paused).await?;
    Ok(if before.is_some() { format!("{words} goes on.") } else { format!("{words} was not paused.") })
}

async fn replay(operator: &Operator, form: &View) -> Result<String, Failure> {
    let seq = form.value("seq").and_then(|seq| seq.parse::<u64>().ok()).ok_or_else(|| wrong("no letter is named"))?;
    let stream = dead::opened(&operator.context).await?;
    let letter = dead::one(&stream, seq).await?;
    let letter = letter.ok_or_else(|| wrong(format!("there is no dead letter {seq} any more")))?;
    let again = form.value("again") == Some("yes");
    let (steps, failed) =
        dead::replay(operator, &stream, &[letter], dead::How { again, ..dead::How::default() }).await?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let told = steps.iter().map(|step| {
        let id = step.id.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
        let detail = if step.detail.is_empty() { String::new() } else { format!(" ({})", step.detail) };
        format!("Letter {}: {}{id}{detail}.", step.seq, step.change)
    });
    Ok(told.collect::<Vec<_>>().join(" "))
}

async fn raise(operator: &Operator, form: &View) -> Result<String, Failure> {
    let text = |name: &str| form.value(name).unwrap_or_default();
    let scope: Scope = text("scope").parse().map_err(|_| wrong(format!("'{}' is not an account", text("scope"))))?;
    let amount: Usd = text("amount").parse().map_err(|_| wrong(format!("'{}' are not dollars", text("amount"))))?;
    let lasts = Period::parse(text("for")).map_err(wrong)?;
    if amount.0.0 <= 0 || lasts.0.is_zero() || lasts.0 > RAISE_MAX {
        return Err(wrong("a raise is more than nothing, for at most 31 days"));
    }
    let now = operator.now();
    let (author, reason) = (operator.author().to_owned(), operator.reason().to_owned());
    let raise = Raise { amount_usd: amount, from: now, until: now.plus(lasts.0), author, reason };
    let (team, _) = accounts::owner_of(&scope);
    let window = form.value("window");
    let edit = |budgets: &mut Vec<Budget>| {
        let at = the_one(budgets, &scope, window)?;
        raise_cap(&mut budgets[at], Some(&raise), now)
    };
    change(operator, team.as_ref(), "budget raise", edit).await?;
    Ok(format!("{scope} may spend {} more for {lasts}.", accounts::dollars(amount.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_a_model_a_team_or_a_lane() {
        let check = |query: &str, expected: Option<&str>| {
            let words = which(&View::read(query)).ok().map(|(_, words, _)| words);
            assert_eq!(words.as_deref(), expected, "{query}");
        };
        check("team=search", Some("search"));
        check("team=search&class=all", Some("search"));
        check("team=search&class=batch", Some("search/batch"));
        check("model=gpt-4o", Some("model gpt-4o"));
        for bad in ["", "team=a.b", "team=*", "team=search&class=urgent", "class=batch"] {
            check(bad, None);
        }
    }
}
