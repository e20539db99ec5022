//! What one lane of the append-only file does next: which group is written, when it is synced, what becomes of what
//! failed. The writes and syncs themselves go into a [`Queue`] and are told when they have ended. Not here: the core
//! whose lane it is, its ring and its clocks ([`super::aof`]).
//!
//! What is written but not synced may arrive in any order when the power goes; so every group says how many before it
//! were synced, and a file is begun only when the one before is.
//!
//! Cores answer ahead of the disk, so a disk that is full must be noticed before what was answered has no place left:
//! behind what is written there is always room that the file system has promised ([`RESERVE_BYTES_MIN`]). Writes are
//! refused when there is no more to be had, and what was accepted until then goes into what was kept.

use super::aof_clerk::note_gone;
use super::aof_place::{LaneFile, LogFiles};
use super::aof_room::Room;
use crate::aof::group;
use crate::aof::log::{Batch, Log};
use crate::config::{Appendfsync, reason};
use crate::sys::disk::File;
use crate::sys::file::Blocks;
use crate::sys::ring::Ring;
use std::io;
use std::sync::Arc;

/// Records that are written before the next tick.
const EAGER_BYTES: u64 = 256 * 1024;
/// How often the lane is synced under `everysec`, in milliseconds.
const SYNC_MS: u64 = 1000;
/// How long after a failure the next attempt comes, in milliseconds.
const RETRY_MS: u64 = 1000;
/// Room that is made ahead, in bytes: at first, and at most.
const ROOM_BYTES_MIN: u64 = 1 << 20;
const ROOM_BYTES_MAX: u64 = 16 << 20;
/// Room that is kept for what will be accepted before writes are refused: twice the largest group of the file, and
/// within these bounds.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
const RESERVE_BYTES_MAX: u64 = 64 << 20;
/// Memory for a group beyond this is given back.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Where writes and syncs go, one at a time, and zeros beside them; [`Writer::written`], [`Writer::synced`] or
/// [`Writer::zeroed`] is called when it has ended.
pub(super) trait Queue {
    /// Writes blocks but their first `skipped` bytes, from an offset on. `is_synced`: they are on disk when it has
    /// ended.
    fn write(&mut self, file: &File, offset: u64, blocks: Blocks, skipped: usize, is_synced: bool);

    /// Has all that was written into a file on disk.
    fn sync(&mut self, file: &File);

    /// Writes so many zeros from an offset on, [`crate::sys::file::ZEROS_BYTES`] at most.
    fn zero(&mut self, file: &File, offset: u64, bytes: usize);
}

impl Queue for Ring {
    fn write(&mut self, file: &File, offset: u64, blocks: Blocks, skipped: usize, is_synced: bool) {
        self.write_file(file.descriptor(), offset, blocks, skipped, is_synced);
    }

    fn sync(&mut self, file: &File) {
        self.sync_file(file.descriptor());
    }

    fn zero(&mut self, file: &File, offset: u64, bytes: usize) {
        self.zero_file(file.descriptor(), offset, bytes);
    }
}

/// The file that a lane is written into.
struct Open {
    number: u64,
    file: File,
    /// Where the next group begins.
    offset: u64,
    /// How many there are, …
    groups: u64,
    /// … and how many of them are on disk.
    synced_groups: u64,
    /// What is behind that.
    room: Room,
    /// How much of it is to be free behind what is written.
    reserve: u64,
}

impl Open {
    /// A file of which so many bytes and groups are written, and on disk.
    fn new(number: u64, file: File, (offset, groups): (u64, u64), is_direct: bool) -> Open {
        let (room, reserve) = (Room::behind(offset, is_direct), RESERVE_BYTES_MIN);
        Open { number, file, offset, groups, synced_groups: groups, room, reserve }
    }

    /// Has room for a group of so many bytes, and for what comes before writes are refused.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        // What gathers while a group is on its way is about as much.
        self.reserve = self.reserve.max((2 * bytes).min(RESERVE_BYTES_MAX));
        let wanted = self.offset + bytes + self.reserve;
        if self.room.reaches(wanted) {
            return Ok(());
        }
        let ahead = self.offset.clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
        // Where a disk is nearly full, what is needed may still be there.
        let mut result = Ok(());
        for end in [wanted + ahead, wanted] {
            result = self.file.allocate(self.offset, end - self.offset);
            match &result {
                Ok(()) => {
                    self.room.note_made(end);
                    return Ok(());
                }
                // A file system that cannot make room ahead makes it when blocks are written; they tell.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                    self.room.give_up();
                    return Ok(());
                }
                Err(_) => {}
            }
        }
        result
    }

    fn place(&self) -> group::Place {
        group::Place { file: self.number, number: self.groups, synced: self.synced_groups }
    }
}

/// What is under way.
enum Flight {
    /// A group, of which so many bytes are written; since when it should have been, and what the disk had to do beside.
    Write { batch: Batch, bytes: usize, written: usize, is_synced: bool, since: u64, beside: Beside },
    /// A sync, of what is written up to here, which are so many groups, and since when.
    Sync { position: u64, groups: u64, since: u64 },
}

/// What a write met at the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing of ours.
    Nothing,
    /// A sync, of this lane or another one.
    Sync,
    /// A snapshot or a rewrite.
    Snapshot,
}

impl Beside {
    /// Redis' name for writes that took long so.
    fn event(self) -> &'static str {
        match self {
            Beside::Nothing => "aof-write-alone",
            Beside::Sync => "aof-write-pending-fsync",
            Beside::Snapshot => "aof-write-active-child",
        }
    }
}

/// What a writer is to know of the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) policy: Appendfsync,
    /// By the steady clock.
    pub(super) steady_ms: u64,
    /// By the raw clock.
    pub(super) raw: u64,
    /// A snapshot or a rewrite is under way, …
    pub(super) is_saving: bool,
    /// … and has the disk to itself.
    pub(super) skips_sync: bool,
    /// What is there had better wait for more: see [`super::aof_company`].
    pub(super) awaits_company: bool,
}

/// What a write that has ended was.
pub(super) enum Written {
    /// Not all of it: the rest follows.
    Partly,
    /// All of it; how long it took is told as these events, since when.
    Wholly { events: [&'static str; 2], since: u64, is_synced: bool },
    /// It failed, and is to be tried again.
    Failed(io::Error),
}

/// See the module's page.
pub(super) struct Writer {
    files: LogFiles,
    lane: usize,
    /// The lane was asked to be flushed at once.
    pub(super) is_asked: bool,
    /// It is time to write what is there.
    pub(super) is_tick: bool,
    /// The log has had a directory.
    has_place: bool,
    /// The lane's file of the last run was looked at.
    has_begun: bool,
    open: Option<Open>,
    flight: Option<Flight>,
    spare_records: Vec<u8>,
    spare_blocks: Option<Blocks>,
    /// By the steady clock: when the next sync, or the next attempt after a failure, is due.
    sync_due_ms: u64,
    retry_due_ms: u64,
    has_failed: bool,
    /// There is no room ahead: what was accepted goes into what was kept, and writes are refused.
    lacks_room: bool,
    /// A sync of the open file has failed: what the system was to write then is lost, and another sync that succeeds
    /// says nothing of it. A rewrite brings all keys into new files; until then writes are refused.
    is_untrusted: bool,
    /// There was something to write, and a sync was under way: since when, by the raw clock.
    waits_since: Option<u64>,
    /// Bytes of the lane's earlier files.
    closed_bytes: u64,
    /// Nothing more comes into the file that is open.
    is_finished: bool,
    /// A file system that cannot write past the page cache was told of.
    is_warned: bool,
}

impl Writer {
    /// One that writes nothing yet.
    pub(super) fn new(files: LogFiles, lane: usize) -> Writer {
        Writer {
            files,
            lane,
            is_asked: false,
            is_tick: false,
            has_place: false,
            has_begun: false,
            open: None,
            flight: None,
            spare_records: Vec::new(),
            spare_blocks: None,
            sync_due_ms: 0,
            retry_due_ms: 0,
            has_failed: false,
            lacks_room: false,
            is_untrusted: false,
            waits_since: None,
            closed_bytes: 0,
            is_finished: false,
            is_warned: false,
        }
    }

    /// Where it is said where the log is.
    pub(super) fn files(&self) -> &LogFiles {
        &self.files
    }

    /// Whether something is under way, or a file is open, though perhaps nothing is recorded any more.
    pub(super) fn is_busy(&self) -> bool {
        self.is_in_flight() || self.open.is_some()
    }

    /// Whether a write or a sync is under way, or zeros are.
    pub(super) fn is_in_flight(&self) -> bool {
        self.flight.is_some() || self.is_zeroing()
    }

    fn is_zeroing(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.room.is_under_way())
    }

    /// Whether the log has, or had, a directory.
    pub(super) fn looks_for_place(&mut self) -> bool {
        self.has_place = self.has_place || self.files.is_open();
        self.has_place
    }

    /// Begins to write into the lane's file, which goes on where it ends.
    fn begin(&mut self, log: &Log) -> io::Result<()> {
        let directory = self.files.current().expect("a log that is on has a directory");
        let mut bytes = 0;
        if let Some(LaneFile { path, number, bytes: offset, groups }) = directory.lanes.get(self.lane) {
            let (file, is_direct) = File::open_direct(path)?;
            let (number, groups, offset) = (*number, *groups, *offset);
            // What was loaded is on disk: see the loader.
            self.open = Some(Open::new(number, file, (offset, groups), is_direct));
            bytes = offset;
        }
        self.has_begun = true;
        log.note_bytes(self.lane, bytes);
        Ok(())
    }

    /// Writes what is to be written now, and syncs what is to be synced.
    ///
    /// # Errors
    /// What could not even be begun; see [`Writer::fail`].
    pub(super) fn flush(&mut self, log: &Log, at: &Moment, queue: &mut impl Queue) -> io::Result<()> {
        let lane = self.lane;
        let is_asked = log.take_asked(lane) | std::mem::take(&mut self.is_asked);
        if let Some(flight) = &self.flight {
            self.is_asked = is_asked;
            if matches!(flight, Flight::Sync { .. }) && self.is_tick && log.has_pending(lane) {
                self.is_tick = false;
                log.count_delayed();
                self.waits_since.get_or_insert(at.raw);
            }
            return Ok(());
        }
        let pending = log.position(lane).saturating_sub(log.written(lane));
        if self.is_untrusted && !log.has_lost() {
            // There is a base with all that the file may lack.
            self.is_untrusted = false;
            self.mend(log);
        }
        if self.lacks_room && self.retry_due_ms <= at.steady_ms {
            self.make_room(log, 0, at.steady_ms);
        }
        if pending == 0 && self.is_tick {
            self.rest(log);
        }
        let is_retry = self.has_failed;
        if !self.is_due(at.steady_ms) {
            self.is_asked = is_asked;
            return Ok(());
        }
        if at.awaits_company && pending < EAGER_BYTES && !is_retry && !self.is_finished {
            self.is_asked = is_asked;
            return Ok(());
        }
        // Of files that nobody finds no sync is worth anything.
        let is_unsynced = log.synced(lane) < log.written(lane) && !log.is_gone();
        let is_synced = at.policy == Appendfsync::Always || is_asked;
        let is_due = at.policy == Appendfsync::Everysec && self.sync_due_ms <= at.steady_ms && !at.skips_sync;
        // A write that is synced by itself says nothing of those before it, nor one of another file.
        let is_first = self.is_finished && 0 < pending;
        if is_unsynced
            && (is_synced || is_due || is_first)
            && let Some(open) = &self.open
        {
            self.is_asked = is_asked && 0 < pending;
            self.sync_due_ms = at.steady_ms + SYNC_MS;
            self.flight = Some(Flight::Sync { position: log.written(lane), groups: open.groups, since: at.raw });
            log.count_sync(true);
            queue.sync(&open.file);
        } else if 0 < pending
            // Behind a file that is at its end come others, perhaps many.
            && (is_synced || EAGER_BYTES <= pending || is_retry || self.is_tick || self.is_finished)
        {
            self.is_tick = false;
            self.start_write(log, at, queue, is_synced)?;
        }
        Ok(())
    }

    fn start_write(&mut self, log: &Log, at: &Moment, queue: &mut impl Queue, is_synced: bool) -> io::Result<()> {
        let spare = std::mem::take(&mut self.spare_records);
        let Some(batch) = log.take(self.lane, spare) else { return Ok(()) };
        let bytes = group::bytes_for(batch.records.len());
        // Before the blocks are there: making room in the file may take long, and filling them.
        let blocks_bytes = self.spare_blocks.as_ref().map_or(0, Blocks::capacity).max(bytes);
        log.note_writing(self.lane, batch.records.capacity() + blocks_bytes);
        if let Some(open) = &self.open
            && open.room.is_under_way()
            && (open.number != batch.file || !open.room.is_free(open.offset + bytes as u64))
        {
            // Zeros would fall upon the group, or make a file longer again that is cut now: they end first.
            log.put_back(self.lane, batch);
            self.note_spares(log);
            return Ok(());
        }
        let begun = if self.has_begun { Ok(()) } else { self.begin(log) };
        if let Err(error) = begun.and_then(|()| self.make_ready(log, &batch, at.steady_ms)) {
            let directory = self.files.of_file(batch.file);
            log.put_back(self.lane, batch);
            self.note_spares(log);
            if directory.is_none_or(|directory| !directory.is_there()) {
                // The clerk finds another one.
                note_gone(log, "the directory of the append-only file is not there");
            }
            return Err(error);
        }
        log.note_open(self.lane, true);
        let mut blocks = match self.spare_blocks.take() {
            Some(blocks) => blocks.resized(bytes),
            None => Blocks::new(bytes),
        };
        let open = self.open.as_mut().expect("made ready");
        group::seal(blocks.bytes_mut(), open.place(), batch.shares, &batch.records);
        queue.write(&open.file, open.offset, blocks, 0, is_synced);
        if at.policy == Appendfsync::Always
            && let Some((from, zeros)) = open.room.zeros_behind(open.offset + bytes as u64, bytes as u64)
        {
            queue.zero(&open.file, from, zeros);
        }
        let waits_since = self.waits_since.take();
        let beside = if waits_since.is_some() || log.syncing() != 0 {
            Beside::Sync
        } else if at.is_saving {
            Beside::Snapshot
        } else {
            Beside::Nothing
        };
        let since = waits_since.unwrap_or(at.raw);
        self.flight = Some(Flight::Write { batch, bytes, written: 0, is_synced, since, beside });
        Ok(())
    }

    /// A write has ended.
    pub(super) fn written(
        &mut self,
        log: &Log,
        result: Result<usize, i32>,
        blocks: Blocks,
        queue: &mut impl Queue,
    ) -> Written {
        let Some(Flight::Write { batch, bytes, written, is_synced, since, beside }) = self.flight.take() else {
            panic!("a write that nobody began")
        };
        // Who was interrupted has written nothing.
        let result = if result == Err(libc::EINTR) { Ok(None) } else { result.map(Some) };
        let error = match result {
            Ok(Some(0)) => io::Error::from_raw_os_error(libc::ENOSPC),
            Ok(more) if written + more.unwrap_or(0) < bytes => {
                // The rest follows; it begins within a block only where the page cache is used.
                let written = written + more.unwrap_or(0);
                let open = self.open.as_ref().expect("written into");
                queue.write(&open.file, open.offset + written as u64, blocks, written, is_synced);
                self.flight = Some(Flight::Write { batch, bytes, written, is_synced, since, beside });
                return Written::Partly;
            }
            Ok(_) => {
                let Batch { end, mut records, is_last, .. } = batch;
                self.is_finished = is_last;
                let open = self.open.as_mut().expect("written into");
                open.offset += bytes as u64;
                open.groups += 1;
                if is_synced {
                    // Those before it were: see `flush`.
                    open.synced_groups = open.groups;
                }
                let total = self.closed_bytes + open.offset;
                log.note_bytes(self.lane, total);
                log.note_written(self.lane, end, is_synced);
                self.mend(log);
                if records.capacity() <= SPARE_BYTES_MAX {
                    records.clear();
                    self.spare_records = records;
                }
                if blocks.capacity() <= SPARE_BYTES_MAX {
                    self.spare_blocks = Some(blocks);
                }
                self.note_spares(log);
                // A write that is synced is one operation: most of it is the sync.
                let events = if is_synced { ["aof-write", "aof-fsync-always"] } else { ["aof-write", beside.event()] };
                return Written::Wholly { events, since, is_synced };
            }
            Err(error) => io::Error::from_raw_os_error(error),
        };
        log.put_back(self.lane, batch);
        self.note_spares(log);
        Written::Failed(error)
    }

    /// Zeros have been written, or not: then the groups that come there bring their blocks themselves.
    pub(super) fn zeroed(&mut self, result: Result<usize, i32>) {
        self.open.as_mut().expect("a file is not closed while zeros come").room.note_zeroed(result);
    }

    /// Nothing was written for a moment, or will be at once: large buffers are freed.
    fn rest(&mut self, log: &Log) {
        let is_large = |bytes: usize| EAGER_BYTES < bytes as u64;
        if is_large(self.spare_records.capacity()) {
            self.spare_records = Vec::new();
        }
        self.spare_blocks.take_if(|blocks| is_large(blocks.capacity()));
        self.note_spares(log);
        log.rest(self.lane, EAGER_BYTES);
    }

    /// Nothing is being written: what is kept for the next write is all there is.
    fn note_spares(&self, log: &Log) {
        let blocks = self.spare_blocks.as_ref().map_or(0, Blocks::capacity);
        log.note_writing(self.lane, self.spare_records.capacity() + blocks);
    }

    /// A sync has ended: since when it was under way, and how it went. Of one that failed no other can tell whether
    /// what it was for has arrived.
    pub(super) fn synced(&mut self, log: &Log, result: Result<(), i32>) -> (u64, io::Result<()>) {
        let Some(Flight::Sync { position, groups, since }) = self.flight.take() else {
            panic!("a sync that nobody began")
        };
        log.count_sync(false);
        let result = result.map_err(io::Error::from_raw_os_error);
        if result.is_ok() {
            log.note_synced(self.lane, position);
            if let Some(open) = &mut self.open {
                open.synced_groups = groups;
            }
            self.mend(log);
        }
        (since, result)
    }

    /// Something has succeeded: unless there is more that is wrong, writes are accepted again.
    fn mend(&mut self, log: &Log) {
        if self.is_untrusted {
            return;
        }
        let had_failed = std::mem::take(&mut self.has_failed);
        if had_failed && !self.lacks_room && log.note_error(self.lane, 0) != 0 {
            tracing::warn!("AOF write error looks solved, Redis can write again.");
        }
    }

    /// Has room in the open file for a group of so many bytes and more. Where there is none, writes are refused from
    /// now on, whatever the policy: nothing is lost, and there is nothing to end the server for.
    fn make_room(&mut self, log: &Log, bytes: u64, steady_ms: u64) {
        let Some(open) = &mut self.open else { return };
        match open.make_room(bytes) {
            Ok(()) => {
                if std::mem::take(&mut self.lacks_room) && !self.has_failed {
                    self.has_failed = true; // In the way of all failures.
                    self.mend(log);
                }
            }
            Err(error) => {
                self.retry_due_ms = steady_ms + RETRY_MS;
                if !std::mem::replace(&mut self.lacks_room, true) {
                    tracing::warn!(
                        "Error writing to the AOF file: {}. Writes are refused until there is more room; what was \
                         accepted goes into room that was kept.",
                        reason(&error)
                    );
                }
                log.note_error(self.lane, error.raw_os_error().unwrap_or(libc::ENOSPC) as u32);
            }
        }
    }

    /// A sync has failed: writes are refused until a rewrite has brought all keys into new files. True: under `always`
    /// nothing may go on.
    #[cold]
    pub(super) fn fail_sync(&mut self, log: &Log, error: &io::Error, at: &Moment) -> bool {
        if at.policy == Appendfsync::Always {
            tracing::error!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                reason(error)
            );
            return true;
        }
        self.is_untrusted = true;
        log.note_lost(self.open.as_ref().map_or(0, |open| open.number));
        self.fail(log, error, at)
    }

    /// A write has failed: writes are refused until one succeeds. True: under `always` nothing may go on.
    #[cold]
    pub(super) fn fail(&mut self, log: &Log, error: &io::Error, at: &Moment) -> bool {
        let reason = reason(error);
        self.retry_due_ms = at.steady_ms + RETRY_MS;
        let is_new = !std::mem::replace(&mut self.has_failed, true);
        if is_new {
            tracing::warn!("Error writing to the AOF file: {reason}");
        }
        // Before there is a base nothing is lost but time; where the files are gone, what is in memory is all there is.
        let has_other = log.is_partial() || log.is_gone();
        if at.policy == Appendfsync::Always && !has_other {
            tracing::error!("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...");
            return true;
        }
        log.note_error(self.lane, error.raw_os_error().unwrap_or(libc::EIO) as u32);
        false
    }

    /// Whether it is not too early for another attempt at what has failed.
    pub(super) fn is_due(&self, steady_ms: u64) -> bool {
        !self.has_failed || self.retry_due_ms <= steady_ms
    }

    /// All that was recorded goes to disk, and the file is cut to its length and closed: nothing comes behind it.
    #[cold]
    pub(super) fn close(&mut self, log: &Log, steady_ms: u64) {
        let lane = self.lane;
        let told = |error: &io::Error| tracing::error!("Error writing to the AOF file: {}", reason(error));
        if log.has_pending(lane) && !self.has_begun && self.files.is_open() {
            let _ = self.begin(log); // What is wrong, the write says.
        }
        while let Some(batch) = log.take(lane, Vec::new()) {
            if let Err(error) = self.write_now(log, &batch, steady_ms) {
                told(&error);
                log.put_back(lane, batch);
                self.has_failed = true;
                self.retry_due_ms = steady_ms + RETRY_MS;
                break;
            }
            log.note_written(lane, batch.end, true);
        }
        self.note_spares(log);
        if let Some(open) = self.open.take()
            && let Err(error) = open.file.set_len(open.offset).and_then(|()| open.file.sync())
        {
            told(&error);
        }
        self.is_finished = false;
        self.lacks_room = false;
        self.closed_bytes = 0;
        log.note_bytes(lane, 0);
        log.note_open(lane, false);
    }

    /// Has the file of a batch open, with room for it.
    fn make_ready(&mut self, log: &Log, batch: &Batch, steady_ms: u64) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.number != batch.file) {
            let directory = self.files.of_file(batch.file).ok_or(io::ErrorKind::NotFound)?;
            let path = directory.incr_path(batch.file);
            let (file, is_direct) = File::open_direct(&path)?;
            file.set_len(0)?;
            if !is_direct && !std::mem::replace(&mut self.is_warned, true) {
                tracing::warn!(
                    "{} is on a file system without direct I/O: the append-only file goes through the page cache",
                    path.display()
                );
            }
            if let Some(old) = self.open.take() {
                // It is synced: see `flush`.
                old.file.set_len(old.offset)?;
                self.closed_bytes += old.offset;
                let is_moved = self.files.of_file(old.number).is_none_or(|of| !Arc::ptr_eq(&of, &directory));
                if is_moved {
                    self.closed_bytes = 0;
                }
            }
            self.open = Some(Open::new(batch.file, file, (0, 0), is_direct));
        }
        // Without it perhaps there is room for the group itself; the write will tell.
        self.make_room(log, group::bytes_for(batch.records.len()) as u64, steady_ms);
        Ok(())
    }

    /// Writes a batch, and waits for it.
    fn write_now(&mut self, log: &Log, batch: &Batch, steady_ms: u64) -> io::Result<()> {
        self.make_ready(log, batch, steady_ms)?;
        let open = self.open.as_mut().expect("made ready");
        let mut blocks = Blocks::new(group::bytes_for(batch.records.len()));
        group::seal(blocks.bytes_mut(), open.place(), batch.shares, &batch.records);
        open.file.write_all_at(blocks.bytes(), open.offset)?;
        open.file.sync()?;
        open.offset += blocks.bytes().len() as u64;
        open.groups += 1;
        open.synced_groups = open.groups;
        self.is_finished = batch.is_last;
        Ok(())
    }
}
