//! Counts tokens where a provider did not, and bounds them where nobody has to know exactly.
//!
//! Counting costs tens of milliseconds per megabyte of honest text and up to a second per megabyte of hostile text, so
//! it runs on a few blocking threads and never between a job and its answer. The encoder panics or fails on long runs
//! of white space; everything here survives that.
//!
//! Not covered: pictures, sound and files, whose tokens no text shows; exact counts for models of other families than
//! OpenAI's, which are counted with OpenAI's newest encoding (Claude's newest models use about 1.6 times as many).

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tiktoken_rs::CoreBPE;
use tokio::sync::Semaphore;
use tollgate_types::Tokens;

/// So many bytes of a text, or of the texts of a prompt, are counted, and what follows is taken to be like them: it bounds
/// what one hostile text costs to about a third of a second.
pub const COUNT_BYTES_MAX: usize = 256 * 1024;
/// What a text is taken for that cannot be counted; English has about 4.8 bytes per token, JSON 3.6, Chinese 3.7.
pub const BYTES_PER_TOKEN: usize = 4;

/// Counting is bookkeeping: two threads keep up with it and leave the rest of the machine to jobs.
static COUNTING: Semaphore = Semaphore::const_new(2);

/// The most prompt tokens that a body of so many bytes can have, as far as its text goes.
///
/// A byte-level encoding never has more tokens than bytes, and the JSON around each message is longer than the tokens
/// that frame it; the rest covers the frame of the whole. Pictures, files, earlier responses and stored prompts that the
/// body refers to are not bounded by its length.
pub fn prompt_bound(body_bytes: usize) -> u64 {
    const FRAME_TOKENS: u64 = 64;
    (body_bytes as u64).saturating_add(FRAME_TOKENS)
}

/// How many tokens `text` has for `model`.
///
/// Dropping the future leaves the count to finish on its thread, unseen.
pub async fn count(text: String, model: &str) -> u64 {
    let encoding = Encoding::of(model);
    let fallback = estimated(text.len());
    off_the_hot_path(move || encoding.count(&text), fallback).await
}

/// What a call used, from what was sent and what came back, for a provider that did not say.
///
/// Dropping the future leaves the count to finish on its thread, unseen.
pub async fn estimate(body: Bytes, answer_text: String, model: &str) -> Tokens {
    let encoding = Encoding::of(model);
    let fallback = Tokens { input: estimated(body.len()), output: estimated(answer_text.len()), ..Tokens::default() };
    let counted = move || Tokens {
        input: prompt_tokens(&body, encoding),
        output: encoding.count(&answer_text),
        ..Tokens::default()
    };
    off_the_hot_path(counted, fallback).await
}

/// How many prompt tokens a body has for `model`: for a call that may have been billed and brought no answer.
///
/// Dropping the future leaves the count to finish on its thread, unseen.
pub async fn estimate_prompt(body: Bytes, model: &str) -> u64 {
    let encoding = Encoding::of(model);
    let fallback = estimated(body.len());
    off_the_hot_path(move || prompt_tokens(&body, encoding), fallback).await
}

/// How many prompt tokens a body has for `model` at least, as far as its texts go: what was counted, and nothing that was
/// taken to be. Another vendor's model may count up to a fifth less.
///
/// Dropping the future leaves the count to finish on its thread, unseen.
pub async fn prompt_at_least(body: Bytes, model: &str) -> u64 {
    let encoding = Encoding::of(model);
    off_the_hot_path(move || prompt(&body, encoding).at_least(), 0).await
}

async fn off_the_hot_path<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static, fallback: T) -> T {
    let permit = COUNTING.acquire().await.expect("the semaphore is never closed");
    let counted = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        catch_unwind(AssertUnwindSafe(work)).ok()
    });
    counted.await.ok().flatten().unwrap_or(fallback)
}

fn estimated(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// The tables that a text can be encoded with. Each is built once, at its first use: 50 MB and a sixth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    O200k,
    Cl100k,
}

impl Encoding {
    /// tiktoken-rs' own list does not know newer models; unknown ones are taken for new ones.
    fn of(model: &str) -> Self {
        let model = model.rsplit('/').next().unwrap_or(model);
        let new = ["gpt-4o", "gpt-4.1", "gpt-4.5"];
        let old = ["gpt-4", "gpt-3.5", "gpt-35", "text-embedding-"];
        let is = |list: &[&str]| list.iter().any(|prefix| model.starts_with(prefix));
        if is(&old) && !is(&new) { Encoding::Cl100k } else { Encoding::O200k }
    }

    fn encoder(self) -> &'static CoreBPE {
        match self {
            Encoding::O200k => tiktoken_rs::o200k_base_singleton(),
            Encoding::Cl100k => tiktoken_rs::cl100k_base_singleton(),
        }
    }

    fn count(self, text: &str) -> u64 {
        Counted::of([text].into_iter(), self).whole()
    }
}

/// What was counted of some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    tokens: u64,
    /// How many bytes were counted, and how many there are.
    bytes: usize,
    all_bytes: usize,
    /// Tokens beside the texts, which are known.
    beside: u64,
}

impl Counted {
    /// Counts texts from the first on, up to [`COUNT_BYTES_MAX`] bytes.
    fn of<'a>(texts: impl Iterator<Item = &'a str>, encoding: Encoding) -> Counted {
        let mut counted = Counted::default();
        for text in texts {
            let left = COUNT_BYTES_MAX - counted.bytes;
            let end = (0..=left.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).expect("0 is one");
            let part = &text[..end];
            counted.tokens += catch_unwind(|| count_exactly(encoding.encoder(), part)).unwrap_or(estimated(part.len()));
            counted.bytes += part.len();
            counted.all_bytes += text.len();
        }
        counted
    }

    /// All of it, if what was not counted is like what was.
    fn whole(self) -> u64 {
        let Counted { tokens, bytes, all_bytes, beside } = self;
        let scaled = match bytes {
            0 => u128::from(estimated(all_bytes)),
            _ => (u128::from(tokens) * all_bytes as u128).div_ceil(bytes as u128),
        };
        u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(beside)
    }

    /// What is there whatever follows.
    fn at_least(self) -> u64 {
        self.tokens
    }
}

/// Counts special tokens such as `<|endoftext|>` as the text that they are to a provider. With an empty set, `count` is
/// the one call of tiktoken-rs that returns an error where the others panic.
fn count_exactly(encoder: &CoreBPE, text: &str) -> u64 {
    let none = HashSet::new();
    if let Ok(tokens) = encoder.count(text, &none) {
        return tokens as u64;
    }
    // The regex gave up on a run of about a million spaces. Shorter runs pass, and a cut costs a token at most.
    let pieces = split_runs(text);
    pieces.map(|piece| encoder.count(piece, &none).map_or_else(|_| estimated(piece.len()), |n| n as u64)).sum()
}

/// Cuts a text so that no piece has a longer run of white space than this many characters.
fn split_runs(text: &str) -> impl Iterator<Item = &str> {
    const RUN_MAX: usize = 100_000;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut run = 0;
        let full = rest.char_indices().find(|(_, c)| {
            run = if c.is_whitespace() { run + 1 } else { 0 };
            run > RUN_MAX
        });
        let (piece, tail) = rest.split_at(full.map_or(rest.len(), |(at, _)| at));
        rest = tail;
        Some(piece)
    })
}

#[derive(Deserialize)]
struct Prompt<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    /// Of embeddings and of responses.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Each message is framed by three tokens, and the answer is primed by three (OpenAI's cookbook, "how to count
/// tokens"). Tool definitions count as their JSON.
fn prompt_tokens(body: &[u8], encoding: Encoding) -> u64 {
    prompt(body, encoding).whole()
}

fn prompt(body: &[u8], encoding: Encoding) -> Counted {
    const PER_MESSAGE: u64 = 3;
    const PRIMING: u64 = 3;
    let prompt = serde_json::from_slice::<Prompt<'_>>(body).ok();
    let Some(prompt) = prompt.filter(|prompt| prompt.messages.is_some() || prompt.input.is_some()) else {
        return Counted { all_bytes: body.len(), ..Counted::default() };
    };
    let mut texts: Vec<Cow<'_, str>> = Vec::new();
    let mut messages = prompt.messages.unwrap_or_default();
    let mut known = 0;
    if let Some(input) = prompt.input {
        known = push_input(input, &mut texts, &mut messages);
    }
    for message in &messages {
        [message.role, message.name, message.content].into_iter().flatten().for_each(|raw| push_texts(raw, &mut texts));
        texts.extend(message.tool_calls.map(|raw| Cow::Borrowed(raw.get())));
    }
    prompt.instructions.into_iter().for_each(|raw| push_texts(raw, &mut texts));
    texts.extend(prompt.tools.map(|raw| Cow::Borrowed(raw.get())));
    // What is only embedded has no frame.
    let frame = if messages.is_empty() { 0 } else { PER_MESSAGE * messages.len() as u64 + PRIMING };
    Counted { beside: frame + known, ..Counted::of(texts.iter().map(|text| &**text), encoding) }
}

/// Takes an `input` apart: texts, messages of a response, or tokens that somebody counted already, whose number it returns.
fn push_input<'a>(raw: &'a RawValue, texts: &mut Vec<Cow<'a, str>>, messages: &mut Vec<Message<'a>>) -> u64 {
    if let Ok(tokens) = serde_json::from_str::<Vec<u32>>(raw.get()) {
        return tokens.len() as u64;
    }
    if let Ok(lists) = serde_json::from_str::<Vec<Vec<u32>>>(raw.get()) {
        return lists.iter().map(|list| list.len() as u64).sum();
    }
    let Ok(items) = serde_json::from_str::<Vec<&'a RawValue>>(raw.get()) else {
        push_texts(raw, texts);
        return 0;
    };
    for item in items {
        match serde_json::from_str::<Message<'a>>(item.get()) {
            Ok(message) if message.content.is_some() => messages.push(message),
            // A call of a tool or its result: its JSON is about what the model reads.
            Ok(_) => texts.push(Cow::Borrowed(item.get())),
            Err(_) => push_texts(item, texts),
        }
    }
    0
}

fn push_texts<'a>(raw: &'a RawValue, texts: &mut Vec<Cow<'a, str>>) {
    if let Ok(text) = serde_json::from_str::<Text<'a>>(raw.get()) {
        texts.push(text.0);
    } else if let Ok(parts) = serde_json::from_str::<Vec<Part<'a>>>(raw.get()) {
        texts.extend(parts.into_iter().filter_map(|part| part.text).map(|text| text.0));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn known_texts_have_their_known_counts() {
        // From OpenAI's own tokenizer.
        for (text, o200k, cl100k) in [
            ("", 0, 0),
            ("hello world", 2, 2),
            ("tiktoken is great!", 6, 6),
            ("antidisestablishmentarianism", 6, 6),
            ("お誕生日おめでとう", 8, 9),
            ("2 + 2 = 4", 7, 7),
            ("<|endoftext|>", 7, 7),
        ] {
            assert_eq!(count(text.to_owned(), "gpt-4o").await, o200k, "{text}");
            assert_eq!(count(text.to_owned(), "gpt-4").await, cl100k, "{text}");
        }
    }

    #[test]
    fn models_have_the_encoding_of_their_generation() {
        for model in
            ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-6-astra", "gpt-6.1-sol", "o3", "claude-5", "openai/gpt-4o"]
        {
            assert_eq!(Encoding::of(model), Encoding::O200k, "{model}");
        }
        for model in
            ["gpt-4", "gpt-4-turbo", "gpt-4-0613", "gpt-3.5-turbo", "azure/gpt-35-turbo", "text-embedding-3-small"]
        {
            assert_eq!(Encoding::of(model), Encoding::Cl100k, "{model}");
        }
    }

    /// A fixed sequence that looks random (xorshift).
    fn noise(n: usize, to_char: impl Fn(u64) -> Option<char>) -> String {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        std::iter::from_fn(|| Some(next())).filter_map(to_char).take(n).collect()
    }

    fn hostile() -> Vec<(&'static str, String)> {
        let unicode = |x: u64| char::from_u32((x % 0x11_0000) as u32);
        let letter = |x: u64| char::from_u32(u32::from(b'a') + (x % 26) as u32);
        let mut texts: Vec<_> = [" ", "^", "_", ".", "-", "a", "\n", "\u{3000}", "<|endoftext|>", "\u{0}"]
            .into_iter()
            .map(|unit| (unit, unit.repeat(1_000_000 / unit.len())))
            .collect();
        texts.push(("spaces before a word", format!("{}x", " ".repeat(1_000_000))));
        texts.push(("unicode", noise(250_000, unicode)));
        texts.push(("letters", noise(1_000_000, letter)));
        texts
    }

    #[tokio::test]
    async fn hostile_texts_are_bounded_in_time_and_never_panic() {
        let warm = Encoding::O200k.encoder();
        assert_eq!(count_exactly(warm, "warm up"), 2);
        for (name, text) in hostile() {
            for text in [text.as_str(), short_of(&text)] {
                let started = Instant::now();
                let tokens = count(text.to_owned(), "gpt-4o").await;
                let took = started.elapsed();
                assert!((1..=text.len() as u64).contains(&tokens), "{name}: {tokens} of {}", text.len());
                assert!(took < Duration::from_secs(10), "{name}: {took:?}");
            }
        }
    }

    /// The part that is still counted and not estimated.
    fn short_of(text: &str) -> &str {
        let end = (0..=COUNT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).expect("0 is one");
        &text[..end]
    }

    #[tokio::test]
    async fn a_text_that_is_too_long_to_be_counted_is_taken_to_go_on_as_it_begins() {
        for (unit, tokens) in [("hello world ", 2.0), ("\u{4f60}\u{597d}\u{ff0c}", 2.0), (" ", 1.0 / 128.0)] {
            let times = 3_000_000 / unit.len();
            let counted = count(unit.repeat(times), "gpt-4o").await as f64 / (tokens * times as f64);
            assert!((0.9..1.6).contains(&counted), "{unit:?}: {counted} of the true count");
        }
        let spaces = " ".repeat(1_000_000);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{spaces}"}}]}}"#);
        let least = prompt_at_least(body.into(), "gpt-4o").await;
        assert!((2_000..2_100).contains(&least), "what follows may be anything, and is not counted: {least}");
    }

    #[test]
    fn a_million_spaces_are_counted_in_pieces_where_the_encoder_gives_up() {
        let encoder = Encoding::O200k.encoder();
        let spaces = " ".repeat(1_000_000);
        assert!(encoder.count(&spaces, &HashSet::new()).is_err(), "if this passes, the split is no longer needed");
        let tokens = count_exactly(encoder, &spaces);
        assert!((7_800..7_900).contains(&tokens), "{tokens}");
        let pieces: Vec<&str> = split_runs(&spaces).collect();
        assert_eq!((pieces.len(), pieces.concat().len()), (10, 1_000_000));
        assert_eq!(split_runs("a b").collect::<Vec<_>>(), ["a b"]);
        assert_eq!(split_runs("").count(), 0);
    }

    #[tokio::test]
    async fn an_estimate_counts_texts_and_frames_but_no_syntax() {
        let body = r#"{"model":"m","messages":[{"role":"system","content":"hello world"},
            {"role":"user","content":[{"type":"text","text":"hello world"},{"type":"image_url","image_url":{"url":"data:AAAA"}}]}]}"#;
        let tokens = estimate(Bytes::from_static(body.as_bytes()), "hello world".into(), "gpt-4o").await;
        // Two messages: a role and two words each, three for the frame; three for priming.
        assert_eq!(tokens, Tokens { input: 2 * (1 + 2 + 3) + 3, output: 2, ..Tokens::default() });
        let prompt = estimate_prompt(Bytes::from_static(body.as_bytes()), "gpt-4o").await;
        assert_eq!(prompt, tokens.input);
    }

    #[test]
    fn inputs_of_every_form_are_counted() {
        for (body, tokens) in [
            (r#"{"input":"hello world"}"#, 2),
            (r#"{"input":["hello world","hello world"],"model":"ignored"}"#, 4),
            (r#"{"input":[1,2,3]}"#, 3),
            (r#"{"input":[[1,2,3],[4]]}"#, 4),
            (r#"{"input":"hello world","instructions":"hello world"}"#, 4),
            // Two words and a role, three for the frame, three for priming.
            (r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"hello world"}]}]}"#, 9),
            (r#"{"input":[]}"#, 0),
        ] {
            assert_eq!(prompt_tokens(body.as_bytes(), Encoding::O200k), tokens, "{body}");
        }
        let call = r#"{"type":"function_call_output","call_id":"c","output":"hello world"}"#;
        let whole = Encoding::O200k.count(call);
        assert_eq!(prompt_tokens(format!(r#"{{"input":[{call}]}}"#).as_bytes(), Encoding::O200k), whole);
    }

    #[tokio::test]
    async fn what_is_no_prompt_is_estimated_by_its_bytes_and_a_long_one_by_its_beginning() {
        assert_eq!(estimate_prompt(Bytes::from_static(b"{\"x\":1}"), "gpt-4o").await, 2);
        let long = format!(r#"{{"messages":[{{"content":"{}"}}]}}"#, "word ".repeat(100_000));
        let tokens = estimate_prompt(Bytes::from(long), "gpt-4o").await;
        assert!((100_006..100_010).contains(&tokens), "a token a word, and the frame: {tokens}");
    }

    #[test]
    fn the_bound_is_above_the_count_for_the_worst_of_texts() {
        for (name, text) in hostile() {
            let text = short_of(&text);
            let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
            assert!(prompt_tokens(body.as_bytes(), Encoding::O200k) <= prompt_bound(body.len()), "{name}");
        }
        let many = vec![serde_json::json!({"role": "user", "content": ""}); 1000];
        let body = serde_json::json!({"messages": many}).to_string();
        assert!(prompt_tokens(body.as_bytes(), Encoding::O200k) <= prompt_bound(body.len()));
    }
}
