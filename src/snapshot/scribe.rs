//! Entries as a file has them, in pieces.

use super::form::{Form, Writing};
use super::output::Output;
use crate::keyspace::EntryRef;
use crate::keyspace::access::{AccessPolicy, idle_ms};
use crate::keyspace::walk::Recorder;
use crate::rdb::file;
use crate::value::ValueRef;
use std::sync::Arc;

/// Pieces have about so many bytes.
const PIECE_BYTES: usize = 128 * 1024;
/// A large value is gathered in memory up to so many bytes; what takes more is counted first, and goes out in slices.
pub const GATHERED_BYTES_MAX: usize = 1 << 20;
/// So many keys are counted at a time.
const COUNTED_KEYS: u64 = 64;
/// A slice of a text, bytes.
const TEXT_SLICE_BYTES: usize = 256 * 1024;

/// What is said of access clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// What they count; none: nothing is said.
    pub policy: Option<AccessPolicy>,
    /// The time of the snapshot, unix ms.
    pub now_ms: u64,
}

impl Clocks {
    pub(super) fn access(self, clock: u32) -> file::Access {
        match self.policy {
            Some(AccessPolicy::Lru | AccessPolicy::Lrm) => file::Access::Idle(idle_ms(clock, self.now_ms) / 1000),
            Some(policy @ AccessPolicy::Lfu { .. }) => file::Access::Frequency(policy.frequency(clock, self.now_ms)),
            Some(AccessPolicy::Lhd) | None => file::Access::Unknown,
        }
    }
}

/// Writes the entries of one database of one shard.
pub struct Scribe {
    db: usize,
    output: Arc<Output>,
    form: Form,
    buffer: Vec<u8>,
    keys: u64,
    large: Option<Large>,
}

/// A large value on its way.
enum Large {
    /// A text, of which so much is written; the place of the rest, and what stands behind it.
    Text { written: usize, offset: u64, behind: Vec<u8> },
    /// It may fit one piece.
    Gathered { writing: Writing, bytes: Vec<u8> },
    /// It does not: from the place of `writing` on `probe` counts.
    Counted { writing: Writing, bytes: Vec<u8>, probe: Writing, more_bytes: u64 },
    /// Its place is known, up to `end`.
    Placed { writing: Writing, offset: u64, end: u64 },
}

impl Scribe {
    /// Of a database.
    pub fn new(db: usize, output: Arc<Output>, form: Form) -> Scribe {
        Scribe { db, output, form, buffer: Vec::new(), keys: 0, large: None }
    }

    fn begin_entry(&self, view: EntryRef<'_>, out: &mut Vec<u8>) -> Writing {
        let writing = self.form.begin(view, out);
        self.output.plan().need(writing.version());
        writing
    }

    fn push_buffer(&mut self) {
        self.output.count(std::mem::take(&mut self.keys));
        if !self.buffer.is_empty() {
            self.output.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Recorder for Scribe {
    fn record(&mut self, view: EntryRef<'_>) -> usize {
        let mut out = std::mem::take(&mut self.buffer);
        if out.is_empty() {
            out.reserve(PIECE_BYTES + PIECE_BYTES / 8);
            self.form.write_database(self.db, &mut out);
        }
        let start = out.len();
        let mut writing = self.begin_entry(view, &mut out);
        while writing.step(view, usize::MAX, &mut out) {}
        let bytes = out.len() - start;
        self.buffer = out;
        self.keys += 1;
        if PIECE_BYTES <= self.buffer.len() {
            self.push_buffer();
        } else if self.keys == COUNTED_KEYS {
            self.output.count(std::mem::take(&mut self.keys));
        }
        bytes
    }

    fn begin(&mut self, view: EntryRef<'_>) {
        let mut bytes = Vec::new();
        self.form.write_database(self.db, &mut bytes);
        self.keys += 1;
        self.large = Some(match view.value() {
            ValueRef::String(text) => {
                let (before, behind) = self.form.around_text(view, text);
                bytes.extend_from_slice(&before);
                let offset = self.output.plan().reserve((bytes.len() + text.len() + behind.len()) as u64);
                let text_offset = offset + bytes.len() as u64;
                self.output.push_at(offset, bytes);
                Large::Text { written: 0, offset: text_offset, behind }
            }
            _ => Large::Gathered { writing: self.begin_entry(view, &mut bytes), bytes },
        });
    }

    fn step(&mut self, view: EntryRef<'_>, bytes_max: usize) -> (usize, bool) {
        let output = &self.output;
        let large = self.large.take().expect("it began");
        let (next, done) = match large {
            Large::Text { written, offset, behind } => {
                let ValueRef::String(text) = view.value() else { panic!("it began as a text") };
                let slice = &text[written..(written + bytes_max.min(TEXT_SLICE_BYTES)).min(text.len())];
                output.push_at(offset, slice.to_vec());
                let (written, done, offset) = (written + slice.len(), slice.len(), offset + slice.len() as u64);
                if written < text.len() {
                    (Some(Large::Text { written, offset, behind }), done)
                } else {
                    if !behind.is_empty() {
                        output.push_at(offset, behind);
                    }
                    (None, done)
                }
            }
            Large::Gathered { mut writing, mut bytes } => {
                let before = bytes.len();
                let is_more = writing.step(view, bytes_max, &mut bytes);
                let done = bytes.len() - before;
                if !is_more {
                    output.push(bytes);
                    (None, done)
                } else if bytes.len() < GATHERED_BYTES_MAX {
                    (Some(Large::Gathered { writing, bytes }), done)
                } else {
                    (Some(Large::Counted { probe: writing.clone(), writing, bytes, more_bytes: 0 }), done)
                }
            }
            Large::Counted { writing, bytes, mut probe, more_bytes } => {
                let mut counted = Vec::new();
                let is_more = probe.step(view, bytes_max.min(GATHERED_BYTES_MAX), &mut counted);
                let (done, more_bytes) = (counted.len(), more_bytes + counted.len() as u64);
                if is_more {
                    (Some(Large::Counted { writing, bytes, probe, more_bytes }), done)
                } else {
                    let all_bytes = bytes.len() as u64 + more_bytes;
                    let offset = output.plan().reserve(all_bytes);
                    let next = Large::Placed { writing, offset: offset + bytes.len() as u64, end: offset + all_bytes };
                    output.push_at(offset, bytes);
                    (Some(next), done)
                }
            }
            Large::Placed { mut writing, offset, end } => {
                let mut bytes = Vec::new();
                let is_more = writing.step(view, bytes_max.min(GATHERED_BYTES_MAX), &mut bytes);
                let (done, next) = (bytes.len(), offset + bytes.len() as u64);
                assert!(if is_more { next < end } else { next == end }, "a value is as long as it was counted");
                output.push_at(offset, bytes);
                (is_more.then_some(Large::Placed { writing, offset: next, end }), done)
            }
        };
        self.large = next;
        (done, self.large.is_some())
    }

    fn end(&mut self) {
        assert!(self.large.is_none(), "what began has ended");
        self.push_buffer();
    }
}
