//! One request to a webhook, and what its answer means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tollgate_queue::notices::Topic;

use crate::signature;

/// How long one request may take; the standard asks receivers to answer within 15 to 30 s.
const POST_WITHIN: Duration = Duration::from_secs(30);

/// Where a team is told of what it wants to hear. It has no `Debug`: addresses often carry a key.
#[derive(Clone)]
pub struct Endpoint {
    /// The address.
    pub url: SecretString,
    /// The secret that requests are signed with.
    pub secret: SecretString,
    /// What it is told of.
    pub topics: Vec<Topic>,
}

/// Why a webhook cannot be used. No message repeats address or secret.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The address is none.
    #[error("the url is not an address such as https://example.com/results")]
    Url,
    /// The secret is too short, or no base64 after `whsec_`.
    #[error("the secret must have at least 24 bytes; after `whsec_` it is base64")]
    Secret,
    /// The client cannot be made.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Whether a request was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was.
    Yes,
    /// Not now.
    Later {
        /// Why, in words.
        reason: String,
        /// When to come again, if the receiver said so.
        after: Option<Duration>,
    },
    /// The receiver wants no more requests (410).
    Gone {
        /// The same in words.
        reason: String,
    },
}

/// Posts to one address. Cheap to clone.
#[derive(Clone)]
pub struct Poster {
    client: Client,
    url: Url,
    key: Vec<u8>,
}

impl Endpoint {
    /// Says whether it could be used; nothing is sent.
    ///
    /// # Errors
    /// [`Unusable::Url`], [`Unusable::Secret`].
    pub fn check(&self) -> Result<(), Unusable> {
        self.parts().map(drop)
    }

    fn parts(&self) -> Result<(Url, Vec<u8>), Unusable> {
        let url = Url::parse(self.url.expose_secret()).map_err(|_| Unusable::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(Unusable::Url);
        }
        Ok((url, signature::key(&self.secret).ok_or(Unusable::Secret)?))
    }
}

impl Poster {
    /// By way of a proxy, if one is given. A provider of cryptography must be installed.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(endpoint: Endpoint, proxy: Option<&str>) -> Result<Poster, Unusable> {
        let (url, key) = endpoint.parts()?;
        let mut builder = Client::builder()
            .no_proxy()
            .timeout(POST_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|error| Unusable::Client(error.without_url()))?);
        }
        let client = builder.build().map_err(|error| Unusable::Client(error.without_url()))?;
        Ok(Poster { client, url, key })
    }

    /// Posts a body under an id. Cancelled, it may have been taken.
    pub async fn post(&self, id: &str, body: Bytes) -> Taken {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature::sign(&self.key, id, seconds, &body))
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Taken::Yes,
            Ok(answer) if answer.status() == StatusCode::GONE => {
                Taken::Gone { reason: "it answered 410 Gone".to_owned() }
            }
            Ok(answer) => {
                let wished = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let after = wished.map(Duration::from_secs);
                Taken::Later { reason: format!("it answered {}", answer.status()), after }
            }
            Err(error) => Taken::Later { reason: in_words(&error.without_url()), after: None },
        }
    }
}

/// An error with its causes, on one line.
pub fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
