//! Clients that wait for keys of one shard: `BLPOP` and its like, in the order in which they came, key by key.
//!
//! A client that finds nothing leaves a [`Ticket`] with the shard of each key it waits for, while it holds them all, so
//! that nothing comes in between. When something happens to such a key, whoever runs commands on the shard serves the
//! clients in order, before any other command runs there: the client's call is run again, for that key alone.
//!
//! A ticket lies on several shards, and may be torn in several places at once (another shard, its deadline, `CLIENT
//! UNBLOCK`, its client's end): its state decides who may answer, see `answering`.
//!
//! A call may need a key of another shard beside (`BLMOVE a b`). Who fills `a` then needs `b` as well, and what those
//! who wait for `b` would fill, and so on: [`crate::shared::Links`] tells, before the command, transaction or script
//! begins. It holds all that from before its first step until everybody is served, on engines or borrowed, as it holds
//! its own keys. So the one who waits has been served when the reply leaves, at the same moment, and nobody comes in
//! between; and there is no other order of holding, nor another reason to wait, than there is without. Keys that are
//! borrowed bring those who wait for them along, as they are in their queues: nobody joins one while its key is away.
//!
//! Only what began before such a client waited may find itself without `b` (see there why it may do as if it had come
//! first): then the client's home is told, and runs the call with all keys held, unless the next who fills `a` does
//! before. Those behind it wait until somebody has.
//!
//! One who waits for several keys that a transaction or script has filled is served by the one that was filled first,
//! as Redis promises: whoever has filled them serves key by key in the order of the events, over all shards.
//!
//! Not here: the clients, and their deadlines.

use super::Call;
use super::answering::Answering;
use crate::command::lookup::Row;
use crate::command::{Wait, key_positions};
use crate::mutant::Mutant;
use crate::resp::Output;
use crate::route::locks::Need;
use ahash::AHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A client that waits.
pub struct Ticket {
    /// The core that serves the client …
    pub core: usize,
    /// … its connection there …
    pub connection: u32,
    /// … and the place of its reply.
    pub sequence: u32,
    /// The command.
    pub row: &'static Row,
    /// The client's choices.
    pub call: Call,
    /// What it waits for.
    pub wait: Wait,
    answering: Answering,
}

impl Ticket {
    /// Of a client that waits from now on.
    pub fn new(core: usize, connection: u32, sequence: u32, row: &'static Row, call: Call, wait: Wait) -> Ticket {
        Ticket { core, connection, sequence, row, call, wait, answering: Answering::default() }
    }

    /// Whether nobody has answered yet.
    pub fn is_open(&self) -> bool {
        self.answering.is_open()
    }

    /// From now on only the caller may answer, and has to call [`Ticket::close`] or [`Ticket::give_up`]. False:
    /// somebody has answered. Waits while another tries, which is as long as one call takes.
    pub fn try_to_answer(&self) -> bool {
        self.answering.begin() || Mutant::WaitersAnsweredTwice.is_on()
    }

    /// It is answered.
    pub fn close(&self) {
        self.answering.close();
    }

    /// The keys of its call for the key of this number: that one, and perhaps where it would put what comes.
    pub fn keys_of_call(&self, at: usize) -> impl Iterator<Item = &[u8]> {
        let retry = &self.wait.retries[at];
        let args: Vec<&[u8]> = retry.args.iter().map(Vec::as_slice).collect();
        let mut positions = Vec::new();
        key_positions(self.row.command, &args, &mut positions).expect("it ran before");
        positions.into_iter().map(move |at| args[at])
    }

    /// From which of its keys it would fill which others.
    pub fn links(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let of_key = move |at: usize| {
            let from = &self.wait.retries[at].key[..];
            self.keys_of_call(at).filter(move |to| *to != from).map(move |to| (from, to))
        };
        (0..self.wait.retries.len()).flat_map(of_key)
    }

    /// It is not: the client waits on.
    pub fn give_up(&self) {
        self.answering.give_up();
    }
}

/// What became of a ticket.
pub enum Answer {
    /// The reply.
    Reply(Arc<Ticket>, Output),
    /// Its call, for the key of this number among those it waits for, needs keys of other shards. With the rank of what
    /// happened to the key.
    Needs(Arc<Ticket>, usize, u64),
}

/// Those who wait for a key that is lent, in their order, each with the number of the key among those it waits for.
pub struct Queued {
    /// The key's database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Who waits.
    pub tickets: Vec<(Arc<Ticket>, usize)>,
}

/// A ticket in a queue.
struct Place {
    ticket: Arc<Ticket>,
    /// Which of the keys it waits for this is.
    at: usize,
    /// Its home was told to run it, and has not said yet what came of it.
    is_knocked: bool,
    /// Its call was run in vain in this turn of the queue: there may be something for those behind it.
    tried_in: u64,
}

/// Those who wait for a key.
#[derive(Default)]
struct Queue {
    places: VecDeque<Place>,
    /// Something happened to the key: it is among those that are ready.
    is_ready: bool,
    /// How often something happened to the key.
    turn: u64,
}

impl Queue {
    /// Something happened to the key. False: it is among those that are ready already.
    fn begin_turn(&mut self) -> bool {
        self.turn += 1;
        !std::mem::replace(&mut self.is_ready, true)
    }
}

/// The queues of a shard.
#[derive(Default)]
pub struct Blocked {
    queues: AHashMap<usize, AHashMap<Vec<u8>, Queue>>,
    /// Keys to which something happened, with its rank and their databases.
    ready: VecDeque<(u64, usize, Vec<u8>)>,
    /// Somebody may be among them who is told when a key is gone.
    has_dependents: bool,
}

impl Blocked {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// For how many keys somebody waits.
    pub fn len(&self) -> usize {
        self.queues.values().map(|keys| keys.len()).sum()
    }

    /// Whether something happened to such a key.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A client waits for the keys that are on this shard, last in their queues.
    pub fn add(&mut self, ticket: &Arc<Ticket>, owns: impl Fn(&[u8]) -> bool) {
        self.has_dependents |= ticket.wait.orphaned.is_some();
        let keys = self.queues.entry(ticket.call.db).or_default();
        for (at, retry) in ticket.wait.retries.iter().enumerate().filter(|(_, retry)| owns(&retry.key)) {
            let queue = &mut keys.entry(retry.key.clone()).or_default().places;
            // The same key twice is waited for once.
            if queue.back().is_none_or(|last| !Arc::ptr_eq(&last.ticket, ticket)) {
                let place = Place { ticket: ticket.clone(), at, is_knocked: false, tried_in: 0 };
                if Mutant::WaitersOvertake.is_on() { queue.push_front(place) } else { queue.push_back(place) }
            }
        }
        self.tidy(ticket.call.db);
    }

    /// A client waits no more.
    pub fn remove(&mut self, ticket: &Arc<Ticket>) {
        let db = ticket.call.db;
        let Some(keys) = self.queues.get_mut(&db) else { return };
        for retry in &ticket.wait.retries {
            let Some(queue) = keys.get_mut(&retry.key) else { continue };
            let places = &mut queue.places;
            let was_knocked = places.iter().any(|place| place.is_knocked && Arc::ptr_eq(&place.ticket, ticket));
            places.retain(|place| !Arc::ptr_eq(&place.ticket, ticket));
            if places.is_empty() {
                keys.remove(&retry.key);
            } else if was_knocked && queue.begin_turn() {
                self.ready.push_back((0, db, retry.key.clone())); // Others waited behind it.
            }
        }
        self.tidy(db);
    }

    /// Its home has run a ticket for the key of this number, and it waits on: those behind it have their turn, and it
    /// has its next one when something happens again.
    pub fn unknock(&mut self, ticket: &Arc<Ticket>, at: usize) {
        let (db, key) = (ticket.call.db, &ticket.wait.retries[at].key);
        if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key))
            && let Some(place) = queue.places.iter_mut().find(|place| Arc::ptr_eq(&place.ticket, ticket))
        {
            place.is_knocked = false;
        }
    }

    /// The call of a ticket for the key of this number was run where all its keys were held. `is_over`: it waits no
    /// more. Those behind it have their turn before other keys.
    pub fn go_on(&mut self, ticket: &Arc<Ticket>, at: usize, rank: u64, is_over: bool) {
        let (db, key) = (ticket.call.db, &ticket.wait.retries[at].key);
        self.unknock(ticket, at);
        if is_over {
            self.remove(ticket);
        } else if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key)) {
            let mut places = queue.places.iter_mut();
            let place = places.find(|place| Arc::ptr_eq(&place.ticket, ticket)).expect("it waits on");
            place.tried_in = queue.turn;
        }
        if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key))
            && !std::mem::replace(&mut queue.is_ready, true)
        {
            self.ready.push_front((rank, db, key.clone()));
        }
    }

    /// Who waits for keys that are needed elsewhere.
    pub fn waiting_for(&self, need: &Need) -> Vec<Queued> {
        let mut found = Vec::new();
        for (&db, keys) in &self.queues {
            let mut add = |key: &Vec<u8>, queue: &Queue| {
                let tickets = queue.places.iter().map(|place| (place.ticket.clone(), place.at)).collect();
                found.push(Queued { db, key: key.clone(), tickets });
            };
            match need {
                Need::Everything => keys.iter().for_each(|(key, queue)| add(key, queue)),
                Need::Keys(needed) => needed.iter().for_each(|key| {
                    if let Some(queue) = keys.get(key) {
                        add(key, queue);
                    }
                }),
            }
        }
        found
    }

    fn tidy(&mut self, db: usize) {
        if self.queues.get(&db).is_some_and(|keys| keys.is_empty()) {
            self.queues.remove(&db);
        }
        self.has_dependents &= !self.queues.is_empty();
    }

    /// Whether somebody waits for a key who is told when it is gone.
    pub fn has_dependents(&self, db: usize, key: &[u8]) -> bool {
        let depends = |place: &Place| place.ticket.wait.orphaned.is_some();
        let queue = || self.queues.get(&db)?.get(key);
        self.has_dependents && queue().is_some_and(|queue| queue.places.iter().any(depends))
    }

    /// Something happened to a key; with the rank of the event, 0: those who wait have their turn at last.
    pub fn note(&mut self, db: usize, key: &[u8], rank: u64) {
        if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key))
            && queue.begin_turn()
        {
            self.ready.push_back((rank, db, key.to_vec()));
        }
    }

    /// Something happened to all keys of a database.
    pub fn note_all(&mut self, db: usize, rank: u64) {
        let Some(keys) = self.queues.get_mut(&db) else { return };
        for (key, queue) in keys {
            if queue.begin_turn() {
                self.ready.push_back((rank, db, key.clone()));
            }
        }
    }

    /// The rank of what happened to the key that is next.
    pub fn ready_rank(&self) -> Option<u64> {
        self.ready.front().map(|(rank, ..)| *rank)
    }

    /// A key to which something happened since this was asked last, behind the rank of that.
    pub fn next_ready(&mut self) -> Option<(u64, usize, Vec<u8>)> {
        let (rank, db, key) = self.ready.pop_front()?;
        if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(&key)) {
            queue.is_ready = false;
        }
        Some((rank, db, key))
    }

    /// Who waits for a key, from a place in its queue on, and whether it was tried in vain in this turn; answered
    /// tickets are dropped.
    pub fn waiting(&mut self, db: usize, key: &[u8], from: usize) -> Option<(Arc<Ticket>, usize, bool)> {
        let keys = self.queues.get_mut(&db)?;
        let Queue { places: queue, turn, .. } = keys.get_mut(key)?;
        while queue.get(from).is_some_and(|place| !place.ticket.is_open()) {
            queue.remove(from);
        }
        let place = queue.get(from).map(|place| (place.ticket.clone(), place.at, place.tried_in == *turn));
        if queue.is_empty() {
            keys.remove(key);
            self.tidy(db);
        }
        place
    }

    /// The home of one who waits is to be told to run it for the key of this number. False: it was told.
    pub fn knock(&mut self, ticket: &Arc<Ticket>, at: usize) -> bool {
        let key = &ticket.wait.retries[at].key;
        let queue = self.queues.get_mut(&ticket.call.db).and_then(|keys| keys.get_mut(key));
        let mut places = queue.into_iter().flat_map(|queue| &mut queue.places);
        let place = places.find(|place| Arc::ptr_eq(&place.ticket, ticket)).expect("it was found there");
        !std::mem::replace(&mut place.is_knocked, true)
    }
}
