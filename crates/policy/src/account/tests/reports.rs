//! What a record says to people, its wire form, and rebuilds.

use super::*;

#[test]
fn a_threshold_is_announced_once_in_a_window() {
    let mut books = Books::new(&[r#"{"window":"day","cap_usd":"0.0000001","alert_percent":[50,80,100,120]}"#]);
    let crossed = |books: &mut Books| {
        let alerts = books.account.alerts(&books.rules);
        books.account.announced(&alerts);
        books.check();
        alerts.iter().map(|alert| (alert.percent, alert.spent.0)).collect::<Vec<_>>()
    };
    books.take("w", Main, 90).unwrap();
    assert_eq!(crossed(&mut books), [], "holds are no spend");
    books.fold(&event(49, None));
    assert_eq!(crossed(&mut books), []);
    books.fold(&event(1, None));
    assert_eq!(crossed(&mut books), [(50, 50)]);
    books.fold(&event(55, None));
    assert_eq!(crossed(&mut books), [(80, 105), (100, 105)]);
    assert_eq!(crossed(&mut books), []);
    books.now = UnixMillis(MIDNIGHT + 24 * HOUR);
    books.fold(&event(80, None));
    assert_eq!(crossed(&mut books), [(50, 80), (80, 80)], "another day");
}

#[test]
fn a_threshold_of_a_rolling_window_is_announced_again_after_its_length() {
    let mut books = Books::new(&[r#"{"window":"rolling 24h","cap_usd":"0.0000001","alert_percent":[50]}"#]);
    let mut announced = Vec::new();
    for hour in 0..60 {
        books.now = UnixMillis(MIDNIGHT + hour * HOUR);
        books.fold(&event(4, None));
        let alerts = books.account.alerts(&books.rules);
        books.account.announced(&alerts);
        announced.extend(alerts.iter().map(|_| hour));
    }
    assert_eq!(announced, [12, 37]);
}

#[test]
fn a_hundred_percent_is_announced_when_no_job_fits_any_more() {
    let mut books = Books::new(&[r#"{"window":"day","cap_usd":"0.0000001","alert_percent":[50,100,120]}"#]);
    let denied = |books: &mut Books, amount| {
        let until = books.now.plus(std::time::Duration::from_secs(60));
        let ask = Ask { lease: "w", pot: Main, amount: NanoUsd(amount), until };
        books.account.note_denied(&ask, books.now, &books.rules)
    };
    let announced = |books: &mut Books| {
        let alerts = books.account.alerts(&books.rules);
        books.account.announced(&alerts);
        alerts.iter().map(|alert| (alert.percent, alert.spent.0)).collect::<Vec<_>>()
    };
    books.take("v", Main, 60).unwrap();
    assert!(denied(&mut books, 60));
    assert!(!denied(&mut books, 60) && !denied(&mut books, 70), "only what is smaller is news");
    assert_eq!(announced(&mut books), [], "holds may come back");
    books.fold(&event(60, hold("v", Main, 60)));
    books.check();
    assert_eq!(announced(&mut books), [(50, 60), (100, 60)]);
    assert_eq!(announced(&mut books), []);
    // With a higher cap it is open again; a new day begins without.
    books.rules = vec![rule(r#"{"window":"day","cap_usd":"0.0000002","alert_percent":[50,100,120]}"#)];
    books.account.refresh(books.now, &books.rules);
    assert!(!denied(&mut books, 60) && denied(&mut books, 150));
    assert_eq!(books.account.windows()["day"].denied, Some(NanoUsd(150)));
    books.now = UnixMillis(MIDNIGHT + 24 * HOUR);
    books.fold(&event(10, None));
    assert_eq!(announced(&mut books), []);
    assert_eq!(books.account.windows()["day"].denied, None);
}

#[test]
fn a_cap_of_nothing_alerts_on_the_first_spend() {
    let mut books = Books::new(&[r#"{"window":"day","cap_usd":"0","alert_percent":[100]}"#]);
    assert_eq!(books.account.alerts(&books.rules), []);
    assert_eq!(books.take("w", Main, 1).unwrap_err().kind, DeniedKind::Never);
    assert_eq!(books.fold(&event(1, None)), 1);
    assert_eq!(books.account.alerts(&books.rules).len(), 1);
}

#[test]
fn the_standing_of_a_window_is_what_its_budget_shows() {
    let mut books = Books::new(&[
        r#"{"window":"day","cap_usd":"0.0000001","when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"0.00000005"}"#,
        r#"{"window":"week","cap_usd":"0.000001"}"#,
    ]);
    books.fold(&event(30, None));
    books.fold(&event(60, hold("none", Downgraded, 0)));
    books.take("w", Main, 20).unwrap();
    let standing = books.account.standing(books.now, &books.rules);
    let purse = |cap, settled, held, left, overrun| Purse {
        cap: Some(NanoUsd(cap)),
        settled: NanoUsd(settled),
        held: NanoUsd(held),
        left: Some(NanoUsd(left)),
        overrun: NanoUsd(overrun),
    };
    assert_eq!((standing[0].starts.0, standing[0].ends.0), (MIDNIGHT, MIDNIGHT + 24 * HOUR));
    assert_eq!((standing[0].main, standing[0].downgraded), (purse(100, 30, 20, 50, 0), Some(purse(50, 60, 0, 0, 10))));
    assert_eq!((standing[1].main, standing[1].downgraded), (purse(1000, 90, 20, 890, 0), None));
    let tomorrow = books.account.standing(UnixMillis(MIDNIGHT + 24 * HOUR), &books.rules);
    assert_eq!(tomorrow[0].main, purse(100, 0, 20, 80, 0));
}

#[test]
fn a_record_of_another_version_is_not_read() {
    let mut json = serde_json::to_value(Books::of_a_day().account).unwrap();
    json["version"] = 2.into();
    let message = serde_json::from_value::<Account>(json).unwrap_err().to_string();
    assert!(message.contains("has version 2, and this code reads 1"), "{message}");
}

#[test]
fn the_record_s_wire_form_is_this_one() {
    let mut books = Books::new(&[
        r#"{"window":"rolling 24h","cap_usd":"0.0000001"}"#,
        r#"{"window":"day","cap_usd":"0.0000002","when_spent":"downgrade","downgrade_to":"mini"}"#,
    ]);
    books.take("w", Main, 50).unwrap();
    books.fold(&event(20, hold("w", Main, 30)));
    let expected = r#"{"version":1,"scope":"team:a","log":"log","folded":1,"as_of":1772625600000,"windows":{"day":{"start":1772582400000,"end":1772668800000,"caps":{"apart":{"main":200}},"capped":0,"settled":{"main":20},"overrun":{},"alerted":0,"alerted_at":0},"rolling 24h":{"start":1772539200000,"end":1772629200000,"caps":{"together":100},"capped":0,"settled":{"main":20},"overrun":{},"slices":[{"start":1772625600000,"settled":{"main":20},"overrun":{}}],"alerted":0,"alerted_at":0}},"blocks":{"w":{"held":{"main":20},"until":1772625660000,"turn":1}},"tally":{"m|succeeded":{"nanousd":20,"calls":1,"jobs":1}}}"#;
    assert_eq!(serde_json::to_string(&books.account).unwrap(), expected);
}

#[test]
fn a_rebuild_takes_over_sums_of_the_same_place_in_the_log_alone() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 30).unwrap();
    books.fold(&event(20, hold("w", Main, 20)));
    let fresh = |log: &str, scope: &str, folded| {
        let mut fresh = Account::open(scope.parse().unwrap(), log, 0, books.now, &books.rules);
        fresh.fold(1, books.now, &event(25, hold("w", Main, 20)), &books.rules);
        fresh.advance(folded);
        fresh
    };
    let before = books.account.clone();
    let mut adopt = |fresh: Account| books.account.adopt(&fresh, books.now, &books.rules).map_err(|e| e.to_string());
    assert!(adopt(fresh("log", "team:b", 1)).unwrap_err().contains("those of team:b"));
    assert!(adopt(fresh("log", "team:a", 2)).unwrap_err().contains("folded through 2, the account through 1"));
    assert_eq!(adopt(fresh("log", "team:a", 1)), Ok(vec![]));
    assert_eq!(books.sums(), (25, 10, 0), "sums are those of the log, holds stay");
    assert_eq!(books.account.blocks(), before.blocks());
    let another = fresh("another log", "team:a", 7);
    books.account.adopt(&another, books.now, &books.rules).unwrap();
    assert_eq!((books.account.log(), books.account.folded()), ("another log", 7));
}

#[test]
fn a_rebuild_completes_a_window_that_is_older_than_its_budget_and_brings_a_stray_clock_back() {
    let mut books = Books::of_a_day();
    books.rules.push(rule(r#"{"window":"month","cap_usd":"1"}"#));
    books.refresh();
    assert_eq!(books.account.windows()["month"].since, Some(books.now));
    assert_eq!(books.account.windows()["day"].since, None);
    books.fold(&event(5, None));
    books.now = UnixMillis(MIDNIGHT + 23 * HOUR);
    let mut fresh = Account::open(team(), "log", 0, books.now, &books.rules);
    fresh.fold(1, UnixMillis(MIDNIGHT + 12 * HOUR), &event(5, None), &books.rules);
    // Somebody's clock was wrong, and tomorrow has an overrun.
    books.take("w", Main, 30).unwrap();
    books.account.refresh(UnixMillis(MIDNIGHT + 40 * HOUR), &books.rules);
    books.set_cap(20);
    books.refresh();
    assert_eq!(books.sums(), (0, 30, 10));
    books.set_cap(100);
    books.account.adopt(&fresh, books.now, &books.rules).unwrap();
    assert_eq!(books.account.windows()["month"].since, None);
    assert_eq!((books.account.as_of(), books.sums()), (books.now, (5, 30, 0)));
}

#[test]
fn a_tally_counts_calls_under_their_model_and_jobs_under_their_last() {
    let mut books = Books::of_a_day();
    let mut two = event(5, None);
    two.attempts.push(AttemptRecord { model: "n".into(), cost_nanousd: NanoUsd(7), ..two.attempts[0].clone() });
    books.fold(&two);
    let mut extra = event(3, None);
    extra.kind = EventKind::Extra;
    books.fold(&extra);
    let mut refused = event(0, None);
    (refused.attempts, refused.status) = (vec![], Status::Rejected);
    books.fold(&refused);
    let tallied = |key: &str| {
        let tallied = books.account.tally()[key];
        (tallied.nanousd.0, tallied.calls, tallied.jobs)
    };
    assert_eq!(
        [tallied("m|succeeded"), tallied("n|succeeded"), tallied("m|rejected")],
        [(8, 2, 0), (7, 1, 1), (0, 0, 1)]
    );
    assert_eq!(books.account.tally().len(), 3);
}

#[test]
fn a_tally_is_bounded_and_kept_for_teams_alone() {
    let mut books = Books::of_a_day();
    let mut user = Account::open("user:a/ann".parse().unwrap(), "log", 0, books.now, &[]);
    for model in 0..100 {
        let mut named = event(1, None);
        named.attempts[0].model = format!("m{model}");
        books.fold(&named);
        user.fold(books.seq, books.now, &named, &[]);
    }
    let tally = books.account.tally();
    assert_eq!(
        (tally.len(), tally[TALLY_OTHER]),
        (TALLY_KEYS_MAX, Tallied { nanousd: NanoUsd(37), calls: 37, jobs: 37 })
    );
    assert_eq!((user.folded(), user.tally().len()), (100, 0));
}
