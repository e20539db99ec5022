//! The hash slot of a key: CRC16 (XMODEM: polynomial 0x1021, nothing preset, nothing inverted) of the key, or of its
//! hash tag, modulo 16384. The same in every Redis Cluster, so clients compute it too.
//!
//! ```text
//! user:1000              the whole key                foo{}{bar}       an empty tag is none: the whole key
//! {user1000}.following   user1000                     foo{{bar}}zap    {bar
//! ```
//!
//! Runs for each key as soon as there are several shards, so it takes eight bytes a step: by linearity the checksum of
//! eight bytes is the sum of eight table entries, one for each byte and the number of bytes behind it. A key's odd
//! bytes come first, as if the key began with zeros, which leave a checksum of zero unchanged: no loop over single
//! bytes is needed.

/// Number of hash slots, the unit in which keys are placed.
pub const SLOTS: usize = 16_384;

/// `TABLES[n][byte]`: checksum of `byte` with `n` zero bytes behind it. 4 KiB: an eighth of a usual level-1 cache.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut n = 0;
        while n < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
                bit += 1;
            }
            tables[n][byte] = crc;
            n += 1;
        }
        byte += 1;
    }
    tables
}

/// The slot of `key`, below [`SLOTS`].
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    let (crc, has_brace) = checksum(key);
    let crc = if has_brace { checksum(hashed_part(key)).0 } else { crc };
    crc & (SLOTS - 1) as u16
}

/// CRC16 (XMODEM) of `bytes`.
pub fn crc16(bytes: &[u8]) -> u16 {
    checksum(bytes).0
}

/// What of `key` is hashed: what is between its first `{` and the first `}` behind that, if anything is; else all.
#[cold]
fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        Some(close) if 0 < close => &behind[..close],
        _ => key,
    }
}

/// The checksum, and whether there is a `{`: seen in passing, so that the usual key is read once.
#[inline]
fn checksum(bytes: &[u8]) -> (u16, bool) {
    let (odd, words) = bytes.split_at(bytes.len() % 8);
    let first = match *bytes {
        [a, b, c, d, e, f, g, h, ..] => {
            // As many of the first eight as are odd; for none, a shift by 64 in two steps.
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> (8 * (7 - odd.len())) >> 8
        }
        _ => odd.iter().fold(0, |word, byte| word << 8 | *byte as u64),
    };
    let mut crc = step(0, first);
    let mut braces = brace_in(first);
    for word in words.chunks_exact(8) {
        let word = u64::from_be_bytes(word.try_into().expect("chunks of eight"));
        crc = step(crc, word);
        braces |= brace_in(word);
    }
    (crc, braces != 0)
}

/// Eight bytes on.
#[inline(always)]
fn step(crc: u16, word: u64) -> u16 {
    let bytes = (word ^ (crc as u64) << 48).to_be_bytes();
    let mut next = 0;
    for (position, byte) in bytes.into_iter().enumerate() {
        next ^= TABLES[7 - position][byte as usize];
    }
    next
}

/// Not zero if a byte of `word` is `{` (the test for a zero byte, after Mycroft).
#[inline(always)]
fn brace_in(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zero_at_brace = word ^ (ONES * b'{' as u64);
    zero_at_brace.wrapping_sub(ONES) & !zero_at_brace & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: a bit at a time.
    fn bitwise(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8)
                .fold(crc ^ (*byte as u16) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
        })
    }

    /// The rule in the words of the Cluster specification.
    fn specified_slot(key: &[u8]) -> u16 {
        if let Some(open) = key.iter().position(|byte| *byte == b'{')
            && let Some(close) = key[open + 1..].iter().position(|byte| *byte == b'}')
            && close != 0
        {
            return bitwise(&key[open + 1..open + 1 + close]) % 16384;
        }
        bitwise(key) % 16384
    }

    #[test]
    fn known_checksums_and_slots() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
        // From CLUSTER KEYSLOT of a Redis 7.0.15.
        let known: &[(&str, u16)] = &[
            ("", 0),
            ("a", 15495),
            ("foo", 12182),
            ("user:1000", 1649),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("foo{bar", 15278),
            ("foo}bar{", 11073),
            ("key:000000000012", 8590),
            ("key:__rand_int__", 13782),
            ("0123456789abcdef0123456789abcdef", 1829),
            ("{}", 15257),
            ("}{a}", 15495),
        ];
        for (key, slot) in known {
            assert_eq!(slot_of(key.as_bytes()), *slot, "{key}");
        }
    }

    proptest! {
        #[test]
        fn checksums_are_those_of_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(crc16(&bytes), bitwise(&bytes));
        }

        #[test]
        fn slots_follow_the_rule(
            key in prop::collection::vec(prop::sample::select(b"{}ab\0\x7a\x7c\xfb\xff".to_vec()), 0..40),
        ) {
            prop_assert_eq!(slot_of(&key), specified_slot(&key));
        }
    }
}
