//! The provider: the same answer for everybody, after a delay.

use std::time::Duration;

use anyhow::Context as _;
use benches::report::say;
use benches::request::Head;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long an answer takes
    #[arg(long)]
    delay_ms: u64,
}

/// Says its address, and answers until its standard input ends.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(listener.local_addr()?);
    let delay = Duration::from_millis(args.delay_ms);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that breaks is the caller's to notice.
            tokio::spawn(serve(stream, delay));
        }
    });
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.map(drop).context("standard input broke")
}

async fn serve(mut stream: TcpStream, delay: Duration) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let text = " fox".repeat(100);
    let body = serde_json::json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_763_000_000, "model": "bench-small",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": 220, "completion_tokens": 100, "total_tokens": 320 },
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let answer = format!("{head}{}\r\n\r\n{body}", body.len());
    let mut buffer = Vec::with_capacity(4096);
    while let Some(head) = Head::read(&mut stream, &mut buffer).await? {
        head.skip_body(&mut stream, &mut buffer).await?;
        tokio::time::sleep(delay).await;
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
