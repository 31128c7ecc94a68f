//! A line as small as a word.

use maud::{Markup, html};

use super::at;

const SIZE: (f64, f64) = (96.0, 24.0);

/// Draws values from the oldest to the newest; `said` is what they say, for those who do not see it.
pub(crate) fn spark(values: &[f64], said: &str) -> Markup {
    let max = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let step = SIZE.0 / values.len().saturating_sub(1).max(1) as f64;
    let y = |value: f64| at(SIZE.1 - 2.0 - if max > 0.0 { value / max * (SIZE.1 - 4.0) } else { 0.0 });
    let points: Vec<String> =
        values.iter().enumerate().map(|(n, value)| format!("{},{}", at(step * n as f64), y(*value))).collect();
    html! {
        svg.spark role="img" aria-label=(said) viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } {
            title { (said) }
            polyline.l0 fill="none" points=(points.join(" ")) {}
        }
    }
}
