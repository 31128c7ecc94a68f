//! What one team may reach across the border of its account, said once.

use std::fmt;
use std::fmt::Write as _;

use super::config::{BROKER_USER, SYS_USER};
use crate::Error;

/// A password in the server's configuration.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself.
    Plain(String),
    /// The name of an environment variable of the server that holds it.
    ///
    /// The server reads the variable's content as a value of its configuration language: it refuses a number and
    /// spaces, and `#` begins a comment. Letters and digits that begin with a letter are safe.
    Variable(String),
}

impl Password {
    /// The password as the configuration language writes it.
    pub(super) fn rendered(&self) -> String {
        match self {
            Self::Plain(password) => quoted(password),
            Self::Variable(name) => format!("${name}"),
        }
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self::Plain(password.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Variable(name) => write!(f, "Variable({name})"),
        }
    }
}

/// A string of the server's configuration language.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A team: an account of its own, with one user who is named like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamAccount {
    name: String,
    password: Password,
}

/// Subjects stay short, and a name is a token of many of them.
const NAME_BYTES_MAX: usize = 64;

impl TeamAccount {
    /// Makes a team of its name and password.
    ///
    /// # Errors
    ///
    /// [`Error::TeamName`] unless the name is 1 to 64 of `A-Z a-z 0-9 _ -` and no user of the server itself.
    pub fn new(name: &str, password: impl Into<Password>) -> Result<Self, Error> {
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(clean);
        if !fits || [BROKER_USER, SYS_USER].contains(&name) {
            return Err(Error::TeamName { name: name.to_owned() });
        }
        Ok(Self { name: name.to_owned(), password: password.into() })
    }

    /// The team's name, which is also its user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its account.
    #[must_use]
    pub fn account(&self) -> String {
        format!("TEAM_{}", self.name)
    }

    /// What it calls: submitting, asking, saying what its batches are, reading its own stored results and batches, putting
    /// and reading its own large bodies.
    fn services(&self) -> [String; 8] {
        let team = &self.name;
        [
            format!("tollgate.jobs.*.{team}"),
            format!("tollgate.api.{team}.>"),
            format!("tollgate.bulk.{team}.>"),
            format!("$JS.API.DIRECT.GET.TOLLGATE_RESULTS.tollgate.results.{team}.>"),
            format!("tollgate.blobs.{team}.>"),
            format!("$JS.API.DIRECT.GET.TOLLGATE_BLOBS.tollgate.blobs.{team}.>"),
            format!("$JS.API.DIRECT.GET.TOLLGATE_BATCHES.tollgate.bulk.{team}.>"),
            format!("$JS.API.DIRECT.GET.TOLLGATE_BATCHES.tollgate.batches.{team}.>"),
        ]
    }

    /// What it hears: results, tokens while they stream, how its batches stand, alerts of its budgets, replies to subjects
    /// of its own choice, replies to its inbox.
    fn streams(&self) -> [String; 6] {
        let team = &self.name;
        [
            format!("tollgate.results.{team}.>"),
            format!("tollgate.stream.{team}.>"),
            format!("tollgate.batches.{team}.>"),
            format!("tollgate.alert.{team}.>"),
            format!("reply.{team}.>"),
            format!("_INBOX_{team}.>"),
        ]
    }

    /// The lines for the `exports` of the account CORE.
    pub(super) fn exports(&self) -> String {
        let account = self.account();
        let mut lines = format!("      # {}\n", self.name);
        for (kind, subject) in self.border() {
            writeln!(lines, "      {{ {kind}: {}, accounts: [{account}] }}", quoted(&subject)).expect("infallible");
        }
        lines
    }

    /// The team's account.
    pub(super) fn block(&self) -> String {
        let list = |subjects: &[String]| subjects.iter().map(|subject| quoted(subject)).collect::<Vec<_>>().join(", ");
        let mut block = format!(
            r"  {account} {{
    users: [
      {{
        user: {user}
        password: {password}
        permissions: {{
          publish: {{ allow: [{publish}] }}
          subscribe: {{ allow: [{subscribe}] }}
        }}
      }}
    ]
    imports: [
",
            account = self.account(),
            user = quoted(&self.name),
            password = self.password.rendered(),
            publish = list(&self.services()),
            subscribe = list(&self.streams()),
        );
        for (kind, subject) in self.border() {
            writeln!(block, "      {{ {kind}: {{ account: CORE, subject: {} }} }}", quoted(&subject))
                .expect("infallible");
        }
        block.push_str("    ]\n  }\n");
        block
    }

    fn border(&self) -> impl Iterator<Item = (&'static str, String)> {
        let services = self.services().into_iter().map(|subject| ("service", subject));
        services.chain(self.streams().into_iter().map(|subject| ("stream", subject)))
    }
}

/// What to add to a server's configuration for one more team, with instructions, as the command line shows it.
#[must_use]
pub fn team_account_block(team: &TeamAccount) -> String {
    format!(
        "# 1. In `accounts`, to the `exports` of CORE:\n\n{}\n# 2. In `accounts`, beside the other teams:\n\n{}\n\
         # 3. Check the file, then let the server read it again, TWICE, a second apart: after the first time what\n\
         #    a new account publishes reaches nobody. Clients stay connected.\n\
         #      nats-server -t -c tollgate.conf && nats-server --signal reload && sleep 1 && nats-server --signal reload\n\
         # Clients of {name} connect as user {name} with the inbox prefix _INBOX_{name}.\n",
        team.exports(),
        team.block(),
        name = team.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_widen_a_subject_are_refused() {
        for name in ["", "*", ">", "a.b", "a b", "a\"", "é", "broker", "sys", &"x".repeat(65)] {
            assert!(matches!(TeamAccount::new(name, "p"), Err(Error::TeamName { .. })), "{name}");
        }
        for name in ["search", "T-1_x", &"x".repeat(64)] {
            assert!(TeamAccount::new(name, "p").is_ok(), "{name}");
        }
    }

    #[test]
    fn passwords_are_quoted_and_never_debugged() {
        assert_eq!(Password::from("a\"b\\c$d").rendered(), r#""a\"b\\c$d""#);
        assert_eq!(Password::Variable("SECRET".to_owned()).rendered(), "$SECRET");
        let team = TeamAccount::new("search", "hunter2").unwrap();
        assert!(!format!("{team:?}").contains("hunter2"));
    }

    #[test]
    fn the_block_for_one_more_team_has_its_account_its_exports_and_the_way_to_reload() {
        let block = team_account_block(&TeamAccount::new("search", "p").unwrap());
        for part in [
            "TEAM_search {",
            r#"{ service: "tollgate.jobs.*.search", accounts: [TEAM_search] }"#,
            r#"{ stream: { account: CORE, subject: "reply.search.>" } }"#,
            "--signal reload",
            "_INBOX_search",
        ] {
            assert!(block.contains(part), "{part} is missing in:\n{block}");
        }
    }
}
