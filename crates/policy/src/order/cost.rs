//! What a job counts in the order.

use std::time::Duration;

use tollgate_types::Tokens;

/// Cost in tenths of a fresh prompt token.
///
/// One measure for all models, so that a team's share does not hang on which it uses; money is capped by budgets, not
/// here. Tenths, so that a token from the cache is an integer too.
pub type Cost = u64;

/// A fresh prompt token; one written to the cache is computed like it.
const FRESH: Cost = 10;
/// A prompt token from the cache: vendors ask a tenth of a fresh one or a little more, because it is not computed.
const CACHED: Cost = 1;
/// An answer token, reasoning included: computed one by one where the prompt is computed at once. Vendors ask four to
/// five times as much for it as for a prompt token.
const ANSWER: Cost = 40;
/// A second of a slot, as ten answer tokens: well below what any usual model writes in it, so that only calls that
/// hold a slot for nothing are counted by time.
const SECOND: u128 = 10 * ANSWER as u128;

/// What used tokens cost.
pub fn cost(tokens: &Tokens) -> Cost {
    let fresh = tokens.input.saturating_add(tokens.cache_write).saturating_mul(FRESH);
    let cached = tokens.cache_read.saturating_mul(CACHED);
    fresh.saturating_add(cached).saturating_add(tokens.completion().saturating_mul(ANSWER))
}

/// What a call is expected to cost whose prompt is all fresh.
pub fn expected_cost(prompt_tokens: u64, output_tokens: u64) -> Cost {
    prompt_tokens.saturating_mul(FRESH).saturating_add(output_tokens.saturating_mul(ANSWER))
}

/// The least that a job costs which held a slot for so long: a call that times out is billed no tokens, but others
/// waited for its slot.
pub fn cost_of_time(held: Duration) -> Cost {
    Cost::try_from(held.as_millis().saturating_mul(SECOND) / 1000).unwrap_or(Cost::MAX)
}
