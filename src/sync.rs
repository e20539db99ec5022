//! What the protocols between cores are made of: the standard library's, and the lock around an engine, by one name.
//!
//! `tests/model/` includes the files of these protocols (the hold on engines and the states of a ticket in
//! [`crate::shard`], [`crate::runtime`]'s parking and ticker, the inboxes of [`crate::pubsub`], the gate of
//! [`crate::shared`]) beside a module of this name that has loom's instead, and so runs the code itself, not a copy,
//! through every order of steps that the memory model allows.

pub use parking_lot::{Mutex as EngineLock, MutexGuard as EngineGuard};
pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering, fence};
pub use std::sync::{Condvar, Mutex};

use std::sync::Arc;

/// Raised by any core, looked at by others, lowered by nobody.
#[derive(Debug, Clone, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// From now on it is up.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has raised it.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Flag {
    /// Whether this is that one, not whether both are up.
    fn eq(&self, other: &Flag) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Flag {}
