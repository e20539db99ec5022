//! Replies that are too long to be written at once: all of a huge hash, set or list, a long range, the payload of a
//! huge value, what huge sets make together.
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
//!
//! # What is not sliced
//!
//! Commands that store what they make (`SUNIONSTORE`, `ZUNIONSTORE`, `SORT … STORE`, `GEOSEARCHSTORE`) are one change
//! at one moment: they take all their time at once, as do `SORT`, `ZUNION`, `ZINTER` and `ZDIFF`, which have nothing to
//! say before the end, `COPY`, and every command in a transaction or on keys of several shards. `SPOP` with a large
//! count takes members out while it writes them: a long reply is that of a value which stays as it is. That is some
//! 100 ns for each element of a set that is looked at, and for `SORT` the comparisons. Redis takes about as long, and
//! has everybody wait; here other cores go on.

use super::hash::write_field;
use super::set::reply_element;
use super::sorted_set::{reply_member, reply_members};
use crate::keyspace::Keyspace;
use crate::rdb::payload;
use crate::resp::{Error, Protocol, Reply};
use crate::value::set::{Limits, Set};
use crate::value::{Value, ValueRef};

/// Shorter replies are written at once: that takes less than a millisecond.
pub const LONG_REPLY_ELEMENTS_MIN: usize = 8192;
/// A slice ends after so many elements …
pub const SLICE_ELEMENTS: usize = 2048;
/// … or when it has so many bytes.
pub const SLICE_BYTES: usize = 256 * 1024;
/// A piece of a payload, which is compressed, is smaller.
pub const PAYLOAD_SLICE_BYTES: usize = 64 * 1024;
/// Elements that are written before the bytes are counted again.
const ELEMENTS_PER_LOOK: usize = 64;
/// More sets are combined at once: they are looked up for every slice.
const SETS_MAX: usize = 256;

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

/// What sets make together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    /// What any has.
    Union,
    /// What all have; the set of this index is the smallest.
    Intersection {
        /// The index.
        smallest: usize,
    },
    /// What the first has and no other.
    Difference,
}

/// A reply that is written bit by bit.
#[derive(Debug)]
pub struct LongReply(Work);

#[derive(Debug)]
enum Work {
    Listing(Listing),
    Payload(Box<Payload>),
    Combining(Box<Combining>),
}

#[derive(Debug)]
struct Listing {
    what: What,
    /// Elements in all, and those that are written.
    len: usize,
    written: usize,
    /// Where the next bucket of a table is.
    place: usize,
}

#[derive(Debug)]
struct Payload {
    compress: bool,
    writer: Option<payload::Writer>,
    /// Written so far.
    bytes: usize,
}

#[derive(Debug)]
struct Combining {
    how: Combination,
    limits: Limits,
    /// The set that is being gone through, the place in it, and how many of its members were seen.
    set: usize,
    place: usize,
    seen: usize,
    /// Unions and differences are made first and written then; an intersection is written as it is found.
    made: Set,
    /// Elements of the reply that are written.
    written: usize,
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
    leave_if(slot, len, || Work::Listing(Listing { what, len, written: 0, place: 0 }))
}

/// The same for the payload of a value of so many elements.
pub fn leave_payload(slot: &mut Slot<'_>, len: usize, compress: bool) -> bool {
    leave_if(slot, len, || Work::Payload(Box::new(Payload { compress, writer: None, bytes: 0 })))
}

/// The same for what the sets under all arguments make together, `elements` of which are to be looked at.
pub fn leave_combination(
    slot: &mut Slot<'_>,
    (sets, elements): (usize, usize),
    how: Combination,
    limits: Limits,
) -> bool {
    let set = if let Combination::Intersection { smallest } = how { smallest } else { 0 };
    let begin = || Combining { how, limits, set, place: 0, seen: 0, made: Set::new(), written: 0 };
    sets <= SETS_MAX && leave_if(slot, elements, || Work::Combining(Box::new(begin())))
}

#[inline]
fn leave_if(slot: &mut Slot<'_>, len: usize, work: impl FnOnce() -> Work) -> bool {
    if len < LONG_REPLY_ELEMENTS_MIN {
        return false;
    }
    match slot {
        Some(slot) => {
            **slot = Some(LongReply(work()));
            true
        }
        None => false,
    }
}

impl LongReply {
    /// The keys among the arguments that must stay as they are.
    pub fn keys<'a>(&self, args: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
        match self.0 {
            Work::Combining(_) => &args[1..],
            Work::Listing(_) | Work::Payload(_) => &args[1..2],
        }
    }

    /// Appends the next slice. Whether there is more; if not, [`LongReply::head`] belongs before all of them.
    ///
    /// # Errors
    /// The value is not the one that the command saw: it had to go.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        db: usize,
        args: &[Vec<u8>],
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<bool, Gone> {
        let value = || keyspace.peek_kept(db, &args[1]).map(|entry| entry.value()).ok_or(Gone);
        match &mut self.0 {
            Work::Listing(listing) => listing.step(value()?, &mut Reply::new(out, protocol)),
            Work::Payload(payload) => payload.step(value()?, &mut Reply::new(out, protocol)),
            Work::Combining(combining) => {
                let value = |key: &Vec<u8>| keyspace.peek_kept(db, key).map(|entry| entry.value());
                let sets: Vec<Option<&Set>> = args[1..]
                    .iter()
                    .map(|key| match value(key) {
                        Some(ValueRef::Set(set)) => Ok(Some(set)),
                        Some(_) => Err(Gone),
                        None => Ok(None),
                    })
                    .collect::<Result<_, _>>()?;
                combining.step(&sets, &mut Reply::new(out, protocol))
            }
        }
    }

    /// What stands before the slices, which are all there.
    pub fn head(&self, protocol: Protocol) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, protocol);
        match &self.0 {
            Work::Listing(Listing { what, len, .. }) => match *what {
                What::Fields { names: true, values: true } => reply.map(*len),
                What::Fields { .. } | What::Elements { .. } => reply.array(*len),
                What::Members => reply.set(*len),
                What::Ranked { with_scores, .. } => reply_members(&mut reply, *len, with_scores),
            },
            Work::Payload(payload) => reply.bulk_header(payload.bytes),
            Work::Combining(combining) => reply.set(combining.written),
        }
        out
    }

    /// What was made on the way and may take long to free.
    pub fn into_remains(self) -> Option<Value<'static>> {
        match self.0 {
            Work::Combining(combining) => Some(combining.made.into()),
            Work::Listing(_) | Work::Payload(_) => None,
        }
    }
}

impl Listing {
    fn step(&mut self, value: ValueRef<'_>, reply: &mut Reply<'_>) -> Result<bool, Gone> {
        let end = reply.buffer_bytes() + SLICE_BYTES;
        let last = self.written + SLICE_ELEMENTS;
        while self.written < self.len && self.written < last && reply.buffer_bytes() < end {
            let written = self.written;
            self.write_some(value, reply)?;
            if self.written == written || self.len < self.written {
                return Err(Gone);
            }
        }
        Ok(self.written < self.len)
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
                list.visit(first + self.written, count, |element| reply_element(reply, element));
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

impl Payload {
    fn step(&mut self, value: ValueRef<'_>, reply: &mut Reply<'_>) -> Result<bool, Gone> {
        let mut piece = Vec::new();
        let writer = self.writer.get_or_insert_with(|| payload::Writer::begin(value, self.compress, &mut piece));
        let is_more = writer.step(value, PAYLOAD_SLICE_BYTES, &mut piece);
        self.bytes += piece.len();
        reply.raw(&piece);
        if !is_more {
            reply.raw(b"\r\n");
        }
        Ok(is_more)
    }
}

impl Combining {
    fn step(&mut self, sets: &[Option<&Set>], reply: &mut Reply<'_>) -> Result<bool, Gone> {
        // Each member is looked for in all of them.
        let last = (SLICE_ELEMENTS / sets.len()).max(ELEMENTS_PER_LOOK);
        let end = reply.buffer_bytes() + SLICE_BYTES;
        let mut done = 0;
        while done < last && reply.buffer_bytes() < end {
            let before = done;
            if let Some(set) = self.next_set(sets) {
                done += self.take_some(set, sets, reply);
            } else if self.is_made_first() && self.written < self.made.len() {
                let (made, written) = (&self.made, &mut self.written);
                self.place = made.walk(self.place, ELEMENTS_PER_LOOK, |member| {
                    reply_element(reply, member);
                    *written += 1;
                });
                done += ELEMENTS_PER_LOOK;
            } else {
                return Ok(false);
            }
            if done == before {
                return Err(Gone);
            }
        }
        Ok(true)
    }

    fn is_made_first(&self) -> bool {
        !matches!(self.how, Combination::Intersection { .. })
    }

    /// The set that is not gone through yet. After the last the place is at the beginning of what was made.
    fn next_set<'a>(&mut self, sets: &[Option<&'a Set>]) -> Option<&'a Set> {
        loop {
            let set = *sets.get(self.set)?;
            if let Some(set) = set.filter(|set| self.seen < set.len()) {
                return Some(set);
            }
            self.set = if self.how == Combination::Union { self.set + 1 } else { sets.len() };
            (self.place, self.seen) = (0, 0);
        }
    }

    /// Goes through some members of a set. How many there were.
    fn take_some(&mut self, set: &Set, sets: &[Option<&Set>], reply: &mut Reply<'_>) -> usize {
        let Combining { how, limits, made, written, .. } = self;
        let mut count = 0;
        self.place = set.walk(self.place, ELEMENTS_PER_LOOK, |member| {
            count += 1;
            match how {
                Combination::Union => {
                    made.add_element(member, limits);
                }
                Combination::Difference => {
                    if !sets[1..].iter().flatten().any(|set| set.contains_element(member)) {
                        made.add_element(member, limits);
                    }
                }
                Combination::Intersection { smallest } => {
                    let has = |(at, set): (usize, &Option<&Set>)| {
                        at == *smallest || set.is_some_and(|set| set.contains_element(member))
                    };
                    if sets.iter().enumerate().all(has) {
                        reply_element(reply, member);
                        *written += 1;
                    }
                }
            }
        });
        self.seen += count;
        count
    }
}
