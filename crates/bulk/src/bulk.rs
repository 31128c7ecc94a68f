//! A team's batches: making one, finding one, stopping one.

use async_nats::client::{Request, RequestErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tollgate_client::Producer;
use tollgate_types::batch::{
    BatchDone, BatchFormat, BatchProgress, BatchSpec, LineSet, LinesDone, Stop, StopReason, Submitted, VERSION,
};
use tollgate_types::{BatchId, Class, Digest, KeyId, UnixMillis, Usd, subjects};

use crate::line::Shape;
use crate::records::{self, RecordError};
use crate::source::Whole;

/// A team's batches over its own connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulk {
    producer: Producer,
    key: Option<KeyId>,
}

/// What is to become a batch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its id, if it has one that is not made of what it is.
    pub id: Option<BatchId>,
    /// The format of the file.
    pub format: BatchFormat,
    /// The file's name, without folders.
    pub file: String,
    /// What the file is, as it was checked.
    pub whole: Whole,
    /// How many requests it has.
    pub jobs: u64,
    /// The class that they are submitted in.
    pub class: Class,
    /// What each line's `tollgate` object says where the line itself says nothing.
    pub options: Map<String, Value>,
    /// The model in place of that of each line.
    pub model: Option<String>,
    /// The submitter's own name for it, which makes the same file another batch.
    pub key: Option<String>,
    /// Once its results cost as much, what still waits is cancelled.
    pub max_cost_usd: Option<Usd>,
    /// The batch whose failed lines it tries again.
    pub again: Option<BatchId>,
    /// What was asked for in the submitter's words: with other words, the same file is another batch. Here a deadline
    /// stands as `24h`, in the options as a time.
    pub asked: String,
    /// Now.
    pub created_at: UnixMillis,
}

/// A batch that can be submitted.
#[derive(Clone, Debug)]
pub enum Begun {
    /// It is new.
    New(Box<BatchSpec>),
    /// It was made before.
    Known(Box<Standing>),
}

/// Why there is no such batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The key stands for another batch.
    #[error("the key was used for {0}, which is another file or has other options; take another key, or that file")]
    KeyTaken(BatchId),
    /// The records could not be read or written.
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// All that is known of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// What it is.
    pub spec: BatchSpec,
    /// How far it is submitted.
    pub submitted: Option<Submitted>,
    /// What the broker counted.
    pub progress: Option<BatchProgress>,
    /// That it is to be stopped.
    pub stop: Option<Stop>,
    /// That it has ended.
    pub done: Option<BatchDone>,
}

#[derive(Serialize, Deserialize)]
struct Named {
    version: u32,
    batch: BatchId,
}

impl Plan {
    /// The id of the batch.
    pub fn id(&self) -> BatchId {
        if let Some(id) = &self.id {
            return id.clone();
        }
        let key = self.key.as_ref().map_or_else(String::new, |key| format!("key {key}"));
        let again = self.again.as_ref().map_or("", BatchId::as_str);
        let parts = [self.whole.sha256.as_str(), &self.asked, &key, again, self.class.as_str()];
        BatchId::of(&parts.map(str::as_bytes))
    }

    fn spec(&self) -> BatchSpec {
        BatchSpec {
            version: VERSION,
            id: self.id(),
            format: self.format,
            file: self.file.clone(),
            sha256: self.whole.sha256.clone(),
            bytes: self.whole.bytes,
            jobs: self.jobs,
            class: self.class,
            options: self.options.clone(),
            model: self.model.clone(),
            key: self.key.clone(),
            max_cost_usd: self.max_cost_usd,
            again: self.again.clone(),
            created_at: self.created_at,
        }
    }
}

impl Standing {
    /// How many of its jobs have ended.
    pub fn ended(&self) -> u64 {
        self.tally().ends.total()
    }

    /// What it came to so far.
    pub fn tally(&self) -> tollgate_types::batch::Tally {
        match (&self.done, &self.progress) {
            // What was spent after the end is in the progress alone.
            (_, Some(progress)) => progress.tally,
            (Some(done), None) => done.tally,
            (None, None) => Default::default(),
        }
    }

    /// Whether all is submitted.
    pub fn is_submitted(&self) -> bool {
        self.submitted.as_ref().is_some_and(|submitted| submitted.through >= self.spec.jobs)
    }

    /// One word for it.
    pub fn state(&self) -> &'static str {
        match (&self.done, &self.stop) {
            (Some(done), _) => done.end.as_str(),
            (None, Some(_)) => "stopping",
            (None, None) if self.is_submitted() => "in_progress",
            (None, None) => "submitting",
        }
    }
}

/// What makes the job lines of a batch.
pub fn shape(spec: &BatchSpec) -> Shape {
    Shape { format: spec.format, options: spec.options.clone(), model: spec.model.clone() }
}

impl Bulk {
    /// The batches of the producer's team.
    pub fn new(producer: Producer) -> Bulk {
        Bulk { producer, key: None }
    }

    /// The same, whose jobs are counted under an API key.
    #[must_use]
    pub fn under_key(self, key: KeyId) -> Bulk {
        Bulk { key: Some(key), ..self }
    }

    /// The API key that its jobs are counted under.
    pub(crate) fn key(&self) -> Option<&KeyId> {
        self.key.as_ref()
    }

    /// Who submits.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The most bytes of a job line: what does not fit a message is put beside it, and one line is held in memory.
    pub fn line_bytes_max(&self) -> usize {
        crate::source::REQUEST_BYTES_MAX
    }

    /// Makes a batch, or finds the one that was made of the same before. Nothing is submitted yet.
    ///
    /// Killed between its two records: the key stands for a batch that is not there; asked again, it is made.
    ///
    /// # Errors
    /// [`BeginError`].
    pub async fn begin(&self, plan: &Plan) -> Result<Begun, BeginError> {
        let (team, spec) = (self.team(), plan.spec());
        if let Some(key) = &plan.key {
            let subject = subjects::batch_key(team, &Digest::of(&[key.as_bytes()]));
            let named = Named { version: VERSION, batch: spec.id.clone() };
            if !records::create(&self.producer, subject.clone(), &named).await?
                && let Some(Named { batch, .. }) = records::get(&self.producer, &subject).await?
                && batch != spec.id
            {
                return Err(BeginError::KeyTaken(batch));
            }
        }
        if records::create(&self.producer, subjects::batch_spec(team, &spec.id), &spec).await? {
            return Ok(Begun::New(Box::new(spec)));
        }
        match self.standing(&spec.id).await? {
            Some(standing) => Ok(Begun::Known(Box::new(standing))),
            // It aged out between the two questions.
            None => Ok(Begun::New(Box::new(spec))),
        }
    }

    /// How a batch stands; `None` if there is no such batch, or not any more. Cancel safe.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn standing(&self, id: &BatchId) -> Result<Option<Standing>, RecordError> {
        let (team, producer) = (self.team(), &self.producer);
        let subjects = [
            subjects::batch_spec(team, id),
            subjects::batch_submitted(team, id),
            subjects::batch_progress(team, id),
            subjects::batch_stop(team, id),
            subjects::batch_done(team, id),
        ];
        let [spec, submitted, progress, stop, done] = &subjects;
        let (spec, submitted, progress, stop, done) = tokio::try_join!(
            records::get(producer, spec),
            records::get(producer, submitted),
            records::get(producer, progress),
            records::get(producer, stop),
            records::get(producer, done),
        )?;
        Ok(spec.map(|spec| Standing { spec, submitted, progress, stop, done }))
    }

    /// Which lines of a part have ended. Cancel safe.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn lines(&self, id: &BatchId, part: u64) -> Result<Option<LinesDone>, RecordError> {
        records::get(&self.producer, &subjects::batch_lines(self.team(), id, part)).await
    }

    /// The lines that did not succeed, by part.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn failed(&self, spec: &BatchSpec) -> Result<Vec<LineSet>, RecordError> {
        let mut failed = Vec::new();
        for part in 0..tollgate_types::batch::parts(spec.jobs) {
            failed.push(self.lines(&spec.id, part).await?.map(|lines| lines.failed).unwrap_or_default());
        }
        Ok(failed)
    }

    /// Has a batch stopped: its submitter leaves, and the broker cancels what waits or runs. Whether nobody had before.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn stop(&self, id: &BatchId, now: UnixMillis) -> Result<bool, RecordError> {
        let stop = Stop { version: VERSION, reason: StopReason::Cancelled, at: now };
        records::create(&self.producer, subjects::batch_stop(self.team(), id), &stop).await
    }

    /// Says that nobody submits a batch any more, as far as it came.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn leave(&self, id: &BatchId, now: UnixMillis) -> Result<(), RecordError> {
        let submitted: Option<Submitted> =
            records::get(&self.producer, &subjects::batch_submitted(self.team(), id)).await?;
        let through = submitted.map_or(0, |submitted| submitted.through);
        self.note(id, &Submitted { version: VERSION, through, ended: true, at: now }).await
    }

    /// Whether a batch is to be stopped.
    pub(crate) async fn is_stopped(&self, id: &BatchId) -> Result<bool, RecordError> {
        let stop: Option<Stop> = records::get(&self.producer, &subjects::batch_stop(self.team(), id)).await?;
        Ok(stop.is_some())
    }

    /// Notes how far a batch is submitted.
    pub(crate) async fn note(&self, id: &BatchId, submitted: &Submitted) -> Result<(), RecordError> {
        records::put(&self.producer, subjects::batch_submitted(self.team(), id), submitted).await
    }

    /// The team's batches, the oldest first, as a worker tells them.
    ///
    /// # Errors
    /// [`RecordError::Absent`] without a worker.
    pub async fn list(&self) -> Result<Vec<Standing>, RecordError> {
        #[derive(Deserialize)]
        struct Listed {
            batches: Vec<Standing>,
            next: Option<u64>,
        }
        let subject = format!("tollgate.api.{}.batches", self.team());
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let request = Request::new().payload(json!({ "from": from }).to_string().into());
            let answer = self.producer.client().send_request(subject.clone(), request).await;
            let answer = answer.map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => RecordError::Absent(subject.clone()),
                _ => RecordError::Unknown,
            })?;
            if let Some(error) = answer.headers.as_ref().and_then(|all| all.get("Nats-Service-Error")) {
                return Err(RecordError::Refused(error.as_str().to_owned()));
            }
            let listed: Listed =
                serde_json::from_slice(&answer.payload).map_err(|_| RecordError::Unreadable(subject.clone()))?;
            all.extend(listed.batches);
            match listed.next {
                Some(next) => from = next,
                None => return Ok(all),
            }
        }
    }

    pub(crate) fn team(&self) -> &str {
        self.producer.team().as_str()
    }
}
