//! Just enough SQL to tell an insert that carries data from every other statement.
//!
//! The engine takes an insert's head, format and data apart from each other, and HTTP delivers them as one text. The
//! scanner walks words outside of strings, quoted names, comments and brackets, and stops where data begins: what
//! follows may be binary. Whether a statement is right is the engine's question; refused here is only what the engine
//! would do silently wrong ([`Refusal`]).

use std::ops::Range;

/// What a text is, by offsets into it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Goes to the engine as it is. `format` is the one it names.
    Query { format: Option<String> },
    /// `INSERT INTO …` up to `head_end`, then data in `format` from `data_at` on.
    Insert { head_end: usize, format: String, data_at: usize },
}

/// What the engine must not be asked, because it would not do what the text says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "INSERT … SELECT … FROM input(…) is not supported by the embedded engine, which would report success and store \
         nothing: insert into the table directly"
    )]
    Input,
    #[error("FROM INFILE is the command-line client's: send the file's content as the data")]
    Infile,
    #[error("INTO OUTFILE is the command-line client's: save the answer instead")]
    Outfile,
    #[error("empty query")]
    Empty,
    #[error("more than one statement in a request is not allowed")]
    Several,
    #[error("a semicolon between FORMAT and the data of an INSERT")]
    SemicolonBeforeData,
    #[error("SETTINGS of an INSERT stand before FORMAT or VALUES")]
    SettingsAfterFormat,
}

/// Tells what `sql` is.
///
/// # Errors
///
/// [`Refusal`]: what the engine would do silently wrong, or would do to the files of its own machine.
pub(crate) fn classify(sql: &[u8]) -> Result<Statement, Refusal> {
    let scanner = Scanner::new(sql);
    let mut rest = scanner.clone();
    match rest.next() {
        Some(first) if first.is(b"INSERT") => insert(rest),
        // The engine takes a text to end at a zero byte, and nothing for a success.
        None | Some(Token { kind: Kind::Punctuation(0 | b';'), .. }) => Err(Refusal::Empty),
        Some(_) => query(scanner),
    }
}

/// Classifies what follows the word `INSERT`.
fn insert(mut rest: Scanner<'_>) -> Result<Statement, Refusal> {
    for keyword in [&b"INTO"[..], b"TABLE", b"FUNCTION"] {
        rest.skip_if(|token| token.is(keyword));
    }
    // The name comes first, so that a table called `values` or `format` is not taken for a keyword.
    rest.skip_name();
    let after_name = rest.clone();
    loop {
        let before = rest.clone();
        let Some(token) = rest.next() else {
            return query(after_name);
        };
        if token.depth > 0 {
            continue;
        }
        if token.is(b"VALUES") {
            let (head_end, data_at) = (token.range.start, token.range.end);
            return Ok(Statement::Insert { head_end, format: "Values".to_owned(), data_at });
        }
        if token.is(b"FORMAT") {
            return data_of(token.range.start, rest);
        }
        if token.is(b"FROM") && rest.clone().next().is_some_and(|next| next.is(b"INFILE")) {
            return Err(Refusal::Infile);
        }
        let selects = token.is(b"SELECT") || token.is(b"WITH") || token.is(b"EXPLAIN") || token.is(b"WATCH");
        if selects || token.is_punctuation(b';') {
            return query(before);
        }
    }
}

/// Finds the data of an insert behind the word `FORMAT`.
fn data_of(head_end: usize, mut rest: Scanner<'_>) -> Result<Statement, Refusal> {
    let Some(name) = rest.next().filter(|name| name.kind == Kind::Word) else {
        return Ok(Statement::Query { format: None });
    };
    let mut after = rest.clone();
    let settings = after.skip_if(|token| token.is(b"SETTINGS")) && after.skip_if(|token| token.kind == Kind::Word);
    if settings && after.skip_if(|token| token.is_punctuation(b'=')) {
        return Err(Refusal::SettingsAfterFormat);
    }
    // Blanks and one line break belong to the statement, as in ClickHouse's own parser; the rest is data.
    let sql = rest.sql;
    let mut at = name.range.end;
    while matches!(sql.get(at), Some(b' ' | b'\t' | b'\x0c')) {
        at += 1;
    }
    if sql.get(at) == Some(&b';') {
        return Err(Refusal::SemicolonBeforeData);
    }
    at += usize::from(sql.get(at) == Some(&b'\r'));
    at += usize::from(sql.get(at) == Some(&b'\n'));
    Ok(Statement::Insert { head_end, format: name.string(), data_at: at })
}

/// Classifies a statement that carries no data.
fn query(mut rest: Scanner<'_>) -> Result<Statement, Refusal> {
    let mut format = None;
    let mut before: Option<Token<'_>> = None;
    while let Some(token) = rest.next() {
        let next = || rest.clone().next();
        if token.is_punctuation(b';') && next().is_some_and(|next| !next.is_punctuation(b';')) {
            return Err(Refusal::Several);
        }
        let from =
            before.as_ref().is_some_and(|token| token.is(b"FROM") || token.is(b"JOIN") || token.is_punctuation(b','));
        if from && token.names(b"input") && next().is_some_and(|next| next.is_punctuation(b'(')) {
            return Err(Refusal::Input);
        }
        if token.depth == 0 && token.is(b"INTO") && next().is_some_and(|next| next.is(b"OUTFILE")) {
            return Err(Refusal::Outfile);
        }
        if token.depth == 0 && token.is(b"FORMAT") {
            format = format_named(rest.clone()).or(format);
        }
        before = Some(token);
    }
    Ok(Statement::Query { format })
}

/// The format named behind the word `FORMAT`, unless that word is a column: a format ends its statement.
fn format_named(mut rest: Scanner<'_>) -> Option<String> {
    let name = rest.next().filter(|name| name.kind == Kind::Word && name.depth == 0)?;
    let sorts = name.is(b"ASC") || name.is(b"DESC");
    let ends = rest.next().is_none_or(|next| next.is_punctuation(b';') || next.is(b"SETTINGS"));
    (ends && !sorts).then(|| name.string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Letters, digits and underscores; never right behind a dot, where it would be part of a name.
    Word,
    /// A name in backticks or double quotes, or one behind a dot.
    Name,
    /// A string or a number.
    Literal,
    Punctuation(u8),
}

#[derive(Debug, Clone)]
struct Token<'a> {
    kind: Kind,
    range: Range<usize>,
    /// How many brackets are open around it; the outermost brackets themselves are at 0 and 1.
    depth: usize,
    text: &'a [u8],
}

impl Token<'_> {
    fn is(&self, keyword: &[u8]) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    fn is_punctuation(&self, byte: u8) -> bool {
        self.kind == Kind::Punctuation(byte)
    }

    /// Whether it is this name, quoted or not.
    fn names(&self, name: &[u8]) -> bool {
        match self.kind {
            Kind::Word => self.text.eq_ignore_ascii_case(name),
            Kind::Name => {
                let inner = self.text.get(1..self.text.len().saturating_sub(1));
                inner.is_some_and(|inner| inner.eq_ignore_ascii_case(name))
            }
            Kind::Literal | Kind::Punctuation(_) => false,
        }
    }

    fn string(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }
}

/// Yields tokens from left to right, and reads no further than asked.
#[derive(Clone)]
struct Scanner<'a> {
    sql: &'a [u8],
    at: usize,
    depth: usize,
    after_dot: bool,
}

impl<'a> Scanner<'a> {
    fn new(sql: &'a [u8]) -> Self {
        Self { sql, at: 0, depth: 0, after_dot: false }
    }

    fn skip_if(&mut self, matches: impl FnOnce(&Token<'_>) -> bool) -> bool {
        let mut ahead = self.clone();
        let skips = ahead.next().is_some_and(|token| matches(&token));
        if skips {
            *self = ahead;
        }
        skips
    }

    /// Skips `table`, `db.table`, quoted or not, and `{table:Identifier}`.
    fn skip_name(&mut self) {
        loop {
            if self.skip_if(|token| token.is_punctuation(b'{')) {
                while self.skip_if(|token| !token.is_punctuation(b'}')) {}
                self.skip_if(|token| token.is_punctuation(b'}'));
            } else {
                self.skip_if(|token| matches!(token.kind, Kind::Word | Kind::Name));
            }
            if !self.skip_if(|token| token.is_punctuation(b'.')) {
                return;
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.sql[self.at..]
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = self.rest();
            let length = match rest {
                // Beyond ASCII there are byte order marks and exotic blanks; names need quotes for it.
                [blank, ..] if blank.is_ascii_whitespace() || *blank == b'\x0b' || !blank.is_ascii() => 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => {
                    rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
                }
                [b'/', b'*', ..] => comment_length(rest),
                _ => return,
            };
            self.at += length;
        }
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks_and_comments();
        let rest = self.rest();
        let after_dot = std::mem::take(&mut self.after_dot);
        let depth = self.depth;
        let (kind, length) = match *rest.first()? {
            b'\'' => (Kind::Literal, quoted_length(rest)),
            b'"' | b'`' => (Kind::Name, quoted_length(rest)),
            b'$' => heredoc_length(rest).map_or((Kind::Punctuation(b'$'), 1), |length| (Kind::Literal, length)),
            b'0'..=b'9' => (Kind::Literal, word_length(rest)),
            byte if is_word(byte) => (if after_dot { Kind::Name } else { Kind::Word }, word_length(rest)),
            byte => (Kind::Punctuation(byte), 1),
        };
        match kind {
            Kind::Punctuation(b'(' | b'[' | b'{') => self.depth += 1,
            Kind::Punctuation(b')' | b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            Kind::Punctuation(b'.') => self.after_dot = true,
            _ => {}
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        Some(Token { kind, text: &self.sql[range.clone()], range, depth })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_length(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_word(byte)).count()
}

/// Length with both quotes. A doubled quote reads as two strings side by side, which comes to the same.
fn quoted_length(text: &[u8]) -> usize {
    let quote = text[0];
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of a comment of the `/*` kind; they nest.
fn comment_length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of `$tag$ … $tag$`, if `text` begins with one.
fn heredoc_length(text: &[u8]) -> Option<usize> {
    let tag_length = word_length(&text[1..]) + 2;
    let tag = text.get(..tag_length).filter(|tag| tag.ends_with(b"$"))?;
    let inner = text[tag_length..].windows(tag_length).position(|window| window == tag)?;
    Some(inner + 2 * tag_length)
}

#[cfg(test)]
mod tests;
