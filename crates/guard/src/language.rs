//! In which language a text surely is.

use whatlang::{Lang, detect};

/// Texts with fewer letters can be in any language.
const LETTERS_MIN: usize = 40;
/// As much of a text is looked at: its language shows early, and the time is bounded.
pub(crate) const SAMPLE_CHARS: usize = 2048;

/// The languages that are told apart, as ISO 639-1 has them.
#[rustfmt::skip]
const CODES: [(Lang, &str); 70] = [
    (Lang::Afr, "af"), (Lang::Aka, "ak"), (Lang::Amh, "am"), (Lang::Ara, "ar"), (Lang::Aze, "az"), (Lang::Bel, "be"),
    (Lang::Ben, "bn"), (Lang::Bul, "bg"), (Lang::Cat, "ca"), (Lang::Ces, "cs"), (Lang::Cmn, "zh"), (Lang::Cym, "cy"),
    (Lang::Dan, "da"), (Lang::Deu, "de"), (Lang::Ell, "el"), (Lang::Eng, "en"), (Lang::Epo, "eo"), (Lang::Est, "et"),
    (Lang::Fin, "fi"), (Lang::Fra, "fr"), (Lang::Guj, "gu"), (Lang::Heb, "he"), (Lang::Hin, "hi"), (Lang::Hrv, "hr"),
    (Lang::Hun, "hu"), (Lang::Hye, "hy"), (Lang::Ind, "id"), (Lang::Ita, "it"), (Lang::Jav, "jv"), (Lang::Jpn, "ja"),
    (Lang::Kan, "kn"), (Lang::Kat, "ka"), (Lang::Khm, "km"), (Lang::Kor, "ko"), (Lang::Lat, "la"), (Lang::Lav, "lv"),
    (Lang::Lit, "lt"), (Lang::Mal, "ml"), (Lang::Mar, "mr"), (Lang::Mkd, "mk"), (Lang::Mya, "my"), (Lang::Nep, "ne"),
    (Lang::Nld, "nl"), (Lang::Nob, "no"), (Lang::Ori, "or"), (Lang::Pan, "pa"), (Lang::Pes, "fa"), (Lang::Pol, "pl"),
    (Lang::Por, "pt"), (Lang::Ron, "ro"), (Lang::Rus, "ru"), (Lang::Sin, "si"), (Lang::Slk, "sk"), (Lang::Slv, "sl"),
    (Lang::Sna, "sn"), (Lang::Spa, "es"), (Lang::Srp, "sr"), (Lang::Swe, "sv"), (Lang::Tam, "ta"), (Lang::Tel, "te"),
    (Lang::Tgl, "tl"), (Lang::Tha, "th"), (Lang::Tuk, "tk"), (Lang::Tur, "tr"), (Lang::Ukr, "uk"), (Lang::Urd, "ur"),
    (Lang::Uzb, "uz"), (Lang::Vie, "vi"), (Lang::Yid, "yi"), (Lang::Zul, "zu"),
];

/// The language of a text, if there is enough of it and no doubt.
pub(crate) fn language(text: &str) -> Option<&'static str> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).take(LETTERS_MIN).count();
    let told = detect(text).filter(|told| letters == LETTERS_MIN && told.is_reliable())?;
    CODES.iter().find(|(language, _)| *language == told.lang()).map(|(_, code)| *code)
}

/// The languages that are told apart, as two letters.
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    CODES.iter().map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_some_length_is_told_and_a_short_one_is_not() {
        for (text, expected) in [
            ("The committee will meet again on Thursday to discuss what should be done about the bridge.", Some("en")),
            (
                "Der Ausschuss trifft sich am Donnerstag wieder, um zu besprechen, was mit der Brücke geschieht.",
                Some("de"),
            ),
            ("Комитет снова соберётся в четверг, чтобы обсудить, что следует сделать с мостом.", Some("ru")),
            (
                "委员会将于星期四再次开会，讨论应该如何处理这座桥的问题，并决定由谁来承担修理的费用以及什么时候开始。",
                Some("zh"),
            ),
            ("Guten Tag", None),
            ("4711 0815 2342 9999 1234 5678 4711 0815 2342", None),
            ("", None),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn every_language_that_is_told_apart_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> = codes().collect();
        assert_eq!(codes.len(), Lang::all().len());
    }
}
