//! Cores with tasks, one of which misses a wake: the ticker wakes it again.

#[path = "../../src/runtime/ticker.rs"]
mod code;

use super::mutant::Mutant;
use super::{explore, fails, fails_with};
use code::Ticker;
use loom::sync::Notify;
use loom::thread;
use std::sync::Arc;

/// Whom a tick wakes.
#[derive(Clone)]
enum Wakes {
    /// A core's loop.
    Loop(Arc<Notify>),
    /// The ticker itself: the model ends.
    End,
}

/// A core that has tasks twice, and the first time misses a wake. `tick_max`: the ticker ends after so many.
fn tick(tick_max: usize) {
    let ticker: Arc<Ticker<Wakes>> = Arc::new(Ticker::new());
    let thread = {
        let ticker = ticker.clone();
        thread::spawn(move || {
            let mut is_over = false;
            for _ in 0..tick_max {
                ticker.tick(|wakes| match wakes {
                    Wakes::Loop(bell) => bell.notify(),
                    Wakes::End => is_over = true,
                });
                if is_over {
                    return;
                }
                thread::yield_now(); // Until the next tick.
            }
        })
    };
    for missed in [1, 0] {
        let bell = Arc::new(Notify::new());
        ticker.add(0, Wakes::Loop(bell.clone()));
        (0..missed + 1).for_each(|_| bell.wait());
        ticker.remove(0);
    }
    ticker.add(0, Wakes::End);
    thread.join().expect("the ticker does not panic");
}

#[test]
fn a_core_with_tasks_is_woken_until_it_has_none() {
    explore(|| tick(usize::MAX));
}

#[test]
fn a_ticker_that_rests_is_found() {
    assert!(fails(|| tick(1)), "as if no wake could be missed");
    assert!(fails_with(Mutant::TickerUntold, || tick(usize::MAX)));
}
