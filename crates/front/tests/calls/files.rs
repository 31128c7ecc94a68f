//! Uploaded files: whole or not there, bound to their team, and nobody's memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use testkit::{Setup, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollgate_queue::{Files, streams};
use tollgate_types::UnixMillis;

use crate::world::{Doors, Key, told};

/// What the forms are parted by.
const BOUNDARY: &str = "end-of-a-part";
const LONG: Duration = Duration::from_secs(45);

/// A field of a form: its name, the name of its file if it has one, and its bytes.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// A form's body.
pub(crate) fn form(fields: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, value) in fields {
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

pub(crate) async fn upload(doors: &Doors, key: &Key, body: Vec<u8>) -> (u16, Value) {
    let request = doors.http.post(doors.url("/v1/files")).bearer_auth(&key.text);
    told(request.header("content-type", "multipart/form-data; boundary=end-of-a-part").body(body)).await
}

/// Uploads a file that is right and tells its id.
pub(crate) async fn uploaded(doors: &Doors, key: &Key, bytes: &[u8]) -> String {
    let (status, file) =
        upload(doors, key, form(&[("purpose", None, b"batch"), ("file", Some("in.jsonl"), bytes)])).await;
    assert_eq!(status, 200, "{file}");
    file["id"].as_str().unwrap().to_owned()
}

/// Messages in the stream of files.
async fn kept(doors: &Doors) -> u64 {
    let mut stream = doors.world.jetstream().await.get_stream("TOLLGATE_FILES").await.unwrap();
    stream.info().await.unwrap().state.messages
}

async fn empties(doors: &Doors) {
    eventually("nothing is left of what failed", LONG, || async { (kept(doors).await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_file_comes_back_byte_for_byte_and_goes_when_it_is_deleted() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    // More than one chunk, with what looks like the end of a form in it.
    let bytes: Vec<u8> =
        (0..1_300_000_u32).flat_map(|n| if n % 9973 == 0 { *b"\r\n--" } else { n.to_le_bytes() }).collect();
    let id = uploaded(&doors, &key, &bytes).await;
    let (status, file) = told(doors.get(&format!("/v1/files/{id}"), &key)).await;
    let facts = [&file["object"], &file["bytes"], &file["filename"], &file["purpose"], &file["status"]];
    assert_eq!(
        (status, facts),
        (200, [&json!("file"), &json!(bytes.len()), &json!("in.jsonl"), &json!("batch"), &json!("processed")])
    );
    assert_eq!(file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap(), 30 * 24 * 3600);
    let content = doors.get(&format!("/v1/files/{id}/content"), &key).send().await.unwrap();
    assert_eq!(content.headers()["content-length"], bytes.len().to_string());
    assert!(content.bytes().await.unwrap() == bytes, "other bytes came back");

    // The file may come before its purpose, and be kept for less.
    let fields: [Part<'_>; 4] = [
        ("file", Some("../second.jsonl"), b"x"),
        ("purpose", None, b"batch"),
        ("expires_after[anchor]", None, b"created_at"),
        ("expires_after[seconds]", None, b"3600"),
    ];
    let (status, second) = upload(&doors, &key, form(&fields)).await;
    assert_eq!((status, &second["filename"]), (200, &json!("second.jsonl")), "{second}");
    assert_eq!(second["expires_at"].as_i64().unwrap() - second["created_at"].as_i64().unwrap(), 3600);

    let ids = |list: &Value| list["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    let (_, list) = told(doors.get("/v1/files?purpose=batch", &key)).await;
    assert_eq!((ids(&list), &list["has_more"]), (vec![second["id"].clone(), json!(id)], &json!(false)), "{list}");
    let (_, list) = told(doors.get("/v1/files?limit=1&order=asc", &key)).await;
    assert_eq!((ids(&list), &list["has_more"]), (vec![json!(id)], &json!(true)));
    let (_, list) = told(doors.get(&format!("/v1/files?after={id}&order=asc"), &key)).await;
    assert_eq!(ids(&list), [second["id"].clone()]);

    for id in [id.as_str(), second["id"].as_str().unwrap()] {
        let delete = || doors.http.delete(doors.url(&format!("/v1/files/{id}"))).bearer_auth(&key.text);
        assert_eq!(told(delete()).await, (200, json!({ "id": id, "object": "file", "deleted": true })));
        assert_eq!(told(delete()).await.0, 404);
        assert_eq!(told(doors.get(&format!("/v1/files/{id}/content"), &key)).await.0, 404);
    }
    assert_eq!(kept(&doors).await, 0);
}

#[tokio::test]
async fn forms_that_are_wrong_get_the_right_word_and_leave_nothing() {
    let doors = Doors::with(Setup::default(), |config| config.file_bytes_max = 1 << 20).await;
    let key = doors.key(|_| {}).await;
    let (purpose, file): (Part<'_>, Part<'_>) = (("purpose", None, b"batch"), ("file", Some("f"), b"x"));
    let large = vec![b'x'; (1 << 20) + 1];
    for (what, fields, status, param) in [
        ("no purpose", vec![file], 400, Some("purpose")),
        ("no file", vec![purpose], 400, Some("file")),
        ("an empty file", vec![purpose, ("file", Some("f"), b"")], 400, Some("file")),
        ("another purpose", vec![("purpose", None, b"fine-tune"), file], 400, Some("purpose")),
        ("another purpose after it", vec![file, ("purpose", None, b"vision")], 400, Some("purpose")),
        ("two purposes", vec![purpose, purpose, file], 400, Some("purpose")),
        ("two files", vec![purpose, file, file], 400, Some("file")),
        ("an unknown field", vec![purpose, ("model", None, b"m"), file], 400, Some("model")),
        ("a long purpose", vec![("purpose", None, &large[..5000]), file], 400, Some("purpose")),
        (
            "a short life",
            vec![purpose, ("expires_after[seconds]", None, b"5"), file],
            400,
            Some("expires_after[seconds]"),
        ),
        (
            "another anchor",
            vec![purpose, ("expires_after[anchor]", None, b"x"), file],
            400,
            Some("expires_after[anchor]"),
        ),
        ("too large", vec![purpose, ("file", Some("f"), &large)], 413, Some("file")),
    ] {
        let (got, body) = upload(&doors, &key, form(&fields)).await;
        assert_eq!((got, body["error"]["param"].as_str()), (status, param), "{what}: {body}");
    }
    for (what, kind, body, status) in [
        ("no form", "application/json", b"{}".to_vec(), 415),
        ("no boundary", "multipart/form-data", form(&[purpose, file]), 415),
        ("another boundary", "multipart/form-data; boundary=c", form(&[purpose, file]), 400),
        ("half of it", "multipart/form-data; boundary=end-of-a-part", form(&[purpose, file])[..120].to_vec(), 400),
        ("nothing", "multipart/form-data; boundary=end-of-a-part", Vec::new(), 400),
        (
            "heads without end",
            "multipart/form-data; boundary=end-of-a-part",
            [format!("--{BOUNDARY}\r\n").into_bytes(), vec![b'x'; 900_000]].concat(),
            400,
        ),
    ] {
        let request = doors.http.post(doors.url("/v1/files")).bearer_auth(&key.text).header("content-type", kind);
        let (got, answer) = told(request.body(body)).await;
        assert_eq!(got, status, "{what}: {answer}");
    }
    empties(&doors).await;
}

#[tokio::test]
async fn a_sender_who_trickles_or_leaves_is_given_up_and_nothing_is_left() {
    let doors = Doors::with(Setup::default(), |config| config.body_pause_max = Duration::from_secs(1)).await;
    let key = doors.key(|_| {}).await;
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; boundary=end-of-a-part\r\n\
         content-length: 5000000\r\n\r\n",
        key.text
    );
    let begin = [head.into_bytes(), form(&[("file", Some("f"), &vec![b'x'; 700_000])])[..600_000].to_vec()].concat();
    let mut slow = TcpStream::connect(doors.addr).await.unwrap();
    slow.write_all(&begin).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(LONG, slow.read_exact(&mut answer)).await.expect("it is given up").unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    let mut leaving = TcpStream::connect(doors.addr).await.unwrap();
    leaving.write_all(&begin).await.unwrap();
    eventually("its first chunk is there", LONG, || async { (kept(&doors).await > 1).then_some(()) }).await;
    drop(leaving);
    empties(&doors).await;
}

#[tokio::test]
async fn another_team_sees_nothing_and_no_path_leads_out() {
    let doors = Doors::open().await;
    let (ours, theirs) =
        (doors.key(|_| {}).await, doors.key(|record| record.team = "marketing".parse().unwrap()).await);
    let id = uploaded(&doors, &ours, b"x").await;
    for path in ["", "/content"] {
        assert_eq!(told(doors.get(&format!("/v1/files/{id}{path}"), &theirs)).await.0, 404);
    }
    let delete = doors.http.delete(doors.url(&format!("/v1/files/{id}"))).bearer_auth(&theirs.text);
    assert_eq!(told(delete).await.0, 404);
    assert_eq!(told(doors.get("/v1/files", &theirs)).await.1["data"], json!([]));
    for path in [
        "*",
        "%3E",
        "file-*",
        "..%2F..%2Fetc%2Fpasswd",
        "file-%00",
        "batch_x",
        &format!("{id}.meta"),
        &id.to_uppercase(),
    ] {
        assert_eq!(told(doors.get(&format!("/v1/files/{path}"), &ours)).await.0, 404, "{path}");
    }
    let narrow = doors.key(|record| record.endpoints = vec![tollgate_types::Door::Messages]).await;
    let expired = doors.key(|record| record.expires_at = Some(UnixMillis(1))).await;
    assert_eq!(told(doors.get("/v1/files", &narrow)).await.0, 403);
    assert_eq!(told(doors.get("/v1/files", &expired)).await.0, 401);
    assert_eq!(told(doors.http.get(doors.url("/v1/files"))).await.0, 401);
}

#[tokio::test]
async fn a_team_fills_its_own_room_and_no_more() {
    let doors = Doors::with(Setup::default(), |config| {
        (config.file_bytes_max, config.team_files_bytes_max) = (1 << 20, 1 << 20);
    })
    .await;
    let (ours, theirs) =
        (doors.key(|_| {}).await, doors.key(|record| record.team = "marketing".parse().unwrap()).await);
    let fields: [Part<'_>; 2] = [("purpose", None, b"batch"), ("file", Some("f"), &vec![b'x'; 600_000])];
    let (status, first) = upload(&doors, &ours, form(&fields)).await;
    assert_eq!(status, 200, "{first}");
    let (status, full) = upload(&doors, &ours, form(&fields)).await;
    assert_eq!((status, &full["error"]["code"]), (400, &json!("storage_limit_exceeded")), "{full}");
    assert_eq!(upload(&doors, &theirs, form(&fields)).await.0, 200, "another team has its own");
    let id = first["id"].as_str().unwrap();
    assert_eq!(told(doors.http.delete(doors.url(&format!("/v1/files/{id}"))).bearer_auth(&ours.text)).await.0, 200);
    assert_eq!(upload(&doors, &ours, form(&fields)).await.0, 200, "the room is free again");
}

#[tokio::test]
async fn what_a_crash_left_of_an_upload_is_swept_and_what_is_whole_stays() {
    let mut doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let whole = uploaded(&doors, &key, b"whole").await;
    let before = kept(&doors).await;
    // A sender whose process of ours dies in the middle.
    let begin = form(&[("file", Some("f"), &vec![b'x'; 700_000])])[..600_000].to_vec();
    let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from(begin))]).chain(stream::pending());
    let request = doors.http.post(doors.url("/v1/files")).bearer_auth(&key.text);
    let request = request.header("content-type", "multipart/form-data; boundary=end-of-a-part");
    let sending = request.body(reqwest::Body::wrap_stream(pieces)).send();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { sending.await.is_err() });
    eventually("its first chunk is there", LONG, || async { (kept(&doors).await > before + 1).then_some(()) }).await;
    doors.crash_and_open_again().await;
    assert!(kept(&doors).await > before + 1, "nobody was there to remove it");
    let files = Files::new(&doors.world.broker("sweeper").await.client);
    let now = UnixMillis::from_rfc3339("2100-01-01T00:00:00Z").unwrap();
    let near = told(doors.get(&format!("/v1/files/{whole}"), &key)).await.1["created_at"].as_i64().unwrap() * 1000;
    let soon = UnixMillis(near + 60_000);
    assert_eq!(files.sweep(soon, Duration::from_secs(3600)).await.unwrap(), 0, "it may still be under way");
    assert_eq!(files.sweep(soon, Duration::from_secs(1)).await.unwrap(), 1);
    assert_eq!(kept(&doors).await, before);
    assert_eq!(told(doors.get(&format!("/v1/files/{whole}"), &key)).await.0, 200);
    assert_eq!(files.sweep(now, streams::FILES_AGE).await.unwrap(), 1, "its time is over");
    assert_eq!(kept(&doors).await, 0);
}
