//! What to do after a failed call: try again, go elsewhere, or give up; and what the failure is called.
//!
//! The table is exhaustive, without a wildcard: a new kind of failure does not compile until somebody decides. The
//! waits come from the caller ([`decide`]'s `backoff`), so that chance stays out of here.

use std::time::Duration;

use tollgate_types::event::ATTEMPTS_MAX;
use tollgate_types::{AttemptOutcome, ErrorCode, Failure, FailureKind};

/// What was tried so far in this run, the failed call included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Calls to the deployment that just failed.
    pub attempts_here: u32,
    /// Calls to all deployments together.
    pub attempts_total: u32,
    /// Whether another deployment is left that was not tried.
    pub other_deployment: bool,
}

/// How much may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most calls to one deployment in one run.
    pub attempts_per_deployment: u32,
    /// The most calls in one run; at most [`ATTEMPTS_MAX`], which a usage event can hold.
    pub attempts_total: u32,
    /// The longest wait that a provider may ask for and still be waited for.
    pub retry_after_max: Duration,
}

impl Default for Limits {
    /// Three calls to one deployment and six in all, as the vendors' own clients do in order of magnitude; a minute is
    /// the longest hint that they honour.
    fn default() -> Self {
        Limits { attempts_per_deployment: 3, attempts_total: 6, retry_after_max: Duration::from_secs(60) }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the same deployment again, after a wait.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Call the next deployment, now.
    OtherDeployment,
    /// Give up, for this reason.
    Final(ErrorCode),
}

/// What a kind of failure says about another try, before any limit.
enum Advice {
    /// The same deployment again, so many times; then another.
    Same { retries: u32 },
    /// Another deployment at once; without one, the same again as often as the limits allow.
    OtherElseSame,
    /// Another deployment; this one would fail again or bill again.
    Other,
    /// The request would fail everywhere.
    Final,
}

fn advice(kind: FailureKind) -> Advice {
    match kind {
        FailureKind::Connect | FailureKind::Reset | FailureKind::BadResponse => Advice::Same { retries: 1 },
        FailureKind::ServerError => Advice::Same { retries: 2 },
        FailureKind::RateLimited => Advice::OtherElseSame,
        // The provider may have worked and billed: a second try here would likely run into the same wall.
        FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => Advice::Other,
        FailureKind::QuotaExhausted | FailureKind::Auth | FailureKind::NotFound => Advice::Other,
        FailureKind::Unsupported => Advice::Other,
        FailureKind::ContextLength | FailureKind::ContentPolicy | FailureKind::InvalidRequest => Advice::Final,
        FailureKind::Deadline => Advice::Final,
    }
}

/// Decides what follows a failed call.
///
/// `backoff` is the wait that the caller would keep without a hint; the longer of it and the provider's hint counts. A
/// hint above [`Limits::retry_after_max`], or a wait that would outlast `remaining` (the time to the job's deadline),
/// rules out the same deployment.
pub fn decide(
    failure: &Failure,
    tried: Tried,
    limits: &Limits,
    backoff: Duration,
    remaining: Option<Duration>,
) -> Next {
    let give_up = Next::Final(code(failure.kind));
    if remaining == Some(Duration::ZERO) {
        return Next::Final(ErrorCode::DeadlineExceeded);
    }
    let total_max = limits.attempts_total.min(u32::try_from(ATTEMPTS_MAX).expect("a small number"));
    if tried.attempts_total >= total_max {
        return give_up;
    }
    let other = if tried.other_deployment { Next::OtherDeployment } else { give_up };
    let same_max = match advice(failure.kind) {
        Advice::Final => return give_up,
        Advice::Other => return other,
        Advice::OtherElseSame if tried.other_deployment => return other,
        Advice::OtherElseSame => limits.attempts_per_deployment,
        Advice::Same { retries } => limits.attempts_per_deployment.min(retries + 1),
    };
    let after = failure.retry_after.map_or(backoff, |hint| hint.max(backoff));
    let too_long = failure.retry_after.is_some_and(|hint| hint > limits.retry_after_max)
        || remaining.is_some_and(|remaining| after >= remaining);
    if tried.attempts_here >= same_max || too_long { other } else { Next::Retry { after } }
}

/// The code that a job ends with when this was its last failure.
pub fn code(kind: FailureKind) -> ErrorCode {
    match kind {
        FailureKind::Connect | FailureKind::Reset | FailureKind::ServerError => ErrorCode::ProviderUnavailable,
        FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => ErrorCode::ProviderTimeout,
        FailureKind::RateLimited => ErrorCode::RateLimited,
        FailureKind::QuotaExhausted => ErrorCode::QuotaExhausted,
        FailureKind::Auth => ErrorCode::ProviderAuth,
        FailureKind::NotFound => ErrorCode::ModelNotFound,
        FailureKind::ContextLength => ErrorCode::ContextLengthExceeded,
        FailureKind::ContentPolicy => ErrorCode::ContentFiltered,
        FailureKind::InvalidRequest => ErrorCode::InvalidRequest,
        FailureKind::Unsupported => ErrorCode::Unsupported,
        FailureKind::BadResponse => ErrorCode::BadResponse,
        FailureKind::Deadline => ErrorCode::DeadlineExceeded,
    }
}

/// How the failed call is booked.
pub fn outcome(kind: FailureKind) -> AttemptOutcome {
    match kind {
        FailureKind::RateLimited => AttemptOutcome::RateLimited,
        FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => AttemptOutcome::Timeout,
        FailureKind::Deadline => AttemptOutcome::Cancelled,
        FailureKind::Connect
        | FailureKind::Reset
        | FailureKind::QuotaExhausted
        | FailureKind::ServerError
        | FailureKind::Auth
        | FailureKind::NotFound
        | FailureKind::ContextLength
        | FailureKind::ContentPolicy
        | FailureKind::InvalidRequest
        | FailureKind::Unsupported
        | FailureKind::BadResponse => AttemptOutcome::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_types::Billed;

    use FailureKind::{
        Auth, BadResponse, Connect, ContentPolicy, ContextLength, Deadline, FirstByteTimeout, InvalidRequest, NotFound,
        QuotaExhausted, RateLimited, Reset, ServerError, TotalTimeout, Unsupported,
    };

    const BACKOFF: Duration = Duration::from_millis(500);

    fn failure(kind: FailureKind, retry_after: Option<Duration>) -> Failure {
        Failure { kind, http_status: None, retry_after, billed: Billed::No, message: String::new() }
    }

    fn next(kind: FailureKind, here: u32, total: u32, other_deployment: bool) -> Next {
        let tried = Tried { attempts_here: here, attempts_total: total, other_deployment };
        decide(&failure(kind, None), tried, &Limits::default(), BACKOFF, None)
    }

    /// Every kind: how often it is tried at one deployment, whether another helps, its code, how it is booked.
    const TABLE: [(FailureKind, u32, bool, ErrorCode, AttemptOutcome); 15] = [
        (Connect, 2, true, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        (FirstByteTimeout, 1, true, ErrorCode::ProviderTimeout, AttemptOutcome::Timeout),
        (TotalTimeout, 1, true, ErrorCode::ProviderTimeout, AttemptOutcome::Timeout),
        (Reset, 2, true, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        (RateLimited, 3, true, ErrorCode::RateLimited, AttemptOutcome::RateLimited),
        (QuotaExhausted, 1, true, ErrorCode::QuotaExhausted, AttemptOutcome::Error),
        (ServerError, 3, true, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        (Auth, 1, true, ErrorCode::ProviderAuth, AttemptOutcome::Error),
        (NotFound, 1, true, ErrorCode::ModelNotFound, AttemptOutcome::Error),
        (ContextLength, 1, false, ErrorCode::ContextLengthExceeded, AttemptOutcome::Error),
        (ContentPolicy, 1, false, ErrorCode::ContentFiltered, AttemptOutcome::Error),
        (InvalidRequest, 1, false, ErrorCode::InvalidRequest, AttemptOutcome::Error),
        (Unsupported, 1, true, ErrorCode::Unsupported, AttemptOutcome::Error),
        (BadResponse, 2, true, ErrorCode::BadResponse, AttemptOutcome::Error),
        (Deadline, 1, false, ErrorCode::DeadlineExceeded, AttemptOutcome::Cancelled),
    ];

    #[test]
    fn every_kind_follows_its_row() {
        for (kind, tries, other_helps, error, booked) in TABLE {
            for here in 1..=4 {
                let alone = next(kind, here, here, false);
                let expected = if here < tries { Next::Retry { after: BACKOFF } } else { Next::Final(error) };
                assert_eq!(alone, expected, "{kind:?} after {here} with no other deployment");
            }
            let with_other = next(kind, tries, tries, true);
            let expected = if other_helps { Next::OtherDeployment } else { Next::Final(error) };
            assert_eq!(with_other, expected, "{kind:?} with another deployment");
            assert_eq!((code(kind), outcome(kind)), (error, booked), "{kind:?}");
        }
        let kinds: std::collections::HashSet<_> = TABLE.iter().map(|row| row.0).collect();
        assert_eq!(kinds.len(), TABLE.len(), "each kind has one row");
    }

    #[test]
    fn a_rate_limit_goes_elsewhere_first() {
        assert_eq!(next(RateLimited, 1, 1, true), Next::OtherDeployment);
        assert_eq!(next(RateLimited, 1, 2, false), Next::Retry { after: BACKOFF });
    }

    #[test]
    fn all_attempts_together_are_bounded() {
        for (kind, _, _, error, _) in TABLE {
            assert_eq!(next(kind, 1, 6, true), Next::Final(error), "{kind:?}");
        }
        let generous = Limits { attempts_per_deployment: 99, attempts_total: 99, ..Limits::default() };
        let tried = Tried { attempts_here: 8, attempts_total: 8, other_deployment: true };
        let next = decide(&failure(RateLimited, None), tried, &generous, BACKOFF, None);
        assert_eq!(next, Next::Final(ErrorCode::RateLimited), "a usage event holds eight attempts");
    }

    #[test]
    fn an_operator_may_allow_fewer_tries_than_the_table() {
        let limits = Limits { attempts_per_deployment: 1, ..Limits::default() };
        for kind in [ServerError, Connect, RateLimited, BadResponse] {
            let tried = Tried { attempts_here: 1, attempts_total: 1, other_deployment: false };
            let next = decide(&failure(kind, None), tried, &limits, BACKOFF, None);
            assert_eq!(next, Next::Final(code(kind)), "{kind:?}");
        }
    }

    #[test]
    fn a_providers_hint_is_kept_within_reason() {
        let seconds = Duration::from_secs;
        let check = |hint, remaining, other_deployment, expected| {
            let tried = Tried { attempts_here: 1, attempts_total: 1, other_deployment };
            let failure = failure(ServerError, hint);
            let next = decide(&failure, tried, &Limits::default(), BACKOFF, remaining);
            assert_eq!(next, expected, "hint {hint:?}, remaining {remaining:?}, other {other_deployment}");
        };
        let unavailable = Next::Final(ErrorCode::ProviderUnavailable);
        check(Some(seconds(2)), None, false, Next::Retry { after: seconds(2) });
        check(Some(Duration::ZERO), None, false, Next::Retry { after: BACKOFF });
        check(Some(seconds(60)), None, true, Next::Retry { after: seconds(60) });
        check(Some(seconds(61)), None, true, Next::OtherDeployment);
        check(Some(seconds(61)), None, false, unavailable);
        check(Some(seconds(2)), Some(seconds(3)), false, Next::Retry { after: seconds(2) });
        check(Some(seconds(3)), Some(seconds(3)), true, Next::OtherDeployment);
        check(Some(seconds(3)), Some(seconds(3)), false, unavailable);
        check(None, Some(Duration::from_millis(400)), true, Next::OtherDeployment);
        check(None, Some(Duration::ZERO), true, Next::Final(ErrorCode::DeadlineExceeded));
    }
}
