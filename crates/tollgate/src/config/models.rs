//! Which models the shipped price table names, for a configuration without `[models]`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use tollgate_policy::price::PriceBook;

/// Read once: its names are borrowed by whoever asks.
static SHIPPED: LazyLock<PriceBook> = LazyLock::new(PriceBook::shipped);

/// The models of a vendor, in the table's order.
pub fn of_vendor(vendor: &str) -> impl Iterator<Item = &'static str> + use<> {
    SHIPPED.models(vendor)
}

/// Every vendor in the table.
pub fn vendors() -> BTreeSet<&'static str> {
    SHIPPED.vendors().collect()
}
