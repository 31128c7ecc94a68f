//! Where requests go: the operator's base URL, and below it what the vendor's endpoints are called.

use reqwest::Url;
use tollgate_types::Endpoint;

use crate::adapter::{Adapter, Exchange};
use crate::deployment::DeploymentError;
use crate::outbound::Place;

/// The addresses of one model at one provider.
#[derive(Clone)]
pub(crate) struct Addresses {
    /// As the operator wrote it.
    base: Url,
    chat: Url,
    embeddings: Option<Url>,
    responses: Option<Url>,
    listing: Url,
}

impl Addresses {
    /// Reads the base URL and builds the addresses.
    pub(crate) fn read(base_url: &str, adapter: &Adapter, model: &str) -> Result<Addresses, DeploymentError> {
        let url = Url::parse(base_url).map_err(|error| DeploymentError::NotAUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DeploymentError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(DeploymentError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(DeploymentError::Query);
        }
        if Place::of_url(&url) == Place::Metadata {
            return Err(DeploymentError::Metadata);
        }
        Ok(Addresses::below(url, adapter, model))
    }

    /// The same base with another adapter's paths, each with a query.
    pub(crate) fn versioned(self, adapter: &Adapter, model: &str, (name, value): (&str, &str)) -> Addresses {
        let mut addresses = Addresses::below(self.base, adapter, model);
        let Addresses { base: _, chat, embeddings, responses, listing } = &mut addresses;
        let all = [Some(chat), embeddings.as_mut(), responses.as_mut(), Some(listing)];
        for url in all.into_iter().flatten() {
            url.query_pairs_mut().append_pair(name, value);
        }
        addresses
    }

    fn below(base: Url, adapter: &Adapter, model: &str) -> Addresses {
        let at = |path: &str| {
            let prefix = match base.path().trim_end_matches('/') {
                "" => adapter.base_path,
                prefix => prefix,
            };
            let mut url = base.clone();
            url.set_path(&format!("{prefix}/{path}"));
            url
        };
        let of = |exchange: &Exchange| at(&(exchange.path)(model));
        let (chat, listing) = (of(&adapter.chat), at(adapter.listing));
        let [embeddings, responses] = [&adapter.embeddings, &adapter.responses].map(|one| one.as_ref().map(of));
        Addresses { chat, embeddings, responses, listing, base }
    }

    /// Where requests for an endpoint go, if the vendor has one like it.
    pub(crate) fn of(&self, endpoint: Endpoint) -> Option<&Url> {
        match endpoint {
            Endpoint::ChatCompletions => Some(&self.chat),
            Endpoint::Embeddings => self.embeddings.as_ref(),
            Endpoint::Responses => self.responses.as_ref(),
        }
    }

    /// Where chat completions go.
    pub(crate) fn chat(&self) -> &Url {
        &self.chat
    }

    /// Where the models are listed.
    pub(crate) fn listing(&self) -> &Url {
        &self.listing
    }

    /// Whether prompts and keys travel unencrypted, and not only within this machine.
    pub(crate) fn is_open(&self) -> bool {
        self.base.scheme() == "http" && !is_loopback(&self.base)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
