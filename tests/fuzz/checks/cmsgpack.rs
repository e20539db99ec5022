//! MessagePack within scripts: values or an error. What is packed of them is unpacked and packed to as many bytes.

#[path = "engine.rs"]
mod engine;

const TEXT: &[u8] = b"
    local values = {pcall(cmsgpack.unpack, ARGV[1])}
    if not values[1] then return 'refused' end
    local count = 0
    for at in pairs(values) do if count < at then count = at end end
    if count < 2 then return 'same' end
    local packed = cmsgpack.pack(unpack(values, 2, count))
    local again = cmsgpack.pack(cmsgpack.unpack(packed))
    if #packed ~= #again then return {packed, again} end
    return 'same'";

/// Panics when the input shows a mistake.
pub fn check(bytes: &[u8]) {
    let reply = engine::run(TEXT, &[], &[bytes]);
    let is_known = reply == b"$7\r\nrefused\r\n" || reply == b"$4\r\nsame\r\n" || reply.starts_with(b"-ERR ");
    assert!(is_known, "{}", reply.escape_ascii());
}
