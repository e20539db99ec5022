//! Which clients may have which keys in a cache of their own. Keys are one namespace over all databases, as in Redis.
//!
//! ```text
//!   clients    id ▶ address, redirect, NOLOOP, BCAST          who tracks at all
//!   stripes    key ▶ ids                                      who has read it since it last changed
//!   prefixes   prefix ▶ ids, keys changed in this pass        who is told of everything that begins so
//! ```
//! A key is forgotten when it changes: whoever reads it again is remembered again. What is remembered is bounded by
//! `tracking-table-max-keys`: beyond it some key is forgotten, and its readers are told as if it had changed.
//!
//! One change does not make forget: a client's read may be what finds that a key's time is over. What it is answered,
//! that there is no such key, is what it may keep from then on, so it stays remembered; and it is told of the end only
//! if it had read the key before.

use super::inbox::Inbox;
use super::message::{Delivery, Keys};
use crate::keyspace::{Actor, Class, Effect, Event};
use crate::session::Address;
use ahash::AHashMap;
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use xxhash_rust::xxh3::xxh3_64;

/// Parts of the table of keys, each behind a lock.
const STRIPES: usize = 64;
/// Keys that are forgotten at a time when there are too many.
const FORGET_SLICE: usize = 1000;

/// A client that tracks.
#[derive(Debug, Clone, Copy)]
struct Tracker {
    home: Address,
    redirect: Option<Address>,
    /// The client of `redirect` is gone.
    is_broken: bool,
    skips_own: bool,
    is_broadcast: bool,
}

impl Tracker {
    /// Tells it, or its stand-in.
    fn tell(&self, keys: Keys, inboxes: &[Inbox<Delivery>]) {
        let to = self.redirect.unwrap_or(self.home);
        if self.is_broken {
            return inboxes[self.home.core].put(Delivery::RedirectBroken { to: self.home, gone: to.id });
        }
        inboxes[to.core].put(Delivery::Invalidate { to, of: self.redirect.map(|_| self.home), keys });
    }
}

/// A client that has read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    id: u64,
    /// Once since it was remembered; then the reply may not be there yet.
    is_first: bool,
}

/// By rising ids.
type Readers = SmallVec<[Reader; 2]>;

/// A part of the table of keys. Any of its keys is found in one step, so that one can be drawn by lot.
#[derive(Debug)]
struct Table {
    places: AHashMap<Arc<[u8]>, usize>,
    keys: Vec<(Arc<[u8]>, Readers)>,
    random: fastrand::Rng,
}

impl Table {
    fn new(seed: u64) -> Table {
        Table { places: AHashMap::default(), keys: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// Remembers a key for a client: whether the key, and whether the pair of both, is new.
    fn add(&mut self, key: &[u8], id: u64) -> (bool, bool) {
        let Some(&place) = self.places.get(key) else {
            let key: Arc<[u8]> = key.into();
            self.places.insert(key.clone(), self.keys.len());
            self.keys.push((key, smallvec![Reader { id, is_first: true }]));
            return (true, true);
        };
        let readers = &mut self.keys[place].1;
        match readers.binary_search_by_key(&id, |reader| reader.id) {
            Ok(at) => {
                readers[at].is_first = false;
                (false, false)
            }
            Err(at) => {
                readers.insert(at, Reader { id, is_first: true });
                (false, true)
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<(Arc<[u8]>, Readers)> {
        let place = self.places.remove(key)?;
        let removed = self.keys.swap_remove(place);
        if let Some((moved, _)) = self.keys.get(place) {
            *self.places.get_mut(moved).expect("every key has a place") = place;
        }
        Some(removed)
    }

    /// A client's read has found that the key's time is over: it alone is remembered from now on. Returns who is to be
    /// told, and how many are forgotten. `None`: the client is not remembered.
    fn end_for(&mut self, key: &[u8], id: u64) -> Option<(Readers, usize)> {
        let readers = &mut self.keys[*self.places.get(key)?].1;
        let at = readers.binary_search_by_key(&id, |reader| reader.id).ok()?;
        let reader = Reader { id, is_first: true };
        let mut told = std::mem::replace(readers, smallvec![reader]);
        let forgotten = told.len() - 1;
        if told[at].is_first {
            told.remove(at);
        }
        Some((told, forgotten))
    }

    fn remove_any(&mut self) -> Option<(Arc<[u8]>, Readers)> {
        if self.keys.is_empty() {
            return None;
        }
        let key = self.keys[self.random.usize(..self.keys.len())].0.clone();
        self.remove(&key)
    }
}

/// Clients that are told of every key with a prefix.
#[derive(Debug, Default)]
struct Prefix {
    ids: BTreeSet<u64>,
    /// Keys that changed since they were last told, and who changed each last.
    changed: BTreeMap<Box<[u8]>, Actor>,
}

/// See the module's page.
pub struct Tracking {
    clients: RwLock<AHashMap<u64, Tracker>>,
    clients_len: AtomicUsize,
    /// Clients that are about to track.
    holds: AtomicUsize,
    stripes: Box<[Mutex<Table>]>,
    keys_len: AtomicUsize,
    items_len: AtomicUsize,
    /// Where the next key to be forgotten is looked for.
    next_stripe: AtomicUsize,
    prefixes: Mutex<BTreeMap<Vec<u8>, Prefix>>,
    prefixes_len: AtomicUsize,
    /// Keys changed whose prefix somebody tracks.
    has_broadcasts: AtomicBool,
    /// The call that emptied a database last: shards report each its part.
    flushed_by: Mutex<Actor>,
}

impl Default for Tracking {
    fn default() -> Tracking {
        Tracking {
            clients: RwLock::default(),
            clients_len: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            stripes: (0..STRIPES).map(|stripe| Mutex::new(Table::new(stripe as u64))).collect(),
            keys_len: AtomicUsize::new(0),
            items_len: AtomicUsize::new(0),
            next_stripe: AtomicUsize::new(0),
            prefixes: Mutex::default(),
            prefixes_len: AtomicUsize::new(0),
            has_broadcasts: AtomicBool::new(false),
            flushed_by: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a panic ends the process")
}

impl Tracking {
    /// Whether anybody tracks, or is about to: then every shard has to note what happens to its keys.
    pub fn is_used(&self) -> bool {
        self.clients_len() != 0 || self.holds.load(Ordering::Acquire) != 0
    }

    /// A client is about to track: shards that look from now on know it. To be followed by [`Tracking::release`].
    pub fn hold(&self) {
        self.holds.fetch_add(1, Ordering::AcqRel);
    }

    /// It tracks, or does not after all.
    pub fn release(&self) {
        self.holds.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many clients track.
    pub fn clients_len(&self) -> usize {
        self.clients_len.load(Ordering::Acquire)
    }

    /// How many keys are remembered.
    pub fn keys_len(&self) -> usize {
        self.keys_len.load(Ordering::Relaxed)
    }

    /// How many pairs of a key and a client are.
    pub fn items_len(&self) -> usize {
        self.items_len.load(Ordering::Relaxed)
    }

    /// How many prefixes somebody tracks.
    pub fn prefixes_len(&self) -> usize {
        self.prefixes_len.load(Ordering::Relaxed)
    }

    /// A client tracks from now on, or otherwise than before.
    pub fn start<'a>(
        &self,
        home: Address,
        redirect: Option<Address>,
        skips_own: bool,
        prefixes: Option<impl Iterator<Item = &'a [u8]>>,
    ) {
        let tracker = Tracker { home, redirect, is_broken: false, skips_own, is_broadcast: prefixes.is_some() };
        if let Some(prefixes) = prefixes {
            let mut known = lock(&self.prefixes);
            for prefix in prefixes {
                known.entry(prefix.to_vec()).or_default().ids.insert(home.id);
            }
            self.prefixes_len.store(known.len(), Ordering::Relaxed);
        }
        let mut clients = self.clients.write().expect("a panic ends the process");
        clients.insert(home.id, tracker);
        self.clients_len.store(clients.len(), Ordering::Release);
    }

    /// A client tracks no more. Keys that it has read stay in the table until they change, or nobody tracks.
    pub fn stop(&self, id: u64) {
        let mut clients = self.clients.write().expect("a panic ends the process");
        let Some(tracker) = clients.remove(&id) else { return };
        self.clients_len.store(clients.len(), Ordering::Release);
        if clients.is_empty() {
            self.forget_all(); // Under the lock: nobody begins to track, and to read, meanwhile.
        }
        drop(clients);
        if tracker.is_broadcast {
            let mut prefixes = lock(&self.prefixes);
            prefixes.retain(|_, prefix| {
                prefix.ids.remove(&id);
                !prefix.ids.is_empty()
            });
            self.prefixes_len.store(prefixes.len(), Ordering::Relaxed);
        }
    }

    /// A client is gone that others had chosen with `REDIRECT`: of the next change they are told at once that nobody
    /// gets it, rather than by way of its core.
    pub fn lose(&self, gone: u64) {
        let mut clients = self.clients.write().expect("a panic ends the process");
        let is_lost = |tracker: &&mut Tracker| tracker.redirect.is_some_and(|redirect| redirect.id == gone);
        clients.values_mut().filter(is_lost).for_each(|tracker| tracker.is_broken = true);
    }

    fn tracker(&self, id: u64) -> Option<Tracker> {
        self.clients.read().expect("a panic ends the process").get(&id).copied()
    }

    fn stripe(&self, key: &[u8]) -> MutexGuard<'_, Table> {
        lock(&self.stripes[xxh3_64(key) as usize % STRIPES])
    }

    /// A client is about to read a key.
    pub fn remember(&self, id: u64, key: &[u8]) {
        let mut stripe = self.stripe(key);
        let (is_new_key, is_new_item) = stripe.add(key, id);
        self.keys_len.fetch_add(usize::from(is_new_key), Ordering::Relaxed);
        self.items_len.fetch_add(usize::from(is_new_item), Ordering::Relaxed);
    }

    /// Forgets keys beyond the given number, some of them at a time. 0: there is no limit.
    pub(super) fn enforce(&self, keys_max: usize, inboxes: &[Inbox<Delivery>]) {
        let surplus = if keys_max == 0 { 0 } else { self.keys_len().saturating_sub(keys_max) };
        for _ in 0..surplus.min(FORGET_SLICE) {
            let found = (0..STRIPES).find_map(|_| {
                let stripe = self.next_stripe.fetch_add(1, Ordering::Relaxed) % STRIPES;
                self.uncounted(&mut lock(&self.stripes[stripe]), Table::remove_any)
            });
            let Some((key, readers)) = found else { return };
            self.tell_readers(&key, readers, Actor::default(), inboxes);
        }
    }

    /// Takes a key from the table, and from the counters under the same lock.
    fn uncounted(
        &self,
        table: &mut Table,
        remove: impl FnOnce(&mut Table) -> Option<(Arc<[u8]>, Readers)>,
    ) -> Option<(Arc<[u8]>, Readers)> {
        let removed = remove(table)?;
        self.keys_len.fetch_sub(1, Ordering::Relaxed);
        self.items_len.fetch_sub(removed.1.len(), Ordering::Relaxed);
        Some(removed)
    }

    /// A key is no longer in the table: those who had it there are told.
    fn tell_readers(&self, key: &[u8], readers: Readers, by: Actor, inboxes: &[Inbox<Delivery>]) {
        let keys: Arc<[Box<[u8]>]> = [Box::from(key)].into();
        for Reader { id, .. } in readers {
            // Who has stopped, or tracks prefixes now, is not told.
            if let Some(tracker) = self.tracker(id).filter(|tracker| !tracker.is_broadcast)
                && !(tracker.skips_own && by.client == id)
            {
                tracker.tell(Keys::These(keys.clone()), inboxes);
            }
        }
    }

    /// Something happened to a key, or to a database.
    pub(super) fn note(&self, effect: &Effect, inboxes: &[Inbox<Delivery>]) {
        if effect.event.class == Class::READ {
            return self.remember(effect.by.client, &effect.key);
        }
        if !effect.event.is_change() {
            return;
        }
        if effect.event.class == Class::DATABASE {
            // As in Redis, two databases may change places without a word.
            if effect.event == Event::FLUSHED {
                self.flush(effect.by, inboxes);
            }
            return;
        }
        if self.keys_len() != 0 {
            self.forget(effect, inboxes);
        }
        if self.prefixes_len() != 0 {
            let mut prefixes = lock(&self.prefixes);
            for (_, prefix) in prefixes.iter_mut().filter(|(prefix, _)| effect.key.starts_with(prefix)) {
                prefix.changed.insert(effect.key.clone(), effect.by);
                self.has_broadcasts.store(true, Ordering::Release);
            }
        }
    }

    /// A key has changed.
    fn forget(&self, effect: &Effect, inboxes: &[Inbox<Delivery>]) {
        let mut stripe = self.stripe(&effect.key);
        let ended = if effect.reader == 0 { None } else { stripe.end_for(&effect.key, effect.reader) };
        let told = match ended {
            Some((told, forgotten)) => {
                self.items_len.fetch_sub(forgotten, Ordering::Relaxed);
                Some(told)
            }
            None => self.uncounted(&mut stripe, |table| table.remove(&effect.key)).map(|(_, readers)| readers),
        };
        drop(stripe);
        if let Some(readers) = told {
            self.tell_readers(&effect.key, readers, effect.by, inboxes);
        }
    }

    /// Empties the table of keys.
    fn forget_all(&self) {
        for (seed, stripe) in self.stripes.iter().enumerate() {
            let mut stripe = lock(stripe);
            let table = std::mem::replace(&mut *stripe, Table::new(seed as u64));
            self.keys_len.fetch_sub(table.keys.len(), Ordering::Relaxed);
            let items: usize = table.keys.iter().map(|(_, readers)| readers.len()).sum();
            self.items_len.fetch_sub(items, Ordering::Relaxed);
        }
    }

    /// Every cache is stale as a whole.
    fn flush(&self, by: Actor, inboxes: &[Inbox<Delivery>]) {
        {
            let mut flushed_by = lock(&self.flushed_by);
            if by != Actor::default() && *flushed_by == by {
                return; // Another shard, or another database, has told.
            }
            *flushed_by = by;
        }
        self.forget_all();
        for tracker in self.clients.read().expect("a panic ends the process").values() {
            tracker.tell(Keys::All, inboxes);
        }
    }

    /// Whether keys changed of which [`Tracking::broadcast`] has to tell.
    #[inline]
    pub fn has_broadcasts(&self) -> bool {
        self.has_broadcasts.load(Ordering::Relaxed)
    }

    /// Tells, one message for each prefix, which of its keys have changed. To be called before the replies to those
    /// who changed them leave.
    pub(super) fn broadcast(&self, inboxes: &[Inbox<Delivery>]) {
        let mut prefixes = lock(&self.prefixes);
        for prefix in prefixes.values_mut() {
            let changed = std::mem::take(&mut prefix.changed);
            if changed.is_empty() {
                continue;
            }
            let all: Arc<[Box<[u8]>]> = changed.keys().cloned().collect();
            for &id in &prefix.ids {
                let Some(tracker) = self.tracker(id) else { continue };
                // As in Redis, what a script does is not its client's own doing for those who track prefixes.
                let is_own = |by: &Actor| by.client == id && !by.is_script;
                let keys = if tracker.skips_own && changed.values().any(is_own) {
                    changed.iter().filter(|(_, by)| !is_own(by)).map(|(key, _)| key.clone()).collect()
                } else {
                    all.clone()
                };
                if !keys.is_empty() {
                    tracker.tell(Keys::These(keys), inboxes);
                }
            }
        }
        // Only now: who sees it cleared goes on to send replies.
        self.has_broadcasts.store(false, Ordering::Release);
    }
}
