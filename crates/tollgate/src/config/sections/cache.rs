//! The cache of answers: what holds for everybody, and for one team over that.

use serde::{Deserialize, Serialize};
use tollgate_types::caching::{CacheMode, CacheRules, SharedBy, Temperature};

use crate::config::values::{Period, Size};

/// The cache, and what holds for everybody; what a file does not mention stays as it is on the running system.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The most bytes of kept answers in NATS; the oldest make room.
    pub bytes_max: Size,
    /// The most bytes of kept answers in the memory of each worker.
    pub memory_bytes_max: Size,
    /// `off`, `bypass` (only jobs that ask) or `use` (every job that does not ask otherwise).
    pub mode: Option<CacheMode>,
    /// How long an answer is kept.
    pub ttl: Option<Period>,
    /// The highest temperature at which a job that says nothing of the cache uses it.
    pub temperature_max: Option<Temperature>,
    /// Whose jobs share answers: those of a `team`, a `project` or a `user`.
    pub shared_by: Option<SharedBy>,
    /// The largest answer that is kept.
    pub answer_bytes_max: Option<Size>,
    /// Whether answers with calls of tools are kept.
    pub tool_calls: Option<bool>,
}

impl Default for Cache {
    fn default() -> Self {
        let bytes_max = tollgate_queue::streams::Limits::default().cache_bytes_max;
        Cache {
            bytes_max: Size(u64::try_from(bytes_max).expect("the default is positive")),
            memory_bytes_max: Size(tollgate_worker::Config::default().cache_memory_bytes_max),
            mode: None,
            ttl: None,
            temperature_max: None,
            shared_by: None,
            answer_bytes_max: None,
            tool_calls: None,
        }
    }
}

impl Cache {
    /// What holds for everybody, as far as the file says.
    pub fn rules(&self) -> CacheRules {
        let Cache { mode, ttl, temperature_max, shared_by, answer_bytes_max, tool_calls, .. } = *self;
        TeamCache { mode, ttl, temperature_max, shared_by, answer_bytes_max, tool_calls }.rules()
    }
}

/// What holds for one team.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeamCache {
    /// As [`Cache::mode`].
    pub mode: Option<CacheMode>,
    /// As [`Cache::ttl`].
    pub ttl: Option<Period>,
    /// As [`Cache::temperature_max`].
    pub temperature_max: Option<Temperature>,
    /// As [`Cache::shared_by`].
    pub shared_by: Option<SharedBy>,
    /// As [`Cache::answer_bytes_max`].
    pub answer_bytes_max: Option<Size>,
    /// As [`Cache::tool_calls`].
    pub tool_calls: Option<bool>,
}

impl TeamCache {
    /// What the file says.
    pub fn rules(&self) -> CacheRules {
        CacheRules {
            mode: self.mode,
            // Less than a second is nothing, which the check refuses.
            ttl_seconds: self.ttl.map(|ttl| ttl.0.as_secs()),
            temperature_max: self.temperature_max,
            shared_by: self.shared_by,
            answer_bytes_max: self.answer_bytes_max.map(|size| size.0),
            tool_calls: self.tool_calls,
        }
    }
}
