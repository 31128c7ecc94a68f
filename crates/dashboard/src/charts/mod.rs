//! Charts as SVG: numbers in, markup out, nothing asked of anybody.
//!
//! Every chart is an image with a name and a description for those who do not see it, scales with its place, and takes
//! its colours from classes, so that one style sheet makes it light or dark. Nothing is told by colour alone: values
//! stand in tips and in the table that each panel has beside its chart.

mod axes;
mod bars;
mod burn;
mod columns;
mod heatmap;
mod histogram;
mod lines;
mod phases;
mod spark;

use maud::{Markup, html};

pub(crate) use bars::{Bar, Part, bars};
pub(crate) use burn::{Burn, burn};
pub(crate) use columns::{Columns, Series, columns};
pub(crate) use heatmap::{Cell, Heatmap, heatmap};
pub(crate) use histogram::{Histogram, histogram};
pub(crate) use lines::{Line, Lines, lines};
pub(crate) use phases::{Phase, phases};
pub(crate) use spark::spark;

/// How many colours there are for series; the last one is for the rest.
pub(crate) const COLOURS: usize = 8;

/// What a chart is, for those who hear it.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// Names its elements; unique in the page.
    pub(crate) id: &'a str,
    /// Its name.
    pub(crate) title: &'a str,
    /// What it says, in a sentence.
    pub(crate) description: &'a str,
}

/// How much place a chart has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Half of the page, or a telephone.
    Half,
    /// The whole width; on a telephone it scrolls by itself.
    Wide,
}

impl Size {
    fn extent(self) -> (f64, f64) {
        match self {
            Size::Half => (640.0, 240.0),
            Size::Wide => (1120.0, 260.0),
        }
    }

    fn around(self, chart: &Markup) -> Markup {
        match self {
            Size::Half => html! { (chart) },
            Size::Wide => html! { div.scroll { (chart) } },
        }
    }
}

/// The image around what is drawn.
fn svg(about: About<'_>, (width, height): (f64, f64), class: &str, drawn: &Markup) -> Markup {
    let About { id, title, description } = about;
    html! {
        svg id=(id) class={ "chart " (class) } role="img" aria-labelledby={ (id) "-t " (id) "-d" }
            viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="xMidYMid meet" {
            title id={ (id) "-t" } { (title) }
            desc id={ (id) "-d" } { (description) }
            (drawn)
        }
    }
}

/// The names of series beside their colours.
pub(crate) fn legend<'a>(names: impl Iterator<Item = &'a str>) -> Markup {
    html! {
        ul.legend {
            @for (at, name) in names.enumerate() {
                li { span class={ "swatch s" (at % COLOURS) } aria-hidden="true" {} (name) }
            }
        }
    }
}

/// A coordinate: a tenth of a unit is finer than any screen.
fn at(value: f64) -> f64 {
    if value.is_finite() { (value * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
