//! `struct` within scripts: a format, a zero, and bytes; values or an error. What was unpacked packs to bytes from
//! which the same number of values comes.

#[path = "round_trip.rs"]
mod round_trip;

const TEXT: &[u8] = b"
    local values = {pcall(struct.unpack, KEYS[1], ARGV[1])}
    if not values[1] then pcall(struct.size, KEYS[1]) return 'refused' end
    local count = #values
    if count < 2 then return 'same' end
    local is_packed, packed = pcall(struct.pack, KEYS[1], unpack(values, 2, count - 1))
    if not is_packed then return 'refused' end
    local again = {struct.unpack(KEYS[1], packed)}
    if #again ~= count - 1 then return {count, #again} end
    return 'same'";

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let (format, bytes) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    round_trip::run(TEXT, &[format], &[bytes]);
}
