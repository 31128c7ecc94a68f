//! Taking a file in: as it comes, a chunk at a time, never whole in memory.
//!
//! The form is read by `multer`, which reads ahead for as long as there is something to read, and searches all that it
//! has for the end of a head. So it is fed in pieces with a pause after each, and no more than [`AHEAD_MAX`] bytes that it
//! has not handed out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use multer::{Field, Multipart};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};
use tollgate_queue::streams::FILES_AGE;
use tollgate_queue::{ApiError, Files};
use tollgate_types::file::{CHUNK_BYTES, FileBegun, VERSION};
use tollgate_types::{FileId, FileRecord, Team};

use super::uploads::Begun;
use super::{caller, files, unanswered};
use crate::refused::Refused;
use crate::{Config, Shared};

/// What a form has beside its file: heads of parts, small fields.
const FORM_BYTES_MAX: u64 = 64 << 10;
/// The most bytes that are read and not handed out: heads, and a piece.
const AHEAD_MAX: u64 = 192 << 10;
/// How much is fed at once.
const PIECE_BYTES: usize = 64 << 10;
/// Who sends more slowly than this for long, a second, is given up.
const BYTES_A_SECOND_MIN: u64 = 64 << 10;
/// Chunks that are not acknowledged yet.
const UNDER_WAY: usize = 4;
/// Files of one team, whole or begun.
const FILES_MAX: u64 = 10_000;
/// The longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest value of a small field.
const VALUE_BYTES_MAX: usize = 1024;
/// The shortest time that a file may be asked to be kept: as OpenAI has it.
const KEEP_MIN: Duration = Duration::from_secs(3600);

/// Takes a file in.
///
/// Killed or left by its sender before the record is written, there is no file; after it, there is one that its sender
/// may not know of.
pub(crate) async fn upload(shared: &Shared, request: Request) -> Result<FileRecord, Refused> {
    let (parts, caller) = caller(shared, request.headers())?;
    let (head, body) = request.into_parts();
    let max = shared.config.file_bytes_max;
    let boundary = judge(&head.headers, max)?;
    let _place = shared.uploads.enter(&caller.record.team)?;
    let (files, team) = (files(parts), &caller.record.team);
    let id: FileId = format!("file-{}", uuid::Uuid::new_v4().simple()).parse().expect("hexadecimal digits");
    let room = length(&head.headers).map_or(max, |length| length.min(max));
    let at = parts.clock.now();
    let begun = Begun::new(&shared.remains, team, &id);
    files.begin(team.as_str(), &id, &FileBegun { version: VERSION, room, at }).await.map_err(|e| not_stored(&e))?;
    has_room(&files, team, shared.config.team_files_bytes_max).await?;

    let taken = Arc::new(AtomicU64::new(0));
    let body = paced(body, max, shared.config.clone(), taken.clone());
    let mut form = Form { writer: Writer::new(&files, team, &id, max), taken, said: Said::default() };
    let mut parts_of_form = Multipart::new(body, boundary);
    while let Some(field) = parts_of_form.next_field().await.map_err(of_form)? {
        form.take(field).await?;
    }
    let Form { writer, said, .. } = form;
    let name = said.judge()?;
    let (bytes, sha256) = writer.finish().await?;
    let keep = said.keep.unwrap_or(FILES_AGE);
    let record = FileRecord {
        version: VERSION,
        id: id.clone(),
        name,
        purpose: "batch".to_owned(),
        bytes,
        sha256,
        key: caller.id.to_string(),
        created_at: at,
        expires_at: at.plus(keep),
    };
    files.seal(team.as_str(), &record).await.map_err(|error| not_stored(&error))?;
    begun.whole();
    Ok(record)
}

/// Refuses what is no form, or too large by its own word, before any of it is read; tells what parts it.
fn judge(headers: &HeaderMap, max: u64) -> Result<String, Refused> {
    let unsupported =
        |message: &str| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(unsupported("a Content-Encoding is not taken; send the file uncompressed"));
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, None) = (kinds.next().and_then(|kind| kind.to_str().ok()), kinds.next()) else {
        return Err(unsupported("the Content-Type must be multipart/form-data, once"));
    };
    let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok()).filter(|boundary| !boundary.is_empty());
    let boundary =
        boundary.ok_or_else(|| unsupported("the Content-Type must be multipart/form-data with a boundary"))?;
    if length(headers).is_some_and(|length| length > max + FORM_BYTES_MAX) {
        return Err(too_large(max));
    }
    Ok(boundary)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max: u64) -> Refused {
    let why = format!("a file may have {max} bytes; split it");
    Refused { param: Some("file".to_owned()), ..Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", why) }
}

/// The file takes its room before it is asked how much there is, so that two at once see each other.
async fn has_room(files: &Files, team: &Team, most: u64) -> Result<(), Refused> {
    let room = files.room(team.as_str()).await.map_err(|error| unanswered(&error))?;
    if room.files <= FILES_MAX && room.bytes <= most {
        return Ok(());
    }
    let why = format!("the files of this team may be {FILES_MAX} and have {most} bytes; delete some");
    Err(Refused::bad("storage_limit_exceeded", why))
}

fn not_stored(error: &ApiError) -> Refused {
    tracing::warn!(%error, "a part of an uploaded file was not stored");
    if matches!(error, ApiError::Absent { .. }) {
        return Refused::later("there is no room for files yet; the operator should run `tollgate init`");
    }
    Refused::later("the file could not be stored; if this lasts, the room for all files is full")
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("too slow")]
    Slow,
    #[error("broken off")]
    Off,
    #[error("heads that are too long")]
    Heads,
    #[error("too large")]
    TooLarge(u64),
}

fn of_form(error: multer::Error) -> Refused {
    let broken = match &error {
        multer::Error::StreamReadFailed(inner) => inner.downcast_ref::<Broken>().copied(),
        _ => None,
    };
    match broken {
        Some(Broken::Slow) => {
            let why = "the body did not come in time";
            let refused = Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", why);
            Refused { retry: Some(false), ..refused }
        }
        Some(Broken::TooLarge(max)) => too_large(max),
        Some(Broken::Heads) => Refused::bad("bad_request", "what stands beside the file in the form is too long"),
        Some(Broken::Off) => Refused::bad("bad_request", "the body broke off, or is not framed as it says"),
        None => Refused::bad("bad_request", "the body is no complete multipart form"),
    }
}

/// What has been read of a body, and how.
struct Fed {
    body: Body,
    rest: Bytes,
    fed: u64,
    max: u64,
    config: Config,
    begun: Instant,
    taken: Arc<AtomicU64>,
}

/// A body in small pieces, no slower, no larger and no further ahead than it may be.
fn paced(body: Body, max: u64, config: Config, taken: Arc<AtomicU64>) -> impl Stream<Item = Result<Bytes, Broken>> {
    let fed = Fed { body, rest: Bytes::new(), fed: 0, max, config, begun: Instant::now(), taken };
    stream::try_unfold(fed, |mut fed| async move {
        // Whoever reads for as long as there is something to read has to stop here.
        tokio::task::yield_now().await;
        Ok(fed.next().await?.map(|piece| (piece, fed)))
    })
}

impl Fed {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.fed.saturating_sub(self.taken.load(Ordering::Relaxed)) > AHEAD_MAX {
            return Err(Broken::Heads);
        }
        while self.rest.is_empty() {
            let slowest = Duration::from_secs(self.fed / BYTES_A_SECOND_MIN);
            let until = self.begun + self.config.body_within + slowest;
            let patience = until.min(Instant::now() + self.config.body_pause_max);
            let frame = timeout_at(patience, self.body.frame()).await.map_err(|_| Broken::Slow)?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(bytes) = frame.map_err(|_| Broken::Off)?.into_data() {
                self.rest = bytes;
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.fed += piece.len() as u64;
        if self.fed > self.max + FORM_BYTES_MAX { Err(Broken::TooLarge(self.max)) } else { Ok(Some(piece)) }
    }
}

/// The form as it is read.
struct Form<'a> {
    writer: Writer<'a>,
    taken: Arc<AtomicU64>,
    said: Said,
}

/// What the form says beside the bytes of its file.
#[derive(Default)]
struct Said {
    purpose: Option<String>,
    name: Option<String>,
    anchor: Option<String>,
    keep: Option<Duration>,
}

impl Form<'_> {
    async fn take(&mut self, mut field: Field<'_>) -> Result<(), Refused> {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" if self.said.name.is_none() => {
                self.said.name = Some(plain_name(field.file_name().unwrap_or("file.jsonl")));
                while let Some(bytes) = field.chunk().await.map_err(of_form)? {
                    self.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.writer.add(bytes).await?;
                }
            }
            "purpose" if self.said.purpose.is_none() => {
                let purpose = value(field, &name).await?;
                // Before the file is read, where it comes first.
                judge_purpose(&purpose)?;
                self.said.purpose = Some(purpose);
            }
            "expires_after[anchor]" if self.said.anchor.is_none() => {
                let anchor = value(field, &name).await?;
                if anchor != "created_at" {
                    return Err(Refused::of_field(&name, "`expires_after[anchor]` must be `created_at`"));
                }
                self.said.anchor = Some(anchor);
            }
            "expires_after[seconds]" if self.said.keep.is_none() => {
                let seconds = value(field, &name).await?.parse().map(Duration::from_secs);
                let keep = seconds.ok().filter(|keep| (KEEP_MIN..=FILES_AGE).contains(keep));
                let (least, most) = (KEEP_MIN.as_secs(), FILES_AGE.as_secs());
                let why = || format!("`expires_after[seconds]` must be a number from {least} to {most}");
                self.said.keep = Some(keep.ok_or_else(|| Refused::of_field(&name, why()))?);
            }
            "file" | "purpose" | "expires_after[anchor]" | "expires_after[seconds]" => {
                return Err(Refused::of_field(&name, format!("the form has more than one `{name}`")));
            }
            _ => {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let why = format!("`{shown}` is not a field of this form; there are `file` and `purpose`");
                return Err(Refused { code: "unknown_parameter", ..Refused::of_field(&shown, why) });
            }
        }
        Ok(())
    }
}

/// A small field.
async fn value(mut field: Field<'_>, name: &str) -> Result<String, Refused> {
    let mut value = Vec::new();
    while let Some(bytes) = field.chunk().await.map_err(of_form)? {
        value.extend_from_slice(&bytes);
        if value.len() > VALUE_BYTES_MAX {
            return Err(Refused::of_field(name, format!("`{name}` is too long")));
        }
    }
    String::from_utf8(value).map_err(|_| Refused::of_field(name, format!("`{name}` is not UTF-8")))
}

impl Said {
    fn judge(&self) -> Result<String, Refused> {
        let missing = |name: &str| {
            let why = format!("Missing required parameter: '{name}'.");
            Refused { code: "missing_required_parameter", ..Refused::of_field(name, why) }
        };
        judge_purpose(self.purpose.as_deref().ok_or_else(|| missing("purpose"))?)?;
        self.name.clone().ok_or_else(|| missing("file"))
    }
}

fn judge_purpose(purpose: &str) -> Result<(), Refused> {
    if purpose == "batch" {
        return Ok(());
    }
    Err(Refused::of_field("purpose", "`purpose` must be `batch`: files are taken here for batches alone"))
}

/// The name without folders and without what no name should have.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut plain: String = last.chars().filter(|c| !c.is_control()).collect();
    while plain.len() > NAME_BYTES_MAX {
        plain.pop();
    }
    if plain.is_empty() || plain == "." || plain == ".." { "file.jsonl".to_owned() } else { plain }
}

/// Cuts a file into chunks and puts them, some at a time.
struct Writer<'a> {
    files: &'a Files,
    team: &'a Team,
    id: &'a FileId,
    max: u64,
    buffer: BytesMut,
    chunks: u64,
    bytes: u64,
    hasher: Sha256,
    under_way: JoinSet<Result<(), ApiError>>,
}

impl<'a> Writer<'a> {
    fn new(files: &'a Files, team: &'a Team, id: &'a FileId, max: u64) -> Writer<'a> {
        let (buffer, hasher, under_way) = (BytesMut::new(), Sha256::new(), JoinSet::new());
        Writer { files, team, id, max, buffer, chunks: 0, bytes: 0, hasher, under_way }
    }

    async fn add(&mut self, bytes: Bytes) -> Result<(), Refused> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.max {
            return Err(too_large(self.max));
        }
        self.hasher.update(&bytes);
        self.buffer.extend_from_slice(&bytes);
        while self.buffer.len() >= CHUNK_BYTES {
            let chunk = self.buffer.split_to(CHUNK_BYTES).freeze();
            self.put(chunk).await?;
        }
        Ok(())
    }

    async fn put(&mut self, chunk: Bytes) -> Result<(), Refused> {
        while self.under_way.len() >= UNDER_WAY {
            self.acknowledged().await?;
        }
        let (files, team, id, number) = (self.files.clone(), self.team.clone(), self.id.clone(), self.chunks);
        self.chunks += 1;
        self.under_way.spawn(async move { files.put_chunk(team.as_str(), &id, number, chunk).await });
        Ok(())
    }

    async fn acknowledged(&mut self) -> Result<(), Refused> {
        match self.under_way.join_next().await {
            Some(Ok(Err(error))) => Err(not_stored(&error)),
            Some(Err(_)) => Err(Refused::later("the file could not be stored; try again")),
            Some(Ok(Ok(()))) | None => Ok(()),
        }
    }

    /// Puts what is left; tells size and digest.
    async fn finish(mut self) -> Result<(u64, String), Refused> {
        if self.bytes == 0 {
            return Err(Refused::of_field("file", "the file is empty"));
        }
        if !self.buffer.is_empty() {
            let chunk = self.buffer.split().freeze();
            self.put(chunk).await?;
        }
        while !self.under_way.is_empty() {
            self.acknowledged().await?;
        }
        let sha256 = self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.bytes, sha256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_and_no_path() {
        for (name, expected) in [
            ("requests.jsonl", "requests.jsonl"),
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\in.jsonl", "in.jsonl"),
            ("a\r\nb\0.jsonl", "ab.jsonl"),
            ("..", "file.jsonl"),
            ("x/", "file.jsonl"),
        ] {
            assert_eq!(plain_name(name), expected);
        }
        assert_eq!(plain_name(&"ü".repeat(400)).len(), 254);
    }

    #[tokio::test]
    async fn what_nobody_hands_out_is_not_read_on_for_ever() {
        let endless =
            Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 50_000]))));
        let body = paced(endless, 1 << 30, Config::default(), Arc::default());
        let error = Multipart::new(body, "b").next_field().await.expect_err("there is no end of it");
        assert_eq!(of_form(error).status, StatusCode::BAD_REQUEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_only_trickles_is_given_up() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        let begun = Instant::now();
        let body = paced(Body::from_stream(trickle), 1 << 30, Config::default(), Arc::default());
        let error = Multipart::new(body, "b").next_field().await.expect_err("it is given up");
        assert_eq!(of_form(error).status, StatusCode::REQUEST_TIMEOUT);
        assert!(begun.elapsed() < Config::default().body_within * 2);
    }
}
