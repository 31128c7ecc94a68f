//! How many there are in each range of a number, with a threshold.

use maud::{Markup, html};

use super::axes::{Plot, Scale, values};
use super::{About, at, svg};
use crate::num;

/// A histogram.
pub(crate) struct Histogram<'a> {
    /// What it is.
    pub(crate) about: About<'a>,
    /// The name of each range, and how many are in it.
    pub(crate) buckets: &'a [(String, u64)],
    /// Ranges from this number on are above the threshold.
    pub(crate) threshold: Option<(usize, &'a str)>,
}

const SIZE: (f64, f64) = (640.0, 240.0);

/// Draws it.
pub(crate) fn histogram(chart: &Histogram<'_>) -> Markup {
    let plot = Plot::inside(SIZE, 54.0);
    let most = chart.buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let scale = Scale::up_to(most as f64);
    let slot = plot.width / chart.buckets.len().max(1) as f64;
    let above = |at: usize| chart.threshold.is_some_and(|(from, _)| at >= from);
    let body = html! {
        (values(plot, scale, num::short))
        @for (number, (name, count)) in chart.buckets.iter().enumerate() {
            @let y = plot.y(scale.share(*count as f64));
            rect class=(if above(number) { "bad" } else { "s0" }) x=(at(plot.left + slot * number as f64 + 1.0)) y=(y)
                width=(at(slot - 2.0)) height=(at(plot.bottom() - y)) {
                title { (name) ": " (num::count(*count)) }
            }
            text.label x=(at(plot.left + slot * (number as f64 + 0.5))) y=(plot.bottom() + 17.0) text-anchor="middle" {
                (name)
            }
        }
        @if let Some((from, label)) = chart.threshold {
            @let x = at(plot.left + slot * from as f64);
            line.mark x1=(x) x2=(x) y1=(plot.top) y2=(plot.bottom()) {}
            text.label x=(x + 5.0) y=(plot.top + 10.0) { (label) }
        }
    };
    svg(chart.about, SIZE, "histogram", &body)
}
