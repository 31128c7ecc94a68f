//! What to do after a failed call: try again, go elsewhere, wait, or give up; and what the failure is called.
//!
//! The table is exhaustive, without a wildcard: a new kind of failure does not compile until somebody decides. The
//! waits come from the caller ([`decide`]'s `backoff`), so that chance stays out of here.

use std::time::Duration;

use tollgate_types::event::ATTEMPTS_MAX;
use tollgate_types::{AttemptOutcome, ErrorCode, Failure, FailureKind};

/// What was tried so far in this run, the failed call included, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Calls to the deployment that just failed.
    pub attempts_here: u32,
    /// Calls to all deployments together.
    pub attempts_total: u32,
    /// What is left.
    pub left: Left,
}

/// What is left to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Another key of the same deployment.
    pub key: bool,
    /// Another deployment of the model that was not ruled out and takes calls.
    pub deployment: bool,
    /// Another model that may serve after this kind of failure, and takes calls.
    pub model: bool,
    /// Whether any deployment of the model takes calls still, this one included.
    pub open: bool,
    /// Whether any of them has answered somebody since this run began to call: then it is not all of them that are down.
    pub well: bool,
}

/// How much may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most calls to one deployment in one run.
    pub attempts_per_deployment: u32,
    /// The most calls in one run; at most [`ATTEMPTS_MAX`], which a usage event can hold.
    pub attempts_total: u32,
    /// The longest that a provider is left alone because it asked; one that asks for longer is asked again after this.
    pub retry_after_max: Duration,
}

impl Default for Limits {
    /// Three calls to one deployment and six in all, as the vendors' own clients do in order of magnitude. Ten minutes:
    /// a typing error must not stop a model for long, and a question every ten minutes offends nobody.
    fn default() -> Self {
        Limits { attempts_per_deployment: 3, attempts_total: 6, retry_after_max: Duration::from_secs(600) }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the same deployment again at once, with another key.
    OtherKey,
    /// Call the same deployment again, after a wait.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Call another deployment of the model, now.
    OtherDeployment,
    /// Call a deployment of another model, now.
    OtherModel,
    /// The job waits, without a slot, and begins anew.
    Wait {
        /// At least so long.
        after: Duration,
    },
    /// Give up, for this reason.
    Final(ErrorCode),
}

/// What a kind of failure says about another try, before any limit.
enum Advice {
    /// The same deployment again, so many times; then another, then another model.
    Same { retries: u32 },
    /// Another deployment at once; without one, the same again as often as the limits allow.
    OtherElseSame,
    /// Another key of the same deployment; without one, another deployment.
    OtherKey,
    /// Another deployment, then another model; this one would fail again or bill again.
    Other,
    /// Another model, if one is named for this; every deployment of this one would say the same.
    OtherModel,
    /// The request would fail everywhere.
    Final,
}

fn advice(kind: FailureKind) -> Advice {
    match kind {
        FailureKind::Connect | FailureKind::Reset | FailureKind::BadResponse => Advice::Same { retries: 1 },
        FailureKind::ServerError => Advice::Same { retries: 2 },
        FailureKind::RateLimited => Advice::OtherElseSame,
        FailureKind::QuotaExhausted | FailureKind::Auth => Advice::OtherKey,
        // The provider may have worked and billed: a second try here would likely run into the same wall.
        FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => Advice::Other,
        FailureKind::NotFound | FailureKind::NotAgain | FailureKind::Unsupported => Advice::Other,
        FailureKind::ContextLength | FailureKind::ContentPolicy => Advice::OtherModel,
        FailureKind::InvalidRequest | FailureKind::Deadline => Advice::Final,
    }
}

/// Whether a further try after this kind of failure adds load to an outage, and so comes out of the deployment's budget
/// of retries and fallbacks.
pub fn is_an_outage(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Connect
        | FailureKind::Reset
        | FailureKind::BadResponse
        | FailureKind::ServerError
        | FailureKind::NotAgain
        | FailureKind::RateLimited
        | FailureKind::FirstByteTimeout
        | FailureKind::TotalTimeout => true,
        FailureKind::QuotaExhausted
        | FailureKind::Auth
        | FailureKind::NotFound
        | FailureKind::Unsupported
        | FailureKind::ContextLength
        | FailureKind::ContentPolicy
        | FailureKind::InvalidRequest
        | FailureKind::Deadline => false,
    }
}

/// Decides what follows a failed call.
///
/// `backoff` is the wait that the caller would keep without a hint; the longer of it and the provider's hint counts. A
/// wait that would outlast `remaining` (the time to the job's deadline) is none.
///
/// A job is not given up for what passes: a rate limit, a provider that said when to come back, or an outage of all
/// deployments of its model. It waits. Not without end, though, where it is alone: a job whose answers come and cannot be
/// used, or do not come in time, was billed perhaps, and one that the provider called vain is vain. They end.
pub fn decide(
    failure: &Failure,
    tried: Tried,
    limits: &Limits,
    backoff: Duration,
    remaining: Option<Duration>,
) -> Next {
    if remaining == Some(Duration::ZERO) {
        return Next::Final(ErrorCode::DeadlineExceeded);
    }
    let left = tried.left;
    let hint = failure.retry_after.map(|hint| hint.min(limits.retry_after_max));
    let after = hint.map_or(backoff, |hint| hint.max(backoff));
    let in_time = remaining.is_none_or(|remaining| after < remaining);
    let passes = match failure.kind {
        FailureKind::RateLimited => true,
        FailureKind::Connect | FailureKind::Reset | FailureKind::ServerError => {
            hint.is_some() || !left.open || !left.well
        }
        kind if is_an_outage(kind) => hint.is_some() || !left.open,
        _ => false,
    };
    let give_up = if passes && in_time { Next::Wait { after } } else { Next::Final(code(failure.kind)) };
    let total_max = limits.attempts_total.min(u32::try_from(ATTEMPTS_MAX).expect("a small number"));
    if tried.attempts_total >= total_max {
        return give_up;
    }
    let other_model = if left.model { Next::OtherModel } else { give_up };
    let other = if left.deployment { Next::OtherDeployment } else { other_model };
    let same_max = match advice(failure.kind) {
        Advice::Final => return Next::Final(code(failure.kind)),
        Advice::OtherModel => return other_model,
        Advice::OtherKey if left.key => return Next::OtherKey,
        Advice::OtherKey | Advice::Other => return other,
        Advice::OtherElseSame if left.deployment => return other,
        Advice::OtherElseSame => limits.attempts_per_deployment,
        Advice::Same { retries } => limits.attempts_per_deployment.min(retries + 1),
    };
    if tried.attempts_here >= same_max || !in_time || !left.open { other } else { Next::Retry { after } }
}

/// The code that a job ends with when this was its last failure.
pub fn code(kind: FailureKind) -> ErrorCode {
    match kind {
        FailureKind::Connect | FailureKind::Reset | FailureKind::ServerError | FailureKind::NotAgain => {
            ErrorCode::ProviderUnavailable
        }
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
        | FailureKind::NotAgain
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
        Auth, BadResponse, Connect, ContentPolicy, ContextLength, Deadline, FirstByteTimeout, InvalidRequest, NotAgain,
        NotFound, QuotaExhausted, RateLimited, Reset, ServerError, TotalTimeout, Unsupported,
    };

    const BACKOFF: Duration = Duration::from_millis(500);
    const ALONE: Left = Left { key: false, deployment: false, model: false, open: true, well: true };

    fn failure(kind: FailureKind, retry_after: Option<Duration>) -> Failure {
        Failure { kind, http_status: None, retry_after, billed: Billed::No, message: String::new() }
    }

    fn next(kind: FailureKind, here: u32, left: Left) -> Next {
        let tried = Tried { attempts_here: here, attempts_total: here, left };
        decide(&failure(kind, None), tried, &Limits::default(), BACKOFF, None)
    }

    /// Every kind: how often it is tried at one deployment, what helps beside that, its code, how it is booked.
    struct Row(FailureKind, u32, Helps, ErrorCode, AttemptOutcome);

    #[derive(Clone, Copy, PartialEq)]
    enum Helps {
        Nothing,
        Model,
        DeploymentThenModel,
        KeyThenDeployment,
    }
    use Helps::{DeploymentThenModel, KeyThenDeployment, Model, Nothing};

    const TABLE: [Row; 16] = [
        Row(Connect, 2, DeploymentThenModel, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        Row(FirstByteTimeout, 1, DeploymentThenModel, ErrorCode::ProviderTimeout, AttemptOutcome::Timeout),
        Row(TotalTimeout, 1, DeploymentThenModel, ErrorCode::ProviderTimeout, AttemptOutcome::Timeout),
        Row(Reset, 2, DeploymentThenModel, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        Row(RateLimited, 3, DeploymentThenModel, ErrorCode::RateLimited, AttemptOutcome::RateLimited),
        Row(QuotaExhausted, 1, KeyThenDeployment, ErrorCode::QuotaExhausted, AttemptOutcome::Error),
        Row(ServerError, 3, DeploymentThenModel, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        Row(NotAgain, 1, DeploymentThenModel, ErrorCode::ProviderUnavailable, AttemptOutcome::Error),
        Row(Auth, 1, KeyThenDeployment, ErrorCode::ProviderAuth, AttemptOutcome::Error),
        Row(NotFound, 1, DeploymentThenModel, ErrorCode::ModelNotFound, AttemptOutcome::Error),
        Row(ContextLength, 1, Model, ErrorCode::ContextLengthExceeded, AttemptOutcome::Error),
        Row(ContentPolicy, 1, Model, ErrorCode::ContentFiltered, AttemptOutcome::Error),
        Row(InvalidRequest, 1, Nothing, ErrorCode::InvalidRequest, AttemptOutcome::Error),
        Row(Unsupported, 1, DeploymentThenModel, ErrorCode::Unsupported, AttemptOutcome::Error),
        Row(BadResponse, 2, DeploymentThenModel, ErrorCode::BadResponse, AttemptOutcome::Error),
        Row(Deadline, 1, Nothing, ErrorCode::DeadlineExceeded, AttemptOutcome::Cancelled),
    ];

    #[test]
    fn every_kind_follows_its_row() {
        for Row(kind, tries, helps, error, booked) in TABLE {
            // A rate limit passes: whoever is alone with it waits.
            let end = if kind == RateLimited { Next::Wait { after: BACKOFF } } else { Next::Final(error) };
            for here in 1..=4 {
                let expected = if here < tries { Next::Retry { after: BACKOFF } } else { end };
                assert_eq!(next(kind, here, ALONE), expected, "{kind:?} after {here} with nothing else");
            }
            let (model, deployment, key) = match helps {
                Nothing => (end, end, end),
                Model => (Next::OtherModel, end, end),
                DeploymentThenModel => (Next::OtherModel, Next::OtherDeployment, end),
                KeyThenDeployment => (Next::OtherModel, Next::OtherDeployment, Next::OtherKey),
            };
            assert_eq!(next(kind, tries, Left { model: true, ..ALONE }), model, "{kind:?} with another model");
            let two = Left { deployment: true, ..ALONE };
            assert_eq!(next(kind, tries, two), deployment, "{kind:?} with another deployment");
            assert_eq!(next(kind, tries, Left { key: true, ..ALONE }), key, "{kind:?} with another key");
            assert_eq!((code(kind), outcome(kind)), (error, booked), "{kind:?}");
        }
        let kinds: std::collections::HashSet<_> = TABLE.iter().map(|row| row.0).collect();
        assert_eq!(kinds.len(), TABLE.len(), "each kind has one row");
    }

    #[test]
    fn a_deployment_comes_before_another_model_and_a_key_before_both() {
        let all = Left { key: true, deployment: true, model: true, ..ALONE };
        assert_eq!(next(ServerError, 3, all), Next::OtherDeployment);
        assert_eq!(next(Auth, 1, all), Next::OtherKey);
        assert_eq!(next(Auth, 1, Left { key: false, ..all }), Next::OtherDeployment);
    }

    #[test]
    fn a_rate_limit_goes_elsewhere_first() {
        assert_eq!(next(RateLimited, 1, Left { deployment: true, ..ALONE }), Next::OtherDeployment);
        assert_eq!(next(RateLimited, 1, ALONE), Next::Retry { after: BACKOFF });
        assert_eq!(next(RateLimited, 1, Left { model: true, ..ALONE }), Next::Retry { after: BACKOFF });
    }

    #[test]
    fn an_outage_of_all_deployments_is_waited_for() {
        let shut = Left { open: false, ..ALONE };
        for kind in [Connect, Reset, ServerError, NotAgain, BadResponse, FirstByteTimeout, TotalTimeout, RateLimited] {
            assert!(is_an_outage(kind));
            for here in 1..=3 {
                assert_eq!(next(kind, here, shut), Next::Wait { after: BACKOFF }, "{kind:?} after {here}");
            }
        }
        for kind in [Auth, QuotaExhausted, NotFound, Unsupported, ContextLength, ContentPolicy, InvalidRequest] {
            assert!(!is_an_outage(kind));
            assert_eq!(next(kind, 1, shut), Next::Final(code(kind)), "{kind:?}");
        }
        assert_eq!(next(ServerError, 1, Left { model: true, ..shut }), Next::OtherModel);
    }

    #[test]
    fn nobody_is_given_up_while_nobody_is_answered_unless_it_may_have_been_billed_or_is_in_vain() {
        let down = Left { well: false, ..ALONE };
        for Row(kind, tries, .., error, _) in TABLE {
            let waits = matches!(kind, Connect | Reset | ServerError | RateLimited);
            let expected = if waits { Next::Wait { after: BACKOFF } } else { Next::Final(error) };
            assert_eq!(next(kind, tries, down), expected, "{kind:?}");
        }
    }

    #[test]
    fn all_attempts_together_are_bounded() {
        let all = Left { key: true, deployment: true, model: true, ..ALONE };
        let after = |kind, limits: &Limits, total| {
            let tried = Tried { attempts_here: 1, attempts_total: total, left: all };
            decide(&failure(kind, None), tried, limits, BACKOFF, None)
        };
        for Row(kind, .., error, _) in TABLE.into_iter().filter(|row| row.0 != RateLimited) {
            assert_eq!(after(kind, &Limits::default(), 6), Next::Final(error), "{kind:?}");
        }
        let generous = Limits { attempts_per_deployment: 99, attempts_total: 99, ..Limits::default() };
        let waits = Next::Wait { after: BACKOFF };
        assert_eq!(after(RateLimited, &generous, 8), waits, "a usage event holds eight attempts");
    }

    #[test]
    fn an_operator_may_allow_fewer_tries_than_the_table() {
        let limits = Limits { attempts_per_deployment: 1, ..Limits::default() };
        for kind in [ServerError, Connect, BadResponse] {
            let tried = Tried { attempts_here: 1, attempts_total: 1, left: ALONE };
            let next = decide(&failure(kind, None), tried, &limits, BACKOFF, None);
            assert_eq!(next, Next::Final(code(kind)), "{kind:?}");
        }
    }

    #[test]
    fn a_providers_hint_is_kept_within_reason() {
        let seconds = Duration::from_secs;
        let check = |hint: Option<u64>, remaining: Option<u64>, here, deployment, expected| {
            let tried = Tried { attempts_here: here, attempts_total: here, left: Left { deployment, ..ALONE } };
            let failure = failure(ServerError, hint.map(seconds));
            let next = decide(&failure, tried, &Limits::default(), BACKOFF, remaining.map(seconds));
            assert_eq!(next, expected, "hint {hint:?}, remaining {remaining:?}, here {here}, other {deployment}");
        };
        let unavailable = Next::Final(ErrorCode::ProviderUnavailable);
        check(Some(2), None, 1, false, Next::Retry { after: seconds(2) });
        check(Some(0), None, 1, false, Next::Retry { after: BACKOFF });
        check(Some(61), None, 1, true, Next::Retry { after: seconds(61) });
        check(Some(2), None, 3, false, Next::Wait { after: seconds(2) });
        check(Some(2), None, 3, true, Next::OtherDeployment);
        check(Some(1_000_000_000), None, 1, false, Next::Retry { after: seconds(600) });
        check(Some(2), Some(3), 1, false, Next::Retry { after: seconds(2) });
        check(Some(3), Some(3), 1, true, Next::OtherDeployment);
        check(Some(3), Some(3), 1, false, unavailable);
        check(None, Some(0), 1, true, Next::Final(ErrorCode::DeadlineExceeded));
    }
}
