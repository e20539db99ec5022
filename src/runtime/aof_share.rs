//! What ran on several shards goes into the log as a whole, and replies wait until what they tell is safe. See the page
//! of [`crate::aof`].

use super::core::Core;
use super::lend::Ground;
use super::mailbox::Control;
use crate::command::lookup::Row;
use crate::command::{Args, Keys, key_positions};
use crate::config::Appendfsync;
use crate::keyspace::Records;
use crate::route::locks::Need;
use crate::session::Durability;
use crate::shard::{Request, commit_shared};

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

impl Core {
    /// What ran on engines that are held goes into the log.
    #[cold]
    pub(super) fn log_engines(&mut self) {
        let visited = self.visited.iter_mut().flatten().map(|engine| &mut engine.keyspace.records);
        let mut recorded: Vec<&mut Records> = std::iter::once(&mut self.shard.keyspace.records)
            .chain(visited)
            .filter(|records| !records.is_empty())
            .collect();
        if !recorded.is_empty() {
            let touched = commit_shared(&self.shared.log, &mut recorded, |key| self.hasher.hash(key));
            self.ask_for_flush(touched.into_iter());
        }
    }

    /// The same of what ran on borrowed entries or keyspaces.
    pub(super) fn log_ground(&mut self, ground: &mut Ground) {
        let mut recorded: Vec<&mut Records> = match ground {
            Ground::Engines => return self.log_engines(),
            Ground::Entries(overlay) => vec![&mut overlay.records],
            Ground::Whole(keyspaces) => keyspaces.iter_mut().map(|keyspace| &mut keyspace.records).collect(),
        };
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

    fn ask_for_flush_of(&mut self, lane: usize) {
        if lane == self.core {
            self.is_flush_asked = true;
        } else if lane < self.map.shards() && self.shared.log.ask(lane) {
            self.mailbox.control(lane, Control::Flush);
        }
    }

    // Replies that wait

    /// The policy may have changed.
    pub(super) fn take_log_policy(&mut self) {
        let is_always = self.config.appendfsync == Appendfsync::Always;
        self.shared.log.set_always(self.config.appendonly && is_always);
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
        let gate = &mut self.connections[index as usize].replies.gate;
        self.shared.log.raise(gate, lane, position);
        let lanes: smallvec::SmallVec<[usize; 8]> = gate.lanes().collect();
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
            if !connection.sending && !is_released && connection.replies.pieces.is_empty() && connection.replies.is_drained()
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
        if self.held.is_empty() {
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
