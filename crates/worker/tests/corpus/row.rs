//! One row of a table: what a job asks for, what the provider does, and what must come of it.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_providers::{Timeouts, Vendor};
use tollgate_types::{ErrorCode, Status};

use crate::server::Reply;

/// What stands at the address of the row's own provider.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// The simulated provider, with a directive.
    Sim(String),
    /// A server that writes these replies, one for each request; the last is for all that follow.
    Raw(Vec<Reply>),
    /// A server that takes connections and says nothing, under an `https` address.
    Mute,
    /// Nothing that we know of.
    Address(String),
}

/// What an attempt is booked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paid {
    /// Nothing, at no cost.
    Nothing,
    /// What we count, at its price.
    Estimated,
    /// What the provider says, at its price.
    Told,
}

/// One entry of the corpus, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The entry.
    pub(crate) number: u32,
    /// What happens.
    pub(crate) name: &'static str,
    pub(crate) at: At,
    /// Whose wire format is spoken.
    pub(crate) vendor: Vendor,
    /// Who submits the job.
    pub(crate) team: &'static str,
    /// The model that is asked for, if it is not the row's own.
    pub(crate) model: Option<&'static str>,
    /// The content of the user's message beside the prompt, or fields of the body beside the messages.
    pub(crate) content: Option<Value>,
    pub(crate) more: Value,
    /// How long after its submission the job's deadline is.
    pub(crate) deadline_in: Option<Duration>,
    pub(crate) timeouts: Timeouts,
    pub(crate) response_bytes_max: usize,
    /// How many keys the row's own provider has.
    pub(crate) keys: usize,
    /// Whether a second provider, which is well, serves the model too.
    pub(crate) backup: bool,
    /// Whether a larger model stands in for a prompt that is too long.
    pub(crate) larger: bool,
    /// Whether a job went well at the provider just before.
    pub(crate) warm: bool,
    /// The end.
    pub(crate) code: Option<ErrorCode>,
    /// What the error says; of a success, how the answer ended.
    pub(crate) says: &'static str,
    /// The attempts of the run that ended, in order, each of which is in the provider's own log; with a backup that
    /// answered, the last one is its.
    pub(crate) tries: Vec<Paid>,
    /// How many milliseconds lie between the first call and the second.
    pub(crate) apart: Option<Range<u128>>,
}

/// A row for which the job must end well at the first try.
pub(crate) fn row(number: u32, name: &'static str, at: At) -> Row {
    Row {
        number,
        name,
        at,
        vendor: Vendor::OpenAi,
        team: "search",
        model: None,
        content: None,
        more: json!({}),
        deadline_in: None,
        timeouts: Timeouts::default(),
        response_bytes_max: 1 << 20,
        keys: 1,
        backup: false,
        larger: false,
        warm: false,
        code: None,
        says: "stop",
        tries: vec![Paid::Told],
        apart: None,
    }
}

/// The simulated provider, with a directive.
pub(crate) fn sim(directive: impl Into<String>) -> At {
    At::Sim(directive.into())
}

/// A server that gives the same reply to all.
pub(crate) fn always(reply: Reply) -> At {
    At::Raw(vec![reply])
}

impl Row {
    /// The job ends so.
    pub(crate) fn fails(self, code: ErrorCode, says: &'static str) -> Row {
        Row { code: Some(code), says, ..self }
    }

    pub(crate) fn tries<const N: usize>(self, tries: [Paid; N]) -> Row {
        Row { tries: tries.to_vec(), ..self }
    }

    pub(crate) fn finishes(self, says: &'static str) -> Row {
        Row { says, ..self }
    }

    pub(crate) fn backup(self) -> Row {
        Row { backup: true, ..self }
    }

    pub(crate) fn total(self, total: Duration) -> Row {
        Row { timeouts: Timeouts { total, ..self.timeouts }, ..self }
    }

    pub(crate) fn more(self, more: Value) -> Row {
        Row { more, ..self }
    }

    pub(crate) fn apart(self, apart: Range<u128>) -> Row {
        Row { apart: Some(apart), ..self }
    }

    pub(crate) fn status(&self) -> Status {
        self.code.map_or(Status::Succeeded, ErrorCode::status)
    }

    /// How many of the attempts were at the row's own provider.
    pub(crate) fn tries_there(&self) -> usize {
        let elsewhere = (self.backup || self.larger) && self.code.is_none();
        self.tries.len() - usize::from(elsewhere)
    }
}
