//! The body to send: the producer's bytes with at most three values replaced, without parsing or printing them again.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use tollgate_types::job::Request;

use crate::adapter::{To, Unsendable};

/// Replaces the model by the deployment's, `"stream": true` by `false` and the value of `stream_options` by `null`: results
/// are whole answers, so nothing is gained by having them in pieces if nobody reads along. All other bytes stay as they
/// are.
///
/// Refuses if the ranges of `request` do not lie apart in `body`, which says that they are of another body.
pub(crate) fn body(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes, Unsendable> {
    splice(body, request, to.model_json).ok_or(Unsendable::AnotherBody)
}

/// Replaces the model by the deployment's, and asks for the usage at the end of the stream: `stream_options` is added, or
/// `include_usage` set in the one that is there. All other bytes stay as they are, `"stream": true` among them.
///
/// Refuses as [`body`] does, and if the request does not ask for a stream.
pub(super) fn stream_body(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes, Unsendable> {
    let stream_at = request.stream_at.clone().ok_or(Unsendable::AnotherBody)?;
    let options = match request.stream_options_at.clone() {
        Some(at) => {
            let options = with_usage(body.get(at.clone()).ok_or(Unsendable::AnotherBody)?);
            options.map(|options| (at, options))
        }
        None => Some((stream_at, format!("true,\"stream_options\":{WITH_USAGE}"))),
    };
    let options = options.as_ref().map(|(at, text)| (at.clone(), text.as_str()));
    replace(body, [Some((request.model_at.clone(), to.model_json)), options]).ok_or(Unsendable::AnotherBody)
}

/// Replaces the model by the deployment's, for a stream whose end says the usage by itself. All other bytes stay as they are.
///
/// Refuses as [`stream_body`] does.
pub(super) fn stream_body_as_it_is(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes, Unsendable> {
    request.stream_at.as_ref().ok_or(Unsendable::AnotherBody)?;
    replace(body, [Some((request.model_at.clone(), to.model_json))]).ok_or(Unsendable::AnotherBody)
}

const WITH_USAGE: &str = r#"{"include_usage":true}"#;

/// Stream options that ask for the usage too; `None` for what are no options: the server shall say so.
fn with_usage(options: &[u8]) -> Option<String> {
    match serde_json::from_slice(options).ok()? {
        Value::Null => Some(WITH_USAGE.to_owned()),
        Value::Object(mut options) => {
            options.insert("include_usage".into(), true.into());
            Some(Value::from(options).to_string())
        }
        _ => None,
    }
}

fn splice(body: &Bytes, request: &Request, model_json: &str) -> Option<Bytes> {
    if request.stream_at.is_none() && request.stream_options_at.is_none() {
        let model = body.get(request.model_at.clone())?;
        if model == model_json.as_bytes() {
            return Some(body.clone());
        }
    }
    let edits = [
        Some((request.model_at.clone(), model_json)),
        request.stream_at.clone().map(|at| (at, "false")),
        request.stream_options_at.clone().map(|at| (at, "null")),
    ];
    replace(body, edits)
}

/// Puts each text where its range lies.
fn replace<const N: usize>(body: &Bytes, mut edits: [Option<(Range<usize>, &str)>; N]) -> Option<Bytes> {
    edits.sort_by_key(|edit| edit.as_ref().map_or(usize::MAX, |(at, _)| at.start));
    let grown: usize = edits.iter().flatten().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut done = 0;
    for (at, text) in edits.into_iter().flatten() {
        body.get(at.clone())?;
        out.extend_from_slice(body.get(done..at.start)?);
        out.extend_from_slice(text.as_bytes());
        done = at.end;
    }
    out.extend_from_slice(&body[done..]);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tollgate_types::JobSpec;

    use super::*;

    fn decode(chat: &str) -> JobSpec {
        JobSpec::decode(&format!("{{\"body\":{chat}}}").into(), 1 << 20).expect("a job")
    }

    fn spliced(chat: &str, model: &str) -> String {
        let spec = decode(chat);
        let model_json = serde_json::to_string(model).expect("texts serialise");
        let out = super::body(&spec.body, &spec.request, &To::model(&model_json)).expect("the ranges fit");
        String::from_utf8(out.into()).expect("UTF-8")
    }

    #[test]
    fn only_the_three_values_change() {
        let text = r#"{ "stream" : true, "messages":[{"role":"user","content":"\"model\": \"fast\""}],
            "model":"fast" ,"stream_options":{"include_usage":true},"x":1.50}"#;
        let expected = r#"{ "stream" : false, "messages":[{"role":"user","content":"\"model\": \"fast\""}],
            "model":"gpt \"4\"" ,"stream_options":null,"x":1.50}"#;
        assert_eq!(spliced(text, "gpt \"4\""), expected);
    }

    #[test]
    fn a_stream_is_asked_for_with_its_usage_and_all_else_stays() {
        for (options, expected) in [
            ("", r#","stream_options":{"include_usage":true}"#),
            (r#","stream_options":null"#, r#","stream_options":{"include_usage":true}"#),
            (r#","stream_options":{"include_usage":false}"#, r#","stream_options":{"include_usage":true}"#),
            (r#","stream_options": {"x":[1]}"#, r#","stream_options": {"include_usage":true,"x":[1]}"#),
            (r#","stream_options":7"#, r#","stream_options":7"#),
        ] {
            let text = format!(r#"{{ "x":1.50,"model":"fast", "messages":[1], "stream" : true{options} }}"#);
            let spec = decode(&text);
            let out = super::stream_body(&spec.body, &spec.request, &To::model("\"m\"")).expect("the ranges fit");
            let expected = format!(r#"{{ "x":1.50,"model":"m", "messages":[1], "stream" : true{expected} }}"#);
            assert_eq!(String::from_utf8(out.into()).expect("UTF-8"), expected);
        }
        let spec = decode(r#"{"model":"m","messages":[1]}"#);
        assert_eq!(super::stream_body(&spec.body, &spec.request, &To::model("\"m\"")), Err(Unsendable::AnotherBody));
    }

    #[test]
    fn a_response_is_asked_for_as_a_stream_with_nothing_added() {
        let text = r#"{"url":"/v1/responses","body":{"input":"a", "model":"fast", "stream" : true}}"#;
        let spec = JobSpec::decode(&text.into(), 1 << 20).expect("a job");
        let out = stream_body_as_it_is(&spec.body, &spec.request, &To::model("\"m\"")).expect("the ranges fit");
        assert_eq!(out, r#"{"input":"a", "model":"m", "stream" : true}"#);
    }

    #[test]
    fn a_body_that_needs_no_change_is_not_copied() {
        let spec = decode(r#"{"model":"m","messages":[1],"stream":false}"#);
        let out = super::body(&spec.body, &spec.request, &To::model("\"m\"")).expect("the ranges fit");
        assert_eq!(out.as_ptr(), spec.body.as_ptr());
    }

    #[test]
    fn ranges_of_another_body_are_noticed() {
        let spec = decode(r#"{"messages":[1],"model":"m","stream":true}"#);
        assert_eq!(splice(&Bytes::from_static(b"{}"), &spec.request, "\"m\""), None);
        let mut request = spec.request.clone();
        request.stream_at = Some(request.model_at.clone());
        assert_eq!(super::body(&spec.body, &request, &To::model("\"x\"")), Err(Unsendable::AnotherBody));
    }

    proptest! {
        #[test]
        fn splicing_is_what_parsing_and_printing_would_do(
            model in ".{1,20}", to in ".{1,20}", stream in any::<Option<bool>>(), options in any::<Option<bool>>(),
            content in ".{0,40}", order in any::<[u8; 4]>(), pretty in any::<bool>(),
        ) {
            prop_assume!(!model.chars().any(char::is_control));
            let mut fields = vec![
                (order[0], "model", json!(model)),
                (order[1], "messages", json!([{"role": "user", "content": content}])),
            ];
            fields.extend(stream.map(|stream| (order[2], "stream", json!(stream))));
            fields.extend(options.map(|usage| (order[3], "stream_options", json!({"include_usage": usage}))));
            fields.sort_by_key(|field| field.0);
            let gap = if pretty { " \n" } else { "" };
            let fields: Vec<_> =
                fields.iter().map(|(_, name, value)| format!("{gap}\"{name}\"{gap}:{gap}{value}{gap}")).collect();
            let text = format!("{{{}}}", fields.join(","));

            let mut expected: Value = serde_json::from_str(&text).expect("JSON");
            expected["model"] = json!(to);
            if stream == Some(true) { expected["stream"] = json!(false); }
            if options.is_some() { expected["stream_options"] = Value::Null; }
            let got: Value = serde_json::from_str(&spliced(&text, &to)).expect("JSON");
            prop_assert_eq!(got, expected);
        }
    }
}
