//! (follows)
pub mod number;
