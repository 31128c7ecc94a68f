use proptest::prelude::*;

use super::*;

const MODEL: &str = "m";

fn pool(count: usize) -> Pool {
    let key = |n| (format!("key-{n}"), ApiKey::new(&format!("sk-{n}")).expect("a key"));
    Pool::new((1..=count).map(key).collect())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn picked(pool: &mut Pool, now: Instant) -> Picked {
    pool.pick(MODEL, now).unwrap_or_else(|_| panic!("a key is usable")).expect("there are keys")
}

fn unusable(pool: &mut Pool, now: Instant) -> Unusable {
    pool.pick(MODEL, now).err().expect("no key is usable")
}

#[test]
fn usable_keys_take_turns() {
    let (mut pool, now) = (pool(3), Instant::now());
    let turn = |pool: &mut Pool| picked(pool, now).id;
    assert_eq!([(); 4].map(|()| turn(&mut pool)), ["key-1", "key-2", "key-3", "key-1"]);
    let second = picked(&mut pool, now);
    pool.disable(&second, Why::Refused, (MODEL, None), now).expect("it was usable");
    assert_eq!([(); 4].map(|()| turn(&mut pool)), ["key-3", "key-1", "key-3", "key-1"]);
}

#[test]
fn a_provider_without_keys_is_called_without_one() {
    let (mut pool, now) = (pool(0), Instant::now());
    assert!(pool.pick(MODEL, now).is_ok_and(|picked| picked.is_none()));
    assert!(!pool.is_usable(MODEL, now));
}

#[test]
fn each_reason_has_its_wait() {
    let check = |why: Why, hint: Option<u64>, waits: &[u64]| {
        let (mut pool, mut now) = (pool(1), Instant::now());
        for (nth, &wait) in waits.iter().enumerate() {
            let key = picked(&mut pool, now);
            let failed = now + seconds(1);
            let disabled = pool.disable(&key, why, (MODEL, hint.map(seconds)), failed).expect("it was usable");
            assert_eq!(
                disabled,
                Disabled { id: "key-1".into(), wait: seconds(wait), first: nth == 0 },
                "{why:?} {nth}"
            );
            let until = failed + seconds(wait);
            assert_eq!(unusable(&mut pool, until - seconds(1)), Unusable { why, since: failed, until });
            now = until;
        }
        picked(&mut pool, now);
    };
    check(Why::Refused, None, &[600, 600, 600]);
    check(Why::Refused, Some(5), &[600]);
    check(Why::Forbidden, None, &[600, 600]);
    check(Why::Spent, None, &[60, 120, 240, 480, 960, 1920, 3600, 3600]);
    check(Why::Spent, Some(200), &[200, 200, 240, 480]);
    check(Why::Spent, Some(1), &[60, 120]);
    check(Why::Spent, Some(1_000_000), &[3600, 3600]);
}

#[test]
fn an_answer_ends_the_doubling() {
    let (mut pool, now) = (pool(1), Instant::now());
    let key = picked(&mut pool, now);
    pool.disable(&key, Why::Spent, (MODEL, None), now).expect("it was usable");
    // A call of before that ends well says nothing about the quota of now.
    pool.worked(&key, MODEL);
    assert!(!pool.is_usable(MODEL, now));
    let now = now + SPENT_MIN;
    let key = picked(&mut pool, now);
    pool.worked(&key, MODEL);
    let again = pool.disable(&key, Why::Spent, (MODEL, None), now).expect("it was usable");
    assert_eq!((again.wait, again.first), (SPENT_MIN, true));
}

#[test]
fn calls_of_one_moment_find_the_same_and_it_counts_once() {
    let (mut pool, now) = (pool(2), Instant::now());
    let (one, _, other) = (picked(&mut pool, now), picked(&mut pool, now), picked(&mut pool, now));
    assert_eq!((one.id.as_str(), other.id.as_str()), ("key-1", "key-1"));
    assert!(pool.disable(&one, Why::Spent, (MODEL, None), now + seconds(1)).is_some());
    assert_eq!(pool.disable(&other, Why::Spent, (MODEL, None), now + seconds(2)), None);
    assert!(pool.is_usable(MODEL, now), "the second key is not touched");
}

#[test]
fn what_a_key_may_not_do_for_one_model_it_may_for_another() {
    let (mut pool, now) = (pool(1), Instant::now());
    let key = picked(&mut pool, now);
    pool.disable(&key, Why::Forbidden, (MODEL, None), now).expect("it was usable");
    assert!(!pool.is_usable(MODEL, now) && pool.is_usable("other", now));
    let key = pool.pick("other", now + seconds(1)).ok().flatten().expect("it is usable");
    pool.worked(&key, "other");
    assert!(!pool.is_usable(MODEL, now), "an answer of another model changes nothing");
    pool.disable(&key, Why::Spent, ("other", None), now + seconds(1)).expect("it was usable");
    let both = unusable(&mut pool, now + seconds(2));
    assert_eq!((both.why, both.until), (Why::Forbidden, now + REFUSED), "the longest of both counts");
}

#[test]
fn the_last_reason_and_the_first_return_are_told() {
    let (mut pool, now) = (pool(2), Instant::now());
    let (one, two) = (picked(&mut pool, now), picked(&mut pool, now));
    pool.disable(&one, Why::Spent, (MODEL, None), now + seconds(1)).expect("it was usable");
    pool.disable(&two, Why::Refused, (MODEL, None), now + seconds(2)).expect("it was usable");
    let expected = Unusable { why: Why::Refused, since: now + seconds(2), until: now + seconds(61) };
    assert_eq!(unusable(&mut pool, now + seconds(5)), expected);
}

#[test]
fn a_new_value_is_usable_at_once_and_not_blamed_for_the_old_one() {
    let (mut pool, now) = (pool(1), Instant::now());
    let (first, second) = (picked(&mut pool, now), picked(&mut pool, now));
    pool.disable(&first, Why::Refused, (MODEL, None), now).expect("it was usable");
    assert!(!pool.replace(0, ApiKey::new("sk-1").expect("a key")), "it is the same");
    assert!(!pool.is_usable(MODEL, now));
    assert!(pool.replace(0, ApiKey::new("sk-new").expect("a key")));
    assert_eq!(picked(&mut pool, now).key.expose(), "sk-new");
    assert_eq!(pool.disable(&second, Why::Refused, (MODEL, None), now + seconds(1)), None);
    assert!(pool.is_usable(MODEL, now + seconds(1)));
}

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Pick { other_model: bool },
    Fail { nth: usize, why: Why, hint: Option<u64> },
    Work { nth: usize },
    Replace { at: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let why = prop_oneof![Just(Why::Refused), Just(Why::Forbidden), Just(Why::Spent)];
    prop_oneof![
        (0..700u64).prop_map(Op::Wait),
        any::<bool>().prop_map(|other_model| Op::Pick { other_model }),
        (any::<usize>(), why, proptest::option::of(0..5000u64)).prop_map(|(nth, why, hint)| Op::Fail {
            nth,
            why,
            hint
        }),
        any::<usize>().prop_map(|nth| Op::Work { nth }),
        (0..3usize).prop_map(|at| Op::Replace { at }),
    ]
}

proptest! {
    /// Against a list of what was told to be out: a key in it is never picked, and none stays out for over an hour.
    #[test]
    fn a_disabled_key_is_never_picked_and_comes_back(ops in proptest::collection::vec(op(), 1..80)) {
        let (mut pool, mut now) = (pool(3), Instant::now());
        let mut calls: Vec<(Picked, &str)> = Vec::new();
        let mut out: Vec<(String, Option<&str>, Instant)> = Vec::new();
        for op in ops {
            match op {
                Op::Wait(n) => now += seconds(n),
                Op::Pick { other_model } => {
                    let model = if other_model { "other" } else { MODEL };
                    let is_out = |id: &str| out.iter().any(|(of, only, until)| of == id && *until > now && only.is_none_or(|only| only == model));
                    match pool.pick(model, now) {
                        Ok(key) => {
                            let key = key.expect("there are keys");
                            prop_assert!(!is_out(&key.id), "{} is out", key.id);
                            calls.push((key, model));
                        }
                        Err(unusable) => {
                            prop_assert!(["key-1", "key-2", "key-3"].into_iter().all(is_out));
                            prop_assert!(now < unusable.until && unusable.until <= now + SPENT_MAX && unusable.since <= now);
                        }
                    }
                }
                Op::Fail { nth, why, hint } if !calls.is_empty() => {
                    let (key, model) = calls.swap_remove(nth % calls.len());
                    if let Some(disabled) = pool.disable(&key, why, (model, hint.map(seconds)), now) {
                        prop_assert!(disabled.wait >= SPENT_MIN && disabled.wait <= SPENT_MAX);
                        let only = (why == Why::Forbidden).then_some(model);
                        out.retain(|(id, of, _)| !(*id == key.id && *of == only));
                        out.push((key.id, only, now + disabled.wait));
                    }
                }
                Op::Work { nth } if !calls.is_empty() => {
                    let (key, model) = calls.swap_remove(nth % calls.len());
                    let before = pool.is_usable(model, now);
                    pool.worked(&key, model);
                    prop_assert!(pool.is_usable(model, now) >= before);
                    if pool.slots[key.at].out(model, now).is_none() {
                        out.retain(|(id, only, _)| !(*id == key.id && only.is_none_or(|only| only == model)));
                    }
                }
                Op::Replace { at } => {
                    let value = format!("sk-{at}-{}", pool.slots[at].value + 1);
                    prop_assert!(pool.replace(at, ApiKey::new(&value).expect("a key")));
                    let id = pool.slots[at].id.clone();
                    out.retain(|(of, _, _)| *of != id);
                }
                Op::Fail { .. } | Op::Work { .. } => {}
            }
        }
        prop_assert!(pool.is_usable(MODEL, now + SPENT_MAX) && pool.is_usable("other", now + SPENT_MAX));
    }
}
