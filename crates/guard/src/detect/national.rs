//! Numbers of persons and companies that are written in digits alone: one table of how each is grouped and checked.
//!
//! A form is taken wherever it stands if its check digits and structure are strong enough that other numbers hardly ever
//! pass; else only near a word that says what it is.

mod americas;
pub(crate) mod asia;
pub(crate) mod europe;
mod pacific;

use std::sync::LazyLock;

use super::numbers::{Cluster, GROUPS_MAX};
use super::scan::{Rank, Scan};
use crate::Entity;

/// One way to write one kind of number.
struct Form {
    entity: Entity,
    /// The groups: `9` for a digit, and what stands between them.
    groups: &'static str,
    needs: Needs,
    check: fn(&[u8]) -> bool,
}

/// What it takes besides the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// A word nearby that says what it is.
    Word,
}

const fn bare(entity: Entity, groups: &'static str, check: fn(&[u8]) -> bool) -> Form {
    Form { entity, groups, needs: Needs::Nothing, check }
}

const fn said(entity: Entity, groups: &'static str, check: fn(&[u8]) -> bool) -> Form {
    Form { entity, groups, needs: Needs::Word, check }
}

const FORMS: &[Form] = &[
    bare(Entity::UsSsn, "999-99-9999", americas::ssn),
    bare(Entity::UsSsn, "999 99 9999", americas::ssn),
    said(Entity::UsSsn, "999.99.9999", americas::ssn),
    said(Entity::UsSsn, "999999999", americas::ssn),
    bare(Entity::UsItin, "999-99-9999", americas::itin),
    said(Entity::UsItin, "999 99 9999", americas::itin),
    said(Entity::UsItin, "999999999", americas::itin),
    said(Entity::UsBankRouting, "999999999", americas::routing),
    said(Entity::UsBankRouting, "9999-9999-9", americas::routing),
    said(Entity::CaSin, "999 999 999", americas::sin),
    said(Entity::CaSin, "999-999-999", americas::sin),
    said(Entity::CaSin, "999999999", americas::sin),
    bare(Entity::BrCpf, "999.999.999-99", americas::cpf),
    said(Entity::BrCpf, "999 999 999 99", americas::cpf),
    said(Entity::BrCpf, "999999999-99", americas::cpf),
    said(Entity::BrCpf, "99999999999", americas::cpf),
    bare(Entity::BrCnpj, "99.999.999/9999-99", americas::cnpj),
    bare(Entity::BrCnpj, "99999999/9999-99", americas::cnpj),
    said(Entity::BrCnpj, "99999999999999", americas::cnpj),
    said(Entity::UkNhs, "999 999 9999", europe::nhs),
    said(Entity::UkNhs, "999-999-9999", europe::nhs),
    said(Entity::UkNhs, "9999999999", europe::nhs),
    bare(Entity::DeTaxId, "99 999 999 999", europe::steuer_id),
    said(Entity::DeTaxId, "99999999999", europe::steuer_id),
    said(Entity::DeTaxId, "99/999/999/999", europe::steuer_id),
    bare(Entity::FrNir, "9 99 99 99 999 999 99", europe::nir),
    bare(Entity::FrNir, "9.99.99.99.999.999.99", europe::nir),
    bare(Entity::FrNir, "9-99-99-99-999-999-99", europe::nir),
    bare(Entity::FrNir, "9 99 99 99 999 999/99", europe::nir),
    bare(Entity::FrNir, "9999999999999 99", europe::nir),
    bare(Entity::FrNir, "999999999999999", europe::nir),
    said(Entity::PlPesel, "99999999999", europe::pesel),
    said(Entity::NlBsn, "999999999", europe::bsn),
    said(Entity::NlBsn, "99999999", europe::bsn),
    said(Entity::NlBsn, "9999 99 999", europe::bsn),
    said(Entity::NlBsn, "999 999 999", europe::bsn),
    bare(Entity::NlBsn, "9999.99.999", europe::bsn),
    said(Entity::NlBsn, "999.999.999", europe::bsn),
    bare(Entity::SePersonnummer, "999999-9999", europe::personnummer),
    bare(Entity::SePersonnummer, "99999999-9999", europe::personnummer),
    said(Entity::SePersonnummer, "999999 9999", europe::personnummer),
    said(Entity::SePersonnummer, "99999999 9999", europe::personnummer),
    said(Entity::SePersonnummer, "9999999999", europe::personnummer),
    said(Entity::SePersonnummer, "999999999999", europe::personnummer),
    bare(Entity::FiHetu, "999999-9999", europe::hetu),
    bare(Entity::ChAhv, "999.9999.9999.99", europe::ahv),
    bare(Entity::ChAhv, "999 9999 9999 99", europe::ahv),
    bare(Entity::ChAhv, "999-9999-9999-99", europe::ahv),
    bare(Entity::ChAhv, "9999999999999", europe::ahv),
    said(Entity::TrTckn, "99999999999", europe::tckn),
    said(Entity::TrTckn, "999 999 999 99", europe::tckn),
    said(Entity::TrTckn, "999 99 999 999", europe::tckn),
    bare(Entity::InAadhaar, "9999 9999 9999", asia::aadhaar),
    bare(Entity::InAadhaar, "9999-9999-9999", asia::aadhaar),
    said(Entity::InAadhaar, "999999999999", asia::aadhaar),
    bare(Entity::KrRrn, "999999-9999999", asia::rrn),
    said(Entity::KrRrn, "999999 9999999", asia::rrn),
    said(Entity::KrRrn, "9999999999999", asia::rrn),
    said(Entity::KrRrn, "999999-9999999", asia::rrn_unchecked),
    bare(Entity::CnResidentId, "999999999999999999", asia::resident_id),
    bare(Entity::CnResidentId, "999999 99999999 9999", asia::resident_id),
    bare(Entity::ZaId, "999999 9999 999", pacific::za_id),
    bare(Entity::ZaId, "999999 9999 99 9", pacific::za_id),
    bare(Entity::ZaId, "9999999999999", pacific::za_id_bare),
    said(Entity::ZaId, "9999999999999", pacific::za_id),
    said(Entity::AuTfn, "999 999 999", pacific::tfn),
    said(Entity::AuTfn, "999-999-999", pacific::tfn),
    said(Entity::AuTfn, "999999999", pacific::tfn),
    said(Entity::AuTfn, "99 999 999", pacific::tfn),
    said(Entity::AuTfn, "99999999", pacific::tfn),
    bare(Entity::AuAbn, "99 999 999 999", pacific::abn),
    said(Entity::AuAbn, "99-999-999-999", pacific::abn),
    said(Entity::AuAbn, "99999999999", pacific::abn),
    bare(Entity::AuMedicare, "9999 99999 9", pacific::medicare),
    said(Entity::AuMedicare, "9999-99999-9", pacific::medicare),
    said(Entity::AuMedicare, "9999 99999 9 9", pacific::medicare),
    said(Entity::AuMedicare, "9999999999", pacific::medicare),
];

/// The forms by the length of their first group, each with the code of its groups.
static BY_LENGTH: LazyLock<Vec<Vec<Coded>>> = LazyLock::new(|| {
    let mut by_length: Vec<Vec<Coded>> = Vec::new();
    by_length.resize_with(LENGTHS, Vec::new);
    for form in FORMS {
        let coded = Coded::of(form);
        by_length[usize::from(coded.code.to_le_bytes()[0] & LEN_BITS)].push(coded);
    }
    by_length
});

/// One more than the longest group.
const LENGTHS: usize = 19;

struct Coded {
    form: &'static Form,
    /// One byte a group: its length and the separator behind it.
    code: u64,
    mask: u64,
    count: usize,
}

const _: () = assert!(GROUPS_MAX <= 8, "the code of the groups is one word");

/// The bits of a group's byte that hold its length; the others hold the separator.
const LEN_BITS: u8 = 0x1F;

impl Coded {
    fn of(form: &'static Form) -> Coded {
        let mut code = [0_u8; 8];
        let mut count = 0;
        for byte in form.groups.bytes() {
            if byte == b'9' {
                code[count] += 1;
            } else {
                code[count] |= separator(byte);
                count += 1;
            }
        }
        count += 1;
        let mut mask = [0_u8; 8];
        mask[..count - 1].fill(0xFF);
        mask[count - 1] = LEN_BITS;
        Coded { form, code: u64::from_le_bytes(code), mask: u64::from_le_bytes(mask), count }
    }
}

fn separator(byte: u8) -> u8 {
    match byte {
        b' ' => 1 << 5,
        b'-' => 2 << 5,
        b'.' => 3 << 5,
        b'/' => 4 << 5,
        _ => 0,
    }
}

fn code(cluster: &Cluster<'_>) -> u64 {
    let mut code = [0_u8; 8];
    for (byte, group) in code.iter_mut().zip(cluster.groups()) {
        *byte = u8::try_from(group.len).unwrap_or(LEN_BITS).min(LEN_BITS) | separator(group.separator);
    }
    u64::from_le_bytes(code)
}

/// Looks at the digits that begin here.
pub(crate) fn at(scan: &mut Scan<'_>, cluster: &Cluster<'_>) {
    let Some(forms) = BY_LENGTH.get(cluster.groups()[0].len) else { return };
    if forms.is_empty() || cluster.is_continued() {
        return;
    }
    let code = code(cluster);
    for Coded { form, code: sought, mask, count } in forms {
        if (code ^ sought) & mask != 0 || !scan.wanted.has(form.entity) || cluster.goes_on(*count) {
            continue;
        }
        let (digits, len) = cluster.digits(*count);
        if len == 0 || !(form.check)(&digits[..len]) {
            continue;
        }
        let range = cluster.range(*count);
        match form.needs {
            Needs::Nothing if *count == 1 || !goes_on_in_kind(cluster, *count) => {
                scan.saw(form.entity, range, if len > 16 { Rank::Certain } else { Rank::Confirmed });
            }
            Needs::Nothing | Needs::Word => {
                if let Some(distance) = scan.distance(form.entity, &range) {
                    scan.saw_at(form.entity, range, Rank::Certain, distance);
                }
            }
        }
    }
}

/// Whether another group of at least three digits follows or goes before by a space: the whole is a longer number.
fn goes_on_in_kind(cluster: &Cluster<'_>, count: usize) -> bool {
    let follows =
        cluster.groups().get(count).is_some_and(|next| next.len > 2) && cluster.groups()[count - 1].separator == b' ';
    follows || cluster.follows_digits() || (cluster.groups()[0].len == 4 && cluster.is_in_table(count))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Whether year, month and day are a date; two digits of a year can be of any century.
fn is_date(year: u64, month: u64, day: u64) -> bool {
    let days = match month {
        2 => 29 - u64::from(year >= 100 && !is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests;
