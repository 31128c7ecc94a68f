//! Which models the shipped price table names, for a configuration without `[models]`.

use std::collections::BTreeSet;

/// The table of `policy`, of which only the first two columns are read here.
const TABLE: &str = include_str!("../../../policy/data/prices.csv");

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.filter_map(|line| {
        let mut columns = line.split(',');
        Some((columns.next()?, columns.next()?))
    })
}

/// The models of a vendor, in the table's order.
pub fn of_vendor(vendor: &str) -> impl Iterator<Item = &'static str> {
    rows().filter(move |(whose, _)| *whose == vendor).map(|(_, model)| model)
}

/// Every vendor in the table.
pub fn vendors() -> BTreeSet<&'static str> {
    rows().map(|(vendor, _)| vendor).collect()
}

#[cfg(test)]
mod tests {
    use tollgate_policy::price::PriceBook;

    #[test]
    fn every_named_model_has_a_price_and_none_is_left_out() {
        let book = PriceBook::shipped();
        let models: Vec<_> = super::rows().collect();
        assert_eq!(models.len(), book.len());
        assert!(models.iter().all(|(vendor, model)| book.price("", Some(vendor), model).is_some()));
        assert!(super::of_vendor("openai").any(|model| model == "gpt-4o-mini"));
    }
}
