//! The coverage-guided form of `checks/payload.rs`.
#![no_main]

#[path = "../checks/payload.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
