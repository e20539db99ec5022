//! The protocols between cores, run through every order of steps that the memory model allows (loom), store buffers
//! and reordering included. What runs is the code of the server itself: its files are included here beside a module
//! [`sync`] that has loom's atomics instead of the standard library's.
//!
//! Faults are planted too, one for each thing that a protocol leans on: a model that finds nothing proves nothing.
//!
//! | Protocol | Its code | Its models |
//! |---|---|---|
//! | who sleeps, and who wakes whom | `src/runtime/parking.rs`, `src/pubsub/inbox.rs` | here |
//! | who answers a client that waits | `src/shard/answering.rs` | here |
//! | who holds which engine | `src/shard/held.rs`, with the books of `src/route/locks.rs` | `engines` |
//! | clients on their way, and questions about all | `src/shared/gate.rs` | `gate` |
//! | cores with tasks are woken at every tick | `src/runtime/ticker.rs` | `ticker` |
//!
//! Not modelled: the rings between two cores (a library's), here a counter that is stored and loaded as their ends are,
//! or a channel; the lock around an engine (a library's), here loom's; and the kernel, whose wake cannot be missed: it
//! waits until it is taken. What a connection takes along when it moves is no protocol between threads but the order of
//! one core's steps against the kernel's (`src/runtime/follow.rs`): `tests/server/follow.rs` looks at it, and faults of
//! it are planted in the server (`tests/mutants`).

mod engines;
mod gate;
mod ticker;

#[path = "../../src/shard/answering.rs"]
mod answering;
#[path = "../../src/pubsub/inbox.rs"]
mod inbox;
#[path = "../../src/runtime/parking.rs"]
mod parking;

use answering::Answering;
use inbox::Inbox;
use loom::model::Builder;
use loom::sync::Notify;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use parking::Parking;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use sync::Ordering;

/// What [`corering::sync`] is to the server.
mod sync {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};
    pub use loom::sync::{Condvar, Mutex};

    /// The lock around an engine. Its limited waits have no limit unless that is zero: what needs the end of a wait to
    /// go on is found.
    ///
    /// Not loom's own: there a thread that only tries may be stopped until the lock is free.
    pub struct EngineLock<T> {
        is_taken: Mutex<bool>,
        freed: Condvar,
        /// Free whenever it is wanted: only who has set `is_taken` looks.
        engine: std::sync::Mutex<T>,
    }

    /// See [`EngineLock`].
    pub struct EngineGuard<'a, T> {
        lock: &'a EngineLock<T>,
        engine: Option<std::sync::MutexGuard<'a, T>>,
    }

    impl<T> EngineLock<T> {
        pub fn new(engine: T) -> EngineLock<T> {
            EngineLock { is_taken: Mutex::new(false), freed: Condvar::new(), engine: std::sync::Mutex::new(engine) }
        }

        fn guard(&self) -> EngineGuard<'_, T> {
            EngineGuard { lock: self, engine: Some(self.engine.try_lock().expect("it has one holder")) }
        }

        pub fn lock(&self) -> EngineGuard<'_, T> {
            let mut is_taken = self.is_taken.lock().expect("loom's locks are not poisoned");
            while *is_taken {
                is_taken = self.freed.wait(is_taken).expect("loom's locks are not poisoned");
            }
            *is_taken = true;
            drop(is_taken);
            self.guard()
        }

        pub fn try_lock(&self) -> Option<EngineGuard<'_, T>> {
            let was_taken = std::mem::replace(&mut *self.is_taken.lock().expect("loom's locks are not poisoned"), true);
            (!was_taken).then(|| self.guard())
        }

        pub fn try_lock_for(&self, limit: Duration) -> Option<EngineGuard<'_, T>> {
            if limit.is_zero() { self.try_lock() } else { Some(self.lock()) }
        }
    }

    impl<T> Drop for EngineGuard<'_, T> {
        fn drop(&mut self) {
            self.engine = None;
            // Where a fault was found nobody goes on.
            if !std::thread::panicking() {
                *self.lock.is_taken.lock().expect("loom's locks are not poisoned") = false;
                self.lock.freed.notify_one();
            }
        }
    }

    impl<T> EngineGuard<'_, T> {
        /// Whose turn it is, is for loom to try.
        pub fn unlock_fair(guard: Self) {
            drop(guard);
        }
    }

    impl<T> Deref for EngineGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.engine.as_ref().expect("held until it is dropped")
        }
    }

    impl<T> DerefMut for EngineGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.engine.as_mut().expect("held until it is dropped")
        }
    }

    /// Loom's fence, unless the thread is to do without.
    pub fn fence(order: Ordering) {
        if super::HAS_FENCES.with(std::cell::Cell::get) {
            loom::sync::atomic::fence(order);
        }
    }
}

/// What [`corering::mutant`] is to the server.
mod mutant {
    /// Faults in the code of the server.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Mutant {
        LentKeysLookFree,
        QuestionsDoNotWait,
        OwnEngineFirst,
        VisitorsWait,
        TickerUntold,
    }

    impl Mutant {
        pub fn is_on(self) -> bool {
            super::MUTANT.get() == Some(self)
        }
    }
}

loom::thread_local! {
    static HAS_FENCES: Cell<bool> = Cell::new(true);
}

thread_local! {
    /// What is switched on: loom runs all threads of a model on the one that explores it.
    static MUTANT: Cell<Option<mutant::Mutant>> = const { Cell::new(None) };
}

/// Something left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The receiver does not look again after it has announced sleep.
    NoSecondLook,
    /// It looks for messages again, but not into its inbox.
    NoSecondLookForMail,
    NoFenceOfSender,
    NoFenceOfReceiver,
    /// The sender does not wake.
    NoWake,
    /// An answer is given without asking who may.
    AnswersUnasked,
    /// Who may answer and has nothing to say does not say so.
    KeepsTrying,
}

/// Tries every order of steps.
fn explore(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(check);
}

/// Whether some order of steps breaks what must hold, or ends with somebody waiting for ever.
fn fails(check: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| explore(check))).is_err()
}

/// The same with a fault in the code of the server.
fn fails_with(mutant: mutant::Mutant, check: impl Fn() + Sync + Send + 'static) -> bool {
    MUTANT.set(Some(mutant));
    let fails = fails(check);
    MUTANT.set(None);
    fails
}

/// How often a thread may be stopped where it need not wait: enough for every fault planted here, and few enough for
/// all orders to be tried within seconds.
const PREEMPTIONS_MAX: usize = 3;

/// The receiving core.
const RECEIVER: usize = 0;

/// Cores that send one message each through a ring of their own, and one that sleeps while it has none.
fn messages(senders: usize, each: usize, fault: Fault) {
    let parking = Arc::new(Parking::new(1 + senders));
    let rings: Arc<Vec<AtomicUsize>> = Arc::new((0..senders).map(|_| AtomicUsize::new(0)).collect());
    let bell = Arc::new(Notify::new());
    parking.announce(RECEIVER, 7);
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let (parking, rings, bell) = (parking.clone(), rings.clone(), bell.clone());
            thread::spawn(move || {
                HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfSender));
                for sent in 1..=each {
                    rings[sender].store(sent, Ordering::Release);
                    if let Some(ring) = parking.to_wake(RECEIVER)
                        && fault != Fault::NoWake
                    {
                        assert_eq!(ring, 7);
                        bell.notify();
                    }
                }
            })
        })
        .collect();
    HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfReceiver));
    let arrived = || rings.iter().map(|ring| ring.load(Ordering::Acquire)).sum::<usize>();
    let mut taken = 0;
    while taken < senders * each {
        let now = arrived();
        if taken < now {
            taken = now;
            continue;
        }
        if parking.park(RECEIVER, || fault != Fault::NoSecondLook && taken < arrived()) {
            bell.wait();
            parking.unpark(RECEIVER);
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no sender panics"));
}

#[test]
fn no_message_lies_beside_a_sleeper() {
    explore(|| messages(1, 2, Fault::None));
    explore(|| messages(2, 1, Fault::None));
}

#[test]
fn a_sleeper_that_does_not_look_again_is_found() {
    for fault in [Fault::NoSecondLook, Fault::NoFenceOfSender, Fault::NoFenceOfReceiver, Fault::NoWake] {
        assert!(fails(move || messages(1, 2, fault)), "{fault:?} goes unnoticed");
    }
}

/// A core that publishes twice into the inbox of one that sleeps.
fn mail(fault: Fault) {
    let parking = Arc::new(Parking::new(2));
    let inbox: Arc<Inbox<u32>> = Arc::new(Inbox::default());
    let bell = Arc::new(Notify::new());
    let publisher = {
        let (parking, inbox, bell) = (parking.clone(), inbox.clone(), bell.clone());
        thread::spawn(move || {
            HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfSender));
            for number in 0..2 {
                inbox.put(number);
                // At the end of a pass.
                if inbox.has_mail() && parking.to_wake(RECEIVER).is_some() {
                    bell.notify();
                }
            }
        })
    };
    HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfReceiver));
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let mut more = Vec::new();
        if inbox.take(&mut more) {
            taken.append(&mut more);
            continue;
        }
        if parking.park(RECEIVER, || fault != Fault::NoSecondLookForMail && inbox.has_mail()) {
            bell.wait();
            parking.unpark(RECEIVER);
        }
    }
    assert_eq!(taken, [0, 1], "in order, and each once");
    publisher.join().expect("the publisher does not panic");
}

#[test]
fn no_mail_lies_beside_a_sleeper() {
    explore(|| mail(Fault::None));
}

#[test]
fn a_sleeper_that_does_not_look_into_its_inbox_is_found() {
    for fault in [Fault::NoSecondLookForMail, Fault::NoFenceOfSender, Fault::NoFenceOfReceiver] {
        assert!(fails(move || mail(fault)), "{fault:?} goes unnoticed");
    }
}

/// Two that may answer a waiting client: a shard, that finds something for it or does not, and its deadline.
fn answers(shard_finds: bool, fault: Fault) {
    let state = Arc::new(Answering::default());
    let answers = Arc::new(AtomicUsize::new(0));
    let shard = {
        let (state, answers) = (state.clone(), answers.clone());
        thread::spawn(move || {
            if !state.begin() {
                return;
            }
            if shard_finds {
                answers.fetch_add(1, Ordering::Relaxed);
                state.close();
            } else if fault != Fault::KeepsTrying {
                state.give_up();
            }
        })
    };
    if fault == Fault::AnswersUnasked && state.is_open() || state.begin() {
        answers.fetch_add(1, Ordering::Relaxed);
        state.close();
    }
    shard.join().expect("the shard does not panic");
    assert_eq!(answers.load(Ordering::Relaxed), 1, "answered exactly once");
    assert!(!state.is_open());
}

#[test]
fn a_waiting_client_is_answered_exactly_once() {
    explore(|| answers(true, Fault::None));
    explore(|| answers(false, Fault::None));
}

#[test]
fn a_second_answer_and_a_try_without_end_are_found() {
    assert!(fails(|| answers(true, Fault::AnswersUnasked)));
    assert!(fails(|| answers(false, Fault::KeepsTrying)));
}
