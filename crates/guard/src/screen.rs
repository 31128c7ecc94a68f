//! Bodies, screened: every text of theirs is looked at where it stands.

mod media;
mod parts;
mod replace;
mod shape;

use crate::body::edit::{Edit, edited};
use crate::body::escape::{Places, unescaped};
use crate::body::lexer::{Kind, Token, is_json};
use crate::body::place::{Place, Standing, Treat, Walk, is_known};
use crate::clauses::{LANGUAGE, SIZE};
use crate::look::{Looker, Shape, Spot, hit};
use crate::policy::{Hit, Side};
use crate::vault::{Full, Origin, Vault};
use shape::Measure;

pub(crate) use replace::replacements;

/// The longest name that a machine gave; longer ones are looked at as texts.
const NAME_BYTES_MAX: usize = 256;

/// Looks at one body.
pub(crate) struct Screen<'a> {
    body: &'a str,
    pub(crate) looker: Looker<'a>,
    /// What is to be replaced, by the body's bytes.
    spots: Vec<Spot>,
    /// Texts in base64 with what is to be replaced in them.
    encoded: Vec<media::Encoded>,
    /// The parts of the message that is being read.
    parts: Vec<Token>,
    /// Lists of tokens, which would tell what is redacted in the text that they make up.
    logprobs: Vec<Logprobs>,
    pub(crate) measure: Measure,
    /// Whether something cannot be looked at.
    pub(crate) unreadable: bool,
}

struct Logprobs {
    start: usize,
    depth: usize,
    end: Option<usize>,
}

impl<'a> Screen<'a> {
    /// Reads the whole body.
    pub(crate) fn of(body: &'a str, looker: Looker<'a>) -> Screen<'a> {
        let clauses = looker.clauses;
        let mut screen = Screen {
            body,
            looker,
            spots: Vec::new(),
            encoded: Vec::new(),
            parts: Vec::new(),
            logprobs: Vec::new(),
            measure: Measure::default(),
            unreadable: false,
        };
        for standing in Walk::new(body, clauses.side) {
            screen.step(&standing);
        }
        screen.end_parts();
        screen.measure.item_ends(clauses);
        screen
    }

    fn step(&mut self, standing: &Standing<'_>) {
        let token = &standing.token;
        match token.kind {
            Kind::Key => {
                if standing.place != Place::Echo && !is_known(&self.body[token.range.clone()]) {
                    self.looker.string(self.body, token, false, &mut self.spots);
                }
            }
            Kind::String => self.string(standing),
            Kind::Number => match standing.treat() {
                Treat::TokenId => self.unreadable |= self.looker.clauses.side == Side::Request,
                Treat::Fact => {}
                _ => self.looker.number(self.body, token, &mut self.spots),
            },
            Kind::Open { .. } => self.open(standing),
            Kind::Close => self.close(standing),
            Kind::Word => {}
        }
    }

    fn open(&mut self, standing: &Standing<'_>) {
        match standing.place {
            Place::Items => self.measure.item_ends(self.looker.clauses),
            Place::Choice | Place::Part if self.answers() && standing.key == Some("logprobs") => {
                self.logprobs.push(Logprobs { start: standing.token.range.start, depth: standing.depth, end: None });
            }
            _ => {}
        }
    }

    fn answers(&self) -> bool {
        self.looker.clauses.side == Side::Answer
    }

    fn close(&mut self, standing: &Standing<'_>) {
        match standing.place {
            Place::Items => self.measure.item_ends(self.looker.clauses),
            Place::Item => self.end_parts(),
            _ => {}
        }
        let open = self.logprobs.last_mut().filter(|list| list.end.is_none() && list.depth == standing.depth);
        if let Some(list) = open {
            list.end = Some(standing.token.range.end);
        }
    }

    fn string(&mut self, standing: &Standing<'_>) {
        let token = &standing.token;
        let raw = &self.body[token.range.clone()];
        let treat = match standing.treat() {
            Treat::Name if is_name(raw) => return self.measure.name(standing, raw),
            Treat::Opaque if is_base64(raw) => return,
            Treat::Media => return self.media(token),
            Treat::Name | Treat::Opaque => Treat::Text,
            treat => treat,
        };
        match treat {
            Treat::Fact | Treat::Echo => {}
            Treat::PartText => {
                self.measure(standing, token);
                self.parts.push(token.clone());
            }
            Treat::Field => {
                self.measure(standing, token);
                self.text(token, true);
            }
            _ => {
                self.measure(standing, token);
                self.text(token, false);
            }
        }
    }

    fn measure(&mut self, standing: &Standing<'_>, token: &Token) {
        let clauses = self.looker.clauses;
        if clauses.size.is_some() || clauses.language.is_some() {
            self.measure.text(standing, &self.body[token.range.clone()]);
        }
    }

    /// Looks at one string, which may hold JSON.
    fn text(&mut self, token: &Token, with_lead: bool) {
        let raw = &self.body[token.range.clone()];
        let text = unescaped(raw);
        let mut within = Vec::new();
        if is_json(&text) {
            self.looker.json(&text, &mut within);
        } else {
            self.looker.string(self.body, token, with_lead, &mut self.spots);
            self.looker.hidden(&text, &mut within);
        }
        self.keep_within(token, within);
    }

    /// Keeps places of the text that a string stands for, as places of the body.
    fn keep_within(&mut self, token: &Token, spots: Vec<Spot>) {
        let mut places = Places::new(&self.body[token.range.clone()]);
        let start = token.range.start;
        self.spots.extend(spots.into_iter().map(|spot| {
            let range = places.range(&spot.range);
            let shape = if spot.shape == Shape::Number { Shape::NestedNumber } else { spot.shape };
            Spot { range: start + range.start..start + range.end, shape, ..spot }
        }));
    }

    /// What fired.
    pub(crate) fn fired(&self) -> Vec<Hit> {
        let clauses = self.looker.clauses;
        let mut fired = self.looker.tally.fired(clauses);
        let large = clauses.size.filter(|(most, _)| self.measure.characters > *most);
        fired.extend(large.map(|(_, action)| hit(SIZE, clauses.side, action, 1)));
        let foreign = clauses.language.as_ref().filter(|_| self.measure.foreign > 0);
        fired.extend(foreign.map(|(_, action)| hit(LANGUAGE, clauses.side, *action, self.measure.foreign)));
        fired
    }

    /// The body with placeholders for what is to be replaced; `None` if nothing is.
    pub(crate) fn redacted(mut self, vault: &mut Vault) -> Result<Option<String>, Full> {
        let origin = match self.looker.clauses.side {
            Side::Request => Origin::Request,
            Side::Answer => Origin::Answer,
        };
        if origin == Origin::Request && !(self.spots.is_empty() && self.encoded.is_empty()) {
            vault.avoid(self.body);
        }
        let mut edits = replacements(&self.looker, std::mem::take(&mut self.spots), origin, vault)?;
        for encoded in std::mem::take(&mut self.encoded) {
            edits.extend(encoded.edit(&self.looker, origin, vault)?);
        }
        if edits.is_empty() {
            return Ok(None);
        }
        edits.extend(self.logprobs.iter().filter_map(Logprobs::edit));
        // What goes as a whole takes along what was found in it.
        edits.sort_by_key(|edit| edit.range.start);
        Ok(Some(edited(self.body, &edits)))
    }
}

impl Logprobs {
    fn edit(&self) -> Option<Edit> {
        Some(Edit { range: self.start..self.end?, text: "null".to_owned() })
    }
}

/// Whether a string looks like a name that a machine gave.
pub(crate) fn is_name(raw: &str) -> bool {
    raw.len() <= NAME_BYTES_MAX
        && raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/'))
}

pub(crate) fn is_base64(raw: &str) -> bool {
    raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'))
}
