//! The coverage-guided form of `checks/structs.rs`.
#![no_main]

#[path = "../checks/structs.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
