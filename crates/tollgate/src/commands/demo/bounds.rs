//! `--max-cost-usd` against the configuration that the brokers run with: what each job can cost at most.

use std::path::PathBuf;

use tollgate_policy::price::Price;
use tollgate_types::{JobSpec, NanoUsd};
use tollgate_worker::Routes;

use super::guard::Bound;
use super::workload::{Planned, Workload};
use crate::commands::Cx;
use crate::config::{Overrides, build, load};
use crate::env::Env;
use crate::exit::{Code, Failure};

/// The most that jobs can cost, from the configuration that the brokers run with.
pub(super) struct Bounds {
    /// The cap on everything.
    pub(super) cap: NanoUsd,
    routes: Routes,
    calls: u32,
}

impl Bounds {
    /// From the configuration that the brokers run with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(cap: NanoUsd, config: PathBuf, cx: &Cx) -> Result<Self, Failure> {
        let overrides = Overrides { config: Some(config), ..Overrides::default() };
        let loaded = load(&overrides, &Env::default())?;
        let routes = build::routes(&loaded.config, &cx.env);
        let routes = routes.map_err(|problems| crate::config::Refused { path: loaded.path.clone(), problems })?;
        Ok(Bounds { cap, routes, calls: loaded.config.worker.attempts_total })
    }

    /// The bound of the dearest deployment; `None` for what is never called.
    pub(super) fn of(&self, planned: &Planned) -> Option<Bound> {
        let job = JobSpec::decode(&planned.line, usize::MAX).ok()?;
        let priced = self.routes.of(&job.request.model).iter();
        let priced = priced.filter_map(|priced| Some((priced.price.as_deref()?, priced.output_tokens_max)));
        let bound = |(price, answer_max): (&Price, u64)| Bound::of(&job, price, answer_max, self.calls);
        priced.map(bound).max_by_key(Bound::total)
    }

    /// Says with its numbers why not even the first job may run, if that is so.
    ///
    /// # Errors
    /// A failure with [`Code::Rejected`].
    pub(super) fn refuse_if_nothing_fits(&self, jobs: &mut Workload) -> Result<(), Failure> {
        let Some(first) = jobs.peek().and_then(|job| self.of(job)) else { return Ok(()) };
        if first.total() <= self.cap {
            return Ok(());
        }
        let what = format!("not even the first job fits under {}: {}", self.cap, first.arithmetic());
        Err(Failure::new(Code::Rejected, what)
            .try_this("raise --max-cost-usd, or ask for shorter answers or a cheaper model"))
    }
}
