use proptest::prelude::*;

use super::*;

fn tier(above_prompt_tokens: u64, rates: [u64; 4]) -> Tier {
    let [input, cache_read, cache_write, output] = rates;
    Tier { above_prompt_tokens, input, cache_read, cache_write, output }
}

fn price(tiers: Vec<Tier>) -> Price {
    Price::new("test", tiers, 500_000).expect("a price")
}

fn tokens([input, cache_read, cache_write, output, reasoning]: [u64; 5]) -> Tokens {
    Tokens { input, cache_read, cache_write, output, reasoning }
}

#[test]
fn the_sum_is_rounded_up_once_not_each_part() {
    let price = price(vec![tier(0, [400, 300, 200, 100])]);
    let check = |counts, nano| assert_eq!(price.cost(&tokens(counts), Service::Standard), NanoUsd(nano), "{counts:?}");
    check([0; 5], 0);
    check([1, 0, 0, 0, 0], 1);
    check([1, 1, 1, 1, 0], 1);
    check([1, 1, 1, 1, 1], 2);
    check([10, 10, 10, 10, 0], 10);
    let batch = price.cost(&tokens([1, 1, 1, 1, 1]), Service::Batch);
    assert_eq!(batch, NanoUsd(1), "550 pico-dollars, up");
}

#[test]
fn a_request_moves_to_its_tier_as_a_whole() {
    let price = price(vec![tier(0, [1000, 0, 0, 1000]), tier(10, [2000, 0, 0, 3000]), tier(20, [5000, 0, 0, 5000])]);
    let cost = |prompt, output| price.cost(&tokens([prompt, 0, 0, output, 0]), Service::Standard).0;
    assert_eq!([cost(0, 1), cost(10, 1), cost(11, 1), cost(20, 1), cost(21, 1)], [1, 11, 25, 43, 110]);
    let cached = price.cost(&tokens([1, 5, 5, 0, 0]), Service::Standard);
    assert_eq!(cached, NanoUsd(2), "cached tokens count towards the size");
}

#[test]
fn sums_beyond_all_money_saturate() {
    let price = price(vec![tier(0, [RATE_MAX; 4])]);
    for service in [Service::Standard, Service::Batch] {
        assert_eq!(price.cost(&tokens([u64::MAX; 5]), service), NanoUsd(i64::MAX));
    }
    assert_eq!(price.upper_bound(u64::MAX, u64::MAX), NanoUsd(i64::MAX));
}

#[test]
fn what_is_free_costs_nothing() {
    assert_eq!(Price::free().cost(&tokens([u64::MAX; 5]), Service::Standard), NanoUsd::ZERO);
    assert_eq!(Price::free().upper_bound(u64::MAX, u64::MAX), NanoUsd::ZERO);
}

#[test]
fn prices_that_make_no_sense_are_refused() {
    let some = || vec![tier(0, [1; 4])];
    assert_eq!(Price::new("", some(), 0), Err(PriceError::Version));
    assert_eq!(Price::new("two words", some(), 0), Err(PriceError::Version));
    assert_eq!(Price::new("x".repeat(33), some(), 0), Err(PriceError::Version));
    assert_eq!(Price::new("v", vec![], 0), Err(PriceError::Missing { field: "tiers" }));
    let order = |above| Err(PriceError::TierOrder { above_prompt_tokens: above });
    assert_eq!(Price::new("v", vec![tier(5, [1; 4])], 0), order(5));
    assert_eq!(Price::new("v", vec![tier(0, [1; 4]), tier(9, [1; 4]), tier(9, [1; 4])], 0), order(9));
    let dear = Price::new("v", vec![tier(0, [1, 1, 1, RATE_MAX + 1])], 0);
    assert!(matches!(dear, Err(PriceError::OutOfRange { field: "output", .. })));
    let discount = Price::new("v", some(), 1_000_001);
    assert!(matches!(discount, Err(PriceError::OutOfRange { field: "batch_discount", .. })));
}

fn rates() -> impl Strategy<Value = [u64; 4]> {
    prop::array::uniform4(0..=RATE_MAX)
}

/// Up to four tiers in any relation of their rates.
fn any_price() -> impl Strategy<Value = Price> {
    let above = prop::collection::btree_set(1..2_000_000u64, 0..3);
    (rates(), above.prop_flat_map(|above| above.into_iter().map(|a| (Just(a), rates())).collect::<Vec<_>>())).prop_map(
        |(first, more)| {
            let more = more.into_iter().map(|(above, rates)| tier(above, rates));
            price(std::iter::once(tier(0, first)).chain(more).collect())
        },
    )
}

/// Tiers whose rates never fall, as vendors have them.
fn rising_price() -> impl Strategy<Value = Price> {
    any_price().prop_map(|mut price| {
        for i in 1..price.tiers.len() {
            let before = price.tiers[i - 1];
            let tier = &mut price.tiers[i];
            tier.input = tier.input.max(before.input);
            tier.cache_read = tier.cache_read.max(before.cache_read);
            tier.cache_write = tier.cache_write.max(before.cache_write);
            tier.output = tier.output.max(before.output);
        }
        price
    })
}

fn counts(max: u64) -> impl Strategy<Value = [u64; 5]> {
    prop_oneof![prop::array::uniform5(0..max), prop::array::uniform5(0..=u64::MAX)]
}

proptest! {
    #[test]
    fn no_cost_is_negative_and_a_batch_never_costs_more(price in any_price(), counts in counts(3_000_000)) {
        let standard = price.cost(&tokens(counts), Service::Standard);
        let batch = price.cost(&tokens(counts), Service::Batch);
        prop_assert!(batch >= NanoUsd::ZERO && batch <= standard);
    }

    #[test]
    fn one_more_token_never_costs_less(price in rising_price(), counts in counts(1_000_000), at in 0..5usize, more in 1..1_000_000u64) {
        let mut larger = counts;
        larger[at] = larger[at].saturating_add(more);
        let (less, more) = (price.cost(&tokens(counts), Service::Standard), price.cost(&tokens(larger), Service::Standard));
        prop_assert!(less <= more);
    }

    #[test]
    fn nothing_inside_the_bounds_costs_more_than_the_upper_bound(
        price in any_price(), counts in counts(1_000_000), spare in (0..1_000_000u64, 0..1_000_000u64),
    ) {
        let used = tokens(counts);
        let bound = price.upper_bound(used.prompt().saturating_add(spare.0), used.completion().saturating_add(spare.1));
        prop_assert!(price.cost(&used, Service::Standard) <= bound);
    }

    #[test]
    fn what_is_booked_is_the_exact_sum_rounded_up(rates in rates(), counts in prop::array::uniform5(0..1_000_000_000u64)) {
        let price = price(vec![tier(0, rates)]);
        let [i, r, w, o, n] = counts.map(u128::from);
        let [ri, rr, rw, ro] = rates.map(u128::from);
        let pico = i * ri + r * rr + w * rw + (o + n) * ro;
        let nano = price.cost(&tokens(counts), Service::Standard);
        let exact = i64::try_from(pico.div_ceil(1000)).unwrap_or(i64::MAX);
        prop_assert_eq!(nano, NanoUsd(exact));
    }
}
