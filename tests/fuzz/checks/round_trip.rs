//! Scripts that read their input, write what they read, and read that again.

#[path = "engine.rs"]
mod engine;

/// Runs one, which says `refused` or `same`, unless it took too long or too much memory.
pub fn run(text: &[u8], keys: &[&[u8]], args: &[&[u8]]) {
    let reply = engine::run(text, keys, args);
    let is_ended = reply.starts_with(b"-ERR ")
        && [&b"killed by user"[..], b"not enough memory"]
            .iter()
            .any(|why| reply.windows(why.len()).any(|at| at == *why));
    let is_known = reply == b"$7\r\nrefused\r\n" || reply == b"$4\r\nsame\r\n" || is_ended;
    assert!(is_known, "{}", reply.escape_ascii());
}
