//! `SLOWLOG`: the commands that took long, newest first, and what of their arguments a log may keep.
//!
//! One log for the server: only a slow command takes its lock, so that ids are in order over all cores. Not here: which
//! commands are slow; see `slowlog-log-slower-than`.

use super::client::write_help;
use super::lookup::Row;
use super::{Args, Command, CommandResult, Flags, Group, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::stats::stages::{Arrival, Stage};
use crate::value::number::parse_integer;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN: Flags = ANY_STATE.union(Flags::ADMIN);

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("SLOWLOG", Run::Container)
    .arity(-2)
    .docs(Group::Server, "2.2.12", "Commands about the log of slow commands.")
    .complexity("Depends on subcommand.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("GET", Run::Session(get))
        .arity(-2)
        .flags(ADMIN)
        .docs(
            Group::Server,
            "2.2.12",
            "Returns the newest entries (10; -1: all): id, Unix time, microseconds, arguments, client's address and name; \
             with slowlog-stages, nanoseconds by stage.",
        )
        .complexity("O(N) where N is the number of entries returned")
        .syntax("[count]")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    Command::new("HELP", Run::Session(help))
        .arity(2)
        .flags(ANY_STATE)
        .docs(Group::Server, "6.2.0", "Describes the subcommands."),
    Command::new("LEN", Run::Session(len))
        .arity(2)
        .flags(ADMIN)
        .docs(Group::Server, "2.2.12", "Returns how many entries the log has.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    Command::new("RESET", Run::Session(reset))
        .arity(2)
        .flags(ADMIN)
        .docs(Group::Server, "2.2.12", "Empties the log.")
        .complexity("O(N) where N is the number of entries in the log")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

/// Arguments that an entry keeps; of more, one fewer and a remark.
const ARGUMENTS_MAX: usize = 32;
/// Bytes that an entry keeps of an argument; of more, as many and a remark.
const ARGUMENT_BYTES_MAX: usize = 128;
/// Entries that `SLOWLOG GET` returns without being told how many.
const COUNT_DEFAULT: i64 = 10;
const BAD_COUNT: Error = Error::fixed("ERR count should be greater than or equal to -1");
/// Stands for an argument that logs must not show.
const REDACTED: &[u8] = b"(redacted)";

/// What a command went through before it ran, in nanoseconds, as far as it is known where the entry is made. See
/// [`crate::stats::stages`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Split {
    /// Its bytes were read and parsed.
    pub read: Option<u64>,
    /// It waited for its turn.
    pub queue: Option<u64>,
    /// It went to another core.
    pub hop: Option<u64>,
    /// What of `queue`, or of `hop`, it waited for keys that somebody held: the entry's time is that and its run.
    pub held: u64,
}

impl From<Arrival> for Split {
    /// Of a command that ran when its turn came.
    fn from(arrival: Arrival) -> Split {
        let (read, queue) = arrival.before.unzip();
        Split { read, queue, ..Split::default() }
    }
}

/// One slow command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counts entries since the start of the server, resets or not.
    pub id: u64,
    /// When it ended, Unix time in seconds.
    pub unix_s: u64,
    /// How long it ran, and waited for keys that somebody held, in microseconds.
    pub microseconds: u64,
    /// What came before that.
    pub split: Split,
    /// Its arguments, secrets hidden, cut short.
    pub args: Vec<Vec<u8>>,
    /// Address of the client.
    pub peer: String,
    /// Name of the client.
    pub name: Vec<u8>,
}

#[derive(Default)]
struct Log {
    /// Newest first.
    entries: VecDeque<Arc<Entry>>,
    next_id: u64,
}

/// The log, shared by all cores.
#[derive(Default)]
pub struct SlowLog(Mutex<Log>);

impl SlowLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Adds an entry, whose `id` is given here, and drops the oldest ones beyond `len_max`.
    pub fn push(&self, entry: Entry, len_max: usize) {
        let mut log = self.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(Arc::new(Entry { id, ..entry }));
        log.entries.truncate(len_max);
    }

    /// Drops the oldest entries beyond `len_max`, which may have been lowered.
    fn trim(&self, len_max: usize) {
        self.lock().entries.truncate(len_max);
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        self.lock().entries.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        let entries = std::mem::take(&mut self.lock().entries);
        // Freed after the lock is released.
        drop(entries);
    }
}

/// The arguments of a call as logs and `MONITOR` may show them: secrets hidden.
pub fn redacted<'a>(row: &Row, args: &Args<'a>) -> Vec<&'a [u8]> {
    let mut shown = args.to_vec();
    if let Some(secrets) = row.secrets {
        let mut positions = Vec::new();
        secrets(args, &mut positions);
        for position in positions {
            shown[position] = REDACTED;
        }
    }
    shown
}

/// The arguments of a call as an entry keeps them.
pub fn kept(row: &Row, args: &Args<'_>) -> Vec<Vec<u8>> {
    let shown = redacted(row, args);
    let whole = if shown.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { shown.len() };
    let mut kept: Vec<Vec<u8>> = shown[..whole].iter().map(|argument| cut(argument).into_owned()).collect();
    if whole < shown.len() {
        kept.push(format!("... ({} more arguments)", shown.len() - whole).into_bytes());
    }
    kept
}

fn cut(argument: &[u8]) -> Cow<'_, [u8]> {
    if argument.len() <= ARGUMENT_BYTES_MAX {
        return argument.into();
    }
    let rest = format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX);
    [&argument[..ARGUMENT_BYTES_MAX], rest.as_bytes()].concat().into()
}

/// Secrets of a call: everything behind the command's name (`AUTH`).
pub fn secret_arguments(args: &Args<'_>, positions: &mut Vec<usize>) {
    positions.extend(1..args.len());
}

/// Secrets of a call: the user and the password behind the option AUTH (`HELLO`).
pub fn secrets_behind_auth(args: &Args<'_>, positions: &mut Vec<usize>) {
    if let Some(option) = args.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH")) {
        positions.extend((option + 1..args.len()).take(2));
    }
}

fn get(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = match args {
        [_, _] => COUNT_DEFAULT,
        [_, _, count] => parse_integer(count).filter(|count| -1 <= *count).ok_or(BAD_COUNT)?,
        _ => return Err(Error::subcommand_syntax("SLOWLOG", args[1])),
    };
    view.shared.slow_log.trim(view.config.slowlog_max_len);
    // -1, all entries, becomes the largest number.
    let entries = view.shared.slow_log.newest(usize::try_from(count).unwrap_or(usize::MAX));
    reply.array(entries.len());
    let tells_stages = view.config.slowlog_stages;
    for entry in entries {
        reply.array(if tells_stages { 7 } else { 6 });
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_s as i64);
        reply.integer(entry.microseconds as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|argument| reply.bulk(argument));
        reply.bulk(&entry.peer);
        reply.bulk(&entry.name);
        if tells_stages {
            let Split { read, queue, hop, held } = entry.split;
            let execute = Some(entry.microseconds.saturating_mul(1000).saturating_sub(held));
            let stages = [(Stage::Read, read), (Stage::Queue, queue), (Stage::Hop, hop), (Stage::Execute, execute)];
            reply.map(stages.iter().filter(|(_, nanoseconds)| nanoseconds.is_some()).count());
            for (stage, nanoseconds) in stages {
                let Some(nanoseconds) = nanoseconds else { continue };
                reply.bulk(stage.name());
                reply.integer(i64::try_from(nanoseconds).unwrap_or(i64::MAX));
            }
        }
    }
    Ok(())
}

fn len(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.shared.slow_log.trim(view.config.slowlog_max_len);
    reply.integer(view.shared.slow_log.len() as i64);
    Ok(())
}

fn reset(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.shared.slow_log.reset();
    reply.ok();
    Ok(())
}

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::connection::double::Server;
    use crate::command::lookup::lookup_full_name;

    fn entry(microseconds: u64) -> Entry {
        let args = vec![b"GET".to_vec(), b"k".to_vec()];
        let split = Split { read: Some(1_500), queue: Some(70), ..Split::default() };
        let (peer, name) = ("127.0.0.1:1".into(), b"n".to_vec());
        Entry { id: 0, unix_s: 1_700_000_000, microseconds, split, args, peer, name }
    }

    #[test]
    fn the_log_keeps_the_newest_and_counts_on() {
        let log = SlowLog::default();
        (0..5).for_each(|microseconds| log.push(entry(microseconds), 3));
        let ids = |count| log.newest(count).iter().map(|entry| (entry.id, entry.microseconds)).collect::<Vec<_>>();
        assert_eq!(ids(10), [(4, 4), (3, 3), (2, 2)]);
        assert_eq!(ids(1), [(4, 4)]);
        log.reset();
        assert!(log.is_empty());
        log.push(entry(9), 1);
        assert_eq!(ids(10), [(5, 9)]);
        log.push(entry(9), 0);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn the_log_is_told_as_redis_tells_it() {
        let mut server = Server::new(2, 1, &[]);
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        assert_eq!(say("SLOWLOG GET"), "*0|");
        assert_eq!(say("SLOWLOG LEN"), ":0|");
        server.shared.slow_log.push(entry(12), 128);
        server.shared.slow_log.push(entry(13), 128);
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        let newest = "*6|:1|:1700000000|:13|*2|$3|GET|$1|k|$11|127.0.0.1:1|$1|n|";
        assert_eq!(say("SLOWLOG GET 1"), format!("*1|{newest}"));
        assert!(say("SLOWLOG GET -1").starts_with(&format!("*2|{newest}*6|:0|")));
        assert_eq!(say("SLOWLOG GET 0"), "*0|");
        for wrong in ["-2", "x", "99999999999999999999", ""] {
            assert_eq!(say(&format!("SLOWLOG GET {wrong}")), "-ERR count should be greater than or equal to -1|");
        }
        assert_eq!(
            say("SLOWLOG GET 1 2"),
            "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.|"
        );
        assert_eq!(say("SLOWLOG LEN"), ":2|");
        assert_eq!(say("SLOWLOG RESET"), "+OK|");
        assert_eq!(say("SLOWLOG LEN"), ":0|");
        assert!(say("SLOWLOG HELP").contains("|+LEN|"));
    }

    #[test]
    fn stages_are_told_to_who_asks_for_them() {
        let mut server = Server::new(2, 1, &[("slowlog-stages", "yes")]);
        server.shared.slow_log.push(entry(12), 128);
        let before = "*1|*7|:0|:1700000000|:12|*2|$3|GET|$1|k|$11|127.0.0.1:1|$1|n|";
        let stages = "$4|read|:1500|$5|queue|:70|$7|execute|:12000|";
        assert_eq!(server.say(COMMANDS, 1, "SLOWLOG GET"), format!("{before}*6|{stages}"));
        server.session(1).protocol = crate::resp::Protocol::Resp3;
        assert_eq!(server.say(COMMANDS, 1, "SLOWLOG GET"), format!("{before}%3|{stages}"));
    }

    #[test]
    fn long_calls_are_cut_as_redis_cuts_them() {
        let row = lookup_full_name(b"mget").unwrap();
        let args = |count: usize| vec![&b"k"[..]; count];
        assert_eq!(kept(row, &args(32)), args(32));
        let cut = kept(row, &args(40));
        assert_eq!(cut.len(), 32);
        assert_eq!(cut[31], b"... (9 more arguments)");
        let long = [b'x'; 300];
        assert_eq!(kept(row, &[&long[..128]])[0], long[..128]);
        assert_eq!(kept(row, &[&long])[0], [&long[..128], b"... (172 more bytes)"].concat());
    }

    #[test]
    fn secrets_are_not_kept() {
        let shown = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = crate::command::lookup::find_row(&args).unwrap();
            String::from_utf8(kept(row, &args).join(&b' ')).unwrap()
        };
        assert_eq!(shown("AUTH u p"), "AUTH (redacted) (redacted)");
        assert_eq!(shown("HELLO 2 auth u p SETNAME n"), "HELLO 2 auth (redacted) (redacted) SETNAME n");
        assert_eq!(shown("HELLO 2 AUTH u"), "HELLO 2 AUTH (redacted)");
        assert_eq!(
            shown("CONFIG SET maxmemory 0 RequirePass x port"),
            "CONFIG SET maxmemory 0 RequirePass (redacted) port"
        );
        assert_eq!(shown("GET AUTH"), "GET AUTH");
    }
}
