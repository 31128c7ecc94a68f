//! What the provider's log says when many workers want more than there is; see `simulation` for what goes wrong on the
//! way.

use super::simulation::{Log, MINUTE, Scene};
use super::*;

fn requests(per_minute: u32) -> Limits {
    Limits { requests_per_minute: Some(per_minute), ..Limits::default() }
}

fn tokens(per_minute: u64) -> Limits {
    Limits { tokens_per_minute: Some(per_minute), ..Limits::default() }
}

fn slots(most: u32) -> Limits {
    Limits { concurrency: Some(most), ..Limits::default() }
}

/// Every scene with every limit: nothing may exceed it, and this share of it must be reached.
fn check(limit: u32, workers: usize, reached: f64, change: impl Fn(&mut Scene)) -> Log {
    let mut scene = Scene::new(u64::from(limit) * 10 + workers as u64, requests(limit), workers);
    scene.minutes = if limit < 600 { 10 } else { 4 };
    change(&mut scene);
    let minutes = scene.minutes;
    let log = scene.run();
    let (most, per_minute) = (log.most_in(MINUTE, |_| 1), log.per_minute(minutes, |_| 1));
    assert!(most <= u64::from(limit), "{most} of {limit} in a minute, {workers} workers");
    assert!(per_minute >= reached * f64::from(limit), "{per_minute} of {limit} a minute, {workers} workers");
    log
}

#[test]
fn no_sliding_minute_sees_more_than_the_limit_and_nine_tenths_are_reached() {
    for workers in [1, 4, 8] {
        for limit in [1, 2, 3, 10, 60, 600] {
            check(limit, workers, 0.9, |_| {});
        }
    }
    check(6_000, 4, 0.9, |_| {});
}

#[test]
fn permits_that_are_used_as_late_as_they_may_be_count_all_the_same() {
    for limit in [1, 2, 3, 10, 60, 600] {
        let reached = if limit < 60 { 0.8 } else { 0.9 };
        check(limit, 1, reached, |scene| scene.dawdles = true);
        check(limit, 5, reached, |scene| scene.dawdles = true);
    }
    check(6_000, 3, 0.9, |scene| scene.dawdles = true);
}

#[test]
fn lost_answers_and_dead_workers_take_nothing_from_the_others() {
    for limit in [1, 10, 60, 600] {
        let chaos = |scene: &mut Scene| (scene.lost_answers, scene.deaths, scene.dawdles) = (10, 200, limit == 60);
        check(limit, 4, 0.8, chaos);
    }
    check(600, 8, 0.8, |scene| scene.lost_answers = 3);
}

#[test]
fn six_hundred_a_minute_come_evenly() {
    let log = check(600, 4, 0.9, |scene| scene.delay_millis = 20);
    let (most, gap) = (log.most_in(1_000, |_| 1), log.longest_gap());
    assert!(most <= 24, "{most} in a second: two seconds' shares, when their edges meet");
    assert!(gap <= 2_000, "nothing for {gap} ms");
    let least = log.least_in(10_000);
    assert!(least >= 75, "{least} in ten seconds");
}

#[test]
fn every_worker_gets_its_share_however_near_the_others_are() {
    for limit in [10, 60, 600] {
        // Its clock is a quarter of a second ahead of most: it asks first in every second.
        let log = check(limit, 4, 0.9, |scene| scene.one_clock_off = 200);
        let (by_worker, fair) = (log.by_worker(), log.calls.len() / 4);
        assert!(by_worker.iter().all(|&calls| calls * 3 >= fair * 2), "{by_worker:?} of {limit} a minute");
    }
}

#[test]
fn with_less_load_than_the_limit_jobs_hardly_wait() {
    for limit in [60, 600] {
        let log = check(limit, 4, 0.7, |scene| scene.jobs_per_minute = Some(u64::from(limit) * 3 / 4));
        let mut waits = log.waits;
        waits.sort_unstable();
        let p95 = waits[waits.len() * 95 / 100];
        assert!(p95 <= 1_000, "{p95} ms at {limit} a minute");
    }
}

#[test]
fn tokens_are_used_up_and_never_exceeded() {
    let check = |limit: u64, tokens_max, truth_percent, reached: f64| {
        let mut scene = Scene::new(limit + tokens_max, tokens(limit), 4);
        (scene.minutes, scene.tokens_max, scene.truth_percent) = (8, tokens_max, truth_percent);
        let log = scene.run();
        let (most, per_minute) = (log.most_in(MINUTE, |call| call.tokens), log.per_minute(8, |call| call.tokens));
        assert!(truth_percent.1 > 100 || most <= limit, "{most} of {limit}");
        assert!(per_minute >= reached * limit as f64 && per_minute <= limit as f64, "{per_minute} a minute of {limit}");
    };
    check(100_000, 1_000, (100, 100), 0.9);
    check(100_000, 10_000, (100, 100), 0.85);
    check(1_000, 100, (100, 100), 0.85);
    // Estimates of nearly twice the truth, and of four times: what comes back is used.
    check(100_000, 1_000, (20, 100), 0.85);
    check(100_000, 1_000, (20, 30), 0.75);
    // Estimates that are too low: the debt is paid back.
    check(100_000, 1_000, (50, 200), 0.85);
    check(100_000, 1_000, (200, 300), 0.85);
}

#[test]
fn a_big_job_is_served_among_many_small_ones() {
    let mut scene = Scene::new(5, tokens(100_000), 4);
    (scene.minutes, scene.big_tokens) = (20, Some(50_000));
    let log = scene.run();
    let big: Vec<i64> = log.calls.iter().filter(|call| call.tokens == 50_000).map(|call| call.sent / 1_000).collect();
    let gap = big.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(big.len() >= 8 && gap <= 240, "{} big jobs, {gap} s apart", big.len());
    for worker in 0..4 {
        let tokens: u64 = log.calls.iter().filter(|call| call.worker == worker).map(|call| call.tokens).sum();
        assert!((380_000..=480_000).contains(&tokens), "worker {worker} got {tokens} tokens of 1,700,000");
    }
    assert!(log.most_in(MINUTE, |call| call.tokens) <= 100_000);
}

#[test]
fn slots_are_never_exceeded_hardly_idle_and_go_round() {
    for most in [1, 2, 5, 20] {
        for workers in [1, 2, 8] {
            let mut scene = Scene::new(u64::from(most), slots(most), workers);
            scene.minutes = 3;
            let log = scene.run();
            assert!(log.most_at_once() <= i64::from(most), "{} at once of {most}", log.most_at_once());
            let end = 3 * MINUTE;
            let busy: i64 = log.calls.iter().map(|call| call.until.min(end) - call.sent).sum();
            let busy = busy as f64 / (end * i64::from(most)) as f64;
            assert!(busy >= 0.88, "{busy} of {most} slots busy, {workers} workers");
            let (by_worker, fair) = (log.by_worker(), log.calls.len() / workers);
            assert!(by_worker.len() == workers && by_worker.iter().all(|&calls| calls * 2 >= fair), "{by_worker:?}");
        }
    }
}

#[test]
fn the_slots_of_dead_workers_come_back() {
    let mut scene = Scene::new(3, slots(8), 4);
    (scene.deaths, scene.lost_answers) = (300, 20);
    let log = scene.run();
    assert!(log.deaths > 20, "{} deaths", log.deaths);
    assert!(log.most_at_once() <= 8);
    let late = log.calls.iter().filter(|call| call.sent > 5 * MINUTE).count();
    assert!(late > 60, "{late} calls in the last minute");
}

#[test]
fn all_limits_hold_at_once() {
    let limits = Limits { requests_per_minute: Some(300), tokens_per_minute: Some(20_000), concurrency: Some(6) };
    let mut scene = Scene::new(11, limits, 4);
    (scene.lost_answers, scene.deaths, scene.truth_percent) = (20, 2_000, (40, 100));
    let log = scene.run();
    assert!(log.most_in(MINUTE, |_| 1) <= 300 && log.most_in(MINUTE, |call| call.tokens) <= 20_000);
    assert!(log.most_at_once() <= 6);
    assert!(log.per_minute(6, |_| 1) > 200.0, "{} a minute", log.per_minute(6, |_| 1));
}

#[test]
fn clocks_that_go_back_grant_nothing_more() {
    for by in [-1_000, -3_000, -5_000, -10_000, -300_000] {
        for limit in [1, 10, 600] {
            let reached = if limit == 600 { 0.7 } else { 0.6 };
            check(limit, 3, reached, |scene| scene.clock_steps = vec![(130_000, by), (200_500, by)]);
        }
    }
}

#[test]
fn clocks_that_jump_ahead_let_through_what_the_pace_allows() {
    for by in [1_000, 10_000, 100_000, 86_400_000] {
        for limit in [1u32, 3, 10, 60, 600] {
            let mut scene = Scene::new(9, requests(limit), 4);
            (scene.dawdles, scene.clock_steps) = (true, vec![(200_000, by)]);
            let most = scene.run().most_in(MINUTE, |_| 1);
            let burst = limit.div_ceil(50).max(limit.div_ceil(2).min(5));
            let promised = u64::from(limit + limit.div_ceil(16) + 2 * burst);
            assert!(most <= promised, "{most} of {limit}, ahead by {by} ms; {promised} are promised");
        }
    }
}

#[test]
fn one_clock_that_is_wrong_by_minutes_does_not_break_the_limit() {
    for off in [-300_000, -20_000] {
        let log = check(600, 4, 0.9, |scene| scene.one_clock_off = off);
        assert_eq!(log.by_worker().len(), 3, "the one behind gets nothing, the others all");
    }
    for off in [20_000, 300_000] {
        let mut scene = Scene::new(9, requests(600), 4);
        scene.one_clock_off = off;
        let log = scene.run();
        // It jumps ahead once, and is served from then on.
        let most = log.most_in(MINUTE, |_| 1);
        assert!(most <= 600 + 38 + 24 && log.per_minute(6, |_| 1) >= 540.0, "{most}, {:?}", log.by_worker());
    }
}

#[test]
fn the_record_stays_small() {
    let log = check(600, 4, 0.9, |_| {});
    assert!(log.record_bytes_max < 1_500, "{} bytes", log.record_bytes_max);
    assert!(log.swaps < 4 * 60 * 8, "{} swaps in four minutes", log.swaps);
}
