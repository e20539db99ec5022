//! What `corering-check` knows: whether snapshots and logs are whole, what is in them, and what they would be without
//! what is broken. Pure: files come through [`Files`], and what is to be done with them goes out as a [`plan::Plan`].
//! Reading, asking and writing are `src/runtime/check.rs`, the words of the command line `src/bin/corering_check.rs`.
//!
//! ```text
//!  Files ──▶ snapshot::examine ─┐
//!        ──▶ commands::…       ─┴▶ log::examine ──▶ Report ──▶ tell (text, JSON)
//!                                       │
//!                                       ▼
//!              repair::repair, repair::truncate ──▶ Plan ──▶ Patched (the files as they would be) ──▶ log::examine
//! ```
//! Bytes are read by what the server reads them with ([`crate::aof`], [`crate::rdb`]), and lanes are cut where the
//! server would cut them. A plan is tried before anybody hears of it: the files as they would be are examined as well,
//! and have to be whole.

pub mod commands;
pub mod json;
pub mod log;
#[cfg(test)]
mod memory;
pub mod plan;
pub mod repair;
pub mod snapshot;
pub mod tell;
pub mod time;
mod twice;

use crate::aof::group::Lane;
use crate::aof::recovery::Source;
use commands::Commands;
use snapshot::Snapshot;
use std::io;
use std::ops::Range;

/// The files of one directory.
pub trait Files {
    /// One that is open.
    type File: Source;

    /// Opens a file of the directory; `None`: there is none of this name.
    ///
    /// # Errors
    /// Those of the medium.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// Those of the medium.
    fn names(&self) -> io::Result<Vec<String>>;
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Bytes are not what was written, or not there.
    Damage,
    /// It may be whole, but this program does not know it: a newer version, a module, a command.
    Unknown,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub file: String,
    /// Where in it.
    pub offset: Option<u64>,
    /// What.
    pub what: String,
    /// How bad.
    pub weight: Weight,
}

impl Problem {
    /// Damage at an offset.
    pub fn damage(file: &str, offset: u64, what: impl Into<String>) -> Problem {
        Problem { file: file.to_string(), offset: Some(offset), what: what.into(), weight: Weight::Damage }
    }

    /// Damage of a file as a whole.
    pub fn of_file(file: &str, what: impl Into<String>) -> Problem {
        Problem { file: file.to_string(), offset: None, what: what.into(), weight: Weight::Damage }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.offset {
            Some(offset) => write!(out, "{} at offset {offset}: {}", self.file, self.what),
            None => write!(out, "{}: {}", self.file, self.what),
        }
    }
}

/// What is said at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it can be loaded.
    Whole,
    /// Some of it cannot.
    Damaged,
    /// Nothing is known to be broken, but not everything is known.
    Unknown,
}

impl Verdict {
    /// The exit status of the program.
    pub fn status(self) -> u8 {
        match self {
            Verdict::Whole => 0,
            Verdict::Damaged => 1,
            Verdict::Unknown => 2,
        }
    }

    /// For people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Whole => "whole",
            Verdict::Damaged => "damaged",
            Verdict::Unknown => "unknown",
        }
    }
}

/// What a file is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It stands for itself.
    Single,
    /// It begins a log.
    Base,
    /// It goes on with a log.
    Incr,
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A snapshot.
    Snapshot,
    /// Commands, one after the other.
    Commands,
    /// A snapshot, and commands behind it.
    Preamble,
    /// Groups of commands: one core's lane.
    Lane,
    /// Groups, and commands that another server has added.
    LaneAndCommands,
    /// Nothing.
    Empty,
    /// It is not there.
    Missing,
}

impl Format {
    /// For people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Format::Snapshot => "snapshot (RDB)",
            Format::Commands => "commands (AOF)",
            Format::Preamble => "snapshot and commands (RDB-preamble AOF)",
            Format::Lane => "groups of commands (AOF lane)",
            Format::LaneAndCommands => "groups of commands, gone on with by another server (AOF lane)",
            Format::Empty => "empty",
            Format::Missing => "missing",
        }
    }
}

/// What was found in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// What it is made of.
    pub format: Format,
    /// Its length.
    pub bytes: u64,
    /// So many bytes from its beginning on can be read; those of keys that are not whole are among them.
    pub readable_bytes: u64,
    /// Groups that are whole, one after the other from the beginning on.
    pub groups: u64,
    /// Which lane it is.
    pub lane: Option<Lane>,
    /// Zeros behind the last group: room that was not used.
    pub room_bytes: u64,
    /// The snapshot in it.
    pub snapshot: Option<Snapshot>,
    /// The commands in it that can be read.
    pub commands: Commands,
    /// Groups and commands that can be read again behind what is broken.
    pub behind: (u64, u64),
}

impl FileReport {
    fn new(name: &str, role: Role, bytes: u64) -> FileReport {
        FileReport {
            name: name.to_string(),
            role,
            format: Format::Missing,
            bytes,
            readable_bytes: 0,
            groups: 0,
            lane: None,
            room_bytes: 0,
            snapshot: None,
            commands: Commands::default(),
            behind: (0, 0),
        }
    }

    /// Where keys of its snapshot are that cannot be kept.
    fn dropped(&self) -> &[Range<u64>] {
        self.snapshot.as_ref().map_or(&[], |snapshot| &snapshot.dropped)
    }

    /// So many bytes of it are whole.
    fn whole_bytes(&self) -> u64 {
        self.readable_bytes - self.dropped().iter().map(|range| range.end - range.start).sum::<u64>()
    }

    /// All before this offset is whole.
    fn whole_until(&self) -> u64 {
        self.dropped().first().map_or(self.readable_bytes, |range| range.start)
    }
}

/// The verdict on problems.
pub fn verdict(problems: &[Problem]) -> Verdict {
    if problems.is_empty() {
        Verdict::Whole
    } else if problems.iter().any(|problem| problem.weight == Weight::Damage) {
        Verdict::Damaged
    } else {
        Verdict::Unknown
    }
}
