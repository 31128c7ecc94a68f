use crate::Entity;
use crate::detect::testing::check;

/// Checks that a number is found wherever it stands.
fn bare(entity: Entity, numbers: &[&str]) {
    for number in numbers {
        check(entity, number, &[number]);
        check(entity, &format!("Here: {number}."), &[number]);
        check(entity, &format!("{{\"x\":\"{number}\"}}"), &[number]);
        check(entity, &format!("号码{number}，"), &[number]);
        check(entity, &format!("{number}7"), &[]);
        check(entity, &format!("0.{number}"), &[]);
    }
}

/// Checks that a number is found near the word and only there.
fn said(entity: Entity, word: &str, numbers: &[&str]) {
    for number in numbers {
        check(entity, &format!("{word}: {number}"), &[number]);
        check(entity, &format!("the {word} is {number}, yes"), &[number]);
        check(entity, &format!("{number} ({word})"), &[number]);
        check(entity, &format!("Here: {number}."), &[]);
        check(entity, &format!("{word} or order {number}"), &[]);
    }
}

#[test]
fn numbers_of_the_americas_are_found() {
    bare(Entity::UsSsn, &["536-22-1234", "536 22 1234"]);
    said(Entity::UsSsn, "SSN", &["536221234", "536.22.1234"]);
    bare(Entity::UsItin, &["912-70-1234"]);
    said(Entity::UsBankRouting, "routing number", &["021000021", "121000358"]);
    said(Entity::CaSin, "SIN", &["046 454 286", "046-454-286", "046454286"]);
    bare(Entity::BrCpf, &["529.982.247-25"]);
    said(Entity::BrCpf, "CPF", &["52998224725"]);
    bare(Entity::BrCnpj, &["11.222.333/0001-81"]);
}

#[test]
fn numbers_of_europe_are_found() {
    said(Entity::UkNhs, "NHS number", &["943 476 5919", "401-023-2137", "9434765919"]);
    bare(Entity::DeTaxId, &["86 095 742 719"]);
    said(Entity::DeTaxId, "Steuer-ID", &["86095742719"]);
    bare(Entity::FrNir, &["1 85 05 78 006 084 91", "185057800608491", "1850578006084 91"]);
    said(Entity::PlPesel, "PESEL", &["44051401359", "02070803628"]);
    said(Entity::NlBsn, "BSN", &["111222333", "123456782"]);
    bare(Entity::SePersonnummer, &["811228-9874", "19811228-9874"]);
    bare(Entity::ChAhv, &["756.9217.0769.85", "7569217076985"]);
    said(Entity::TrTckn, "TC kimlik no", &["10000000146"]);
}

#[test]
fn numbers_of_asia_and_the_pacific_are_found() {
    bare(Entity::InAadhaar, &["2341 2341 2346", "4991 1866 5246"]);
    said(Entity::InAadhaar, "Aadhaar", &["499118665246"]);
    bare(Entity::CnResidentId, &["110101199003070791"]);
    bare(Entity::ZaId, &["8001015009087"]);
    said(Entity::AuTfn, "TFN", &["876 543 210", "459599230"]);
    bare(Entity::AuAbn, &["51 824 753 556"]);
    bare(Entity::AuMedicare, &["2123 45670 1"]);
}

#[test]
fn numbers_that_were_never_given_out_are_not() {
    for number in
        ["000-12-3456", "666-12-3456", "536-00-1234", "536-22-0000", "078-05-1120", "123-45-6789", "912-22-1234"]
    {
        check(Entity::UsSsn, &format!("SSN {number}"), &[]);
    }
    check(Entity::UsItin, "ITIN 912-69-1234", &[]);
    check(Entity::BrCpf, "CPF 111.111.111-11", &[]);
    check(Entity::InAadhaar, "1341 2341 2346 and 2341 2341 2345", &[]);
    check(Entity::SePersonnummer, "811228-9875 811328-9874", &[]);
}
