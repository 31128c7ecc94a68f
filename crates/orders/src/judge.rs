//! What is wrong with the file of an order: what is wrong with any batch, and what its key may not ask for. A request of a
//! batch may no more than a call of its own.

use std::io;

use tollgate_bulk::check::{Checked, LineError, check, duplicates};
use tollgate_bulk::side::Input;
use tollgate_bulk::source::{Source, Unreadable};
use tollgate_bulk::{Shape, source};
use tollgate_types::batch::BatchFormat;
use tollgate_types::order::{ERRORS_KEPT, FileError};
use tollgate_types::{BatchOrder, JobSpec};

/// The longest message that is kept of a mistake, in characters.
const MESSAGE_CHARS: usize = 400;

/// What a file is.
pub(crate) enum Judged {
    /// It can be submitted.
    Right(Checked),
    /// It cannot.
    Wrong(Vec<FileError>),
}

/// Reads the file of an order to its end. `open` gives its bytes, from the beginning, as often as it is asked.
///
/// # Errors
/// It cannot be read now.
pub(crate) async fn judge(order: &BatchOrder, open: impl Fn() -> Input) -> Result<Judged, io::Error> {
    let source = match Source::open(open()).await {
        Ok(source) => source,
        Err(error) => return unreadable(error),
    };
    if source.format() != BatchFormat::OpenAi {
        let message = "the file is in Anthropic's format; each line must have `custom_id`, `method`, `url` and `body`";
        return Ok(Judged::Wrong(vec![whole("invalid_file_format", message)]));
    }
    let shape = shape(order);
    let look = |job: &JobSpec| allowed(order, job);
    let mut checked = match check(source, &shape, source::REQUEST_BYTES_MAX, look).await {
        Ok(checked) => checked,
        Err(error) => return unreadable(error),
    };
    if checked.errors_total > checked.errors.len() as u64 {
        let twice = async { duplicates(Source::open(open()).await?, &shape).await };
        let twice = match twice.await {
            Ok(twice) => twice,
            Err(error) => return unreadable(error),
        };
        // What only seemed to stand twice is nothing.
        if checked.errors.is_empty() && twice.is_empty() {
            checked.errors_total = 0;
        }
        checked.errors.extend(twice);
        checked.errors.sort_by_key(|error| error.line);
    }
    if checked.errors_total == 0 { Ok(Judged::Right(checked)) } else { Ok(Judged::Wrong(kept(&checked))) }
}

/// What makes the job lines of an order.
pub(crate) fn shape(order: &BatchOrder) -> Shape {
    Shape { format: BatchFormat::OpenAi, options: order.options.clone(), model: None }
}

fn allowed(order: &BatchOrder, job: &JobSpec) -> Result<(), LineError> {
    if job.request.endpoint != order.endpoint {
        let message = format!("the `url` of this request is not the endpoint of the batch, {}", order.endpoint);
        return Err(LineError::new("invalid_url", message, Some("url")));
    }
    if !tollgate_queue::directory::is_allowed(&order.models, &job.request.model) {
        let shown: String = job.request.model.chars().filter(|c| !c.is_control()).take(64).collect();
        let message = format!("the API key of this batch may not ask for the model `{shown}`");
        return Err(LineError::new("model_not_allowed", message, Some("body.model")));
    }
    Ok(())
}

fn unreadable(error: Unreadable) -> Result<Judged, io::Error> {
    let code = match &error {
        Unreadable::Io(inner) if inner.kind() == io::ErrorKind::NotFound => return Ok(Judged::Wrong(vec![gone()])),
        Unreadable::Io(_) => return Err(io::Error::other(error)),
        Unreadable::Empty => "empty_file",
        Unreadable::Foreign(_) | Unreadable::Unknown | Unreadable::Encoded(_) | Unreadable::Document(_) => {
            "invalid_file_format"
        }
    };
    Ok(Judged::Wrong(vec![whole(code, &error.to_string())]))
}

/// The file is not there any more.
pub(crate) fn gone() -> FileError {
    let message = "the file was deleted, or its time was over, before all of its requests were submitted";
    FileError { param: Some("input_file_id".to_owned()), ..whole("file_not_found", message) }
}

/// A mistake of the file as a whole.
pub(crate) fn whole(code: &str, message: &str) -> FileError {
    FileError { code: code.to_owned(), message: message.to_owned(), param: None, line: None }
}

/// As much as fits a record.
fn kept(checked: &Checked) -> Vec<FileError> {
    let cut = |text: &str| text.chars().take(MESSAGE_CHARS).collect::<String>();
    let one = |error: &LineError| FileError {
        code: error.code.clone(),
        message: cut(&error.message),
        param: error.param.as_deref().map(cut),
        line: error.line,
    };
    let mut all: Vec<FileError> = checked.errors.iter().take(ERRORS_KEPT).map(one).collect();
    let more = checked.errors_total.saturating_sub(all.len() as u64);
    if more > 0 {
        all.push(whole("too_many_errors", &format!("{more} more things are wrong with this file")));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> BatchOrder {
        serde_json::from_value(json!({
            "version": 1, "id": format!("batch_{}", "a".repeat(32)), "input": format!("file-{}", "b".repeat(32)),
            "endpoint": "/v1/embeddings", "window": "24h", "deadline": 1, "class": "batch", "key": "abcdefghijkl",
            "models": ["text-*"], "digest": "d", "created_at": 0, "options": { "project": "p" },
        }))
        .expect("an order")
    }

    async fn codes(text: &str) -> Vec<(String, Option<u64>)> {
        let open = || -> Input { Box::pin(io::Cursor::new(text.to_owned())) };
        match judge(&order(), open).await.expect("it can be read") {
            Judged::Right(_) => Vec::new(),
            Judged::Wrong(errors) => errors.into_iter().map(|error| (error.code, error.line)).collect(),
        }
    }

    fn line(name: &str, url: &str, model: &str) -> String {
        let body = json!({ "model": model, "input": "x", "messages": [{ "role": "user", "content": "x" }] });
        format!("{}\n", json!({ "custom_id": name, "method": "POST", "url": url, "body": body }))
    }

    #[tokio::test]
    async fn a_line_may_no_more_than_its_key_and_its_batch() {
        let right = |name: &str| {
            line(name, "/v1/embeddings", "text-embedding-3-small")
                .replace(",\"messages\":[{\"content\":\"x\",\"role\":\"user\"}]", "")
        };
        assert_eq!(codes(&right("a")).await, []);
        let other = line("b", "/v1/chat/completions", "text-x").replace("\"input\":\"x\",", "");
        let model = right("c").replace("text-embedding-3-small", "gpt-4o");
        let text = format!("{}{other}{model}{}", right("a"), right("a"));
        let expected = [("invalid_url", 2), ("model_not_allowed", 3), ("duplicate_custom_id", 4)];
        assert_eq!(codes(&text).await, expected.map(|(code, line)| (code.to_owned(), Some(line))));
        assert_eq!(codes("").await, [("empty_file".to_owned(), None)]);
        assert_eq!(codes("hello").await, [("invalid_file_format".to_owned(), None)]);
        assert_eq!(codes("{\"requests\":[]}").await, [("invalid_file_format".to_owned(), None)]);
    }

    #[tokio::test]
    async fn of_many_mistakes_some_are_kept_and_the_others_counted() {
        let errors = codes(&"{\"custom_id\":1,\"method\":\"POST\"}\n".repeat(300)).await;
        assert_eq!(errors.len(), ERRORS_KEPT + 1);
        assert_eq!(errors.last(), Some(&("too_many_errors".to_owned(), None)));
    }
}
