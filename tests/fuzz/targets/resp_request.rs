//! The coverage-guided form of `checks/resp_request.rs`.
#![no_main]

#[path = "../checks/resp_request.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
