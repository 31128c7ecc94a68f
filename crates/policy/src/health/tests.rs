use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A deployment and a clock that goes on.
#[derive(Default)]
struct World {
    health: Health,
    now: Duration,
}

impl World {
    fn started() -> World {
        World { health: Health::default(), now: Duration::from_secs(1_000) }
    }

    fn begin(&mut self) -> Ticket {
        self.health.begin(Reading::Whole, true, self.now)
    }

    fn call(&mut self, takes: Duration, outcome: Outcome) {
        let ticket = self.begin();
        self.now += takes;
        self.health.end(ticket, outcome, self.now);
    }

    fn answer(&mut self, takes: Duration) {
        self.call(takes, Outcome::Answered { first_token: takes });
    }

    fn fail(&mut self, takes: Duration) {
        self.call(takes, Outcome::Failed);
    }

    fn standing(&self) -> Standing {
        self.health.standing(self.now)
    }

    fn is_shut(&self) -> bool {
        matches!(self.standing(), Standing::Shut { .. })
    }

    fn until_open(&mut self) -> Duration {
        let Standing::Shut { until } = self.standing() else { panic!("it is shut") };
        let wait = until - self.now;
        self.now = until;
        wait
    }
}

#[test]
fn a_job_that_is_alone_with_a_provider_that_is_down_opens_the_breaker_with_its_third_try() {
    let mut world = World::started();
    world.fail(ms(5));
    world.now += ms(500);
    world.fail(ms(5));
    assert_eq!(world.standing(), Standing::Ready);
    world.now += ms(700);
    world.fail(ms(5));
    assert!(world.is_shut());
}

#[test]
fn many_failures_open_it_at_once_and_a_few_among_many_answers_do_not() {
    let mut world = World::started();
    (0..9).for_each(|_| world.fail(ms(1)));
    assert_eq!(world.standing(), Standing::Ready);
    world.fail(ms(1));
    assert!(world.is_shut());

    let mut world = World::started();
    for n in 0..10_000 {
        if n % 5 == 0 {
            world.fail(ms(3))
        } else {
            world.answer(ms(3))
        }
        assert_eq!(world.standing(), Standing::Ready, "call {n}");
    }
}

#[test]
fn an_open_breaker_lets_one_call_try_and_doubles_its_spell_up_to_eight_seconds() {
    let mut world = World::started();
    (0..10).for_each(|_| world.fail(ms(1)));
    for spell in [1, 2, 4, 8, 8, 8] {
        assert_eq!(world.until_open(), SECOND * spell);
        assert_eq!(world.standing(), Standing::Probe);
        let probe = world.begin();
        assert!(world.is_shut(), "one probe at a time");
        world.now += ms(10);
        world.health.end(probe, Outcome::Failed, world.now);
    }
    world.until_open();
    world.answer(ms(10));
    assert_eq!(world.standing(), Standing::Ready, "one answer closes it");
    world.fail(ms(1));
    assert_eq!(world.standing(), Standing::Ready, "and all is forgotten");
}

#[test]
fn calls_that_were_under_way_when_it_opened_say_nothing() {
    let mut world = World::started();
    let (early, late) = (world.begin(), world.begin());
    (0..10).for_each(|_| world.fail(ms(1)));
    world.health.end(early, Outcome::Answered { first_token: ms(20) }, world.now);
    assert!(world.is_shut());
    world.until_open();
    world.health.end(late, Outcome::Failed, world.now);
    assert_eq!(world.standing(), Standing::Probe, "the spell is not longer for it");
}

#[test]
fn a_probe_that_nobody_waited_for_leaves_room_for_the_next() {
    let mut world = World::started();
    (0..10).for_each(|_| world.fail(ms(1)));
    world.until_open();
    world.call(ms(1), Outcome::Abandoned);
    assert_eq!(world.standing(), Standing::Probe);
    world.call(ms(1), Outcome::Limited);
    assert_eq!(world.standing(), Standing::Probe);
    // What a provider refuses for its own sake shows that it is there.
    world.call(ms(1), Outcome::Refused);
    assert_eq!(world.standing(), Standing::Ready);
}

#[test]
fn a_provider_that_asked_for_it_is_left_alone_until_then() {
    let mut world = World::started();
    world.health.shut(world.now + SECOND * 30);
    world.health.shut(world.now + SECOND * 10);
    assert_eq!(world.until_open(), SECOND * 30);
    assert_eq!(world.standing(), Standing::Ready);
}

#[test]
fn ten_times_its_normal_is_slow_after_a_few_answers_and_over_after_a_few_too() {
    let mut world = World::started();
    for n in 0..200 {
        world.answer(ms(80 + n % 40));
    }
    let mut answers = 0;
    while world.standing() != Standing::Slow {
        world.answer(ms(1_000));
        answers += 1;
        assert!(answers < 4, "three answers are enough");
    }
    for _ in 0..100 {
        world.answer(ms(1_000));
    }
    assert_eq!(world.standing(), Standing::Slow, "it does not become normal soon");
    for n in 0..4 {
        assert_eq!(world.standing(), Standing::Slow, "after {n}");
        world.answer(ms(100));
        if world.standing() == Standing::Ready {
            return;
        }
    }
    panic!("it is still slow after four good answers");
}

#[test]
fn calls_that_wait_too_long_show_it_before_any_of_them_ends() {
    let mut world = World::started();
    (0..100).for_each(|_| world.answer(ms(100)));
    let waiting: Vec<Ticket> = (0..8).map(|_| world.begin()).collect();
    assert_eq!(world.standing(), Standing::Ready);
    world.now += ms(301);
    assert_eq!(world.standing(), Standing::Slow);
    for ticket in waiting {
        world.health.end(ticket, Outcome::Answered { first_token: ms(150) }, world.now);
    }
    assert_eq!(world.standing(), Standing::Ready);
}

#[test]
fn small_numbers_may_jump() {
    let mut world = World::started();
    (0..100).for_each(|_| world.answer(ms(2)));
    (0..100).for_each(|_| world.answer(ms(20)));
    assert_eq!(world.standing(), Standing::Ready);
}

#[test]
fn a_slow_one_is_tried_once_in_forty_calls_and_not_more_than_once_a_second() {
    let mut world = World::started();
    (0..100).for_each(|_| world.answer(ms(100)));
    (0..10).for_each(|_| world.answer(ms(1_000)));
    let _tried = world.begin();
    world.now += SECOND * 2;
    (0..39).for_each(|_| world.health.passed_over());
    assert!(!world.health.slow_try_is_due(world.now));
    world.health.passed_over();
    assert!(world.health.slow_try_is_due(world.now));
    let _tried = world.begin();
    (0..100).for_each(|_| world.health.passed_over());
    assert!(!world.health.slow_try_is_due(world.now));
    world.now += SECOND;
    assert!(world.health.slow_try_is_due(world.now));
}

#[test]
fn a_limited_one_gets_fewer_calls_at_once_and_more_again_with_each_round_of_answers() {
    let mut world = World::started();
    let at_once: Vec<Ticket> = (0..100).map(|_| world.begin()).collect();
    assert_eq!(world.health.room(world.now), usize::MAX);
    world.now += ms(50);
    for ticket in at_once {
        world.health.end(ticket, Outcome::Limited, world.now);
    }
    assert_eq!(world.health.report(world.now).limit, Some(70), "one cut for all of a round");

    let fill = |world: &mut World| {
        let mut running = Vec::new();
        while world.health.room(world.now) > 0 {
            running.push(world.begin());
        }
        running
    };
    for _ in 0..4 {
        let running = fill(&mut world);
        assert_eq!(world.standing(), Standing::Full);
        world.now += ms(50);
        for ticket in running {
            world.health.end(ticket, Outcome::Answered { first_token: ms(50) }, world.now);
        }
    }
    let limit = world.health.report(world.now).limit.expect("a limit");
    assert!((71..=110).contains(&limit), "{limit}");
}

#[test]
fn what_is_slow_whatever_we_do_keeps_a_quarter_of_its_calls() {
    let mut world = World::started();
    let round = |world: &mut World, takes: Duration| {
        let most = 64.min(world.health.room(world.now));
        let running: Vec<Ticket> = (0..most).map(|_| world.begin()).collect();
        world.now += takes;
        for ticket in running {
            world.health.end(ticket, Outcome::Answered { first_token: takes }, world.now);
        }
    };
    (0..5).for_each(|_| round(&mut world, ms(100)));
    (0..50).for_each(|_| round(&mut world, ms(2_000)));
    assert_eq!(world.health.report(world.now).limit, Some(16));
}

#[test]
fn further_tries_are_a_fifth_of_the_first_ones_and_one_a_second() {
    let mut world = World::started();
    let mut further = 0;
    // Ten seconds of a hundred first calls each, every one of which would like another try.
    for _ in 0..1_000 {
        world.answer(ms(10));
        further += u32::from(world.health.may_try_more(world.now));
    }
    let allowed = 10 + 200 + 10;
    assert!((allowed - 2..=allowed).contains(&further), "{further}");
}

mod breaker_properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens in whatever order: a shut deployment opens by itself within the longest spell, unless a
        /// probe is under way; and no more than one call is a probe.
        #[test]
        fn nothing_stays_shut(steps in proptest::collection::vec((0..5_u8, 0..3_000_u64), 1..200)) {
            let mut world = World::started();
            let mut open: Vec<Ticket> = Vec::new();
            for (what, wait) in steps {
                world.now += ms(wait);
                match what {
                    0 if !world.is_shut() => open.push(world.begin()),
                    1 => if let Some(ticket) = open.pop() {
                        world.health.end(ticket, Outcome::Failed, world.now);
                    },
                    2 => if let Some(ticket) = open.pop() {
                        world.health.end(ticket, Outcome::Answered { first_token: ms(5) }, world.now);
                    },
                    3 => if let Some(ticket) = open.pop() {
                        world.health.end(ticket, Outcome::Abandoned, world.now);
                    },
                    _ => if let Some(ticket) = open.pop() {
                        world.health.end(ticket, Outcome::TimedOut, world.now);
                    },
                }
                prop_assert!(open.iter().filter(|ticket| ticket.probe).count() <= 1);
            }
            for ticket in open.drain(..) {
                world.health.end(ticket, Outcome::Abandoned, world.now);
            }
            world.now += Duration::from_secs(8);
            prop_assert!(!world.is_shut());
        }
    }
}
