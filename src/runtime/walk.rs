//! `SCAN` over shards: one call walks on into the next shard while its COUNT is not used up, so that a small keyspace
//! is scanned in one call whatever the number of cores.
//!
//! A cursor is `position * shards + shard`: below 2^53, which clients in JavaScript need, as long as positions are
//! below 2^43. A shard that is done answers with the beginning of the next one, `shard + 1`.

use super::core::Core;
use super::execute::flags_of;
use super::gathering::Kind;
use crate::command::slowlog;
use crate::resp::decode::{Elements, Head};
use crate::resp::{Output, Reply};
use crate::route::parcel::{ArgSlices, RequestHeader, flags};
use crate::shard::{Call, Waiter};
use std::sync::Arc;

/// Keys that a call looks at where it does not say.
const COUNT_DEFAULT: i64 = 10;

/// A scan on its way through the shards.
pub struct Walk {
    call: Call,
    /// It stays on the shard where it began: that of the core whose own port the client uses.
    stays: bool,
    /// The shard being asked.
    shard: usize,
    /// Keys still wanted.
    left: i64,
    elements: usize,
    /// The elements so far.
    bytes: Vec<u8>,
    /// The arguments as the client sent them: those on the way name the next cursor and the rest of COUNT.
    sent: Arc<Vec<Vec<u8>>>,
}

impl Walk {
    /// Of a call that begins at a shard.
    pub fn new(call: Call, shard: usize, stays: bool, sent: Arc<Vec<Vec<u8>>>) -> Walk {
        let left = count_position(&sent)
            .and_then(|at| std::str::from_utf8(&sent[at]).ok()?.parse().ok())
            .unwrap_or(COUNT_DEFAULT);
        Walk { call, stays, shard, left, elements: 0, bytes: Vec::new(), sent }
    }
}

/// Where the number of `COUNT` stands.
fn count_position(args: &[Vec<u8>]) -> Option<usize> {
    (2..args.len().saturating_sub(1)).step_by(2).find(|&at| args[at].eq_ignore_ascii_case(b"count")).map(|at| at + 1)
}

impl Core {
    /// Asks the shard that the walk has come to.
    pub(super) fn walk(&mut self, gathering: u32) {
        let waiting = &self.gatherings[gathering as usize];
        let Kind::Walk(walk) = &waiting.kind else { panic!("a walk for a gathering of something else") };
        let (row, args) = (waiting.row, waiting.args.clone());
        let header = RequestHeader {
            target: gathering,
            sequence: 0,
            command: row.id.index() as u16,
            db: walk.call.db as u16,
            flags: flags_of(walk.call) | flags::GATHER,
            client: walk.call.actor.client,
            handed: 0,
        };
        let slices: ArgSlices<'_> = args.iter().map(|arg| arg.as_slice()).collect();
        if walk.shard != self.core {
            return self.mailbox.request(walk.shard, header, &slices);
        }
        let call = walk.call;
        self.shard.take();
        if self.shard.locks.conflicts_with_reader(&crate::route::locks::Need::Everything) {
            let waiter = Waiter::Sent { from: self.core, header, args: args.to_vec() };
            if let Some(busy) = self.shared.scripts.refusal() {
                return self.refuse_waiter(waiter, &busy);
            }
            return self.shard.locks.wait(crate::route::locks::Need::Everything, waiter);
        }
        let mut out = Output::default();
        self.shard.execute(row, call, &slices, self.now_ms, &mut self.stats, &mut out);
        self.walked(gathering, out.bytes());
    }

    /// A shard answered: on into the next, or done.
    pub(super) fn walked(&mut self, gathering: u32, reply: &[u8]) {
        let shards = self.map.shards() as u64;
        let waiting = &mut self.gatherings[gathering as usize];
        let Kind::Walk(walk) = &mut waiting.kind else { panic!("a walk for a gathering of something else") };
        let mut next = None;
        if let Some((Head::Array(2), mut parts)) = Elements::within(reply) {
            let cursor = parts.next().and_then(|cursor| match Elements::within(cursor)? {
                (Head::Bulk(digits), _) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
                _ => None,
            });
            let (elements, found) = match Elements::within(parts.rest()) {
                Some((Head::Array(len), elements)) => (elements, len),
                other => panic!("a shard answers a scan with keys, not {:?}", other.map(|(head, _)| head)),
            };
            walk.elements += found;
            walk.bytes.extend_from_slice(elements.rest());
            walk.left -= found as i64;
            next = cursor;
        }
        let Some(cursor) = next else {
            return self.end_walk(gathering, reply.to_vec()); // An error.
        };
        let mut cursor = cursor;
        let to = (cursor % shards) as usize;
        if walk.stays && to != walk.shard {
            cursor = 0;
        }
        if cursor != 0 && to != walk.shard && 0 < walk.left {
            walk.shard = to;
            let left = walk.left;
            let args = Arc::make_mut(&mut waiting.args);
            args[1] = cursor.to_string().into_bytes();
            if let Some(at) = count_position(args) {
                args[at] = left.to_string().into_bytes();
            }
            return self.walk(gathering);
        }
        let mut out = Vec::with_capacity(walk.bytes.len() + 64);
        let mut writer = Reply::new(&mut out, walk.call.protocol);
        writer.array(2);
        writer.bulk_text(format_args!("{cursor}"));
        writer.array(walk.elements);
        writer.raw(&walk.bytes);
        self.end_walk(gathering, out);
    }

    fn end_walk(&mut self, gathering: u32, reply: Vec<u8>) {
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Walk(walk) = done.kind else { panic!("the end of a walk that was none") };
        self.record_gathered(done.connection, done.row, done.started, || {
            slowlog::kept(done.row, &walk.sent.iter().map(Vec::as_slice).collect::<ArgSlices<'_>>())
        });
        self.finish_gathering(done.connection, done.sequence, reply.into());
    }
}
