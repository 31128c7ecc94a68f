//! `key create`.

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::{KeyRecord, Keys};
use tollgate_types::api_key::{self, ID_CHARS, SECRET_CHARS};
use tollgate_types::job::NAME_BYTES_MAX;
use tollgate_types::{Class, Door, KeyId, Team};

use super::{Shown, note, unwritten};
use crate::commands::Cx;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team whose jobs come in with it
    #[arg(long, value_name = "TEAM")]
    team: Team,
    /// What people call it, such as the app that uses it
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// When it stops to open: a duration from now such as 90d; never if left out
    #[arg(long, value_name = "DURATION")]
    expires: Option<Period>,
    /// Only these models, comma separated; `gpt-4o*` is all that begin so
    #[arg(long, value_delimiter = ',', value_name = "MODELS", value_parser = name)]
    models: Vec<String>,
    /// Only jobs of these classes, comma separated
    #[arg(long, value_delimiter = ',', value_name = "CLASSES")]
    classes: Vec<Class>,
    /// Only these endpoints, comma separated: chat, embeddings, responses, messages
    #[arg(long, value_delimiter = ',', value_name = "ENDPOINTS")]
    endpoints: Vec<Door>,
    #[command(flatten)]
    pub(super) by: By,
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        true => Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes on one line")),
        false => Ok(text.to_owned()),
    }
}

/// A secret by chance. The thread's generator is seeded by the system and made for this.
pub(super) fn secret() -> String {
    rand::rng().sample_iter(&Alphanumeric).take(SECRET_CHARS).map(char::from).collect()
}

fn fresh_id() -> KeyId {
    const CHARS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    let id: String = (0..ID_CHARS).map(|_| char::from(CHARS[rng.random_range(0..CHARS.len())])).collect();
    id.parse().expect("letters and digits make an id")
}

pub(super) async fn run(args: &Args, operator: &Operator, keys: &Keys, cx: &Cx) -> Outcome {
    if operator.directory.team(args.team.as_str()).is_none() {
        let failure = Failure::new(Code::Usage, format!("the team {} is not registered", args.team));
        return Err(failure.try_this("look at `tollgate team list`"));
    }
    let (id, secret, now) = (fresh_id(), secret(), operator.now());
    let expires_at = args.expires.map(|period| now.plus(period.0));
    let record = KeyRecord {
        team: args.team.clone(),
        name: args.name.clone(),
        digest: api_key::digest_of(&secret).to_string(),
        before: None,
        created_at: now,
        created_by: operator.author().to_owned(),
        expires_at,
        revoked_at: None,
        models: args.models.clone(),
        classes: args.classes.clone(),
        endpoints: args.endpoints.clone(),
    };
    note(operator, (&id, &args.team), "key create", format!("key {id} ({}) created", args.name)).await?;
    match keys.create(&id, &record).await {
        Ok(()) => {}
        // The client sends again by itself what it got no answer to; what is there is ours, or no key of anybody's.
        Err(BucketError::Conflict)
            if keys.stored(&id).await.is_ok_and(|found| found.is_some_and(|(r, _)| r == record)) => {}
        Err(error) => return Err(unwritten(&error)),
    }
    let shown = Shown {
        key: api_key::written(&id, &secret),
        id,
        team: record.team,
        name: record.name,
        change: "created",
        expires_at: expires_at.map(|at| at.to_rfc3339()),
        old_until: None,
    };
    output::say(format_args!("key {} of team {}; it is shown this once:", shown.id, shown.team));
    cx.output.record(&shown, |shown| shown.key.clone())?;
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use tollgate_types::api_key::Presented;

    use super::*;

    #[test]
    fn a_fresh_key_is_one_and_no_two_are_the_same() {
        let (one, two) = (api_key::written(&fresh_id(), &secret()), api_key::written(&fresh_id(), &secret()));
        assert!(Presented::read(&one).is_some() && Presented::read(&two).is_some() && one != two);
    }
}
