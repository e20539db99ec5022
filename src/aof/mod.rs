//! The append-only file: what it looks like on disk, what is written into it and in which order, and what is left of it
//! after a crash. Pure: no kernel, no clock, no threads but those that append (`log.rs`); the files are the runtime's.
//!
//! # Files
//!
//! Redis' multi-part directory, so that both can read both: a manifest names one BASE (a snapshot, or commands) and
//! INCR files, to be loaded one after the other. Ours are *lanes*: one for each shard, written by its core, opened
//! together as a *generation*, named one after the other. The keys of two lanes are disjoint, so the order in which
//! Redis reads them does not matter to it.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i     shard 0 ┐ one generation
//! file appendonly.aof.2.incr.aof seq 2 type i     shard 1 ┘
//! file appendonly.aof.3.incr.aof seq 3 type i     shard 0 ┐ the next one: what happened after the one before
//! file appendonly.aof.4.incr.aof seq 4 type i     shard 1 ┘
//!
//! lane   [ group ][ group ][ group ] … zeros (preallocated; cut off when the server ends, or when it starts again)
//! group  [ #cr group … ][ #cr lane … | #cr share … | *3 $3 SET … ] … [ #cr pad … ]      whole blocks of 4 KiB
//! ```
//! A group is what one flush writes: whole blocks, so that direct I/O never has to read or rewrite a tail, with its
//! length and an XXH3 in front. Everything that is ours stands in lines that begin with `#`, which Redis 7.0 and Valkey
//! pass over: [`group`].
//!
//! # Records
//!
//! Effects, not requests: what a command did, as commands that do the same whatever the clock, the dice and other keys
//! say. Each names keys of one shard only.
//!
//! | What ran | What is written |
//! |---|---|
//! | a command that Redis 7.0 knows, whose effect its arguments and its keys determine | itself |
//! | one of which more stays than Redis 7.0 could hold | `XNACK`, `XCFGSET`; of `XADD IDMP`: `XADD` with its id, `XIDMPRECORD` |
//! | another that depends on the clock or on chance, or that is newer | what it did: `SET … PXAT`, `PEXPIREAT`, `SREM`, `XADD` with its id, `XCLAIM`, `HDEL`, … |
//! | one that blocked | the same call without waiting |
//! | one with keys on several shards | each shard's part of it (`MSET`, `DEL`), or for each key that it writes how that is afterwards: `RESTORE … REPLACE ABSTTL`, `UNLINK` |
//! | expiry, eviction | `UNLINK`, before the record of the command that stumbled upon the key; `HDEL` for fields |
//!
//! A record is made where a command runs (`crate::command::journal`), after it ran, if it changed something; it goes
//! into the lanes before anybody else may look at the keys, whichever core ran it: so each lane has the changes of its
//! shard in the order in which they happened.
//!
//! # What concerns all keys
//!
//! `FLUSHALL`, `FLUSHDB` and `SWAPDB` cannot be written into each lane: whoever replays the lanes one after the other
//! would empty lane 0's keys again when it comes to the one in lane 1. They *open a new generation*: every lane goes on
//! in a new file, at the same moment, and the command stands at the head of the first of them. There it is right for
//! everybody: all that was before it is in the files before, all that came after in this file or those after it. The
//! others begin with its share, and no record: what is behind it does not count without it. With
//! one shard there is one lane, and the command is a record as any other. One that finds nothing to change on any shard
//! is not written at all.
//!
//! # Whole or absent
//!
//! What happens at one moment on several shards (a transaction, `MSET`, `RENAME`) is a *share* in each of their lanes,
//! under one number, with the numbers of all files that have one. Appended to all of them at once (under all locks),
//! each share lies in one group, and a group counts as a whole. After a crash a share without its siblings is taken
//! back, with all that follows it in its lane, until nothing is left to take back ([`recovery`]): the largest prefix
//! that is whole on every shard. A generation counts only if every lane of the one before has its end mark.
//!
//! So a record is safe only together with all shares before it. Each lane knows how far the others have to be synced
//! for that: a vector, the largest of those of all participants whenever something is shared ([`log::Log`]). A reply
//! under `appendfsync always` waits for its lane and for that vector. Without shared records the vector is zero.
//!
//! # After a crash
//!
//! What was written and not synced has arrived in any order, sector by sector. So each group says how many before it
//! were on disk: what is not whole among those is damage, and the server does not start; what is not whole behind them
//! is the end, whatever follows. A file of a lane into which nothing has come makes its generation incomplete. What a
//! crash kept from being named is never found under a new name: numbers of files that are there are not given again.
//! And before the server goes on, all that was loaded is synced, for a killed one may have left it to the kernel: what
//! is built upon it, and synced, would be lost with it.
//!
//! All of that is held against crash states, and every failure, on a simulated disk: `src/runtime/aof_proof.rs`.
//!
//! # Who waits
//!
//! A *position* counts the bytes of records of a lane since the server started. Under `always` a reply to a write
//! waits until its lane is synced up to its record; one to a read waits if a key of its was written and not synced yet
//! (a table of such keys, empty while all is synced). Nobody else does. One flush of a lane is under way at most; what
//! comes meanwhile is the next one.

pub mod group;
pub mod log;
pub mod manifest;
pub mod plain;
pub mod record;
pub mod recovery;
pub mod unsynced;
