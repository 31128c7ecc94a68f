use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Directive {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn status(code: u16, retry_after: Option<&str>) -> Fault {
    Fault::Status { code, retry_after: retry_after.map(|text| RetryAfter::Header(text.into())) }
}

#[test]
fn directives_mean_what_the_grammar_says() {
    let check = |text: &str, expected: Directive| {
        let directive = parsed(text);
        assert_eq!(directive, expected, "{text}");
        assert_eq!(parsed(&directive.to_string()), expected, "{text} by way of {directive}");
    };
    let of = |first: Fault| Directive { first, ..Directive::default() };
    for (name, fault) in PLAIN {
        check(name, of(fault));
    }
    check("429", of(status(429, None)));
    check("429:retry-after=2", of(status(429, Some("2"))));
    check("429:retry-after=-1", of(status(429, Some("-1"))));
    check("429:retry-after=1e9", of(status(429, Some("1e9"))));
    check("429:retry-after=http-date+30", of(status(429, Some("http-date+30"))));
    let date = "Wed, 21 Oct 2065 07:28:00 GMT";
    check(&format!("status=503:retry-after={date}"), of(status(503, Some(date))));
    let millis = Some(RetryAfter::Millis("250".into()));
    check("429:retry-after-ms=250", of(Fault::Status { code: 429, retry_after: millis }));
    check("429:retry-after=2;then=ok", Directive { times: Some(1), ..of(status(429, Some("2"))) });
    check("status=503*2", Directive { times: Some(2), ..of(status(503, None)) });
    check(
        "status=503*2:retry-after=1;then=hang",
        Directive { times: Some(2), then: Fault::Hang, ..of(status(503, Some("1"))) },
    );
    check("delay=500ms", Directive { delay: Some(Duration::from_millis(500)), ..Directive::default() });
    check(
        "delay=2s; tokens=123",
        Directive { delay: Some(Duration::from_secs(2)), tokens: Some(123), ..Directive::default() },
    );
    check("hang;delay=1m", Directive { delay: Some(Duration::from_secs(60)), ..of(Fault::Hang) });
    check("tokens=3;echo", Directive { tokens: Some(3), echo: true, ..Directive::default() });
    check("drip", of(Fault::Drip { every: DRIP_EVERY }));
    check("drip:every=5ms", of(Fault::Drip { every: Duration::from_millis(5) }));
    check("reset", of(Fault::Reset(ResetAt::Body)));
    check("reset:at=body", of(Fault::Reset(ResetAt::Body)));
    check("reset:at=headers", of(Fault::Reset(ResetAt::Headers)));
    check("bomb:mib=64", of(Fault::Bomb { mib: 64 }));
    check("redirect", of(Fault::Redirect { to: None }));
    check("redirect:to=http://a.invalid:8/x*y", of(Fault::Redirect { to: Some("http://a.invalid:8/x*y".into()) }));
    check("abort-stream:after=0", of(Fault::AbortStream { after: 0 }));
    check("wrong-usage=negative", of(Fault::WrongUsage(WrongUsage::Negative)));
    check("wrong-usage=absurd", of(Fault::WrongUsage(WrongUsage::Absurd)));
    check("wrong-usage=string", of(Fault::WrongUsage(WrongUsage::String)));
}

#[test]
fn mistakes_are_refused_by_cause() {
    let check = |text: &str, expected: &str| {
        let error = text.parse::<Directive>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("", "unknown fault \"\"");
    check("explode", "unknown fault \"explode\": expected 429, status=<code>");
    check("hang;", "unknown fault \"\"");
    check("ok=1", "unknown fault \"ok=1\"");
    check("429=5", "unknown fault \"429=5\"");
    check("status=200", "bad number \"200\" for status: expected 400 to 599");
    check("status", "bad number \"\" for status");
    check("status=503*0", "bad number \"0\" for times");
    check("status=503*x", "bad number \"x\" for times");
    check("429;then=hang*2", "bad value \"hang*2\" for times");
    check("429;then=explode", "unknown fault \"explode\"");
    check("429:wait=5", "fault \"429\" has no parameter \"wait\"");
    check("hang:retry-after=5", "fault \"hang\" has no parameter \"retry-after\"");
    check("429:retry-after=", "bad value \"\" for retry-after");
    check("429:retry-after=a\nb", "bad value");
    check("wrong-usage", "expected negative, absurd or string");
    check("delay=5", "bad value \"5\" for delay");
    check("delay=11m", "bad value \"11m\" for delay");
    check("delay=é", "bad value \"é\" for delay");
    check("tokens=0", "bad number \"0\" for tokens");
    check("bomb:mib=99999", "bad number \"99999\" for mib");
    check("reset:at=noon", "expected headers or body");
    check("hang;html", "second clause of its kind: \"html\"");
    check("delay=1s;delay=2s", "second clause of its kind: \"delay=2s\"");
    check(&"x".repeat(513), "longer than 512 bytes");
}

#[test]
fn a_repeated_fault_gives_way_to_what_follows() {
    let directive = parsed("status=503*2;then=html");
    let faults: Vec<String> = (0..4).map(|attempt| directive.fault(attempt).to_string()).collect();
    assert_eq!(faults, ["status=503", "status=503", "html", "html"]);
    assert_eq!(parsed("hang").fault(1_000), &Fault::Hang);
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let text = "[!-:<-~][ -:<-~]{0,20}[!-:<-~]";
    prop_oneof![
        proptest::sample::select(PLAIN.map(|(_, fault)| fault).to_vec()),
        (400..600_u16, proptest::option::of(text)).prop_map(|(code, text)| status(code, text.as_deref())),
        text.prop_map(|text| Fault::Redirect { to: Some(text.into()) }),
        (1..16_384_u32).prop_map(|mib| Fault::Bomb { mib }),
        (0..600_000_u64).prop_map(|ms| Fault::Drip { every: Duration::from_millis(ms) }),
        (0..100_000_u32).prop_map(|after| Fault::AbortStream { after }),
    ]
}

proptest! {
    #[test]
    fn every_directive_survives_its_own_text(
        first in any_fault(),
        then in any_fault(),
        times in proptest::option::of(1..1_000_u32),
        delay_ms in proptest::option::of(0..600_000_u64),
        tokens in proptest::option::of(1..1_048_576_u32),
        echo in any::<bool>(),
    ) {
        let then = if times.is_some() { then } else { Fault::Ok };
        let directive = Directive { first, times, then, delay: delay_ms.map(Duration::from_millis), tokens, echo };
        prop_assert_eq!(directive.to_string().parse::<Directive>(), Ok(directive));
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = text.parse::<Directive>();
    }
}
