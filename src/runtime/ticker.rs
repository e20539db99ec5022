//! Wakes loops again and again, whatever else wakes them or does not: see [`super::tasks`], which says what for. Not
//! here: the thread that ticks, and the clock.

use crate::mutant::Mutant;
use crate::sync::{Condvar, Mutex};

/// What wakes whom, by core.
pub(super) struct Ticker<W> {
    loops: Mutex<Vec<(usize, W)>>,
    is_wanted: Condvar,
}

impl<W: Clone> Ticker<W> {
    /// Of nobody.
    pub(super) fn new() -> Ticker<W> {
        Ticker { loops: Mutex::new(Vec::new()), is_wanted: Condvar::new() }
    }

    /// Wakes a core's loop at every tick from now on.
    pub(super) fn add(&self, core: usize, waker: W) {
        self.loops.lock().expect("a panic ends the process").push((core, waker));
        if !Mutant::TickerUntold.is_on() {
            self.is_wanted.notify_one();
        }
    }

    /// No more; a tick that has begun may wake it once more.
    pub(super) fn remove(&self, core: usize) {
        self.loops.lock().expect("a panic ends the process").retain(|(of, _)| *of != core);
    }

    /// One tick: wakes all there are, without the lock; waits for the first where there is none.
    pub(super) fn tick(&self, mut wake: impl FnMut(W)) {
        let mut loops = self.loops.lock().expect("a panic ends the process");
        while loops.is_empty() {
            loops = self.is_wanted.wait(loops).expect("a panic ends the process");
        }
        let wakers: Vec<W> = loops.iter().map(|(_, waker)| waker.clone()).collect();
        drop(loops);
        wakers.into_iter().for_each(&mut wake);
    }
}
