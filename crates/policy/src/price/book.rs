//! The price table: vendors' list prices that ship with the program, and the operator's own on top.

use std::collections::{BTreeMap, HashMap};

use super::{Price, PriceError, PriceSpec, TierSpec};

/// The table that ships with the program; a test reads every row.
const SHIPPED: &str = include_str!("../../data/prices.csv");

const HEADER: &str = "vendor,model,input,cache_read,cache_write,output,batch_discount,\
above_prompt_tokens,above_input,above_cache_read,above_cache_write,above_output";

/// Prices by who sells the model and what it is called there.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    version: String,
    list: BTreeMap<String, VendorList>,
    overrides: HashMap<String, HashMap<String, Price>>,
}

/// A vendor's models: each with its price, and in the order of the table.
#[derive(Clone, Debug, Default)]
struct VendorList {
    prices: HashMap<String, Price>,
    order: Vec<String>,
}

/// Why a text is not a price table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The first line does not say `# version …`.
    #[error("line 1 does not say `# version …`")]
    Version,
    /// The header line is missing or differs.
    #[error("line {line} is not the header `{HEADER}`")]
    Header {
        /// The line, from 1.
        line: usize,
    },
    /// A row has another number of columns than the header.
    #[error("line {line} has {found} columns, not {}", HEADER.split(',').count())]
    Columns {
        /// The line, from 1.
        line: usize,
        /// How many it has.
        found: usize,
    },
    /// A row is no price.
    #[error("line {line}, model '{model}'")]
    Row {
        /// The line, from 1.
        line: usize,
        /// The model of the row.
        model: String,
        /// What is wrong with it.
        source: PriceError,
    },
    /// A vendor's model appears twice.
    #[error("line {line} names {vendor}'s '{model}' again")]
    Duplicate {
        /// The line, from 1.
        line: usize,
        /// The vendor.
        vendor: String,
        /// The model.
        model: String,
    },
}

impl PriceBook {
    /// The table that ships with the program.
    pub fn shipped() -> Self {
        PriceBook::parse(SHIPPED).expect("a test reads the table that ships")
    }

    /// Reads a table: comma-separated, without quotes, `#` before comments, the version in the first line.
    ///
    /// # Errors
    /// Returns the first line that is wrong, with its field.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let first = text.lines().next().and_then(|line| line.strip_prefix("# version "));
        let version = first.map(str::trim).filter(|version| !version.is_empty()).ok_or(BookError::Version)?;
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        match lines.next() {
            Some((_, HEADER)) => {}
            other => return Err(BookError::Header { line: other.map_or(2, |(line, _)| line) }),
        }
        let mut list: BTreeMap<String, VendorList> = BTreeMap::new();
        for (line, row) in lines {
            let (vendor, model, price) = read_row(line, row, version)?;
            let models = list.entry(vendor.to_owned()).or_default();
            models.order.push(model.to_owned());
            if models.prices.insert(model.to_owned(), price).is_some() {
                return Err(BookError::Duplicate { line, vendor: vendor.to_owned(), model: model.to_owned() });
            }
        }
        Ok(PriceBook { version: version.to_owned(), list, overrides: HashMap::new() })
    }

    /// The version of the table below the operator's own prices.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many models the table prices, without the operator's own.
    pub fn len(&self) -> usize {
        self.list.values().map(|models| models.order.len()).sum()
    }

    /// Every vendor in the table, by name.
    pub fn vendors(&self) -> impl Iterator<Item = &str> {
        self.list.keys().map(String::as_str)
    }

    /// The models that the table prices for a vendor, in its order; none for a vendor that it does not know.
    pub fn models<'a>(&'a self, vendor: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list.get(vendor).into_iter().flat_map(|models| models.order.iter().map(String::as_str))
    }

    /// Whether the table prices nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The book with the operator's own price of a provider's model; a later one replaces an earlier one.
    ///
    /// `provider` is the operator's name of the provider, `model` the provider's own name of the model.
    #[must_use]
    pub fn with_override(mut self, provider: &str, model: &str, price: Price) -> Self {
        self.overrides.entry(provider.to_owned()).or_default().insert(model.to_owned(), price);
        self
    }

    /// The price of a deployment: the operator's own for this provider and model, else the list price of the vendor
    /// that the provider is priced as. A model of another vendor never lends its price, whatever its name.
    pub fn price(&self, provider: &str, prices_as: Option<&str>, model: &str) -> Option<&Price> {
        let own = self.overrides.get(provider).and_then(|models| models.get(model));
        own.or_else(|| self.list.get(prices_as?)?.prices.get(model))
    }
}

fn read_row<'a>(line: usize, row: &'a str, version: &str) -> Result<(&'a str, &'a str, Price), BookError> {
    let columns: Vec<&str> = row.split(',').collect();
    let &[vendor, model, input, cache_read, cache_write, output, discount, above, ..] = columns.as_slice() else {
        return Err(BookError::Columns { line, found: columns.len() });
    };
    let &[above_input, above_cache_read, above_cache_write, above_output] = &columns[8..] else {
        return Err(BookError::Columns { line, found: columns.len() });
    };
    let wrong = |source| BookError::Row { line, model: model.to_owned(), source };
    if vendor.is_empty() || model.is_empty() {
        return Err(wrong(PriceError::Missing { field: if vendor.is_empty() { "vendor" } else { "model" } }));
    }
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut long_prompts = Vec::new();
    if !above.is_empty() {
        let not_a_count = |_| wrong(PriceError::NotADecimal { field: "above_prompt_tokens", text: above.to_owned() });
        long_prompts.push(TierSpec {
            above_prompt_tokens: above.parse().map_err(not_a_count)?,
            input: above_input.to_owned(),
            output: above_output.to_owned(),
            cache_read: optional(above_cache_read),
            cache_write: optional(above_cache_write),
        });
    } else if columns[8..].iter().any(|text| !text.is_empty()) {
        return Err(wrong(PriceError::Missing { field: "above_prompt_tokens" }));
    }
    let spec = PriceSpec {
        version: Some(version.to_owned()),
        input: input.to_owned(),
        output: output.to_owned(),
        cache_read: optional(cache_read),
        cache_write: optional(cache_write),
        batch_discount: optional(discount),
        long_prompts,
    };
    Ok((vendor, model, Price::try_from(&spec).map_err(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::*;
    use tollgate_types::{NanoUsd, Tokens};

    fn table(rows: &str) -> Result<PriceBook, BookError> {
        PriceBook::parse(&format!("# version test\n# a comment\n{HEADER}\n{rows}"))
    }

    #[test]
    fn every_row_of_the_shipped_table_is_a_price() {
        let book = PriceBook::parse(SHIPPED).expect("the shipped table is well formed");
        assert_eq!(book.len(), SHIPPED.lines().filter(|l| !l.starts_with('#')).count() - 1);
        assert_eq!(book.len(), 76);
        assert!(!book.is_empty());
        for (vendor, models) in &book.list {
            for model in &models.order {
                let price = &models.prices[model];
                assert_eq!(price.version(), book.version());
                for tier in price.tiers() {
                    assert!(tier.input > 0, "{vendor} {model} would be free");
                    assert!(tier.cache_read <= tier.input, "{vendor} {model}: reading a cache never costs more");
                    assert!(tier.output > 0 || model.contains("embedding"), "{vendor} {model}");
                }
                for pair in price.tiers().windows(2) {
                    assert!(pair[0].input < pair[1].input && pair[0].output < pair[1].output, "{vendor} {model}");
                }
            }
        }
    }

    #[test]
    fn every_model_of_the_table_is_named_under_its_vendor_in_the_tables_order() {
        let book = PriceBook::shipped();
        let named: Vec<(&str, &str)> =
            book.vendors().flat_map(|vendor| book.models(vendor).map(move |model| (vendor, model))).collect();
        assert_eq!(named.len(), book.len());
        assert!(named.iter().all(|(vendor, model)| book.price("", Some(vendor), model).is_some()));
        let place = |model: &str| SHIPPED.find(&format!("\nopenai,{model},")).expect("it is in the table");
        assert!(book.models("openai").is_sorted_by_key(place));
        assert!(book.models("openai").any(|model| model == "gpt-4o-mini"));
        assert_eq!(book.models("nobody").count(), 0);
    }

    #[test]
    fn shipped_prices_give_the_costs_that_the_vendors_would_bill() {
        let book = PriceBook::shipped();
        let check = |vendor: &str, model: &str, tokens: [u64; 5], nano: i64| {
            let [input, cache_read, cache_write, output, reasoning] = tokens;
            let tokens = Tokens { input, cache_read, cache_write, output, reasoning };
            let price = book.price("anything", Some(vendor), model).expect("it has a price");
            assert_eq!(price.cost(&tokens, Service::Standard), NanoUsd(nano), "{vendor} {model}");
        };
        // 0.15 and 0.60 USD per million: 1000 x 150 n$ + 500 x 600 n$, in nano-dollars.
        check("openai", "gpt-4o-mini", [1000, 0, 0, 500, 0], 150_000 + 300_000);
        // Cached tokens at half the price.
        check("openai", "gpt-4o-mini", [0, 1000, 0, 0, 0], 75_000);
        // 4 / 0.4 / 5 / 20, reasoning as output.
        check("openai", "gpt-5.6", [100, 10, 10, 1, 2], 400_000 + 4_000 + 50_000 + 60_000);
        // Above 272,000 prompt tokens the whole request costs 8 / 30.
        check("openai", "gpt-5.6", [272_000, 0, 0, 1, 0], 1_088_000_000 + 20_000);
        check("openai", "gpt-5.6", [272_001, 0, 0, 1, 0], 2_176_008_000 + 30_000);
        // The cached part counts towards the size: 150,000 + 100,000 > 200,000, at 4 / 0.4 / 18.
        check("gemini", "gemini-3.1-pro-preview", [150_000, 100_000, 0, 10, 0], 600_000_000 + 40_000_000 + 180_000);
        check("xai", "grok-4.3", [200_001, 0, 0, 10, 0], 500_002_500 + 50_000);
        check("anthropic", "claude-haiku-5-5", [10, 10, 10, 10, 0], 1_000 + 100 + 1_250 + 5_000);
        // A third of a cent more precisely: one token of 0.02 USD per million is 20 nano-dollars.
        check("openai", "text-embedding-3-small", [1, 0, 0, 0, 0], 20);
    }

    #[test]
    fn batch_discounts_of_the_shipped_table_apply_to_the_batch_service_alone() {
        let book = PriceBook::shipped();
        let tokens = Tokens { input: 1000, output: 1000, ..Tokens::default() };
        let cost = |vendor, model, service| book.price("", Some(vendor), model).expect("priced").cost(&tokens, service);
        assert_eq!(cost("openai", "gpt-4o", Service::Standard), NanoUsd(12_500_000));
        assert_eq!(cost("openai", "gpt-4o", Service::Batch), NanoUsd(6_250_000));
        assert_eq!(cost("xai", "grok-4.3", Service::Batch), NanoUsd(3_000_000), "20 % off 3.75 m$");
        assert_eq!(cost("mistral", "codestral-2508", Service::Batch), NanoUsd(1_200_000), "no batch price is known");
    }

    #[test]
    fn an_operators_price_wins_and_no_vendor_lends_its_price_to_another() {
        let spec = PriceSpec { input: "1".into(), output: "1".into(), ..PriceSpec::default() };
        let own = Price::try_from(&spec).expect("a price");
        let book = PriceBook::shipped().with_override("east", "gpt-4o", own.clone()).with_override(
            "lab",
            "llama",
            Price::free(),
        );
        assert_eq!(book.price("east", Some("openai"), "gpt-4o"), Some(&own));
        assert_eq!(book.price("west", Some("openai"), "gpt-4o").map(Price::version), Some(book.version()));
        assert_eq!(book.price("east", Some("openai"), "gpt-4o-mini").map(Price::version), Some(book.version()));
        assert_eq!(book.price("lab", None, "llama"), Some(&Price::free()));
        for (provider, prices_as, model) in [
            ("west", None, "gpt-4o"),
            ("west", Some("anthropic"), "gpt-4o"),
            ("openai", None, "gpt-4o"),
            ("x", Some("openai"), "gpt-9"),
        ] {
            assert_eq!(book.price(provider, prices_as, model), None, "{provider} {prices_as:?} {model}");
        }
    }

    #[test]
    fn a_wrong_table_is_refused_with_line_and_field() {
        assert_eq!(PriceBook::parse("x").err(), Some(BookError::Version));
        assert_eq!(PriceBook::parse("# version 1\nvendor").err(), Some(BookError::Header { line: 2 }));
        assert_eq!(PriceBook::parse("# version 1").err(), Some(BookError::Header { line: 2 }));
        assert_eq!(table("a,b,1").err(), Some(BookError::Columns { line: 4, found: 3 }));
        assert_eq!(table("a,b,1,,,1,,,,,,,").err(), Some(BookError::Columns { line: 4, found: 13 }));
        let row = |source| Some(BookError::Row { line: 4, model: "b".into(), source });
        assert_eq!(table("a,b,,,,1,,,,,,").err(), row(PriceError::Missing { field: "input" }));
        assert_eq!(table(",b,1,,,1,,,,,,").err(), row(PriceError::Missing { field: "vendor" }));
        assert_eq!(table("a,b,1,,,1,,,9,,,").err(), row(PriceError::Missing { field: "above_prompt_tokens" }));
        assert_eq!(table("a,b,1,,,1,,0,9,,,9").err(), row(PriceError::TierOrder { above_prompt_tokens: 0 }));
        let text = "-1".to_owned();
        assert_eq!(table("a,b,1,,,-1,,,,,,").err(), row(PriceError::NotADecimal { field: "output", text }));
        let text = "1.1".to_owned();
        assert_eq!(table("a,b,1,,,1,1.1,,,,,").err(), row(PriceError::OutOfRange { field: "batch_discount", text }));
        let twice = BookError::Duplicate { line: 5, vendor: "a".into(), model: "b".into() };
        assert_eq!(table("a,b,1,,,1,,,,,,\na,b,1,,,1,,,,,,").err(), Some(twice));
    }
}
