//! Anthropic's Messages over chat completions, which is what jobs are: the request one way ([`chat`]), the answer the other
//! ([`message`]). Pure: values in, values out.
//!
//! Source: the Messages API (<https://docs.anthropic.com/en/api/messages>). What a chat completion cannot express is refused
//! by name. Deliberately absent: events of streams (the front door's) and lines of batches (`bulk`).

mod request;
pub mod response;

pub use request::{Chat, Inexpressible, chat};
pub use response::message;
