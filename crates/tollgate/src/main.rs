//! The `tollgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("the system has threads and timers");
    let code = runtime.block_on(tollgate::cli::run());
    // A statement of the embedded engine may still run on a thread; it is not waited for.
    runtime.shutdown_background();
    ExitCode::from(code as u8)
}
