//! The end of the server: keys are saved where that is due, then what was recorded goes to disk. Where either cannot
//! be, the server stays, and says so, unless it was told to end anyway.
//!
//! ```text
//!   SHUTDOWN, SIGTERM ─▶ scripts end, FLUSHALL owed? ─▶ snapshot, if due ─▶ commands wait ─▶ all lanes on disk ─▶ end
//!                                                           │ failed                            │ the disk refuses
//!                                                           └──────▶ commands go on, "-ERR Errors trying to SHUTDOWN"
//! ```
//! Redis writes its log once more and ends, whatever comes of it. What it has not written by then are the commands of
//! one pass; here cores answer up to a tenth of a second ahead of the disk ([`super::aof_writer`]), and what was
//! answered is nowhere else.

use super::aof_share::log_reason;
use super::core::Core;
use super::snapshot::{Client, Order, SETTLE_MS, Then};
use crate::aof::log::Gate;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::session::Ending;
use crate::shared::persistence::{Purpose, held_for, saves};

/// How long a disk that refuses has, in milliseconds: what has failed is tried again once a second.
const REFUSES_MS_MAX: u64 = 1500;

/// An end that waits for the log.
pub(super) struct Leaving {
    ending: Ending,
    clients: Vec<Client>,
    /// By the steady clock.
    since_ms: u64,
    /// All that was recorded; none: commands that have begun are still given time.
    all: Option<Gate>,
}

impl Core {
    /// Ends the server, with a snapshot before where one is due.
    pub(super) fn end_server(&mut self, ending: Ending, client: Option<Client>) {
        if let Some(leaving) = &mut self.saving.leaving
            && !ending.force
            && !ending.nosave
        {
            return leaving.clients.extend(client); // It is about to.
        }
        self.shared.persistence.begin_to_end();
        if !ending.force && !ending.nosave && self.shared.scripts.is_any_long() {
            // As in Redis, where nobody looks at a signal before. What a script has done by half is in no log.
            self.saving.ending = Some((ending, client));
            return;
        }
        let log = &self.shared.log;
        if log.is_on() && log.is_partial() && !log.is_gone() {
            if !ending.force {
                tracing::warn!("Writing initial AOF, can't exit.");
                return self.stay(ending, client);
            }
            tracing::warn!("Writing initial AOF. Exit anyway.");
        }
        let persistence = &self.shared.persistence;
        // Who was about to finish one need not.
        persistence.cancel();
        // What is not all loaded must not take the place of what is on the disk.
        if !saves(ending, &self.config) || persistence.is_loading() {
            if persistence.owes_emptying() {
                self.saving.ending = Some((ending, client)); // What was emptied before does not come back.
                return;
            }
            return self.end_behind_log(ending, client);
        }
        tracing::warn!("Saving the final RDB snapshot before exiting.");
        persistence.hold_all(held_for::END, true);
        let then: Then = Box::new(move |core, outcome| core.end_saved(ending, client, outcome.is_ok()));
        let not_before_ms = self.clocks.steady_ms() + SETTLE_MS;
        let purpose = Purpose::Shutdown;
        let order = Order { purpose, file: None, is_commands: false, at_cut: None, then, not_before_ms };
        self.order_first(order);
    }

    fn end_saved(&mut self, ending: Ending, client: Option<Client>, is_saved: bool) {
        if is_saved {
            return self.end_behind_log(ending, client);
        }
        if ending.force {
            tracing::warn!("Error trying to save the DB. Exit anyway.");
            return self.end_behind_log(ending, client);
        }
        tracing::warn!("Error trying to save the DB, can't exit.");
        self.stay(ending, client);
    }

    /// Ends it when all that was recorded is on disk.
    fn end_behind_log(&mut self, ending: Ending, client: Option<Client>) {
        if ending.force || ending.nosave {
            self.shared.persistence.end_anyway();
            return self.shared.stop(0);
        }
        if !self.shared.log.is_on() {
            return self.shared.stop(0);
        }
        self.shared.persistence.hold_all(held_for::END, true);
        let since_ms = self.clocks.steady_ms();
        self.saving.leaving = Some(Leaving { ending, clients: client.into_iter().collect(), since_ms, all: None });
    }

    /// Looks whether it is.
    pub(super) fn tend_leaving(&mut self) {
        let Some(mut leaving) = self.saving.leaving.take() else { return };
        let steady_ms = self.clocks.steady_ms();
        if leaving.since_ms + SETTLE_MS <= steady_ms {
            let all = leaving.all.get_or_insert_with(|| {
                let mut all = Gate::default();
                for lane in 0..self.map.shards() {
                    self.shared.log.raise(&mut all, lane, self.shared.log.position_of_all(lane));
                }
                all
            });
            if self.shared.log.keeps(all) {
                return self.shared.stop(0);
            }
            (0..self.map.shards()).for_each(|lane| self.ask_for_flush_of(lane));
        }
        let log = &self.shared.log;
        if (log.has_failed() || !log.is_named()) && leaving.since_ms + REFUSES_MS_MAX <= steady_ms {
            let why = log_reason(log).unwrap_or("its manifest cannot be written".to_string());
            tracing::warn!(
                "Changes that were accepted are not in the append-only file ({why}), can't exit: {} bytes of them are \
                 in memory alone",
                log.pending_bytes()
            );
            return self.stay(leaving.ending, leaving.clients);
        }
        self.saving.leaving = Some(leaving);
    }

    /// The server does not end, and whoever wanted it to is told.
    fn stay(&mut self, ending: Ending, clients: impl IntoIterator<Item = Client>) {
        self.shared.persistence.stay();
        if let Some(signal) = ending.signal {
            tracing::warn!(
                "{signal} received but errors trying to shut down the server, check the logs for more information"
            );
        }
        for client in clients {
            let mut out = Output::default();
            let error = Error::fixed("ERR Errors trying to SHUTDOWN. Check logs.");
            Reply::new(&mut out, Protocol::Resp2).error(&error);
            self.end_deferred(client, out);
        }
    }

    /// No core serves any more: this one's lane goes to disk, as far as it does.
    pub(super) fn end_lane(&mut self) {
        self.end_log();
        let bytes = self.shared.log.pending_bytes_of(self.core);
        if bytes != 0 {
            tracing::error!("{bytes} bytes of changes that were accepted are not in the append-only file, and lost");
            if !self.shared.persistence.ends_anyway() {
                self.shared.fail_end();
            }
        }
    }
}
