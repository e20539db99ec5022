//! The allocator, and how much of it is in use: what `used_memory` says and what `maxmemory` is compared with.
//!
//! mimalloc gives the memory. Around it, every thread adds the size of each block it is given, and subtracts that of
//! each block it frees, in a counter of its own: a load and a store, no atomic read-modify-write, no shared cache line.
//! A block that one thread allocates and another frees leaves the second counter too low by as much as the first is too
//! high; only their sum means anything, and it is exact. Counted is what a block takes, the allocator's rounding
//! included, not what was asked for.
//!
//! ```text
//! thread-local          a place per thread, on cache lines of its own
//! ┌──────┐      ┌──────────────┐┌──────────────┐     ┌──────────────┐┌──────────────────┐
//! │ mine ├────▶ │ bytes, taken ││ bytes, taken │  …  │ bytes, taken ││ everybody: bytes │ ◀── read-modify-write
//! └──────┘      └──────────────┘└──────────────┘     └──────────────┘└──────────────────┘
//! ```
//! A thread that ends gives its place back with the counter as it is; the next one goes on counting there. Threads
//! beyond the last place, and the last moments of a thread, count in the place of everybody, at the price of an atomic
//! addition.
//!
//! Blocks of 4 MiB or more do not come from mimalloc: see [`mapped`]. A few blocks of entries wait for the next
//! entries: see [`spare`]. What mimalloc holds and nobody uses goes back to the system beside what is served: see
//! [`pages`].
//!
//! # Leases
//!
//! Asking for the sum reads a line of every thread, so a core does not ask before every command. When it asks, it takes
//! a **lease**: so many bytes it may add before it asks again ([`lease_bytes`]). [`is_within_lease`] compares the
//! thread's own counter with the lease's end. The leases of all cores together never exceed what was left below the
//! limit by more than [`LEASES_BYTES_MAX`], and with one core not at all. There is no budget per core that could run
//! out while another has room.
//!
//! Not here: the memory of rings and sockets (the kernel's), and who used what (`Keyspace` counts its own).
//!
//! Measured: 16 to 127 bytes, a thousand blocks live, one allocation with its release, median of nine runs of 20
//! million on a virtual machine: uncounted 5.9 ns (6.4 ns through the crate, which asks for an alignment that blocks
//! have anyway), counted 7.1 ns; with one shared atomic counter instead 24 ns.
#![allow(unsafe_code)]

pub mod mapped;
pub mod pages;
pub mod spare;

use mimalloc as _; // Links the allocator; its functions are declared below.
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

// The functions of mimalloc 3 that report a block's size along with the work, so that it is not looked up twice; and
// those for diagnosis.
unsafe extern "C" {
    fn mi_umalloc(size: usize, block_size: *mut usize) -> *mut u8;
    fn mi_ucalloc(count: usize, size: usize, block_size: *mut usize) -> *mut u8;
    fn mi_urealloc(p: *mut u8, size: usize, before: *mut usize, after: *mut usize) -> *mut u8;
    fn mi_ufree(p: *mut u8, block_size: *mut usize);
    fn mi_malloc_aligned(size: usize, alignment: usize) -> *mut u8;
    fn mi_zalloc_aligned(size: usize, alignment: usize) -> *mut u8;
    fn mi_realloc_aligned(p: *mut u8, size: usize, alignment: usize) -> *mut u8;
    fn mi_usable_size(p: *const c_void) -> usize;
    fn mi_version() -> i32;
    fn mi_stats_print_out(out: Option<unsafe extern "C" fn(*const c_char, *mut c_void)>, arg: *mut c_void);
    fn mi_process_info(
        elapsed_ms: *mut usize,
        user_ms: *mut usize,
        system_ms: *mut usize,
        resident: *mut usize,
        resident_max: *mut usize,
        committed: *mut usize,
        committed_max: *mut usize,
        page_faults: *mut usize,
    );
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Threads that count on their own at the same time: more than cores and helpers of any machine in sight.
const THREADS_MAX: usize = 2048;

/// What a thread writes. Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
struct Place {
    /// Allocated less freed. Written by the thread that has taken the place, read by all.
    bytes: AtomicI64,
    taken: AtomicBool,
}

impl Place {
    const fn empty() -> Place {
        Place { bytes: AtomicI64::new(0), taken: AtomicBool::new(false) }
    }
}

static PLACES: [Place; THREADS_MAX] = [const { Place::empty() }; THREADS_MAX];
static EVERYBODY: Place = Place::empty();
/// No place from this one on was ever taken.
static PLACES_USED: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicU64 = AtomicU64::new(0);
static STARTUP_BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The thread's place; `None` before its first allocation and after its last.
    static MINE: Cell<Option<&'static Place>> = const { Cell::new(None) };
    /// The count of the thread's place up to which it may go without asking for the sum.
    static LEASE_END: Cell<i64> = const { Cell::new(i64::MAX) };
    /// What the thread may still have added by others.
    static LEFT_FOR_OTHERS: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Gives the place back when the thread ends. Apart from `MINE`, which as a plain cell costs no check to read.
    static LEAVING: Leaving = const { Leaving };
}

struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(place) = MINE.take() {
            // Release: the next owner adds to what this one counted.
            place.taken.store(false, Ordering::Release);
        }
    }
}

#[inline]
fn count(bytes: i64) {
    let Some(place) = MINE.get() else { return count_first(bytes) };
    // Nobody else writes here; readers see some recent value.
    place.bytes.store(place.bytes.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
}

#[cold]
#[inline(never)]
fn count_first(bytes: i64) {
    let free = |place: &&Place| place.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
    // A thread whose `LEAVING` was dropped already would never give a place back.
    let ending = LEAVING.try_with(|_| ()).is_err();
    let found = if ending { None } else { PLACES.iter().enumerate().find(|(_, place)| free(place)) };
    let Some((index, place)) = found else {
        EVERYBODY.bytes.fetch_add(bytes, Ordering::Relaxed);
        return;
    };
    PLACES_USED.fetch_max(index + 1, Ordering::Release);
    MINE.set(Some(place));
    count(bytes);
}

/// Bytes in use now, over all threads.
pub fn used_bytes() -> u64 {
    let used = &PLACES[..PLACES_USED.load(Ordering::Acquire)];
    let sum =
        used.iter().chain([&EVERYBODY]).fold(0i64, |sum, place| sum.wrapping_add(place.bytes.load(Ordering::Relaxed)));
    // Between two reads a block may have been freed whose allocation was not seen: never below zero for long.
    let sum = sum.max(0) as u64;
    // Mostly below the peak: then the shared line is only read.
    if PEAK_BYTES.load(Ordering::Relaxed) < sum {
        PEAK_BYTES.fetch_max(sum, Ordering::Relaxed);
    }
    sum
}

/// The leases of all cores together: what the sum may pass the limit by because cores do not ask all the time.
pub const LEASES_BYTES_MAX: u64 = 4 << 20;
/// Of a small limit, leases are at most this part.
const LEASES_PART: u64 = 2048;

/// How much one of so many cores may add before it asks again, in bytes: its part of what is left below the limit, or
/// of what all leases may come to.
pub fn lease_bytes(limit_bytes: u64, used_bytes: u64, cores: usize) -> u64 {
    let leases_max = LEASES_BYTES_MAX.min(limit_bytes / LEASES_PART);
    limit_bytes.saturating_sub(used_bytes).min(leases_max) / cores as u64
}

/// The calling thread may add so many bytes from now on; `u64::MAX`: any number.
pub fn take_lease(bytes: u64) {
    let now = MINE.get().map_or(0, |place| place.bytes.load(Ordering::Relaxed));
    LEASE_END.set(now.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX)));
    LEFT_FOR_OTHERS.set(bytes);
}

/// The calling thread has so many bytes added by others: no more of them than the lease has. Counted apart, since the
/// thread's own count falls when it frees what others sent it, while those make more of it.
#[inline]
pub fn spend_lease(bytes: usize) {
    match LEFT_FOR_OTHERS.get().checked_sub(bytes as u64) {
        Some(left) => LEFT_FOR_OTHERS.set(left),
        None => end_lease(),
    }
}

/// The calling thread has to ask before it adds anything.
pub fn end_lease() {
    LEASE_END.set(i64::MIN);
}

/// Whether the calling thread may add so many bytes without asking.
#[inline]
pub fn is_within_lease(more_bytes: usize) -> bool {
    let Some(place) = MINE.get() else { return LEASE_END.get() == i64::MAX };
    place.bytes.load(Ordering::Relaxed).saturating_add_unsigned(more_bytes as u64) <= LEASE_END.get()
}

/// The most that [`used_bytes`] ever returned. It is called at least ten times a second, so a shorter peak goes unseen.
pub fn peak_bytes() -> u64 {
    PEAK_BYTES.load(Ordering::Relaxed)
}

/// Remembers what is in use as what the server itself takes before it holds any data. To be called once it serves.
pub fn mark_startup() {
    STARTUP_BYTES.store(used_bytes(), Ordering::Relaxed);
}

/// What was in use at [`mark_startup`]; 0 before.
pub fn startup_bytes() -> u64 {
    STARTUP_BYTES.load(Ordering::Relaxed)
}

/// Bytes that the allocator holds from the system: blocks in use, free blocks, and rests of pages.
pub fn held_bytes() -> u64 {
    let mut committed = 0;
    let mut ignored = [0usize; 7];
    let [a, b, c, d, e, f, g] = &mut ignored;
    // SAFETY: eight distinct valid places to write.
    unsafe { mi_process_info(a, b, c, d, e, &mut committed, f, g) };
    committed as u64 + mapped::held_bytes()
}

/// Gives free memory of the calling thread, and what no thread owns, back to the system, all at once.
pub fn give_back() {
    spare::free_all();
    while mapped::give_back_some(usize::MAX >> 1) {}
    while pages::collect_some(usize::MAX) {}
    pages::thin_all();
    pages::purge();
}

/// Name and version of the allocator: `mimalloc-3.3.2`.
pub fn allocator_name() -> String {
    // SAFETY: no preconditions.
    let version = unsafe { mi_version() };
    format!("mimalloc-{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

/// The allocator's own report, a text of many lines.
pub fn report() -> String {
    unsafe extern "C" fn append(text: *const c_char, out: *mut c_void) {
        // SAFETY: mimalloc hands in a C string, and `out` as it was given below.
        let (text, out) = unsafe { (CStr::from_ptr(text), &mut *out.cast::<String>()) };
        out.push_str(&text.to_string_lossy());
    }
    let mut out = String::new();
    // SAFETY: `append` gets the string behind `out`, which lives until the call ends.
    unsafe { mi_stats_print_out(Some(append), (&raw mut out).cast()) };
    out
}

/// mimalloc, counted.
struct Counting;

/// Up to this alignment every block of mimalloc is aligned by itself. Asked for it nevertheless, it would take more
/// room than needed for some sizes (32 bytes for 5).
const NATURAL_ALIGNMENT: usize = 8;

/// From this size on, in bytes, a block is mapped. The kernel allows 65,530 mappings; neighbours count as one.
const MAPPED_BYTES_MIN: usize = 4 << 20;
/// Alignment, in bytes, that every mapped block has.
const MAPPED_ALIGNMENT: usize = 4096;

/// Whether a block comes from the kernel: decided by what was asked for alone, so that it is known when it is freed.
#[inline]
fn is_mapped(layout: Layout) -> bool {
    MAPPED_BYTES_MIN <= layout.size() && layout.align() <= MAPPED_ALIGNMENT
}

#[cold]
#[inline(never)]
fn allocate_mapped(layout: Layout, is_zeroed: bool) -> *mut u8 {
    let start = mapped::allocate(layout.size(), is_zeroed);
    if !start.is_null() {
        count(mapped::rounded(layout.size()) as i64);
    }
    start
}

/// # Safety
/// As for `GlobalAlloc::dealloc`, of a mapped block.
#[cold]
#[inline(never)]
unsafe fn free_mapped(start: *mut u8, layout: Layout) {
    // SAFETY: by the caller.
    unsafe { mapped::free(start, layout.size()) };
    count(-(mapped::rounded(layout.size()) as i64));
}

/// # Safety
/// As for `GlobalAlloc::realloc`, if the block is mapped, or will be.
#[cold]
#[inline(never)]
unsafe fn resize_mapped(start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: the caller's size is not zero and does not overflow.
    let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    if is_mapped(layout) && is_mapped(new_layout) {
        // SAFETY: by the caller.
        let moved = unsafe { mapped::resize(start, layout.size(), new_size) };
        if !moved.is_null() {
            count(mapped::rounded(new_size) as i64 - mapped::rounded(layout.size()) as i64);
        }
        return moved;
    }
    // SAFETY: both blocks are live and apart, and as long as the smaller size; the old one is freed once.
    unsafe {
        let moved = ALLOCATOR.alloc(new_layout);
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(start, layout.size().min(new_size));
            ALLOCATOR.dealloc(start, layout);
        }
        moved
    }
}

// SAFETY: blocks come from mimalloc, or from the kernel if they are large, and go back to where they came from, with
// the size and alignment asked for; counting does not allocate (places are static, thread-locals need no heap) and does
// not unwind.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return allocate_mapped(layout, false);
        }
        let mut size = 0;
        // SAFETY: any size will do; the alignment is a power of two.
        let start = unsafe {
            if layout.align() <= NATURAL_ALIGNMENT {
                mi_umalloc(layout.size(), &mut size)
            } else {
                let start = mi_malloc_aligned(layout.size(), layout.align());
                size = mi_usable_size(start.cast());
                start
            }
        };
        if !start.is_null() {
            count(size as i64);
        }
        start
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return allocate_mapped(layout, true);
        }
        let mut size = 0;
        // SAFETY: as above.
        let start = unsafe {
            if layout.align() <= NATURAL_ALIGNMENT {
                mi_ucalloc(1, layout.size(), &mut size)
            } else {
                let start = mi_zalloc_aligned(layout.size(), layout.align());
                size = mi_usable_size(start.cast());
                start
            }
        };
        if !start.is_null() {
            count(size as i64);
        }
        start
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: the caller hands back a block of this allocator.
            return unsafe { free_mapped(start, layout) };
        }
        let mut size = 0;
        // SAFETY: the caller hands back a block of this allocator.
        unsafe {
            if layout.align() <= NATURAL_ALIGNMENT {
                mi_ufree(start, &mut size);
            } else {
                size = mi_usable_size(start.cast());
                mi_ufree(start, &mut 0);
            }
        }
        count(-(size as i64));
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if MAPPED_BYTES_MIN <= layout.size().max(new_size) && layout.align() <= MAPPED_ALIGNMENT {
            // SAFETY: the caller hands in a block of this allocator.
            return unsafe { resize_mapped(start, layout, new_size) };
        }
        let (mut before, mut after) = (0, 0);
        // SAFETY: the caller hands in a block of this allocator.
        let start = unsafe {
            if layout.align() <= NATURAL_ALIGNMENT {
                mi_urealloc(start, new_size, &mut before, &mut after)
            } else {
                before = mi_usable_size(start.cast());
                let start = mi_realloc_aligned(start, new_size, layout.align());
                after = mi_usable_size(start.cast());
                start
            }
        };
        if !start.is_null() {
            count(after as i64 - before as i64);
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the calling thread counted so far; other tests' threads do not disturb it.
    fn counted() -> i64 {
        drop(Box::new(0u8)); // Takes a place if there is none yet.
        MINE.get().expect("this thread has a place").bytes.load(Ordering::Relaxed)
    }

    /// Room of a block, as the allocator says.
    fn room(start: *const u8, size: usize) -> i64 {
        if MAPPED_BYTES_MIN <= size {
            return size.next_multiple_of(MAPPED_ALIGNMENT) as i64;
        }
        // SAFETY: blocks handed in here are live ones of the allocator.
        unsafe { mi_usable_size(start.cast()) as i64 }
    }

    #[test]
    fn a_block_counts_for_the_room_it_takes() {
        for align in [1, 8, 16, 64, 4096] {
            for size in
                (1..300).chain([1000, 1025, 5000, 100_000, 1 << 20, (2 << 20) - 1, 2 << 20, (4 << 20) - 1, 20 << 20])
            {
                let before = counted();
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: size is not zero; the block is freed below with the layout it got last.
                unsafe {
                    let start = std::alloc::alloc_zeroed(layout);
                    assert!(start.addr().is_multiple_of(align) && size as i64 <= room(start, size));
                    assert_eq!(counted() - before, room(start, size), "{size} {align}");
                    let start = std::alloc::realloc(start, layout, size * 2);
                    assert_eq!(counted() - before, room(start, 2 * size), "{size} {align} grown");
                    let layout = Layout::from_size_align(size * 2, align).unwrap();
                    let start = std::alloc::realloc(start, layout, size);
                    assert!(start.addr().is_multiple_of(align));
                    assert_eq!(counted() - before, room(start, size), "{size} {align} shrunk");
                    std::alloc::dealloc(start, Layout::from_size_align(size, align).unwrap());
                }
                assert_eq!(counted(), before, "{size} {align} freed");
            }
        }
    }

    #[test]
    fn what_one_thread_allocates_and_another_frees_sums_up_to_nothing() {
        let (to_freer, blocks) = std::sync::mpsc::sync_channel::<Vec<u8>>(8);
        let freer = std::thread::spawn(move || {
            let before = counted();
            let freed: i64 = blocks.iter().map(|block| room(block.as_ptr(), block.len())).sum();
            (freed, counted() - before)
        });
        let allocator = std::thread::spawn(move || {
            let before = counted();
            let mut allocated = 0;
            for index in 0..10_000 {
                let block = vec![0; 1 + index % 3000];
                allocated += room(block.as_ptr(), block.len());
                to_freer.send(block).unwrap();
            }
            drop(to_freer);
            (allocated, counted() - before)
        });
        let (allocated, plus) = allocator.join().unwrap();
        let (freed, minus) = freer.join().unwrap();
        assert_eq!(allocated, freed);
        // The channel itself allocates a little on either side.
        assert!((plus - allocated).abs() < 100_000, "{plus} {allocated}");
        assert!((plus + minus).abs() < 100_000, "{plus} {minus}");
    }

    #[test]
    fn ended_threads_stay_in_the_sum() {
        const BYTES: usize = 256 << 20; // More than all other tests together ever free meanwhile.
        let before = used_bytes();
        let block = std::thread::spawn(|| Vec::<u8>::with_capacity(BYTES)).join().unwrap();
        let during = used_bytes();
        assert!(before + BYTES as u64 / 2 < during, "{before} {during}");
        assert!(during <= peak_bytes());
        drop(block);
        assert!(used_bytes() < before + BYTES as u64 / 2);
        assert!(during <= peak_bytes(), "the peak stays");
    }

    #[test]
    fn a_lease_ends_with_what_is_added() {
        std::thread::spawn(|| {
            assert!(is_within_lease(usize::MAX >> 1), "nobody said that there is a limit");
            drop(Box::new(0u8));
            take_lease(1 << 20);
            assert!(is_within_lease(1 << 20) && !is_within_lease((1 << 20) + 1));
            let block = Vec::<u8>::with_capacity(1 << 19);
            assert!(is_within_lease(1 << 18) && !is_within_lease(1 << 20));
            drop(block);
            assert!(is_within_lease(1 << 20), "what is freed may be taken again");
            spend_lease(1 << 20);
            assert!(is_within_lease(1), "as much as others may add");
            spend_lease(1);
            assert!(!is_within_lease(0), "more than others may add");
            end_lease();
            assert!(!is_within_lease(0));
            take_lease(u64::MAX);
            assert!(is_within_lease(1 << 40));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn leases_come_to_no_more_than_is_left() {
        for cores in [1, 2, 7, 64] {
            for limit in [0u64, 1, 1000, 1 << 20, 100 << 20, 1 << 40] {
                for used in [0, limit / 2, limit.saturating_sub(100), limit, limit + 1] {
                    let leases = lease_bytes(limit, used, cores) * cores as u64;
                    assert!(leases <= limit.saturating_sub(used).min(LEASES_BYTES_MAX));
                    assert!(leases <= limit / 1000);
                }
            }
        }
        assert_eq!(lease_bytes(1 << 30, 0, 4), 1 << 17);
        assert_eq!(lease_bytes(1 << 40, 0, 4), 1 << 20);
    }

    #[test]
    fn places_are_taken_again() {
        // Far more threads than places, a few at a time.
        for _ in 0..THREADS_MAX {
            std::thread::spawn(|| drop(Box::new(0u8))).join().unwrap();
        }
        assert!(PLACES_USED.load(Ordering::Relaxed) < THREADS_MAX / 2);
    }

    #[test]
    fn the_allocator_tells_about_itself() {
        assert!(allocator_name().starts_with("mimalloc-3."), "{}", allocator_name());
        assert!(0 < held_bytes());
        give_back();
        assert!(report().contains("committed"), "{}", report());
    }
}
