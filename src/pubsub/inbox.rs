//! What has to be handed to the clients of one core, by whichever core found out.

use super::message::Delivery;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// First in, first out. On a cache line of its own: every core may write to it.
#[derive(Default)]
#[repr(align(64))]
pub struct Inbox {
    /// There may be something.
    has_mail: AtomicBool,
    queue: Mutex<Vec<Delivery>>,
}

impl Inbox {
    /// Whether something waits.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn put(&self, delivery: Delivery) {
        let mut queue = self.queue.lock().expect("a panic ends the process");
        queue.push(delivery);
        self.has_mail.store(true, Ordering::Release);
    }

    /// Takes all. `into` is empty, and lends the queue its room. False: nothing waited.
    pub fn take(&self, into: &mut Vec<Delivery>) -> bool {
        assert!(into.is_empty());
        if !self.has_mail() {
            return false;
        }
        let mut queue = self.queue.lock().expect("a panic ends the process");
        std::mem::swap(&mut *queue, into);
        self.has_mail.store(false, Ordering::Release);
        !into.is_empty()
    }
}
