//! Histories: what clients did, when, and what came back. And the randomness of the workloads, by seed.

use crate::client::{Client, Value};
use std::sync::Barrier;
use std::time::Instant;

/// One operation: `T` says what was asked and what came back.
#[derive(Debug, Clone)]
pub struct Operation<T> {
    /// When it was sent, nanoseconds since the history began.
    pub start: u64,
    /// When its reply was there.
    pub end: u64,
    /// What it was.
    pub what: T,
}

/// Random numbers from a seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }
}

/// Runs clients at once, each on a connection of its own, from the same moment on; their histories together.
pub fn clients<T: Send>(
    port: u16,
    count: usize,
    run: impl Fn(usize, &mut Client, Instant) -> Vec<Operation<T>> + Sync,
) -> Vec<Operation<T>> {
    let barrier = Barrier::new(count);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (barrier, run) = (&barrier, &run);
                scope.spawn(move || {
                    let mut client = Client::connect(port).expect("the server accepts");
                    barrier.wait();
                    run(index, &mut client, started)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client that did not panic")).collect()
    })
}

/// Nanoseconds since the history began.
pub fn now(started: Instant) -> u64 {
    started.elapsed().as_nanos() as u64
}

/// The integer of a reply.
pub fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("an integer, not {other}"),
    }
}

/// The bytes of a reply; none: empty.
pub fn text(value: &Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) => bytes.clone(),
        Value::NullBulk | Value::Null => Vec::new(),
        other => panic!("a string, not {other}"),
    }
}

/// The elements of a reply; `None`: a null array.
pub fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::NullArray | Value::Null => None,
        other => panic!("an array, not {other}"),
    }
}
