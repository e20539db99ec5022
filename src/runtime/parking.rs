//! Who sleeps, and how one core wakes another. Not here: what is sent (`mailbox`, [`crate::pubsub`]), and sleep itself.
//!
//! ```text
//!   sender                                    receiver
//!   leave a message                           parked = true
//!   fence (SeqCst)                            fence (SeqCst)
//!   if parked.swap(false) { wake the ring }   if a message lies there { parked = false; go on }
//!                                             else sleep in the ring
//! ```
//! Either the sender sees `parked` and wakes, or the receiver sees the message and stays up: nothing is lost.
//! `tests/model/` tries every order.

use crate::sync::{AtomicBool, AtomicI32, Ordering, fence};
use std::os::fd::RawFd;

/// What all cores see of each other: who sleeps, and where to wake them.
pub struct Parking {
    cores: Vec<ParkedCore>,
}

/// On a cache line of its own: written by its core, read by all.
#[repr(align(64))]
struct ParkedCore {
    parked: AtomicBool,
    ring: AtomicI32,
}

impl Parking {
    /// For this many cores; rings are told later.
    pub fn new(cores: usize) -> Parking {
        let core = || ParkedCore { parked: AtomicBool::new(false), ring: AtomicI32::new(-1) };
        Parking { cores: (0..cores).map(|_| core()).collect() }
    }

    /// Tells the others by which descriptor to wake a core.
    pub fn announce(&self, core: usize, ring: RawFd) {
        self.cores[core].ring.store(ring, Ordering::Release);
    }

    /// To be called by whoever left something for a core: the ring to wake it by, if it sleeps and nobody else wakes
    /// it.
    pub fn to_wake(&self, core: usize) -> Option<RawFd> {
        fence(Ordering::SeqCst);
        let peer = &self.cores[core];
        let sleeps = peer.parked.load(Ordering::Relaxed) && peer.parked.swap(false, Ordering::SeqCst);
        sleeps.then(|| peer.ring.load(Ordering::Acquire))
    }

    /// A core announces sleep. False: something came in between, do not sleep. `has_work` looks for it, after the
    /// announcement.
    pub fn park(&self, core: usize, has_work: impl FnOnce() -> bool) -> bool {
        let parked = &self.cores[core].parked;
        parked.swap(true, Ordering::SeqCst); // Behind whatever the last waker swapped in.
        fence(Ordering::SeqCst);
        if has_work() {
            parked.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// It is awake again.
    pub fn unpark(&self, core: usize) {
        self.cores[core].parked.store(false, Ordering::Relaxed);
    }
}
