//! `DEBUG`: what test suites and people who hunt bugs use. Off by default (`enable-debug-command`).
//!
//! Every subcommand goes to all cores: what concerns keys is done where the keys are (`part`), the rest at home once
//! all cores have answered (`merge`). Subcommands that tune what does not exist here are accepted, so that suites run.

use super::client::write_help_lines;
use super::config::is_local;
use super::{Args, Command, CommandResult, CoreView, Flags, Group, Part, Run, SessionView};
use crate::config::Config;
use crate::config::parse::memory_bytes;
use crate::keyspace::access::idle_ms;
use crate::keyspace::{EntryRef, Expiry};
use crate::rdb;
use crate::resp::{Error, Protocol, Reply};
use crate::session::{Deferred, Mode, Session};
use crate::structure::glob;
use crate::value::number::{parse_double, parse_integer};
use std::sync::atomic::Ordering;
use std::time::Duration;

mod digest;
use digest::Digest;

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("DEBUG", Run::Everywhere { check, part, merge })
    .arity(-2)
    .permission(permission)
    .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE))
    .system()
    .docs(Group::Server, "1.0.0", "Commands for debugging.")
    .complexity("Depends on subcommand.")
    .syntax("subcommand [argument ...]")];

/// What `HELP` shows: syntax, meaning.
const HELP: &[(&str, &str)] = &[
    ("CHANGE-REPL-ID", "Accepted: nothing is replicated yet."),
    ("CONFIG-REWRITE-FORCE-ALL", "Rewrite the configuration file with a line for every directive."),
    ("DICT-RESIZING <0|1>", "Accepted: tables grow by small steps and have no resizing to stop."),
    ("DIGEST", "Return a digest of all data: the one that Redis has for the same data."),
    ("DIGEST-VALUE <key> [<key> ...]", "Return a digest of each value."),
    ("ERROR <string>", "Reply with this error."),
    ("HTSTATS <dbid>", "Return the sizes of a database's tables, shard by shard."),
    ("HTSTATS-KEY <key>", "Return the sizes of the table of a key's value."),
    ("LOADAOF", "Write the append-only file to its end, and load all keys from it again."),
    ("LOG <message>", "Write a line to the log."),
    ("OBJECT <key>", "Show low level info about a key and its value."),
    ("PANIC | ASSERT | OOM | SEGFAULT", "End the process at once, as after a bug."),
    ("PAUSE-CRON <0|1>", "Accepted."),
    ("POPULATE <count> [<prefix>] [<size>]", "Create keys <prefix>:0 and on, as far as they do not exist."),
    ("PROTOCOL <type>", "Reply with a value of this type, such as string, map or push."),
    ("QUICKLIST-PACKED-THRESHOLD <size>", "Accepted."),
    ("RELOAD [MERGE] [NOFLUSH] [NOSAVE]", "Save all keys, and load them again, over those that are there."),
    ("REPLYBUFFER <PEAK-RESET-TIME|RESIZING> <value>", "Accepted: clients have no reply buffers of their own."),
    ("SET-ACTIVE-EXPIRE <0|1>", "Turn off and on that keys are removed as soon as their time has come."),
    ("SET-DISABLE-DENY-SCRIPTS <0|1>", "Accepted."),
    ("SET-DISABLE-DENY-SCRIPTS <0|1>", "Let scripts call commands that they may not."),
    ("SET-SKIP-CHECKSUM-VALIDATION <0|1>", "Let RESTORE take payloads whose checksum is wrong."),
    ("SLEEP <seconds>", "Keep the client's core from serving for so long. Decimals allowed."),
    ("STRINGMATCH-LEN <pattern> <string>", "Return whether a glob-style pattern matches."),
    ("HELP", "Print this help."),
];

/// Longest sleep: beyond it the server must be killed anyway.
const SLEEP_SECONDS_MAX: f64 = 24.0 * 3600.0;
/// Largest threshold that `QUICKLIST-PACKED-THRESHOLD` takes.
const PACKED_THRESHOLD_MAX: u64 = 1 << 32;

/// Ways to end at once.
enum Crash {
    Panic,
    Assertion,
    /// As when no memory is left.
    Memory,
    /// As after an access to memory that is not there.
    Fault,
}

impl Crash {
    fn crash(self) -> ! {
        match self {
            Crash::Panic => panic!("called by DEBUG PANIC"),
            Crash::Assertion => {
                let one = std::hint::black_box(1);
                assert_eq!(one, 2, "called by DEBUG ASSERT");
                unreachable!("one is not two")
            }
            Crash::Memory => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; i32::MAX as usize]>()),
            Crash::Fault => crate::sys::crash::fault(),
        }
    }
}

/// A call, understood.
enum Call<'a> {
    /// Nothing is done, the reply is OK.
    Accepted,
    Digest,
    DigestValue(&'a [&'a [u8]]),
    Error(&'a [u8]),
    Help,
    TableStats(usize),
    TableStatsOfKey(&'a [u8]),
    Log(&'a [u8]),
    Object(&'a [u8]),
    RewriteAll,
    Crash(Crash),
    Populate {
        count: u64,
        prefix: &'a [u8],
        /// Length of every value; `None`: of what is written into it.
        size: Option<usize>,
    },
    Protocol(&'a [u8]),
    /// Keys go to the disk, unless they are to stay, and come back.
    Reload {
        saves: bool,
        flushes: bool,
        /// What is there already is no error, and becomes what the file has.
        merges: bool,
    },
    /// All keys come from the append-only file.
    LoadLog,
    /// What is not there, with the reason.
    NotServed(&'static str),
    ActiveExpire(bool),
    TrustChecksums(bool),
    /// Scripts may call what they may not.
    AllowScripts(bool),
    Sleep(Duration),
    Matches {
        pattern: &'a [u8],
        text: &'a [u8],
    },
}

impl<'a> Call<'a> {
    fn parse(args: &'a Args<'a>) -> Result<Call<'a>, Error> {
        let word = args[1].to_ascii_uppercase();
        Ok(match (word.as_slice(), &args[2..]) {
            (b"CHANGE-REPL-ID", []) => Call::Accepted,
            (b"CONFIG-REWRITE-FORCE-ALL", []) => Call::RewriteAll,
            (b"DICT-RESIZING" | b"PAUSE-CRON", [_]) => Call::Accepted,
            (b"REPLYBUFFER", [what, _])
                if what.eq_ignore_ascii_case(b"PEAK-RESET-TIME") || what.eq_ignore_ascii_case(b"RESIZING") =>
            {
                Call::Accepted
            }
            (b"QUICKLIST-PACKED-THRESHOLD", [size]) => {
                const REFUSAL: Error =
                    Error::fixed("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
                memory_bytes(size).filter(|&size| size < PACKED_THRESHOLD_MAX).ok_or(REFUSAL)?;
                Call::Accepted
            }
            (b"DIGEST", []) => Call::Digest,
            (b"DIGEST-VALUE", keys) => Call::DigestValue(keys),
            (b"ERROR", [text]) => Call::Error(text),
            (b"HELP", []) => Call::Help,
            (b"HTSTATS", [db]) => {
                let db = parse_integer(db).ok_or(Error::NOT_INTEGER)?;
                // Which databases there are is known where the configuration is: see `check`.
                Call::TableStats(usize::try_from(db).unwrap_or(usize::MAX))
            }
            (b"HTSTATS-KEY", [key]) => Call::TableStatsOfKey(key),
            (b"LOG", [message]) => Call::Log(message),
            (b"OBJECT", [key]) => Call::Object(key),
            (b"PANIC", []) => Call::Crash(Crash::Panic),
            (b"ASSERT", []) => Call::Crash(Crash::Assertion),
            (b"OOM", []) => Call::Crash(Crash::Memory),
            (b"SEGFAULT", []) => Call::Crash(Crash::Fault),
            (b"POPULATE", [count, rest @ ..]) if rest.len() <= 2 => {
                let number = |word: &[u8]| {
                    parse_integer(word).and_then(|number| u64::try_from(number).ok()).ok_or(Error::NOT_POSITIVE)
                };
                let count = number(count)?;
                let prefix = rest.first().copied().unwrap_or(b"key");
                let size = rest.get(1).map(|size| number(size)).transpose()?.filter(|&size| 0 < size);
                Call::Populate { count, prefix, size: size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)) }
            }
            (b"PROTOCOL", [name]) => Call::Protocol(name),
            (b"RELOAD", options) => {
                let known = |word: &&[u8]| {
                    [&b"MERGE"[..], b"NOFLUSH", b"NOSAVE"].iter().any(|option| word.eq_ignore_ascii_case(option))
                };
                if !options.iter().all(known) {
                    return Err(Error::fixed("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
                }
                let has = |option: &[u8]| options.iter().any(|word| word.eq_ignore_ascii_case(option));
                Call::Reload { saves: !has(b"NOSAVE"), flushes: !has(b"NOFLUSH"), merges: has(b"MERGE") }
            }
            (b"LOADAOF", []) => Call::LoadLog,
            (b"RESTART" | b"CRASH-AND-RECOVER", [] | [_]) => {
                Call::NotServed("failed to restart the server. Check server logs.")
            }
            (b"SET-ACTIVE-EXPIRE", [flag]) => Call::ActiveExpire(parse_integer(flag).is_some_and(|flag| flag != 0)),
            (b"SET-DISABLE-DENY-SCRIPTS", [flag]) => {
                Call::AllowScripts(parse_integer(flag).is_some_and(|flag| flag != 0))
            }
            (b"SET-SKIP-CHECKSUM-VALIDATION", [flag]) => {
                Call::TrustChecksums(parse_integer(flag).is_some_and(|flag| flag != 0))
            }
            (b"SLEEP", [seconds]) => {
                // What is no number is 0, as for the C library.
                let seconds = parse_double(seconds).unwrap_or(0.0).clamp(0.0, SLEEP_SECONDS_MAX);
                Call::Sleep(Duration::from_secs_f64(seconds))
            }
            (b"STRINGMATCH-LEN", [pattern, text]) => Call::Matches { pattern, text },
            _ => return Err(Error::subcommand_syntax("DEBUG", args[1])),
        })
    }

    /// Once more, where it was checked before.
    fn checked(args: &'a Args<'a>) -> Call<'a> {
        Call::parse(args).expect("checked before any core was asked")
    }
}

fn permission(config: &Config, session: &Session) -> CommandResult {
    if config.enable_debug_command.allows(is_local(session)) {
        return Ok(());
    }
    Err(Error::switched_off("DEBUG", "enable-debug-command"))
}

fn check(view: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    permission(view.config, view.session)?;
    match Call::parse(args)? {
        Call::TableStats(db) if view.config.databases as usize <= db => Err(Error::fixed("ERR Out of range database")),
        Call::Populate { size: Some(size), .. } if view.config.proto_max_bulk_len < size as u64 => {
            Err(Error::STRING_TOO_LONG)
        }
        Call::NotServed(text) => Err(Error::new(format!("ERR {text}"))),
        Call::Reload { .. } | Call::LoadLog if view.shared.persistence.is_loading() => Err(Error::LOADING),
        Call::Protocol(name) if !TYPES.contains(&name.to_ascii_lowercase().as_slice()) => Err(Error::new(format!(
            "ERR Wrong protocol type name. Please use one of the following: {}",
            TYPES.map(|name| std::str::from_utf8(name).expect("written as text")).join("|")
        ))),
        _ => Ok(()),
    }
}

/// What one core contributes.
enum Contribution {
    Nothing,
    /// Of the keys of each database, if it has any.
    Databases(Vec<Option<Digest>>),
    /// Of the values that are here, by the place of their keys.
    Values(Vec<Option<Digest>>),
    /// The line of `DEBUG OBJECT`, or of `HTSTATS`.
    Line(String),
}

fn part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let db = view.db;
    let keyspace = &mut view.shard.keyspace;
    Box::new(match Call::checked(args) {
        Call::Digest => {
            let of_database = |db| {
                let mut keys = None;
                keyspace.for_each(db, |entry| keys.get_or_insert(Digest::default()).add_key(entry));
                keys
            };
            Contribution::Databases((0..keyspace.databases()).map(of_database).collect())
        }
        Call::DigestValue(keys) => Contribution::Values(
            keys.iter().map(|key| keyspace.peek(db, key).map(|entry| Digest::of_value(entry))).collect(),
        ),
        Call::Object(key) => match keyspace.peek(db, key) {
            Some(entry) => Contribution::Line(describe(entry, view.config.rdbcompression, view.now_ms)),
            None => Contribution::Nothing,
        },
        Call::TableStatsOfKey(key) if keyspace.peek(db, key).is_some() => Contribution::Line(String::new()),
        Call::TableStats(db) => {
            let stats = keyspace.database_stats(db);
            Contribution::Line(format!(
                "[Shard {}]\n keys: {}\n keys with a deadline: {}\n bytes of the tables of all databases: {}\n",
                view.core,
                stats.len,
                stats.volatile_len,
                keyspace.table_bytes()
            ))
        }
        Call::Populate { count, prefix, size } => {
            populate(view, count, prefix, size);
            Contribution::Nothing
        }
        Call::TrustChecksums(on) => {
            keyspace.trusts_checksums = on;
            Contribution::Nothing
        }
        _ => Contribution::Nothing,
    })
}

/// Inserts those of the keys that belong here.
fn populate(view: &mut CoreView<'_>, count: u64, prefix: &[u8], size: Option<usize>) {
    let mut digits = itoa::Buffer::new();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..count {
        let number = digits.format(number).as_bytes();
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        key.extend_from_slice(number);
        if !view.shard.owns(&key) || view.shard.keyspace.peek(view.db, &key).is_some() {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        value.extend_from_slice(number);
        value.resize(size.unwrap_or(value.len()), 0);
        view.shard.keyspace.set_string(view.db, &key, &value, Expiry::Clear);
    }
}

/// The line of `DEBUG OBJECT`.
fn describe(entry: EntryRef<'_>, compress: bool, now_ms: u64) -> String {
    let idle = idle_ms(entry.clock(), now_ms) / 1000;
    let clock = (now_ms / 1000).wrapping_sub(idle) & 0xff_ffff;
    format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{clock} lru_seconds_idle:{idle}",
        entry.key().as_ptr(),
        entry.encoding_name(),
        rdb::saved_bytes(entry.value(), compress),
    )
}

fn merge(view: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let parts = || parts.iter().map(|part| part.downcast_ref::<Contribution>().expect("a part of DEBUG"));
    let lines = || {
        parts().filter_map(|part| match part {
            Contribution::Line(line) => Some(line.as_str()),
            _ => None,
        })
    };
    match Call::checked(args) {
        Call::Digest => {
            let mut databases: Vec<Option<Digest>> = Vec::new();
            for part in parts() {
                let Contribution::Databases(here) = part else { panic!("a core sent no digest") };
                databases.resize(here.len(), None);
                for (all, here) in databases.iter_mut().zip(here) {
                    if let Some(here) = here {
                        all.get_or_insert_default().join(here);
                    }
                }
            }
            reply.simple(Digest::of_databases(databases.into_iter()).to_string());
        }
        Call::DigestValue(keys) => {
            reply.array(keys.len());
            for index in 0..keys.len() {
                let found = parts().find_map(|part| match part {
                    Contribution::Values(values) => values[index],
                    _ => None,
                });
                reply.simple(found.unwrap_or_default().to_string());
            }
        }
        Call::Error(text) => {
            // Line ends become blanks; those at the end of an error would vanish otherwise.
            let text: Vec<u8> = text.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }).collect();
            return Err(Error::new(text));
        }
        Call::Help => write_help_lines(args, HELP, reply),
        Call::TableStats(_) => reply.verbatim(b"txt", lines().collect::<String>()),
        Call::TableStatsOfKey(_) => {
            lines().next().ok_or(Error::NO_SUCH_KEY)?;
            return Err(Error::fixed(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
        Call::Log(message) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(message));
            reply.ok();
        }
        Call::Object(_) => reply.simple(lines().next().ok_or(Error::NO_SUCH_KEY)?),
        Call::Crash(how) => how.crash(),
        Call::RewriteAll => return super::config::rewrite_file(view, Config::rewrite_all, reply),
        Call::Protocol(name) => return example(&name.to_ascii_lowercase(), reply),
        Call::ActiveExpire(on) => {
            view.shared.active_expire.store(on, Ordering::Relaxed);
            reply.ok();
        }
        Call::Sleep(time) => {
            // On purpose: this core serves nobody meanwhile.
            std::thread::sleep(time);
            reply.ok();
        }
        Call::Matches { pattern, text } => reply.integer(i64::from(glob::matches(pattern, text))),
        Call::Reload { .. } | Call::LoadLog if view.session.mode.contains(Mode::DENY_BLOCKING) => {
            return Err(Error::fixed("ERR DEBUG RELOAD and LOADAOF are not served in transactions and scripts"));
        }
        Call::LoadLog => view.session.deferred = Some(Box::new(Deferred::LoadLog)),
        Call::Reload { saves, flushes, merges } => {
            view.session.deferred = Some(Box::new(Deferred::Reload { saves, flushes, merges }));
        }
        Call::AllowScripts(on) => {
            view.shared.scripts.allow_all(on);
            reply.ok();
        }
        Call::Accepted | Call::Populate { .. } | Call::TrustChecksums(_) => reply.ok(),
        Call::NotServed(_) => panic!("refused by the check"),
    }
    Ok(())
}

/// The types that `PROTOCOL` knows.
const TYPES: [&[u8]; 13] = [
    b"string",
    b"integer",
    b"double",
    b"bignum",
    b"null",
    b"array",
    b"set",
    b"map",
    b"attrib",
    b"push",
    b"verbatim",
    b"true",
    b"false",
];

/// A reply of a type, in lower case.
fn example(name: &[u8], reply: &mut Reply<'_>) -> CommandResult {
    match name {
        b"string" => reply.bulk("Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double("3.141"),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.protocol() == Protocol::Resp3 {
                reply.raw(b"|1\r\n"); // An attribute of one pair; no command sends any, so there is no writer for it.
                reply.bulk("key-popularity");
                reply.array(2);
                reply.bulk("key:123");
                reply.integer(90);
            }
            reply.bulk("Some real reply following the attribute");
        }
        b"push" => {
            if reply.protocol() == Protocol::Resp2 {
                return Err(Error::fixed("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk("server-cpu-usage");
            reply.integer(42);
            reply.bulk("Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim(b"txt", "This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => panic!("refused by the check"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::{NOW_MS, Server};
    use super::*;

    fn server(cores: usize) -> Server {
        let mut server = Server::new(cores, 2, &[("enable-debug-command", "yes")]);
        server.shards.iter_mut().for_each(|shard| shard.keyspace.begin(NOW_MS, true));
        server
    }

    #[track_caller]
    fn check_reply(server: &mut Server, line: &str, expected: &str) {
        assert_eq!(server.say(COMMANDS, 1, line), expected, "{line}");
    }

    fn set(server: &mut Server, db: usize, key: &str, value: &str) {
        let shard = server.shards.iter_mut().find(|shard| shard.owns(key.as_bytes())).unwrap();
        shard.keyspace.set_string(db, key.as_bytes(), value.as_bytes(), Expiry::Clear);
    }

    fn get(server: &Server, db: usize, key: &str) -> Option<String> {
        let shard = server.shards.iter().find(|shard| shard.owns(key.as_bytes())).unwrap();
        let string = shard.keyspace.peek_string(db, key.as_bytes()).unwrap()?;
        Some(String::from_utf8_lossy(string.bytes(&mut itoa::Buffer::new())).into_owned())
    }

    #[test]
    fn the_directive_decides_who_may() {
        let refused = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
                       it from a local connection, otherwise you need to set this option in the configuration file, and \
                       then restart the server.|";
        let mut server = Server::new(1, 1, &[]);
        check_reply(&mut server, "DEBUG foo", refused);
        let mut server = Server::new(1, 1, &[("enable-debug-command", "local")]);
        check_reply(&mut server, "DEBUG SLEEP 0", "+OK|");
        server.session(1).peer = "192.168.1.7:5000".into();
        check_reply(&mut server, "DEBUG SLEEP 0", refused);
        check_reply(&mut server, "DEBUG POPULATE 10", refused);
        assert_eq!(server.shards[0].keyspace.len(0), 0);
    }

    #[test]
    fn wrong_calls_are_refused() {
        let mut server = server(2);
        for line in [
            "foo",
            "help x",
            "object",
            "object k x",
            "sleep",
            "sleep 0 1",
            "jmap",
            "change-repl-id x",
            "error",
            "error a b",
            "log",
            "protocol",
            "populate",
            "populate 2 p 3 4",
            "digest x",
            "htstats",
            "dict-resizing",
            "pause-cron",
            "replybuffer",
            "replybuffer foo 1",
        ] {
            let word = line.split(' ').next().unwrap();
            let error = format!("-ERR unknown subcommand or wrong number of arguments for '{word}'. Try DEBUG HELP.|");
            check_reply(&mut server, &format!("DEBUG {line}"), &error);
        }
        for (line, error) in [
            ("populate x", "ERR value is out of range, must be positive"),
            ("populate -1", "ERR value is out of range, must be positive"),
            ("populate 1 p x", "ERR value is out of range, must be positive"),
            ("populate 1 p 536870913", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            ("htstats x", "ERR value is not an integer or out of range"),
            ("htstats 16", "ERR Out of range database"),
            ("htstats -1", "ERR Out of range database"),
            ("htstats-key none", "ERR no such key"),
            ("object none", "ERR no such key"),
            ("quicklist-packed-threshold x", "ERR argument must be a memory value bigger than 1 and smaller than 4gb"),
            ("reload foo", "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."),
            ("restart", "ERR failed to restart the server. Check server logs."),
            (
                "protocol foo",
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ),
        ] {
            check_reply(&mut server, &format!("DEBUG {line}"), &format!("-{error}|"));
        }
    }

    #[test]
    fn what_has_no_meaning_is_accepted() {
        let mut server = server(2);
        for line in [
            "change-repl-id",
            "dict-resizing 0",
            "pause-cron 1",
            "replybuffer resizing 0",
            "replybuffer peak-reset-time never",
            "quicklist-packed-threshold 100b",
            "log hello",
            "sleep 0",
            "sleep abc",
            "sleep -1",
        ] {
            check_reply(&mut server, &format!("DEBUG {line}"), "+OK|");
        }
        check_reply(&mut server, "DEBUG SET-ACTIVE-EXPIRE 0", "+OK|");
        assert!(!server.shared.active_expire.load(Ordering::Relaxed));
        check_reply(&mut server, "DEBUG SET-ACTIVE-EXPIRE 1", "+OK|");
        assert!(server.shared.active_expire.load(Ordering::Relaxed));
        check_reply(&mut server, "DEBUG STRINGMATCH-LEN a*c abbc", ":1|");
        check_reply(&mut server, "DEBUG STRINGMATCH-LEN a*c abb", ":0|");
    }

    #[test]
    fn errors_are_the_callers_own() {
        let mut server = server(1);
        assert_eq!(server.run(COMMANDS, 1, &[b"DEBUG", b"ERROR", b"MY error\r\nfoo\n"]), "-MY error  foo |");
        assert_eq!(server.run(COMMANDS, 1, &[b"DEBUG", b"ERROR", b""]), "-|");
    }

    #[test]
    fn sleep_takes_its_time() {
        let mut server = server(1);
        #[allow(clippy::disallowed_methods, reason = "the command is about the clock")]
        let start = std::time::Instant::now();
        check_reply(&mut server, "DEBUG SLEEP 0.05", "+OK|");
        assert!(Duration::from_millis(50) <= start.elapsed());
    }

    #[test]
    fn replies_of_every_type() {
        let mut server = server(1);
        server.session(2).protocol = Protocol::Resp3;
        for (name, two, three) in [
            ("string", "$11|Hello World|", "$11|Hello World|"),
            ("integer", ":12345|", ":12345|"),
            ("double", "$5|3.141|", ",3.141|"),
            ("bignum", "$37|1234567999999999999999999999999999999|", "(1234567999999999999999999999999999999|"),
            ("null", "$-1|", "_|"),
            ("ARRAY", "*3|:0|:1|:2|", "*3|:0|:1|:2|"),
            ("set", "*3|:0|:1|:2|", "~3|:0|:1|:2|"),
            ("map", "*6|:0|:0|:1|:1|:2|:0|", "%3|:0|#f|:1|#t|:2|#f|"),
            (
                "attrib",
                "$39|Some real reply following the attribute|",
                "|1|$14|key-popularity|*2|$7|key:123|:90|$39|Some real reply following the attribute|",
            ),
            (
                "push",
                "-ERR RESP2 is not supported by this command|",
                ">2|$16|server-cpu-usage|:42|$40|Some real reply following the push reply|",
            ),
            ("verbatim", "$25|This is a verbatim\nstring|", "=29|txt:This is a verbatim\nstring|"),
            ("true", ":1|", "#t|"),
            ("false", ":0|", "#f|"),
        ] {
            let line = format!("DEBUG PROTOCOL {name}");
            assert_eq!(server.say(COMMANDS, 1, &line), two, "{name}");
            assert_eq!(server.say(COMMANDS, 2, &line), three, "{name}");
        }
    }

    #[test]
    fn populate_fills_the_shards_with_what_is_theirs() {
        let mut server = server(3);
        set(&mut server, 2, "key:5", "mine");
        server.session(1).db = 2;
        check_reply(&mut server, "DEBUG POPULATE 100", "+OK|");
        let lens: Vec<usize> = server.shards.iter().map(|shard| shard.keyspace.len(2)).collect();
        assert_eq!(lens.iter().sum::<usize>(), 100);
        assert!(lens.iter().all(|&len| 0 < len), "{lens:?}");
        assert_eq!(get(&server, 2, "key:99").unwrap(), "value:99");
        assert_eq!(get(&server, 2, "key:5").unwrap(), "mine", "what is there stays");
        check_reply(&mut server, "DEBUG POPULATE 12 pre 8", "+OK|");
        assert_eq!(get(&server, 2, "pre:11").unwrap(), "value:11");
        assert_eq!(get(&server, 2, "pre:0").unwrap(), "value:0\0");
        check_reply(&mut server, "DEBUG POPULATE 1 s 1", "+OK|");
        assert_eq!(get(&server, 2, "s:0").unwrap(), "v");
        check_reply(&mut server, "DEBUG POPULATE 1 z 0", "+OK|");
        assert_eq!(get(&server, 2, "z:0").unwrap(), "value:0");
    }

    #[test]
    fn an_object_is_described_wherever_it_is() {
        let mut server = server(4);
        for (key, value, tail) in [
            ("a", "v", "encoding:embstr serializedlength:2 "),
            ("b", "12", "encoding:int serializedlength:2 "),
            ("c", "-40000", "encoding:int serializedlength:5 "),
            ("d", &"x".repeat(100), "encoding:raw serializedlength:9 "),
        ] {
            set(&mut server, 0, key, value);
            let line = server.say(COMMANDS, 1, &format!("DEBUG OBJECT {key}"));
            assert!(line.starts_with("+Value at:0x") && line.contains(&format!(" refcount:1 {tail}lru:")), "{line}");
            assert!(line.ends_with(" lru_seconds_idle:0|"), "{line}");
        }
        let refusal = "-ERR The value stored at the specified key is not represented using an hash table|";
        check_reply(&mut server, "DEBUG HTSTATS-KEY a", refusal);
        let stats = server.say(COMMANDS, 1, "DEBUG HTSTATS 0");
        assert!((0..4).all(|shard| stats.contains(&format!("[Shard {shard}]\n keys: "))), "{stats}");
    }

    #[test]
    fn a_digest_is_of_the_data_not_of_its_history() {
        let digest = |cores, pairs: &[(usize, &str, &str)]| {
            let mut server = server(cores);
            pairs.iter().for_each(|(db, key, value)| set(&mut server, *db, key, value));
            server.say(COMMANDS, 1, "DEBUG DIGEST")
        };
        assert_eq!(digest(1, &[]), format!("+{}|", "0".repeat(40)));
        let here = digest(1, &[(0, "a", "1"), (0, "b", "x"), (3, "a", "y")]);
        assert_eq!(here.len(), 42);
        assert_eq!(digest(4, &[(3, "a", "y"), (0, "b", "old"), (0, "a", "1"), (0, "b", "x")]), here);
        assert_ne!(digest(1, &[(0, "a", "1"), (0, "b", "x"), (2, "a", "y")]), here);
        assert_ne!(digest(1, &[(0, "b", "1"), (0, "a", "x"), (3, "a", "y")]), here);
        assert_ne!(digest(1, &[(0, "a", "1"), (0, "b", "x")]), here);
    }

    #[test]
    fn a_digest_of_a_value_does_not_know_its_encoding() {
        let mut server = server(2);
        set(&mut server, 0, "int", "12");
        let shard = server.shards.iter_mut().find(|shard| shard.owns(b"raw")).unwrap();
        shard.keyspace.append(0, b"raw", b"1").unwrap();
        shard.keyspace.append(0, b"raw", b"2").unwrap();
        let reply = server.say(COMMANDS, 1, "DEBUG DIGEST-VALUE int none raw");
        let words: Vec<&str> = reply.split('|').collect();
        assert_eq!((words[0], words[2]), ("*3", "+0000000000000000000000000000000000000000"));
        assert_eq!(words[1], words[3]);
        assert_ne!(words[1], words[2]);
        check_reply(&mut server, "DEBUG DIGEST-VALUE", "*0|");
    }

    #[test]
    fn help_begins_as_every_help() {
        let mut server = server(1);
        let help = server.say(COMMANDS, 1, "DEBUG HELP");
        assert!(help.contains("|+DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|"), "{help}");
        assert!(help.ends_with("|+HELP|+    Print this help.|"), "{help}");
    }
}
