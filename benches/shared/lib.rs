//! What the benchmarks share: parts in processes of their own, requests as a mock provider reads them, records of usage,
//! what the kernel says a process used, and tables.

pub mod child;
pub mod procfs;
pub mod record;
pub mod report;
pub mod request;
