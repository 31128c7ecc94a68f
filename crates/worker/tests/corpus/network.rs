//! 54, 55 and 62: handshakes that nobody answers, names that nobody has, words before the answer, connections that end between two calls.

use crate::bench::check;
use crate::row::Paid::{Estimated, Nothing, Told};
use crate::row::{At, Row, always, row};
use crate::server::{GOOD, Reply};

/// An answer behind what a server may say before it.
fn after(words: &str) -> Reply {
    let head = format!("{words}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len());
    Reply::bytes(head)
}

fn names() -> Vec<Row> {
    // Reserved for names that never resolve: RFC 6761, section 6.4.
    let nowhere = || At::Address("http://name.invalid/v1".to_owned());
    vec![
        row(54, "a handshake that hangs", At::Mute).backup().tries([Nothing, Nothing, Told]),
        row(55, "no such name, with another provider", nowhere()).backup().tries([Nothing, Nothing, Told]),
    ]
}

fn connections() -> Vec<Row> {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
    let on = "HTTP/1.1 100 Continue\r\n\r\n";
    let warm = |name, replies| Row { warm: true, ..row(62, name, At::Raw(replies)) };
    let gone = Reply::bytes("").and_close();
    vec![
        row(62, "100 Continue, unasked", always(after(on))),
        row(62, "103 Early Hints", always(after(hints))),
        row(62, "all of them, often", always(after(&format!("{on}{hints}{on}{hints}{hints}")))),
        // A connection that is closed while nobody uses it costs nothing.
        warm("a connection closed between two calls", vec![Reply::good().and_close()]),
        warm(
            "a connection that is announced to close",
            vec![Reply::http("200 OK", &["connection: close"], GOOD).and_close()],
        ),
        // One that ends when a request is there may have been heard.
        warm("a connection closed at the second call", vec![Reply::good(), gone.clone(), Reply::good()])
            .tries([Estimated, Told]),
        row(62, "a connection closed at every call, with another provider", always(gone))
            .backup()
            .tries([Estimated, Estimated, Told]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_heard_is_tried_again_for_nothing_and_what_may_have_been_is_booked() {
    check([names(), connections()].into_iter().flatten().collect()).await;
}
