//! A provider that answers every request the same, as cheaply as it can, and remembers when each job arrived.
//!
//! It reads one request after the other from each connection and looks at two headers. It is asked on standard input:
//! `until N` is answered with `<count> <nanoseconds> <open>` once N requests have come, `arrivals FILE` writes the times.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use benches::report::say;
use benches::request::Head;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::{MODEL, now};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long an answer takes
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Whether arrivals are remembered
    #[arg(long)]
    remember: bool,
}

struct Mock {
    answer: Vec<u8>,
    delay: Duration,
    remember: bool,
    count: Cell<u64>,
    open: Cell<u64>,
    arrivals: RefCell<Vec<(String, Duration)>>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mock = Rc::new(Mock {
        answer: answer(),
        delay: Duration::from_millis(args.delay_ms),
        remember: args.remember,
        count: Cell::default(),
        open: Cell::default(),
        arrivals: RefCell::default(),
    });
    say(listener.local_addr()?);
    let local = LocalSet::new();
    let accepting = mock.clone();
    local.spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mock = accepting.clone();
            // A connection that breaks is the caller's to notice.
            tokio::task::spawn_local(async move { mock.serve(stream).await });
        }
    });
    local.run_until(questions(mock)).await
}

/// About 1 KiB, in the form of OpenAI's chat completions.
fn answer() -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(15);
    let body = serde_json::json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_763_000_000, "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req-bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

impl Mock {
    async fn serve(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(4096);
        while let Some(head) = Head::read(&mut stream, &mut buffer).await? {
            let arrived = now();
            head.skip_body(&mut stream, &mut buffer).await?;
            self.count.set(self.count.get() + 1);
            if self.remember {
                let job = head.value("x-tollgate-job").unwrap_or_default().to_owned();
                self.arrivals.borrow_mut().push((job, arrived));
            }
            self.open.set(self.open.get() + 1);
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            self.open.set(self.open.get() - 1);
            stream.write_all(&self.answer).await?;
        }
        Ok(())
    }
}

/// How precisely `until` is answered; the answer itself holds the exact count and time.
const LOOK: Duration = Duration::from_millis(2);

async fn questions(mock: Rc<Mock>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("until", count)) => {
                let count: u64 = count.parse()?;
                while mock.count.get() < count {
                    tokio::time::sleep(LOOK).await;
                }
                say(format_args!("{} {} {}", mock.count.get(), now().as_nanos(), mock.open.get()));
            }
            Some(("arrivals", path)) => {
                let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
                for (job, at) in mock.arrivals.borrow().iter() {
                    writeln!(file, "{job} {}", at.as_nanos())?;
                }
                file.flush()?;
                say("written");
            }
            _ => bail!("'{line}' is no question"),
        }
    }
    Ok(())
}
