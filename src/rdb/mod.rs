//! Redis' snapshots (RDB): values as `DUMP` hands them out and `RESTORE` takes them, and whole files of them.
//!
//! Not here: which keys at which moment (`snapshot`), reading and writing of files (`runtime`), commands.
//!
//! # Layout
//!
//! ```text
//! payload of DUMP   ┌──────┬────────────────────────────┬───────────┬────────────┐
//!                   │ type │ value                      │ version 2 │ checksum 8 │   little-endian; CRC-64 of the rest
//!                   └──────┴────────────────────────────┴───────────┴────────────┘
//! length            00llllll   01llllll llllllll   10000000 4 bytes   10000001 8 bytes           (big-endian)
//! string            length, bytes   or   11000000 / 01 / 10  integer of 1 / 2 / 4 bytes, signed (little-endian)
//!                                   or   11000011  compressed length, length, LZF ([`crate::structure::lzf`])
//! ```
//!
//! | Type | Value | since | read | written |
//! |---:|---|---|---|---|
//! | 0 | string | | yes | yes |
//! | 1 | list: strings | | yes | – |
//! | 2 | set: strings | | yes | yes |
//! | 3 | sorted set: members, scores as texts | | yes | – |
//! | 4 | hash: fields, values | | yes | yes |
//! | 5 | sorted set: members, scores as doubles | 8 | yes | yes, from the highest score |
//! | 9 | hash: a zipmap | | yes | – |
//! | 10, 12, 13 | list, sorted set, hash: a ziplist | | yes | – |
//! | 11 | set: an intset | | yes | yes |
//! | 14 | list: ziplists | 7 | yes | – |
//! | 16, 17 | hash, sorted set: a listpack | 10 | yes | yes |
//! | 18 | list: listpacks and long elements | 10 | yes | yes |
//! | 15 | stream: no counters | 9 | yes | – |
//! | 19 | stream: with counters | 10 | yes | yes |
//! | 21 | stream: with the times at which consumers were active | 11 | yes | – (as type 19, which Redis 7.0 reads) |
//! | 26 | stream: with what is remembered of producers | 13 | yes | yes, where something is |
//! | 27 | stream: with what was given back to groups | 14 | yes | yes, where something was |
//! | 20 | set: a listpack | 11 | yes | – (as type 2, which Redis 7.0 reads) |
//! | 22 | hash: fields, values, deadlines | 80 (Valkey) | yes | – |
//! | 24 | hash: deadlines, fields, values | 12 | yes | yes, of tables with deadlines |
//! | 25 | hash: a listpack of fields, values, deadlines | 12 | yes | yes, of others with deadlines |
//! | 6, 7 | what modules keep | | refused | – |
//!
//! So Redis 7.0 reads all that it could hold itself. Hashes whose fields have deadlines need Redis 7.4, streams with
//! messages of producers (`XADD IDMP`) 8.6, and those with entries that were given back (`XNACK`) 8.8: an older server
//! refuses these types, where it would crash on an entry that is pending for nobody.
//!
//! # Bytes from outside
//!
//! Everything is looked at before it is believed, whatever `sanitize-dump-payload` says: listpacks, ziplists and
//! intsets to their last byte, members that come twice, scores that are no numbers. No length that is claimed is
//! allocated for: a length must be covered by bytes that are there, and text that was compressed is counted before it
//! is expanded (LZF makes at most 88 bytes of one). A value takes little more than its bytes, a short member or field
//! some 20 bytes.

mod decode;
mod encode;
pub mod file;
pub mod functions;
pub mod load;
mod old;
pub mod payload;
pub mod read;
mod stream;
#[cfg(test)]
mod tests;
pub mod write;

pub use decode::{Limits, decode, decode_as};
pub use encode::{Encoding, encode, saved_bytes, version_of};

/// The version whose types are all that Redis 7.0 knows …
pub const VERSION: u16 = 10;
/// … the one that has deadlines of fields …
pub const VERSION_FIELD_DEADLINES: u16 = 12;
/// … what is remembered of producers …
pub const VERSION_PRODUCERS: u16 = 13;
/// … what was given back to groups, the newest …
pub const VERSION_GIVEN_BACK: u16 = 14;
/// … and that of Valkey 9, where type 22 is another.
pub const VERSION_VALKEY: u16 = 80;

/// Whether values of a version of the format, or files, are read.
pub fn is_known(version: u16) -> bool {
    version <= VERSION_GIVEN_BACK || version == VERSION_VALKEY
}

/// Bytes that are no value: what is wrong with them, for the operator's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

impl Corrupt {
    /// They end too early, or a length is more than can be.
    pub const SHORT: Corrupt = Corrupt("a value ends before its end");
    /// Redis keeps no empty values, and reads none.
    pub const EMPTY: Corrupt = Corrupt("a value without elements");
}

/// The types, by their numbers.
mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const SORTED_SET_TEXTS: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET: u8 = 5;
    pub const MODULE_OLD: u8 = 6;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_ZIPLISTS: u8 = 14;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const LIST_NODES: u8 = 18;
    pub const STREAM_OLD: u8 = 15;
    pub const STREAM: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_ACTIVE: u8 = 21;
    pub const HASH_VALKEY: u8 = 22;
    pub const HASH_DEADLINES: u8 = 24;
    pub const HASH_LISTPACK_DEADLINES: u8 = 25;
    pub const STREAM_PRODUCERS: u8 = 26;
    pub const STREAM_GIVEN_BACK: u8 = 27;
}

/// How a node of a list is kept: one long element, or a listpack.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

/// Names of a type and of the form in which the file has its values, for people. `None`: there is no such type.
pub fn names(of_kind: u8) -> Option<(&'static str, &'static str)> {
    Some(match of_kind {
        kind::STRING => ("string", "string"),
        kind::LIST => ("list", "strings"),
        kind::LIST_ZIPLIST => ("list", "ziplist"),
        kind::LIST_ZIPLISTS => ("list", "quicklist of ziplists"),
        kind::LIST_NODES => ("list", "quicklist"),
        kind::SET => ("set", "hashtable"),
        kind::SET_INTSET => ("set", "intset"),
        kind::SET_LISTPACK => ("set", "listpack"),
        kind::SORTED_SET_TEXTS => ("zset", "skiplist with texts"),
        kind::SORTED_SET => ("zset", "skiplist"),
        kind::SORTED_SET_ZIPLIST => ("zset", "ziplist"),
        kind::SORTED_SET_LISTPACK => ("zset", "listpack"),
        kind::HASH => ("hash", "hashtable"),
        kind::HASH_ZIPMAP => ("hash", "zipmap"),
        kind::HASH_ZIPLIST => ("hash", "ziplist"),
        kind::HASH_LISTPACK => ("hash", "listpack"),
        kind::HASH_VALKEY | kind::HASH_DEADLINES => ("hash", "hashtable with deadlines"),
        kind::HASH_LISTPACK_DEADLINES => ("hash", "listpack with deadlines"),
        kind::STREAM_OLD | kind::STREAM | kind::STREAM_ACTIVE => ("stream", "stream"),
        kind::STREAM_PRODUCERS => ("stream", "stream with producers"),
        kind::STREAM_GIVEN_BACK => ("stream", "stream with what was given back"),
        kind::MODULE_OLD | kind::MODULE => ("module", "module"),
        _ => return None,
    })
}
