//! The literals that tell where something can be, all sought in one pass whatever their case.

use std::ops::Range;
use std::sync::LazyLock;

use super::assigned::Kind;
use super::context::cases;
use super::literals::Literals;
use super::pem::Ends;
use super::scan::Scan;
use super::words::{self, list};
use super::{assigned, email, injection, jwt, pem, said, tokens, url};
use crate::Entity;

/// What a literal is the start of, or the middle.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    Scheme,
    Parameter(&'static str),
    Block,
    Putty,
    Jwt,
    Token(&'static tokens::Token),
    Terraform,
    Telegram,
    Assigned(Kind),
    Birth,
    Document(Entity),
    Tag,
    /// The start of some tripwires, by the number of their group.
    Tripwires(usize),
}

struct Anchors {
    literals: Literals,
    /// By the number of the literal.
    anchors: Vec<Anchor>,
}

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| {
    let mut literals: Vec<Vec<u8>> = Vec::new();
    let mut anchors = Vec::new();
    let mut add = |literal: &[u8], anchor| {
        literals.push(literal.to_vec());
        anchors.push(anchor);
    };
    add(b"://", Anchor::Scheme);
    for name in url::PARAMETERS {
        add(format!("?{name}=").as_bytes(), Anchor::Parameter(name));
        add(format!("&{name}=").as_bytes(), Anchor::Parameter(name));
    }
    add(b"-----BEGIN ", Anchor::Block);
    add(pem::PUTTY.as_bytes(), Anchor::Putty);
    add(b"eyJ", Anchor::Jwt);
    for token in tokens::TOKENS {
        token.beginnings().iter().for_each(|beginning| add(beginning.as_bytes(), Anchor::Token(token)));
    }
    add(tokens::TERRAFORM.as_bytes(), Anchor::Terraform);
    add(tokens::TELEGRAM.as_bytes(), Anchor::Telegram);
    injection::TAGS.iter().for_each(|tag| add(tag, Anchor::Tag));
    let mut add_all = |sought: &mut dyn Iterator<Item = &str>, anchor| {
        for word in sought.flat_map(cases) {
            add(word.as_bytes(), anchor);
        }
    };
    add_all(&mut list(words::PASSWORDS), Anchor::Assigned(Kind::Password));
    add_all(&mut list(words::SECRETS), Anchor::Assigned(Kind::Secret));
    add_all(&mut list(words::SERVICES), Anchor::Assigned(Kind::Key));
    add_all(&mut assigned::USERS.into_iter(), Anchor::Assigned(Kind::User));
    add_all(&mut assigned::BASIC.into_iter(), Anchor::Assigned(Kind::Basic));
    add_all(&mut list(words::BIRTHS), Anchor::Birth);
    add_all(&mut list(words::PASSPORTS), Anchor::Document(Entity::Passport));
    add_all(&mut list(words::LICENCES), Anchor::Document(Entity::DrivingLicence));
    for (group, tripwires) in injection::GROUPS.iter().enumerate() {
        add_all(&mut tripwires.starts.iter().copied(), Anchor::Tripwires(group));
    }
    anchors.push(Anchor::Assigned(Kind::Password));
    Anchors { literals: Literals::new(literals, words::PASSWORD_OF_TWO), anchors }
});

/// How far finders read that have no bound of their own: what stands within is not looked at again.
#[derive(Default)]
struct Passed {
    block: usize,
    jwt: usize,
    ends: Ends,
    values: url::Read,
}

/// Passes over the text once and lets the finders look at each literal's place.
pub(crate) fn scan(scan: &mut Scan<'_>) {
    let Anchors { literals, anchors } = &*ANCHORS;
    let bytes = scan.bytes();
    if scan.wanted.has(Entity::Email) {
        memchr::memchr_iter(b'@', bytes).for_each(|at| email::at(scan, at));
    }
    let mut passed = Passed::default();
    literals.each(bytes, |number, place| look(scan, anchors[number], place, &mut passed));
}

fn look(scan: &mut Scan<'_>, anchor: Anchor, place: Range<usize>, passed: &mut Passed) {
    let Range { start, end } = place;
    match anchor {
        Anchor::Scheme => url::userinfo(scan, end),
        Anchor::Parameter(name) => url::parameter(scan, end, name, &mut passed.values),
        Anchor::Block if start >= passed.block => {
            passed.block = pem::block(scan, start, &mut passed.ends).unwrap_or(passed.block);
        }
        Anchor::Putty if start >= passed.block => {
            passed.block = pem::putty(scan, start).unwrap_or(passed.block);
        }
        Anchor::Jwt if start >= passed.jwt => passed.jwt = jwt::at(scan, start).unwrap_or(passed.jwt),
        Anchor::Block | Anchor::Putty | Anchor::Jwt => {}
        Anchor::Token(token) => tokens::at(scan, token, start),
        Anchor::Terraform => tokens::terraform(scan, start),
        Anchor::Telegram => tokens::telegram(scan, start),
        Anchor::Assigned(kind) => assigned::at(scan, start..end, kind),
        Anchor::Birth => said::birth(scan, start..end),
        Anchor::Document(entity) => said::document(scan, start..end, entity),
        Anchor::Tag => injection::tags(scan, start),
        Anchor::Tripwires(group) => injection::at(scan, group, start),
    }
}
