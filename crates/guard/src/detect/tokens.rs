//! Keys of services whose keys have a form of their own: a prefix, an alphabet and a length.

use std::ops::RangeInclusive;

use tollgate_types::api_key::{self, ID_CHARS, SECRET_CHARS};

use super::scan::{Rank, Scan};
use crate::Entity;

/// The form of one service's keys.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) prefix: &'static str,
    alphabet: Alphabet,
    len: RangeInclusive<usize>,
}

/// What a key is written with behind its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// Letters and digits.
    Plain,
    /// Letters, digits, `_` and `-`.
    Url,
    /// The same with dots.
    Dotted,
    /// Capitals and digits.
    Capitals,
    /// Hexadecimal digits.
    Hex,
    /// Base64 with its filling.
    Base64,
    /// Base64 and slashes of a path.
    Path,
    /// An id and a secret, as the broker's own keys are made.
    Own,
}

const fn token(prefix: &'static str, alphabet: Alphabet, len: RangeInclusive<usize>) -> Token {
    Token { prefix, alphabet, len }
}

impl Token {
    /// What keys of this form begin with: the prefix, and of a short one what may follow.
    pub(crate) fn beginnings(&self) -> Vec<String> {
        if self.prefix.len() > 2 {
            return vec![self.prefix.to_owned()];
        }
        debug_assert_eq!(self.alphabet, Hex);
        (0..=u8::MAX).map(|byte| format!("{}{byte:02x}", self.prefix)).collect()
    }
}

use Alphabet::{Base64, Capitals, Dotted, Hex, Own, Path, Plain, Url};

/// The characters of one of the broker's own keys behind its prefix.
const OWN_CHARS: usize = ID_CHARS + 1 + SECRET_CHARS;

/// The forms that vendors document, the longest lengths with room to grow.
pub(crate) const TOKENS: &[Token] = &[
    token(api_key::PREFIX, Own, OWN_CHARS..=OWN_CHARS),
    // OpenAI, Anthropic, OpenRouter, DeepSeek and others.
    token("sk-", Url, 20..=300),
    token("sess-", Plain, 40..=64),
    token("xai-", Plain, 60..=128),
    token("AIza", Url, 35..=35),
    token("ya29.", Url, 30..=500),
    token("GOCSPX-", Url, 28..=28),
    token("gsk_", Plain, 40..=64),
    token("r8_", Plain, 37..=40),
    token("hf_", Plain, 34..=40),
    token("api_org_", Plain, 34..=40),
    token("pplx-", Plain, 40..=64),
    token("nvapi-", Url, 60..=80),
    token("fw_", Plain, 22..=40),
    token("tgp_v1_", Url, 40..=50),
    token("csk-", Plain, 40..=60),
    token("pcsk_", Url, 60..=90),
    token("lsv2_pt_", Url, 42..=60),
    token("lsv2_sk_", Url, 42..=60),
    token("ghp_", Plain, 36..=255),
    token("gho_", Plain, 36..=255),
    token("ghu_", Plain, 36..=255),
    token("ghs_", Plain, 36..=255),
    token("ghr_", Plain, 36..=255),
    token("github_pat_", Url, 60..=255),
    token("glpat-", Url, 20..=64),
    token("gldt-", Url, 20..=64),
    token("glrt-", Url, 20..=64),
    token("glptt-", Plain, 40..=64),
    token("glcbt-", Url, 20..=64),
    token("glsoat-", Url, 20..=64),
    token("glagent-", Url, 40..=64),
    token("gloas-", Url, 40..=70),
    token("ATBB", Plain, 32..=32),
    token("ATATT3", Base64, 150..=250),
    token("xoxb-", Url, 20..=255),
    token("xoxp-", Url, 20..=255),
    token("xoxa-", Url, 20..=255),
    token("xoxr-", Url, 20..=255),
    token("xoxs-", Url, 20..=255),
    token("xoxe-", Url, 20..=255),
    token("xoxe.xox", Dotted, 60..=255),
    token("xoxc-", Url, 20..=255),
    token("xoxd-", Url, 20..=255),
    token("xapp-", Url, 20..=255),
    token("hooks.slack.com/services/", Path, 30..=100),
    token("hooks.slack.com/workflows/", Path, 30..=120),
    token("discord.com/api/webhooks/", Path, 60..=130),
    token("discordapp.com/api/webhooks/", Path, 60..=130),
    token("sk_live_", Plain, 10..=247),
    token("sk_test_", Plain, 10..=247),
    token("rk_live_", Plain, 10..=247),
    token("rk_test_", Plain, 10..=247),
    token("sk_prod_", Plain, 10..=99),
    token("whsec_", Base64, 24..=64),
    token("AKIA", Capitals, 16..=16),
    token("ASIA", Capitals, 16..=16),
    token("ABIA", Capitals, 16..=16),
    token("ACCA", Capitals, 16..=16),
    token("ABSK", Base64, 100..=280),
    token("AccountKey=", Base64, 80..=90),
    token("SharedAccessKey=", Base64, 40..=50),
    token("npm_", Plain, 36..=36),
    token("pypi-AgE", Url, 50..=300),
    token("rubygems_", Hex, 48..=48),
    token("cio", Plain, 32..=32),
    token("dckr_pat_", Url, 27..=40),
    token("dckr_oat_", Url, 27..=40),
    token("SG.", Dotted, 60..=70),
    token("SK", Hex, 32..=32),
    token("key-", Hex, 32..=32),
    token("xkeysib-", Url, 64..=90),
    token("xsmtpsib-", Url, 64..=90),
    token("dop_v1_", Hex, 64..=64),
    token("doo_v1_", Hex, 64..=64),
    token("dor_v1_", Hex, 64..=64),
    token("dapi", Hex, 32..=34),
    token("shpat_", Hex, 32..=32),
    token("shpca_", Hex, 32..=32),
    token("shppa_", Hex, 32..=32),
    token("shpss_", Hex, 32..=32),
    token("sq0atp-", Url, 22..=22),
    token("sq0csp-", Url, 43..=43),
    token("EAAA", Url, 60..=60),
    token("access_token$production$", Url, 40..=60),
    token("hvs.", Url, 24..=200),
    token("hvb.", Url, 100..=300),
    token("hvr.", Url, 24..=200),
    token("dp.pt.", Plain, 40..=50),
    token("dp.st.", Dotted, 40..=90),
    token("dp.ct.", Plain, 40..=50),
    token("dp.sa.", Plain, 40..=50),
    token("dp.scim.", Plain, 40..=50),
    token("dp.audit.", Plain, 40..=50),
    token("lin_api_", Plain, 40..=48),
    token("lin_oauth_", Plain, 40..=70),
    token("ntn_", Plain, 40..=50),
    token("secret_", Plain, 43..=43),
    token("PMAK-", Url, 59..=59),
    token("PMAT-", Plain, 26..=26),
    token("NRAK-", Plain, 27..=27),
    token("NRJS-", Plain, 19..=19),
    token("NRII-", Url, 32..=32),
    token("NRAA-", Plain, 27..=27),
    token("glsa_", Url, 40..=42),
    token("glc_", Base64, 32..=400),
    token("sntrys_", Url, 40..=300),
    token("sntryu_", Hex, 64..=64),
    token("figd_", Url, 40..=50),
    token("pat-na1-", Url, 36..=36),
    token("pat-eu1-", Url, 36..=36),
    token("ddp_", Plain, 36..=36),
    token("phc_", Plain, 40..=50),
    token("phx_", Plain, 40..=50),
    token("sbp_", Hex, 40..=40),
    token("sb_secret_", Url, 20..=60),
    token("pscale_tkn_", Url, 32..=64),
    token("pscale_pw_", Url, 32..=64),
    token("pscale_oauth_", Url, 32..=64),
    token("rnd_", Plain, 28..=40),
    token("fo1_", Url, 43..=43),
    token("FlyV1 fm2_", Base64, 100..=1000),
    token("pul-", Hex, 40..=40),
    token("EZAK", Plain, 54..=54),
    token("EZTK", Plain, 54..=54),
    token("shippo_live_", Hex, 40..=40),
    token("duffel_live_", Url, 43..=43),
    token("CLOJARS_", Plain, 60..=60),
    token("tfp_", Url, 40..=60),
    token("AGE-SECRET-KEY-1", Capitals, 58..=58),
    token("pnu_", Plain, 36..=36),
    token("oy2", Plain, 43..=43),
    token("ops_eyJ", Base64, 100..=1000),
    token("v1.0-", Hex, 24..=24),
    token("cfk_", Plain, 36..=60),
    token("cfut_", Plain, 36..=60),
    token("cfat_", Plain, 36..=60),
    token("eu01xx", Hex, 64..=64),
    token("NRAL", Plain, 40..=40),
];

/// What stands in the middle of keys of Terraform Cloud and of bots of Telegram.
pub(crate) const TERRAFORM: &str = ".atlasv1.";
pub(crate) const TELEGRAM: &str = ":AA";

/// Looks at the middle of a key of Terraform Cloud: 14 characters, the mark, and 60 or more.
pub(crate) fn terraform(scan: &mut Scan<'_>, mark: usize) {
    let bytes = scan.bytes();
    let before = bytes[..mark].iter().rev().take(15).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let from = mark + TERRAFORM.len();
    let behind = bytes[from..]
        .iter()
        .take(100)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='))
        .count();
    if before == 14 && behind >= 60 {
        scan.saw(Entity::ApiKey, mark - before..from + behind, Rank::Confirmed);
    }
}

/// Looks at the middle of a key of a bot of Telegram: its number, the mark, and 33 characters.
pub(crate) fn telegram(scan: &mut Scan<'_>, mark: usize) {
    let bytes = scan.bytes();
    let before = bytes[..mark].iter().rev().take(11).take_while(|byte| byte.is_ascii_digit()).count();
    let from = mark + TELEGRAM.len();
    let behind = bytes[from..]
        .iter()
        .take(34)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        .count();
    if (8..=10).contains(&before) && behind == 33 && &bytes[mark..from] == TELEGRAM.as_bytes() {
        scan.saw(Entity::ApiKey, mark - before..from + behind, Rank::Confirmed);
    }
}

/// Looks at the prefix at this place.
pub(crate) fn at(scan: &mut Scan<'_>, token: &Token, start: usize) {
    if !scan.wanted.has(Entity::ApiKey) {
        return;
    }
    let bytes = scan.bytes();
    let from = start + token.prefix.len();
    let joined = start > 0 && is_joined(bytes[start - 1], token);
    if joined || &bytes[start..from] != token.prefix.as_bytes() {
        return;
    }
    let body = body(&bytes[from..], token);
    let whole = !matches!(token.alphabet, Plain | Own) || bytes.get(from + body.len()) != Some(&b'_');
    if token.len.contains(&body.len()) && whole && is_random(body) {
        scan.saw(Entity::ApiKey, start..from + body.len(), Rank::Confirmed);
    }
}

/// Whether the byte before makes the prefix the end of another word, such as the `sk-` of `task-`.
fn is_joined(before: u8, token: &Token) -> bool {
    let dashed = token.prefix.len() < 4 && (before == b'-' || before == b'_');
    (before.is_ascii_alphanumeric() || dashed)
        && !token.prefix.starts_with("hooks")
        && !token.prefix.starts_with("discord")
}

fn body<'t>(bytes: &'t [u8], token: &Token) -> &'t [u8] {
    if token.alphabet == Own {
        return own(bytes);
    }
    let belongs = |byte: &u8| match token.alphabet {
        Plain => byte.is_ascii_alphanumeric(),
        Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
        Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
        Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Hex => byte.is_ascii_hexdigit(),
        Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-'),
        Path => byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-'),
        Own => false,
    };
    let bounded = &bytes[..bytes.len().min(token.len.end() + 1)];
    let len = bounded.iter().take_while(|byte| belongs(byte)).count();
    let mut body = &bounded[..len];
    // The end of a sentence or of a list is not the key's.
    while let [rest @ .., b'.' | b'-' | b'/'] = body {
        body = rest;
    }
    body
}

/// One of the broker's own keys behind its prefix; nothing if it is none.
fn own(bytes: &[u8]) -> &[u8] {
    let Some((id, [b'_', rest @ ..])) = bytes.split_at_checked(ID_CHARS) else { return &[] };
    let plain = id.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let secret = rest.iter().take(SECRET_CHARS + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if plain && secret == SECRET_CHARS { &bytes[..OWN_CHARS] } else { &[] }
}

/// Whether it looks random rather than written by somebody: it has digits, and its characters are spread.
pub(crate) fn is_random(body: &[u8]) -> bool {
    let digits = body.iter().any(u8::is_ascii_digit);
    let long = body.len() >= 30
        && entropy(body) >= 4.0
        && body.iter().any(u8::is_ascii_lowercase)
        && body.iter().any(u8::is_ascii_uppercase);
    (digits || long) && entropy(body) >= 2.8 && !is_placeholder(body)
}

/// Whether it says itself that it is none.
fn is_placeholder(body: &[u8]) -> bool {
    let lower = body.to_ascii_lowercase();
    let says = |word: &str| memchr::memmem::find(&lower, word.as_bytes()).is_some();
    says("xxxx")
        || says("your")
        || says("api-key")
        || says("api_key")
        || says("placeholder")
        || says("1234567890abcdef1234")
}

/// The entropy of Shannon, in bits a byte.
pub(crate) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    let all = bytes.len() as f64;
    let share = |count: u32| f64::from(count) / all;
    -counts.iter().filter(|&&count| count > 0).map(|&count| share(count) * share(count).log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    /// A body of so many characters that no service gave out.
    fn body(len: usize) -> String {
        "a1B2c3D4e5F6g7H8j9K0m2N3p4Q5r6S7t8U9v0W1x2Y3z4".chars().cycle().take(len).collect()
    }

    #[test]
    fn every_form_is_found_and_not_within_a_word() {
        for token in TOKENS {
            let body = match token.alphabet {
                Hex => "0f1e2d3c4b5a69788796a5b4c3d2e1f0".chars().cycle().take(*token.len.start()).collect(),
                Capitals => body(*token.len.start()).to_uppercase(),
                Own => format!("k3v9x2m1q8z7_{}", body(SECRET_CHARS)),
                _ => body(*token.len.start()),
            };
            let key = format!("{}{body}", token.prefix);
            check(Entity::ApiKey, &format!("export KEY=\"{key}\""), &[&key]);
            check(Entity::ApiKey, &format!("(the key is {key}.)"), &[&key]);
            check(Entity::ApiKey, &format!("{}{}", token.prefix, &body[1..]), &[]);
        }
        check(Entity::ApiKey, &format!("task-{}", body(40)), &[]);
    }

    #[test]
    fn the_brokers_own_keys_are_found_as_they_are_written_and_nothing_that_is_longer_or_shorter() {
        let id = "k3v9x2m1q8z7".parse().expect("an id");
        let key = api_key::written(&id, &body(SECRET_CHARS));
        assert!(api_key::Presented::read(&key).is_some(), "it is one");
        check(Entity::ApiKey, &format!("curl -H 'Authorization: Bearer {key}' https://gate"), &[&key]);
        check(Entity::ApiKey, &format!("{key}-and more"), &[&key]);
        let (longer, shorter) = (format!("{key}x"), &key[..key.len() - 1]);
        for none in [longer.as_str(), shorter, "tgk_k3v9x2m1q8z7_", &key.replacen("k3v", "K3V", 1)] {
            check(Entity::ApiKey, &format!("it is {none} here"), &[]);
        }
    }

    #[test]
    fn placeholders_are_not() {
        for text in [
            "sk-...",
            "sk-your-api-key-here-12345",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxx1",
            "sk-circle-fade-dot-animation-step",
        ] {
            check(Entity::ApiKey, text, &[]);
        }
    }
}
