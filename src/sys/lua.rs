//! Lua 5.1 behind safe functions: a state, its stack, functions of ours that scripts call, a limit of memory and a tick
//! while a script runs. Not here: anything about Redis; which libraries scripts see; what a script may do.
//!
//! The C is the edited 5.1.5 that `build.rs` makes. How errors and limits pass through Rust:
//!
//! ```text
//!  Lua code ──calls──▶ trampoline ──▶ Function (Rust, safe): returns Ok(results) or Err(Thrown), value on the stack
//!     ▲                    │                every destructor has run
//!     └──── longjmp ◀── lua_error, in a frame with nothing to drop
//! ```
//! Ticks come by the count of instructions, and what takes longer than one counts as several ([`Stack::charge`]).
//!
//! Lua leaves by `longjmp` on errors, also when memory runs out. So Rust code never runs where Lua may do that: while a
//! function of ours runs, the allocator refuses nothing, tables are read and written without metamethods, and code is
//! called only in protected mode. The limit holds all the same: what would pass it is not made. An empty value stands
//! in its place, tables take in nothing more, and when the function ends that is its error, whatever it returns
//! ([`Stack::is_overdrawn`]).

#![allow(unsafe_code, reason = "a foreign language behind C")]

mod ffi;

use std::alloc::Layout;
use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Instructions between two ticks.
pub const TICK_INSTRUCTIONS: c_int = 100_000;
/// So many bytes are looked through in the time of an instruction, about.
pub const BYTES_PER_INSTRUCTION: usize = 16;
/// What Lua may rely on of any block: its values are no more than doubles and pointers. Of this one our allocator has
/// every block aligned by itself; for 16 it would look further, and take more for strings and tables, of 24 bytes and
/// some.
const ALIGN: usize = 8;
/// What our functions may take beyond the limit: texts of errors, when there is no room for anything else.
const RESERVE_BYTES: usize = 64 << 10;
/// An element of a table, about …
const ELEMENT_BYTES: usize = 16;
/// … and a field.
const FIELD_BYTES: usize = 40;

/// The world of a running script: what functions of ours reach by [`Stack::host`], and who is told of the time.
pub trait Host {
    /// A script called the function made by [`Stack::push_host_function`] with this number.
    ///
    /// # Errors
    /// The value on top of the stack is raised.
    fn called(&mut self, number: u32, stack: &mut Stack<'_>) -> Result<usize, Thrown>;

    /// Some time has passed. Text: the script ends with it as its error, whatever it does.
    fn tick(&mut self) -> Option<&'static str>;
}

/// So many values have room at any time (`LUA_MINSTACK`; see build.rs).
pub const ROOM_SURE: i32 = 20;

/// As a number of results: as many as there are.
pub const ALL_RESULTS: i32 = -1;

/// A function of ours that needs nobody: from arguments on the stack to results on its top, by their count.
pub type Function = fn(&mut Stack<'_>) -> Result<usize, Thrown>;

/// What is raised where memory is out: Lua's own text.
const FULL: &[u8] = b"not enough memory";

/// The value on top of the stack is to be raised as an error.
#[derive(Debug)]
pub struct Thrown;

/// Code did not run to its end; the error value is on top of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It raised an error.
    Raised,
    /// Memory ran out.
    Memory,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    None,
    Nil,
    Boolean,
    Pointer,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Kind {
    /// As Lua calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "no value",
            Kind::Nil => "nil",
            Kind::Boolean => "boolean",
            Kind::Pointer | Kind::Userdata => "userdata",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Thread => "thread",
        }
    }
}

/// The libraries of Lua itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Library {
    Base,
    Table,
    String,
    Math,
}

/// What the allocator, the hook and the trampolines share.
struct World {
    used_bytes: usize,
    bytes_max: usize,
    /// Above zero: Rust code runs, nothing is refused.
    guards: u32,
    host: Option<NonNull<dyn Host>>,
    /// The script has to end: nothing it does helps.
    ending: Option<&'static str>,
    /// Code runs, or what it begins with is pushed: what is made counts as the script's.
    is_running: bool,
    /// The running function of ours has wanted more than there is.
    is_overdrawn: bool,
}

/// A state.
pub struct Lua {
    state: NonNull<ffi::State>,
    world: NonNull<World>,
}

// SAFETY: a state belongs to no thread; whoever owns it is the only one to use it, and hosts are there only while it
// runs.
unsafe impl Send for Lua {}

impl Drop for Lua {
    fn drop(&mut self) {
        // SAFETY: the state is open, and nothing of it is used afterwards; then nobody has the world any more, which
        // was made by `Box::into_raw`.
        unsafe {
            (*self.world.as_ptr()).guards += 1;
            ffi::lua_close(self.state.as_ptr());
            drop(Box::from_raw(self.world.as_ptr()));
        }
    }
}

impl Lua {
    /// A state without any library, whose scripts may use so many bytes.
    pub fn new(bytes_max: usize) -> Lua {
        let world = World {
            used_bytes: 0,
            bytes_max,
            guards: 1,
            host: None,
            ending: None,
            is_running: false,
            is_overdrawn: false,
        };
        let world = NonNull::from(Box::leak(Box::new(world)));
        // SAFETY: `world` outlives the state, and `allocate` keeps to the contract of an allocator.
        let state = unsafe { ffi::lua_newstate(allocate, world.as_ptr().cast()) };
        let state = NonNull::new(state).expect("nothing is refused while guarded");
        // SAFETY: the state is open; the hook and the panic function have the signatures that Lua calls.
        unsafe {
            ffi::lua_atpanic(state.as_ptr(), panicked);
            ffi::lua_sethook(state.as_ptr(), Some(hook), ffi::MASK_COUNT, TICK_INSTRUCTIONS);
        }
        Lua { state, world }
    }

    fn world(&mut self) -> &mut World {
        // SAFETY: made in `new`, freed in `drop`; the allocator and the hook touch it only while Lua runs, which
        // nobody does who has this reference.
        unsafe { self.world.as_mut() }
    }

    /// Its stack, for work between scripts.
    pub fn stack(&mut self) -> Stack<'_> {
        Stack::of(self.state.as_ptr())
    }

    /// Does something in whose course scripts run that call `host`.
    pub fn with_host<R>(&mut self, host: &mut dyn Host, work: impl FnOnce(&mut Stack<'_>) -> R) -> R {
        let host: NonNull<dyn Host + '_> = NonNull::from(host);
        // SAFETY: only the lifetime changes; the pointer is forgotten below, before the borrow of the host ends.
        let host: NonNull<dyn Host> = unsafe { std::mem::transmute(host) };
        let before = self.world().host.replace(host);
        self.world().ending = None;
        let was_running = std::mem::replace(&mut self.world().is_running, true);
        let result = work(&mut self.stack());
        self.world().is_running = was_running;
        self.world().is_overdrawn = false;
        self.world().host = before;
        let was_ending = self.world().ending.take().is_some();
        if was_ending {
            say_ending(false);
            // SAFETY: as in `new`.
            unsafe { ffi::lua_sethook(self.state.as_ptr(), Some(hook), ffi::MASK_COUNT, TICK_INSTRUCTIONS) };
        }
        result
    }

    /// Bytes that it takes now.
    pub fn used_bytes(&self) -> usize {
        // SAFETY: as in `world`.
        unsafe { self.world.as_ref().used_bytes }
    }

    /// Frees what nothing refers to.
    pub fn collect(&mut self) {
        // SAFETY: the state is open; no value of ours has a finalizer, so nothing is called.
        unsafe { ffi::lua_gc(self.state.as_ptr(), ffi::GC_COLLECT, 0) };
    }

    /// The same bit by bit: the work that making so many KiB brings with it. True: there is no more.
    pub fn collect_some(&mut self, kib: i32) -> bool {
        // SAFETY: as in `collect`.
        unsafe { ffi::lua_gc(self.state.as_ptr(), ffi::GC_STEP, kib) != 0 }
    }
}

/// A stack of values: that of a function of ours, which begins with its arguments, or that of an idle state.
///
/// Positions count from 1 at the bottom, or from -1 at the top downwards.
///
/// Its height and its room are known here: asking C for them would be half of the calls of a loop that builds a table.
pub struct Stack<'a> {
    state: *mut ffi::State,
    /// As `lua_gettop` would tell.
    len: i32,
    /// So many values have room.
    room: i32,
    /// So many at the bottom stay: their bytes are lent.
    floor: i32,
    world: *mut World,
    of: PhantomData<&'a mut Lua>,
}

/// What a state shares with its allocator.
fn world_of(state: *mut ffi::State) -> *mut World {
    let mut data: *mut c_void = std::ptr::null_mut();
    // SAFETY: every state here was made with a world as the data of its allocator.
    unsafe { ffi::lua_getallocf(state, &mut data) };
    data.cast()
}

/// Says that the script that runs on this thread is to end.
fn say_ending(is_ending: bool) {
    // SAFETY: a number of this thread.
    unsafe { *ffi::lua_ending() = is_ending.into() }
}

/// Begins or ends a time in which the allocator refuses nothing.
fn guard(world: *mut World, by: i32) {
    // SAFETY: see `world_of`; nobody has a reference to it while Lua or a function of ours runs.
    unsafe {
        (*world).guards = (*world).guards.checked_add_signed(by).expect("guards end once");
    }
}

impl Stack<'_> {
    fn of<'a>(state: *mut ffi::State) -> Stack<'a> {
        // SAFETY: the state is open.
        let len = unsafe { ffi::lua_gettop(state) };
        Stack { state, len, room: len, floor: 0, world: world_of(state), of: PhantomData }
    }

    fn at(&self, index: i32) -> c_int {
        assert!(0 < index || index < 0 && -index <= self.len, "a position on the stack");
        // SAFETY: the state is open.
        debug_assert_eq!(self.len, unsafe { ffi::lua_gettop(self.state) });
        index
    }

    fn table(&self, index: i32) -> c_int {
        assert!(self.kind(index) == Kind::Table, "a table");
        self.at(index)
    }

    /// Makes room for what is pushed next.
    fn room(&mut self, len: i32) {
        if self.room < self.len + len {
            let asked = len.max(ROOM_SURE);
            // SAFETY: the state is open; while guarded nothing is refused but what is beyond Lua's own bound, which is
            // for more than `ROOM_SURE`.
            let is_there = unsafe { ffi::lua_checkstack(self.state, asked) } != 0;
            assert!(is_there, "room is asked for ahead by those who need much");
            self.room = self.len + asked;
        }
    }

    /// Makes room for some values, up to [`ROOM_SURE`], however many there are.
    pub fn make_room(&mut self, len: i32) {
        assert!(len <= ROOM_SURE);
        self.room(len);
    }

    /// Whether so many more values have room, and a script is not at Lua's bound of some thousand.
    pub fn has_room(&mut self, len: i32) -> bool {
        if self.len + len <= self.room {
            return true;
        }
        let asked = len.max(ROOM_SURE + 1);
        // SAFETY: as in `room`.
        let is_there = unsafe { ffi::lua_checkstack(self.state, asked) != 0 };
        if is_there {
            self.room = self.room.max(self.len + asked);
        }
        is_there
    }

    /// How many values there are.
    pub fn len(&self) -> i32 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// So many values less are on top.
    fn drop_top(&mut self, len: i32) {
        self.len -= len;
        assert!(self.floor <= self.len, "what is lent stays");
    }

    /// A position whose value may go.
    fn free(&self, index: i32) -> c_int {
        let from_bottom = if index < 0 { self.len + index + 1 } else { index };
        assert!(self.floor < from_bottom && from_bottom <= self.len, "a position on the stack, not lent");
        self.at(index)
    }

    /// Leaves so many.
    pub fn truncate(&mut self, len: i32) {
        assert!(self.floor <= len && len <= self.len);
        // SAFETY: the stack becomes no longer.
        unsafe { ffi::lua_settop(self.state, len) }
        self.len = len;
    }

    /// Makes it so many, with nil where there was nothing.
    pub fn resize(&mut self, len: i32) {
        assert!(self.floor <= len);
        self.room((len - self.len).max(0));
        // SAFETY: there is room.
        unsafe { ffi::lua_settop(self.state, len) }
        self.len = len;
    }

    /// Takes values from the top.
    pub fn pop(&mut self, len: i32) {
        assert!(0 <= len);
        self.truncate(self.len - len);
    }

    /// What a value is.
    pub fn kind(&self, index: i32) -> Kind {
        // SAFETY: a position below the stack's bottom is refused; one above its top reads as none.
        match unsafe { ffi::lua_type(self.state, self.at(index)) } {
            0 => Kind::Nil,
            1 => Kind::Boolean,
            2 => Kind::Pointer,
            3 => Kind::Number,
            4 => Kind::String,
            5 => Kind::Table,
            6 => Kind::Function,
            7 => Kind::Userdata,
            8 => Kind::Thread,
            _ => Kind::None,
        }
    }

    /// A number, or what a string spells; 0: neither.
    pub fn number(&self, index: i32) -> f64 {
        // SAFETY: as in `kind`; a string is read, not changed.
        unsafe { ffi::lua_tonumber(self.state, self.at(index)) }
    }

    /// Whether it is a number, or a string that spells one.
    pub fn is_number(&self, index: i32) -> bool {
        // SAFETY: as in `kind`.
        unsafe { ffi::lua_isnumber(self.state, self.at(index)) != 0 }
    }

    /// Whether it counts as true.
    pub fn boolean(&self, index: i32) -> bool {
        // SAFETY: as in `kind`.
        unsafe { ffi::lua_toboolean(self.state, self.at(index)) != 0 }
    }

    /// The bytes of a string; of nothing else.
    pub fn bytes(&self, index: i32) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: as in `kind`.
        let start = unsafe { ffi::lua_bytes(self.state, self.at(index), &mut len) };
        // SAFETY: a string is there: its bytes stay where they are while it is on the stack, which does not change
        // while the result is borrowed from `self`.
        (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
    }

    /// Lends the bytes of a string (of anything else: none) to some work, in whose course it stays on the stack.
    pub fn lend_bytes<R>(&mut self, index: i32, work: impl FnOnce(&mut Self, &[u8]) -> R) -> R {
        let index = if index < 0 { self.len + index + 1 } else { index };
        let bytes: *const [u8] = self.bytes(index).unwrap_or_default();
        let floor = self.floor;
        self.floor = floor.max(index);
        // SAFETY: the bytes of a string stay where they are while it is on the stack, which it does: nothing at or
        // below the floor is taken away or replaced.
        let result = work(self, unsafe { &*bytes });
        self.floor = floor;
        result
    }

    /// Turns a number into the string that spells it as Lua does, and leaves everything else.
    pub fn spell(&mut self, index: i32) {
        if self.kind(index) == Kind::Number {
            // SAFETY: the value exists; memory is not refused while guarded.
            unsafe { ffi::lua_tolstring(self.state, index, std::ptr::null_mut()) };
        }
    }

    /// Whether it is the pointer to nothing.
    pub fn is_null(&self, index: i32) -> bool {
        // SAFETY: as in `kind`.
        self.kind(index) == Kind::Pointer && unsafe { ffi::lua_touserdata(self.state, index) }.is_null()
    }

    /// Where a table or function lies: equal for what is the same.
    pub fn address(&self, index: i32) -> usize {
        // SAFETY: as in `kind`.
        unsafe { ffi::lua_topointer(self.state, self.at(index)) as usize }
    }

    /// Elements of a table without a gap, bytes of a string.
    pub fn raw_len(&self, index: i32) -> usize {
        match self.kind(index) {
            // SAFETY: as in `kind`; numbers, which would be turned into strings, are left out.
            Kind::Table | Kind::String => unsafe { ffi::lua_objlen(self.state, index) },
            _ => 0,
        }
    }

    /// Whether two values are the same.
    pub fn raw_equal(&self, one: i32, other: i32) -> bool {
        // SAFETY: as in `kind`.
        unsafe { ffi::lua_rawequal(self.state, self.at(one), self.at(other)) != 0 }
    }

    /// Pushes a copy.
    pub fn push_copy(&mut self, index: i32) {
        self.at(index);
        self.room(1);
        // SAFETY: the position is there, and room for one more.
        unsafe { ffi::lua_pushvalue(self.state, index) }
        self.len += 1;
    }

    /// Moves the top under the value at this position.
    pub fn insert(&mut self, index: i32) {
        self.free(index);
        // SAFETY: the position is on the stack.
        unsafe { ffi::lua_insert(self.state, index) }
    }

    /// Takes a value out.
    pub fn remove(&mut self, index: i32) {
        self.free(index);
        // SAFETY: the position is on the stack.
        unsafe { ffi::lua_remove(self.state, index) }
        self.drop_top(1);
    }

    /// Moves the top to this position.
    pub fn replace(&mut self, index: i32) {
        self.free(index);
        // SAFETY: the position is on the stack.
        unsafe { ffi::lua_replace(self.state, index) }
        self.drop_top(1);
    }

    /// Pushes nil.
    pub fn push_nil(&mut self) {
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnil(self.state) }
        self.len += 1;
    }

    /// Pushes a boolean.
    pub fn push_boolean(&mut self, value: bool) {
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::lua_pushboolean(self.state, value.into()) }
        self.len += 1;
    }

    /// Pushes a number.
    pub fn push_number(&mut self, number: f64) {
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnumber(self.state, number) }
        self.len += 1;
    }

    /// Pushes the pointer to nothing.
    pub fn push_null(&mut self) {
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::lua_pushlightuserdata(self.state, std::ptr::null_mut()) }
        self.len += 1;
    }

    /// Pushes a string; an empty one where it would be more than a script may take.
    pub fn push_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let is_there = self.affords(bytes.len());
        self.push_sure(if is_there { bytes } else { b"" });
    }

    /// Pushes a string, whatever there is.
    fn push_sure(&mut self, bytes: &[u8]) {
        self.room(1);
        // SAFETY: there is room; Lua copies the bytes.
        unsafe { ffi::lua_pushlstring(self.state, bytes.as_ptr().cast(), bytes.len()) }
        self.len += 1;
    }

    /// Pushes a function that needs nobody.
    pub fn push_function(&mut self, function: Function) {
        self.room(2);
        // SAFETY: there is room; the trampoline reads the upvalue as what is written here.
        unsafe {
            ffi::lua_pushlightuserdata(self.state, function as *mut c_void);
            ffi::lua_pushcclosure(self.state, call_function, 1);
        }
        self.len += 1;
    }

    /// Pushes a function that the host runs, with a number by which it knows it.
    pub fn push_host_function(&mut self, number: u32) {
        self.room(2);
        // SAFETY: there is room.
        unsafe {
            ffi::lua_pushnumber(self.state, f64::from(number));
            ffi::lua_pushcclosure(self.state, call_host, 1);
        }
        self.len += 1;
    }

    /// Pushes a new table with room for so many elements and fields; without where that is more than a script may take.
    pub fn push_table(&mut self, elements: usize, fields: usize) {
        let bytes = elements.saturating_mul(ELEMENT_BYTES).saturating_add(fields.saturating_mul(FIELD_BYTES));
        let is_there = self.affords(bytes);
        let bounded = |len: usize| if is_there { len.min(1 << 20) as c_int } else { 0 }; // A hint; it grows.
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::lua_createtable(self.state, bounded(elements), bounded(fields)) }
        self.len += 1;
    }

    /// Pushes the table of globals.
    pub fn push_globals(&mut self) {
        self.room(1);
        // SAFETY: there is room, and a table of globals in every state.
        unsafe { ffi::lua_pushvalue(self.state, ffi::GLOBALS) }
        self.len += 1;
    }

    /// Replaces the key on top by its value in a table, no metamethod asked.
    pub fn raw_get(&mut self, table: i32) {
        let table = self.table(table);
        self.free(-1);
        // SAFETY: a table, and a key on top of it.
        unsafe { ffi::lua_rawget(self.state, table) }
    }

    /// Pushes an element.
    pub fn raw_get_index(&mut self, table: i32, index: i32) {
        let table = self.table(table);
        self.room(1);
        // SAFETY: a table, and room.
        unsafe { ffi::lua_rawgeti(self.state, table, index) }
        self.len += 1;
    }

    /// Pushes a field.
    pub fn get_field(&mut self, table: i32, name: &str) {
        let table = if table < 0 { self.len + table + 1 } else { table };
        self.push_bytes(name);
        self.raw_get(table);
    }

    /// Takes key and value from the top into a table, which is not read-only; nowhere where a script may take no more.
    pub fn raw_set(&mut self, table: i32) {
        let table = self.table(table);
        if !self.affords(0) {
            return self.pop(2);
        }
        let key = self.kind(-2);
        assert!(key != Kind::Nil && !(key == Kind::Number && self.number(-2).is_nan()), "a key");
        // SAFETY: a table, and key and value on top of it; memory is not refused while guarded.
        unsafe { ffi::lua_rawset(self.state, table) }
        self.drop_top(2);
    }

    /// Takes an element from the top into a table, as [`Self::raw_set`] does.
    pub fn raw_set_index(&mut self, table: i32, index: i32) {
        let table = self.table(table);
        if !self.affords(0) {
            return self.pop(1);
        }
        // SAFETY: as in `raw_set`.
        unsafe { ffi::lua_rawseti(self.state, table, index) }
        self.drop_top(1);
    }

    /// Takes a field from the top into a table, which is not read-only.
    pub fn set_field(&mut self, table: i32, name: &str) {
        let table = if table < 0 { self.len + table + 1 } else { table };
        self.push_bytes(name);
        self.insert(-2);
        self.raw_set(table);
    }

    /// Replaces the key on top (nil: before the first) by the next key and its value; takes it away after the last.
    /// False: that was the last.
    pub fn next(&mut self, table: i32) -> bool {
        let table = self.table(table);
        self.room(1);
        self.free(-1);
        // SAFETY: a table, and on top nil or a key that came out of it, while nobody changes it.
        let is_there = unsafe { ffi::lua_next(self.state, table) != 0 };
        self.len += if is_there { 1 } else { -1 };
        is_there
    }

    /// Pushes a key and its value: the first at or behind a place in a table, from 0 on. The place behind it; none:
    /// there is nothing more, and nothing is pushed. In the order of [`Self::next`], which looks for each key again.
    pub fn push_pair(&mut self, table: i32, place: i32) -> Option<i32> {
        assert!(0 <= place);
        self.room(2);
        // SAFETY: the position is there, and room for two; it looks within the table alone, whatever the place.
        let next = unsafe { ffi::lua_pushpair(self.state, self.at(table), place) };
        assert!(0 <= next, "a table");
        (next != 0).then(|| {
            self.len += 2;
            next
        })
    }

    /// Takes a metatable, or nil, from the top.
    pub fn set_metatable(&mut self, index: i32) {
        assert!(matches!(self.kind(-1), Kind::Table | Kind::Nil));
        let index = self.at(index);
        // SAFETY: a table or nil is on top.
        unsafe { ffi::lua_setmetatable(self.state, index) };
        self.drop_top(1);
    }

    /// Pushes the metatable, if there is one.
    pub fn push_metatable(&mut self, index: i32) -> bool {
        let index = self.at(index);
        self.room(1);
        // SAFETY: the position is there, and room.
        let is_there = unsafe { ffi::lua_getmetatable(self.state, index) != 0 };
        self.len += i32::from(is_there);
        is_there
    }

    /// Whether a table can be changed.
    pub fn set_readonly(&mut self, table: i32, is_readonly: bool) {
        let table = self.table(table);
        // SAFETY: a table.
        unsafe { ffi::lua_setreadonly(self.state, table, is_readonly.into()) }
    }

    /// Whether nobody can change a table.
    pub fn is_readonly(&self, table: i32) -> bool {
        let table = self.table(table);
        // SAFETY: a table.
        unsafe { ffi::lua_isreadonly(self.state, table) != 0 }
    }

    /// Whether a function is written in Lua.
    pub fn is_lua_function(&self, index: i32) -> bool {
        // SAFETY: as in `kind`.
        self.kind(index) == Kind::Function && unsafe { ffi::lua_iscfunction(self.state, index) } == 0
    }

    /// Whether a function, or one that it makes, assigns to variables of those around it.
    pub fn assigns(&self, function: i32) -> bool {
        assert!(self.kind(function) == Kind::Function);
        // SAFETY: a function.
        unsafe { ffi::lua_assigns(self.state, function) != 0 }
    }

    /// Pushes the variable of this number, from 1 on, that a function has of those around it, or that one in C was made
    /// with. False: it has fewer.
    pub fn push_upvalue(&mut self, function: i32, number: i32) -> bool {
        assert!(self.kind(function) == Kind::Function);
        self.room(1);
        // SAFETY: a function, and room.
        let is_there = unsafe { !ffi::lua_getupvalue(self.state, function, number).is_null() };
        self.len += i32::from(is_there);
        is_there
    }

    /// Takes the value of such a variable, which is there, from the top.
    pub fn set_upvalue(&mut self, function: i32, number: i32) {
        assert!(self.is_lua_function(function) && !self.is_empty());
        // SAFETY: a function, and a value on top.
        let is_there = unsafe { !ffi::lua_setupvalue(self.state, function, number).is_null() };
        assert!(is_there, "it was read before");
        self.drop_top(1);
    }

    /// What was done took as long as so many instructions, about: the next tick comes so much sooner.
    pub fn charge(&mut self, instructions: usize) {
        // SAFETY: the state is open.
        unsafe { ffi::lua_charge(self.state, instructions) }
    }

    /// Takes a table from the top as the globals of a function.
    pub fn set_environment(&mut self, function: i32) {
        assert!(self.kind(-1) == Kind::Table && self.kind(function) == Kind::Function);
        // SAFETY: a function, and a table on top.
        unsafe { ffi::lua_setfenv(self.state, function) };
        self.drop_top(1);
    }

    /// Takes the value on top away until [`Stack::push_kept`].
    pub fn keep(&mut self) -> i32 {
        assert!(!self.is_empty());
        // SAFETY: a value is on top.
        let reference = unsafe { ffi::luaL_ref(self.state, ffi::REGISTRY) };
        self.drop_top(1);
        reference
    }

    /// Pushes what was kept.
    pub fn push_kept(&mut self, reference: i32) {
        self.room(1);
        // SAFETY: the registry is a table, and there is room.
        unsafe { ffi::lua_rawgeti(self.state, ffi::REGISTRY, reference) }
        self.len += 1;
    }

    /// What was kept is kept no more.
    pub fn forget(&mut self, reference: i32) {
        // SAFETY: the registry is a table; only references from `keep` come here.
        unsafe { ffi::luaL_unref(self.state, ffi::REGISTRY, reference) }
    }

    /// Pushes where the function at this level of calls is: `user_script:1: `.
    pub fn push_where(&mut self, level: i32) {
        self.room(1);
        // SAFETY: there is room.
        unsafe { ffi::luaL_where(self.state, level) }
        self.len += 1;
    }

    /// Raises a text, with the place of the call before it.
    pub fn throw(&mut self, text: impl AsRef<[u8]>) -> Thrown {
        self.push_where(1);
        let whole = [self.bytes(-1).unwrap_or_default(), text.as_ref()].concat();
        self.push_bytes(whole);
        Thrown
    }

    /// Raises that memory is out.
    fn throw_full(&mut self) -> Thrown {
        self.push_where(1);
        let whole = [self.bytes(-1).unwrap_or_default(), FULL].concat();
        self.push_sure(&whole);
        Thrown
    }

    /// The source and the line of the function that runs at this level of calls, if it is written in Lua.
    pub fn source_of(&mut self, level: i32) -> Option<(Vec<u8>, i32)> {
        // SAFETY: all zeros is a value of the plain C struct; Lua fills it in for a level that exists, and then names a
        // string that ends with zero and lasts as long as the function.
        unsafe {
            let mut frame: ffi::Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.state, level, &mut frame) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.state, c"Sl".as_ptr(), &mut frame);
            let is_c = std::ffi::CStr::from_ptr(frame.what) == c"C";
            (!is_c).then(|| (std::ffi::CStr::from_ptr(frame.source).to_bytes().to_vec(), frame.currentline))
        }
    }

    /// Opens a library; its functions are globals, or in a global table of its name.
    pub fn open(&mut self, library: Library) {
        let open = match library {
            Library::Base => ffi::luaopen_base,
            Library::Table => ffi::luaopen_table,
            Library::String => ffi::luaopen_string,
            Library::Math => ffi::luaopen_math,
        };
        let top = self.len;
        self.room(2);
        // SAFETY: an opener is called as any function; guarded, it has no error to raise.
        unsafe {
            ffi::lua_pushcclosure(self.state, open, 0);
            ffi::lua_call(self.state, 0, 0);
        }
        assert_eq!(self.len, top);
    }

    /// Compiles a text; pushes the function, or the error.
    ///
    /// # Errors
    /// The text is no Lua, or too large.
    pub fn load(&mut self, text: &[u8], name: &str) -> Result<(), Failure> {
        let name = CString::new(name.replace('\0', " ")).expect("no zero is left");
        self.room(3);
        guard(self.world, -1);
        // SAFETY: text and name last for the call, which is protected; there is room.
        let status =
            unsafe { ffi::luaL_loadbuffer(self.state, text.as_ptr().cast::<c_char>(), text.len(), name.as_ptr()) };
        guard(self.world, 1);
        *self = Stack { room: self.room, floor: self.floor, ..Stack::of(self.state) };
        self.outcome(status)
    }

    /// Calls the function under so many arguments with them; so many results, or [`ALL_RESULTS`], come in their place,
    /// or the error. `handler`:
    /// position from the bottom of a function that errors go through; 0: none.
    ///
    /// # Errors
    /// What the code raises.
    pub fn call(&mut self, arguments: i32, results: i32, handler: i32) -> Result<(), Failure> {
        assert!(arguments < self.len && (handler == 0 || self.kind(handler) == Kind::Function));
        if self.take_overdrawn() {
            self.pop(arguments + 1);
            self.push_sure(FULL);
            return Err(Failure::Memory);
        }
        self.room(results.max(1));
        guard(self.world, -1);
        // SAFETY: function and arguments are on top; the call is protected.
        let status = unsafe { ffi::lua_pcall(self.state, arguments, results, handler) };
        guard(self.world, 1);
        *self = Stack { room: self.room, floor: self.floor, ..Stack::of(self.state) };
        self.outcome(status)
    }

    fn outcome(&self, status: c_int) -> Result<(), Failure> {
        match status {
            0 => Ok(()),
            ffi::ERROR_MEMORY => Err(Failure::Memory),
            _ => Err(Failure::Raised),
        }
    }

    /// Lets a script end with this error as soon as it goes on, whatever it does.
    pub fn end_script(&mut self, text: &'static str) {
        // SAFETY: see `guard`.
        unsafe { (*self.world).ending = Some(text) };
        self.watch_closely();
    }

    /// Whether a script may take so many bytes more. What nobody refers to is looked for first; once, for a function
    /// that is refused something has failed.
    fn affords(&mut self, bytes: usize) -> bool {
        self.has_bytes(bytes) || self.overdraw(bytes)
    }

    /// Whether so many bytes more are within what a script may take, and what is in reserve for what is not asked for.
    fn has_bytes(&self, bytes: usize) -> bool {
        // SAFETY: see `guard`.
        let world = unsafe { &*self.world };
        world.used_bytes.saturating_add(bytes) <= world.bytes_max + RESERVE_BYTES
    }

    #[cold]
    fn overdraw(&mut self, bytes: usize) -> bool {
        // SAFETY: see `guard`.
        let (is_running, is_overdrawn) = unsafe { ((*self.world).is_running, (*self.world).is_overdrawn) };
        if !is_running || is_overdrawn {
            return !is_running;
        }
        self.collect();
        let is_there = self.has_bytes(bytes);
        // SAFETY: see `guard`.
        unsafe { (*self.world).is_overdrawn = !is_there };
        is_there
    }

    /// Whether the running function of ours has wanted more than a script may take. Then that is its error, and
    /// whatever it makes is in vain.
    pub fn is_overdrawn(&self) -> bool {
        // SAFETY: see `guard`.
        unsafe { (*self.world).is_overdrawn }
    }

    fn take_overdrawn(&mut self) -> bool {
        // SAFETY: see `guard`.
        unsafe { std::mem::take(&mut (*self.world).is_overdrawn) }
    }

    /// Bytes that a script may still take: for what functions of ours make outside of Lua first.
    pub fn free_bytes(&self) -> usize {
        // SAFETY: see `guard`.
        unsafe { (*self.world).bytes_max.saturating_sub((*self.world).used_bytes) }
    }

    /// Whether there are not so many, also when what nobody refers to is gone.
    pub fn lacks(&mut self, bytes: usize) -> bool {
        if self.free_bytes() < bytes {
            self.collect();
        }
        self.free_bytes() < bytes
    }

    fn watch_closely(&mut self) {
        say_ending(true);
        // SAFETY: the state is open.
        unsafe { ffi::lua_sethook(self.state, Some(hook), ffi::MASK_COUNT | ffi::MASK_LINE, 1) };
    }

    /// Kibibytes in use, as `collectgarbage("count")` has it.
    pub fn used_kib(&mut self) -> f64 {
        // SAFETY: the state is open.
        unsafe {
            let kib = ffi::lua_gc(self.state, ffi::GC_COUNT, 0);
            f64::from(kib) + f64::from(ffi::lua_gc(self.state, ffi::GC_COUNT_BYTES, 0)) / 1024.0
        }
    }

    /// Frees what nothing refers to.
    pub fn collect(&mut self) {
        // SAFETY: no value has a finalizer; see `guard`.
        unsafe {
            let instructions = (*self.world).used_bytes / BYTES_PER_INSTRUCTION;
            ffi::lua_gc(self.state, ffi::GC_COLLECT, 0);
            self.charge(instructions);
        }
    }

    /// A step of the collector. True: a cycle has ended.
    pub fn collect_some(&mut self, size: i32) -> bool {
        self.charge(size.max(0) as usize * 1024 / BYTES_PER_INSTRUCTION);
        // SAFETY: no value has a finalizer.
        unsafe { ffi::lua_gc(self.state, ffi::GC_STEP, size.clamp(0, 1 << 16)) != 0 }
    }
}

/// Lua's allocator.
unsafe extern "C" fn allocate(data: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    let layout = |bytes: usize| Layout::from_size_align(bytes, ALIGN);
    // SAFETY: `data` is the world of the state; Lua says the size of each block as it was asked for, with which it was
    // made or changed here last, and never keeps one that it has freed.
    unsafe {
        let world = data.cast::<World>();
        let old = if block.is_null() { 0 } else { old };
        let (Ok(old_layout), Ok(new_layout)) = (layout(old), layout(new)) else { return std::ptr::null_mut() };
        let used = (*world).used_bytes - old + new;
        if old < new && (*world).guards == 0 && (*world).bytes_max < used {
            return std::ptr::null_mut();
        }
        let moved = match (old, new) {
            (0, 0) => return std::ptr::null_mut(),
            (0, _) => std::alloc::alloc(new_layout),
            (_, 0) => {
                std::alloc::dealloc(block.cast(), old_layout);
                (*world).used_bytes = used;
                return std::ptr::null_mut();
            }
            _ => std::alloc::realloc(block.cast(), old_layout, new),
        };
        if moved.is_null() {
            // Where nothing may be refused the process ends, as wherever memory is out.
            if 0 < (*world).guards {
                std::alloc::handle_alloc_error(new_layout);
            }
            return moved.cast();
        }
        (*world).used_bytes = used;
        moved.cast()
    }
}

/// An error where nothing is protected: a broken belief.
unsafe extern "C-unwind" fn panicked(_: *mut ffi::State) -> c_int {
    panic!("an error of Lua outside of a protected call");
}

/// Runs a [`Function`].
unsafe extern "C-unwind" fn call_function(state: *mut ffi::State) -> c_int {
    // SAFETY: the first upvalue is the function that `push_function` wrote.
    let function: Function = unsafe {
        let pointer = ffi::lua_touserdata(state, ffi::GLOBALS - 1);
        std::mem::transmute::<*mut c_void, Function>(pointer)
    };
    let mut stack = Stack::of(state);
    guard(stack.world, 1);
    let results = function(&mut stack);
    finish(stack, results)
}

/// Runs a function of the host.
unsafe extern "C-unwind" fn call_host(state: *mut ffi::State) -> c_int {
    // SAFETY: the first upvalue is the number that `push_host_function` wrote; a host is there only while it is lent to
    // `with_host`, and is taken away while it runs, so that nobody has it twice.
    let (stack, results) = unsafe {
        let number = ffi::lua_tonumber(state, ffi::GLOBALS - 1) as u32;
        let mut stack = Stack::of(state);
        let world = stack.world;
        guard(world, 1);
        let results = match (*world).host.take() {
            Some(mut host) => {
                let results = host.as_mut().called(number, &mut stack);
                (*world).host = Some(host);
                results
            }
            None => Err(stack.throw("no script is running")),
        };
        (stack, results)
    };
    finish(stack, results)
}

/// Ends a function of ours: its results, or its error. Nothing is left to drop here.
fn finish(mut stack: Stack<'_>, results: Result<usize, Thrown>) -> c_int {
    let is_overdrawn = stack.take_overdrawn();
    let results = if is_overdrawn { Err(stack.throw_full()) } else { results };
    guard(stack.world, -1);
    match results {
        Ok(results) => results as c_int,
        // SAFETY: the error is on top; the frames between here and Lua's have nothing to drop.
        Err(Thrown) => unsafe { ffi::lua_error(stack.state) },
    }
}

/// Looks at the time; ends a script that has to end.
unsafe extern "C-unwind" fn hook(state: *mut ffi::State, _: *mut ffi::Debug) {
    let world = world_of(state);
    guard(world, 1);
    // SAFETY: as in `call_host`.
    let ending = unsafe {
        if (*world).ending.is_none()
            && let Some(mut host) = (*world).host.take()
        {
            let ending = host.as_mut().tick();
            (*world).host = Some(host);
            (*world).ending = ending;
        }
        (*world).ending
    };
    let Some(text) = ending else { return guard(world, -1) };
    let mut stack = Stack::of(state);
    stack.watch_closely();
    stack.push_where(0);
    stack.push_sure(text.as_bytes());
    guard(world, -1);
    // SAFETY: the error is on top; nothing here has to be dropped.
    unsafe {
        ffi::lua_remove(state, -2);
        ffi::lua_error(state);
    }
}
