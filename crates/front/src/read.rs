//! Reading a body: no larger, no slower and no more at a time than can be taken, whoever sends it.

use std::sync::Mutex;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tollgate_policy::share::{NoRoom, Room};

use crate::Config;
use crate::refused::Refused;

/// The room for the bodies that are held at a time, in kibibytes; each team has its share of it.
pub(crate) struct Bodies(Mutex<Room>);

/// A body, and its part of the room for bodies until it is dropped.
pub(crate) struct Held<'a> {
    pub(crate) bytes: Bytes,
    _part: Part<'a>,
}

/// The part of the room that one body has.
struct Part<'a> {
    of: &'a Bodies,
    team: &'a str,
    kib: u64,
}

impl Bodies {
    pub(crate) fn new(bytes_max: usize) -> Bodies {
        Bodies(Mutex::new(Room::new(bytes_max as u64 / 1024)))
    }
}

impl Part<'_> {
    /// Takes as much as so many bytes need.
    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let more = (bytes.div_ceil(1024) as u64).saturating_sub(self.kib);
        if more == 0 {
            return Ok(());
        }
        let taken = self.of.0.lock().expect("no holder panics").take(self.team, more, self.kib);
        taken.map_err(|no_room| {
            metrics::counter!("tollgate_front_bodies_refused_total", "why" => match no_room {
                NoRoom::Full => "full",
                NoRoom::OverShare => "share",
            })
            .increment(1);
            match no_room {
                NoRoom::Full => Refused::later("too many bodies are being read at once; try again"),
                NoRoom::OverShare => {
                    let why = "too many bodies of this team are being read at once; try again";
                    let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", why);
                    Refused { retry_after: Some(1), ..refused }
                }
            }
        })?;
        self.kib += more;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.of.0.lock().expect("no holder panics").give_back(self.team, self.kib);
    }
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
    (bodies, team): (&'a Bodies, &'a str),
) -> Result<Held<'a>, Refused> {
    let until = Instant::now() + config.body_within;
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(bytes_max).min(64 * 1024);
    let mut bytes = BytesMut::with_capacity(hint);
    let mut part = Part { of: bodies, team, kib: 0 };
    loop {
        let patience = until.min(Instant::now() + config.body_pause_max);
        let frame = timeout_at(patience, body.frame()).await.map_err(|_| {
            let refused = Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come in time");
            Refused { retry: Some(false), ..refused }
        })?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|_| Refused::bad("bad_request", "the body broke off, or is not framed as it says"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&data);
        // Room is taken for what came, not for what was promised: a promise costs its sender nothing.
        part.grow(bytes.len())?;
    }
    Ok(Held { bytes: bytes.freeze(), _part: part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_bounded_in_bytes_and_in_the_room_of_all_bodies() {
        let config = Config::default();
        let room = Bodies::new(2048);
        let read = async |bytes: usize| {
            body(Body::from(vec![b'x'; bytes]), 4096, &config, (&room, "a")).await.map(|held| held.bytes.len())
        };
        assert_eq!(read(2048).await.ok(), Some(2048));
        assert_eq!(read(2049).await.expect_err("no room").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read(4097).await.expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(room.0.lock().unwrap().free(), 2, "the room is free again");
    }

    #[tokio::test]
    async fn a_team_leaves_room_for_others_and_hears_that_it_is_its_own_share() {
        let config = Config::default();
        let room = Bodies::new(12 << 10);
        let read = async |team: &'static str, kib: usize| {
            body(Body::from(vec![b'x'; kib << 10]), 1 << 20, &config, (&room, team)).await
        };
        let mut held = Vec::new();
        let refused = loop {
            match read("a", 1).await {
                Ok(one) => held.push(one),
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused.status, refused.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
        assert_eq!(held.len(), 6, "half of it");
        let others = (read("b", 3).await.expect("there is room"), read("c", 2).await.expect("for whoever comes"));
        assert_eq!(read("d", 2).await.err().map(|refused| refused.status), Some(StatusCode::SERVICE_UNAVAILABLE));
        drop((held, others));
        assert_eq!(read("a", 12).await.expect("one alone may be as large as the room").bytes.len(), 12 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let room = Bodies::new(2048);
        let refused = body(never, 4096, &Config::default(), (&room, "a")).await.err().expect("it is given up");
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
