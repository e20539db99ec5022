//! `SCAN` outside transactions: the shards of a [`Walk`] are asked one after the other, wherever they are.

use super::core::Core;
use super::execute::flags_of;
use super::gathering::Kind;
use crate::command::slowlog;
use crate::resp::{Output, Reply};
use crate::route::parcel::{ArgSlices, RequestHeader, flags};
use crate::route::walk::{Step, Walk};
use crate::shard::{Call, Waiter};
use std::sync::Arc;

/// A scan of a client.
pub struct Scan {
    call: Call,
    walk: Walk,
    /// The arguments as the client sent them: those on the way name the next cursor and the rest of COUNT.
    sent: Arc<Vec<Vec<u8>>>,
}

impl Scan {
    /// Of a call that begins at a shard; `stays`: it has no other one.
    pub fn new(call: Call, shard: usize, stays: bool, sent: Arc<Vec<Vec<u8>>>) -> Scan {
        Scan { call, walk: Walk::new(&sent, shard, stays), sent }
    }
}

impl Core {
    /// Asks the shard that the walk has come to.
    pub(super) fn walk(&mut self, gathering: u32) {
        let waiting = &self.gatherings[gathering as usize];
        let Kind::Walk(Scan { call, walk, .. }) = &waiting.kind else {
            panic!("a walk for a gathering of something else")
        };
        let (row, args) = (waiting.row, waiting.args.clone());
        let header = RequestHeader {
            target: gathering,
            sequence: 0,
            command: row.id.index() as u16,
            db: call.db as u16,
            flags: flags_of(*call) | flags::GATHER,
            client: call.actor.client,
            handed: 0,
        };
        let slices: ArgSlices<'_> = args.iter().map(|arg| arg.as_slice()).collect();
        if walk.shard() != self.core {
            return self.mailbox.request(walk.shard(), header, &slices);
        }
        let call = *call;
        self.shard.take();
        if self.shard.locks.conflicts_with_reader(&crate::route::locks::Need::Everything) {
            let waiter = Waiter::Sent { from: self.core, header, args: args.to_vec(), at: self.clock.raw() };
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
        let waiting = &mut self.gatherings[gathering as usize];
        let Kind::Walk(Scan { call, walk, .. }) = &mut waiting.kind else {
            panic!("a walk for a gathering of something else")
        };
        match walk.take(reply, self.map.shards()) {
            Step::On(cursor) => {
                walk.ask_on(cursor, Arc::<Vec<Vec<u8>>>::make_mut(&mut waiting.args));
                self.walk(gathering);
            }
            Step::End(cursor) => {
                let mut out = Vec::new();
                walk.write(cursor, &mut Reply::new(&mut out, call.protocol));
                self.end_walk(gathering, out);
            }
            Step::Failed => self.end_walk(gathering, reply.to_vec()),
        }
    }

    fn end_walk(&mut self, gathering: u32, reply: Vec<u8>) {
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Walk(scan) = done.kind else { panic!("the end of a walk that was none") };
        self.record_gathered(done.connection, done.row, (done.started, done.split), || {
            slowlog::kept(done.row, &scan.sent.iter().map(Vec::as_slice).collect::<ArgSlices<'_>>())
        });
        self.finish_gathering(done.connection, done.sequence, reply.into());
    }
}
