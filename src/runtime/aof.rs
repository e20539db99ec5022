//! Writes this core's lane of the append-only file: what was recorded goes to disk in groups, one write or sync under
//! way at a time, through the private ring. See the page of [`crate::aof`].
//!
//! ```text
//!   records of a pass ─▶ lane ─▶ group, whole blocks ─▶ write (with `always`: synced) ─▶ replies leave
//!                         ▲                                    │ one at a time
//!                         └─── meanwhile the next ones ◀───────┘
//! ```
//! `always`: whatever is there is written at the end of each pass. `everysec` and `no`: ten times a second, or when
//! there is much; `everysec` syncs once a second. How long the disk takes is measured, and told as latency events with
//! Redis' names; `aof-fsync` for syncs that no reply waits for is ours.

use super::aof_clerk::note_gone;
use super::aof_place::{LaneFile, LogFiles};
use super::core::Core;
use super::slow;
use crate::aof::group;
use crate::aof::log::Batch;
use crate::config::Appendfsync;
use crate::sys::file::{self, Blocks};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
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
/// Memory for a group beyond this is given back.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// The file that a lane is written into.
struct Open {
    number: u64,
    file: File,
    /// Where the next group begins.
    offset: u64,
    /// How many there are.
    groups: u64,
    /// Up to where there is room.
    room_end: u64,
}

/// What is under way.
enum Flight {
    /// A group, of which so many bytes are written; since when it should have been, and what the disk had to do beside.
    Write { batch: Batch, bytes: usize, written: usize, is_synced: bool, since: u64, beside: Beside },
    /// A sync, of what is written up to here, and since when.
    Sync { position: u64, since: u64 },
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

/// See the module's page.
pub(super) struct Writer {
    files: LogFiles,
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
    pub(super) fn new(files: LogFiles) -> Writer {
        Writer {
            files,
            has_place: false,
            has_begun: false,
            open: None,
            flight: None,
            spare_records: Vec::new(),
            spare_blocks: None,
            sync_due_ms: 0,
            retry_due_ms: 0,
            has_failed: false,
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

    /// Begins to write into the lane's file, which goes on where it ends.
    fn begin(&mut self, lane: usize) -> io::Result<u64> {
        let directory = self.files.current().expect("a log that is on has a directory");
        let mut bytes = 0;
        if let Some(LaneFile { path, number, bytes: offset, groups }) = directory.lanes.get(lane) {
            let (file, _) = file::open_direct(path)?;
            self.open = Some(Open { number: *number, file, offset: *offset, groups: *groups, room_end: *offset });
            bytes = *offset;
        }
        self.has_begun = true;
        Ok(bytes)
    }

    /// Whether something is under way, or a file is open, though perhaps nothing is recorded any more.
    pub(super) fn is_busy(&self) -> bool {
        self.flight.is_some() || self.open.is_some()
    }
}

impl Core {
    /// Writes what is to be written now, and syncs what is to be synced.
    #[cold]
    #[inline(never)]
    pub(super) fn flush_log(&mut self) {
        self.writer.has_place = self.writer.has_place || self.writer.files.is_open();
        if !self.writer.has_place {
            return; // It is about to begin.
        }
        let log = self.shared.log.clone();
        if !log.is_on() && self.writer.flight.is_none() {
            let is_due = !self.writer.has_failed || self.writer.retry_due_ms <= self.clocks.steady_ms();
            return if is_due {
                self.close_lane()
            };
        }
        let is_asked = log.take_asked(self.core) | std::mem::take(&mut self.is_flush_asked);
        if let Some(flight) = &self.writer.flight {
            self.is_flush_asked = is_asked;
            if matches!(flight, Flight::Sync { .. }) && self.log_tick && log.has_pending(self.core) {
                self.log_tick = false;
                log.count_delayed();
                self.writer.waits_since.get_or_insert(self.clock.raw());
            }
            return;
        }
        let steady_ms = self.clocks.steady_ms();
        let policy = self.config.appendfsync;
        let pending = log.position(self.core).saturating_sub(log.written(self.core));
        if self.writer.is_untrusted && !log.has_lost() {
            // There is a base with all that the file may lack.
            self.writer.is_untrusted = false;
            self.writer.has_failed = false;
            log.note_error(self.core, 0);
        }
        let is_retry = self.writer.has_failed;
        if is_retry && steady_ms < self.writer.retry_due_ms {
            return;
        }
        // Of files that nobody finds no sync is worth anything.
        let is_unsynced = log.synced(self.core) < log.written(self.core) && !log.is_gone();
        let is_synced = policy == Appendfsync::Always || is_asked;
        let is_due = policy == Appendfsync::Everysec && self.writer.sync_due_ms <= steady_ms && !self.skips_sync();
        // A write that is synced by itself says nothing of those before it, nor one of another file.
        let is_first = self.writer.is_finished && 0 < pending;
        if is_unsynced
            && (is_synced || is_due || is_first)
            && let Some(open) = &self.writer.open
        {
            self.is_flush_asked = is_asked && 0 < pending;
            self.writer.sync_due_ms = steady_ms + SYNC_MS;
            self.writer.flight = Some(Flight::Sync { position: log.written(self.core), since: self.clock.raw() });
            log.count_sync(true);
            self.ring.sync_file(open.file.as_raw_fd());
        } else if 0 < pending
            // Behind a file that is at its end come others, perhaps many.
            && (is_synced || EAGER_BYTES <= pending || is_retry || self.log_tick || self.writer.is_finished)
        {
            self.log_tick = false;
            self.start_write(is_synced);
        }
    }

    /// Whether a rewrite or a snapshot has the disk to itself.
    fn skips_sync(&self) -> bool {
        self.config.no_appendfsync_on_rewrite && self.shared.log.is_rewriting()
    }

    fn start_write(&mut self, is_synced: bool) {
        let log = self.shared.log.clone();
        let spare = std::mem::take(&mut self.writer.spare_records);
        let Some(batch) = log.take(self.core, spare) else { return };
        let mut ready = Ok(());
        if !self.writer.has_begun {
            ready = self.writer.begin(self.core).map(|bytes| log.note_bytes(self.core, bytes));
        }
        if let Err(error) = ready.and_then(|()| self.writer.make_ready(&batch)) {
            let directory = self.writer.files.of_file(batch.file);
            log.put_back(self.core, batch);
            if directory.is_none_or(|directory| !directory.is_there()) {
                // The clerk finds another one.
                note_gone(&log, "the directory of the append-only file is not there");
            }
            return self.log_failed(&error);
        }
        log.note_open(self.core, true);
        let bytes = group::bytes_for(batch.records.len());
        let mut blocks = match self.writer.spare_blocks.take() {
            Some(blocks) => blocks.resized(bytes),
            None => Blocks::new(bytes),
        };
        let open = self.writer.open.as_ref().expect("made ready");
        group::seal(blocks.bytes_mut(), open.number, open.groups, batch.shares, &batch.records);
        self.ring.write_file(open.file.as_raw_fd(), open.offset, blocks, 0, is_synced);
        let waits_since = self.writer.waits_since.take();
        let beside = if waits_since.is_some() || log.syncing() != 0 {
            Beside::Sync
        } else if self.shared.persistence.is_claimed() {
            Beside::Snapshot
        } else {
            Beside::Nothing
        };
        let since = waits_since.unwrap_or_else(|| self.clock.raw());
        self.writer.flight = Some(Flight::Write { batch, bytes, written: 0, is_synced, since, beside });
    }

    /// Something at the disk has taken that long: each event gets it.
    fn note_disk(&self, events: &[&'static str], since: u64) {
        let took = self.clock.delta(since, self.clock.raw());
        events.iter().for_each(|event| slow::note_event(&self.shared, &self.config, event, took));
    }

    /// A write has ended.
    pub(super) fn log_written(&mut self, result: Result<usize, i32>, blocks: Blocks) {
        let Some(Flight::Write { batch, bytes, written, is_synced, since, beside }) = self.writer.flight.take() else {
            panic!("a write that nobody began")
        };
        let log = self.shared.log.clone();
        let error = match result {
            Ok(0) => io::Error::from_raw_os_error(libc::ENOSPC),
            Ok(more) if written + more < bytes => {
                // The rest follows; it begins within a block only where the page cache is used.
                let written = written + more;
                let open = self.writer.open.as_ref().expect("written into");
                let (file, offset) = (open.file.as_raw_fd(), open.offset + written as u64);
                self.ring.write_file(file, offset, blocks, written, is_synced);
                self.writer.flight = Some(Flight::Write { batch, bytes, written, is_synced, since, beside });
                return;
            }
            Ok(_) => {
                // A write that is synced is one operation: most of it is the sync.
                let events = if is_synced { ["aof-write", "aof-fsync-always"] } else { ["aof-write", beside.event()] };
                self.note_disk(&events, since);
                let Batch { end, mut records, is_last, .. } = batch;
                self.writer.is_finished = is_last;
                let open = self.writer.open.as_mut().expect("written into");
                open.offset += bytes as u64;
                open.groups += 1;
                let total = self.writer.closed_bytes + open.offset;
                log.note_bytes(self.core, total);
                log.note_written(self.core, end, is_synced);
                if self.writer.has_failed && !self.writer.is_untrusted {
                    self.writer.has_failed = false;
                    if log.note_error(self.core, 0) != 0 {
                        tracing::warn!("AOF write error looks solved, Redis can write again.");
                    }
                }
                if records.capacity() <= SPARE_BYTES_MAX {
                    records.clear();
                    self.writer.spare_records = records;
                }
                if blocks.capacity() <= SPARE_BYTES_MAX {
                    self.writer.spare_blocks = Some(blocks);
                }
                if is_synced {
                    self.tell_synced();
                }
                return;
            }
            Err(error) => io::Error::from_raw_os_error(error),
        };
        log.put_back(self.core, batch);
        self.log_failed(&error);
    }

    /// A sync has ended.
    pub(super) fn log_synced(&mut self, result: Result<(), i32>) {
        let Some(Flight::Sync { position, since }) = self.writer.flight.take() else {
            panic!("a sync that nobody began")
        };
        self.shared.log.count_sync(false);
        let is_always = self.config.appendfsync == Appendfsync::Always;
        self.note_disk(&[if is_always { "aof-fsync-always" } else { "aof-fsync" }], since);
        match result {
            Ok(()) => {
                self.shared.log.note_synced(self.core, position);
                if self.writer.has_failed && !self.writer.is_untrusted {
                    self.writer.has_failed = false;
                    self.shared.log.note_error(self.core, 0);
                }
                self.tell_synced();
            }
            Err(error) => {
                let error = io::Error::from_raw_os_error(error);
                if self.config.appendfsync == Appendfsync::Always {
                    tracing::error!(
                        "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                        crate::config::reason(&error)
                    );
                    crate::log::flush();
                    std::process::exit(1);
                }
                self.writer.is_untrusted = true;
                let file = self.writer.open.as_ref().map_or(0, |open| open.number);
                self.shared.log.note_lost(file);
                self.log_failed(&error);
            }
        }
    }

    /// A write has failed: under `always` nothing may go on; else writes are refused until one succeeds.
    #[cold]
    fn log_failed(&mut self, error: &io::Error) {
        let reason = crate::config::reason(error);
        self.writer.retry_due_ms = self.clocks.steady_ms() + RETRY_MS;
        let is_new = !std::mem::replace(&mut self.writer.has_failed, true);
        if is_new {
            tracing::warn!("Error writing to the AOF file: {reason}");
        }
        // Before there is a base nothing is lost but time; where the files are gone, what is in memory is all there is.
        let has_other = self.shared.log.is_partial() || self.shared.log.is_gone();
        if self.config.appendfsync == Appendfsync::Always && !has_other {
            tracing::error!("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...");
            crate::log::flush();
            std::process::exit(1);
        }
        self.shared.log.note_error(self.core, error.raw_os_error().unwrap_or(libc::EIO) as u32);
    }

    /// The server ends: all that was recorded goes to disk, and the file is cut to its length.
    pub(super) fn end_log(&mut self) {
        // What is under way ends first.
        loop {
            while let Some(event) = self.ring.next_event() {
                use crate::sys::ring::Event;
                match event {
                    Event::Written { result, blocks } => self.log_written(result, blocks),
                    Event::Synced(result) => self.log_synced(result),
                    _ => {}
                }
            }
            if self.writer.flight.is_none() {
                break;
            }
            self.ring.enter(Some(std::time::Duration::from_millis(100)), 0, 1);
        }
        self.close_lane();
    }

    /// All that was recorded goes to disk, and the file is cut to its length and closed: nothing comes behind it.
    #[cold]
    fn close_lane(&mut self) {
        let log = self.shared.log.clone();
        let told = |error: &io::Error| {
            tracing::error!("Error writing to the AOF file: {}", crate::config::reason(error));
        };
        if log.has_pending(self.core) && !self.writer.has_begun && self.writer.files.is_open() {
            let _ = self.writer.begin(self.core); // What is wrong, the write says.
        }
        while let Some(batch) = log.take(self.core, Vec::new()) {
            if let Err(error) = self.writer.write_now(&batch) {
                told(&error);
                log.put_back(self.core, batch);
                self.writer.has_failed = true;
                self.writer.retry_due_ms = self.clocks.steady_ms() + RETRY_MS;
                break;
            }
            log.note_written(self.core, batch.end, true);
        }
        if let Some(open) = self.writer.open.take()
            && let Err(error) = open.file.set_len(open.offset).and_then(|()| open.file.sync_all())
        {
            told(&error);
        }
        self.writer.is_finished = false;
        self.writer.closed_bytes = 0;
        log.note_bytes(self.core, 0);
        log.note_open(self.core, false);
    }
}

impl Writer {
    /// Has the file of a batch open, with room for it.
    fn make_ready(&mut self, batch: &Batch) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.number != batch.file) {
            let directory = self.files.of_file(batch.file).ok_or(io::ErrorKind::NotFound)?;
            let path = directory.incr_path(batch.file);
            let (file, is_direct) = file::open_direct(&path)?;
            file.set_len(0)?;
            if !is_direct && !std::mem::replace(&mut self.is_warned, true) {
                tracing::warn!(
                    "{} is on a file system without direct I/O: the append-only file goes through the page cache",
                    path.display()
                );
            }
            if let Some(old) = self.open.take() {
                // It is synced: see `flush_log`.
                old.file.set_len(old.offset)?;
                self.closed_bytes += old.offset;
                let is_moved = self.files.of_file(old.number).is_none_or(|of| !Arc::ptr_eq(&of, &directory));
                if is_moved {
                    self.closed_bytes = 0;
                }
            }
            self.open = Some(Open { number: batch.file, file, offset: 0, groups: 0, room_end: 0 });
        }
        let open = self.open.as_mut().expect("opened above");
        let end = open.offset + group::bytes_for(batch.records.len()) as u64;
        if open.room_end < end {
            let ahead = open.offset.clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
            // Where a file system cannot make room ahead, it makes it when the blocks are written.
            match file::allocate(&open.file, open.offset, end - open.offset + ahead) {
                Ok(()) => open.room_end = end + ahead,
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => open.room_end = u64::MAX,
                // Perhaps there is room for the group itself; the write will tell.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Writes a batch, and waits for it.
    fn write_now(&mut self, batch: &Batch) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.make_ready(batch)?;
        let open = self.open.as_mut().expect("made ready");
        let mut blocks = Blocks::new(group::bytes_for(batch.records.len()));
        group::seal(blocks.bytes_mut(), open.number, open.groups, batch.shares, &batch.records);
        open.file.write_all_at(blocks.bytes(), open.offset)?;
        open.file.sync_data()?;
        open.offset += blocks.bytes().len() as u64;
        open.groups += 1;
        self.is_finished = batch.is_last;
        Ok(())
    }
}
