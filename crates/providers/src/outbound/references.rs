//! Addresses inside of prompts: pictures and files that the provider is to fetch. We fetch none of them, and we pass on none
//! that would make a provider, which may stand in our own network, fetch from inside of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use serde_json::Value;
use tollgate_types::Endpoint;

use super::Place;

/// What a producer may name for a provider to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What lies in the open: `http` and `https` to names and public addresses; and data, which needs no fetching.
    Public,
    /// Also private addresses and this machine: for models that stand beside their own store of pictures. Metadata
    /// services and link-local addresses stay out of reach.
    Private,
}

/// Words without which no body refers to anything: the keys, and escapes of letters and of `_`, in which a key could be
/// written.
const WORDS: [&str; 5] = ["\"image_url\"", "\"file_url\"", "\\u005", "\\u006", "\\u007"];

/// Says what is wrong with the first address in a request that may not be fetched, naming its field; `None` if all may.
///
/// Names are not looked up: what they resolve to is for whoever fetches, and can change at any time.
pub fn forbidden_reference(body: &[u8], endpoint: Endpoint, reach: Reach) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    // Mostly there are none, and nothing is parsed.
    if !WORDS.iter().any(|word| text.contains(word)) {
        return None;
    }
    let body: Value = serde_json::from_str(text).ok()?;
    let list = match endpoint {
        Endpoint::ChatCompletions => "messages",
        Endpoint::Responses => "input",
        Endpoint::Embeddings => return None,
    };
    let turns = body[list].as_array()?.iter().enumerate();
    turns.flat_map(|(turn, message)| parts(list, turn, message)).find_map(|(at, part)| {
        let addresses = [
            (".image_url.url", part["image_url"]["url"].as_str()),
            (".image_url", part["image_url"].as_str()),
            (".file_url", part["file_url"].as_str()),
        ];
        addresses.into_iter().find_map(|(field, address)| {
            let why = why_not(address?, reach)?;
            Some(format!("`body.{at}{field}` {why}; send the picture as a data: URL, or under a public address"))
        })
    })
}

/// The parts of a message, and the message itself, which of responses may be a part.
fn parts<'a>(list: &str, turn: usize, message: &'a Value) -> Vec<(String, &'a Value)> {
    let inner = message["content"].as_array().into_iter().flatten().enumerate();
    let inner = inner.map(|(part, value)| (format!("{list}.{turn}.content.{part}"), value));
    inner.chain([(format!("{list}.{turn}"), message)]).collect()
}

fn why_not(address: &str, reach: Reach) -> Option<&'static str> {
    if address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return None;
    }
    let Ok(url) = Url::parse(address) else { return Some("is no address") };
    if !matches!(url.scheme(), "http" | "https") {
        return Some("is neither http nor https");
    }
    if Place::of_url(&url) != Place::Elsewhere {
        return Some("is an address that no model may fetch from");
    }
    (reach == Reach::Public && is_private(&url)).then_some("is an address inside of a private network")
}

fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => is_private_v4(ip),
        Ok(IpAddr::V6(ip)) => is_private_v6(ip),
        Err(_) => {
            let inside = [".localhost", ".local", ".internal", ".home.arpa"];
            host == "localhost" || inside.iter().any(|ending| host.ends_with(ending)) || !host.contains('.')
        }
    }
}

/// RFC 1918, RFC 6598 (carriers), this host and this network.
fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_loopback() || a == 0 || ip.is_broadcast() || (a == 100 && (64..128).contains(&b))
}

/// RFC 4193, this host, and IPv4 addresses within (RFC 6052's prefix).
fn is_private_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let within = (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| {
        let [a, b] = segments[6].to_be_bytes();
        let [c, d] = segments[7].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    });
    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || within.is_some_and(is_private_v4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(url: &str, reach: Reach) -> Option<String> {
        let part = json!({ "type": "image_url", "image_url": { "url": url } });
        let text = json!({ "type": "text", "text": "look" });
        let body =
            json!({ "messages": [{ "role": "user", "content": "hi" }, { "role": "user", "content": [text, part] }] });
        forbidden_reference(body.to_string().as_bytes(), Endpoint::ChatCompletions, reach)
    }

    #[test]
    fn what_a_provider_would_fetch_from_inside_is_refused_in_every_notation() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",
            "http://metadata.google.internal/",
            "file:///etc/passwd",
            "ftp://example.com/a.png",
            "gopher://127.0.0.1:6379/_x",
            "javascript:alert(1)",
            "//example.com/a.png",
            "a.png",
            "",
        ] {
            for reach in [Reach::Public, Reach::Private] {
                let why = chat(url, reach).unwrap_or_else(|| panic!("{url} is passed on"));
                assert!(why.starts_with("`body.messages.1.content.1.image_url.url` is "), "{why}");
            }
        }
        for url in [
            "http://127.0.0.1/a.png",
            "http://[::ffff:127.0.0.1]/a.png",
            "http://[::1]/",
            "http://0/",
            "http://0x7f.1/",
            "http://localhost:9200/",
            "http://x.localhost./",
            "http://db/",
            "http://store.internal/a.png",
            "http://10.1.2.3/",
            "https://192.168.0.1/",
            "http://172.31.255.255/",
            "http://100.64.0.1/",
            "http://[fd00::1]/",
            "http://[64:ff9b::10.0.0.1]/",
        ] {
            assert!(chat(url, Reach::Public).is_some(), "{url}");
            assert_eq!(chat(url, Reach::Private), None, "{url}");
        }
    }

    #[test]
    fn what_lies_in_the_open_and_data_pass() {
        for url in [
            "https://example.com/a.png",
            "http://8.8.8.8/a",
            "data:image/png;base64,AAAA",
            "DATA:,x",
            "https://172.32.0.1/",
        ] {
            assert_eq!(chat(url, Reach::Public), None, "{url}");
        }
    }

    #[test]
    fn every_place_of_a_request_is_looked_at_and_nothing_else() {
        let check = |endpoint, body: Value, refused| {
            let found = forbidden_reference(body.to_string().as_bytes(), endpoint, Reach::Public);
            assert_eq!(found.is_some(), refused, "{body}: {found:?}");
        };
        let inside = "http://10.0.0.1/a.png";
        let part = json!({ "type": "input_image", "image_url": inside });
        check(Endpoint::Responses, json!({ "input": [{ "role": "user", "content": [part] }] }), true);
        check(Endpoint::Responses, json!({ "input": [part] }), true);
        check(Endpoint::Responses, json!({ "input": [{ "type": "input_file", "file_url": inside }] }), true);
        check(Endpoint::Responses, json!({ "input": format!("\"image_url\": {inside}") }), false);
        check(Endpoint::Embeddings, json!({ "input": format!("\"image_url\": {inside}") }), false);
        let schema = json!({ "properties": { "image_url": { "type": "string", "default": inside } } });
        check(
            Endpoint::ChatCompletions,
            json!({ "messages": [], "tools": [{ "function": { "parameters": schema } }] }),
            false,
        );
        let escaped = r#"{"messages":[{"content":[{"image\u005furl":{"url":"http://10.0.0.1/"}}]}]}"#;
        assert!(forbidden_reference(escaped.as_bytes(), Endpoint::ChatCompletions, Reach::Public).is_some());
    }
}
