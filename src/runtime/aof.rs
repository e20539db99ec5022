//! Writes this core's lane of the append-only file: what was recorded goes to disk in groups, one write or sync under
//! way at a time, through the private ring. See the page of [`crate::aof`].
//!
//! ```text
//!   records of a pass ─▶ lane ─▶ group, whole blocks ─▶ write (with `always`: synced) ─▶ replies leave
//!                         ▲                                    │ one at a time
//!                         └─── meanwhile the next ones ◀───────┘
//! ```
//! `always`: whatever is there is written at the end of each pass, unless others are about to come
//! ([`super::aof_company`]). `everysec` and `no`: ten times a second, or when
//! there is much; `everysec` syncs once a second. What comes next and what becomes of what failed is the business of
//! [`super::aof_writer`]; here are the core's clocks, its ring, and who is told. How long the disk takes is measured,
//! and told as latency events with Redis' names; `aof-fsync` for syncs that no reply waits for is ours.

use super::aof_writer::{Moment, Written};
use super::core::Core;
use super::slow;
use crate::config::Appendfsync;
use crate::sys::file::Blocks;
use std::io;
use std::time::Duration;

impl Core {
    fn log_moment(&mut self) -> Moment {
        let raw = self.clock.raw();
        let now = self.log_nanoseconds(raw);
        Moment {
            policy: self.config.appendfsync,
            steady_ms: self.clocks.steady_ms(),
            raw,
            is_saving: self.shared.persistence.is_claimed(),
            skips_sync: self.config.no_appendfsync_on_rewrite && self.shared.log.is_rewriting(),
            awaits_company: self.company.is_awaited(now, self.held.len()),
        }
    }

    /// The raw clock in nanoseconds.
    fn log_nanoseconds(&self, raw: u64) -> u64 {
        self.clock.delta_as_nanos(0, raw)
    }

    /// For how long the core may sleep, of so many milliseconds: not beyond the moment at which a group of the log has
    /// waited long enough.
    pub(super) fn idle(&self, idle_ms: u64) -> Duration {
        let idle = Duration::from_millis(idle_ms);
        if self.company.is_quiet() || !self.shared.log.is_on() {
            return idle;
        }
        let left = self.company.left(self.log_nanoseconds(self.clock.raw()));
        left.map_or(idle, |left| idle.min(Duration::from_nanos(left)))
    }

    /// Writes what is to be written now, and syncs what is to be synced.
    #[cold]
    #[inline(never)]
    pub(super) fn flush_log(&mut self) {
        if !self.writer.looks_for_place() {
            return; // It is about to begin.
        }
        if self.company.is_new() {
            // Who is told now may be among those for whom the next group waits.
            self.release_held();
        }
        let moment = self.log_moment();
        let log = &self.shared.log;
        if !log.is_on() && !self.writer.is_in_flight() {
            if self.writer.is_due(moment.steady_ms) {
                self.writer.close(log, moment.steady_ms);
            }
            return;
        }
        if let Err(error) = self.writer.flush(&self.shared.log, &moment, &mut self.ring) {
            self.log_failed(&error);
        }
    }

    /// Something at the disk has taken that long: each event gets it.
    fn note_disk(&self, events: &[&'static str], since: u64) {
        let took = self.clock.delta(since, self.clock.raw());
        events.iter().for_each(|event| slow::note_event(&self.shared, &self.config, event, took));
    }

    /// A write has ended.
    pub(super) fn log_written(&mut self, result: Result<usize, i32>, blocks: Blocks) {
        match self.writer.written(&self.shared.log, result, blocks, &mut self.ring) {
            Written::Partly => {}
            Written::Wholly { events, since, is_synced } => {
                self.note_disk(&events, since);
                if is_synced {
                    self.tell_synced();
                    let raw = self.clock.raw();
                    let took = self.clock.delta_as_nanos(since, raw);
                    self.company.written(self.log_nanoseconds(raw), took, self.held.len());
                }
            }
            Written::Failed(error) => self.log_failed(&error),
        }
    }

    /// A sync has ended.
    pub(super) fn log_synced(&mut self, result: Result<(), i32>) {
        let (since, result) = self.writer.synced(&self.shared.log, result);
        let is_always = self.config.appendfsync == Appendfsync::Always;
        self.note_disk(&[if is_always { "aof-fsync-always" } else { "aof-fsync" }], since);
        match result {
            Ok(()) => self.tell_synced(),
            Err(error) => {
                let moment = self.log_moment();
                if self.writer.fail_sync(&self.shared.log, &error, &moment) {
                    exit();
                }
            }
        }
    }

    #[cold]
    fn log_failed(&mut self, error: &io::Error) {
        let moment = self.log_moment();
        if self.writer.fail(&self.shared.log, error, &moment) {
            exit();
        }
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
                    Event::Zeroed(result) => self.writer.zeroed(result),
                    _ => {}
                }
            }
            if !self.writer.is_in_flight() {
                break;
            }
            self.ring.enter(Some(std::time::Duration::from_millis(100)), 0, 1);
        }
        self.writer.close(&self.shared.log, self.clocks.steady_ms());
    }
}

/// Nothing may go on: what could not be made durable is not to be told of.
fn exit() -> ! {
    crate::log::flush();
    std::process::exit(1);
}
