//! Named crash points: places where a test can make the process die as by `kill -9`, to see what it leaves behind.
//!
//! A release build has none. The names are those of the steps between which they stand, of a job's life (C), of a
//! worker's swaps of accounts (L), of the settler's (S), of forgetting (F), of counting batches (B) and of orders (O):
//!
//! | point | where |
//! | --- | --- |
//! | C1 | delivered, nothing known yet |
//! | C2 | looked up, no result found |
//! | C3 | about to say that a redelivered run may pay |
//! | C4 | about to call the provider |
//! | C5 | the provider answered, nothing committed |
//! | C6 | committed, nothing replied |
//! | C7 | about to park |
//! | C8 | parked, not acked |
//! | C9 | replied, not acked |
//! | C10 | acked |
//! | F1 | about to claim an answer that others may wait for |
//! | F2 | claimed, or another job has it |
//! | K1 | replied, about to keep the answer for others |
//! | K2 | kept it, the claim is not given up |
//! | L1 | about to swap an account's record |
//! | L2 | swapped it |
//! | S0 | a batch of results was read, no account is swapped |
//! | S1 | every account is swapped, how far that was is not noted |
//! | F0 | about to put a tombstone in the place of a result |
//! | F1 | the tombstone is stored, the result is still there |
//! | F2 | the result is removed, nothing else of the job is |
//! | B0 | a stretch of results is counted in one part of a batch, others follow |
//! | B1 | it is counted in every batch, how far that was is not noted |
//! | O0 | the file of an order is right, its batch is not made |
//! | O1 | the batch is made, nothing of it is submitted |
//! | O2 | some of it is submitted |
//! | O3 | the file went meanwhile, the batch is not stopped yet |

use std::str::FromStr;

/// Which crash points are armed, each with its probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrashPlan(Vec<(String, f64)>);

impl FromStr for CrashPlan {
    type Err = String;

    /// Reads `C1:0.01,C5:0.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        let point = |part: &str| {
            let (name, chance) =
                part.trim().split_once(':').ok_or_else(|| format!("'{part}' is not NAME:PROBABILITY"))?;
            let chance: f64 = chance.parse().map_err(|_| format!("'{chance}' is not a probability"))?;
            Ok((name.to_owned(), chance))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(point).collect::<Result<_, _>>().map(CrashPlan)
    }
}

impl CrashPlan {
    /// Dies here, if the plan says so and this is no release build.
    pub fn point(&self, name: &'static str) {
        if !cfg!(debug_assertions) {
            return;
        }
        let chance = self.0.iter().find(|(point, _)| point == name).map_or(0.0, |(_, chance)| *chance);
        if chance > 0.0 && rand::random_bool(chance.min(1.0)) {
            tracing::error!(point = name, "crash point");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_and_nonsense_is_refused() {
        assert_eq!("C1:0.5, C10:1".parse(), Ok(CrashPlan(vec![("C1".into(), 0.5), ("C10".into(), 1.0)])));
        assert_eq!("".parse(), Ok(CrashPlan::default()));
        assert!("C1".parse::<CrashPlan>().is_err());
        assert!("C1:often".parse::<CrashPlan>().is_err());
    }
}
