//! Load generator and latency reports for servers that speak the protocol of Redis.
//!
//! It depends on no code of the server that it measures. The way of a run:
//!
//! ```text
//!  cli ──▶ session ──▶ engine::run ──▶ engine::worker, one for each thread ──▶ engine::record ──▶ session ──▶ report
//!             ▲                          │ schedule (arrival), requests (workload)                            │
//!   sweep, compare ask for many          │ connections (engine::connection, wire)                 text, files, html
//! ```
//!
//! What always holds:
//!
//! **The schedule never waits.** The moments of an open loop are drawn without a look at the server. A request that
//! cannot be sent in time is sent late, and its response time counts from the planned moment.
//!
//! **Every planned request is accounted for.** Planned within the measured time = answered + unanswered + unsent +
//! lost, and the histogram of response times holds all but the lost ones: what was not answered stands in it with the
//! time waited so far. Tests add it up.
//!
//! **The generator measures itself**: how late it sent after it could have, how busy its threads were, how long they
//! waited for a CPU. A report says so, and warns.
//!
//! **Servers may lie.** Replies are scanned in constant memory whatever lengths they announce; garbage, silence and
//! refused connections end a run with a sentence, and what was measured is written.
//!
//! **Time and randomness are handed in.** Only [`clock`] reads a clock; all that is random comes from one seed.
//!
//! **What was measured is told**: an interrupt ends a run early and no more ([`signals`]), and an output that cannot be
//! written keeps no file from being written ([`console`]).
//!
//! Sockets are met in [`engine::worker`] and [`wire::control`]; [`engine::connection`], [`wire::reply`], [`arrival`]
//! and [`workload`] are plain code. There is no unsafe code.

pub mod arrival;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod console;
pub mod engine;
pub mod report;
pub mod session;
pub mod signals;
pub mod statistics;
pub mod sweep;
pub mod wire;
pub mod workload;
