//! Arguments of library functions, checked with Lua's own error texts.

use crate::sys::lua::{Kind, Stack, Thrown};

/// Raises that an argument is wrong.
pub fn wrong(stack: &mut Stack<'_>, at: i32, function: &str, what: &str) -> Thrown {
    stack.throw(format!("bad argument #{at} to '{function}' ({what})"))
}

fn wrong_type(stack: &mut Stack<'_>, at: i32, function: &str, expected: &str) -> Thrown {
    let found = stack.kind(at).name();
    wrong(stack, at, function, &format!("{expected} expected, got {found}"))
}

/// A number, or a string that spells one.
pub fn number(stack: &mut Stack<'_>, at: i32, function: &str) -> Result<f64, Thrown> {
    if stack.is_number(at) { Ok(stack.number(at)) } else { Err(wrong_type(stack, at, function, "number")) }
}

/// As C casts a number to 64 bits.
pub fn integer(stack: &mut Stack<'_>, at: i32, function: &str) -> Result<i64, Thrown> {
    Ok(cut(number(stack, at, function)?))
}

/// An integer, or what it is where there is none.
pub fn integer_or(stack: &mut Stack<'_>, at: i32, function: &str, default: i64) -> Result<i64, Thrown> {
    match stack.kind(at) {
        Kind::None | Kind::Nil => Ok(default),
        _ => integer(stack, at, function),
    }
}

/// Makes sure that a string is there; a number becomes the string that spells it.
pub fn string(stack: &mut Stack<'_>, at: i32, function: &str) -> Result<(), Thrown> {
    stack.spell(at);
    if stack.kind(at) == Kind::String { Ok(()) } else { Err(wrong_type(stack, at, function, "string")) }
}

/// A number as C casts it to 64 bits: what has no room there becomes the smallest.
pub fn cut(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}
