//! What comes in place of what was found: one placeholder for all that overlaps.

use crate::body::edit::Edit;
use crate::look::{Looker, Shape, Spot};
use crate::vault::{Full, Origin, Vault};

/// The changes that put placeholders in place of what fired, in order and apart from each other.
pub(crate) fn replacements(
    looker: &Looker<'_>,
    mut spots: Vec<Spot>,
    origin: Origin,
    vault: &mut Vault,
) -> Result<Vec<Edit>, Full> {
    spots.retain(|spot| looker.fires(spot.rule));
    let place = |place: Spot| edit(looker, place, origin, vault);
    united(spots).into_iter().map(place).collect()
}

fn edit(looker: &Looker<'_>, spot: Spot, origin: Origin, vault: &mut Vault) -> Result<Edit, Full> {
    let Spot { rule, range, value, shape, .. } = spot;
    let label = &looker.clauses.clauses[rule].label;
    let number = matches!(shape, Shape::Number | Shape::NestedNumber);
    let text = match shape {
        Shape::Rest => String::new(),
        Shape::Text => vault.placeholder(origin, label, &value, number)?,
        Shape::Number => format!("\"{}\"", vault.placeholder(origin, label, &value, number)?),
        Shape::NestedNumber => format!("\\\"{}\\\"", vault.placeholder(origin, label, &value, number)?),
    };
    Ok(Edit { range, text })
}

/// The places in order, with one over all that they cover in place of those that overlap, so that nothing of any is left.
fn united(mut spots: Vec<Spot>) -> Vec<Spot> {
    // The rest of an earlier text's value begins where its text does, and goes before what begins there as well.
    spots.sort_by_key(|spot| (spot.range.start, spot.shape != Shape::Rest, spot.rule));
    let mut united: Vec<Spot> = Vec::with_capacity(spots.len());
    // How much of the text the rule speaks for that names the placeholder.
    let mut named = 0;
    for spot in spots {
        let len = spot.seen.len();
        match united.last_mut() {
            Some(last) if last.range.end > spot.range.start => {
                let names = spot.shape != Shape::Rest && (last.shape == Shape::Rest || len > named);
                if unite(last, &spot) && names {
                    (last.rule, named) = (spot.rule, len);
                }
            }
            _ => {
                united.push(spot);
                named = len;
            }
        }
    }
    united
}

/// Lets a place grow over another that begins within it; whether the other still says something of the value.
fn unite(place: &mut Spot, other: &Spot) -> bool {
    let known = place.seen.end.saturating_sub(other.seen.start);
    place.range.end = place.range.end.max(other.range.end);
    let more = other.value.get(known..).unwrap_or_default();
    if place.shape == Shape::Rest && more.is_empty() {
        return false;
    }
    if place.shape == Shape::Rest {
        place.shape = other.shape;
    }
    place.value.push_str(more);
    place.seen.end = place.seen.end.max(other.seen.end);
    true
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    const TEXT: &str = "0123456789";

    fn spot(rule: usize, range: Range<usize>, shape: Shape) -> Spot {
        let value = if shape == Shape::Rest { "" } else { &TEXT[range.clone()] };
        Spot { rule, seen: range.clone(), range, value: value.to_owned(), shape }
    }

    #[track_caller]
    fn check(spots: &[(usize, Range<usize>, Shape)], expected: &[(usize, Range<usize>, &str, Shape)]) {
        let spots = spots.iter().map(|(rule, range, shape)| spot(*rule, range.clone(), *shape)).collect();
        let united = united(spots);
        let united: Vec<_> = united.iter().map(|s| (s.rule, s.range.clone(), s.value.as_str(), s.shape)).collect();
        assert_eq!(united, expected);
    }

    #[test]
    fn what_overlaps_becomes_one_place_named_by_the_longest() {
        let text = Shape::Text;
        check(&[(0, 0..4, text), (1, 4..6, text)], &[(0, 0..4, "0123", text), (1, 4..6, "45", text)]);
        check(&[(1, 2..4, text), (0, 0..8, text)], &[(0, 0..8, "01234567", text)]);
        check(&[(0, 0..4, text), (1, 2..8, text), (2, 7..9, text)], &[(1, 0..9, "012345678", text)]);
    }

    #[test]
    fn the_rest_of_an_earlier_value_is_said_once() {
        let (text, rest) = (Shape::Text, Shape::Rest);
        check(&[(0, 0..4, text), (1, 0..2, rest)], &[(0, 0..4, "23", text)]);
        check(&[(0, 1..3, text), (1, 0..5, rest)], &[(1, 0..5, "", rest)]);
    }
}
