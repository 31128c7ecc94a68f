//! Streamed answers: the events of one stream, and their pace.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::Instant;

use crate::calls::Reported;
use crate::model::{Answer, Words};

/// The pause between two writes: what is due meanwhile goes out together. Below it, timers cost more than they show.
const TICK: Duration = Duration::from_millis(5);
/// The most bytes of one write, so that a stream without delays does not come as one block.
const WRITE_BYTES_MAX: usize = 32 << 10;

/// What one stream consists of.
pub(crate) struct Script {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) answer: Answer,
    pub(crate) finish_reason: &'static str,
    /// The usage event, where one was asked for.
    pub(crate) usage: Option<Reported>,
    /// Ends the stream after so many words.
    pub(crate) words_max: Option<u32>,
    pub(crate) done: bool,
}

/// The events that are left of a stream.
pub(crate) struct Events {
    answer: Answer,
    finish_reason: &'static str,
    usage: Option<Reported>,
    words_max: Option<u32>,
    done: bool,
    words: Words,
    words_sent: u64,
    stage: Stage,
    /// Everything of a chunk before its choices.
    prefix: String,
}

#[derive(Clone, Copy)]
enum Stage {
    Role,
    Words,
    Usage,
    Done,
    Over,
}

impl Events {
    pub(crate) fn new(script: Script) -> Self {
        let model = serde_json::to_string(&script.model).expect("a string always serialises");
        let prefix = format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{model},\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_sim\",\"choices\":",
            script.id, script.created
        );
        Self {
            words: script.answer.words(),
            answer: script.answer,
            finish_reason: script.finish_reason,
            usage: script.usage,
            words_max: script.words_max,
            done: script.done,
            words_sent: 0,
            stage: Stage::Role,
            prefix,
        }
    }

    /// All events at once.
    pub(crate) fn collect(mut self) -> Bytes {
        let mut out = String::new();
        while self.write_next(&mut out) {}
        out.into()
    }

    /// The events at the model's pace, from `started`.
    pub(crate) fn paced(self, started: Instant) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold((self, started), move |(mut events, last)| async move {
            let due = started + events.due()?;
            if due > Instant::now() {
                tokio::time::sleep_until(due.max(last + TICK)).await;
            }
            let now = Instant::now();
            let mut out = String::new();
            while out.len() < WRITE_BYTES_MAX && events.due().is_some_and(|due| started + due <= now) {
                events.write_next(&mut out);
            }
            Some((Ok(out.into()), (events, now)))
        })
    }

    /// When the next event is due, from the start; `None` after the last.
    fn due(&self) -> Option<Duration> {
        match self.stage {
            Stage::Role => Some(self.answer.ttft),
            Stage::Words if self.cut() => None,
            Stage::Words => {
                let shown_next = self.answer.usage.reasoning_tokens + self.words_sent + 1;
                Some(self.answer.due(shown_next.min(self.answer.usage.completion_tokens)))
            }
            Stage::Usage | Stage::Done => Some(self.answer.due(self.answer.usage.completion_tokens)),
            Stage::Over => None,
        }
    }

    /// Whether the script ends the stream here.
    fn cut(&self) -> bool {
        self.words_max.is_some_and(|max| self.words_sent >= u64::from(max))
    }

    /// Writes the next event; false when there is none.
    fn write_next(&mut self, out: &mut String) -> bool {
        match self.stage {
            Stage::Role => {
                self.write_choice(out, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", None);
                self.stage = Stage::Words;
            }
            Stage::Words if self.cut() => {
                self.stage = Stage::Over;
                return false;
            }
            Stage::Words => match self.words.next() {
                Some(word) => {
                    let space = if self.words_sent == 0 { "" } else { " " };
                    let content = serde_json::to_string(&format!("{space}{word}")).expect("a text serialises");
                    self.write_choice(out, &format!("{{\"content\":{content}}}"), None);
                    self.words_sent += 1;
                }
                None => {
                    self.write_choice(out, "{}", Some(self.finish_reason));
                    self.stage = self.usage.map_or_else(|| self.last(), |_| Stage::Usage);
                }
            },
            Stage::Usage => {
                let usage = self.usage.map_or(serde_json::Value::Null, |usage| usage.wire());
                write!(out, "{}[],\"usage\":{usage}}}\n\n", self.prefix).expect("a string takes all");
                self.stage = self.last();
            }
            Stage::Done => {
                out.push_str("data: [DONE]\n\n");
                self.stage = Stage::Over;
            }
            Stage::Over => return false,
        }
        true
    }

    fn last(&self) -> Stage {
        if self.done { Stage::Done } else { Stage::Over }
    }

    fn write_choice(&self, out: &mut String, delta: &str, finish_reason: Option<&str>) {
        let (quote, finish) = finish_reason.map_or(("", "null"), |reason| ("\"", reason));
        let usage = if self.usage.is_some() { ",\"usage\":null" } else { "" };
        let prefix = &self.prefix;
        out.push_str(prefix);
        write!(
            out,
            "[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{quote}{finish}{quote}}}]{usage}}}\n\n"
        )
        .expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use serde_json::Value;

    use super::*;
    use crate::model::{LogNormal, Profile, Question};

    fn script(tokens: u32, profile: &Profile) -> Script {
        let question = Question {
            seed: 1,
            content: 2,
            attempt: 0,
            prompt_tokens: 9,
            tokens_max: None,
            tokens_exact: Some(tokens),
        };
        let answer = Answer::to(&question, profile);
        Script {
            id: "chatcmpl-1".to_owned(),
            created: 5,
            model: "a \"quoted\" name".to_owned(),
            usage: Some(Reported::Counts(answer.usage)),
            answer,
            finish_reason: "stop",
            words_max: None,
            done: true,
        }
    }

    fn frames(text: &str) -> Vec<Value> {
        let frames = text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap());
        frames.filter(|frame| *frame != "[DONE]").map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }

    #[test]
    fn a_stream_is_a_role_words_a_finish_a_usage_and_done() {
        let text = Events::new(script(3, &Profile::instant())).collect();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"));
        let frames = frames(text);
        assert_eq!(frames.len(), 1 + 3 + 1 + 1);
        assert_eq!(frames[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(frames[0]["model"], "a \"quoted\" name");
        assert_eq!(frames[0]["usage"], Value::Null);
        assert_eq!(frames[4]["choices"][0]["finish_reason"], "stop");
        assert_eq!(frames[5]["choices"], Value::Array(Vec::new()));
        assert_eq!(frames[5]["usage"]["completion_tokens"], 3);
    }

    #[test]
    fn a_cut_stream_ends_after_its_words_and_says_nothing_more() {
        let text = Events::new(Script { words_max: Some(2), ..script(9, &Profile::instant()) }).collect();
        let frames = frames(std::str::from_utf8(&text).unwrap());
        assert_eq!(frames.len(), 1 + 2);
        assert!(frames.iter().all(|frame| frame["choices"][0]["finish_reason"].is_null()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_the_models() {
        let profile = Profile {
            ttft_ms: LogNormal::always(100.0),
            tokens_per_second: Some(10.0),
            reasoning_share: 0.5,
            ..Profile::instant()
        };
        let started = Instant::now();
        let arrivals: Vec<(u128, usize)> = Events::new(script(4, &profile))
            .paced(started)
            .map(|piece| (started.elapsed().as_millis(), frames(std::str::from_utf8(&piece.unwrap()).unwrap()).len()))
            .collect()
            .await;
        // The role; silence while reasoning; two words; the finish and the usage come with the last.
        assert_eq!(arrivals, [(100, 1), (400, 1), (500, 3)]);
    }

    #[tokio::test]
    async fn pace_changes_no_byte() {
        let profile = Profile { tokens_per_second: Some(20_000.0), ..Profile::instant() };
        let paced: Vec<Bytes> =
            Events::new(script(500, &profile)).paced(Instant::now()).map(Result::unwrap).collect().await;
        assert!(paced.len() > 1);
        assert_eq!(paced.concat(), Events::new(script(500, &profile)).collect());
    }
}
