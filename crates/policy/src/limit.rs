//! Requests, tokens and concurrency over all workers, by leased blocks.
