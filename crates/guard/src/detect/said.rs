//! What only the words before it make personal: numbers of passports and driving licences, and dates of birth.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::context::is_word;
use super::scan::{Rank, Scan};
use super::view::{ceil, floor};
use crate::Entity;

/// How far behind the word the value may begin, and how far before it in languages that put the word last.
const BEHIND_MAX: usize = 48;
const BEFORE_MAX: usize = 32;

/// Months by name, in the languages of the words above that write them in letters.
const MONTHS: &str = "jan(?:uary|uar|vier|eiro|uari)?|feb(?:ruary|ruar|brero|braio|ruari)?|f[ée]v(?:rier|ereiro)?|febrero|fevereiro|m(?:a|ä)r(?:ch|z|s|zo|ço)?|maart|apr(?:il|ile)?|avr(?:il)?|abr(?:il)?|ma[yij]|mai|mayo|maggio|maio|mei|jun[ei]?o?|juin|juni|junho|giugno|jul[yi]?o?|juillet|juli|julho|luglio|aug(?:ust|ustus)?|ao[uû]t|agosto|sep(?:t(?:ember|embre|iembre)?)?|set(?:tembre|embro)?|o[ck]t(?:ober|obre|ubre)?|out(?:ubro)?|ottobre|nov(?:ember|embre|iembre|embro)?|de[czs](?:ember|embre|iembre|zembro)?|dicembre|dezembro|diciembre|enero|gennaio|janeiro|gen|ene|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|ocak|şubat|mart|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık";

static DATE: LazyLock<Regex> = LazyLock::new(|| {
    let year = "(?:1[89]|20)[0-9]{2}";
    let numeric = format!(
        r"{year}\s?[-/.年년]\s?[0-9]{{1,2}}\s?[-/.月월]\s?[0-9]{{1,2}}[日일]?|[0-9]{{1,2}}\s?[-/.]\s?[0-9]{{1,2}}\s?[-/.]\s?(?:{year}|[0-9]{{2}}\b)|{year}[01][0-9][0-3][0-9]\b"
    );
    let named = format!(
        r"[0-9]{{1,2}}(?:st|nd|rd|th|er|º|\.)?\s(?:of\s|de\s)?(?i:{MONTHS})\.?,?\s(?:de\s|del\s)?{year}|(?i:{MONTHS})\.?\s[0-9]{{1,2}}(?:st|nd|rd|th)?,?\s{year}|[0-9]{{1,2}}[- ](?i:{MONTHS})[- ](?:{year}|[0-9]{{2}}\b)"
    );
    Regex::new(&format!("{numeric}|{named}")).expect("the pattern is one")
});

/// What numbers of documents are written with, in one piece or in groups by a dash or space.
static DOCUMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u:\b)(?:[A-Z]{1,3}[- ]|[A-Z]{1,9}|[a-z]{1,5})?[0-9][A-Za-z0-9]*(?:[- ][A-Za-z0-9]*[0-9][A-Za-z0-9]*){0,4}(?-u:\b)",
    )
    .expect("the pattern is one")
});

/// Looks behind and before the word for being born that stands here.
pub(crate) fn birth(scan: &mut Scan<'_>, word: Range<usize>) {
    let bytes = scan.bytes();
    // Born of a need, born-digital.
    let other = bytes[word.end..].starts_with(b" of ") || bytes.get(word.end) == Some(&b'-');
    if !scan.wanted.has(Entity::DateOfBirth) || other || !is_word(bytes, &word) {
        return;
    }
    let behind = word.end..floor(scan.text, word.end + BEHIND_MAX);
    let date = DATE.find(&scan.text[behind.clone()]).map(|date| behind.start + date.start()..behind.start + date.end());
    let date = date.filter(|date| scan.text[word.end..date.start].matches('\n').count() < 2);
    let date = date.or_else(|| before(scan.text, word.start));
    if let Some(date) = date {
        let distance = date.start.saturating_sub(word.end);
        scan.saw_at(Entity::DateOfBirth, date, Rank::Said, distance);
    }
}

/// The date that ends right before the word, as in `1985年5月12日生まれ`.
fn before(text: &str, word: usize) -> Option<Range<usize>> {
    let start = ceil(text, word.saturating_sub(BEFORE_MAX));
    let date = DATE.find_iter(&text[start..word]).last()?;
    let apart = text[start + date.end()..word].chars().filter(|c| !c.is_whitespace()).count();
    (apart <= 2).then(|| start + date.start()..start + date.end())
}

/// Looks behind the word for a document that stands here.
pub(crate) fn document(scan: &mut Scan<'_>, word: Range<usize>, entity: Entity) {
    if !scan.wanted.has(entity) || !is_word(scan.bytes(), &word) {
        return;
    }
    let text = scan.text;
    let behind = word.end..floor(text, word.end + BEHIND_MAX);
    // The number may go on over the end of where it may begin.
    let window = &text[behind.start..floor(text, behind.end + 24)];
    let Some(number) = DOCUMENT.find_iter(window).find(|number| is_document(number.as_str(), entity)) else { return };
    if behind.start + number.start() < behind.end && !is_apart(&window[..number.start()]) {
        scan.saw_at(entity, behind.start + number.start()..behind.start + number.end(), Rank::Said, number.start());
    }
}

/// Whether the text between a word and a number parts them: a sentence ends, or more than one line does.
fn is_apart(between: &str) -> bool {
    let capital = |rest: &str| rest.trim_start().chars().next().is_some_and(char::is_uppercase);
    let sentence = between.split(". ").skip(1).any(capital);
    sentence || between.matches('\n').count() > 1
}

fn is_document(number: &str, entity: Entity) -> bool {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let characters = number.bytes().filter(u8::is_ascii_alphanumeric).count();
    let lower =
        number.bytes().any(|byte| byte.is_ascii_lowercase()) && number.bytes().any(|byte| byte.is_ascii_uppercase());
    let longest = if entity == Entity::Passport { 10 } else { 20 };
    let date = DATE.find(number).is_some_and(|date| date.range() == (0..number.len()));
    let small = number.bytes().any(|byte| byte.is_ascii_lowercase());
    let mixed = digits >= 1 && digits < characters && (8..=16).contains(&characters) && !small;
    (6..=longest).contains(&characters) && (digits >= 4 || mixed) && !lower && !date
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn dates_of_birth_are_found_next_to_their_word() {
        for (text, date) in [
            ("born on 12 May 1985 in Rome", "12 May 1985"),
            ("DOB: 05/12/1985", "05/12/1985"),
            ("date of birth: May 12, 1985", "May 12, 1985"),
            ("{\"date_of_birth\":\"1985-05-12\"}", "1985-05-12"),
            ("geboren am 12. Mai 1985", "12. Mai 1985"),
            ("née le 12 mai 1985", "12 mai 1985"),
            ("nacido el 12 de mayo de 1985", "12 de mayo de 1985"),
            ("дата рождения: 12.05.1985", "12.05.1985"),
            ("1985年5月12日生まれ", "1985年5月12日"),
            ("出生日期：1985年5月12日", "1985年5月12日"),
        ] {
            check(Entity::DateOfBirth, text, &[date]);
        }
        for text in ["released on 12 May 1985", "born in 1985", "a newborn 12/05/1985 stub born", "born\n\n12 May 1985"]
        {
            check(Entity::DateOfBirth, text, &[]);
        }
    }

    #[test]
    fn documents_are_found_next_to_their_word() {
        for (entity, text, number) in [
            (Entity::Passport, "Passport number: 123456789", "123456789"),
            (Entity::Passport, "Reisepass C01X00T47", "C01X00T47"),
            (Entity::Passport, "паспорт 4508 123456", "4508 123456"),
            (Entity::Passport, "护照号E12345678", "E12345678"),
            (Entity::DrivingLicence, "driver's license D1234567", "D1234567"),
            (Entity::DrivingLicence, "Driving licence MORGA657054SM9IJ", "MORGA657054SM9IJ"),
            (Entity::DrivingLicence, "driver license: S530-4608-5123-42", "S530-4608-5123-42"),
        ] {
            check(entity, text, &[number]);
        }
        for text in
            ["passport expires 2030-01-01", "the passport office on floor 3", "123456789", "passport photo 35x45"]
        {
            check(Entity::Passport, text, &[]);
        }
    }
}
