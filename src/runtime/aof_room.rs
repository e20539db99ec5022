//! Room ahead in a lane's file, made so that a write that is synced changes nothing on the disk but its blocks.
//!
//! Where a file is given room (`fallocate`), the file system notes which blocks were never written. The first write
//! into one changes that note, and if it is synced it waits until the change is in the file system's journal as well:
//! three writes of the disk, one after the other, for one. So under `appendfsync always` zeros are written ahead,
//! unsynced, some at a time, while groups are written before them:
//!
//! ```text
//!   │ group │ group │ zeros, written │ zeros, under way │ room that was never written │
//!                   offset           zeroed                                           end
//! ```
//! The change of their notes goes with the next group's sync, once for many groups. Each block is written twice for
//! that; groups beyond a quarter of [`ZEROS_BYTES`] are not worth it, and under `everysec` there is one sync a second,
//! which can wait. Not here: the file, and who writes it ([`super::aof_writer`]).

use crate::sys::file::{BLOCK_BYTES, ZEROS_BYTES};

/// See the module's page. Offsets are in bytes, and multiples of a block.
#[derive(Debug)]
pub(super) struct Room {
    /// Up to here there is room.
    end: u64,
    /// Up to here all was written.
    zeroed: u64,
    /// So many bytes behind that are being written.
    under_way: u64,
    /// They can be.
    can_zero: bool,
}

impl Room {
    /// None behind this offset. `is_direct`: it is written past the page cache.
    pub(super) fn behind(offset: u64, is_direct: bool) -> Room {
        Room { end: offset, zeroed: offset, under_way: 0, can_zero: is_direct }
    }

    /// Whether there is any up to an offset.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        offset <= self.end
    }

    /// There is room up to an offset.
    pub(super) fn note_made(&mut self, end: u64) {
        self.end = end;
    }

    /// The file system cannot make any: it does so when blocks are written.
    pub(super) fn give_up(&mut self) {
        self.end = u64::MAX;
        self.can_zero = false;
    }

    /// Whether zeros are being written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way != 0
    }

    /// Whether no zeros that are being written lie before this offset.
    pub(super) fn is_free(&self, end: u64) -> bool {
        self.under_way == 0 || end <= self.zeroed
    }

    /// A group of so many bytes is being written, and ends here: where zeros are to be written beside it, and how many.
    pub(super) fn zeros_behind(&mut self, end: u64, bytes: u64) -> Option<(u64, usize)> {
        let zeros_bytes = ZEROS_BYTES as u64;
        self.zeroed = self.zeroed.max(end);
        let is_enough = end + zeros_bytes / 2 <= self.zeroed;
        if !self.can_zero || self.is_under_way() || is_enough || zeros_bytes / 4 < bytes {
            return None;
        }
        self.under_way = zeros_bytes.min(self.end.saturating_sub(self.zeroed));
        self.is_under_way().then_some((self.zeroed, self.under_way as usize))
    }

    /// So many zeros were written, or why they were not; then there are no more in this file.
    pub(super) fn note_zeroed(&mut self, result: Result<usize, i32>) {
        assert!(self.is_under_way(), "zeros that nobody asked for");
        let bytes = match result {
            Ok(bytes) => (bytes - bytes % BLOCK_BYTES) as u64,
            Err(_) => 0,
        };
        self.zeroed += bytes;
        self.can_zero = bytes != 0;
        self.under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: u64 = ZEROS_BYTES as u64;

    #[test]
    fn small_groups_are_written_over_zeros_and_never_beside_them() {
        let mut room = Room::behind(8192, true);
        assert!(!room.reaches(12_288));
        room.note_made(1 << 20);
        // The first group comes before any.
        assert!(room.is_free(12_288));
        assert_eq!(room.zeros_behind(12_288, 4096), Some((12_288, ZEROS_BYTES)));
        assert!(room.is_free(12_288) && !room.is_free(16_384), "zeros would fall upon the next group");
        assert_eq!(room.zeros_behind(12_288, 4096), None, "one at a time");
        room.note_zeroed(Ok(ZEROS_BYTES));
        let mut end = 12_288;
        while end + ZEROS / 2 <= 12_288 + ZEROS {
            end += 4096;
            assert!(room.is_free(end));
            let zeros = room.zeros_behind(end, 4096);
            assert_eq!(zeros.is_some(), 12_288 + ZEROS < end + ZEROS / 2, "{end}");
        }
        // Groups go on before those that are under way.
        assert!(room.is_under_way() && room.is_free(12_288 + ZEROS) && !room.is_free(12_288 + ZEROS + 4096));
    }

    #[test]
    fn large_groups_are_not_written_twice() {
        let mut room = Room::behind(0, true);
        room.note_made(4 * ZEROS);
        assert_eq!(room.zeros_behind(ZEROS, ZEROS), None);
        assert_eq!(room.zeros_behind(ZEROS + 4096, 4096), Some((ZEROS + 4096, ZEROS_BYTES)));
    }

    #[test]
    fn zeros_end_with_the_room_and_with_an_error() {
        let mut room = Room::behind(0, true);
        room.note_made(12_288);
        assert_eq!(room.zeros_behind(4096, 4096), Some((4096, 8192)));
        room.note_zeroed(Ok(4096));
        assert_eq!(room.zeros_behind(8192, 4096), Some((8192, 4096)));
        room.note_zeroed(Err(28));
        room.note_made(1 << 20);
        assert!(room.is_free(u64::MAX));
        assert_eq!(room.zeros_behind(8192, 4096), None);
        let mut cached = Room::behind(0, false);
        cached.note_made(1 << 20);
        assert_eq!(cached.zeros_behind(4096, 4096), None);
        let mut unable = Room::behind(0, true);
        unable.give_up();
        assert!(unable.reaches(1 << 40));
        assert_eq!(unable.zeros_behind(4096, 4096), None);
    }
}
