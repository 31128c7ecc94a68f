//! One scope's money: what is settled, what is held, and the only changes that keep it under its caps.
