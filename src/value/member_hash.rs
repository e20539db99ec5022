//! The hash of members and fields inside containers: keyed, with one key for the whole process, so that a value may go
//! from one core to another as it is.

use ahash::RandomState;
use std::sync::OnceLock;

static HASHER: OnceLock<RandomState> = OnceLock::new();

/// Sets the key of the hash, which must be random, lest somebody makes members that collide. To be called once, before
/// the first container is made; without it (in tests) the key is a fixed one.
///
/// # Panics
/// If containers have been made, or the key set before.
pub fn seed_member_hash(seed: u64) {
    assert!(HASHER.set(hasher(seed)).is_ok(), "the key is set once, and first of all");
}

fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, seed.rotate_left(16) ^ 0x9e37, seed.rotate_left(32) ^ 0x79b9, seed.rotate_left(48))
}

/// The hash of a member.
#[inline]
pub(super) fn member_hash(member: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut state = HASHER.get_or_init(|| hasher(0)).build_hasher();
    state.write(member);
    state.finish()
}
