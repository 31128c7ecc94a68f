//! The parts of one message's text: what is spread over several of them is found too.

use std::borrow::Cow;
use std::ops::Range;

use super::Screen;
use crate::body::escape::{Places, unescaped};
use crate::body::lexer::{Token, is_json};
use crate::detect::Found;
use crate::look::{Shape, Spot};

impl Screen<'_> {
    /// Looks at the parts that were read, by themselves and joined.
    pub(super) fn end_parts(&mut self) {
        let tokens = std::mem::take(&mut self.parts);
        if let [token] = tokens.as_slice() {
            return self.text(token, false);
        }
        let body = self.body;
        let mut prose: Vec<(Token, Cow<'_, str>)> = Vec::new();
        for token in tokens {
            let text = unescaped(&body[token.range.clone()]);
            if is_json(&text) {
                self.text(&token, false);
            } else {
                prose.push((token, text));
            }
        }
        self.join(&prose);
    }

    fn join(&mut self, parts: &[(Token, Cow<'_, str>)]) {
        let mut joined = String::new();
        let mut borders: Vec<usize> = Vec::new();
        let mut all: Vec<Found> = Vec::new();
        for (_, text) in parts {
            let start = joined.len();
            borders.push(start);
            let found = self.looker.find(text);
            all.extend(found.into_iter().map(|found| Found { range: shifted(&found.range, start), ..found }));
            joined.push_str(text);
        }
        let spread =
            |range: &Range<usize>| borders.get(ends_before(&borders, range.start)).is_some_and(|&b| b < range.end);
        let found = self.looker.find(&joined).into_iter().filter(|found| spread(&found.range));
        let rests: Vec<Found> = found.flat_map(|found| rests(found, &all)).collect();
        all.extend(rests);
        for found in all {
            self.keep_parts(&found, parts, &borders, &joined);
        }
    }

    /// Keeps a place that may be spread: all of it is replaced in its first part, and the rest is removed.
    fn keep_parts(&mut self, found: &Found, parts: &[(Token, Cow<'_, str>)], borders: &[usize], joined: &str) {
        let mut spots: Vec<Spot> = Vec::new();
        self.looker.keep(found, found.range.clone(), joined, Shape::Text, &mut spots);
        let Some(spot) = spots.pop() else { return };
        let mut shape = Shape::Text;
        let first = ends_before(borders, spot.range.start).saturating_sub(1);
        for ((token, text), &start) in parts.iter().zip(borders).skip(first) {
            if start >= spot.range.end {
                break;
            }
            let within = spot.range.start.max(start)..spot.range.end.min(start + text.len());
            if within.start >= within.end {
                continue;
            }
            let mut places = Places::new(&self.body[token.range.clone()]);
            let range = places.range(&(within.start - start..within.end - start));
            let range = shifted(&range, token.range.start);
            self.spots.push(match shape {
                Shape::Rest => Spot { rule: spot.rule, range, seen: within, value: String::new(), shape },
                _ => Spot { range, ..spot.clone() },
            });
            shape = Shape::Rest;
        }
    }
}

fn shifted(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// How many of the borders are not behind a place.
fn ends_before(borders: &[usize], place: usize) -> usize {
    borders.partition_point(|&border| border <= place)
}

/// What of a finding that is spread lies outside of what the same rule found in one part. An address at the end of a part
/// stays that address, though the next part's first letters could belong to it; they are replaced too, by themselves.
fn rests(spread: Found, in_parts: &[Found]) -> Vec<Found> {
    let Range { start, end } = spread.range;
    let from = in_parts.partition_point(|found| found.range.start < start);
    let near = in_parts[from..].iter().take_while(|found| found.range.start < end);
    let within = near.filter(|found| found.rule == spread.rule && found.range.end <= end);
    let mut rests = Vec::new();
    let mut at = start;
    for found in within {
        rests.push(at..found.range.start);
        at = found.range.end;
    }
    rests.push(at..end);
    let rests = rests.into_iter().filter(|range| !range.is_empty());
    rests.map(|range| Found { range, ..spread.clone() }).collect()
}
