//! What cores have recorded and files have yet to take. Not here: files.

use crate::rdb;
use crate::structure::crc64::Sum;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

/// Places in one file, for all shards.
#[derive(Debug)]
pub struct Plan {
    next: AtomicU64,
    version: AtomicU16,
    /// Whether pieces are summed up (`rdbchecksum`).
    sums: bool,
    /// Bytes that are not written, of all shards.
    held_bytes: Arc<AtomicU64>,
}

impl Plan {
    /// Of a file whose head takes so many bytes.
    pub fn new(head_bytes: u64, sums: bool) -> Plan {
        let held_bytes = Arc::default();
        Plan { next: AtomicU64::new(head_bytes), version: AtomicU16::new(rdb::VERSION), sums, held_bytes }
    }

    /// Counts what is not written where others see it, at once: what is held for a file is not used by keys.
    pub fn counted_in(self, held_bytes: Arc<AtomicU64>) -> Plan {
        held_bytes.store(0, Ordering::Relaxed);
        Plan { held_bytes, ..self }
    }

    /// A place for so many bytes.
    pub fn reserve(&self, bytes: u64) -> u64 {
        self.next.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Bytes with a place, the head's among them.
    pub fn bytes(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// A value needs this version of the format.
    pub fn need(&self, version: u16) {
        if self.version.load(Ordering::Relaxed) < version {
            self.version.fetch_max(version, Ordering::Relaxed);
        }
    }

    /// The version that all values so far need.
    pub fn version(&self) -> u16 {
        self.version.load(Ordering::Relaxed)
    }

    /// Whether pieces are summed up.
    pub fn sums(&self) -> bool {
        self.sums
    }
}

/// Bytes for a place in the file.
#[derive(Debug)]
pub struct Piece {
    /// The place.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What one shard has for the file. The engine's holder adds, the shard's own core writes.
#[derive(Debug)]
pub struct Output {
    plan: Arc<Plan>,
    queue: Mutex<VecDeque<Piece>>,
    held_bytes: AtomicUsize,
    held_bytes_max: AtomicUsize,
    keys: AtomicU64,
    sums: Mutex<Vec<(u64, Sum)>>,
}

impl Output {
    /// For a file.
    pub fn new(plan: Arc<Plan>) -> Output {
        Output {
            plan,
            queue: Mutex::default(),
            held_bytes: AtomicUsize::new(0),
            held_bytes_max: AtomicUsize::new(0),
            keys: AtomicU64::new(0),
            sums: Mutex::default(),
        }
    }

    /// The file's places.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Adds bytes, which get a place of their own.
    pub fn push(&self, bytes: Vec<u8>) {
        let offset = self.plan.reserve(bytes.len() as u64);
        self.push_at(offset, bytes);
    }

    /// Adds bytes for a place that was reserved.
    pub fn push_at(&self, offset: u64, bytes: Vec<u8>) {
        if self.plan.sums {
            self.sums.lock().push((offset, Sum::of(&bytes)));
        }
        let held = self.held_bytes.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        self.held_bytes_max.fetch_max(held, Ordering::Relaxed);
        self.plan.held_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.queue.lock().push_back(Piece { offset, bytes });
    }

    /// Takes the piece that waits longest. [`Output::written`] when it is.
    pub fn pop(&self) -> Option<Piece> {
        self.queue.lock().pop_front()
    }

    /// So many bytes are written, or given up.
    pub fn written(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.plan.held_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that are not written.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// The most that there were at a time.
    pub fn held_bytes_max(&self) -> usize {
        self.held_bytes_max.load(Ordering::Relaxed)
    }

    /// Counts keys.
    pub fn count(&self, keys: u64) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
    }

    /// Keys recorded so far, about: some are counted a little later.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Places and sums of all pieces.
    pub fn take_sums(&self) -> Vec<(u64, Sum)> {
        std::mem::take(&mut self.sums.lock())
    }
}

/// The sum of what stands before some pieces, and of those, which are in order.
///
/// # Panics
/// A place is missing, or there twice.
pub fn sum_of_pieces(before: Sum, pieces: &[(u64, Sum)]) -> Sum {
    pieces.iter().fold(before, |sum, (offset, piece)| {
        assert!(*offset == sum.len, "a piece at {offset} behind {} bytes", sum.len);
        sum.then(*piece)
    })
}
