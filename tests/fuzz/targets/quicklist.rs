//! The coverage-guided form of `checks/quicklist.rs`.
#![no_main]

#[path = "../checks/quicklist.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
