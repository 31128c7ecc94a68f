//! Lines over time, such as percentiles.

use maud::{Markup, html};

use super::axes::{Plot, Scale, times, values};
use super::{About, Size, svg};
use crate::num;

/// One line; where nothing is known it is broken.
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: String,
    /// One value for each moment.
    pub(crate) values: Vec<Option<f64>>,
}

/// Lines over the same moments.
pub(crate) struct Lines<'a> {
    /// What it is.
    pub(crate) about: About<'a>,
    /// Seconds since the epoch, ascending.
    pub(crate) moments: &'a [i64],
    /// No more than three can be told apart by their dashes.
    pub(crate) lines: &'a [Line],
    /// Spells a value.
    pub(crate) text: fn(f64) -> String,
    /// How much place it has.
    pub(crate) size: Size,
}

/// More points than this are no points any more; the table has them.
const POINTS_MAX: usize = 60;

/// Draws them, with a legend in which each line is drawn as in the chart.
pub(crate) fn lines(chart: &Lines<'_>) -> Markup {
    let Lines { about, moments, lines, text, size } = *chart;
    let known = lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::up_to(known.fold(0.0, f64::max));
    let plot = Plot::inside(size.extent(), 60.0);
    let (from, to) = (moments.first().copied().unwrap_or(0), moments.last().copied().unwrap_or(1));
    let span = (to - from).max(1) as f64;
    let point = |(time, value): (i64, f64)| (plot.x((time - from) as f64 / span), plot.y(scale.share(value)));
    let body = html! {
        (values(plot, scale, text))
        @for (at, line) in lines.iter().enumerate() {
            @for run in runs(moments, &line.values) {
                polyline class={ "l" (at % 4) } fill="none" points=(run.iter().map(|p| {
                    let (x, y) = point(*p);
                    format!("{x},{y}")
                }).collect::<Vec<_>>().join(" ")) {}
                @for p in run.iter().filter(|_| run.len() == 1 || moments.len() <= POINTS_MAX) {
                    @let (x, y) = point(*p);
                    circle class={ "l" (at % 4) } cx=(x) cy=(y) r="2.5" {
                        title { (line.name) ": " (text(p.1)) ", " (num::moment(p.0.saturating_mul(1000))) }
                    }
                }
            }
        }
        (times(plot, (from, to)))
    };
    html! {
        (size.around(&svg(about, size.extent(), "lines", &body)))
        (legend_of_lines(lines.iter().map(|line| line.name.as_str())))
    }
}

/// The names beside the lines as they are drawn.
pub(super) fn legend_of_lines<'a>(names: impl Iterator<Item = &'a str>) -> Markup {
    html! {
        ul.legend {
            @for (at, name) in names.enumerate() {
                li {
                    svg.key viewBox="0 0 28 10" aria-hidden="true" {
                        line class={ "l" (at % 4) } x1="0" x2="28" y1="5" y2="5" {}
                    }
                    (name)
                }
            }
        }
    }
}

/// The unbroken parts of a line.
fn runs(moments: &[i64], values: &[Option<f64>]) -> Vec<Vec<(i64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (time, value) in moments.iter().zip(values) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => runs.last_mut().expect("there is always a last run").push((*time, value)),
            None => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let values = [Some(1.0), None, Some(f64::NAN), Some(2.0), Some(3.0)];
        assert_eq!(runs(&[1, 2, 3, 4, 5], &values), [vec![(1, 1.0)], vec![(4, 2.0), (5, 3.0)]]);
    }
}
