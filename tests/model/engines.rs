//! Who holds which engine: visits, commands on several shards, and keys that are lent meanwhile.

#[path = "../../src/shard/held.rs"]
mod held;

use super::mutant::Mutant;
use super::sync::EngineLock;
use super::{explore, fails_with};
use corering::route::locks::{Locks, Need};
use held::{Engine, Held, Visited, hold_several, visit};
use loom::thread;
use std::time::Duration;

/// Shards of the model, and cores.
const SHARDS: usize = 2;
const KEY: &[u8] = b"account";
/// What all accounts hold together.
const SUM: i64 = 20;
/// A wait without end, in the model.
const PATIENT: Duration = Duration::from_secs(1);

/// A shard with one key: an account.
struct Account {
    locks: Locks<()>,
    /// None: it is lent.
    balance: Option<i64>,
}

impl Account {
    fn balance(&mut self) -> &mut i64 {
        self.balance.as_mut().expect("nobody touches what is away")
    }
}

impl Engine for Account {
    fn is_free(&self) -> bool {
        self.locks.is_free()
    }

    fn is_quiet(&self) -> bool {
        self.locks.is_free()
    }
}

/// Loom counts what has to be dropped, and locks need not be.
fn accounts() -> &'static [EngineLock<Account>] {
    let account = || EngineLock::new(Account { locks: Locks::default(), balance: Some(SUM / SHARDS as i64) });
    let accounts: Box<[EngineLock<Account>]> = (0..SHARDS).map(|_| account()).collect();
    Box::leak(accounts)
}

/// One core, without its clients and its rings.
struct Core {
    own: Held<Account>,
    visited: Box<Visited<Account>>,
}

impl Core {
    fn new(accounts: &'static [EngineLock<Account>], core: usize) -> Core {
        let mut own = Held::new(accounts, core);
        own.take();
        Core { own, visited: Box::new([None, None]) }
    }

    fn account(&mut self, shard: usize) -> &mut Account {
        if shard == self.own.core() { &mut self.own } else { self.visited[shard].as_mut().expect("held") }
    }

    /// Adds to an account, and takes it back: a command on one key elsewhere, if a visit is to be had.
    fn call(&mut self, shard: usize) {
        if visit(&self.own, &mut self.visited, shard, 1) {
            *self.account(shard).balance() += 1;
            *self.account(shard).balance() -= 1;
        }
        self.visited.fill_with(|| None);
    }

    /// A command on both shards, at one moment. False: it would have to borrow.
    fn transfer(&mut self, limit: Duration) -> bool {
        self.own.be_patient();
        let is_clear = |_, account: &Account| !account.locks.conflicts_with_keys(std::iter::once(KEY));
        let is_held = hold_several(&mut self.own, &mut self.visited, &[0, 1], limit, is_clear);
        if is_held {
            let sum = *self.account(0).balance() + *self.account(1).balance();
            assert_eq!(sum, SUM, "nobody sees a transfer half done");
            *self.account(0).balance() -= 3;
            *self.account(1).balance() += 3;
        }
        self.visited.fill_with(|| None);
        is_held
    }

    /// Lends its account out: it is away until [`Core::come_home`].
    fn lend(&mut self) -> i64 {
        self.own.take();
        self.own.locks.hold(&Need::Keys(vec![KEY.to_vec()]));
        self.own.balance.take().expect("it is lent once")
    }

    fn come_home(&mut self, balance: i64) {
        self.own.take();
        self.own.balance = Some(balance);
        self.own.locks.release(&Need::Keys(vec![KEY.to_vec()]));
    }
}

/// Both cores visit each other and then want both engines.
fn meet() {
    let accounts = accounts();
    let run = move |core: usize| {
        let mut core = Core::new(accounts, core);
        core.call(1 - core.own.core());
        assert!(core.transfer(PATIENT), "who waits long enough has them, and nothing is lent");
        assert!(!core.own.is_impatient());
        core.own.hand_over();
    };
    let other = thread::spawn(move || run(1));
    run(0);
    other.join().expect("the other core does not panic");
}

#[test]
fn cores_that_want_each_others_engines_have_them_in_turn() {
    explore(meet);
}

#[test]
fn a_circle_of_cores_that_wait_is_found() {
    for mutant in [Mutant::OwnEngineFirst, Mutant::VisitorsWait] {
        assert!(fails_with(mutant, meet), "{mutant:?} goes unnoticed");
    }
}

/// One core lends its key for a while; the other one visits it, and wants both.
fn lend(limit: Duration) {
    let accounts = accounts();
    let other = thread::spawn(move || {
        let mut core = Core::new(accounts, 1);
        core.call(0);
        core.transfer(limit);
        core.own.let_go();
    });
    let mut core = Core::new(accounts, 0);
    let balance = core.lend();
    core.own.let_go();
    core.come_home(balance);
    core.own.let_go();
    other.join().expect("the other core does not panic");
    let sum: i64 = accounts.iter().map(|account| *account.lock().balance()).sum();
    assert_eq!(sum, SUM, "what was lent is home");
}

/// One core goes through its engine slice by slice and lets in who waits; the other one wants both engines.
fn walk() {
    let accounts = accounts();
    let other = thread::spawn(move || {
        let mut core = Core::new(accounts, 1);
        assert!(core.transfer(PATIENT), "who waits is let in");
        core.own.let_go();
    });
    let mut core = Core::new(accounts, 0);
    if !core.own.let_in() {
        assert!(!core.own.is_held());
        core.own.take();
    }
    *core.own.balance() += 1;
    *core.own.balance() -= 1;
    core.own.let_go();
    other.join().expect("the other core does not panic");
    let sum: i64 = accounts.iter().map(|account| *account.lock().balance()).sum();
    assert_eq!(sum, SUM);
}

#[test]
fn who_goes_through_an_engine_lets_others_in() {
    explore(walk);
}

#[test]
fn nobody_touches_what_is_lent() {
    explore(|| lend(PATIENT));
    explore(|| lend(Duration::ZERO));
}

#[test]
fn one_who_does_not_ask_whether_it_is_lent_is_found() {
    assert!(fails_with(Mutant::LentKeysLookFree, || lend(PATIENT)));
}
