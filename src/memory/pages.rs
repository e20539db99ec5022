//! Pages of the allocator: how those whose blocks are free come back to the system, without anybody waiting for it.
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
#![allow(unsafe_code)]

use std::cell::Cell;

// See `pages.c`.
unsafe extern "C" {
    fn corering_pages_keep();
    fn corering_pages_collect(bin: *mut usize, blocks_max: usize) -> bool;
    fn corering_pages_purge();
}

thread_local! {
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
    const BLOCK_BYTES: usize = 1000;

    #[test]
    fn what_another_thread_has_freed_comes_back_in_slices() {
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
            // Other tests run meanwhile, and may take some.
            assert!(after < before / 4, "{after} pages of {before} are left");
        })
        .join()
        .expect("no assertion fails");
    }
}
