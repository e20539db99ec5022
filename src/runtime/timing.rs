//! When things happened in a pass: what the loop notes so that [`crate::stats::stages`] can tell where time went, and
//! how the loop itself does.
//!
//! The clock is read once for each client whose bytes are parsed, once after each command (which Redis' histograms need
//! anyhow), once at each end of a pass. Commands of the same name, client and microsecond form a group, and only
//! groups are written into histograms, after the pass's sends are queued:
//!
//! ```text
//!  pass begins   parsed        command ran  command ran        sends queued       kernel entered
//!      │ read ─────┤ queue ───────┤ … of the same group          │ settle             │ wrote
//!      └ Batch ────┘              └── Group ─────────────────────┘ └ Leaving ─────────┘
//!                                                                └ Owed: its reply waits for the log or its socket
//! ```

use super::core::Core;
use super::read::{Planned, What};
use crate::command::Run;
use crate::command::lookup::{CommandId, Row};
use crate::command::slowlog::Split;
use crate::connection::Connection;
use crate::route::Place;
use crate::stats::Stats;
use crate::stats::stages::{Arrival, Lane, Stage, Way};
use ahash::AHashMap;
use quanta::Clock;

/// Commands that begin within so much of each other share their stages.
const GROUP_NANOSECONDS: u64 = 1_000;
/// Groups of a pass that a command looks at for its own, the newest first: a pipeline of several commands in turn.
const GROUPS_TRIED: usize = 4;
/// When a core goes to sleep after a pass, the end of its writes is looked at one time in so many.
const WRITE_SAMPLES: u64 = 16;
/// After a pass with so much to send it is looked at every time: copying it takes longer than looking.
const WRITE_BYTES_SEEN: u64 = 64 << 10;

/// The reading of one client's bytes, by the raw clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    /// Since when they have waited to be read: because of earlier commands of their client; else `from`.
    pub(super) since: u64,
    from: u64,
    to: u64,
}

/// Commands that share their stages.
struct Group {
    connection: u32,
    batch: u32,
    command: CommandId,
    way: Way,
    /// Their replies are there.
    is_answered: bool,
    count: u64,
    /// Their `read` and `queue`, once they are known.
    before: Option<(u64, u64)>,
    /// When the first began, …
    started: u64,
    /// … and the last ended.
    ended: u64,
}

/// Replies that are with the kernel as soon as it is entered.
struct Leaving {
    command: CommandId,
    way: Way,
    count: u64,
    /// Since when they are complete and safe.
    since: u64,
}

/// What became of the command that just ran, where its row does not tell.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing else.
    #[default]
    AsUsual,
    /// It left for another core.
    Forwarded,
    /// Its reply comes later.
    Unanswered,
    /// It waits for what it needs: its stages are noted when it has it ([`Core::note_wait_over`]).
    Waits,
}

/// Replies that wait.
struct Owed {
    leaving: Leaving,
    /// For the log; else for their socket, or the replies before them.
    is_gated: bool,
}

/// What the loop notes of a pass.
#[derive(Default)]
pub(super) struct Timing {
    batches: Vec<Batch>,
    groups: Vec<Group>,
    leaving: Vec<Leaving>,
    owed: AHashMap<u32, Vec<Owed>>,
    /// Until when everything that was parsed is accounted for.
    parsed_until: u64,
    /// Of the command that just ran.
    pub(super) fate: Fate,
    /// The slow log has been told in this pass of a command that only waited.
    has_told_of_wait: bool,
    /// What had been sent, as is counted, before this pass.
    output_seen: u64,
    /// [`GROUP_NANOSECONDS`] by the raw clock.
    group_ticks: u64,
    /// Which sleeps are sampled: see [`Timing::is_sampled`].
    sleeps: u64,
    pass_began: u64,
    pass_ended: u64,
    /// The core slept between them.
    pub(super) has_slept: bool,
    /// When the second ends, by the steady clock in milliseconds.
    turn_due_ms: u64,
    /// What the kernel had counted when it was asked last, in nanoseconds.
    delay_seen: u64,
}

impl Timing {
    pub(super) fn new(clock: &Clock) -> Timing {
        const TICKS: u64 = 1 << 20;
        let nanoseconds = clock.delta_as_nanos(0, TICKS).max(1);
        Timing { group_ticks: GROUP_NANOSECONDS * TICKS / nanoseconds, ..Timing::default() }
    }

    /// The number of the batch that is being read.
    #[inline]
    pub(super) fn next_batch(&self) -> u32 {
        self.batches.len() as u32
    }

    /// How many batches there are, for [`Timing::forget_batches`].
    pub(super) fn batches_len(&self) -> usize {
        self.batches.len()
    }

    /// Forgets the batches of a pass within a pass.
    pub(super) fn forget_batches(&mut self, len: usize) {
        self.batches.truncate(len);
    }

    /// A client's bytes are read; they waited since then (0: not at all).
    #[inline]
    pub(super) fn read(&mut self, since: u64, now: u64) {
        let from = std::mem::replace(&mut self.parsed_until, now);
        self.batches.push(Batch { since: if since == 0 { from } else { since.min(from) }, from, to: now });
    }

    /// What came before a command ran, for the slow log, if it was noted.
    #[cold]
    pub(super) fn split(&self, batch: u32, started: u64, clock: &Clock) -> Split {
        self.arrival(batch, started, clock).into()
    }

    /// How a command came to its turn then, which has to wait on.
    pub(super) fn arrival(&self, batch: u32, started: u64, clock: &Clock) -> Arrival {
        Arrival { before: self.before(batch, started, clock), at: started }
    }

    /// Other work has been done since something was parsed last: who is read now has waited meanwhile.
    pub(super) fn begin_reading(&mut self, now: u64) {
        self.parsed_until = now;
    }

    /// `read` and `queue` of a command of a batch that began, or left, then; nanoseconds.
    pub(super) fn before(&self, batch: u32, started: u64, clock: &Clock) -> Option<(u64, u64)> {
        Some(self.batches.get(batch as usize)?.stages(started, clock))
    }

    /// Whether the next sleep is one before which the kernel is asked. By steps of the golden ratio, so that no rhythm
    /// of the clients, such as two commands in turn, makes it always the same ones.
    fn is_sampled(&mut self) -> bool {
        self.sleeps = self.sleeps.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.sleeps < u64::MAX / WRITE_SAMPLES
    }

    /// A command ran.
    #[inline]
    fn ran(&mut self, group: Group) {
        let same = |of: &&mut Group| {
            of.command == group.command
                && of.batch == group.batch
                && of.is_answered == group.is_answered
                && of.way == group.way
                && group.started - of.started <= self.group_ticks
        };
        if let Some(of) = self.groups.iter_mut().rev().take(GROUPS_TRIED).find(same) {
            of.count += 1;
            of.ended = group.ended;
            return;
        }
        self.groups.push(group);
    }

    /// Whether the reply of a command that began then has been noted by itself.
    fn has_reply_of(&self, connection: u32, command: CommandId, started: u64) -> bool {
        let mut since = self.groups.iter().rev().take_while(|group| started <= group.started);
        since.any(|group| group.connection == connection && group.command == command && group.batch == u32::MAX)
    }

    /// What left with the last entry into the kernel is with it; each stands for so many.
    fn wrote(&mut self, now: u64, weight: u64, clock: &Clock, stats: &mut Stats) {
        for Leaving { command, way, count, since } in self.leaving.drain(..) {
            stats.record_stage(command, Lane::of(way, Stage::Write), clock.delta_as_nanos(since, now), count * weight);
        }
    }
}

impl Batch {
    /// `read` and `queue` of a command that began then.
    #[inline]
    fn stages(self, started: u64, clock: &Clock) -> (u64, u64) {
        let waited = clock.delta_as_nanos(self.since, self.from);
        (clock.delta_as_nanos(self.from, self.to), waited + clock.delta_as_nanos(self.to, started))
    }
}

impl Core {
    /// A pass begins, now by the raw clock and by the steady one in milliseconds.
    pub(super) fn begin_timing(&mut self, now: u64, steady_ms: u64) {
        let timing = &mut self.timing;
        // Where the core did not sleep, it comes straight from the kernel.
        timing.wrote(now, 1, &self.clock, &mut self.stats);
        if std::mem::take(&mut timing.has_slept) {
            self.stats.health.parked_nanoseconds += self.clock.delta_as_nanos(timing.pass_ended, now);
        }
        timing.pass_began = now;
        timing.parsed_until = now;
        timing.has_told_of_wait = false;
        timing.output_seen = self.stats.counters.net_output_bytes;
        self.stats.begin_pass();
        if timing.turn_due_ms <= steady_ms {
            self.stats.turn(steady_ms / 1000);
            timing.turn_due_ms = (steady_ms / 1000 + 1) * 1000;
        }
    }

    /// Notes a command that [`Core::run_one`] was given; `ended` is what that returned.
    #[inline]
    pub(super) fn note_run(&mut self, planned: &Planned, started: u64, ended: u64) {
        let fate = std::mem::take(&mut self.timing.fate);
        // It may have been put back instead.
        let What::Row(row) = planned.what else { return };
        if ended == started || !self.stats.is_tracking() || fate == Fate::Waits {
            return;
        }
        let is_answered = fate == Fate::AsUsual
            && (is_answered_at_once(row, planned)
                || self.owes_none(planned) && !self.timing.has_reply_of(planned.connection, row.id, started));
        self.timing.ran(Group {
            connection: planned.connection,
            batch: planned.batch,
            command: row.id,
            way: if fate == Fate::Forwarded { Way::Forwarded } else { Way::Local },
            is_answered,
            count: 1,
            before: None,
            started,
            ended,
        });
    }

    /// Whether every reply of a command's client is there.
    fn owes_none(&self, planned: &Planned) -> bool {
        let connection = self.connections.get(planned.connection as usize);
        connection.is_some_and(|connection| connection.replies.outstanding() == 0 && !connection.barrier)
    }

    /// The reply of a command that another core ran is in its place.
    #[inline]
    pub(super) fn note_returned(&mut self, connection: u32, command: CommandId, replied: u64, now: u64) {
        let back = self.clock.delta_as_nanos(replied, now);
        self.stats.record_stage(command, Lane::of(Way::Forwarded, Stage::Return), back, 1);
        self.note_reply(connection, command, Way::Forwarded, now);
    }

    /// The reply of a command that came to its turn earlier is in its place.
    #[inline]
    pub(super) fn note_reply(&mut self, connection: u32, command: CommandId, way: Way, now: u64) {
        if self.stats.is_tracking() {
            self.timing.groups.push(Group {
                connection,
                batch: u32::MAX, // What came before it ran is noted, or is noted apart.
                command,
                way,
                is_answered: true,
                count: 1,
                before: None,
                started: now,
                ended: now,
            });
        }
    }

    /// A command that had to wait for what it needs has it now, and begins to run. What came before, for the slow log.
    #[cold]
    pub(super) fn note_wait_over(&mut self, command: CommandId, arrival: Arrival, now: u64) -> Split {
        let held = self.clock.delta_as_nanos(arrival.at, now);
        let Some((read, queue)) = arrival.before else { return Split { held, ..Split::default() } };
        self.stats.record_stage(command, Lane::of(Way::Local, Stage::Read), read, 1);
        self.stats.record_stage(command, Lane::of(Way::Local, Stage::Queue), queue + held, 1);
        Split { read: Some(read), queue: Some(queue + held), hop: None, held }
    }

    /// Whether the slow log wants to know of a command that ran for so long, and had waited for keys before.
    pub(super) fn is_slow(&mut self, nanoseconds: u64, held: u64) -> bool {
        self.slow_nanoseconds <= nanoseconds
            || self.slow_nanoseconds <= nanoseconds.saturating_add(held)
                && !std::mem::replace(&mut self.timing.has_told_of_wait, true)
    }

    /// The sends of this pass are queued: what was noted is counted, and what has not left goes on waiting.
    pub(super) fn settle(&mut self) {
        let Timing { batches, groups, leaving, owed, .. } = &mut self.timing;
        if !owed.is_empty() {
            let now = self.clock.raw();
            owed.retain(|index, replies| {
                let Some(connection) = self.connections.get(*index as usize) else { return false };
                let mut note = |reply: &Leaving, stage| {
                    let waited = self.clock.delta_as_nanos(reply.since, now);
                    self.stats.record_stage(reply.command, Lane::of(reply.way, stage), waited, reply.count);
                };
                if !connection.replies.is_gated() {
                    for Owed { leaving: reply, is_gated } in replies.iter_mut().filter(|reply| reply.is_gated) {
                        note(reply, Stage::Durability);
                        (reply.since, *is_gated) = (now, false);
                    }
                }
                if !has_left(connection) {
                    return true;
                }
                for Owed { leaving: reply, .. } in replies.drain(..) {
                    if reply.since == now {
                        leaving.push(reply); // With the next entry into the kernel.
                    } else {
                        note(&reply, Stage::Write); // The kernel has told that it has all.
                    }
                }
                false
            });
        }
        // Counters are seldom in a cache: all are asked for before the first is needed.
        for group in groups.iter_mut() {
            let Some(batch) = batches.get(group.batch as usize) else { continue };
            let (read, queue) = batch.stages(group.started, &self.clock);
            self.stats.expect_stage(group.command, Lane::of(group.way, Stage::Read), read);
            self.stats.expect_stage(group.command, Lane::of(group.way, Stage::Queue), queue);
            group.before = Some((read, queue));
        }
        for Group { connection: index, command, way, is_answered, count, before, ended, .. } in groups.drain(..) {
            if let Some((read, queue)) = before {
                self.stats.record_stage(command, Lane::of(way, Stage::Read), read, count);
                self.stats.record_stage(command, Lane::of(way, Stage::Queue), queue, count);
            }
            let Some(connection) = self.connections.get(index as usize).filter(|_| is_answered) else { continue };
            let reply = Leaving { command, way, count, since: ended };
            if has_left(connection) {
                leaving.push(reply);
            } else {
                let is_gated = connection.replies.is_gated();
                owed.entry(index).or_default().push(Owed { leaving: reply, is_gated });
            }
        }
        batches.clear();
    }

    /// A client is gone: nothing is owed to who gets its number next.
    pub(super) fn owe_nothing(&mut self, index: u32) {
        if !self.timing.owed.is_empty() {
            self.timing.owed.remove(&index);
        }
    }

    /// The pass is over.
    pub(super) fn end_timing(&mut self) {
        let now = self.clock.raw();
        self.timing.pass_ended = now;
        let nanoseconds = self.clock.delta_as_nanos(self.timing.pass_began, now);
        if self.stats.health.note_pass(nanoseconds, self.stall_nanoseconds) {
            self.note_stall(nanoseconds);
        }
    }

    #[cold]
    fn note_stall(&mut self, nanoseconds: u64) {
        let delayed = self.look_at_delay();
        let slowest = self.stats.slowest();
        self.stats.health.note_stall(self.now_ms, nanoseconds, slowest, delayed);
    }

    /// Asks the kernel for how long this thread was ready and did not run since it was asked last.
    pub(super) fn look_at_delay(&mut self) -> u64 {
        let delay = self.run_queue.delay_nanoseconds().unwrap_or(0);
        let delayed = delay.saturating_sub(self.timing.delay_seen);
        self.timing.delay_seen = delay;
        self.stats.health.delayed_nanoseconds += delayed;
        delayed
    }

    /// The core is about to sleep, and does not learn when the kernel took its replies: asks one time in some.
    pub(super) fn sample_writes(&mut self) {
        if self.timing.leaving.is_empty() {
            return;
        }
        let sent = self.stats.counters.net_output_bytes.saturating_sub(self.timing.output_seen);
        let is_much = WRITE_BYTES_SEEN <= sent;
        if is_much || self.timing.is_sampled() {
            self.ring.submit();
            let now = self.clock.raw();
            let weight = if is_much { 1 } else { WRITE_SAMPLES };
            self.timing.wrote(now, weight, &self.clock, &mut self.stats);
        } else {
            self.timing.leaving.clear();
        }
    }
}

/// Whether all of a client's replies are with the kernel, or will be as soon as it is entered.
#[inline]
fn has_left(connection: &Connection) -> bool {
    connection.replies.is_drained() && connection.replies.pieces.is_empty() && !connection.sending
}

/// Whether a command's reply is made when it has run, wherever it went.
#[inline]
fn is_answered_at_once(row: &Row, planned: &Planned) -> bool {
    match row.command.run {
        Run::Keyspace(_) => matches!(planned.place, Place::One(_)),
        Run::Session(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use crate::stats::histogram::Histogram;

    fn group(name: &str, batch: u32, started: u64, ended: u64) -> Group {
        let command = lookup(name.as_bytes()).expect("a row").id;
        Group {
            connection: 0,
            batch,
            command,
            way: Way::Local,
            is_answered: true,
            count: 1,
            before: None,
            started,
            ended,
        }
    }

    #[test]
    fn neighbours_share_their_stages_and_what_is_behind_something_slow_does_not() {
        let mut timing = Timing { group_ticks: 1_000, ..Timing::default() };
        for at in 0..6 {
            timing.ran(group(if at % 2 == 0 { "get" } else { "set" }, 0, at * 100, at * 100 + 100));
        }
        timing.ran(group("get", 1, 600, 700));
        timing.ran(group("get", 0, 50_000, 50_100));
        timing.ran(Group { is_answered: false, ..group("get", 0, 50_100, 50_200) });
        let told: Vec<(u32, u64, u64, u64)> =
            timing.groups.iter().map(|group| (group.batch, group.count, group.started, group.ended)).collect();
        let expected =
            [(0, 3, 0, 500), (0, 3, 100, 600), (1, 1, 600, 700), (0, 1, 50_000, 50_100), (0, 1, 50_100, 50_200)];
        assert_eq!(told, expected);
    }

    #[test]
    fn who_waited_for_earlier_commands_was_queued() {
        let (clock, _) = Clock::mock();
        let mut timing = Timing { parsed_until: 5_000, ..Timing::default() };
        timing.read(0, 5_700);
        timing.read(1_000, 6_000);
        assert_eq!(timing.before(0, 9_000, &clock), Some((700, 3_300)));
        assert_eq!(timing.before(1, 9_000, &clock), Some((300, 3_000 + 4_700)));
        assert_eq!(timing.before(2, 9_000, &clock), None);
        let split = timing.split(1, 9_000, &clock);
        assert_eq!((split.read, split.queue, split.hop), (Some(300), Some(7_700), None));
    }

    #[test]
    fn samples_are_of_all_sleeps_whatever_their_rhythm() {
        for rhythm in 1..=6 {
            for of in 0..rhythm {
                let mut timing = Timing::default();
                let sampled = (0..6_400 * rhythm).filter(|at| timing.is_sampled() && at % rhythm == of).count() as u64;
                assert!((390..=410).contains(&sampled), "{sampled} of the {of}th of {rhythm}");
                let first = (0..100 * rhythm).filter(|at| timing.is_sampled() && at % rhythm == of).count();
                assert!(0 < first, "none of the {of}th of {rhythm}");
            }
        }
    }

    #[test]
    fn a_sample_stands_for_many() {
        let (clock, _) = Clock::mock();
        let mut stats = Stats::default();
        let mut timing = Timing::default();
        let command = lookup(b"get").expect("a row").id;
        timing.leaving.push(Leaving { command, way: Way::Forwarded, count: 3, since: 100 });
        timing.wrote(1_100, WRITE_SAMPLES, &clock, &mut stats);
        assert!(timing.leaving.is_empty());
        let stages = stats.stages(|_| true);
        let write: &Histogram = stages[0].1.get(Lane::of(Way::Forwarded, Stage::Write)).expect("it was recorded");
        assert_eq!((write.count(), write.max()), (3 * WRITE_SAMPLES, 1_003));
    }
}
