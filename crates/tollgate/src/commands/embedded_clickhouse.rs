//! `embedded-clickhouse`: the ClickHouse engine in a process of its own, started by `dev` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use embedded_clickhouse::Config;
use secrecy::SecretString;

use super::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::telemetry;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The library `libchdb`
    #[arg(long, value_name = "PATH")]
    library: PathBuf,
    /// Directory of the data
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
    /// The only user; the password comes from TOLLGATE_EMBEDDED_PASSWORD
    #[arg(long, default_value = "default", value_name = "USER")]
    user: String,
}

/// Runs the engine until its standard input ends.
///
/// # Errors
/// When the engine or the listener does not start.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    telemetry::init_quiet(&cx.env);
    let config = Config {
        listen: args.listen,
        user: args.user,
        password: cx.env.get("TOLLGATE_EMBEDDED_PASSWORD").map(SecretString::from),
        watch_stdin: true,
        ..Config::new(args.library, args.path)
    };
    let ready = |addr| output::say(format_args!("clickhouse at http://{addr}"));
    let ran = embedded_clickhouse::run(config, ready).await;
    ran.map_err(|error| Failure::new(Code::Failed, "the embedded ClickHouse did not run").because(&error))?;
    Ok(Code::Ok)
}
