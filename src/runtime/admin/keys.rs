//! Which keys are used most, by samples, while somebody looks at the live page; else nothing is counted, and a core
//! pays one branch for sixteen commands.
//!
//! Of every window of a pass one command is taken, and its keys count as often as the window is long, so that the sums
//! are those of all commands. A core keeps [`KEYS_MAX`] keys at a time: where there is no room the key with the fewest
//! calls makes it, and the new one may have had as many before it was known (Metwally's space-saving). Such calls
//! are not told: what is told of a key is at most what it had, and keys that are used alike do not look hot.

use crate::command::key_positions;
use crate::connection::arguments;
use crate::route::parcel::ArgSlices;
use crate::runtime::core::Core;
use crate::runtime::read::{Planned, Source, What};
use ahash::AHashMap;
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys that a core keeps at a time.
pub const KEYS_MAX: usize = 128;
/// Keys of one command that count.
const KEYS_OF_CALL_MAX: usize = 16;
/// What is shown of a key at most.
const SHOWN_BYTES_MAX: usize = 128;
/// Keys of all cores that are kept of a second.
pub const KEYS_OF_SECOND_MAX: usize = 512;
/// A key that was noticed more seldom may be there by chance.
const SAMPLES_MIN: u64 = 4;
/// For so long calls of a key are told, in seconds.
pub const WINDOW_S: u64 = 60;

/// How often a key was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCount {
    /// The database.
    pub db: usize,
    /// The shard that owns it.
    pub shard: usize,
    /// Its first bytes.
    pub name: Box<[u8]>,
    /// It has more of them.
    pub is_cut: bool,
    /// Calls, about: not more than there were, but for chance.
    pub calls: u64,
    /// Calls that may have been another key's.
    doubtful: u64,
    /// Commands by which it was noticed.
    samples: u64,
}

/// What a core knows of keys since it told of them.
#[derive(Debug, Default)]
pub struct KeySample {
    /// By a hash of database and name.
    keys: AHashMap<u64, KeyCount>,
    /// Calls with keys, about.
    calls: u64,
    turn: u64,
    /// When it was told last, Unix seconds.
    told_s: u64,
}

/// What a core told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Unix seconds.
    pub unix_s: u64,
    /// Calls with keys, about.
    pub calls: u64,
    /// Key by a hash of it.
    pub keys: Vec<(u64, KeyCount)>,
}

impl KeySample {
    /// Which of so many commands is taken. By steps of the golden ratio, so that no rhythm of the clients decides it.
    fn pick(&mut self, len: usize) -> usize {
        self.turn = self.turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(self.turn) * len as u128) >> 64) as usize
    }

    /// A key was used so many times.
    fn note(&mut self, db: usize, key: &[u8], shard: usize, calls: u64) {
        let hash = xxh3_64_with_seed(key, db as u64);
        if let Some(known) = self.keys.get_mut(&hash) {
            known.calls += calls;
            known.samples += 1;
            return;
        }
        let mut doubtful = 0;
        if self.keys.len() == KEYS_MAX
            && let Some((&rarest, known)) = self.keys.iter().min_by_key(|(_, known)| known.calls)
        {
            doubtful = known.calls;
            self.keys.remove(&rarest);
        }
        let name = key[..key.len().min(SHOWN_BYTES_MAX)].into();
        let is_cut = SHOWN_BYTES_MAX < key.len();
        let calls = doubtful + calls;
        self.keys.insert(hash, KeyCount { db, shard, name, is_cut, calls, doubtful, samples: 1 });
    }

    /// Once a second it is to be told.
    pub fn is_due(&self, unix_s: u64) -> bool {
        self.told_s != unix_s
    }

    /// What is known, which begins anew.
    pub fn take(&mut self, unix_s: u64) -> Sampled {
        self.told_s = unix_s;
        let keys = self.keys.drain().map(|(hash, mut key)| {
            key.calls -= std::mem::take(&mut key.doubtful);
            (hash, key)
        });
        Sampled { unix_s, calls: std::mem::take(&mut self.calls), keys: keys.collect() }
    }
}

impl Core {
    /// Notes the keys of one command of a window that stands for all of it.
    #[cold]
    pub(in crate::runtime) fn sample_keys(&mut self, window: &[Planned]) {
        let Some(sample) = &mut self.key_sample else { return };
        let planned = &window[sample.pick(window.len())];
        let What::Row(row) = planned.what else { return };
        let Some(connection) = self.connections.get(planned.connection as usize) else { return };
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        if !row.accepts(spans.len()) {
            return;
        }
        let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        let mut positions = Vec::new();
        if key_positions(row.command, &args, &mut positions).is_err() || positions.is_empty() {
            return;
        }
        let calls = window.len() as u64;
        sample.calls += calls;
        for at in positions.into_iter().take(KEYS_OF_CALL_MAX) {
            sample.note(connection.session.db, args[at], self.map.shard_of(args[at]), calls);
        }
    }
}

/// One second of all cores.
#[derive(Debug, Default)]
struct SecondOfKeys {
    unix_s: u64,
    calls: u64,
    /// By a hash of database and name.
    keys: AHashMap<u64, KeyCount>,
}

/// What all cores told in the last minute.
#[derive(Debug, Default)]
pub struct HotKeys {
    told: VecDeque<SecondOfKeys>,
}

fn merge(sums: &mut AHashMap<u64, KeyCount>, keys: impl Iterator<Item = (u64, KeyCount)>) {
    for (hash, key) in keys {
        let KeyCount { calls, samples, .. } = key;
        let add = |sum: &mut KeyCount| {
            sum.calls += calls;
            sum.samples += samples;
        };
        sums.entry(hash).and_modify(add).or_insert(key);
    }
}

/// The keys with the most calls, these first.
fn top_of(keys: impl Iterator<Item = (u64, KeyCount)>, keys_max: usize) -> Vec<(u64, KeyCount)> {
    let mut keys: Vec<(u64, KeyCount)> = keys.collect();
    keys.sort_unstable_by(|(_, a), (_, b)| b.calls.cmp(&a.calls).then_with(|| (&a.name, a.db).cmp(&(&b.name, b.db))));
    keys.truncate(keys_max);
    keys
}

impl HotKeys {
    /// Adds what a core told, and forgets what is older than [`WINDOW_S`].
    pub fn add(&mut self, sampled: Sampled) {
        let Sampled { unix_s, calls, keys } = sampled;
        self.told.retain(|told| unix_s.abs_diff(told.unix_s) < WINDOW_S);
        let at = match self.told.iter().position(|told| told.unix_s == unix_s) {
            Some(at) => at,
            None => {
                self.told.push_back(SecondOfKeys { unix_s, ..SecondOfKeys::default() });
                self.told.len() - 1
            }
        };
        let second = &mut self.told[at];
        second.calls += calls;
        merge(&mut second.keys, keys.into_iter().filter(|(_, key)| 0 < key.calls));
        if KEYS_OF_SECOND_MAX < second.keys.len() {
            second.keys = top_of(second.keys.drain(), KEYS_OF_SECOND_MAX).into_iter().collect();
        }
    }

    /// How many seconds it knows of, the calls with keys in them, and the keys with the most calls.
    pub fn top(&self, keys_max: usize) -> (u64, u64, Vec<KeyCount>) {
        let mut sums: AHashMap<u64, KeyCount> = AHashMap::new();
        for second in &self.told {
            merge(&mut sums, second.keys.iter().map(|(hash, key)| (*hash, key.clone())));
        }
        sums.retain(|_, key| SAMPLES_MIN <= key.samples);
        let top = top_of(sums.into_iter(), keys_max).into_iter().map(|(_, key)| key).collect();
        (self.told.len() as u64, self.told.iter().map(|told| told.calls).sum(), top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_keys_are_found_among_very_many() {
        let mut sample = KeySample::default();
        for turn in 0..10_000 {
            sample.note(0, format!("cold:{turn}").as_bytes(), 1, 1);
            if turn % 4 == 0 {
                sample.note(0, b"hot", 0, 3);
                sample.note(1, b"hot", 0, 1);
            }
        }
        assert_eq!(sample.keys.len(), KEYS_MAX);
        let mut hot = HotKeys::default();
        hot.add(sample.take(100));
        assert!(!sample.is_due(100) && sample.is_due(101));
        assert_eq!(sample.take(101), Sampled { unix_s: 101, ..Sampled::default() });
        let (seconds, _, keys) = hot.top(3);
        assert_eq!(seconds, 1);
        let told: Vec<(&[u8], usize, bool)> = keys.iter().map(|key| (&*key.name, key.db, 2_000 < key.calls)).collect();
        assert_eq!(told, [(b"hot".as_slice(), 0, true), (b"hot".as_slice(), 1, true)]);
        assert!(keys[0].calls <= 7_500 && keys[1].calls <= 2_500, "no more than there were: {keys:?}");
    }

    #[test]
    fn a_minute_of_all_cores_is_added_up() {
        let mut hot = HotKeys::default();
        for second in 0..100 {
            let mut sample = KeySample::default();
            sample.note(0, b"k", 1, 2);
            sample.note(0, &[b'x'; 1_000], 0, 1);
            sample.calls = 3;
            hot.add(sample.take(second));
        }
        let (seconds, calls, keys) = hot.top(9);
        assert_eq!((seconds, calls, keys.len()), (WINDOW_S, 3 * WINDOW_S, 2));
        assert_eq!((&*keys[0].name, keys[0].calls, keys[0].shard), (b"k".as_slice(), 2 * WINDOW_S, 1));
        assert_eq!((keys[1].name.len(), keys[1].is_cut), (SHOWN_BYTES_MAX, true));
    }

    #[test]
    fn what_many_cores_tell_is_bounded() {
        let mut hot = HotKeys::default();
        for core in 0..40 {
            let mut sample = KeySample::default();
            (0..100).for_each(|key| sample.note(0, format!("{core}:{key}").as_bytes(), core, 1));
            sample.note(0, b"shared", core, 1);
            hot.add(sample.take(7));
        }
        assert!(hot.told.len() == 1 && hot.told[0].keys.len() <= KEYS_OF_SECOND_MAX);
        let (_, _, keys) = hot.top(1);
        assert_eq!((&*keys[0].name, keys[0].calls), (b"shared".as_slice(), 40));
    }

    #[test]
    fn every_command_of_a_window_has_its_turn() {
        let mut sample = KeySample::default();
        let mut taken = [0; 16];
        (0..1_600).for_each(|_| taken[sample.pick(16)] += 1);
        assert!(taken.iter().all(|times| (95..=105).contains(times)), "{taken:?}");
        assert!((0..100).all(|_| sample.pick(1) == 0));
    }
}
