//! The contenders: plain reqwest, and a call as the worker makes it.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect;
use tollgate_providers::{ApiKey, Call, Caller, CallerOptions, Deployment};
use tollgate_types::JobSpec;

use crate::answers::{Answer, Pace};

/// The key that both send.
const KEY: &str = "not-a-secret";

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Reqwest,
    Tollgate,
}

impl Contender {
    /// Both, in the order of a round: they take turns at going first.
    pub(crate) fn pair(round: usize) -> [Contender; 2] {
        let mut pair = [Contender::Reqwest, Contender::Tollgate];
        pair.rotate_left(round % 2);
        pair
    }
}

/// Both contenders, each with its own pool of connections to one provider.
#[derive(Clone)]
pub(crate) struct Callers {
    address: String,
    client: reqwest::Client,
    caller: Caller,
}

/// One call, ready to be made.
pub(crate) struct Prepared {
    answer: Answer,
    spec: JobSpec,
    deployment: Deployment,
}

impl Callers {
    pub(crate) fn new(address: &str) -> anyhow::Result<Self> {
        let caller = Caller::new(&CallerOptions::default())?;
        // As the caller's own client is set up.
        let client = reqwest::Client::builder()
            .http1_only()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Callers { address: address.to_owned(), client, caller })
    }

    /// A call with a prompt of so many bytes that is answered like this.
    pub(crate) fn prepare(&self, answer: Answer, prompt_bytes: usize) -> anyhow::Result<Prepared> {
        let words = "The quick brown fox jumps over the lazy dog. ";
        let prompt: String = words.chars().cycle().take(prompt_bytes).collect();
        let body = serde_json::json!({
            "model": "fast", "max_tokens": 8192, "temperature": 0.5, "stream": answer.pace != Pace::Whole,
            "messages": [{ "role": "user", "content": prompt }],
        });
        let spec = JobSpec::decode(&Bytes::from(serde_json::json!({ "body": body }).to_string()), usize::MAX)
            .map_err(|rejection| anyhow::anyhow!("the benchmark's own job is refused: {rejection:?}"))?;
        let base = format!("http://{}/{}/v1", self.address, answer.segment());
        let deployment = Deployment::new("bench", answer.vendor, &base, "bench-small", Some(ApiKey::new(KEY)?))?;
        Ok(Prepared { answer, spec, deployment })
    }

    /// Makes one call and checks what came.
    pub(crate) async fn call(&self, contender: Contender, prepared: &Prepared) -> anyhow::Result<()> {
        match (contender, prepared.answer.pace) {
            (Contender::Reqwest, Pace::Whole) => self.reqwest_whole(prepared).await,
            (Contender::Reqwest, Pace::AtOnce | Pace::Paced) => self.reqwest_stream(prepared).await,
            (Contender::Tollgate, _) => self.tollgate(prepared).await,
        }
    }

    async fn send(&self, prepared: &Prepared) -> anyhow::Result<reqwest::Response> {
        let request = self.client.post(prepared.deployment.endpoint()).bearer_auth(KEY);
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request.body(prepared.spec.body.clone()).send().await?.error_for_status()?)
    }

    async fn reqwest_whole(&self, prepared: &Prepared) -> anyhow::Result<()> {
        let body = self.send(prepared).await?.bytes().await?;
        ensure!(body.len() > 4 * prepared.answer.tokens, "the answer is too short");
        Ok(())
    }

    async fn reqwest_stream(&self, prepared: &Prepared) -> anyhow::Result<()> {
        let mut response = self.send(prepared).await?;
        let mut bytes = 0;
        while let Some(chunk) = response.chunk().await? {
            bytes += chunk.len();
        }
        ensure!(bytes > 4 * prepared.answer.tokens, "the answer is too short");
        Ok(())
    }

    async fn tollgate(&self, prepared: &Prepared) -> anyhow::Result<()> {
        let Prepared { answer, spec, deployment } = prepared;
        let heard = AtomicUsize::new(0);
        let hear = |delta: Bytes| {
            heard.fetch_add(usize::from(!delta.is_empty()), Ordering::Relaxed);
        };
        let call = Call {
            body: &spec.body,
            request: &spec.request,
            traceparent: None,
            tracestate: None,
            job: "job-1",
            run: "run-1",
            attempt: 1,
            deadline_in: None,
            deltas: (answer.pace != Pace::Whole).then_some(&hear),
        };
        let called = self.caller.call(deployment, &call).await;
        let read = called.outcome.map_err(|failure| anyhow::anyhow!("a call failed: {failure:?}"))?;
        let (output, text, heard) = (read.tokens.output, read.answer_text_bytes, heard.into_inner());
        ensure!(output == answer.tokens as u64, "{output} tokens were read");
        ensure!(text >= 4 * answer.tokens, "{text} bytes of text were read");
        ensure!(answer.pace == Pace::Whole || heard >= answer.tokens, "{heard} deltas were heard");
        Ok(())
    }
}
