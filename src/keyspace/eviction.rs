//! Who leaves when memory is short. The keyspace is asked for some bytes, and lets entries go until it has them or its
//! budget is used up: "evicted".
//!
//! Not here: when memory is short, and which shard gives (see `src/runtime/room.rs`); what access clocks say
//! ([`super::access`]).
//!
//! ```text
//!              sample: a few entries, neighbours in the table, a random place each time
//!                 │  score = how well it can be spared
//!                 ▼
//! pool   ┌────┬────┬────┬── … ──┬────┐   the best of all samples so far, by hash, best last
//!        │  9 │ 12 │ 12 │       │ 97 │   no entry is pointed at, so entries may come and go
//!        └────┴────┴────┴── … ──┴─┬──┘
//!                                 ▼  looked up and scored again: used since? then back into its new place
//!                              evicted
//! ```
//! Redis takes a candidate as it was when it was sampled; here what was used meanwhile is seen.
//!
//! # The least recently used
//!
//! How well an entry can be spared changes with time for LFU and LHD, and a random sample with a small pool is as good
//! as any. When an entry was used last does not change, so LRU can remember more, and needs to look at less:
//!
//! ```text
//! table   ┌──┬──┬──┬──┬──┬──┬──┬──┬──┐      a round over all buckets: for each that goes, so many entries are looked
//!         │  │  │ ▲│  │  │  │  │  │  │      at as `maxmemory-samples` says; so each is seen once in N/5 evictions,
//!         └──┴──┴─┼┴──┴──┴──┴──┴──┴──┘      not now and then, by luck
//!     judged here ┘  └ entries asked for, one eviction ahead; └ bucket asked for, two ahead
//!            │
//!            ▼
//! oldest: up to N/10 candidates, by when they were used last ──▶ looked up again: used since? then back ──▶ evicted
//! ```
//! With a sample of ten random entries a tenth of what is in the cache is overdue: an entry that should go waits until
//! luck finds it. A round finds it in time, and what is not due yet, but will be before the round comes by again, is
//! remembered ([`oldest`]): of the N/5 entries that it sees meanwhile half, with other `maxmemory-samples` accordingly
//! more or fewer. Points below exact LRU for a loop that just fits (the trace P3, 40 % of its bytes), on a model: ten
//! random entries with a pool of 16 or 64 1.5, twenty 0.4; a round of five with a pool of 16 1.1, with N/64 0.8, with
//! N/16 0.2, with N/10 0.05. The real thing: 1.34 before, 0.08 now; no trace more than 0.1 (`benches/hits`).
//! That costs 1.2 bytes a key, up to [`OLDEST_MAX`] candidates a shard; with more than 650,000 keys a shard it falls
//! back slowly to what a small pool gives. A server that does not evict keeps none.
//!
//! # The memory
//!
//! Entries are all over the memory: waiting for those of a sample one after the other would be most of what an eviction
//! costs. So it is known two evictions ahead where to look: first the bucket is asked for, one eviction later the
//! entries in it, and when they are judged they have arrived. The next candidate is asked for likewise. A candidate of
//! LRU is known by what the table tells of its hash (a locator): no key is read or hashed to remember it or to find it
//! again. Another entry with the same locator, which is as old, may go in its place.
//!
//! `volatile-ttl` needs samples only where the wheel of deadlines does not know well what ends soonest: its slots are
//! the coarser the later they are. `random` needs no pool. Samples of entries with a deadline are random ones. Where
//! samples are random, twice as many are looked at as `maxmemory-samples` says, since neighbours in the table cost
//! little more than one.

mod oldest;

use super::access::{AccessPolicy, idle_ms};
use super::database::Database;
use super::lhd::Lhd;
use super::{CLOCK_SLACK_MS_MAX, EntryRef, Event, Keyspace, hash_with, split_mix};
use crate::structure::table::{Place, Position, Table};
use oldest::{Found, Oldest};
use std::collections::VecDeque;

/// Candidates that are remembered.
pub const POOL_LEN: usize = 16;
/// Candidates of LRU that are remembered: one of twice as many as `maxmemory-samples` says, but at most one of so many
/// entries that may go, …
const ENTRIES_PER_OLDEST_MIN: usize = 8;
/// … and no more than so many.
pub const OLDEST_MAX: usize = 1 << 16;
/// The entries that may go are counted once in so many evictions: that is a walk over all databases.
const EVICTIONS_PER_COUNT: usize = 16;
/// Entries looked at for each of `maxmemory-samples`, where they are drawn by lot.
const LOOKS_PER_SAMPLE: usize = 2;
/// Samples, or places, that are known ahead: one whose bucket is asked for, one whose entries are.
const SAMPLES_AHEAD: usize = 2;
/// Entries looked at for the first that goes, when no candidate of LRU is known.
const FIRST_LOOKS: usize = 64;
/// Buckets looked at for one eviction.
const PLACES_MAX: usize = 64;
/// Candidates of LRU that are gone or were used since, before it is looked for others, or one of them goes.
const CANDIDATES_MAX: usize = 32;
/// Samples that are taken for one eviction before it is given up: without a candidate, or with one that went.
const ROUNDS_MAX: usize = 16;
/// So many accesses are told apart between now and when those that go were used last. Only for LRU clocks.
const CLOCK_STEPS: u64 = 256;
/// Records of deadlines looked at for one eviction.
const RECORDS_MAX: usize = 64;
/// One eviction in so many is by lot where densities are learnt.
const LOT_EVERY: u64 = 64;
/// Entries looked at one after the other when samples found none that may go.
const SEARCH_ENTRIES_MAX: usize = 4096;

/// By what entries are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// By their access clocks, as [`Keyspace::policy`] reads them.
    Access,
    /// By lot.
    Lot,
    /// By their deadlines.
    Deadline,
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// By what.
    pub judge: Judge,
    /// Only entries with a deadline may go.
    pub is_volatile: bool,
    /// `maxmemory-samples`: half of what is looked at for each that goes.
    pub samples: usize,
}

/// What has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Entries, those whose deadline had come included.
    pub keys: usize,
    /// What they took, in bytes. Of heavy values it is freed later, by [`Keyspace::free_some`].
    pub bytes: usize,
    /// How well the last of them could be spared, so that it can be compared with those of other shards at other times:
    /// the higher the better.
    pub rank: Option<u64>,
}

/// One that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    score: u64,
    hash: u64,
    db: u32,
}

/// Candidates, the best last.
#[derive(Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// The databases and seeds of the samples to come, the next one first.
    ahead: VecDeque<(usize, u64)>,
    /// Those of LRU.
    oldest: Oldest,
    /// How many of those are remembered, which is counted anew after so many evictions.
    oldest_max: usize,
    count_in: usize,
    /// The databases and places that the round comes to next, the next one first.
    round: VecDeque<(usize, Place)>,
    /// Entries that are to be looked at; less than 0: so many more have been.
    looks_due: isize,
    /// Where a search goes on: database and cursor.
    search: (usize, u64),
    /// How much was known when candidates were judged.
    lessons: u64,
}

impl Pool {
    /// Takes a candidate in if it is better than one that is there, or there is room; each entry once.
    fn offer(&mut self, candidate: Candidate) {
        let is_full = self.candidates.len() == POOL_LEN;
        if is_full && candidate.score <= self.candidates[0].score {
            return;
        }
        if let Some(at) =
            self.candidates.iter().position(|known| known.hash == candidate.hash && known.db == candidate.db)
        {
            self.candidates.remove(at);
        } else if is_full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|known| known.score <= candidate.score);
        self.candidates.insert(at, candidate);
    }

    fn worst_taken(&self) -> u64 {
        if self.candidates.len() == POOL_LEN { self.candidates[0].score } else { 0 }
    }
}

impl Keyspace {
    /// Whether there is anything that may go.
    pub fn has_evictable(&self, eviction: Eviction) -> bool {
        self.databases.iter().any(|database| 0 < evictable_len(database, eviction))
    }

    /// How many entries may go.
    pub fn evictable_len(&self, eviction: Eviction) -> usize {
        self.databases.iter().map(|database| evictable_len(database, eviction)).sum()
    }

    /// Lets entries go until they had so many bytes, at most `keys_max` of them. None: there is none that may go, or
    /// none was found in some thousand looks. A large value that a snapshot has yet to record goes only where nothing
    /// else does: it is recorded at once then, which takes its time, but less than a client would wait for room until
    /// the snapshot comes by.
    pub fn evict_some(&mut self, eviction: Eviction, bytes: usize, keys_max: usize) -> Evicted {
        let mut evicted = Evicted::default();
        let mut unrecorded = None;
        for _ in 0..keys_max {
            if bytes <= evicted.bytes {
                break;
            }
            let Some((db, position)) = self.choose(eviction) else { break };
            if self.keeps_any() && self.is_kept(db, self.databases[db].view(position).key()) {
                continue;
            }
            if self.databases[db].is_unrecorded_large(position) {
                unrecorded.get_or_insert_with(|| (db, self.databases[db].view(position).key().to_vec()));
                continue;
            }
            self.evict_at(eviction, db, position, &mut evicted);
        }
        if evicted.keys == 0
            && let Some((db, key)) = unrecorded
            && let Some((position, _)) = self.databases[db].find(self.hash_of(&key), &key)
        {
            self.evict_at(eviction, db, position, &mut evicted);
        }
        if let Some(next) = self.pool.candidates.last() {
            self.prefetch_bucket(next.db as usize, next.hash);
        }
        if let Some(next) = self.pool.oldest.next_two()[0] {
            self.databases[next.db].entries().prefetch_located_bucket(next.locator);
        }
        evicted
    }

    fn evict_at(&mut self, eviction: Eviction, db: usize, position: Position, evicted: &mut Evicted) {
        // Looked up once: what the table says of a position takes its time.
        let view = self.databases[db].view(position);
        let is_expired = view.is_expired(self.now_ms);
        let idle_ms = idle_ms(view.clock(), self.now_ms);
        evicted.rank = Some(rank_of(view, eviction, &self.judgement()));
        if eviction.judge == Judge::Access && matches!(self.policy, AccessPolicy::Lru | AccessPolicy::Lrm) {
            self.clock_slack_ms = (idle_ms / CLOCK_STEPS).min(CLOCK_SLACK_MS_MAX);
            if !is_expired {
                self.pool.oldest.set_age(idle_ms);
            }
        }
        let entry = self.databases[db].remove(position);
        let view = entry.view();
        if let Some(lhd) = &mut self.lhd {
            lhd.leave(view.clock(), hash_with(&self.hasher, view.key()));
        }
        evicted.keys += 1;
        evicted.bytes += view.memory_bytes();
        if is_expired {
            self.stats.expired += 1;
            self.effects.note(Event::EXPIRED, db, view.key());
        } else {
            self.stats.evicted += 1;
            self.effects.note(Event::EVICTED, db, view.key());
            self.records.removed(db, view.key());
        }
        self.discard(entry);
    }

    /// Forgets the candidates: they are judged otherwise from now on.
    pub fn forget_candidates(&mut self) {
        self.pool.candidates.clear();
        self.pool.oldest = Oldest::default();
    }

    fn judgement(&self) -> Judgement<'_> {
        Judgement { policy: self.policy, now_ms: self.now_ms, lhd: self.lhd.as_deref() }
    }

    /// The entry that goes next.
    fn choose(&mut self, eviction: Eviction) -> Option<(usize, Position)> {
        let mut judge = eviction.judge;
        if let Some(lhd) = &self.lhd
            && judge == Judge::Access
        {
            if lhd.lessons() != self.pool.lessons {
                self.pool.lessons = lhd.lessons();
                self.pool.candidates.clear();
            }
            // Now and then one goes by lot, or it would never be seen what becomes of those that are thought little of.
            if split_mix(&mut self.random).is_multiple_of(LOT_EVERY) {
                judge = Judge::Lot;
            }
        }
        if judge == Judge::Deadline
            && let Some(soonest) = self.choose_soonest()
        {
            return Some(soonest);
        }
        if judge == Judge::Access && matches!(self.policy, AccessPolicy::Lru | AccessPolicy::Lrm) {
            return self.choose_oldest(eviction).or_else(|| self.search(eviction));
        }
        if let Some(next) = self.pool.candidates.last() {
            self.prefetch_entry(next.db as usize, next.hash);
        }
        for _ in 0..ROUNDS_MAX {
            if judge == Judge::Lot {
                let db = self.draw_database(eviction)?;
                let seed = split_mix(&mut self.random);
                let mut found = None;
                sample(&self.databases[db], eviction, seed, 1, &self.hasher, |view| {
                    found = Some(hash_with(&self.hasher, view.key()));
                });
                let hasher = &self.hasher;
                if let Some(position) =
                    found.and_then(|hash| self.databases[db].find_hash(hash, |key| hash_with(hasher, key)))
                {
                    return Some((db, position));
                }
                continue;
            }
            let (db, seed) = self.next_sample(eviction)?;
            self.fill_pool(db, seed, eviction);
            if let Some(best) = self.take_best(eviction) {
                return Some(best);
            }
        }
        self.search(eviction)
    }

    /// The entry whose deadline comes soonest, of the database of which the wheel says that it has it.
    fn choose_soonest(&mut self) -> Option<(usize, Position)> {
        let first = |database: &Database| database.next_deadline_ms().filter(|_| 0 < database.volatile_len());
        let soonest = self.databases.iter().enumerate().filter_map(|(db, database)| Some((first(database)?, db))).min();
        let (_, db) = soonest.filter(|(_, db)| self.databases[*db].knows_soonest())?;
        let hasher = &self.hasher;
        let position = self.databases[db].take_soonest(self.now_ms, RECORDS_MAX, |key| hash_with(hasher, key))?;
        Some((db, position))
    }

    /// One of those that were used longest ago.
    fn choose_oldest(&mut self, eviction: Eviction) -> Option<(usize, Position)> {
        let [next, second] = self.pool.oldest.next_two();
        if let Some(Found { db, locator }) = next {
            self.databases[db].entries().prefetch_located_entry(locator);
        }
        if let Some(Found { db, locator }) = second {
            self.databases[db].entries().prefetch_located_bucket(locator);
        }
        if self.pool.oldest.len() == 0 {
            (self.pool.looks_due, self.pool.count_in) = (FIRST_LOOKS.min(self.evictable_len(eviction)) as isize, 0);
        }
        if self.pool.count_in == 0 {
            let len_max = self.evictable_len(eviction) / (2 * eviction.samples).max(ENTRIES_PER_OLDEST_MIN);
            (self.pool.oldest_max, self.pool.count_in) = (len_max.clamp(POOL_LEN, OLDEST_MAX), EVICTIONS_PER_COUNT);
        }
        self.pool.count_in -= 1;
        let len_max = self.pool.oldest_max;
        self.pool.looks_due += eviction.samples as isize;
        for _ in 0..ROUNDS_MAX {
            if eviction.is_volatile {
                let (db, seed) = self.next_sample(eviction)?;
                self.look_around(db, seed, eviction, len_max);
            } else {
                self.go_round(len_max)?;
            }
            if let Some(oldest) = self.take_oldest(eviction, len_max) {
                return Some(oldest);
            }
            self.pool.looks_due = self.pool.looks_due.max(1);
        }
        None
    }

    /// Looks at entries of the next buckets, as many as are due.
    fn go_round(&mut self, len_max: usize) -> Option<()> {
        for _ in 0..PLACES_MAX {
            if self.pool.looks_due <= 0 {
                break;
            }
            while self.pool.round.len() <= SAMPLES_AHEAD {
                let next = self.place_after(self.pool.round.back().copied())?;
                self.databases[next.0].entries().prefetch_place(next.1);
                self.pool.round.push_back(next);
            }
            let (db, place) = self.pool.round.pop_front()?;
            let &(db_ahead, ahead) = self.pool.round.front()?;
            self.databases[db_ahead].entries().prefetch_placed(ahead);
            let Keyspace { pool: Pool { oldest, looks_due, .. }, databases, now_ms, .. } = self;
            databases[db].entries().visit_place(place, |locator, view| {
                *looks_due -= 1;
                oldest.offer(used_ms(view, *now_ms), Found { db, locator }, len_max);
            });
        }
        Some(())
    }

    /// Where the round goes on, over all databases that have entries.
    fn place_after(&self, last: Option<(usize, Place)>) -> Option<(usize, Place)> {
        let (mut db, mut place) = (0, Place::default());
        if let Some(last) = last {
            db = last.0;
            place = self.databases[db].entries().place_after(last.1);
            if place == Place::default() {
                db += 1;
            }
        }
        let len = self.databases.len();
        let mut others = (db..len).chain(0..db.min(len));
        let found = others.find(|db| self.databases[*db].len() != 0)?;
        Some((found, if found == db { place } else { Place::default() }))
    }

    /// Looks at a sample of entries with a deadline.
    fn look_around(&mut self, db: usize, seed: u64, eviction: Eviction, len_max: usize) {
        let Keyspace { pool, databases, hasher, now_ms, .. } = self;
        sample(&databases[db], eviction, seed, eviction.samples * LOOKS_PER_SAMPLE, hasher, |view| {
            let locator = Table::locator(hash_with(hasher, view.key()));
            pool.oldest.offer(used_ms(view, *now_ms), Found { db, locator }, len_max);
        });
    }

    /// The oldest candidate that is still there and was not used since; if there is none among the next few, the oldest
    /// of those that were.
    fn take_oldest(&mut self, eviction: Eviction, len_max: usize) -> Option<(usize, Position)> {
        let Keyspace { pool: Pool { oldest, .. }, databases, now_ms, .. } = self;
        let is_evictable = |view: EntryRef<'_>| !eviction.is_volatile || view.deadline_ms().is_some();
        let mut best: Option<(u64, Found)> = None;
        for _ in 0..CANDIDATES_MAX {
            let Some((number, found)) = oldest.pop() else { break };
            let mut since_ms = None;
            let position = databases[found.db].entries().find_located(found.locator, |view| {
                let used_ms = used_ms(view, *now_ms);
                since_ms = since_ms.or(is_evictable(view).then_some(used_ms));
                is_evictable(view) && oldest.number(used_ms) <= number
            });
            if let Some(position) = position {
                return Some((found.db, position));
            }
            let Some(since_ms) = since_ms else { continue }; // It is gone.
            oldest.offer(since_ms, found, len_max);
            if best.is_none_or(|(best_ms, _)| since_ms < best_ms) {
                best = Some((since_ms, found));
            }
        }
        let (best_ms, Found { db, locator }) = best?;
        let is_best = |view: EntryRef<'_>| is_evictable(view) && used_ms(view, *now_ms) == best_ms;
        databases[db].entries().find_located(locator, is_best).map(|position| (db, position))
    }

    /// A database by lot, each as often as it has entries that may go.
    fn draw_database(&mut self, eviction: Eviction) -> Option<usize> {
        let total = self.evictable_len(eviction);
        if total == 0 {
            return None;
        }
        let mut lot = ((u128::from(split_mix(&mut self.random)) * total as u128) >> 64) as usize;
        for (db, database) in self.databases.iter().enumerate() {
            let len = evictable_len(database, eviction);
            if lot < len {
                return Some(db);
            }
            lot -= len;
        }
        unreachable!("the lot is below the sum")
    }

    /// Where to look next: what is there was asked for in the last two calls.
    fn next_sample(&mut self, eviction: Eviction) -> Option<(usize, u64)> {
        while self.pool.ahead.len() <= SAMPLES_AHEAD {
            let db = self.draw_database(eviction)?;
            let seed = split_mix(&mut self.random);
            self.databases[db].entries().prefetch_sample(seed);
            self.pool.ahead.push_back((db, seed));
        }
        let next = self.pool.ahead.pop_front();
        let &(db, seed) = self.pool.ahead.front().expect("there are two more");
        self.databases[db].entries().prefetch_sampled(seed, eviction.samples * LOOKS_PER_SAMPLE);
        next
    }

    fn fill_pool(&mut self, db: usize, seed: u64, eviction: Eviction) {
        let Keyspace { pool, databases, hasher, policy, now_ms, lhd, .. } = self;
        let judgement = Judgement { policy: *policy, now_ms: *now_ms, lhd: lhd.as_deref() };
        sample(&databases[db], eviction, seed, eviction.samples * LOOKS_PER_SAMPLE, hasher, |view| {
            let score = score_of(view, eviction, &judgement);
            if pool.worst_taken() <= score {
                pool.offer(Candidate { score, hash: hash_with(hasher, view.key()), db: db as u32 });
            }
        });
    }

    /// The best candidate that is still there and still as good as the others.
    fn take_best(&mut self, eviction: Eviction) -> Option<(usize, Position)> {
        let Keyspace { pool, databases, hasher, policy, now_ms, lhd, .. } = self;
        let judgement = Judgement { policy: *policy, now_ms: *now_ms, lhd: lhd.as_deref() };
        let mut looks_left = POOL_LEN;
        while let Some(candidate) = pool.candidates.pop() {
            let database = &databases[candidate.db as usize];
            let Some(position) = database.find_hash(candidate.hash, |key| hash_with(hasher, key)) else { continue };
            let view = database.view(position);
            if eviction.is_volatile && view.deadline_ms().is_none() {
                continue;
            }
            let score = score_of(view, eviction, &judgement);
            let is_best = pool.candidates.last().is_none_or(|next| next.score <= score);
            if is_best || looks_left == 0 {
                return Some((candidate.db as usize, position));
            }
            looks_left -= 1;
            pool.offer(Candidate { score, ..candidate });
        }
        None
    }

    /// Goes through the entries, a part at a time, until there is one that may go.
    #[cold]
    fn search(&mut self, eviction: Eviction) -> Option<(usize, Position)> {
        let mut budget = SEARCH_ENTRIES_MAX;
        for _ in 0..=self.databases.len() {
            let (db, mut cursor) = self.pool.search;
            let db = db % self.databases.len();
            let mut found = None;
            while 0 < budget && found.is_none() && 0 < evictable_len(&self.databases[db], eviction) {
                let step = budget.min(16);
                budget -= step;
                cursor = self.databases[db].entries().scan(cursor, step, |view| {
                    if !eviction.is_volatile || view.deadline_ms().is_some() {
                        found = Some(hash_with(&self.hasher, view.key()));
                    }
                });
                if cursor == 0 {
                    break;
                }
            }
            self.pool.search = if cursor == 0 { (db + 1, 0) } else { (db, cursor) };
            if let Some(hash) = found {
                let hasher = &self.hasher;
                let position = self.databases[db].find_hash(hash, |key| hash_with(hasher, key));
                return Some((db, position.expect("it was visited just now")));
            }
            if budget == 0 {
                return None;
            }
        }
        None
    }
}

fn evictable_len(database: &Database, eviction: Eviction) -> usize {
    if eviction.is_volatile { database.volatile_len() } else { database.len() }
}

fn sample(
    database: &Database,
    eviction: Eviction,
    seed: u64,
    count: usize,
    hasher: &ahash::RandomState,
    visit: impl FnMut(EntryRef<'_>),
) {
    if eviction.is_volatile {
        database.sample_volatile(seed, count, |key| hash_with(hasher, key), visit);
    } else {
        database.entries().sample(seed, count, visit);
    }
}

/// What it takes to judge by access clocks.
struct Judgement<'a> {
    policy: AccessPolicy,
    now_ms: u64,
    lhd: Option<&'a Lhd>,
}

/// When an entry was used last; what has expired, never.
#[inline]
fn used_ms(view: EntryRef<'_>, now_ms: u64) -> u64 {
    if view.is_expired(now_ms) { 0 } else { now_ms.saturating_sub(idle_ms(view.clock(), now_ms)) }
}

/// How well an entry can be spared: the higher the better. What has expired goes first of all.
fn score_of(view: EntryRef<'_>, eviction: Eviction, judgement: &Judgement<'_>) -> u64 {
    let Judgement { policy, now_ms, lhd } = *judgement;
    if view.is_expired(now_ms) {
        return u64::MAX;
    }
    match (eviction.judge, policy) {
        (Judge::Lot, _) => 0,
        (Judge::Deadline, _) => u64::MAX - 1 - view.deadline_ms().unwrap_or(u64::MAX - 1),
        (Judge::Access, AccessPolicy::Lru | AccessPolicy::Lrm) => idle_ms(view.clock(), now_ms),
        // Of two that were used as seldom, the one that was longer so.
        (Judge::Access, AccessPolicy::Lfu { .. }) => {
            u64::from(u8::MAX - policy.frequency(view.clock(), now_ms)) << 16
                | u64::from(policy.idle_minutes(view.clock(), now_ms))
        }
        (Judge::Access, AccessPolicy::Lhd) => {
            let density = lhd.expect("the policy brings it").density(view.clock());
            // Positive floats are ordered as their bits are.
            u64::from(u32::MAX - (density / view.memory_bytes() as f32).to_bits())
        }
    }
}

/// The same, so that it does not grow by itself with time.
fn rank_of(view: EntryRef<'_>, eviction: Eviction, judgement: &Judgement<'_>) -> u64 {
    let score = score_of(view, eviction, judgement);
    match (eviction.judge, judgement.policy) {
        (Judge::Access, AccessPolicy::Lru | AccessPolicy::Lrm) if score != u64::MAX => {
            u64::MAX - 1 - judgement.now_ms.saturating_sub(score)
        }
        _ => score,
    }
}

#[cfg(test)]
mod tests;
