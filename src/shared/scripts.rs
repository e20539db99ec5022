//! The scripts and libraries of functions that the server knows, and those that have been running for long. Texts only:
//! each core compiles what it runs (see [`crate::script`]), and asks here what it does not know.

use crate::command::{Args, ScriptCall};
use crate::resp::Error;
use crate::script::flags::{ScriptFlags, script_shebang};
use crate::script::{Sha, sha1_hex};
use ahash::AHashMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Scripts that came by `EVAL` and are kept; the one that was used longest ago goes.
pub const EVAL_SCRIPTS_MAX: usize = 500;
/// The same in bytes, of all together.
pub const EVAL_BYTES_MAX: usize = 32 << 20;
/// What a script takes beside its text, about.
const SCRIPT_OVERHEAD_BYTES: usize = 256;
/// So many runs in a row without a key of a shard that was not held, and a script is thought to name its keys.
const TAME_RUNS: u64 = 64;

/// What is remembered of whether a script names the keys that it uses.
#[derive(Debug, Default)]
pub struct Habit {
    /// Above zero: it has used keys that it did not name; so many more runs hold every shard.
    wide_runs: AtomicU64,
}

impl Habit {
    /// Whether its next run holds every shard from the beginning.
    pub fn is_wide(&self) -> bool {
        self.wide_runs.load(Ordering::Relaxed) != 0
    }

    /// It used keys that it did not name.
    pub fn roams(&self) {
        self.wide_runs.store(TAME_RUNS, Ordering::Relaxed);
    }

    /// A run that held every shard would have done with the keys it named.
    pub fn stays(&self) {
        let _ = self.wide_runs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |runs| runs.checked_sub(1));
    }
}

/// A script.
#[derive(Debug)]
pub struct Script {
    /// Its name.
    pub sha: Sha,
    /// Its text, without the first line if that is a shebang.
    pub text: Vec<u8>,
    /// The same as it came.
    pub body: Vec<u8>,
    /// What it may do.
    pub flags: ScriptFlags,
    /// What it is thought to do.
    pub habit: Habit,
    /// `SCRIPT LOAD`ed: it stays.
    is_loaded: AtomicBool,
    is_alive: AtomicBool,
    /// When it was used last, by a count of uses.
    used_at: AtomicU64,
}

impl Script {
    /// A script whose text begins after so many bytes.
    pub fn new(body: &[u8], skipped: usize, flags: ScriptFlags) -> Script {
        Script {
            sha: sha1_hex(body),
            text: body[skipped..].to_vec(),
            body: body.to_vec(),
            flags,
            habit: Habit::default(),
            is_loaded: AtomicBool::new(false),
            is_alive: AtomicBool::new(true),
            used_at: AtomicU64::new(0),
        }
    }

    /// Whether it is known still.
    pub fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::Acquire)
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.body.capacity() + SCRIPT_OVERHEAD_BYTES
    }
}

/// A function as a library registers it.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<Vec<u8>>,
    /// What it may do.
    pub flags: ScriptFlags,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its text, first line included.
    pub code: Vec<u8>,
    /// What it registered.
    pub functions: Vec<Function>,
    /// What its functions are thought to do, in the same order.
    pub habits: Vec<Habit>,
}

impl Library {
    /// Bytes that it takes here.
    pub fn bytes(&self) -> usize {
        self.code.capacity() + self.functions.len() * size_of::<Function>() + SCRIPT_OVERHEAD_BYTES
    }
}

/// Libraries by their names.
pub type Libraries = BTreeMap<String, Arc<Library>>;

/// A script or function that has been running for some time.
#[derive(Debug)]
pub struct Run {
    /// Whether it is a function.
    pub is_function: bool,
    /// Its name, for `FUNCTION STATS`.
    pub name: String,
    /// The call, for the same.
    pub command: Vec<Vec<u8>>,
    /// When it began, Unix milliseconds.
    pub started_ms: u64,
    /// Somebody wants it to end.
    pub is_killed: AtomicBool,
    /// It has written: it cannot be ended.
    pub has_written: AtomicBool,
    /// It has passed `busy-reply-threshold`.
    pub is_busy: AtomicBool,
}

impl Run {
    /// What others are told once it has passed the threshold.
    pub fn refusal(&self) -> Error {
        if self.is_function { Error::BUSY_FUNCTION } else { Error::BUSY_SCRIPT }
    }
}

/// What came of killing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It ends.
    Yes,
    /// Nothing of the kind runs.
    NothingRuns,
    /// It has written.
    HasWritten,
    /// What runs is of the other kind.
    OtherKind,
}

#[derive(Default)]
struct State {
    scripts: AHashMap<Sha, Arc<Script>>,
    bytes: usize,
    /// Those that came by `EVAL`, and their bytes.
    evals: usize,
    eval_bytes: usize,
    libraries: Arc<Libraries>,
    running: Vec<Arc<Run>>,
}

/// See the module's page.
#[derive(Default)]
pub struct Scripts {
    state: Mutex<State>,
    /// Changes when a script is forgotten, or libraries change.
    generation: AtomicU64,
    uses: AtomicU64,
    /// Scripts that have passed `busy-reply-threshold` and run still.
    busy: AtomicU64,
    evicted: AtomicU64,
    /// Scripts may call what they may not.
    allows_all: AtomicBool,
    /// What the Lua of all cores takes.
    vm_bytes: AtomicU64,
}

impl Scripts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Changes whenever what a core has compiled may be out of date.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The script of a name.
    pub fn find(&self, sha: &Sha) -> Option<Arc<Script>> {
        self.state().scripts.get(sha).cloned()
    }

    /// A script is used.
    pub fn note_use(&self, script: &Script) {
        // Most uses of few scripts follow one another: then nothing is written.
        let last = self.uses.load(Ordering::Relaxed);
        if script.used_at.load(Ordering::Relaxed) != last {
            self.stamp(script);
        }
    }

    fn stamp(&self, script: &Script) {
        script.used_at.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Remembers a script that compiles; the one known already, if there is one.
    pub fn add(&self, script: Arc<Script>, is_loaded: bool) -> Arc<Script> {
        let mut state = self.state();
        if let Some(known) = state.scripts.get(&script.sha).cloned() {
            if is_loaded && !known.is_loaded.swap(true, Ordering::Relaxed) {
                state.evals -= 1;
                state.eval_bytes -= known.bytes();
            }
            return known;
        }
        script.is_loaded.store(is_loaded, Ordering::Relaxed);
        self.stamp(&script);
        if !is_loaded {
            while state.evals == EVAL_SCRIPTS_MAX
                || EVAL_BYTES_MAX < state.eval_bytes + script.bytes() && state.evals != 0
            {
                let evals = state.scripts.values().filter(|script| !script.is_loaded.load(Ordering::Relaxed));
                let oldest = evals.min_by_key(|script| script.used_at.load(Ordering::Relaxed)).map(|script| script.sha);
                let gone = oldest.and_then(|sha| state.scripts.remove(&sha)).expect("some are counted");
                gone.is_alive.store(false, Ordering::Release);
                state.bytes -= gone.bytes();
                state.eval_bytes -= gone.bytes();
                state.evals -= 1;
                self.evicted.fetch_add(1, Ordering::Relaxed);
                self.changed();
            }
            state.evals += 1;
            state.eval_bytes += script.bytes();
        }
        state.bytes += script.bytes();
        state.scripts.insert(script.sha, script.clone());
        script
    }

    /// Forgets all scripts.
    pub fn flush(&self) {
        let mut state = self.state();
        for script in std::mem::take(&mut state.scripts).into_values() {
            script.is_alive.store(false, Ordering::Release);
        }
        (state.bytes, state.evals, state.eval_bytes) = (0, 0, 0);
        self.changed();
    }

    /// How many scripts there are, what they take in bytes, and how many went for want of room.
    pub fn totals(&self) -> (usize, usize, u64) {
        let state = self.state();
        (state.scripts.len(), state.bytes, self.evicted.load(Ordering::Relaxed))
    }

    /// Whether scripts may call what they may not (`DEBUG SET-DISABLE-DENY-SCRIPTS`).
    pub fn allows_all(&self) -> bool {
        self.allows_all.load(Ordering::Relaxed)
    }

    /// Lets them, or no more.
    pub fn allow_all(&self, allows: bool) {
        self.allows_all.store(allows, Ordering::Relaxed);
    }

    /// What the Lua of all cores takes, in bytes, about.
    pub fn vm_bytes(&self) -> u64 {
        self.vm_bytes.load(Ordering::Relaxed)
    }

    /// A core's Lua takes so many bytes, and took so many when it was told last.
    pub fn note_vm(&self, bytes: u64, before: u64) {
        self.vm_bytes.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The libraries.
    pub fn libraries(&self) -> Arc<Libraries> {
        self.state().libraries.clone()
    }

    /// What the libraries take, in bytes, about.
    pub fn library_bytes(&self) -> usize {
        self.libraries().values().map(|library| library.bytes()).sum()
    }

    /// Replaces the libraries by what `change` makes of them.
    ///
    /// # Errors
    /// Those of `change`; then nothing is replaced.
    pub fn change_libraries<E>(&self, change: impl FnOnce(&Libraries) -> Result<Libraries, E>) -> Result<(), E> {
        let mut state = self.state();
        state.libraries = Arc::new(change(&state.libraries)?);
        self.changed();
        Ok(())
    }

    /// What a call says of itself: by the first line of its text, or the flags of its function. None: nothing, or it
    /// is not known.
    fn flags_of(&self, call: ScriptCall, args: &Args<'_>) -> Option<ScriptFlags> {
        match call {
            ScriptCall::Eval { .. } => script_shebang(args[1]).ok().flatten().map(|line| line.flags),
            ScriptCall::EvalSha { .. } => {
                let sha: Sha = args[1].to_ascii_lowercase().try_into().ok()?;
                self.find(&sha).map(|script| script.flags)
            }
            ScriptCall::Function { .. } => {
                let libraries = self.libraries();
                let mut functions = libraries.values().flat_map(|library| &library.functions);
                let named = functions.find(|function| function.name.as_bytes().eq_ignore_ascii_case(args[1]));
                named.map(|function| function.flags)
            }
            _ => None,
        }
    }

    /// Whether a call says of itself that it does not write.
    pub fn only_reads(&self, call: ScriptCall, args: &Args<'_>) -> bool {
        match call {
            ScriptCall::Eval { is_readonly }
            | ScriptCall::EvalSha { is_readonly }
            | ScriptCall::Function { is_readonly }
                if is_readonly =>
            {
                true
            }
            _ => self.flags_of(call, args).is_some_and(|flags| flags.contains(ScriptFlags::NO_WRITES)),
        }
    }

    /// Whether it says that it may write: it has flags, and not the one against it. As in Redis the `_RO` commands make
    /// no difference. Scripts without a first line of flags say nothing; what they write is looked at call by call.
    pub fn says_it_writes(&self, call: ScriptCall, args: &Args<'_>) -> bool {
        let says_nothing = ScriptFlags::COMPATIBLE.union(ScriptFlags::NO_WRITES);
        self.flags_of(call, args).is_some_and(|flags| !flags.intersects(says_nothing))
    }

    // What runs

    /// A script has been running for some time.
    pub fn begin_long(&self, run: Arc<Run>) {
        self.state().running.push(run);
    }

    /// It has passed the threshold. Whether that is new: then everybody has to be told.
    pub fn begin_busy(&self, run: &Run) -> bool {
        let is_new = !run.is_busy.swap(true, Ordering::Relaxed);
        if is_new {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// It is about to write for the first time. False: somebody has ended it.
    pub fn begin_to_write(&self, run: &Run) -> bool {
        let _state = self.state(); // Or it could be ended, and write, both at once.
        let may_write = !run.is_killed.load(Ordering::Relaxed);
        run.has_written.store(may_write, Ordering::Relaxed);
        may_write
    }

    /// It begins again, and nobody waits for it until it has what it needs.
    pub fn begin_again(&self, run: &Run) {
        run.has_written.store(false, Ordering::Relaxed);
        if run.is_busy.swap(false, Ordering::Relaxed) {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// It has ended.
    pub fn end_long(&self, run: &Arc<Run>) {
        self.state().running.retain(|other| !Arc::ptr_eq(other, run));
        self.begin_again(run);
    }

    /// Whether one has been running for some time.
    pub fn is_any_long(&self) -> bool {
        !self.state().running.is_empty()
    }

    /// Whether one has passed the threshold.
    #[inline]
    pub fn is_any_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) != 0
    }

    /// What who would have to wait is told while one has passed the threshold.
    #[inline]
    pub fn refusal(&self) -> Option<Error> {
        if self.is_any_busy() { self.longest().map(|run| run.refusal()) } else { None }
    }

    /// The one that has been running longest.
    pub fn longest(&self) -> Option<Arc<Run>> {
        self.state().running.first().cloned()
    }

    /// Ends those of a kind that may be ended.
    pub fn kill(&self, functions: bool) -> Killed {
        let state = self.state();
        let mut result = Killed::NothingRuns;
        for run in &state.running {
            if run.has_written.load(Ordering::Relaxed) {
                if result != Killed::Yes {
                    result = Killed::HasWritten; // Of whichever kind, as in Redis.
                }
            } else if run.is_function != functions {
                if result == Killed::NothingRuns {
                    result = Killed::OtherKind;
                }
            } else {
                run.is_killed.store(true, Ordering::Relaxed);
                result = Killed::Yes;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(scripts: &Scripts, text: &str, is_loaded: bool) -> Arc<Script> {
        scripts.add(Arc::new(Script::new(text.as_bytes(), 0, ScriptFlags::COMPATIBLE)), is_loaded)
    }

    #[test]
    fn scripts_of_eval_make_room_for_each_other_and_loaded_ones_stay() {
        let scripts = Scripts::default();
        let loaded = add(&scripts, "loaded", true);
        let first = add(&scripts, "return 0", false);
        let second = add(&scripts, "return 1", false);
        for index in 2..EVAL_SCRIPTS_MAX {
            add(&scripts, &format!("return {index}"), false);
        }
        assert_eq!(scripts.totals().0, EVAL_SCRIPTS_MAX + 1);
        scripts.note_use(&first);
        let generation = scripts.generation();
        add(&scripts, "one more", false);
        assert!(first.is_alive() && loaded.is_alive() && !second.is_alive());
        assert!(scripts.find(&second.sha).is_none() && scripts.find(&first.sha).is_some());
        assert_eq!((scripts.totals().0, scripts.totals().2), (EVAL_SCRIPTS_MAX + 1, 1));
        assert_ne!(scripts.generation(), generation);
        add(&scripts, "return 0", true);
        add(&scripts, "and one", false);
        assert_eq!(scripts.totals().0, EVAL_SCRIPTS_MAX + 2, "one that is loaded now no longer counts");
        scripts.flush();
        assert!(!first.is_alive() && scripts.totals() == (0, 0, 1));
    }

    #[test]
    fn only_what_runs_and_has_not_written_is_killed() {
        let scripts = Scripts::default();
        assert_eq!(scripts.kill(false), Killed::NothingRuns);
        let run = Arc::new(Run {
            is_function: false,
            name: String::new(),
            command: Vec::new(),
            started_ms: 0,
            is_killed: AtomicBool::new(false),
            has_written: AtomicBool::new(true),
            is_busy: AtomicBool::new(false),
        });
        scripts.begin_long(run.clone());
        scripts.begin_busy(&run);
        assert!(scripts.is_any_busy());
        assert_eq!((scripts.kill(true), scripts.kill(false)), (Killed::HasWritten, Killed::HasWritten));
        run.has_written.store(false, Ordering::Relaxed);
        assert_eq!(scripts.kill(false), Killed::Yes);
        assert!(run.is_killed.load(Ordering::Relaxed));
        scripts.end_long(&run);
        assert!(!scripts.is_any_busy() && scripts.longest().is_none());
    }

    #[test]
    fn a_script_that_roams_holds_everything_for_some_runs() {
        let habit = Habit::default();
        assert!(!habit.is_wide());
        habit.roams();
        (0..TAME_RUNS).for_each(|_| {
            assert!(habit.is_wide());
            habit.stays();
        });
        assert!(!habit.is_wide());
        habit.stays();
        assert!(!habit.is_wide());
    }
}
