//! What the protocols between cores are made of: the standard library's, by one name.
//!
//! `tests/model/` includes the files of these protocols ([`crate::runtime`]'s parking, the inboxes of
//! [`crate::pubsub`], the states of a ticket in [`crate::shard`]) beside a module of this name that has loom's instead,
//! and so runs the code itself, not a copy, through every order of steps that the memory model allows.

pub use std::hint::spin_loop;
pub use std::sync::Mutex;
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering, fence};
