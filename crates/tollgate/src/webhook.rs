//! Posts alerts to the operator's webhook, as JSON, best effort: alerts are published on their subjects all the same.
//!
//! Whoever has an alert hands it over and goes on; a slow or dead address holds up nobody. The address often carries a
//! key, so it is in no message.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tollgate_webhooks::post::in_words;

use crate::config::values::Secret;
use crate::exit::{Code, Failure};

/// Alerts that wait to be posted; they are few, once a threshold and window. Hundreds are an address that is dead.
const WAITING_MAX: usize = 256;
/// How long one post may take.
const POST_WITHIN: Duration = Duration::from_secs(5);
/// The waits before the three tries again: over a restart, and over a short outage.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// Where alerts are handed over. Clones lead to the same [`Poster`].
#[derive(Clone, Debug)]
pub struct Webhook {
    sender: mpsc::Sender<Value>,
}

/// Posts what is handed over, one after the other. It has no `Debug`, which would show the address.
pub struct Poster {
    client: reqwest::Client,
    address: reqwest::Url,
    alerts: mpsc::Receiver<Value>,
    again_after: [Duration; 3],
}

/// Prepares posts to an address, by way of a proxy if one is given. Nothing is sent yet.
///
/// # Errors
/// The address or the proxy is none, or there are no authorities to trust.
pub fn webhook(address: &Secret, proxy: Option<&str>) -> Result<(Webhook, Poster), Failure> {
    tollgate_providers::install_crypto();
    // No message repeats the address; the check of the configuration names its key.
    let unusable = || Failure::new(Code::Usage, "alerts.webhook is not an address");
    let address = reqwest::Url::parse(address.expose()).map_err(|_| unusable())?;
    let no_client =
        |error: reqwest::Error| Failure::new(Code::Usage, "alerts cannot be posted").because(&error.without_url());
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(POST_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(no_client)?);
    }
    let client = builder.build().map_err(no_client)?;
    let (sender, alerts) = mpsc::channel(WAITING_MAX);
    Ok((Webhook { sender }, Poster { client, address, alerts, again_after: AGAIN_AFTER }))
}

impl Webhook {
    /// Hands an alert over, and does not wait. One too many is dropped, and said.
    pub fn tell(&self, alert: &impl Serialize) {
        let told = serde_json::to_value(alert).map(|alert| self.sender.try_send(alert));
        match told {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!(waiting_max = WAITING_MAX, "an alert was not posted: too many wait"),
            Err(error) => tracing::error!(%error, "an alert was not posted: it is no JSON"),
        }
    }
}

/// What became of one post.
enum Posted {
    Taken,
    /// It may be taken later: no answer, a server in trouble, too many requests.
    Again(String),
    /// It never will be.
    Refused(String),
}

impl Poster {
    /// Posts alerts until nobody can hand over any more. Cancelled, what waits is not posted.
    pub async fn run(mut self) {
        while let Some(alert) = self.alerts.recv().await {
            self.deliver(&alert).await;
        }
    }

    async fn deliver(&self, alert: &Value) {
        let mut waits = self.again_after.iter();
        loop {
            let reason = match self.post(alert).await {
                Posted::Taken => return,
                Posted::Again(reason) => match waits.next() {
                    Some(wait) => {
                        tracing::warn!(reason, "an alert was not taken by the webhook; trying again");
                        tokio::time::sleep(*wait).await;
                        continue;
                    }
                    None => reason,
                },
                Posted::Refused(reason) => reason,
            };
            tracing::error!(reason, "an alert was not taken by the webhook");
            return;
        }
    }

    async fn post(&self, alert: &Value) -> Posted {
        use reqwest::StatusCode;
        match self.client.post(self.address.clone()).json(alert).send().await {
            Ok(answer) if answer.status().is_success() => Posted::Taken,
            Ok(answer) => {
                let status = answer.status();
                let later = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                let reason = format!("it answered {status}");
                if later || status.is_server_error() { Posted::Again(reason) } else { Posted::Refused(reason) }
            }
            Err(error) => Posted::Again(in_words(&error.without_url())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Answers one request for each status, and returns their bodies.
    async fn server(statuses: &'static [u16]) -> (String, JoinSet<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}/hook?key=secret", listener.local_addr().expect("an address"));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut bodies = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut read = Vec::new();
                let body = loop {
                    stream.read_buf(&mut read).await.expect("a request");
                    let text = String::from_utf8_lossy(&read).into_owned();
                    if let Some((_, body)) = text.split_once("\r\n\r\n").filter(|(_, body)| body.ends_with('}')) {
                        break body.to_owned();
                    }
                };
                bodies.push(body);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("an answer");
            }
            bodies
        });
        (address, task)
    }

    async fn posted(statuses: &'static [u16], alerts: &[u32]) -> Vec<String> {
        let (address, mut task) = server(statuses).await;
        let (webhook, mut poster) = webhook(&Secret::new(address), None).expect("an address");
        poster.again_after = [Duration::ZERO; 3];
        alerts.iter().for_each(|n| webhook.tell(&serde_json::json!({ "n": n })));
        drop(webhook);
        poster.run().await;
        task.join_next().await.expect("the server").expect("it did not panic")
    }

    #[tokio::test]
    async fn alerts_are_posted_in_order_and_again_while_that_may_help() {
        assert_eq!(posted(&[200, 204], &[1, 2]).await, [r#"{"n":1}"#, r#"{"n":2}"#]);
        assert_eq!(posted(&[503, 429, 200, 200], &[1, 2]).await.len(), 4);
        // Three times again, then the next one; what is refused for good is not tried again.
        assert_eq!(posted(&[500, 500, 500, 500, 200], &[1, 2]).await[4], r#"{"n":2}"#);
        assert_eq!(posted(&[404, 200], &[1, 2]).await[1], r#"{"n":2}"#);
    }

    #[tokio::test]
    async fn handing_over_never_waits_and_one_too_many_is_dropped() {
        let (webhook, mut poster) = webhook(&Secret::new("http://127.0.0.1:1/"), None).expect("an address");
        (0..=WAITING_MAX).for_each(|n| webhook.tell(&n));
        let mut waiting = 0;
        while poster.alerts.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING_MAX);
    }

    #[tokio::test]
    async fn no_message_repeats_the_address() {
        let (_, poster) = webhook(&Secret::new("http://127.0.0.1:1/T0/secret"), None).expect("an address");
        let Posted::Again(reason) = poster.post(&Value::Null).await else { panic!("nobody listens there") };
        assert!(!reason.contains("secret") && !reason.is_empty(), "{reason}");
        let refused = webhook(&Secret::new("secret"), None).err().expect("no address");
        assert!(!refused.to_string().contains("secret"));
    }
}
