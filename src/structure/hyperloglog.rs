//! HyperLogLog: how many different things were seen, in 12 KiB at most and within a percent, in the string format of
//! Redis, byte for byte.
//!
//! The functions work on the bytes of such a string. Not here: the keys they are under. Bytes from outside are not
//! trusted: whatever they are, they are read within their bounds, and found out when they do not say 16,384 registers.
//!
//! # Layout
//!
//! ```text
//! ┌──────┬──────────┬────────┬──────────────┬───────────────┐
//! │ HYLL │ encoding │ unused │ cardinality  │ registers     │   cardinality: little-endian, as it was counted last;
//! │      │ 1        │ 3      │ 8            │               │   its highest bit says that it must be counted again
//! └──────┴──────────┴────────┴──────────────┴───────────────┘
//! encoding 0, dense:   16,384 registers of 6 bits, the lowest bits of a byte first: 12,288 bytes
//! encoding 1, sparse:  runs of equal registers
//!   00llllll            l + 1 registers are 0
//!   01llllll llllllll   l + 1 registers are 0; the high bits come first
//!   1vvvvvll            l + 1 registers are v + 1
//! ```
//!
//! An element's hash (MurmurHash64A) names a register by its lowest 14 bits; of the others the number of trailing zeros
//! counts, and a register keeps the largest number plus one. The estimate is Ertl's ("New cardinality estimation
//! algorithms for HyperLogLog sketches", 2017), which needs no tables and no ranges.
#![deny(unsafe_code)]

use std::ops::Range;

/// Registers of a HyperLogLog.
pub const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bits of a hash that name a register.
const REGISTER_BITS: u32 = 14;
/// Bits of a hash that are left for counting zeros.
const RUN_BITS: u32 = 64 - REGISTER_BITS;
/// Bits of a dense register.
const WIDTH: usize = 6;

const HEADER_BYTES: usize = 16;
const CARDINALITY: Range<usize> = 8..16;
const STALE: u8 = 0x80;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Bytes of a dense one.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * WIDTH / 8;

/// Longest run of zeros in one byte.
const ZEROS_MAX: usize = 64;
/// Longest run of another value, and the largest such value.
const VALUES_MAX: usize = 4;
const VALUE_MAX: u8 = 32;
/// Runs, from the one before a change on, that are looked at for equal neighbours.
const JOINED_RUNS: usize = 5;

/// How the registers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// All of them.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

/// A sparse string does not say 16,384 registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// All registers, one a byte.
pub type Registers = [u8; REGISTERS];

/// An empty one.
pub fn new() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4] = SPARSE;
    write_zeros(&mut bytes, REGISTERS);
    bytes
}

/// What a string is by its header and its length. `None`: no HyperLogLog.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[4] {
        DENSE if bytes.len() == DENSE_BYTES => Some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

// The cardinality

/// The cardinality that was counted last, if nothing has changed since.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let word = bytes[CARDINALITY].try_into().expect("eight bytes");
    (bytes[15] & STALE == 0).then(|| u64::from_le_bytes(word))
}

/// Remembers a cardinality.
pub fn cache(bytes: &mut [u8], cardinality: u64) {
    bytes[CARDINALITY].copy_from_slice(&cardinality.to_le_bytes());
}

/// Says that registers have changed.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[15] |= STALE;
}

/// Counts.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0; 64];
    match encoding(bytes).ok_or(Corrupt)? {
        Encoding::Dense => {
            for_each_dense(&bytes[HEADER_BYTES..], |_, value| histogram[usize::from(value)] += 1);
        }
        Encoding::Sparse => {
            for run in runs(bytes)? {
                histogram[usize::from(run.value)] += run.len as u32;
            }
        }
    }
    Ok(estimate(&histogram))
}

/// Counts registers that were merged.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram = [0; 64];
    registers.iter().for_each(|&value| histogram[usize::from(value)] += 1);
    estimate(&histogram)
}

/// Ertl's estimate from how many registers have each value.
fn estimate(histogram: &[u32; 64]) -> u64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let full = RUN_BITS as usize + 1;
    let mut sum = registers * tau((registers - f64::from(histogram[full])) / registers);
    for value in (1..full).rev() {
        sum = (sum + f64::from(histogram[value])) * 0.5;
    }
    sum += registers * sigma(f64::from(histogram[0]) / registers);
    (ALPHA * registers * registers / sum).round() as u64
}

/// The sum of x^(2^k) 2^(k-1) over k, and x.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight) = (x, 1.0);
    loop {
        let before = sum;
        x *= x;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// A third of 1 - x - the sum of (1 - x^(2^-k))^2 2^-k over k.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight) = (1.0 - x, 1.0);
    loop {
        let before = sum;
        x = x.sqrt();
        weight *= 0.5;
        sum -= (1.0 - x).powi(2) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

// Registers

/// The register and the value that an element stands for.
pub fn observation(element: &[u8]) -> (usize, u8) {
    let hash = murmur64(element, 0xadc8_3b19);
    let index = (hash % REGISTERS as u64) as usize;
    // A bit behind the last one ends the run of zeros.
    let run = hash >> REGISTER_BITS | 1 << RUN_BITS;
    (index, run.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A, by Austin Appleby, in the public domain.
fn murmur64(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

/// Raises a register of a dense string to a value. Whether it was lower.
pub fn raise_dense(bytes: &mut [u8], index: usize, value: u8) -> bool {
    assert!(bytes.len() == DENSE_BYTES);
    let registers = &mut bytes[HEADER_BYTES..];
    let is_lower = dense(registers, index) < value;
    if is_lower {
        let (at, shift) = (index * WIDTH / 8, index * WIDTH % 8);
        let mask = 0x3f_u16 << shift;
        let value = u16::from(value) << shift;
        registers[at] = registers[at] & !mask as u8 | value as u8;
        if mask >> 8 != 0 {
            registers[at + 1] = registers[at + 1] & !(mask >> 8) as u8 | (value >> 8) as u8;
        }
    }
    is_lower
}

fn dense(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    let behind = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[at], behind]) >> shift) as u8 & 0x3f
}

/// Visits all dense registers: four of them are three bytes.
fn for_each_dense(registers: &[u8], mut visit: impl FnMut(usize, u8)) {
    for (group, bytes) in registers.as_chunks::<3>().0.iter().enumerate() {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        for place in 0..4 {
            visit(4 * group + place, (word >> (WIDTH * place)) as u8 & 0x3f);
        }
    }
}

/// Raises registers to those of a string.
pub fn merge_into(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    match encoding(bytes).ok_or(Corrupt)? {
        Encoding::Dense => {
            for_each_dense(&bytes[HEADER_BYTES..], |index, value| {
                registers[index] = registers[index].max(value);
            });
        }
        Encoding::Sparse => {
            for run in runs(bytes)? {
                registers[run.first..run.first + run.len].iter_mut().for_each(|value| *value = run.value.max(*value));
            }
        }
    }
    Ok(())
}

// Runs

/// Equal registers side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: usize,
    /// How many they are.
    pub len: usize,
    /// What they are.
    pub value: u8,
    /// Where it is written, in bytes from the front of the string.
    at: usize,
    /// In so many bytes.
    bytes: usize,
}

impl Run {
    /// Whether it is zeros in the longer form.
    pub fn is_long(&self) -> bool {
        self.bytes == 2
    }
}

/// The run that is written at a place, where that is within the string.
fn run_at(string: &[u8], at: usize, first: usize) -> Option<Run> {
    let code = *string.get(at)?;
    let (len, value, bytes) = match code {
        0..0x40 => (usize::from(code) + 1, 0, 1),
        0x40..0x80 => (usize::from(u16::from_be_bytes([code & 0x3f, *string.get(at + 1)?])) + 1, 0, 2),
        _ => (usize::from(code & 3) + 1, (code >> 2 & 0x1f) + 1, 1),
    };
    Some(Run { first, len, value, at, bytes })
}

/// All runs of a sparse string, as far as they can be read.
fn runs_unchecked(string: &[u8]) -> impl Iterator<Item = Run> {
    let mut next = run_at(string, HEADER_BYTES, 0);
    std::iter::from_fn(move || {
        let run = next?;
        next = run_at(string, run.at + run.bytes, run.first + run.len);
        Some(run)
    })
}

/// All runs of a sparse string, which are 16,384 registers.
///
/// # Errors
/// They are more or fewer, or something is left over.
pub fn runs(string: &[u8]) -> Result<impl Iterator<Item = Run>, Corrupt> {
    // Each run is at least a byte, so looking twice costs as much as the string is long.
    let last = runs_unchecked(string).take_while(|run| run.first < REGISTERS).last().ok_or(Corrupt)?;
    let is_whole = last.first + last.len == REGISTERS && last.at + last.bytes == string.len();
    if is_whole { Ok(runs_unchecked(string)) } else { Err(Corrupt) }
}

fn write_zeros(into: &mut Vec<u8>, len: usize) {
    match len {
        0 => {}
        1..=ZEROS_MAX => into.push((len - 1) as u8),
        _ => into.extend_from_slice(&((len - 1) as u16 | 0x4000).to_be_bytes()),
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    assert!(0 < value && value <= VALUE_MAX && 0 < len && len <= VALUES_MAX);
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Makes a string dense.
pub fn make_dense(string: &mut Vec<u8>) -> Result<(), Corrupt> {
    if encoding(string) == Some(Encoding::Dense) {
        return Ok(());
    }
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER_BYTES].copy_from_slice(&string[..HEADER_BYTES]);
    dense[4] = DENSE;
    for run in runs(string)?.filter(|run| run.value != 0) {
        (run.first..run.first + run.len).for_each(|index| _ = raise_dense(&mut dense, index, run.value));
    }
    *string = dense;
    Ok(())
}

/// Raises a register to a value. A sparse string that would become longer than `sparse_bytes_max`, or whose runs cannot
/// say the value, becomes dense. Whether the register was lower.
///
/// # Errors
/// The runs end before the register, or do not say 16,384 registers when they are to become dense.
pub fn raise(string: &mut Vec<u8>, index: usize, value: u8, sparse_bytes_max: usize) -> Result<bool, Corrupt> {
    if encoding(string) == Some(Encoding::Dense) {
        return Ok(raise_dense(string, index, value));
    }
    if VALUE_MAX < value {
        make_dense(string)?;
        return Ok(raise_dense(string, index, value));
    }
    let mut before = None;
    let mut found = None;
    for run in runs_unchecked(string) {
        if index < run.first + run.len {
            found = Some(run);
            break;
        }
        before = Some(run);
    }
    let run = found.ok_or(Corrupt)?;
    if value <= run.value {
        return Ok(false);
    }
    // The run in up to three: what was before the register, the register, what was behind it.
    let (front, back) = (index - run.first, run.first + run.len - 1 - index);
    let mut parts = Vec::with_capacity(5);
    let rest = |len: usize, parts: &mut Vec<u8>| match run.value {
        0 => write_zeros(parts, len),
        value if len != 0 => parts.push(value_run(value, len)),
        _ => {}
    };
    rest(front, &mut parts);
    parts.push(value_run(value, 1));
    rest(back, &mut parts);
    if run.bytes < parts.len() && sparse_bytes_max < string.len() + parts.len() - run.bytes {
        make_dense(string)?;
        return Ok(raise_dense(string, index, value));
    }
    string.splice(run.at..run.at + run.bytes, parts);
    join(string, before.map_or(HEADER_BYTES, |run| run.at));
    invalidate(string);
    Ok(true)
}

/// Joins neighbours of equal values as far as one run can say them, among some runs from a place on. Where the search
/// ends decides which bytes come out, so it ends where that of Redis does.
fn join(string: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINED_RUNS {
        let Some(run) = run_at(string, at, 0) else { return };
        let next = run_at(string, at + run.bytes, 0);
        match next {
            Some(next) if run.value != 0 && next.value == run.value && run.len + next.len <= VALUES_MAX => {
                string[at] = value_run(run.value, run.len + next.len);
                string.remove(next.at);
            }
            _ => at += run.bytes,
        }
    }
}

// Trying it out

/// Tries the encodings against each other and the estimate against what was counted. `random` gives random numbers.
///
/// # Errors
/// What is wrong.
pub fn self_test(mut random: impl FnMut() -> u64) -> Result<(), String> {
    let mut dense_string = new();
    make_dense(&mut dense_string).expect("an empty one is whole");
    let mut plain: Registers = [0; REGISTERS];
    for _ in 0..REGISTERS * 4 {
        let number = random();
        let (index, value) = ((number >> 32) as usize % REGISTERS, (number % 64) as u8);
        raise_dense(&mut dense_string, index, value);
        plain[index] = plain[index].max(value);
    }
    for (index, expected) in plain.iter().enumerate() {
        let found = dense(&dense_string[HEADER_BYTES..], index);
        if found != *expected {
            return Err(format!("Register {index} should be {expected} but is {found}"));
        }
    }
    let (mut sparse_string, mut dense_string) = (new(), new());
    make_dense(&mut dense_string).expect("an empty one is whole");
    let seed = random();
    let mut checked_at = 1;
    for number in 1..=SELF_TEST_ELEMENTS {
        let (index, value) = observation(&(seed ^ number).to_le_bytes());
        raise(&mut sparse_string, index, value, HEADER_BYTES + REGISTERS / 8).expect("it is whole");
        raise_dense(&mut dense_string, index, value);
        if number != checked_at {
            continue;
        }
        checked_at *= 10;
        let counts = [&sparse_string, &dense_string].map(|string| count(string).expect("it is whole"));
        if counts[0] != counts[1] {
            return Err(format!("sparse counts {} and dense {} of {number}", counts[0], counts[1]));
        }
        // Four times the standard error, and a handful for the smallest.
        let error_max = number as f64 * 4.0 * 1.04 / (REGISTERS as f64).sqrt() + 5.0;
        if error_max < (counts[1] as f64 - number as f64).abs() {
            return Err(format!("Too big error. card:{} abserr:{}", number, counts[1].abs_diff(number)));
        }
    }
    Ok(())
}

/// Elements that the self-test adds.
const SELF_TEST_ELEMENTS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn registers(string: &[u8]) -> Registers {
        let mut registers = [0; REGISTERS];
        merge_into(&mut registers, string).expect("it is whole");
        registers
    }

    #[test]
    fn it_passes_its_own_test() {
        let mut random = fastrand::Rng::with_seed(3);
        self_test(|| random.u64(..)).unwrap();
    }

    #[test]
    fn hashes_and_headers_are_those_of_redis() {
        // PFADD k a, as Redis 7.0.15 writes it.
        let mut string = new();
        assert_eq!(string, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        let (index, value) = observation(b"a");
        assert!(raise(&mut string, index, value, 3000).unwrap());
        assert_eq!(string, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80q\xa6\x84NW");
        assert_eq!(count(&string), Ok(1));
    }

    #[test]
    fn hostile_strings_are_found_out() {
        for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f\xff\x7f\xff", b"\x40", b"\xff\xff"] {
            let string = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0", runs].concat();
            assert_eq!(encoding(&string), Some(Encoding::Sparse));
            assert_eq!(count(&string), Err(Corrupt), "{runs:?}");
            assert_eq!(merge_into(&mut [0; REGISTERS], &string), Err(Corrupt), "{runs:?}");
            assert_eq!(make_dense(&mut string.clone()), Err(Corrupt), "{runs:?}");
        }
        for string in [&b"HYLL"[..], b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0", b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff"] {
            assert_eq!(encoding(string), None);
        }
    }

    proptest! {
        #[test]
        fn sparse_and_dense_hold_the_same(
            changes in vec((0..REGISTERS, 1..40u8), 0..400), near in 0..REGISTERS, limit in 18..4000usize,
        ) {
            let (mut sparse, mut dense) = (new(), new());
            make_dense(&mut dense).unwrap();
            let mut plain = [0u8; REGISTERS];
            for (place, (index, value)) in changes.into_iter().enumerate() {
                // Half of them side by side, so that runs of values come up.
                let index = if place % 2 == 0 { index } else { (near + index % 32) % REGISTERS };
                let value = if place % 3 == 0 { value } else { 1 + value % 3 };
                let is_lower = plain[index] < value;
                plain[index] = plain[index].max(value);
                prop_assert_eq!(raise(&mut sparse, index, value, limit), Ok(is_lower));
                prop_assert_eq!(raise(&mut dense, index, value, limit), Ok(is_lower));
                prop_assert!(encoding(&sparse) == Some(Encoding::Dense) || sparse.len() <= limit.max(18));
            }
            prop_assert!(registers(&sparse) == plain && registers(&dense) == plain);
            prop_assert_eq!(count(&sparse), Ok(count_registers(&plain)));
            prop_assert_eq!(count(&dense), count(&sparse));
        }

        #[test]
        fn any_bytes_are_read_within_their_bounds(
            runs in vec(any::<u8>(), 0..60), index in 0..REGISTERS, value in 1..60u8,
        ) {
            let mut string = [&new()[..HEADER_BYTES], &runs].concat();
            let whole = count(&string);
            prop_assert_eq!(merge_into(&mut [0; REGISTERS], &string).is_ok(), whole.is_ok());
            let _ = raise(&mut string, index, value, 3000);
        }
    }
}
