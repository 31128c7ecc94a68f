//! Budgets over real servers: who may spend, who waits, who gets the cheaper model.

mod policies;
mod world;
