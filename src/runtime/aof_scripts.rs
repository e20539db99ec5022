//! Scripts in an append-only file, while it is loaded. Ours has what they did; older servers, or those told so, have
//! written the calls themselves, and `SCRIPT LOAD`. As in Redis they run while the file is loaded, and what goes wrong
//! is told in the operator's log. A script sees all shards: they are held for it. Not here: scripts of clients
//! ([`super::script`]).

use super::libraries::{LibraryReader, LoadCaller, log, logs};
use super::script::{NOT_ALLOWED, count_keys, keys_of, row_of_call, waits_in_script};
use crate::command::lookup;
use crate::command::script::flush_scripts;
use crate::command::{Args, Run, ScriptCall, SessionView};
use crate::config::Config;
use crate::keyspace::{Actor, Keyspace};
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::SlotMap;
use crate::script::flags::{library_shebang, script_shebang};
use crate::script::{Answer, Caller, Invocation, ScriptFlags, Sha, sha1_hex};
use crate::session::Session;
use crate::shard::union::{Parts, Union};
use crate::shard::{Call, Shard, fail, finish};
use crate::shared::Shared;
use crate::shared::scripts::{Library, Script};
use crate::stats::Stats;
use ahash::AHashMap;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is compiled of the scripts of a log.
pub(super) struct LoggedScripts {
    reader: LibraryReader,
    scripts: AHashMap<Sha, i32>,
    libraries: AHashMap<String, (Arc<Library>, Vec<i32>)>,
}

/// A call that is ready to run.
struct Prepared {
    reference: i32,
    name: String,
    is_function: bool,
    is_readonly: bool,
    keys: usize,
}

/// Its keys and arguments stand among those of the call from this one on.
const FIRST_KEY: usize = 3;

/// What a script of a log runs on: all shards, held.
pub(super) struct Stage<'a, 'e> {
    pub(super) shards: Vec<MutexGuard<'e, Shard>>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) config: &'a Arc<Config>,
    pub(super) map: SlotMap,
    pub(super) overlay: &'a mut Option<Box<Keyspace>>,
    pub(super) random: &'a mut fastrand::Rng,
    pub(super) stats: &'a mut Stats,
    /// The client that there is none of.
    pub(super) session: &'a mut Session,
    pub(super) now_ms: u64,
}

impl LoggedScripts {
    /// None yet.
    pub(super) fn new() -> LoggedScripts {
        LoggedScripts { reader: LibraryReader::new(), scripts: AHashMap::new(), libraries: AHashMap::new() }
    }

    /// Runs a call, and writes its reply where there is one to be told of: an error.
    pub(super) fn run(&mut self, what: ScriptCall, args: &Args<'_>, mut stage: Stage<'_, '_>, out: &mut Output) {
        let prepared = match self.prepare(stage.shared, what, args) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return,
            Err(error) => return Reply::new(out, Protocol::Resp2).error(&error),
        };
        let (keys, others) = args[FIRST_KEY..].split_at(prepared.keys);
        let invocation = Invocation {
            reference: prepared.reference,
            name: &prepared.name,
            is_function: prepared.is_function,
            keys,
            args: others,
            protocol: Protocol::Resp2,
        };
        let db = stage.session.db;
        let mut performance = Performance { is_readonly: prepared.is_readonly, stage: &mut stage };
        self.reader.engine.run(&invocation, &mut performance, out);
        stage.session.db = db; // What a script selects, it selects for itself.
    }

    /// None: it is done.
    fn prepare(&mut self, shared: &Shared, what: ScriptCall, args: &Args<'_>) -> Result<Option<Prepared>, Error> {
        match what {
            ScriptCall::Load => self.find_text(shared, args[2], true).map(|_| None),
            ScriptCall::Eval { is_readonly } => {
                let keys = keys_of(args)?;
                let (reference, sha, flags) = self.find_text(shared, args[1], false)?;
                Ok(Some(Prepared::of_script(reference, sha, flags, is_readonly, keys)))
            }
            ScriptCall::EvalSha { is_readonly } => {
                let mut sha: Sha = args[1].try_into().map_err(|_| Error::NO_SCRIPT)?;
                sha.make_ascii_lowercase();
                let keys = keys_of(args)?;
                let script = shared.scripts.find(&sha).ok_or(Error::NO_SCRIPT)?;
                let reference = self.compile(&script)?;
                Ok(Some(Prepared::of_script(reference, sha, script.flags, is_readonly, keys)))
            }
            ScriptCall::Function { is_readonly } => self.find_function(shared, args, is_readonly).map(Some),
            ScriptCall::FlushScripts => flush_scripts(&shared.scripts, args).map(|()| None),
            ScriptCall::LoadLibrary
            | ScriptCall::RestoreLibraries
            | ScriptCall::DeleteLibrary
            | ScriptCall::FlushLibraries => {
                let done = self.reader.run(shared, what, args);
                done.map(|()| None).map_err(Error::new)
            }
        }
    }

    fn find_text(&mut self, shared: &Shared, body: &[u8], stays: bool) -> Result<(i32, Sha, ScriptFlags), Error> {
        let script = match shared.scripts.find(&sha1_hex(body)) {
            Some(script) => script,
            None => {
                let shebang = script_shebang(body)?;
                let (skipped, flags) =
                    shebang.map_or((0, ScriptFlags::COMPATIBLE), |shebang| (shebang.len, shebang.flags));
                Arc::new(Script::new(body, skipped, flags))
            }
        };
        let reference = self.compile(&script)?;
        let script = shared.scripts.add(script, stays);
        Ok((reference, script.sha, script.flags))
    }

    fn compile(&mut self, script: &Script) -> Result<i32, Error> {
        if let Some(reference) = self.scripts.get(&script.sha) {
            return Ok(*reference);
        }
        let reference = self.reader.engine.compile(&script.text)?;
        self.scripts.insert(script.sha, reference);
        Ok(reference)
    }

    fn find_function(&mut self, shared: &Shared, args: &Args<'_>, is_readonly: bool) -> Result<Prepared, Error> {
        const NOT_FOUND: Error = Error::fixed("ERR Function not found");
        let libraries = shared.scripts.libraries();
        let is_it = |name: &str| name.as_bytes().eq_ignore_ascii_case(args[1]);
        let place_in = |library: &Library| library.functions.iter().position(|function| is_it(&function.name));
        let (library, at) =
            libraries.values().find_map(|library| Some((library, place_in(library)?))).ok_or(NOT_FOUND)?;
        let keys = count_keys(args)?;
        let engine = &mut self.reader.engine;
        if self.libraries.get(&library.name).is_none_or(|(known, _)| !Arc::ptr_eq(known, library)) {
            let shebang = library_shebang(&library.code)?;
            let loaded = engine.load_library(&library.code[shebang.len..], &mut LoadCaller::new(&self.reader.clock))?;
            let by_name = |name: &str| Some(loaded.iter().find(|function| function.name == name)?.reference);
            let references: Option<Vec<i32>> =
                library.functions.iter().map(|function| by_name(&function.name)).collect();
            let kept = (library.clone(), references.ok_or(NOT_FOUND)?);
            if let Some((_, old)) = self.libraries.insert(library.name.clone(), kept) {
                old.into_iter().for_each(|reference| engine.forget(reference));
            }
        }
        let function = &library.functions[at];
        Ok(Prepared {
            reference: self.libraries[&library.name].1[at],
            name: function.name.clone(),
            is_function: true,
            is_readonly: is_readonly || function.flags.contains(ScriptFlags::NO_WRITES),
            keys,
        })
    }
}

impl Prepared {
    fn of_script(reference: i32, sha: Sha, flags: ScriptFlags, is_readonly: bool, keys: usize) -> Prepared {
        Prepared {
            reference,
            name: String::from_utf8_lossy(&sha).into_owned(),
            is_function: false,
            is_readonly: is_readonly || flags.contains(ScriptFlags::NO_WRITES),
            keys,
        }
    }
}

/// A script on its stage.
struct Performance<'p, 'a, 'e> {
    is_readonly: bool,
    stage: &'p mut Stage<'a, 'e>,
}

impl Caller for Performance<'_, '_, '_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Output) -> Answer {
        let row = match row_of_call(args, self.is_readonly, |_| false) {
            Ok(row) => row,
            Err((_, error)) => return Answer::Refused(error),
        };
        if (row.command.asks_to_wait)(args) {
            return Answer::Refused(waits_in_script(args));
        }
        let stage = &mut *self.stage;
        match row.command.run {
            Run::Keyspace(_) | Run::Blocking(_) => {
                let actor = Actor { is_script: true, ..Actor::default() };
                let call = Call { db: stage.session.db, protocol, touch: true, actor, is_replayed: true };
                let parts: Parts<'_> = stage.shards.iter_mut().map(|shard| Some(&mut shard.keyspace)).collect();
                Union::new(stage.map.shards(), parts, stage.overlay, stage.config, stage.random).execute(
                    row,
                    call,
                    args,
                    stage.now_ms,
                    stage.stats,
                    out,
                );
                Answer::Replied
            }
            Run::Session(run) => {
                let start = out.len();
                let mut view = SessionView {
                    session: stage.session,
                    config: stage.config,
                    shared: stage.shared,
                    now_ms: stage.now_ms,
                    reconfigured: false,
                };
                let result = run(&mut view, args, &mut Reply::new(&mut *out, protocol));
                finish(result, stage.stats, row, start, out);
                Answer::Replied
            }
            _ => {
                fail(stage.stats, row, &NOT_ALLOWED, out.len(), &mut Output::default());
                Answer::Refused(NOT_ALLOWED)
            }
        }
    }

    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool> {
        lookup::find_row(args).map(|_| true)
    }

    fn logs(&mut self, level: usize) -> bool {
        logs(level)
    }

    fn log(&mut self, level: usize, line: &[u8]) -> Option<&'static str> {
        log(level, line);
        None
    }

    fn tick(&mut self) -> Option<&'static str> {
        self.stage.shared.stopping.load(Ordering::Relaxed).then_some("the server is shutting down")
    }

    fn cpu_seconds(&mut self) -> f64 {
        let (user, system) = crate::sys::process::cpu_seconds(crate::sys::process::CpuOf::Process);
        user + system
    }
}
