//! Scripts and functions: Lua, what it finds, how values pass, what is kept of it. Not here: how a command that a
//! script calls is run, on which shards, and what happens to one that runs too long (`src/runtime/script.rs`).
//!
//! ```text
//!  EVAL ─▶ Engine::run ─▶ Lua code ─▶ redis.call ─▶ Running ─▶ Caller (runtime) ─▶ shard::execute, as any command
//!             │              ▲            │                                            │
//!             │              └────────────┴── convert ◀──────────── reply, in RESP ◀───┘
//!             └─▶ convert::Writer ─▶ the client's reply
//! ```
//! Every core has one engine, made when its first script comes. Nothing of a script outlasts it but what it wrote:
//! globals, libraries and metatables are read-only, `KEYS` and `ARGV` are made anew, what it chose of `cjson` and
//! `math.randomseed` ends with it. Only the local variables of a library of functions stay, each core's for itself.
//!
//! # Which Lua
//!
//! | | plain 5.1.5, edited | LuaJIT | Luau |
//! |---|---|---|---|
//! | reads what scripts are written in | all, it is Redis' own | all but some of `%`-formats and `load` | not: other number texts, no `loadstring`, own keywords |
//! | a script that does not end is stopped | count hook | hooks are not called in compiled code | interrupts |
//! | limit of memory | our allocator | only in some builds | yes |
//! | read-only tables | eight lines of C | its table code is assembly | yes |
//! | speed of scripts that call the server | the bar | no gain: they wait for the server | – |
//!
//! So plain 5.1.5, made safe by `build.rs`: it edits the sources before they are compiled. `mlua` would bring the same
//! sources unedited, and a reference-counted value for every string that passes; [`crate::sys::lua`] reads arguments
//! where they lie.
//!
//! # What holds a script in
//!
//! - **Memory**: [`MEMORY_BYTES_MAX`] for all scripts of a core, what functions of ours make for them included; beyond
//!   it an allocation of the script fails.
//! - **Time**: a tick every 100,000 instructions, of all coroutines together. What library functions do without any
//!   counts by its length, also a long string that is only looked through; those that loop look at the count within,
//!   also while what the script returns is written. It tells the runtime, which answers others and may end the script:
//!   then every further instruction raises, so that no `pcall` holds it back.
//! - **Depth**: 200 C calls, 20,000 Lua calls, 2,000 levels of a pattern, 1,000 of what is returned.
//! - **Files, processes, bytecode**: there is no `io`, no `os` but its clock, no `package`, no `debug`, no
//!   `string.dump`, and `load` reads text alone.

pub mod api;
mod args;
mod bit;
pub mod cjson;
pub mod cmsgpack;
pub mod convert;
pub mod flags;
pub mod functions;
pub mod locals;
mod sandbox;
pub mod structs;
#[cfg(test)]
mod tests;
mod work;

pub use api::{Answer, Caller};
pub use flags::ScriptFlags;

use crate::resp::{Error, Output, Protocol, Reply};
use crate::sys::lua::{Failure, Lua, Stack, Thrown};
use ahash::AHashSet;
use api::{Api, Running};
use convert::{Told, Unwritten, Writer, error_at, get_inherited};
use functions::{Loading, Registered};
use locals::{Saved, TooMuch};
use sha1::{Digest, Sha1};
use work::Work;

/// Bytes that the scripts of one core may have in use.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Longest text of a script or library: nobody is served while one is compiled, some tenths of a second for so much.
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// After so many scripts the collector makes a step, so that what many small ones leave is never much …
const RUNS_PER_STEP: u64 = 50;
/// … of this size, as Lua has it.
const STEP_SIZE: i32 = 50;
/// How much is collected at a time where no script runs, in KiB that would have been made meanwhile.
const COLLECT_KIB: i32 = 1024;

/// The name of a script: the SHA-1 of its text, in hexadecimal.
pub type Sha = [u8; 40];

/// The SHA-1 of some bytes, in lower-case hexadecimal.
pub fn sha1_hex(bytes: &[u8]) -> Sha {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 40];
    for (index, byte) in Sha1::digest(bytes).into_iter().enumerate() {
        hex[2 * index] = DIGITS[usize::from(byte >> 4)];
        hex[2 * index + 1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

/// How a script is called.
pub struct Invocation<'a> {
    /// The code, as [`Engine::compile`] or [`Engine::load_library`] told it.
    pub reference: i32,
    /// What error texts call it: its SHA-1, or the function's name.
    pub name: &'a str,
    /// Whether it is a function, which has keys and arguments as its own.
    pub is_function: bool,
    /// The keys …
    pub keys: &'a [&'a [u8]],
    /// … and the other arguments.
    pub args: &'a [&'a [u8]],
    /// The client's protocol.
    pub protocol: Protocol,
}

/// Why a script failed, as its client is told.
pub struct Failed {
    /// The error.
    pub error: Error,
    /// It is that of a command, and was counted when that failed.
    pub is_counted: bool,
}

/// One core's Lua.
pub struct Engine {
    lua: Lua,
    /// What errors go through.
    handler: i32,
    /// Where random numbers go on.
    random: u64,
    /// Scripts that have run.
    runs: u64,
    /// The globals have the keys and arguments of the script that ran last.
    has_arguments: bool,
    /// The globals of libraries, as they are while one is loaded, and afterwards.
    library: LibraryWorld,
    /// Functions whose calls can leave something in the local variables of their library.
    stateful: AHashSet<i32>,
}

struct LibraryWorld {
    environment: i32,
    metatable: i32,
    loading: i32,
    running: i32,
}

impl Engine {
    /// A state with everything that scripts find; `version` is what they are told of ours.
    pub fn new(version: &str) -> Engine {
        let mut lua = Lua::new(MEMORY_BYTES_MAX);
        let mut stack = lua.stack();
        let stack = &mut stack;
        sandbox::build(stack);
        stack.push_function(handle_error);
        stack.push_copy(-1);
        let handler = stack.keep();
        stack.push_globals();
        let globals = stack.len();
        stack.push_copy(-2);
        stack.set_field(globals, "__redis__err__handler");
        let library = LibraryWorld::build(stack, version);
        api::push_redis(stack, Api::Script, version);
        stack.push_copy(-1);
        stack.set_field(globals, "server");
        stack.set_field(globals, "redis");
        sandbox::seal(stack);
        stack.truncate(0);
        Engine {
            lua,
            handler,
            random: api::RANDOM_START,
            runs: 0,
            has_arguments: false,
            library,
            stateful: AHashSet::new(),
        }
    }

    /// Bytes that it takes.
    pub fn used_bytes(&self) -> usize {
        self.lua.used_bytes()
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// It is no Lua.
    pub fn compile(&mut self, text: &[u8]) -> Result<i32, Error> {
        let mut stack = self.lua.stack();
        let loaded = load(&mut stack, text, "@user_script");
        let reference = loaded
            .map(|()| stack.keep())
            .map_err(|what| Error::new([b"ERR Error compiling script (new function): ", what.as_slice()].concat()));
        stack.truncate(0);
        reference
    }

    /// Frees a part of what nothing refers to. True: there is no more of it.
    pub fn collect_some(&mut self) -> bool {
        self.lua.collect_some(COLLECT_KIB)
    }

    /// Forgets code.
    pub fn forget(&mut self, reference: i32) {
        self.stateful.remove(&reference);
        self.lua.stack().forget(reference);
    }

    /// A call of a function begins that may not be the last try. What its library holds now; none: nothing that it
    /// could change.
    ///
    /// # Errors
    /// There is too much of it to try.
    pub fn begin_trial(&mut self, reference: i32) -> Result<Option<Saved>, TooMuch> {
        if !self.stateful.contains(&reference) {
            return Ok(None);
        }
        locals::save(&mut self.lua.stack(), reference).map(Some)
    }

    /// It has ended, or begins again.
    pub fn end_trial(&mut self, saved: Saved, begins_again: bool) {
        let mut stack = self.lua.stack();
        if begins_again { locals::restore(&mut stack, saved) } else { locals::forget(&mut stack, saved) }
    }

    /// Runs code, and writes its reply, or why it failed. The error that it ended with; of those in what it returns
    /// the caller is told ([`Caller::returns_error`]).
    pub fn run(&mut self, call: &Invocation<'_>, caller: &mut dyn Caller, out: &mut Output) -> Option<Failed> {
        if call.is_function {
            self.forget_arguments();
        }
        self.has_arguments |= !call.is_function;
        let mut running = Running::new(caller, self.random);
        let handler = self.handler;
        let outcome = self.lua.with_host(&mut running, |stack| {
            stack.truncate(0);
            stack.push_kept(handler);
            stack.push_kept(call.reference);
            if call.is_function {
                push_strings(stack, call.keys);
                push_strings(stack, call.args);
                return stack.call(2, 1, 1);
            }
            stack.push_globals();
            let globals = stack.len();
            stack.set_readonly(globals, false);
            for (name, values) in [("KEYS", call.keys), ("ARGV", call.args)] {
                stack.push_bytes(name);
                push_strings(stack, values);
                stack.raw_set(globals);
            }
            stack.set_readonly(globals, true);
            stack.pop(1);
            stack.call(0, 1, 1)
        });
        let script_protocol = running.protocol;
        self.random = running.random_after(self.random);
        let mut stack = self.lua.stack();
        let error = match outcome {
            Ok(()) => {
                let start = out.len();
                let mut writer = Writer::new(out, Work::new(running.caller), call.protocol, script_protocol);
                let written = writer.write(&mut stack);
                let unwritten = written.err().map(|why| match why {
                    Unwritten::TooLarge => Error::fixed("ERR the script's reply is too large"),
                    Unwritten::Ended(text) => Error::new(format!("ERR {text} script: {}", call.name)),
                });
                unwritten.map(|error| {
                    out.truncate(start);
                    Reply::new(&mut *out, call.protocol).error(&error);
                    Failed { error, is_counted: false }
                })
            }
            Err(failure) => {
                let (error, is_counted) = told(&mut stack, failure, call.name);
                Reply::new(&mut *out, call.protocol).error(&error);
                Some(Failed { error, is_counted })
            }
        };
        stack.truncate(0);
        self.runs += 1;
        if MEMORY_BYTES_MAX / 2 < self.lua.used_bytes() {
            self.forget_arguments();
            self.lua.collect(); // Or it would not be there for the next one.
        } else if self.runs.is_multiple_of(RUNS_PER_STEP) {
            self.lua.stack().collect_some(STEP_SIZE);
        }
        error
    }

    /// Takes the keys and arguments of the last script from the globals, before code runs that has none there. (The
    /// next script has its own: nothing is taken away for that.)
    fn forget_arguments(&mut self) {
        if !std::mem::take(&mut self.has_arguments) {
            return;
        }
        let mut stack = self.lua.stack();
        stack.push_globals();
        let globals = stack.len();
        stack.set_readonly(globals, false);
        for name in ["KEYS", "ARGV"] {
            stack.push_nil();
            stack.set_field(globals, name);
        }
        stack.set_readonly(globals, true);
        stack.pop(1);
    }

    /// Runs the code of a library, which registers its functions.
    ///
    /// # Errors
    /// It is no Lua, raises an error, or registers nothing.
    pub fn load_library(&mut self, text: &[u8], caller: &mut dyn Caller) -> Result<Vec<Registered>, Error> {
        self.forget_arguments();
        let mut running = Running::new(caller, self.random);
        running.loading = Some(Loading::default());
        let (handler, library) = (self.handler, &self.library);
        let outcome = self.lua.with_host(&mut running, |stack| {
            stack.truncate(0);
            stack.push_kept(handler);
            load(stack, text, "@user_function")
                .map_err(|what| Error::new([b"ERR Error compiling function: ", what.as_slice()].concat()))?;
            stack.push_kept(library.environment);
            stack.set_environment(-2);
            library.show(stack, library.loading);
            let result = stack.call(0, 0, 1);
            library.show(stack, library.running);
            result.map_err(|failure| {
                let told = match failure {
                    Failure::Raised => error_at(stack, -1),
                    Failure::Memory => Told { text: b"ERR not enough memory".to_vec(), place: None, is_counted: false },
                };
                Error::new([b"ERR Error registering functions: ", told.text.as_slice()].concat())
            })
        });
        let functions = running.loading.take().map(|loading| loading.functions).unwrap_or_default();
        let mut stack = self.lua.stack();
        stack.truncate(0);
        let outcome = outcome.and_then(|()| match functions.is_empty() {
            true => Err(Error::fixed("ERR No functions registered")),
            false => Ok(()),
        });
        if let Err(error) = outcome {
            functions.iter().for_each(|function| stack.forget(function.reference));
            return Err(error);
        }
        let references = functions.iter().map(|function| function.reference);
        self.stateful.extend(references.filter(|&reference| locals::has_state(&mut stack, reference)));
        Ok(functions)
    }
}

impl LibraryWorld {
    /// Makes the globals of libraries, before those of scripts are sealed.
    fn build(stack: &mut Stack<'_>, version: &str) -> LibraryWorld {
        let top = stack.len();
        stack.push_table(0, 0);
        let environment = stack.len();
        // While one is loaded: `redis`, and that a small one.
        stack.push_table(0, 2);
        Self::set_redis(stack, Api::Library, version);
        let loading = Self::keep_sealed(stack);
        // Afterwards: all globals of scripts, and `redis`.
        stack.push_table(0, 64);
        let base = stack.len();
        stack.push_globals();
        let globals = stack.len();
        stack.push_nil();
        while stack.next(globals) {
            stack.push_copy(-2);
            stack.insert(-2);
            stack.raw_set(base);
        }
        stack.pop(1);
        stack.push_copy(environment);
        stack.set_field(base, "_G");
        Self::set_redis(stack, Api::Function, version);
        let running = Self::keep_sealed(stack);
        stack.push_table(0, 1);
        stack.push_copy(-1);
        stack.set_metatable(environment);
        let metatable = stack.keep();
        stack.set_readonly(environment, true);
        let environment = stack.keep();
        stack.truncate(top);
        let world = LibraryWorld { environment, metatable, loading, running };
        world.show(stack, running);
        world
    }

    /// Sets `redis` in the table on top.
    fn set_redis(stack: &mut Stack<'_>, api: Api, version: &str) {
        api::push_redis(stack, api, version);
        if api == Api::Library {
            sandbox::push_strict_metatable(stack);
            stack.set_metatable(-2);
        }
        let redis = stack.len();
        sandbox::seal_table(stack, redis);
        for name in ["redis", "server"] {
            stack.push_copy(redis);
            stack.set_field(redis - 1, name);
        }
        stack.pop(1);
    }

    /// Keeps the table on top, in which there is nothing but what there is.
    fn keep_sealed(stack: &mut Stack<'_>) -> i32 {
        sandbox::push_strict_metatable(stack);
        stack.set_readonly(-1, true);
        stack.set_metatable(-2);
        stack.set_readonly(-1, true);
        stack.keep()
    }

    /// Chooses which globals libraries have.
    fn show(&self, stack: &mut Stack<'_>, globals: i32) {
        stack.push_kept(self.metatable);
        stack.set_readonly(-1, false);
        stack.push_kept(globals);
        stack.set_field(-2, "__index");
        stack.set_readonly(-1, true);
        stack.pop(1);
    }
}

/// Compiles a text; pushes the function, or returns what is wrong.
fn load(stack: &mut Stack<'_>, text: &[u8], name: &str) -> Result<(), Vec<u8>> {
    if TEXT_BYTES_MAX < text.len() {
        return Err(b"the text is too long".to_vec());
    }
    stack.load(text, name).map_err(|_| {
        let what = stack.bytes(-1).unwrap_or(b"not enough memory").to_vec();
        stack.pop(1);
        what
    })
}

fn push_strings(stack: &mut Stack<'_>, strings: &[&[u8]]) {
    stack.push_table(strings.len(), 0);
    for (index, string) in strings.iter().enumerate() {
        stack.push_bytes(string);
        stack.raw_set_index(-2, index as i32 + 1);
    }
}

/// What the client of a script that failed is told, and whether that has been counted.
fn told(stack: &mut Stack<'_>, failure: Failure, name: &str) -> (Error, bool) {
    if failure == Failure::Memory {
        return (Error::new(format!("ERR Error running script {name}, not enough memory")), false);
    }
    let Told { mut text, place, is_counted } = error_at(stack, -1);
    if let Some((source, line)) = place {
        text.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        text.extend_from_slice(&source);
        text.extend_from_slice(format!(":{line}.").as_bytes());
    }
    (Error::new(text), is_counted)
}

/// Makes a table of every error, and notes where it was raised.
fn handle_error(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    stack.resize(1);
    // A table of our own: that of the script may be read-only.
    stack.push_table(0, 4);
    if stack.kind(1) == crate::sys::lua::Kind::Table {
        for name in ["err", "ignore_error_stats_update"] {
            get_inherited(stack, 1, name)?;
            stack.set_field(2, name);
        }
    } else {
        let text = match stack.kind(1) {
            crate::sys::lua::Kind::Nil => b"nil".to_vec(),
            crate::sys::lua::Kind::Boolean => stack.boolean(1).to_string().into_bytes(),
            crate::sys::lua::Kind::String | crate::sys::lua::Kind::Number => {
                stack.spell(1);
                stack.bytes(1).unwrap_or_default().to_vec()
            }
            kind => {
                let (kind, address) = (kind.name(), stack.address(1));
                if address == 0 { format!("{kind}: (nil)") } else { format!("{kind}: {address:#x}") }.into_bytes()
            }
        };
        stack.push_bytes([b"ERR ", text.as_slice()].concat());
        stack.set_field(2, "err");
    }
    stack.remove(1);
    if let Some((source, line)) = stack.source_of(1).or_else(|| stack.source_of(2)) {
        stack.push_bytes(source);
        stack.set_field(1, "source");
        stack.push_number(f64::from(line));
        stack.set_field(1, "line");
    }
    Ok(1)
}
