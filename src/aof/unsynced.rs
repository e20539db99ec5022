//! Keys whose last change is not synced yet: whoever reads one waits for it. By hash: two keys that share one wait for
//! each other, which costs time and nothing else.

use ahash::AHashMap;

/// Entries beyond which those that are synced are looked for.
const TIDY_LEN: usize = 1024;

/// The keys of one lane.
#[derive(Debug, Default)]
pub struct Unsynced {
    positions: AHashMap<u64, u64>,
    tidy_len: usize,
    /// All keys were changed here.
    all: u64,
}

impl Unsynced {
    /// A key was changed; its record ends at this position. `synced`: how far the lane is synced.
    pub fn note(&mut self, hash: u64, position: u64, synced: u64) {
        if self.tidy_len.max(TIDY_LEN) <= self.positions.len() {
            self.positions.retain(|_, position| synced < *position);
            self.tidy_len = 2 * self.positions.len();
        }
        self.positions.insert(hash, position);
    }

    /// Every key was.
    pub fn note_all(&mut self, position: u64) {
        self.all = position;
    }

    /// Up to where the lane has to be synced before anybody may be told of this key; 0: nothing is missing.
    pub fn position(&self, hash: u64, synced: u64) -> u64 {
        let position = self.positions.get(&hash).copied().unwrap_or(0).max(self.all);
        if synced < position { position } else { 0 }
    }

    /// Everything is synced.
    pub fn clear(&mut self) {
        self.positions.clear();
        self.tidy_len = 0;
        self.all = 0;
    }

    /// Whether nobody waits for anything.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.all == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_waited_for_until_its_last_change_is_synced() {
        let mut unsynced = Unsynced::default();
        unsynced.note(1, 10, 0);
        unsynced.note(2, 20, 0);
        unsynced.note(1, 30, 0);
        assert_eq!([1, 2, 3].map(|hash| unsynced.position(hash, 5)), [30, 20, 0]);
        assert_eq!([1, 2].map(|hash| unsynced.position(hash, 20)), [30, 0]);
        unsynced.note_all(40);
        assert_eq!(unsynced.position(3, 30), 40);
        unsynced.clear();
        assert!(unsynced.is_empty() && unsynced.position(1, 0) == 0);
    }

    #[test]
    fn what_is_synced_does_not_pile_up() {
        let mut unsynced = Unsynced::default();
        for at in 0..100_000u64 {
            unsynced.note(at, at + 1, at.saturating_sub(10));
        }
        assert!(unsynced.positions.len() <= 2 * TIDY_LEN, "{}", unsynced.positions.len());
        assert_eq!(unsynced.position(99_999, 99_990), 100_000);
    }
}
