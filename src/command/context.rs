//! What command code is handed: views of the world, by kind of command. Time, randomness and configuration come in
//! through them, so that execution can be tested without a kernel and replayed from a seed.

use super::long_reply;
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::session::Session;
use crate::shared::Shared;
use std::any::Any;
use std::sync::Arc;

/// The arguments of one call; `args[0]` is the command's name as the client wrote it (a subcommand's word is
/// `args[1]`).
pub type Args<'a> = [&'a [u8]];

/// What a core contributes to a command that asks all of them.
pub type Part = Box<dyn Any + Send>;

/// For commands on the shard that owns their keys.
pub struct Context<'a> {
    /// The keys of this shard.
    pub keyspace: &'a mut Keyspace,
    /// The configuration in force.
    pub config: &'a Config,
    /// Randomness; seeded, so that a run can be repeated.
    pub random: &'a mut fastrand::Rng,
    /// The database selected by the client.
    pub db: usize,
    /// Unix time in milliseconds, read once for the command.
    pub now_ms: u64,
    /// This shard's number …
    pub shard: usize,
    /// … of so many.
    pub shards: usize,
    /// Where a reply may be left that is too long to be written at once.
    pub long_reply: long_reply::Slot<'a>,
}

/// For commands on the client's own core.
pub struct SessionView<'a> {
    /// The client.
    pub session: &'a mut Session,
    /// The configuration in force on this core.
    pub config: &'a Arc<Config>,
    /// What all cores see.
    pub shared: &'a Shared,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// Set it when [`Shared::change_config`] was called: every core takes the new configuration before the reply
    /// leaves.
    pub reconfigured: bool,
}

/// For commands that every core takes part in.
pub struct CoreView<'a> {
    /// This core's engine: keys, randomness.
    pub shard: &'a mut crate::shard::Shard,
    /// This core's counters and latencies.
    pub stats: &'a mut crate::stats::Stats,
    /// The clients that this core serves.
    pub clients: &'a mut dyn Clients,
    /// The configuration in force on this core.
    pub config: &'a Arc<Config>,
    /// What all cores see.
    pub shared: &'a Shared,
    /// This core's number.
    pub core: usize,
    /// The asking client's database …
    pub db: usize,
    /// … and id.
    pub client: u64,
    /// Unix time in milliseconds.
    pub now_ms: u64,
}

/// The clients of one core.
pub trait Clients {
    /// Visits every client, with the listing fields of its session filled in. A visitor closes a client by setting
    /// `Mode::CLOSE_NOW`.
    fn for_each(&mut self, visit: &mut dyn FnMut(&mut Session));

    /// How many of the bytes that clients are owed belong to strings that others hold too: keys, or further replies.
    fn shared_bytes(&self) -> usize;

    /// Ends the waiting of a client in a blocking command, with an error or as its timeout would. False: there is none
    /// of this id that waits.
    fn unblock(&mut self, id: u64, is_error: bool) -> bool;
}
