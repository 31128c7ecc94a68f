//! The vendors whose wire formats are spoken, and what their own clients take for granted.

use std::str::FromStr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tollgate_types::Endpoint;

/// Whose wire format a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// OpenAI's chat completions, and every server that copies them.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// OpenAI's models at Microsoft's Azure.
    Azure,
    /// Mistral.
    Mistral,
    /// xAI's Grok.
    Xai,
    /// Ollama's own format, in which the length of the context can be set.
    Ollama,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: [Vendor; 7] = [
        Vendor::OpenAi,
        Vendor::Anthropic,
        Vendor::Gemini,
        Vendor::Azure,
        Vendor::Mistral,
        Vendor::Xai,
        Vendor::Ollama,
    ];

    /// The base URL of the vendor's own service; Ollama's is on this machine. Azure has none: each resource has its own.
    pub fn own_address(self) -> Option<&'static str> {
        match self {
            Vendor::OpenAi => Some("https://api.openai.com/v1"),
            Vendor::Anthropic => Some("https://api.anthropic.com/v1"),
            Vendor::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
            Vendor::Azure => None,
            Vendor::Mistral => Some("https://api.mistral.ai/v1"),
            Vendor::Xai => Some("https://api.x.ai/v1"),
            Vendor::Ollama => Some("http://127.0.0.1:11434"),
        }
    }

    /// The environment variable in which the vendor's own clients look for the key; Ollama needs none.
    pub fn key_variable(self) -> Option<&'static str> {
        match self {
            Vendor::OpenAi => Some("OPENAI_API_KEY"),
            Vendor::Anthropic => Some("ANTHROPIC_API_KEY"),
            Vendor::Gemini => Some("GEMINI_API_KEY"),
            Vendor::Azure => Some("AZURE_OPENAI_API_KEY"),
            Vendor::Mistral => Some("MISTRAL_API_KEY"),
            Vendor::Xai => Some("XAI_API_KEY"),
            Vendor::Ollama => None,
        }
    }

    /// Whether the vendor has an endpoint like this one; a server that only speaks its format may have fewer.
    pub fn serves(self, endpoint: Endpoint) -> bool {
        self.adapter().exchange(endpoint).is_some()
    }

    /// The headers that every request to the vendor has, beside the key.
    pub(crate) fn headers(self) -> HeaderMap {
        let of_all = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        self.adapter().headers.iter().map(of_all).collect()
    }

    /// The word in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Vendor::OpenAi => "openai",
            Vendor::Anthropic => "anthropic",
            Vendor::Gemini => "gemini",
            Vendor::Azure => "azure",
            Vendor::Mistral => "mistral",
            Vendor::Xai => "xai",
            Vendor::Ollama => "ollama",
        }
    }
}

impl FromStr for Vendor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Vendor::ALL.into_iter().find(|vendor| vendor.as_str() == text);
        known.ok_or_else(|| {
            let vendors = Vendor::ALL.map(Vendor::as_str).join(", ");
            format!("'{text}' is not a vendor; the vendors are {vendors}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_reads_back_from_its_word() {
        for vendor in Vendor::ALL {
            assert_eq!(vendor.as_str().parse(), Ok(vendor));
        }
        assert!("openai2".parse::<Vendor>().is_err());
    }
}
