//! Runs an embedded ClickHouse in the foreground:
//! `cargo run -p embedded-clickhouse --example serve -- LIBRARY DATA [ADDRESS [USER PASSWORD]]`.
//!
//! It prints its address on the first line of standard output, and stops with its standard input.

use std::net::SocketAddr;

use embedded_clickhouse::Config;

#[allow(clippy::print_stdout, reason = "an example's output is for its reader")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let library = arguments.next().ok_or("the path of libchdb is missing")?;
    let data = arguments.next().ok_or("the path of the data directory is missing")?;
    let mut config = Config { watch_stdin: true, ..Config::new(library, data) };
    if let Some(listen) = arguments.next() {
        config.listen = listen.parse()?;
    }
    if let Some(user) = arguments.next() {
        config.user = user;
        config.password = Some(arguments.next().ok_or("the user's password is missing")?.into());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(embedded_clickhouse::run(config, |addr: SocketAddr| println!("{addr}")));
    // Dropped, it would wait for statements that outlast the grace period.
    runtime.shutdown_background();
    Ok(outcome?)
}
