//! The records of money and speed, in the bucket `TOLLGATE_LEDGER`: one per account and one per limit.
//!
//! They are changed by compare-and-swap alone, and whoever needs to know follows them with a watch. What is in them is
//! `policy`'s: here they are bytes.

use std::ops::Deref;

use async_nats::jetstream::Context;
use tollgate_types::subjects::LEDGER_BUCKET;
use tollgate_types::{AccountId, Digest, Scope};

use crate::bucket::{Bucket, BucketError};

/// What the keys of all accounts begin with; for [`Bucket::watch`] and [`Bucket::read_all`].
pub const ACCOUNTS: &str = "account.";
/// What the keys of all limits begin with.
pub const LIMITS: &str = "limit.";

/// The key of an account's record.
pub fn account_key(account: &AccountId) -> String {
    format!("{ACCOUNTS}{account}")
}

/// The account of a key, if it is one's.
pub fn account_of(key: &str) -> Option<AccountId> {
    key.strip_prefix(ACCOUNTS)?.parse().ok()
}

/// The key of a limit's record, by the digest of what it limits.
pub fn limit_key(digest: &str) -> String {
    format!("{LIMITS}{digest}")
}

/// The key of the limit's record of a team or one of its keys.
pub fn limit_of_scope(scope: &Scope) -> String {
    limit_key(&Digest::of(&[b"scope", scope.to_string().as_bytes()]).short())
}

/// The bucket `TOLLGATE_LEDGER`; it must exist, it is never created here.
///
/// A value has at most 256 KiB. Of each key the server keeps 16 versions.
#[derive(Clone, Debug)]
pub struct Records(Bucket);

impl Records {
    /// Opens the bucket. Cancel safe.
    ///
    /// # Errors
    /// [`BucketError::NoBucket`].
    pub async fn open(context: &Context) -> Result<Self, BucketError> {
        Bucket::open(context, LEDGER_BUCKET).await.map(Records)
    }
}

impl Deref for Records {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        &self.0
    }
}
