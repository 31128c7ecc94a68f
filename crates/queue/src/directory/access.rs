//! What a team may use: models, providers and regions; everything where nothing is named.

use serde::{Deserialize, Serialize};

/// What a team may use. An empty list allows everything of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Model names, as jobs ask for them; one that ends in `*` stands for all that begin like it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The operator's names of providers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// Regions; `eu` is also every region that begins with `eu-`. A deployment without a region is in none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

impl Access {
    /// Whether everything is allowed.
    pub fn is_everything(&self) -> bool {
        *self == Access::default()
    }

    /// Whether the team may ask for a model, or be served by it.
    pub fn model(&self, name: &str) -> bool {
        is_allowed(&self.models, name)
    }

    /// Whether the team may be served by a provider.
    pub fn provider(&self, name: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|allowed| allowed == name)
    }

    /// Whether the team may be served in a region, which is empty where none is known.
    pub fn region(&self, region: &str) -> bool {
        let inside = |allowed: &String| {
            region.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self.regions.is_empty() || self.regions.iter().any(inside)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        for (field, list) in [("models", &self.models), ("providers", &self.providers), ("regions", &self.regions)] {
            if list.iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
                return Err(format!("access.{field}: a name has 1 to {NAME_BYTES_MAX} characters"));
            }
        }
        Ok(())
    }
}

/// Whether a list of models allows one; an empty list allows all, and `*` ends the beginning of a name.
pub fn is_allowed(models: &[String], name: &str) -> bool {
    let names = |allowed: &String| match allowed.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => allowed == name,
    };
    models.is_empty() || models.iter().any(names)
}

const NAME_BYTES_MAX: usize = 128;

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [("models", &self.models), ("providers", &self.providers), ("regions", &self.regions)];
        let named = parts.into_iter().filter(|(_, list)| !list.is_empty());
        let said: Vec<String> = named.map(|(what, list)| format!("{what} {}", list.join(", "))).collect();
        if said.is_empty() {
            f.write_str("everything is allowed")
        } else {
            write!(f, "allowed are {}", said.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn nothing_named_allows_everything() {
        let access = Access::default();
        assert!(access.model("m") && access.provider("p") && access.region("") && access.region("us"));
        assert_eq!(access.to_string(), "everything is allowed");
    }

    #[test]
    fn a_region_holds_those_that_begin_with_it_and_no_deployment_without_one() {
        let access = Access { regions: list(&["eu", "us-east-1"]), ..Access::default() };
        for (region, allowed) in [
            ("eu", true),
            ("eu-central-1", true),
            ("europe", false),
            ("us-east-1", true),
            ("us-east-10", false),
            ("us", false),
            ("", false),
            ("EU", false),
        ] {
            assert_eq!(access.region(region), allowed, "{region}");
        }
    }

    #[test]
    fn models_are_named_whole_or_by_how_they_begin() {
        let access = Access { models: list(&["fast", "gpt-4o*"]), ..Access::default() };
        for (model, allowed) in
            [("fast", true), ("faster", false), ("gpt-4o", true), ("gpt-4o-mini", true), ("", false)]
        {
            assert_eq!(access.model(model), allowed, "{model}");
        }
    }
}
