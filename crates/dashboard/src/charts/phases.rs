//! The phases of one job, one below the other, on one scale of time.

use maud::{Markup, html};

use super::axes::{Plot, Scale};
use super::{About, at, svg};
use crate::num;

/// A phase.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// What happened.
    pub(crate) name: String,
    /// How it is drawn: `wait`, `call`, `answer`, `bad`, `done`.
    pub(crate) class: &'static str,
    /// When it began, ms after the job was accepted.
    pub(crate) from_ms: f64,
    /// How long it took, ms.
    pub(crate) took_ms: f64,
    /// What else there is to say, such as tokens and cost.
    pub(crate) text: String,
}

const ROW: f64 = 38.0;
const WIDTH: f64 = 1120.0;

/// Draws them.
pub(crate) fn phases(about: About<'_>, phases: &[Phase]) -> Markup {
    let end = phases.iter().map(|phase| phase.from_ms + phase.took_ms).fold(0.0, f64::max);
    let scale = Scale::up_to(end);
    let size = (WIDTH, ROW * phases.len() as f64 + 32.0);
    let plot = Plot { left: 8.0, top: 0.0, width: WIDTH - 24.0, height: ROW * phases.len() as f64 };
    let body = html! {
        @for tick in scale.ticks() {
            @let x = plot.x(scale.share(tick));
            line.rule x1=(x) x2=(x) y1="0" y2=(plot.bottom()) {}
            text.label x=(x) y=(plot.bottom() + 17.0) text-anchor=(anchor(tick, scale.max)) {
                (num::ms(tick))
            }
        }
        @for (row, phase) in phases.iter().enumerate() {
            @let y = ROW * row as f64;
            @let x = plot.x(scale.share(phase.from_ms));
            @let width = at((scale.share(phase.took_ms) * plot.width).max(2.0));
            @let late = scale.share(phase.from_ms) > 0.5;
            rect class=(phase.class) x=(x) y=(y + 20.0) width=(width) height="13" rx="2" {
                title { (phase.name) ": " (num::ms(phase.took_ms)) }
            }
            text.name x=(if late { at(x + width) } else { x }) y=(y + 14.0)
                text-anchor=(if late { "end" } else { "start" }) {
                (phase.name) ", " (num::ms(phase.took_ms)) @if !phase.text.is_empty() { " · " (phase.text) }
            }
        }
    };
    html! { div.scroll { (svg(about, size, "phases", &body)) } }
}

/// The first and the last label stay inside.
fn anchor(tick: f64, max: f64) -> &'static str {
    match tick {
        tick if tick <= 0.0 => "start",
        tick if tick >= max => "end",
        _ => "middle",
    }
}
