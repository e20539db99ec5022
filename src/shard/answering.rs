//! Who may answer a client that waits on several shards: exactly one, and nobody while another tries.
//!
//! ```text
//!   waiting ──▶ trying ──▶ done         trying: somebody runs its call right now
//!      ▲──────────┘ │                   nothing came of it: it waits on
//!      └────────────────▶ done          timeout, CLIENT UNBLOCK, closed
//! ```
//! `tests/model/` tries every order.

use crate::sync::{AtomicU8, Ordering, spin_loop};

const WAITING: u8 = 0;
const TRYING: u8 = 1;
const DONE: u8 = 2;

/// The state of one wait.
pub struct Answering(AtomicU8);

impl Default for Answering {
    fn default() -> Answering {
        Answering(AtomicU8::new(WAITING))
    }
}

impl Answering {
    /// Whether nobody has answered yet.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) != DONE
    }

    /// From now on only the caller may answer, and has to call [`Answering::close`] or [`Answering::give_up`]. False:
    /// somebody has answered. Waits while another tries.
    pub fn begin(&self) -> bool {
        loop {
            match self.0.compare_exchange_weak(WAITING, TRYING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return true,
                Err(DONE) => return false,
                Err(_) => spin_loop(),
            }
        }
    }

    /// It is answered.
    pub fn close(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    /// It is not: the client waits on.
    pub fn give_up(&self) {
        self.0.store(WAITING, Ordering::Release);
    }
}
