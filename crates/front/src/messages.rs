//! Anthropic's Messages over jobs, which are chat completions: the request one way, the answer the other, whole or in
//! events. What a chat completion cannot express is refused by name.

mod events;
mod request;
mod response;

pub(crate) use events::Events;
pub(crate) use request::job_body;
pub(crate) use response::message;
