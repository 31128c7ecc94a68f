//! Reading a body: no larger, no slower and no more at a time than can be taken, whoever sends it.

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::Config;
use crate::refused::Refused;

/// A body, and its part of the room for bodies until it is dropped.
pub(crate) struct Held<'a> {
    pub(crate) bytes: Bytes,
    _room: Vec<SemaphorePermit<'a>>,
}

/// Refuses what is no JSON by its own word, before any of it is read.
pub(crate) fn judge(headers: &HeaderMap, bytes_max: usize) -> Result<(), Refused> {
    let unsupported =
        |message: String| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    if let Some(kind) = types.next() {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" || types.next().is_some() {
            return Err(unsupported("the Content-Type must be application/json".to_owned()));
        }
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(unsupported("a Content-Encoding is not taken; send the body uncompressed".to_owned()));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) { Err(too_large(bytes_max)) } else { Ok(()) }
}

fn too_large(bytes_max: usize) -> Refused {
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body may have {bytes_max} bytes"))
}

/// Reads a body whole. Cancel safe: what was read is lost, and its room is free.
pub(crate) async fn body<'a>(
    mut body: Body,
    bytes_max: usize,
    config: &Config,
    room: &'a Semaphore,
) -> Result<Held<'a>, Refused> {
    let until = Instant::now() + config.body_within;
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(bytes_max).min(64 * 1024);
    let mut bytes = BytesMut::with_capacity(hint);
    let mut taken = Vec::new();
    let mut kib = 0;
    loop {
        let patience = until.min(Instant::now() + config.body_pause_max);
        let frame = timeout_at(patience, body.frame()).await.map_err(|_| {
            let refused = Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come in time");
            Refused { retry: Some(false), ..refused }
        })?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|_| Refused::bad("bad_request", "the body broke off, or is not framed as it says"))?;
        let Ok(part) = frame.into_data() else { continue };
        if bytes.len() + part.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&part);
        // Room is taken for what came, not for what was promised: a promise costs its sender nothing.
        let needs = bytes.len().div_ceil(1024);
        if needs > kib {
            let more = u32::try_from(needs - kib).expect("a body is far smaller");
            let busy = |_| Refused::later("too many bodies are being read at once; try again");
            taken.push(room.try_acquire_many(more).map_err(busy)?);
            kib = needs;
        }
    }
    Ok(Held { bytes: bytes.freeze(), _room: taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_bounded_in_bytes_and_in_the_room_of_all_bodies() {
        let config = Config::default();
        let room = Semaphore::new(2);
        let read = async |bytes: usize| {
            body(Body::from(vec![b'x'; bytes]), 4096, &config, &room).await.map(|held| held.bytes.len())
        };
        assert_eq!(read(2048).await.ok(), Some(2048));
        assert_eq!(read(2049).await.expect_err("no room").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read(4097).await.expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(room.available_permits(), 2, "the room is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let room = Semaphore::new(2);
        let refused = body(never, 4096, &Config::default(), &room).await.err().expect("it is given up");
        assert_eq!((refused.status, refused.retry), (StatusCode::REQUEST_TIMEOUT, Some(false)));
    }

    #[test]
    fn what_is_no_json_by_its_own_word_is_refused_unread() {
        let check = |name: header::HeaderName, value: &str, expected: Option<u16>| {
            let headers = HeaderMap::from_iter([(name, value.parse().expect("a value"))]);
            assert_eq!(judge(&headers, 100).err().map(|refused| refused.status.as_u16()), expected, "{value}");
        };
        check(header::CONTENT_TYPE, "application/json; charset=utf-8", None);
        check(header::CONTENT_TYPE, "Application/JSON", None);
        check(header::CONTENT_TYPE, "application/x-www-form-urlencoded", Some(415));
        check(header::CONTENT_TYPE, "text/plain", Some(415));
        check(header::CONTENT_ENCODING, "gzip", Some(415));
        check(header::CONTENT_LENGTH, "100", None);
        check(header::CONTENT_LENGTH, "101", Some(413));
    }
}
