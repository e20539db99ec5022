//! What one core sends another in a pass: requests back to back, or replies back to back, in one buffer. Nothing is
//! allocated per command, and nothing is parsed twice: arguments arrive as slices of the parcel.
//!
//! ```text
//! request   [ bytes: u32 ][ target: u32 ][ sequence: u32 ][ command: u16 ][ db: u16 ][ flags: u32 ][ argc: u32 ]
//!           [ client: u64 ][ handed: u64 ][ length: u32 × argc ][ arguments, back to back ]
//! reply     [ bytes: u64 ][ target: u32 ][ sequence: u32 ][ flags: u32 ][ command: u32 ][ handed: u64 ][ RESP ]
//! ```
//!
//! A parcel belongs to whoever holds it. The receiver of requests keeps the emptied buffer for its next replies, so
//! buffers move back and forth without the allocator.

use crate::resp::Output;
use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes after which a parcel is sent before the pass ends.
pub const PARCEL_BYTES_MAX: usize = 256 * 1024;
/// A larger buffer is freed instead of kept for reuse: beside what filled it an allocation costs nothing, and what is
/// kept is memory that nobody has the use of.
const KEPT_BYTES_MAX: usize = 64 * 1024;
const REQUEST_HEADER_BYTES: usize = 40;
const REPLY_HEADER_BYTES: usize = 32;

/// The slices of one call's arguments.
pub type ArgSlices<'a> = SmallVec<[&'a [u8]; 8]>;

/// Flags of a record.
pub mod flags {
    /// The client speaks RESP3.
    pub const RESP3: u32 = 1 << 0;
    /// The target is a gathering, not a connection.
    pub const GATHER: u32 = 1 << 1;
    /// Do not touch access clocks (`CLIENT NO-TOUCH`).
    pub const NO_TOUCH: u32 = 1 << 2;
    /// The reply is an error, for the statistics of the sender.
    pub const FAILED: u32 = 1 << 3;
    /// There is no reply yet: it comes in a record of its own.
    pub const LATER: u32 = 1 << 4;
    /// The reply may not leave before the sender's log is synced up to a position, whose eight bytes stand behind it.
    pub const GATED: u32 = 1 << 5;
}

/// Requests or replies for one core.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The records; long strings, only of replies, stand among their bytes.
    output: Output,
    records: u32,
    /// Where the last reply begins.
    last_reply: usize,
}

/// What stands in front of a request's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Connection or gathering on the sending core.
    pub target: u32,
    /// The place of the reply among the target's replies; for a gathering, which call of the client's it is.
    pub sequence: u32,
    /// The row, by its number.
    pub command: u16,
    /// Selected database.
    pub db: u16,
    /// See [`flags`].
    pub flags: u32,
    /// The client's id.
    pub client: u64,
    /// When it left, by the clock that all cores read.
    pub handed: u64,
}

/// What stands in front of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// As in the request.
    pub target: u32,
    /// As in the request.
    pub sequence: u32,
    /// See [`flags`].
    pub flags: u32,
    /// The row, by its number.
    pub command: u16,
    /// When it was made, by the clock that all cores read; 0: nobody noted. See [`Parcel::stamp_last`].
    pub handed: u64,
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Parcel {
    /// Records in it.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes in it.
    pub fn bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Emptied for reuse; a buffer that grew too large is freed.
    pub fn recycle(mut self) -> Parcel {
        self.records = 0;
        self.last_reply = 0;
        self.output.clear_keeping(KEPT_BYTES_MAX);
        self
    }

    /// Appends a request.
    pub fn push_request(&mut self, header: RequestHeader, args: &[&[u8]]) {
        let arguments: usize = args.iter().map(|arg| arg.len()).sum();
        let bytes = REQUEST_HEADER_BYTES + 4 * args.len() + arguments;
        self.output.reserve(bytes);
        let mut head = [0u8; REQUEST_HEADER_BYTES];
        head[0..4].copy_from_slice(&u32::try_from(bytes).expect("a request is smaller than 4 GiB").to_le_bytes());
        head[4..8].copy_from_slice(&header.target.to_le_bytes());
        head[8..12].copy_from_slice(&header.sequence.to_le_bytes());
        head[12..14].copy_from_slice(&header.command.to_le_bytes());
        head[14..16].copy_from_slice(&header.db.to_le_bytes());
        head[16..20].copy_from_slice(&header.flags.to_le_bytes());
        head[20..24].copy_from_slice(&(args.len() as u32).to_le_bytes());
        head[24..32].copy_from_slice(&header.client.to_le_bytes());
        head[32..40].copy_from_slice(&header.handed.to_le_bytes());
        self.output.extend_from_slice(&head);
        for arg in args {
            self.output.extend_from_slice(&(arg.len() as u32).to_le_bytes());
        }
        for arg in args {
            self.output.extend_from_slice(arg);
        }
        self.records += 1;
    }

    /// Reads the request at `offset` into `args`; returns its header and the offset behind it.
    pub fn request<'a>(&'a self, offset: usize, args: &mut ArgSlices<'a>) -> Option<(RequestHeader, usize)> {
        if offset == self.output.len() {
            return None;
        }
        let record = &self.output.bytes()[offset..];
        let bytes = read_u32(record, 0) as usize;
        let record = &record[..bytes];
        let header = RequestHeader {
            target: read_u32(record, 4),
            sequence: read_u32(record, 8),
            command: u16::from_le_bytes([record[12], record[13]]),
            db: u16::from_le_bytes([record[14], record[15]]),
            flags: read_u32(record, 16),
            client: read_u64(record, 24),
            handed: read_u64(record, 32),
        };
        let argc = read_u32(record, 20) as usize;
        let mut at = REQUEST_HEADER_BYTES + 4 * argc;
        args.clear();
        for index in 0..argc {
            let len = read_u32(record, REQUEST_HEADER_BYTES + 4 * index) as usize;
            args.push(&record[at..at + len]);
            at += len;
        }
        assert_eq!(at, bytes, "a request's lengths add up");
        Some((header, offset + bytes))
    }

    /// Appends a reply whose RESP bytes `write` puts at the end of the buffer; what `write` returns becomes part of
    /// the flags.
    pub fn push_reply(&mut self, mut header: ReplyHeader, write: impl FnOnce(&mut Output) -> u32) {
        let start = self.output.len();
        self.output.extend_from_slice(&[0u8; REPLY_HEADER_BYTES]);
        header.flags |= write(&mut self.output);
        if header.flags & flags::LATER != 0 {
            return self.output.truncate(start);
        }
        self.last_reply = start;
        let bytes = (self.output.len() - start) as u64;
        let head = &mut self.output.bytes_mut()[start..start + REPLY_HEADER_BYTES];
        head[0..8].copy_from_slice(&bytes.to_le_bytes());
        head[8..12].copy_from_slice(&header.target.to_le_bytes());
        head[12..16].copy_from_slice(&header.sequence.to_le_bytes());
        head[16..20].copy_from_slice(&header.flags.to_le_bytes());
        head[20..24].copy_from_slice(&u32::from(header.command).to_le_bytes());
        head[24..32].copy_from_slice(&header.handed.to_le_bytes());
        self.records += 1;
    }

    /// Notes when the last reply was made.
    #[inline]
    pub fn stamp_last(&mut self, handed: u64) {
        let at = self.last_reply + 24;
        if let Some(stamp) = self.output.bytes_mut().get_mut(at..at + 8) {
            stamp.copy_from_slice(&handed.to_le_bytes());
        }
    }

    /// Reads the reply at `offset`: header, RESP bytes, and the offset behind it.
    pub fn reply(&self, offset: usize) -> Option<(ReplyHeader, &[u8], usize)> {
        if offset == self.output.len() {
            return None;
        }
        let record = &self.output.bytes()[offset..];
        let bytes = read_u64(record, 0) as usize;
        let header = ReplyHeader {
            target: read_u32(record, 8),
            sequence: read_u32(record, 12),
            flags: read_u32(record, 16),
            command: read_u32(record, 20) as u16,
            handed: read_u64(record, 24),
        };
        Some((header, &record[REPLY_HEADER_BYTES..bytes], offset + bytes))
    }

    /// Takes the long strings out of the reply between these offsets; theirs count from its first RESP byte.
    #[inline]
    pub fn take_long(&mut self, offset: usize, next: usize) -> Vec<(usize, Bytes)> {
        self.output.take_long(offset + REPLY_HEADER_BYTES, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_come_out_as_they_went_in() {
        let mut parcel = Parcel::default();
        let header = RequestHeader {
            target: 7,
            sequence: 9,
            command: 3,
            db: 15,
            flags: flags::RESP3,
            client: u64::MAX,
            handed: 5,
        };
        parcel.push_request(header, &[b"SET", b"k", b""]);
        parcel.push_request(RequestHeader { target: 8, ..header }, &[b"GET", b"\0\r\n"]);
        let mut args = ArgSlices::new();
        let (first, next) = parcel.request(0, &mut args).unwrap();
        assert_eq!((first, &args[..]), (header, &[&b"SET"[..], b"k", b""][..]));
        let (second, end) = parcel.request(next, &mut args).unwrap();
        assert_eq!((second.target, &args[..]), (8, &[&b"GET"[..], b"\0\r\n"][..]));
        assert!(parcel.request(end, &mut args).is_none());
        drop(args);

        let mut parcel = parcel.recycle();
        parcel.push_reply(ReplyHeader { target: 7, sequence: 9, flags: 0, command: 3, handed: 0 }, |out| {
            out.extend_from_slice(b"+OK\r\n");
            flags::FAILED
        });
        parcel.push_reply(ReplyHeader { target: 8, sequence: 9, flags: 0, command: 4, handed: 0 }, |out| {
            out.extend_from_slice(b":1\r\n");
            0
        });
        parcel.stamp_last(77);
        let (header, resp, next) = parcel.reply(0).unwrap();
        assert_eq!((header.flags, header.command, header.handed, resp), (flags::FAILED, 3, 0, &b"+OK\r\n"[..]));
        let (header, resp, end) = parcel.reply(next).unwrap();
        assert_eq!((header.target, header.command, header.handed, resp), (8, 4, 77, &b":1\r\n"[..]));
        assert!(parcel.reply(end).is_none());
        parcel.recycle().stamp_last(78); // Nothing to stamp.
    }
}
