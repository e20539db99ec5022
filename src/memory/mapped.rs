//! Large blocks: pages straight from the kernel. They grow without being copied, and go back bit by bit, so that
//! neither a value of half a gigabyte that arrives nor one that is deleted makes anybody wait. Who takes new pages
//! while others wait to go back gives as many back: that takes less long than filling the new ones, and so what waits
//! does not pile up, however fast large values come and go.
//!
//! ```text
//! in use    [ the block, whole pages ]
//! freed     [ next block | bytes left ][ pages … ]   given back from the end, some at a time
//! ```
//! Not here: who counts them, and which blocks are large (see the module above).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages of the machines that this runs on; a kernel with larger ones rounds up by itself.
const PAGE_BYTES: usize = 4096;
/// Blocks that wait to be given back may take so much on one thread; what is freed beyond goes back at once.
const WAITING_BYTES_MAX: usize = 1 << 30;

/// A larger block that has to hold zeros comes from the kernel, even if there is one to be taken again.
const CLEARED_BYTES_MAX: usize = 64 << 20;

/// Bytes of all large blocks, those that wait to be given back included.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What a freed block's memory says while it waits.
struct Freed {
    next: *mut Freed,
    bytes: usize,
}

thread_local! {
    /// Whether this thread calls [`give_back_some`] now and then.
    static GIVES_BACK: Cell<bool> = const { Cell::new(false) };
    static FIRST: Cell<*mut Freed> = const { Cell::new(ptr::null_mut()) };
    static WAITING_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that a block of `size` takes.
pub(super) fn rounded(size: usize) -> usize {
    size.next_multiple_of(PAGE_BYTES)
}

/// A block, or null. It holds zeros if `is_zeroed`, else anything.
pub(super) fn allocate(size: usize, is_zeroed: bool) -> *mut u8 {
    // To clear a large block takes longer than to get one whose pages come one by one, when they are touched.
    if (!is_zeroed || size <= CLEARED_BYTES_MAX)
        && let Some(start) = take_freed(rounded(size))
    {
        if is_zeroed {
            // SAFETY: the block is ours and so large.
            unsafe { start.write_bytes(0, size) };
        }
        return start;
    }
    // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases nothing.
    let start = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(ptr::null_mut(), rounded(size), access, kind, -1, 0)
    };
    if start == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    HELD_BYTES.fetch_add(rounded(size), Ordering::Relaxed);
    make_up_for(rounded(size));
    start.cast()
}

/// So many bytes were taken from the kernel: as many of those that wait go back.
fn make_up_for(bytes: usize) {
    let goal = WAITING_BYTES.get().saturating_sub(bytes);
    while has_freed() && goal < WAITING_BYTES.get() {
        give_back_some(WAITING_BYTES.get() - goal);
    }
}

/// The block freed last, if it is about as large as is wanted: memory that comes and goes with a command is then not
/// asked of the kernel page by page each time.
fn take_freed(wanted_bytes: usize) -> Option<*mut u8> {
    let first = FIRST.get();
    if first.is_null() {
        return None;
    }
    // SAFETY: what is in the list was written by `free` and belongs to this thread.
    let Freed { next, bytes } = unsafe { first.read() };
    if bytes < wanted_bytes || wanted_bytes.saturating_mul(2) < bytes {
        return None;
    }
    FIRST.set(next);
    WAITING_BYTES.set(WAITING_BYTES.get() - bytes);
    let start: *mut u8 = first.cast();
    if wanted_bytes < bytes {
        // SAFETY: whole pages at the end of a block that nobody uses.
        unsafe { unmap(start.add(wanted_bytes), bytes - wanted_bytes) };
    }
    Some(start)
}

/// A block of another size with the same bytes at its front, or null, and then the old one is as it was.
///
/// # Safety
/// `start` is a block of [`allocate`] whose size was `size`; it is used no more unless null is returned.
pub(super) unsafe fn resize(start: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    let (before, after) = (rounded(size), rounded(new_size));
    // SAFETY: by the caller the range is one of ours; its pages keep what they hold wherever they move.
    let moved = unsafe { libc::mremap(start.cast(), before, after, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    HELD_BYTES.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    make_up_for(after.saturating_sub(before));
    moved.cast()
}

/// Gives a block back: now, or, on a thread that does so by and by, later.
///
/// # Safety
/// `start` is a block of [`allocate`] whose size was `size`; it is used no more.
pub(super) unsafe fn free(start: *mut u8, size: usize) {
    let bytes = rounded(size);
    let waiting_bytes = WAITING_BYTES.get() + bytes;
    if !GIVES_BACK.get() || WAITING_BYTES_MAX < waiting_bytes {
        // SAFETY: by the caller.
        unsafe { unmap(start, bytes) };
        return;
    }
    let freed: *mut Freed = start.cast();
    // SAFETY: the block is large and aligned to a page, and nobody else uses it.
    unsafe { freed.write(Freed { next: FIRST.get(), bytes }) };
    FIRST.set(freed);
    WAITING_BYTES.set(waiting_bytes);
}

/// # Safety
/// The range consists of whole pages of large blocks that nobody uses.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    // SAFETY: by the caller.
    let result = unsafe { libc::munmap(start.cast(), bytes) };
    assert_eq!(result, 0, "pages of ours can be given back");
    HELD_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}

/// From now on what this thread frees waits for [`give_back_some`].
pub fn give_back_slowly() {
    GIVES_BACK.set(true);
}

/// Whether anything waits on this thread.
#[inline]
pub fn has_freed() -> bool {
    !FIRST.get().is_null()
}

/// Gives back about so many bytes of what waits on this thread. True if there is more.
pub fn give_back_some(bytes_max: usize) -> bool {
    let bytes_max = rounded(bytes_max.max(1));
    let first = FIRST.get();
    if first.is_null() {
        return false;
    }
    // SAFETY: what is in the list was written by `free` and belongs to this thread.
    let Freed { next, bytes } = unsafe { first.read() };
    let given = if bytes <= bytes_max {
        FIRST.set(next);
        // SAFETY: the whole block; nothing refers to it any more.
        unsafe { unmap(first.cast(), bytes) };
        bytes
    } else {
        let left = bytes - bytes_max;
        // SAFETY: the end of the block, whole pages behind its first; the note of what is left is in the first.
        unsafe {
            (*first).bytes = left;
            unmap(first.cast::<u8>().add(left), bytes_max);
        }
        bytes_max
    };
    WAITING_BYTES.set(WAITING_BYTES.get() - given);
    has_freed()
}

/// Bytes that large blocks hold from the system, over all threads.
pub(super) fn held_bytes() -> u64 {
    HELD_BYTES.load(Ordering::Relaxed) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const BYTES: usize = 64 * MIB;

    #[test]
    fn a_growing_block_keeps_its_bytes_and_is_not_copied() {
        let mut bytes: Vec<u8> = Vec::with_capacity(BYTES);
        bytes.extend((0..BYTES).map(|at| at as u8));
        // Were it copied, all the pages of the new block would be taken while those of the old are still there.
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells");
            let line = status.lines().find(|line| line.starts_with("Anonymous:")).expect("a line").to_string();
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number")
        };
        let before = resident_kib();
        bytes.reserve_exact(BYTES);
        assert!(resident_kib() < before + BYTES / 1024 / 2, "{before} KiB before");
        assert!(2 * BYTES <= bytes.capacity());
        assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == at as u8));
        bytes.truncate(5);
        bytes.shrink_to_fit();
        assert_eq!(bytes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_block_of_the_same_size_is_taken_again() {
        std::thread::spawn(|| {
            give_back_slowly();
            let first = vec![7u8; BYTES];
            let start = first.as_ptr();
            drop(first);
            let again = vec![0u8; BYTES * 3 / 4];
            assert!(again.as_ptr() == start && again.iter().all(|&byte| byte == 0) && !has_freed());
            drop(again);
            let small = Vec::<u8>::with_capacity(BYTES / 8);
            assert!(small.as_ptr() != start && has_freed(), "not worth it");
            while give_back_some(BYTES) {}
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_waits_does_not_pile_up() {
        std::thread::spawn(|| {
            give_back_slowly();
            for size in (1..20).map(|count| count * 3 * MIB) {
                drop(vec![1u8; size + BYTES / 8]); // Ever larger: none is taken again.
                assert!(WAITING_BYTES.get() <= 2 * (size + BYTES / 8), "{} bytes wait", WAITING_BYTES.get());
            }
            let mut grown = vec![1u8; BYTES];
            let waiting = WAITING_BYTES.get();
            grown.reserve_exact(BYTES / 2);
            assert!(WAITING_BYTES.get() <= waiting.saturating_sub(BYTES / 2 - PAGE_BYTES));
            while give_back_some(usize::MAX >> 1) {}
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_freed_block_goes_back_in_slices() {
        std::thread::spawn(|| {
            give_back_slowly();
            assert!(!has_freed() && !give_back_some(1));
            let mut blocks: Vec<Vec<u8>> = (0..3).map(|_| vec![1; BYTES]).collect();
            blocks.pop();
            assert!(has_freed());
            let slice = BYTES / 4;
            assert!((0..3).all(|_| give_back_some(slice)));
            blocks.pop(); // In front of what is left of the first.
            assert!((0..4).all(|_| give_back_some(slice)), "the second, whole");
            assert!(!give_back_some(slice) && !has_freed());
            assert!(blocks[0].iter().all(|&byte| byte == 1));
            // More than may wait: what is beyond goes back at once.
            for _ in 0..2 {
                drop(Vec::<u8>::with_capacity(WAITING_BYTES_MAX / 2 + PAGE_BYTES));
            }
            assert_eq!(WAITING_BYTES.get(), WAITING_BYTES_MAX / 2 + PAGE_BYTES);
            while give_back_some(usize::MAX >> 1) {}
            assert_eq!(WAITING_BYTES.get(), 0);
        })
        .join()
        .unwrap();
    }
}
