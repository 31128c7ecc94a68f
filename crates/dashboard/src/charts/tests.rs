//! What every chart keeps to.

use super::*;
use crate::num;

const HOSTILE: &str = r#"</text><script>alert(1)</script>" onload="x"#;

fn about() -> About<'static> {
    About { id: "c-x", title: HOSTILE, description: HOSTILE }
}

/// Every chart, with texts that mean harm wherever a text goes.
fn all() -> Vec<(&'static str, String)> {
    let series =
        [Series { name: HOSTILE.into(), values: vec![1.0, 2.0] }, Series { name: "b".into(), values: vec![3.0] }];
    let line = || Line { name: HOSTILE.into(), values: vec![Some(1.5), None, Some(3.0)] };
    let parts = vec![Part { value: 2.0, colour: 0 }, Part { value: 1.0, colour: 1 }];
    let bar = Bar { name: HOSTILE.into(), parts, text: HOSTILE.into(), mark: Some(4.0), from: 0.0 };
    let phase = Phase { name: HOSTILE.into(), class: "wait", from_ms: 0.0, took_ms: 5.0, text: HOSTILE.into() };
    let cells = [Cell { column: 0, row: 0, count: 5 }, Cell { column: 9, row: 9, count: 1 }];
    let columns = Columns { about: about(), from: 0, step: 3600, series: &series, text: num::short, size: Size::Half };
    let over = [line()];
    let map =
        Heatmap { about: about(), from: 0, step: 60, columns: 3, edges: &[1.0, 2.0, 4.0], cells: &cells, lines: &over };
    let buckets = [(HOSTILE.to_owned(), 3), ("b".to_owned(), 0)];
    let histogram_of = Histogram { about: about(), buckets: &buckets, threshold: Some((1, HOSTILE)) };
    let spent = [(10, 1.0), (50, 4.0)];
    let burn_of =
        Burn { about: about(), window: (0, 100), now: 50, cap: 10.0, spent: &spent, held: 1.0, at_end: Some(9.0) };
    vec![
        ("columns", super::columns(&columns).into_string()),
        (
            "lines",
            super::lines(&Lines {
                about: about(),
                moments: &[0, 60, 120],
                lines: &over,
                text: num::ms,
                size: Size::Half,
            })
            .into_string(),
        ),
        ("bars", super::bars(about(), &[bar], &[HOSTILE, "b"], num::short).into_string()),
        ("heatmap", super::heatmap(&map).into_string()),
        ("histogram", super::histogram(&histogram_of).into_string()),
        ("burn", super::burn(&burn_of).into_string()),
        ("phases", super::phases(about(), &[phase]).into_string()),
        ("spark", spark(&[1.0, 2.0], HOSTILE)),
    ]
}

fn spark(values: &[f64], said: &str) -> String {
    super::spark(values, said).into_string()
}

#[test]
fn texts_stay_texts_in_every_chart() {
    for (name, svg) in all() {
        assert!(!svg.contains("<script") && !svg.contains("\" onload"), "{name}: {svg}");
        assert!(svg.contains("&lt;script&gt;"), "{name} shows the text: {svg}");
    }
}

#[test]
fn every_chart_is_an_image_with_a_name_and_without_styles() {
    for (name, svg) in all() {
        assert!(svg.contains(r#"role="img""#), "{name}");
        assert!(svg.contains("aria-label"), "{name}");
        assert!(!svg.contains("style="), "{name}: the policy forbids inline styles");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
    }
}

#[test]
fn charts_of_nothing_are_drawn_too() {
    let columns = Columns { about: about(), from: 0, step: 1, series: &[], text: num::short, size: Size::Half };
    let map = Heatmap { about: about(), from: 0, step: 60, columns: 0, edges: &[], cells: &[], lines: &[] };
    let burn_of = Burn { about: about(), window: (5, 5), now: 5, cap: 0.0, spent: &[], held: 0.0, at_end: None };
    for svg in [
        super::columns(&columns).into_string(),
        super::lines(&Lines { about: about(), moments: &[], lines: &[], text: num::ms, size: Size::Half })
            .into_string(),
        super::bars(about(), &[], &[], num::short).into_string(),
        super::heatmap(&map).into_string(),
        super::histogram(&Histogram { about: about(), buckets: &[], threshold: None }).into_string(),
        super::burn(&burn_of).into_string(),
        super::phases(about(), &[]).into_string(),
        spark(&[], "nothing"),
        spark(&[f64::NAN], "nothing known"),
    ] {
        assert!(svg.contains("</svg>") && !svg.contains("NaN"), "{svg}");
    }
}

#[test]
fn stacked_columns_stand_on_each_other() {
    let series = [Series { name: "a".into(), values: vec![1.0] }, Series { name: "b".into(), values: vec![3.0] }];
    let svg = super::columns(&Columns {
        about: about(),
        from: 0,
        step: 3600,
        series: &series,
        text: num::short,
        size: Size::Half,
    });
    let svg = svg.into_string();
    // The plot is 208 high and ends at 216; the scale ends at 4.
    assert!(svg.contains(r#"class="s0" x="54.8" y="164" width="576.5" height="52""#), "{svg}");
    assert!(svg.contains(r#"class="s1" x="54.8" y="8" width="576.5" height="156""#), "{svg}");
    assert!(svg.contains("<title>b: 3, 1970-01-01 00:00:00</title>"), "{svg}");
}

#[test]
fn a_bar_shows_its_parts_and_its_mark() {
    let parts = vec![Part { value: 1.0, colour: 0 }, Part { value: 3.0, colour: 1 }];
    let bar = Bar { name: "a".into(), parts, text: "4".into(), mark: Some(2.0), from: 0.0 };
    let svg = super::bars(about(), &[bar], &["x", "y"], num::short).into_string();
    assert!(svg.contains(r#"class="s1" x="107.5" y="26" width="322.5""#), "{svg}");
    assert!(svg.contains(r#"class="mark" x1="215" x2="215""#), "{svg}");
}
