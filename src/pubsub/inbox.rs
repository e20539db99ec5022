//! What has to be handed to the clients of one core, by whichever core found out.

use crate::sync::{AtomicBool, Mutex, Ordering};

/// First in, first out. On a cache line of its own: every core may write to it.
#[repr(align(64))]
pub struct Inbox<T> {
    /// There may be something.
    has_mail: AtomicBool,
    queue: Mutex<Vec<T>>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Inbox<T> {
        Inbox { has_mail: AtomicBool::new(false), queue: Mutex::new(Vec::new()) }
    }
}

impl<T> Inbox<T> {
    /// Whether something waits.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn put(&self, delivery: T) {
        let mut queue = self.queue.lock().expect("a panic ends the process");
        queue.push(delivery);
        self.has_mail.store(true, Ordering::Release);
    }

    /// Takes all. `into` is empty, and lends the queue its room. False: nothing waited.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
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
