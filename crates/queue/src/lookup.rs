//! "Does this job already have a result?", asked for many jobs at once.
//!
//! Every job asks, because only the results know which ids were answered after the duplicate window. One caller leads:
//! it takes all questions that came in while the last answer was under way and asks them together.

use std::collections::HashMap;
use std::sync::Mutex;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::oneshot;
use tollgate_types::subjects;

use crate::api::{ANSWER_TIMEOUT, ApiError};

type Answer = Result<Option<Message>, ApiError>;

/// Batched "last message on this subject" over the results stream.
pub(crate) struct Lookup {
    client: Client,
    waiting: Mutex<Vec<Question>>,
    leader: tokio::sync::Mutex<Leader>,
}

struct Question {
    subject: String,
    answer: oneshot::Sender<Answer>,
}

struct Leader {
    inbox: String,
    subscriber: Subscriber,
    asked: u64,
}

/// The most subjects in one question; the server's own limit is 1,024.
const BATCH_MAX: usize = 256;

#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: Vec<&'a str>,
}

impl Lookup {
    pub(crate) async fn open(client: &Client) -> Result<Lookup, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.*")).await?;
        let leader = tokio::sync::Mutex::new(Leader { inbox, subscriber, asked: 0 });
        Ok(Lookup { client: client.clone(), waiting: Mutex::default(), leader })
    }

    /// The last message on `subject`. Cancel safe: a leader that is dropped leaves its batch to ask again.
    pub(crate) async fn last(&self, subject: String) -> Answer {
        loop {
            let (sender, mut receiver) = oneshot::channel();
            self.waiting.lock().expect("no holder panics").push(Question { subject: subject.clone(), answer: sender });
            tokio::select! {
                biased;
                answer = &mut receiver => match answer {
                    Ok(answer) => return answer,
                    Err(_) => continue,
                },
                mut leader = self.leader.lock() => {
                    // The last leader may have answered us while we waited for the lock.
                    match receiver.try_recv() {
                        Ok(answer) => return answer,
                        Err(oneshot::error::TryRecvError::Closed) => continue,
                        Err(oneshot::error::TryRecvError::Empty) => {}
                    }
                    // First come, first asked: with a long queue it may take more than one batch to reach ours.
                    loop {
                        self.lead(&mut leader).await;
                        match receiver.try_recv() {
                            Ok(answer) => return answer,
                            Err(oneshot::error::TryRecvError::Closed) => break,
                            Err(oneshot::error::TryRecvError::Empty) => {}
                        }
                    }
                }
            }
        }
    }

    async fn lead(&self, leader: &mut Leader) {
        let batch: Vec<Question> = {
            let mut waiting = self.waiting.lock().expect("no holder panics");
            waiting.retain(|question| !question.answer.is_closed());
            let until = waiting.len().min(BATCH_MAX);
            waiting.drain(..until).collect()
        };
        let outcome = tokio::time::timeout(ANSWER_TIMEOUT, leader.ask(&self.client, &batch)).await;
        match outcome.unwrap_or(Err(ApiError::Unknown)) {
            Ok(mut found) => {
                for question in batch {
                    let _ = question.answer.send(Ok(found.remove(&question.subject)));
                }
            }
            Err(error) => {
                for question in batch {
                    let _ = question.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

impl Leader {
    async fn ask(&mut self, client: &Client, batch: &[Question]) -> Result<HashMap<String, Message>, ApiError> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        let wanted = MultiLast { multi_last: batch.iter().map(|question| question.subject.as_str()).collect() };
        let payload = serde_json::to_vec(&wanted).expect("texts serialise");
        let subject = format!("$JS.API.DIRECT.GET.{}", subjects::RESULTS_STREAM);
        let sent = client.publish_with_reply(subject.clone(), reply.clone(), Bytes::from(payload)).await;
        sent.map_err(|_| ApiError::Unknown)?;
        let mut found = HashMap::new();
        loop {
            let message = self.subscriber.next().await.ok_or(ApiError::Unknown)?;
            // Answers to a question that timed out may still come in.
            if message.subject.as_str() != reply {
                continue;
            }
            match message.status {
                None => {
                    let name = message.headers.as_ref().and_then(|h| h.get(async_nats::header::NATS_SUBJECT));
                    if let Some(name) = name.map(|name| name.as_str().to_owned()) {
                        found.insert(name, message);
                    }
                }
                Some(StatusCode::NOT_FOUND) => return Ok(HashMap::new()),
                Some(status) if status.as_u16() == 204 => return Ok(found),
                Some(StatusCode::NO_RESPONDERS) => return Err(ApiError::Absent { subject }),
                Some(status) => {
                    let description = message.description.unwrap_or_default();
                    return Err(ApiError::Refused { code: u64::from(status.as_u16()), description });
                }
            }
        }
    }
}
