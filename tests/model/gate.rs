//! A client that moves from core to core while one of them asks both which clients they have: it is found exactly once.

// `src/shared/gate.rs` by the path that it has there.
#[path = "../../src/shared/gate.rs"]
mod code;

use super::mutant::Mutant;
use super::{HAS_FENCES, explore, fails, fails_with};
use code::Gate;
use loom::sync::mpsc::{Receiver, Sender, channel};
use loom::thread;
use std::sync::Arc;

/// Something left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoFenceOfMover,
    NoFenceOfAsker,
    /// The client sets out although somebody asks.
    MovesUnasked,
    /// A client counts as arrived when it has set out.
    ArrivesTooSoon,
}

/// What a core hears of the other one.
enum Message {
    /// The client: it is this core's from now on.
    Adopt,
    /// How many clients are there?
    Ask,
    /// So many.
    Answer(usize),
}

/// The core that has the client at first: sends it away as soon as it may, and answers.
fn home(gate: &Gate, inbox: &Receiver<Message>, outbox: &Sender<Message>, fault: Fault) {
    HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfMover));
    let mut clients = 1;
    let move_on = |clients: &mut usize| {
        if *clients == 1 && (fault == Fault::MovesUnasked || gate.begin_move()) {
            *clients = 0;
            if fault == Fault::ArrivesTooSoon {
                gate.end_move();
            }
            outbox.send(Message::Adopt).expect("the other core is there");
        }
    };
    move_on(&mut clients);
    let Ok(Message::Ask) = inbox.recv() else { panic!("nothing else is sent to this core") };
    move_on(&mut clients);
    outbox.send(Message::Answer(clients)).expect("the other core is there");
}

/// The core that asks, and takes the client in.
fn asker(gate: &Gate, inbox: &Receiver<Message>, outbox: &Sender<Message>, fault: Fault) {
    HAS_FENCES.with(|has| has.set(fault != Fault::NoFenceOfAsker));
    let mut clients = 0;
    let adopt = |clients: &mut usize| {
        *clients += 1;
        if !matches!(fault, Fault::ArrivesTooSoon | Fault::MovesUnasked) {
            gate.end_move();
        }
    };
    let mut may_ask = gate.begin_question();
    while !may_ask {
        // The client comes, or stays where it is.
        match inbox.try_recv() {
            Ok(Message::Adopt) => adopt(&mut clients),
            Ok(_) => panic!("nobody was asked"),
            Err(_) => thread::yield_now(),
        }
        may_ask = gate.may_ask();
    }
    let own = clients;
    outbox.send(Message::Ask).expect("the other core is there");
    loop {
        match inbox.recv().expect("the other core answers") {
            Message::Adopt => adopt(&mut clients),
            Message::Answer(others) => {
                assert_eq!(own + others, 1, "the client is found once");
                return gate.end_question();
            }
            Message::Ask => panic!("one core asks"),
        }
    }
}

fn meet(fault: Fault) {
    let gate = Arc::new(Gate::default());
    let (to_home, home_inbox) = channel();
    let (to_asker, asker_inbox) = channel();
    let other = {
        let gate = gate.clone();
        thread::spawn(move || home(&gate, &home_inbox, &to_asker, fault))
    };
    asker(&gate, &asker_inbox, &to_home, fault);
    other.join().expect("the home does not panic");
}

#[test]
fn a_client_on_its_way_is_found_once() {
    explore(|| meet(Fault::None));
}

#[test]
fn a_client_that_two_cores_name_or_none_is_found() {
    for fault in [Fault::NoFenceOfMover, Fault::NoFenceOfAsker, Fault::MovesUnasked, Fault::ArrivesTooSoon] {
        assert!(fails(move || meet(fault)), "{fault:?} goes unnoticed");
    }
    assert!(fails_with(Mutant::QuestionsDoNotWait, || meet(Fault::None)));
}
