//! The provider: answers every request with what its address names.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use benches::report::say;
use benches::request::Head;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::answers::Answer;

/// The time between two events of a paced answer.
const BETWEEN_EVENTS: Duration = Duration::from_millis(1);

/// Says its address, and answers until its standard input ends: then whoever started it is gone.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(listener.local_addr()?);
    let local = LocalSet::new();
    local.spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that breaks is the caller's to notice.
            tokio::task::spawn_local(serve(stream));
        }
    });
    let closed = async { tokio::io::stdin().read_to_end(&mut Vec::new()).await };
    local.run_until(closed).await.map(drop).context("standard input broke")
}

async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut known: HashMap<String, Rc<Vec<Vec<u8>>>> = HashMap::new();
    while let Some(head) = Head::read(&mut stream, &mut buffer).await? {
        head.skip_body(&mut stream, &mut buffer).await?;
        let segment = head.first_segment().context("a request without a path")?;
        let pieces = match known.get(segment) {
            Some(pieces) => pieces.clone(),
            None => {
                let pieces = Rc::new(segment.parse::<Answer>()?.response());
                known.insert(segment.to_owned(), pieces.clone());
                pieces
            }
        };
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                tokio::time::sleep(BETWEEN_EVENTS).await;
            }
            stream.write_all(piece).await?;
        }
    }
    Ok(())
}
