//! Commands whose keys live on several shards: the owners lend the entries, the command runs here on a keyspace made of
//! them, and the entries go home. The code of a command never knows. See [`crate::route::locks`] for why nobody waits
//! for ever.
//!
//! ```text
//!   borrower (the client's core)          owner 0          owner 2
//!        ├── lend k1 ───────────────────────▶ hold k1
//!        ◀── entry of k1 ────────────────────┤
//!        ├── lend k2, k3 ─────────────────────────────────────▶ hold k2, k3 (waits its turn)
//!        ◀── entries of k2, k3 ───────────────────────────────┤
//!      run on { k1, k2, k3 }
//!        ├── entries home ─────────────────▶ release, wake waiters
//!        ├── entries home ────────────────────────────────────▶ release, wake waiters
//!      reply
//! ```
//! The reply may leave before the entries are home: whoever asks an owner for them waits until they are.

use super::core::Core;
use super::gathering::Kind;
use super::mailbox::Control;
use crate::keyspace::Entry;
use crate::route::SlotMap;
use crate::route::locks::Need;
use crate::route::parcel::{ReplyHeader, flags};
use crate::shard::{Call, Waiter};
use std::collections::BTreeMap;

/// Entries of one shard, away from home: the keys asked for, and what was there, by database.
pub struct Loan {
    /// The keys held for it.
    pub keys: Vec<Vec<u8>>,
    /// The entries, with their databases.
    pub entries: Vec<(usize, Entry)>,
}

/// What a borrower has so far.
pub struct Borrowing {
    /// How the command is to be run.
    pub call: Call,
    /// The shards to ask, in rising order, with their keys.
    pub owners: Vec<(usize, Vec<Vec<u8>>)>,
    /// What came, by position in `owners`.
    pub loans: Vec<Loan>,
}

impl Borrowing {
    /// Of a call whose keys stand at `keys`: by shard, in rising order.
    pub fn new(map: SlotMap, call: Call, args: &[Vec<u8>], keys: &[usize]) -> Borrowing {
        let mut owners: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for &at in keys {
            let of_shard = owners.entry(map.shard_of(&args[at])).or_default();
            if !of_shard.contains(&args[at]) {
                of_shard.push(args[at].clone());
            }
        }
        Borrowing { call, owners: owners.into_iter().collect(), loans: Vec::new() }
    }
}

impl Core {
    /// Starts a command that borrows. Its client waits; its reply has its place.
    pub(super) fn borrow(&mut self, gathering: u32) {
        loop {
            let Kind::Borrowing(borrowing) = &self.gatherings[gathering as usize].kind else {
                panic!("a loan for a gathering that borrows nothing");
            };
            let Some((owner, keys)) = borrowing.owners.get(borrowing.loans.len()) else {
                return self.run_borrowed(gathering);
            };
            let (owner, keys) = (*owner, keys.clone());
            if owner != self.core {
                return self.mailbox.control(owner, Control::Lend { gathering, keys });
            }
            match self.lend(self.core, gathering, keys) {
                Some(loan) => self.take_loan(gathering, loan),
                None => return, // In the queue of this very shard.
            }
        }
    }

    fn take_loan(&mut self, gathering: u32, loan: Loan) {
        let Kind::Borrowing(borrowing) = &mut self.gatherings[gathering as usize].kind else {
            panic!("a loan for a gathering that borrows nothing");
        };
        borrowing.loans.push(loan);
    }

    /// A loan came from another core, or from this one's queue.
    pub(super) fn borrowed(&mut self, gathering: u32, loan: Loan) {
        self.take_loan(gathering, loan);
        self.borrow(gathering);
    }

    /// Hands entries out, or queues the borrower.
    pub(super) fn lend(&mut self, from: usize, gathering: u32, keys: Vec<Vec<u8>>) -> Option<Loan> {
        self.shard.take();
        let need = Need::Keys(keys);
        if self.shard.locks.conflicts(&need) {
            let Need::Keys(keys) = &need else { unreachable!("made above") };
            let waiter = Waiter::Borrower { from, gathering, keys: keys.clone() };
            self.shard.locks.wait(need, waiter);
            return None;
        }
        let Need::Keys(keys) = need else { unreachable!("made above") };
        Some(self.hand_out(keys))
    }

    fn hand_out(&mut self, keys: Vec<Vec<u8>>) -> Loan {
        self.shard.locks.hold(&keys);
        let mut entries = Vec::new();
        for key in &keys {
            self.shard.keyspace.lend(key, |db, entry| entries.push((db, entry)));
        }
        Loan { keys, entries }
    }

    /// Entries are home: everybody who waited for them, and needs wait no longer, has their turn.
    pub(super) fn come_home(&mut self, loan: Loan) {
        self.shard.take();
        for (db, entry) in loan.entries {
            self.shard.keyspace.adopt(db, entry);
        }
        self.shard.locks.release(&loan.keys);
        while let Some(waiter) = self.shard.locks.next_ready() {
            match waiter {
                Waiter::Own { connection, sequence, row, call, args } => {
                    let mut out = Vec::new();
                    let slices: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
                    self.shard.execute(row, call, &slices, self.now_ms, &mut self.stats, &mut out);
                    self.stats.record(row.id, 0);
                    self.fill(connection, sequence, &out);
                }
                Waiter::Sent { from, header, args } => {
                    let row = crate::command::lookup::find_by_index(header.command as usize);
                    let slices: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
                    let reply = ReplyHeader {
                        target: header.target,
                        sequence: header.sequence,
                        flags: header.flags & flags::GATHER,
                    };
                    if from == self.core {
                        let mut out = Vec::new();
                        self.shard.execute(row, Call::of(&header), &slices, self.now_ms, &mut self.stats, &mut out);
                        self.own_part(header.target, out);
                        continue;
                    }
                    let (shard, stats, now_ms) = (&mut self.shard, &mut self.stats, self.now_ms);
                    self.mailbox.reply(from, reply, |out| {
                        if shard.execute(row, Call::of(&header), &slices, now_ms, stats, out) {
                            0
                        } else {
                            flags::FAILED
                        }
                    });
                }
                Waiter::Borrower { from, gathering, keys } => {
                    let loan = self.hand_out(keys);
                    if from == self.core {
                        self.ready.push_back((gathering, loan));
                    } else {
                        self.mailbox.control(from, Control::Lent { gathering, loan });
                    }
                }
            }
        }
        self.go_on();
    }

    /// Lets this core's own borrowers go on that got their turn. One may end and so give others theirs: they join the
    /// same queue, however many there are.
    fn go_on(&mut self) {
        if std::mem::replace(&mut self.going_on, true) {
            return;
        }
        while let Some((gathering, loan)) = self.ready.pop_front() {
            self.borrowed(gathering, loan);
        }
        self.going_on = false;
    }

    /// Everything is here: runs the command on what was borrowed, sends it home, and answers.
    fn run_borrowed(&mut self, gathering: u32) {
        self.shard.take();
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Borrowing(borrowing) = done.kind else {
            panic!("a gathering that borrows nothing");
        };
        let started = self.clock.raw();
        let owners: Vec<usize> = borrowing.owners.iter().map(|(owner, _)| *owner).collect();
        let mut loans = borrowing.loans;
        let mut own = std::mem::take(&mut self.overlay).unwrap_or_else(|| Box::new(self.shard.keyspace.sibling()));
        std::mem::swap(&mut self.shard.keyspace, &mut *own);
        for loan in &mut loans {
            for (db, entry) in loan.entries.drain(..) {
                self.shard.keyspace.adopt(db, entry);
            }
        }
        let mut out = Vec::new();
        let args: Vec<&[u8]> = done.args.iter().map(|arg| arg.as_slice()).collect();
        self.shard.execute(done.row, borrowing.call, &args, self.now_ms, &mut self.stats, &mut out);
        for loan in &mut loans {
            for key in &loan.keys {
                self.shard.keyspace.lend(key, |db, entry| loan.entries.push((db, entry)));
            }
        }
        std::mem::swap(&mut self.shard.keyspace, &mut *own);
        self.shard.keyspace.absorb(&mut own);
        self.overlay = Some(own);
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        self.stats.record(done.row.id, nanoseconds);
        self.finish_gathering(done.connection, done.sequence, &out);
        for (owner, loan) in owners.into_iter().zip(loans) {
            if owner == self.core {
                self.come_home(loan);
            } else {
                self.mailbox.control(owner, Control::Home(loan));
            }
        }
    }
}
