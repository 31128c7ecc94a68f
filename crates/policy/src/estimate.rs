//! How long an answer is expected to be, learned per team and model.
