//! The functions of Lua's C interface that are used, as `lua.h` of Lua 5.1 and `build.rs` declare them.
//!
//! `C-unwind`, because a function that raises an error leaves by `longjmp` through the frames of those that called it.

use std::ffi::{c_char, c_int, c_void};

/// A Lua state, or a coroutine of one.
#[repr(C)]
pub struct State {
    _opaque: [u8; 0],
}

/// What a hook is told; only `event` and `currentline` are looked at, by C.
#[repr(C)]
pub struct Debug {
    pub event: c_int,
    pub name: *const c_char,
    pub namewhat: *const c_char,
    pub what: *const c_char,
    pub source: *const c_char,
    pub currentline: c_int,
    pub nups: c_int,
    pub linedefined: c_int,
    pub lastlinedefined: c_int,
    pub short_src: [c_char; 60],
    pub i_ci: c_int,
}

pub type CFunction = unsafe extern "C-unwind" fn(*mut State) -> c_int;
pub type Hook = unsafe extern "C-unwind" fn(*mut State, *mut Debug);
pub type Alloc = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;

pub const REGISTRY: c_int = -10000;
pub const GLOBALS: c_int = -10002;
pub const ERROR_MEMORY: c_int = 4;
pub const MASK_LINE: c_int = 1 << 2;
pub const MASK_COUNT: c_int = 1 << 3;
pub const GC_COLLECT: c_int = 2;
pub const GC_COUNT: c_int = 3;
pub const GC_COUNT_BYTES: c_int = 4;
pub const GC_STEP: c_int = 5;

unsafe extern "C-unwind" {
    pub fn lua_newstate(alloc: Alloc, data: *mut c_void) -> *mut State;
    pub fn lua_close(state: *mut State);
    pub fn lua_getallocf(state: *mut State, data: *mut *mut c_void) -> Alloc;
    pub fn lua_atpanic(state: *mut State, panic: CFunction) -> CFunction;
    pub fn lua_gettop(state: *mut State) -> c_int;
    pub fn lua_settop(state: *mut State, index: c_int);
    pub fn lua_pushvalue(state: *mut State, index: c_int);
    pub fn lua_remove(state: *mut State, index: c_int);
    pub fn lua_insert(state: *mut State, index: c_int);
    pub fn lua_replace(state: *mut State, index: c_int);
    pub fn lua_checkstack(state: *mut State, len: c_int) -> c_int;
    pub fn lua_type(state: *mut State, index: c_int) -> c_int;
    pub fn lua_tonumber(state: *mut State, index: c_int) -> f64;
    pub fn lua_isnumber(state: *mut State, index: c_int) -> c_int;
    pub fn lua_toboolean(state: *mut State, index: c_int) -> c_int;
    pub fn lua_tolstring(state: *mut State, index: c_int, len: *mut usize) -> *const c_char;
    pub fn lua_touserdata(state: *mut State, index: c_int) -> *mut c_void;
    pub fn lua_bytes(state: *mut State, index: c_int, len: *mut usize) -> *const c_char;
    pub fn lua_topointer(state: *mut State, index: c_int) -> *const c_void;
    pub fn lua_objlen(state: *mut State, index: c_int) -> usize;
    pub fn lua_rawequal(state: *mut State, one: c_int, other: c_int) -> c_int;
    pub fn lua_pushnil(state: *mut State);
    pub fn lua_pushnumber(state: *mut State, number: f64);
    pub fn lua_pushlstring(state: *mut State, bytes: *const c_char, len: usize);
    pub fn lua_pushcclosure(state: *mut State, function: CFunction, upvalues: c_int);
    pub fn lua_pushboolean(state: *mut State, value: c_int);
    pub fn lua_pushlightuserdata(state: *mut State, pointer: *mut c_void);
    pub fn lua_rawget(state: *mut State, index: c_int);
    pub fn lua_rawgeti(state: *mut State, index: c_int, n: c_int);
    pub fn lua_createtable(state: *mut State, array: c_int, hash: c_int);
    pub fn lua_getmetatable(state: *mut State, index: c_int) -> c_int;
    pub fn lua_rawset(state: *mut State, index: c_int);
    pub fn lua_rawseti(state: *mut State, index: c_int, n: c_int);
    pub fn lua_setmetatable(state: *mut State, index: c_int) -> c_int;
    pub fn lua_setfenv(state: *mut State, index: c_int) -> c_int;
    pub fn lua_setreadonly(state: *mut State, index: c_int, on: c_int);
    pub fn lua_ending() -> *mut c_int;
    pub fn lua_charge(state: *mut State, instructions: usize);
    pub fn lua_isreadonly(state: *mut State, index: c_int) -> c_int;
    pub fn lua_assigns(state: *mut State, index: c_int) -> c_int;
    pub fn lua_iscfunction(state: *mut State, index: c_int) -> c_int;
    pub fn lua_getupvalue(state: *mut State, function: c_int, n: c_int) -> *const c_char;
    pub fn lua_setupvalue(state: *mut State, function: c_int, n: c_int) -> *const c_char;
    pub fn lua_call(state: *mut State, arguments: c_int, results: c_int);
    pub fn lua_pcall(state: *mut State, arguments: c_int, results: c_int, handler: c_int) -> c_int;
    pub fn luaL_loadbuffer(state: *mut State, text: *const c_char, len: usize, name: *const c_char) -> c_int;
    pub fn lua_error(state: *mut State) -> c_int;
    pub fn lua_next(state: *mut State, index: c_int) -> c_int;
    pub fn lua_pushpair(state: *mut State, index: c_int, place: c_int) -> c_int;
    pub fn lua_gc(state: *mut State, what: c_int, data: c_int) -> c_int;
    pub fn lua_sethook(state: *mut State, hook: Option<Hook>, mask: c_int, count: c_int) -> c_int;
    pub fn lua_getstack(state: *mut State, level: c_int, frame: *mut Debug) -> c_int;
    pub fn lua_getinfo(state: *mut State, what: *const c_char, frame: *mut Debug) -> c_int;
    pub fn luaL_where(state: *mut State, level: c_int);
    pub fn luaL_ref(state: *mut State, table: c_int) -> c_int;
    pub fn luaL_unref(state: *mut State, table: c_int, reference: c_int);
    pub fn luaopen_base(state: *mut State) -> c_int;
    pub fn luaopen_table(state: *mut State) -> c_int;
    pub fn luaopen_string(state: *mut State) -> c_int;
    pub fn luaopen_math(state: *mut State) -> c_int;
}
