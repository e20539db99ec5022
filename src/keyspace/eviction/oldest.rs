//! Candidates of LRU by when they were used last, the oldest first, at a constant cost for each that comes or goes. Not
//! here: the entries, and whether a candidate was used since.
//!
//! ```text
//!          base                                                  base + 1023
//! lists   ┌────┬────┬────┬────┬── … ──┬────┬────┬────┬── … ──┬────┐   a list a span of time: 2^shift ms
//!         │  ● │    │  ● │  ● │       │  ● │    │    │       │    │   (number = ms >> shift; at number mod 1024)
//!         └──┼─┴────┴──┼─┴──┼─┴── … ──┴──┼─┴────┴────┴── … ──┴────┘
//!            ▼         ▼    ▼            ▼
//!          nodes     nodes nodes       nodes      one array: locator and database, next; free ones in a list
//!       taken first              given up first, where there is no room
//! ```
//! A span is a 256th to a 512th of the age at which entries go, which is also how exactly accesses are noted; it may be
//! twice as long or half as long before the lists are made anew. So all lists together reach from those who go next to
//! now. What is older than the first list belongs into it.

/// Lists.
const LISTS: usize = 1024;
/// Words of a bit for each.
const WORDS: usize = LISTS / 64;
/// The age at which entries go takes so many lists, or up to twice as many: 2^8.
const LISTS_OF_AGE_LOG: u32 = 8;
/// Databases whose entries are remembered.
const DATABASES_MAX: usize = 1 << 24;
/// Bits of a locator.
const LOCATOR_BITS: u32 = 40;
const _: () = assert!(crate::structure::table::LOCATOR_BITS == LOCATOR_BITS);
const _: () = assert!(WORDS == u16::BITS as usize);
/// The end of a list.
const NONE: u32 = u32::MAX;

/// One that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub db: usize,
    /// By which the table finds it.
    pub locator: u64,
}

/// Twelve bytes.
#[derive(Clone, Copy)]
struct Node {
    /// The locator, and above it the database: lower and upper half.
    what: [u32; 2],
    next: u32,
}

impl Node {
    fn found(self) -> Found {
        let what = u64::from(self.what[1]) << 32 | u64::from(self.what[0]);
        Found { db: (what >> LOCATOR_BITS) as usize, locator: what & ((1 << LOCATOR_BITS) - 1) }
    }
}

/// See the module's page.
pub(super) struct Oldest {
    /// First nodes; empty before the first candidate.
    heads: Vec<u32>,
    /// Which lists have nodes.
    occupied: [u64; WORDS],
    /// Which of those words are not zero.
    words: u16,
    nodes: Vec<Node>,
    /// First of the free nodes.
    free: u32,
    len: usize,
    /// The number of the first list.
    base: u64,
    /// A list is for 2^shift ms.
    shift: u32,
    /// How often the age was told since the lists were made anew; at first it is taken as it is.
    told: usize,
}

impl Default for Oldest {
    fn default() -> Oldest {
        Oldest {
            heads: Vec::new(),
            occupied: [0; WORDS],
            words: 0,
            nodes: Vec::new(),
            free: NONE,
            len: 0,
            base: 0,
            shift: 0,
            told: usize::MAX,
        }
    }
}

impl Oldest {
    /// Number of candidates.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The span of time in which this one was.
    #[inline]
    pub fn number(&self, used_ms: u64) -> u64 {
        used_ms >> self.shift
    }

    /// Takes in one that was used last at this time, if there are fewer than `len_max`, or it is older than one of
    /// them, which is given up.
    #[inline]
    pub fn offer(&mut self, used_ms: u64, found: Found, len_max: usize) {
        let mut number = self.number(used_ms);
        if len_max <= self.len {
            let Some(youngest) = self.last().filter(|youngest| number < *youngest) else { return };
            self.take(youngest);
        }
        if DATABASES_MAX <= found.db {
            return;
        }
        if self.base + LISTS as u64 <= number {
            // The first lists are empty, or all are and time has passed.
            self.base = self.first().unwrap_or(number + 1 - (LISTS as u64 / 2).min(number + 1));
        }
        if number < self.base && self.last().is_none_or(|last| last < number + LISTS as u64) {
            self.base = number;
        }
        number = number.clamp(self.base, self.base + LISTS as u64 - 1);
        self.push(number, found);
    }

    /// Takes one of the oldest out, and says in which span of time it was.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, Found)> {
        let number = self.first()?;
        self.base = number;
        Some((number, self.take(number)))
    }

    /// The one that would be taken next, and the one after it as far as that is known.
    #[inline]
    pub fn next_two(&self) -> [Option<Found>; 2] {
        let Some(number) = self.first() else { return [None; 2] };
        let next = self.nodes[self.heads[number as usize % LISTS] as usize];
        if next.next != NONE {
            return [Some(next.found()), Some(self.nodes[next.next as usize].found())];
        }
        let second = self.occupied_from(number + 1);
        let second = second.map(|number| self.nodes[self.heads[number as usize % LISTS] as usize].found());
        [Some(next.found()), second]
    }

    /// An entry went at this age. The lists are made anew no more often than as many entries went as they have, so that
    /// ages which go up and down cost little.
    #[inline]
    pub fn set_age(&mut self, age_ms: u64) {
        let wanted = (age_ms | 1).ilog2().saturating_sub(LISTS_OF_AGE_LOG);
        self.told = self.told.saturating_add(1);
        if 1 < wanted.abs_diff(self.shift) && self.len <= self.told {
            self.arrange(wanted);
        }
    }

    /// Makes the lists anew, for other spans.
    #[cold]
    fn arrange(&mut self, shift: u32) {
        let (mut all, old_shift) = (Vec::with_capacity(self.len), self.shift);
        while let Some((number, found)) = self.pop() {
            all.push((number << old_shift, found));
        }
        (self.shift, self.told) = (shift, 0);
        self.base = all.first().map_or(0, |(oldest_ms, _)| oldest_ms >> shift);
        for (used_ms, found) in all {
            self.offer(used_ms, found, usize::MAX);
        }
    }

    fn push(&mut self, number: u64, found: Found) {
        if self.heads.is_empty() {
            self.heads = vec![NONE; LISTS];
        }
        let list = number as usize % LISTS;
        let what = (found.db as u64) << LOCATOR_BITS | found.locator;
        let node = Node { what: [what as u32, (what >> 32) as u32], next: self.heads[list] };
        let at = if self.free == NONE {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        } else {
            let at = self.free;
            self.free = self.nodes[at as usize].next;
            self.nodes[at as usize] = node;
            at
        };
        self.heads[list] = at;
        self.occupied[list / 64] |= 1 << (list % 64);
        self.words |= 1 << (list / 64);
        self.len += 1;
    }

    /// Takes one out of a list that has some.
    fn take(&mut self, number: u64) -> Found {
        let list = number as usize % LISTS;
        let at = self.heads[list];
        let node = self.nodes[at as usize];
        self.heads[list] = node.next;
        if node.next == NONE {
            self.occupied[list / 64] &= !(1 << (list % 64));
            self.words &= !(u16::from(self.occupied[list / 64] == 0) << (list / 64));
        }
        self.nodes[at as usize].next = self.free;
        self.free = at;
        self.len -= 1;
        node.found()
    }

    /// The first list that has nodes.
    #[inline]
    fn first(&self) -> Option<u64> {
        self.occupied_from(self.base)
    }

    /// The first list with nodes from one on.
    #[inline]
    fn occupied_from(&self, number: u64) -> Option<u64> {
        let from = number as usize % LISTS;
        let (word, bit) = (from / 64, from % 64);
        let above = self.occupied[word] >> bit;
        let found = if above != 0 {
            number + u64::from(above.trailing_zeros())
        } else {
            // The words behind it, itself last: of that one only what is below is left.
            let words = self.words.rotate_right(word as u32 + 1);
            if words == 0 {
                return None;
            }
            let word = (word + 1 + words.trailing_zeros() as usize) % WORDS;
            let list = word * 64 + self.occupied[word].trailing_zeros() as usize;
            number + (list.wrapping_sub(from) % LISTS) as u64
        };
        (found < self.base + LISTS as u64).then_some(found)
    }

    /// The last list that has nodes.
    #[inline]
    fn last(&self) -> Option<u64> {
        let number = self.base + LISTS as u64 - 1;
        let from = number as usize % LISTS;
        let (word, bit) = (from / 64, from % 64);
        let below = self.occupied[word] << (63 - bit);
        if below != 0 {
            return Some(number - u64::from(below.leading_zeros()));
        }
        // The words before it, itself last: of that one only what is above is left.
        let words = self.words.rotate_right(word as u32);
        if words == 0 {
            return None;
        }
        let word = (word + WORDS - 1 - words.leading_zeros() as usize) % WORDS;
        let list = word * 64 + 63 - self.occupied[word].leading_zeros() as usize;
        Some(number - (from.wrapping_sub(list) % LISTS) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn found(number: u64) -> Found {
        Found { db: (number % 3) as usize, locator: number }
    }

    fn all(oldest: &mut Oldest) -> Vec<u64> {
        std::iter::from_fn(|| oldest.pop()).map(|(_, found)| found.locator).collect()
    }

    #[test]
    fn they_leave_in_the_order_of_their_times() {
        let mut oldest = Oldest::default();
        // In no order; spans of a millisecond.
        (0..500).for_each(|number| oldest.offer(NOW_MS + number * 7 % 500, found(number * 7 % 500), 1000));
        assert_eq!(oldest.len(), 500);
        assert_eq!(oldest.next_two(), [Some(found(0)), Some(found(1))]);
        assert_eq!(all(&mut oldest), (0..500).collect::<Vec<_>>());
        assert_eq!(oldest.next_two(), [None, None]);
    }

    #[test]
    fn the_youngest_are_given_up_where_there_is_no_room() {
        let mut oldest = Oldest::default();
        (0..500).for_each(|number| oldest.offer(NOW_MS + number * 7 % 500, found(number * 7 % 500), 100));
        assert_eq!(oldest.len(), 100);
        assert_eq!(oldest.nodes.len(), 100);
        assert_eq!(all(&mut oldest), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_lists_reach_from_the_oldest_to_now_whatever_their_age() {
        for age_ms in [1, 100, 1000, 1_000_000, 16_000_000_000] {
            let mut oldest = Oldest::default();
            oldest.set_age(age_ms);
            for number in 0..100 {
                oldest.offer(NOW_MS - age_ms + number * age_ms / 100, found(number), 1000);
            }
            let order = all(&mut oldest);
            let far = order.iter().enumerate().map(|(at, number)| number.abs_diff(at as u64)).max();
            assert!(far <= Some(if age_ms < 100 { 100 } else { 1 }), "{age_ms}: {order:?}");
        }
    }

    #[test]
    fn other_spans_keep_the_order() {
        let mut oldest = Oldest::default();
        oldest.set_age(1 << 20);
        (0..1000).for_each(|number| oldest.offer(NOW_MS + number * 1000, found(number), 2000));
        oldest.set_age(1 << 24);
        assert_eq!(oldest.shift, 12, "they are as many as to be worth more than one");
        (0..1000).for_each(|_| oldest.set_age(1 << 24));
        assert_eq!(oldest.shift, 16);
        (0..1000).for_each(|_| oldest.set_age(1 << 18));
        assert_eq!(oldest.shift, 10);
        let order = all(&mut oldest);
        assert_eq!(order.len(), 1000);
        let far = order.iter().enumerate().map(|(at, number)| number.abs_diff(at as u64)).max();
        assert!(far <= Some((1 << 16) / 1000), "{far:?}");
    }

    #[test]
    fn the_first_and_the_last_list_are_found_wherever_they_are() {
        let mut lot = 1u64;
        let mut draw = move |below: u64| {
            lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (lot >> 33) % below
        };
        for round in 0..2000 {
            let mut oldest = Oldest { base: NOW_MS + round * 37, ..Oldest::default() };
            let (base, found) = (oldest.base, |number: u64| found(number - NOW_MS));
            let mut numbers: Vec<u64> = (0..1 + draw(8)).map(|_| base + draw(LISTS as u64)).collect();
            numbers.extend([base, base + LISTS as u64 - 1].into_iter().filter(|_| draw(4) == 0));
            numbers.iter().for_each(|&number| oldest.push(number, found(number)));
            numbers.sort_unstable();
            while let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) {
                assert_eq!((oldest.first(), oldest.last()), (Some(first), Some(last)), "{numbers:?} of {base}");
                let second = numbers.get(1).map(|&number| found(number));
                assert_eq!(oldest.next_two(), [Some(found(first)), second]);
                let takes_first = draw(2) == 0;
                let number = if takes_first { numbers.remove(0) } else { numbers.pop().expect("the last") };
                assert_eq!(oldest.take(number), found(number));
            }
            assert_eq!((oldest.first(), oldest.last(), oldest.words), (None, None, 0));
        }
    }

    #[test]
    fn what_is_older_or_younger_than_all_lists_has_a_place() {
        let mut oldest = Oldest::default();
        oldest.offer(NOW_MS, found(1), 10);
        oldest.offer(0, found(2), 10); // Its time has come, or it is older than the first list.
        oldest.offer(NOW_MS + 1_000_000, found(3), 10);
        assert_eq!(oldest.len(), 3);
        let mut order = all(&mut oldest);
        assert_eq!(order.pop(), Some(3));
        oldest.offer(5, found(4), 10);
        oldest.offer(NOW_MS + 2_000_000, found(5), 10);
        assert_eq!(all(&mut oldest), [4, 5]);
    }
}
