//! Keys of one shard that clients watch (`WATCH`): each has a version, which changes when the key does. A client
//! remembers the version it saw; `EXEC` compares. Not here: the clients.
//!
//! What counts as a change is what counts in Redis: every event on the key, its expiry and eviction among them; a flush
//! of its database if it was there; a swap if it is there before or after. A key that was expired already when it was
//! watched counts as absent, so that its removal is no change.

use crate::keyspace::{Class, Effect, Event, Keyspace};
use ahash::AHashMap;

/// What is known of a watched key.
#[derive(Debug)]
struct State {
    /// Clients that watch it.
    watchers: usize,
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

    /// One client more watches a key, which is there or not. Returns the key's version.
    pub fn add(&mut self, db: usize, key: &[u8], exists: bool) -> u64 {
        let keys = self.databases.entry(db).or_default();
        if let Some(state) = keys.get_mut(key) {
            state.watchers += 1;
            return state.version;
        }
        self.version += 1;
        keys.insert(key.to_vec(), State { watchers: 1, version: self.version, exists });
        self.version
    }

    /// A client watches a key no more.
    pub fn remove(&mut self, db: usize, key: &[u8]) {
        let keys = self.databases.get_mut(&db).expect("what is let go was watched");
        let state = keys.get_mut(key).expect("what is let go was watched");
        state.watchers -= 1;
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

    /// Something happened in the keyspace.
    pub fn note(&mut self, keyspace: &Keyspace, effect: &Effect) {
        if !effect.event.is_change() {
            return;
        }
        let Some(keys) = self.databases.get_mut(&effect.db) else { return };
        let version = &mut self.version;
        let mut change = |state: &mut State| {
            *version += 1;
            state.version = *version;
        };
        if effect.event.class == Class::DATABASE {
            for (key, state) in keys {
                let existed = state.exists;
                state.exists = keyspace.peek(effect.db, key).is_some();
                if existed || state.exists {
                    change(state);
                }
            }
        } else if let Some(state) = keys.get_mut(&effect.key[..]) {
            let existed = state.exists;
            state.exists = keyspace.peek(effect.db, &effect.key).is_some();
            if existed || state.exists || effect.event != Event::EXPIRED {
                change(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Expiry;

    const NOW_MS: u64 = 1_700_000_000_000;

    struct World {
        keyspace: Keyspace,
        watches: Watches,
    }

    impl World {
        fn new() -> World {
            let mut keyspace = Keyspace::new(2, 1);
            keyspace.begin(NOW_MS, true);
            keyspace.effects.listen(Class::all());
            World { keyspace, watches: Watches::default() }
        }

        /// Whether the action changes the version of `k` in database 0.
        fn changes(&mut self, act: impl FnOnce(&mut Keyspace)) -> bool {
            self.settle();
            let exists = self.keyspace.peek(0, b"k").is_some();
            let before = self.watches.add(0, b"k", exists);
            act(&mut self.keyspace);
            self.settle();
            let after = self.watches.version(0, b"k").expect("watched");
            self.watches.remove(0, b"k");
            before != after
        }

        fn settle(&mut self) {
            for effect in self.keyspace.effects.take_all() {
                self.watches.note(&self.keyspace, &effect);
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
        assert!(world.watches.is_empty());
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
