//! Whole files on their way in: what stands in them one after the other, keys with their values as bytes that
//! [`super::decode_as`] reads, elsewhere and later.
//!
//! Nothing is allocated for bytes that are not there, whatever lengths say. Not here: who takes the keys.

use super::file::{Access, MAGIC, opcode};
use super::read::{Source, append_string, byte, length, string, time_ms};
use super::{Corrupt, VERSION_VALKEY, is_known, kind};
use crate::structure::crc64::Digest;
use std::io::Read;

/// Bytes that are asked of a file at a time.
const BLOCK_BYTES: usize = 256 * 1024;
/// What Valkey 9 begins its files with; three digits follow.
const MAGIC_VALKEY: &[u8; 6] = b"VALKEY";
/// The first version with a checksum.
const VERSION_CHECKSUM: u16 = 5;
/// Letters of which names of module types are made, six bits each.
const MODULE_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Whether a file that begins with these bytes is meant to be a snapshot.
pub fn is_snapshot(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.starts_with(MAGIC_VALKEY)
}

/// Whether a snapshot may begin with these bytes, which are all that there is.
pub fn begins_snapshot(head: &[u8]) -> bool {
    !head.is_empty() && (MAGIC.starts_with(head) || MAGIC_VALKEY.starts_with(head))
}

/// Why a file is not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// What is wrong with its bytes.
    Corrupt(Corrupt),
    /// It begins otherwise.
    Signature,
    /// It is of a version that is not known.
    Version(u16),
    /// The checksum in the file, and that of its bytes.
    Checksum(u64, u64),
    /// A value of a module, of a type of this name.
    Module(String),
    /// What a module kept beside keys, for whoever does not pass over it.
    ModuleAux(String),
    /// A deadline, a database or a size that cannot be, or an opcode that is none.
    Opcode(u8),
    /// The system would not read on.
    System(String),
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Fault {
        Fault::Corrupt(corrupt)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Corrupt(Corrupt::SHORT) => out.write_str("Unexpected EOF reading RDB file"),
            Fault::Corrupt(corrupt) => out.write_str(corrupt.0),
            Fault::Signature => out.write_str("Wrong signature trying to load DB from file"),
            Fault::Version(version) => write!(out, "Can't handle RDB format version {version}"),
            Fault::Checksum(expected, got) => {
                write!(
                    out,
                    "RDB CRC error: Wrong RDB checksum expected: ({expected:x}) but got ({got:x}). Aborting now."
                )
            }
            Fault::Module(name) => {
                write!(out, "The RDB file contains module data I can't load: no matching module type '{name}'")
            }
            Fault::ModuleAux(name) => {
                write!(out, "The RDB file contains AUX module data I can't load: no matching module '{name}'")
            }
            Fault::Opcode(code) => write!(out, "Unknown RDB encoding type {code}"),
            Fault::System(reason) => write!(out, "Error reading RDB file: {reason}"),
        }
    }
}

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Something about the file: name, value.
    Aux(Vec<u8>, Vec<u8>),
    /// The keys that come are of this database.
    Database(u64),
    /// So many keys are to come, and so many of them have a deadline.
    Sizes(u64, u64),
    /// A library of functions.
    Library(Vec<u8>),
    /// What a module kept beside keys, with the name of the module's type: it was passed over.
    ModuleAux(String),
    /// A key and its value, which stand in the buffers.
    Key(KeyHead),
    /// The end, where it should be.
    End,
}

/// What is said of a key before its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHead {
    /// Unix ms; negative ones are long ago.
    pub deadline_ms: Option<i64>,
    /// Of its access clock.
    pub access: Access,
    /// The type of the value.
    pub kind: u8,
}

/// Bytes of a file, block by block, summed up as they are taken.
struct Blocks<R> {
    from: R,
    block: Vec<u8>,
    /// What of the block is taken, and how far it is filled.
    at: usize,
    filled: usize,
    /// Of what was taken from blocks before this one.
    taken_bytes: u64,
    sum: Option<Digest>,
    /// Up to where the block is summed up.
    summed: usize,
    failure: Option<String>,
}

impl<R: Read> Blocks<R> {
    fn new(from: R, sums: bool) -> Blocks<R> {
        let sum = sums.then(Digest::new);
        Blocks { from, block: vec![0; BLOCK_BYTES], at: 0, filled: 0, taken_bytes: 0, sum, summed: 0, failure: None }
    }

    /// Sums up what was taken.
    fn sum_up(&mut self) {
        if let Some(sum) = &mut self.sum {
            sum.update(&self.block[self.summed..self.at]);
        }
        self.summed = self.at;
    }

    /// The next bytes, of several blocks.
    fn read_on(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), Corrupt> {
        let mut left = len;
        while left != 0 {
            if self.at == self.filled && !self.refill() {
                return Err(Corrupt::SHORT);
            }
            let there = (self.filled - self.at).min(usize::try_from(left).unwrap_or(usize::MAX));
            into.extend_from_slice(&self.block[self.at..self.at + there]);
            self.at += there;
            left -= there as u64;
        }
        Ok(())
    }

    /// Reads the next block. False: there is none.
    fn refill(&mut self) -> bool {
        self.sum_up();
        self.taken_bytes += self.at as u64;
        (self.at, self.filled, self.summed) = (0, 0, 0);
        loop {
            match self.from.read(&mut self.block) {
                Ok(bytes) => {
                    self.filled = bytes;
                    return bytes != 0;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure.get_or_insert(error.to_string());
                    return false;
                }
            }
        }
    }
}

impl<R: Read> Source for Blocks<R> {
    #[inline]
    fn read(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), Corrupt> {
        let there = &self.block[self.at..self.filled];
        if let Some(bytes) = usize::try_from(len).ok().and_then(|len| there.get(..len)) {
            into.extend_from_slice(bytes);
            self.at += bytes.len();
            return Ok(());
        }
        self.read_on(len, into)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        if let Some(bytes) = self.block[self.at..self.filled].first_chunk::<N>() {
            self.at += N;
            return Ok(*bytes);
        }
        let mut array = [0; N];
        for byte in &mut array {
            if self.at == self.filled && !self.refill() {
                return Err(Corrupt::SHORT);
            }
            *byte = self.block[self.at];
            self.at += 1;
        }
        Ok(array)
    }
}

/// Reads a file.
pub struct Reader<R> {
    source: Blocks<R>,
    version: u16,
}

impl<R: Read> Reader<R> {
    /// Begins. `checks`: the checksum is looked at (`rdbchecksum`).
    ///
    /// # Errors
    /// It is no snapshot, or of an unknown version.
    pub fn open(from: R, checks: bool) -> Result<Reader<R>, Fault> {
        let mut source = Blocks::new(from, checks);
        let head = source.array::<9>().map_err(|corrupt| match &source.failure {
            Some(failure) => Fault::System(failure.clone()),
            None => corrupt.into(),
        })?;
        let digits = if head.starts_with(MAGIC) {
            &head[MAGIC.len()..]
        } else if head.starts_with(MAGIC_VALKEY) {
            &head[MAGIC_VALKEY.len()..]
        } else {
            return Err(Fault::Signature);
        };
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u16>().ok()).unwrap_or(0);
        if version == 0 || !is_known(version) {
            return Err(Fault::Version(version));
        }
        Ok(Reader { source, version })
    }

    /// The version of the file.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.source.taken_bytes + self.source.at as u64
    }

    /// The next thing. A key and the bytes of its value are put into the buffers, which are emptied before.
    ///
    /// # Errors
    /// There is none, or it is broken.
    pub fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Item, Fault> {
        key.clear();
        value.clear();
        self.next_behind(key, value)
    }

    /// The next thing. A key and the bytes of its value are put into the buffers, behind what is there.
    ///
    /// # Errors
    /// There is none, or it is broken; then there may be some of it in the buffers.
    #[inline]
    pub fn next_behind(&mut self, keys: &mut Vec<u8>, values: &mut Vec<u8>) -> Result<Item, Fault> {
        let item = self.read_item(keys, values);
        match (&item, &self.source.failure) {
            (Err(_), Some(failure)) => Err(Fault::System(failure.clone())),
            _ => item,
        }
    }

    fn read_item(&mut self, keys: &mut Vec<u8>, values: &mut Vec<u8>) -> Result<Item, Fault> {
        let source = &mut self.source;
        let (mut deadline_ms, mut access) = (None, Access::Unknown);
        loop {
            match byte(source)? {
                opcode::DEADLINE_SECONDS => {
                    let seconds: i64 = i32::from_le_bytes(source.array()?).into();
                    deadline_ms = Some(seconds * 1000);
                }
                opcode::DEADLINE_MS => deadline_ms = Some(time_ms(source)?),
                opcode::FREQUENCY => access = Access::Frequency(byte(source)?),
                opcode::IDLE => access = Access::Idle(length(source)?),
                opcode::END => return self.end(),
                opcode::DATABASE => return Ok(Item::Database(length(source)?)),
                opcode::SIZES => return Ok(Item::Sizes(length(source)?, length(source)?)),
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        length(source)?;
                    }
                }
                opcode::AUX => {
                    let (mut name, mut text) = (Vec::new(), Vec::new());
                    string(source, &mut name)?;
                    string(source, &mut text)?;
                    return Ok(Item::Aux(name, text));
                }
                opcode::FUNCTION => {
                    let mut text = Vec::new();
                    string(source, &mut text)?;
                    return Ok(Item::Library(text));
                }
                opcode::FUNCTION_OLD => {
                    return Err(Corrupt("Pre-release function format not supported.").into());
                }
                opcode::MODULE_AUX => {
                    let name = module_name(length(source)?);
                    let (opcode, _) = (length(source)?, length(source)?);
                    if opcode != module::UNSIGNED {
                        return Err(Corrupt("bad when_opcode").into());
                    }
                    skip_module(source)?;
                    return Ok(Item::ModuleAux(name));
                }
                kind @ (kind::MODULE_OLD | kind::MODULE) => {
                    append_string(source, keys)?;
                    let _ = kind;
                    return Err(Fault::Module(module_name(length(source)?)));
                }
                kind => {
                    append_string(source, keys)?;
                    copy_value(kind, source, self.version, values)?;
                    return Ok(Item::Key(KeyHead { deadline_ms, access, kind }));
                }
            }
        }
    }

    fn end(&mut self) -> Result<Item, Fault> {
        if self.version < VERSION_CHECKSUM {
            return Ok(Item::End);
        }
        self.source.sum_up();
        let got = self.source.sum.as_ref().map(Digest::checksum);
        let expected = u64::from_le_bytes(self.source.array()?);
        match got {
            Some(got) if expected != 0 && expected != got => Err(Fault::Checksum(expected, got)),
            _ => Ok(Item::End),
        }
    }
}

// Modules

mod module {
    pub const END: u64 = 0;
    pub const SIGNED: u64 = 1;
    pub const UNSIGNED: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const TEXT: u64 = 5;
}

fn module_name(id: u64) -> String {
    (0..9).map(|at| MODULE_LETTERS[(id >> (58 - 6 * at) & 63) as usize] as char).collect()
}

fn skip_module(source: &mut impl Source) -> Result<(), Corrupt> {
    let mut skipped = Vec::new();
    loop {
        match length(source)? {
            module::END => return Ok(()),
            module::SIGNED | module::UNSIGNED => {
                length(source)?;
            }
            module::FLOAT => source.read(4, &mut skipped)?,
            module::DOUBLE => source.read(8, &mut skipped)?,
            module::TEXT => copy_string(source, &mut skipped)?,
            _ => return Err(Corrupt("Error reading module data")),
        }
        skipped.clear();
    }
}

// Values, as they stand there

/// Copies a length, or the form of a string.
#[inline]
fn copy_length_or_form(source: &mut impl Source, out: &mut Vec<u8>) -> Result<Result<u64, u8>, Corrupt> {
    let first = byte(source)?;
    out.push(first);
    Ok(Ok(match first {
        0..0x40 => first.into(),
        0x40..0x80 => {
            let second = byte(source)?;
            out.push(second);
            u16::from_be_bytes([first & 0x3f, second]).into()
        }
        0x80 => {
            let bytes = source.array()?;
            out.extend_from_slice(&bytes);
            u32::from_be_bytes(bytes).into()
        }
        0x81 => {
            let bytes = source.array()?;
            out.extend_from_slice(&bytes);
            u64::from_be_bytes(bytes)
        }
        0x82..0xc0 => return Err(Corrupt("a length of an unknown form")),
        form => return Ok(Err(form & 0x3f)),
    }))
}

#[inline]
fn copy_length(source: &mut impl Source, out: &mut Vec<u8>) -> Result<u64, Corrupt> {
    copy_length_or_form(source, out)?.map_err(|_| Corrupt("a string where a length should stand"))
}

#[inline]
fn copy_string(source: &mut impl Source, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    match copy_length_or_form(source, out)? {
        Ok(len) => source.read(len, out),
        Err(0) => source.read(1, out),
        Err(1) => source.read(2, out),
        Err(2) => source.read(4, out),
        Err(3) => {
            let packed_len = copy_length(source, out)?;
            copy_length(source, out)?;
            source.read(packed_len, out)
        }
        Err(_) => Err(Corrupt("a string of an unknown form")),
    }
}

/// Copies so many strings for each of a number of elements that stands before them, and so many bytes after each.
fn copy_elements(source: &mut impl Source, strings: usize, bytes: u64, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    for _ in 0..copy_length(source, out)? {
        for _ in 0..strings {
            copy_string(source, out)?;
        }
        source.read(bytes, out)?;
    }
    Ok(())
}

/// Copies a value of a type, without a look at what it says.
fn copy_value(of_kind: u8, source: &mut impl Source, version: u16, out: &mut Vec<u8>) -> Result<(), Fault> {
    match of_kind {
        kind::STRING
        | kind::HASH_ZIPMAP
        | kind::LIST_ZIPLIST
        | kind::SET_INTSET
        | kind::SORTED_SET_ZIPLIST
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::SORTED_SET_LISTPACK
        | kind::SET_LISTPACK => copy_string(source, out)?,
        kind::LIST | kind::SET | kind::LIST_ZIPLISTS => copy_elements(source, 1, 0, out)?,
        kind::HASH => copy_elements(source, 2, 0, out)?,
        kind::SORTED_SET => copy_elements(source, 1, 8, out)?,
        kind::HASH_VALKEY if version == VERSION_VALKEY => copy_elements(source, 2, 8, out)?,
        kind::SORTED_SET_TEXTS => {
            for _ in 0..copy_length(source, out)? {
                copy_string(source, out)?;
                let len = byte(source)?;
                out.push(len);
                if len < 253 {
                    source.read(len.into(), out)?;
                }
            }
        }
        kind::LIST_NODES => {
            for _ in 0..copy_length(source, out)? {
                copy_length(source, out)?;
                copy_string(source, out)?;
            }
        }
        kind::HASH_DEADLINES => {
            source.read(8, out)?;
            for _ in 0..copy_length(source, out)? {
                copy_length(source, out)?;
                copy_string(source, out)?;
                copy_string(source, out)?;
            }
        }
        kind::HASH_LISTPACK_DEADLINES => {
            source.read(8, out)?;
            copy_string(source, out)?;
        }
        kind::STREAM_OLD | kind::STREAM | kind::STREAM_ACTIVE | kind::STREAM_PRODUCERS | kind::STREAM_GIVEN_BACK => {
            copy_stream(of_kind, source, out)?
        }
        _ => return Err(Fault::Opcode(of_kind)),
    }
    Ok(())
}

fn copy_stream(of_kind: u8, source: &mut impl Source, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    copy_elements(source, 2, 0, out)?;
    let is_old = of_kind == kind::STREAM_OLD;
    let lengths = |source: &mut _, count: usize, out: &mut _| -> Result<(), Corrupt> {
        (0..count).try_for_each(|_| copy_length(source, out).map(|_| ()))
    };
    lengths(source, if is_old { 3 } else { 8 }, out)?;
    for _ in 0..copy_length(source, out)? {
        copy_string(source, out)?;
        lengths(source, if is_old { 2 } else { 3 }, out)?;
        for _ in 0..copy_length(source, out)? {
            source.read(16 + 8, out)?;
            copy_length(source, out)?;
        }
        for _ in 0..copy_length(source, out)? {
            copy_string(source, out)?;
            source.read(if kind::STREAM_ACTIVE <= of_kind { 16 } else { 8 }, out)?;
            for _ in 0..copy_length(source, out)? {
                source.read(16, out)?;
            }
        }
        if of_kind == kind::STREAM_GIVEN_BACK {
            for _ in 0..copy_length(source, out)? {
                source.read(16, out)?;
            }
        }
    }
    if kind::STREAM_PRODUCERS <= of_kind {
        lengths(source, 2, out)?;
        for _ in 0..copy_length(source, out)? {
            copy_string(source, out)?;
            for _ in 0..copy_length(source, out)? {
                copy_string(source, out)?;
                lengths(source, 2, out)?;
            }
        }
        lengths(source, 2, out)?;
    }
    Ok(())
}
