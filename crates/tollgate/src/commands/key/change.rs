//! `key revoke` and `key rotate`.

use serde::Serialize;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::keys::Before;
use tollgate_queue::{KeyRecord, Keys};
use tollgate_types::{KeyId, Team, api_key};

use super::create::secret;
use super::{Shown, note, unread, unwritten};
use crate::commands::Cx;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};
use crate::output;

/// The flags of `key revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The key's id, which stands between the underscores of the key
    #[arg(value_name = "ID")]
    id: KeyId,
    #[command(flatten)]
    pub(super) by: By,
}

/// The flags of `key rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    /// The key's id
    #[arg(value_name = "ID")]
    id: KeyId,
    /// For how long the old secret still opens; 0s closes it at once
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    grace: Period,
    /// When the key stops to open, from now; as it was if left out
    #[arg(long, value_name = "DURATION")]
    expires: Option<Period>,
    #[command(flatten)]
    pub(super) by: By,
}

/// Changes are tried so often against others who change the same key.
const TRIES: u32 = 4;

#[derive(Debug, Serialize)]
struct Revoked {
    id: KeyId,
    team: Team,
    name: String,
    change: &'static str,
}

async fn stored(keys: &Keys, id: &KeyId) -> Result<(KeyRecord, u64), Failure> {
    let found = keys.stored(id).await.map_err(|error| unread(&error))?;
    let missing = || Failure::new(Code::Usage, format!("there is no key {id}")).try_this("look at `tollgate key list`");
    found.ok_or_else(missing)
}

/// Killed before the write the key is open, and the audit tells of more than happened; killed after it, it is closed.
pub(super) async fn revoke(args: &Revoke, operator: &Operator, keys: &Keys, cx: &Cx) -> Outcome {
    let mut noted = false;
    for _ in 0..TRIES {
        let (record, revision) = stored(keys, &args.id).await?;
        let said =
            |change| Revoked { id: args.id.clone(), team: record.team.clone(), name: record.name.clone(), change };
        if record.revoked_at.is_some() {
            // Also after a write whose answer was lost.
            let change = if noted { "revoked" } else { "unchanged" };
            cx.output.record(&said(change), |said| format!("key {} is revoked", said.id))?;
            return Ok(Code::Ok);
        }
        if !std::mem::replace(&mut noted, true) {
            let what = format!("key {} ({}) revoked", args.id, record.name);
            note(operator, (&args.id, &record.team), "key revoke", what).await?;
        }
        let after = KeyRecord { revoked_at: Some(operator.now()), before: None, ..record.clone() };
        match keys.update(&args.id, &after, revision).await {
            Ok(()) => {
                cx.output
                    .record(&said("revoked"), |said| format!("key {} of team {} is revoked", said.id, said.team))?;
                return Ok(Code::Ok);
            }
            Err(BucketError::Conflict | BucketError::Unknown(_)) => {}
            Err(error) => return Err(unwritten(&error)),
        }
    }
    Err(Failure::new(Code::Failed, "others change the same key all the time").try_this("repeat the command"))
}

/// Killed before the write nothing changed; killed after it nobody has seen the new secret, and the old one opens for its
/// grace: rotate again.
pub(super) async fn rotate(args: &Rotate, operator: &Operator, keys: &Keys, cx: &Cx) -> Outcome {
    let (record, revision) = stored(keys, &args.id).await?;
    if record.revoked_at.is_some() {
        let failure = Failure::new(Code::Usage, format!("the key {} is revoked", args.id));
        return Err(failure.try_this("make a new one with `tollgate key create`"));
    }
    let (secret, now) = (secret(), operator.now());
    let old_until = now.plus(args.grace.0);
    let keeps = !args.grace.0.is_zero();
    let after = KeyRecord {
        digest: api_key::digest_of(&secret).to_string(),
        before: keeps.then(|| Before { digest: record.digest.clone(), until: old_until }),
        expires_at: args.expires.map(|period| now.plus(period.0)).or(record.expires_at),
        ..record
    };
    let what = format!("key {} ({}) rotated; the old secret opens for {}", args.id, after.name, args.grace);
    note(operator, (&args.id, &after.team), "key rotate", what).await?;
    if let Err(error) = keys.update(&args.id, &after, revision).await {
        let written = keys.stored(&args.id).await.is_ok_and(|found| found.is_some_and(|(record, _)| record == after));
        if !written {
            return Err(unwritten(&error));
        }
    }
    let shown = Shown {
        key: api_key::written(&args.id, &secret),
        id: args.id.clone(),
        team: after.team,
        name: after.name,
        change: "rotated",
        expires_at: after.expires_at.map(|at| at.to_rfc3339()),
        old_until: keeps.then(|| old_until.to_rfc3339()),
    };
    let old = match &shown.old_until {
        Some(until) => format!("the old secret opens until {until}"),
        None => "the old secret is closed".to_owned(),
    };
    output::say(format_args!("key {} of team {}; {old}; the new one is shown this once:", shown.id, shown.team));
    cx.output.record(&shown, |shown| shown.key.clone())?;
    Ok(Code::Ok)
}
