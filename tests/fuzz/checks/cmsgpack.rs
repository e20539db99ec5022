//! MessagePack within scripts: values or an error. What is packed of them is unpacked and packed to as many bytes.

#[path = "round_trip.rs"]
mod round_trip;

const TEXT: &[u8] = b"
    local values = {pcall(cmsgpack.unpack, ARGV[1])}
    if not values[1] then return 'refused' end
    local count = 0
    for at in pairs(values) do if count < at then count = at end end
    if count < 2 then return 'same' end
    local is_packed, packed = pcall(function() return cmsgpack.pack(unpack(values, 2, count)) end)
    if not is_packed then return 'refused' end
    local again = cmsgpack.pack(cmsgpack.unpack(packed))
    if #packed ~= #again then return {packed, again} end
    return 'same'";

/// Panics when the input shows a mistake.
pub fn check(bytes: &[u8]) {
    round_trip::run(TEXT, &[], &[bytes]);
}
