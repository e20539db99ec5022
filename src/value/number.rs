//! Numbers as Redis reads and writes them: 64-bit integers, doubles, and the 80-bit "long double" behind
//! `INCRBYFLOAT`, `HINCRBYFLOAT` and `INCREX BYFLOAT`.
//!
//! Not here: replies, commands, errors. A text that is no number is `None`; the caller knows what to say.
//!
//! Redis leaves floats to the C library, so its texts are those of `strtod`, `strtold`, `printf("%.17g")` and
//! `printf("%.17Lf")` of glibc on x86-64. Doubles are parsed and rounded by the standard library (the same exact
//! algorithms); hexadecimal floats and the extended format, which Rust does not have, are done here in integer
//! arithmetic: every operation computes the exact value plus a sticky bit ("something nonzero lies below"), and
//! `Format::round` rounds it once, to nearest, ties to even.
//!
//! ```text
//! Extended: value = ±mantissa · 2^exponent
//!   mantissa  64 bits, top bit set unless exponent = -16445 (subnormal)
//!   exponent  -16445 ..= 16320 (the largest value is (2^64 - 1) · 2^16320 ≈ 1.19e4932), 16321: infinity
//! ```

use std::cmp::Ordering;
use std::io::Write;
use std::ops::Deref;

/// Longest text that [`Extended::parse`] looks at, in bytes, as in Redis (`MAX_LONG_DOUBLE_CHARS` less one for the
/// NUL).
pub const EXTENDED_TEXT_LEN_MAX: usize = 5 * 1024 - 1;

/// Longest text of a signed 64-bit integer in bytes: `-9223372036854775808`.
pub const INTEGER_TEXT_LEN_MAX: usize = 20;

/// Reads a signed 64-bit integer exactly as Redis' `string2ll`: the text must be what printing the number gives, so
/// no `+`, no leading zeros, no `-0`, no spaces.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() < INTEGER_TEXT_LEN_MAX => {}
        _ => return None,
    }
    // At most 19 digits: 9,999,999,999,999,999,999 < 2^64, so this cannot overflow.
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if 9 < digit {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The text of a double on the stack; dereferences to it.
#[derive(Debug, Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; DOUBLE_TEXT_LEN_MAX],
    len: u8,
}

/// Longest text of a double in bytes: `-1.2345678901234567e-308`.
const DOUBLE_TEXT_LEN_MAX: usize = 24;

impl DoubleText {
    const EMPTY: DoubleText = DoubleText { bytes: [0; DOUBLE_TEXT_LEN_MAX], len: 0 };

    fn push(&mut self, text: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + text.len()].copy_from_slice(text);
        self.len += text.len() as u8; // The slice above panics first if this could exceed 24.
    }
}

impl Deref for DoubleText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("digits, signs and letters")
    }
}

/// The text of a double as Redis 7.0 sends it in both protocols (`ZSCORE`, scores, `,`-replies): `%.17g`, with `inf`,
/// `-inf`, `nan` and `-nan`. `3`, `1.5`, `0.10000000000000001`, `1e+20`. (Redis 7.2 and later print the shortest text
/// that reads back as the same double.)
pub fn format_double(value: f64) -> DoubleText {
    /// Significant digits of `%.17g`.
    const DIGITS: i32 = 17;
    /// Above 2^53 doubles are integers that may need more than 17 digits.
    const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

    let mut text = DoubleText::EMPTY;
    if value.is_nan() {
        text.push(if value.is_sign_negative() { b"-nan" } else { b"nan" }); // As C's printf; `0/0` of scripts is one.
        return text;
    }
    if value.is_infinite() {
        text.push(if value < 0.0 { b"-inf" } else { b"inf" });
        return text;
    }
    if value == 0.0 {
        text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        return text;
    }
    if value.abs() <= EXACT_INTEGER_MAX && value.trunc() == value {
        text.push(itoa::Buffer::new().format(value as i64).as_bytes());
        return text;
    }

    // `d.dddddddddddddddde-x`: 17 correctly rounded digits and the decimal exponent, which the rest only rearranges.
    let mut buffer = [0u8; DOUBLE_TEXT_LEN_MAX];
    let mut free = &mut buffer[..];
    write!(free, "{:.16e}", value.abs()).expect("17 digits, point, e, sign and three digits fit in 24 bytes");
    let used = DOUBLE_TEXT_LEN_MAX - free.len();
    let scientific = &buffer[..used];
    let e = scientific.iter().position(|&byte| byte == b'e').expect("the format has an exponent");
    let exponent = std::str::from_utf8(&scientific[e + 1..]).expect("ASCII").parse::<i32>().expect("an integer");
    let mut digits = [0u8; DIGITS as usize];
    digits[0] = scientific[0];
    digits[1..].copy_from_slice(&scientific[2..e]);
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..significant];

    if value < 0.0 {
        text.push(b"-");
    }
    if !(-4..DIGITS).contains(&exponent) {
        text.push(&digits[..1]);
        if 1 < digits.len() {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            text.push(b"0");
        }
        text.push(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    } else if exponent < 0 {
        text.push(b"0.");
        text.push(&b"000"[..(-exponent - 1) as usize]);
        text.push(digits);
    } else {
        let integer_len = exponent as usize + 1;
        if digits.len() <= integer_len {
            text.push(digits);
            text.push(&b"0000000000000000"[..integer_len - digits.len()]);
        } else {
            text.push(&digits[..integer_len]);
            text.push(b".");
            text.push(&digits[integer_len..]);
        }
    }
    text
}

/// Reads a double as Redis' `string2d`: all that `strtod` takes (decimal, hexadecimal, `inf`, `infinity`, a `+`), the
/// whole text, without leading spaces. Refused: NaN, overflow, and a nonzero text that underflows to zero.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let (negative, rest) = split_sign(text);
    match classify(rest)? {
        Shape::Infinity => Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        Shape::Hexadecimal(digits) => {
            let (bits, exponent) = scan_hexadecimal(digits)?;
            if bits == 0 {
                return Some(if negative { -0.0 } else { 0.0 });
            }
            let (mantissa, exponent) = DOUBLE.round(bits, exponent)?;
            if mantissa == 0 {
                return None;
            }
            // Implicit top bit: the encoded exponent of a subnormal is 0, of the smallest normal 1.
            let is_normal = u64::from(mantissa >> 52 != 0);
            let encoded = ((exponent - DOUBLE.exponent_min) as u64 + is_normal) << 52 | mantissa & ((1 << 52) - 1);
            let magnitude = f64::from_bits(encoded);
            Some(if negative { -magnitude } else { magnitude })
        }
        Shape::Decimal => {
            let decimal = Decimal::scan(rest)?;
            let value = std::str::from_utf8(text).ok()?.parse::<f64>().ok()?;
            let underflowed = value == 0.0 && !decimal.is_zero();
            (value.is_finite() && !underflowed).then_some(value)
        }
    }
}

/// The same where `strtod` may not complain of the range at all, as in `SORT`: what lies between zero and the smallest
/// normal number is refused, unless it is written out exactly, as hexadecimal texts may.
pub fn parse_double_in_range(text: &[u8]) -> Option<f64> {
    let value = parse_double(text)?;
    if value == 0.0 || f64::MIN_POSITIVE < value.abs() {
        return Some(value);
    }
    let (_, rest) = split_sign(text);
    let is_in_range = match classify(rest)? {
        Shape::Infinity => true,
        Shape::Hexadecimal(digits) => {
            let (bits, exponent) = scan_hexadecimal(digits)?;
            i64::from(DOUBLE.exponent_min) <= exponent + i64::from(bits.trailing_zeros())
                || f64::MIN_POSITIVE == value.abs() && !is_below_normal(text)
        }
        Shape::Decimal => f64::MIN_POSITIVE == value.abs() && !is_below_normal(text),
    };
    is_in_range.then_some(value)
}

/// Whether a text says less than the smallest normal double even if doubles went on as fine as that one: so little that
/// it is called an underflow, though it is rounded up.
fn is_below_normal(text: &[u8]) -> bool {
    // 2^-1022 - 2^-1076
    let least = Extended { negative: false, exponent: -1086, mantissa: ((1 << 54) - 1) << 10 };
    let (_, rest) = split_sign(text);
    Extended::parse(rest).is_some_and(|number| number.compare(least) == Ordering::Less)
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// Which grammar a text without its sign follows; the decimal one is not checked yet.
enum Shape<'a> {
    Infinity,
    /// What follows `0x`.
    Hexadecimal(&'a [u8]),
    Decimal,
}

fn classify(text: &[u8]) -> Option<Shape<'_>> {
    match text {
        [] => None,
        [b'0', b'x' | b'X', rest @ ..] => Some(Shape::Hexadecimal(rest)),
        [b'i' | b'I', ..] => {
            let is_infinity = text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity");
            is_infinity.then_some(Shape::Infinity)
        }
        _ => Some(Shape::Decimal),
    }
}

/// Reads `+12`, `-3`, `7` after an `e` or `p`. Absurdly large exponents come back as ±`EXPONENT_HUGE`: with texts of
/// any length that fits in memory they mean overflow or underflow just as well.
fn scan_exponent(text: &[u8]) -> Option<i64> {
    const EXPONENT_HUGE: i64 = 1 << 40;
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(EXPONENT_HUGE);
    }
    Some(if negative { -value } else { value })
}

/// Value of `1A.8p-3` (what follows `0x`): bits and a power of two. Bits beyond the 124 kept set the lowest bit.
fn scan_hexadecimal(text: &[u8]) -> Option<(u128, i64)> {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], scan_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let mut bits: u128 = 0;
    let mut exponent = exponent;
    let mut seen_digit = false;
    let mut seen_point = false;
    for &byte in digits {
        if byte == b'.' {
            if seen_point {
                return None;
            }
            seen_point = true;
            continue;
        }
        let digit = (byte as char).to_digit(16)?;
        seen_digit = true;
        if bits >> 120 == 0 {
            bits = bits << 4 | u128::from(digit);
            exponent -= if seen_point { 4 } else { 0 };
        } else {
            bits |= u128::from(digit != 0);
            exponent += if seen_point { 0 } else { 4 };
        }
    }
    seen_digit.then_some((bits, exponent))
}

/// A decimal text without its sign, as `digits · 10^exponent`, where the digits are `integer` then `fraction`.
struct Decimal<'a> {
    /// Digits before the point, leading zeros gone.
    integer: &'a [u8],
    /// Digits after the point, trailing zeros gone, and leading ones too where `integer` is empty.
    fraction: &'a [u8],
    /// Power of ten of the last digit.
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// `12`, `1.5`, `.5`, `1.`, `1.5e-3`: at least one digit, and digits after an `e`.
    fn scan(text: &'a [u8]) -> Option<Decimal<'a>> {
        let (number, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], scan_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = number.iter().position(|&byte| byte == b'.');
        let (integer, fraction) = match point {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &number[number.len()..]),
        };
        let all_digits = integer.iter().chain(fraction).all(u8::is_ascii_digit);
        if !all_digits || integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut decimal = Decimal { integer, fraction, exponent };
        while let [b'0', rest @ ..] = decimal.integer {
            decimal.integer = rest;
        }
        while let [rest @ .., b'0'] = decimal.fraction {
            decimal.fraction = rest;
        }
        decimal.exponent -= decimal.fraction.len() as i64;
        if decimal.integer.is_empty() {
            while let [b'0', rest @ ..] = decimal.fraction {
                decimal.fraction = rest;
            }
        }
        if decimal.fraction.is_empty() {
            while let [rest @ .., b'0'] = decimal.integer {
                decimal.integer = rest;
                decimal.exponent += 1;
            }
        }
        Some(decimal)
    }

    fn is_zero(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.integer.len() + self.fraction.len()
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.integer.iter().chain(self.fraction).map(|&byte| byte - b'0')
    }
}

/// A binary floating-point format, for rounding.
struct Format {
    /// Bits of the mantissa, the leading one included.
    precision: i32,
    /// Exponent of the lowest bit of a subnormal.
    exponent_min: i32,
    /// Exponent of the lowest bit of the largest number.
    exponent_max: i32,
}

const DOUBLE: Format = Format { precision: 53, exponent_min: -1074, exponent_max: 971 };
const EXTENDED: Format = Format { precision: 64, exponent_min: -16445, exponent_max: 16320 };

impl Format {
    /// The number of this format nearest to `bits · 2^exponent`, ties to even, as mantissa and exponent; `None` if
    /// that is too large. Where `bits` has a sticky lowest bit it must have at least `precision + 2` bits.
    fn round(&self, bits: u128, exponent: i64) -> Option<(u64, i32)> {
        if bits == 0 {
            return Some((0, self.exponent_min));
        }
        let bits_len = i64::from(u128::BITS - bits.leading_zeros());
        if i64::from(self.exponent_max + self.precision) < exponent + bits_len {
            return None;
        }
        // Drop what does not fit into the mantissa, or what lies below the smallest subnormal.
        let shift = (bits_len - i64::from(self.precision)).max(i64::from(self.exponent_min) - exponent);
        let (mut mantissa, mut result_exponent) = match shift {
            // Exact: room to spare. No bit leaves at the top, since the shift is at most precision - bits_len.
            ..=0 => (bits << -shift, exponent + shift),
            1..128 => {
                let kept = bits >> shift;
                let dropped = bits & ((1 << shift) - 1);
                let half = 1 << (shift - 1);
                let up = half < dropped || half == dropped && kept & 1 == 1;
                (kept + u128::from(up), exponent + shift)
            }
            128 => (u128::from(1 << 127 < bits), exponent + shift),
            _ => (0, exponent + shift),
        };
        if mantissa >> self.precision != 0 {
            mantissa >>= 1; // Rounding up gave exactly 2^precision.
            result_exponent += 1;
        }
        if mantissa == 0 {
            return Some((0, self.exponent_min));
        }
        if i64::from(self.exponent_max) < result_exponent {
            return None;
        }
        assert!(i64::from(self.exponent_min) <= result_exponent);
        Some((mantissa as u64, result_exponent as i32))
    }
}

/// An x87 80-bit extended-precision float, the `long double` in which Redis on x86-64 adds floats; see the head of
/// this file. Never NaN.
#[derive(Debug, Clone, Copy)]
pub struct Extended {
    negative: bool,
    exponent: i32,
    mantissa: u64,
}

/// Exponent that marks infinity.
const INFINITE: i32 = EXTENDED.exponent_max + 1;

/// 5^0 … 5^27: powers that fit in 64 bits.
const POWERS_OF_FIVE: [u64; 28] = {
    let mut powers = [1; 28];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 5;
        i += 1;
    }
    powers
};

/// Decimals that `INCRBYFLOAT` prints at most.
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u64 = 10u64.pow(DECIMALS as u32);

impl Extended {
    /// 0.
    pub const ZERO: Extended = Extended { negative: false, exponent: EXTENDED.exponent_min, mantissa: 0 };

    /// The largest finite number, `LDBL_MAX`.
    pub const MAX: Extended = Extended { negative: false, exponent: EXTENDED.exponent_max, mantissa: u64::MAX };

    /// Exact: 63 bits fit in the mantissa.
    pub fn from_integer(value: i64) -> Extended {
        let magnitude = u128::from(value.unsigned_abs());
        Extended::rounded(value < 0, magnitude, 0)
    }

    /// Reads a number as Redis' `string2ld`: all that `strtold` takes (decimal, hexadecimal, `inf`, `infinity`, a
    /// `+`), the whole text of at most [`EXTENDED_TEXT_LEN_MAX`] bytes, without leading spaces. Refused: NaN,
    /// overflow, and a nonzero text that underflows to zero.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if EXTENDED_TEXT_LEN_MAX < text.len() {
            return None;
        }
        let (negative, rest) = split_sign(text);
        let (bits, exponent) = match classify(rest)? {
            Shape::Infinity => {
                return Some(Extended { negative, exponent: INFINITE, mantissa: 1 << 63 });
            }
            Shape::Hexadecimal(digits) => scan_hexadecimal(digits)?,
            Shape::Decimal => binary(&Decimal::scan(rest)?)?,
        };
        let number = Extended::rounded(negative, bits, exponent);
        let underflowed = number.mantissa == 0 && bits != 0;
        (number.is_finite() && !underflowed).then_some(number)
    }

    /// Whether it is not an infinity.
    pub fn is_finite(self) -> bool {
        self.exponent != INFINITE
    }

    /// The sum, correctly rounded, infinite where it overflows; `None` for ∞ - ∞, which is not a number.
    #[allow(clippy::should_implement_trait)] // The operator cannot say that there is no result.
    pub fn add(self, other: Extended) -> Option<Extended> {
        if !self.is_finite() || !other.is_finite() {
            return match (self.is_finite(), other.is_finite()) {
                (true, _) => Some(other),
                (_, true) => Some(self),
                _ => (self.negative == other.negative).then_some(self),
            };
        }
        if self.mantissa == 0 && other.mantissa == 0 {
            return Some(Extended { negative: self.negative && other.negative, ..Extended::ZERO });
        }
        let (large, small) = if self.exponent < other.exponent { (other, self) } else { (self, other) };
        // Both with 63 bits below the mantissa of the larger exponent; what the smaller loses stays as a sticky bit.
        // A cancellation of more than one bit needs exponents at most one apart, and then nothing is lost.
        let distance = (large.exponent - small.exponent) as u32;
        let large_bits = u128::from(large.mantissa) << 63;
        let small_bits = u128::from(small.mantissa) << 63;
        let small_bits = match distance {
            0 => small_bits,
            1..128 => small_bits >> distance | u128::from(small_bits & ((1 << distance) - 1) != 0),
            _ => u128::from(small_bits != 0),
        };
        let (negative, bits) = if large.negative == small.negative {
            (large.negative, large_bits + small_bits)
        } else if small_bits <= large_bits {
            (large.negative && small_bits != large_bits, large_bits - small_bits)
        } else {
            (small.negative, small_bits - large_bits)
        };
        Some(Extended::rounded(negative, bits, i64::from(large.exponent) - 63))
    }

    /// The number with the other sign.
    pub fn negated(self) -> Extended {
        Extended { negative: !self.negative, ..self }
    }

    /// The product with a small number, correctly rounded, infinite where it overflows.
    pub fn times(self, factor: u32) -> Extended {
        if !self.is_finite() {
            return self;
        }
        Extended::rounded(self.negative, u128::from(self.mantissa) * u128::from(factor), i64::from(self.exponent))
    }

    /// Rounded up to an integer; what 64 bits cannot hold is the largest or smallest that they can.
    pub fn ceil(self) -> i64 {
        let (whole, has_rest) = match self.exponent {
            _ if self.mantissa == 0 => (0, false),
            exponent if 0 <= exponent => (u128::from(self.mantissa) << exponent.min(64), false),
            exponent if exponent <= -64 => (0, true),
            exponent => (u128::from(self.mantissa >> -exponent), self.mantissa & ((1 << -exponent) - 1) != 0),
        };
        if self.negative {
            i64::try_from(whole).map_or(i64::MIN, |whole| -whole)
        } else {
            i64::try_from(whole + u128::from(has_rest)).unwrap_or(i64::MAX)
        }
    }

    /// Orders by value; -0 equals 0.
    pub fn compare(self, other: Extended) -> Ordering {
        let magnitude = |number: Extended| (number.exponent, number.mantissa);
        match (self.mantissa == 0 || !self.negative, other.mantissa == 0 || !other.negative) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) => magnitude(self).cmp(&magnitude(other)),
            (false, false) => magnitude(other).cmp(&magnitude(self)),
        }
    }

    /// Appends the text that Redis stores and sends after `INCRBYFLOAT`: `%.17Lf`, trailing zeros and a trailing
    /// point removed, `0` for `-0`. At most 4,952 bytes.
    pub fn write_human(self, out: &mut Vec<u8>) {
        if !self.is_finite() {
            out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" });
            return;
        }
        // The number times 10^17, rounded to an integer; below 2^121, so only numbers from 2^64 on need more room.
        let exponent = self.exponent;
        let (integer, fraction) = if exponent < 0 {
            let scaled = u128::from(self.mantissa) * u128::from(TEN_TO_DECIMALS);
            let scaled = shift_right_rounding(scaled, exponent.unsigned_abs());
            let ten = u128::from(TEN_TO_DECIMALS);
            (scaled / ten, (scaled % ten) as u64)
        } else if exponent <= 64 {
            (u128::from(self.mantissa) << exponent, 0)
        } else {
            if self.negative {
                out.push(b'-');
            }
            Big::shifted(self.mantissa, exponent as u32).write_decimal(out);
            return;
        };
        if self.negative && (integer, fraction) != (0, 0) {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        if fraction != 0 {
            // 10^17 + fraction prints as a 1 and exactly 17 digits.
            let mut buffer = itoa::Buffer::new();
            let digits = &buffer.format(TEN_TO_DECIMALS + fraction).as_bytes()[1..];
            let len = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            out.push(b'.');
            out.extend_from_slice(&digits[..len]);
        }
    }

    fn rounded(negative: bool, bits: u128, exponent: i64) -> Extended {
        match EXTENDED.round(bits, exponent) {
            Some((mantissa, exponent)) => Extended { negative, exponent, mantissa },
            None => Extended { negative, exponent: INFINITE, mantissa: 1 << 63 },
        }
    }
}

/// `value / 2^shift` to the nearest integer, ties to even.
fn shift_right_rounding(value: u128, shift: u32) -> u128 {
    if u128::BITS <= shift {
        return 0; // The one caller's values are below 2^121, less than half of 2^128.
    }
    let kept = value >> shift;
    let dropped = value & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    kept + u128::from(half < dropped || half == dropped && kept & 1 == 1)
}

/// The value of a decimal as bits (at least 66 of them, the lowest sticky, where it is not exact) and a power of two;
/// `None` where it is beyond the extended format by orders of magnitude.
fn binary(decimal: &Decimal<'_>) -> Option<(u128, i64)> {
    /// 10^4933 is too large for the extended format.
    const MAGNITUDE_MAX: i64 = 4933;
    /// 10^-4951 is less than half of the smallest subnormal, 3.6e-4951, and so underflows to zero.
    const MAGNITUDE_MIN: i64 = -4951;
    /// 10^38 < 2^127.
    const SHORT_LEN_MAX: usize = 38;
    /// 5^26 < 2^61: dividing a number of 128 bits by it leaves at least 67.
    const SHORT_DIVISOR_MAX: i64 = 26;

    if decimal.is_zero() {
        return Some((0, 0));
    }
    let magnitude = decimal.len() as i64 + decimal.exponent; // 10^(magnitude - 1) <= value < 10^magnitude
    if !(MAGNITUDE_MIN..=MAGNITUDE_MAX + 1).contains(&magnitude) {
        return None;
    }
    let exponent = decimal.exponent;
    if decimal.len() <= SHORT_LEN_MAX {
        let number = decimal.digits().fold(0u128, |number, digit| number * 10 + u128::from(digit));
        if (-SHORT_DIVISOR_MAX..0).contains(&exponent) {
            let divisor = u128::from(POWERS_OF_FIVE[exponent.unsigned_abs() as usize]);
            let zeros = number.leading_zeros();
            let number = number << zeros;
            let sticky = u128::from(number % divisor != 0);
            return Some(((number / divisor) << 1 | sticky, exponent - i64::from(zeros) - 1));
        }
        if (0..POWERS_OF_FIVE.len() as i64).contains(&exponent)
            && let Some(product) = number.checked_mul(u128::from(POWERS_OF_FIVE[exponent as usize]))
        {
            return Some((product, exponent));
        }
    }
    Some(binary_of_any_length(decimal))
}

/// The same for every number of digits.
fn binary_of_any_length(decimal: &Decimal<'_>) -> (u128, i64) {
    let exponent = decimal.exponent;
    let mut number = Big::from_digits(decimal.digits());
    if 0 <= exponent {
        number.multiply_by_power_of_five(exponent as u32);
        let (bits, shift) = number.top_bits();
        return (bits, i64::from(shift) + exponent);
    }
    let mut divisor = Big::shifted(1, 0);
    divisor.multiply_by_power_of_five(exponent.unsigned_abs() as u32);
    let (bits, shift) = number.divide(divisor);
    (bits, shift + exponent)
}

/// A natural number of some ten thousand bits: 64-bit limbs, lowest first, the last one not zero. Only for numbers
/// beyond 128 bits; texts are limited to 5,119 bytes, so it stays below 600 limbs.
struct Big(Vec<u64>);

impl Big {
    /// Digits that fit in a limb.
    const CHUNK_LEN: u32 = 19;

    fn shifted(value: u64, shift: u32) -> Big {
        let mut big = Big(vec![value]);
        big.shift_left(shift);
        big
    }

    fn from_digits(digits: impl Iterator<Item = u8>) -> Big {
        let mut big = Big(Vec::new());
        let (mut chunk, mut factor) = (0u64, 1u64);
        for digit in digits {
            chunk = chunk * 10 + u64::from(digit);
            factor *= 10;
            if factor == 10u64.pow(Big::CHUNK_LEN) {
                big.multiply_add(factor, chunk);
                (chunk, factor) = (0, 1);
            }
        }
        big.multiply_add(factor, chunk);
        big
    }

    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    fn multiply_by_power_of_five(&mut self, mut power: u32) {
        let step = POWERS_OF_FIVE.len() as u32 - 1;
        while step < power {
            self.multiply_add(POWERS_OF_FIVE[step as usize], 0);
            power -= step;
        }
        self.multiply_add(POWERS_OF_FIVE[power as usize], 0);
    }

    fn shift_left(&mut self, shift: u32) {
        if !shift.is_multiple_of(64) {
            let mut carry = 0;
            for limb in &mut self.0 {
                let moved = *limb << (shift % 64) | carry;
                carry = *limb >> (64 - shift % 64);
                *limb = moved;
            }
            if carry != 0 {
                self.0.push(carry);
            }
        }
        self.0.splice(..0, std::iter::repeat_n(0, (shift / 64) as usize));
    }

    fn bits_len(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 64 - top.leading_zeros())
    }

    /// The highest bits, at least 66 of them if there are as many, and the power of two to multiply them with; the
    /// lowest is sticky.
    fn top_bits(&self) -> (u128, u32) {
        let limb = |i: usize| self.0.get(i).copied().unwrap_or(0);
        if self.0.len() <= 2 {
            return (u128::from(limb(1)) << 64 | u128::from(limb(0)), 0);
        }
        // Three limbs hold at least 129 bits: the top two with the third shifted in to fill them up.
        let top = self.0.len() - 1;
        let zeros = limb(top).leading_zeros();
        let pair = u128::from(limb(top)) << 64 | u128::from(limb(top - 1));
        let third = limb(top - 2);
        let (filled, rest) = match zeros {
            0 => (pair, third),
            zeros => (pair << zeros | u128::from(third >> (64 - zeros)), third << zeros),
        };
        let sticky = rest != 0 || self.0[..top - 2].iter().any(|&limb| limb != 0);
        (filled | u128::from(sticky), (top as u32 - 1) * 64 - zeros)
    }

    /// `self / divisor` as 67 bits, the lowest sticky, and a power of two. Schoolbook, a bit at a time: at most 67
    /// subtractions of 600 limbs, for texts that nobody sends twice.
    fn divide(mut self, mut divisor: Big) -> (u128, i64) {
        let shift = i64::from(self.bits_len()) - i64::from(divisor.bits_len());
        if 0 < shift {
            divisor.shift_left(shift as u32);
        } else {
            self.shift_left(shift.unsigned_abs() as u32);
        }
        // Both have as many bits now, so the quotient lies in 1/2 … 2: of the bit before the point and
        // the 66 after it, at least 66 count.
        let len = divisor.0.len() + 1;
        self.0.resize(len, 0);
        divisor.0.resize(len, 0);
        const FRACTION_BITS: i64 = 66;
        let mut quotient: u128 = 0;
        for i in 0..=FRACTION_BITS {
            let fits = self.0.iter().rev().cmp(divisor.0.iter().rev()) != Ordering::Less;
            quotient = quotient << 1 | u128::from(fits);
            if fits {
                let mut borrow = false;
                for (limb, &part) in self.0.iter_mut().zip(&divisor.0) {
                    let (difference, below) = limb.overflowing_sub(part);
                    let (difference, below_again) = difference.overflowing_sub(u64::from(borrow));
                    (*limb, borrow) = (difference, below || below_again);
                }
                assert!(!borrow);
            }
            if i < FRACTION_BITS {
                let mut carry = 0;
                for limb in &mut self.0 {
                    (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
                }
                assert!(carry == 0); // The remainder is less than the divisor, and there is a limb to spare.
            }
        }
        let sticky = self.0.iter().any(|&limb| limb != 0);
        (quotient << 1 | u128::from(sticky), shift - FRACTION_BITS - 1)
    }

    fn write_decimal(mut self, out: &mut Vec<u8>) {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut remainder = 0u64;
            for limb in self.0.iter_mut().rev() {
                let value = u128::from(remainder) << 64 | u128::from(*limb);
                *limb = (value / u128::from(10u64.pow(Big::CHUNK_LEN))) as u64;
                remainder = (value % u128::from(10u64.pow(Big::CHUNK_LEN))) as u64;
            }
            chunks.push(remainder);
            while self.0.last() == Some(&0) {
                self.0.pop();
            }
        }
        let mut buffer = itoa::Buffer::new();
        for (i, &chunk) in chunks.iter().rev().enumerate() {
            let text = buffer.format(chunk).as_bytes();
            if i != 0 {
                out.extend(std::iter::repeat_n(b'0', Big::CHUNK_LEN as usize - text.len()));
            }
            out.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `SET k a` and `INCRBYFLOAT k b` answer: the sum, `invalid` (no float) or `infinite`.
    fn sum(a: &str, b: &str) -> String {
        let (Some(a), Some(b)) = (Extended::parse(a.as_bytes()), Extended::parse(b.as_bytes())) else {
            return "invalid".to_string();
        };
        let Some(sum) = a.add(b).filter(|sum| sum.is_finite()) else {
            return "infinite".to_string();
        };
        let mut text = Vec::new();
        sum.write_human(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn seconds_become_milliseconds_rounded_up() {
        for (text, milliseconds) in [
            ("0", 0),
            ("-0", 0),
            ("1", 1000),
            ("0.0001", 1),
            ("-0.0001", 0),
            ("-0.001", 0), // It is a little less than that, as in Redis.
            ("-0.5", -500),
            ("1.0005", 1001),
            ("0x1p-10", 1),
            ("1e-4940", 1),
            ("-1e-400", 0),
            ("4503599627370496.5", 4_503_599_627_370_496_500),
            ("1e400", i64::MAX),
            ("-1e400", i64::MIN),
            ("inf", i64::MAX),
            ("-inf", i64::MIN),
        ] {
            let seconds = Extended::parse(text.as_bytes()).expect("a number");
            assert_eq!(seconds.times(1000).ceil(), milliseconds, "{text}");
        }
    }

    #[test]
    fn integers_are_read_as_string2ll_reads_them() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("10", 10), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "1\0",
            "a",
            "9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "18446744073709551617",
            "100000000000000000000",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_are_printed_with_seventeen_digits() {
        // The right-hand sides come from printf("%.17g") of glibc; the last two groups are exact ties.
        for (value, text) in [
            (3.0, "3"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e20, "1e+20"),
            (-1e100, "-1e+100"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (9007199254740993.0, "9007199254740992"),
            (18014398509481988.0, "18014398509481988"),
            (1e15 + 0.5, "1000000000000000.5"),
            (1125899906842624.0 + 0.25, "1125899906842624.2"),
            (1125899906842624.0 + 0.75, "1125899906842624.8"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(&*format_double(value), text);
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (text, value) in [
            ("+1", 1.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e2", 100.0),
            ("1E+2", 100.0),
            ("0x10", 16.0),
            ("-0x.8p1", -1.0),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000000000000000000001p0", 1.0 + f64::EPSILON),
            ("0x0p99999999999999999999", 0.0),
            ("0e999", 0.0),
            ("4.9e-324", 5e-324),
            ("inf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-iNF", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_double(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_double(b"-0x0").unwrap().is_sign_negative());
        for text in [
            "",
            "+",
            "-",
            ".",
            "e1",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1,5",
            "1.5.5",
            "1\0",
            "nan",
            "-nan",
            "nan(1)",
            "infin",
            "infinityy",
            "0x",
            "0x.",
            "0xp1",
            "0x1p",
            "0x1g",
            "0x1.1.1",
            "1e400",
            "-1e400",
            "1e-400",
            "2e-324",
            "0x1p1024",
            "0x1.fffffffffffff8p1023",
            "0x1p-1075",
            "1_0",
            "١",
        ] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
    }

    /// Edges, each answered so by `SORT` of Redis 7.0.15.
    #[test]
    fn what_lies_below_the_normal_numbers_is_out_of_range_unless_it_is_exact() {
        let is_in_range = |text: &str| parse_double_in_range(text.as_bytes()).is_some();
        for text in [
            "2.2250738585072014e-308",
            "2.2250738585072013e-308",
            "-2.2250738585072014e-308",
            "0x1p-1022",
            "0x1p-1074",
            "0x0.8p-1022",
            "0x1p-1030",
            "0",
            "-0",
            "0.0",
            "0e-500",
            "inf",
            "1",
        ] {
            assert!(is_in_range(text), "{text}");
        }
        for text in [
            "1e-310",
            "-1e-310",
            "4.9e-324",
            "1e-323",
            "2.2250738585072011e-308",
            "2.2250738585072012e-308",
            "1e-400",
            "0x1.8p-1074",
            "0x1p-1075",
            "1e400",
            "nan",
        ] {
            assert!(!is_in_range(text), "{text}");
        }
    }

    /// Edges, each answered so by Redis 7.0.15.
    #[test]
    fn edges_of_extended_sums_are_those_of_redis() {
        for (a, b, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "0", "3000"),
            ("5.0e-324", "0", "0"),
            ("-1e-30", "0", "0"),
            ("-0", "-0", "0"),
            ("-0.000000000000000004", "0", "0"),
            ("0.000000000000000005", "0", "0"),
            ("0.000000000000000006", "0", "0.00000000000000001"),
            ("inf", "1", "infinite"),
            ("-inf", "inf", "infinite"),
            ("1", "-Infinity", "infinite"),
            ("1e4932", "1e4932", "infinite"),
            ("1e4933", "1", "invalid"),
            ("1e4950", "1", "invalid"),
            ("1e-4950", "0", "0"),
            ("2e-4951", "0", "0"),
            ("1e-4951", "0", "invalid"),
            ("1e-5000", "0", "invalid"),
            ("1e-99999999999999999999", "0", "invalid"),
            ("0e99999999999999999999", "0", "0"),
            ("0x1p-16446", "0", "invalid"),
            ("0x1.8p-16446", "0", "0"),
            ("0x1p16384", "-0x1p16384", "invalid"),
            ("0x1.ffffffffffffffffp16383", "0", "invalid"),
            ("0x1.fffffffffffffffep16383", "-0x1.fffffffffffffffep16383", "0"),
            ("nan", "1", "invalid"),
            ("1", "nan(7)", "invalid"),
            ("0x10", "0", "16"),
            ("0x1P-3", "0", "0.125"),
            ("+1", ".5", "1.5"),
            ("1.", "0X.8", "1.5"),
            (".", "1", "invalid"),
            ("", "1", "invalid"),
            ("1e", "1", "invalid"),
            ("0x", "1", "invalid"),
            (" 1", "1", "invalid"),
            ("1 ", "1", "invalid"),
            ("1\0", "1", "invalid"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("18446744073709551616", "3", "18446744073709551620"),
            ("18446744073709551616", "-0.5", "18446744073709551616"),
            ("1", "0x1p-64", "1"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn long_texts_are_read_to_the_last_digit_and_no_further() {
        let zeros = |count: usize| "0".repeat(count);
        assert_eq!(sum(&format!("{}1", zeros(5118)), "0"), "1");
        assert_eq!(sum(&format!("{}1", zeros(5119)), "0"), "invalid");
        // Halfway between 2^64 and its neighbour: the last of 5,000 decimals decides.
        assert_eq!(sum(&format!("18446744073709551617.{}", zeros(5000)), "0"), "18446744073709551616");
        assert_eq!(sum(&format!("18446744073709551617.{}1", zeros(5000)), "0"), "18446744073709551618");
        assert_eq!(sum(&format!("0.{}1e5001", zeros(5000)), "0.5"), "1.5");
        // The largest number, digit by digit: 2^16384 - 2^16320.
        let mut largest = Vec::new();
        Extended::MAX.write_human(&mut largest);
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with(b"1189731495357231765021263853030970205169063322294624200440"));
        assert!(largest.ends_with(b"8849149662444156604419552086811989770240"));
        let text = String::from_utf8(largest).unwrap();
        assert_eq!(sum(&text, "0"), text);
        assert_eq!(sum(&text, &text), "infinite");
        assert_eq!(sum(&text, &format!("-{text}")), "0");
    }

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in SUMS {
            assert_eq!(sum(a, b), *expected, "{a} + {b}");
        }
    }

    #[test]
    fn extended_numbers_are_ordered_by_value() {
        let texts = ["-inf", "-1e4000", "-2", "-1.5", "-1e-4940", "0", "2e-4951", "1", "1.5", "2", "1e4932", "inf"];
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                let [a, b] = [a, b].map(|text| Extended::parse(text.as_bytes()).unwrap());
                assert_eq!(a.compare(b), i.cmp(&j));
            }
        }
        let minus_zero = Extended::parse(b"-0").unwrap();
        assert_eq!(minus_zero.compare(Extended::ZERO), Ordering::Equal);
        assert_eq!(Extended::MAX.compare(Extended::parse(b"inf").unwrap()), Ordering::Less);
    }

    proptest! {
        #[test]
        fn printed_integers_are_read_back(value: i64) {
            prop_assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn what_integers_refuse_does_not_print_back(text in "[-+0-9 ]{0,22}") {
            let expected = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_integer(text.as_bytes()), expected);
        }

        #[test]
        fn printed_doubles_are_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(parse_double(format_double(value).as_bytes()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn extended_sums_of_integers_are_exact(a: i64, b: i64) {
            // 64 bits of mantissa hold every sum of two i64 but -2^64, which is a power of two.
            let mut text = Vec::new();
            Extended::from_integer(a).add(Extended::from_integer(b)).unwrap().write_human(&mut text);
            let exact = i128::from(a) + i128::from(b);
            prop_assert_eq!(String::from_utf8(text).unwrap(), exact.to_string());
            prop_assert_eq!(Extended::from_integer(a).compare(Extended::from_integer(b)), a.cmp(&b));
        }

        #[test]
        fn short_and_long_ways_of_reading_agree(text in "[1-9][0-9]{0,18}(\\.[0-9]{0,18})?(e-?[0-9])?") {
            let decimal = Decimal::scan(text.as_bytes()).unwrap();
            let (short, short_exponent) = binary(&decimal).unwrap();
            let (long, long_exponent) = binary_of_any_length(&decimal);
            prop_assert_eq!(EXTENDED.round(short, short_exponent), EXTENDED.round(long, long_exponent));
        }
    }

    /// Drawn at random (integers, decimals, exponents, hexadecimal, near ties, cancellations); sums from Redis 7.0.15.
    #[rustfmt::skip]
    const SUMS: &[(&str, &str, &str)] = &[
        ("+939.25240979704883", "39651", "40590.2524097970488306"),
        ("-0836899227477349e-12", "-0836899227477349e-12", "-1673.79845495469799999"),
        ("-6.05196123522689678", "142948391", "142948384.94803876477817539"),
        ("-633134104812070.8348104954", "806.7081582206847", "-633134104811264.126708984375"),
        ("-34983281628228886560571668524758466560.00000000000001", "+889", "-34983281628228886561724590029365313536"),
        ("6120.0132877249718", "-6120.01328772497181", "-0.00000000000001021"),
        ("2011511479790558733", "-20115114797905587331", "-18103603318115028599"),
        ("-001.16899", "65731704.154109681179761537350714206695556640625000000000000001", "65731702.98511968118327786"),
        ("-0X29CFa8b2D97EF.cB19aA2890bb48be2b9CdD3Fd4aBbbDC40C3bap114", "-7.66895852213771257", "-15276772581329467958531905355016940398091526209536"),
        ("1e", "+761844569122234029898462893764e-36", "invalid"),
        ("7074759136135", "-7074759136135", "0"),
        ("+42563.7850624714425695971123173500365286", "+30686801772383183823533423878524108800", "30686801772383183824686345383130955776"),
        ("28700901285175843", "9931901737550324", "38632803022726167"),
        ("827523843161166904", "-34712.3", "827523843161132191.6875"),
        ("+1704809159799348460821352189398220299415e+8", "620253727762426566372124883e-30", "170480915979934846077718090163756506834978996224"),
        ("+95458480911487556586764385330076e10", "+18659", "954584809114875565845748893157378276458496"),
        ("-93e44", "+454513.489086", "-9300000000000000000251334666932873464603738112"),
        ("+30", "2519353.4634347174658372194376809071", "2519383.46343471746581599"),
        ("0Xc5bCE4bFD9b4e4B543b8AAdcFA7BF8aFdFed.0e81B6Ec1fD5faB7ECFp-166", "78432462553558", "78432462553558"),
        ("+1", "319868.4071841483", "319869.40718414829999006"),
        ("+542700e-50", "+2170067", "2170067"),
        ("095408.270196300970", "10", "95418.27019630096999947"),
        ("+84.6911428462257132", "+0XFe74e806Feae6B6AE3fAfc548C8e71", "1321214544680374011132229640939110400"),
        ("2495.138113191", "968111609197157.2191283507533435732790942263639511064335", "968111609199652.35723876953125"),
        ("+0.22850921845416745356", "-1764.46", "-1764.23149078154583247"),
        ("48302718.71380930119288684067356", "763199542", "811502260.71380930120358244"),
        ("+75565020321045.5547167e4910", "-75565020321045.5547167e4910", "0"),
        ("121131476348879577561432064.000000000000000001", "+336004.8372258850993", "121131476348879577565626368"),
        ("542943949277007534.1666244695191126198743282735528", "707021e+6", "542944656298007534.15625"),
        ("866626049260343426460513254198089e+38", "034.172", "86662604926034342645380941606032458472290840040998764734061517700333568"),
        ("-266563432690801330", "+40.680914548997922738", "-266563432690801289.3125"),
        ("92.63895774439801605838", "-215002757355933163400015634.54226466896377315581", "-215002757355933163396792320"),
        ("9595368409120680", "17698204.35236168863e-4949", "9595368409120680"),
        ("-0Xe6B08cFD5C99B2dCfb5bC24DB73", "993989848655.69146088100e-4940", "-292433874977455939278757982896128"),
        ("595791773986996951.83690137046e-4936", "+4766.439293202628808820865", "4766.439293202628809"),
        ("52.311150242", "-618465.92973188780789e4933", "invalid"),
        ("+087972.423392552772360", "+4008.5770708587864419", "91981.00046341155880469"),
        ("-5708322", "24850674183193636704920535040.00000000000000000001", "24850674183193636705994276864"),
        ("-4805", "39.745717910860593", "-4765.25428208913940686"),
        ("-9310.2949361", "-6663458842177509312.9017755236088344714051", "-6663458842177518623.5"),
        ("-6502539952282412417", "-04351.930538415", "-6502539952282416769"),
        ("4601172000314111", "-46011720003141111", "-41410548002827000"),
        ("84", "+1137387853666005", "1137387853666089"),
        ("+8335.60804290454e4933", "34383.197368594490058", "invalid"),
        ("+7.270115", "+19", "26.270115"),
        ("637981339", "-6379813391", "-5741832052"),
        ("-17", "+0420004290945973327.622023489112202649437899", "420004290945973310.625"),
        ("+1021708496923260386", "-57625637598444667", "964082859324815719"),
        ("-338999623645367814864896", "62.4", "-338999623645367814848512"),
        ("-151803483757971.2e-4936", "-7116485904546657009", "-7116485904546657009"),
        ("21812", "730", "22542"),
        ("29359", "+9397.480906577314355931918044007034040987491607666015625", "38756.48090657731435726"),
        ("-0Xffe1AFde71966bDE31cD189Bc5EAB774", "+8999", "-340124972763810255387042337138958925824"),
        ("+6.82419056133787", "+36021756478819070172457692.6058571", "36021756478819070172463104"),
        ("+48415250174837859425.1395", "3363843487254415913029e-58", "48415250174837859424"),
        ("39768891461901588.259765625000001", "4.7263431872", "39768891461901592.98828125"),
        ("0834136199693751333359262402749e51", "38.71055405", "834136199693751333345001051848957356995289883820000601636455610936200254386601984"),
        ("8577653178879", "68847.0558", "8577653247726.05579996109008789"),
        ("+7814549969468961605", "-7814549969468961605", "0"),
        ("62511.45027291897160967", "-62511.45027291897160967", "0"),
        ("-8399.067555e-4943", "13.15400060482481938", "13.15400060482481938"),
        ("+0x6616e5dE53CA573f1BC9B83C74b6A8A89AF0D49FED44d5BEefABFf8P-2471", "888312613131.44038e-4914", "0"),
        ("+27775093", "6", "27775099"),
        ("+7360.0730769978785", "-7360.07307699787851", "-0.00000000000000977"),
        ("3.139201076", "963564743665719630897766e+6", "963564743665719630865555783680"),
        ("+980157.3", "+996007995910931965072.3495338177", "996007995910932945216"),
        ("+277499131", "9.1670597321", "277499140.16705973210628144"),
        ("00012", "+204874303654894674.7009227e-4942", "12"),
        ("+922393", "+7", "922400"),
        ("-4828", "69866939156495303182157866.8956548982818961607233420766373450441", "69866939156495303182385152"),
        ("+3.8", "8510496008571", "8510496008574.80000019073486328"),
        ("+920.", "-107.14", "812.85999999999999999"),
        ("7928.4140", "-7928.41401", "-0.00001000000000007"),
        ("+0Xdf478C18eaBE9fBAe5C07D5fa1a7Ee2dbdE29FA5afba7262e", "905564123571504014124e-24", "87596751286511359366089133534724482170492630591117205700608"),
        ("5129.0112", "-5129.0112", "0"),
        ("+7891995852023", "-78919958520231", "-71027962668208"),
        ("2110215e+55", "55783542332", "21102149999999999999672585649879828941629847455187618720907264"),
        ("-0.978710", "+8004.4007636580233948739632570166063409980588", "8003.4220536580233949"),
        ("42522.8804018043588", "-213600.404584561", "-171077.52418275664119562"),
        ("+432219379052251831", "2191974930", "432219381244226761"),
        ("083e15", "0xdD.3p190", "347104110023960362862732168261436428852909936218097158455296"),
        ("+5695704.941664584751509425e-4954", "+89511399505", "89511399505"),
        ("+28686594.2891543944999135345367713545", "-28686594.2891543944999135345367713545", "0"),
        ("+391677550997951257", "0Xb64c44cEd45eB14aBeF4a246eF49.6Fe3DA1bF6cc5EB", "3697441183237963654323021379796992"),
        ("378078.6066358169e-4930", "230501967433939415034364e+13", "2305019674339394150324861428620591104"),
        ("002505.34233017051505637843113407460943158", "-1884.38436513", "620.95796504051505627"),
        ("-860765874997682e15", "48893", "-860765874997682000011064246272"),
        ("+96176866943908256353691304644837376", "+878823167343171", "96176866943908256358194904272207872"),
        ("8603.8868612977554728023020921", "-99080360642", "-99080352038.11313870549201965"),
        ("-40111", "3332472701955.7676839590200908", "3332472661844.76768398284912109"),
        ("740422293753791", "71.", "740422293753862"),
        ("-98", "-292571072699596070.137710e-4931", "-98"),
        ("-63973.643273339612343347", "-46282881842622184", "-46282881842686157.64453125"),
        ("870.763178693367325153", "689370.033875263150235923603759147226810455322265625", "690240.79705395651751587"),
        ("+33.9371", "8214079535616498364412.2768", "8214079535616498364416"),
        ("0xCfE6FdDD61bdABBdf1.2F201DCb7b7CCdff8079bF03B3C984644E43", "+0xdd1080Fd8Bf4f713e3425dBe83FcbEf7FBAbB91249P-15314", "3835120726467572121088"),
        ("9481.7206311267947320", "-6991", "2490.72063112679473207"),
        ("22419062226250", "-224190622262501", "-201771560036251"),
        ("003e-38", "99034741501", "99034741501"),
        ("896697.6845416318e-4919", "4252.7769797160648050817", "4252.77697971606480509"),
        ("20164.69e-4906", "-20164.69e-4906", "0"),
        ("+0134.1771910992385598154", "+6637", "6771.17719109923855969"),
        ("24692660322834250e-23", "65091845636187.94328212268079630575696832", "65091845636187.9432830810546875"),
        ("+506504057", "-0xa25FfA6D16bC8e.e415Cdf9e4319E9f7Bc2AB3c3bB4fE44DeAP-16152", "506504057"),
        ("-155.62856", "-3", "-158.62855999999999999"),
        ("6760398", "+745.145416", "6761143.14541599999984101"),
        ("-936886.59", "918071.8614103562654259581508688993355190113", "-18814.72858964373455137"),
        ("+0xE6b177476e6dA16.B833766EP-1315", "-37937823", "-37937823"),
        ("1344493766979842849619e-54", "0XE3824dC0eF2e84.a4CC2f3c4BDc38Fe079Ap-136", "0"),
        ("5857226556252822167.15573567300043564205409", "-0xF8EfD175f29BDb358d5c92Ce9B810eEe1b3fDAeb6202", "-93138310651578949022583528029036730289563756824363008"),
        ("+545004028983", "5.08321594081585", "545004028988.08321595191955566"),
        ("+62994.186", "847", "63841.18599999999999994"),
        ("76921621153146", "-3414461", "76921617738685"),
        ("3.6282218", "-9932.532157140", "-9928.90393533999999942"),
        ("+798077346308.3637907803058624267578125", "+45.", "798077346353.36379075050354004"),
        ("513.86801152457096284390", "+749468225299", "749468225812.86801153421401978"),
        ("+11701845368e+46", "-11701845368e+46", "0"),
        ("-5710.", "68521", "62811"),
        ("+161.876222", "-651829.29593496982e-4923", "161.876222"),
        ("-0e+17", "4022.3", "4022.30000000000000004"),
        ("-5904", "5.9966491879", "-5898.00335081209999988"),
        ("40087461546", "-400874615461", "-360787153915"),
        ("+5107475866249647", "-80755439607918", "5026720426641729"),
        ("+701.6589669871", "694166611204853693", "694166611204854394.6875"),
        ("0x70ebc9AfBA8820FC1bF7cF257e6E3ed191dce3DccEBA8d", "8966086468834719", "10815687489625334635540650256739145708118977756826435584"),
        ("+32056326115231764316525.04", "-47", "32056326115231764316160"),
        ("-83478.47705042109234236122", "+298875057", "298791578.5229495789099019"),
        ("910.5148119", "-184217", "-183306.48518810000000201"),
        ("-2176", "+140280", "138104"),
        ("351776180106", "-2570", "351776177536"),
        ("81.529", "5334034027e-54", "81.529"),
        ("-7629.4008532935069", "-7629.4008532935069", "-15258.8017065870137996"),
        ("2016760008430.012309730052947998046875", "969293866802937", "971310626811367.0123291015625"),
        ("0XFddcfC5806beFb04fbdEFd.BefCaB2ABcbcE8aaaB94eeBDa78E7cD0BdDp67", "-164187859627.657331995666027069091796875", "45290712850374319531426419835311048286535680000"),
        ("9677e32", "6817.9818", "967699999999999999992840749079068672"),
        ("+0xF5DeDdC7f7b8B59eA925220A8Ed3cD1bAcf49AD893a35be7Ff3", "-3939141847733039497287088285417472.00000000001", "24693673467877367290373289622793371018269693391570498274459648"),
        ("438.73045015", "-64395601864010974", "-64395601864010535.26953125"),
        ("29537008866497221337.136050771310295e4894", "-29537008866497221337.136050771310295e4894", "0"),
        ("967824.33428851749", "6085935931928583858639311872.00768256471275468", "6085935931928583858666078208"),
        ("-962.652", "-962.6521", "-1925.30410000000000004"),
        ("258", "-2581", "-2323"),
        ("+196.0548730510107493274574", "935091.3957", "935287.45057305101073553"),
        ("-1523293676408", "-2925.4e-4925", "-1523293676408"),
        ("94474190454002", "18155706095010682103.426857513636451079649015260203034", "18155800569201136105"),
        ("5465725e+47", "945832557683294738038475341168640", "546572500000000000013272287525823061613017388518735872"),
        ("673075794729080082529255424", "89734635872", "673075794729080172220252160"),
        ("7044.4589", "06.5806300", "7051.03953000000000007"),
        ("-383387.75329", "+830.", "-382557.75328999999999269"),
        ("96408414593396160", "39.38356", "96408414593396199.3828125"),
        ("+5286905270.4275600145743706535393112064287095044", "148552844095828", "148558131001098.4275665283203125"),
        ("-19790.0863225918214617244944047245119750660499", "9.9508705", "-19780.13545209182146145"),
        ("6430", "+914.36724098264510017", "7344.36724098264510019"),
        ("+629523187535168371.606028261572173625", "75558506663164e-56", "629523187535168371.625"),
        ("-482606131992396343.980853", "+865.88870448179974", "-482606131992395478.09375"),
        ("+946941727345133025476421076647936", "131951910976", "946941727345133025441236704559104"),
        ("+53691201", "10", "53691211"),
        ("333151.1181800442731", "-333151.1181800442731", "0"),
        ("51470141666.389226e-4905", "+4", "4"),
        ("8660337817790904", "-61213368224224567210e22", "-612133682242245672111566802536334102626304"),
        ("+9794", "-5426631112403e28", "-54266311124030000000899716920867305816064"),
        ("-8", "-8", "-16"),
        ("-770110997365997127.36136869562e-4928", "486286091812", "486286091812"),
        ("+3342890336796524324119894994976768", "-4612851050325770921519.2872721", "3342890336791911472935801513312256"),
        ("+72853.7838251", "+692.8", "73546.58382509999999854"),
        ("787496.551", "6167714562119039046.7471e-4963", "787496.55099999999998772"),
        ("-0xe6eF9CCc10389.C868Ffc057455CCAAeAD9Cd6961A4fcDDd8b55p-65", "+484.65909812257", "484.65898800371057339"),
        ("31250895431636881259979759599e48", "6774019331149", "31250895431636881260825295188610255836178293931120693264313345565511317979136"),
        ("284225", "-284225", "0"),
        ("+574012149", "-574012149", "0"),
        ("9.285670343803", "0Xe5719846e0d0cea4fD.27983a52AbFcEAf6F42", "4232489763133623018752"),
        ("58.491033", "-4328695386587e+2", "-432869538658641.50897216796875"),
        ("+72615706622998522", "024950.19152639506", "72615706623023472.1953125"),
        ("-020691656933067715108128332364.0116643748427447678257", "315925315078.13993065059185028076171875", "-20691656933067714792676917248"),
        ("7741707124922833302.9406301", "7689831956575640374778514455.443", "7689831964317347499617550336"),
        ("2.220", "+1502471203.15949658276191270729974145754269", "1502471205.37949658278375864"),
        ("62.38159618876133507882e-4952", "-62.38159618876133507882e-4952", "0"),
        ("-7158.02438162487758877", "-7158.02438162487758877", "-14316.04876324975517754"),
        ("9927", "03.615258650382681", "9930.61525865038268091"),
        ("-849052.", "+0068521492013610720.7954417091750946", "68521492012761668.796875"),
        ("34809277680e-18", "-239709.1", "-239709.09999996519071885"),
        ("-7982687822", "6500721657e36", "6500721657000000000061750510816613019479441408"),
        ("614200.175346721604485396", "+50777.297574629", "664977.47292135060450846"),
        ("924755447460609.6999282528098e-4939", "5163407962038544428980955430.8756140753935", "5163407962038544429138051072"),
        ("-7497900334443884", "43211636579064975859.997566412e-4970", "-7497900334443884"),
        ("+1480199060155723", "164162962719842.39939292124316289824e-4936", "1480199060155723"),
        ("-6730156047357811622", "-6", "-6730156047357811628"),
        ("-68689.381981866215646", "-1696649407984175023722017810131351240704", "-1696649407984175023795804786426189447168"),
        ("+3897", "-7303", "-3406"),
        ("+335672e46", "745470.55", "3356719999999999999911698616074124570050998296379392"),
        ("681639091339384975618711.051940530", "30036438578.7e-4940", "681639091339384975589376"),
        ("+435300264899887", "-435300264899887", "0"),
        ("-696512398573116371.87756209294868079e-4922", "7046", "7046"),
        ("+621684178647877109e7", "-621684178647877109e71", "-62168417864787710901276831306604865276242522640625634606353968108396621612691598121893888"),
        ("-1121095605188667.812164306640625", "0196716172043839313722163091778372e31", "1967161720438393137305199065249233127221845633604085766911164416"),
        ("8", "680073464238493066.49e-4918", "8"),
        ("0XfFF4bfC84F4834DA46aB292b7D0DFCb94.e36f9BF", "-188279142777162428975046650232832", "5443582998425488484869812990813210148864"),
        ("1.1596030", "-1.15960301", "-0.00000001"),
        ("965", "146052127208885447983e+3", "146052127208885447983104"),
        ("+993.10529301318837", "-018.133023", "974.97227001318836997"),
        ("+168473795", "-3700081602666541408198951617196720128.00000000000001", "-3700081602666541408343066805272576000"),
    ];
}
