use serde_json::Map;
use tollgate_types::batch::BatchFormat;

use super::*;

async fn errors(text: &str) -> (u64, Vec<(Option<u64>, String, Option<String>)>) {
    let source = Source::open(text.as_bytes()).await.expect("a batch");
    let shape = Shape { format: source.format(), options: Map::new(), model: None };
    let checked = check(source, &shape, 1 << 20, |_| Ok(())).await.expect("it can be read");
    let mut errors = checked.errors;
    if checked.errors_total > errors.len() as u64 {
        let source = Source::open(text.as_bytes()).await.expect("a batch");
        errors.extend(duplicates(source, &shape).await.expect("it can be read"));
    }
    let errors = errors.into_iter().map(|error| (error.line, error.code, error.param)).collect();
    (checked.requests, errors)
}

fn line(custom_id: &str) -> String {
    format!(
        r#"{{"custom_id":"{custom_id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"m","messages":[{{"role":"user","content":"x"}}]}}}}"#
    )
}

async fn finds(wrong: &str, code: &str, param: Option<&str>) {
    let text = format!("{}\n{wrong}\n{}\n", line("a"), line("b"));
    let expected = (3, vec![(Some(2), code.to_owned(), param.map(str::to_owned))]);
    assert_eq!(errors(&text).await, expected, "{wrong}");
}

#[tokio::test]
async fn every_mistake_is_named_as_openai_names_it_with_its_line() {
    finds("{\"custom_id\":", "invalid_json_line", None).await;
    finds("[1]", "invalid_json_line", None).await;
    finds("{\"custom_id\":\"x\"} {}", "invalid_json_line", None).await;
    finds(&line("x").replace("\"method\":\"POST\",", ""), "missing_required_parameter", Some("method")).await;
    finds(&line("x").replace("\"custom_id\":\"x\",", ""), "missing_required_parameter", Some("custom_id")).await;
    finds(&line("x").replace("\"x\",\"method", "7,\"method"), "invalid_type", Some("custom_id")).await;
    finds(&line("x").replace("\"model\":\"m\",", ""), "missing_required_parameter", Some("body.model")).await;
    finds(&line("x").replace("chat/completions", "files"), "invalid_url", Some("method")).await;
    finds(&line("x").replace("\"model\"", "\"stream\":true,\"model\""), "invalid_request", Some("body.stream")).await;
    finds(&line("x").replace("\"method\"", "\"metod\":1,\"method\""), "unknown_parameter", Some("metod")).await;
    finds(&line("x").replace("\"model\"", "\"api_key\":1,\"model\""), "unknown_parameter", Some("body.api_key")).await;
    finds(&line("x").replace("\"m\"", &format!("\"{}\"", "y".repeat(300))), "invalid_request", Some("body.model"))
        .await;
    finds(&line("x").replace(":\"x\"}]", &format!(":\"{}\"}}]", "y".repeat(1 << 20))), "request_too_large", None).await;
    finds(&line("a"), "duplicate_custom_id", Some("custom_id")).await;
}

#[tokio::test]
async fn a_file_without_a_mistake_says_what_it_asks_for() {
    let text = format!("{}\n{}", line("a"), line("b").replace("\"model\"", "\"max_tokens\":7,\"n\":2,\"model\""));
    let source = Source::open(text.as_bytes()).await.expect("a batch");
    let shape = Shape { format: BatchFormat::OpenAi, options: Map::new(), model: None };
    let mut seen = 0;
    let checked = check(source, &shape, 1 << 20, |_| {
        seen += 1;
        Ok(())
    })
    .await
    .expect("it can be read");
    assert_eq!((checked.errors_total, checked.requests, seen), (0, 2, 2));
    let asked = checked.asked["m"];
    assert_eq!((asked.requests, asked.answer_tokens, asked.unbounded), (2, 14, 1));
}

#[tokio::test]
async fn anthropics_requests_are_held_to_its_own_rules() {
    let of = |id: &str| {
        format!(
            r#"{{"custom_id":"{id}","params":{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}]}}}}"#
        )
    };
    let document = format!("{{\"requests\":[{},{},{}]}}", of("a"), of("a b"), of("c").replace("\"max_tokens\":5,", ""));
    let expected = vec![
        (Some(2), "invalid_custom_id".to_owned(), Some("custom_id".to_owned())),
        (Some(3), "missing_required_parameter".to_owned(), Some("params.max_tokens".to_owned())),
    ];
    assert_eq!(errors(&document).await, (3, expected));
    assert_eq!(errors(&format!("{}\n{}\n", of("a"), of("b"))).await, (2, vec![]));
}
