//! What is left of a budget: what it was, what an even pace would leave, and where things go from here.

use maud::{Markup, html};

use super::axes::{Plot, Scale, times, values};
use super::{About, at, svg};
use crate::num::short_money;

/// A budget in its window; times in seconds since the epoch, money in dollars.
pub(crate) struct Burn<'a> {
    /// What it is.
    pub(crate) about: About<'a>,
    /// When the window began and ends.
    pub(crate) window: (i64, i64),
    /// Now.
    pub(crate) now: i64,
    /// What may be spent.
    pub(crate) cap: f64,
    /// What was spent at which time, ascending; now is the last.
    pub(crate) spent: &'a [(i64, f64)],
    /// What workers hold for jobs that run.
    pub(crate) held: f64,
    /// What will be spent when the window ends, if things go on like this.
    pub(crate) at_end: Option<f64>,
}

const SIZE: (f64, f64) = (640.0, 240.0);

/// Draws what remains over the window.
pub(crate) fn burn(burn: &Burn<'_>) -> Markup {
    let plot = Plot::inside(SIZE, 60.0);
    let scale = Scale::up_to(burn.cap);
    let (from, to) = burn.window;
    let span = (to - from).max(1) as f64;
    let x = |time: i64| plot.x((time - from) as f64 / span);
    let left = |spent: f64| plot.y(scale.share((burn.cap - spent).max(0.0)));
    let spent_now = burn.spent.last().map_or(0.0, |(_, spent)| *spent);
    let line = |points: &mut dyn Iterator<Item = (i64, f64)>| {
        points.map(|(time, spent)| format!("{},{}", x(time), left(spent))).collect::<Vec<_>>().join(" ")
    };
    let known = std::iter::once((from, 0.0)).chain(burn.spent.iter().copied()).filter(|(time, _)| *time >= from);
    let body = html! {
        (values(plot, scale, short_money))
        line.ideal x1=(x(from)) y1=(left(0.0)) x2=(x(to)) y2=(left(burn.cap)) {}
        polyline.left fill="none" points=(line(&mut known.into_iter())) {}
        @if let Some(end) = projected(burn, spent_now) {
            polyline.projected fill="none" points=(line(&mut [(burn.now, spent_now), end].into_iter())) {}
        }
        @let (top, bottom) = (left(spent_now), left(spent_now + burn.held));
        rect.held x=(at(x(burn.now) - 3.0)) y=(top) width="6" height=(at((bottom - top).max(0.0))) {
            title { "held for jobs that run: " (short_money(burn.held)) }
        }
        line.mark x1=(x(burn.now)) x2=(x(burn.now)) y1=(plot.top) y2=(plot.bottom()) {}
        (times(plot, burn.window))
    };
    html! {
        (svg(burn.about, SIZE, "burn", &body))
        ul.legend {
            @for (class, name) in [("left", "left"), ("ideal", "an even pace"), ("projected", "if it goes on like this")] {
                li {
                    svg.key viewBox="0 0 28 10" aria-hidden="true" { line class=(class) x1="0" x2="28" y1="5" y2="5" {} }
                    (name)
                }
            }
            li { span class="swatch held" aria-hidden="true" {} "held for jobs that run" }
        }
    }
}

/// Where the projection ends: at the window's end, or where nothing is left.
fn projected(burn: &Burn<'_>, spent_now: f64) -> Option<(i64, f64)> {
    let at_end = burn.at_end?;
    let ahead = burn.window.1 - burn.now;
    if at_end <= burn.cap || at_end <= spent_now {
        return Some((burn.window.1, at_end));
    }
    let share = ((burn.cap - spent_now) / (at_end - spent_now)).clamp(0.0, 1.0);
    Some((burn.now + (ahead as f64 * share) as i64, burn.cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_ends_where_nothing_is_left() {
        let about = About { id: "c", title: "t", description: "d" };
        let check = |spent: f64, at_end: f64, expected: (i64, f64)| {
            let spent_at = [(50, spent)];
            let burn =
                Burn { about, window: (0, 100), now: 50, cap: 10.0, spent: &spent_at, held: 0.0, at_end: Some(at_end) };
            assert_eq!(projected(&burn, spent), Some(expected));
        };
        check(2.0, 4.0, (100, 4.0));
        check(6.0, 14.0, (75, 10.0));
        check(12.0, 24.0, (50, 10.0));
    }
}
