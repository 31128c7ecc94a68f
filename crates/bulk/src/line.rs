//! A request of the file as the job line that is submitted: what the batch says goes in where the line says nothing.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollgate_types::Endpoint;
use tollgate_types::batch::BatchFormat;

use crate::anthropic;
use crate::check::LineError;

/// What makes a job line of a request.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The format of the file.
    pub format: BatchFormat,
    /// What each line's `tollgate` object says where the line itself says nothing.
    pub options: Map<String, Value>,
    /// The model in place of that of each line.
    pub model: Option<String>,
}

/// A job line, and the name that the file gives it.
pub(crate) struct Made {
    pub(crate) custom_id: String,
    pub(crate) line: Bytes,
}

impl Shape {
    /// The job line of a request. Nothing of its body is changed but the model, if that is wanted.
    ///
    /// # Errors
    /// What is wrong with its frame; the rest is for whoever reads the job line.
    pub(crate) fn make(&self, text: &Bytes) -> Result<Made, LineError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| LineError::json(format!("invalid UTF-8 after byte {}", error.valid_up_to())))?;
        match self.format {
            BatchFormat::OpenAi => self.openai(text),
            BatchFormat::Anthropic => self.anthropic(text),
        }
    }

    fn openai(&self, text: &str) -> Result<Made, LineError> {
        let mut fields = read(text)?;
        let custom_id = custom_id(&fields)?;
        for name in ["method", "url", "body"] {
            if get(&fields, name).is_none() {
                return Err(LineError::missing(name));
            }
        }
        let options = self.options_over(get(&fields, "tollgate"))?;
        let body = match &self.model {
            Some(model) => Some(with_model(get(&fields, "body").expect("it was just found"), model)?),
            None => None,
        };
        if options.is_none() && body.is_none() {
            return Ok(Made { custom_id, line: Bytes::copy_from_slice(text.as_bytes()) });
        }
        fields.retain(|(name, _)| options.is_none() || name != "tollgate");
        let mut line = String::with_capacity(text.len() + 256);
        for (name, value) in &fields {
            let value = body.as_deref().filter(|_| name == "body").unwrap_or(value.get());
            push(&mut line, name, value);
        }
        if let Some(options) = options {
            push(&mut line, "tollgate", &options);
        }
        line.push('}');
        Ok(Made { custom_id, line: line.into() })
    }

    fn anthropic(&self, text: &str) -> Result<Made, LineError> {
        let fields = read(text)?;
        let custom_id = custom_id(&fields)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&custom_id.len()) || !custom_id.bytes().all(plain) {
            let message = "`custom_id` is not 1 to 64 of A-Z a-z 0-9 _ -, as Anthropic has it";
            return Err(LineError::new("invalid_custom_id", message, Some("custom_id")));
        }
        if let Some((name, _)) = fields.iter().find(|(name, _)| !["custom_id", "params"].contains(&name.as_ref())) {
            let shown: String = name.chars().take(64).collect();
            let message = format!("`{shown}` is not a field of a request; there are `custom_id` and `params`");
            return Err(LineError::new("invalid_request", message, Some(&shown)));
        }
        let params = get(&fields, "params").ok_or_else(|| LineError::missing("params"))?;
        let params: Map<String, Value> = serde_json::from_str(params.get())
            .map_err(|_| LineError::new("invalid_type", "`params` must be an object", Some("params")))?;
        let mut body = anthropic::body(params)?;
        if let Some(model) = &self.model {
            body.insert("model".to_owned(), model.clone().into());
        }
        let mut line = String::new();
        push(&mut line, "custom_id", &Value::from(custom_id.as_str()).to_string());
        push(&mut line, "method", "\"POST\"");
        push(&mut line, "url", &Value::from(Endpoint::ChatCompletions.as_str()).to_string());
        push(&mut line, "body", &Value::Object(body).to_string());
        if let Some(options) = self.options_over(None)? {
            push(&mut line, "tollgate", &options);
        }
        line.push('}');
        Ok(Made { custom_id, line: line.into() })
    }

    /// The line's own options over those of the batch; `None` if nothing changes.
    fn options_over(&self, own: Option<&RawValue>) -> Result<Option<String>, LineError> {
        if self.options.is_empty() {
            return Ok(None);
        }
        let mut options = self.options.clone();
        if let Some(own) = own {
            let own: Map<String, Value> = serde_json::from_str(own.get())
                .map_err(|_| LineError::new("invalid_type", "`tollgate` must be an object", Some("tollgate")))?;
            // Labels are one thing each.
            if let (Some(Value::Object(all)), Some(Value::Object(more))) = (options.get("labels"), own.get("labels")) {
                let labels: Map<String, Value> = all.clone().into_iter().chain(more.clone()).collect();
                options.extend(own);
                options.insert("labels".to_owned(), Value::Object(labels));
            } else {
                options.extend(own);
            }
        }
        Ok(Some(Value::Object(options).to_string()))
    }
}

type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

fn read(text: &str) -> Result<Fields<'_>, LineError> {
    #[derive(Deserialize)]
    struct Read<'a>(#[serde(borrow, deserialize_with = "pairs")] Fields<'a>);
    match serde_json::from_str::<Read<'_>>(text) {
        Ok(Read(fields)) => Ok(fields),
        Err(error) if error.is_data() => Err(LineError::json("it is no object".to_owned())),
        Err(error) => Err(LineError::json(error.to_string())),
    }
}

fn pairs<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Fields<'de>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
            let mut fields = Vec::new();
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                fields.push((name, value));
            }
            Ok(fields)
        }
    }
    #[derive(Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    deserializer.deserialize_map(Pairs)
}

fn get<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.iter().find(|(key, _)| key == name).map(|&(_, value)| value)
}

fn custom_id(fields: &Fields<'_>) -> Result<String, LineError> {
    let raw = get(fields, "custom_id").ok_or_else(|| LineError::missing("custom_id"))?;
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    text.ok_or_else(|| LineError::new("invalid_type", "`custom_id` must be a text", Some("custom_id")))
}

fn with_model(body: &RawValue, model: &str) -> Result<String, LineError> {
    let fields =
        read(body.get()).map_err(|_| LineError::new("invalid_type", "`body` must be an object", Some("body")))?;
    let model = Value::from(model).to_string();
    let mut text = String::with_capacity(body.get().len() + model.len());
    if get(&fields, "model").is_none() {
        push(&mut text, "model", &model);
    }
    for (name, value) in &fields {
        push(&mut text, name, if name == "model" { &model } else { value.get() });
    }
    text.push('}');
    Ok(text)
}

fn push(object: &mut String, name: &str, value: &str) {
    object.push(if object.is_empty() { '{' } else { ',' });
    object.push_str(&Value::from(name).to_string());
    object.push(':');
    object.push_str(value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(options: Value, model: Option<&str>, line: &str, expected: &str) {
        let options = options.as_object().expect("an object").clone();
        let shape = Shape { format: BatchFormat::OpenAi, options, model: model.map(str::to_owned) };
        let made = shape.make(&Bytes::copy_from_slice(line.as_bytes())).expect("a line");
        assert_eq!(made.line, expected);
    }

    #[test]
    fn a_line_passes_byte_for_byte_unless_the_batch_says_something() {
        let line = r#"{"custom_id":"a", "method":"POST","url":"/v1/chat/completions","body":{"model":"m","x" : 1.0}}"#;
        check(json!({}), None, line, line);
        check(
            json!({"project": "p"}),
            Some("n"),
            line,
            r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"n","x":1.0},"tollgate":{"project":"p"}}"#,
        );
    }

    #[test]
    fn what_a_line_says_itself_wins_and_labels_add_up() {
        let frame = |tollgate: &str| format!(r#"{{"custom_id":"a","method":"POST","url":"u","body":{{}}{tollgate}}}"#);
        check(
            json!({"project": "p", "labels": {"a": "1", "b": "1"}}),
            None,
            &frame(r#","tollgate":{"project":"own","labels":{"b":"2"}}"#),
            &frame(r#","tollgate":{"labels":{"a":"1","b":"2"},"project":"own"}"#),
        );
    }
}
