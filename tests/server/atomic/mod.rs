//! Is every command and every transaction one step between others? Clients record what they sent, when, and what came
//! back; checkers look for an order of steps that explains it all and keeps to real time (strict serializability).
//!
//! - `linear`: histories on one key (a register, a counter, a set, an appended list) against a sequential model.
//! - `cycles`: transactions that append to and read several keys; what must come before what may not be a circle.
//! - `invariants`: transfers that keep a sum, renames that keep a count, flushes that take all or nothing.
//! - `waiting`: what clients wait for is taken once, and in the order in which they came.
//!
//! They run against the built server on 1, 2 and 4 shards, one command at a time and pipelined. Faults are
//! planted between client and server (a transaction taken apart, a watch left out, a stale reply, …): each must be
//! found, or the checkers prove nothing.
//!
//! `CORERING_ATOMIC_ROUNDS` sets how much each client does (default 250).

mod cycles;
mod faults;
mod invariants;
mod linear;
mod record;
mod waiting;

use crate::process::{Kind, Server};

/// Shards of the servers that are tested.
const SHARDS: [usize; 3] = [1, 2, 4];

/// How much each client does.
fn rounds() -> usize {
    std::env::var("CORERING_ATOMIC_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(250)
}

fn start(shards: usize) -> Server {
    Server::start(Kind::Corering { shards }, &[])
}
