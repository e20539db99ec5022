//! The coverage-guided form of `checks/intset.rs`.
#![no_main]

#[path = "../checks/intset.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
