//! `SCAN` over shards: one call walks on into the next shard while its COUNT is not used up, so that a small keyspace
//! is scanned in one call whatever the number of cores. Not here: how a shard is asked (`src/runtime/walk.rs`; in a
//! transaction, `src/shard/union.rs`).
//!
//! A cursor is `position * shards + shard`: below 2^53, which clients in JavaScript need, as long as positions are
//! below 2^43. A shard that is done answers with the beginning of the next one, `shard + 1`.

use crate::resp::Reply;
use crate::resp::decode::{Elements, Head};

/// Keys that a call looks at where it does not say.
const COUNT_DEFAULT: i64 = 10;

/// A scan on its way through the shards.
pub struct Walk {
    /// It stays on the shard where it began: that of the core whose own port the client uses.
    stays: bool,
    /// The shard being asked.
    shard: usize,
    /// Keys still wanted.
    left: i64,
    elements: usize,
    /// The elements so far.
    bytes: Vec<u8>,
}

/// How a walk goes on.
pub enum Step {
    /// The shard it has come to is asked for what is at this cursor.
    On(u64),
    /// It ends with this cursor.
    End(u64),
    /// The shard answered with an error, which is the reply.
    Failed,
}

impl Walk {
    /// Of a call that begins at a shard.
    pub fn new(args: &[impl AsRef<[u8]>], shard: usize, stays: bool) -> Walk {
        let left = count_position(args)
            .and_then(|at| std::str::from_utf8(args[at].as_ref()).ok()?.parse().ok())
            .unwrap_or(COUNT_DEFAULT);
        Walk { stays, shard, left, elements: 0, bytes: Vec::new() }
    }

    /// The shard being asked.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Takes the reply of the shard that was asked, among so many.
    pub fn take(&mut self, reply: &[u8], shards: usize) -> Step {
        let Some((Head::Array(2), mut parts)) = Elements::within(reply) else { return Step::Failed };
        let cursor = parts.next().and_then(|cursor| match Elements::within(cursor)? {
            (Head::Bulk(digits), _) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
            _ => None,
        });
        let (elements, found) = match Elements::within(parts.rest()) {
            Some((Head::Array(len), elements)) => (elements, len),
            other => panic!("a shard answers a scan with keys, not {:?}", other.map(|(head, _)| head)),
        };
        self.elements += found;
        self.bytes.extend_from_slice(elements.rest());
        self.left -= found as i64;
        let cursor = cursor.expect("a shard answers a scan with a cursor");
        let to = (cursor % shards as u64) as usize;
        if to == self.shard || cursor == 0 {
            return Step::End(cursor);
        }
        if self.stays {
            return Step::End(0);
        }
        if self.left <= 0 {
            return Step::End(cursor);
        }
        self.shard = to;
        Step::On(cursor)
    }

    /// Makes the arguments those that the next shard is asked with: the cursor, and the rest of COUNT.
    pub fn ask_on(&self, cursor: u64, args: &mut [Vec<u8>]) {
        args[1] = cursor.to_string().into_bytes();
        if let Some(at) = count_position(args) {
            args[at] = self.left.to_string().into_bytes();
        }
    }

    /// Writes the reply of a walk that ends with this cursor.
    pub fn write(&self, cursor: u64, reply: &mut Reply<'_>) {
        reply.array(2);
        reply.bulk_text(format_args!("{cursor}"));
        reply.array(self.elements);
        reply.raw(&self.bytes);
    }
}

/// Where the number of `COUNT` stands.
fn count_position(args: &[impl AsRef<[u8]>]) -> Option<usize> {
    let is_count = |at: &usize| args[*at].as_ref().eq_ignore_ascii_case(b"count");
    (2..args.len().saturating_sub(1)).step_by(2).find(is_count).map(|at| at + 1)
}
