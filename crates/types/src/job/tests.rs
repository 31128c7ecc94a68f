use super::request::FORBIDDEN_IN_BODY;
use super::*;

fn decode(text: &str) -> Result<JobSpec, Rejection> {
    JobSpec::decode(&Bytes::from(text.to_owned()), 1 << 20)
}

const GOOD: &str = r#"{"custom_id": "q-17", "method": "POST", "url": "/v1/chat/completions",
 "body": {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200, "stream": true, "x": {"y": 1}},
 "tollgate": {"version": 1, "reply_to": "reply.search.42", "deadline": "2026-12-01T10:00:00Z", "project": "ranking", "labels": {"feature": "summary"}}}"#;

#[test]
fn a_batch_line_with_our_options_is_a_job() {
    let job = decode(GOOD).expect("the sample is good");
    assert_eq!(job.custom_id.as_deref(), Some("q-17"));
    assert_eq!(job.request.model, "fast");
    assert_eq!(&job.body[job.request.model_at.clone()], b"\"fast\"");
    assert_eq!(&job.body[job.request.stream_at.clone().expect("it streams")], b"true");
    assert_eq!(job.request.max_tokens, Some(200));
    assert_eq!(job.options.deadline.as_ref().map(|d| d.at), Some(UnixMillis(1_796_119_200_000)));
    assert_eq!(job.options.labels["feature"], "summary");
    assert!(job.body.starts_with(b"{\"model\"") && job.body.ends_with(b"}"));
}

#[test]
fn a_line_of_an_existing_batch_file_is_a_job_as_it_is() {
    let line = r#"{"custom_id":"request-1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"Hello\u0000\u001b[31m"}],"max_tokens":1000}}"#;
    assert!(decode(line).is_ok());
}

#[test]
fn each_malformed_payload_is_refused_with_its_own_code_and_field() {
    let body = |b: &str| format!(r#"{{"body":{b}}}"#);
    let chat = |extra: &str| body(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{extra}}}"#));
    let cases: Vec<(String, ErrorCode, &str)> = vec![
        (String::new(), ErrorCode::BadRequest, "empty"),
        ("hello".into(), ErrorCode::InvalidJson, "line 1"),
        (r#"{"body":{"#.into(), ErrorCode::InvalidJson, "EOF"),
        ("[1]".into(), ErrorCode::BadRequest, "an array"),
        ("{}".into(), ErrorCode::MissingField, "`body`"),
        (body("3"), ErrorCode::InvalidField, "`body`"),
        (body(r#"{"model":"m"}"#), ErrorCode::MissingField, "`body.messages`"),
        (body(r#"{"model":"m","messages":[]}"#), ErrorCode::NoMessages, "`body.messages`"),
        (
            body(r#"{"model":"m","messages":"hi"}"#),
            ErrorCode::InvalidField,
            "`body.messages` must be an array of messages, not a text",
        ),
        (body(r#"{"model":"m","messages":null}"#), ErrorCode::InvalidField, "not null"),
        (body(r#"{"model":"a","model":"b","messages":[1]}"#), ErrorCode::DuplicateField, "`body.model`"),
        (body(r#"{"messages":[1]}"#), ErrorCode::MissingField, "`body.model`"),
        (chat(r#","max_tokens":-1"#), ErrorCode::InvalidField, "`body.max_tokens`"),
        (chat(r#","max_tokens":0"#), ErrorCode::InvalidField, "`body.max_tokens`"),
        (chat(r#","max_tokens":1e308"#), ErrorCode::InvalidField, "`body.max_tokens`"),
        (chat(r#","max_tokens":"12""#), ErrorCode::InvalidField, "not a text"),
        (chat(r#","max_tokens":18446744073709551616"#), ErrorCode::InvalidField, "`body.max_tokens`"),
        (chat(r#","temperature":NaN"#), ErrorCode::InvalidJson, "line"),
        (chat(r#","temperature":"hot""#), ErrorCode::InvalidField, "`body.temperature`"),
        (chat(r#","api_base":"http://evil""#), ErrorCode::ForbiddenField, "`body.api_base`"),
        (r#"{"mesages":[],"body":{}}"#.into(), ErrorCode::UnknownField, "did you mean `body.messages`"),
        (r#"{"custom_ID":"x","body":{}}"#.into(), ErrorCode::UnknownField, "did you mean `custom_id`"),
        (r#"{"body":{},"priority":999999}"#.into(), ErrorCode::ForbiddenField, "`priority`"),
        (r#"{"body":{},"tollgate":{"priority":1}}"#.into(), ErrorCode::ForbiddenField, "`tollgate.priority`"),
        (r#"{"body":{},"tollgate":{"version":2}}"#.into(), ErrorCode::UnsupportedVersion, "speaks 1"),
        (r#"{"body":{},"tollgate":{"deadline":1764583200}}"#.into(), ErrorCode::InvalidField, "`tollgate.deadline`"),
        (r#"{"body":{},"tollgate":{"deadline":"tomorrow"}}"#.into(), ErrorCode::InvalidField, "RFC 3339"),
        (r#"{"body":{},"tollgate":{"labels":{"a b":"x"}}}"#.into(), ErrorCode::InvalidField, "labels"),
        (r#"{"body":{},"url":"/v1/files"}"#.into(), ErrorCode::UnsupportedUrl, "/v1/chat/completions, /v1/embeddings"),
        (r#"{"body":{},"method":"GET"}"#.into(), ErrorCode::UnsupportedUrl, "`method` must be POST"),
        (body(r#"{"model":"m","input":"x"}"#), ErrorCode::MissingField, "a body with `input` is for"),
        (r#"{"body":{"a":"\ud800"}}"#.into(), ErrorCode::InvalidJson, "escape"),
    ];
    for (text, code, says) in cases {
        let rejection = decode(&text).expect_err(&text);
        assert_eq!(rejection.code, code, "{text} -> {rejection:?}");
        assert!(rejection.message.contains(says), "{text} -> {}", rejection.message);
    }
}

#[test]
fn encodings_that_are_not_plain_utf8_are_named() {
    let cases: [(&[u8], &str); 5] = [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"{\0\"\0", "UTF-16"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"{\"a\":\"\xff\"}", "invalid UTF-8"),
    ];
    for (payload, says) in cases {
        let rejection = JobSpec::decode(&Bytes::from_static(payload), 1 << 20).expect_err(says);
        assert_eq!(rejection.code, ErrorCode::BadEncoding);
        assert!(rejection.message.contains(says), "{}", rejection.message);
    }
}

#[test]
fn where_a_call_goes_and_with_which_key_is_not_for_a_job_to_say() {
    for name in FORBIDDEN_IN_BODY {
        let field = format!(r#""{name}":"http://169.254.169.254""#);
        for (text, at) in [
            (format!(r#"{{"body":{{"model":"m","messages":[1],{field}}}}}"#), format!("`body.{name}`")),
            (format!(r#"{{"body":{{"model":"m","messages":[1]}},{field}}}"#), format!("`{name}`")),
            (
                format!(r#"{{"body":{{"model":"m","messages":[1]}},"tollgate":{{{field}}}}}"#),
                format!("`tollgate.{name}`"),
            ),
        ] {
            let rejection = decode(&text).expect_err(&text);
            assert_eq!(rejection.code, ErrorCode::ForbiddenField, "{text}");
            assert!(rejection.message.contains(&at) && !rejection.message.contains("169"), "{}", rejection.message);
        }
    }
}

#[test]
fn a_refused_line_keeps_its_custom_id() {
    let rejection = decode(r#"{"custom_id":"q-9","body":{"model":"m","messages":[]}}"#).expect_err("no messages");
    assert_eq!(rejection.custom_id.as_deref(), Some("q-9"));
}

#[test]
fn the_digest_is_of_the_request_alone() {
    let a = decode(GOOD).expect("good");
    let b = decode(&GOOD.replace("q-17", "q-18").replace("reply.search.42", "reply.search.43")).expect("good");
    let c = decode(&GOOD.replace("\"hi\"", "\"ho\"")).expect("good");
    assert_eq!(a.digest, b.digest);
    assert_ne!(a.digest, c.digest);
}

proptest::proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = JobSpec::decode(&Bytes::from(bytes), 300);
    }

    #[test]
    fn no_damaged_sample_panics(cut in 0usize..400, byte in proptest::prelude::any::<u8>()) {
        let mut sample = GOOD.as_bytes().to_vec();
        let at = cut % sample.len();
        sample[at] = byte;
        let _ = JobSpec::decode(&Bytes::from(sample), 1 << 20);
    }
}

fn decode_for(url: &str, body: &str) -> Result<JobSpec, Rejection> {
    decode(&format!(r#"{{"url":"{url}","body":{body}}}"#))
}

#[test]
fn every_form_of_an_embeddings_input_is_counted() {
    for (input, n) in [(r#""a text""#, 1), (r#"["a","b"]"#, 2), ("[1, 2, 3]", 1), ("[[1,2],[3]]", 2)] {
        let job = decode_for("/v1/embeddings", &format!(r#"{{"model":"m","input":{input},"stream":false}}"#));
        let request = job.expect(input).request;
        assert_eq!((request.endpoint, request.max_tokens, request.n), (Endpoint::Embeddings, Some(0), n), "{input}");
    }
    let many = |n: usize| format!(r#"{{"model":"m","input":[{}]}}"#, vec!["\"x\""; n].join(","));
    assert_eq!(decode_for("/v1/embeddings", &many(INPUTS_MAX)).expect("it fits").request.n, 2048);
    let rejection = decode_for("/v1/embeddings", &many(INPUTS_MAX + 1)).expect_err("one too many");
    assert_eq!(rejection.message, "`body.input` has 2049 entries and may have 2048; make two jobs");
}

#[test]
fn what_no_embedding_can_be_made_of_is_refused_by_field() {
    for (fields, code, says) in [
        ("", ErrorCode::MissingField, "`body.input` is missing"),
        (r#","messages":[1]"#, ErrorCode::MissingField, "is for the `url` /v1/chat/completions"),
        (r#","input":null"#, ErrorCode::MissingField, "`body.input`"),
        (r#","input":"""#, ErrorCode::InvalidField, "is empty"),
        (r#","input":[ ]"#, ErrorCode::InvalidField, "is empty"),
        (r#","input":["a",""]"#, ErrorCode::InvalidField, "holds an empty text"),
        (r#","input":[[1],[ ]]"#, ErrorCode::InvalidField, "holds an empty text or list"),
        (r#","input":["a",1]"#, ErrorCode::InvalidField, "mixes kinds"),
        (r#","input":[-1]"#, ErrorCode::InvalidField, "must be a text, a list of texts"),
        (r#","input":[1.5]"#, ErrorCode::InvalidField, "must be a text"),
        (r#","input":[["a"]]"#, ErrorCode::InvalidField, "must be a text"),
        (r#","input":{"a":1}"#, ErrorCode::InvalidField, "not an object"),
        (r#","input":7"#, ErrorCode::InvalidField, "not the number 7"),
        (r#","input":"x","stream":true"#, ErrorCode::InvalidField, "`body.stream`"),
        (r#","input":"x","encoding_format":"hex""#, ErrorCode::InvalidField, "`body.encoding_format`"),
        (r#","input":"x","dimensions":0"#, ErrorCode::InvalidField, "`body.dimensions`"),
    ] {
        let rejection = decode_for("/v1/embeddings", &format!(r#"{{"model":"m"{fields}}}"#)).expect_err(fields);
        assert_eq!(rejection.code, code, "{fields} -> {rejection:?}");
        assert!(rejection.message.contains(says), "{fields} -> {}", rejection.message);
    }
}

#[test]
fn a_response_needs_something_to_answer_and_an_end_that_comes_with_the_call() {
    for (fields, max_tokens) in [
        (r#","input":"hi","max_output_tokens":9,"stream":true"#, Some(9)),
        (r#","input":[{"role":"user","content":"hi"}],"background":false"#, None),
        (r#","previous_response_id":"resp_1""#, None),
        (r#","prompt":{"id":"pmpt_1"}"#, None),
    ] {
        let job = decode_for("/v1/responses", &format!(r#"{{"model":"m"{fields}}}"#)).expect(fields);
        assert_eq!((job.request.endpoint, job.request.max_tokens), (Endpoint::Responses, max_tokens));
        assert_eq!(job.request.stream_at.is_some(), fields.contains("stream"));
    }
    for (fields, code, says) in [
        ("", ErrorCode::MissingField, "`body.input` is missing"),
        (r#","messages":[1]"#, ErrorCode::MissingField, "is for the `url` /v1/chat/completions"),
        (r#","input":[]"#, ErrorCode::InvalidField, "`body.input` is empty"),
        (r#","input":7"#, ErrorCode::InvalidField, "a text or an array of items"),
        (r#","input":"x","background":true"#, ErrorCode::InvalidField, "`body.background` is true"),
        (r#","input":"x","background":1"#, ErrorCode::InvalidField, "true or false"),
        (r#","input":"x","max_output_tokens":0"#, ErrorCode::InvalidField, "`body.max_output_tokens`"),
    ] {
        let rejection = decode_for("/v1/responses", &format!(r#"{{"model":"m"{fields}}}"#)).expect_err(fields);
        assert_eq!(rejection.code, code, "{fields} -> {rejection:?}");
        assert!(rejection.message.contains(says), "{fields} -> {}", rejection.message);
    }
}

#[test]
fn the_same_body_for_another_endpoint_is_another_request() {
    let body = r#"{"model":"m","input":"x"}"#;
    let [a, b] = ["/v1/embeddings", "/v1/responses"].map(|url| decode_for(url, body).expect("good").digest);
    assert_ne!(a, b);
}

#[test]
fn what_a_job_wants_of_the_cache_is_one_of_three_words() {
    let line = |cache: &str| format!(r#"{{"body":{{"model":"m","messages":[{{}}]}},"tollgate":{{"cache":{cache}}}}}"#);
    for wish in CacheWish::ALL {
        let job = decode(&line(&format!("\"{}\"", wish.as_str()))).expect("a wish");
        assert_eq!(job.options.cache, Some(wish));
    }
    assert_eq!(decode(&line("null")).expect("none").options.cache, None);
    for bad in ["\"on\"", "true", "\"USE\""] {
        let refused = decode(&line(bad)).expect_err(bad);
        assert!(refused.message.contains("tollgate.cache"), "{}", refused.message);
    }
}

#[test]
fn a_body_may_lie_elsewhere_and_comes_back_as_the_same_job() {
    let line = Bytes::from(GOOD);
    let whole = decode(GOOD).expect("the sample is good");
    let (small, body) = checked_in(&line).expect("it has a body");
    assert_eq!(body, whole.body);
    assert!(!small.windows(8).any(|part| part == b"messages"), "no prompt is left");
    let job = JobSpec::decode(&small, 1 << 20).expect("it is a job");
    let claim = job.elsewhere().expect("its body is elsewhere").clone();
    assert!(claim.is_of(&body));
    assert_eq!((&job.custom_id, &job.options.deadline), (&whole.custom_id, &whole.options.deadline));
    assert_eq!((job.request.model.as_str(), job.request.endpoint), ("", whole.request.endpoint));
    assert_ne!(job.digest, whole.digest);
    assert_eq!(job.digest, whole.digest_if_elsewhere());
    let fetched = job.fetched(body).expect("the body is good");
    assert_eq!((&fetched.request, &fetched.body, fetched.digest), (&whole.request, &whole.body, job.digest));
    assert!(fetched.elsewhere().is_none());
    assert!(checked_in(&small).is_none(), "it cannot be checked in twice");
    let bare = checked_in(&Bytes::from(r#"{"body":{"model":"m"}}"#)).expect("options are made");
    assert!(bare.0.starts_with(br#"{"tollgate":{"body":{"sha256":""#));
}

#[test]
fn a_claim_that_is_none_and_a_fetched_body_that_is_no_request_are_refused_by_name() {
    let claimed = |claim: &str, body: &str| format!(r#"{{"custom_id":"c",{body}"tollgate":{{"body":{claim}}}}}"#);
    let sha = "0".repeat(64);
    let good = format!(r#"{{"sha256":"{sha}","bytes":5}}"#);
    for (claim, body, field) in [
        ("3".to_owned(), "", "`sha256`"),
        (r#"{"sha256":"ab","bytes":5}"#.to_owned(), "", "`sha256`"),
        (format!(r#"{{"sha256":"{sha}","bytes":0}}"#), "", "`bytes`"),
        (format!(r#"{{"sha256":"{sha}","bytes":5,"chunks":1}}"#), "", "`sha256`"),
        (good.clone(), r#""body":{"model":"m"},"#, "both"),
    ] {
        let rejection = decode(&claimed(&claim, body)).expect_err("it is none");
        assert_eq!(rejection.code, ErrorCode::InvalidField, "{claim}");
        assert!(rejection.message.contains(field), "{}", rejection.message);
    }
    let job = decode(&claimed(&good, r#""body":null,"#)).expect("a job whose body lies elsewhere");
    for (body, code) in [
        ("[1]", ErrorCode::InvalidField),
        ("{", ErrorCode::InvalidJson),
        (r#"{"model":"m","model":"m"}"#, ErrorCode::DuplicateField),
        ("", ErrorCode::BadRequest),
    ] {
        let rejection = job.fetched(Bytes::from(body)).expect_err("it is no request");
        assert_eq!((rejection.code, rejection.custom_id.as_deref()), (code, Some("c")), "{body}");
    }
}
