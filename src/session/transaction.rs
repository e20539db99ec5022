//! What a client queues between `MULTI` and `EXEC`, and the keys it watches. Not here: running it.

use crate::sync::Flag;

/// Arguments that a cleared queue keeps room for, in bytes.
const KEPT_BYTES_MAX: usize = 4096;

/// A key that a client watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its database.
    pub db: usize,
    /// Its name.
    pub key: Vec<u8>,
    /// The version of the key that the client saw.
    pub version: u64,
    /// The client's, for all keys it watches: raised when one of them changes.
    pub flag: Flag,
}

/// Arguments of so many bytes lie together, and are freed together.
const BLOCK_BYTES: usize = 64 << 10;

/// One queued call.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// Its row's number.
    command: u16,
    /// The block of its arguments, …
    block: u32,
    /// where they begin among the ends there, …
    first: u32,
    /// … and how many there are.
    argc: u32,
}

/// Arguments of some calls, back to back.
#[derive(Debug, Clone, Default)]
struct Block {
    /// Where each ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Block {
    fn memory_bytes(&self) -> usize {
        self.ends.capacity() * size_of::<usize>() + self.bytes.capacity()
    }
}

/// Queued calls. Their arguments lie in blocks, which are freed one by one as the calls run, so that what they write
/// takes the place of what they were sent; a long queue is neither copied as it grows nor has much room to spare.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// A command could not be queued.
    pub is_spoiled: bool,
    calls: Vec<Call>,
    blocks: Vec<Block>,
    /// So many of the blocks are freed.
    freed: usize,
    /// What the blocks take, but for the last.
    full_bytes: usize,
}

impl Transaction {
    /// Queues a call of the row with this number.
    pub fn push<'a>(&mut self, command: u16, args: impl Iterator<Item = &'a [u8]> + Clone) {
        let len: usize = args.clone().map(<[u8]>::len).sum();
        match self.blocks.last_mut() {
            Some(block) if block.bytes.len() + len <= BLOCK_BYTES || block.ends.is_empty() => {}
            Some(full) => {
                full.ends.shrink_to_fit();
                full.bytes.shrink_to_fit();
                self.full_bytes += full.memory_bytes();
                self.blocks.push(Block { ends: Vec::new(), bytes: Vec::with_capacity(len.max(BLOCK_BYTES)) });
            }
            None => self.blocks.push(Block::default()),
        }
        let number = self.blocks.len() - 1;
        let Block { ends, bytes } = &mut self.blocks[number];
        if BLOCK_BYTES < len {
            bytes.reserve_exact(len);
        }
        let first = ends.len();
        for arg in args {
            bytes.extend_from_slice(arg);
            ends.push(bytes.len());
        }
        let argc = (ends.len() - first) as u32;
        self.calls.push(Call { command, block: number as u32, first: first as u32, argc });
    }

    /// How many calls are queued.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The row's number of a queued call.
    pub fn command(&self, at: usize) -> u16 {
        self.calls[at].command
    }

    /// The arguments of a queued call, unless they are freed.
    pub fn args(&self, at: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        let Call { block, first, argc, .. } = self.calls[at];
        let Block { ends, bytes } = &self.blocks[block as usize];
        (first as usize..(first + argc) as usize).map(|arg| {
            let start = if arg == 0 { 0 } else { ends[arg - 1] };
            &bytes[start..ends[arg]]
        })
    }

    /// Frees blocks of which all calls are before this one.
    pub fn free_before(&mut self, at: usize) {
        let end = self.calls.get(at).map_or(self.blocks.len().saturating_sub(1), |call| call.block as usize);
        for block in &mut self.blocks[self.freed.min(end)..end] {
            self.full_bytes -= block.memory_bytes();
            *block = Block::default();
        }
        self.freed = self.freed.max(end);
    }

    /// Bytes that the queue takes.
    pub fn memory_bytes(&self) -> usize {
        let calls = self.calls.capacity() * size_of::<Call>() + self.blocks.capacity() * size_of::<Block>();
        calls + self.full_bytes + self.blocks.last().map_or(0, Block::memory_bytes)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if KEPT_BYTES_MAX < self.memory_bytes() || 1 < self.blocks.len() {
            *self = Transaction::default();
            return;
        }
        self.is_spoiled = false;
        self.calls.clear();
        for block in &mut self.blocks {
            block.ends.clear();
            block.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_back_as_they_were_queued() {
        let mut transaction = Transaction::default();
        let calls: [(u16, &[&[u8]]); 3] = [(3, &[b"SET", b"k", b""]), (7, &[b"PING"]), (3, &[b"SET", b"", b"v"])];
        for (command, args) in calls {
            transaction.push(command, args.iter().copied());
        }
        assert_eq!(transaction.len(), 3);
        for (at, (command, args)) in calls.into_iter().enumerate() {
            assert_eq!(transaction.command(at), command);
            assert_eq!(transaction.args(at).collect::<Vec<_>>(), args);
        }
        transaction.is_spoiled = true;
        transaction.clear();
        assert!(transaction.is_empty() && !transaction.is_spoiled);
        transaction.push(1, [&[0_u8; 2 * KEPT_BYTES_MAX][..]].into_iter());
        transaction.clear();
        assert_eq!(transaction.memory_bytes(), 0);
    }
    #[test]
    fn a_long_queue_takes_little_more_than_its_arguments_and_goes_as_it_is_run() {
        let mut transaction = Transaction::default();
        let value = [7_u8; 1000];
        let long = vec![8_u8; 3 * BLOCK_BYTES];
        for _ in 0..3000 {
            transaction.push(3, [&b"SET"[..], b"key", &value].into_iter());
        }
        transaction.push(3, [&b"SET"[..], b"long", &long].into_iter());
        transaction.push(3, [&b"SET"[..], b"last", b"v"].into_iter());
        let sent = 3000 * 1006 + long.len();
        let taken = transaction.memory_bytes();
        assert!(taken < sent + sent / 8, "{taken} bytes for {sent}");
        for at in 0..transaction.len() {
            transaction.free_before(at);
            assert_eq!(transaction.args(at).len(), 3);
        }
        assert_eq!(transaction.args(3001).collect::<Vec<_>>(), [&b"SET"[..], b"last", b"v"]);
        transaction.free_before(transaction.len());
        assert!(transaction.memory_bytes() < 3 * BLOCK_BYTES, "{}", transaction.memory_bytes());
        transaction.clear();
        assert_eq!(transaction.memory_bytes(), 0);
    }
}
