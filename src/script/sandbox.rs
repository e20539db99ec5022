//! What a script finds: an allow-list of globals, all of them read-only. Not here: what the functions do.

use super::convert::{before_zero, get_inherited};
use super::{api, args, bit, cjson, cmsgpack, structs};
use crate::sys::lua::{ALL_RESULTS, Function, Kind, Library, Stack, Thrown};
use smallvec::SmallVec;

/// Globals of Lua's base library that stay; whatever else it has goes.
const BASE: &[&str] = &[
    "_G",
    "_VERSION",
    "assert",
    "collectgarbage",
    "coroutine",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// What is told who reads or makes a global that there is not.
const NO_GLOBAL: &str = "Script attempted to access nonexistent global variable '";

/// Makes the globals of an empty state, all but `redis`.
pub fn build(stack: &mut Stack<'_>) {
    for library in [Library::Base, Library::Table, Library::String, Library::Math] {
        stack.open(library);
    }
    stack.push_globals();
    let globals = stack.len();
    remove_others(stack, globals, BASE);
    let functions: &[(&str, Function)] = &[("collectgarbage", collect_garbage), ("pcall", protected_call)];
    set_functions(stack, functions);
    stack.get_field(globals, "string");
    stack.push_nil();
    stack.set_field(-2, "dump"); // There is no bytecode.
    stack.pop(1);
    stack.get_field(globals, "math");
    api::set_random(stack);
    stack.pop(1);
    for (name, build) in [
        ("bit", bit::build as fn(&mut Stack<'_>)),
        ("cjson", cjson::build),
        ("cmsgpack", cmsgpack::build),
        ("struct", structs::build),
    ] {
        stack.push_table(0, 16);
        build(stack);
        stack.set_field(globals, name);
    }
    stack.push_table(0, 1);
    stack.push_host_function(api::CLOCK);
    stack.set_field(-2, "clock");
    stack.set_field(globals, "os");
    stack.pop(1);
}

/// Makes everything that hangs on the globals read-only: nothing a script does outlasts it.
pub fn seal(stack: &mut Stack<'_>) {
    stack.push_globals();
    let globals = stack.len();
    push_strict_metatable(stack);
    stack.set_metatable(globals);
    // Of strings: every value of the type has it.
    stack.push_bytes("");
    if stack.push_metatable(-1) {
        stack.set_readonly(-1, true);
        stack.pop(1);
    }
    stack.pop(1);
    seal_table(stack, globals);
    stack.pop(1);
}

/// Makes a table read-only, and those in it.
pub fn seal_table(stack: &mut Stack<'_>, table: i32) {
    stack.set_readonly(table, true);
    if stack.push_metatable(table) {
        stack.set_readonly(-1, true);
        stack.pop(1);
    }
    stack.push_nil();
    while stack.next(table) {
        if stack.kind(-1) == Kind::Table && !stack.raw_equal(-1, table) {
            let inner = stack.len();
            seal_table(stack, inner);
        }
        stack.pop(1);
    }
}

/// Pushes a metatable by which reading what is not there is an error.
pub fn push_strict_metatable(stack: &mut Stack<'_>) {
    stack.push_table(0, 1);
    stack.push_function(no_such_global);
    stack.set_field(-2, "__index");
}

/// Sets functions in the table on top.
pub fn set_functions(stack: &mut Stack<'_>, functions: &[(&str, Function)]) {
    for (name, function) in functions {
        stack.push_function(*function);
        stack.set_field(-2, name);
    }
}

fn remove_others(stack: &mut Stack<'_>, table: i32, kept: &[&str]) {
    let mut others = Vec::new();
    stack.push_nil();
    while stack.next(table) {
        stack.pop(1);
        let name = String::from_utf8_lossy(stack.bytes(-1).unwrap_or_default()).into_owned();
        if !kept.contains(&name.as_str()) {
            others.push(name);
        }
    }
    for name in others {
        stack.push_nil();
        stack.set_field(table, &name);
    }
}

fn no_such_global(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.len() != 2 {
        return Err(stack.throw("Wrong number of arguments to luaProtectedTableError"));
    }
    if !matches!(stack.kind(2), Kind::String | Kind::Number) {
        return Err(stack.throw("Second argument to luaProtectedTableError must be a string or number"));
    }
    stack.spell(2);
    let text = [NO_GLOBAL.as_bytes(), before_zero(stack.bytes(2).unwrap_or_default()), b"'"].concat();
    Err(stack.throw(text))
}

/// `pcall`, which as in Redis gives the text of an error that is a table with one, such as those of `redis.call`.
fn protected_call(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.is_empty() {
        stack.push_boolean(false);
        stack.push_bytes("attempt to call a boolean value");
        return Ok(2);
    }
    stack.push_boolean(true);
    stack.insert(1);
    let arguments = stack.len() - 2;
    if stack.call(arguments, ALL_RESULTS, 0).is_err() {
        if stack.kind(-1) == Kind::Table {
            let error = stack.len();
            get_inherited(stack, error, "err")?;
            // Anything else is one result more, as there.
            if matches!(stack.kind(-1), Kind::String | Kind::Number) {
                stack.replace(-2);
            }
        }
        stack.push_boolean(false);
        stack.replace(1);
    }
    Ok(stack.len() as usize)
}

/// `collectgarbage`: asks and collects; how the collector works is not for a script to say, for it works for all.
fn collect_garbage(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if matches!(stack.kind(1), Kind::None | Kind::Nil) {
        stack.truncate(0);
        stack.push_bytes("collect");
    }
    args::string(stack, 1, "collectgarbage")?;
    // No name is as long as this.
    let what: SmallVec<[u8; 16]> = stack.bytes(1).unwrap_or_default().iter().copied().take(16).collect();
    match what.as_slice() {
        b"count" => {
            let kib = stack.used_kib();
            stack.push_number(kib);
        }
        b"collect" => {
            stack.collect();
            stack.push_number(0.0);
        }
        b"step" => {
            let size = stack.number(2).clamp(0.0, 65536.0) as i32;
            let ended = stack.collect_some(size);
            stack.push_boolean(ended);
        }
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => stack.push_number(0.0),
        _ => {
            let what = stack.bytes(1).unwrap_or_default();
            let text = [b"bad argument #1 to 'collectgarbage' (invalid option '", what, b"')"].concat();
            return Err(stack.throw(text));
        }
    }
    Ok(1)
}
