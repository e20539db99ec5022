//! What a file of all keys is made of: the format of snapshots, or commands. The walk and the pieces are the same.

use super::commands::{Commands, write_deadline};
use super::scribe::Clocks;
use crate::aof::{group, record};
use crate::keyspace::EntryRef;
use crate::rdb;
use crate::rdb::file::{self, About};
use crate::rdb::{Encoding, write};
use crate::structure::crc64::Sum;

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As in a snapshot.
    Snapshot {
        /// What is said of access clocks.
        clocks: Clocks,
        /// `rdbcompression`
        compress: bool,
    },
    /// As commands.
    Commands,
}

/// An entry that is being written.
#[derive(Debug, Clone)]
pub enum Writing {
    /// Its value, as in a snapshot.
    Snapshot(Encoding),
    /// Commands that make it.
    Commands(Commands),
}

impl Form {
    /// Entries of this database come.
    pub fn write_database(self, db: usize, out: &mut Vec<u8>) {
        match self {
            Form::Snapshot { .. } => file::database(out, db),
            Form::Commands => record::write(out, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()]),
        }
    }

    /// Begins with an entry: what stands before its value.
    pub fn begin(self, view: EntryRef<'_>, out: &mut Vec<u8>) -> Writing {
        match self {
            Form::Snapshot { clocks, compress } => {
                file::before_key(out, view.deadline_ms(), clocks.access(view.clock()));
                let encoding = Encoding::begin(view.value(), compress, out);
                write::string(out, view.key(), compress);
                Writing::Snapshot(encoding)
            }
            Form::Commands => Writing::Commands(Commands::begin(view)),
        }
    }

    /// The same of one whose value is a text, as it is: what stands before that, and behind it.
    pub fn around_text(self, view: EntryRef<'_>, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        match self {
            Form::Snapshot { .. } => {
                self.begin(view, &mut before);
                write::length(&mut before, text.len() as u64);
            }
            Form::Commands => {
                record::begin(&mut before, 3);
                record::write_argument(&mut before, b"SET");
                record::write_argument(&mut before, view.key());
                record::begin_argument(&mut before, text.len());
                behind.extend_from_slice(record::ARGUMENT_END);
                write_deadline(view, &mut behind);
            }
        }
        (before, behind)
    }
}

impl Writing {
    /// The version of the format of snapshots that it needs, or of which it is.
    pub fn version(&self) -> u16 {
        match self {
            Writing::Snapshot(encoding) => encoding.version(),
            Writing::Commands(commands) => commands.version(),
        }
    }

    /// Appends some more, about so many bytes. Whether there is more.
    pub fn step(&mut self, view: EntryRef<'_>, bytes: usize, out: &mut Vec<u8>) -> bool {
        match self {
            Writing::Snapshot(encoding) => encoding.step(view.value(), bytes, out),
            Writing::Commands(commands) => commands.step(view, bytes, out),
        }
    }
}

/// What stands around all entries.
#[derive(Debug, Clone)]
pub enum Frame {
    /// The head and the end of a snapshot.
    Snapshot(About),
    /// What commands begin with; they have no end.
    Commands(Vec<u8>),
}

impl Frame {
    /// That of commands: libraries of functions, and the time, where it is to be told (unix seconds).
    pub fn of_commands(time: Option<u64>, libraries: &[Vec<u8>]) -> Frame {
        let mut head = Vec::new();
        if let Some(seconds) = time {
            group::write_time(&mut head, seconds);
        }
        libraries.iter().for_each(|library| record::write(&mut head, &[b"FUNCTION", b"LOAD", library]));
        Frame::Commands(head)
    }

    /// The bytes before the first entry, where values need a version of the format. There are as many for each.
    pub fn head(&self, version: u16) -> Vec<u8> {
        match self {
            Frame::Snapshot(about) => file::head(version, about),
            Frame::Commands(head) => head.clone(),
        }
    }

    /// The last bytes. `sum`: of all others, if anybody is to check it.
    pub fn end(&self, sum: Option<Sum>) -> Vec<u8> {
        match self {
            Frame::Snapshot(_) => file::end(sum),
            Frame::Commands(_) => Vec::new(),
        }
    }

    /// A whole file without keys. `has_sum`: somebody is to check it.
    pub fn alone(&self, has_sum: bool) -> Vec<u8> {
        let mut bytes = self.head(rdb::VERSION);
        let end = self.end((has_sum && self.has_sum()).then(|| Sum::of(&bytes)));
        bytes.extend_from_slice(&end);
        bytes
    }

    /// Whether the end has a sum.
    pub fn has_sum(&self) -> bool {
        matches!(self, Frame::Snapshot(_))
    }
}
