use super::*;

/// Reads a text in pieces of `piece` bytes.
struct Pieces(Bytes, usize);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let much = self.1.min(self.0.len()).min(into.remaining());
        let piece = self.0.split_to(much);
        into.put_slice(&piece);
        std::task::Poll::Ready(Ok(()))
    }
}

async fn read(text: &str, piece: usize) -> Result<(BatchFormat, Vec<(u64, u64, String)>, Whole), Unreadable> {
    let mut source = Source::open(Pieces(Bytes::copy_from_slice(text.as_bytes()), piece)).await?;
    let mut requests = Vec::new();
    while let Some(Raw { number, line, text }) = source.next().await? {
        let text = text.map_or("too long".to_owned(), |text| String::from_utf8_lossy(&text).into_owned());
        requests.push((number, line, text));
    }
    let format = source.format();
    Ok((format, requests, source.whole().await?))
}

async fn check(text: &str, format: BatchFormat, expected: &[(u64, &str)]) {
    for piece in [1, 7, 1 << 20] {
        let (found, requests, whole) = read(text, piece).await.expect(text);
        assert_eq!(found, format, "{text}");
        let requests: Vec<_> = requests.iter().map(|(_, line, text)| (*line, text.as_str())).collect();
        assert_eq!(requests, expected, "{text} in pieces of {piece}");
        assert_eq!(whole.bytes, text.len() as u64);
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(whole.sha256, digest, "the whole file is hashed, in whatever pieces");
    }
}

#[tokio::test]
async fn lines_are_taken_apart_with_marks_blanks_and_any_ending() {
    let openai = BatchFormat::OpenAi;
    check("{\"url\":1}\n{\"b\":2}\n", openai, &[(1, r#"{"url":1}"#), (2, r#"{"b":2}"#)]).await;
    check("\u{feff}{\"url\":1}\r\n\r\n  {\"b\":2}", openai, &[(1, r#"{"url":1}"#), (3, r#"{"b":2}"#)]).await;
    check("{\"custom_id\":\"x\",\"params\":{}}", BatchFormat::Anthropic, &[(1, r#"{"custom_id":"x","params":{}}"#)])
        .await;
    check("{\"custom_id\":\"no more\"}\n", openai, &[(1, r#"{"custom_id":"no more"}"#)]).await;
}

#[tokio::test]
async fn a_document_is_taken_apart_however_it_is_written() {
    let a = r#"{"custom_id":"a","params":{"x":["]}",{"y":"\"}"}]}}"#;
    let b = r#"{"custom_id": "b"}"#;
    let both = [(1, a), (2, b)];
    let anthropic = BatchFormat::Anthropic;
    check(&format!("{{\"requests\":[{a},{b}]}}"), anthropic, &both).await;
    check(&format!("\n{{\n  \"requests\" : [\n    {a},\n    {b}\n  ]\n}}\n"), anthropic, &both).await;
    check(&format!("{{\"note\":{{\"requests\":[1]}},\"requests\":[{a},{b}],\"more\":[{b}]}}"), anthropic, &both).await;
    check("{\"requests\":[]}", anthropic, &[]).await;
}

#[tokio::test]
async fn what_is_no_batch_is_refused_with_what_it_looks_like() {
    for (text, says) in [
        ("", "empty"),
        (" \n ", "empty"),
        ("\u{1f}\u{8b}", "neither"),
        ("hello", "neither"),
        ("[1]", "neither"),
        (r#"{"recordId":"x","modelInput":{}}"#, "Bedrock"),
        (r#"{"key":"x","request":{}}"#, "Gemini"),
        (r#"{"requests":[{"a":1}"#, "in the middle"),
        (r#"{"requests":[7]}"#, "no object"),
        (r#"{"requests":"x"}"#, "in the middle"),
    ] {
        let error = read(text, 3).await.expect_err(text);
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let gzip = Source::open(&b"\x1f\x8b\x08\x00"[..]).await.err().expect("no batch");
    assert!(gzip.to_string().contains("gzip"), "{gzip}");
}

#[tokio::test]
async fn a_request_that_is_too_long_is_passed_over_without_being_kept() {
    let long = "x".repeat(REQUEST_BYTES_MAX + 10);
    let text = format!("{{\"url\":\"{long}\"}}\n{{\"url\":2}}\n");
    let (_, requests, _) = read(&text, 1 << 20).await.expect("lines");
    assert_eq!(requests, [(1, 1, "too long".to_owned()), (2, 2, "{\"url\":2}".to_owned())]);
    let text = format!("{{\"requests\":[{{\"custom_id\":\"{long}\"}},{{\"b\":2}}]}}");
    let (_, requests, _) = read(&text, 1 << 20).await.expect("a document");
    assert_eq!(requests, [(1, 1, "too long".to_owned()), (2, 2, "{\"b\":2}".to_owned())]);
}
