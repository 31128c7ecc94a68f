//! Bodies as JSON text: what stands where in them, found without taking them apart.

pub(crate) mod edit;
pub(crate) mod escape;
pub(crate) mod lexer;
pub(crate) mod place;
