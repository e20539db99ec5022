//! Commands that took long leave a trace: an entry in the slow log, and a latency event.

use crate::command::lookup::Row;
use crate::command::slowlog::Split;
use crate::command::{Flags, slowlog};
use crate::config::Config;
use crate::session::Session;
use crate::shared::Shared;

/// From how many nanoseconds on a command is noted; `u64::MAX`: never.
pub fn threshold_nanoseconds(config: &Config) -> u64 {
    let slow_log = u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |us| us.saturating_mul(1000));
    let latency_ms = config.latency_monitor_threshold;
    let latency = if latency_ms == 0 { u64::MAX } else { latency_ms.saturating_mul(1_000_000) };
    slow_log.min(latency)
}

/// From how many nanoseconds on a pass is a stall; `u64::MAX`: never.
pub fn stall_nanoseconds(config: &Config) -> u64 {
    u64::try_from(config.stall_slower_than).map_or(u64::MAX, |us| us.saturating_mul(1000))
}

/// Notes a command of one of this core's clients that took at least [`threshold_nanoseconds`]. `split`: what came before
/// it ran, as far as that is known.
#[cold]
pub fn record(
    shared: &Shared,
    config: &Config,
    row: &'static Row,
    kept: impl FnOnce() -> Vec<Vec<u8>>,
    nanoseconds: u64,
    split: Split,
    session: &Session,
) {
    if let Some(entry) = entry(shared, config, row, kept, nanoseconds, split) {
        log(shared, config, entry, session);
    }
}

/// Notes the latency of such a command, and makes the slow log's entry if it belongs there: whose command it was, only
/// the core that serves the client knows; see [`log`].
#[cold]
pub fn entry(
    shared: &Shared,
    config: &Config,
    row: &'static Row,
    kept: impl FnOnce() -> Vec<Vec<u8>>,
    nanoseconds: u64,
    split: Split,
) -> Option<slowlog::Entry> {
    let unix_s = super::core::unix_ms() / 1000;
    let microseconds = nanoseconds / 1000;
    let milliseconds = microseconds / 1000;
    if config.latency_monitor_threshold != 0 && config.latency_monitor_threshold <= milliseconds {
        let event = if row.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
        shared.latency.add(event, milliseconds, unix_s);
    }
    let is_slow = u64::try_from(config.slowlog_log_slower_than).is_ok_and(|threshold| threshold <= microseconds);
    (is_slow && !row.flags.contains(Flags::SKIP_SLOWLOG)).then(|| slowlog::Entry {
        id: 0, // Given by the log.
        unix_s,
        microseconds,
        split,
        args: kept(),
        peer: String::new(),
        name: Vec::new(),
    })
}

/// Adds an entry to the slow log, as its client's.
pub fn log(shared: &Shared, config: &Config, entry: slowlog::Entry, session: &Session) {
    let entry = slowlog::Entry { peer: session.peer.to_string(), name: session.name.clone(), ..entry };
    shared.slow_log.push(entry, config.slowlog_max_len);
}
