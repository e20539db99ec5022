//! Commands on keys whatever they hold: existence, names, deadlines, iteration, and whole databases.
//!
//! Not here: `SORT`, `DUMP` and `RESTORE`, `MIGRATE`, `WAIT`; `SELECT`, which is about the client.
//!
//! # SCAN over several shards
//!
//! A cursor is a shard's own cursor times the number of shards, plus the shard's number. A shard that is done hands on
//! to the next one's beginning; the last one says 0. The runtime sends the call to the shard that the cursor names.

use super::client::write_help;
use super::key_spec::{KeyAccess, KeySpec};
use super::{
    Args, Categories, Command, CommandResult, Context, Flags, Gather, Group, Journal, Keys, Run, SessionView, Spread,
    journal, survey,
};
use crate::keyspace::access::idle_ms;
use crate::keyspace::{AccessPolicy, EntryRef, Keyspace, Passage, StringRef, lhd};
use crate::resp::{Error, Reply};
use crate::structure::glob::Pattern;
use crate::value::number::parse_integer;

const FAST_WRITE: Flags = Flags::WRITE.union(Flags::FAST);
const FAST_READ: Flags = Flags::READONLY.union(Flags::FAST);
const ALL_KEYS: Keys = Keys::Range { first: 1, last: -1, step: 1 };
const BOTH_KEYS: Keys = Keys::Range { first: 1, last: 2, step: 1 };
/// All arguments are keys, and each shard answers for its own.
const COUNTED: Spread = Spread::Split(Gather::Sum);
const COUNTED_TIPS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const EVERY_OK_TIPS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const RENAMED: KeyAccess = KeyAccess::RW.union(KeyAccess::ACCESS).union(KeyAccess::DELETE);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("COPY", Run::Keyspace(copy))
        .arity(-3)
        .keys(BOTH_KEYS)
        .key_specs(&[KeySpec::at(1, KeyAccess::READ), KeySpec::at(2, KeyAccess::OVERWRITE)])
        .flags(Flags::WRITE.union(Flags::DENYOOM))
        .docs(Group::Generic, "6.2.0", "Copies the value of a key to another key.")
        .complexity("O(N) worst case for collections, where N is the number of nested items. O(1) for string values.")
        .syntax("source:key destination:key [DB destination-db] [REPLACE]"),
    Command::new("DBSIZE", Run::Keyspace(dbsize))
        .flags(FAST_READ)
        .categories(Categories::KEYSPACE)
        .spread(Spread::Every(Gather::Sum))
        .docs(Group::Server, "1.0.0", "Returns the number of keys in the database.")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    Command::new("DEL", Run::Keyspace(delete))
        .arity(-2)
        .keys(ALL_KEYS)
        .access(KeyAccess::REMOVE)
        .flags(Flags::WRITE)
        .spread(COUNTED)
        .docs(Group::Generic, "1.0.0", "Deletes keys.")
        .complexity("O(N) where N is the number of keys. What a key held is freed later if that takes long.")
        .syntax("key [key ...]")
        .tips(COUNTED_TIPS),
    Command::new("EXISTS", Run::Keyspace(exists))
        .arity(-2)
        .keys(ALL_KEYS)
        .access(KeyAccess::RO)
        .flags(FAST_READ)
        .spread(COUNTED)
        .docs(Group::Generic, "1.0.0", "Tells how many of the keys exist; a key named twice counts twice.")
        .complexity("O(N) where N is the number of keys to check.")
        .syntax("key [key ...]")
        .tips(COUNTED_TIPS),
    deadline("EXPIRE", expire, "1.0.0", "Lets a key expire after some seconds.", "key seconds [NX|XX|GT|LT]"),
    deadline(
        "EXPIREAT",
        expireat,
        "1.2.0",
        "Lets a key expire at a Unix time in seconds.",
        "key unix-time-seconds:unix-time [NX|XX|GT|LT]",
    ),
    Command::new("EXPIRETIME", Run::Keyspace(expiretime))
        .arity(2)
        .key()
        .flags(FAST_READ)
        .docs(Group::Generic, "7.0.0", "Returns the Unix time in seconds at which a key expires.")
        .syntax("key"),
    Command::new("FLUSHALL", Run::Keyspace(flushall))
        .journal(Journal::FlushAll)
        .arity(-1)
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE.union(Categories::DANGEROUS))
        .spread(Spread::Every(Gather::Ok))
        .docs(Group::Server, "1.0.0", "Removes all keys of all databases.")
        .complexity("O(1); memory is freed later, whether SYNC or ASYNC is asked for.")
        .syntax("[ASYNC|SYNC]")
        .tips(EVERY_OK_TIPS),
    Command::new("FLUSHDB", Run::Keyspace(flushdb))
        .arity(-1)
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE.union(Categories::DANGEROUS))
        .spread(Spread::Every(Gather::Ok))
        .docs(Group::Server, "1.0.0", "Removes all keys of the database.")
        .complexity("O(1); memory is freed later, whether SYNC or ASYNC is asked for.")
        .syntax("[ASYNC|SYNC]")
        .tips(EVERY_OK_TIPS),
    Command::new("KEYS", Run::Keyspace(keys))
        .arity(2)
        .flags(Flags::READONLY)
        .categories(Categories::DANGEROUS)
        .spread(Spread::Survey(Gather::Concat, None))
        .docs(Group::Generic, "1.0.0", "Returns all keys that match a pattern.")
        .complexity("O(N) where N is the number of keys in the database.")
        .syntax("pattern")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    Command::new("MOVE", Run::Keyspace(relocate))
        .arity(3)
        .key()
        .access(KeyAccess::READ_CHANGE)
        .flags(FAST_WRITE)
        .docs(Group::Generic, "1.0.0", "Moves a key to another database.")
        .syntax("key db:integer"),
    Command::new("OBJECT", Run::Container)
        .arity(-2)
        .docs(Group::Generic, "2.2.3", "Commands about how values are stored.")
        .complexity("Depends on subcommand.")
        .subcommands(OBJECT),
    Command::new("PERSIST", Run::Keyspace(persist))
        .arity(2)
        .key()
        .flags(FAST_WRITE)
        .docs(Group::Generic, "2.2.0", "Takes the deadline of a key away.")
        .syntax("key"),
    deadline(
        "PEXPIRE",
        pexpire,
        "2.6.0",
        "Lets a key expire after some milliseconds.",
        "key milliseconds [NX|XX|GT|LT]",
    ),
    deadline(
        "PEXPIREAT",
        pexpireat,
        "2.6.0",
        "Lets a key expire at a Unix time in milliseconds.",
        "key unix-time-milliseconds:unix-time [NX|XX|GT|LT]",
    ),
    Command::new("PEXPIRETIME", Run::Keyspace(pexpiretime))
        .arity(2)
        .key()
        .flags(FAST_READ)
        .docs(Group::Generic, "7.0.0", "Returns the Unix time in milliseconds at which a key expires.")
        .syntax("key"),
    Command::new("PTTL", Run::Keyspace(pttl))
        .arity(2)
        .key()
        .flags(FAST_READ)
        .docs(Group::Generic, "2.6.0", "Returns the milliseconds until a key expires.")
        .syntax("key")
        .tips(&["nondeterministic_output"]),
    Command::new("RANDOMKEY", Run::Keyspace(randomkey))
        .flags(Flags::READONLY)
        .spread(Spread::Lot)
        .docs(Group::Generic, "1.0.0", "Returns a random key of the database.")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    Command::new("RENAME", Run::Keyspace(rename))
        .arity(3)
        .keys(BOTH_KEYS)
        .key_specs(&[KeySpec::at(1, RENAMED), KeySpec::at(2, KeyAccess::OVERWRITE)])
        .flags(Flags::WRITE)
        .docs(Group::Generic, "1.0.0", "Renames a key; one that has the new name already is overwritten.")
        .syntax("key newkey:key"),
    Command::new("RENAMENX", Run::Keyspace(renamenx))
        .arity(3)
        .keys(BOTH_KEYS)
        .key_specs(&[KeySpec::at(1, RENAMED), KeySpec::at(2, KeyAccess::OW.union(KeyAccess::INSERT))])
        .flags(FAST_WRITE)
        .docs(Group::Generic, "1.0.0", "Renames a key unless the new name is taken.")
        .syntax("key newkey:key"),
    Command::new("SCAN", Run::Keyspace(scan))
        .arity(-2)
        .flags(Flags::READONLY)
        .spread(Spread::Cursor)
        .docs(Group::Generic, "2.8.0", "Returns some of the keys and the cursor for the next ones.")
        .complexity("O(1) for every call; O(N) for a complete iteration, where N is the number of keys.")
        .syntax("cursor:integer [MATCH pattern] [COUNT count] [TYPE type@6.0.0]")
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    Command::new("SWAPDB", Run::Keyspace(swapdb))
        .arity(3)
        .flags(FAST_WRITE)
        .categories(Categories::KEYSPACE.union(Categories::DANGEROUS))
        .spread(Spread::Every(Gather::Ok))
        .docs(Group::Server, "4.0.0", "Swaps the contents of two databases.")
        .syntax("index1:integer index2:integer"),
    Command::new("TOUCH", Run::Keyspace(touch))
        .arity(-2)
        .keys(ALL_KEYS)
        .access(KeyAccess::RO)
        .flags(FAST_READ)
        .spread(COUNTED)
        .docs(Group::Generic, "3.2.1", "Counts as an access to the keys; returns how many there are.")
        .complexity("O(N) where N is the number of keys.")
        .syntax("key [key ...]")
        .tips(COUNTED_TIPS),
    Command::new("TTL", Run::Keyspace(ttl))
        .arity(2)
        .key()
        .flags(FAST_READ)
        .docs(Group::Generic, "1.0.0", "Returns the seconds until a key expires.")
        .syntax("key")
        .tips(&["nondeterministic_output"]),
    Command::new("TYPE", Run::Keyspace(value_type))
        .arity(2)
        .key()
        .access(KeyAccess::RO)
        .flags(FAST_READ)
        .docs(Group::Generic, "1.0.0", "Returns the type of a key's value.")
        .syntax("key"),
    Command::new("UNLINK", Run::Keyspace(delete))
        .arity(-2)
        .keys(ALL_KEYS)
        .access(KeyAccess::REMOVE)
        .flags(FAST_WRITE)
        .spread(COUNTED)
        .docs(Group::Generic, "4.0.0", "Deletes keys, as DEL does here too: nobody waits for memory to be freed.")
        .complexity("O(N) where N is the number of keys.")
        .syntax("key [key ...]")
        .tips(COUNTED_TIPS),
];

const OBJECT: &[Command] = &[
    object("ENCODING", object_encoding, "2.2.3", "Returns how a value is stored."),
    object("FREQ", object_freq, "4.0.0", "Returns the logarithmic counter of accesses to a key, under an LFU policy."),
    Command::new("HELP", Run::Session(object_help)).arity(2).flags(Flags::LOADING.union(Flags::STALE)).docs(
        Group::Generic,
        "6.2.0",
        "Describes the subcommands.",
    ),
    object("IDLETIME", object_idletime, "2.2.3", "Returns the seconds since the last access to a key."),
    object("REFCOUNT", object_refcount, "2.2.3", "Returns how many references to a value there are."),
];

const fn object(
    name: &'static str,
    run: fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, Run::Keyspace(run))
        .arity(3)
        .keys(Keys::Range { first: 2, last: 2, step: 1 })
        .access(KeyAccess::RO)
        .flags(Flags::READONLY)
        .docs(Group::Generic, since, summary)
        .syntax("key")
        .tips(&["nondeterministic_output"])
}

const fn deadline(
    name: &'static str,
    run: fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult,
    since: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Command {
    Command::new(name, Run::Keyspace(run))
        .arity(-3)
        .key()
        .flags(FAST_WRITE)
        .journal(Journal::Deadline)
        .docs(Group::Generic, since, summary)
        .syntax(syntax)
}

/// An LFU policy is asked for what only an LRU policy knows …
const NO_IDLE_TIME: Error = Error::fixed(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies \
     at runtime LRU and LFU data will take some time to adjust.",
);
/// The same of a policy that Redis does not have.
const NO_IDLE_TIME_LHD: Error = Error::fixed(
    "ERR The allkeys-lhd maxmemory policy is selected, idle time not tracked. Please note that when switching between \
     policies at runtime their data will take some time to adjust.",
);
/// … and the other way round.
const NO_FREQUENCY: Error = Error::fixed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.",
);
const CONDITIONS_WITH_NX: Error = Error::fixed("ERR NX and XX, GT or LT options at the same time are not compatible");
const CONDITIONS_GT_LT: Error = Error::fixed("ERR GT and LT options at the same time are not compatible");
const FIRST_DB_INDEX: Error = Error::fixed("ERR invalid first DB index");
const SECOND_DB_INDEX: Error = Error::fixed("ERR invalid second DB index");
const NOT_32_BITS: Error = Error::fixed("ERR value is out of range, value must between -2147483648 and 2147483647");

// Existence

fn delete(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(context, args, reply, |keyspace, db, key| keyspace.delete(db, key))
}

fn exists(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(context, args, reply, |keyspace, db, key| keyspace.inspect(db, key).is_some())
}

fn touch(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(context, args, reply, |keyspace, db, key| keyspace.read(db, key).is_some())
}

/// Replies for how many of the keys it is so.
fn count(
    context: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    mut is_so: impl FnMut(&mut Keyspace, usize, &[u8]) -> bool,
) -> CommandResult {
    let count = args[1..].iter().filter(|key| is_so(context.keyspace, context.db, key)).count();
    reply.integer(count as i64);
    Ok(())
}

fn value_type(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let value_type = context.keyspace.inspect(context.db, args[1]).map(EntryRef::value_type);
    reply.simple(value_type.map_or("none", |value_type| value_type.name()));
    Ok(())
}

// Names

fn rename(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match context.keyspace.rename(context.db, args[1], args[2], true) {
        Passage::NoSource => Err(Error::NO_SUCH_KEY),
        Passage::Done | Passage::Occupied => {
            reply.ok();
            Ok(())
        }
    }
}

fn renamenx(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match context.keyspace.rename(context.db, args[1], args[2], false) {
        Passage::NoSource => return Err(Error::NO_SUCH_KEY),
        Passage::Occupied => reply.integer(0),
        Passage::Done => reply.integer(1),
    }
    Ok(())
}

fn copy(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut to_db, mut replace) = (context.db, false);
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            to_db = database(context.keyspace, options.next().ok_or(Error::SYNTAX)?)?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    let (from, to) = ((context.db, args[1]), (to_db, args[2]));
    if from == to {
        return Err(Error::SAME_OBJECT);
    }
    let done = context.keyspace.copy(from, to, replace) == Passage::Done;
    if done && context.keyspace.records.is_on {
        // The key it came from may be another shard's.
        journal::write_state(context.keyspace, to_db, args[2]);
        context.keyspace.records.said();
    }
    reply.integer(done.into());
    Ok(())
}

fn relocate(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let to_db = database(context.keyspace, args[2])?;
    if to_db == context.db {
        return Err(Error::SAME_OBJECT);
    }
    let done = context.keyspace.relocate(args[1], context.db, to_db) == Passage::Done;
    reply.integer(done.into());
    Ok(())
}

/// The index of a database that exists.
fn database(keyspace: &Keyspace, arg: &[u8]) -> Result<usize, Error> {
    let index = parse_integer(arg).ok_or(Error::NOT_INTEGER)?;
    let index = i32::try_from(index).map_err(|_| NOT_32_BITS)?;
    usize::try_from(index).ok().filter(|&index| index < keyspace.databases()).ok_or(Error::DB_INDEX)
}

// Deadlines

/// What a deadline is counted from, and in which unit.
#[derive(Clone, Copy)]
struct Timescale {
    /// As errors call the command.
    command: &'static str,
    from_now: bool,
    unit_ms: i64,
}

fn expire(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(context, args, reply, Timescale { command: "expire", from_now: true, unit_ms: 1000 })
}

fn pexpire(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(context, args, reply, Timescale { command: "pexpire", from_now: true, unit_ms: 1 })
}

fn expireat(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(context, args, reply, Timescale { command: "expireat", from_now: false, unit_ms: 1000 })
}

fn pexpireat(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(context, args, reply, Timescale { command: "pexpireat", from_now: false, unit_ms: 1 })
}

/// On which present deadlines a new one is set.
#[derive(Default)]
struct Condition {
    /// None.
    nx: bool,
    /// Any.
    xx: bool,
    /// Earlier ones; none is later than all.
    gt: bool,
    /// Later ones.
    lt: bool,
}

impl Condition {
    fn parse(options: &[&[u8]]) -> Result<Condition, Error> {
        let mut condition = Condition::default();
        for option in options {
            let flag = match () {
                () if option.eq_ignore_ascii_case(b"nx") => &mut condition.nx,
                () if option.eq_ignore_ascii_case(b"xx") => &mut condition.xx,
                () if option.eq_ignore_ascii_case(b"gt") => &mut condition.gt,
                () if option.eq_ignore_ascii_case(b"lt") => &mut condition.lt,
                () => return Err(unsupported(option)),
            };
            *flag = true;
        }
        if condition.nx && (condition.xx || condition.gt || condition.lt) {
            return Err(CONDITIONS_WITH_NX);
        }
        if condition.gt && condition.lt {
            return Err(CONDITIONS_GT_LT);
        }
        Ok(condition)
    }

    /// Whether a deadline may replace the present one. A time before 1970 is earlier than any.
    fn allows(&self, present_ms: Option<u64>, new_ms: i64) -> bool {
        match present_ms {
            None => !self.xx && !self.gt,
            Some(present_ms) => {
                let present_ms = i64::try_from(present_ms).unwrap_or(i64::MAX);
                !(self.nx || (self.gt && new_ms <= present_ms) || (self.lt && present_ms <= new_ms))
            }
        }
    }
}

/// Repeats the whole word, as a C string: it ends at a NUL.
fn unsupported(option: &[u8]) -> Error {
    let word = option.split(|&byte| byte == 0).next().unwrap_or_default();
    Error::new([b"ERR Unsupported option ", word].concat())
}

fn set_deadline(
    context: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    timescale: Timescale,
) -> CommandResult {
    let condition = Condition::parse(&args[3..])?;
    let time = parse_integer(args[2]).ok_or(Error::NOT_INTEGER)?;
    let base_ms = if timescale.from_now { context.now_ms as i64 } else { 0 };
    let deadline_ms = time
        .checked_mul(timescale.unit_ms)
        .and_then(|time_ms| time_ms.checked_add(base_ms))
        .ok_or_else(|| Error::invalid_expire(timescale.command))?;
    // A time before 1970 is past like any other.
    let deadline_ms_at_least_0 = u64::try_from(deadline_ms).unwrap_or(0);
    let done = context.keyspace.set_deadline_if(context.db, args[1], deadline_ms_at_least_0, |present_ms| {
        condition.allows(present_ms, deadline_ms)
    });
    reply.integer(done.into());
    Ok(())
}

fn persist(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(context.keyspace.persist(context.db, args[1]).into());
    Ok(())
}

fn ttl(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = context.now_ms;
    reply_deadline(context, args, reply, |deadline_ms| rounded_seconds(deadline_ms.saturating_sub(now_ms)))
}

fn pttl(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = context.now_ms;
    reply_deadline(context, args, reply, |deadline_ms| deadline_ms.saturating_sub(now_ms))
}

fn expiretime(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply_deadline(context, args, reply, rounded_seconds)
}

fn pexpiretime(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply_deadline(context, args, reply, |deadline_ms| deadline_ms)
}

fn rounded_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

/// Replies -2 for no key, -1 for no deadline, or what is to be said of the deadline.
fn reply_deadline(
    context: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    say: impl FnOnce(u64) -> u64,
) -> CommandResult {
    reply.integer(match context.keyspace.inspect(context.db, args[1]) {
        None => -2,
        Some(view) => view.deadline_ms().map_or(-1, |deadline_ms| i64::try_from(say(deadline_ms)).unwrap_or(i64::MAX)),
    });
    Ok(())
}

// How values are stored

fn object_encoding(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match context.keyspace.examine(context.db, args[2]) {
        Some(view) => reply.bulk(view.encoding_name()),
        None => reply.null(),
    }
    Ok(())
}

fn object_refcount(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    /// Integers below this are shared in Redis, unless eviction has to tell when each was used.
    const SHARED_INTEGERS: i64 = 10_000;
    /// What Redis says of them.
    const SHARED_REFCOUNT: i64 = i32::MAX as i64;
    use crate::config::MaxmemoryPolicy as Policy;
    let by_access = matches!(
        context.config.maxmemory_policy,
        Policy::AllkeysLru
            | Policy::AllkeysLfu
            | Policy::AllkeysLrm
            | Policy::AllkeysLhd
            | Policy::VolatileLru
            | Policy::VolatileLfu
            | Policy::VolatileLrm
    );
    let shares = context.config.maxmemory.bytes == 0 || !by_access;
    match context.keyspace.examine(context.db, args[2]) {
        Some(view) => match view.string() {
            Ok(StringRef::Integer(0..SHARED_INTEGERS)) if shares => reply.integer(SHARED_REFCOUNT),
            _ => reply.integer(1),
        },
        None => reply.null(),
    }
    Ok(())
}

fn object_idletime(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let policy = context.keyspace.policy();
    match (context.keyspace.examine(context.db, args[2]), policy) {
        (None, _) => reply.null(),
        (Some(_), AccessPolicy::Lfu { .. }) => return Err(NO_IDLE_TIME),
        (Some(_), AccessPolicy::Lhd) => return Err(NO_IDLE_TIME_LHD),
        (Some(view), AccessPolicy::Lru | AccessPolicy::Lrm) => {
            reply.integer((idle_ms(view.clock(), context.now_ms) / 1000) as i64)
        }
    }
    Ok(())
}

fn object_freq(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let policy = context.keyspace.policy();
    match (context.keyspace.examine(context.db, args[2]), policy) {
        (None, _) => reply.null(),
        (Some(_), AccessPolicy::Lru | AccessPolicy::Lrm) => return Err(NO_FREQUENCY),
        (Some(view), AccessPolicy::Lfu { .. }) => reply.integer(policy.frequency(view.clock(), context.now_ms).into()),
        (Some(view), AccessPolicy::Lhd) => reply.integer(lhd::uses(view.clock()).into()),
    }
    Ok(())
}

fn object_help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, OBJECT, reply);
    Ok(())
}

// All keys of a database

fn dbsize(context: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(context.keyspace.len(context.db) as i64);
    Ok(())
}

fn keys(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let pattern = Pattern::new(args[1]);
    let place = survey::Place::of(args, 2);
    if let Pattern::Literal(key) = pattern {
        // Asks for one key: no need to walk over all.
        let found = context.keyspace.peek(context.db, key).is_some();
        place.begin(0, reply);
        reply.array(found.into());
        if found {
            reply.bulk(key);
        }
        return Ok(());
    }
    survey::keys(context, place, usize::MAX, |key| pattern.matches(key), reply);
    Ok(())
}

fn scan(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = parse_cursor(args[1]).ok_or(Error::INVALID_CURSOR)?;
    let (mut count, mut pattern, mut type_name) = (10, Pattern::All, None);
    let mut options = args[2..].iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(Error::SYNTAX)?;
        if option.eq_ignore_ascii_case(b"count") {
            let number = parse_integer(value).ok_or(Error::NOT_INTEGER)?;
            count = usize::try_from(number).ok().filter(|&count| 0 < count).ok_or(Error::SYNTAX)?;
        } else if option.eq_ignore_ascii_case(b"match") {
            pattern = Pattern::new(value);
        } else if option.eq_ignore_ascii_case(b"type") {
            type_name = Some(*value);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    let (mut keys, mut len) = (Vec::new(), 0);
    let mut keys_reply = Reply::new(&mut keys, reply.protocol());
    let shards = context.shards as u64;
    let next = context.keyspace.scan(context.db, cursor / shards, count, |view| {
        let is_of_type = type_name.is_none_or(|name| view.value_type().name().as_bytes().eq_ignore_ascii_case(name));
        if is_of_type && pattern.matches(view.key()) {
            keys_reply.bulk(view.key());
            len += 1;
        }
    });
    let shard = context.shard as u64;
    let next = match next {
        0 if shard + 1 < shards => shard + 1,
        0 => 0,
        next => next * shards + shard,
    };
    reply.array(2);
    reply.bulk_text(format_args!("{next}"));
    reply.array(len);
    reply.raw(&keys);
    Ok(())
}

/// A cursor as Redis reads it, with C's `strtoul`: a sign and leading zeros are fine, a negative number wraps around,
/// nothing at all is 0, and the text ends at a NUL.
pub(super) fn parse_cursor(arg: &[u8]) -> Option<u64> {
    let text = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in digits {
        let digit = char::from(byte).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some(if negative { number.wrapping_neg() } else { number })
}

fn flushdb(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let is_async = check_flush(args)?;
    let gone = context.keyspace.flush(context.db);
    context.keyspace.records.note_idle(gone == 0);
    if !is_async {
        context.keyspace.free_at_once();
    }
    reply.ok();
    Ok(())
}

fn flushall(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let is_async = check_flush(args)?;
    let gone: usize = (0..context.keyspace.databases()).map(|db| context.keyspace.flush(db)).sum();
    context.keyspace.records.note_idle(gone == 0);
    context.keyspace.emptied_at = Some(context.keyspace.dirty);
    if !is_async {
        context.keyspace.free_at_once();
    }
    reply.ok();
    Ok(())
}

/// Whether all is to be freed later. Nobody waits for more than a little of it otherwise either.
fn check_flush(args: &Args<'_>) -> Result<bool, Error> {
    match &args[1..] {
        [] => Ok(false),
        [word] if word.eq_ignore_ascii_case(b"async") => Ok(true),
        [word] if word.eq_ignore_ascii_case(b"sync") => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

fn swapdb(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let index = |arg: &[u8]| parse_integer(arg).and_then(|index| i32::try_from(index).ok());
    let first = index(args[1]).ok_or(FIRST_DB_INDEX)?;
    let second = index(args[2]).ok_or(SECOND_DB_INDEX)?;
    let existing = |index: i32| {
        usize::try_from(index).ok().filter(|&index| index < context.keyspace.databases()).ok_or(Error::DB_INDEX)
    };
    let (first, second) = (existing(first)?, existing(second)?);
    let is_idle = first == second || context.keyspace.len(first) + context.keyspace.len(second) == 0;
    context.keyspace.records.note_idle(is_idle);
    context.keyspace.swap(first, second);
    context.keyspace.dirty += u64::from(context.shard == 0);
    reply.ok();
    Ok(())
}

fn randomkey(context: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match context.keyspace.random(context.db, || context.random.u64(..)) {
        Some(entry) => reply.bulk(entry.key()),
        None => reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
