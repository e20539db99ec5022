//! Which keys of a file come twice, in memory that does not grow with it. Each key is known by a hash of 128 bits.
//!
//! ```text
//!  up to HASHES_MAX keys:  a set of all hashes, while the file is looked through
//!  more:  once through:    two bitmaps: some key has this bucket, some other has it too
//!         then for each share of the buckets that two keys have:  once through, a set of their hashes
//! ```
//! Nearly all keys have a bucket of their own, so that a file of ten million keys is read three times. The more keys
//! there are, the more share buckets, and the oftener the file is read; the memory stays.

use ahash::AHashSet;
use std::collections::BTreeSet;
use std::io;

/// So many hashes are kept at a time: 34 MiB of them.
pub const HASHES_MAX: usize = 1 << 20;
/// Buckets: a bit in each of two bitmaps, 16 MiB each.
const BUCKETS: usize = 1 << 27;

/// Goes through a file: calls back for each key with its hash and where it is, in the order of the file.
pub type Walk<'a> = dyn FnMut(&mut dyn FnMut(u128, u64)) -> io::Result<()> + 'a;

/// A bit for each bucket.
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn new(buckets: usize) -> Bitmap {
        Bitmap(vec![0; buckets.div_ceil(64)])
    }

    /// Sets a bucket's. Whether it was set.
    fn set(&mut self, bucket: usize) -> bool {
        let (word, bit) = (&mut self.0[bucket / 64], 1 << (bucket % 64));
        let was_set = *word & bit != 0;
        *word |= bit;
        was_set
    }

    fn has(&self, bucket: usize) -> bool {
        self.0[bucket / 64] & (1 << (bucket % 64)) != 0
    }
}

/// Where keys are that were there before. The file is gone through as often as it takes.
///
/// # Errors
/// Those of the walk.
pub fn find(walk: &mut Walk<'_>) -> io::Result<BTreeSet<u64>> {
    find_within(walk, BUCKETS, HASHES_MAX)
}

fn find_within(walk: &mut Walk<'_>, buckets: usize, hashes_max: usize) -> io::Result<BTreeSet<u64>> {
    let bucket_of = |hash: u128| (hash % buckets as u128) as usize;
    let (mut once, mut twice, mut shared) = (Bitmap::new(buckets), Bitmap::new(buckets), 0);
    walk(&mut |hash, _| {
        let bucket = bucket_of(hash);
        if once.set(bucket) {
            // The first time it counts for the key that was there as well.
            shared += if twice.set(bucket) { 1 } else { 2 };
        }
    })?;
    drop(once);
    let mut found = BTreeSet::new();
    let shares = usize::div_ceil(shared, hashes_max);
    for share in 0..shares {
        let mut seen = AHashSet::<u128>::new();
        walk(&mut |hash, offset| {
            // Not by the bits that choose the bucket.
            let is_of_share = (hash >> 64) as usize % shares == share;
            if is_of_share && twice.has(bucket_of(hash)) && !seen.insert(hash) {
                found.insert(offset);
            }
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_128;

    #[test]
    fn every_key_that_comes_again_is_found_however_little_is_kept() {
        // Every tenth key comes again later, every hundredth twice.
        let mut keys: Vec<u32> = (0..20_000).collect();
        keys.extend((0..20_000).step_by(10));
        keys.extend((0..20_000).step_by(100));
        let expected: BTreeSet<u64> = (20_000..keys.len() as u64).collect();
        for (buckets, hashes_max) in [(1 << 20, 1 << 20), (1 << 20, 100), (1 << 14, 1000), (64, 50_000), (1, 7_000)] {
            let mut walks = 0;
            let mut walk = |each: &mut dyn FnMut(u128, u64)| {
                walks += 1;
                keys.iter().enumerate().for_each(|(at, key)| each(xxh3_128(&key.to_le_bytes()), at as u64));
                Ok(())
            };
            assert_eq!(find_within(&mut walk, buckets, hashes_max).expect("no medium"), expected);
            assert!(walks <= 2 + keys.len() / hashes_max, "{walks} of {buckets}, {hashes_max}");
        }
    }

    #[test]
    fn where_nothing_comes_again_once_is_enough() {
        let mut walks = 0;
        let mut walk = |each: &mut dyn FnMut(u128, u64)| {
            walks += 1;
            (0..1000u128).for_each(|at| each(at << 64 | at, at as u64));
            Ok(())
        };
        assert_eq!(find_within(&mut walk, 1024, 10).expect("no medium"), BTreeSet::new());
        assert_eq!(walks, 1);
    }
}
