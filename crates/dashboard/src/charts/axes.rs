//! Scales, ticks and the lines behind a chart.

use maud::{Markup, html};

use super::at;
use crate::num;

/// Where in an image values are drawn.
#[derive(Clone, Copy)]
pub(super) struct Plot {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Plot {
    /// The middle of an image, with room for labels.
    pub(super) fn inside((width, height): (f64, f64), left: f64) -> Plot {
        Plot { left, top: 8.0, width: width - left - 8.0, height: height - 8.0 - 24.0 }
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// The height of a share of the scale.
    pub(super) fn y(&self, share: f64) -> f64 {
        at(self.bottom() - share.clamp(0.0, 1.0) * self.height)
    }

    /// The place of a share of the width.
    pub(super) fn x(&self, share: f64) -> f64 {
        at(self.left + share.clamp(0.0, 1.0) * self.width)
    }
}

/// A scale from zero whose ticks are round numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) max: f64,
    step: f64,
}

impl Scale {
    /// Up to at least `max`, with about four ticks.
    pub(super) fn up_to(max: f64) -> Scale {
        if !(max.is_finite() && max > 0.0) {
            return Scale { max: 1.0, step: 1.0 };
        }
        let raw = max / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw * 0.999);
        let step = step.unwrap_or(10.0 * power);
        Scale { max: (max / step).ceil().max(1.0) * step, step }
    }

    /// Where a value is on it.
    pub(super) fn share(&self, value: f64) -> f64 {
        value / self.max
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let Scale { max, step } = *self;
        let steps = (max / step).round().clamp(0.0, 20.0) as u32;
        (0..=steps).map(move |n| f64::from(n) * step)
    }
}

/// Lines and labels of the values.
pub(super) fn values(plot: Plot, scale: Scale, text: fn(f64) -> String) -> Markup {
    html! {
        @for value in scale.ticks() {
            @let y = plot.y(scale.share(value));
            line.rule x1=(plot.left) x2=(plot.left + plot.width) y1=(y) y2=(y) {}
            text.label x=(plot.left - 5.0) y=(y + 4.0) text-anchor="end" { (text(value)) }
        }
    }
}

/// Labels of the times, in seconds since the epoch, from the first to the end.
pub(super) fn times(plot: Plot, (from, to): (i64, i64)) -> Markup {
    let span = (to - from).max(1);
    html! {
        @for time in time_ticks(from, to, (plot.width / 90.0) as i64) {
            @let x = plot.x((time - from) as f64 / span as f64);
            line.tick x1=(x) x2=(x) y1=(plot.bottom()) y2=(plot.bottom() + 4.0) {}
            text.label x=(x) y=(plot.bottom() + 17.0) text-anchor="middle" { (num::tick(time, span)) }
        }
    }
}

const HOUR: i64 = 3600;
const STEPS: [i64; 13] = [
    60,
    300,
    900,
    1800,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    24 * HOUR,
    48 * HOUR,
    7 * 24 * HOUR,
    30 * 24 * HOUR,
    120 * 24 * HOUR,
];

/// Round moments in a stretch of time, no more than `most` or so.
fn time_ticks(from: i64, to: i64, most: i64) -> Vec<i64> {
    let span = to.saturating_sub(from).max(1);
    let wanted = span / most.max(1);
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(span);
    let first = from.div_euclid(step) * step;
    let ticks = (0..=span / step + 1).map(|n| first + n * step);
    ticks.filter(|time| *time >= from && *time <= to).take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers_above_the_largest_value() {
        let check = |max: f64, end: f64, ticks: usize| {
            let scale = Scale::up_to(max);
            assert_eq!((scale.max, scale.ticks().count()), (end, ticks), "{max}");
        };
        check(0.0, 1.0, 2);
        check(f64::NAN, 1.0, 2);
        check(1.0, 1.0, 5);
        check(7.0, 8.0, 5);
        check(4_100_000.0, 6_000_000.0, 4);
        check(0.003, 0.003, 4);
    }

    #[test]
    fn ticks_stand_at_round_moments_and_are_few() {
        assert_eq!(time_ticks(100, 3700, 4), [900, 1800, 2700, 3600]);
        assert_eq!(time_ticks(0, 86_400, 5), [0, 21_600, 43_200, 64_800, 86_400]);
        assert!(time_ticks(0, i64::from(u32::MAX), 5).len() <= 24);
        assert_eq!(time_ticks(5, 5, 5), Vec::<i64>::new());
    }
}
