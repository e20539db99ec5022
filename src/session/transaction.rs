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

/// One queued call.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// Its row's number.
    command: u16,
    /// Where its arguments begin among the ends …
    first: usize,
    /// … and how many there are.
    argc: usize,
}

/// Queued calls, all arguments back to back.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// A command could not be queued.
    pub is_spoiled: bool,
    calls: Vec<Call>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Transaction {
    /// Queues a call of the row with this number.
    pub fn push<'a>(&mut self, command: u16, args: impl Iterator<Item = &'a [u8]>) {
        let first = self.ends.len();
        for arg in args {
            self.bytes.extend_from_slice(arg);
            self.ends.push(self.bytes.len());
        }
        self.calls.push(Call { command, first, argc: self.ends.len() - first });
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

    /// The arguments of a queued call.
    pub fn args(&self, at: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        let Call { first, argc, .. } = self.calls[at];
        (first..first + argc).map(|arg| {
            let start = if arg == 0 { 0 } else { self.ends[arg - 1] };
            &self.bytes[start..self.ends[arg]]
        })
    }

    /// Bytes that the queue takes.
    pub fn memory_bytes(&self) -> usize {
        let calls = self.calls.capacity() * size_of::<Call>();
        calls + self.ends.capacity() * size_of::<usize>() + self.bytes.capacity()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.is_spoiled = false;
        self.calls.clear();
        self.ends.clear();
        self.bytes.clear();
        if KEPT_BYTES_MAX < self.memory_bytes() {
            *self = Transaction::default();
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
}
