//! "Does this job already have a result?", asked for many jobs at once.
//!
//! Every job asks, because only the results know which ids were answered after the duplicate window. One task gathers
//! what is asked together into one question to the server and keeps several questions open, so that nobody waits for
//! somebody else's answer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate_types::subjects;

use crate::api::{ANSWER_TIMEOUT, ApiError};

type Answer = Result<Option<Message>, ApiError>;

/// Batched "last message on this subject" over the results stream.
pub(crate) struct Lookup {
    asking: mpsc::Sender<Asked>,
    /// Ends with this.
    _gatherer: JoinSet<()>,
}

/// One job's question.
struct Asked {
    subject: String,
    answer: oneshot::Sender<Answer>,
}

/// The most subjects in one question; the server's own limit is 1,024.
const BATCH_MAX: usize = 256;
/// Questions that wait for the gatherer; it is never away for long, and more jobs than this do not run in a worker.
const WAITING_MAX: usize = 4096;

impl Lookup {
    pub(crate) async fn open(client: &Client) -> Result<Lookup, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.*")).await?;
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let gatherer = Gatherer { client: client.clone(), inbox, subscriber, asked, open: BTreeMap::new(), numbers: 0 };
        let mut task = JoinSet::new();
        task.spawn(gatherer.run());
        Ok(Lookup { asking, _gatherer: task })
    }

    /// The last message on `subject`. Cancel safe.
    pub(crate) async fn last(&self, subject: String) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = self.asking.send(Asked { subject, answer }).await;
        asked.map_err(|_| ApiError::Unknown)?;
        answered.await.unwrap_or(Err(ApiError::Unknown))
    }
}

/// The task that asks.
struct Gatherer {
    client: Client,
    inbox: String,
    subscriber: Subscriber,
    asked: mpsc::Receiver<Asked>,
    /// The questions without an answer yet, oldest first.
    open: BTreeMap<u64, Open>,
    numbers: u64,
}

/// A question to the server, for all who asked together.
struct Open {
    asked: Vec<Asked>,
    found: HashMap<String, Message>,
    until: Instant,
}

#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: Vec<&'a str>,
}

impl Gatherer {
    async fn run(mut self) {
        loop {
            let overdue = self.open.values().next().map(|open| open.until);
            tokio::select! {
                biased;
                message = self.subscriber.next() => match message {
                    Some(message) => self.heard(message),
                    None => return,
                },
                asked = self.asked.recv() => match asked {
                    Some(first) => self.ask(first).await,
                    None => return,
                },
                () = tokio::time::sleep_until(overdue.unwrap_or_else(far)), if overdue.is_some() => self.give_up(),
            }
        }
    }

    /// Asks for `first` and all who ask at the same time.
    async fn ask(&mut self, first: Asked) {
        // Jobs that came with one pull ask within microseconds of each other.
        tokio::task::yield_now().await;
        let mut asked = vec![first];
        while asked.len() < BATCH_MAX
            && let Ok(more) = self.asked.try_recv()
        {
            asked.push(more);
        }
        self.numbers += 1;
        let wanted = MultiLast { multi_last: asked.iter().map(|one| one.subject.as_str()).collect() };
        let payload = serde_json::to_vec(&wanted).expect("texts serialise");
        let subject = format!("$JS.API.DIRECT.GET.{}", subjects::RESULTS_STREAM);
        let reply = format!("{}.{}", self.inbox, self.numbers);
        if self.client.publish_with_reply(subject, reply, Bytes::from(payload)).await.is_err() {
            return answer_all(asked, &ApiError::Unknown);
        }
        let open = Open { asked, found: HashMap::new(), until: Instant::now() + ANSWER_TIMEOUT };
        self.open.insert(self.numbers, open);
    }

    fn heard(&mut self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        // Answers to a question that was given up may still come in.
        let Some(number) = number.filter(|number| self.open.contains_key(number)) else { return };
        let Some(status) = message.status else {
            let name = message.headers.as_ref().and_then(|h| h.get(async_nats::header::NATS_SUBJECT));
            if let (Some(name), Some(open)) = (name.map(|name| name.as_str().to_owned()), self.open.get_mut(&number)) {
                open.found.insert(name, message);
            }
            return;
        };
        let Some(Open { asked, mut found, .. }) = self.open.remove(&number) else { return };
        match status {
            StatusCode::NOT_FOUND => answer_from(asked, &mut HashMap::new()),
            status if status.as_u16() == 204 => answer_from(asked, &mut found),
            StatusCode::NO_RESPONDERS => {
                let subject = format!("$JS.API.DIRECT.GET.{}", subjects::RESULTS_STREAM);
                answer_all(asked, &ApiError::Absent { subject });
            }
            status => {
                let description = message.description.unwrap_or_default();
                answer_all(asked, &ApiError::Refused { code: u64::from(status.as_u16()), description });
            }
        }
    }

    /// Ends the oldest question without an answer.
    fn give_up(&mut self) {
        if let Some((_, open)) = self.open.pop_first() {
            answer_all(open.asked, &ApiError::Unknown);
        }
    }
}

/// Whoever asked and went away is not missed.
fn answer_from(asked: Vec<Asked>, found: &mut HashMap<String, Message>) {
    for one in asked {
        let message = found.get(&one.subject).cloned();
        let _ = one.answer.send(Ok(message));
    }
}

fn answer_all(asked: Vec<Asked>, error: &ApiError) {
    for one in asked {
        let _ = one.answer.send(Err(error.clone()));
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
