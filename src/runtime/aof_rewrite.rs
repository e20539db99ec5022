//! Rewriting the append-only file: a snapshot of one moment becomes its base, and what happened since then is in the
//! generation that begins at that moment. See [`crate::aof`] and [`crate::snapshot`].
//!
//! ```text
//!   BGREWRITEAOF, or grown enough ─▶ snapshot ordered ─▶ cut: all lanes go on in new files ─▶ base written, renamed
//!                                            manifest: base and the files since the cut ◀─────────┘   the others
//!                                            deleted
//! ```
//! Until the manifest is replaced the old files and the new generation together hold everything. Where the log is off,
//! there is no generation, and the base is all that the manifest names; where its files are gone, it begins anew.

use super::core::Core;
use super::snapshot::{AtCut, Failure, Order, Written};
use crate::aof::log::{Errand, When};
use crate::aof::manifest;
use crate::shard::Shard;
use crate::shared::persistence::Purpose;
use std::cell::Cell;
use std::rc::Rc;

/// The first attempt to make a base failed: the next one comes after so many milliseconds …
const RETRY_MS: u64 = 1000;
/// … and each further one after twice as long, so many times.
const RETRY_DOUBLINGS_MAX: u32 = 6;

impl Core {
    /// Begins a rewrite if one is wanted or the log has grown enough; core 0 looks after that. Also the log itself
    /// begins with one, where it was switched on while there was something else to do.
    #[cold]
    pub(super) fn tend_rewrite(&mut self) {
        if self.core != 0 {
            return;
        }
        let log = self.shared.log.clone();
        if !self.config.appendonly && log.is_on() {
            log.end();
        }
        // While keys are loaded, what is there is not what there should be.
        let persistence = &self.shared.persistence;
        let rewrites = log.rewrites();
        let is_idle = !persistence.is_claimed() && !persistence.is_loading() && rewrites.since_ms.is_none();
        // Who asks for one does not wait for the next attempt at what has failed.
        let is_due = rewrites.wanted == Some(When::Now) || self.rewrite_due_ms <= self.clocks.steady_ms();
        if !is_idle || !is_due || !log.has_place() {
            return;
        }
        if log.is_on() && !log.is_rewriting() && self.has_grown() {
            log.want_rewrite(false);
        }
        if log.is_rewrite_wanted() || self.is_log_to_begin() {
            self.begin_rewrite();
        }
    }

    /// Whether the log was switched on and has not begun.
    fn is_log_to_begin(&self) -> bool {
        self.config.appendonly && !self.shared.log.is_on()
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
                if self.shared.persistence.is_saving(Purpose::LogBase) {
                    tracing::info!("The rewrite of the append-only file under way is given up: it was switched off");
                    self.shared.persistence.cancel();
                }
                log.end();
            }
            if self.core == 0 {
                self.writer.files().let_go();
            }
            return;
        }
        // Into another directory it goes with a new base.
        let is_to_go = log.is_on() && self.writer.files().target().is_some();
        if self.core == 0 && (self.is_log_to_begin() || is_to_go) {
            self.rewrite_due_ms = 0;
            // INFO tells of it, also where it has to wait.
            log.want_rewrite(self.shared.persistence.is_busy());
            self.tend_rewrite();
        }
    }

    fn begin_rewrite(&mut self) {
        let log = self.shared.log.clone();
        let files = self.writer.files().clone();
        // Before the directory is looked for: who sees this does not give it up.
        log.begin_rewrite(self.now_ms);
        let directory = match files.make_ready(&self.config, self.config.appendonly) {
            Ok(()) => files.of_base().expect("it is ready"),
            Err(why) => {
                tracing::warn!("Can't rewrite append only file in background: {why}");
                log.end_rewrite(self.now_ms, false);
                return self.try_again();
            }
        };
        let seq = log.next_base();
        let is_commands = !self.config.aof_use_rdb_preamble;
        let name = manifest::base_name(&directory.prefix, seq, !is_commands);
        let first = Rc::new(Cell::new(None));
        tracing::info!("Background append only file rewriting started");
        // With the log off a base is all that is wanted.
        let at_cut: Option<AtCut> = self.config.appendonly.then(|| {
            let (cut, files) = (first.clone(), files.clone());
            // The first engine stands for all: they are held together.
            Box::new(move |engine: &mut Shard| {
                if cut.get().is_none() {
                    let log = &engine.log;
                    let goes_on = log.is_on() && !log.is_gone();
                    let begin = || log.begin_at_cut(|first| files.switch(first));
                    cut.set(Some(if goes_on { log.rotate() } else { begin() }));
                }
                engine.keyspace.records.is_on = true;
            }) as AtCut
        });
        self.order_snapshot(Order {
            purpose: Purpose::LogBase,
            file: Some(directory.path.join(&name)),
            is_commands,
            at_cut,
            then: Box::new(move |core, outcome| core.end_rewrite(outcome, name, seq, first.get())),
            not_before_ms: 0,
        });
    }

    /// Without a base the log is worth nothing, or not all that it should: another attempt is made, later each time.
    fn try_again(&mut self) {
        let log = &self.shared.log;
        let is_to_go = log.is_on() && self.writer.files().target().is_some();
        if log.is_partial() || log.has_lost() || log.is_gone() || self.is_log_to_begin() || is_to_go {
            let doublings = log.rewrites().failures.saturating_sub(1).min(u64::from(RETRY_DOUBLINGS_MAX)) as u32;
            self.rewrite_due_ms = self.clocks.steady_ms() + (RETRY_MS << doublings);
            log.want_rewrite(true);
        }
    }

    fn end_rewrite(&mut self, outcome: Result<Written, Failure>, name: String, seq: u64, first: Option<u64>) {
        let log = self.shared.log.clone();
        let now_ms = self.now_ms;
        match (outcome, first) {
            (Ok(written), first) => {
                tracing::info!("Background AOF rewrite terminated with success");
                first.into_iter().for_each(|first| log.note_base(first));
                // It has ended when the manifest says so: see the clerk.
                log.send(Errand::Rewritten { name, seq, first, bytes: written.bytes });
            }
            (Err(Failure::Refused(why)), _) => {
                tracing::warn!("Background AOF rewrite terminated with error: {why}");
                log.end_rewrite(now_ms, false);
                self.try_again();
            }
            (Err(Failure::Cancelled), _) => {
                tracing::warn!("Background AOF rewrite was given up");
                log.end_rewrite(now_ms, false);
                self.try_again(); // Where a shutdown wanted it to end, and the server has stayed.
            }
        }
    }
}
