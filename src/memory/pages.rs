//! Pages of the allocator: how those whose blocks are free come back to the system, without anybody waiting for it, and
//! what of the others can.
//!
//! ```text
//! block freed ──▶ page of the thread that allocated it ──▶ free page, of nobody ──▶ the system
//!    by its own thread: at once; by another: when the owner looks       when somebody purges
//! ```
//! mimalloc does either when it is asked for memory, all there is at a time, and not at all while it is not asked. Left
//! to itself, a server that was emptied kept its memory for good. A sweep of a heap of 600 MB in blocks of 64 bytes,
//! half of them freed by another thread, took 76 ms, and mimalloc makes one every 10,000 times it needs a page.
//!
//! So it is told not to ([`keep`]); cores look through their heaps in slices ([`collect_some`]), when there is reason
//! to, and a thread that serves nobody gives free pages back ([`purge`]): see `src/runtime/give_back.rs`. Pages that
//! are free and not yet given back are used again first. A slice of 8192 blocks takes 0.1 to 0.25 ms.
//!
//! # Free blocks between used ones
//!
//! A page of mimalloc has 64 KiB to 4 MiB, and stays while one of its blocks is in use: values of 10 kB of which three
//! in four have gone, here and there, leave nearly all of their pages. But a free block from [`thin_some`]'s least size
//! on has whole pages of the system in it, of which nobody needs a byte: only its first words say something (which
//! block is the next free one). Those go back, the block stays free, and who is given it finds zeros there and has the
//! kernel bring a page for what is written.
//!
//! ```text
//!   page of mimalloc  ┃ used     │ next … free   ┃        ┃      │ used       │ next … free ┃       ┃     │ used …
//!   pages of 4 KiB    ┃          ┃   stays       ┃  back  ┃ stays        ┃                 ┃  back ┃
//! ```
//! What was freed a moment ago is taken again in a moment, mostly, and then the kernel's page would have been for
//! nothing. So a sweep only marks blocks (in their second word), and gives back those that an earlier sweep has marked:
//! they were free for a second at least. What was given back is marked too, and is not looked at twice. Pages are the
//! thread's own: those in its heap, and those that its heap has put down because they were full; nobody else touches
//! their lists of free blocks, and what other threads free waits elsewhere until it is taken back.
//!
//! Blocks below 8 KiB stay as they are; what would help there is to move entries out of pages that are nearly empty.
//!
//! Measured, bytes resident of 96 MB in blocks of one size, three in four freed at random (24 MB live): 8.1 kB 59 MB
//! (before 90), 10 kB 52 (86), 16 kB 44 (100), 50 kB 35 (104), 100 kB 31 (110), 500 kB 29 (88). A slice of 512 takes
//! some 0.1 ms.
#![allow(unsafe_code)]

use std::cell::Cell;

// See `pages.c`.
unsafe extern "C" {
    fn corering_pages_keep();
    fn corering_pages_collect(bin: *mut usize, blocks_max: usize) -> bool;
    fn corering_pages_thin(thin: *mut Thin, is_at_once: bool, work_max: usize) -> bool;
    fn corering_pages_purge();
}

/// `corering_thin_t` of `pages.c`: where a thread's sweep goes on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Thin {
    sweep: usize,
    bin: usize,
    page: *mut u8,
    start: *mut u8,
    arena: usize,
    slice: usize,
    is_abandoned: bool,
    given_bytes: usize,
    marked_bytes: usize,
}

impl Thin {
    const fn new() -> Thin {
        let nothing = std::ptr::null_mut();
        Thin {
            sweep: 0,
            bin: 0,
            page: nothing,
            start: nothing,
            arena: 0,
            slice: 0,
            is_abandoned: false,
            given_bytes: 0,
            marked_bytes: 0,
        }
    }
}

thread_local! {
    /// Where the calling thread goes on giving back what is in free blocks.
    static THIN: Cell<Thin> = const { Cell::new(Thin::new()) };
    /// The size class that the calling thread looks through next.
    static BIN: Cell<usize> = const { Cell::new(0) };
}

/// From now on free pages stay until somebody calls [`purge`], and heaps are looked through by [`collect_some`].
pub fn keep() {
    // SAFETY: no preconditions.
    unsafe { corering_pages_keep() }
}

/// Takes back some blocks of the calling thread's heap that other threads have freed, and the pages that are empty
/// then, for which 32 count. True if there is more. A page where there is nothing to do takes some 5 ns; those with
/// room are gone through each time: 0.1 ms per GiB.
pub fn collect_some(blocks_max: usize) -> bool {
    let mut bin = BIN.get();
    // SAFETY: a valid place to write, and a size class of the heap: 0, or what came back last.
    let is_more = unsafe { corering_pages_collect(&mut bin, blocks_max) };
    BIN.set(bin);
    is_more
}

/// Gives back what lies in free blocks of the calling thread's heap, from 8 KiB on, that an earlier sweep has seen free
/// already. True if there is more. A unit of work is some 0.1 µs: one for a page or block that is looked at, 16 and
/// more for one that is given back.
pub fn thin_some(work_max: usize) -> bool {
    thin(false, work_max)
}

/// The same of all free blocks, however long they have been free and however long it takes.
pub fn thin_all() {
    thin(false, usize::MAX); // Ends the sweep that has begun, if one has.
    thin(true, usize::MAX);
}

fn thin(is_at_once: bool, work_max: usize) -> bool {
    let mut state = THIN.get();
    // SAFETY: a valid place with what this thread left there last, or nothing; it looks at this thread's heap alone,
    // and gives back memory that no block in use has a byte in.
    let is_more = unsafe { corering_pages_thin(&mut state, is_at_once, work_max) };
    THIN.set(state);
    is_more
}

/// Bytes of blocks that the calling thread's sweeps have seen free for the first time since this was asked last: the
/// next sweep gives back what is free still.
pub fn take_marked_bytes() -> u64 {
    let mut state = THIN.get();
    let bytes = std::mem::take(&mut state.marked_bytes);
    THIN.set(state);
    bytes as u64
}

/// Gives the free pages of all threads back to the system.
pub fn purge() {
    // SAFETY: no preconditions.
    unsafe { corering_pages_purge() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::mpsc::sync_channel;

    const BYTES: usize = 64 << 20;
    const BLOCK_BYTES: usize = 1000;

    /// How many of these pages are in memory.
    fn resident(pages: &BTreeSet<usize>) -> usize {
        let is_resident = |&&page: &&usize| {
            let mut state = 0;
            // SAFETY: a question about an address, whatever is there, and a place for the answer about one page.
            let result = unsafe { libc::mincore(std::ptr::without_provenance_mut(page), 1, &mut state) };
            result == 0 && state & 1 != 0
        };
        pages.iter().filter(is_resident).count()
    }

    /// Runs a test in a process of its own: which pages are in memory is shared with the tests beside it, which give
    /// back and take what is free.
    fn alone(name: &str, check: fn()) {
        const IS_ALONE: &str = "CORERING_TEST_IS_ALONE";
        if std::env::var_os(IS_ALONE).is_some() {
            return check();
        }
        let mut test = std::process::Command::new(std::env::current_exe().expect("this is a program"));
        test.args(["--exact", &format!("memory::pages::tests::{name}"), "--nocapture"]).env(IS_ALONE, "1");
        let output = test.output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn what_another_thread_has_freed_comes_back_in_slices() {
        alone("what_another_thread_has_freed_comes_back_in_slices", freed_by_another_thread);
    }

    fn freed_by_another_thread() {
        keep();
        // On a thread of its own, whose heap has nothing else.
        std::thread::spawn(|| {
            let (freer, blocks) = sync_channel::<Vec<Box<[u8; BLOCK_BYTES]>>>(1);
            let freeing = std::thread::spawn(move || blocks.iter().for_each(drop));
            let mut all: Vec<_> = (0..BYTES / BLOCK_BYTES).map(|_| Box::new([1u8; BLOCK_BYTES])).collect();
            let len = all.len();
            let pages: BTreeSet<usize> = all.iter().map(|block| block.as_ptr().addr() / 4096 * 4096).collect();
            // Of every page some blocks are freed here first: then it is this thread's again, and the others', which
            // come after, wait there.
            let mut kept = Vec::new();
            for (index, block) in all.drain(..).enumerate() {
                if index % 8 != 0 {
                    kept.push(block);
                }
            }
            freer.send(kept).expect("the other thread listens");
            drop(freer);
            freeing.join().expect("it ends");
            let mut slices = 0;
            while collect_some(1000) {
                slices += 1;
            }
            assert!(len / 2000 < slices, "{slices} slices for {len} blocks");
            let before = resident(&pages);
            assert!(pages.len() / 2 < before, "nobody else gives them back: {before} of {}", pages.len());
            purge();
            let after = resident(&pages);
            assert!(after < before / 4, "{after} pages of {before} are left");
        })
        .join()
        .expect("no assertion fails");
    }

    /// Whole pages of the system behind the first words of a block.
    fn inside(block: &[u8]) -> impl Iterator<Item = usize> {
        let start = block.as_ptr().addr();
        ((start + 16).next_multiple_of(4096)..(start + block.len()) / 4096 * 4096).step_by(4096)
    }

    #[test]
    fn what_lies_in_blocks_that_stay_free_goes_back_and_nothing_else() {
        alone("what_lies_in_blocks_that_stay_free_goes_back_and_nothing_else", thinned);
    }

    fn thinned() {
        keep();
        // In pages of 512 KiB, which come back to their heap when a block is freed, and in such of 4 MiB, which do not.
        for (len, by_another) in [(20_000, false), (200_000, false), (20_000, true), (200_000, true)] {
            let check = move || {
                let mut all: Vec<_> = (0..BYTES / len).map(|at| (at as u8, vec![at as u8; len])).collect();
                let (mut freed, mut lot) = (Vec::new(), 1u64);
                all.retain_mut(|(_, block)| {
                    lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let stays = lot >> 62 == 0;
                    freed.extend((!stays).then(|| std::mem::take(block)));
                    stays
                });
                let pages: BTreeSet<usize> = freed.iter().flat_map(|block| inside(block)).collect();
                if by_another {
                    let others = freed.split_off(freed.len() / 2);
                    std::thread::spawn(|| drop(others)).join().expect("it ends");
                }
                drop(freed);
                while collect_some(usize::MAX) {}
                let mut slices = 0;
                while thin_some(100) {
                    slices += 1;
                }
                let before = resident(&pages);
                assert!(pages.len() / 2 < before, "what was freed just now stays: {before} of {}", pages.len());
                while thin_some(100) {
                    slices += 1;
                }
                let (after, given) = (resident(&pages), THIN.get().given_bytes);
                let most = if by_another { before * 3 / 4 } else { before / 8 };
                assert!(after < most, "{len} {by_another}: {after} pages of {before} are left");
                assert!(given / 4096 / 1500 < slices, "{slices} slices for {given} bytes");
                while thin_some(100) {}
                thin_all();
                assert!(THIN.get().given_bytes - given < given / 8, "nothing goes back twice");
                for (byte, block) in &all {
                    assert!(block.iter().all(|it| it == byte), "what is in use stays");
                }
                for _ in 0..BYTES / len {
                    let block = vec![0; len];
                    assert!(block.iter().all(|&it| it == 0));
                    all.push((0, block));
                }
                drop(all);
            };
            std::thread::spawn(check).join().expect("no assertion fails");
        }
    }

    #[test]
    fn blocks_that_come_and_go_on_several_threads_keep_what_is_in_them() {
        keep();
        let (sender, receiver) = sync_channel::<(u8, Vec<u8>)>(64);
        let check = |(byte, block): (u8, Vec<u8>)| assert!(block.iter().all(|&it| it == byte));
        let threads = [1u64, 2, 3].map(|mut lot| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut own: Vec<Option<(u8, Vec<u8>)>> = vec![None; 200];
                for step in 0..10_000 {
                    lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let (at, len) =
                        ((lot >> 56) as usize % own.len(), (lot >> 20) as usize % (1000 << ((lot >> 60) / 2)));
                    match own[at].take() {
                        Some(block) if lot >> 40 & 1 == 0 => sender.send(block).expect("somebody takes it"),
                        Some(block) => check(block),
                        None => own[at] = Some((step as u8, vec![step as u8; len])),
                    }
                    if step % 100 == 0 {
                        thin_some(50);
                        collect_some(100);
                    }
                    if step % 1000 == 0 {
                        thin_all();
                    }
                }
                own.into_iter().flatten().for_each(check);
            })
        });
        drop(sender);
        receiver.iter().for_each(check);
        for thread in threads {
            thread.join().expect("no assertion fails");
        }
    }
}
