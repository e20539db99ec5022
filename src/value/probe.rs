//! A container for tests of the keyspace: counts its drops and changes its size.

use super::Container;
use std::sync::Arc;

/// Three words, so that tests see a value wider than a pointer.
#[derive(Debug)]
pub struct Probe {
    /// Held once by every living probe made from the same count.
    pub alive: Arc<()>,
    /// Reported as its heap.
    pub heap_bytes: usize,
    /// Reported as it is.
    pub heavy: bool,
}

impl Probe {
    /// A probe with a heap of `heap_bytes`.
    pub fn new(alive: &Arc<()>, heap_bytes: usize) -> Probe {
        Probe { alive: alive.clone(), heap_bytes, heavy: false }
    }
}

impl Container for Probe {
    fn encoding_name(&self) -> &'static str {
        "probe-encoding"
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn duplicate(&self) -> Self {
        Probe { alive: self.alive.clone(), ..*self }
    }

    fn is_heavy(&self) -> bool {
        self.heavy
    }

    fn free_some(&mut self, budget: usize) -> bool {
        self.heap_bytes = self.heap_bytes.saturating_sub(budget * 1024);
        self.heap_bytes != 0
    }
}
