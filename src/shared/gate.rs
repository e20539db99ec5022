//! Questions about all clients and clients on their way between cores exclude each other, so that a question finds each
//! client exactly once.
//!
//! ```text
//!   who asks                                   who moves
//!   asking += 1                                moving += 1
//!   fence (SeqCst)                             fence (SeqCst)
//!   moving == 0 ? ask : look again later       asking == 0 ? send the client : moving -= 1, it stays
//!   all have answered: asking -= 1             it has arrived: moving -= 1
//! ```
//! Either the one who asks sees the one who moves, or that one sees that somebody asks; or both, and then the mover
//! gives way. `tests/model/` tries every order.

use crate::mutant::Mutant;
use crate::sync::{AtomicUsize, Ordering, fence};

/// See the module's page.
pub struct Gate {
    /// Questions to all cores that are under way or about to be.
    asking: AtomicUsize,
    /// Connections on their way.
    moving: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { asking: AtomicUsize::new(0), moving: AtomicUsize::new(0) }
    }
}

impl Gate {
    /// A question about all clients is to be asked. False: one is on its way from core to core, and no core might see
    /// it; look again with [`Gate::may_ask`]. Either way nobody sets out before [`Gate::end_question`].
    pub fn begin_question(&self) -> bool {
        self.asking.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.may_ask()
    }

    /// Whether every client is with a core.
    pub fn may_ask(&self) -> bool {
        self.moving.load(Ordering::Acquire) == 0 || Mutant::QuestionsDoNotWait.is_on()
    }

    /// All cores have answered.
    pub fn end_question(&self) {
        let before = self.asking.fetch_sub(1, Ordering::Release);
        assert!(0 < before, "what ends has begun");
    }

    /// A connection sets out. False: it stays, for somebody asks for all clients.
    pub fn begin_move(&self) -> bool {
        self.moving.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_free = self.asking.load(Ordering::Acquire) == 0;
        if !is_free {
            self.end_move();
        }
        is_free
    }

    /// It has arrived.
    pub fn end_move(&self) {
        let before = self.moving.fetch_sub(1, Ordering::Release);
        assert!(0 < before, "what ends has begun");
    }
}
