//! The commands, one file each.

pub mod apply;
pub mod batch;
pub mod budget;
pub mod cache;
pub mod completions;
pub mod config;
pub mod dead;
pub mod demo;
pub mod dev;
pub mod doctor;
pub mod embedded_clickhouse;
pub mod forget;
pub mod guardrails;
pub mod init;
pub mod job;
pub mod key;
pub mod ledger;
pub mod man;
pub mod models;
pub mod queue;
pub mod reconcile;
pub mod serve;
pub mod sim_provider;
pub mod span;
pub mod submit;
pub mod team;
pub mod top;
pub mod usage;
pub mod webhook;

use crate::config::{Loaded, Overrides, load};
use crate::env::Env;
use crate::exit::Failure;
use crate::output::{self, Output};

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Cx {
    /// What the command line says about the configuration.
    pub overrides: Overrides,
    /// The environment.
    pub env: Env,
    /// Where data goes.
    pub output: Output,
}

impl Cx {
    /// The configuration; its warnings go to standard error.
    ///
    /// # Errors
    /// A failure with everything that is wrong.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let loaded = load(&self.overrides, &self.env)?;
        for warning in &loaded.warnings {
            output::say(format_args!("warning: {warning}"));
        }
        Ok(loaded)
    }
}
