//! Whole files: what stands around the values of a snapshot, on its way out.
//!
//! ```text
//! "REDIS0010"                                          magic, version as four digits
//! 250 name value …                                     about the file: strings
//! 245 library …                                        functions: the text of each library
//! 254 db, 251 keys, keys with a deadline               a database begins (lengths); how much is to come
//! [252 deadline 8] [248 idle seconds | 249 frequency 1] type key value …
//! 255 checksum 8                                       the end; CRC-64 of all before, or 0
//! ```
//! A database may begin as often as it likes: what several shards have written stands one after the other.

use super::write;
use crate::structure::crc64::Sum;
use crate::value::number::parse_integer;

/// The bytes that announce what comes.
pub mod opcode {
    /// Slot information (Valkey 8, Redis 7.4): three lengths.
    pub const SLOT_INFO: u8 = 244;
    /// A library of functions.
    pub const FUNCTION: u8 = 245;
    /// The same, as release candidates of Redis 7.0 wrote it.
    pub const FUNCTION_OLD: u8 = 246;
    /// What a module keeps beside keys.
    pub const MODULE_AUX: u8 = 247;
    /// Seconds since the last access, of the key that comes.
    pub const IDLE: u8 = 248;
    /// How often the key that comes was used.
    pub const FREQUENCY: u8 = 249;
    /// Something about the file.
    pub const AUX: u8 = 250;
    /// How many keys are to come.
    pub const SIZES: u8 = 251;
    /// The deadline of the key that comes, ms.
    pub const DEADLINE_MS: u8 = 252;
    /// The same in seconds.
    pub const DEADLINE_SECONDS: u8 = 253;
    /// A database begins.
    pub const DATABASE: u8 = 254;
    /// The end.
    pub const END: u8 = 255;
}

/// What a file begins with, before the digits of its version.
pub const MAGIC: &[u8; 5] = b"REDIS";

/// What is said of a whole file.
#[derive(Debug, Clone)]
pub struct About {
    /// The version of Redis that the server speaks as.
    pub redis_version: &'static str,
    /// When the file was made, unix seconds.
    pub made_seconds: u64,
    /// Memory in use then, bytes.
    pub used_bytes: u64,
    /// Whether a log goes on where it ends.
    pub is_log_base: bool,
    /// Texts of libraries of functions.
    pub libraries: Vec<Vec<u8>>,
    /// For each database with keys: its number, how many, and how many of them with a deadline.
    pub databases: Vec<(usize, u64, u64)>,
}

/// The bytes before the first key, for a file of a version.
pub fn head(version: u16, about: &About) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(format!("{version:04}").as_bytes());
    aux(&mut out, "redis-ver", about.redis_version.as_bytes());
    aux(&mut out, "redis-bits", usize::BITS.to_string().as_bytes());
    aux(&mut out, "ctime", about.made_seconds.to_string().as_bytes());
    aux(&mut out, "used-mem", about.used_bytes.to_string().as_bytes());
    aux(&mut out, "aof-base", if about.is_log_base { b"1" } else { b"0" });
    for library in &about.libraries {
        out.push(opcode::FUNCTION);
        write::string(&mut out, library, false);
    }
    for &(db, keys, timed) in &about.databases {
        database(&mut out, db);
        out.push(opcode::SIZES);
        write::length(&mut out, keys);
        write::length(&mut out, timed);
    }
    out
}

fn aux(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(opcode::AUX);
    write::string(out, name.as_bytes(), false);
    match parse_integer(value) {
        Some(integer) => write::integer(out, integer),
        None => write::string(out, value, false),
    }
}

/// Keys of this database come.
pub fn database(out: &mut Vec<u8>, db: usize) {
    out.push(opcode::DATABASE);
    write::length(out, db as u64);
}

/// What the access clock of a key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing that is worth keeping.
    Unknown,
    /// So many seconds since the last one.
    Idle(u64),
    /// The logarithmic counter.
    Frequency(u8),
}

/// What stands before the type of a key.
pub fn before_key(out: &mut Vec<u8>, deadline_ms: Option<u64>, access: Access) {
    if let Some(deadline_ms) = deadline_ms {
        out.push(opcode::DEADLINE_MS);
        write::time_ms(out, deadline_ms);
    }
    match access {
        Access::Unknown => {}
        Access::Idle(seconds) => {
            out.push(opcode::IDLE);
            write::length(out, seconds);
        }
        Access::Frequency(counter) => out.extend_from_slice(&[opcode::FREQUENCY, counter]),
    }
}

/// The last bytes: of a file whose others have this sum, or, where nobody is to check it, `None`.
pub fn end(sum: Option<Sum>) -> Vec<u8> {
    let checksum = sum.map_or(0, |sum| sum.then(Sum::of(&[opcode::END])).crc);
    let mut out = vec![opcode::END];
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}
