//! JSON within scripts: a value or an error. What is written of a value, read and written again, is as long and has
//! the same characters: only the order of an object's fields is Lua's.

#[path = "round_trip.rs"]
mod round_trip;

const TEXT: &[u8] = b"
    cjson.encode_sparse_array(true)
    local is_read, value = pcall(cjson.decode, ARGV[1])
    if not is_read then return 'refused' end
    -- Numbers without a value in JSON are read and not written; [NaN] is one.
    local is_written, text = pcall(cjson.encode, value)
    if not is_written then return 'refused' end
    local again = cjson.encode(cjson.decode(text))
    local sorted = function(text)
        local counts = {}
        for i = 1, #text do local byte = text:byte(i) counts[byte] = (counts[byte] or 0) + 1 end
        return counts
    end
    local ours, theirs = sorted(text), sorted(again)
    for byte = 0, 255 do if ours[byte] ~= theirs[byte] then return {text, again} end end
    return 'same'";

/// Panics when the input shows a mistake.
pub fn check(json: &[u8]) {
    round_trip::run(TEXT, &[], &[json]);
}
