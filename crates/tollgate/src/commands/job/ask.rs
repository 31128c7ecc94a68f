//! `job explain` and `job cancel`: questions to the service that all workers offer together.

use serde::Deserialize as _;
use serde_json::Value;
use tollgate_client::{AskError, JobStatus};
use tollgate_types::{JobId, Team};

use crate::accounts::dollars;
use crate::commands::Cx;
use crate::commands::submit::Access;
use crate::exit::{Code, Failure, Outcome};
use crate::output::Format;

pub(super) async fn explain(job: &JobId, access: &Access, cx: &Cx) -> Outcome {
    let answer = ask(access, "status", serde_json::json!({ "job": job, "explain": true })).await?;
    print(&answer, cx, |known| in_words(job, known, access.producer.team()))?;
    Ok(Code::Ok)
}

/// Cancelling what was cancelled before is no failure; cancelling what ended otherwise is.
pub(super) async fn cancel(job: &JobId, access: &Access, cx: &Cx) -> Outcome {
    let answer = ask(access, "cancel", serde_json::json!({ "job": job })).await?;
    let known = read(&answer)?;
    let status = known.status.clone().unwrap_or_default();
    print(&answer, cx, |known| {
        if known.cancelled {
            format!("{job}: cancelled")
        } else {
            format!("{job}: not cancelled; it had ended: {status}")
        }
    })?;
    Ok(if known.cancelled || status == "cancelled" { Code::Ok } else { Code::Failed })
}

fn print(answer: &Value, cx: &Cx, words: impl FnOnce(&JobStatus) -> String) -> Result<(), Failure> {
    match cx.output.format() {
        // As it was answered, with what this version does not know.
        Format::Json | Format::Jsonl => cx.output.record(answer, |_| String::new()),
        Format::Table | Format::Csv => cx.output.text(&words(&read(answer)?)),
    }
}

fn read(answer: &Value) -> Result<JobStatus, Failure> {
    JobStatus::deserialize(answer)
        .map_err(|error| Failure::new(Code::Failed, "the answer cannot be read").because(&error))
}

async fn ask(access: &Access, what: &str, question: Value) -> Result<Value, Failure> {
    access.unless_refused(async { access.producer.ask(what, question).await.map_err(|error| unanswered(&error)) }).await
}

fn unanswered(error: &AskError) -> Failure {
    match error {
        AskError::NoResponders => Failure::new(Code::Nats, "no worker answers questions").try_this(
            "start `tollgate serve`; without an account per team, check that we may publish on tollgate.api.>",
        ),
        AskError::TimedOut(_) => Failure::new(Code::Timeout, error.to_string()),
        AskError::Refused { code: 400, reason } => Failure::new(Code::Usage, reason),
        AskError::Refused { code: 503, reason } => Failure::new(Code::Nats, reason),
        AskError::Refused { reason, .. } => Failure::new(Code::Failed, reason),
        AskError::Failed(_) => Failure::new(Code::Nats, error.to_string()),
    }
}

fn in_words(job: &JobId, known: &JobStatus, team: &Team) -> String {
    let class = known.class.as_deref().unwrap_or("?");
    let mut lines = vec![match known.state.as_str() {
        "ended" => format!("{job} has ended: {}", known.status.as_deref().unwrap_or("?")),
        "running" => format!("{job} runs, out of {team}/{class}"),
        "waiting" => format!("{job} waits in {team}/{class}"),
        "parked" => format!("{job} is parked, out of {team}/{class}"),
        other => format!("{job}: {other}"),
    }];
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let gate = text(&known.gate).map(|gate| format!(" ({gate})")).unwrap_or_default();
    let seconds = |seconds: u64| format!("in about {seconds} s, if its lane goes on as it does");
    let facts = [
        ("error", text(&known.error_code)),
        ("why", text(&known.reason).map(|reason| format!("{reason}{gate}"))),
        ("waits for", text(&known.parked_for)),
        ("behind", text(&known.parked_behind)),
        ("ahead", known.ahead.map(|ahead| format!("{ahead} job(s)"))),
        ("its turn", known.expected_seconds.map(seconds)),
        ("accepted", text(&known.accepted_at)),
        ("asked for", text(&known.model_requested)),
        ("served by", text(&known.downgraded_to).map(|model| format!("{model}, because its budget was spent"))),
        ("cost", known.cost_nanousd.map(dollars)),
        ("queued", known.queued_ms.map(|ms| format!("{ms} ms"))),
        ("ran", known.run_ms.map(|ms| format!("{ms} ms"))),
        ("texts", text(&known.texts_gone).map(gone)),
        ("result", (known.state == "ended").then(|| format!("tollgate job get {job} --team {team}"))),
    ];
    lines.extend(facts.into_iter().filter_map(|(name, fact)| Some(format!("  {name:<9}  {}", fact?))));
    lines.join("\n")
}

/// Why there is no answer any more.
fn gone(code: String) -> String {
    match code.as_str() {
        "forgotten" => "gone: somebody had the job forgotten".to_owned(),
        "not_kept" => "gone: the result is older than its team keeps results".to_owned(),
        _ => format!("gone: {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(answer: &str) -> String {
        let known = read(&serde_json::from_str(answer).expect("JSON")).expect("an answer");
        in_words(&"search:1".parse().expect("an id"), &known, &"search".parse().expect("a team"))
    }

    #[test]
    fn every_state_is_told_with_what_is_known_about_it() {
        let waiting = r#"{"job":"search:1","state":"waiting","class":"batch","accepted_at":"t","parked_for":null,
            "parked_behind":null,"ahead":12,"gate":"budget","reason":"$1 does not fit","expected_seconds":9}"#;
        assert_eq!(
            words(waiting),
            "search:1 waits in search/batch\n  why        $1 does not fit (budget)\n  ahead      12 job(s)\n  \
             its turn   in about 9 s, if its lane goes on as it does\n  accepted   t"
        );
        let ended = r#"{"state":"ended","status":"succeeded","error_code":null,"class":"batch","model_requested":"big",
            "downgraded_to":"mini","cost_nanousd":1500000,"queued_ms":3,"run_ms":4,"later":1}"#;
        let said = words(ended);
        for part in ["has ended: succeeded", "asked for  big", "mini, because", "$0.0015", "tollgate job get search:1"]
        {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        let forgotten = words(r#"{"state":"ended","status":"succeeded","texts_gone":"forgotten"}"#);
        assert!(forgotten.contains("gone: somebody had the job forgotten"), "{forgotten}");
        let parked = r#"{"state":"parked","class":"batch","parked_for":"a live deployment","parked_behind":"m-1"}"#;
        assert!(words(parked).contains("waits for  a live deployment"), "{}", words(parked));
    }

    #[test]
    fn refusals_keep_their_words_and_get_an_exit_code() {
        for (code, exit) in [(400, Code::Usage), (404, Code::Failed), (503, Code::Nats), (500, Code::Failed)] {
            let failure = unanswered(&AskError::Refused { code, reason: "unknown_job: x".to_owned() });
            assert_eq!((failure.code, failure.reason().as_str()), (exit, "unknown_job: x"));
        }
    }
}
