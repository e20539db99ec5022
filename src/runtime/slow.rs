//! Commands that took long leave a trace: an entry in the slow log, and a latency event.

use crate::command::lookup::Row;
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

/// Notes a command that took at least [`threshold_nanoseconds`]. `session` is `None` for clients of other cores.
#[cold]
pub fn record(
    shared: &Shared,
    config: &Config,
    row: &'static Row,
    kept: impl FnOnce() -> Vec<Vec<u8>>,
    nanoseconds: u64,
    session: Option<&Session>,
) {
    let unix_s = super::core::unix_ms() / 1000;
    let microseconds = nanoseconds / 1000;
    let is_slow = u64::try_from(config.slowlog_log_slower_than).is_ok_and(|threshold| threshold <= microseconds);
    if is_slow && !row.flags.contains(Flags::SKIP_SLOWLOG) {
        let (peer, name) = match session {
            Some(session) => (session.peer.clone(), session.name.clone()),
            None => ("?:0".to_string(), Vec::new()),
        };
        let args = kept();
        let entry = slowlog::Entry { id: 0, unix_s, microseconds, args, peer, name };
        shared.slow_log.push(entry, config.slowlog_max_len);
    }
    let milliseconds = microseconds / 1000;
    if config.latency_monitor_threshold != 0 && config.latency_monitor_threshold <= milliseconds {
        let event = if row.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
        shared.latency.add(event, milliseconds, unix_s);
    }
}
