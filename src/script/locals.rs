//! The local variables of libraries, which outlast a call of a function: what they hold before a run that may have to
//! begin again, they hold again when it does. Not here: when that is (`src/runtime/script.rs`).
//!
//! ```text
//!  function ─▶ its variables ─┬─▶ numbers, strings …   the value
//!                             ├─▶ tables               every key and value, the metatable, and what hangs on them
//!                             ├─▶ functions            their variables, and so on
//!                             └─▶ coroutines, iterators, userdata          no: such a call does not begin at all
//! ```
//! Most libraries have none: functions that assign to nothing around them, and know no table that can be changed, are
//! found out when the library is loaded, and cost nothing afterwards.

use crate::sys::lua::{Kind, Stack};
use ahash::AHashSet;

/// Values that are saved for a run. With more of them it is not tried.
const VALUES_MAX: usize = 512;

/// Values as they were.
pub struct Saved {
    /// A table of all, which the state keeps.
    values: i32,
    places: Vec<Place>,
}

/// Whose they are, from a place among the values on.
enum Place {
    /// A function, and so many variables.
    Function { at: i32, len: i32 },
    /// A table, its metatable, and so many pairs of key and value.
    Table { at: i32, pairs: i32 },
}

/// There is too much of it, or something that cannot be brought back.
#[derive(Debug)]
pub struct TooMuch;

/// Whether a call of a function can leave something in the variables of its library.
pub fn has_state(stack: &mut Stack<'_>, function: i32) -> bool {
    let Ok(saved) = save(stack, function) else { return true };
    stack.push_kept(saved.values);
    let values = stack.len();
    let has_state = saved.places.iter().any(|place| match *place {
        Place::Table { .. } => true,
        Place::Function { at, .. } => {
            stack.raw_get_index(values, at);
            let assigns = stack.assigns(-1);
            stack.pop(1);
            assigns
        }
    });
    stack.pop(1);
    forget(stack, saved);
    has_state
}

/// Saves what a kept function, and all that it reaches, hold now.
///
/// # Errors
/// That cannot be.
pub fn save(stack: &mut Stack<'_>, function: i32) -> Result<Saved, TooMuch> {
    let top = stack.len();
    stack.push_table(8, 0);
    let values = stack.len();
    stack.push_kept(function);
    stack.raw_set_index(values, 1);
    let (mut len, mut next, mut places, mut seen) = (1, 1, Vec::new(), AHashSet::new());
    while next <= len && len as usize <= VALUES_MAX {
        stack.raw_get_index(values, next);
        next += 1;
        let value = stack.len();
        match stack.kind(value) {
            Kind::Function if stack.is_lua_function(value) && seen.insert(stack.address(value)) => {
                let at = len + 1;
                append(stack, values, value, &mut len);
                let mut number = 1;
                while (len as usize) < VALUES_MAX && stack.push_upvalue(value, number) {
                    append(stack, values, value + 1, &mut len);
                    stack.pop(1);
                    number += 1;
                }
                if stack.push_upvalue(value, number) {
                    len = i32::MAX; // It has still more.
                } else {
                    places.push(Place::Function { at, len: number - 1 });
                }
            }
            Kind::Function if !stack.is_lua_function(value) && keeps_state(stack, value) => len = i32::MAX,
            Kind::Table if !stack.is_readonly(value) && seen.insert(stack.address(value)) => {
                let at = len + 1;
                append(stack, values, value, &mut len);
                if !stack.push_metatable(value) {
                    stack.push_nil();
                }
                append(stack, values, value + 1, &mut len);
                stack.pop(1);
                let mut pairs = 0;
                stack.push_nil();
                while stack.next(value) {
                    append(stack, values, value + 1, &mut len);
                    append(stack, values, value + 2, &mut len);
                    pairs += 1;
                    if VALUES_MAX < len as usize {
                        break;
                    }
                    stack.pop(1);
                }
                places.push(Place::Table { at, pairs });
            }
            Kind::Thread | Kind::Userdata => len = i32::MAX,
            _ => {}
        }
        stack.truncate(values);
    }
    if VALUES_MAX < len as usize {
        stack.truncate(top);
        return Err(TooMuch);
    }
    Ok(Saved { values: stack.keep(), places })
}

/// Whether a function in C has something of its own that a call changes: a coroutine (`coroutine.wrap`), a text and a
/// place in it (`string.gmatch`). Those that have a function (`pairs`), or a pointer or a number (ours), do not.
fn keeps_state(stack: &mut Stack<'_>, function: i32) -> bool {
    let mut number = 1;
    while stack.push_upvalue(function, number) {
        let kind = stack.kind(-1);
        stack.pop(1);
        if !matches!(kind, Kind::Function | Kind::Pointer | Kind::Number) {
            return true;
        }
        number += 1;
    }
    false
}

fn append(stack: &mut Stack<'_>, values: i32, value: i32, len: &mut i32) {
    *len += 1;
    stack.push_copy(value);
    stack.raw_set_index(values, *len);
}

/// Brings back what was saved.
pub fn restore(stack: &mut Stack<'_>, saved: Saved) {
    let top = stack.len();
    stack.push_kept(saved.values);
    let values = stack.len();
    for place in &saved.places {
        match *place {
            Place::Function { at, len } => {
                stack.raw_get_index(values, at);
                for number in 1..=len {
                    stack.raw_get_index(values, at + number);
                    stack.set_upvalue(values + 1, number);
                }
            }
            Place::Table { at, pairs } => {
                stack.raw_get_index(values, at);
                let table = values + 1;
                stack.push_nil();
                while stack.next(table) {
                    stack.pop(1);
                    stack.push_copy(-1);
                    stack.push_nil();
                    stack.raw_set(table);
                }
                for pair in 0..pairs {
                    stack.raw_get_index(values, at + 2 + 2 * pair);
                    stack.raw_get_index(values, at + 3 + 2 * pair);
                    stack.raw_set(table);
                }
                stack.raw_get_index(values, at + 1);
                stack.set_metatable(table);
            }
        }
        stack.truncate(values);
    }
    stack.truncate(top);
    forget(stack, saved);
}

/// It need not be brought back.
pub fn forget(stack: &mut Stack<'_>, saved: Saved) {
    stack.forget(saved.values);
}
