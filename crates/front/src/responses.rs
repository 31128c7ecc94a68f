//! A response of OpenAI's newer format as the events of its stream. Jobs have such an answer whole, so the events come
//! together, at its end.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde_json::{Value, json};

use crate::refused::Refused;
use crate::streamed::Speaker;

/// Counts the events.
#[derive(Default)]
pub(crate) struct Events {
    sequence: u64,
}

impl Events {
    fn event(&mut self, kind: &str, mut value: Value) -> String {
        value["type"] = kind.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        format!("event: {kind}\ndata: {value}\n\n")
    }

    fn item(&mut self, index: usize, item: &Value, out: &mut Vec<String>) {
        let id = &item["id"];
        let place = |more: Value| {
            let mut value = json!({ "item_id": id, "output_index": index });
            value.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            value
        };
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        match item["type"].as_str().unwrap_or_default() {
            "message" => begun["content"] = json!([]),
            "function_call" => begun["arguments"] = "".into(),
            _ => begun = item.clone(),
        }
        out.push(self.event("response.output_item.added", json!({ "output_index": index, "item": begun })));
        for (at, part) in item["content"].as_array().into_iter().flatten().enumerate() {
            if item["type"] == "message" {
                self.part(&place(json!({ "content_index": at })), part, out);
            }
        }
        if item["type"] == "function_call" {
            let arguments = &item["arguments"];
            out.push(self.event("response.function_call_arguments.delta", place(json!({ "delta": arguments }))));
            let done = place(json!({ "arguments": arguments, "name": item["name"] }));
            out.push(self.event("response.function_call_arguments.done", done));
        }
        out.push(self.event("response.output_item.done", json!({ "output_index": index, "item": item })));
    }

    fn part(&mut self, place: &Value, part: &Value, out: &mut Vec<String>) {
        let with = |more: Value| {
            let mut value = place.clone();
            value.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            value
        };
        let (field, kind) = match part["type"].as_str() {
            Some("refusal") => ("refusal", "refusal"),
            _ => ("text", "output_text"),
        };
        let mut begun = part.clone();
        begun[field] = "".into();
        out.push(self.event("response.content_part.added", with(json!({ "part": begun }))));
        let text = &part[field];
        let mut said = |step: &str, more: Value| out.push(self.event(&format!("response.{kind}.{step}"), with(more)));
        match kind {
            "refusal" => {
                said("delta", json!({ "delta": text }));
                said("done", json!({ "refusal": text }));
            }
            _ => {
                said("delta", json!({ "delta": text, "logprobs": [] }));
                said("done", json!({ "text": text, "logprobs": [] }));
            }
        }
        out.push(self.event("response.content_part.done", with(json!({ "part": part }))));
    }
}

impl Speaker for Events {
    fn piece(&mut self, _: Value) -> Vec<String> {
        Vec::new()
    }

    fn finish(&mut self, answer: &Value) -> Result<Vec<String>, Refused> {
        let mut begun = answer.clone();
        begun["status"] = "in_progress".into();
        begun["output"] = json!([]);
        begun["usage"] = Value::Null;
        let mut out = vec![self.event("response.created", json!({ "response": begun }))];
        out.push(self.event("response.in_progress", json!({ "response": begun })));
        for (index, item) in answer["output"].as_array().into_iter().flatten().enumerate() {
            self.item(index, item, &mut out);
        }
        let end = if answer["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        out.push(self.event(end, json!({ "response": answer })));
        Ok(out)
    }

    fn fail(&mut self, refused: &Refused, _: &str) -> String {
        let error = json!({ "code": refused.code, "message": refused.message, "param": refused.param });
        self.event("error", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_response_is_told_in_the_order_of_its_stream() {
        let answer = json!({ "id": "resp_1", "status": "completed", "usage": { "total_tokens": 3 }, "output": [
            { "type": "message", "id": "msg_1", "content": [{ "type": "output_text", "text": "Hello", "annotations": [] }] },
            { "type": "function_call", "id": "fc_1", "name": "f", "arguments": "{}" } ] });
        let events = Events::default().finish(&answer).expect("it has an end");
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event.lines().next().expect("a line").trim_start_matches("event: response."))
            .collect();
        let expected = [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ];
        assert_eq!(kinds, expected);
        for (number, event) in events.iter().enumerate() {
            assert!(event.contains(&format!("\"sequence_number\":{number}")), "{event}");
        }
    }

    #[test]
    fn an_incomplete_response_ends_as_one_and_an_error_is_an_event() {
        let mut events = Events::default();
        let last = events.finish(&json!({ "status": "incomplete", "output": [] })).expect("an end").pop().expect("one");
        assert!(last.starts_with("event: response.incomplete\n"), "{last}");
        assert!(events.fail(&Refused::later("away"), "").starts_with("event: error\n"));
    }
}
