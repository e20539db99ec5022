//! The coverage-guided form of `checks/cjson.rs`.
#![no_main]

#[path = "../checks/cjson.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
