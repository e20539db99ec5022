//! The coverage-guided form of `checks/snapshot.rs`.
#![no_main]

#[path = "../checks/snapshot.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
