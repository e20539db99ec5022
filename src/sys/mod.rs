//! Thin safe wrappers over the kernel: the ring, sockets, limits. With `structure` and the packed entries, the only
//! place of unsafe code; nothing here knows commands, keys or clients.
#![allow(clippy::disallowed_methods, reason = "a wrapper over the kernel may ask it for the time")]

pub mod background;
pub mod bell;
pub mod crash;
pub mod disk;
pub mod file;
pub mod lua;
pub mod net;
pub mod process;
pub mod ring;
