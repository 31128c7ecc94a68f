//! What the doctor's observations mean: pure functions from what was seen to a finding.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tollgate_providers::Unanswered;
use tollgate_queue::streams::{Planned, Step};

use crate::config::Problem;
use crate::exit::Failure;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        })
    }
}

/// What a finding is about; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The file, the environment, the flags.
    Configuration,
    /// NATS and its streams.
    Nats,
    /// ClickHouse and the providers.
    Upstream,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What it is about.
    pub area: Area,
    /// What was looked at, such as `nats.version`.
    pub check: &'static str,
    /// What was seen.
    pub detail: String,
    /// What to do, if anything.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(area: Area, check: &'static str, detail: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Ok, area, check, detail: detail.into(), remedy: None }
    }

    /// It works, and somebody should know.
    pub fn warn(area: Area, check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Finding::ok(area, check, detail) }
    }

    /// It does not work.
    pub fn fail(area: Area, check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Fail, remedy: Some(remedy.into()), ..Finding::ok(area, check, detail) }
    }
}

impl From<(Area, &'static str, &Failure)> for Finding {
    /// What kept a check from being made.
    fn from((area, check, failure): (Area, &'static str, &Failure)) -> Self {
        Finding::fail(area, check, failure.reason(), failure.remedy().unwrap_or("see the reason"))
    }
}

impl fmt::Display for Finding {
    /// A line, and another for what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {:<22} {}", self.verdict, self.check, self.detail)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{:<28} try: {remedy}", "")?;
        }
        Ok(())
    }
}

/// The configuration could be read; otherwise nobody would be asked.
pub fn configuration(path: Option<&Path>, warnings: usize) -> Finding {
    let place = path.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    if warnings == 0 {
        Finding::ok(Area::Configuration, "config", place)
    } else {
        let detail = format!("{place}, {warnings} warning(s)");
        Finding::warn(Area::Configuration, "config", detail, "see the warnings above")
    }
}

/// How safely an acknowledged job is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives the death of the server's process, not that of its machine.
    ProcessCrash,
    /// It survives a loss of power of the one machine.
    PowerSingle,
    /// It survives the loss of any minority of the machines.
    PowerQuorum,
    /// At least the death of the process; the server's settings are not visible to us.
    Unknown,
}

/// The class of durability, from the replicas and, if the monitoring was asked, whether every write is synced.
pub fn durability(replicas: usize, sync_always: Option<bool>) -> Durability {
    match (replicas, sync_always) {
        (3.., _) => Durability::PowerQuorum,
        (_, Some(true)) => Durability::PowerSingle,
        (_, Some(false)) => Durability::ProcessCrash,
        (_, None) => Durability::Unknown,
    }
}

/// What a class of durability means for the operator.
pub fn stored_safely(durability: Durability) -> Finding {
    let check = "nats.durability";
    match durability {
        Durability::PowerQuorum => {
            Finding::ok(Area::Nats, check, "power-safe-quorum: a minority of the servers may lose power")
        }
        Durability::PowerSingle => {
            Finding::ok(Area::Nats, check, "power-safe-single: every write is synced; a lost disk loses all")
        }
        Durability::ProcessCrash => Finding::warn(
            Area::Nats,
            check,
            "process-crash-safe: a loss of power can lose the last two minutes of accepted jobs",
            "set sync_interval: always in the server's jetstream block, or [streams] replicas = 3",
        ),
        Durability::Unknown => Finding::warn(
            Area::Nats,
            check,
            "unknown: one replica, and whether writes are synced is not visible to us; process-crash-safe at least",
            "name the server's monitoring with --monitoring-url http://…:8222",
        ),
    }
}

/// Whether the teams can be kept apart in the account that we are in.
pub fn isolation(account: Option<&str>) -> Finding {
    let check = "nats.account";
    match account {
        Some("$G") => Finding::warn(
            Area::Nats,
            check,
            "the global account: teams in it can make the server drop acknowledgements into each other's lanes, replies \
             and results, whatever their permissions",
            "give Tollgate an account and each team one of its own, see deploy/nats/README.md",
        ),
        Some(account) => {
            Finding::ok(Area::Nats, check, format!("the account {account}; each team needs one of its own"))
        }
        None => Finding::warn(
            Area::Nats,
            check,
            "the server does not tell which account we are in",
            "allow us to publish $SYS.REQ.USER.INFO",
        ),
    }
}

/// Whether one thing that we must be able to publish or ask is possible.
pub fn permission(what: &str, answer: Result<(), String>) -> Finding {
    match answer {
        Ok(()) => Finding::ok(Area::Nats, "nats.permissions", format!("we may {what}")),
        Err(why) => Finding::fail(
            Area::Nats,
            "nats.permissions",
            format!("we may not {what}: {why}"),
            "create the streams with `tollgate init`, and allow our user what deploy/nats/README.md lists",
        ),
    }
}

/// Whether a stream is as the configuration wants it.
pub fn stream(planned: &Planned) -> Finding {
    let Planned { name, step } = planned;
    let check = "nats.streams";
    let differs = |what: &[String]| format!("{name} differs: {}", what.join(", "));
    match step {
        Step::Keep => Finding::ok(Area::Nats, check, format!("{name} is as configured")),
        Step::Create => Finding::fail(Area::Nats, check, format!("{name} is missing"), "run `tollgate init`"),
        Step::Raise(what) => Finding::warn(Area::Nats, check, differs(what), "run `tollgate init`"),
        Step::Refuse(what) => Finding::warn(
            Area::Nats,
            check,
            differs(what),
            "`tollgate init` lowers nothing: raise it in [streams], or lower the stream with `nats stream edit`",
        ),
    }
}

/// Bytes of server memory for each message with a subject of its own, measured: 280 MB for a million.
const KEPT_BYTES: u64 = 280;
/// Bytes of server memory for each consumer, measured.
const CONSUMER_BYTES: u64 = 61 * 1024;
/// More than this should not come as a surprise.
const MEMORY_NOTABLE: u64 = 2 << 30;

/// What the kept results, the waiting jobs and the lanes cost the server in memory, now and when the streams are full.
pub fn memory(kept: u64, kept_max: u64, consumers: u64) -> Finding {
    let bytes = |kept: u64| kept.saturating_mul(KEPT_BYTES).saturating_add(consumers.saturating_mul(CONSUMER_BYTES));
    let mib = |bytes: u64| bytes >> 20;
    let full = bytes(kept_max);
    let detail = format!(
        "about {} MiB for {kept} results and waiting jobs and {consumers} consumers; {} MiB for {kept_max}",
        mib(bytes(kept)),
        mib(full)
    );
    if full > MEMORY_NOTABLE {
        Finding::warn(
            Area::Nats,
            "nats.memory",
            detail,
            "give the server that memory, or lower [streams] results_max and wait_max",
        )
    } else {
        Finding::ok(Area::Nats, "nats.memory", detail)
    }
}

/// How far our clock may be from the server's before somebody should know: log lines no longer match then.
const CLOCK_NOTABLE: Duration = Duration::from_secs(1);

/// How far our clock is ahead of the server's, in milliseconds.
pub fn clock(ahead_ms: i64) -> Finding {
    let detail = format!("ours is {ahead_ms} ms ahead of the server's");
    if Duration::from_millis(ahead_ms.unsigned_abs()) < CLOCK_NOTABLE {
        Finding::ok(Area::Nats, "nats.clock", detail)
    } else {
        let remedy = "run NTP on both; Tollgate goes by the server's clock, but logs and deadlines of clients do not";
        Finding::warn(Area::Nats, "nats.clock", detail, remedy)
    }
}

/// Which schema the database has.
pub fn schema(found: Option<u32>, wanted: u32) -> Finding {
    let check = "clickhouse.schema";
    match found {
        None => Finding::fail(Area::Upstream, check, "no tables", "run `tollgate init`"),
        Some(found) if found < wanted => {
            Finding::fail(Area::Upstream, check, format!("version {found}, not {wanted}"), "run `tollgate init`")
        }
        Some(found) if found > wanted => {
            let detail = format!("version {found} is newer than this program's {wanted}");
            Finding::fail(Area::Upstream, check, detail, "use the newer tollgate")
        }
        Some(found) => Finding::ok(Area::Upstream, check, format!("version {found}")),
    }
}

/// A checker whose key is missing.
pub fn no_checker(problem: &Problem) -> Finding {
    Finding::fail(Area::Configuration, "checkers", problem.to_string(), "set it, or change key of the checker")
}

/// What an external checker makes of a word.
pub fn checked(checker: &str, answer: Result<(), Unanswered>) -> Finding {
    match answer {
        Ok(()) => Finding::ok(Area::Upstream, "checkers", format!("{checker} answers")),
        Err(why) => {
            let remedy = format!("check url, key and timeout of [checkers.{checker}]");
            Finding::fail(Area::Upstream, "checkers", format!("{checker}: {why}"), remedy)
        }
    }
}

/// What a provider says to its key; the key's id, if it has several.
pub fn probed(provider: &str, key: Option<&str>, status: Result<u16, String>) -> Finding {
    let check = "providers.probe";
    let which = key.map_or_else(|| "the key".to_owned(), |id| format!("the key {id}"));
    match status {
        Ok(200..=299) => {
            let with = key.map_or_else(String::new, |id| format!(" with the key {id}"));
            Finding::ok(Area::Upstream, check, format!("{provider} lets us in{with}"))
        }
        Ok(status @ (401 | 403)) => {
            let detail = format!("{provider} refuses {which} ({status})");
            Finding::fail(Area::Upstream, check, detail, format!("check {which} of [providers.{provider}]"))
        }
        Ok(404 | 405) => {
            let detail = format!("{provider} answers, and lists no models, so the key is not tried");
            Finding::warn(Area::Upstream, check, detail, "send it one job to be sure")
        }
        Ok(status) => {
            let detail = format!("{provider} answers with {status}");
            Finding::warn(Area::Upstream, check, detail, "try again later, and check base_url")
        }
        Err(why) => {
            let detail = format!("{provider} cannot be reached: {why}");
            Finding::fail(
                Area::Upstream,
                check,
                detail,
                format!("check base_url of [providers.{provider}] and the network"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_told_from_replicas_and_syncing() {
        for (replicas, sync_always, class, verdict) in [
            (1, None, Durability::Unknown, Verdict::Warn),
            (1, Some(false), Durability::ProcessCrash, Verdict::Warn),
            (1, Some(true), Durability::PowerSingle, Verdict::Ok),
            (3, None, Durability::PowerQuorum, Verdict::Ok),
            (5, Some(false), Durability::PowerQuorum, Verdict::Ok),
        ] {
            assert_eq!(durability(replicas, sync_always), class);
            assert_eq!(stored_safely(class).verdict, verdict, "{class:?}");
        }
    }

    #[test]
    fn everything_that_is_not_well_says_what_to_do() {
        let planned = |step| Planned { name: "S".into(), step };
        let findings = [
            (Verdict::Warn, isolation(Some("$G"))),
            (Verdict::Ok, isolation(Some("CORE"))),
            (Verdict::Warn, isolation(None)),
            (Verdict::Fail, permission("x", Err("no answer".into()))),
            (Verdict::Ok, permission("x", Ok(()))),
            (Verdict::Fail, stream(&planned(Step::Create))),
            (Verdict::Warn, stream(&planned(Step::Raise(vec!["max_bytes 1 -> 2".into()])))),
            (Verdict::Warn, stream(&planned(Step::Refuse(vec!["max_bytes 2 -> 1".into()])))),
            (Verdict::Ok, stream(&planned(Step::Keep))),
            (Verdict::Ok, clock(-999)),
            (Verdict::Warn, clock(-1000)),
            (Verdict::Ok, memory(0, 2_000_000, 300)),
            (Verdict::Warn, memory(0, 10_000_000, 0)),
            (Verdict::Fail, schema(None, 2)),
            (Verdict::Fail, schema(Some(1), 2)),
            (Verdict::Fail, schema(Some(3), 2)),
            (Verdict::Ok, schema(Some(2), 2)),
            (Verdict::Ok, probed("p", None, Ok(200))),
            (Verdict::Fail, probed("p", Some("key-2"), Ok(401))),
            (Verdict::Warn, probed("p", None, Ok(404))),
            (Verdict::Warn, probed("p", None, Ok(500))),
            (Verdict::Fail, probed("p", None, Err("refused".into()))),
            (Verdict::Warn, configuration(None, 1)),
        ];
        for (verdict, finding) in findings {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.remedy.is_some(), verdict != Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn memory_is_what_was_measured() {
        let finding = memory(1_000_000, 2_000_000, 300);
        assert_eq!(
            finding.detail,
            "about 284 MiB for 1000000 results and waiting jobs and 300 consumers; 551 MiB for 2000000"
        );
    }
}
