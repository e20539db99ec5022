//! Values: what a key can hold. Encodings and conversions; no commands, no replies, no time, no kernel.
//!
//! Integers and strings up to [`INLINE_LEN_MAX`] bytes live inside their entry and have no type of their own. Longer
//! strings are [`LongString`]s. Everything else is a [`Container`].
//!
//! # A new container type
//!
//! Write it as a small library, implement [`Container`] for it, and add a line to the list at the end of this file:
//!
//! ```text
//! (4, List, crate::value::list::List, "list")
//!  │   │             │                  └ what TYPE says
//!  │   │             └ the type: at most 32 bytes, a multiple of 8, aligned to 8 or less
//!  │   └ its variant in Value and ValueRef
//!  └ its kind in the entry's header, 3..=15, never used twice
//! ```
//!
//! The value itself (its handle: the pointer, the length, whatever the type keeps in its own struct) is stored inside
//! the entry, so that a small hash costs one allocation besides its entry, not two. A type whose struct is larger than
//! four words boxes it.

pub mod bitfield;
pub mod hash;
pub mod list;
mod long_string;
mod member_hash;
pub mod number;
#[cfg(test)]
pub(crate) mod probe;
pub mod set;
pub mod sorted_set;
pub mod stream;

pub use crate::structure::allocation;
pub use long_string::LongString;
pub use member_hash::seed_member_hash;

use number::parse_integer;

/// Longest string kept inside its entry, in bytes.
///
/// Below it, a string costs no second allocation and no second cache miss, and overwriting it copies it once, from the
/// receive buffer. Above it, the copy out (about 1 µs) costs more than handing out a counted reference, and a value
/// does not fit one receive buffer anyway, so that it arrives as a buffer of its own which is taken over as it is.
pub const INLINE_LEN_MAX: usize = 16 * 1024;

/// Longest string that is "embstr" when it is created, in bytes; longer ones are "raw". Redis' object.c.
pub const EMBSTR_LEN_MAX: usize = 44;

/// A container of so many allocations is dropped in slices. Some 20 ns each if they are in the cache: 2 µs.
pub const HEAVY_ALLOCATIONS_MIN: usize = 100;

/// What a type must offer to be stored under a key.
pub trait Container: Sized + Send + 'static + sealed::Listed {
    /// The name for `OBJECT ENCODING`.
    fn encoding_name(&self) -> &'static str;

    /// Bytes allocated beyond the value's own struct, allocator rounding included. In constant time: it is asked
    /// before and after every change.
    fn heap_bytes(&self) -> usize;

    /// A copy that shares nothing, for `COPY`.
    fn duplicate(&self) -> Self;

    /// Whether dropping it may take long (more than [`HEAVY_ALLOCATIONS_MIN`] allocations), so that it had better be
    /// dropped when nobody waits, in slices: see [`Container::free_some`].
    fn is_heavy(&self) -> bool;

    /// Gives back about `budget` allocations of a heavy value that nobody will use again, and says whether there are
    /// more; `false`: what is left may be dropped at once. [`Container::heap_bytes`] stays true meanwhile. Whatever
    /// happened to the key (deleted, expired, overwritten, flushed), the keyspace calls this between commands until it
    /// says `false`, so a type that can be heavy must do this step by step.
    fn free_some(&mut self, budget: usize) -> bool {
        let _ = budget;
        false
    }

    /// A time in unix ms at which a part of it (a field) is to be removed, or some time before; `None`: never.
    #[inline]
    fn due_ms(&self) -> Option<u64> {
        None
    }

    /// Removes parts whose time has come, those of about `budget` allocations. How many there were, and whether nothing
    /// is left at all. Afterwards [`Container::due_ms`] says whether there are more.
    fn remove_due(&mut self, now_ms: u64, budget: usize) -> Removed {
        let _ = (now_ms, budget);
        Removed::default()
    }
}

/// What [`Container::remove_due`] has removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// How many parts.
    pub count: usize,
    /// The container is empty: its key must go.
    pub is_empty: bool,
    /// Their names.
    pub names: Vec<Box<[u8]>>,
}

/// A string as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringRef<'a> {
    /// Stored as an integer; its text is its decimal digits.
    Integer(i64),
    /// Its text.
    Bytes(&'a [u8]),
}

impl<'a> StringRef<'a> {
    /// Its text; an integer's digits are written to `digits`.
    #[inline]
    pub fn bytes<'b>(self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            StringRef::Integer(integer) => digits.format(integer).as_bytes(),
            StringRef::Bytes(bytes) => bytes,
        }
    }

    /// Its text, copied.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The length of its text in bytes.
    pub fn len(self) -> usize {
        self.bytes(&mut itoa::Buffer::new()).len()
    }

    /// Whether its text is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number, if its text is that of a signed 64-bit integer.
    pub fn integer(self) -> Option<i64> {
        match self {
            StringRef::Integer(integer) => Some(integer),
            StringRef::Bytes(bytes) => parse_integer(bytes),
        }
    }
}

mod sealed {
    /// Set for the types in the list.
    pub trait Listed {
        /// The kind in the entry's header.
        const KIND: u8;
    }
}

/// Calls the macro `$then` with all container types.
macro_rules! containers {
    ($then:ident) => {
        $then! {
            (5, Set, crate::value::set::Set, "set")
            (6, SortedSet, crate::value::sorted_set::SortedSet, "zset")
            (7, Hash, crate::value::hash::Hash, "hash")
            (4, List, crate::value::list::List, "list")
            (8, Stream, crate::value::stream::Stream, "stream")
            #[cfg(test)]
            (15, Probe, crate::value::probe::Probe, "probe")
        }
    };
}
pub(crate) use containers;

macro_rules! define_values {
    ($($(#[$attribute:meta])* ($kind:literal, $variant:ident, $type:ty, $name:literal))*) => {
        /// The type of a value, as `TYPE` and `SCAN … TYPE` name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Type {
            /// Strings, integers among them.
            String,
            $(
                #[doc = concat!("`", $name, "`")]
                $(#[$attribute])*
                $variant,
            )*
        }

        impl Type {
            /// The name, in lower case.
            pub fn name(self) -> &'static str {
                match self {
                    Type::String => "string",
                    $($(#[$attribute])* Type::$variant => $name,)*
                }
            }
        }

        /// A value on its way into a key.
        #[derive(Debug)]
        pub enum Value<'a> {
            /// An integer ("int").
            Integer(i64),
            /// A string to be copied: "embstr" up to [`EMBSTR_LEN_MAX`] bytes, else "raw".
            String(&'a [u8]),
            /// A string to be copied that is "raw" however short: built by `APPEND`, `SETRANGE`, `SETBIT`, ….
            Raw(&'a [u8]),
            /// A string to be taken over. Kept as it is, whatever its length.
            Long(LongString),
            $(
                #[doc = concat!("A ", $name, ".")]
                $(#[$attribute])*
                $variant($type),
            )*
        }

        /// A value under a key.
        #[derive(Debug, Clone, Copy)]
        pub enum ValueRef<'a> {
            /// An integer.
            Integer(i64),
            /// A string.
            String(&'a [u8]),
            $(
                #[doc = concat!("A ", $name, ".")]
                $(#[$attribute])*
                $variant(&'a $type),
            )*
        }

        $(
            $(#[$attribute])*
            impl sealed::Listed for $type {
                const KIND: u8 = $kind;
            }

            $(#[$attribute])*
            impl From<$type> for Value<'_> {
                fn from(container: $type) -> Self {
                    Value::$variant(container)
                }
            }
        )*
    };
}
containers!(define_values);
