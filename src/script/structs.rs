//! `struct`: packs values into bytes and back by a format, as the library of that name does.
//!
//! `>` and `<` set the order of bytes, `!n` the alignment; `x` is a padding byte; `b/B`, `h/H`, `l/L`, `T`, `i/In` are
//! integers, `f` and `d` floats, `s` a string up to its zero, `cn` one of n bytes (`c0`: of the length packed before).

use super::args;
use super::sandbox::set_functions;
use super::work::full;
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Function, Kind, Stack, Thrown};

/// Longest integer in bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// Alignment that `!` alone means.
const ALIGN: usize = 8;

/// Sets its functions in the table on top.
pub fn build(stack: &mut Stack<'_>) {
    let functions: &[(&str, Function)] = &[("pack", pack), ("unpack", unpack), ("size", size)];
    set_functions(stack, functions);
}

/// The function that knows no letter that is wrong, where it can be one.
const SIZE: &str = "size";

/// A format being read.
struct Format<'a> {
    text: &'a [u8],
    at: usize,
    is_little: bool,
    align: usize,
    function: &'static str,
}

/// One letter of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Item {
    letter: u8,
    size: usize,
    padding: usize,
}

/// Does something by the format that is the first argument.
fn with_format(
    stack: &mut Stack<'_>,
    function: &'static str,
    work: impl FnOnce(&mut Stack<'_>, Format<'_>) -> Result<usize, Thrown>,
) -> Result<usize, Thrown> {
    args::string(stack, 1, function)?;
    stack.lend_bytes(1, |stack, text| {
        stack.charge(text.len());
        work(stack, Format { text, at: 0, is_little: cfg!(target_endian = "little"), align: 1, function })
    })
}

impl Format<'_> {
    fn digits(&mut self, stack: &mut Stack<'_>, default: usize) -> Result<usize, Thrown> {
        let start = self.at;
        let mut value = 0_usize;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            value = value * 10 + usize::from(digit - b'0');
            if (i32::MAX as usize) < value {
                return Err(stack.throw("integral size overflow"));
            }
            self.at += 1;
        }
        Ok(if self.at == start { default } else { value })
    }

    /// The next letter that stands for bytes, with the padding before it so that it is aligned after `position`.
    fn next(&mut self, stack: &mut Stack<'_>, position: usize) -> Result<Option<Item>, Thrown> {
        loop {
            let Some(&letter) = self.text.get(self.at) else { return Ok(None) };
            self.at += 1;
            let size = match letter {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'l' | b'L' | b'T' | b'd' => 8,
                b'f' => 4,
                b'c' => self.digits(stack, 1)?,
                b's' => 0,
                b'i' | b'I' => {
                    let size = self.digits(stack, 4)?;
                    if INTEGER_BYTES_MAX < size {
                        let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                        return Err(stack.throw(text));
                    }
                    size
                }
                b' ' => continue,
                b'>' => {
                    self.is_little = false;
                    continue;
                }
                b'<' => {
                    self.is_little = true;
                    continue;
                }
                b'!' => {
                    let align = self.digits(stack, ALIGN)?;
                    if align == 0 || !align.is_power_of_two() {
                        return Err(stack.throw(format!("alignment {align} is not a power of 2")));
                    }
                    self.align = align;
                    continue;
                }
                _ if letter.is_ascii_alphanumeric() && self.function == SIZE => 0, // As it is there.
                _ => {
                    // A byte, that may be no character.
                    let text = format!("bad argument #1 to '{}' (invalid format option '", self.function);
                    return Err(stack.throw([text.as_bytes(), &[letter], b"')"].concat()));
                }
            };
            let is_aligned = !matches!(letter, b'c' | b's' | b'x');
            let align = size.min(self.align);
            let padding = if is_aligned && 1 < align { (align - (position & (align - 1))) & (align - 1) } else { 0 };
            return Ok(Some(Item { letter, size, padding }));
        }
    }
}

fn pack(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    with_format(stack, "pack", pack_by)
}

fn pack_by(stack: &mut Stack<'_>, mut format: Format<'_>) -> Result<usize, Thrown> {
    stack.push_nil(); // What is missing is called so.
    let mut out: Vec<u8> = Vec::new();
    let mut at = 2;
    while let Some(Item { letter, size, padding }) = format.next(stack, out.len())? {
        let string_len = if matches!(letter, b's' | b'c') { stack.raw_len(at) } else { 0 };
        if stack.lacks(out.len().saturating_add(size.max(string_len))) {
            return Err(full(stack));
        }
        out.resize(out.len() + padding, 0);
        match letter {
            b'x' => {
                out.push(0);
                continue;
            }
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = args::number(stack, at, "pack")?;
                let bits = bits_of(number);
                let low = bits.to_le_bytes();
                // The part beyond 64 bits is zero.
                let bytes = (0..size).map(|index| low.get(index).copied().unwrap_or(0));
                if format.is_little {
                    out.extend(bytes);
                } else {
                    out.extend(bytes.rev());
                }
            }
            b'f' => {
                let number = args::number(stack, at, "pack")? as f32;
                out.extend_from_slice(&if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
            }
            b'd' => {
                let number = args::number(stack, at, "pack")?;
                out.extend_from_slice(&if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() });
            }
            _ => {
                args::string(stack, at, "pack")?;
                let string = stack.bytes(at).unwrap_or_default();
                let len = if letter == b's' || size == 0 { string.len() } else { size };
                if string.len() < len {
                    return Err(args::wrong(stack, at + 1, "pack", "string too short")); // As it counts there.
                }
                out.extend_from_slice(&string[..len]);
                if letter == b's' {
                    out.push(0);
                }
            }
        }
        at += 1;
    }
    stack.charge(out.len() / BYTES_PER_INSTRUCTION);
    stack.push_bytes(out);
    Ok(1)
}

/// A number's bits as C casts it: a negative one by way of a signed one. What has no room in 64 bits becomes what
/// x86-64 makes of it.
fn bits_of(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if HALF <= number { (args::cut(number - HALF) as u64) ^ (1 << 63) } else { args::cut(number) as u64 }
}

fn unpack(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    with_format(stack, "unpack", |stack, format| {
        args::string(stack, 2, "unpack")?;
        let start = args::integer_or(stack, 3, "unpack", 1)?;
        if start == 0 {
            return Err(args::wrong(stack, 3, "unpack", "offset must be 1 or greater"));
        }
        stack.lend_bytes(2, |stack, data| unpack_by(stack, format, data, start))
    })
}

fn unpack_by(stack: &mut Stack<'_>, mut format: Format<'_>, data: &[u8], start: i64) -> Result<usize, Thrown> {
    let mut at = start as usize - 1; // Far beyond the end, as C has a negative one.
    let mut results = 0;
    while let Some(Item { letter, mut size, padding }) = format.next(stack, at)? {
        at = at.saturating_add(padding);
        if data.len() < at || data.len() - at < size {
            return Err(args::wrong(stack, 2, "unpack", "data string too short"));
        }
        if !stack.has_room(4) {
            return Err(stack.throw("stack overflow (too many results)"));
        }
        if stack.is_overdrawn() {
            return Err(full(stack));
        }
        let bytes = &data[at..];
        match letter {
            b'x' => {}
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let mut value = 0_u64;
                for index in 0..size.min(8) {
                    let byte = if format.is_little { bytes[index] } else { bytes[size - 1 - index] };
                    value |= u64::from(byte) << (8 * index);
                }
                let is_signed = letter.is_ascii_lowercase();
                let number = if is_signed {
                    let unused = 64 - 8 * size.min(8) as u32;
                    (((value << (unused.min(63))) as i64) >> unused.min(63)) as f64
                } else {
                    value as f64
                };
                stack.push_number(if size == 0 { 0.0 } else { number });
                results += 1;
            }
            b'f' => {
                let raw: [u8; 4] = bytes[..4].try_into().expect("four bytes");
                stack.push_number(f64::from(if format.is_little {
                    f32::from_le_bytes(raw)
                } else {
                    f32::from_be_bytes(raw)
                }));
                results += 1;
            }
            b'd' => {
                let raw: [u8; 8] = bytes[..8].try_into().expect("eight bytes");
                stack.push_number(if format.is_little { f64::from_le_bytes(raw) } else { f64::from_be_bytes(raw) });
                results += 1;
            }
            b'c' => {
                if size == 0 {
                    if results == 0 || stack.kind(-1) != Kind::Number {
                        return Err(stack.throw("format 'c0' needs a previous size"));
                    }
                    let number = stack.number(-1);
                    stack.pop(1);
                    results -= 1;
                    size = if number.is_sign_negative() && number != 0.0 { usize::MAX } else { number as usize };
                    if bytes.len() < size {
                        return Err(args::wrong(stack, 2, "unpack", "data string too short"));
                    }
                }
                stack.push_bytes(&bytes[..size]);
                results += 1;
            }
            _ => {
                let Some(end) = memchr::memchr(0, bytes) else {
                    return Err(stack.throw("unfinished string in data"));
                };
                stack.push_bytes(&bytes[..end]);
                size = end + 1;
                results += 1;
            }
        }
        at += size;
    }
    stack.push_number((at + 1) as f64);
    Ok(results + 1)
}

fn size(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    with_format(stack, SIZE, size_of_format)
}

fn size_of_format(stack: &mut Stack<'_>, mut format: Format<'_>) -> Result<usize, Thrown> {
    let mut at = 0_usize;
    while let Some(Item { letter, size, padding }) = format.next(stack, at)? {
        if letter == b's' || letter == b'c' && size == 0 {
            let option = if letter == b's' { "s" } else { "c0" };
            return Err(args::wrong(stack, 1, SIZE, &format!("option '{option}' has no fixed size")));
        }
        at = at.saturating_add(padding).saturating_add(size);
    }
    stack.push_number(at as f64);
    Ok(1)
}
