//! The payload of `DUMP`: a value with its type before and a version and a checksum behind.

use super::{Corrupt, Encoding, Limits, decode, encode, is_known};
use crate::structure::crc64::{self, Digest};
use crate::value::{Value, ValueRef};

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// The checksum of Redis' snapshots, over some bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc64::checksum(bytes)
}

/// Appends the payload of a value.
pub fn write(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let version = encode(value, compress, out);
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = checksum(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// A payload that is written step by step: what [`write`] writes at once.
pub struct Writer {
    encoding: Encoding,
    checksum: Digest,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.encoding.fmt(formatter)
    }
}

impl Writer {
    /// Writes the type of a value.
    pub fn begin(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> Writer {
        let start = out.len();
        let encoding = Encoding::begin(value, compress, out);
        let mut checksum = Digest::new();
        checksum.update(&out[start..]);
        Writer { encoding, checksum }
    }

    /// Appends some more of the same value, unchanged meanwhile: about so many bytes. Whether there is more; if not,
    /// the footer has been written.
    pub fn step(&mut self, value: ValueRef<'_>, bytes: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let is_more = self.encoding.step(value, bytes, out);
        if !is_more {
            out.extend_from_slice(&self.encoding.version().to_le_bytes());
        }
        self.checksum.update(&out[start..]);
        if !is_more {
            out.extend_from_slice(&self.checksum.checksum().to_le_bytes());
        }
        is_more
    }
}

/// The version of a payload, and its type and value. `None`: the version is unknown, or the checksum is that of other
/// bytes.
pub fn open(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (value, footer) = payload.split_at(payload.len().checked_sub(FOOTER_BYTES)?);
    let (&[v0, v1], sum) = footer.split_first_chunk()?;
    let version = u16::from_le_bytes([v0, v1]);
    let is_whole = sum == checksum(&payload[..payload.len() - sum.len()]).to_le_bytes();
    (is_known(version) && is_whole).then_some((version, value))
}

/// The same for payloads that are trusted: version and checksum are not looked at.
pub fn open_unchecked(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (value, footer) = payload.split_at(payload.len().checked_sub(FOOTER_BYTES)?);
    Some((u16::from_le_bytes([footer[0], footer[1]]), value))
}

/// The value of an opened payload. What stands behind it is not looked at, as in Redis.
///
/// # Errors
/// It is none.
pub fn read<'a>(
    (version, mut bytes): (u16, &[u8]),
    limits: &Limits,
    text: &'a mut Vec<u8>,
) -> Result<Value<'a>, Corrupt> {
    decode(&mut bytes, version, limits, text)
}
