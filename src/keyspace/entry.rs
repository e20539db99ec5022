//! An entry: key, value, deadline and access clock in one allocation.
//!
//! Not here: the table that finds it, what time it is, what a command may do with it.
//!
//! # Layout
//!
//! ```text
//! ┌────────────┬──────────────┬───────────────────────┬───────────────┬───────────┬──────────────────┐
//! │ header   8 │ [deadline 8] │ [wide: key length 8,  │ [value words] │ key bytes │ [string bytes] … │
//! │            │  unix ms     │  allocated bytes    8]│  8 to 32      │           │                  │
//! └────────────┴──────────────┴───────────────────────┴───────────────┴───────────┴──────────────────┘
//! aligned to 8; the part before the key is whole words, so that words are read aligned
//!
//! header, one little word:
//!   63         48 47  46  40 39       32 31                      8 7    6     5    4     3      0
//!  ┌─────────────┬───┬───────┬───────────┬─────────────────────────┬───┬─────┬─────┬─────┬────────┐
//!  │ string len  │EPO│ class │  key len  │      access clock       │TIM│ARMED│ RAW │SLOT │  kind  │
//!  └─────────────┴───┴───────┴───────────┴─────────────────────────┴───┴─────┴─────┴─────┴────────┘
//!   kind        0 integer   one value word: the number                          OBJECT ENCODING: int
//!               1 string    no word: its bytes follow the key                                    embstr, raw
//!               2 long      one value word: a LongString                                         raw
//!               3..=15      the words of a container's struct                                    as it says
//!   SLOT        there is a deadline word, in force or not: clearing a deadline does not move the entry
//!   TIM(ED)     the deadline is in force
//!   ARMED       some record for this key waits in the wheel, due not later than the deadline word says, be it in force
//!               or not: a deadline that is not earlier needs no record of its own
//!   RAW         the string is "raw" although it is short
//!   clock       of the last access, as `access` says; LFU: minutes modulo 2^16, then a logarithmic counter of 8 bits
//!   key len     0..=254; 255: the entry is wide, and its key length and size are in two words of their own
//!   EPO(CH)     of its database when a snapshot recorded it, or when it was made since (see `walk`)
//!   class       size class of the allocation (0 if wide): the allocation is filled to its end before it moves
//!   string len  of kind 1: 0..=16,384
//! ```
//!
//! A key of 16 bytes with a string of 32 takes 8 + 16 + 32 = 56 bytes, which is a size class; with a deadline, 64.
//! An integer under the same key takes 32.
#![allow(unsafe_code)]

use super::WrongType;
use crate::memory::spare;
use crate::structure::table::{Drain, PAYLOAD_MAX, Place, Position, Table};
use crate::value::allocation::{allocated_bytes, class_bytes, class_for};
use crate::value::{
    Container, EMBSTR_LEN_MAX, INLINE_LEN_MAX, LongString, Removed, StringRef, Type, Value, ValueRef, containers,
};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Longest key whose length fits the header, in bytes. Longer ones make the entry 16 bytes larger.
pub const NARROW_KEY_LEN_MAX: usize = 254;

/// What the header's key length says of a wide entry.
const WIDE: u64 = 255;

/// The access clock is kept modulo this.
pub const CLOCK_MODULUS: u32 = 1 << 24;

const KIND_INTEGER: u8 = 0;
const KIND_STRING: u8 = 1;
const KIND_LONG: u8 = 2;
const KINDS: usize = 16;

/// The first word of an entry.
#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    const KIND: u64 = 0xf;
    const SLOT: u64 = 1 << 4;
    const RAW: u64 = 1 << 5;
    const ARMED: u64 = 1 << 6;
    const TIMED: u64 = 1 << 7;
    const CLOCK_SHIFT: u32 = 8;
    const KEY_LEN_SHIFT: u32 = 32;
    const CLASS_SHIFT: u32 = 40;
    /// Classes are below 128.
    const CLASS: u64 = 0x7f;
    const EPOCH: u64 = 1 << 47;
    const STRING_LEN_SHIFT: u32 = 48;

    fn kind(self) -> u8 {
        (self.0 & Header::KIND) as u8
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn with(self, flag: u64, on: bool) -> Header {
        Header(if on { self.0 | flag } else { self.0 & !flag })
    }

    fn clock(self) -> u32 {
        (self.0 >> Header::CLOCK_SHIFT) as u32 & (CLOCK_MODULUS - 1)
    }

    fn with_clock(self, clock: u32) -> Header {
        assert!(clock < CLOCK_MODULUS);
        let mask = u64::from(CLOCK_MODULUS - 1) << Header::CLOCK_SHIFT;
        Header(self.0 & !mask | u64::from(clock) << Header::CLOCK_SHIFT)
    }

    fn narrow_key_len(self) -> u64 {
        self.0 >> Header::KEY_LEN_SHIFT & 0xff
    }

    fn is_wide(self) -> bool {
        self.narrow_key_len() == WIDE
    }

    fn class(self) -> u8 {
        (self.0 >> Header::CLASS_SHIFT & Header::CLASS) as u8
    }

    fn string_len(self) -> usize {
        (self.0 >> Header::STRING_LEN_SHIFT) as usize
    }

    fn with_string_len(self, len: usize) -> Header {
        assert!(len <= INLINE_LEN_MAX);
        Header(self.0 & !(0xffff << Header::STRING_LEN_SHIFT) | (len as u64) << Header::STRING_LEN_SHIFT)
    }

    /// Where the wide words are, if there are any.
    fn wide_offset(self) -> usize {
        8 + 8 * usize::from(self.has(Header::SLOT))
    }

    fn value_offset(self) -> usize {
        self.wide_offset() + 16 * usize::from(self.is_wide())
    }

    fn key_offset(self) -> usize {
        self.value_offset() + value_bytes(self.kind())
    }
}

/// What decides the size of an entry, besides the key.
#[derive(Clone, Copy)]
struct Shape {
    kind: u8,
    raw: bool,
    string_len: usize,
}

/// The address of an entry; everything unsafe about entries is said here.
///
/// Its methods demand that the entry lives and that nobody changes (for those that write: uses) it meanwhile.
/// [`Entry`], [`EntryRef`] and the table see to that: an `Entry` owns its allocation as a `Box` does, and views borrow.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Address(NonNull<u64>);

impl Address {
    /// # Safety
    /// See [`Address`].
    unsafe fn header(self) -> Header {
        // SAFETY: a living entry begins with its header.
        Header(unsafe { self.0.read() })
    }

    /// # Safety
    /// See [`Address`]; `header` must describe what is in the allocation.
    unsafe fn set_header(self, header: Header) {
        // SAFETY: a living entry begins with its header.
        unsafe { self.0.write(header.0) }
    }

    /// The word at `offset` bytes.
    ///
    /// # Safety
    /// See [`Address`]; `offset` is that of a word that the header speaks of.
    unsafe fn word(self, offset: usize) -> NonNull<u64> {
        debug_assert!(offset.is_multiple_of(8));
        // SAFETY: the word lies within the allocation.
        unsafe { self.0.byte_add(offset) }
    }

    /// # Safety
    /// See [`Address`].
    unsafe fn key_len(self, header: Header) -> usize {
        if header.is_wide() {
            // SAFETY: a wide entry has the wide words.
            unsafe { self.word(header.wide_offset()).read() as usize }
        } else {
            header.narrow_key_len() as usize
        }
    }

    /// Bytes of the allocation.
    ///
    /// # Safety
    /// See [`Address`].
    unsafe fn allocated(self, header: Header) -> usize {
        if header.is_wide() {
            // SAFETY: a wide entry has the wide words.
            unsafe { self.word(header.wide_offset() + 8).read() as usize }
        } else {
            class_bytes(header.class())
        }
    }

    /// # Safety
    /// See [`Address`]; the key must not change for `'a`.
    unsafe fn key<'a>(self, header: Header) -> &'a [u8] {
        // SAFETY: key bytes stand at the key's offset and were written when the entry was made.
        unsafe {
            let bytes = self.0.cast::<u8>().add(header.key_offset());
            std::slice::from_raw_parts(bytes.as_ptr(), self.key_len(header))
        }
    }

    /// Where the bytes of a string of kind 1 stand.
    ///
    /// # Safety
    /// See [`Address`]; the kind is 1.
    unsafe fn string_start(self, header: Header) -> NonNull<u8> {
        debug_assert!(header.kind() == KIND_STRING);
        // SAFETY: the string follows the key within the allocation.
        unsafe { self.0.cast::<u8>().add(header.key_offset() + self.key_len(header)) }
    }

    /// The value's words as a `T`.
    ///
    /// # Safety
    /// See [`Address`]; the kind is that of a `T`.
    unsafe fn value<T>(self, header: Header) -> NonNull<T> {
        debug_assert!(size_of::<T>() == value_bytes(header.kind()));
        // SAFETY: the value's words lie within the allocation.
        unsafe { self.word(header.value_offset()).cast() }
    }

    /// The deadline word, in force or not, if there is one.
    ///
    /// # Safety
    /// See [`Address`].
    unsafe fn deadline_word(self, header: Header) -> Option<u64> {
        // SAFETY: the flag says that the word is there.
        header.has(Header::SLOT).then(|| unsafe { self.word(8).read() })
    }

    /// Allocates an entry and fills in all but the value: header, deadline (in force), wide words, key.
    fn allocate(key: &[u8], shape: Shape, deadline: Option<u64>, clock: u32) -> Address {
        assert!(shape.string_len <= INLINE_LEN_MAX);
        assert!(value_bytes(shape.kind) == 0 || shape.string_len == 0);
        let wide = NARROW_KEY_LEN_MAX < key.len();
        let mut header = Header(u64::from(shape.kind))
            .with(Header::SLOT | Header::TIMED, deadline.is_some())
            .with(Header::RAW, shape.raw)
            .with_clock(clock)
            .with_string_len(shape.string_len);
        header.0 |= if wide { WIDE } else { key.len() as u64 } << Header::KEY_LEN_SHIFT;
        let bytes = allocated_bytes(header.key_offset() + key.len() + shape.string_len);
        if !wide {
            header.0 |= u64::from(class_for(bytes)) << Header::CLASS_SHIFT;
        }
        let layout = layout(bytes);
        let mut start = spare::take(header.class(), bytes);
        if start.is_null() {
            // SAFETY: no entry is empty: it has at least a header.
            start = unsafe { alloc(layout) };
        }
        let Some(start) = NonNull::new(start.cast::<u64>()) else { handle_alloc_error(layout) };
        let address = Address(start);
        // SAFETY: everything written here was counted in `bytes`; the allocation is aligned to 8 and ours alone.
        unsafe {
            address.set_header(header);
            if let Some(deadline) = deadline {
                address.word(8).write(deadline);
            }
            if wide {
                address.word(header.wide_offset()).write(key.len() as u64);
                address.word(header.wide_offset() + 8).write(bytes as u64);
            }
            let key_start = start.cast::<u8>().add(header.key_offset());
            std::ptr::copy_nonoverlapping(key.as_ptr(), key_start.as_ptr(), key.len());
        }
        address
    }

    /// Frees the allocation, but not what the value owns.
    ///
    /// # Safety
    /// See [`Address`]; afterwards the entry lives no more.
    unsafe fn free(self) {
        // SAFETY: the same layout as in `allocate`: its size is in the class or in the wide words.
        // An entry that is not wide has the bytes of its class.
        unsafe {
            let (header, start) = (self.header(), self.0.cast::<u8>().as_ptr());
            let bytes = self.allocated(header);
            if header.is_wide() || !spare::keep(start, header.class(), bytes) {
                dealloc(start, layout(bytes));
            }
        }
    }
}

/// The layout of an entry of so many bytes.
fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("an entry is smaller than half of the address space")
}

/// Makes what depends on the list of container types.
macro_rules! define_kinds {
    ($($(#[$attribute:meta])* ($kind:literal, $variant:ident, $type:ty, $name:literal))*) => {
        /// Bytes of a value's words, by kind.
        const VALUE_BYTES: [u8; KINDS] = {
            let mut bytes = [0; KINDS];
            bytes[KIND_INTEGER as usize] = 8;
            bytes[KIND_LONG as usize] = size_of::<LongString>() as u8;
            $(
                $(#[$attribute])*
                {
                    assert!(KIND_LONG < $kind && $kind < KINDS as u8);
                    assert!(bytes[$kind] == 0, "a kind used twice");
                    assert!(0 < size_of::<$type>() && size_of::<$type>() <= 32 && size_of::<$type>() % 8 == 0);
                    assert!(align_of::<$type>() <= 8);
                    bytes[$kind] = size_of::<$type>() as u8;
                }
            )*
            bytes
        };

        impl Shape {
            fn of(value: &Value<'_>) -> Shape {
                let (kind, raw, string_len) = match value {
                    Value::Integer(_) => (KIND_INTEGER, false, 0),
                    Value::String(bytes) => (KIND_STRING, false, bytes.len()),
                    Value::Raw(bytes) => (KIND_STRING, true, bytes.len()),
                    Value::Long(_) => (KIND_LONG, false, 0),
                    $($(#[$attribute])* Value::$variant(_) => ($kind, false, 0),)*
                };
                Shape { kind, raw, string_len }
            }
        }

        impl Address {
            /// Writes the value into its place, over whatever is there.
            ///
            /// # Safety
            /// See [`Address`]; the header has the kind and the string length of `value`.
            unsafe fn write_value(self, header: Header, value: Value<'_>) {
                // SAFETY: the kind in the header is the value's, so its place has the right size.
                unsafe {
                    match value {
                        Value::Integer(integer) => self.value(header).write(integer),
                        Value::String(bytes) | Value::Raw(bytes) => {
                            let start = self.string_start(header);
                            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len());
                        }
                        Value::Long(string) => self.value(header).write(string),
                        $($(#[$attribute])* Value::$variant(value) => self.value(header).write(value),)*
                    }
                }
            }

            /// Moves out what the value owns. `None` if it owns nothing (integers, strings in the entry).
            ///
            /// # Safety
            /// See [`Address`]; afterwards the value must be overwritten or the entry freed, without dropping the
            /// value.
            unsafe fn take_value(self, header: Header) -> Option<Value<'static>> {
                // SAFETY: by its kind it is a `T`, and it is not used here again.
                unsafe {
                    match header.kind() {
                        KIND_INTEGER | KIND_STRING => None,
                        KIND_LONG => Some(Value::Long(self.value(header).read())),
                        $($(#[$attribute])* $kind => Some(Value::$variant(self.value(header).read())),)*
                        kind => unreachable!("kind {kind}"),
                    }
                }
            }
        }

        impl<'a> EntryRef<'a> {
            /// The value.
            pub fn value(self) -> ValueRef<'a> {
                let header = self.header();
                // SAFETY: the entry lives and does not change for 'a; its kind says what its value is.
                unsafe {
                    match header.kind() {
                        KIND_INTEGER => ValueRef::Integer(self.address.value(header).read()),
                        KIND_STRING => {
                            let start = self.address.string_start(header);
                            ValueRef::String(std::slice::from_raw_parts(start.as_ptr(), header.string_len()))
                        }
                        KIND_LONG => {
                            let string: &'a LongString = self.address.value(header).as_ref();
                            ValueRef::String(string.as_bytes())
                        }
                        $($(#[$attribute])* $kind => ValueRef::$variant(self.address.value(header).as_ref()),)*
                        kind => unreachable!("kind {kind}"),
                    }
                }
            }

            /// The value as a string.
            ///
            /// # Errors
            /// It is something else.
            #[inline]
            pub fn string(self) -> Result<StringRef<'a>, WrongType> {
                match self.value() {
                    ValueRef::Integer(integer) => Ok(StringRef::Integer(integer)),
                    ValueRef::String(bytes) => Ok(StringRef::Bytes(bytes)),
                    $($(#[$attribute])* ValueRef::$variant(_) => Err(WrongType),)*
                }
            }

            /// The type of the value, without looking at more than the header.
            pub fn value_type(self) -> Type {
                match self.header().kind() {
                    KIND_INTEGER | KIND_STRING | KIND_LONG => Type::String,
                    $($(#[$attribute])* $kind => Type::$variant,)*
                    kind => unreachable!("kind {kind}"),
                }
            }

            /// The name of the encoding, for `OBJECT ENCODING`.
            pub fn encoding_name(self) -> &'static str {
                let header = self.header();
                match self.value() {
                    ValueRef::Integer(_) => "int",
                    ValueRef::String(bytes) if bytes.len() <= EMBSTR_LEN_MAX && !header.has(Header::RAW) => "embstr",
                    ValueRef::String(_) => "raw",
                    $($(#[$attribute])* ValueRef::$variant(value) => value.encoding_name(),)*
                }
            }

            /// Bytes that the value has allocated outside the entry.
            #[inline]
            fn heap_bytes(self) -> usize {
                if self.is_within() {
                    return 0;
                }
                match self.value() {
                    ValueRef::Integer(_) => 0,
                    ValueRef::String(_) => self.long_string().map_or(0, LongString::heap_bytes),
                    $($(#[$attribute])* ValueRef::$variant(value) => value.heap_bytes(),)*
                }
            }

            /// Whether dropping the entry may take long.
            #[inline]
            pub fn is_heavy(self) -> bool {
                !self.is_within() && self.is_heavy_outside()
            }

            fn is_heavy_outside(self) -> bool {
                match self.value() {
                    ValueRef::Integer(_) => false,
                    ValueRef::String(bytes) => HEAVY_BYTES_MIN <= bytes.len(),
                    $($(#[$attribute])* ValueRef::$variant(value) => value.is_heavy(),)*
                }
            }

            /// A time in unix ms at which a part of the value is to be removed, or some time before.
            #[inline]
            pub fn due_ms(self) -> Option<u64> {
                if self.header().kind() <= KIND_LONG {
                    return None;
                }
                match self.value() {
                    ValueRef::Integer(_) | ValueRef::String(_) => None,
                    $($(#[$attribute])* ValueRef::$variant(value) => value.due_ms(),)*
                }
            }

            /// A copy of the value that shares nothing with it.
            fn duplicate_value(self) -> Value<'a> {
                match self.value() {
                    ValueRef::Integer(integer) => Value::Integer(integer),
                    ValueRef::String(bytes) if self.header().has(Header::RAW) => Value::Raw(bytes),
                    ValueRef::String(bytes) => Value::String(bytes),
                    $($(#[$attribute])* ValueRef::$variant(value) => Value::$variant(value.duplicate()),)*
                }
            }
        }

        impl Entry {
            /// Removes parts of the value whose time has come, those of about `budget` allocations.
            pub(super) fn remove_due(&mut self, now_ms: u64, budget: usize) -> Removed {
                match self.view().value_type() {
                    Type::String => Removed::default(),
                    $(
                        $(#[$attribute])*
                        Type::$variant => {
                            let value: &mut $type = self.container_mut().expect("its type was seen");
                            value.remove_due(now_ms, budget)
                        }
                    )*
                }
            }
        }

        impl Value<'_> {
            /// Bytes that it has allocated itself.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Value::Integer(_) | Value::String(_) | Value::Raw(_) => 0,
                    Value::Long(string) => string.heap_bytes(),
                    $($(#[$attribute])* Value::$variant(value) => value.heap_bytes(),)*
                }
            }

            /// Gives back about `budget` allocations of a value that nobody will use again; whether there are more.
            pub(super) fn free_some(&mut self, budget: usize) -> bool {
                match self {
                    Value::Integer(_) | Value::String(_) | Value::Raw(_) | Value::Long(_) => false,
                    $($(#[$attribute])* Value::$variant(value) => value.free_some(budget),)*
                }
            }

            /// Whether dropping it may take long.
            pub fn is_heavy(&self) -> bool {
                match self {
                    Value::Integer(_) | Value::String(_) | Value::Raw(_) => false,
                    Value::Long(string) => HEAVY_BYTES_MIN <= string.as_bytes().len(),
                    $($(#[$attribute])* Value::$variant(value) => value.is_heavy(),)*
                }
            }
        }
    };
}
containers!(define_kinds);

/// A string of this length in bytes or more is dropped when nobody waits: giving its pages back takes the kernel
/// some hundred µs a MiB.
const HEAVY_BYTES_MIN: usize = 1 << 20;

fn value_bytes(kind: u8) -> usize {
    VALUE_BYTES[usize::from(kind) % KINDS].into()
}

/// Long strings live outside the entry, the others in it, whatever the caller has.
fn settled(value: Value<'_>) -> Settled<'_> {
    match value {
        Value::String(bytes) | Value::Raw(bytes) if INLINE_LEN_MAX < bytes.len() => {
            Settled::Other(Value::Long(LongString::new(bytes.to_vec())))
        }
        Value::Long(string) if string.as_bytes().len() <= INLINE_LEN_MAX => Settled::Short(string),
        value => Settled::Other(value),
    }
}

/// A value in the form in which it is stored.
enum Settled<'a> {
    /// Came as a buffer, but belongs into the entry.
    Short(LongString),
    /// As it is.
    Other(Value<'a>),
}

/// An entry that nobody else holds; dropping it drops its value. Moves between shards by value.
pub struct Entry {
    address: Address,
}

// SAFETY: an `Entry` owns its allocation alone, and all values are `Send` (`Container` demands it, `LongString` is;
// see `values_are_send`).
unsafe impl Send for Entry {}

const _: () = {
    const fn values_are_send<T: Send>() {}
    values_are_send::<Value<'static>>();
};

impl Entry {
    /// An entry without (`None`) or with a deadline in unix ms. `clock` is below [`CLOCK_MODULUS`].
    pub fn new(key: &[u8], value: Value<'_>, deadline_ms: Option<u64>, clock: u32) -> Entry {
        match settled(value) {
            Settled::Short(string) => Entry::with_settled(key, Value::String(string.as_bytes()), deadline_ms, clock),
            Settled::Other(value) => Entry::with_settled(key, value, deadline_ms, clock),
        }
    }

    fn with_settled(key: &[u8], value: Value<'_>, deadline: Option<u64>, clock: u32) -> Entry {
        let address = Address::allocate(key, Shape::of(&value), deadline, clock);
        // SAFETY: just made for this value's shape.
        unsafe { address.write_value(address.header(), value) };
        Entry { address }
    }

    /// To read it.
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef { address: self.address, borrow: PhantomData }
    }

    /// Sets the access clock, which is below [`CLOCK_MODULUS`].
    pub fn set_clock(&mut self, clock: u32) {
        // SAFETY: ours alone; the layout does not change.
        unsafe { self.address.set_header(self.address.header().with_clock(clock)) };
    }

    /// Notes whether a record for this key waits in the wheel that is due not later than the deadline word says; which
    /// there must be then.
    pub fn set_armed(&mut self, armed: bool) {
        // SAFETY: ours alone; the layout does not change.
        unsafe {
            let header = self.address.header();
            assert!(!armed || header.has(Header::SLOT));
            self.address.set_header(header.with(Header::ARMED, armed));
        }
    }

    /// Sets the epoch of its database in which it is recorded, or was made: see [`super::walk`].
    #[inline]
    pub fn set_epoch(&mut self, epoch: bool) {
        // SAFETY: ours alone; the layout does not change.
        unsafe {
            let header = self.address.header();
            if header.has(Header::EPOCH) != epoch {
                self.address.set_header(header.with(Header::EPOCH, epoch));
            }
        }
    }

    /// Sets or clears the deadline in unix ms. Only the first deadline of an entry moves it.
    pub fn set_deadline(&mut self, deadline_ms: Option<u64>) {
        // SAFETY: ours alone; the word is written only where there is one.
        unsafe {
            let header = self.address.header();
            let Some(deadline_ms) = deadline_ms else {
                return self.address.set_header(header.with(Header::TIMED, false));
            };
            if header.has(Header::SLOT) {
                self.address.set_header(header.with(Header::TIMED, true));
                self.address.word(8).write(deadline_ms);
                return;
            }
            assert!(!header.has(Header::ARMED));
            let shape = Shape { kind: header.kind(), raw: header.has(Header::RAW), string_len: header.string_len() };
            let moved = Address::allocate(self.address.key(header), shape, Some(deadline_ms), header.clock());
            moved.take_value_of(self.address);
            self.replace_emptied(moved);
        }
    }

    /// Overwrites the value, and gives back what the old one owned. In place if the new one fits and uses at least half
    /// of the allocation. Deadline and clock stay.
    pub fn set_value(&mut self, value: Value<'_>) -> Option<Value<'static>> {
        if let Value::String(bytes) | Value::Raw(bytes) = value
            && INLINE_LEN_MAX < bytes.len()
            && self.long_string_mut().is_some_and(|string| string.overwrite(bytes))
        {
            return None;
        }
        match settled(value) {
            Settled::Short(string) => self.set_settled(Value::String(string.as_bytes())),
            Settled::Other(value) => self.set_settled(value),
        }
    }

    fn set_settled(&mut self, value: Value<'_>) -> Option<Value<'static>> {
        let shape = Shape::of(&value);
        // SAFETY: ours alone. In place, the value's words (as many as before) or the string's bytes (counted in
        // `needed`) are overwritten after what they owned was moved out; else the entry is left without a value and
        // replaced.
        unsafe {
            let header = self.address.header();
            let old = self.address.take_value(header);
            if self.fits(header, shape) {
                let header = Header(header.0 & !Header::KIND | u64::from(shape.kind))
                    .with(Header::RAW, shape.raw)
                    .with_string_len(shape.string_len);
                self.address.set_header(header);
                self.address.write_value(header, value);
            } else {
                let moved = self.reallocate(header, shape);
                moved.write_value(moved.header(), value);
                self.replace_emptied(moved);
            }
            old
        }
    }

    /// Whether a value of this shape can take the present one's place without wasting half of the allocation.
    fn fits(&self, header: Header, shape: Shape) -> bool {
        // SAFETY: ours alone.
        let (key_len, allocated) = unsafe { (self.address.key_len(header), self.address.allocated(header)) };
        let needed = header.key_offset() + key_len + shape.string_len;
        value_bytes(shape.kind) == value_bytes(header.kind()) && needed <= allocated && allocated <= 2 * needed
    }

    /// The same key, deadline and clock in an allocation for another shape, its value not yet written.
    fn reallocate(&self, header: Header, shape: Shape) -> Address {
        // SAFETY: ours alone.
        let (key, deadline) = unsafe { (self.address.key(header), self.address.deadline_word(header)) };
        let moved = Address::allocate(key, shape, deadline, header.clock());
        // SAFETY: just made; flags that do not touch the layout.
        unsafe {
            let flags = moved.header().with(Header::TIMED, header.has(Header::TIMED));
            moved.set_header(flags.with(Header::ARMED, header.has(Header::ARMED)));
        }
        moved
    }

    /// Becomes the entry at `moved`, and frees the present allocation, whose value has moved away.
    ///
    /// # Safety
    /// The value was taken (or owned nothing), and `moved` is whole and nobody else's.
    unsafe fn replace_emptied(&mut self, moved: Address) {
        // SAFETY: as demanded; nothing else refers to the old allocation, which we own.
        unsafe { self.address.free() };
        self.address = moved;
    }

    /// Takes on the length `len` as a "raw" string (zero bytes where it was shorter; an integer as its digits) and
    /// gives the bytes to be changed. The value must be a string or an integer. Growing is amortised.
    pub fn resize_string(&mut self, len: usize) -> &mut [u8] {
        let header = self.view().header();
        match header.kind() {
            KIND_LONG => return self.long_string_mut().expect("kind 2").resize_mut(len),
            KIND_STRING => {}
            KIND_INTEGER => {
                let ValueRef::Integer(integer) = self.view().value() else { unreachable!("kind 0") };
                self.set_settled(Value::Raw(itoa::Buffer::new().format(integer).as_bytes()));
                return self.resize_string(len);
            }
            kind => panic!("a string is needed, not kind {kind}"),
        }
        if INLINE_LEN_MAX < len {
            let mut string = LongString::new(Vec::new());
            let ValueRef::String(bytes) = self.view().value() else { unreachable!("kind 1") };
            let kept_len = bytes.len();
            // First to the length it has, so that it grows from there.
            string.resize_mut(kept_len).copy_from_slice(bytes);
            string.resize_mut(len);
            self.set_settled(Value::Long(string));
            return self.resize_string(len);
        }
        // SAFETY: ours alone. The string's bytes up to `len` lie in the allocation, which fits them or was made for
        // them, and are all written: the old ones, then zeros.
        unsafe {
            let kept_len = header.string_len().min(len);
            let shape = Shape { kind: KIND_STRING, raw: true, string_len: len };
            if self.fits(header, shape) {
                self.address.set_header(header.with(Header::RAW, true).with_string_len(len));
            } else {
                let moved = self.reallocate(header, shape);
                let (from, to) = (self.address.string_start(header), moved.string_start(moved.header()));
                std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), kept_len);
                self.replace_emptied(moved);
            }
            let start = self.address.string_start(self.address.header());
            std::ptr::write_bytes(start.add(kept_len).as_ptr(), 0, len - kept_len);
            std::slice::from_raw_parts_mut(start.as_ptr(), len)
        }
    }

    fn long_string_mut(&mut self) -> Option<&mut LongString> {
        let header = self.view().header();
        // SAFETY: ours alone, borrowed for as long as the value is; by its kind a `LongString`.
        (header.kind() == KIND_LONG).then(|| unsafe { self.address.value(header).as_mut() })
    }

    /// The container, if it is one of this type. It may be changed at will; its place in the entry stays.
    pub fn container_mut<T: Container>(&mut self) -> Option<&mut T> {
        let header = self.view().header();
        // SAFETY: ours alone, borrowed for as long as the value is; by its kind a `T`.
        (header.kind() == T::KIND).then(|| unsafe { self.address.value(header).as_mut() })
    }

    /// The same value, deadline and clock under another key, for which no record waits.
    pub fn with_key(self, key: &[u8]) -> Entry {
        // SAFETY: ours alone. The value moves to the new entry; the old allocation is freed without it.
        unsafe {
            let old = ManuallyDrop::new(self).address;
            let header = old.header();
            let shape = Shape { kind: header.kind(), raw: header.has(Header::RAW), string_len: header.string_len() };
            let deadline = old.deadline_word(header).filter(|_| header.has(Header::TIMED));
            let moved = Address::allocate(key, shape, deadline, header.clock());
            moved.take_value_of(old);
            old.free();
            Entry { address: moved }
        }
    }

    /// A copy under another key, with the same deadline.
    pub fn duplicate(view: EntryRef<'_>, key: &[u8], clock: u32) -> Entry {
        Entry::new(key, view.duplicate_value(), view.deadline_ms(), clock)
    }

    /// What the value owns, if it owns something, without the entry.
    pub(super) fn into_value(self) -> Option<Value<'static>> {
        let address = ManuallyDrop::new(self).address;
        // SAFETY: ours alone, and not used again: the value moves out, then the allocation goes without it.
        unsafe {
            let value = address.take_value(address.header());
            address.free();
            value
        }
    }

    /// Its address, for the table: 48 bits.
    fn payload(&self) -> u64 {
        let payload = self.address.0.as_ptr().expose_provenance() as u64;
        assert!(payload <= PAYLOAD_MAX);
        payload
    }

    /// Becomes a payload of the table, which owns it until it comes back.
    fn into_payload(self) -> u64 {
        ManuallyDrop::new(self).payload()
    }

    /// The entry at an address from [`Entry::into_payload`].
    ///
    /// # Safety
    /// The payload was given by `into_payload`, and ownership goes over to the result.
    unsafe fn from_payload(payload: u64) -> Entry {
        let start = std::ptr::with_exposed_provenance_mut(payload as usize);
        Entry { address: Address(NonNull::new(start).expect("no entry lives at 0")) }
    }
}

impl Address {
    /// Takes over the value of another entry of the same shape; what is in the other one is dead then.
    ///
    /// # Safety
    /// See [`Address`], for both; kind and string length are the same, and the other's value is not used again.
    unsafe fn take_value_of(self, other: Address) {
        // SAFETY: words and string bytes lie in both allocations, and a value may be moved by copying its bytes.
        unsafe {
            let (header, other_header) = (self.header(), other.header());
            debug_assert!(header.kind() == other_header.kind());
            let (to, from) = (self.value_words(header), other.value_words(other_header));
            std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), value_bytes(header.kind()));
            if header.kind() == KIND_STRING {
                let (to, from) = (self.string_start(header), other.string_start(other_header));
                std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), header.string_len());
            }
        }
    }

    /// Where the value's words stand, if it has any.
    ///
    /// # Safety
    /// See [`Address`].
    unsafe fn value_words(self, header: Header) -> NonNull<u8> {
        // SAFETY: at most the end of the words before the key.
        unsafe { self.0.cast::<u8>().add(header.value_offset()) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: ours alone, and not used again: first the value goes, then the allocation.
        unsafe {
            drop(self.address.take_value(self.address.header()));
            self.address.free();
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(out)
    }
}

/// A look at an entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    address: Address,
    borrow: PhantomData<&'a Entry>,
}

impl<'a> EntryRef<'a> {
    fn header(self) -> Header {
        // SAFETY: the entry lives and does not change for 'a.
        unsafe { self.address.header() }
    }

    /// Asks for the cache lines of the entry behind the first one, which should have arrived.
    #[inline]
    fn prefetch_rest(self) {
        let start = self.address.0.addr().get() as u64;
        // SAFETY: the entry lives and does not change for 'a.
        let end = start + unsafe { self.address.allocated(self.header()) } as u64;
        let rest = (start | (LINE_BYTES - 1)) + 1..end;
        rest.step_by(LINE_BYTES as usize).take(OTHER_LINES_MAX).for_each(prefetch);
    }

    /// The key.
    pub fn key(self) -> &'a [u8] {
        // SAFETY: the entry lives and does not change for 'a.
        unsafe { self.address.key(self.header()) }
    }

    /// The deadline in unix ms, if it has one.
    #[inline]
    pub fn deadline_ms(self) -> Option<u64> {
        let header = self.header();
        if !header.has(Header::TIMED) {
            return None;
        }
        // SAFETY: the entry lives and does not change for 'a.
        unsafe { self.address.deadline_word(header) }
    }

    /// Whether its deadline has come.
    pub fn is_expired(self, now_ms: u64) -> bool {
        self.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// The access clock, as [`super::access`] understands it.
    pub fn clock(self) -> u32 {
        self.header().clock()
    }

    /// The epoch of its database in which it is recorded, or was made: see [`super::walk`].
    #[inline]
    pub fn epoch(self) -> bool {
        self.header().has(Header::EPOCH)
    }

    /// If a record for this key waits in the wheel: a time in unix ms at which it will have come, whether the entry has
    /// a deadline or not.
    pub fn armed_until_ms(self) -> Option<u64> {
        let header = self.header();
        if !header.has(Header::ARMED) {
            return None;
        }
        // SAFETY: the entry lives and does not change for 'a.
        unsafe { self.address.deadline_word(header) }
    }

    /// The value, if it is a container of this type.
    pub fn container<T: Container>(self) -> Option<&'a T> {
        let header = self.header();
        // SAFETY: the entry lives and does not change for 'a; by its kind its value is a `T`.
        (header.kind() == T::KIND).then(|| unsafe { self.address.value(header).as_ref() })
    }

    /// The value, if it is a string kept outside the entry: a clone of it outlives the entry without copying.
    pub fn long_string(self) -> Option<&'a LongString> {
        let header = self.header();
        // SAFETY: the entry lives and does not change for 'a; by its kind its value is a `LongString`.
        (header.kind() == KIND_LONG).then(|| unsafe { self.address.value(header).as_ref() })
    }

    /// Whether all of it lies in the entry's own allocation, as most do: what there is beside it takes longer to find.
    #[inline]
    fn is_within(self) -> bool {
        self.header().kind() <= KIND_STRING
    }

    /// Bytes of the entry's own allocation.
    pub fn allocated_bytes(self) -> usize {
        // SAFETY: the entry lives and does not change for 'a.
        unsafe { self.address.allocated(self.header()) }
    }

    /// Bytes of the entry and of all that its value has allocated, the allocator's rounding included.
    pub fn memory_bytes(self) -> usize {
        self.allocated_bytes() + self.heap_bytes()
    }

    /// The entry at an address that the table holds.
    ///
    /// # Safety
    /// The payload was given by [`Entry::into_payload`], and the entry lives and does not change for `'a`.
    unsafe fn from_payload(payload: u64) -> EntryRef<'a> {
        let start = std::ptr::with_exposed_provenance_mut(payload as usize);
        EntryRef { address: Address(NonNull::new(start).expect("no entry lives at 0")), borrow: PhantomData }
    }
}

impl std::fmt::Debug for EntryRef<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value", &self.value())
            .field("deadline_ms", &self.deadline_ms())
            .finish_non_exhaustive()
    }
}

/// How many buckets ahead of a walk the first cache lines of entries are asked for, …
const FIRST_LINES_AHEAD: usize = 4;
/// … and those behind, of which the first one tells how many there are.
const OTHER_LINES_AHEAD: usize = 2;
/// So many of them at most: the processor fetches on by itself where something is read from front to back.
const OTHER_LINES_MAX: usize = 4;
const LINE_BYTES: u64 = 64;

/// Asks for the cache line at an address that the table holds, or that it held: nothing is read.
#[inline]
fn prefetch(payload: u64) {
    crate::structure::cache::prefetch(std::ptr::without_provenance(payload as usize));
}

/// Entries by key: the table that owns them. Two entries with the same key are the caller's mistake.
#[derive(Default)]
pub(super) struct Entries {
    /// Every payload is that of an entry which is nobody else's.
    table: Table,
}

impl Entries {
    /// None yet, with the place that about so many need.
    pub fn with_room(len: usize) -> Entries {
        Entries { table: Table::with_room(len) }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of the table, without those of the entries.
    pub fn table_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Asks for the cache lines in which the hash is looked up.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Asks for the first cache line of the entry that most likely has this hash.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if let Some(payload) = self.table.first_match(hash) {
            prefetch(payload);
        }
    }

    /// The entry with this key, and where it is until the table changes.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<(Position, EntryRef<'_>)> {
        self.find_where(hash, |view| view.key() == key)
    }

    /// An entry for which `is_it` says yes, among those that may have this hash (and some that have not).
    #[inline]
    pub fn find_where(
        &self,
        hash: u64,
        mut is_it: impl FnMut(EntryRef<'_>) -> bool,
    ) -> Option<(Position, EntryRef<'_>)> {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        let found = self.table.find_with_payload(hash, |payload| is_it(unsafe { EntryRef::from_payload(payload) }));
        // SAFETY: as before.
        found.map(|(position, payload)| (position, unsafe { EntryRef::from_payload(payload) }))
    }

    /// The entry at a position.
    pub fn view(&self, position: Position) -> EntryRef<'_> {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        unsafe { EntryRef::from_payload(self.table.payload(position)) }
    }

    /// The entry at a position, to be changed. Its key must stay.
    pub fn entry_mut(&mut self, position: Position) -> EntryGuard<'_> {
        let payload = self.table.payload(position);
        // SAFETY: the table's payloads are living entries and nobody else's; the guard gives it back.
        let entry = ManuallyDrop::new(unsafe { Entry::from_payload(payload) });
        EntryGuard { table: &mut self.table, position, entry }
    }

    /// The value at a position, if it is a container of this type.
    pub fn container_mut<T: Container>(&mut self, position: Position) -> Option<&mut T> {
        let address = self.view(position).address;
        // SAFETY: the entry lives; by its kind its value is a `T`, which nobody else sees while `self` is borrowed.
        unsafe {
            let header = address.header();
            (header.kind() == T::KIND).then(|| address.value(header).as_mut())
        }
    }

    /// Adds an entry whose key is not there yet. `hash_of` gives the hash of any key.
    pub fn insert(&mut self, hash: u64, entry: Entry, hash_of: impl Fn(&[u8]) -> u64) {
        self.table.insert(hash, entry.into_payload(), |payload| {
            // SAFETY: the table's payloads are living entries, which do not change meanwhile.
            hash_of(unsafe { EntryRef::from_payload(payload) }.key())
        });
    }

    /// Takes an entry out.
    pub fn remove(&mut self, position: Position) -> Entry {
        // SAFETY: the table's payloads are living entries and nobody else's; this one is the caller's now.
        unsafe { Entry::from_payload(self.table.remove(position)) }
    }

    /// One step of an iteration with the guarantee of SCAN, over about `budget` entries; 0 begins and ends it.
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        self.table.scan(cursor, budget, |payload| visit(unsafe { EntryRef::from_payload(payload) }))
    }

    /// One step of an iteration that visits every entry once, at least `budget` of them; 0 begins and ends it.
    pub fn survey(
        &self,
        position: u64,
        budget: usize,
        hash_of: impl Fn(&[u8]) -> u64,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        let hash_of = |payload| hash_of(unsafe { EntryRef::from_payload(payload) }.key());
        // SAFETY: as above.
        self.table.survey(position, budget, hash_of, |payload| visit(unsafe { EntryRef::from_payload(payload) }))
    }

    /// A step of an iteration as by [`Entries::scan`]: visits the entries that have a deadline or a part that has one.
    /// Armed ones without are disarmed.
    pub fn scan_armed(&mut self, cursor: u64, budget: usize, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        self.table.scan(cursor, budget, |payload| {
            // SAFETY: the table's payloads are living entries and nobody else's, and `self` is ours alone: there is no
            // view of the entry when its flag is changed, which touches no layout.
            unsafe {
                let view = EntryRef::from_payload(payload);
                let (address, header) = (view.address, view.header());
                if header.has(Header::ARMED) && !header.has(Header::TIMED) {
                    address.set_header(header.with(Header::ARMED, false));
                }
                if header.has(Header::TIMED) || view.due_ms().is_some() {
                    visit(view);
                }
            }
        })
    }

    /// A step of an iteration as by [`Entries::scan`]: an entry gets the clock that is returned for its own, if any.
    pub fn scan_clocks(&mut self, cursor: u64, budget: usize, mut change: impl FnMut(u32) -> Option<u32>) -> u64 {
        self.table.scan(cursor, budget, |payload| {
            // SAFETY: the table's payloads are living entries and nobody else's, and `self` is ours alone: there is no
            // view of the entry when its clock is changed, which touches no layout.
            unsafe {
                let (address, header) = {
                    let view = EntryRef::from_payload(payload);
                    (view.address, view.header())
                };
                if let Some(clock) = change(header.clock()) {
                    address.set_header(header.with_clock(clock));
                }
            }
        })
    }

    /// A step of an iteration as by [`Entries::scan`], over one bucket: visits the entries of another epoch. Those for
    /// which `visit` says yes are of this one from then on. Entries of the buckets that come next are asked for: each
    /// would be a cache miss, which takes longer than writing a small one down.
    pub fn scan_epoch(&mut self, cursor: u64, epoch: bool, mut visit: impl FnMut(EntryRef<'_>) -> bool) -> u64 {
        self.table.look_ahead(cursor, FIRST_LINES_AHEAD, prefetch);
        self.table.look_ahead(cursor, OTHER_LINES_AHEAD, |payload| {
            // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
            unsafe { EntryRef::from_payload(payload) }.prefetch_rest();
        });
        self.table.scan(cursor, 1, |payload| {
            // SAFETY: as in `scan_armed`.
            unsafe {
                let view = EntryRef::from_payload(payload);
                let (address, header) = (view.address, view.header());
                if header.has(Header::EPOCH) != epoch && visit(view) {
                    address.set_header(header.with(Header::EPOCH, epoch));
                }
            }
        })
    }

    /// Visits every entry.
    pub fn for_each(&self, mut visit: impl FnMut(EntryRef<'_>)) {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        self.table.for_each(|payload| visit(unsafe { EntryRef::from_payload(payload) }));
    }

    /// A random entry.
    pub fn random(&self, seed: u64) -> Option<EntryRef<'_>> {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        self.table.random(seed).map(|payload| unsafe { EntryRef::from_payload(payload) })
    }

    /// Asks for the place in the table where [`Entries::sample`] with this seed looks.
    pub fn prefetch_sample(&self, seed: u64) {
        self.table.prefetch_sample(seed);
    }

    /// Asks for the first cache line of the entries that it would visit now. Their place should have arrived.
    pub fn prefetch_sampled(&self, seed: u64, count: usize) {
        let mut payloads = [0; SAMPLE_LEN_MAX];
        let filled = self.table.sample(seed, &mut payloads[..count.min(SAMPLE_LEN_MAX)]);
        payloads[..filled].iter().for_each(|&payload| prefetch(payload));
    }

    /// Visits up to `count` (at most [`SAMPLE_LEN_MAX`]) random entries, neighbours in the table.
    pub fn sample(&self, seed: u64, count: usize, mut visit: impl FnMut(EntryRef<'_>)) {
        let mut payloads = [0; SAMPLE_LEN_MAX];
        let filled = self.table.sample(seed, &mut payloads[..count.min(SAMPLE_LEN_MAX)]);
        for &payload in &payloads[..filled] {
            // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
            visit(unsafe { EntryRef::from_payload(payload) });
        }
    }

    /// The next place of a round over all of them: see [`Table::place_after`].
    pub fn place_after(&self, place: Place) -> Place {
        self.table.place_after(place)
    }

    /// Asks for what [`Entries::visit_place`] reads of the table.
    pub fn prefetch_place(&self, place: Place) {
        self.table.prefetch_place(place);
    }

    /// Asks for the first cache line of the entries at a place, which should have arrived.
    pub fn prefetch_placed(&self, place: Place) {
        self.table.visit_place(place, |_, payload| prefetch(payload));
    }

    /// Visits the entries at a place, with their locators.
    #[inline]
    pub fn visit_place(&self, place: Place, mut visit: impl FnMut(u64, EntryRef<'_>)) {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        self.table.visit_place(place, |locator, payload| visit(locator, unsafe { EntryRef::from_payload(payload) }));
    }

    /// Asks for where an entry with this locator lies in the table.
    pub fn prefetch_located_bucket(&self, locator: u64) {
        self.table.prefetch_located(locator);
    }

    /// Asks for the first cache line of the entry that most likely has this locator.
    pub fn prefetch_located_entry(&self, locator: u64) {
        if let Some((_, payload)) = self.table.find_by_locator(locator, |_| true) {
            prefetch(payload);
        }
    }

    /// An entry with this locator for which `is_it` says yes, and where it is until the table changes.
    #[inline]
    pub fn find_located(&self, locator: u64, mut is_it: impl FnMut(EntryRef<'_>) -> bool) -> Option<Position> {
        // SAFETY: the table's payloads are living entries, which change only through `&mut self`.
        let is_it = |payload| is_it(unsafe { EntryRef::from_payload(payload) });
        self.table.find_by_locator(locator, is_it).map(|(position, _)| position)
    }

    /// Takes all entries out, to be dropped bit by bit.
    pub fn take(&mut self) -> EntriesDrain {
        EntriesDrain { drain: self.table.take() }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.take();
    }
}

/// Most entries that one call of [`super::Keyspace::sample`] visits: `maxmemory-samples` goes up to 64.
pub const SAMPLE_LEN_MAX: usize = 64;

/// Former content of [`Entries`]; drops it in steps, or the rest of it when it is dropped.
pub(super) struct EntriesDrain {
    drain: Drain,
}

impl EntriesDrain {
    pub fn len(&self) -> usize {
        self.drain.len()
    }

    pub fn table_bytes(&self) -> usize {
        self.drain.memory_bytes()
    }

    /// Hands out about `budget` entries. False after the last.
    pub fn step(&mut self, budget: usize, mut take: impl FnMut(Entry)) -> bool {
        // SAFETY: the table's payloads were entries that it owned; each is handed out once.
        self.drain.step(budget, |payload| take(unsafe { Entry::from_payload(payload) }))
    }
}

impl Drop for EntriesDrain {
    fn drop(&mut self) {
        while self.step(usize::MAX, drop) {}
    }
}

/// An entry in its table, to be changed; where it moves, the table follows.
pub(super) struct EntryGuard<'a> {
    table: &'a mut Table,
    position: Position,
    entry: ManuallyDrop<Entry>,
}

impl std::ops::Deref for EntryGuard<'_> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl std::ops::DerefMut for EntryGuard<'_> {
    fn deref_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

impl Drop for EntryGuard<'_> {
    fn drop(&mut self) {
        let payload = self.entry.payload();
        if payload != self.table.payload(self.position) {
            self.table.set_payload(self.position, payload);
        }
    }
}

#[cfg(test)]
mod tests;
