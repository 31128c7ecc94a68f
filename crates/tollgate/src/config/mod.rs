//! The configuration: one TOML file, the usual variables of NATS and ClickHouse, and flags.
//!
//! What wins, from the strongest: a flag, an environment variable, a context of the `nats` command that a flag or
//! `NATS_CONTEXT` names, the file, the context that the file names, the default. The context that `nats context select`
//! chose counts only where nothing else names a server.
//!
//! Start with [`load`]; [`sections`] is the file's shape, [`check`] what is refused, [`build`] what becomes of it.

pub mod build;
pub mod check;
pub mod context;
pub mod expand;
pub mod file;
pub mod models;
pub mod overlay;
pub mod sections;
pub mod show;
pub mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::env::Env;
use crate::exit::{Code, Failure};

pub use overlay::Overrides;
pub use sections::Config;

/// The sample that ships, which a test loads.
pub const SAMPLE: &str = include_str!("../../../../deploy/tollgate.toml");

/// The file that is read if neither a flag nor a variable names one.
const DEFAULT_FILE: &str = "tollgate.toml";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything else.
    Default,
    /// A line of the file.
    File(usize),
    /// A context of the `nats` command.
    Context(String),
    /// An environment variable.
    Env(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(line) => write!(f, "file, line {line}"),
            Origin::Context(name) => write!(f, "nats context {name}"),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Something in the configuration that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `providers.openai.base_url`; empty for the file as a whole.
    pub key: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File(line) => write!(f, "line {line}: ")?,
            origin => write!(f, "{origin}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// Where each value comes from, by key. What is not in it is a default.
pub type Origins = BTreeMap<String, Origin>;

/// A configuration with where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective values.
    pub config: Config,
    /// Where each comes from.
    pub origins: Origins,
    /// The file that was read, if one was.
    pub path: Option<PathBuf>,
    /// What is probably not meant, but can be.
    pub warnings: Vec<Problem>,
    /// The environment that keys are looked up in.
    pub env: Env,
}

/// Why there is no configuration, with everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The file, if one was read.
    pub path: Option<PathBuf>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let place = refused.path.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
        let list: Vec<String> = refused.problems.iter().map(|problem| format!("  {problem}")).collect();
        Failure::new(Code::Usage, format!("{place} has {} problem(s)\n{}", list.len(), list.join("\n")))
            .try_this("correct them; `tollgate config example` prints a file with every key")
    }
}

/// Reads the file, lays the environment and the flags over it, and checks the whole.
///
/// # Errors
/// Returns everything that is wrong at once.
pub fn load(overrides: &Overrides, env: &Env) -> Result<Loaded, Refused> {
    let named = overrides.config.clone().or_else(|| env.get("TOLLGATE_CONFIG").map(PathBuf::from));
    let path = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
    let text = match &path {
        None => String::new(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| Refused {
            path: path.clone(),
            problems: vec![whole(format!("the file cannot be read: {error}"))],
        })?,
    };
    load_text(&text, path, overrides, env)
}

/// As [`load`], from the text of a file.
///
/// # Errors
/// Returns everything that is wrong at once.
pub fn load_text(text: &str, path: Option<PathBuf>, overrides: &Overrides, env: &Env) -> Result<Loaded, Refused> {
    let refused = |problems| Refused { path: path.clone(), problems };
    let file::Read { mut config, mut origins, mut problems } = file::read(text, env);
    if let Err(problem) = overlay::apply(&mut config, &mut origins, overrides, env) {
        problems.push(problem);
    }
    let found = check::check(&config, &origins);
    // What was left out for its form is missing now; that is no problem of its own.
    let mut about_form = problems.clone();
    about_form.retain(|problem| !problem.key.is_empty());
    problems.extend(found.problems.into_iter().filter(|p| !about_form.iter().any(|form| covers(&form.key, &p.key))));
    if problems.is_empty() {
        Ok(Loaded { config, origins, path, warnings: found.warnings, env: env.clone() })
    } else {
        Err(refused(problems))
    }
}

/// Whether a problem with `form` explains one with `key`: the same key, or one below or above it.
fn covers(form: &str, key: &str) -> bool {
    let below = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    below(form, key) || below(key, form)
}

fn whole(reason: String) -> Problem {
    Problem { key: String::new(), origin: Origin::Default, reason }
}

#[cfg(test)]
mod tests;
