//! What happens in a history, and which states it may leave. Pure.

use crate::config::Appendfsync;
use crate::route::SlotMap;
use std::collections::{BTreeMap, BTreeSet};

/// What is in a server: values by database and key.
pub(super) type Contents = BTreeMap<(usize, String), i64>;

/// Something that happens at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// `SET`.
    Set(String, i64),
    /// `DECRBY` and `INCRBY` in a transaction.
    Transfer(String, String, i64),
    /// `SWAPDB 0 1`.
    Swap,
    /// `FLUSHALL`.
    Flush,
}

const KEYS: usize = 6;

impl Deed {
    /// One by lot.
    pub(super) fn draw(random: &mut fastrand::Rng, number: usize) -> Deed {
        let key = |random: &mut fastrand::Rng| format!("key{}", random.usize(..KEYS));
        match random.u8(..12) {
            0 => Deed::Swap,
            1 => Deed::Flush,
            2..=5 => {
                let (from, mut to) = (key(random), key(random));
                if from == to {
                    to = "till".into();
                }
                Deed::Transfer(from, to, 1000 + number as i64)
            }
            _ => Deed::Set(key(random), number as i64),
        }
    }

    /// The commands that it is.
    pub(super) fn commands(&self) -> Vec<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect();
        match self {
            Deed::Set(key, value) => vec![words(&["SET", key, &value.to_string()])],
            Deed::Transfer(from, to, amount) => {
                let amount = &amount.to_string();
                vec![words(&["DECRBY", from, amount]), words(&["INCRBY", to, amount])]
            }
            Deed::Swap => vec![words(&["SWAPDB", "0", "1"])],
            Deed::Flush => vec![words(&["FLUSHALL"])],
        }
    }

    /// The lanes in which it stands.
    fn lanes(&self, map: SlotMap) -> BTreeSet<usize> {
        match self {
            Deed::Set(key, _) => [map.shard_of(key.as_bytes())].into(),
            Deed::Transfer(from, to, _) => [from, to].map(|key| map.shard_of(key.as_bytes())).into(),
            Deed::Swap | Deed::Flush => (0..map.shards()).collect(),
        }
    }

    fn apply(&self, contents: &mut Contents) {
        match self {
            Deed::Set(key, value) => drop(contents.insert((0, key.clone()), *value)),
            Deed::Transfer(from, to, amount) => {
                *contents.entry((0, from.clone())).or_default() -= amount;
                *contents.entry((0, to.clone())).or_default() += amount;
            }
            Deed::Swap => {
                *contents =
                    std::mem::take(contents).into_iter().map(|((db, key), value)| ((1 - db, key), value)).collect()
            }
            Deed::Flush => contents.clear(),
        }
    }
}

/// One history: everything of it follows from its seed.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) lanes: usize,
    pub(super) policy: Appendfsync,
    /// Bases are snapshots, or commands.
    pub(super) is_snapshot: bool,
}

impl History {
    /// Policies, lanes and bases in turn.
    pub(super) fn new(seed: u64) -> History {
        let policies = [Appendfsync::Always, Appendfsync::Everysec, Appendfsync::No];
        History {
            seed,
            lanes: [2, 1, 3][seed as usize / 3 % 3],
            policy: policies[seed as usize % 3],
            is_snapshot: seed.is_multiple_of(2),
        }
    }

    /// Its dice.
    pub(super) fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }
}

/// Which states deeds may leave.
pub(super) struct Oracle {
    /// By state: the cuts that make it, each as the deeds that it lacks.
    states: BTreeMap<Contents, Vec<BTreeSet<usize>>>,
}

impl Oracle {
    /// Of deeds on an empty server.
    pub(super) fn new(history: &History, deeds: &[Deed]) -> Oracle {
        Oracle::from(Contents::new(), history, deeds)
    }

    /// Of deeds on a server that has something.
    pub(super) fn from(before: Contents, history: &History, deeds: &[Deed]) -> Oracle {
        let map = SlotMap::new(history.lanes);
        let lanes: Vec<BTreeSet<usize>> = deeds.iter().map(|deed| deed.lanes(map)).collect();
        let mut oracle = Oracle { states: BTreeMap::new() };
        // A cut is where each lane ends; from each to those that have one deed less.
        let mut cuts: BTreeSet<BTreeSet<usize>> = BTreeSet::new();
        let mut next = vec![BTreeSet::new()];
        while let Some(lacking) = next.pop() {
            if !cuts.insert(lacking.clone()) {
                continue;
            }
            // What goes last in all its lanes may go.
            for number in (0..deeds.len()).filter(|number| !lacking.contains(number)) {
                let is_behind = |later: usize| !lacking.contains(&later) && !lanes[later].is_disjoint(&lanes[number]);
                if !(number + 1..deeds.len()).any(is_behind) {
                    let mut lacking = lacking.clone();
                    lacking.insert(number);
                    next.push(lacking);
                }
            }
        }
        for lacking in cuts {
            let mut contents = before.clone();
            let kept = deeds.iter().enumerate().filter(|(number, _)| !lacking.contains(number));
            kept.for_each(|(_, deed)| deed.apply(&mut contents));
            oracle.states.entry(contents).or_default().push(lacking);
        }
        oracle
    }

    /// Whether a state may be, if some deeds are safe.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn judge(&self, contents: &Contents, safe: &[usize]) -> Result<(), String> {
        let Some(cuts) = self.states.get(contents) else {
            return Err(format!("no cut makes this: {contents:?}"));
        };
        let is_whole = |lacking: &BTreeSet<usize>| safe.iter().all(|number| !lacking.contains(number));
        match cuts.iter().any(is_whole) {
            true => Ok(()),
            false => Err(format!("of what was safe, {safe:?}, something is lost: one of {cuts:?}; found {contents:?}")),
        }
    }
}

#[test]
fn an_oracle_knows_prefixes_of_lanes_and_no_halves() {
    let history = History { seed: 0, lanes: 2, policy: Appendfsync::Always, is_snapshot: true };
    let map = SlotMap::new(2);
    let key =
        |lane: usize| (0..).map(|at| format!("k{at}")).find(|key| map.shard_of(key.as_bytes()) == lane).expect("one");
    let (a, b) = (key(0), key(1));
    let deeds = [Deed::Set(a.clone(), 1), Deed::Set(b.clone(), 2), Deed::Transfer(a.clone(), b.clone(), 5)];
    let oracle = Oracle::new(&history, &deeds);
    let contents = |values: &[(&String, i64)]| -> Contents {
        values.iter().map(|(key, value)| ((0, (*key).clone()), *value)).collect()
    };
    oracle.judge(&contents(&[]), &[]).expect("nothing");
    oracle.judge(&contents(&[(&b, 2)]), &[1]).expect("one lane");
    assert!(oracle.judge(&contents(&[(&b, 2)]), &[0]).is_err(), "what was safe is lost");
    oracle.judge(&contents(&[(&a, -4), (&b, 7)]), &[0, 1, 2]).expect("all");
    for half in [&[(&a, -4), (&b, 2)][..], &[(&a, 1), (&b, 7)], &[(&b, 5), (&a, -5)]] {
        assert!(oracle.judge(&contents(half), &[]).is_err(), "{half:?}");
    }
}
