//! Bits of byte strings: counting, searching, combining. Bit 0 is the highest bit of the first byte, as Redis counts.
//!
//! Not here: keys, limits of a client's numbers, and integers laid across bytes (`value::bitfield`).
//!
//! Strings of megabytes are common, so the loops go by words of 64 bits. Those that a wider instruction set makes
//! faster are compiled twice, for any processor of the architecture and for one with AVX2 and POPCNT, from the same
//! portable source; which one runs is asked of the processor.
#![allow(unsafe_code)]

/// Defines a function whose body is compiled for wider registers too.
macro_rules! compiled_twice {
    ($(#[$attribute:meta])* fn $name:ident($($parameter:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        fn $name($($parameter: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($parameter: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,popcnt")]
                fn wide($($parameter: $type),*) $(-> $result)? {
                    portable($($parameter),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
                    // SAFETY: the processor has the features, seen above.
                    return unsafe { wide($($parameter),*) };
                }
            }
            portable($($parameter),*)
        }
    };
}

/// A range of bits, `first..=last`, to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitRange {
    /// The first bit.
    pub first: u64,
    /// The last bit, not before the first.
    pub last: u64,
}

/// The bytes that a range touches, and the bits of the first and the last of them that belong to it (both masks are
/// for the same byte if there is only one).
fn parts(bytes: &[u8], range: BitRange) -> (&[u8], u8, u8) {
    assert!(range.first <= range.last && range.last / 8 < bytes.len() as u64);
    let first_mask = 0xff >> (range.first % 8);
    let last_mask = !(0x7f >> (range.last % 8));
    (&bytes[(range.first / 8) as usize..=(range.last / 8) as usize], first_mask, last_mask)
}

/// How many bits are set.
pub fn count(bytes: &[u8]) -> u64 {
    count_words(bytes)
}

/// How many bits of a range are set. The range lies within the bytes.
pub fn count_range(bytes: &[u8], range: BitRange) -> u64 {
    let (bytes, first_mask, last_mask) = parts(bytes, range);
    match bytes {
        [only] => u64::from((only & first_mask & last_mask).count_ones()),
        [first, middle @ .., last] => {
            let ends = (first & first_mask).count_ones() + (last & last_mask).count_ones();
            u64::from(ends) + count(middle)
        }
        [] => unreachable!("a range has a byte"),
    }
}

compiled_twice! {
    fn count_words(bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
        in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
    }
}

/// The first bit of a range that is `bit`, counted from the first bit of the bytes.
pub fn find(bytes: &[u8], range: BitRange, bit: bool) -> Option<u64> {
    let (part, first_mask, last_mask) = parts(bytes, range);
    // A clear bit is searched as a set one among the complements.
    let flip = if bit { 0 } else { 0xff };
    let base = range.first / 8 * 8;
    let in_byte = |index: usize, mask: u8| {
        let found = (part[index] ^ flip) & mask;
        (found != 0).then(|| base + 8 * index as u64 + u64::from(found.leading_zeros()))
    };
    let last = part.len() - 1;
    if last == 0 {
        return in_byte(0, first_mask & last_mask);
    }
    in_byte(0, first_mask)
        .or_else(|| {
            let index = 1 + first_unlike(&part[1..last], flip)?;
            in_byte(index, 0xff)
        })
        .or_else(|| in_byte(last, last_mask))
}

/// The index of the first byte that is not `byte`.
fn first_unlike(bytes: &[u8], byte: u8) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let word = u64::from_ne_bytes([byte; 8]);
    let is_unlike = |block: &[u8; BLOCK_BYTES]| {
        let words = block.as_chunks::<8>().0;
        words.iter().fold(0, |differences, part| differences | (u64::from_ne_bytes(*part) ^ word)) != 0
    };
    let (start, tail) = match blocks.iter().position(is_unlike) {
        Some(block) => (block * BLOCK_BYTES, &blocks[block][..]),
        None => (blocks.len() * BLOCK_BYTES, rest),
    };
    tail.iter().position(|other| *other != byte).map(|index| start + index)
}

/// Bytes that a search looks at together.
const BLOCK_BYTES: usize = 32;

/// How several strings become one (`BITOP`). X is the first of them, Y the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number of them.
    Xor,
    /// Not set in X, which is alone.
    Not,
    /// Set in X and in no Y.
    Diff,
    /// Set in some Y and not in X.
    Diff1,
    /// Set in X and in some Y.
    AndOr,
    /// Set in exactly one.
    One,
}

/// Combines strings of at least one; the result is as long as the longest, shorter ones end in zero bits.
///
/// The strings are taken one after the other, a chunk of [`CHUNK_BYTES`] at a time, so that the result's chunk stays
/// in the nearest cache meanwhile, however many strings there are.
pub fn combine(operation: Operation, strings: &[&[u8]]) -> Vec<u8> {
    let (first, others) = strings.split_first().expect("there is something to combine");
    assert!(operation != Operation::Not || others.is_empty());
    let len = strings.iter().map(|string| string.len()).max().unwrap_or(0);
    let mut result = vec![0; len];
    let mut scratch = [0; CHUNK_BYTES];
    for (index, chunk) in result.chunks_mut(CHUNK_BYTES).enumerate() {
        let start = index * CHUNK_BYTES;
        let end = start + chunk.len();
        let part = |string: &[u8]| start.min(string.len())..end.min(string.len());
        let x = &first[part(first)];
        let parts = others.iter().map(|other| &other[part(other)]);
        match operation {
            Operation::And | Operation::Or | Operation::Xor | Operation::Not => {
                chunk[..x.len()].copy_from_slice(x);
                for y in parts {
                    match operation {
                        Operation::And => and_with(chunk, y),
                        Operation::Or => or_with(chunk, y),
                        _ => xor_with(chunk, y),
                    }
                }
                if operation == Operation::Not {
                    invert(chunk);
                }
            }
            Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                for y in parts {
                    or_with(chunk, y);
                }
                match operation {
                    Operation::Diff => {
                        invert(chunk);
                        and_with(chunk, x);
                    }
                    Operation::AndOr => and_with(chunk, x),
                    _ => clear_with(chunk, x),
                }
            }
            Operation::One => {
                // Bits seen more than once.
                let seen = &mut scratch[..chunk.len()];
                seen.fill(0);
                chunk[..x.len()].copy_from_slice(x);
                for y in parts {
                    note_repeated(seen, chunk, y);
                    or_with(chunk, y);
                }
                clear_with(chunk, seen);
            }
        }
    }
    result
}

/// Bytes of the result that are made at a time.
const CHUNK_BYTES: usize = 4096;

compiled_twice! {
    /// Keeps the bits that `other`, not longer, has too.
    fn and_with(bytes: &mut [u8], other: &[u8]) {
        let (head, tail) = bytes.split_at_mut(other.len());
        head.iter_mut().zip(other).for_each(|(byte, other)| *byte &= other);
        tail.fill(0);
    }
}

compiled_twice! {
    /// Sets the bits of `other`, not longer.
    fn or_with(bytes: &mut [u8], other: &[u8]) {
        bytes.iter_mut().zip(other).for_each(|(byte, other)| *byte |= other);
    }
}

compiled_twice! {
    /// Flips the bits of `other`, not longer.
    fn xor_with(bytes: &mut [u8], other: &[u8]) {
        bytes.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
    }
}

compiled_twice! {
    /// Clears the bits of `other`, not longer.
    fn clear_with(bytes: &mut [u8], other: &[u8]) {
        bytes.iter_mut().zip(other).for_each(|(byte, other)| *byte &= !other);
    }
}

compiled_twice! {
    /// Flips all bits.
    fn invert(bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
}

compiled_twice! {
    /// Sets in `seen` the bits that `bytes` and `other`, not longer, have both.
    fn note_repeated(seen: &mut [u8], bytes: &[u8], other: &[u8]) {
        let pairs = bytes.iter().zip(other);
        seen.iter_mut().zip(pairs).for_each(|(seen, (byte, other))| *seen |= byte & other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bit_at(bytes: &[u8], bit: u64) -> bool {
        bytes.get((bit / 8) as usize).is_some_and(|byte| byte >> (7 - bit % 8) & 1 == 1)
    }

    /// Bytes with long stretches of equal ones, as searches meet them.
    fn stretches() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
        vec((byte, 1..90_usize), 1..5)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| std::iter::repeat_n(byte, len)).collect())
    }

    proptest! {
        #[test]
        fn counting_and_searching_is_looking_at_every_bit(bytes in stretches(), a: u64, b: u64, bit: bool) {
            let bits = 8 * bytes.len() as u64;
            let (a, b) = (a % bits, b % bits);
            let range = BitRange { first: a.min(b), last: a.max(b) };
            let is_set = |index: &u64| bit_at(&bytes, *index);
            let expected = (range.first..=range.last).filter(is_set).count() as u64;
            prop_assert_eq!(count_range(&bytes, range), expected);
            prop_assert_eq!(count(&bytes), (0..bits).filter(is_set).count() as u64);
            let expected = (range.first..=range.last).find(|index| is_set(index) == bit);
            prop_assert_eq!(find(&bytes, range, bit), expected);
        }

        #[test]
        fn combining_is_a_rule_for_every_bit(
            mut strings in vec(prop_oneof![vec(any::<u8>(), 0..70), vec(any::<u8>(), 4000..4200)], 1..5),
        ) {
            use Operation::*;
            for operation in [Not, And, Or, Xor, Diff, Diff1, AndOr, One] {
                let all = strings.clone();
                if operation == Not {
                    strings.truncate(1);
                }
                let slices: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
                let result = combine(operation, &slices);
                prop_assert_eq!(result.len(), slices.iter().map(|slice| slice.len()).max().unwrap());
                for bit in 0..8 * result.len() as u64 {
                    let x = bit_at(slices[0], bit);
                    let others = slices[1..].iter().filter(|slice| bit_at(slice, bit)).count();
                    let expected = match operation {
                        And => x && others == slices.len() - 1,
                        Or => x || others > 0,
                        Xor => (usize::from(x) + others) % 2 == 1,
                        Not => !x,
                        Diff => x && others == 0,
                        Diff1 => !x && others > 0,
                        AndOr => x && others > 0,
                        One => usize::from(x) + others == 1,
                    };
                    prop_assert_eq!(bit_at(&result, bit), expected, "{:?} bit {}", operation, bit);
                }
                strings = all;
            }
        }
    }
}
