//! One world and one worker, a producer that sends any bytes, a sniffer that hears all, and the one check.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::{Incoming, Raw, Setup, WorkerHandle, World, eventually};
use tollgate_client::Producer;
use tollgate_types::{Class, ErrorCode, JobId, JobResult, NanoUsd, Status};

/// One message that somebody should not have sent, or that looks like it.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Its number in the corpus.
    pub(crate) number: u32,
    /// What it is.
    pub(crate) name: &'static str,
    /// The class token of its subject.
    pub(crate) class: &'static [u8],
    /// The lines of its header block, each with its end; without the version line.
    pub(crate) headers: Vec<u8>,
    /// Its bytes.
    pub(crate) payload: Vec<u8>,
    /// What must become of it.
    pub(crate) expect: Expect,
}

/// What must become of a message.
#[derive(Clone)]
pub(crate) enum Expect {
    /// The NATS server refuses it with these words; it is no job.
    Refused(&'static str),
    /// It is a job that ends like this.
    End(End),
}

/// How a job must end.
#[derive(Clone)]
pub(crate) struct End {
    /// The end.
    pub(crate) status: Status,
    /// The reason.
    pub(crate) code: Option<ErrorCode>,
    /// What the message of the reason, or else a warning, says.
    pub(crate) says: &'static str,
    /// How often a provider was called for its id.
    pub(crate) calls: usize,
}

/// Everything that the table runs against.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) worker: WorkerHandle,
    pub(crate) search: Producer,
    pub(crate) marketing: Producer,
    pub(crate) raw: Raw,
    pub(crate) sniffer: Raw,
    created_ns: i128,
}

impl Bench {
    pub(crate) async fn start(setup: Setup) -> Bench {
        let world = World::start(setup).await;
        let worker = world.worker("w1", |_| {}).await;
        let (search, marketing) = (world.producer("search").await, world.producer("marketing").await);
        let (raw, sniffer) = (world.raw("search").await, world.raw("broker").await);
        sniffer.subscribe(">").await;
        let stream = world.jetstream().await.get_stream("TOLLGATE_JOBS").await.expect("it exists");
        let created_ns = stream.cached_info().created.unix_timestamp_nanos();
        Bench { world, worker, search, marketing, raw, sniffer, created_ns }
    }

    /// Publishes an entry as the team `search` and returns the server's acknowledgement.
    pub(crate) async fn publish(&mut self, entry: &Entry) -> Result<Value, String> {
        let subject = [b"tollgate.jobs.", entry.class, b".search"].concat();
        let block = match entry.headers.is_empty() {
            true => Vec::new(),
            false => [b"NATS/1.0\r\n", &entry.headers[..], b"\r\n"].concat(),
        };
        let answer = self.raw.request(&subject, &block, &entry.payload).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| "no responders".to_owned())?;
        match answer["error"]["description"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    /// Publishes until the server takes it as new: within the duplicate window it knows the id.
    pub(crate) async fn publish_anew(&mut self, entry: &Entry) -> Result<JobId, String> {
        for _ in 0..200 {
            let answer = self.publish(entry).await?;
            if answer["duplicate"] != true {
                let sequence = answer["seq"].as_u64().expect("a sequence");
                return Ok(JobId::from_sequence(self.created_ns, sequence));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still a duplicate: {}", entry.name)
    }

    /// A good job of this team and one of another are not disturbed.
    pub(crate) async fn others_are_well(&self) {
        let line = || World::line("good", None, serde_json::json!({}));
        let (own, other) = tokio::join!(
            self.world.run(&self.search, Class::Standard, line()),
            self.world.run(&self.marketing, Class::Interactive, line())
        );
        assert_eq!(own.tollgate.status, Status::Succeeded, "{own:?}");
        assert_eq!(other.tollgate.status, Status::Succeeded, "{other:?}");
    }

    /// The calls that a provider got for a job.
    pub(crate) fn calls(&self, id: &JobId) -> usize {
        let calls = self.world.sim.calls();
        calls.iter().filter(|call| call.received.job.as_deref() == Some(id.as_str())).count()
    }

    /// How many messages a stream holds.
    pub(crate) async fn kept(&self, stream: &str) -> u64 {
        kept(&self.world, stream).await
    }

    /// No job is left anywhere, and the worker neither ended nor stopped taking work.
    pub(crate) async fn quiet(&mut self) {
        let (bench, left) = (&*self, "the queue is empty");
        eventually(left, Duration::from_secs(20), || async { (bench.kept("TOLLGATE_JOBS").await == 0).then_some(()) })
            .await;
        assert!(self.worker.is_alive());
        assert_eq!(self.worker.status.borrow().holding, None);
    }

    /// The subjects of everything that was published in the broker's account so far.
    pub(crate) fn sniffed(&mut self) -> Vec<String> {
        let subject = |incoming| match incoming {
            Incoming::Message { subject, .. } => Some(subject),
            Incoming::Error(error) => panic!("the sniffer was refused: {error}"),
        };
        self.sniffer.drain().into_iter().filter_map(subject).collect()
    }
}

/// How many messages a stream holds.
pub(crate) async fn kept(world: &World, stream: &str) -> u64 {
    let context = world.jetstream().await;
    context.get_stream(stream).await.expect("it exists").cached_info().state.messages
}

/// The id that the entry's own header names, if a job may have it.
fn own_id(entry: &Entry) -> Option<JobId> {
    let text = String::from_utf8_lossy(&entry.headers).into_owned();
    let mut ids = text.lines().filter_map(|line| line.strip_prefix("Nats-Msg-Id: "));
    ids.next()?.parse().ok()
}

/// Publishes an entry and sees that it ends as it must, at no cost that it must not have, beside healthy others.
pub(crate) async fn check(entry: &Entry, bench: &mut Bench) {
    let about = format!("{} {}", entry.number, entry.name);
    let end = match &entry.expect {
        Expect::Refused(says) => {
            let error = bench.publish(entry).await.expect_err(&about);
            assert!(error.contains(says), "{about}: {error}");
            return bench.others_are_well().await;
        }
        Expect::End(end) => end,
    };
    let made = bench.publish_anew(entry).await.unwrap_or_else(|error| panic!("{about}: {error}"));
    let id = own_id(entry).filter(|_| end.code != Some(ErrorCode::Conflict)).unwrap_or(made);
    let result = bench.world.result(&bench.search, &id).await;
    judge(&about, &result, end);
    assert_eq!(bench.calls(&id), end.calls, "{about}");
    bench.others_are_well().await;
}

fn judge(about: &str, result: &JobResult, end: &End) {
    let facts = &result.tollgate;
    assert_eq!((facts.status, result.error.as_ref().map(|e| e.code)), (end.status, end.code), "{about}: {result:?}");
    let said = result.error.as_ref().map(|e| e.message.clone()).unwrap_or_else(|| facts.warnings.join("; "));
    assert!(said.contains(end.says), "{about}: {said:?}");
    assert!(!end.says.is_empty() || facts.warnings.is_empty(), "{about}: {said:?}");
    assert_eq!(facts.attempts.len(), end.calls, "{about}");
    assert_eq!(facts.cost_nanousd == NanoUsd::ZERO, end.calls == 0, "{about}: {facts:?}");
    assert_eq!(facts.team, "search", "{about}");
    assert_eq!(facts.unknown_attempts, 0, "{about}: it ran once, nothing panicked");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let accepted = facts.accepted_at.clone();
    let age = now.abs_diff(u128::from(unix_ms(&accepted)));
    assert!(age < 120_000, "{about}: 28: the server's time counts, not {accepted}");
}

/// Milliseconds of an RFC 3339 time, by way of the deadline that a job would write like that.
fn unix_ms(rfc3339: &str) -> u64 {
    let line = serde_json::json!({ "body": { "model": "m", "messages": [1] }, "tollgate": { "deadline": rfc3339 } });
    let job = tollgate_types::JobSpec::decode(&line.to_string().into(), 1 << 16).expect("a time");
    u64::try_from(job.options.deadline.expect("there is one").at.0).expect("after 1970")
}
