//! Strings too long to live in their entry: one counted buffer, so that a reply in flight can hold the bytes while
//! the key is overwritten, and a value that arrived as a buffer is stored without copying it.

use super::allocation::allocated_bytes;
use bytes::Bytes;
use std::sync::Arc;

/// Above this capacity in bytes a buffer grows by an eighth instead of doubling: 64 MiB of slack at most, under the
/// longest string Redis allows, instead of 512.
const DOUBLING_CAPACITY_MAX: usize = 1 << 20;

/// A counted string. Cloning costs a count; changing one that is held elsewhere copies it first.
#[derive(Debug, Clone)]
pub struct LongString(Arc<Vec<u8>>);

impl LongString {
    /// Takes over a buffer.
    pub fn new(buffer: Vec<u8>) -> LongString {
        LongString(Arc::new(buffer))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes, for others to hold: they stay as they are, whatever becomes of the string.
    pub fn to_shared(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Bytes of its two allocations: the buffer, and what holds the count and the buffer's address.
    pub fn heap_bytes(&self) -> usize {
        let counted_bytes = 2 * size_of::<usize>() + size_of::<Vec<u8>>();
        allocated_bytes(counted_bytes) + allocated_bytes(self.0.capacity())
    }

    /// Whether somebody else holds it too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) != 1
    }

    /// Takes on these bytes without allocating, if nobody else holds the string and its buffer fits them without
    /// wasting half of itself. Otherwise does nothing and says `false`.
    pub fn overwrite(&mut self, bytes: &[u8]) -> bool {
        match Arc::get_mut(&mut self.0) {
            Some(buffer) if bytes.len() <= buffer.capacity() && buffer.capacity() / 2 <= bytes.len() => {
                buffer.clear();
                buffer.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Takes on the length `len` (of zero bytes where it was shorter) and gives the bytes to be changed. Growing is
    /// amortised: appending a byte a time copies every byte a few times at most.
    pub fn resize_mut(&mut self, len: usize) -> &mut [u8] {
        let len_before = self.0.len();
        let kept_len = len.min(len_before);
        let is_ready = match Arc::get_mut(&mut self.0) {
            Some(buffer) if len <= buffer.capacity() => true,
            // Large blocks grow without being copied; what is added is mostly written over at once.
            Some(buffer) if len - len_before <= len_before => {
                buffer.reserve_exact(grown_capacity(len_before, len) - len_before);
                true
            }
            _ => false,
        };
        if !is_ready {
            // Zeroed by the allocator: for a large buffer these are fresh pages, so a SETRANGE far beyond the end
            // touches only what it writes.
            let mut buffer = vec![0; grown_capacity(self.0.len(), len)];
            buffer[..kept_len].copy_from_slice(&self.0[..kept_len]);
            buffer.truncate(len);
            self.0 = Arc::new(buffer);
        }
        let buffer = Arc::get_mut(&mut self.0).expect("unshared: seen or made so above");
        buffer.resize(len, 0);
        buffer
    }
}

impl AsRef<[u8]> for LongString {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The capacity for a string of `len_before` bytes that needs `len` now.
fn grown_capacity(len_before: usize, len: usize) -> usize {
    if len <= len_before {
        return len;
    }
    let slack = if len_before <= DOUBLING_CAPACITY_MAX { len_before } else { len_before / 8 };
    len.max(len_before + slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_a_shared_string_leaves_the_other_holder_alone() {
        let mut string = LongString::new(vec![b'a'; 4]);
        let reply = string.clone();
        string.resize_mut(5)[4] = b'b';
        assert_eq!(string.as_bytes(), b"aaaab");
        assert_eq!(reply.as_bytes(), b"aaaa");
        assert!(!string.is_shared());
    }

    #[test]
    fn appending_is_amortised() {
        let mut string = LongString::new(Vec::new());
        let mut moves = 0;
        for len in 1..=1_000_000 {
            let before = string.as_bytes().as_ptr();
            string.resize_mut(len)[len - 1] = 1;
            moves += usize::from(before != string.as_bytes().as_ptr());
        }
        assert!(moves <= 21, "{moves}");
        assert!(string.as_bytes().iter().all(|&byte| byte == 1));
    }

    #[test]
    fn growth_beyond_the_end_is_zero_and_shrinking_keeps_the_front() {
        let mut string = LongString::new(b"abc".to_vec());
        string.resize_mut(6)[5] = b'z';
        assert_eq!(string.as_bytes(), b"abc\0\0z");
        string.resize_mut(2);
        assert_eq!(string.as_bytes(), b"ab");
        string.resize_mut(4);
        assert_eq!(string.as_bytes(), b"ab\0\0");
    }
}
