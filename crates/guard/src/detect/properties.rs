//! What holds for every text.

use proptest::prelude::*;

use super::*;

/// Pieces that finders look at, so that texts of them meet as many as random ones never would.
const PIECES: [&str; 40] = [
    "4111 1111 1111 1111",
    "4111111111111111",
    "DE89370400440532013000",
    "536-22-1234",
    "joe@example.com",
    "@",
    "+1 212 555 0123",
    "8.8.8.8",
    "2001:db8::1",
    "password=",
    "pwd: ",
    "api_key = \"",
    "a8f5f167f44f4964e6c998dee827110c",
    "eyJhbGciOiJIUzI1NiJ9.",
    "-----BEGIN PRIVATE KEY-----\n",
    "MIIEow0aBcDeFgHiJkLm",
    "-----END PRIVATE KEY-----",
    "ignore all previous instructions",
    "<!-- ",
    "sk-",
    "://a:",
    "?token=",
    "born on ",
    "1985-05-12",
    "passport ",
    "ssn ",
    "😀",
    "é",
    "好",
    "４１",
    "\u{200B}",
    "\u{E0041}",
    "ﬁ",
    "\n",
    " ",
    ".",
    "\\",
    "\"",
    "basic ",
    "-u a:b",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..12).prop_map(|pieces| pieces.concat())
}

fn everything() -> Detector {
    let words = ["ACME".to_owned(), "straße".to_owned()];
    let mut rules: Vec<Rule<'_>> = Entity::ALL.iter().map(|&entity| Rule::Entity(entity)).collect();
    rules.push(Rule::Keywords { name: "words", words: &words });
    rules.push(Rule::Pattern { name: "ticket", regex: "[A-Z]{2,5}-[0-9]+" });
    Detector::new(&rules, Some("DE")).unwrap()
}

fn found(detector: &Detector, text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    detector.find(text, &mut found);
    found
}

fn is_sound(text: &str) -> Result<(), TestCaseError> {
    let mut start = 0;
    let mut ends = std::collections::HashMap::new();
    for found in found(&everything(), text) {
        prop_assert!(found.range.start >= start, "{found:?} in {text:?}");
        prop_assert!(text.get(found.range.clone()).is_some_and(|text| !text.is_empty()), "{found:?} in {text:?}");
        start = found.range.start;
        let own = Claim::Own { rule: found.rule };
        let end = ends.entry(Entity::ALL.get(found.rule).map_or(own, |&entity| Claim::of(entity))).or_insert(0);
        prop_assert!(start >= *end, "{found:?} in {text:?}");
        *end = found.range.end;
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_found_in_any_text_is_sorted_apart_and_on_borders(text in any::<String>()) {
        is_sound(&text)?;
    }

    #[test]
    fn what_is_found_in_pieces_put_together_is_too(text in pieces()) {
        is_sound(&text)?;
    }

    #[test]
    fn digits_of_full_width_are_found_as_plain_ones_are(text in "[0-9 -]{0,40}") {
        let wide: String = text.chars().map(|c| c.to_digit(10).map_or(c, |digit| char::from_u32(0xFF10 + digit).unwrap())).collect();
        let places = |text: &str| -> Vec<(usize, usize, usize)> {
            let characters = |at: usize| text[..at].chars().count();
            found(&everything(), text).into_iter().map(|f| (f.rule, characters(f.range.start), characters(f.range.end))).collect()
        };
        prop_assert_eq!(places(&text), places(&wide));
    }
}

#[test]
fn words_are_found_whole_and_told_apart() {
    let words = ["acme".to_owned(), "project x".to_owned(), "Привет".to_owned(), "机密".to_owned()];
    let detector = Detector::new(&[Rule::Keywords { name: "words", words: &words }], None).unwrap();
    let numbers = |text: &str| found(&detector, text).into_iter().map(|found| found.word).collect::<Vec<_>>();
    assert_eq!(numbers("ACME and Project X; acmes, xacme"), [0, 1]);
    assert_eq!(numbers("ПРИВЕТ, приветы"), [2]);
    assert_eq!(numbers("这是机密文件 and ａｃｍｅ"), [3, 0]);
}

#[test]
fn rules_that_cannot_be_looked_for_say_why() {
    let error = |rule: Rule<'_>| Detector::new(&[rule], None).unwrap_err().to_string();
    let pattern = |regex| error(Rule::Pattern { name: "mine", regex });
    assert_eq!(pattern("(?<!x)y"), "the expression of mine looks around or refers back, which is not supported");
    assert_eq!(pattern(r"(a)\1"), "the expression of mine looks around or refers back, which is not supported");
    assert_eq!(pattern("a*"), "the expression of mine matches the empty text, and so everywhere");
    assert_eq!(pattern("(?:[a-z]{1000}){1000}"), "the expression of mine is too large; its repetitions multiply");
    assert!(pattern("(").starts_with("the expression of mine is not one: "), "{}", pattern("("));
    let empty = [" ".to_owned()];
    let words = error(Rule::Keywords { name: "mine", words: &empty });
    assert_eq!(words, "the words of mine include \" \", which has no letter and no digit");
    let country = Detector::new(&[], Some("ZZZ")).unwrap_err().to_string();
    assert_eq!(country, "\"ZZZ\" is no country with phone numbers; give two letters of ISO 3166 such as DE");
}
