//! Commands on the deadlines of fields, by the documentation of Redis 7.4 (`HEXPIRE` … `HPERSIST`) and 8.0 (`HGETEX`,
//! `HSETEX`, `HGETDEL`).
//!
//! A field gets one number in reply, in place of its deadline or of what became of it: −2 there is no such field, −1 it
//! has no deadline, 0 the condition did not hold, 1 done, 2 done and gone, since that time has passed.

use super::super::{Args, Command, CommandResult, Context, Group, KeyAccess, Run};
use super::{GROW_FAST, READ_FAST, WRITE_FAST, change, limits, reply_value};
use crate::keyspace::Event;
use crate::resp::{Error, Reply};
use crate::value::hash::{Deadline, Hash};
use crate::value::number::parse_integer;

/// Latest deadline of a field, in unix ms: 46 bits, the year 4199, as in Redis.
const DEADLINE_MS_MAX: i64 = (1 << 46) - 1;

const NO_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const CONDITION_FAILED: i64 = 0;
const DONE: i64 = 1;
const GONE: i64 = 2;

const OF_FIELDS: &str = "O(N) where N is the number of specified fields";
const EXPIRE_SYNTAX: &str = "key seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]";
const PEXPIRE_SYNTAX: &str = "key milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]";
const EXPIREAT_SYNTAX: &str = "key unix-time-seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]";
const PEXPIREAT_SYNTAX: &str = "key unix-time-milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]";
const FIELDS_SYNTAX: &str = "key FIELDS numfields field [field ...]";

/// A command that gives fields deadlines.
const fn expires(name: &'static str, run: Run, summary: &'static str, syntax: &'static str) -> Command {
    Command::new(name, run)
        .arity(-6)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::CHANGE)
        .docs(Group::Hash, "7.4.0", summary)
        .complexity(OF_FIELDS)
        .syntax(syntax)
}

/// A command that tells deadlines.
const fn tells(name: &'static str, run: Run, summary: &'static str) -> Command {
    Command::new(name, run)
        .arity(-5)
        .key()
        .flags(READ_FAST)
        .docs(Group::Hash, "7.4.0", summary)
        .complexity(OF_FIELDS)
        .syntax(FIELDS_SYNTAX)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    expires("HEXPIRE", Run::Keyspace(hexpire), "Lets fields of a hash expire after some seconds.", EXPIRE_SYNTAX),
    expires("HPEXPIRE", Run::Keyspace(hpexpire), "Lets fields of a hash expire after some ms.", PEXPIRE_SYNTAX),
    expires("HEXPIREAT", Run::Keyspace(hexpireat), "Lets fields of a hash expire at a second.", EXPIREAT_SYNTAX),
    expires("HPEXPIREAT", Run::Keyspace(hpexpireat), "Lets fields of a hash expire at a ms.", PEXPIREAT_SYNTAX),
    tells("HTTL", Run::Keyspace(httl), "Returns in how many seconds fields of a hash expire."),
    tells("HPTTL", Run::Keyspace(hpttl), "Returns in how many milliseconds fields of a hash expire."),
    tells("HEXPIRETIME", Run::Keyspace(hexpiretime), "Returns at which second fields of a hash expire."),
    tells("HPEXPIRETIME", Run::Keyspace(hpexpiretime), "Returns at which millisecond fields of a hash expire."),
    Command::new("HPERSIST", Run::Keyspace(hpersist))
        .arity(-5)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::CHANGE)
        .docs(Group::Hash, "7.4.0", "Lets fields of a hash expire no more.")
        .complexity(OF_FIELDS)
        .syntax(FIELDS_SYNTAX),
    Command::new("HGETEX", Run::Keyspace(hgetex))
        .arity(-5)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::Hash, "8.0.0", "Returns values of fields of a hash and changes when they expire.")
        .complexity(OF_FIELDS)
        .syntax(
            "key \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST] \
             FIELDS numfields field [field ...]",
        ),
    Command::new("HSETEX", Run::Keyspace(hsetex))
        .arity(-6)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::CHANGE)
        .docs(Group::Hash, "8.0.0", "Gives fields of a hash values, with a deadline, if a condition holds.")
        .complexity("O(N) where N is the number of fields being set.")
        .syntax(
            "key [NX|XX] [FNX|FXX] \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL] \
             FIELDS numfields field value [field value ...]",
        ),
    Command::new("HGETDEL", Run::Keyspace(hgetdel))
        .arity(-5)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::Hash, "8.0.0", "Returns values of fields of a hash and removes the fields.")
        .complexity(OF_FIELDS)
        .syntax(FIELDS_SYNTAX),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// A deadline in unix ms from a client's number, counted from `base_ms`; `command` is whom the error is about.
fn deadline_ms(word: &[u8], unit: Unit, base_ms: u64, command: &str) -> Result<u64, Error> {
    let number = parse_integer(word).ok_or(Error::NOT_INTEGER)?;
    if number < 0 {
        return Err(Error::fixed("ERR invalid expire time, must be >= 0"));
    }
    let factor = if unit == Unit::Seconds { 1000 } else { 1 };
    let sum_ms = number.checked_mul(factor).and_then(|ms| ms.checked_add(base_ms as i64));
    match sum_ms {
        Some(deadline_ms) if deadline_ms <= DEADLINE_MS_MAX => Ok(deadline_ms as u64),
        _ => Err(Error::invalid_expire(command)),
    }
}

const FIELDS_MISSING: Error = Error::fixed("ERR Mandatory argument FIELDS is missing or not at the right position");
const FIELDS_COUNT: Error = Error::fixed("ERR The `numfields` parameter must match the number of arguments");
const FIELDS_NOT_POSITIVE: Error = Error::fixed("ERR Number of fields must be a positive integer");

/// `FIELDS numfields field …`, which is all that is left; `not_positive` is what is wrong with a number of none.
fn fields<'a, 'b>(words: &'b [&'a [u8]], not_positive: Error) -> Result<&'b [&'a [u8]], Error> {
    let [word, count, fields @ ..] = words else { return Err(FIELDS_MISSING) };
    if !word.eq_ignore_ascii_case(b"fields") {
        return Err(FIELDS_MISSING);
    }
    let count = parse_integer(count).filter(|&count| 0 < count).ok_or(not_positive)?;
    if usize::try_from(count) == Ok(fields.len()) { Ok(fields) } else { Err(FIELDS_COUNT) }
}

/// When a field may get another deadline.
#[derive(Clone, Copy)]
enum Condition {
    Always,
    HasNone,
    HasOne,
    Later,
    Earlier,
}

impl Condition {
    fn of(word: &[u8]) -> Condition {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"nx") => Condition::HasNone,
            () if is(b"xx") => Condition::HasOne,
            () if is(b"gt") => Condition::Later,
            () if is(b"lt") => Condition::Earlier,
            () => Condition::Always,
        }
    }

    /// No deadline is later than all others.
    fn allows(self, old_ms: Option<u64>, new_ms: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::HasNone => old_ms.is_none(),
            Condition::HasOne => old_ms.is_some(),
            Condition::Later => old_ms.is_some_and(|old_ms| old_ms < new_ms),
            Condition::Earlier => old_ms.is_none_or(|old_ms| new_ms < old_ms),
        }
    }
}

/// What a command did to the fields of a hash.
#[derive(Default)]
struct Changes {
    updated: usize,
    removed: usize,
}

/// Notes what was done, and deletes the key if nothing is left.
fn settle(cx: &mut Context<'_>, key: &[u8], changes: &Changes, update: Event) {
    if 0 < changes.updated {
        cx.keyspace.changed(cx.db, key, update);
    }
    if 0 < changes.removed {
        cx.keyspace.changed(cx.db, key, Event::HDEL);
        if cx.keyspace.peek_container::<Hash>(cx.db, key).is_ok_and(|hash| hash.is_some_and(Hash::is_empty)) {
            cx.keyspace.delete(cx.db, key);
        }
    }
}

/// The time by which fields are live; while a log is replayed all are, since it says which went.
fn clock_ms(cx: &Context<'_>) -> u64 {
    if cx.keyspace.is_replaying { 0 } else { cx.now_ms }
}

fn hexpire(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    expire(cx, args, Unit::Seconds, cx.now_ms, "hexpire", reply)
}

fn hpexpire(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    expire(cx, args, Unit::Milliseconds, cx.now_ms, "hpexpire", reply)
}

fn hexpireat(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    expire(cx, args, Unit::Seconds, 0, "hexpireat", reply)
}

fn hpexpireat(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    expire(cx, args, Unit::Milliseconds, 0, "hpexpireat", reply)
}

fn expire(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    unit: Unit,
    base_ms: u64,
    command: &str,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let (key, now_ms) = (args[1], clock_ms(cx));
    let deadline_ms = deadline_ms(args[2], unit, base_ms, command)?;
    let condition = Condition::of(args[3]);
    let rest = if matches!(condition, Condition::Always) { &args[3..] } else { &args[4..] };
    if let [word, ..] = rest
        && !matches!(condition, Condition::Always)
        && !matches!(Condition::of(word), Condition::Always)
    {
        return Err(Error::fixed("ERR Multiple condition flags specified"));
    }
    let names = fields(rest, Error::fixed("ERR Parameter `numFields` should be greater than 0"))?;
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        return reply_same(names.len(), NO_FIELD, reply);
    };
    let mut changes = Changes::default();
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.field(name, now_ms) {
            None => NO_FIELD,
            Some(field) if !condition.allows(field.deadline_ms, deadline_ms) => CONDITION_FAILED,
            Some(_) if deadline_ms <= now_ms => {
                hash.remove(name, now_ms);
                changes.removed += 1;
                GONE
            }
            Some(_) => {
                hash.set_deadline(name, Some(deadline_ms), now_ms);
                changes.updated += 1;
                DONE
            }
        });
    }
    drop(hash);
    settle(cx, key, &changes, Event::HEXPIRE);
    Ok(())
}

fn reply_same(len: usize, number: i64, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(len);
    (0..len).for_each(|_| reply.integer(number));
    Ok(())
}

fn httl(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    tell(cx, args, |deadline_ms, now_ms| (deadline_ms - now_ms).div_ceil(1000), reply)
}

fn hpttl(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    tell(cx, args, |deadline_ms, now_ms| deadline_ms - now_ms, reply)
}

fn hexpiretime(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    tell(cx, args, |deadline_ms, _| deadline_ms.div_ceil(1000), reply)
}

fn hpexpiretime(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    tell(cx, args, |deadline_ms, _| deadline_ms, reply)
}

/// Replies a number for the deadline of each field, which has not come.
fn tell(cx: &mut Context<'_>, args: &Args<'_>, number: fn(u64, u64) -> u64, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    let names = fields(&args[2..], FIELDS_NOT_POSITIVE)?;
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.and_then(|hash| hash.field(name, now_ms)) {
            None => NO_FIELD,
            Some(field) => field.deadline_ms.map_or(NO_DEADLINE, |deadline_ms| number(deadline_ms, now_ms) as i64),
        });
    }
    Ok(())
}

fn hpersist(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, now_ms) = (args[1], cx.now_ms);
    cx.keyspace.peek_container::<Hash>(cx.db, key)?;
    let names = fields(&args[2..], FIELDS_NOT_POSITIVE)?;
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        return reply_same(names.len(), NO_FIELD, reply);
    };
    let mut changes = Changes::default();
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.field(name, now_ms).map(|field| field.deadline_ms) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(_)) => {
                hash.set_deadline(name, None, now_ms);
                changes.updated += 1;
                DONE
            }
        });
    }
    drop(hash);
    settle(cx, key, &changes, Event::HPERSIST);
    Ok(())
}

fn hgetdel(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, now_ms) = (args[1], cx.now_ms);
    cx.keyspace.peek_container::<Hash>(cx.db, key)?;
    let names = fields(&args[2..], FIELDS_NOT_POSITIVE)?;
    reply.array(names.len());
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        names.iter().for_each(|_| reply.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    for name in names {
        reply_value(reply, hash.get(name, now_ms));
        changes.removed += usize::from(hash.remove(name, now_ms));
    }
    drop(hash);
    settle(cx, key, &changes, Event::HDEL);
    Ok(())
}

/// What stands between the key and the end in `HGETEX` and `HSETEX`.
struct Options<'a, 'b> {
    /// `NX`: the key may not be there; `XX`: it must. Of Valkey 9.1.
    demands_key: Option<bool>,
    /// `FNX`: none of the fields may be there; `FXX`: all of them must.
    demands: Option<bool>,
    deadline: Option<Expire>,
    /// Fields, and in `HSETEX` their values.
    words: &'b [&'a [u8]],
}

enum Expire {
    At(u64),
    Keep,
    Persist,
}

impl<'a, 'b> Options<'a, 'b> {
    fn parse(args: &'b Args<'a>, is_set: bool, now_ms: u64) -> Result<Options<'a, 'b>, Error> {
        let command = if is_set { "hsetex" } else { "hgetex" };
        let only_one = if is_set {
            Error::fixed("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")
        } else {
            Error::fixed("ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified")
        };
        let (mut demands_key, mut demands, mut deadline, mut words) = (None, None, None, None);
        let mut at = 2;
        while at < args.len() {
            let is = |name: &[u8]| args[at].eq_ignore_ascii_case(name);
            let timed = match () {
                () if is(b"ex") => Some((Unit::Seconds, now_ms)),
                () if is(b"px") => Some((Unit::Milliseconds, now_ms)),
                () if is(b"exat") => Some((Unit::Seconds, 0)),
                () if is(b"pxat") => Some((Unit::Milliseconds, 0)),
                () => None,
            };
            if let Some((unit, base_ms)) = timed {
                if deadline.is_some() {
                    return Err(only_one);
                }
                let word = args.get(at + 1).ok_or(Error::fixed("ERR missing expire time"))?;
                deadline = Some(Expire::At(deadline_ms(word, unit, base_ms, command)?));
                at += 2;
            } else if is_set && is(b"keepttl") || !is_set && is(b"persist") {
                if deadline.is_some() {
                    return Err(only_one);
                }
                deadline = Some(if is_set { Expire::Keep } else { Expire::Persist });
                at += 1;
            } else if is_set && (is(b"nx") || is(b"xx")) {
                if demands_key.is_some_and(|before| before != is(b"xx")) {
                    return Err(Error::SYNTAX);
                }
                demands_key = Some(is(b"xx"));
                at += 1;
            } else if is_set && (is(b"fnx") || is(b"fxx")) {
                if demands.is_some() {
                    return Err(Error::fixed("ERR Only one of FXX or FNX arguments can be specified"));
                }
                demands = Some(is(b"fxx"));
                at += 1;
            } else if is(b"fields") {
                if words.is_some() {
                    return Err(Error::fixed("ERR FIELDS keyword specified multiple times"));
                }
                let count = args.get(at + 1).and_then(|word| parse_integer(word)).filter(|&count| 0 < count);
                let count = count.ok_or(Error::fixed("ERR invalid number of fields"))?;
                let count = usize::try_from(count).ok().and_then(|count| count.checked_mul(1 + usize::from(is_set)));
                let end = count.and_then(|count| count.checked_add(at + 2));
                let given = end.and_then(|end| args.get(at + 2..end));
                words = Some(given.ok_or_else(|| Error::wrong_arity(command))?);
                at = end.expect("seen above");
            } else {
                return Err(Error::quoting("ERR unknown argument: ", args[at], ""));
            }
        }
        let words = words.ok_or(Error::fixed("ERR missing FIELDS argument"))?;
        Ok(Options { demands_key, demands, deadline, words })
    }
}

fn hgetex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, now_ms) = (args[1], cx.now_ms);
    let options = Options::parse(args, false, now_ms)?;
    let names = options.words;
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        reply.array(names.len());
        names.iter().for_each(|_| reply.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    reply.array(names.len());
    for name in names {
        let field = hash.field(name, now_ms);
        reply_value(reply, field.map(|field| field.value));
        let Some(old_ms) = field.map(|field| field.deadline_ms) else { continue };
        match options.deadline {
            Some(Expire::At(deadline_ms)) if deadline_ms <= now_ms => {
                hash.remove(name, now_ms);
                changes.removed += 1;
            }
            Some(Expire::At(deadline_ms)) => {
                hash.set_deadline(name, Some(deadline_ms), now_ms);
                changes.updated += 1;
            }
            Some(Expire::Persist) if old_ms.is_some() => {
                hash.set_deadline(name, None, now_ms);
                changes.updated += 1;
            }
            _ => {}
        }
    }
    drop(hash);
    let update = if let Some(Expire::Persist) = options.deadline { Event::HPERSIST } else { Event::HEXPIRE };
    settle(cx, key, &changes, update);
    Ok(())
}

fn hsetex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, now_ms) = (args[1], cx.now_ms);
    let options = Options::parse(args, true, now_ms)?;
    let pairs = options.words.as_chunks::<2>().0;
    let limits = limits(cx);
    if options.demands_key.is_some() || options.demands.is_some() {
        let hash = cx.keyspace.container_mut::<Hash>(cx.db, key)?;
        let is_there = |name: &[u8]| hash.as_ref().is_some_and(|hash| hash.field(name, now_ms).is_some());
        let holds = options.demands_key.is_none_or(|is_key_there| hash.is_some() == is_key_there)
            && options.demands.is_none_or(|all_there| pairs.iter().all(|&[name, _]| is_there(name) == all_there));
        if !holds {
            reply.integer(0);
            return Ok(());
        }
    }
    let (deadline, gone) = match options.deadline {
        None | Some(Expire::Persist) => (Deadline::Clear, false),
        Some(Expire::Keep) => (Deadline::Keep, false),
        Some(Expire::At(deadline_ms)) => (Deadline::At(deadline_ms.max(1)), deadline_ms <= now_ms),
    };
    let removed = change(cx, key, Event::HSET, |hash| {
        let longest_bytes = options.words.iter().map(|word| word.len()).max().unwrap_or(0);
        hash.prepare(longest_bytes, options.words.iter().map(|word| word.len() + 16).sum(), &limits);
        let mut removed = 0;
        for [name, value] in pairs {
            if gone {
                removed += usize::from(hash.remove(name, now_ms));
            } else {
                hash.set(name, value, deadline, now_ms, &limits);
            }
        }
        (removed, !gone)
    })?;
    settle(cx, key, &Changes { updated: 0, removed }, Event::HSET);
    if let (Deadline::At(_), false) = (deadline, gone) {
        cx.keyspace.effects.note(Event::HEXPIRE, cx.db, key);
    }
    reply.integer(1);
    Ok(())
}
