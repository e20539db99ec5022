//! Commands that took long leave a trace: an entry in the slow log, and a latency event.

use crate::command::Args;
use crate::command::lookup::Row;
use crate::config::Config;
use crate::session::Session;
use crate::shared::Shared;

/// Notes a command that took at least `Config::slow_nanoseconds`. `session` is `None` for clients of other cores.
#[cold]
pub fn record(
    shared: &Shared,
    config: &Config,
    row: &'static Row,
    args: &Args<'_>,
    nanoseconds: u64,
    session: Option<&Session>,
) {
    let _ = (shared, config, row, args, nanoseconds, session);
}
