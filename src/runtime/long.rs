//! Long replies on their way: each pass writes one slice of one of them, and others are served in between. See
//! [`crate::command::long_reply`] for what they are.

use super::core::Core;
use super::mailbox::Control;
use super::slow;
use crate::command::long_reply::{Gone, LongReply};
use crate::command::lookup::Row;
use crate::command::slowlog;
use crate::command::slowlog::Split;
use crate::resp::{Output, Reply};
use crate::route::parcel::{ReplyHeader, RequestHeader, flags};
use crate::shard::Call;
use crate::stats::stages::Way;
use bytes::Bytes;

/// Whose reply it is.
pub(super) enum Reader {
    /// A client of this core: its connection, and the place of the reply.
    Own {
        /// The connection.
        connection: u32,
        /// The place.
        sequence: u32,
    },
    /// A client of another core.
    Sent {
        /// The core.
        from: usize,
        /// As in the parcel.
        header: RequestHeader,
    },
}

/// A reply that is being written.
pub(super) struct Writing {
    reply: LongReply,
    reader: Reader,
    row: &'static Row,
    call: Call,
    args: Vec<Vec<u8>>,
    pieces: Vec<Bytes>,
    /// Spent on it so far.
    nanoseconds: u64,
    /// What came before.
    split: Split,
}

impl Core {
    /// Begins to write a reply that a command has left. Its keys, of this shard, stay as they are until the end.
    #[cold]
    pub(super) fn begin_long(
        &mut self,
        reply: LongReply,
        reader: Reader,
        (row, call): (&'static Row, Call),
        args: Vec<Vec<u8>>,
        started: u64,
        split: Split,
    ) {
        for key in reply.keys(&args) {
            self.shard.locks.read(key);
            self.shard.keyspace.keep(call.db, key);
        }
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        self.long_replies.push_back(Writing { reply, reader, row, call, args, pieces: Vec::new(), nanoseconds, split });
    }

    /// Writes a slice of the reply whose turn it is.
    pub(super) fn write_long(&mut self) {
        let Some(mut writing) = self.long_replies.pop_front() else { return };
        self.shard.take();
        let started = self.clock.raw();
        let mut out = Vec::new();
        let Writing { reply, call, args, .. } = &mut writing;
        let mut is_whole = false;
        let mut is_more = match reply.step(&self.shard.keyspace, call.db, args, call.protocol, &mut out) {
            Ok(is_more) => {
                is_whole = !is_more;
                is_more
            }
            Err(Gone) => {
                writing.pieces.clear();
                out.clear();
                Reply::new(&mut out, writing.call.protocol).error(&Gone::ERROR);
                false
            }
        };
        if !out.is_empty() {
            writing.pieces.push(out.into());
        }
        if is_whole {
            writing.pieces.insert(0, writing.reply.head(writing.call.protocol).into());
        }
        if let Reader::Own { connection, .. } = writing.reader
            && self.connections[connection as usize].broken
        {
            // Nobody will read it.
            writing.pieces.clear();
            is_more = false;
        }
        writing.nanoseconds += self.clock.delta_as_nanos(started, self.clock.raw());
        if is_more {
            self.long_replies.push_back(writing);
        } else {
            self.end_long(writing);
        }
    }

    fn end_long(&mut self, writing: Writing) {
        let Writing { reply, reader, row, call, args, pieces, nanoseconds, split } = writing;
        for key in reply.keys(&args) {
            self.shard.keyspace.let_go(call.db, key);
            self.shard.locks.end_reading(key);
        }
        self.shard.keyspace.discard_value(reply.into_remains());
        let way = if matches!(reader, Reader::Own { .. }) { Way::Local } else { Way::Forwarded };
        self.stats.record_run(row.id, way, nanoseconds);
        let is_slow = self.is_slow(nanoseconds, split.held);
        let slices: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
        let kept = || slowlog::kept(row, &slices);
        let reply = Output::of_pieces(pieces);
        match reader {
            Reader::Own { connection, sequence } => {
                if is_slow {
                    let session = &self.connections[connection as usize].session;
                    slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
                }
                self.fill_with(connection, sequence, reply);
                self.note_reply(connection, row.id, way, self.clock.raw());
            }
            Reader::Sent { from, header } => {
                let head = ReplyHeader {
                    target: header.target,
                    sequence: header.sequence,
                    flags: header.flags & flags::GATHER,
                    command: header.command,
                    handed: 0,
                };
                self.mailbox.reply(from, head, |out| {
                    out.append(reply);
                    0
                });
                self.mailbox.stamp_reply(from, self.clock.raw());
                if is_slow && let Some(entry) = slow::entry(&self.shared, &self.config, row, kept, nanoseconds, split) {
                    let RequestHeader { target, sequence, .. } = header;
                    self.mailbox.control_before_reply(from, Control::Slow { connection: target, sequence, entry });
                }
            }
        }
        self.serve_waiting();
    }
}
