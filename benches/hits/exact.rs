//! What is compared with: policies without samples, for the same bytes.

use crate::traces::{Request, Trace};
use ahash::AHashMap;
use std::collections::BTreeSet;

/// What objects take.
pub struct Costs {
    /// By id, in bytes.
    of: AHashMap<u64, u64>,
    /// Of all objects.
    pub total: u64,
}

/// Asks once for each object.
pub fn costs(trace: &Trace, cost: impl Fn(Request) -> u64) -> Costs {
    let mut by_bytes: AHashMap<u32, u64> = AHashMap::default();
    let mut of = AHashMap::default();
    for &request in &trace.requests {
        of.entry(request.id).or_insert_with(|| *by_bytes.entry(request.bytes).or_insert_with(|| cost(request)));
    }
    let total = of.values().sum();
    Costs { of, total }
}

/// Runs a cache that evicts whom `rank` gives the least; it is given the request's number, the uses so far and the
/// former rank.
fn run(trace: &Trace, costs: &Costs, limit_bytes: u64, mut rank: impl FnMut(usize, u64) -> (u64, u64)) -> f64 {
    let mut kept: AHashMap<u64, ((u64, u64), u64)> = AHashMap::default();
    let mut order: BTreeSet<((u64, u64), u64)> = BTreeSet::new();
    let (mut bytes, mut hits) = (0, 0u64);
    for (at, request) in trace.requests.iter().enumerate() {
        let id = request.id;
        let uses = match kept.remove(&id) {
            Some((old, uses)) => {
                hits += 1;
                order.remove(&(old, id));
                uses + 1
            }
            None => {
                bytes += costs.of[&id];
                1
            }
        };
        let new = rank(at, uses);
        kept.insert(id, (new, uses));
        order.insert((new, id));
        while limit_bytes < bytes {
            let (_, gone) = order.pop_first().expect("something takes the bytes");
            kept.remove(&gone);
            bytes -= costs.of[&gone];
        }
    }
    hits as f64 / trace.requests.len() as f64
}

/// Least recently used.
pub fn lru(trace: &Trace, costs: &Costs, limit_bytes: u64) -> f64 {
    run(trace, costs, limit_bytes, |at, _| (at as u64, 0))
}

/// Least frequently used since it came in; of equals the least recently used.
pub fn lfu(trace: &Trace, costs: &Costs, limit_bytes: u64) -> f64 {
    run(trace, costs, limit_bytes, |at, uses| (uses, at as u64))
}

/// Who is used again last, or never: nobody can do better where all objects are of one size.
pub fn belady(trace: &Trace, costs: &Costs, limit_bytes: u64) -> f64 {
    let mut next = vec![u64::MAX; trace.requests.len()];
    let mut last: AHashMap<u64, usize> = AHashMap::default();
    for (at, request) in trace.requests.iter().enumerate() {
        if let Some(before) = last.insert(request.id, at) {
            next[before] = at as u64;
        }
    }
    run(trace, costs, limit_bytes, |at, _| (u64::MAX - next[at], 0))
}
