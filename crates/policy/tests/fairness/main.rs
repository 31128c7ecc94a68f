//! The fair order keeps what its documentation promises: by properties, and by simulation over thousands of seeds.

mod bounds;
mod lag;
mod scenarios;
mod sim;
