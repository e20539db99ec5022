//! What took long leaves a trace: a command an entry in the slow log and a latency event, other work an event.

use crate::command::lookup::Row;
use crate::command::slowlog::Split;
use crate::command::{Flags, slowlog};
use crate::config::Config;
use crate::session::Session;
use crate::shared::Shared;
use std::time::Duration;

/// Notes that something took so long, if that counts as a spike. Events have Redis' names.
pub fn note_event(shared: &Shared, config: &Config, event: &'static str, took: Duration) {
    let (threshold_ms, milliseconds) = (config.latency_monitor_threshold, took.as_millis() as u64);
    if threshold_ms != 0 && threshold_ms <= milliseconds {
        shared.latency.add(event, milliseconds, super::core::unix_ms() / 1000);
    }
}

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

/// Notes a command of one of this core's clients that took at least [`threshold_nanoseconds`], of which it ran for
/// `nanoseconds`. `split`: what came before it ran, as far as that is known.
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
    let nanoseconds = nanoseconds.saturating_add(split.held);
    let microseconds = nanoseconds / 1000;
    let event = if row.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
    note_event(shared, config, event, Duration::from_nanos(nanoseconds));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_the_threshold_is_an_event() {
        let shared = Shared::new(Config::default(), vec![0], 1, String::new());
        let note = |threshold_ms, milliseconds| {
            let config = Config { latency_monitor_threshold: threshold_ms, ..Config::default() };
            note_event(&shared, &config, "aof-write", Duration::from_millis(milliseconds));
            shared.latency.reset(&[])
        };
        assert_eq!((note(0, 1000), note(100, 99), note(100, 100), note(1, 5000)), (0, 0, 1, 1));
    }
}
