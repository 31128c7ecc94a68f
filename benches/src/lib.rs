//! Whole-job benchmarks.
