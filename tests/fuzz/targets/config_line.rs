//! The coverage-guided form of `checks/config_line.rs`.
#![no_main]

#[path = "../checks/config_line.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
