//! Who acts, and why: for raises, pauses and the audit.

use tollgate_types::job::NAME_BYTES_MAX;

use crate::env::Env;
use crate::exit::{Code, Failure};

/// The longest reason, in bytes: it is kept with every raise and pause.
const REASON_BYTES_MAX: usize = 1024;

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct By {
    /// Who does it, for the audit; user@host if left out
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

impl By {
    /// Somebody, without a reason.
    pub fn named(author: Option<String>) -> Self {
        By { author, reason: None }
    }

    /// Who acts: the name that was given, or the user of this machine.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn author(&self, env: &Env) -> Result<String, Failure> {
        let author = match &self.author {
            Some(author) => author.trim().to_owned(),
            None => of_machine(env),
        };
        if author.is_empty() || author.len() > NAME_BYTES_MAX || author.contains(char::is_control) {
            let what = format!("the author is not named in 1 to {NAME_BYTES_MAX} bytes of one line");
            return Err(Failure::new(Code::Usage, what).try_this("name somebody with --author"));
        }
        Ok(author)
    }

    /// Why; empty if nobody said.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_BYTES_MAX {
        return Err(format!("a reason has at most {REASON_BYTES_MAX} bytes"));
    }
    Ok(text.trim().to_owned())
}

/// Names nobody for sure: it is what the machine says, and a help for whoever reads the audit.
fn of_machine(env: &Env) -> String {
    let unknown = || "unknown".to_owned();
    let user = env.first(&["USER", "LOGNAME"]).map_or_else(unknown, |(_, user)| user);
    let host = env.get("HOSTNAME").or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(host.trim().to_owned()).filter(|host| !host.is_empty())
    });
    let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(NAME_BYTES_MAX / 8).collect::<String>();
    format!("{}@{}", cut(user), cut(host.unwrap_or_else(unknown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_named_or_else_the_user_of_the_machine() {
        let env = Env::of([("USER", "ann"), ("HOSTNAME", "desk")]);
        assert_eq!(By::default().author(&env).expect("a name"), "ann@desk");
        let named = |name: &str| By { author: Some(name.into()), reason: None }.author(&env);
        assert_eq!(named(" bob ").expect("a name"), "bob");
        for bad in ["", "  ", "a\nb", &"x".repeat(257)] {
            assert!(named(bad).is_err(), "{bad:?}");
        }
        let nobody = By::default().author(&Env::default()).expect("a name");
        assert!(nobody.starts_with("unknown@"), "{nobody}");
    }
}
