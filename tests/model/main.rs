//! The protocols between cores, run through every order of steps that the memory model allows (loom), store buffers
//! and reordering included. What runs is the code of the server itself: its files are included here beside a module
//! [`sync`] that has loom's atomics instead of the standard library's.
//!
//! Faults are planted too, one for each thing that a protocol leans on: a model that finds nothing proves nothing.
//!
//! Not modelled: the rings between two cores (a library's), here a counter that is stored and loaded as their ends are;
//! and the kernel, whose wake cannot be missed: it waits until it is taken.

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
    pub use loom::hint::spin_loop;
    pub use loom::sync::Mutex;
    pub use loom::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

    /// Loom's fence, unless the thread is to do without.
    pub fn fence(order: Ordering) {
        if super::HAS_FENCES.with(std::cell::Cell::get) {
            loom::sync::atomic::fence(order);
        }
    }
}

loom::thread_local! {
    static HAS_FENCES: Cell<bool> = Cell::new(true);
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
