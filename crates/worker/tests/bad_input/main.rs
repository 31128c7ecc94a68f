//! The corpus of bad input and of faults around the worker, against real servers: every entry gets the typed end that
//! it names, spends nothing that it should not, and harms no other job.
//!
//! [`envelope`] is the table of messages; [`undeliverable`] those that our own NATS client cannot read;
//! [`storage`] and [`network`] the faults of the servers; [`stopping`] the ends of the worker itself. The numbers in
//! names and tables are those of the corpus. What a provider does wrong is tested where providers are called.

mod bench;
mod envelope;
mod network;
mod stopping;
mod storage;
mod undeliverable;
