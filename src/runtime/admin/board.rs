//! Where cores and the admin thread meet: it pins up questions, they leave their parts, and their seconds.
//!
//! ```text
//!   admin thread ── question ──▶ ┌───────┐ ◀── looks, ten times a second ── core 0, 1, …
//!                ◀── parts ───── │ board │ ◀── its part ───────────────────
//!                ◀── slices ──── └───────┘ ◀── seconds that are over, readings, keys ──────
//! ```
//! A core never waits here: where somebody else holds the lock it comes back at its next look. So a scrape is as old as
//! a tenth of a second, and costs each core what `INFO` costs it. Without an admin port there is no board.
//!
//! Keys are brought only while somebody looks at the live page, see [`super::keys`].

use super::keys::Sampled;
use crate::command::Part;
use crate::command::lookup::Row;
use crate::stats::stages::Slice;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Slices of a core that wait to be taken; more than this are dropped, oldest first.
const SLICES_MAX: usize = 60;

/// Keys are counted for so long after somebody looked at the live page, which asks once a second; in milliseconds.
const WATCHED_MS: u64 = 5_000;

/// What a core has counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// When, by the core's steady clock.
    pub steady_ms: u64,
    /// Commands run.
    pub commands: u64,
    /// Keys found by reading commands.
    pub hits: u64,
    /// Keys not found by them.
    pub misses: u64,
}

/// A command that every core takes part in.
pub struct Question {
    round: u64,
    /// The row.
    pub row: &'static Row,
    /// The call.
    pub args: Vec<Vec<u8>>,
}

/// One second of one core.
pub struct Second {
    /// Unix seconds.
    pub unix_s: u64,
    /// The core.
    pub core: usize,
    /// How often its counting had begun anew: with every `CONFIG RESETSTAT`.
    pub resets: u64,
    /// What it counted.
    pub slice: Arc<Slice>,
}

/// What lies on the board.
struct Exchange {
    question: Option<Arc<Question>>,
    round: u64,
    parts: Vec<Option<Part>>,
    seconds: Vec<Second>,
    /// Of each core, the first second by its clock that it has not brought.
    brought: Vec<u64>,
    /// By core.
    readings: Vec<Reading>,
    keys: Vec<Sampled>,
}

/// See the module's page.
pub struct Board {
    exchange: Mutex<Exchange>,
    is_answered: Condvar,
    /// When somebody looked at the live page last, Unix milliseconds; 0: never.
    watched_ms: AtomicU64,
}

impl Board {
    /// An empty board for so many cores.
    pub fn new(cores: usize) -> Board {
        let exchange = Exchange {
            question: None,
            round: 0,
            parts: (0..cores).map(|_| None).collect(),
            seconds: Vec::new(),
            brought: vec![0; cores],
            readings: vec![Reading::default(); cores],
            keys: Vec::new(),
        };
        Board { exchange: Mutex::new(exchange), is_answered: Condvar::new(), watched_ms: AtomicU64::new(0) }
    }

    /// Of a core: brings what it counted and the seconds that are over, and takes the question that it has not
    /// answered. No reading: its engine is somebody else's at the moment.
    ///
    /// `resets`: how often counting has begun anew; `slices`: those from a second on; `unix_of`: when a second of its
    /// clock was.
    pub fn look<'a, S: Iterator<Item = &'a Arc<Slice>>>(
        &self,
        core: usize,
        reading: Option<Reading>,
        resets: u64,
        slices: impl FnOnce(u64) -> S,
        unix_of: impl Fn(u64) -> u64,
    ) -> Option<Arc<Question>> {
        let mut exchange = self.exchange.try_lock()?;
        let Exchange { question, parts, seconds, brought, readings, .. } = &mut *exchange;
        readings[core] = reading.unwrap_or(readings[core]);
        for slice in slices(brought[core]) {
            brought[core] = slice.second + 1;
            seconds.push(Second { unix_s: unix_of(slice.second), core, resets, slice: slice.clone() });
        }
        let excess = seconds.len().saturating_sub(SLICES_MAX * brought.len());
        seconds.drain(..excess);
        question.clone().filter(|_| parts[core].is_none())
    }

    /// Of a core: leaves its part. Nothing happens if it comes too late, or if somebody is at the board: then it is
    /// asked again.
    pub fn answer(&self, core: usize, question: &Question, part: Part) {
        let Some(mut exchange) = self.exchange.try_lock() else { return };
        if exchange.round == question.round && exchange.question.is_some() {
            exchange.parts[core] = Some(part);
            if exchange.parts.iter().all(Option::is_some) {
                self.is_answered.notify_one();
            }
        }
    }

    /// Of the admin thread, which asks one thing at a time: the parts of the cores. `None`: this one did not answer in
    /// time.
    pub fn ask(&self, row: &'static Row, args: Vec<Vec<u8>>, patience: Duration) -> Vec<Option<Part>> {
        let deadline = Instant::now() + patience;
        let mut exchange = self.exchange.lock();
        exchange.round += 1;
        let round = exchange.round;
        exchange.parts.iter_mut().for_each(|part| *part = None);
        exchange.question = Some(Arc::new(Question { round, row, args }));
        while exchange.parts.iter().any(Option::is_none) {
            if self.is_answered.wait_until(&mut exchange, deadline).timed_out() {
                break;
            }
        }
        exchange.question = None;
        exchange.parts.iter_mut().map(Option::take).collect()
    }

    /// Of the admin thread: the seconds and keys that were brought since the last time.
    pub fn take(&self) -> (Vec<Second>, Vec<Sampled>) {
        let mut exchange = self.exchange.lock();
        (std::mem::take(&mut exchange.seconds), std::mem::take(&mut exchange.keys))
    }

    /// Of the admin thread: what each core has counted so far.
    pub fn readings(&self) -> Vec<Reading> {
        self.exchange.lock().readings.clone()
    }

    /// Of the admin thread: somebody looks at the live page.
    pub fn watch(&self, now_ms: u64) {
        self.watched_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Of a core: whether somebody does, so that keys are to be counted.
    pub fn is_watched(&self, now_ms: u64) -> bool {
        let watched_ms = self.watched_ms.load(Ordering::Relaxed);
        watched_ms != 0 && now_ms.abs_diff(watched_ms) < WATCHED_MS
    }

    /// Of a core: brings how often keys were used. Nothing is made where somebody else is at the board.
    pub fn bring_keys(&self, make: impl FnOnce() -> Sampled) {
        let Some(mut exchange) = self.exchange.try_lock() else { return };
        exchange.keys.push(make());
        let excess = exchange.keys.len().saturating_sub(SLICES_MAX * exchange.brought.len());
        exchange.keys.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use std::sync::atomic::AtomicBool;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn row() -> &'static Row {
        lookup(b"info").expect("a row")
    }

    fn look(board: &Board, core: usize, slices: &[Arc<Slice>]) -> Option<Arc<Question>> {
        let reading = (core == 0).then_some(Reading { commands: 7, ..Reading::default() });
        let slices = |from| slices.iter().filter(move |slice: &&Arc<Slice>| from <= slice.second);
        board.look(core, reading, 3, slices, |second| 1_000 + second)
    }

    #[test]
    fn every_core_is_asked_once_and_all_parts_come_back() {
        let board = Board::new(2);
        assert!(look(&board, 0, &[]).is_none());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for core in [0, 1] {
                let (board, is_over) = (&board, &is_over);
                scope.spawn(move || {
                    // Whoever finds the lock held is asked again.
                    while !is_over.load(Ordering::Relaxed) {
                        if let Some(question) = look(board, core, &[]) {
                            assert_eq!(question.args, [b"INFO"]);
                            board.answer(core, &question, Box::new(core));
                        }
                        std::thread::yield_now();
                    }
                });
            }
            let parts = board.ask(row(), vec![b"INFO".to_vec()], PATIENCE);
            is_over.store(true, Ordering::Relaxed);
            let parts = parts.into_iter().map(|part| part.expect("both answer"));
            let told = parts.map(|part| *part.downcast::<usize>().expect("a number"));
            assert_eq!(told.collect::<Vec<_>>(), [0, 1]);
        });
    }

    #[test]
    fn a_core_that_is_busy_holds_nobody_up_for_ever() {
        let board = Board::new(2);
        assert!(board.ask(row(), Vec::new(), Duration::from_millis(1)).iter().all(Option::is_none));
        assert!(look(&board, 1, &[]).is_none(), "what nobody waits for is not answered");
    }

    #[test]
    fn seconds_are_brought_once_and_not_without_end() {
        let board = Board::new(1);
        let slices: Vec<Arc<Slice>> = (0..200).map(|second| Arc::new(Slice { second, ..Slice::default() })).collect();
        look(&board, 0, &slices[..2]);
        look(&board, 0, &slices[..3]);
        let (seconds, keys) = board.take();
        assert!(keys.is_empty());
        assert_eq!(
            seconds.iter().map(|second| (second.unix_s, second.resets)).collect::<Vec<_>>(),
            [(1000, 3), (1001, 3), (1002, 3)]
        );
        look(&board, 0, &slices);
        let (seconds, _) = board.take();
        assert_eq!((seconds.len(), seconds.last().map(|second| second.unix_s)), (SLICES_MAX, Some(1_199)));
    }

    #[test]
    fn readings_stay_and_keys_are_brought_while_somebody_looks() {
        let board = Board::new(2);
        look(&board, 0, &[]);
        look(&board, 1, &[]);
        assert_eq!(board.readings().iter().map(|reading| reading.commands).collect::<Vec<_>>(), [7, 0]);
        assert!(!board.is_watched(1) && !board.is_watched(1_000_000));
        board.watch(1_000_000);
        assert!(board.is_watched(1_000_000 + WATCHED_MS - 1) && !board.is_watched(1_000_000 + WATCHED_MS));
        (0..500).for_each(|unix_s| board.bring_keys(|| Sampled { unix_s, ..Sampled::default() }));
        let (_, keys) = board.take();
        assert_eq!((keys.len(), keys.last().map(|keys| keys.unix_s)), (2 * SLICES_MAX, Some(499)));
        assert!(board.take().1.is_empty());
    }
}
