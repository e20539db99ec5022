//! Configuration: each directive is one row ([`Directive`]), and [`Config`] holds their values in typed fields.
//!
//! ```text
//! file, include, stdin, argv ──▶ parse (words) ──▶ Loader ─┐
//!                                                          ├─▶ Directive::read ─▶ Config ─┬─▶ CONFIG GET, the server
//! CONFIG SET ──▶ Config::set (all or nothing) ─────────────┘                              └─▶ Config::rewrite
//! ```
//!
//! Pure: files and the machine are reached through what the caller hands in, [`Host`] at start and [`Machine`] later.
//!
//! Beyond Redis 7.0: a comment may follow a value (`maxmemory 4gb   # hard cap`), which stock Redis refuses as a wrong
//! number of arguments; `maxmemory 80%` is a share of the machine's memory; names of later versions are known.

mod accepted;
mod directive;
mod kind;
mod load;
pub mod parse;
mod rewrite;
mod rows;
mod types;
mod user;

#[cfg(test)]
mod tests;

pub use directive::{Directive, Flags};
pub use kind::{Kind, Remembered, Secret, reason};
pub use load::{CommandLine, Host, LoadError, Loader, Place};
pub use rewrite::stock_file;
pub use rows::Config;
pub use types::*;

use kind::{Form, Input};
use parse::Word;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What changing the configuration at run time asks of the machine and of the server around it.
pub trait Machine: Send + Sync {
    /// Makes a directory's name absolute.
    ///
    /// # Errors
    /// It cannot be entered.
    fn resolve_directory(&self, path: &Path) -> io::Result<PathBuf>;

    /// The memory that this process may use, in bytes; 0: not known.
    fn memory_bytes(&self) -> u64;

    /// Reads a whole file; one that is not there is empty.
    ///
    /// # Errors
    /// Those of the system.
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Writes a whole file so that after a crash either the old or the new text is there.
    ///
    /// # Errors
    /// Those of the system; then the old text is there.
    fn replace_file(&self, path: &Path, text: &[u8]) -> io::Result<()>;

    /// Puts into force what lies beyond the cores: limits, directory, log level.
    ///
    /// # Errors
    /// The directive that cannot be put into force, and why, in words for the client; then the old configuration is in
    /// force.
    fn apply(&self, old: &Config, new: &Config) -> Result<(), (&'static str, String)>;

    /// Has the directory of the append-only file open, which is off, so that a base can be written into it.
    ///
    /// # Errors
    /// Why it cannot be written, for the operator.
    fn make_log_ready(&self, _: &Config) -> Result<(), String> {
        Ok(())
    }
}

/// No machine at all: nothing can be read or written there, and nothing has to be put into force.
pub struct NoMachine;

impl Machine for NoMachine {
    fn resolve_directory(&self, _: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn replace_file(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn apply(&self, _: &Config, _: &Config) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}

/// Who asks for a change at run time.
pub struct Caller<'a> {
    /// Whether the client may change protected directives: see [`ProtectedAction::allows`].
    pub may_change_protected: bool,
    /// A data set is being loaded.
    pub is_loading: bool,
    /// What the change is asked of.
    pub machine: &'a dyn Machine,
}

/// Fastest and slowest pace of background work.
const HZ_RANGE: std::ops::RangeInclusive<u32> = 1..=500;

/// Smallest backlog for replicas.
const BACKLOG_BYTES_MIN: u64 = 16 * 1024;

impl Default for Config {
    /// Every directive as its row says. `dir` is `.` until a [`Loader`] makes it absolute.
    fn default() -> Config {
        static DEFAULT: OnceLock<Config> = OnceLock::new();
        DEFAULT.get_or_init(Config::from_rows).clone()
    }
}

impl Config {
    fn from_rows() -> Config {
        let mut config = Config::blank();
        for row in Directive::all() {
            let default = row.default.as_bytes();
            let words = if row.kind.takes_several() { parse::split_words(default) } else { Ok(vec![default.to_vec()]) };
            let input = Input {
                words: &words.expect("defaults have no quotes"),
                kind: row.kind,
                adds: false,
                resolve_directory: &|path| Ok(path.into()),
                machine_memory_bytes: 0,
            };
            if let Err(refusal) = row.read(&mut config, &input) {
                panic!("the default of {} is refused: {refusal}", row.name);
            }
        }
        config.settle();
        config
    }

    /// `CONFIG GET`: name and value of every directive that one of `patterns` names or matches (`matches(pattern,
    /// name)` is a glob in any case). A name asked for without a wildcard comes back as the client wrote it.
    pub fn get(&self, patterns: &[&[u8]], matches: &dyn Fn(&[u8], &[u8]) -> bool) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |name: &str, row: &Directive| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.into(), row.write(self, Form::Reply)));
            }
        };
        for &pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(row) = Directive::find(pattern) {
                    add(std::str::from_utf8(pattern).expect("equal to a name but for case"), row);
                }
                continue;
            }
            for row in Directive::all().filter(|row| !row.flags.contains(Flags::HIDDEN)) {
                row.names().filter(|name| matches(pattern, name.as_bytes())).for_each(|name| add(name, row));
            }
        }
        found
    }

    /// The value of one directive as `CONFIG GET` shows it.
    pub fn value(&self, name: &str) -> Option<Vec<u8>> {
        Directive::find(name.as_bytes()).map(|row| row.write(self, Form::Reply))
    }

    /// `CONFIG SET`: the configuration with all of `pairs` changed and put into force.
    ///
    /// # Errors
    /// The text of the error reply, in which a name is what the client sent, byte by byte; then nothing is changed.
    pub fn set(&self, pairs: &[(&[u8], &[u8])], caller: &Caller<'_>) -> Result<Config, Vec<u8>> {
        let mut found: Vec<(Vec<u8>, &'static Directive)> = Vec::new();
        for &(name, _) in pairs {
            // As C prints it: up to a NUL.
            let shown = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let Some(row) = Directive::find(name) else {
                return Err([b"ERR Unknown option or number of arguments for CONFIG SET - '", shown, b"'"].concat());
            };
            if row.flags.contains(Flags::IMMUTABLE) {
                return Err(Config::set_failed(shown, "can't set immutable config"));
            }
            if row.flags.contains(Flags::PROTECTED) && !caller.may_change_protected {
                return Err(Config::set_failed(shown, "can't set protected config"));
            }
            if row.flags.contains(Flags::DENY_LOADING) && caller.is_loading {
                return Err("LOADING Redis is loading the dataset in memory".into());
            }
            // A name and its alias together are no duplicate: the later one wins. So it is in Redis.
            let name = shown.to_ascii_lowercase();
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Config::set_failed(shown, "duplicate parameter"));
            }
            found.push((name, row));
        }
        let mut config = self.clone();
        for ((name, row), (_, value)) in std::iter::zip(&found, pairs) {
            let words: Vec<Word> = match value {
                [] if row.kind.takes_several() => vec![],
                _ if row.kind.takes_several() => value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect(),
                _ => vec![value.to_vec()],
            };
            let input = Input {
                words: &words,
                kind: row.kind,
                adds: false,
                resolve_directory: &|path| caller.machine.resolve_directory(path),
                machine_memory_bytes: caller.machine.memory_bytes(),
            };
            row.read_wish(&mut config, &input).map_err(|refusal| Config::set_failed(name, &refusal))?;
        }
        config.settle();
        caller.machine.apply(self, &config).map_err(|(name, why)| Config::set_failed(name.as_bytes(), &why))?;
        Ok(config)
    }

    /// The text of the error reply when a value is refused, by its kind or when it is put into force.
    fn set_failed(name: &[u8], why: &str) -> Vec<u8> {
        [b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", why.as_bytes()].concat()
    }

    /// Brings into range what is taken as a wish, and derives what is derived.
    fn settle(&mut self) {
        // Negative: none is slow enough.
        let threshold = u64::try_from(self.slowlog_log_slower_than).ok();
        self.slow_nanoseconds = threshold.map_or(u64::MAX, |microseconds| microseconds.saturating_mul(1000));
        self.hz = self.hz.clamp(*HZ_RANGE.start(), *HZ_RANGE.end());
        self.repl_backlog_size = self.repl_backlog_size.max(BACKLOG_BYTES_MIN);
    }

    /// Directives with another value than in `other` that this version does not act on yet: worth a warning.
    pub fn without_effect(&self, other: &Config) -> Vec<&'static str> {
        let pending = Directive::all().filter(|row| row.flags.contains(Flags::PENDING));
        let changed = pending.filter(|row| row.write(self, Form::File) != row.write(other, Form::File));
        changed.map(|row| row.name).collect()
    }
}
