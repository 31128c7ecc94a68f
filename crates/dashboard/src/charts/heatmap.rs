//! How often what took how long, over time: columns of time, rows of durations, darker for more.

use maud::{Markup, html};

use super::axes::{Plot, times};
use super::lines::{Line, legend_of_lines};
use super::{About, at, svg};
use crate::num;

/// How many there were in one stretch of time that took about so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The number of the column.
    pub(crate) column: usize,
    /// The number of the row, from the shortest.
    pub(crate) row: usize,
    /// How many.
    pub(crate) count: u64,
}

/// A heatmap with lines over it.
pub(crate) struct Heatmap<'a> {
    /// What it is.
    pub(crate) about: About<'a>,
    /// Seconds since the epoch of the first column.
    pub(crate) from: i64,
    /// Seconds of each column.
    pub(crate) step: i64,
    /// How many columns.
    pub(crate) columns: usize,
    /// The lower edge of each row in milliseconds, ascending, and the upper edge of the last.
    pub(crate) edges: &'a [f64],
    /// The cells in which there is something.
    pub(crate) cells: &'a [Cell],
    /// Percentiles in milliseconds, one value for each column.
    pub(crate) lines: &'a [Line],
}

const SIZE: (f64, f64) = (960.0, 320.0);
/// As many shades as can be told apart.
const SHADES: usize = 7;

/// Draws it, with the legend of its shades.
pub(crate) fn heatmap(map: &Heatmap<'_>) -> Markup {
    let plot = Plot::inside(SIZE, 64.0);
    let rows = map.edges.len().saturating_sub(1).max(1);
    let columns = map.columns.max(1);
    let most = map.cells.iter().map(|cell| cell.count).max().unwrap_or(0);
    let (width, height) = (plot.width / columns as f64, plot.height / rows as f64);
    let end = map.from + map.step * columns as i64;
    let every = rows.div_ceil(8);
    let edge = |row: usize| map.edges.get(row).copied().unwrap_or(0.0);
    let body = html! {
        rect.ground x=(plot.left) y=(plot.top) width=(at(plot.width)) height=(at(plot.height)) {}
        @for cell in map.cells.iter().filter(|cell| cell.count > 0 && cell.row < rows && cell.column < columns) {
            rect class={ "h" (shade(cell.count, most)) } x=(at(plot.left + width * cell.column as f64))
                y=(at(plot.bottom() - height * (cell.row + 1) as f64)) width=(at(width)) height=(at(height)) {
                title {
                    (num::count(cell.count)) " took " (num::ms(edge(cell.row))) " to " (num::ms(edge(cell.row + 1))) ", "
                    (num::moment((map.from + map.step * cell.column as i64).saturating_mul(1000)))
                }
            }
        }
        @for row in (0..rows).step_by(every) {
            text.label x=(plot.left - 5.0) y=(at(plot.bottom() - height * row as f64 + 4.0)) text-anchor="end" {
                (num::ms(edge(row)))
            }
        }
        @for (number, line) in map.lines.iter().enumerate() {
            @let points = points(line, map.edges, plot, width);
            // Seen on every shade.
            polyline.halo fill="none" points=(points) {}
            polyline class={ "over l" (number % 4) } fill="none" points=(points) {}
        }
        (times(plot, (map.from, end)))
    };
    html! {
        div.scroll { (svg(map.about, SIZE, "heatmap", &body)) }
        @if !map.lines.is_empty() { (legend_of_lines(map.lines.iter().map(|line| line.name.as_str()))) }
        @if most > 0 { (shades(most)) }
    }
}

/// The points of a line, in the middle of the columns.
fn points(line: &Line, edges: &[f64], plot: Plot, width: f64) -> String {
    let rows = edges.len().saturating_sub(1).max(1) as f64;
    let known = line.values.iter().enumerate().filter_map(|(column, value)| Some((column, (*value)?)));
    let point = |(column, value): (usize, f64)| {
        let x = at(plot.left + width * (column as f64 + 0.5));
        format!("{x},{}", plot.y(place(value, edges) / rows))
    };
    known.map(point).collect::<Vec<_>>().join(" ")
}

/// Where a value is among the edges, in rows.
fn place(value: f64, edges: &[f64]) -> f64 {
    let above = edges.partition_point(|edge| *edge <= value);
    match (above.checked_sub(1).and_then(|at| edges.get(at)), edges.get(above)) {
        (Some(low), Some(high)) if high > low => (above - 1) as f64 + (value - low) / (high - low),
        (None, _) => 0.0,
        _ => edges.len().saturating_sub(1) as f64,
    }
}

/// Shades go by the logarithm: one among thousands is still seen.
fn shade(count: u64, most: u64) -> usize {
    if most <= 1 {
        return SHADES;
    }
    let share = (count.max(1) as f64).ln() / (most as f64).ln();
    ((share * SHADES as f64).ceil() as usize).clamp(1, SHADES)
}

fn shades(most: u64) -> Markup {
    html! {
        p.ramp {
            span { "1" }
            @for shade in 1..=SHADES { span class={ "swatch h" (shade) } aria-hidden="true" {} }
            span { (num::count(most)) " in one cell" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_the_lightest_to_the_darkest() {
        let shades = [1, 2, 10, 100, 1000].map(|count| shade(count, 1000));
        assert_eq!(shades, [1, 1, 3, 5, 7]);
        assert_eq!(shade(1, 1), 7);
    }

    #[test]
    fn a_value_is_placed_between_its_edges() {
        let edges = [1.0, 2.0, 4.0, 8.0];
        let places = [0.5, 1.0, 3.0, 8.0, 100.0].map(|value| place(value, &edges));
        assert_eq!(places, [0.0, 0.0, 1.5, 3.0, 3.0]);
    }
}
