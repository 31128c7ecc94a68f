//! When a budget's window begins and ends.
