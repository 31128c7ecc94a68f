//! The texts: what people send, and what makes a tokenizer work hard.
//!
//! English and code are this repository's own; the others are generated, always the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

/// The length of the longest text, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// What people send, each of at least a mebibyte: English prose, Rust code, Chinese and JSON.
pub(crate) fn honest() -> anyhow::Result<Vec<(&'static str, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let prose = ["README.md", "SECURITY.md", "CHANGELOG.md", "docs", "benches"].map(|name| root.join(name));
    let code = ["crates", "tests", "benches"].map(|name| root.join(name));
    Ok(vec![
        ("English", long(&files(&prose, "md")?)),
        ("code", long(&files(&code, "rs")?)),
        ("Chinese", chinese()),
        ("JSON", json_records()),
    ])
}

/// The start of a text, of at most so many bytes.
pub(crate) fn start_of(text: &str, bytes: usize) -> &str {
    &text[..boundary(text, bytes)]
}

/// The last place up to this one at which a text can be cut.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Repeats a text up to the longest that is needed.
fn long(text: &str) -> String {
    text.repeat(BYTES_MAX.div_ceil(text.len().max(1)))
}

/// All files with this extension, one after the other, in the order of their names.
fn files(places: &[PathBuf], extension: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut places = places.to_vec();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place)?.collect::<Result<Vec<_>, _>>()?;
            let mut inside: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
            inside.sort();
            places.extend(inside);
        } else if place.extension().is_some_and(|of| of == extension) {
            text += &fs::read_to_string(&place).with_context(|| place.display().to_string())?;
        }
    }
    anyhow::ensure!(!text.is_empty(), "no text was found; the benchmark reads the repository that it was built in");
    Ok(text)
}

/// Sentences of common words.
fn chinese() -> String {
    const SUBJECTS: [&str; 12] = [
        "我们",
        "研究人员",
        "这家公司",
        "很多学生",
        "政府",
        "他的朋友",
        "医生",
        "用户",
        "这个系统",
        "老师",
        "记者",
        "专家",
    ];
    const VERBS: [&str; 12] = [
        "认为",
        "已经完成了",
        "正在讨论",
        "发现了",
        "需要改进",
        "提供",
        "支持",
        "分析了",
        "介绍了",
        "希望解决",
        "开发了",
        "关注",
    ];
    const OBJECTS: [&str; 12] = [
        "新的技术方案",
        "语言模型的性能",
        "城市交通问题",
        "一份详细的报告",
        "环境保护的重要性",
        "人工智能的应用",
        "历史文化",
        "国际合作关系",
        "数据安全",
        "教育改革",
        "健康的生活方式",
        "经济增长的原因",
    ];
    const LINKS: [&str; 6] = ["，因此", "，但是", "。与此同时，", "。", "，并且", "。例如，"];
    let mut next = noise();
    let mut text = String::with_capacity(BYTES_MAX + 256);
    while text.len() < BYTES_MAX {
        for words in [&SUBJECTS[..], &VERBS, &OBJECTS, &LINKS] {
            text += words[next() as usize % words.len()];
        }
    }
    text
}

fn json_records() -> String {
    let mut next = noise();
    let mut text = String::with_capacity(BYTES_MAX + 512);
    while text.len() < BYTES_MAX {
        let number = next();
        let record = json!({
            "id": format!("{:08x}-{:04x}", number >> 32, number & 0xffff), "created_at": "2025-03-14T09:26:53.589Z",
            "amount": (number % 1_000_000) as f64 / 100.0, "active": number.is_multiple_of(3), "parent": null,
            "tags": ["billing", "export", "eu-central-1"], "user": { "name": "Ada Lovelace", "age": number % 90 },
            "path": format!("/var/lib/app/{}/part-{}.log", number % 17, number % 1_000),
        });
        text += &record.to_string();
        text += ",\n";
    }
    text
}

/// A text of about so many bytes.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) name: &'static str,
    pub(crate) make: fn(usize) -> String,
}

/// What makes a tokenizer work hard, each of so many bytes.
pub(crate) const HOSTILE: [Text; 14] = [
    Text { name: "one letter", make: |bytes| "a".repeat(bytes) },
    Text { name: "random letters", make: |bytes| random(bytes, |x| Some((b'a' + (x % 26) as u8) as char)) },
    Text { name: "dots", make: |bytes| ".".repeat(bytes) },
    Text { name: "dashes", make: |bytes| "-".repeat(bytes) },
    Text { name: "newlines", make: |bytes| "\n".repeat(bytes) },
    Text { name: "spaces", make: |bytes| " ".repeat(bytes) },
    Text { name: "spaces, then a letter", make: |bytes| format!("{}x", " ".repeat(bytes - 1)) },
    Text { name: "tabs, then a letter", make: |bytes| format!("{}x", "\t".repeat(bytes - 1)) },
    Text { name: "special tokens", make: |bytes| "<|endoftext|>".repeat(bytes / 13) },
    Text { name: "base64", make: base64 },
    Text { name: "random emoji", make: |bytes| random(bytes, |x| char::from_u32(0x1f300 + (x % 0x300) as u32)) },
    Text { name: "random Unicode", make: |bytes| random(bytes, |x| char::from_u32((x % 0x11_0000) as u32)) },
    Text { name: "random CJK", make: |bytes| random(bytes, |x| char::from_u32(0x4e00 + (x % 0x51a5) as u32)) },
    Text { name: "random Thai", make: |bytes| random(bytes, |x| char::from_u32(0xe01 + (x % 0x3a) as u32)) },
];

fn base64(bytes: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    random(bytes, |x| Some(char::from(DIGITS[(x % 64) as usize])))
}

/// Random characters up to so many bytes; numbers that are no character are left out.
fn random(bytes: usize, to_char: impl Fn(u64) -> Option<char>) -> String {
    let mut next = noise();
    let mut text = String::with_capacity(bytes + 4);
    while text.len() < bytes {
        text.extend(to_char(next() >> 16));
    }
    text.truncate(boundary(&text, bytes));
    text
}

/// A fixed sequence that looks random (xorshift).
fn noise() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
