//! Numbers of payment cards.
//!
//! Taken: a known issuer's range with a length of that issuer, a right check digit, in one group or in the groups that
//! cards print, whatever stands before it by a dash (`ORD-4111111111111111` holds a card's number too). Not taken: 13
//! digits that begin with 1, which are milliseconds since 1970, and one digit repeated.

use super::checksum::{luhn, number, uniform};
use super::numbers::Cluster;
use super::scan::{Rank, Scan};
use crate::Entity;

/// How cards group their digits.
const GROUPS: [&[usize]; 9] = [
    &[4, 4, 4, 4],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 1],
    &[4, 4, 5],
    &[6, 13],
];

/// Looks at the digits that begin here.
pub(crate) fn at(scan: &mut Scan<'_>, cluster: &Cluster<'_>) {
    let longest = (1..=cluster.groups().len().min(5)).rev().find_map(|count| Some((count, issued(cluster, count)?)));
    let Some((count, range)) = longest else { return };
    let place = cluster.range(count);
    if range == Issued::Surely || scan.distance(Entity::PaymentCard, &place).is_some() {
        scan.saw(Entity::PaymentCard, place, Rank::Confirmed);
    }
}

/// How sure it is that numbers of this range and length are cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Issued {
    Surely,
    /// The range is wide or the length is rare: a word nearby must say it.
    Perhaps,
}

/// Whether the first groups are a card's number.
fn issued(cluster: &Cluster<'_>, count: usize) -> Option<Issued> {
    let groups = &cluster.groups()[..count];
    if count > 1 {
        let separator = groups[0].separator;
        let same = groups[..count - 1].iter().all(|group| group.separator == separator);
        let known = GROUPS.iter().any(|known| known.iter().eq(groups.iter().map(|group| &group.len)));
        if !same || !matches!(separator, b' ' | b'-') || !known || cluster.goes_on(count) {
            return None;
        }
        if separator == b'-' && cluster.is_continued() {
            return None;
        }
    } else if cluster.goes_on_decimal(count) || cluster.is_behind_digits() {
        return None;
    }
    let (digits, len) = cluster.digits(count);
    let digits = &digits[..len];
    let table = groups.len() == 4 && groups[3].len == 4 && cluster.is_in_table(count) && !is_in_list(cluster);
    let issued = if table { range_of(digits).map(|_| Issued::Perhaps)? } else { range_of(digits)? };
    (luhn(digits) && !uniform(digits)).then_some(issued)
}

/// Whether the four groups before or behind these four are a card's number too, as in a list on one line.
fn is_in_list(cluster: &Cluster<'_>) -> bool {
    let is_card = |cluster: Cluster<'_>| {
        let (digits, len) = cluster.digits(cluster.groups().len().min(4));
        len == 16 && range_of(&digits[..len]).is_some() && luhn(&digits[..len])
    };
    cluster.moved(20).into_iter().chain(cluster.moved(-20)).any(is_card)
}

/// How sure an issuer gives out numbers that begin so, of this length.
fn range_of(digits: &[u8]) -> Option<Issued> {
    if digits.len() < 12 {
        return None;
    }
    let surely: &[usize] = match number(&digits[..6]) {
        400_000..=499_999 => &[13, 16, 19],
        510_000..=559_999 | 222_100..=272_099 => &[16],
        340_000..=349_999 | 370_000..=379_999 => &[15],
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => &[14, 16],
        352_800..=358_999 => &[16],
        // Mir.
        220_000..=220_499 => &[16],
        601_100..=601_199 | 620_000..=629_999 | 644_000..=659_999 | 810_000..=817_199 => &[16, 19],
        // Maestro, and RuPay, Troy and Elo within and beside it.
        500_000..=509_999
        | 560_000..=589_999
        | 600_000..=619_999
        | 630_000..=639_999
        | 670_000..=679_999
        | 979_200..=979_289 => &[16],
        _ => &[],
    };
    if surely.contains(&digits.len()) {
        return Some(Issued::Surely);
    }
    let perhaps = match number(&digits[..4]) {
        1800 | 2131 | 1220 => digits.len() == 15,
        2200..=2204 | 3000..=3999 | 4000..=4999 | 5000..=5099 | 5600..=5899 | 6000..=6999 | 8100..=8171 => true,
        _ => false,
    };
    perhaps.then_some(Issued::Perhaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn numbers_of_every_brand_are_found() {
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "3782 822463 10005",
            "6011111111111117",
            "30569309025904",
            "3056 930902 5904",
            "3530111333300000",
            "6200000000000005",
            "2200000000000004",
            "6759649826438453",
        ] {
            check(Entity::PaymentCard, &format!("card {number}."), &[number]);
            check(Entity::PaymentCard, &format!("{{\"card\":\"{number}\"}}"), &[number]);
            check(Entity::PaymentCard, &format!("卡号{number}的"), &[number]);
        }
        check(Entity::PaymentCard, "4111 1111 1111 1111 12/27 123", &["4111 1111 1111 1111"]);
        check(Entity::PaymentCard, "4111111111111111,5555555555554444", &["4111111111111111", "5555555555554444"]);
        check(Entity::PaymentCard, "Maestro 676770000000", &[]);
        check(Entity::PaymentCard, "my credit card: 122000000000003", &["122000000000003"]);
        check(Entity::PaymentCard, "122000000000003", &[]);
        let list = "4111 1111 1111 1111 5555 5555 5555 4444";
        check(Entity::PaymentCard, list, &[&list[..19], &list[20..]]);
        let list = "4111111111111111 5555555555554444";
        check(Entity::PaymentCard, list, &[&list[..16], &list[17..]]);
        check(Entity::PaymentCard, "ORD-4111111111111111-X", &["4111111111111111"]);
        check(Entity::PaymentCard, "４１１１ １１１１ １１１１ １１１１", &["４１１１ １１１１ １１１１ １１１１"]);
    }

    #[test]
    fn near_misses_are_not() {
        for text in [
            "4111111111111112",
            "4111 1111-1111 1111",
            "4444444444444444",
            "1700000000000",
            "3.4111111111111111",
            "4111111111111111.5",
            "a4111111111111111",
            "ORD-2024-4111111111111111-7",
            "4111111111111111f",
            "41111111111111111111111",
            "0000000000000000",
            "4111 1111 1111 1111-1111",
        ] {
            check(Entity::PaymentCard, text, &[]);
        }
    }
}
