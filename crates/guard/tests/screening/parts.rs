//! Texts that are spread over several parts of one message.

use tollgate_guard::Vault;

use crate::{blocking, check, check_clean, guard};

fn parts(texts: &[&str]) -> String {
    let parts: Vec<String> = texts.iter().map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#)).collect();
    format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, parts.join(","))
}

#[test]
fn a_value_that_is_spread_is_replaced_in_the_first_part_and_removed_from_the_others() {
    check(&parts(&["pay 4111 1111 ", "1111 1111 now"]), &parts(&["pay <PAYMENT_CARD_1>", " now"]));
    check(&parts(&["pay 4111 1", "11", "1 1111 1111"]), &parts(&["pay <PAYMENT_CARD_1>", "", ""]));
}

#[test]
fn parts_are_looked_at_by_themselves_too() {
    check(&parts(&["a@b.com ", "and c@d.com"]), &parts(&["<EMAIL_1> ", "and <EMAIL_2>"]));
    // What could be the rest of it is replaced too, but is no part of the address.
    check(&parts(&["a@b.com", "and c@d.com"]), &parts(&["<EMAIL_1>", "<EMAIL_2> <EMAIL_3>"]));
    check(&parts(&["a\\u0040b.com ", "\\n4111 1111 1111 1111"]), &parts(&["<EMAIL_1> ", "\\n<PAYMENT_CARD_1>"]));
    check_clean(&parts(&["4111 1111", " 2222 3333"]));
}

#[test]
fn pictures_between_the_parts_hide_nothing() {
    let body = r#"{"messages":[{"content":[{"type":"text","text":"4111 1111 "},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"text","text":"1111 1111"}]}]}"#;
    let screened =
        guard(r#"{"input":{"payment_card":"block"}}"#).screen_request(body.as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screened), Some("payment_card"));
}

#[test]
fn parts_of_different_messages_are_not_joined() {
    check_clean(r#"{"messages":[{"content":[{"text":"4111 1111 "}]},{"content":[{"text":"1111 1111"}]}]}"#);
}

#[test]
fn many_parts_take_no_square_of_time() {
    let many = parts(&vec!["a@b.com"; 20_000]);
    let screened = guard(r#"{"input":{"email":"flag"}}"#).screen_request(many.as_bytes(), &mut Vault::default());
    assert!(screened.fired[0].count >= 20_000);
}
