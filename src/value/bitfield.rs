//! Integers of 1 to 64 bits anywhere in a byte string, and what becomes of them when they overflow: the arithmetic of
//! `BITFIELD`. Bit 0 is the highest bit of the first byte; an integer's highest bit comes first.
//!
//! Not here: strings under keys, and the commands.

/// The type of a field: `i16`, `u8`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    signed: bool,
    bits: u32,
}

/// What happens to a number that does not fit its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Only its low bits are kept.
    #[default]
    Wrap,
    /// The nearest number that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Field {
    /// Reads `i` and up to 64, or `u` and up to 63; `u64` would not fit the replies.
    pub fn parse(word: &[u8]) -> Option<Field> {
        let (signed, digits) = match word {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let bits = super::number::parse_integer(digits)?;
        let bits_max = if signed { 64 } else { 63 };
        (1..=bits_max).contains(&bits).then_some(Field { signed, bits: bits as u32 })
    }

    /// Its width in bits.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// The number at `offset` bits. What lies behind the end of the bytes is zero.
    pub fn read(self, bytes: &[u8], offset: u64) -> i64 {
        // Nine bytes hold any field wherever it begins; sixteen make a number.
        let first = usize::try_from(offset / 8).expect("an offset within memory");
        let mut window = [0; 16];
        let present = bytes.get(first..).unwrap_or_default();
        let len = present.len().min(9);
        window[..len].copy_from_slice(&present[..len]);
        let aligned = u128::from_be_bytes(window) << (offset % 8);
        if self.signed { (aligned as i128 >> (128 - self.bits)) as i64 } else { (aligned >> (128 - self.bits)) as i64 }
    }

    /// Writes a number's low bits at `offset` bits; the bytes reach as far.
    pub fn write(self, bytes: &mut [u8], offset: u64, number: i64) {
        let first = usize::try_from(offset / 8).expect("an offset within memory");
        let len = (offset % 8 + u64::from(self.bits)).div_ceil(8) as usize;
        let target = &mut bytes[first..first + len];
        let mut window = [0; 16];
        window[..len].copy_from_slice(target);
        let shift = 128 - self.bits - (offset % 8) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let number = (number as u128) << shift;
        let changed = u128::from_be_bytes(window) & !mask | number & mask;
        target.copy_from_slice(&changed.to_be_bytes()[..len]);
    }

    /// The sum of a number of this field and an increment, and whether it overflowed; what it is then, `overflow` says
    /// (for `Fail`: nothing of use).
    pub fn add(self, number: i64, increment: i64, overflow: Overflow) -> (i64, bool) {
        self.fit(i128::from(number) + i128::from(increment), overflow)
    }

    /// A client's number as one of this field. An unsigned field takes it as 64 bits without a sign.
    pub fn convert(self, number: i64, overflow: Overflow) -> (i64, bool) {
        if !self.signed {
            return self.fit(i128::from(number as u64), overflow);
        }
        // Redis asks first whether there is room above, by a difference of 64 bits. Of the lowest numbers of all it
        // overflows itself, and they saturate to the highest number of the field.
        if self.bits < 64 && self.max().wrapping_sub(number) < 0 && number < 0 && overflow == Overflow::Saturate {
            return (self.max(), true);
        }
        self.fit(i128::from(number), overflow)
    }

    fn max(self) -> i64 {
        let value_bits = self.bits - u32::from(self.signed);
        ((1_u64 << value_bits) - 1) as i64
    }

    fn fit(self, number: i128, overflow: Overflow) -> (i64, bool) {
        let max = i128::from(self.max());
        let min = if self.signed { -max - 1 } else { 0 };
        if (min..=max).contains(&number) {
            return (number as i64, false);
        }
        let kept = match overflow {
            Overflow::Saturate => number.clamp(min, max),
            Overflow::Wrap | Overflow::Fail => {
                let shift = 128 - self.bits;
                let low = (number << shift) as u128;
                if self.signed { low as i128 >> shift } else { (low >> shift) as i128 }
            }
        };
        (kept as i64, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(word: &str) -> Field {
        Field::parse(word.as_bytes()).expect(word)
    }

    #[test]
    fn types() {
        for word in ["i1", "i64", "u1", "u63"] {
            assert!(Field::parse(word.as_bytes()).is_some(), "{word}");
        }
        for word in ["", "i", "u", "i0", "u64", "i65", "I8", "i08", "i-1", "x8", "8"] {
            assert!(Field::parse(word.as_bytes()).is_none(), "{word}");
        }
    }

    #[test]
    fn overflows() {
        let check = |word: &str, (number, increment), [wrapped, saturated]: [i64; 2], overflows| {
            let sum = |overflow| field(word).add(number, increment, overflow);
            assert_eq!(sum(Overflow::Wrap), (wrapped, overflows), "{word} {number} {increment}");
            assert_eq!(sum(Overflow::Saturate), (saturated, overflows), "{word} {number} {increment}");
            assert_eq!(sum(Overflow::Fail).1, overflows);
        };
        check("u8", (255, 1), [0, 255], true);
        check("u8", (0, -1), [255, 0], true);
        check("u8", (250, 5), [255, 255], false);
        check("i8", (127, 1), [-128, 127], true);
        check("i8", (-128, -1), [127, -128], true);
        check("i64", (i64::MAX, 1), [i64::MIN, i64::MAX], true);
        check("i64", (i64::MIN, i64::MIN), [0, i64::MIN], true);
        check("u63", (i64::MAX, i64::MAX), [i64::MAX - 1, i64::MAX], true);
        assert_eq!(field("u8").convert(-1, Overflow::Saturate), (255, true));
        assert_eq!(field("i8").convert(-200, Overflow::Saturate), (-128, true));
        // Redis' own overflow.
        assert_eq!(field("i8").convert(i64::MIN, Overflow::Saturate), (127, true));
        assert_eq!(field("i8").convert(i64::MIN, Overflow::Wrap), (0, true));
        assert_eq!(field("i8").convert(i64::MIN + 128, Overflow::Saturate), (-128, true));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else_changes(
            bytes in proptest::collection::vec(any::<u8>(), 16), signed: bool, bits in 1..=64_u32, offset in 0..64_u64,
            number: i64,
        ) {
            let field = Field { signed, bits: bits.min(63 + u32::from(signed)) };
            let (number, _) = field.fit(i128::from(number), Overflow::Wrap);
            let mut changed = bytes.clone();
            field.write(&mut changed, offset, number);
            prop_assert_eq!(field.read(&changed, offset), number);
            let end = offset + u64::from(field.bits);
            for bit in (0..128).filter(|bit| !(offset..end).contains(bit)) {
                let at = |bytes: &[u8]| bytes[(bit / 8) as usize] >> (7 - bit % 8) & 1;
                prop_assert_eq!(at(&bytes), at(&changed), "bit {}", bit);
            }
            // Behind the end there are zeros.
            let cut = &changed[..(offset / 8) as usize];
            prop_assert_eq!(field.read(cut, offset), 0);
        }
    }
}
