//! Scripts and functions: the commands. Not here: Lua ([`crate::script`]), and running it (`src/runtime/script.rs`).

use super::client::write_help;
use super::key_spec::KeyAccess;
use super::{Args, Command, CommandResult, Flags, Group, Joint, KeySpec, Keys, Run, ScriptCall, SessionView};
use crate::config::Config;
use crate::resp::{Error, Reply};
use crate::script::{ScriptFlags, Sha};
use crate::session::{Mode, Session};
use crate::shared::Scripts;
use crate::shared::scripts::{Killed, Library};
use crate::structure::glob::matches_nocase;

const RUNS: Flags = Flags::NOSCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::MAY_REPLICATE)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::MOVABLEKEYS);
const READS: Flags = Flags::NOSCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::READONLY)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::MOVABLEKEYS);
const MANAGES: Flags = Flags::NOSCRIPT;
const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);

const OF_SCRIPT: &str = "Depends on the script that is executed.";
const OF_FUNCTION: &str = "Depends on the function that is executed.";
const ANY_ACCESS: KeyAccess = KeyAccess::RW.union(KeyAccess::ACCESS).union(KeyAccess::UPDATE);
const READ_ACCESS: KeyAccess = KeyAccess::RO.union(KeyAccess::ACCESS);

const ANY_SPECS: &[KeySpec] = &[KeySpec::counted(2, ANY_ACCESS)
    .notes("We cannot tell how the keys will be used so we assume the worst, RW and UPDATE")];
const READ_SPECS: &[KeySpec] = &[KeySpec::counted(2, READ_ACCESS)
    .notes("We cannot tell how the keys will be used so we assume the worst, RO and ACCESS")];
/// What Redis says of the keys of `EVALSHA` and `EVALSHA_RO`: no remark.
const SHA_SPECS: &[KeySpec] = &[KeySpec::counted(2, ANY_ACCESS)];
const READ_SHA_SPECS: &[KeySpec] = &[KeySpec::counted(2, READ_ACCESS)];

const fn runs(name: &'static str, call: ScriptCall, is_readonly: bool) -> Command {
    let command = Command::new(name, Run::Joint(Joint::Script(call)))
        .arity(-3)
        .keys(Keys::Counted { at: 2, destination: 0 })
        .key_specs(if is_readonly { READ_SPECS } else { ANY_SPECS })
        .flags(if is_readonly { READS } else { RUNS });
    // Redis debugs no functions.
    if matches!(call, ScriptCall::Function { .. }) { command } else { command.permission(is_for_real) }
}

/// Whether a client wants its scripts run, not debugged. `redis-cli --ldb` goes on with `EVAL` whatever the reply to
/// `SCRIPT DEBUG` was; in Redis what that writes is undone when the session ends.
fn is_for_real(_: &Config, session: &Session) -> CommandResult {
    if session.mode.contains(Mode::WOULD_DEBUG) {
        return Err(Error::fixed(
            "ERR The debugger of scripts is not supported: the script did not run. SCRIPT DEBUG NO lets scripts run",
        ));
    }
    Ok(())
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    runs("EVAL", ScriptCall::Eval { is_readonly: false }, false)
        .docs(Group::Scripting, "2.6.0", "Runs a script.")
        .complexity(OF_SCRIPT)
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]"),
    runs("EVALSHA", ScriptCall::EvalSha { is_readonly: false }, false)
        .key_specs(SHA_SPECS)
        .docs(Group::Scripting, "2.6.0", "Runs a script that the server knows, by its SHA-1.")
        .complexity(OF_SCRIPT)
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]"),
    runs("EVALSHA_RO", ScriptCall::EvalSha { is_readonly: true }, true)
        .key_specs(READ_SHA_SPECS)
        .docs(Group::Scripting, "7.0.0", "Runs a script that the server knows and that does not write.")
        .complexity(OF_SCRIPT)
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]"),
    runs("EVAL_RO", ScriptCall::Eval { is_readonly: true }, true)
        .docs(Group::Scripting, "7.0.0", "Runs a script that does not write.")
        .complexity(OF_SCRIPT)
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]"),
    runs("FCALL", ScriptCall::Function { is_readonly: false }, false)
        .docs(Group::Scripting, "7.0.0", "Runs a function.")
        .complexity(OF_FUNCTION)
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]"),
    runs("FCALL_RO", ScriptCall::Function { is_readonly: true }, true)
        .docs(Group::Scripting, "7.0.0", "Runs a function that does not write.")
        .complexity(OF_FUNCTION)
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]"),
    Command::new("FUNCTION", Run::Container)
        .arity(-2)
        .docs(Group::Scripting, "7.0.0", "A container for commands on functions.")
        .complexity("Depends on subcommand.")
        .subcommands(FUNCTION),
    Command::new("SCRIPT", Run::Container)
        .arity(-2)
        .docs(Group::Scripting, "2.6.0", "A container for commands on scripts.")
        .complexity("Depends on subcommand.")
        .subcommands(SCRIPT),
];

const fn subcommand(
    name: &'static str,
    run: fn(&mut SessionView<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult,
    arity: i16,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, Run::Session(run)).arity(arity).flags(MANAGES).docs(Group::Scripting, since, summary)
}

const fn changes(name: &'static str, call: ScriptCall, arity: i16, summary: &'static str) -> Command {
    Command::new(name, Run::Joint(Joint::Script(call))).arity(arity).flags(MANAGES.union(Flags::WRITE)).docs(
        Group::Scripting,
        "7.0.0",
        summary,
    )
}

const OF_SCRIPTS: &str = "O(N) with N being the number of scripts in cache";
const SHARDS_POLICY: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const SCRIPT: &[Command] = &[
    subcommand("DEBUG", debug, 3, "3.2.0", "Sets the debug mode of scripts.").syntax("YES|SYNC|NO"),
    subcommand("EXISTS", exists, -3, "2.6.0", "Tells which scripts the server knows.")
        .complexity(
            "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .syntax("sha1 [sha1 ...]"),
    Command::new("FLUSH", Run::Joint(Joint::Script(ScriptCall::FlushScripts)))
        .arity(-2)
        .flags(MANAGES)
        .docs(Group::Scripting, "2.6.0", "Forgets all scripts.")
        .complexity(OF_SCRIPTS)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .syntax("[ASYNC|SYNC]"),
    subcommand("HELP", help_script, 2, "5.0.0", "Describes the subcommands.").flags(ANY_STATE),
    subcommand("KILL", kill_script, 2, "2.6.0", "Ends the script that is running.")
        .flags(MANAGES.union(Flags::ALLOW_BUSY))
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    Command::new("LOAD", Run::Joint(Joint::Script(ScriptCall::Load)))
        .arity(3)
        .flags(MANAGES.union(Flags::STALE))
        .docs(Group::Scripting, "2.6.0", "Makes a script known, and returns its SHA-1.")
        .complexity("O(N) with N being the length in bytes of the script body.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .syntax("script"),
    subcommand("SHOW", show, 3, "Valkey 8.0", "Returns the text of a script.").complexity("O(1).").syntax("sha1"),
];

const FUNCTION: &[Command] = &[
    changes("DELETE", ScriptCall::DeleteLibrary, 3, "Deletes a library.").tips(SHARDS_POLICY).syntax("library-name"),
    subcommand("DUMP", dump, 2, "7.0.0", "Returns all libraries as one payload.")
        .complexity("O(N) where N is the number of functions"),
    changes("FLUSH", ScriptCall::FlushLibraries, -2, "Deletes all libraries.")
        .complexity("O(N) where N is the number of functions deleted")
        .tips(SHARDS_POLICY)
        .syntax("[ASYNC|SYNC]"),
    subcommand("HELP", help_function, 2, "7.0.0", "Describes the subcommands.").flags(ANY_STATE),
    subcommand("KILL", kill_function, 2, "7.0.0", "Ends the function that is running.")
        .flags(MANAGES.union(Flags::ALLOW_BUSY))
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    subcommand("LIST", list, -2, "7.0.0", "Returns what is known of libraries.")
        .tips(&["nondeterministic_output_order"])
        .complexity("O(N) where N is the number of functions")
        .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]"),
    changes("LOAD", ScriptCall::LoadLibrary, -3, "Creates a library.")
        .flags(MANAGES.union(Flags::WRITE).union(Flags::DENYOOM))
        .complexity("O(1) (considering compilation time is redundant)")
        .tips(SHARDS_POLICY)
        .syntax("[REPLACE] function-code"),
    changes("RESTORE", ScriptCall::RestoreLibraries, -3, "Creates the libraries of a payload.")
        .flags(MANAGES.union(Flags::WRITE).union(Flags::DENYOOM))
        .complexity("O(N) where N is the number of functions on the payload")
        .tips(SHARDS_POLICY)
        .syntax("serialized-value [FLUSH|APPEND|REPLACE]"),
    subcommand("STATS", stats, 2, "7.0.0", "Tells which function runs, and how many there are.")
        .flags(MANAGES.union(Flags::ALLOW_BUSY))
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
];

// SCRIPT

fn debug(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match args[2].to_ascii_lowercase().as_slice() {
        b"no" => {
            view.session.mode.remove(Mode::WOULD_DEBUG);
            reply.ok();
            Ok(())
        }
        b"yes" | b"sync" => {
            view.session.mode.insert(Mode::WOULD_DEBUG);
            Err(Error::fixed("ERR The debugger of scripts is not supported"))
        }
        _ => Err(Error::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

/// The name of a script, in any case.
fn sha(word: &[u8]) -> Option<Sha> {
    word.to_ascii_lowercase().try_into().ok()
}

fn exists(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(args.len() - 2);
    for word in &args[2..] {
        let is_known = sha(word).is_some_and(|sha| view.shared.scripts.find(&sha).is_some());
        reply.integer(i64::from(is_known));
    }
    Ok(())
}

/// Whether a flush is asked for in words that there are.
fn check_flush(args: &Args<'_>, error: &'static str) -> CommandResult {
    match args {
        [_, _] => Ok(()),
        [_, _, word] if word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async") => Ok(()),
        _ => Err(Error::fixed(error)),
    }
}

/// `SCRIPT FLUSH`
///
/// # Errors
/// Where it is asked for in words that there are not.
pub(crate) fn flush_scripts(scripts: &Scripts, args: &Args<'_>) -> CommandResult {
    check_flush(args, "ERR SCRIPT FLUSH only support SYNC|ASYNC option")?;
    scripts.flush();
    Ok(())
}

fn show(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let script = sha(args[2]).and_then(|sha| view.shared.scripts.find(&sha)).ok_or(Error::NO_SCRIPT)?;
    reply.bulk(&script.body);
    Ok(())
}

fn help_script(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SCRIPT, reply);
    Ok(())
}

fn kill(view: &SessionView<'_>, functions: bool, reply: &mut Reply<'_>) -> CommandResult {
    match view.shared.scripts.kill(functions) {
        Killed::Yes => {
            reply.ok();
            Ok(())
        }
        Killed::NothingRuns => Err(Error::NOT_BUSY),
        Killed::HasWritten => Err(Error::UNKILLABLE),
        Killed::OtherKind if functions => Err(Error::BUSY_SCRIPT),
        Killed::OtherKind => Err(Error::BUSY_FUNCTION),
    }
}

fn kill_script(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    kill(view, false, reply)
}

// FUNCTION

fn kill_function(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    kill(view, true, reply)
}

fn dump(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let libraries = view.shared.scripts.libraries();
    reply.bulk(crate::rdb::functions::dump(libraries.values().map(|library| library.code.as_slice())));
    Ok(())
}

fn help_function(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, FUNCTION, reply);
    Ok(())
}

fn list(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut rest = &args[2..];
    while let [option, more @ ..] = rest {
        rest = more;
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            let [word, more @ ..] = rest else {
                return Err(Error::fixed("ERR library name argument was not given"));
            };
            (pattern, rest) = (Some(*word), more);
        } else {
            return Err(Error::quoting("ERR Unknown argument ", option, ""));
        }
    }
    let libraries = view.shared.scripts.libraries();
    let is_wanted = |library: &&std::sync::Arc<Library>| {
        pattern.is_none_or(|pattern| matches_nocase(pattern, library.name.as_bytes()))
    };
    let wanted: Vec<_> = libraries.values().filter(is_wanted).collect();
    reply.array(wanted.len());
    for library in wanted {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk("library_name");
        reply.bulk(&library.name);
        reply.bulk("engine");
        reply.bulk("LUA");
        reply.bulk("functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk("name");
            reply.bulk(&function.name);
            reply.bulk("description");
            match &function.description {
                Some(description) => reply.bulk(description),
                None => reply.null(),
            }
            reply.bulk("flags");
            write_flags(function.flags, reply);
        }
        if with_code {
            reply.bulk("library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn write_flags(flags: ScriptFlags, reply: &mut Reply<'_>) {
    reply.set(flags.names().count());
    flags.names().for_each(|name| reply.simple(name));
}

fn stats(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.map(2);
    reply.bulk("running_script");
    match view.shared.scripts.longest() {
        None => reply.null(),
        Some(run) => {
            reply.map(3);
            reply.bulk("name");
            reply.bulk(&run.name);
            reply.bulk("command");
            reply.array(run.command.len());
            run.command.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk("duration_ms");
            reply.integer(view.now_ms.saturating_sub(run.started_ms) as i64);
        }
    }
    let libraries = view.shared.scripts.libraries();
    reply.bulk("engines");
    reply.map(1);
    reply.bulk("LUA");
    reply.map(2);
    reply.bulk("libraries_count");
    reply.integer(libraries.len() as i64);
    reply.bulk("functions_count");
    reply.integer(libraries.values().map(|library| library.functions.len()).sum::<usize>() as i64);
    Ok(())
}
