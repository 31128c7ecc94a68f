//! The detector against sentences labelled independently of it: what of each kind it finds, and what it takes for one.
//!
//! `generate.py` wrote the sentences from hand-written texts and from the public definition of each number; see there for
//! how to add some.

mod score;
mod sentence;

use std::collections::{BTreeMap, BTreeSet};

use tollgate_guard::{Entity, Group};

use score::Score;
use sentence::{Kind, Sentence};

/// What has check digits or as strict a form: of these hardly any may be missed or made up.
const CHECKED: &[Entity] = &[
    Entity::PaymentCard,
    Entity::Iban,
    Entity::UsBankRouting,
    Entity::UsSsn,
    Entity::UsItin,
    Entity::UkNhs,
    Entity::UkNino,
    Entity::CaSin,
    Entity::AuTfn,
    Entity::AuAbn,
    Entity::AuMedicare,
    Entity::DeTaxId,
    Entity::EsDni,
    Entity::EsNie,
    Entity::FrNir,
    Entity::ItCodiceFiscale,
    Entity::PlPesel,
    Entity::BrCpf,
    Entity::BrCnpj,
    Entity::InAadhaar,
    Entity::InPan,
    Entity::SgNric,
    Entity::NlBsn,
    Entity::SePersonnummer,
    Entity::FiHetu,
    Entity::ChAhv,
    Entity::ZaId,
    Entity::KrRrn,
    Entity::CnResidentId,
    Entity::TrTckn,
    Entity::CryptoAddress,
];

/// The share of the labels and of the findings that must be right for what has check digits.
const CHECKED_MIN: f64 = 0.99;

/// The same for all others, of which many are told by the words around them.
const OTHERS_MIN: f64 = 0.95;

/// How many sentences a long text is made of: some four kilobytes.
const SENTENCES_A_TEXT: usize = 40;

/// The share of sentences without anything in which something may be found.
const DISTURBED_MAX: f64 = 0.005;

#[test]
fn what_has_check_digits_is_found_and_nothing_else_is_taken_for_it() {
    check(&sentence::all(), |entity| CHECKED.contains(&entity), CHECKED_MIN);
}

#[test]
fn what_is_told_by_its_form_and_the_words_around_it_is_found() {
    check(&sentence::all(), |entity| !CHECKED.contains(&entity), OTHERS_MIN);
}

#[test]
fn in_a_long_text_nothing_hides_and_no_word_reaches_into_another_paragraph() {
    // Of a private key that was cut off, all is found to the end of the text, as it must be.
    let sentences: Vec<Sentence> =
        sentence::all().into_iter().filter(|sentence| !sentence.text.contains("-----BEGIN")).collect();
    let texts = sentence::joined(&sentences, SENTENCES_A_TEXT);
    check(&texts, |entity| entity != Entity::PrivateKey, OTHERS_MIN);
}

#[test]
fn sentences_without_anything_stay_as_they_are() {
    let score = Score::of(&sentence::all());
    if score.disturbance() >= DISTURBED_MAX {
        print(&score.report(false));
        panic!("{} of {} sentences are disturbed", score.disturbed, score.empty);
    }
}

#[test]
fn the_corpus_is_large_and_varied() {
    let sentences = sentence::all();
    let of = |kind| sentences.iter().filter(|sentence| sentence.kind == kind).count();
    assert!(of(Kind::Clean) >= 850, "clean: {}", of(Kind::Clean));
    assert!(of(Kind::NearMiss) >= 450, "near misses: {}", of(Kind::NearMiss));
    assert!(of(Kind::Entity) >= 1_500, "with something in them: {}", of(Kind::Entity));
    let different = |field: fn(&Sentence) -> &str| sentences.iter().map(field).collect::<BTreeSet<_>>();
    assert!(different(|sentence| &sentence.lang).len() >= 20);
    assert!(different(|sentence| &sentence.place).len() == 7);
    let mut labels: BTreeMap<Entity, usize> = BTreeMap::new();
    for label in sentences.iter().flat_map(Sentence::labels) {
        *labels.entry(label.entities[0]).or_default() += 1;
    }
    for &entity in Entity::ALL {
        let count = labels.get(&entity).copied().unwrap_or_default();
        let wanted = if CHECKED.contains(&entity) { 40 } else { 20 };
        assert!(count >= wanted, "{count} of {entity}");
    }
}

#[test]
#[ignore = "not a check: prints the table and every miss"]
fn the_table() {
    print(&Score::of(&sentence::all()).report(true));
}

/// Holds recall, precision and the share of labelled bytes that is covered to this least, of the entities that are meant.
///
/// Where a tripwire begins and ends is nobody's to say, so its cover isn't held to anything.
fn check(sentences: &[Sentence], meant: impl Fn(Entity) -> bool, least: f64) {
    let score = Score::of(sentences);
    let mut low = Vec::new();
    for (&entity, tally) in score.tallies.iter().filter(|&(&entity, _)| meant(entity)) {
        let cover = if entity.group() == Group::PromptSafety { 1.0 } else { 1.0 - tally.leak() };
        let figures = [("recall", tally.recall()), ("precision", tally.precision()), ("cover", cover)];
        low.extend(
            figures
                .iter()
                .filter(|(_, share)| *share < least)
                .map(|(of, share)| format!("{of} of {entity} {share:.4}")),
        );
    }
    if !low.is_empty() {
        print(&score.report(false));
        panic!("below {least}: {low:#?}");
    }
}

#[expect(clippy::print_stderr, reason = "the reader of a failed test wants the table")]
fn print(report: &str) {
    eprintln!("{report}");
}
