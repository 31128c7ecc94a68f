use super::*;

#[test]
fn raising_is_told_apart_from_lowering() {
    let small = &wanted(&Limits::default())[0];
    let large = Config { max_bytes: small.max_bytes * 2, ..small.clone() };
    assert_eq!(difference(small, &large).1, Vec::<String>::new());
    assert_eq!(difference(small, &large).0.len(), 1);
    assert_eq!(difference(&large, small).1.len(), 1);
    let unlimited = Config { max_bytes: -1, ..small.clone() };
    assert_eq!(difference(&unlimited, small).1.len(), 1, "a limit where there was none is lower");
}

#[test]
fn every_setting_that_we_look_after_is_compared() {
    let wanted = &wanted(&Limits::default())[1];
    assert_eq!(step(wanted, wanted), Step::Keep);
    let check = |current: Config, expected: Step| assert_eq!(step(&current, wanted), expected);
    let is = |change: fn(&mut Config)| {
        let mut current = wanted.clone();
        change(&mut current);
        current
    };
    let raise = |words: &str| Step::Raise(vec![words.to_owned()]);
    let refuse = |words: &str| Step::Refuse(vec![words.to_owned()]);
    check(is(|c| c.allow_direct = false), raise("allow_direct false -> true"));
    check(is(|c| c.allow_message_schedules = true), refuse("allow_msg_schedules true -> false"));
    check(is(|c| c.deny_delete = true), Step::Keep);
    check(is(|c| c.max_message_size = 1024), raise("max_msg_size 1024 -> -1"));
    check(is(|c| c.max_messages = 5), raise("max_msgs 5 -> 2000000"));
    let second = Duration::from_secs(1);
    check(Config { duplicate_window: second, ..wanted.clone() }, raise("duplicate_window (ms) 1000 -> 120000"));
    check(
        Config { duplicate_window: 121 * second, ..wanted.clone() },
        refuse("duplicate_window (ms) 121000 -> 120000"),
    );
    check(is(|c| c.storage = StorageType::Memory), refuse("storage Memory -> File"));
    check(is(|c| c.retention = RetentionPolicy::Interest), refuse("retention Interest -> Limits"));
    check(is(|c| c.subjects.push("more".into())), refuse("subject more removed"));
    check(is(|c| drop(c.subjects.pop())), raise(&format!("subject {} added", subjects::EXTRA)));
}

#[test]
fn the_room_for_waiting_jobs_is_compared_like_a_limit() {
    let limits = |wait_max| wanted(&Limits { wait_max, ..Limits::default() }).remove(3);
    let words = |from, to| vec![format!("tollgate.max_msgs {from} -> {to}")];
    assert_eq!(step(&limits(5), &limits(6)), Step::Raise(words(5, 6)));
    assert_eq!(step(&limits(6), &limits(5)), Step::Refuse(words(6, 5)));
    let raised = raised(limits(5), limits(6));
    assert_eq!(Room::read(&raised.metadata), Room { bytes: Limits::default().wait_bytes_max, messages: 6 });
}

#[test]
fn kept_answers_may_be_fewer_and_always_end() {
    let of = |cache_bytes_max| wanted(&Limits { cache_bytes_max, ..Limits::default() }).remove(5);
    assert_eq!(step(&of(6), &of(5)), Step::Raise(vec!["max_bytes 6 -> 5".into()]));
    let for_ever = Config { allow_message_ttl: false, ..of(5) };
    assert_eq!(step(&for_ever, &of(5)), Step::Raise(vec!["allow_msg_ttl false -> true".into()]));
    let jobs = wanted(&Limits::default()).remove(0);
    let allowed = Config { allow_message_ttl: true, ..jobs.clone() };
    assert_eq!(step(&allowed, &jobs), Step::Keep, "the server never takes it back");
}

#[test]
fn what_is_raised_leaves_the_operators_own_settings_alone() {
    let wanted = &wanted(&Limits::default())[0];
    let current = Config { max_bytes: 1, allow_direct: false, no_ack: true, ..wanted.clone() };
    let raised = raised(current, wanted.clone());
    assert_eq!(step(&raised, wanted), Step::Keep);
    assert!(raised.no_ack, "nothing else is touched");
}
