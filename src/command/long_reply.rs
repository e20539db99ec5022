//! Replies that are too long to be written at once: all of a huge hash, set or list, or a long range.
//!
//! # Why, and how
//!
//! Ten million fields take a second to write, in which a core would serve nobody else. So a command that finds so much
//! to say leaves a [`LongReply`] instead of saying it, where it may: where its client waits for nothing else (not in a
//! transaction, not among keys of several shards, which happen at one moment by being run at one moment).
//!
//! ```text
//! HGETALL k ──▶ LONG_REPLY_ELEMENTS_MIN or more ──▶ LongReply ──▶ owner of k, a slice a pass ──▶ pieces ──▶ client
//!                        │ fewer                                      │
//!                        ▼                                            ▼ meanwhile
//!                   as always                    others' commands, reads of k among them; who would change k waits
//! ```
//! The reply is that of one moment because nothing changes the value meanwhile: writers of the key wait in the same
//! queue as for a lent key (`route::locks`), and the keyspace neither expires nor evicts it. (Redis lets everybody wait
//! as long.) The client's speed plays no part: pieces gather in memory as any reply does, so that a slow reader holds
//! up no writer.
//!
//! A piece is at most [`SLICE_ELEMENTS`] elements, or some more than [`SLICE_BYTES`] bytes: some 50 to 100 µs.

use super::hash::write_field;
use super::set::reply_element;
use super::sorted_set::{reply_member, reply_members};
use crate::keyspace::Keyspace;
use crate::resp::{Error, Protocol, Reply};
use crate::value::ValueRef;

/// Shorter replies are written at once: that takes less than a millisecond.
pub const LONG_REPLY_ELEMENTS_MIN: usize = 8192;
/// A slice ends after so many elements …
pub const SLICE_ELEMENTS: usize = 2048;
/// … or when it has so many bytes.
pub const SLICE_BYTES: usize = 256 * 1024;
/// Elements that are written before the bytes are counted again.
const ELEMENTS_PER_LOOK: usize = 64;

/// What is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Fields of a hash: names, values, or both. None is due now.
    Fields {
        /// The names.
        names: bool,
        /// The values.
        values: bool,
    },
    /// The members of a set.
    Members,
    /// Elements of a list, from an index on.
    Elements {
        /// The index.
        first: usize,
    },
    /// Members of a sorted set, from a rank on, or down to it.
    Ranked {
        /// The lowest rank.
        start: usize,
        /// From the last to the first.
        is_back: bool,
        /// And their scores.
        with_scores: bool,
    },
}

/// A reply that is written bit by bit.
#[derive(Debug)]
pub struct LongReply {
    what: What,
    /// Elements in all, and those that are written.
    len: usize,
    written: usize,
    /// Where the next bucket of a table is.
    place: usize,
    is_begun: bool,
}

/// The value that was being written is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Gone {
    /// What the client is told instead: of its reply nothing has left yet.
    pub const ERROR: Error = Error::fixed("ERR the key was removed before its value was written");
}

/// Where a command may leave a long reply.
pub type Slot<'a> = Option<&'a mut Option<LongReply>>;

/// Leaves a reply of so many elements, if that is much and the command may; then it has nothing more to do.
#[inline]
pub fn leave(slot: &mut Slot<'_>, len: usize, what: What) -> bool {
    if len < LONG_REPLY_ELEMENTS_MIN {
        return false;
    }
    match slot {
        Some(slot) => {
            **slot = Some(LongReply { what, len, written: 0, place: 0, is_begun: false });
            true
        }
        None => false,
    }
}

impl LongReply {
    /// Appends the next slice. Whether there is more.
    ///
    /// # Errors
    /// The value is not the one that the command saw: it had to go.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        db: usize,
        key: &[u8],
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<bool, Gone> {
        let value = keyspace.peek_kept(db, key).ok_or(Gone)?.value();
        let end = out.len() + SLICE_BYTES;
        let mut reply = Reply::new(out, protocol);
        if !std::mem::replace(&mut self.is_begun, true) {
            self.begin(&mut reply);
        }
        let last = self.written + SLICE_ELEMENTS;
        while self.written < self.len && self.written < last && reply.buffer_bytes() < end {
            let written = self.written;
            self.write_some(value, &mut reply)?;
            if self.written == written || self.len < self.written {
                return Err(Gone);
            }
        }
        Ok(self.written < self.len)
    }

    fn begin(&self, reply: &mut Reply<'_>) {
        match self.what {
            What::Fields { names: true, values: true } => reply.map(self.len),
            What::Fields { .. } | What::Elements { .. } => reply.array(self.len),
            What::Members => reply.set(self.len),
            What::Ranked { with_scores, .. } => reply_members(reply, self.len, with_scores),
        }
    }

    fn write_some(&mut self, value: ValueRef<'_>, reply: &mut Reply<'_>) -> Result<(), Gone> {
        let mut count = 0;
        match (self.what, value) {
            (What::Fields { names, values }, ValueRef::Hash(hash)) => {
                self.place = hash.walk(self.place, ELEMENTS_PER_LOOK, |field| {
                    write_field(reply, &field, names, values);
                    count += 1;
                });
            }
            (What::Members, ValueRef::Set(set)) => {
                self.place = set.walk(self.place, ELEMENTS_PER_LOOK, |member| {
                    reply_element(reply, member);
                    count += 1;
                });
            }
            (What::Elements { first }, ValueRef::List(list)) => {
                count = ELEMENTS_PER_LOOK.min(self.len - self.written);
                list.iter_from(first + self.written).take(count).for_each(|element| reply_element(reply, element));
            }
            (What::Ranked { start, is_back, with_scores }, ValueRef::SortedSet(set)) => {
                count = ELEMENTS_PER_LOOK.min(self.len - self.written);
                let from = if is_back { start + self.len - self.written - count } else { start + self.written };
                set.visit(from, count, is_back, |member, score| reply_member(reply, member, score, with_scores));
            }
            _ => return Err(Gone),
        }
        self.written += count;
        Ok(())
    }
}
