//! Libraries of functions: what `redis.register_function` checks while one is loaded. Not here: who may load one, and
//! where libraries are kept.

use super::api::raise;
use super::flags::ScriptFlags;
use crate::sys::lua::{Kind, Stack, Thrown};

/// A library that is being loaded.
#[derive(Debug, Default)]
pub struct Loading {
    /// What it has registered.
    pub functions: Vec<Registered>,
}

/// A function of a library, in the state that loaded it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<Vec<u8>>,
    /// What it may do.
    pub flags: ScriptFlags,
    /// The function, as the state keeps it.
    pub reference: i32,
}

/// Whether a word names a library or function: letters, digits, underscores.
pub fn is_name(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// `redis.register_function(name, callback)`, or with a table of named arguments.
pub fn register(loading: &mut Option<Loading>, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    let Some(loading) = loading else {
        return Err(raise(stack, "redis.register_function can only be called on FUNCTION LOAD command"));
    };
    let mut registered = match stack.len() {
        0 => return Err(raise(stack, "wrong number of arguments to redis.register_function")),
        1 => named(stack)?,
        2 => positional(stack)?,
        _ => return Err(raise(stack, "wrong number of arguments to redis.register_function")),
    };
    if loading.functions.iter().any(|known| known.name == registered.name) {
        return Err(raise(stack, "Function already exists in the library"));
    }
    registered.reference = stack.keep();
    loading.functions.push(registered);
    Ok(0)
}

fn name_at(stack: &mut Stack<'_>, at: i32, what: &str) -> Result<String, Thrown> {
    stack.push_copy(at); // A number is spelled, and the key that the table is walked by stays as it is.
    stack.spell(-1);
    let name = read_name(stack, what);
    if name.is_ok() {
        stack.pop(1);
    }
    name
}

/// Reads the name on top.
fn read_name(stack: &mut Stack<'_>, what: &str) -> Result<String, Thrown> {
    let at = -1;
    match stack.bytes(at) {
        Some(name) if is_name(name) => Ok(String::from_utf8_lossy(name).into_owned()),
        Some(_) => Err(raise(
            stack,
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one character \
             long",
        )),
        None => Err(raise(stack, what)),
    }
}

/// Leaves the function on top.
fn positional(stack: &mut Stack<'_>) -> Result<Registered, Thrown> {
    if !matches!(stack.kind(1), Kind::String | Kind::Number) {
        return Err(raise(stack, "first argument to redis.register_function must be a string"));
    }
    if stack.kind(2) != Kind::Function {
        return Err(raise(stack, "second argument to redis.register_function must be a function"));
    }
    let name = name_at(stack, 1, "")?;
    Ok(Registered { name, description: None, flags: ScriptFlags::empty(), reference: 0 })
}

/// Leaves the function on top.
fn named(stack: &mut Stack<'_>) -> Result<Registered, Thrown> {
    if stack.kind(1) != Kind::Table {
        return Err(raise(
            stack,
            "calling redis.register_function with a single argument is only applicable to Lua table (representing \
             named arguments).",
        ));
    }
    let (mut name, mut description, mut flags, mut callback) = (None, None, ScriptFlags::empty(), false);
    stack.resize(2); // The callback comes to the second place.
    stack.push_nil();
    while stack.next(1) {
        let key = match stack.kind(-2) {
            Kind::Number => Some(Vec::new()), // As a text none that is known.
            _ => stack.bytes(-2).map(<[u8]>::to_vec),
        };
        let Some(key) = key else {
            return Err(raise(stack, "named argument key given to redis.register_function is not a string"));
        };
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let what = "function_name argument given to redis.register_function must be a string";
                name = Some(name_at(stack, -1, what)?);
            }
            b"description" => match stack.bytes(-1) {
                Some(text) => description = Some(text.to_vec()),
                None if stack.kind(-1) == Kind::Number => {
                    stack.push_copy(-1);
                    stack.spell(-1);
                    description = stack.bytes(-1).map(<[u8]>::to_vec);
                    stack.pop(1);
                }
                None => {
                    let what = "description argument given to redis.register_function must be a string";
                    return Err(raise(stack, what));
                }
            },
            b"callback" => {
                if stack.kind(-1) != Kind::Function {
                    let what = "callback argument given to redis.register_function must be a function";
                    return Err(raise(stack, what));
                }
                stack.push_copy(-1);
                stack.replace(2);
                callback = true;
            }
            b"flags" => flags = read_flags(stack)?,
            _ => return Err(raise(stack, "unknown argument given to redis.register_function")),
        }
        stack.pop(1);
    }
    let Some(name) = name else {
        return Err(raise(stack, "redis.register_function must get a function name argument"));
    };
    if !callback {
        return Err(raise(stack, "redis.register_function must get a callback argument"));
    }
    stack.truncate(2);
    Ok(Registered { name, description, flags, reference: 0 })
}

/// The flags in the table on top.
fn read_flags(stack: &mut Stack<'_>) -> Result<ScriptFlags, Thrown> {
    if stack.kind(-1) != Kind::Table {
        let what = "flags argument to redis.register_function must be a table representing function flags";
        return Err(raise(stack, what));
    }
    let mut flags = ScriptFlags::empty();
    for index in 1.. {
        stack.raw_get_index(-1, index);
        let flag = match stack.kind(-1) {
            Kind::Nil => {
                stack.pop(1);
                break;
            }
            _ => stack.bytes(-1).and_then(ScriptFlags::named),
        };
        let Some(flag) = flag else { return Err(raise(stack, "unknown flag given")) };
        flags |= flag;
        stack.pop(1);
    }
    Ok(flags)
}
