//! `DEBUG RELOAD` and `DEBUG LOADAOF`: all keys go, and come back from the disk, while clients are connected and told
//! `-LOADING`. Loading itself: [`super::load`], [`super::aof_load`].
//!
//! ```text
//!  RELOAD  ─▶ a snapshot (unless NOSAVE) ─▶ alone, -LOADING ─▶ engines held: emptied (unless NOFLUSH) ───┬─▶ a thread
//!  LOADAOF ─▶ no rewrite left ─▶ alone, -LOADING ─▶ held: nothing is recorded ─▶ lanes written ─▶ emptied ┘   loads
//! ```
//! Alone: the claim on snapshots is held, so that none begins of what is half loaded, and no rewrite switches files.
//! From the moment of its snapshot until `RELOAD` is alone all commands wait, as they do in Redis: what would be
//! changed then is not in the file, and nobody is told that it was.
//! From when the engines were held first until all is loaded they run no command but those of the loader
//! ([`crate::keyspace::Keyspace::is_replaying`]): what other cores' clients had sent before is refused there, too. So
//! the log is what was in memory at that moment, and what is in memory afterwards is the log.

use super::aof_load;
use super::core::Core;
use super::load::{Duplicates, Manner, load};
use super::mailbox::Control;
use super::snapshot::Client;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::shard::Shard;
use crate::shared::persistence::{Purpose, held_for, obstacle};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const NO_SNAPSHOT: Error = Error::fixed("ERR Error trying to load the RDB dump");
const NO_LOG: Error = Error::fixed("ERR Error trying to load the AOF files, check server logs.");

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The snapshot's file.
    Snapshot {
        /// The databases are emptied before.
        flushes: bool,
        /// What is there already is no error, and becomes what the file has.
        merges: bool,
    },
    /// The append-only file.
    Log,
}

/// One that was asked for.
pub(super) struct Reload {
    origin: Origin,
    /// The claim on snapshots is held already.
    is_claimed: bool,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    client: Client,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    /// Nothing else is to be under way.
    Waits,
    /// What is recorded ends.
    Begins,
    /// Lanes are written up to these positions.
    Writes(Vec<u64>),
    /// Keys go.
    Empties,
    /// A thread loads, and says how it went.
    Loads(Arc<Mutex<Option<Result<(), String>>>>),
}

impl Reload {
    /// From there.
    pub fn new(origin: Origin) -> Reload {
        Reload { origin, is_claimed: false, under_way: None }
    }
}

impl Core {
    /// The file is there, or will be: its keys replace those that are. `is_claimed`: a snapshot was made for it, since
    /// which nobody else makes one, and no command runs.
    pub(super) fn begin_reload(&mut self, client: Client, is_claimed: bool) {
        let reload = self.saving.reload.as_mut().expect("it was asked for");
        reload.is_claimed = is_claimed;
        reload.under_way = Some(UnderWay { client, stage: Stage::Waits });
        self.tend_reload();
    }

    /// Keeps snapshots, rewrites and clients away. `None`: not now.
    fn keep_others_away(&mut self, origin: Origin, is_claimed: bool) -> Option<Stage> {
        let (log, persistence) = (&self.shared.log, &self.shared.persistence);
        // One that has failed before may be wanted for long.
        let is_left = || {
            let rewrites = log.rewrites();
            rewrites.is_under_way() || rewrites.is_scheduled() && rewrites.failures == 0
        };
        let waits = |origin| origin == Origin::Log && log.error().is_none() && is_left();
        if waits(origin) || !is_claimed && !persistence.claim(Purpose::Reload) {
            return None;
        }
        // One that began in between needs the claim.
        if waits(origin) {
            persistence.release();
            return None;
        }
        persistence.set_obstacle(obstacle::LOADING, true);
        persistence.hold_all(held_for::RELOAD, false);
        self.obstacles |= obstacle::LOADING;
        Some(if origin == Origin::Log { Stage::Begins } else { Stage::Empties })
    }

    /// Whether there is a log that can be loaded.
    fn find_log(&self) -> Result<(), String> {
        match self.shared.log.error() {
            Some(_) => Err("it cannot be written to its end".to_string()),
            None => aof_load::find(&self.config, self.writer.files()),
        }
    }

    /// Goes on with it, as far as that is possible now.
    pub(super) fn tend_reload(&mut self) {
        while let Some(Reload { origin, is_claimed, under_way: Some(under_way) }) = &self.saving.reload {
            let (is_claimed, origin, stage) = (*is_claimed, *origin, under_way.stage.clone());
            let next = match stage {
                Stage::Waits => self.keep_others_away(origin, is_claimed),
                Stage::Begins => {
                    if let Err(why) = self.find_log() {
                        tracing::warn!("DEBUG LOADAOF: {why}");
                        return self.give_up_reload();
                    }
                    self.end_records().map(Stage::Writes)
                }
                Stage::Writes(positions) => {
                    let log = &self.shared.log;
                    if log.error().is_some() {
                        return self.give_up_reload();
                    }
                    let is_written = |(lane, position): (usize, &u64)| *position <= log.written(lane);
                    positions.iter().enumerate().all(is_written).then_some(Stage::Empties)
                }
                Stage::Empties => self.empty(origin).then(|| self.start_loader(origin)),
                Stage::Loads(result) => {
                    if result.lock().is_some() && self.hold_all_for_reload() {
                        return self.end_reload();
                    }
                    None
                }
            };
            let Some(next) = next else { return };
            if let Some(Reload { under_way: Some(under_way), .. }) = &mut self.saving.reload {
                under_way.stage = next;
            }
        }
    }

    /// As [`Core::hold_all`]; where it cannot be, no core begins a loan until it can.
    fn hold_all_for_reload(&mut self) -> bool {
        let is_held = self.hold_all();
        self.shared.persistence.holds_loans.store(!is_held, Ordering::Release);
        is_held
    }

    /// Nothing is recorded any more. Up to where the lanes go then; `None`: not now.
    fn end_records(&mut self) -> Option<Vec<u64>> {
        let log = self.shared.log.clone();
        if !self.hold_all_for_reload() {
            return None;
        }
        self.engines().for_each(|engine| {
            engine.keyspace.is_replaying = true;
            engine.keyspace.records.is_on = false;
        });
        self.end_visits();
        let lanes = 0..self.map.shards();
        let positions = lanes.clone().map(|lane| log.position(lane)).collect();
        for lane in lanes {
            if lane == self.core {
                self.writer.is_asked = true;
            } else if log.ask(lane) {
                self.mailbox.control(lane, Control::Flush);
            }
        }
        Some(positions)
    }

    /// Empties everything, unless that is not wanted. False: not now.
    fn empty(&mut self, origin: Origin) -> bool {
        if !self.hold_all_for_reload() {
            return false;
        }
        let flushes = !matches!(origin, Origin::Snapshot { flushes: false, .. });
        for engine in self.engines() {
            engine.keyspace.is_replaying = true;
            if flushes {
                (0..engine.keyspace.databases()).for_each(|db| {
                    engine.keyspace.flush(db);
                });
                engine.settle();
            }
        }
        self.end_visits();
        if !flushes {
            return true;
        }
        let none = |_: &_| Ok::<_, std::convert::Infallible>(Default::default());
        let _ = self.shared.scripts.change_libraries(none);
        true
    }

    fn start_loader(&mut self, origin: Origin) -> Stage {
        let result = Arc::new(Mutex::new(None));
        let engines: Vec<&'static Mutex<Shard>> =
            (0..self.map.shards()).map(|core| self.shard.engine_of(core)).collect();
        let (shared, config, files) = (self.shared.clone(), self.config.clone(), self.writer.files().clone());
        let told = result.clone();
        let started = std::thread::Builder::new().name("loader".into()).spawn(move || {
            let loaded = match origin {
                Origin::Snapshot { merges, .. } => {
                    let duplicates = if merges { Duplicates::Replaced } else { Duplicates::Refused };
                    let manner = Manner { duplicates, keeps_expired: false, is_part: false };
                    load(&config.dir.join(&config.dbfilename), &engines, &shared, manner).map(drop)
                }
                Origin::Log => aof_load::load_again(&config, &files, &shared, &engines),
            };
            *told.lock() = Some(loaded);
        });
        if let Err(error) = started {
            *result.lock() = Some(Err(error.to_string()));
        }
        Stage::Loads(result)
    }

    /// The thread has ended; all engines are held.
    fn end_reload(&mut self) {
        let reload = self.saving.reload.take().expect("it is under way");
        let UnderWay { client, stage } = reload.under_way.expect("likewise");
        let Stage::Loads(result) = stage else { panic!("it ends when it is loaded") };
        let loaded = result.lock().take().expect("seen before");
        let changes = self.engines().map(|engine| engine.keyspace.dirty).sum();
        self.shared.persistence.set_saved_changes(changes);
        match (loaded, reload.origin) {
            (Ok(()), Origin::Snapshot { .. }) => tracing::warn!("DB reloaded by DEBUG RELOAD"),
            (Ok(()), Origin::Log) => tracing::warn!("Append Only File loaded by DEBUG LOADAOF"),
            (Err(why), Origin::Snapshot { .. }) => {
                tracing::warn!("Error trying to load the RDB dump: {why}");
                self.serve_again();
                return self.tell_refusal(client, &NO_SNAPSHOT);
            }
            (Err(why), Origin::Log) => {
                // As in Redis: what is in memory now must not take the place of what is on the disk.
                tracing::error!("DEBUG LOADAOF: {why}. Exiting...");
                crate::log::flush();
                std::process::exit(1);
            }
        }
        self.serve_again();
        self.answer(client, true);
    }

    /// The log cannot be written to its end: everything stays as it is.
    fn give_up_reload(&mut self) {
        if self.hold_all_for_reload() {
            self.serve_again();
            self.refuse_reload(&NO_LOG);
        }
    }

    /// Clients are served, and what they change is recorded. All engines are held until then.
    fn serve_again(&mut self) {
        let is_on = self.shared.log.is_on();
        self.engines().for_each(|engine| {
            engine.keyspace.is_replaying = false;
            engine.keyspace.records.is_on = is_on;
        });
        self.end_visits();
        self.shared.persistence.release();
        self.shared.persistence.set_obstacle(obstacle::LOADING, false);
        self.obstacles = self.shared.persistence.obstacles.load(Ordering::Relaxed);
    }

    fn refuse_reload(&mut self, error: &Error) {
        let reload = self.saving.reload.take().expect("it was asked for");
        self.tell_refusal(reload.under_way.expect("it has begun").client, error);
    }

    fn tell_refusal(&mut self, client: Client, error: &Error) {
        let mut out = Output::default();
        Reply::new(&mut out, Protocol::Resp2).error(error);
        self.end_deferred(client, out);
    }
}
