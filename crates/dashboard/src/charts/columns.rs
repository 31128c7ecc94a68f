//! Stacked columns over time.

use maud::{Markup, html};

use super::axes::{Plot, Scale, times, values};
use super::{About, COLOURS, Size, at, legend, svg};
use crate::num;

/// What one key was at each moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// The key.
    pub(crate) name: String,
    /// One value for each moment of [`Columns::from`] on.
    pub(crate) values: Vec<f64>,
}

/// Stacked columns; all series have one value for each step.
pub(crate) struct Columns<'a> {
    /// What it is.
    pub(crate) about: About<'a>,
    /// Seconds since the epoch of the first column.
    pub(crate) from: i64,
    /// Seconds that each column stands for.
    pub(crate) step: i64,
    /// The lowest first.
    pub(crate) series: &'a [Series],
    /// Spells a value.
    pub(crate) text: fn(f64) -> String,
    /// How much place it has.
    pub(crate) size: Size,
}

/// Draws them, with their legend.
pub(crate) fn columns(chart: &Columns<'_>) -> Markup {
    let Columns { about, from, step, series, text, size } = *chart;
    let count = series.iter().map(|series| series.values.len()).max().unwrap_or(0).max(1);
    let sum = |at: usize| -> f64 { series.iter().filter_map(|series| series.values.get(at)).sum() };
    let scale = Scale::up_to((0..count).map(sum).fold(0.0, f64::max));
    let plot = Plot::inside(size.extent(), 54.0);
    let to = from + step * count as i64;
    let slot = plot.width / count as f64;
    let gap = if slot > 6.0 { 1.5 } else { 0.0 };
    let mut drawn = Vec::new();
    for column in 0..count {
        let mut below = 0.0;
        for (colour, series) in series.iter().enumerate() {
            let value = series.values.get(column).copied().unwrap_or(0.0);
            if value <= 0.0 {
                continue;
            }
            let (low, high) = (plot.y(scale.share(below)), plot.y(scale.share(below + value)));
            below += value;
            let x = at(plot.left + slot * column as f64 + gap / 2.0);
            let when = num::moment((from + step * column as i64).saturating_mul(1000));
            drawn.push(html! {
                rect class={ "s" (colour % COLOURS) } x=(x) y=(high) width=(at((slot - gap).max(0.5)))
                    height=(at((low - high).max(0.5))) {
                    title { (series.name) ": " (text(value)) ", " (when) }
                }
            });
        }
    }
    let body = html! {
        (values(plot, scale, text))
        @for rect in &drawn { (rect) }
        (times(plot, (from, to)))
    };
    html! {
        (size.around(&svg(about, size.extent(), "columns", &body)))
        @if series.len() > 1 { (legend(series.iter().map(|series| series.name.as_str()))) }
    }
}
