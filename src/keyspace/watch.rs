//! Keys of one shard that clients watch (`WATCH`): each has a version, which changes when the key does. A client
//! remembers the version it saw; `EXEC` compares. Not here: the clients.
//!
//! What counts as a change is what counts in Redis: every event on the key, its expiry and eviction among them; a flush
//! of its database if it was there; a swap if it is there before or after. A key that was expired already when it was
//! watched counts as absent, so that its removal is no change.
//!
//! Flushes and swaps are noted by the keyspace when they happen, since another one may follow in the same transaction
//! and bring back what was there; all else by whoever takes the effects.

use super::{Effect, Event, Keyspace};
use crate::sync::Flag;
use ahash::AHashMap;

/// What is known of a watched key.
#[derive(Debug)]
struct State {
    /// Clients that watch it.
    watchers: usize,
    /// Theirs who have seen the version that it has: raised when it changes.
    flags: Vec<Flag>,
    version: u64,
    /// Whether it was there after its last event.
    exists: bool,
}

/// The watched keys of a shard.
#[derive(Debug, Default)]
pub struct Watches {
    databases: AHashMap<usize, AHashMap<Vec<u8>, State>>,
    /// The newest version given to any key.
    version: u64,
}

impl Watches {
    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// How many keys are watched.
    pub fn len(&self) -> usize {
        self.databases.values().map(|keys| keys.len()).sum()
    }

    /// One client more watches a key, which is there or not; its flag is raised when the key changes. Returns the key's
    /// version.
    pub fn add(&mut self, db: usize, key: &[u8], exists: bool, flag: &Flag) -> u64 {
        let keys = self.databases.entry(db).or_default();
        if let Some(state) = keys.get_mut(key) {
            if state.exists && !exists {
                // Its time is over, which is a change for those who saw it: this one will not see it go.
                (state.exists, self.version) = (false, self.version + 1);
                state.version = self.version;
                state.flags.drain(..).for_each(|flag| flag.raise());
            }
            state.watchers += 1;
            state.flags.push(flag.clone());
            return state.version;
        }
        self.version += 1;
        keys.insert(key.to_vec(), State { watchers: 1, flags: vec![flag.clone()], version: self.version, exists });
        self.version
    }

    /// A client watches a key no more.
    pub fn remove(&mut self, db: usize, key: &[u8], flag: &Flag) {
        let keys = self.databases.get_mut(&db).expect("what is let go was watched");
        let state = keys.get_mut(key).expect("what is let go was watched");
        state.watchers -= 1;
        if let Some(at) = state.flags.iter().position(|of| of == flag) {
            state.flags.swap_remove(at);
        }
        if state.watchers == 0 {
            keys.remove(key);
            if keys.is_empty() {
                self.databases.remove(&db);
            }
        }
    }

    /// The version of a watched key.
    pub fn version(&self, db: usize, key: &[u8]) -> Option<u64> {
        self.databases.get(&db)?.get(key).map(|state| state.version)
    }

    /// Whether somebody watches a key.
    pub fn has(&self, db: usize, key: &[u8]) -> bool {
        self.databases.get(&db).is_some_and(|keys| keys.contains_key(key))
    }

    /// The watched keys of a database.
    fn keys(&self, db: usize) -> Vec<Vec<u8>> {
        self.databases.get(&db).map_or_else(Vec::new, |keys| keys.keys().cloned().collect())
    }

    /// Something happened to a watched key, which is there now or is not. `is_certain`: whether that is a change even
    /// if it was not there before either.
    fn note(&mut self, db: usize, key: &[u8], exists: bool, is_certain: bool) {
        let Some(state) = self.databases.get_mut(&db).and_then(|keys| keys.get_mut(key)) else { return };
        let existed = std::mem::replace(&mut state.exists, exists);
        if existed || exists || is_certain {
            self.version += 1;
            state.version = self.version;
            state.flags.drain(..).for_each(|flag| flag.raise());
        }
    }
}

impl Keyspace {
    /// Whether a key has the version that a client saw, and is still there if it was: its time may be over.
    pub fn is_as_watched(&self, db: usize, key: &[u8], version: u64) -> bool {
        let state = || self.watches.databases.get(&db)?.get(key);
        state().is_some_and(|state| state.version == version && (!state.exists || self.peek(db, key).is_some()))
    }

    /// Something happened to a key, and those who watch it have to know.
    #[inline]
    pub fn note_watched(&mut self, effect: &Effect) {
        if !self.watches.is_empty() && effect.event.is_change() && self.watches.has(effect.db, &effect.key) {
            let exists = self.peek(effect.db, &effect.key).is_some();
            self.watches.note(effect.db, &effect.key, exists, effect.event != Event::EXPIRED);
        }
    }

    /// A database was emptied, or has the content of another one.
    pub(super) fn note_watched_database(&mut self, db: usize) {
        for key in self.watches.keys(db) {
            let exists = self.peek(db, &key).is_some();
            self.watches.note(db, &key, exists, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Class, Expiry};

    const NOW_MS: u64 = 1_700_000_000_000;

    struct World {
        keyspace: Keyspace,
    }

    impl World {
        fn new() -> World {
            let mut keyspace = Keyspace::new(2, 1);
            keyspace.begin(NOW_MS, true);
            keyspace.effects.listen(Class::all());
            World { keyspace }
        }

        /// Whether the action changes the version of `k` in database 0.
        fn changes(&mut self, act: impl FnOnce(&mut Keyspace)) -> bool {
            self.settle();
            let exists = self.keyspace.peek(0, b"k").is_some();
            let flag = Flag::default();
            let before = self.keyspace.watches.add(0, b"k", exists, &flag);
            act(&mut self.keyspace);
            self.settle();
            let after = self.keyspace.watches.version(0, b"k").expect("watched");
            self.keyspace.watches.remove(0, b"k", &flag);
            assert_eq!(flag.is_raised(), before != after);
            before != after
        }

        fn settle(&mut self) {
            for effect in self.keyspace.effects.take_all() {
                self.keyspace.note_watched(&effect);
            }
        }
    }

    #[test]
    fn every_event_on_the_key_is_a_change_and_none_on_others() {
        let mut world = World::new();
        assert!(!world.changes(|_| {}));
        assert!(world.changes(|keyspace| keyspace.set_string(0, b"k", b"v", Expiry::Keep)));
        assert!(world.changes(|keyspace| keyspace.set_string(0, b"k", b"v", Expiry::Keep)), "the same value again");
        assert!(!world.changes(|keyspace| keyspace.set_string(0, b"other", b"v", Expiry::Keep)));
        assert!(!world.changes(|keyspace| keyspace.set_string(1, b"k", b"v", Expiry::Keep)));
        assert!(!world.changes(|keyspace| _ = keyspace.read(0, b"k")));
        assert!(world.changes(|keyspace| assert!(keyspace.set_deadline(0, b"k", NOW_MS + 10))));
        assert!(world.changes(|keyspace| {
            keyspace.expire_cycle(NOW_MS + 10, 100);
        }));
        assert!(!world.changes(|keyspace| assert!(!keyspace.delete(0, b"k"))));
        assert!(world.keyspace.watches.is_empty());
    }

    #[test]
    fn a_flush_changes_what_was_there_and_a_swap_what_is_there_before_or_after() {
        let mut world = World::new();
        assert!(!world.changes(|keyspace| _ = keyspace.flush(0)));
        world.keyspace.set_string(0, b"k", b"v", Expiry::Keep);
        assert!(!world.changes(|keyspace| _ = keyspace.flush(1)));
        assert!(world.changes(|keyspace| keyspace.swap(0, 1)));
        assert!(world.changes(|keyspace| keyspace.swap(0, 1)));
        assert!(world.changes(|keyspace| _ = keyspace.flush(0)));
        assert!(!world.changes(|keyspace| keyspace.swap(0, 1)));
    }

    #[test]
    fn swaps_and_flushes_one_after_the_other_hide_nothing() {
        let mut world = World::new();
        world.keyspace.set_string(1, b"k", b"v", Expiry::Keep);
        assert!(world.changes(|keyspace| (0..2).for_each(|_| keyspace.swap(0, 1))), "it was there in between");
        assert!(world.changes(|keyspace| {
            keyspace.swap(0, 1);
            keyspace.flush(0);
        }));
        assert!(!world.changes(|keyspace| (0..2).for_each(|_| keyspace.swap(0, 1))));
        assert!(!world.changes(|keyspace| _ = keyspace.flush(0)));
    }

    #[test]
    fn what_was_expired_when_it_was_watched_may_go() {
        let mut world = World::new();
        world.keyspace.set_string(0, b"k", b"v", Expiry::At(NOW_MS + 1));
        world.keyspace.begin(NOW_MS + 5, true);
        assert!(!world.changes(|keyspace| keyspace.drop_if_expired(0, b"k")));
        world.keyspace.set_string(1, b"k", b"v", Expiry::At(NOW_MS + 6));
        world.keyspace.begin(NOW_MS + 7, true);
        assert!(!world.changes(|keyspace| {
            keyspace.swap(0, 1);
            keyspace.drop_if_expired(0, b"k");
        }));
        world.keyspace.set_string(0, b"k", b"v", Expiry::At(NOW_MS + 8));
        assert!(world.changes(|keyspace| {
            keyspace.begin(NOW_MS + 9, true);
            keyspace.drop_if_expired(0, b"k");
        }));
    }
}
