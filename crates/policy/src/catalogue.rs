//! What is known of the vendors' models beside their prices: how much they read and write.

use std::collections::BTreeMap;

/// The table that ships with the program; a test reads every row.
const SHIPPED: &str = include_str!("../data/models.csv");
const HEADER: &str = "vendor,model,context_tokens,output_tokens_max";

/// What is known of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// The longest prompt, in tokens.
    pub context_tokens: Option<u64>,
    /// The longest answer, in tokens.
    pub output_tokens_max: Option<u64>,
}

/// The known models, by vendor and name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: BTreeMap<(String, String), ModelFacts>,
}

/// Why a text is not a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not `{HEADER}`, with counts above zero or nothing")]
pub struct CatalogueError {
    /// The line, from 1.
    pub line: usize,
}

impl Catalogue {
    /// The table that ships with the program.
    pub fn shipped() -> Catalogue {
        Catalogue::parse(SHIPPED).expect("a test reads the table that ships")
    }

    /// Reads a table: comma-separated, without quotes, `#` before comments.
    ///
    /// # Errors
    /// Returns the first line that is wrong.
    pub fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        match lines.next() {
            Some((_, HEADER)) => {}
            other => return Err(CatalogueError { line: other.map_or(1, |(line, _)| line) }),
        }
        let mut models = BTreeMap::new();
        for (line, row) in lines {
            let wrong = CatalogueError { line };
            let [vendor, model, context, output] = row.split(',').collect::<Vec<_>>()[..] else { return Err(wrong) };
            if vendor.is_empty() || model.is_empty() {
                return Err(wrong);
            }
            let facts = ModelFacts {
                context_tokens: count(context).ok_or(wrong.clone())?,
                output_tokens_max: count(output).ok_or(wrong.clone())?,
            };
            if models.insert((vendor.to_owned(), model.to_owned()), facts).is_some() {
                return Err(wrong);
            }
        }
        Ok(Catalogue { models })
    }

    /// What is known of a vendor's model; nothing, if it is not in the table.
    pub fn facts(&self, vendor: Option<&str>, model: &str) -> ModelFacts {
        let known = vendor.and_then(|vendor| self.models.get(&(vendor.to_owned(), model.to_owned())));
        known.copied().unwrap_or_default()
    }

    /// Every model, by vendor and name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.keys().map(|(vendor, model)| (vendor.as_str(), model.as_str()))
    }
}

fn count(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        text => text.parse().ok().filter(|&count| count > 0).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::PriceBook;

    #[test]
    fn the_table_that_ships_knows_every_priced_model() {
        let (catalogue, prices) = (Catalogue::shipped(), PriceBook::shipped());
        for vendor in prices.vendors() {
            for model in prices.models(vendor) {
                let facts = catalogue.facts(Some(vendor), model);
                assert!(facts.context_tokens.is_some(), "{vendor} {model}");
            }
        }
        let priced = |(vendor, model): (&str, &str)| prices.price("", Some(vendor), model).is_some();
        assert!(catalogue.models().all(priced));
        let mini = ModelFacts { context_tokens: Some(128_000), output_tokens_max: Some(16_384) };
        assert_eq!(catalogue.facts(Some("openai"), "gpt-4o-mini"), mini);
        assert_eq!(catalogue.facts(None, "gpt-4o-mini"), ModelFacts::default());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let table = |rows: &str| format!("# comment\n{HEADER}\n{rows}");
        assert!(Catalogue::parse(&table("v,m,1,\n")).is_ok());
        for (text, line) in [
            (String::new(), 1),
            (table("v,m,1"), 3),
            (table("v,m,1,2\nv,,1,2"), 4),
            (table("v,m,0,2"), 3),
            (table("v,m,x,2"), 3),
            (table("v,m,1,2\nv,m,1,2"), 4),
        ] {
            assert_eq!(Catalogue::parse(&text).err(), Some(CatalogueError { line }), "{text}");
        }
    }
}
