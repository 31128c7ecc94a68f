//! Embeddings: `dimensions` is `output_dimension`, and inputs are texts.

use bytes::Bytes;
use serde_json::{Map, Value};
use tollgate_types::job::Request;

use crate::adapter::{To, Unsendable};
use crate::embedding;
use crate::neutral::{Fields, Result};

/// The body to send.
pub(super) fn body(body: &Bytes, _request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    let _alias = fields.take("model");
    let model: Value = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    let mut out = Map::from_iter([("model".to_owned(), model)]);
    out.insert("input".into(), embedding::texts(fields.take("input"))?.into());
    out.extend(fields.take("dimensions").map(|value| ("output_dimension".to_owned(), value)));
    out.extend(fields.rest(&[("user", "null")])?);
    Ok(serde_json::to_vec(&out).expect("values always serialise").into())
}
