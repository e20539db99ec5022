//! An intset: distinct integers in rising order, in the format of Redis.
//!
//! The bytes are exactly those of Redis, so that `DUMP` and snapshots copy them as they are. Wanted: a small set of
//! integers in one allocation, two to eight bytes each. Not wanted: many thousands of them (an insertion moves what is
//! behind it), a guess at who needs them in another form.
//!
//! # Layout
//!
//! ```text
//! ┌─────────┬─────────┬───────┬───────┬─ ─ ─
//! │ width 4 │ count 4 │ least │ next  │        width 2, 4 or 8: bytes of each integer, signed
//! └─────────┴─────────┴───────┴───────┴─ ─ ─   all numbers are little-endian
//! ```
//!
//! An integer that needs a larger width makes all wider, and stands at one of the ends: it is beyond all others. Widths
//! never shrink, as in Redis.

use super::allocation::allocated_bytes;

const HEADER_BYTES: usize = 8;
/// Allocations up to this many bytes are not made smaller.
const SHRINK_BYTES_MIN: usize = 64;

/// What the bytes of an intset break: its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Distinct integers that own their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intset {
    bytes: Vec<u8>,
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

/// Bytes that an integer needs.
fn width_for(integer: i64) -> usize {
    match integer {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

/// The integer at the front of the bytes.
#[inline]
fn read(bytes: &[u8], width: usize) -> i64 {
    let whole = "an integer is whole";
    match width {
        2 => i16::from_le_bytes(*bytes.first_chunk().expect(whole)).into(),
        4 => i32::from_le_bytes(*bytes.first_chunk().expect(whole)).into(),
        _ => i64::from_le_bytes(*bytes.first_chunk().expect(whole)),
    }
}

impl Intset {
    /// An empty one: 8 bytes.
    pub fn new() -> Intset {
        Intset { bytes: vec![2, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// Takes over bytes from outside, every one of which is looked at.
    ///
    /// # Errors
    /// They are not a whole intset: an unknown width, another number of bytes than the header says, integers that do
    /// not rise. Nothing is allocated.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Intset, Malformed> {
        let &[w0, w1, w2, w3, c0, c1, c2, c3] = bytes.first_chunk().ok_or(Malformed)?;
        let width = u32::from_le_bytes([w0, w1, w2, w3]);
        let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        let is_width = matches!(width, 2 | 4 | 8);
        let content_bytes = count.checked_mul(width as usize).ok_or(Malformed)?;
        if !is_width || bytes.len() - HEADER_BYTES != content_bytes {
            return Err(Malformed);
        }
        let intset = Intset { bytes };
        let rises = intset.iter().zip(intset.iter().skip(1)).all(|(one, next)| one < next);
        if rises { Ok(intset) } else { Err(Malformed) }
    }

    /// The bytes, in Redis' format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of integers.
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER_BYTES) / self.width()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// Bytes of its allocation, the allocator's rounding included.
    pub fn heap_bytes(&self) -> usize {
        allocated_bytes(self.bytes.capacity())
    }

    /// The integer with an index, from the least on.
    pub fn get(&self, index: usize) -> Option<i64> {
        let width = self.width();
        let at = index.checked_mul(width)?.checked_add(HEADER_BYTES)?;
        self.bytes.get(at..).filter(|rest| !rest.is_empty()).map(|rest| read(rest, width))
    }

    /// The integers in rising order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        let width = self.width();
        self.bytes[HEADER_BYTES..].chunks_exact(width).map(move |bytes| read(bytes, width))
    }

    /// Whether an integer is among them.
    pub fn contains(&self, integer: i64) -> bool {
        width_for(integer) <= self.width() && self.search(integer).is_ok()
    }

    /// Adds an integer. Whether it was not there.
    pub fn insert(&mut self, integer: i64) -> bool {
        let width = width_for(integer);
        if self.width() < width {
            self.widen(width, integer);
            return true;
        }
        let Err(index) = self.search(integer) else { return false };
        let width = self.width();
        let at = HEADER_BYTES + index * width;
        let len_before = self.bytes.len();
        self.grow(width);
        self.bytes.copy_within(at..len_before, at + width);
        self.bytes[at..at + width].copy_from_slice(&integer.to_le_bytes()[..width]);
        self.write_count();
        true
    }

    /// Removes an integer. Whether it was there.
    pub fn remove(&mut self, integer: i64) -> bool {
        if self.width() < width_for(integer) {
            return false;
        }
        let Ok(index) = self.search(integer) else { return false };
        self.remove_range(index, 1);
        true
    }

    /// Removes up to `count` integers from an index on. How many there were.
    pub fn remove_range(&mut self, index: usize, count: usize) -> usize {
        let removed = count.min(self.len().saturating_sub(index));
        if removed == 0 {
            return 0;
        }
        let width = self.width();
        let at = HEADER_BYTES + index * width;
        self.bytes.drain(at..at + removed * width);
        let wanted_bytes = allocated_bytes(self.bytes.len());
        if SHRINK_BYTES_MIN < self.bytes.capacity() && 2 * wanted_bytes <= self.bytes.capacity() {
            self.bytes.shrink_to(wanted_bytes);
        }
        self.write_count();
        removed
    }

    /// Bytes of each integer.
    fn width(&self) -> usize {
        self.bytes[0].into()
    }

    /// The index of an integer that is no wider than the others, or where it belongs.
    fn search(&self, integer: i64) -> Result<usize, usize> {
        let content = &self.bytes[HEADER_BYTES..];
        // The width is known in the loop, so that it has neither a branch nor a multiplication.
        match self.width() {
            2 => {
                content.as_chunks::<2>().0.binary_search_by(|bytes| i64::from(i16::from_le_bytes(*bytes)).cmp(&integer))
            }
            4 => {
                content.as_chunks::<4>().0.binary_search_by(|bytes| i64::from(i32::from_le_bytes(*bytes)).cmp(&integer))
            }
            _ => content.as_chunks::<8>().0.binary_search_by(|bytes| i64::from_le_bytes(*bytes).cmp(&integer)),
        }
    }

    /// Makes all integers wider and adds one that needs it: beyond all others.
    fn widen(&mut self, width: usize, integer: i64) {
        let old_width = self.width();
        let count = self.len();
        let first = usize::from(integer < 0);
        self.grow((width - old_width) * count + width);
        self.bytes[0] = width as u8;
        // From the back: what is read lies before what has been written.
        for index in (0..count).rev() {
            let old = read(&self.bytes[HEADER_BYTES + index * old_width..], old_width);
            let at = HEADER_BYTES + (first + index) * width;
            self.bytes[at..at + width].copy_from_slice(&old.to_le_bytes()[..width]);
        }
        let at = HEADER_BYTES + if integer < 0 { 0 } else { count * width };
        self.bytes[at..at + width].copy_from_slice(&integer.to_le_bytes()[..width]);
        self.write_count();
    }

    fn grow(&mut self, bytes: usize) {
        let len = self.bytes.len() + bytes;
        if self.bytes.capacity() < len {
            self.bytes.reserve_exact(allocated_bytes(len) - self.bytes.len());
        }
        self.bytes.resize(len, 0);
    }

    fn write_count(&mut self) {
        let count = u32::try_from(self.len()).expect("sets convert long before");
        self.bytes[4..8].copy_from_slice(&count.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(intset: &Intset, model: &BTreeSet<i64>) {
        assert!(intset.iter().eq(model.iter().copied()));
        assert!(intset.iter().rev().eq(model.iter().rev().copied()));
        assert_eq!((intset.len(), intset.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(Intset::from_bytes(intset.as_bytes().to_vec()).as_ref(), Ok(intset));
        assert!(intset.as_bytes().len() <= intset.heap_bytes());
    }

    fn integer() -> impl Strategy<Value = i64> {
        prop_oneof![
            -20i64..20,
            (any::<i64>(), 0u32..64).prop_map(|(integer, bits)| integer >> bits),
            (prop_oneof![Just(15u32), Just(31), Just(63)], -2i64..2)
                .prop_map(|(bits, more)| { (((1i128 << bits) + i128::from(more)) as i64).wrapping_neg() }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes in proptest::collection::vec((0u8..4, integer()), 0..200)) {
            let (mut intset, mut model) = (Intset::new(), BTreeSet::new());
            for (change, integer) in changes {
                prop_assert_eq!(intset.contains(integer), model.contains(&integer));
                match change {
                    0 => prop_assert_eq!(intset.remove(integer), model.remove(&integer)),
                    1 if !model.is_empty() => {
                        let index = integer.unsigned_abs() as usize % (model.len() + 1);
                        let gone: Vec<i64> = model.iter().copied().skip(index).take(3).collect();
                        prop_assert_eq!(intset.remove_range(index, 3), gone.len());
                        gone.iter().for_each(|integer| assert!(model.remove(integer)));
                    }
                    _ => prop_assert_eq!(intset.insert(integer), model.insert(integer)),
                }
                check(&intset, &model);
            }
            for (index, &integer) in model.iter().enumerate() {
                prop_assert_eq!(intset.get(index), Some(integer));
            }
            prop_assert_eq!(intset.get(model.len()), None);
            prop_assert_eq!(intset.get(usize::MAX), None);
        }

        #[test]
        fn bytes_that_are_none_are_refused(
            mut noise in proptest::collection::vec(any::<u8>(), 0..64),
            width in 0u8..10,
        ) {
            if HEADER_BYTES <= noise.len() {
                noise[..4].copy_from_slice(&u32::from(width).to_le_bytes());
                let count = (noise.len() - HEADER_BYTES) as u32 / u32::from(width.max(1));
                noise[4..8].copy_from_slice(&count.to_le_bytes());
            }
            if let Ok(taken) = Intset::from_bytes(noise) {
                check(&taken, &taken.iter().collect());
            }
        }
    }

    #[test]
    fn its_bytes_are_those_of_redis() {
        // SADD of these on Redis 7.0.15, and DUMP.
        for (integers, expected) in [
            (&[1, -5, 300][..], &b"\x02\0\0\0\x03\0\0\0\xfb\xff\x01\0\x2c\x01"[..]),
            (&[1, 70_000], b"\x04\0\0\0\x02\0\0\0\x01\0\0\0\x70\x11\x01\0"),
            (&[1, 5_000_000_000], b"\x08\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\0\xf2\x05\x2a\x01\0\0\0"),
        ] {
            let mut intset = Intset::new();
            integers.iter().for_each(|&integer| assert!(intset.insert(integer)));
            assert_eq!(intset.as_bytes(), expected);
        }
    }

    #[test]
    fn what_lies_about_itself_is_refused() {
        let good = b"\x02\0\0\0\x02\0\0\0\x01\0\x02\0".to_vec();
        assert!(Intset::from_bytes(good.clone()).is_ok());
        // Another width, another count, not rising, twice the same.
        for (at, byte) in [(0, 4), (0, 3), (0, 0), (1, 1), (4, 3), (7, 0xff), (8, 3), (8, 2)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Intset::from_bytes(bad), Err(Malformed), "{byte} at {at}");
        }
        assert!(Intset::from_bytes(Vec::new()).is_err());
        assert!(Intset::from_bytes(good[..11].to_vec()).is_err());
    }
}
