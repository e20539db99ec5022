//! The coverage-guided form of `checks/script.rs`.
#![no_main]

#[path = "../checks/script.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
