//! The coverage-guided form of `checks/resp_reply.rs`.
#![no_main]

#[path = "../checks/resp_reply.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));
