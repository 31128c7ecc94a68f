//! Values as JSON.

use bytes::Bytes;
use serde::Serialize;

/// A value as JSON of about so many bytes. With a good guess, a long text is not moved while it is written.
pub(crate) fn to_bytes(value: &impl Serialize, about: usize) -> Bytes {
    let mut json = Vec::with_capacity(about);
    serde_json::to_writer(&mut json, value).expect("values always serialise");
    json.into()
}
