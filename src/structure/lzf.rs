//! LZF, the compression of Redis' snapshots and of `DUMP`: quick, and about as good as a look back of 8 KiB can be.
//!
//! Not here: which strings are worth it (`rdb`).
//!
//! # Format
//!
//! ```text
//! 000lllll  bytes…                         l + 1 bytes as they are (1 to 32)
//! lllooooo  oooooooo                       l + 2 bytes (3 to 8) that stood o + 1 bytes before (1 to 8192)
//! 111ooooo  llllllll  oooooooo             l + 9 bytes (9 to 264) likewise; the high bits of o come first
//! ```
//!
//! A copy may run into what it writes: a byte repeated 264 times is a literal and one copy. So three bytes become up to
//! 264, and nothing becomes more: what [`expand`] allocates is what it has counted before, at most 88 times the input.
#![deny(unsafe_code)]

/// The longest run of bytes as they are.
const LITERAL_MAX: usize = 32;
/// The shortest and the longest copy.
const COPY_MIN: usize = 3;
const COPY_MAX: usize = 264;
/// How far back a copy may reach.
const OFFSET_MAX: usize = 8192;
/// Places that are remembered while compressing, as a power of two, at least and at most.
const TABLE_BITS_MIN: u32 = 8;
const TABLE_BITS_MAX: u32 = 14;

/// Compresses, if that makes it shorter by more than `gain_min` bytes.
pub fn compress(input: &[u8], gain_min: usize) -> Option<Vec<u8>> {
    let room = input.len().checked_sub(gain_min)?;
    let bits = input.len().checked_ilog2()?.clamp(TABLE_BITS_MIN, TABLE_BITS_MAX);
    // Where three bytes of a hash were seen last, plus one; 0: nowhere.
    let mut seen = vec![0u32; 1 << bits];
    let mut out = Vec::with_capacity(room.min(input.len() / 2 + 16));
    let (mut at, mut literal) = (0, 0);
    while at + COPY_MIN <= input.len() {
        let next: u32 = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let slot = (next.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize;
        let before = (seen[slot] as usize).checked_sub(1);
        seen[slot] = u32::try_from(at + 1).ok()?;
        let Some(from) = before.filter(|from| at - from <= OFFSET_MAX && input[*from..][..3] == input[at..][..3])
        else {
            at += 1;
            // Text that does not compress is given up on early rather than copied to its end.
            if room < out.len() + (at - literal) {
                return None;
            }
            continue;
        };
        let longest = COPY_MAX.min(input.len() - at);
        let same = input[at + COPY_MIN..at + longest].iter().zip(&input[from + COPY_MIN..]);
        let len = COPY_MIN + same.take_while(|(new, old)| new == old).count();
        write_literals(&mut out, &input[literal..at]);
        let offset = at - from - 1;
        if len < 9 {
            out.push(((len - 2) << 5 | offset >> 8) as u8);
        } else {
            out.extend_from_slice(&[(7 << 5 | offset >> 8) as u8, (len - 9) as u8]);
        }
        out.push(offset as u8);
        at += len;
        literal = at;
    }
    write_literals(&mut out, &input[literal..]);
    (out.len() < room).then_some(out)
}

fn write_literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERAL_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

/// One piece of compressed bytes.
enum Piece<'a> {
    Literal(&'a [u8]),
    Copy { offset: usize, len: usize },
}

/// The first piece, and what remains. `None`: it is not whole.
fn split_piece(input: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (&control, rest) = input.split_first()?;
    let (len, high) = (usize::from(control >> 5), usize::from(control & 0x1f));
    if len == 0 {
        let (literal, rest) = rest.split_at_checked(high + 1)?;
        return Some((Piece::Literal(literal), rest));
    }
    let (more, rest) = if len == 7 { rest.split_first()? } else { (&0, rest) };
    let (&low, rest) = rest.split_first()?;
    let len = len + usize::from(*more) + 2;
    Some((Piece::Copy { offset: (high << 8 | usize::from(low)) + 1, len }, rest))
}

/// The bytes that were compressed, which must be `len`. `None` if they are not, or if the input is none that a
/// compressor makes; then nothing was allocated.
pub fn expand(input: &[u8], len: usize) -> Option<Vec<u8>> {
    let (mut rest, mut counted) = (input, 0usize);
    while !rest.is_empty() {
        let (piece, behind) = split_piece(rest)?;
        counted += match piece {
            Piece::Literal(bytes) => bytes.len(),
            Piece::Copy { offset, .. } if counted < offset => return None,
            Piece::Copy { len, .. } => len,
        };
        rest = behind;
    }
    if counted != len || len == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((piece, behind)) = split_piece(rest) {
        match piece {
            Piece::Literal(bytes) => out.extend_from_slice(bytes),
            Piece::Copy { offset, len } => {
                // A copy of what it writes itself doubles with every turn.
                let from = out.len() - offset;
                let end = out.len() + len;
                while out.len() < end {
                    let step = (out.len() - from).min(end - out.len());
                    out.extend_from_within(from..from + step);
                }
            }
        }
        rest = behind;
    }
    assert!(out.len() == len);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(input: &[u8]) -> Option<usize> {
        let packed = compress(input, 4)?;
        assert!(packed.len() + 4 < input.len());
        assert_eq!(expand(&packed, input.len()).as_deref(), Some(input));
        Some(packed.len())
    }

    #[test]
    fn what_repeats_becomes_short() {
        assert_eq!(there_and_back(b""), None);
        assert_eq!(there_and_back(b"abcdefghijklmnopqrstuvwxyz"), None);
        assert!(there_and_back(&[b'a'; 22]).is_some_and(|len| len < 8));
        assert!(there_and_back(&vec![b'a'; 100_000]).is_some_and(|len| len < 1200));
        let text: Vec<u8> = (0..20_000).flat_map(|number| format!("user:{number} ").into_bytes()).collect();
        assert!(there_and_back(&text).is_some_and(|len| len < text.len() * 2 / 3));
        // Beyond the look back nothing is found.
        let mut random = fastrand::Rng::with_seed(1);
        let block: Vec<u8> = (0..OFFSET_MAX + 1).map(|_| random.u8(..)).collect();
        assert_eq!(there_and_back(&[block.clone(), block].concat()), None);
    }

    #[test]
    fn claims_are_checked_before_anything_is_allocated() {
        assert_eq!(expand(&[0, b'a'], usize::MAX), None);
        assert_eq!(expand(&[0, b'a'], 2), None);
        assert_eq!(expand(&[0, b'a'], 1), Some(b"a".to_vec()));
        assert_eq!(expand(&[], 0), None);
        assert_eq!(expand(&[1, b'a'], 2), None, "a literal that is cut off");
        assert_eq!(expand(&[0x20, 0], 3), None, "a copy of what stands before the beginning");
        assert_eq!(expand(&[0, b'a', 0x20, 1], 4), None, "likewise");
        assert_eq!(expand(&[0, b'a', 0x20, 0], 4), Some(b"aaaa".to_vec()));
        assert_eq!(expand(&[0, b'a', 0xe0, 255, 0], 265), Some(vec![b'a'; 265]));
        assert_eq!(expand(&[0, b'a', 0xe0, 255], 265), None, "a copy that is cut off");
    }

    proptest! {
        #[test]
        fn everything_comes_back(input in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..2000)) {
            there_and_back(&input);
        }

        #[test]
        fn bytes_from_outside_are_expanded_or_refused(
            input in proptest::collection::vec(any::<u8>(), 0..60),
            len in 0usize..400,
        ) {
            if let Some(out) = expand(&input, len) {
                prop_assert_eq!(out.len(), len);
                prop_assert!(len <= 88 * input.len());
            }
        }
    }
}
