//! Windows that end, caps that change, clocks that are wrong.

use super::*;

#[test]
fn a_window_that_ended_begins_again_with_what_is_held() {
    let mut books = Books::of_a_day();
    books.fold(&event(130, None));
    assert_eq!(books.sums(), (130, 0, 30));
    books.now = UnixMillis(MIDNIGHT + 24 * HOUR);
    books.take("w", Main, 80).unwrap();
    assert_eq!(books.sums(), (0, 80, 0));
    // Committed yesterday, folded today: yesterday's cost, and its hold comes off all the same.
    assert_eq!(books.fold_at(MIDNIGHT + 24 * HOUR - 1, &event(70, hold("w", Main, 70))), 0);
    assert_eq!(books.sums(), (0, 10, 0));
}

#[test]
fn the_server_s_timestamp_of_a_record_moves_windows_on_by_itself() {
    let mut books = Books::of_a_day();
    books.fold(&event(60, None));
    books.fold_at(MIDNIGHT + 24 * HOUR, &event(50, None));
    assert_eq!(books.sums(), (50, 0, 0));
    assert_eq!(books.account.as_of(), UnixMillis(MIDNIGHT + 24 * HOUR));
}

#[test]
fn a_cap_that_falls_below_what_is_spent_is_an_overrun_and_a_higher_one_is_room() {
    let mut books = Books::of_a_day();
    books.fold(&event(60, None));
    books.take("w", Main, 30).unwrap();
    books.set_cap(40);
    assert_eq!((books.refresh(), books.refresh()), (50, 0));
    books.set_cap(100);
    assert_eq!((books.refresh(), books.sums()), (0, (60, 30, 50)));
    assert!(books.take("w", Main, 11).is_err(), "the overrun is no room");
    books.take("w", Main, 10).unwrap();
    books.set_cap(50);
    assert_eq!(books.refresh(), 0, "what was recorded covers it");
    books.set_cap(40);
    assert_eq!(books.refresh(), 10);
}

/// A worker that lost its connection may write before it has read of the change.
#[test]
fn a_process_that_knows_an_older_budget_leaves_the_newer_caps_as_they_are() {
    let mut books = Books::of_a_day();
    let older = books.rules.clone();
    books.set_cap(400);
    books.take("w", Main, 300).unwrap();
    let newer = std::mem::replace(&mut books.rules, older.clone());
    assert_eq!(books.refresh(), 0, "what fits the newer cap is no overrun");
    books.take("late", Main, 100).unwrap();
    assert!(books.take("late", Main, 1).is_err());

    books.rules = newer;
    books.set_cap(350);
    assert_eq!(books.refresh(), 50);
    books.rules = older;
    assert!(books.take("late", Main, 1).is_err(), "nor does it raise a cap that fell");
    assert_eq!(books.sums(), (0, 400, 50));
}

#[test]
fn a_raise_that_ends_records_what_was_spent_of_it() {
    let mut books = Books::of_a_day();
    let mut budget = books.rules[0].budget.clone();
    let until = UnixMillis(books.now.0 + HOUR);
    let amount_usd = Usd(NanoUsd(50));
    budget.raises = vec![Raise { amount_usd, from: books.now, until, author: "ann".into(), reason: String::new() }];
    books.rules[0] = Rule::new(&budget, UnixMillis::default()).unwrap();
    books.take("w", Main, 140).unwrap();
    books.fold(&event(120, hold("w", Main, 140)));
    books.now = until;
    assert_eq!(books.refresh(), 20);
    assert_eq!(books.sums(), (120, 0, 20));
}

#[test]
fn a_budget_that_comes_back_within_minutes_has_forgotten_nothing() {
    let check = |budget: &str| {
        let mut books = Books::new(&[budget]);
        let rules = books.rules.clone();
        let minutes = |n: i64| UnixMillis(MIDNIGHT + 12 * HOUR + n * 60_000);
        books.fold(&event(60, None));
        // A worker that has not read the budgets yet.
        books.rules.clear();
        books.take("w", Main, 500).unwrap();
        books.fold_at(minutes(1).0, &event(5, None));
        books.rules = rules.clone();
        books.now = minutes(2);
        assert_eq!((books.refresh(), books.sums()), (465, (65, 500, 465)), "{budget}: in between there was no cap");
        books.rules.clear();
        books.refresh();
        books.now = minutes(13);
        books.refresh();
        assert!(books.account.windows().is_empty(), "{budget}: it is gone for good");
        books.rules = rules;
        books.refresh();
        assert_eq!(books.sums().0, 0);
        assert_eq!(books.account.windows()[&books.rules[0].id].since, Some(minutes(13)));
    };
    check(r#"{"window":"day","cap_usd":"0.0000001"}"#);
    check(r#"{"window":"month","cap_usd":"0.0000001","time_zone":"Asia/Kolkata"}"#);
    check(r#"{"window":"rolling 24h","cap_usd":"0.0000001"}"#);
}

#[test]
fn budgets_that_come_and_go_do_not_pile_up() {
    let mut books = Books::of_a_day();
    for minutes in 1..200 {
        books.rules = vec![rule(&format!(r#"{{"window":"rolling {minutes}m","cap_usd":"1"}}"#))];
        books.refresh();
    }
    assert_eq!(books.account.windows().len(), 33);
}

#[test]
fn a_process_that_lags_does_not_bring_an_ended_window_back() {
    let mut books = Books::of_a_day();
    books.now = UnixMillis(MIDNIGHT + 24 * HOUR);
    books.fold(&event(70, None));
    books.now = UnixMillis(MIDNIGHT + 24 * HOUR - 10 * 60_000);
    assert!(books.take("w", Main, 40).is_err());
    assert_eq!(books.sums(), (70, 0, 0));
}

#[test]
fn a_record_of_the_far_future_goes_back_to_the_present() {
    for window in ["day", "rolling 24h"] {
        let mut books = Books::new(&[&format!(r#"{{"window":"{window}","cap_usd":"0.0000001"}}"#)]);
        let today = books.now;
        books.now = UnixMillis(i64::MAX);
        books.refresh();
        books.now = today;
        books.refresh();
        assert_eq!(books.account.as_of(), today);
        books.fold(&event(70, None));
        assert_eq!(books.sums(), (70, 0, 0), "what is spent today counts");
        assert!(books.take("w", Main, 40).is_err());
    }
}

#[test]
fn a_rolling_window_forgets_one_sub_window_after_the_other() {
    let mut books = Books::new(&[r#"{"window":"rolling 24h","cap_usd":"0.0000001"}"#]);
    let hour = |n: i64| MIDNIGHT + 12 * HOUR + n * HOUR;
    books.fold_at(hour(0) + 1, &event(40, None));
    books.fold_at(hour(5), &event(50, None));
    books.fold_at(hour(3), &event(5, None));
    books.fold_at(hour(-30), &event(99, None));
    assert_eq!(books.sums(), (95, 0, 0));
    books.now = UnixMillis(hour(6));
    let opens = |books: &mut Books, amount| books.take("w", Main, amount).unwrap_err().opens.unwrap().0;
    assert_eq!(opens(&mut books, 30), hour(25), "the first 40 are outside a day after their hour ended");
    assert_eq!(opens(&mut books, 50), hour(28));
    assert_eq!(opens(&mut books, 51), hour(30));
    books.now = UnixMillis(hour(25) - 1);
    assert!(books.take("w", Main, 30).is_err());
    books.now = UnixMillis(hour(25));
    books.take("w", Main, 30).unwrap();
    assert_eq!(books.sums(), (55, 30, 0));
}

#[test]
fn an_overrun_leaves_a_rolling_window_with_the_spend_that_made_it() {
    let mut books = Books::new(&[r#"{"window":"rolling 24h","cap_usd":"0.0000001"}"#]);
    let hour = |n: i64| MIDNIGHT + 12 * HOUR + n * HOUR;
    books.fold_at(hour(0), &event(90, None));
    assert_eq!(books.fold_at(hour(2), &event(30, None)), 20);
    books.now = UnixMillis(hour(25));
    assert_eq!((books.refresh(), books.sums()), (0, (30, 0, 20)));
    books.now = UnixMillis(hour(27));
    assert_eq!((books.refresh(), books.sums()), (0, (0, 0, 0)));
}
