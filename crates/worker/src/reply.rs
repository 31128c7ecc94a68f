//! The reply: a best-effort copy of the committed result, at least once, to where the job asked for it.

use bytes::Bytes;
use tollgate_types::subjects::ReplyTo;

use crate::context::Context;

/// Copies the result. Whoever listens gets it; nobody listening is no failure, the result is kept.
///
/// Killed before the publish, or between it and the ack: the job is delivered again and the copy is sent (again).
pub(crate) async fn send(reply_to: Option<ReplyTo>, result: Bytes, cx: &Context) {
    let Some(ReplyTo::Allowed(subject)) = reply_to else { return };
    if let Err(error) = cx.connection.reply(subject, result).await {
        tracing::warn!(%error, "reply not sent; the result is kept");
        metrics::counter!("tollgate_replies_failed_total").increment(1);
    }
}

/// What the producer should know about a reply that was asked for and cannot be sent.
pub(crate) fn warning(reply_to: Option<&ReplyTo>) -> Option<String> {
    match reply_to? {
        ReplyTo::Allowed(_) | ReplyTo::Forbidden => None,
        ReplyTo::Malformed(why) => {
            Some(format!("`tollgate.reply_to` is not a subject to publish on ({why}); the result was kept, not copied"))
        }
    }
}
