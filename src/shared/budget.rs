//! What the cores know of each other when memory is short: whose entries can be spared best, how far a limit that was
//! lowered has been reached, and for how long there has been too much. Hints and
//! counters; the sum itself is [`crate::memory::used_bytes`].

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One core's shard, as others see it.
#[repr(align(128))]
struct Donor {
    /// Something has gone there and is not freed yet.
    has_garbage: AtomicBool,
    /// Entries that may go.
    evictable: AtomicU64,
    /// How well the entry that went last could be spared: the higher the better. `u64::MAX`: none has gone yet.
    rank: AtomicU64,
}

/// One core's clients, as others see them.
#[repr(align(128))]
pub struct Crowd {
    /// Bytes of all.
    pub sum: AtomicU64,
    /// Bytes of the largest that may be closed, or [`Crowd::UNKNOWN`].
    pub largest: AtomicU64,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { sum: AtomicU64::new(0), largest: AtomicU64::new(Crowd::UNKNOWN) }
    }
}

impl Crowd {
    /// Nobody has looked which is the largest.
    pub const UNKNOWN: u64 = u64::MAX;

    /// So many bytes the largest has that may be closed, or fewer.
    pub fn largest_at_most(&self) -> u64 {
        self.largest.load(Ordering::Relaxed).min(self.sum.load(Ordering::Relaxed))
    }
}

/// State of the whole server.
pub struct Budget {
    donors: Box<[Donor]>,
    /// While a limit that was lowered is not reached: where the sum is held, in bytes.
    ceiling: AtomicU64,
    /// Since when the sum has been above the limit, Unix milliseconds; 0: it is not.
    exceeded_since_ms: AtomicU64,
    /// For how long it was so before, in milliseconds.
    exceeded_ms: AtomicU64,
    /// When some core saw it within the limit last, Unix milliseconds.
    within_ms: AtomicU64,
    /// How often cores were asked to look through their heaps.
    collections: AtomicU32,
    /// Whether they were asked for what lies in free blocks too.
    thins: AtomicBool,
    /// Bytes in free blocks that may go the next time.
    marked_bytes: AtomicU64,
}

impl Budget {
    /// Of a server with so many cores.
    pub fn new(cores: usize) -> Budget {
        let donor = |_| Donor {
            has_garbage: AtomicBool::new(false),
            evictable: AtomicU64::new(0),
            rank: AtomicU64::new(u64::MAX),
        };
        Budget {
            donors: (0..cores).map(donor).collect(),
            ceiling: AtomicU64::new(0),
            exceeded_since_ms: AtomicU64::new(0),
            exceeded_ms: AtomicU64::new(0),
            within_ms: AtomicU64::new(0),
            collections: AtomicU32::new(0),
            thins: AtomicBool::new(false),
            marked_bytes: AtomicU64::new(0),
        }
    }

    /// Every core is to look through its heap for what others have freed there, and, if so, to give back what lies in
    /// free blocks.
    pub fn ask_to_collect(&self, thins: bool) {
        self.thins.store(thins, Ordering::Relaxed);
        self.collections.fetch_add(1, Ordering::Relaxed);
    }

    /// How often they were asked.
    pub fn collections(&self) -> u32 {
        self.collections.load(Ordering::Relaxed)
    }

    /// Whether they were to give back what lies in free blocks.
    pub fn thins(&self) -> bool {
        self.thins.load(Ordering::Relaxed)
    }

    /// So many bytes lie in blocks that were seen free for the first time.
    pub fn note_marked(&self, bytes: u64) {
        self.marked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many did since this was asked last.
    pub fn take_marked(&self) -> u64 {
        self.marked_bytes.swap(0, Ordering::Relaxed)
    }

    /// The shard whose entries can be spared best, as far as is known here; by lot, each as often as it has entries, if
    /// there is one.
    pub fn donor(&self, own: usize, lot: Option<u64>) -> usize {
        if self.donors.len() == 1 {
            return own;
        }
        let evictable = |donor: &Donor| donor.evictable.load(Ordering::Relaxed);
        if let Some(lot) = lot {
            let total: u64 = self.donors.iter().map(evictable).sum();
            let mut lot = ((u128::from(lot) * u128::from(total)) >> 64) as u64;
            for (shard, donor) in self.donors.iter().enumerate() {
                match lot.checked_sub(evictable(donor)) {
                    None => return shard,
                    Some(left) => lot = left,
                }
            }
            return own;
        }
        let rank = |shard: usize| match evictable(&self.donors[shard]) {
            0 => 0,
            _ => self.donors[shard].rank.load(Ordering::Relaxed),
        };
        let best = (0..self.donors.len()).max_by_key(|&shard| (rank(shard), shard == own));
        best.expect("there is a core")
    }

    /// Whether some shard has entries that may go, as far as is known here.
    pub fn has_evictable(&self) -> bool {
        self.donors.iter().any(|donor| 0 < donor.evictable.load(Ordering::Relaxed))
    }

    /// An entry of this rank has gone there, if any has; so many are left that may go.
    pub fn note_donor(&self, shard: usize, evictable: usize, rank: Option<u64>) {
        self.set_evictable(shard, evictable);
        if let Some(rank) = rank {
            self.donors[shard].rank.store(rank, Ordering::Relaxed);
        }
    }

    /// Something has gone there and is not freed yet, or all of it is.
    #[inline]
    pub fn set_garbage(&self, shard: usize, has_garbage: bool) {
        let flag = &self.donors[shard].has_garbage;
        if flag.load(Ordering::Relaxed) != has_garbage {
            flag.store(has_garbage, Ordering::Relaxed);
        }
    }

    /// Another shard than the own one where something has gone and is not freed yet.
    pub fn with_garbage(&self, own: usize) -> Option<usize> {
        let has_garbage = |shard: &usize| self.donors[*shard].has_garbage.load(Ordering::Relaxed);
        (0..self.donors.len()).filter(|&shard| shard != own).find(has_garbage)
    }

    /// So many entries may go there.
    pub fn set_evictable(&self, shard: usize, evictable: usize) {
        self.donors[shard].evictable.store(evictable as u64, Ordering::Relaxed);
    }

    /// Entries there are judged otherwise from now on.
    pub fn forget_rank(&self, shard: usize) {
        self.donors[shard].rank.store(u64::MAX, Ordering::Relaxed);
    }

    /// The limit was lowered, and the sum is this.
    pub fn hold_at(&self, used_bytes: u64) {
        self.ceiling.fetch_max(used_bytes, Ordering::Relaxed);
    }

    /// The sum has come down to this.
    pub fn sink_to(&self, used_bytes: u64) {
        if used_bytes < self.ceiling.load(Ordering::Relaxed) {
            self.ceiling.fetch_min(used_bytes, Ordering::Relaxed);
        }
    }

    /// What the sum is held at, in bytes: the limit, or what is still to be brought down to it.
    pub fn ceiling(&self, limit_bytes: u64) -> u64 {
        self.ceiling.load(Ordering::Relaxed).max(limit_bytes)
    }

    /// The sum is above the limit.
    pub fn is_exceeded(&self, now_ms: u64) {
        if self.exceeded_since_ms.load(Ordering::Relaxed) == 0 {
            // Whoever is first sets it.
            let _ = self.exceeded_since_ms.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The sum is within the limit.
    pub fn is_within(&self, now_ms: u64) {
        if self.within_ms.load(Ordering::Relaxed) != now_ms {
            self.within_ms.store(now_ms, Ordering::Relaxed);
        }
        if self.exceeded_since_ms.load(Ordering::Relaxed) != 0 {
            let since_ms = self.exceeded_since_ms.swap(0, Ordering::Relaxed);
            if since_ms != 0 {
                self.exceeded_ms.fetch_add(now_ms.saturating_sub(since_ms), Ordering::Relaxed);
            }
        }
    }

    /// How long ago a core saw the sum within the limit, in milliseconds.
    #[inline]
    pub fn since_within_ms(&self, now_ms: u64) -> u64 {
        now_ms.abs_diff(self.within_ms.load(Ordering::Relaxed)) // The clock may have been set back.
    }

    /// For how long the sum was above the limit, all told, and for how long it has been so now; milliseconds.
    pub fn exceeded_ms(&self, now_ms: u64) -> (u64, u64) {
        let since_ms = self.exceeded_since_ms.load(Ordering::Relaxed);
        let current_ms = if since_ms == 0 { 0 } else { now_ms.saturating_sub(since_ms) };
        (self.exceeded_ms.load(Ordering::Relaxed) + current_ms, current_ms)
    }

    /// `CONFIG RESETSTAT`
    pub fn reset_statistics(&self) {
        self.exceeded_ms.store(0, Ordering::Relaxed);
        self.exceeded_since_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_donor_is_the_one_whose_last_victim_could_be_spared_best() {
        let budget = Budget::new(3);
        assert!(!budget.has_evictable());
        budget.set_evictable(1, 10);
        assert!(budget.has_evictable());
        assert_eq!(budget.donor(0, None), 1, "others have nothing");
        budget.set_evictable(0, 5);
        assert_eq!(budget.donor(0, None), 0, "of equals the own one");
        budget.note_donor(0, 4, Some(100));
        assert_eq!(budget.donor(0, None), 1, "nothing of it has gone yet");
        budget.note_donor(1, 9, Some(90));
        assert_eq!(budget.donor(1, None), 0);
        budget.note_donor(0, 0, Some(100));
        assert_eq!(budget.donor(0, None), 1);
        budget.forget_rank(0);
        budget.set_evictable(0, 1);
        assert_eq!(budget.donor(2, None), 0);
    }

    #[test]
    fn lots_fall_by_the_number_of_entries() {
        let budget = Budget::new(3);
        assert_eq!(budget.donor(2, Some(7)), 2);
        budget.set_evictable(0, 300);
        budget.set_evictable(2, 100);
        let mut random = fastrand::Rng::with_seed(1);
        let of_first = (0..4000).filter(|_| budget.donor(1, Some(random.u64(..))) == 0).count();
        assert!((2850..3150).contains(&of_first), "{of_first}");
    }

    #[test]
    fn a_lowered_limit_is_approached_from_above() {
        let budget = Budget::new(1);
        assert_eq!(budget.ceiling(100), 100);
        budget.hold_at(500);
        budget.sink_to(600);
        assert_eq!(budget.ceiling(100), 500);
        budget.sink_to(300);
        assert_eq!(budget.ceiling(100), 300);
        budget.sink_to(90);
        assert_eq!(budget.ceiling(100), 100);
    }

    #[test]
    fn time_above_the_limit_is_added_up() {
        let budget = Budget::new(1);
        budget.is_within(5);
        budget.is_exceeded(10);
        budget.is_exceeded(20);
        assert_eq!(budget.exceeded_ms(30), (20, 20));
        budget.is_within(40);
        assert_eq!(budget.exceeded_ms(50), (30, 0));
        assert_eq!(budget.since_within_ms(45), 5);
        budget.is_exceeded(50);
        assert_eq!(budget.exceeded_ms(60), (40, 10));
        assert_eq!((budget.since_within_ms(60), budget.since_within_ms(30)), (20, 10));
        budget.reset_statistics();
        assert_eq!(budget.exceeded_ms(60), (0, 0));
    }
}
