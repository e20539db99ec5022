//! Rewriting the append-only file: a snapshot of one moment becomes its base, and what happened since then is in the
//! generation that begins at that moment. See [`crate::aof`] and [`crate::snapshot`].
//!
//! ```text
//!   BGREWRITEAOF, or grown enough ─▶ snapshot ordered ─▶ cut: all lanes go on in new files ─▶ base written, renamed
//!                                            manifest: base and the files since the cut ◀─────────┘   the others
//!                                            deleted
//! ```
//! Until the manifest is replaced the old files and the new generation together hold everything.

use super::aof_load;
use super::core::Core;
use super::snapshot::{Failure, Order, Written};
use crate::aof::log::Errand;
use crate::aof::manifest;
use crate::shared::persistence::Purpose;
use std::cell::Cell;
use std::rc::Rc;

/// The first attempt to make a base failed: the next one comes after so many milliseconds …
const RETRY_MS: u64 = 1000;
/// … and each further one after twice as long, so many times.
const RETRY_DOUBLINGS_MAX: u32 = 6;

impl Core {
    /// Begins a rewrite if one is wanted or the log has grown enough; core 0 looks after that.
    #[cold]
    pub(super) fn tend_rewrite(&mut self) {
        let log = self.shared.log.clone();
        if self.core != 0 || !log.is_on() {
            return;
        }
        let is_idle = !self.shared.persistence.is_claimed();
        if is_idle && !log.is_rewriting() && self.has_grown() {
            log.want_rewrite(false);
        }
        if is_idle && log.is_rewrite_wanted() && self.rewrite_due_ms <= self.clocks.steady_ms() {
            self.begin_rewrite();
        }
    }

    /// Whether the log has grown enough since it was rewritten last.
    fn has_grown(&self) -> bool {
        let (percentage, log) = (u64::from(self.config.auto_aof_rewrite_percentage), &self.shared.log);
        let (bytes, base) = (log.bytes(), log.base_bytes().max(1));
        if percentage == 0 || bytes <= self.config.auto_aof_rewrite_min_size {
            return false;
        }
        let growth = (bytes.saturating_mul(100) / base).saturating_sub(100);
        if growth < percentage {
            return false;
        }
        tracing::info!("Starting automatic rewriting of AOF on {growth}% growth");
        true
    }

    /// `CONFIG SET appendonly`: the log begins, with a base of the moment, or ends. Core 0 looks after that.
    pub(super) fn take_appendonly(&mut self) {
        let log = self.shared.log.clone();
        if !self.config.appendonly {
            self.shard.keyspace.records.is_on = false;
            if self.core == 0 && log.is_on() {
                log.end();
            }
            return;
        }
        if self.core != 0 || log.is_on() || log.rewrites().since_ms.is_some() || self.shared.persistence.is_loading() {
            return;
        }
        match aof_load::open_late(&self.config, &self.shared, self.writer.files()) {
            Ok(()) => self.begin_rewrite(),
            Err(why) => tracing::error!("cannot begin the append-only file: {why}"),
        }
    }

    fn begin_rewrite(&mut self) {
        let Some(directory) = self.writer.directory() else { return };
        let seq = self.shared.log.next_base();
        let name = manifest::base_name(&directory.prefix, seq, true);
        let first = Rc::new(Cell::new(None));
        let cut = first.clone();
        tracing::info!("Background append only file rewriting started");
        self.shared.log.begin_rewrite(self.now_ms);
        self.order_snapshot(Order {
            purpose: Purpose::LogBase,
            file: Some(directory.path.join(&name)),
            // The first engine stands for all: they are held together.
            at_cut: Some(Box::new(move |engine| {
                if cut.get().is_none() {
                    let log = &engine.log;
                    cut.set(Some(if log.is_on() { log.rotate() } else { log.begin_at_cut() }));
                }
                engine.keyspace.records.is_on = true;
            })),
            then: Box::new(move |core, outcome| core.end_rewrite(outcome, name, seq, first.get())),
            not_before_ms: 0,
        });
    }

    /// Without a base the log is worth nothing, or not all that it should: another attempt is made, later each time.
    fn try_again(&mut self) {
        let log = &self.shared.log;
        if log.is_partial() || log.has_lost() {
            let doublings = log.rewrites().failures.saturating_sub(1).min(u64::from(RETRY_DOUBLINGS_MAX)) as u32;
            self.rewrite_due_ms = self.clocks.steady_ms() + (RETRY_MS << doublings);
            log.want_rewrite(true);
        }
    }

    fn end_rewrite(&mut self, outcome: Result<Written, Failure>, name: String, seq: u64, first: Option<u64>) {
        let log = self.shared.log.clone();
        let now_ms = self.now_ms;
        match (outcome, first) {
            (Ok(written), Some(first)) => {
                tracing::info!("Background AOF rewrite terminated with success");
                log.note_base(first);
                log.send(Errand::Rewritten { name, seq, first, bytes: written.bytes });
                log.end_rewrite(now_ms, true);
            }
            (Err(Failure::Refused(why)), _) => {
                tracing::warn!("Background AOF rewrite terminated with error: {why}");
                log.end_rewrite(now_ms, false);
                self.try_again();
            }
            (Ok(_), None) | (Err(Failure::Cancelled), _) => {
                tracing::warn!("Background AOF rewrite was given up");
                log.end_rewrite(now_ms, false);
            }
        }
    }
}
