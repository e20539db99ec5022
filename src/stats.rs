//! Counters of one core. Summed over cores when somebody asks.

use crate::command::lookup::CommandId;

/// Totals since the start or `CONFIG RESETSTAT`.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections_received: u64,
    /// Connections refused, for `maxclients` or protected mode.
    pub rejected_connections: u64,
    /// Bytes read from clients.
    pub net_input_bytes: u64,
    /// Bytes written to clients.
    pub net_output_bytes: u64,
    /// Commands run on this core's own shard.
    pub commands_local: u64,
    /// Commands sent to other cores.
    pub commands_forwarded: u64,
    /// Commands run on another core's shard while that core was away.
    pub commands_visiting: u64,
    /// Clients closed for their query buffer.
    pub query_buffer_limit_disconnections: u64,
    /// Clients closed for their output buffer.
    pub output_buffer_limit_disconnections: u64,
}

/// Everything counted on one core.
#[derive(Debug, Default)]
pub struct Stats {
    /// Totals.
    pub counters: Counters,
}

impl Stats {
    /// A command ran.
    #[inline]
    pub fn record(&mut self, _command: CommandId, _nanoseconds: u64) {}

    /// A command answered with an error.
    pub fn failed(&mut self, _command: CommandId, _prefix: &str) {}

    /// A command was refused before it ran.
    pub fn rejected(&mut self, _command: CommandId, _prefix: &str) {}

    /// An error that belongs to no command.
    pub fn error(&mut self, _prefix: &str) {}
}
