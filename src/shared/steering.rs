//! What cores have to agree about while connections move between them: nobody asks for clients while one is on its way,
//! and no core takes in more than it can serve.

use super::gate::Gate;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A core whose thread ran for more than so many thousandths of the time takes nobody in, unless the one that sends is
/// busier still.
const BUSY_MAX: u32 = 700;
/// By so many thousandths.
const MARGIN: u32 = 150;
/// A core takes in so many connections between two samples of its load (0.1 s), and an eighth of those it has.
const ARRIVALS_MIN: usize = 4;

/// See the module's page.
pub struct Steering {
    /// Who asks for all clients, and who moves.
    pub gate: Gate,
    cores: Box<[Core]>,
}

#[derive(Default)]
struct Core {
    /// Thousandths of the time that its thread ran lately.
    load: AtomicU32,
    /// Connections that it may yet take in before its load is sampled again.
    arrivals: AtomicUsize,
}

impl Steering {
    /// For so many cores.
    pub fn new(cores: usize) -> Steering {
        let cores = (0..cores).map(|_| Core::default()).collect();
        Steering { gate: Gate::default(), cores }
    }

    /// A core says how busy it is, in thousandths of the time since it said so last, and how many clients it has.
    pub fn note_load(&self, core: usize, load: u32, clients: usize) {
        self.cores[core].load.store(load, Ordering::Relaxed);
        self.cores[core].arrivals.store(ARRIVALS_MIN + clients / 8, Ordering::Relaxed);
    }

    /// Whether a core may take in a connection of another one. If so, that is counted.
    pub fn admits(&self, from: usize, to: usize) -> bool {
        let load = |core: usize| self.cores[core].load.load(Ordering::Relaxed);
        let one_less = |arrivals: usize| arrivals.checked_sub(1);
        (load(to) <= BUSY_MAX || load(to) + MARGIN < load(from))
            && self.cores[to].arrivals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_moves_while_somebody_asks() {
        let gate = Steering::new(2).gate;
        assert!(gate.begin_move());
        assert!(!gate.begin_question(), "one is on its way");
        assert!(!gate.begin_move() && !gate.may_ask());
        gate.end_move();
        assert!(gate.may_ask() && !gate.begin_move());
        assert!(gate.may_ask(), "who was refused is not on its way");
        assert!(gate.begin_question());
        gate.end_question();
        assert!(!gate.begin_move(), "the first one asks still");
        gate.end_question();
        assert!(gate.begin_move());
    }

    #[test]
    fn a_busy_core_takes_nobody_in_and_no_core_many_at_once() {
        let steering = Steering::new(2);
        assert!(!steering.admits(0, 1), "nothing is known yet");
        steering.note_load(1, 300, 80);
        assert_eq!((0..100).filter(|_| steering.admits(0, 1)).count(), 14);
        steering.note_load(1, 300, 0);
        assert_eq!((0..100).filter(|_| steering.admits(0, 1)).count(), 4);
        steering.note_load(1, 800, 80);
        assert!(!steering.admits(0, 1));
        steering.note_load(0, 960, 80);
        assert!(steering.admits(0, 1), "the other is busier still");
        steering.note_load(0, 940, 80);
        assert!(!steering.admits(0, 1));
    }
}
