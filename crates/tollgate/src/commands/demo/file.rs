//! `--jobs`: the lines of an OpenAI batch file as they are, and plain questions wrapped into requests. Pure.

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_types::{Class, Endpoint, JobSpec, Team};

use super::workload::{Ids, Planned};

/// How lines become jobs.
#[derive(Clone, Debug)]
pub(super) struct Dealing {
    /// The lanes that get the lines in turn; never empty.
    pub(super) lanes: Vec<(Team, Class)>,
    /// The model of wrapped questions.
    pub(super) model: String,
    /// The longest answer to them.
    pub(super) max_tokens: u64,
    /// The ids.
    pub(super) ids: Ids,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    /// Its lines as jobs.
    pub(super) jobs: Vec<Planned>,
    /// How many were questions.
    pub(super) wrapped: usize,
    /// How many are no jobs; the broker answers them too, as rejected.
    pub(super) wrong: usize,
    /// The first of them, and why.
    pub(super) first_wrong: Option<String>,
}

/// Reads a file's text.
pub(super) fn read(text: &Bytes, dealing: &Dealing) -> Read {
    let mut read = Read::default();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let n = read.jobs.len();
        let (team, class) = dealing.lanes[n % dealing.lanes.len()].clone();
        let line = match question(line) {
            Some(question) => {
                read.wrapped += 1;
                wrapped(&question, at + 1, dealing)
            }
            None => text.slice_ref(line),
        };
        if let Err(rejection) = JobSpec::decode(&line, usize::MAX) {
            read.wrong += 1;
            read.first_wrong.get_or_insert_with(|| format!("line {}: {rejection} ({})", at + 1, rejection.code));
        }
        read.jobs.push(Planned { id: dealing.ids.of(&team, n), team, class, line });
    }
    read
}

/// The text of `question` or `prompt`, on a line that is no request.
fn question(line: &[u8]) -> Option<String> {
    let Value::Object(object) = serde_json::from_slice(line).ok()? else { return None };
    if object.contains_key("body") || object.contains_key("custom_id") {
        return None;
    }
    let text = object.get("question").or_else(|| object.get("prompt"))?;
    text.as_str().map(str::to_owned)
}

fn wrapped(question: &str, line: usize, dealing: &Dealing) -> Bytes {
    let body = json!({
        "model": dealing.model,
        "messages": [{ "role": "user", "content": question }],
        "max_tokens": dealing.max_tokens,
    });
    let line = json!({
        "custom_id": format!("line-{line}"),
        "method": "POST",
        "url": Endpoint::ChatCompletions.as_str(),
        "body": body,
    });
    line.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::workload;

    fn dealing() -> Dealing {
        Dealing { lanes: workload::teams().to_vec(), model: "m".into(), max_tokens: 9, ids: Ids { run: "0a".into() } }
    }

    #[test]
    fn lines_of_a_batch_file_stay_byte_for_byte_and_are_dealt_in_turn() {
        let line = r#"{"custom_id": "q",  "body": {"model":"x", "messages":[{"role":"user","content":"hi"}]}}"#;
        let read = read(&Bytes::from(format!("{line}\n\r\n{line}\r\n{line}\n{line}")), &dealing());
        assert!(read.jobs.iter().all(|planned| planned.line == line));
        let teams: Vec<&str> = read.jobs.iter().map(|planned| planned.team.as_str()).collect();
        assert_eq!(teams, ["search", "marketing", "batchers", "search"]);
        assert_eq!((read.wrapped, read.wrong), (0, 0));
    }

    #[test]
    fn questions_and_prompts_are_wrapped_and_named_by_their_line() {
        let text = "{\"question\": \"How many?\", \"answer\": \"#### 18\"}\n\n{\"prompt\": \"Say \\\"hi\\\"\"}\n";
        let read = read(&Bytes::from_static(text.as_bytes()), &dealing());
        assert_eq!((read.wrapped, read.wrong), (2, 0));
        let specs: Vec<JobSpec> = read.jobs.iter().map(|j| JobSpec::decode(&j.line, 4096).expect("a job")).collect();
        assert_eq!(specs[1].custom_id.as_deref(), Some("line-3"));
        assert!(specs.iter().all(|spec| spec.request.model == "m" && spec.request.max_tokens == Some(9)));
        let body: Value = serde_json::from_slice(&specs[0].body).expect("a body");
        assert_eq!(body["messages"][0]["content"], "How many?", "the answer stays at home");
    }

    #[test]
    fn what_is_no_job_is_submitted_all_the_same_and_told() {
        let read = read(&Bytes::from_static(b"nonsense\n[1]\n{\"question\": 5}\n"), &dealing());
        assert_eq!((read.jobs.len(), read.wrapped, read.wrong), (3, 0, 3));
        assert!(read.first_wrong.expect("one is wrong").starts_with("line 1: "));
    }
}
