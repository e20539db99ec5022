//! The coverage-guided form of `checks/cmsgpack.rs`.
#![no_main]

#[path = "../checks/cmsgpack.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
