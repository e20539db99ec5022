//! The coverage-guided form of `checks/hyperloglog.rs`.
#![no_main]

#[path = "../checks/hyperloglog.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
