//! Things with a small number for a name: an arena in chunks, so that it grows and shrinks without ever moving what is
//! in it.
//!
//! ```text
//! chunks   ┌──────────────┬──────────────┬─────────┐
//!          │ 0 … 1023     │ 1024 … 2047  │ 2048 …  │      the first grows like any vector, the others are made whole
//!          └──────────────┴──────────────┴─────────┘
//! free     [ 17, 1030, … ]                                numbers to be given out again, the last one first
//! ```

use crate::structure::allocation::allocated_bytes;

/// Things of a chunk.
const CHUNK_LEN: usize = 1024;

/// Numbered things.
pub(super) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T: Default> Arena<T> {
    pub const fn new() -> Arena<T> {
        Arena { chunks: Vec::new(), free: Vec::new() }
    }

    /// Gives a thing a number.
    pub fn add(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.get_mut(number) = thing;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_LEN) {
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK_LEN };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let full = self.chunks.len() - 1;
        let last = &mut self.chunks[full];
        last.push(thing);
        u32::try_from(full * CHUNK_LEN + last.len() - 1).expect("fewer than 2^32 things")
    }

    /// All numbers are below this.
    pub fn span(&self) -> u32 {
        let before_last = self.chunks.len().saturating_sub(1) * CHUNK_LEN;
        (before_last + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// The thing of a number.
    #[inline]
    pub fn get(&self, number: u32) -> &T {
        &self.chunks[number as usize / CHUNK_LEN][number as usize % CHUNK_LEN]
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize / CHUNK_LEN][number as usize % CHUNK_LEN]
    }

    /// Takes a thing out; its number will be given to another.
    pub fn take(&mut self, number: u32) -> T {
        let thing = std::mem::take(self.get_mut(number));
        self.free.push(number);
        thing
    }

    /// Drops about `budget` things from the end; how many bytes they took, and whether there are more. What was
    /// numbered is not to be asked for any more.
    pub fn drop_some(&mut self, budget: usize, mut bytes_of: impl FnMut(&T) -> usize) -> (usize, bool) {
        self.free = Vec::new();
        let (mut left, mut bytes) = (budget.max(1), 0);
        while let Some(chunk) = self.chunks.last_mut() {
            let keep = chunk.len().saturating_sub(left);
            left -= chunk.len() - keep;
            bytes += chunk.drain(keep..).map(|thing| bytes_of(&thing)).sum::<usize>();
            if keep == 0 {
                self.chunks.pop();
            }
            if left == 0 {
                break;
            }
        }
        (bytes, !self.chunks.is_empty())
    }

    /// Bytes of the arena itself.
    pub fn memory_bytes(&self) -> usize {
        let first = self.chunks.first().map_or(0, |chunk| allocated_bytes(chunk.capacity() * size_of::<T>()));
        let others = self.chunks.len().saturating_sub(1) * allocated_bytes(CHUNK_LEN * size_of::<T>());
        let outer = allocated_bytes(self.chunks.capacity() * size_of::<Vec<T>>());
        first + others + outer + allocated_bytes(self.free.capacity() * size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_and_never_shared() {
        let mut arena = Arena::new();
        let numbers: Vec<u32> = (0..3000).map(|thing| arena.add(thing)).collect();
        assert!(numbers.iter().enumerate().all(|(thing, &number)| *arena.get(number) == thing));
        assert_eq!(arena.take(numbers[2000]), 2000);
        assert_eq!(arena.take(numbers[5]), 5);
        assert_eq!((arena.add(7), arena.add(8), arena.add(9)), (5, 2000, 3000));
        *arena.get_mut(3000) += 1;
        assert_eq!((*arena.get(5), *arena.get(2000), *arena.get(3000)), (7, 8, 10));
    }

    #[test]
    fn it_is_dropped_in_slices() {
        let mut arena = Arena::new();
        (0..2500).for_each(|thing| _ = arena.add(Box::new(thing)));
        let mut steps = 1;
        let mut bytes = 0;
        loop {
            let (of_step, is_more) = arena.drop_some(100, |_| 8);
            bytes += of_step;
            if !is_more {
                break;
            }
            steps += 1;
        }
        assert_eq!((steps, bytes), (25, 2500 * 8));
        assert!(arena.memory_bytes() < 4096, "{}", arena.memory_bytes());
    }
}
