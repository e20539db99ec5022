//! Corering: a Redis-compatible in-memory data store for Linux, one pinned thread per core, io_uring everywhere.
//!
//! This page is the map: the picture, the words, what always holds, and the modules in the order a command meets
//! them. What it says is true of the code beside it; where they differ, one of them is a bug.
//!
//! ```text
//! socket ──▶ connection ──▶ resp::parser ──▶ command::lookup ──▶ route ─┬─ here ──▶ shard::execute ──▶ keyspace ──▶ value ──▶ structure
//!   ▲            ▲                                                      └─ other core ──▶ runtime::mailbox ──▶ the same there
//!   └── send ────┴── replies in request order ◀── route::gather ◀── resp::reply ◀──┘
//! ```
#![warn(missing_docs)]

pub mod structure;

pub mod resp;

pub mod config;

pub mod log;

pub mod value;

pub mod keyspace;

pub mod session;

pub mod memory;

pub mod stats;

pub mod shared;

pub mod command;

pub mod connection;

pub mod route;

pub mod shard;

pub mod sys;

pub mod runtime;
