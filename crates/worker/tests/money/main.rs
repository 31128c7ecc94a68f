//! Budgets over real servers: who may spend, who waits, who gets the cheaper model.

mod crashes;
mod downgrades;
mod policies;
mod reports;
mod scopes;
mod sharing;
mod world;
