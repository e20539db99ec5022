//! Libraries of functions on their way in and out: loaded, restored, deleted, kept in the log and in snapshots. What a
//! library may say while it is loaded: [`crate::script`]; where all cores see them: [`crate::shared::scripts`].
//!
//! In snapshots their texts stand in front of all keys. In the log they stand in lane 0, in the order in which they
//! were made: each command is appended under the lock under which libraries change. As a rewrite switches the lanes
//! before it reads the libraries, a change may stand both in its base and behind it, but never in neither; so what is
//! written can be done twice (`FUNCTION LOAD REPLACE`).

use super::core::Core;
use super::script::Scripting;
use crate::aof::log::{Log, Record};
use crate::aof::record;
use crate::command::info::REDIS_VERSION;
use crate::command::{Args, ScriptCall};
use crate::resp::{Error, Output, Protocol};
use crate::script::flags::{Shebang, library_shebang};
use crate::script::functions::is_name;
use crate::script::{Answer, Caller, Engine};
use crate::shared::Shared;
use crate::shared::scripts::{Function, Habit, Libraries, Library};
use std::sync::Arc;

/// The code of a library may run for so long when it is loaded.
const LOAD_NANOSECONDS_MAX: u64 = 500_000_000;
/// The lane in which libraries stand.
const LANE: usize = 0;

/// A library, and the references of its functions in the engine that read it.
type Made = (Arc<Library>, Vec<i32>);

/// What a library asks of its server while it is loaded.
pub(super) struct LoadCaller {
    clock: quanta::Clock,
    started: u64,
}

impl LoadCaller {
    pub(super) fn new(clock: &quanta::Clock) -> LoadCaller {
        LoadCaller { clock: clock.clone(), started: clock.raw() }
    }
}

impl Caller for LoadCaller {
    fn call(&mut self, _: &[&[u8]], _: Protocol, _: &mut Output) -> Answer {
        Answer::Refused(Error::fixed("ERR a library calls no commands while it is loaded"))
    }

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn logs(&mut self, level: usize) -> bool {
        logs(level)
    }

    fn log(&mut self, level: usize, line: &[u8]) -> Option<&'static str> {
        log(level, line);
        None
    }

    fn tick(&mut self) -> Option<&'static str> {
        let nanoseconds = self.clock.delta_as_nanos(self.started, self.clock.raw());
        (LOAD_NANOSECONDS_MAX <= nanoseconds).then_some("FUNCTION LOAD timeout")
    }

    fn cpu_seconds(&mut self) -> f64 {
        0.0
    }
}

/// Whether lines of this level are written.
pub(super) fn logs(level: usize) -> bool {
    match level {
        0 => tracing::event_enabled!(tracing::Level::TRACE),
        1 => tracing::event_enabled!(tracing::Level::DEBUG),
        2 => tracing::event_enabled!(tracing::Level::INFO),
        _ => tracing::event_enabled!(tracing::Level::WARN),
    }
}

/// `redis.log`
pub(super) fn log(level: usize, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    match level {
        0 => tracing::trace!("{line}"),
        1 => tracing::debug!("{line}"),
        2 => tracing::info!("{line}"),
        _ => tracing::warn!("{line}"),
    }
}

/// What the first line of a library says, if it can be one of ours.
fn checked_shebang(code: &[u8]) -> Result<(Shebang, String), Error> {
    let shebang = library_shebang(code)?;
    let Some(name) = shebang.name.clone() else { return Err(Error::fixed("ERR Library name was not given")) };
    if !is_name(name.as_bytes()) {
        return Err(Error::fixed(
            "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
             character long",
        ));
    }
    if !shebang.engine.eq_ignore_ascii_case("lua") {
        return Err(Error::new(format!("ERR Engine '{}' not found", shebang.engine)));
    }
    Ok((shebang, name))
}

/// Runs the code of a library, and tells what it registers.
fn make(engine: &mut Engine, clock: &quanta::Clock, code: &[u8]) -> Result<Made, Error> {
    let (shebang, name) = checked_shebang(code)?;
    let registered = engine.load_library(&code[shebang.len..], &mut LoadCaller::new(clock))?;
    let references = registered.iter().map(|function| function.reference).collect();
    let functions: Vec<Function> = registered
        .into_iter()
        .map(|function| Function { name: function.name, description: function.description, flags: function.flags })
        .collect();
    let habits = functions.iter().map(|_| Habit::default()).collect();
    Ok((Arc::new(Library { name, code: code.to_vec(), functions, habits }), references))
}

/// What happens with a library of the name of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namesake {
    Stays(&'static str, &'static str),
    Goes,
}

/// Adds a library.
fn add(libraries: &mut Libraries, library: &Arc<Library>, namesake: Namesake) -> Result<(), Error> {
    let name = &library.name;
    if libraries.remove(name).is_some()
        && let Namesake::Stays(before, after) = namesake
    {
        return Err(Error::new(format!("ERR {before}{name}{after} already exists")));
    }
    let taken = |function: &&Function| {
        let same = |known: &Function| known.name.eq_ignore_ascii_case(&function.name);
        libraries.values().any(|other| other.functions.iter().any(same))
    };
    if let Some(function) = library.functions.iter().find(taken) {
        return Err(Error::new(format!("ERR Function {} already exists", function.name)));
    }
    libraries.insert(name.clone(), library.clone());
    Ok(())
}

/// Changes the libraries, and writes into the log how. The position in [`LANE`] behind that; 0: nothing was written.
fn change(
    shared: &Shared,
    change: impl FnOnce(&Libraries) -> Result<Libraries, Error>,
    told: &[&[u8]],
) -> Result<u64, Error> {
    let mut position = 0;
    shared.scripts.change_libraries(|known| {
        let libraries = change(known)?;
        if shared.log.is_on() {
            position = append(&shared.log, told);
        }
        Ok::<_, Error>(libraries)
    })?;
    Ok(position)
}

fn append(log: &Log, args: &[&[u8]]) -> u64 {
    let mut bytes = Vec::new();
    record::write(&mut bytes, args);
    // `FLUSHALL` leaves libraries alone: the files before it are needed.
    log.keep_all();
    log.append(LANE, &[Record { db: 0, bytes: &bytes, hashes: Default::default() }], false)
}

impl Core {
    /// Runs a command after which there are fewer libraries.
    pub(super) fn drop_libraries(&mut self, index: u32, what: ScriptCall, args: &Args<'_>) -> Result<(), Error> {
        let position = match what {
            // See `is_node`.
            ScriptCall::DeleteLibrary if self.is_node(index) && !self.knows_library(args[2]) => 0,
            ScriptCall::DeleteLibrary => delete(&self.shared, args)?,
            ScriptCall::FlushLibraries => flush(&self.shared, args)?,
            _ => panic!("{what:?} drops no library"),
        };
        self.note_change(index, position);
        Ok(())
    }

    /// Whether a client sees its core as a node of a cluster. Libraries are one for all cores, and such clients change
    /// them node by node: what the first node has done is done for the others, and none of them calls it an error.
    fn is_node(&self, index: u32) -> bool {
        self.connections[index as usize].session.is_node
    }

    fn knows_library(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.shared.scripts.libraries().contains_key(name))
    }

    /// Libraries have changed, and the log says so up to a position.
    fn note_change(&mut self, index: u32, position: u64) {
        self.shard.take();
        self.shard.keyspace.dirty += 1;
        if self.holds && position != 0 {
            self.hold_reply(index, LANE, position);
        }
    }

    /// `FUNCTION LOAD`: the library's name.
    pub(super) fn load_library(
        &mut self,
        index: u32,
        scripting: &mut Scripting,
        args: &Args<'_>,
    ) -> Result<String, Error> {
        let (mut replaces, mut at) = (false, 2);
        while at + 1 < args.len() {
            if !args[at].eq_ignore_ascii_case(b"replace") {
                return Err(Error::quoting("ERR Unknown option given: ", args[at], ""));
            }
            replaces = true;
            at += 1;
        }
        let Some(code) = args.get(at) else {
            return Err(Error::fixed("ERR Function code is missing"));
        };
        // Who has the name is told before the code runs.
        let (_, name) = checked_shebang(code)?;
        if self.is_node(index) && self.shared.scripts.libraries().get(&name).is_some_and(|known| known.code == *code) {
            return Ok(name);
        }
        let namesake = if replaces { Namesake::Goes } else { Namesake::Stays("Library '", "'") };
        if !replaces && self.shared.scripts.libraries().contains_key(&name) {
            return Err(Error::new(format!("ERR Library '{name}' already exists")));
        }
        let (library, references) = make(&mut scripting.engine, &self.clock, code)?;
        let changed = change(
            &self.shared,
            |known| {
                let mut libraries = known.clone();
                add(&mut libraries, &library, namesake)?;
                Ok(libraries)
            },
            &[b"FUNCTION", b"LOAD", b"REPLACE", code],
        );
        match changed {
            Err(error) => {
                references.iter().for_each(|reference| scripting.engine.forget(*reference));
                Err(error)
            }
            Ok(position) => {
                self.forget_stale(scripting);
                scripting.libraries.insert(name.clone(), (library, references));
                self.note_change(index, position);
                Ok(name)
            }
        }
    }

    /// `FUNCTION RESTORE`
    pub(super) fn restore_libraries(
        &mut self,
        index: u32,
        scripting: &mut Scripting,
        args: &Args<'_>,
    ) -> Result<(), Error> {
        if 4 < args.len() {
            return Err(Error::subcommand_syntax("function", args[1]));
        }
        let (flushes, replaces) = match args.get(3).map(|word| word.to_ascii_lowercase()) {
            None => (false, false),
            Some(word) if word == b"append" => (false, false),
            Some(word) if word == b"replace" => (false, true),
            Some(word) if word == b"flush" => (true, false),
            Some(_) => {
                return Err(Error::fixed(
                    "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
                ));
            }
        };
        let mut codes = crate::rdb::functions::parse(args[2])
            .map_err(|_| Error::fixed("ERR DUMP payload version or checksum are wrong"))?;
        if self.is_node(index) && !flushes {
            let known = self.shared.scripts.libraries();
            codes.retain(|code| !known.values().any(|library| library.code == *code));
        }
        let mut made: Vec<Made> = Vec::new();
        let outcome = codes.iter().try_for_each(|code| {
            made.push(make(&mut scripting.engine, &self.clock, code)?);
            Ok(())
        });
        let namesake = if replaces { Namesake::Goes } else { Namesake::Stays("Library ", "") };
        let policy: &[u8] = if flushes { b"FLUSH" } else { b"REPLACE" };
        let changed = outcome.and_then(|()| {
            let change_to = |known: &Libraries| {
                let mut libraries = if flushes { Libraries::default() } else { known.clone() };
                made.iter().try_for_each(|(library, _)| add(&mut libraries, library, namesake))?;
                Ok(libraries)
            };
            change(&self.shared, change_to, &[b"FUNCTION", b"RESTORE", args[2], policy])
        });
        match changed {
            Err(error) => {
                made.iter().flat_map(|(_, references)| references).for_each(|&gone| scripting.engine.forget(gone));
                Err(error)
            }
            Ok(position) => {
                self.forget_stale(scripting);
                for (library, references) in made {
                    scripting.libraries.insert(library.name.clone(), (library, references));
                }
                self.note_change(index, position);
                Ok(())
            }
        }
    }
}

fn delete(shared: &Shared, args: &Args<'_>) -> Result<u64, Error> {
    let name = std::str::from_utf8(args[2]).ok();
    let without = |known: &Libraries| {
        let mut libraries = known.clone();
        let gone = name.and_then(|name| libraries.remove(name));
        gone.map(|_| libraries).ok_or(Error::fixed("ERR Library not found"))
    };
    change(shared, without, &[b"FUNCTION", b"DELETE", args[2]])
}

fn flush(shared: &Shared, args: &Args<'_>) -> Result<u64, Error> {
    match args {
        [_, _] => {}
        [_, _, word] if word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async") => {}
        [_, _, _] => return Err(Error::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(Error::subcommand_syntax("function", args[1])),
    }
    change(shared, |_| Ok(Libraries::default()), &[b"FUNCTION", b"FLUSH"])
}

/// Takes in libraries from files, where no core runs.
pub(super) struct LibraryReader {
    pub(super) engine: Engine,
    pub(super) clock: quanta::Clock,
}

impl LibraryReader {
    /// Begins.
    pub(super) fn new() -> LibraryReader {
        LibraryReader { engine: Engine::new(REDIS_VERSION), clock: quanta::Clock::new() }
    }

    /// A library of a snapshot. `is_exclusive`: one of its name is an error.
    ///
    /// # Errors
    /// Why it cannot be, for the operator.
    pub(super) fn load(&mut self, shared: &Shared, code: &[u8], is_exclusive: bool) -> Result<(), String> {
        let (library, _) = make(&mut self.engine, &self.clock, code).map_err(told)?;
        let namesake = if is_exclusive { Namesake::Stays("Library '", "'") } else { Namesake::Goes };
        shared.log.keep_all();
        let changed = shared.scripts.change_libraries(|known| {
            let mut libraries = known.clone();
            add(&mut libraries, &library, namesake)?;
            Ok(libraries)
        });
        changed.map_err(told)
    }

    /// A command of the log about libraries.
    ///
    /// # Errors
    /// As in [`Self::load`].
    pub(super) fn run(&mut self, shared: &Shared, what: ScriptCall, args: &[&[u8]]) -> Result<(), String> {
        match what {
            ScriptCall::LoadLibrary => self.load(shared, args[args.len() - 1], false),
            ScriptCall::RestoreLibraries => {
                if args.get(3).is_some_and(|policy| policy.eq_ignore_ascii_case(b"flush")) {
                    flush(shared, &[b"FUNCTION", b"FLUSH"]).map_err(told)?;
                }
                let codes = crate::rdb::functions::parse(args[2]).map_err(|corrupt| corrupt.0.to_string())?;
                codes.iter().try_for_each(|code| self.load(shared, code, false))
            }
            ScriptCall::DeleteLibrary => {
                // It may have gone before the base that precedes the command was made.
                let _ = delete(shared, args);
                Ok(())
            }
            ScriptCall::FlushLibraries => flush(shared, &[b"FUNCTION", b"FLUSH"]).map(|_| ()).map_err(told),
            _ => panic!("{what:?} is about no library"),
        }
    }
}

fn told(error: Error) -> String {
    error.text().into_owned()
}
