//! The log on a disk that loses power and fails ([`crate::sys::disk::simulated`]): proofs by small histories, all of
//! them seeded. The engines, the log, its writers, its clerk, the writing of snapshots and the loader are those of the
//! server; only the loops of the cores are replaced, by dice ([`life`]).
//!
//! ```text
//!   seed ─▶ history: commands, transactions over shards, FLUSHALL, SWAPDB, rewrites; writes, syncs and the clerk's
//!              │ turns in any order
//!              ├─▶ after every change of the disk: crash states, any sectors, lengths and names that were not synced
//!              │     ─▶ loaded: is it a state that may be? is it durable? and after a crash while it was loaded?
//!              └─▶ a call to the disk fails ─▶ is the error told, and is it mended, or has the server stopped?
//! ```
//! What may be: what the commands of some *cut* did, which has with each command all those before it in its lanes, and
//! transactions as wholes ([`history::Oracle`]). What must be: a cut that has everything whose gate was open, that is,
//! of which somebody was told that it is safe. Under `always` that is every reply.
//!
//! `CORERING_PROOF_HISTORIES` says how many histories, and `CORERING_PROOF_SEED` which is the first.

mod history;
mod life;

use crate::config::Appendfsync;
use crate::sys::disk::simulated::{Disk, Fault, Image};
use history::{History, Oracle};
use life::Life;

/// Crash states of one image that are looked at, where there are more.
const CRASHES: usize = 5;
/// Of so many states that were loaded, one is loaded through a crash while it is.
const TWICE_EVERY: usize = 16;
/// Histories without a word from the environment.
const HISTORIES: u64 = 9;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The histories of a test: each with its own seed, lanes and policy.
fn histories() -> impl Iterator<Item = History> {
    let first = variable("CORERING_PROOF_SEED").unwrap_or(1);
    let count = variable("CORERING_PROOF_HISTORIES").unwrap_or(HISTORIES);
    (first..first + count).map(History::new)
}

/// Crash states of an image: all of them, where there are few.
fn crashes(image: &Image, random: &mut fastrand::Rng) -> Vec<Image> {
    let choices = image.choices();
    if choices < usize::BITS as usize && 1 << choices <= CRASHES {
        return (0..1usize << choices)
            .map(|kept| {
                let mut asked = 0;
                image.crashed(|| {
                    asked += 1;
                    kept >> (asked - 1) & 1 == 1
                })
            })
            .collect();
    }
    let mut states = vec![image.crashed(|| false), image.crashed(|| true)];
    while states.len() < CRASHES {
        // Mostly there or mostly not, that is: late or early; and anything in between.
        let often = random.f64();
        states.push(image.crashed(|| random.f64() < often));
    }
    states
}

/// Loads what a crash has left, and says what is wrong with it.
fn check(state: Image, history: &History, oracle: &Oracle, safe: &[usize]) -> Result<Life, String> {
    let disk = Disk::new(Some(state));
    let life = Life::start(disk, history).map_err(|why| format!("it does not start: {why}"))?;
    oracle.judge(&life.contents(), safe)?;
    // Who is told of what was loaded is told the truth.
    let settled = Life::start(Disk::new(Some(life.disk.image().crashed(|| false))), history);
    let settled = settled.map_err(|why| format!("it does not start a second time: {why}"))?;
    let (loaded, durable) = (life.contents(), settled.contents());
    if loaded != durable {
        return Err(format!("what was loaded, {loaded:?}, is not durable: {durable:?}"));
    }
    Ok(life)
}

#[test]
fn nothing_that_was_safe_is_lost_and_nothing_is_half_there() {
    let mut looked_at = 0;
    for history in histories() {
        let disk = Disk::new(None);
        disk.keep_images();
        let mut life = Life::start(disk.clone(), &history).expect("an empty disk");
        let mut random = history.random();
        life.run(&history, &mut random);
        let oracle = Oracle::new(&history, &life.done);
        for (at, image) in disk.take_images().into_iter().enumerate() {
            let safe = life.safe_at(at);
            // The process is killed, the machine goes on.
            let killed = check(image.clone(), &history, &oracle, &safe);
            killed.unwrap_or_else(|why| panic!("{history:?}, killed after change {at}: {why}"));
            for state in crashes(&image, &mut random) {
                let left = state.clone();
                let found = check(state, &history, &oracle, &safe);
                found.unwrap_or_else(|why| panic!("{history:?}, crash after change {at}: {why}"));
                looked_at += 1;
                if looked_at % TWICE_EVERY != 0 {
                    continue;
                }
                // The power goes again while that is loaded.
                let disk = Disk::new(Some(left));
                disk.keep_images();
                Life::start(disk.clone(), &history).expect("it did a moment ago");
                for (second, image) in disk.take_images().into_iter().enumerate() {
                    let often = random.f64();
                    let state = image.crashed(|| random.f64() < often);
                    let found = check(state, &history, &oracle, &safe);
                    found.unwrap_or_else(|why| panic!("{history:?}, crash after {at}, and after {second}: {why}"));
                    looked_at += 1;
                }
            }
        }
    }
    println!("{looked_at} crash states");
    assert!(HISTORIES < looked_at as u64);
}

#[test]
fn what_was_loaded_after_a_crash_is_gone_on_with() {
    for history in histories() {
        let disk = Disk::new(None);
        disk.keep_images();
        let mut life = Life::start(disk.clone(), &history).expect("an empty disk");
        let mut random = history.random();
        life.run(&history, &mut random);
        let images = disk.take_images();
        for _ in 0..8 {
            let image = &images[random.usize(..images.len())];
            let state = crashes(image, &mut random).pop().expect("one at least");
            let mut second = Life::start(Disk::new(Some(state)), &history).expect("it starts");
            let loaded = second.contents();
            let more = History::new(random.u64(1..));
            let more = History { lanes: history.lanes, ..more };
            second.run(&more, &mut random);
            assert!(second.settle(&mut random), "{history:?}, then {more:?}");
            let oracle = Oracle::from(loaded, &more, &second.done);
            let left = Disk::new(Some(second.disk.image().crashed(|| false)));
            let third = Life::start(left, &more).unwrap_or_else(|why| panic!("{history:?}, then {more:?}: {why}"));
            let all: Vec<usize> = (0..second.done.len()).collect();
            oracle.judge(&third.contents(), &all).unwrap_or_else(|why| panic!("{history:?}, then {more:?}: {why}"));
        }
    }
}

/// What every call is made to fail with.
const FAULTS: [Fault; 4] =
    [Fault::Error(libc::EIO), Fault::Error(libc::ENOSPC), Fault::Error(libc::EINTR), Fault::Short];

#[test]
fn a_call_that_fails_costs_nothing_that_was_safe_and_is_mended_or_ends_the_server() {
    let (mut stopped, mut mended) = (0, 0);
    for history in histories() {
        let calls = {
            let mut life = Life::start(Disk::new(None), &history).expect("an empty disk");
            life.run(&history, &mut history.random());
            life.disk.calls()
        };
        for (number, call) in calls.iter().enumerate() {
            let fault = FAULTS[(number + history.seed as usize) % FAULTS.len()];
            let what = || format!("{history:?}, {call} {number} fails with {fault:?}");
            let disk = Disk::new(None);
            disk.fail(number, fault);
            let mut random = history.random();
            let Ok(mut life) = Life::start(disk.clone(), &history) else {
                // It says why, and tries again when it is told to.
                Life::start(disk, &history).unwrap_or_else(|why| panic!("{}: and a second time: {why}", what()));
                continue;
            };
            life.run(&history, &mut random);
            let is_mended = life.settle(&mut random);
            let oracle = Oracle::new(&history, &life.done);
            let mut safe = life.safe_at(usize::MAX);
            if life.has_stopped {
                assert_eq!(history.policy, Appendfsync::Always, "{}", what());
                stopped += 1;
            } else {
                assert!(is_mended && life.shared.log.error().is_none(), "{}: not mended", what());
                safe = (0..life.done.len()).collect();
                mended += 1;
            }
            for state in crashes(&disk.image(), &mut random).into_iter().take(3) {
                check(state, &history, &oracle, &safe).unwrap_or_else(|why| panic!("{}: {why}", what()));
            }
        }
    }
    println!("{stopped} times the server stopped, {mended} times it went on");
    assert!(0 < stopped && 0 < mended);
}

/// A disk that is full, or a quota that is used up, has writes refused while there is still a place for all that was
/// accepted: nothing is in memory alone, whenever the process is killed. When there is room again, they are accepted.
#[test]
fn what_was_accepted_before_a_disk_was_full_has_its_place() {
    for (history, error) in histories().zip([libc::ENOSPC, libc::EDQUOT].into_iter().cycle()) {
        let disk = Disk::new(None);
        let mut life = Life::start(disk.clone(), &history).expect("an empty disk");
        let mut random = history.random();
        (0..history.lanes).for_each(|lane| life.record(lane, 100));
        life.go_on(2);
        disk.fill(Some(error));
        let mut accepted = 0;
        while !life.shared.log.has_failed() {
            let lane = random.usize(..history.lanes);
            (0..random.usize(1..6)).for_each(|_| life.record(lane, random.usize(..100_000)));
            life.go_on(1);
            accepted += 1;
            assert!(accepted < 10_000, "{history:?}: nothing is refused");
        }
        assert_eq!(life.shared.log.error(), Some(error as u32));
        life.go_on(4);
        let log = life.shared.log.clone();
        assert_eq!((log.pending_bytes(), log.error(), life.has_stopped), (0, Some(error as u32), false), "{history:?}");
        disk.fill(None);
        life.go_on(4);
        assert_eq!(log.error(), None, "{history:?}");
    }
}

#[test]
fn a_call_that_fails_while_the_log_is_loaded_costs_nothing() {
    for history in histories() {
        let disk = Disk::new(None);
        disk.keep_images();
        let mut life = Life::start(disk.clone(), &history).expect("an empty disk");
        let mut random = history.random();
        life.run(&history, &mut random);
        let oracle = Oracle::new(&history, &life.done);
        let images = disk.take_images();
        for _ in 0..4 {
            let at = random.usize(..images.len());
            let state = crashes(&images[at], &mut random).pop().expect("one at least");
            let calls = {
                let disk = Disk::new(Some(state.clone()));
                Life::start(disk.clone(), &history).expect("it starts");
                disk.calls()
            };
            for (number, call) in calls.iter().enumerate() {
                let fault = FAULTS[random.usize(..FAULTS.len())];
                let disk = Disk::new(Some(state.clone()));
                disk.fail(number, fault);
                let started = Life::start(disk.clone(), &history);
                drop(started);
                let often = random.f64();
                let left = disk.image().crashed(|| random.f64() < often);
                check(left, &history, &oracle, &life.safe_at(at))
                    .unwrap_or_else(|why| panic!("{history:?}, {call} {number} fails with {fault:?}: {why}"));
            }
        }
    }
}

/// The proofs can fail: a disk that forgets what it was told to sync is found out.
#[test]
fn a_disk_that_forgets_syncs_is_noticed() {
    let mut noticed = 0;
    for history in histories() {
        let disk = Disk::new(None);
        let mut life = Life::start(disk.clone(), &history).expect("an empty disk");
        disk.forget_syncs();
        let mut random = history.random();
        life.run(&history, &mut random);
        let oracle = Oracle::new(&history, &life.done);
        let safe = life.safe_at(usize::MAX);
        noticed +=
            u64::from(!safe.is_empty() && check(disk.image().crashed(|| false), &history, &oracle, &safe).is_err());
    }
    assert!(0 < noticed);
}
