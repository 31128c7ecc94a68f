//! What a job asks of a provider: which of OpenAI's endpoints its body is written for.

use std::fmt;

/// An endpoint that this broker serves, by the path of OpenAI's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// An answer to a conversation; what a job is for that does not say.
    #[default]
    ChatCompletions,
    /// Vectors for texts.
    Embeddings,
    /// An answer in OpenAI's newer format.
    Responses,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Endpoint; 3] = [Endpoint::ChatCompletions, Endpoint::Embeddings, Endpoint::Responses];

    /// The path, as it stands in `url`.
    pub fn as_str(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::Responses => "/v1/responses",
        }
    }

    /// The endpoint of that path.
    pub fn of_url(url: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.as_str() == url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
