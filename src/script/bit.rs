//! `bit`: operations on 32 bits, with the results of BitOp.

use super::args;
use super::sandbox::set_functions;
use crate::sys::lua::{Function, Stack, Thrown};

/// Sets its functions in the table on top.
pub fn build(stack: &mut Stack<'_>) {
    let functions: &[(&str, Function)] = &[
        ("tobit", |stack| one(stack, "tobit", |value| value)),
        ("bnot", |stack| one(stack, "bnot", |value| !value)),
        ("bswap", |stack| one(stack, "bswap", u32::swap_bytes)),
        ("band", |stack| fold(stack, "band", |left, right| left & right)),
        ("bor", |stack| fold(stack, "bor", |left, right| left | right)),
        ("bxor", |stack| fold(stack, "bxor", |left, right| left ^ right)),
        ("lshift", |stack| shift(stack, "lshift", u32::wrapping_shl)),
        ("rshift", |stack| shift(stack, "rshift", u32::wrapping_shr)),
        ("arshift", |stack| shift(stack, "arshift", |value, by| (value as i32).wrapping_shr(by) as u32)),
        ("rol", |stack| shift(stack, "rol", |value, by| value.rotate_left(by & 31))),
        ("ror", |stack| shift(stack, "ror", |value, by| value.rotate_right(by & 31))),
        ("tohex", to_hex),
    ];
    set_functions(stack, functions);
}

/// A number as BitOp reads it: the low bits of a double so large that its last one counts ones. Up to 2^51 that is the
/// nearest integer modulo 2^32; hashes that multiply go beyond, and what comes of them is remembered by clients.
fn bits(stack: &mut Stack<'_>, at: i32, function: &str) -> Result<u32, Thrown> {
    const ONES: f64 = 6_755_399_441_055_744.0;
    Ok((args::number(stack, at, function)? + ONES).to_bits() as u32)
}

fn push(stack: &mut Stack<'_>, value: u32) -> Result<usize, Thrown> {
    stack.push_number(f64::from(value as i32));
    Ok(1)
}

fn one(stack: &mut Stack<'_>, name: &str, apply: fn(u32) -> u32) -> Result<usize, Thrown> {
    let value = bits(stack, 1, name)?;
    push(stack, apply(value))
}

fn fold(stack: &mut Stack<'_>, name: &str, apply: fn(u32, u32) -> u32) -> Result<usize, Thrown> {
    stack.charge(stack.len() as usize);
    let mut value = bits(stack, 1, name)?;
    for at in 2..=stack.len() {
        value = apply(value, bits(stack, at, name)?);
    }
    push(stack, value)
}

fn shift(stack: &mut Stack<'_>, name: &str, apply: fn(u32, u32) -> u32) -> Result<usize, Thrown> {
    let value = bits(stack, 1, name)?;
    let by = bits(stack, 2, name)?;
    push(stack, apply(value, by & 31))
}

fn to_hex(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    let value = bits(stack, 1, "tohex")?;
    let digits = if stack.len() < 2 { 8 } else { bits(stack, 2, "tohex")? as i32 };
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let len = digits.unsigned_abs().min(8) as usize;
    stack.push_bytes(&text[8 - len..]);
    Ok(1)
}
