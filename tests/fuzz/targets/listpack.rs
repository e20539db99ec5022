//! The coverage-guided form of `checks/listpack.rs`.
#![no_main]

#[path = "../checks/listpack.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
