//! Keys and entries of one shard (page follows).

pub mod access;
pub mod entry;
