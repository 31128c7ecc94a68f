//! Money that is held for one run.

use std::sync::Arc;

use tollgate_policy::account::Pot;
use tollgate_types::{NanoUsd, event};

use super::{Ledger, NoMoney, Part};

/// Money that is held for one run. Dropped, it is free again, unless it was said to be in a record.
pub(crate) struct Money {
    ledger: Arc<Ledger>,
    lease: String,
    parts: Vec<Part>,
    amount: NanoUsd,
    /// Whether a record that names it may be in the log: then it is the settler's to take it off the block.
    recorded: bool,
}

impl Money {
    pub(super) fn new(ledger: Arc<Ledger>, lease: String, parts: Vec<Part>, amount: NanoUsd) -> Money {
        Money { ledger, lease, parts, amount, recorded: false }
    }

    /// Raises what is held to `amount`: before another call, when the last one cost something.
    ///
    /// # Errors
    /// What is held stays as it was, and why.
    pub(crate) async fn raise_to(&mut self, amount: NanoUsd) -> Result<(), NoMoney> {
        let more = amount - self.amount;
        if more <= NanoUsd::ZERO || self.parts.is_empty() {
            return Ok(());
        }
        let mut added = self.ledger.hold(self.parts.clone(), more).await?;
        if added.lease != self.lease {
            // What was held before is gone with its lease, and a record names one lease: all of it is held anew.
            drop(added);
            let anew = self.ledger.hold(self.parts.clone(), amount).await?;
            *self = anew;
            return Ok(());
        }
        self.amount += added.amount;
        // Ours from now on.
        added.amount = NanoUsd::ZERO;
        Ok(())
    }

    /// What the record of the run says of it; `None` where no budget held for the job.
    pub(crate) fn record(&self) -> Option<event::Hold> {
        if self.parts.is_empty() {
            return None;
        }
        let of = |pot| self.parts.iter().filter(|part| part.pot == pot).map(|part| part.scope.account()).collect();
        Some(event::Hold {
            lease: self.lease.clone(),
            nanousd: self.amount,
            accounts: of(Pot::Main),
            downgraded: of(Pot::Downgraded),
        })
    }

    /// Says that a record which names this money is about to be published: from now on it does not come back here.
    pub(crate) fn goes_into_a_record(&mut self) {
        self.recorded = true;
    }

    /// Takes that back: the record was not published after all.
    pub(crate) fn is_in_no_record(&mut self) {
        self.recorded = false;
    }
}

impl Drop for Money {
    fn drop(&mut self) {
        if self.recorded {
            self.ledger.settled(&self.lease, &self.parts, self.amount);
        } else {
            self.ledger.release(&self.lease, &self.parts, self.amount);
        }
    }
}
