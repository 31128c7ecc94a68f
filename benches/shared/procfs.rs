//! What a process has used, as the kernel tells it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Ticks per second of the times in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux platform that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of all threads of a process so far, ended ones included; in steps of 10 ms.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a measured process has ended")?;
    // The name in parentheses may hold anything; `utime` and `stime` are the 14th and 15th field (proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(") ").context("an unknown form of stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).context("an unknown form of stat");
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND))
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// Resident memory of a process (proc_pid_status(5)).
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a measured process has ended")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("an unknown form of status")?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().context("an unknown form of status")
    };
    Ok(Memory { resident: kib("VmRSS")? << 10, peak: kib("VmHWM")? << 10 })
}

/// User and system time of all threads of this process so far, to the nanosecond.
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
