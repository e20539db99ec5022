//! What ran on several shards goes into the log as a whole, and replies wait until what they tell is safe. See the page
//! of [`crate::aof`].

use super::accept::CLOSING;
use super::core::Core;
use super::lend::Ground;
use super::mailbox::Control;
use super::read::Planned;
use super::visit::Visited;
use crate::aof::log::{Gate, Log};
use crate::command::lookup::Row;
use crate::command::{Args, Keys, WaitAof, key_positions};
use crate::config::Appendfsync;
use crate::keyspace::Records;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::locks::Need;
use crate::session::{Durability, Session};
use crate::shard::{Held, Request, commit_shared, fail};
use smallvec::SmallVec;

/// What a reply tells of.
pub(super) enum Told {
    /// Of these keys.
    Keys(Vec<Vec<u8>>),
    /// Of all there are.
    All,
}

impl Told {
    pub(super) fn of_call(row: &'static Row, args: &Args<'_>) -> Told {
        if matches!(row.command.keys, Keys::None) {
            return Told::All;
        }
        let mut positions = Vec::new();
        // Where keys cannot be found the reply says so, and tells of none.
        let _ = key_positions(row.command, args, &mut positions);
        Told::Keys(positions.into_iter().map(|at| args[at].to_vec()).collect())
    }

    pub(super) fn of_requests(requests: &[(usize, Request)]) -> Told {
        let mut keys = Vec::new();
        for (_, request) in requests {
            match &request.need {
                Need::Everything => return Told::All,
                Need::Keys(needed) => keys.extend(needed.iter().cloned()),
            }
        }
        Told::Keys(keys)
    }
}

/// A client that waits until the log is on disk.
pub(super) struct LogWait {
    pub(super) connection: u32,
    /// The place of its reply.
    sequence: u32,
    /// When it has waited long enough, by the steady clock; 0: never.
    deadline_ms: u64,
    gate: Gate,
    wanted: WaitAof,
    /// `CLIENT UNBLOCK`; with an error.
    pub(super) unblocked: Option<bool>,
}

impl Core {
    /// Runs `WAITAOF`: its client waits until all that was written so far is on disk.
    pub(super) fn wait_for_log(&mut self, planned: &Planned, row: &'static Row, started: u64) {
        let (_, args, sequence) = self.begin_barrier(planned);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let wanted = match WaitAof::parse(&args, self.config.appendonly) {
            Ok(wanted) => wanted,
            Err(error) => {
                let mut out = Output::default();
                fail(&mut self.stats, row, &error, 0, &mut out);
                return self.finish_gathering(planned.connection, sequence, out);
            }
        };
        self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
        let mut gate = Gate::default();
        for lane in 0..self.map.shards() {
            self.shared.log.raise(&mut gate, lane, self.shared.log.position_of_all(lane));
        }
        let lanes: SmallVec<[usize; 8]> = gate.lanes().collect();
        lanes.into_iter().for_each(|lane| self.ask_for_flush_of(lane));
        let deadline_ms = match wanted.timeout_ms {
            0 => 0,
            timeout_ms => self.clocks.steady_ms().saturating_add(timeout_ms),
        };
        let connection = planned.connection;
        self.log_waits.push(LogWait { connection, sequence, deadline_ms, gate, wanted, unblocked: None });
        self.shared.log.wait(self.core, true);
        self.rechecks_held = self.shared.log.is_on();
    }

    /// `WAITAOF` where nothing waits, in a transaction or script: whether all is on disk now.
    pub(super) fn tell_of_log(&mut self, args: &Args<'_>, ground: &mut Ground, out: &mut Output) -> Result<(), Error> {
        WaitAof::parse(args, self.config.appendonly)?;
        // What it has done itself is not in the log yet.
        let is_clean = records_of(&mut self.shard, &mut self.visited, ground).iter().all(|records| records.is_empty());
        let log = &self.shared.log;
        let is_synced = (0..self.map.shards()).all(|lane| log.is_met(&log.gate(lane, log.position_of_all(lane))));
        write_synced(out, is_clean && log.is_whole() && is_synced);
        Ok(())
    }

    /// Answers those whose log is on disk, or who have waited long enough.
    pub(super) fn end_log_waits(&mut self) {
        let steady_ms = self.clocks.steady_ms();
        let waits = std::mem::take(&mut self.log_waits);
        for wait in waits {
            // Where the log is yet to begin, what was there before is in its base.
            let is_synced = self.shared.log.is_whole() && self.shared.log.is_met(&wait.gate);
            let is_unkept = wait.wanted.is_local && !self.config.appendonly;
            let is_answered = (is_synced || !wait.wanted.is_local) && wait.wanted.replicas == 0;
            let is_answered = is_answered || is_unkept || wait.unblocked.is_some();
            let is_over = wait.deadline_ms != 0 && wait.deadline_ms <= steady_ms;
            let mode = self.connections[wait.connection as usize].session.mode;
            if !is_answered && !is_over && !mode.intersects(CLOSING) {
                self.log_waits.push(wait);
                continue;
            }
            let mut out = Output::default();
            let error = if is_unkept { Some(WaitAof::NOT_ENABLED) } else { None };
            match error.or((wait.unblocked == Some(true)).then_some(Error::UNBLOCKED)) {
                Some(error) => Reply::new(&mut out, Protocol::Resp2).error(&error),
                None => write_synced(&mut out, is_synced),
            }
            self.finish_gathering(wait.connection, wait.sequence, out);
        }
    }

    /// When the first of them has waited long enough.
    pub(super) fn log_wait_due_ms(&self) -> u64 {
        let deadlines = self.log_waits.iter().map(|wait| wait.deadline_ms).filter(|deadline_ms| *deadline_ms != 0);
        deadlines.min().unwrap_or(u64::MAX)
    }

    /// What ran on engines that are held, on borrowed entries or on keyspaces goes into the log, at once.
    #[cold]
    pub(super) fn log_ground(&mut self, ground: &mut Ground) {
        let mut recorded = records_of(&mut self.shard, &mut self.visited, ground);
        recorded.retain(|records| !records.is_empty());
        if !recorded.is_empty() {
            let touched = commit_shared(&self.shared.log, &mut recorded, |key| self.hasher.hash(key));
            self.ask_for_flush(touched.into_iter());
        }
    }

    /// Lanes of others are to be flushed, where that is the rule.
    fn ask_for_flush(&mut self, lanes: impl Iterator<Item = usize>) {
        if self.holds {
            for lane in lanes {
                self.ask_for_flush_of(lane);
            }
        }
    }

    pub(super) fn ask_for_flush_of(&mut self, lane: usize) {
        if lane == self.core {
            self.writer.is_asked = true;
        } else if lane < self.map.shards() && self.shared.log.ask(lane) {
            self.mailbox.control(lane, Control::Flush);
        }
    }

    // Replies that wait

    /// The policy may have changed.
    pub(super) fn take_log_policy(&mut self) {
        let is_always = self.config.appendfsync == Appendfsync::Always;
        self.shared.log.set_always(self.config.appendonly && is_always);
        self.shared.log.set_unsynced(self.config.appendfsync == Appendfsync::No);
    }

    /// Whether the replies of a client wait for the log.
    fn waits(&self, index: u32) -> bool {
        match self.connections[index as usize].session.durability {
            None => self.config.appendfsync == Appendfsync::Always,
            Some(durability) => durability == Durability::Always,
        }
    }

    /// A client's next reply tells of a lane's records up to a position.
    #[cold]
    pub(super) fn hold_reply(&mut self, index: u32, lane: usize, position: u64) {
        if !self.waits(index) {
            return;
        }
        let gate = self.connections[index as usize].replies.gate_mut();
        self.shared.log.raise(gate, lane, position);
        let lanes: SmallVec<[usize; 8]> = gate.lanes().collect();
        self.ask_for_flush(lanes.into_iter());
    }

    /// A client's next reply tells of keys.
    #[cold]
    pub(super) fn hold_for(&mut self, index: u32, told: &Told) {
        match told {
            Told::All => (0..self.map.shards()).for_each(|lane| self.hold_for_all(index, lane)),
            Told::Keys(keys) => {
                for key in keys {
                    let lane = self.map.shard_of(key);
                    let position = self.shared.log.position_of(lane, std::iter::once(self.hasher.hash(key)));
                    if position != 0 {
                        self.hold_reply(index, lane, position);
                    }
                }
            }
        }
    }

    /// A client's next reply may tell of anything in a lane.
    pub(super) fn hold_for_all(&mut self, index: u32, lane: usize) {
        self.hold_reply(index, lane, self.shared.log.position_of_all(lane));
    }

    /// Puts new replies behind their gate, and takes out those whose gate is open. False: nothing is left to be sent in
    /// the common way.
    #[cold]
    pub(super) fn open_gates(&mut self, index: u32) -> bool {
        let connection = &mut *self.connections[index as usize];
        let log = &self.shared.log;
        connection.replies.hold();
        let mut is_released = false;
        while let Some(output) = connection.replies.release(|gate| log.is_met(gate)) {
            if !connection.sending
                && !is_released
                && connection.replies.pieces.is_empty()
                && connection.replies.is_drained()
            {
                connection.replies.output = output;
                return true;
            }
            is_released = true;
            connection.replies.pieces.push(output);
        }
        if connection.replies.first_gate().is_some() && !connection.is_listed_held {
            connection.is_listed_held = true;
            self.held.push(index);
            self.shared.log.wait(self.core, true);
            // Perhaps it was synced just before that was said.
            self.rechecks_held = true;
        }
        if is_released && !connection.sending {
            self.send_pieces(index);
        }
        false
    }

    /// Lists the connections whose replies need wait no longer.
    pub(super) fn release_held(&mut self) {
        self.rechecks_held = false;
        if self.held.is_empty() {
            return;
        }
        let log = &self.shared.log;
        let (connections, dirty) = (&mut self.connections, &mut self.dirty);
        self.held.retain(|&index| {
            let Some(connection) = connections.get_mut(index as usize) else { return false };
            if connection.is_listed_held && connection.replies.may_release(|gate| log.is_met(gate)) {
                connection.is_listed_held = false;
                super::send::list_once(dirty, &mut connection.dirty, index);
            }
            connection.is_listed_held
        });
        if self.held.is_empty() && self.log_waits.is_empty() {
            log.wait(self.core, false);
        }
    }

    /// Tells the cores whose clients wait for this core's lane that it is synced further.
    pub(super) fn tell_synced(&mut self) {
        for core in (0..self.map.shards()).filter(|&core| core != self.core) {
            if self.shared.log.is_waiting(core) {
                self.mailbox.control(core, Control::Synced);
            }
        }
    }
}

/// The reply of `WAITAOF`.
fn write_synced(out: &mut Output, is_synced: bool) {
    let mut reply = Reply::new(out, Protocol::Resp2);
    reply.array(2);
    reply.integer(i64::from(is_synced));
    reply.integer(0); // There are no replicas.
}

/// What the log is to be told of what is held.
pub(super) fn records_of<'a>(
    own: &'a mut Held,
    visited: &'a mut Visited,
    ground: &'a mut Ground,
) -> Vec<&'a mut Records> {
    match ground {
        Ground::Engines => {
            let visited = visited.iter_mut().flatten().map(|engine| &mut engine.keyspace.records);
            std::iter::once(&mut own.keyspace.records).chain(visited).collect()
        }
        Ground::Entries(overlay) => vec![&mut overlay.records],
        Ground::Whole(keyspaces) => keyspaces.iter_mut().map(|keyspace| &mut keyspace.records).collect(),
    }
}

/// Why a client may not write now: the log cannot be written, or is not there to keep what the client was promised.
#[cold]
pub(super) fn disk_error(log: &Log, session: &Session) -> Option<Error> {
    match log_reason(log) {
        Some(reason) => Some(Error::new(format!("MISCONF Errors writing to the AOF file: {reason}"))),
        None if session.is_promised_log() && !log.is_whole() => Some(Error::fixed(
            "MISCONF CLIENT DURABILITY of this connection needs the append-only file, which is off or has no base yet",
        )),
        None => None,
    }
}

/// Why the log cannot be written, as the system says it.
pub(super) fn log_reason(log: &Log) -> Option<String> {
    log.error().map(|error| crate::config::reason(&std::io::Error::from_raw_os_error(error as i32)))
}
