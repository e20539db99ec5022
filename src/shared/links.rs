//! Which keys clients that wait would fill out of which: one that waits in `BLMOVE a b` takes from `a` into `b`, so who
//! fills `a` fills `b` within the same moment, and has to hold it before. See [`crate::shard::Ticket`].
//!
//! ```text
//!   BLMOVE a b   BLMOVE b c   BRPOPLPUSH x y        a ─▶ b ─▶ c      x ─▶ y        reached from a: b, c
//! ```
//! A link is here before anybody can know that its client waits, and longer than it waits. Who looks and does not find
//! one that comes a moment later began before that client waited, and may do as if it came first.
//!
//! Without links a look costs one load; with some, one more load for keys that have none.

use crate::mutant::Mutant;
use ahash::{AHashMap, AHashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Keys are told apart by so many bits before anybody looks for them: 16 KiB.
const MARK_BITS: u32 = 12;

/// The links of a server.
pub struct Links {
    count: AtomicUsize,
    /// How many links begin at keys of each hash.
    marks: Box<[AtomicU32]>,
    hasher: ahash::RandomState,
    /// Where those lead that begin at a key, each as often as there are clients. Keys of all databases: who fills one
    /// of the name in another database holds a key too many.
    links: Mutex<AHashMap<Vec<u8>, Vec<Vec<u8>>>>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            count: AtomicUsize::new(0),
            marks: (0..1 << MARK_BITS).map(|_| AtomicU32::new(0)).collect(),
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            links: Mutex::default(),
        }
    }
}

impl Links {
    /// Whether there are any.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0 && !Mutant::LinksAreForgotten.is_on()
    }

    fn mark_of(&self, key: &[u8]) -> &AtomicU32 {
        &self.marks[self.hasher.hash_one(key) as usize & ((1 << MARK_BITS) - 1)]
    }

    /// A client waits that takes from one key into another. To be called while both are held.
    pub fn add(&self, from: &[u8], to: &[u8]) {
        let mut links = self.links.lock().expect("no holder of this lock panics");
        links.entry(from.to_vec()).or_default().push(to.to_vec());
        self.mark_of(from).fetch_add(1, Ordering::Release);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// It waits no more.
    pub fn remove(&self, from: &[u8], to: &[u8]) {
        let mut links = self.links.lock().expect("no holder of this lock panics");
        let ends = links.get_mut(from).expect("what is removed was added");
        let at = ends.iter().position(|end| end == to).expect("as above");
        ends.swap_remove(at);
        if ends.is_empty() {
            links.remove(from);
        }
        self.mark_of(from).fetch_sub(1, Ordering::Release);
        self.count.fetch_sub(1, Ordering::Release);
    }

    /// The keys that may be filled when these are, over any number of links; those among them that are given too.
    pub fn reached_from<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Vec<Vec<u8>> {
        if !self.is_any() {
            return Vec::new();
        }
        let is_marked = |key: &&[u8]| self.mark_of(key).load(Ordering::Acquire) != 0;
        let begun: Vec<&[u8]> = keys.filter(is_marked).collect();
        if begun.is_empty() {
            return Vec::new();
        }
        let links = self.links.lock().expect("no holder of this lock panics");
        let (mut seen, mut reached) = (AHashSet::new(), Vec::new());
        let mut ahead = begun;
        while let Some(key) = ahead.pop() {
            for end in links.get(key).into_iter().flatten() {
                if seen.insert(end.as_slice()) {
                    ahead.push(end);
                    reached.push(end.clone());
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(links: &Links, keys: &[&str]) -> Vec<String> {
        let reached = links.reached_from(keys.iter().map(|key| key.as_bytes()));
        let mut reached: Vec<String> = reached.into_iter().map(|key| String::from_utf8(key).expect("text")).collect();
        reached.sort_unstable();
        reached
    }

    #[test]
    fn what_may_be_filled_is_found_over_any_number_of_links() {
        let links = Links::default();
        assert!(!links.is_any() && reached(&links, &["a"]).is_empty());
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("x", "y"), ("a", "b"), ("a", "d")] {
            links.add(from.as_bytes(), to.as_bytes());
        }
        assert_eq!(reached(&links, &["b"]), ["a", "b", "c", "d"]);
        assert_eq!(reached(&links, &["x", "nothing"]), ["y"]);
        assert!(reached(&links, &["y", "d"]).is_empty());
        links.remove(b"a", b"b");
        assert_eq!(reached(&links, &["c"]), ["a", "b", "c", "d"], "another one takes from a into b");
        links.remove(b"a", b"b");
        assert_eq!(reached(&links, &["c"]), ["a", "d"]);
        for (from, to) in [("b", "c"), ("c", "a"), ("x", "y"), ("a", "d")] {
            links.remove(from.as_bytes(), to.as_bytes());
        }
        assert!(!links.is_any());
    }
}
