//! One bucket: its entries in one run of bytes. The layout is drawn on the page of [`super`].
//!
//! Not here: which bucket, and whether a key is there already.
#![allow(unsafe_code)]

use super::long::{self, HANDLE_BYTES};
use super::{Entry, NEVER_MS};
use crate::structure::allocation::allocated_bytes;
use smallvec::SmallVec;

/// Bytes of the count.
const COUNT_BYTES: usize = 2;
/// Longest key or value that stands in the blob.
const SHORT_LEN_MAX: usize = 126;
/// The size that says: a handle instead of the bytes.
const LONG: u8 = 127;
/// The flag in a key's size that says: a deadline behind the value.
const TIMED: u8 = 0x80;
const DEADLINE_BYTES: usize = 8;
/// Allocations up to this many bytes are not made smaller.
const SHRINK_BYTES_MIN: usize = 64;

/// Entries, with (`VALUES`) or without values. It owns what is too long for it.
#[derive(Default)]
pub(super) struct Blob<const VALUES: bool>(Vec<u8>);

/// Bytes that what has this size takes in the blob, a deadline included.
#[inline]
fn stored_bytes(size: u8) -> usize {
    let len = usize::from(size & LONG);
    let bytes = if len == usize::from(LONG) { HANDLE_BYTES } else { len };
    bytes + DEADLINE_BYTES * usize::from(size >> 7)
}

fn size_of_bytes(bytes: &[u8]) -> u8 {
    if bytes.len() <= SHORT_LEN_MAX { bytes.len() as u8 } else { LONG }
}

fn is_long(size: u8) -> bool {
    size & LONG == LONG
}

/// Where the parts of an entry stand.
struct Parts {
    key_size: u8,
    value_size: u8,
    /// Offset of the key in the blob; value and deadline follow.
    key: usize,
    value: usize,
    deadline: usize,
    end: usize,
}

impl<const VALUES: bool> Blob<VALUES> {
    /// Size bytes of an entry.
    const SIZES: usize = 1 + VALUES as usize;

    /// Number of entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.0.first_chunk() {
            Some(count) => u16::from_le_bytes(*count).into(),
            None => 0,
        }
    }

    /// Bytes in the blob.
    #[inline]
    pub(super) fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all that it has allocated.
    #[inline]
    pub(super) fn allocated_bytes(&self) -> usize {
        let mut bytes = allocated_bytes(self.0.capacity());
        if self.has_long() {
            self.for_each_handle(|handle| bytes += long::allocated_bytes_of(handle));
        }
        bytes
    }

    /// Number of allocations beside the blob itself.
    pub(super) fn long_len(&self) -> usize {
        let mut len = 0;
        if self.has_long() {
            self.for_each_handle(|_| len += 1);
        }
        len
    }

    #[inline]
    fn has_long(&self) -> bool {
        memchr::memchr2(LONG, TIMED | LONG, self.sizes()).is_some()
    }

    fn for_each_handle(&self, mut visit: impl FnMut(&[u8])) {
        let mut at = self.data();
        for index in 0..self.len() {
            let parts = self.parts_at(index, at);
            if is_long(parts.key_size) {
                visit(&self.0[parts.key..][..HANDLE_BYTES]);
            }
            if VALUES && is_long(parts.value_size) {
                visit(&self.0[parts.value..][..HANDLE_BYTES]);
            }
            at = parts.end;
        }
    }

    #[inline]
    fn marks(&self) -> &[u8] {
        let len = self.len();
        if len == 0 { &[] } else { &self.0[COUNT_BYTES..COUNT_BYTES + len] }
    }

    #[inline]
    fn sizes(&self) -> &[u8] {
        let len = self.len();
        if len == 0 { &[] } else { &self.0[COUNT_BYTES + len..][..len * Self::SIZES] }
    }

    /// Offset of the first entry.
    #[inline]
    fn data(&self) -> usize {
        COUNT_BYTES + self.len() * (1 + Self::SIZES)
    }

    /// Offset of an entry.
    #[inline]
    fn offset_of(&self, index: usize) -> usize {
        self.data() + self.sizes()[..index * Self::SIZES].iter().map(|&size| stored_bytes(size)).sum::<usize>()
    }

    /// The parts of the entry at an offset.
    #[inline]
    fn parts_at(&self, index: usize, key: usize) -> Parts {
        let sizes = &self.sizes()[index * Self::SIZES..];
        let (key_size, value_size) = (sizes[0], if VALUES { sizes[1] } else { 0 });
        let value = key + stored_bytes(key_size & !TIMED);
        let deadline = value + stored_bytes(value_size);
        let end = deadline + DEADLINE_BYTES * usize::from(key_size & TIMED != 0);
        Parts { key_size, value_size, key, value, deadline, end }
    }

    #[inline]
    fn parts(&self, index: usize) -> Parts {
        self.parts_at(index, self.offset_of(index))
    }

    /// What stands at an offset, with this size.
    #[inline]
    fn bytes_at(&self, at: usize, size: u8) -> &[u8] {
        if is_long(size) {
            // SAFETY: the handle was made when the entry was added or changed, and the blob, which owns what it stands
            // for, is borrowed as long as the result.
            unsafe { long::read(&self.0[at..at + HANDLE_BYTES]) }
        } else {
            &self.0[at..at + usize::from(size & LONG)]
        }
    }

    #[inline]
    fn entry_of(&self, parts: &Parts) -> Entry<'_> {
        let deadline = (parts.key_size & TIMED != 0).then(|| {
            u64::from_le_bytes(*self.0[parts.deadline..].first_chunk().expect("a timed entry has a deadline"))
        });
        Entry {
            key: self.bytes_at(parts.key, parts.key_size),
            value: if VALUES { self.bytes_at(parts.value, parts.value_size) } else { &[] },
            deadline_ms: deadline,
        }
    }

    /// The entry with an index below the length.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Entry<'_> {
        self.entry_of(&self.parts(index))
    }

    /// The index of the entry with a key and its mark.
    #[inline]
    pub(super) fn find(&self, mark: u8, key: &[u8]) -> Option<usize> {
        let marks = self.marks();
        let mut from = 0;
        loop {
            let index = from + memchr::memchr(mark, &marks[from..])?;
            let size = self.sizes()[index * Self::SIZES];
            // The size first: a mark fits by chance seldom enough, yet most of those differ in it.
            if usize::from(size & LONG) == key.len().min(LONG.into())
                && self.bytes_at(self.offset_of(index), size) == key
            {
                return Some(index);
            }
            from = index + 1;
        }
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = self.data();
        (0..self.len()).map(move |index| {
            let parts = self.parts_at(index, at);
            at = parts.end;
            self.entry_of(&parts)
        })
    }

    // Changing

    /// Adds an entry.
    pub(super) fn push(&mut self, mark: u8, entry: Entry<'_>) {
        let key_size = size_of_bytes(entry.key) | if entry.deadline_ms.is_some() { TIMED } else { 0 };
        let value_size = if VALUES { size_of_bytes(entry.value) } else { 0 };
        let stored = stored_bytes(key_size) + stored_bytes(value_size);
        let (len, end) = (self.len(), self.0.len().max(COUNT_BYTES));
        let (data, sizes) = (self.data(), COUNT_BYTES + len);
        self.resize(end + 1 + Self::SIZES + stored);
        self.0.copy_within(data..end, data + 1 + Self::SIZES);
        self.0.copy_within(sizes..data, sizes + 1);
        self.0[sizes] = mark;
        self.0[data + 1] = key_size;
        if VALUES {
            self.0[data + 2] = value_size;
        }
        let mut at = end + 1 + Self::SIZES;
        at = self.write(at, entry.key);
        if VALUES {
            at = self.write(at, entry.value);
        }
        if let Some(deadline_ms) = entry.deadline_ms {
            self.0[at..].copy_from_slice(&deadline_ms.to_le_bytes());
        }
        self.set_len(len + 1);
    }

    /// Writes bytes, or a new handle for them; gives the offset behind.
    fn write(&mut self, at: usize, bytes: &[u8]) -> usize {
        if SHORT_LEN_MAX < bytes.len() {
            self.0[at..at + HANDLE_BYTES].copy_from_slice(&long::store(bytes));
            at + HANDLE_BYTES
        } else {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
            at + bytes.len()
        }
    }

    /// Gives an entry another value.
    pub(super) fn set_value(&mut self, index: usize, value: &[u8]) {
        assert!(VALUES);
        let parts = self.parts(index);
        self.free_long(parts.value, parts.value_size);
        let value_size = size_of_bytes(value);
        self.splice(parts.value, parts.deadline, stored_bytes(value_size));
        self.write(parts.value, value);
        let sizes = COUNT_BYTES + self.len();
        self.0[sizes + index * Self::SIZES + 1] = value_size;
    }

    /// Sets or clears the deadline of an entry.
    pub(super) fn set_deadline(&mut self, index: usize, deadline_ms: Option<u64>) {
        let parts = self.parts(index);
        let bytes = DEADLINE_BYTES * usize::from(deadline_ms.is_some());
        self.splice(parts.deadline, parts.end, bytes);
        if let Some(deadline_ms) = deadline_ms {
            self.0[parts.deadline..parts.deadline + bytes].copy_from_slice(&deadline_ms.to_le_bytes());
        }
        let size = COUNT_BYTES + self.len() + index * Self::SIZES;
        self.0[size] = parts.key_size & !TIMED | if deadline_ms.is_some() { TIMED } else { 0 };
    }

    /// Removes an entry; the ones behind it move up.
    pub(super) fn remove(&mut self, index: usize) {
        let parts = self.parts(index);
        self.free_long(parts.key, parts.key_size);
        self.free_long(parts.value, parts.value_size);
        let (len, end) = (self.len(), self.0.len());
        let mark = COUNT_BYTES + index;
        let size = COUNT_BYTES + len + index * Self::SIZES;
        self.0.copy_within(mark + 1..size, mark);
        self.0.copy_within(size + Self::SIZES..parts.key, size - 1);
        self.0.copy_within(parts.end..end, parts.key - 1 - Self::SIZES);
        if len == 1 {
            self.0 = Vec::new();
            return;
        }
        self.set_len(len - 1);
        self.resize(end - (parts.end - parts.key) - 1 - Self::SIZES);
    }

    /// Removes the entries whose deadline has come; tells of their keys before. How many there were, and the first
    /// deadline of those that stay.
    pub(super) fn remove_due(&mut self, now_ms: u64, mut tell: impl FnMut(&[u8])) -> (usize, u64) {
        let mut removed = 0;
        for index in (0..self.len()).rev() {
            let entry = self.entry(index);
            if entry.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                tell(entry.key);
                self.remove(index);
                removed += 1;
            }
        }
        (removed, self.iter().filter_map(|entry| entry.deadline_ms).min().unwrap_or(NEVER_MS))
    }

    /// Puts each entry into one of two new blobs.
    pub(super) fn distribute(mut self, mut half_of: impl FnMut(Entry<'_>) -> usize) -> [Self; 2] {
        let halves_of: SmallVec<[u8; 128]> = self.iter().map(|entry| half_of(entry) as u8).collect();
        let halves = [0, 1].map(|half| {
            let chosen = || (0..self.len()).filter(|&index| halves_of[index] == half);
            let len = chosen().count();
            let sizes = || chosen().flat_map(|index| &self.sizes()[index * Self::SIZES..][..Self::SIZES]);
            if len == 0 {
                return Blob::default();
            }
            let byte_len =
                COUNT_BYTES + len * (1 + Self::SIZES) + sizes().map(|&size| stored_bytes(size)).sum::<usize>();
            let mut bytes = Vec::with_capacity(allocated_bytes(byte_len));
            bytes.extend_from_slice(&(len as u16).to_le_bytes());
            bytes.extend(chosen().map(|index| self.marks()[index]));
            bytes.extend(sizes());
            let mut at = self.data();
            for (index, &half_of) in halves_of.iter().enumerate() {
                let end = self.parts_at(index, at).end;
                if half_of == half {
                    bytes.extend_from_slice(&self.0[at..end]);
                }
                at = end;
            }
            Blob(bytes)
        });
        // The handles have new owners.
        self.0 = Vec::new();
        halves
    }

    /// Takes over all entries of another.
    pub(super) fn append(&mut self, mut other: Self) {
        let (len, other_len) = (self.len(), other.len());
        if other_len == 0 {
            return;
        }
        let byte_len = self.0.len().max(COUNT_BYTES) + other.0.len() - COUNT_BYTES;
        let mut bytes = Vec::with_capacity(allocated_bytes(byte_len));
        let count = u16::try_from(len + other_len).expect("a bucket has some hundred bytes");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(self.marks());
        bytes.extend_from_slice(other.marks());
        bytes.extend_from_slice(self.sizes());
        bytes.extend_from_slice(other.sizes());
        bytes.extend_from_slice(self.0.get(self.data()..).unwrap_or_default());
        bytes.extend_from_slice(&other.0[other.data()..]);
        debug_assert!(bytes.len() == byte_len);
        // The handles have a new owner.
        other.0 = Vec::new();
        self.0 = bytes;
    }

    fn set_len(&mut self, len: usize) {
        let count = u16::try_from(len).expect("a bucket has some hundred bytes");
        self.0[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// Puts `new_bytes` bytes, still to be written, in the place of a range.
    fn splice(&mut self, start: usize, end: usize, new_bytes: usize) {
        let len_before = self.0.len();
        let len = len_before - (end - start) + new_bytes;
        if len_before < len {
            self.resize(len);
        }
        if start + new_bytes != end {
            self.0.copy_within(end..len_before, start + new_bytes);
        }
        if len < len_before {
            self.resize(len);
        }
    }

    /// Takes on a length, in an allocation of the class that it needs.
    fn resize(&mut self, len: usize) {
        if self.0.capacity() < len {
            self.0.reserve_exact(allocated_bytes(len) - self.0.len());
        }
        self.0.resize(len, 0);
        let wanted_bytes = allocated_bytes(len);
        if SHRINK_BYTES_MIN < self.0.capacity() && 2 * wanted_bytes <= self.0.capacity() {
            self.0.shrink_to(wanted_bytes);
        }
    }

    fn free_long(&mut self, at: usize, size: u8) {
        if is_long(size) {
            // SAFETY: the handle was made when the entry was added or changed; its place is overwritten or removed by
            // the caller.
            unsafe { long::free(&self.0[at..at + HANDLE_BYTES]) };
        }
    }
}

impl<const VALUES: bool> Drop for Blob<VALUES> {
    fn drop(&mut self) {
        if self.has_long() {
            // SAFETY: the blob owns what its handles stand for, and is not used again.
            self.for_each_handle(|handle| unsafe { long::free(handle) });
        }
    }
}
