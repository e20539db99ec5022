//! Bytes that are too long for a blob: an allocation of their own, and the handle that stands for it in the blob.
//!
//! ```text
//! handle   ┌───────────┬──────────┐
//!          │ address 8 │ length 4 │     a boxed slice, taken apart
//!          └───────────┴──────────┘
//! ```

#![allow(unsafe_code)]

use crate::structure::allocation::allocated_bytes;
use std::ptr;

/// Bytes of a handle.
pub(super) const HANDLE_BYTES: usize = 12;

/// Allocates a copy of the bytes; whoever has the handle owns it.
pub(super) fn store(bytes: &[u8]) -> [u8; HANDLE_BYTES] {
    let len = u32::try_from(bytes.len()).expect("no argument of a command has 4 GiB");
    let start = Box::into_raw(Box::<[u8]>::from(bytes)).cast::<u8>();
    let mut handle = [0; HANDLE_BYTES];
    handle[..8].copy_from_slice(&(start.expose_provenance() as u64).to_le_bytes());
    handle[8..].copy_from_slice(&len.to_le_bytes());
    handle
}

fn slice_of(handle: &[u8]) -> *mut [u8] {
    let (address, len) = handle.split_first_chunk().expect("a handle is whole");
    let len = u32::from_le_bytes(*len.first_chunk().expect("a handle is whole"));
    let start = ptr::with_exposed_provenance_mut(u64::from_le_bytes(*address) as usize);
    ptr::slice_from_raw_parts_mut(start, len as usize)
}

/// What a handle stands for.
///
/// # Safety
/// The handle came from [`store`], and its allocation is not freed while `'a` lasts.
pub(super) unsafe fn read<'a>(handle: &[u8]) -> &'a [u8] {
    // SAFETY: by contract a living allocation, which nobody changes.
    unsafe { &*slice_of(handle) }
}

/// Frees what a handle stands for.
///
/// # Safety
/// The handle came from [`store`], and neither it nor a copy of it is used again.
pub(super) unsafe fn free(handle: &[u8]) {
    // SAFETY: by contract made by `Box::into_raw`, and nobody else's.
    drop(unsafe { Box::from_raw(slice_of(handle)) });
}

/// Bytes that the allocation takes.
pub(super) fn allocated_bytes_of(handle: &[u8]) -> usize {
    allocated_bytes(slice_of(handle).len())
}
