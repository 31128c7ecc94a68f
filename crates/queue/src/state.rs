//! The broker's own small records, in the bucket `TOLLGATE_STATE`: the sink's manifest, suspects, who is in flight.

use std::ops::Deref;

use async_nats::jetstream::Context;
use tollgate_types::subjects::STATE_BUCKET;

pub use crate::bucket::BucketError as StateError;

use crate::bucket::Bucket;

/// The bucket `TOLLGATE_STATE`; it must exist, it is never created here.
#[derive(Clone, Debug)]
pub struct State(Bucket);

impl State {
    /// Opens the bucket. Cancel safe.
    ///
    /// # Errors
    /// [`StateError::NoBucket`].
    pub async fn open(context: &Context) -> Result<Self, StateError> {
        Bucket::open(context, STATE_BUCKET).await.map(State)
    }
}

impl Deref for State {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        &self.0
    }
}
