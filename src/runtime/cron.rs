//! What nobody asks for: rates, timeouts, keys whose time has come, and taking in a new configuration.

use super::admin::board::Reading;
use super::core::Core;
use super::send::passes_output_limit;
use super::slow;
use super::snapshot::TEND_MS;
use crate::config::Config;
use crate::keyspace::KeyspaceStats;
use crate::session::Mode;
use std::sync::atomic::Ordering;

/// How often rates are sampled, and the end of a pause is looked for.
const SAMPLE_MS: u64 = 100;
/// A client that sent nothing for so long keeps no buffers.
const REST_MS: u64 = 2000;
/// With `dynamic-hz`, clients are looked at more often rather than more than so many at a time.
const CLIENTS_PER_CRON: usize = 200;
/// Clients looked at each time, however few there are.
const CLIENTS_PER_CRON_MIN: usize = 5;
/// The most often that clients are looked at, times a second.
const HZ_MAX: usize = 500;

impl Core {
    /// For how long there is nothing to do unless somebody asks, in milliseconds.
    pub(super) fn idle_ms(&self) -> u64 {
        if self.is_short_of_room {
            return 0;
        }
        let mut timer_ms = self.cron_due_ms.min(self.sample_due_ms).min(self.wait_due_ms());
        if self.saving.is_under_way() {
            timer_ms = timer_ms.min(self.clocks.steady_ms() + TEND_MS);
        }
        let shard_ms = self.shard_due_ms.saturating_sub(self.now_ms);
        let mut timer_ms = timer_ms.min(self.log_wait_due_ms());
        if (!self.held.is_empty() || !self.log_waits.is_empty()) && self.shared.log.is_naming() {
            timer_ms = timer_ms.min(self.clocks.steady_ms() + 1);
        }
        timer_ms.saturating_sub(self.clocks.steady_ms()).min(shard_ms)
    }

    /// What is looked at ten times a second, whatever `hz` says.
    pub(super) fn sample(&mut self) {
        let now_ms = self.now_ms;
        let steady_ms = self.clocks.steady_ms();
        self.sample_due_ms = steady_ms + SAMPLE_MS;
        self.shared.beats_of_core[self.core].fetch_add(1, Ordering::Relaxed);
        // Whether keys go by themselves may have changed, and there is tidying to do that no deadline asks for.
        self.shard_due_ms = 0;
        let counters = &mut self.stats.counters;
        counters.wakes += std::mem::take(&mut self.mailbox.wakes);
        counters.ring_enters += std::mem::take(&mut self.ring.enters);
        self.stats.sample_rates(steady_ms * 1000);
        self.look_at_delay();
        self.shared.note_latencies(self.core, self.stats.latency_bytes());
        self.look_at_board();
        self.writer.is_tick = true;
        if self.core == 0 {
            if !self.config.aof_timestamp_enabled {
                self.shared.log.set_time(0);
            }
            self.tend_rewrite();
        }
        let collections = self.shared.budget.collections();
        if std::mem::replace(&mut self.collections, collections) != collections {
            self.is_collecting = true;
            self.is_thinning |= self.shared.budget.thins();
        }
        self.spare_outputs.trim();
        self.mailbox.trim();
        self.tend_doors();
        self.tell_load(steady_ms);
        self.tell_evictable();
        self.bound_clients();
        if let Some(engine) = self.shard.try_look() {
            self.shared.persistence.changes_of_core[self.core].store(engine.keyspace.dirty, Ordering::Relaxed);
        }
        if self.core == 0 {
            if let Some(wish) = self.shared.persistence.due(&self.config, now_ms) {
                self.shared.persistence.wish(wish);
            }
            self.shared.pubsub.bound_tracking(self.config.tracking_table_max_keys);
            crate::memory::used_bytes(); // Notes the peak.
        }
        if self.shared.pause_mode.load(Ordering::Relaxed) == 0
            || self.shared.pause_until_ms.load(Ordering::Relaxed) <= now_ms
        {
            self.end_pause();
        }
    }

    /// Brings the admin port what it wants to know.
    fn look_at_board(&mut self) {
        let Some(board) = self.board.clone() else { return };
        let (now_ms, steady_ms) = (self.now_ms, self.clocks.steady_ms());
        let commands = self.stats.counters.commands_processed;
        let reading = self.shard.try_look().map(|engine| {
            let KeyspaceStats { hits, misses, .. } = engine.keyspace.stats;
            Reading { steady_ms, commands, hits, misses }
        });
        // The middle of a second of this core's clock, so that rounding puts those of all cores together.
        let unix_of = |second: u64| (now_ms + second * 1000 + 500).saturating_sub(steady_ms) / 1000;
        let stats = &self.stats;
        if let Some(question) = board.look(self.core, reading, stats.resets(), |from| stats.slices_from(from), unix_of)
        {
            let part = self.part(question.row, 0, 0, &question.args);
            board.answer(self.core, &question, part);
        }
        match &mut self.key_sample {
            _ if !board.is_watched(now_ms) => self.key_sample = None,
            None => self.key_sample = Some(Box::default()),
            Some(sample) if sample.is_due(now_ms / 1000) => board.bring_keys(|| sample.take(now_ms / 1000)),
            Some(_) => {}
        }
    }

    /// What is looked at `hz` times a second.
    pub(super) fn cron(&mut self) {
        let hz = cron_hz(&self.config, self.connections.len());
        self.cron_due_ms = self.clocks.steady_ms() + (1000 / hz) as u64;
        // As in Redis, every client is looked at once a second, so that many clients do not cause pauses.
        let slots = self.connections.capacity();
        let visits = slots.div_ceil(hz).max(CLIENTS_PER_CRON_MIN).min(slots);
        for _ in 0..visits {
            let index = if self.cron_next < slots { self.cron_next } else { 0 };
            self.cron_next = index + 1;
            self.look_at_client(index);
        }
        self.tend_scripts();
    }

    /// Does a slice of the work on the keys that nobody asks for.
    pub(super) fn tend(&mut self) {
        self.shard.take();
        let started = self.clock.raw();
        // As in Redis, nothing changes while clients are paused.
        let is_paused = self.shared.pause_mode.load(Ordering::Relaxed) != 0
            && self.now_ms < self.shared.pause_until_ms.load(Ordering::Relaxed);
        let expires = self.shared.active_expire.load(Ordering::Relaxed) && !is_paused;
        if self.shard.tend(self.now_ms, expires) {
            self.stats.counters.expired_time_cap_reached += 1;
        }
        self.stats.counters.expire_nanoseconds += self.clock.delta_as_nanos(started, self.clock.raw());
    }

    /// Closes a client that was silent too long or does not read its replies; takes the buffers of one that rests.
    pub(super) fn look_at_client(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let timeout_ms = self.config.timeout as u64 * 1000;
        let Some(connection) = self.connections.get_mut(index) else { return };
        let close = passes_output_limit(connection, &self.config, now_ms, &mut self.stats);
        let session = &mut connection.session;
        let may_be_idle = Mode::MONITOR | Mode::BLOCKED | Mode::SUBSCRIBED;
        let idle = !session.mode.intersects(may_be_idle) && session.active_ms + timeout_ms < now_ms;
        if session.active_ms + REST_MS < now_ms {
            connection.rest();
        }
        let session = &mut connection.session;
        if close || 0 < timeout_ms && idle {
            session.mode |= Mode::CLOSE_NOW;
            self.closing.push(index as u32);
        }
    }

    /// Takes the newest configuration.
    pub(super) fn take_config(&mut self) {
        self.shard.take();
        let had_password = !self.config.requirepass.is_empty();
        let old_limit = self.config.maxmemory.bytes;
        self.config = self.shared.config();
        self.slow_nanoseconds = slow::threshold_nanoseconds(&self.config);
        self.stall_nanoseconds = slow::stall_nanoseconds(&self.config);
        self.take_log_policy();
        self.take_appendonly();
        self.stats.track_latency(self.config.latency_tracking);
        self.shared.note_latencies(self.core, self.stats.latency_bytes());
        self.shard.configure(self.config.clone());
        self.take_limit(old_limit);
        self.take_clients_limit();
        self.shared.pubsub.bound_tracking(self.config.tracking_table_max_keys);
        self.take_doors();
        self.overlay = None; // The next one has the new settings of the keyspace.
        self.cron_due_ms = 0; // By the new `hz`.
        if had_password && self.config.requirepass.is_empty() {
            // Nobody has to AUTH any more. Who came before a password was set need not either, as in Redis.
            for (_, connection) in self.connections.iter_mut() {
                connection.session.mode.remove(Mode::UNAUTHENTICATED);
            }
        }
    }
}

/// How many times a second clients are looked at.
pub(super) fn cron_hz(config: &Config, clients: usize) -> usize {
    let mut hz = config.hz as usize;
    while config.dynamic_hz && CLIENTS_PER_CRON * hz < clients && hz < HZ_MAX {
        hz = (hz * 2).min(HZ_MAX);
    }
    hz
}
