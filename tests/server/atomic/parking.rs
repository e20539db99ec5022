//! The way one core wakes another (`src/runtime/mailbox.rs`), as a model: every order of the steps of a sender and a
//! receiver, with a store buffer in front of each, as processors have. What is proved: a receiver never sleeps for ever
//! beside a message; and without either fence it would.
//!
//! ```text
//!   sender      push ▸ fence ▸ if parked: swap(parked, false); if it was: wake
//!   receiver    parked = true ▸ fence ▸ if no message: sleep until woken ▸ parked = false ▸ take messages ▸ again
//! ```

use std::collections::BTreeSet;

/// Messages sent in all.
const MESSAGES: u8 = 2;

/// Which fences there are.
#[derive(Debug, Clone, Copy)]
struct Fences {
    sender: bool,
    receiver: bool,
}

/// Everything at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    // In memory.
    pushed: u8,
    parked: bool,
    /// A wake that the receiver has not taken.
    woken: bool,
    // In the store buffers: a later value, not yet seen by the other.
    pushed_later: Option<u8>,
    parked_later: Option<bool>,
    // Where each is.
    sender: u8,
    sent: u8,
    receiver: u8,
    taken: u8,
}

impl World {
    fn start() -> World {
        World {
            pushed: 0,
            parked: false,
            woken: false,
            pushed_later: None,
            parked_later: None,
            sender: 0,
            sent: 0,
            receiver: 0,
            taken: 0,
        }
    }

    /// What the sender reads: its own buffer first.
    fn pushed_seen_by_sender(&self) -> u8 {
        self.pushed_later.unwrap_or(self.pushed)
    }

    /// Every next moment.
    fn next(&self, fences: Fences) -> Vec<World> {
        let mut worlds = Vec::new();
        let mut add = |change: &dyn Fn(&mut World)| {
            let mut world = *self;
            change(&mut world);
            worlds.push(world);
        };
        // A buffer is written to memory at any time.
        if let Some(pushed) = self.pushed_later {
            add(&|world| (world.pushed, world.pushed_later) = (pushed, None));
        }
        if let Some(parked) = self.parked_later {
            add(&|world| (world.parked, world.parked_later) = (parked, None));
        }
        match self.sender {
            0 if self.sent < MESSAGES => {
                let pushed = self.pushed_seen_by_sender() + 1;
                add(&|world| (world.pushed_later, world.sent, world.sender) = (Some(pushed), world.sent + 1, 1));
            }
            // A fence waits for the buffer.
            1 if !fences.sender || self.pushed_later.is_none() => add(&|world| world.sender = 2),
            2 => add(&|world| world.sender = if world.parked { 3 } else { 0 }),
            // A swap waits for the buffer by itself, and sees memory.
            3 if self.pushed_later.is_none() => {
                add(&|world| (world.woken, world.parked, world.sender) = (world.woken || world.parked, false, 0));
            }
            _ => {}
        }
        match self.receiver {
            0 => add(&|world| (world.parked_later, world.receiver) = (Some(true), 1)),
            1 if !fences.receiver || self.parked_later.is_none() => add(&|world| world.receiver = 2),
            2 => add(&|world| world.receiver = if world.taken < world.pushed { 4 } else { 3 }),
            // Asleep. The kernel's wake cannot be missed: it waits until it is taken.
            3 if self.woken => add(&|world| (world.woken, world.receiver) = (false, 4)),
            4 => add(&|world| (world.parked_later, world.receiver) = (Some(false), 5)),
            5 => add(&|world| (world.taken, world.receiver) = (world.pushed, 0)),
            _ => {}
        }
        worlds
    }

    /// Nothing can happen any more although a message lies there.
    fn is_stuck(&self, fences: Fences) -> bool {
        self.next(fences).is_empty() && self.taken < MESSAGES
    }
}

/// Whether some order of steps leaves a message lying beside a sleeper.
fn can_get_stuck(fences: Fences) -> bool {
    let mut seen = BTreeSet::from([World::start()]);
    let mut open = vec![World::start()];
    while let Some(world) = open.pop() {
        if world.is_stuck(fences) {
            return true;
        }
        for next in world.next(fences) {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    assert!(100 < seen.len(), "all orders were tried");
    false
}

#[test]
fn no_order_of_steps_loses_a_wake() {
    assert!(!can_get_stuck(Fences { sender: true, receiver: true }));
}

#[test]
fn each_fence_is_needed() {
    assert!(can_get_stuck(Fences { sender: false, receiver: true }));
    assert!(can_get_stuck(Fences { sender: true, receiver: false }));
}
