//! A response of OpenAI's newer format as the events of its stream: texts and the arguments of calls as the model writes
//! them, all else from the whole response at its end, which says what each thing came to.
//!
//! A piece is a chunk with a choice for each thing of the output, as the adapter makes it of the provider's own events; a
//! thing is opened in its order, or it comes whole at the end.
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde_json::{Value, json};

use crate::refused::Refused;
use crate::streamed::Speaker;
use crate::streamed::chat::begun_anew;

/// The events of one stream.
#[derive(Default)]
pub(crate) struct Events {
    sequence: u64,
    /// The response's id, once its stream has begun.
    id: Option<String>,
    /// The things of the output that were opened, by their place.
    open: Vec<Open>,
}

/// A thing of the output of which something was said.
struct Open {
    id: String,
    kind: String,
    /// The field that its text stands in, once there was some: of its first part, or of its call.
    field: Option<&'static str>,
    said: String,
}

/// An object with more fields.
fn with(place: &Value, more: &Value) -> Value {
    let mut value = place.clone();
    value.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    value
}

fn place(id: &str, at: usize) -> Value {
    json!({ "item_id": id, "output_index": at })
}

/// The place of a part of a message.
fn part_at(id: &str, at: usize, part: usize) -> Value {
    json!({ "item_id": id, "output_index": at, "content_index": part })
}

impl Events {
    fn event(&mut self, kind: &str, mut value: Value) -> String {
        value["type"] = kind.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        format!("event: {kind}\ndata: {value}\n\n")
    }

    fn begin(&mut self, response: &Value, out: &mut Vec<String>) {
        out.push(self.event("response.created", json!({ "response": response })));
        out.push(self.event("response.in_progress", json!({ "response": response })));
        self.id = Some(response["id"].as_str().unwrap_or_default().to_owned());
    }

    /// Opens the thing that a chunk is the first of, if it is the next one.
    fn open_item(&mut self, chunk: &Value, at: usize, delta: &Value, out: &mut Vec<String>) {
        let Some(kind) = chunk["item_type"].as_str().filter(|_| at == self.open.len()) else { return };
        let id = chunk["item_id"].as_str().unwrap_or_default();
        let mut item = json!({ "type": kind, "id": id, "status": "in_progress" });
        match kind {
            "message" => {
                item["role"] = "assistant".into();
                item["content"] = json!([]);
            }
            "function_call" => {
                let call = &delta["tool_calls"][0];
                item["call_id"] = call["id"].clone();
                item["name"] = call["function"]["name"].clone();
                item["arguments"] = "".into();
            }
            "reasoning" => item["summary"] = json!([]),
            _ => {}
        }
        out.push(self.event("response.output_item.added", json!({ "output_index": at, "item": item })));
        self.open.push(Open { id: id.to_owned(), kind: kind.to_owned(), field: None, said: String::new() });
    }

    /// Says more of the text of a thing that is open.
    fn write(&mut self, at: usize, field: &'static str, text: &str, out: &mut Vec<String>) {
        let Some(open) = self.open.get_mut(at) else { return };
        let fits = match field {
            "arguments" => open.kind == "function_call",
            _ => open.kind == "message",
        };
        if !fits || text.is_empty() || open.field.is_some_and(|known| known != field) {
            return;
        }
        open.said.push_str(text);
        let (id, is_first) = (open.id.clone(), open.field.replace(field).is_none());
        if is_first && field != "arguments" {
            let part = match field {
                "refusal" => json!({ "type": "refusal", "refusal": "" }),
                _ => json!({ "type": "output_text", "text": "", "annotations": [] }),
            };
            let part = with(&part_at(&id, at, 0), &json!({ "part": part }));
            out.push(self.event("response.content_part.added", part));
        }
        out.push(self.delta(&id, at, field, text));
    }

    fn delta(&mut self, id: &str, at: usize, field: &str, text: &str) -> String {
        match field {
            "arguments" => {
                let delta = with(&place(id, at), &json!({ "delta": text }));
                self.event("response.function_call_arguments.delta", delta)
            }
            "refusal" => {
                let delta = with(&part_at(id, at, 0), &json!({ "delta": text }));
                self.event("response.refusal.delta", delta)
            }
            _ => {
                let delta = with(&part_at(id, at, 0), &json!({ "delta": text, "logprobs": [] }));
                self.event("response.output_text.delta", delta)
            }
        }
    }

    /// A thing of which nothing was said yet.
    fn item(&mut self, at: usize, item: &Value, out: &mut Vec<String>) {
        let id = item["id"].as_str().unwrap_or_default();
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        match item["type"].as_str().unwrap_or_default() {
            "message" => begun["content"] = json!([]),
            "function_call" => begun["arguments"] = "".into(),
            _ => begun = item.clone(),
        }
        out.push(self.event("response.output_item.added", json!({ "output_index": at, "item": begun })));
        if item["type"] == "message" {
            for (number, part) in item["content"].as_array().into_iter().flatten().enumerate() {
                self.part(&part_at(id, at, number), part, out);
            }
        }
        if item["type"] == "function_call" {
            let arguments = item["arguments"].as_str().unwrap_or_default();
            out.push(self.delta(id, at, "arguments", arguments));
            out.push(self.arguments_done(id, at, item));
        }
        out.push(self.event("response.output_item.done", json!({ "output_index": at, "item": item })));
    }

    fn arguments_done(&mut self, id: &str, at: usize, item: &Value) -> String {
        let done = with(&place(id, at), &json!({ "arguments": item["arguments"], "name": item["name"] }));
        self.event("response.function_call_arguments.done", done)
    }

    /// A part of which nothing was said yet.
    fn part(&mut self, place: &Value, part: &Value, out: &mut Vec<String>) {
        let (field, kind) = kind_of(part);
        let mut begun = part.clone();
        begun[field] = "".into();
        out.push(self.event("response.content_part.added", with(place, &json!({ "part": begun }))));
        let mut delta = json!({ "delta": part[field] });
        if kind == "output_text" {
            delta["logprobs"] = json!([]);
        }
        out.push(self.event(&format!("response.{kind}.delta"), with(place, &delta)));
        self.part_done(place, part, out);
    }

    fn part_done(&mut self, place: &Value, part: &Value, out: &mut Vec<String>) {
        let (field, kind) = kind_of(part);
        let done = match kind {
            "refusal" => json!({ "refusal": part[field] }),
            _ => json!({ "text": part[field], "logprobs": [] }),
        };
        out.push(self.event(&format!("response.{kind}.done"), with(place, &done)));
        out.push(self.event("response.content_part.done", with(place, &json!({ "part": part }))));
    }

    /// The rest of a thing that is open; `None` if what was said is not how it begins.
    fn rest(&mut self, at: usize, item: &Value, out: &mut Vec<String>) -> Option<()> {
        let Open { id, kind, field, said } = &self.open[at];
        let (id, field, said) = (id.clone(), *field, said.clone());
        if item["type"] != kind.as_str() || item["id"].as_str().unwrap_or_default() != id {
            return None;
        }
        match (item["type"].as_str().unwrap_or_default(), field) {
            ("message", field) => {
                let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
                if field.is_some() && parts.is_empty() {
                    return None;
                }
                for (number, part) in parts.iter().enumerate() {
                    let place = part_at(&id, at, number);
                    match field.filter(|_| number == 0) {
                        None => self.part(&place, part, out),
                        Some(field) => {
                            let left = part[field].as_str()?.strip_prefix(said.as_str())?;
                            if !left.is_empty() {
                                out.push(self.delta(&id, at, field, left));
                            }
                            self.part_done(&place, part, out);
                        }
                    }
                }
            }
            ("function_call", _) => {
                let left = item["arguments"].as_str()?.strip_prefix(said.as_str())?;
                if !left.is_empty() {
                    out.push(self.delta(&id, at, "arguments", left));
                }
                out.push(self.arguments_done(&id, at, item));
            }
            _ => {}
        }
        out.push(self.event("response.output_item.done", json!({ "output_index": at, "item": item })));
        Some(())
    }
}

/// The field of a part's text, and the word for it in events.
fn kind_of(part: &Value) -> (&'static str, &'static str) {
    match part["type"].as_str() {
        Some("refusal") => ("refusal", "refusal"),
        _ => ("text", "output_text"),
    }
}

impl Speaker for Events {
    fn piece(&mut self, chunk: Value) -> Vec<String> {
        let mut out = Vec::new();
        let Some(id) = chunk["id"].as_str().filter(|id| !id.is_empty()) else { return out };
        if self.id.is_none() {
            let response = json!({
                "id": id, "object": "response", "created_at": chunk["created"], "status": "in_progress", "error": null,
                "incomplete_details": null, "instructions": null, "metadata": {}, "model": chunk["model"], "output": [],
                "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
                "usage": null,
            });
            self.begin(&response, &mut out);
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let Some(at) = choice["index"].as_u64().and_then(|at| usize::try_from(at).ok()) else { continue };
            let delta = &choice["delta"];
            self.open_item(&chunk, at, delta, &mut out);
            self.write(at, "text", delta["content"].as_str().unwrap_or_default(), &mut out);
            self.write(at, "refusal", delta["refusal"].as_str().unwrap_or_default(), &mut out);
            let arguments = delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default();
            self.write(at, "arguments", arguments, &mut out);
        }
        out
    }

    fn finish(&mut self, answer: &Value) -> Result<Vec<String>, Refused> {
        let mut out = Vec::new();
        match &self.id {
            None => {
                let mut begun = answer.clone();
                begun["status"] = "in_progress".into();
                begun["output"] = json!([]);
                begun["usage"] = Value::Null;
                self.begin(&begun, &mut out);
            }
            Some(id) if answer["id"] != id.as_str() => return Err(begun_anew()),
            Some(_) => {}
        }
        let output = answer["output"].as_array().map(Vec::as_slice).unwrap_or_default();
        if self.open.len() > output.len() {
            return Err(begun_anew());
        }
        for (at, item) in output.iter().enumerate() {
            match at < self.open.len() {
                true => self.rest(at, item, &mut out).ok_or_else(begun_anew)?,
                false => self.item(at, item, &mut out),
            }
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

    fn answer() -> Value {
        json!({ "id": "resp_1", "status": "completed", "usage": { "total_tokens": 3 }, "output": [
            { "type": "message", "id": "msg_1", "content": [{ "type": "output_text", "text": "Hello", "annotations": [] }] },
            { "type": "function_call", "id": "fc_1", "name": "f", "arguments": "{}" } ] })
    }

    const WHOLE: [&str; 13] = [
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

    fn kinds(events: &[String]) -> Vec<&str> {
        let kind = |event: &'_ String| -> usize { event.find('\n').expect("a line") };
        events.iter().map(|event| event[..kind(event)].trim_start_matches("event: response.")).collect()
    }

    fn in_order(events: &[String]) {
        for (number, event) in events.iter().enumerate() {
            assert!(event.contains(&format!("\"sequence_number\":{number}")), "{event}");
        }
    }

    fn chunk(at: u64, item: (&str, Option<&str>), delta: Value) -> Value {
        let mut chunk = json!({ "id": "resp_1", "created": 1, "model": "m", "item_id": item.0,
            "choices": [{ "index": at, "delta": delta, "finish_reason": null }] });
        if let Some(kind) = item.1 {
            chunk["item_type"] = kind.into();
        }
        chunk
    }

    fn call(function: Value) -> Value {
        json!({ "tool_calls": [{ "index": 0, "id": "c1", "function": function }] })
    }

    #[test]
    fn a_whole_response_is_told_in_the_order_of_its_stream() {
        let events = Events::default().finish(&answer()).expect("it has an end");
        assert_eq!(kinds(&events), WHOLE);
        in_order(&events);
    }

    #[test]
    fn pieces_are_told_as_they_come_and_the_end_says_what_each_came_to() {
        let mut events = Events::default();
        let mut said =
            events.piece(chunk(0, ("msg_1", Some("message")), json!({ "role": "assistant", "content": "" })));
        assert_eq!(kinds(&said), ["created", "in_progress", "output_item.added"]);
        said.extend(events.piece(chunk(0, ("msg_1", None), json!({ "content": "Hel" }))));
        said.extend(events.piece(chunk(0, ("msg_1", None), json!({ "content": "l" }))));
        let begun = call(json!({ "name": "f", "arguments": "" }));
        said.extend(events.piece(chunk(1, ("fc_1", Some("function_call")), begun)));
        said.extend(events.piece(chunk(1, ("fc_1", None), call(json!({ "arguments": "{}" })))));
        assert_eq!(
            kinds(&said)[3..],
            [
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_item.added",
                "function_call_arguments.delta"
            ]
        );
        said.extend(events.finish(&answer()).expect("it is how it begins"));
        assert_eq!(
            kinds(&said)[8..],
            [
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "function_call_arguments.done",
                "output_item.done",
                "completed"
            ]
        );
        in_order(&said);
        let text: String = said
            .iter()
            .filter(|event| event.starts_with("event: response.output_text.delta"))
            .map(|event| {
                let data = event.split_once("data: ").expect("data").1;
                serde_json::from_str::<Value>(data).expect("JSON")["delta"].as_str().expect("a text").to_owned()
            })
            .collect();
        assert_eq!(text, "Hello");
    }

    #[test]
    fn what_is_out_of_its_order_comes_whole_at_the_end() {
        let mut events = Events::default();
        events.piece(chunk(1, ("fc_1", Some("function_call")), call(json!({ "name": "f", "arguments": "" }))));
        assert!(events.piece(chunk(1, ("fc_1", None), call(json!({ "arguments": "{}" })))).is_empty());
        let said = events.finish(&answer()).expect("nothing was said");
        assert_eq!(kinds(&said), WHOLE[2..]);
    }

    #[test]
    fn what_was_said_and_is_not_in_the_response_cannot_be_taken_back() {
        for (id, kind, text) in [("msg_1", "message", "Help"), ("msg_2", "message", "Hel"), ("msg_1", "reasoning", "")]
        {
            let mut events = Events::default();
            events.piece(chunk(0, (id, Some(kind)), json!({ "content": text })));
            let refused = events.finish(&answer()).expect_err("it is another one");
            assert_eq!(refused.code, "stream_restarted", "{id} {kind} {text}");
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
