//! Snapshots without fork: all keys of all shards as they were at one moment, written down while clients are served.
//!
//! Not here: how an entry is found and kept apart from later changes ([`crate::keyspace::walk`]), the bytes of the
//! format ([`crate::rdb`]), files, tasks and messages (`src/runtime/snapshot.rs`), commands (`command/persistence`).
//!
//! # One moment
//!
//! ```text
//!   the core that begins         every other core                                        file
//!   ─────────────────────        ────────────────                                        ────────────────────
//!   hold all engines, with       (waits for its engine, some µs)
//!   no entry on loan:
//!     turn every epoch over  ═══════════════════ the cut ═══════════════════
//!   let go                       "a snapshot is on"
//!   walk a slice a pass          walk a slice a pass          ── pieces at places of their own ──▶  …▒▒▒░░▒▒░░░
//!   …                            …
//!   all have ended: head, end, fsync, rename, fsync of the directory                            ──▶  dump.rdb
//! ```
//! The cut is a moment like that of a command on all shards: every transaction and every command with several keys is
//! before or after it on all shards, since it holds their engines, or has its entries on loan, from its first step to
//! its last. While loans are under way no cut is made; if that happens, cores begin no new ones until it is.
//!
//! From then on each core walks over its own shard, some tens of µs a pass, and up to half a millisecond while nobody
//! asks for anything: it looks every few µs. What is changed before the walk comes by is recorded first
//! ([`crate::keyspace::walk`]).
//!
//! # What it costs
//!
//! Memory: what is recorded and not yet written. The walk stops at [`Limits::walk_bytes`] a core. What is recorded
//! ahead of changes cannot stop, so at [`Limits::press_bytes`] writes wait (as in `CLIENT PAUSE … WRITE`) until the
//! disk has taken some: 64 MiB, or 2 % of what is used, over all cores. A flushed database stays until it is recorded.
//!
//! Time: a slice of the walk a pass, and for each change of what is not yet recorded the recording of that entry, up to
//! [`crate::keyspace::walk::LARGE_BYTES_MIN`]. Larger values are recorded in slices, while those who would change them
//! wait. Such a value stands in the file as one piece, whose length must be known before its place is: what takes more
//! than [`scribe::GATHERED_BYTES_MAX`] is gone over twice, once to count.
//!
//! # Pieces
//!
//! Every core writes its own pieces, at places that it takes from one counter ([`Plan`]), with its own file handle, and
//! sums them up; [`crate::structure::crc64`] makes the file's checksum of the sums. A piece begins with the number of
//! its database. The head is written at last, when the version is known that the values need; it has room in front
//! because all that it says but the version's digits is known at the cut.
//!
//! # For the log of writes
//!
//! A rewrite of the log needs the same thing: all keys at the moment at which a new increment begins. It orders a
//! snapshot from the same place, `Core::order_snapshot(Order)` of `src/runtime/snapshot.rs`:
//!
//! ```text
//!   purpose: Purpose::LogBase        the preamble: a whole file of this format that says that a log goes on behind it
//!   file: Some(path)                 its name; written as a temporary file, synced, renamed, its directory synced
//!   at_cut: Some(FnMut(&mut Shard))  runs on every engine at the cut, all of them held: switch the shard's log there
//!   is_commands                      commands instead, for a base with `aof-use-rdb-preamble no`
//!   then: FnOnce(&mut Core, Result<Written, Failure>)    what became of it, on the core that ordered it
//! ```
//! Only what entries are written as differs then ([`Form`]), and what stands around them ([`Frame`]). One snapshot is
//! under way at a time, whoever ordered it.

mod commands;
mod form;
pub mod output;
pub mod scribe;
#[cfg(test)]
mod tests;

pub use form::{Form, Frame};
pub use output::{Output, Piece, Plan};
pub use scribe::{Clocks, Scribe};

/// How much may wait to be written, of one shard, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The walk goes no further.
    pub walk_bytes: usize,
    /// Writes wait.
    pub press_bytes: usize,
}

/// All shards together may hold so many bytes, …
const HELD_BYTES_MIN: usize = 64 << 20;
/// … or one part in so many of what is used, if that is more.
const USED_PER_HELD: usize = 50;
/// What a walk holds at most, so that it does not write much faster than the disk.
const WALK_BYTES_MAX: usize = 4 << 20;

impl Limits {
    /// Those of each of so many shards of a server that uses so much memory.
    pub fn of_shard(shards: usize, used_bytes: usize) -> Limits {
        let held_bytes = HELD_BYTES_MIN.max(used_bytes / USED_PER_HELD) / shards;
        // The rest is for what commands under way record before they see that they had better wait.
        Limits { walk_bytes: (held_bytes / 8).min(WALK_BYTES_MAX), press_bytes: held_bytes / 2 }
    }
}
