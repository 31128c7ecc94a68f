//! Whether large jobs cost more than their bytes.

use std::time::Duration;

use super::{median, pairs, shares};
use crate::Size;
use crate::run::{Contender, Plan};
use crate::world::Team;
use benches::report::{table, whole};

const COLUMNS: [&str; 7] =
    ["KiB", "bare jobs/s", "tollgate jobs/s", "ratio", "tollgate MiB/s", "bare µs/job", "tollgate µs/job"];

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    // So many that a run takes a second or two.
    let cells: &[(usize, u64)] = match size {
        Size::Quick => &[(1, 10_000), (100, 1_500)],
        Size::Default => &[(1, 10_000), (10, 8_000), (100, 2_500)],
        Size::Full => &[(1, 10_000), (10, 8_000), (100, 2_500), (900, 600)],
    };
    let mut rows = Vec::new();
    for &(kib, jobs) in cells {
        let plan = Plan {
            contender: Contender::Bare,
            in_flight: 64,
            jobs,
            warm: jobs / 10,
            measured_max: jobs,
            bytes: kib << 10,
            upstream: Duration::ZERO,
            outstanding: None,
            lanes: 1,
            team: Team::Plain,
        };
        let pairs = pairs(&format!("payload of {kib} KiB"), &plan, size.rounds().min(2)).await?;
        let (bare, ours) = (median(&pairs.bare, |m| m.rate), median(&pairs.tollgate, |m| m.rate));
        rows.push(vec![
            kib.to_string(),
            whole(bare),
            whole(ours),
            pairs.ratio(|m| m.rate).ratio(),
            format!("{:.1}", ours * kib as f64 / 1024.0),
            shares(&pairs.bare, &["worker", "nats"]),
            shares(&pairs.tollgate, &["worker", "nats"]),
        ]);
    }
    table("Payload: 64 in flight, provider answers at once, 1 KiB answers", &COLUMNS, rows);
    Ok(())
}
