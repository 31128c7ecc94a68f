//! The corpus of what jobs ask for and providers do wrong, against a real NATS server, the real worker and real HTTP:
//! every entry gets the typed end that it names, is called and booked as it must be, and harms no other job.
//!
//! [`requests`] is the table of jobs that no provider should see, or see so; [`answers`] of answers that are none;
//! [`refusals`] of refusals; [`network`] of connections that fail; [`tls`] those that fail before a word of HTTP. The
//! numbers are those of the corpus. What is wrong with a job's envelope is in `bad_input`; what is wrong with streams is
//! tested where they are read, in the providers' own tests.

mod answers;
mod bench;
mod logs;
mod network;
mod refusals;
mod requests;
mod row;
mod server;
mod tls;
