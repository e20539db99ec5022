//! Containers as small libraries: they know neither commands, nor time, nor the kernel.

pub mod allocation;
pub mod bits;
pub mod cache;
pub mod crc64;
pub mod geohash;
pub mod glob;
pub mod hyperloglog;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod packed;
pub mod quicklist;
pub mod sorted_blocks;
pub mod sorted_tree;
pub mod stream_log;
pub mod table;
pub mod wheel;
