//! Horizontal bars, each of one part or of several, and marks on them.

use maud::{Markup, html};

use super::{About, COLOURS, at, legend, svg};

/// A part of a bar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// How long.
    pub(crate) value: f64,
    /// Its number among the names of the parts.
    pub(crate) colour: usize,
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) name: String,
    /// Its parts, from the left.
    pub(crate) parts: Vec<Part>,
    /// What it says at its end.
    pub(crate) text: String,
    /// A mark across it, such as a share that was agreed, on the same scale.
    pub(crate) mark: Option<f64>,
    /// Where it begins, if not at zero.
    pub(crate) from: f64,
}

impl Bar {
    /// The same, beginning where something else ended.
    pub(crate) fn after(mut self, from: f64) -> Bar {
        self.from = from;
        self
    }
}

/// How high a bar with its name above it is.
const ROW: f64 = 52.0;
const WIDTH: f64 = 640.0;
/// Where the text at the end of the longest bar begins.
const ROOM: f64 = 210.0;

/// Draws bars; `names` are those of the parts, and none for bars of one part.
pub(crate) fn bars(about: About<'_>, bars: &[Bar], names: &[&str], text: fn(f64) -> String) -> Markup {
    let whole = |bar: &Bar| bar.from + bar.parts.iter().map(|part| part.value.max(0.0)).sum::<f64>();
    let max = bars.iter().map(|bar| whole(bar).max(bar.mark.unwrap_or(0.0))).fold(0.0, f64::max);
    let scale = if max > 0.0 { (WIDTH - ROOM) / max } else { 0.0 };
    let height = (ROW * bars.len() as f64).max(ROW);
    let body = html! {
        @for (row, bar) in bars.iter().enumerate() {
            @let y = ROW * row as f64;
            text.name x="0" y=(y + 18.0) { (bar.name) }
            @for (from, part) in starts(bar.from, &bar.parts) {
                rect class={ "s" (part.colour % COLOURS) } x=(at(from * scale)) y=(y + 26.0)
                    width=(at((part.value * scale).max(0.5))) height="14" {
                    title {
                        (bar.name) @if let Some(name) = names.get(part.colour) { ", " (name) } ": " (text(part.value))
                    }
                }
            }
            @if let Some(mark) = bar.mark {
                line.mark x1=(at(mark * scale)) x2=(at(mark * scale)) y1=(y + 23.0) y2=(y + 43.0) {}
            }
            @let end = whole(bar).max(bar.mark.unwrap_or(0.0)) * scale;
            text.label x=(at(end + 6.0)) y=(y + 38.0) { (bar.text) }
        }
    };
    html! {
        (svg(about, (WIDTH, height), "bars", &body))
        @if names.len() > 1 { (legend(names.iter().copied())) }
    }
}

/// Each part with where it begins.
fn starts(from: f64, parts: &[Part]) -> Vec<(f64, Part)> {
    let mut from = from;
    let shown = parts.iter().filter(|part| part.value > 0.0);
    let start = |part: &Part| {
        let to = from + part.value;
        (std::mem::replace(&mut from, to), *part)
    };
    shown.map(start).collect()
}
