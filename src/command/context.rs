//! What command code is handed: views of the world, by kind of command. Time, randomness and configuration come in
//! through them, so that execution can be tested without a kernel and replayed from a seed.

use std::any::Any;

/// The arguments of one call; `args[0]` is the command's name as the client wrote it (a subcommand's word is `args[1]`).
pub type Args<'a> = [&'a [u8]];

/// What a core contributes to a command that asks all of them.
pub type Part = Box<dyn Any + Send>;

/// For commands on the shard that owns their keys.
pub struct Context<'a> {
    /// The database selected by the client.
    pub db: usize,
    /// Unix time in milliseconds, read once for the command.
    pub now_ms: u64,
    marker: std::marker::PhantomData<&'a mut ()>,
}

/// For commands on the client's own core.
pub struct SessionView<'a> {
    marker: std::marker::PhantomData<&'a mut ()>,
}

/// For commands that every core takes part in.
pub struct CoreView<'a> {
    marker: std::marker::PhantomData<&'a mut ()>,
}
