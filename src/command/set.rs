//! The set commands.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does, in replies, error texts, the order of checks and, where that is
//! fixed, the order of members. `SUNIONCARD` and `SDIFFCARD` follow the documentation of Redis 8.10.

use super::long_reply::{self, Combination, What};
use super::scan::{self, Scan};
use super::{Args, Command, CommandResult, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Reply};
use crate::structure::listpack::Element;
use crate::value::number::parse_integer;
use crate::value::set::{Limits, Set};
use ahash::AHashSet;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);

const ALL_KEYS: Keys = Keys::Range { first: 1, last: -1, step: 1 };
const COUNTED_KEYS: Keys = Keys::Counted { at: 1, destination: 0 };
const STORE_SPECS: &[KeySpec] = &[KeySpec::at(1, KeyAccess::OVERWRITE), KeySpec::from(2, -1, KeyAccess::READ)];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];

const OF_ALL_SETS: &str = "O(N) where N is the total number of elements in all given sets.";
const OF_SMALLEST: &str =
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.";

/// With a count of members to keep below this part of those to remove, `SPOP` moves the ones to keep to a new set.
const POP_KEEP_FACTOR: usize = 5;

/// Random members are drawn one by one if there are at least so many times more of them than wanted, else the set is
/// gone through.
pub(super) const DRAW_FACTOR: usize = 3;
/// Most elements that a reply may repeat at random: what a client asks for is not limited by what there is.
pub(super) const RANDOM_COUNT_MAX: usize = 1 << 27;

/// What is said of the one count that cannot be negated.
pub(super) const RANGE: Error =
    Error::fixed("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("SADD", Run::Keyspace(sadd))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::Set, "1.0.0", "Adds members to a set.")
        .complexity("O(N) where N is the number of members to be added.")
        .syntax("key member [member ...]"),
    Command::new("SREM", Run::Keyspace(srem))
        .arity(-3)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::DROP)
        .docs(Group::Set, "1.0.0", "Removes members from a set.")
        .complexity("O(N) where N is the number of members to be removed.")
        .syntax("key member [member ...]"),
    Command::new("SMEMBERS", Run::Keyspace(smembers))
        .arity(2)
        .key()
        .flags(READ)
        .docs(Group::Set, "1.0.0", "Returns all members of a set.")
        .complexity("O(N) where N is the set cardinality.")
        .syntax("key")
        .tips(UNORDERED),
    Command::new("SISMEMBER", Run::Keyspace(sismember))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::Set, "1.0.0", "Says whether something is a member of a set.")
        .syntax("key member"),
    Command::new("SMISMEMBER", Run::Keyspace(smismember))
        .arity(-3)
        .key()
        .flags(READ_FAST)
        .docs(Group::Set, "6.2.0", "Says of several things whether they are members of a set.")
        .complexity("O(N) where N is the number of elements being checked for membership")
        .syntax("key member [member ...]"),
    Command::new("SCARD", Run::Keyspace(scard))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::Set, "1.0.0", "Returns the number of members of a set.")
        .syntax("key"),
    Command::new("SPOP", Run::Keyspace(spop))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::Set, "1.0.0", "Removes random members from a set and returns them.")
        .complexity("O(N) where N is the number of members popped.")
        .syntax("key [count@3.2.0]")
        .tips(RANDOM),
    Command::new("SRANDMEMBER", Run::Keyspace(srandmember))
        .arity(-2)
        .key()
        .flags(READ)
        .docs(Group::Set, "1.0.0", "Returns random members of a set.")
        .complexity("O(N) where N is the absolute value of the passed count.")
        .syntax("key [count@2.6.0]")
        .tips(RANDOM),
    Command::new("SMOVE", Run::Keyspace(smove))
        .arity(4)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .key_specs(&[KeySpec::at(1, KeyAccess::TAKE), KeySpec::at(2, KeyAccess::ADD)])
        .flags(WRITE_FAST)
        .docs(Group::Set, "1.0.0", "Moves a member from one set to another.")
        .syntax("source:key destination:key member"),
    Command::new("SINTER", Run::Keyspace(sinter))
        .arity(-2)
        .keys(ALL_KEYS)
        .flags(READ)
        .docs(Group::Set, "1.0.0", "Returns what several sets have in common.")
        .complexity(OF_SMALLEST)
        .syntax("key [key ...]")
        .tips(UNORDERED),
    Command::new("SINTERSTORE", Run::Keyspace(sinterstore))
        .arity(-3)
        .keys(ALL_KEYS)
        .key_specs(&[KeySpec::at(1, KeyAccess::CHANGE), KeySpec::from(2, -1, KeyAccess::READ)])
        .flags(GROW)
        .docs(Group::Set, "1.0.0", "Puts what several sets have in common under a key.")
        .complexity(OF_SMALLEST)
        .syntax("destination:key key [key ...]"),
    Command::new("SINTERCARD", Run::Keyspace(sintercard))
        .arity(-3)
        .keys(COUNTED_KEYS)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::Set, "7.0.0", "Counts what several sets have in common.")
        .complexity(OF_SMALLEST)
        .syntax("numkeys key [key ...] [LIMIT limit]"),
    Command::new("SUNION", Run::Keyspace(sunion))
        .arity(-2)
        .keys(ALL_KEYS)
        .flags(READ)
        .docs(Group::Set, "1.0.0", "Returns the members of all of several sets.")
        .complexity(OF_ALL_SETS)
        .syntax("key [key ...]")
        .tips(UNORDERED),
    Command::new("SUNIONSTORE", Run::Keyspace(sunionstore))
        .arity(-3)
        .keys(ALL_KEYS)
        .key_specs(STORE_SPECS)
        .flags(GROW)
        .docs(Group::Set, "1.0.0", "Puts the members of all of several sets under a key.")
        .complexity(OF_ALL_SETS)
        .syntax("destination:key key [key ...]"),
    Command::new("SUNIONCARD", Run::Keyspace(sunioncard))
        .arity(-3)
        .keys(COUNTED_KEYS)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::Set, "8.10.0", "Counts the members of all of several sets.")
        .complexity(OF_ALL_SETS)
        .syntax("numkeys key [key ...] [APPROX] [LIMIT limit]"),
    Command::new("SDIFF", Run::Keyspace(sdiff))
        .arity(-2)
        .keys(ALL_KEYS)
        .flags(READ)
        .docs(Group::Set, "1.0.0", "Returns the members of a set that others do not have.")
        .complexity(OF_ALL_SETS)
        .syntax("key [key ...]")
        .tips(UNORDERED),
    Command::new("SDIFFSTORE", Run::Keyspace(sdiffstore))
        .arity(-3)
        .keys(ALL_KEYS)
        .key_specs(STORE_SPECS)
        .flags(GROW)
        .docs(Group::Set, "1.0.0", "Puts the members of a set that others do not have under a key.")
        .complexity(OF_ALL_SETS)
        .syntax("destination:key key [key ...]"),
    Command::new("SDIFFCARD", Run::Keyspace(sdiffcard))
        .arity(-3)
        .keys(COUNTED_KEYS)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::Set, "8.10.0", "Counts the members of a set that others do not have.")
        .complexity(OF_ALL_SETS)
        .syntax("numkeys key [key ...] [LIMIT limit]"),
    Command::new("SSCAN", Run::Keyspace(sscan))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::Set, "2.8.0", "Iterates over the members of a set.")
        .complexity("O(1) for every call. O(N) for a complete iteration, where N is the number of members.")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .tips(RANDOM),
];

/// What the directives say now, and a seed for a table that may be made.
pub(super) fn limits(cx: &mut Context<'_>) -> Limits {
    Limits {
        integers_max: cx.config.set_max_intset_entries,
        listpack_len_max: cx.config.set_max_listpack_entries,
        listpack_member_bytes_max: cx.config.set_max_listpack_value,
        seed: cx.random.u64(..),
    }
}

pub(super) fn reply_element(reply: &mut Reply<'_>, member: Element<'_>) {
    match member {
        Element::Integer(integer) => reply.bulk_integer(integer),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

fn reply_set(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| reply_element(reply, member));
}

// One set

fn sadd(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, members) = (args[1], &args[2..]);
    let limits = limits(cx);
    let add_all = |set: &mut Set| members.iter().filter(|member| set.add(member, &limits)).count();
    let Some(mut set) = cx.keyspace.container_mut::<Set>(cx.db, key)? else {
        let mut set = Set::for_member(members[0], &limits);
        let added = add_all(&mut set);
        cx.keyspace.put(cx.db, key, set.into(), Expiry::Clear, Event::SADD);
        cx.keyspace.dirty += added as u64 - 1;
        reply.integer(added as i64);
        return Ok(());
    };
    let added = add_all(&mut set);
    drop(set);
    if 0 < added {
        cx.keyspace.changed_by(cx.db, key, Event::SADD, added as u64);
    }
    reply.integer(added as i64);
    Ok(())
}

fn srem(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, members) = (args[1], &args[2..]);
    let Some(mut set) = cx.keyspace.container_mut::<Set>(cx.db, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let removed = members.iter().filter(|member| set.remove(member)).count();
    let is_empty = set.is_empty();
    drop(set);
    if 0 < removed {
        cx.keyspace.changed_by(cx.db, key, Event::SREM, removed as u64);
    }
    if is_empty {
        cx.keyspace.delete(cx.db, key);
    }
    reply.integer(removed as i64);
    Ok(())
}

fn smembers(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match cx.keyspace.read_container::<Set>(cx.db, args[1])? {
        Some(set) if long_reply::leave(&mut cx.long_reply, set.len(), What::Members) => {}
        Some(set) => reply_set(reply, set),
        None => reply.set(0),
    }
    Ok(())
}

fn sismember(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<Set>(cx.db, args[1])?;
    reply.integer(set.is_some_and(|set| set.contains(args[2])).into());
    Ok(())
}

fn smismember(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<Set>(cx.db, args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        reply.integer(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

fn scard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<Set>(cx.db, args[1])?;
    reply.integer(set.map_or(0, Set::len) as i64);
    Ok(())
}

fn spop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let key = args[1];
    match args {
        [_, _] => {}
        [_, _, count] => return spop_count(cx, key, count, reply),
        _ => return Err(Error::SYNTAX),
    }
    let is_told = cx.keyspace.records.is_on;
    let random = &mut *cx.random;
    let Some(mut set) = cx.keyspace.container_mut::<Set>(cx.db, key)? else {
        reply.null();
        return Ok(());
    };
    let mut popped = Vec::new();
    set.pop(
        || random.u64(..),
        |member| {
            reply_element(reply, member);
            if is_told {
                popped.push(member.bytes(&mut itoa::Buffer::new()).to_vec());
            }
        },
    );
    let is_empty = set.is_empty();
    drop(set);
    say_removed(cx, key, &popped);
    cx.keyspace.changed(cx.db, key, Event::SPOP);
    if is_empty {
        cx.keyspace.delete(cx.db, key);
    }
    Ok(())
}

fn spop_count(cx: &mut Context<'_>, key: &[u8], count: &[u8], reply: &mut Reply<'_>) -> CommandResult {
    let count = parse_integer(count).ok_or(Error::NOT_POSITIVE)?;
    let count = usize::try_from(count).map_err(|_| Error::NOT_POSITIVE)?;
    let limits = limits(cx);
    let is_told = cx.keyspace.records.is_on;
    let random = &mut *cx.random;
    let Some(mut set) = cx.keyspace.container_mut::<Set>(cx.db, key)? else {
        reply.set(0);
        return Ok(());
    };
    if count == 0 {
        reply.set(0);
        return Ok(());
    }
    let len = set.len();
    if len <= count {
        reply_set(reply, &set);
        drop(set);
        cx.keyspace.changed(cx.db, key, Event::SPOP);
        cx.keyspace.records.say(cx.db, key, &[b"UNLINK", key]);
        cx.keyspace.delete(cx.db, key);
        return Ok(());
    }
    let mut popped: Vec<Vec<u8>> = Vec::new();
    let mut tell = |member: Element<'_>| {
        if is_told {
            popped.push(member.bytes(&mut itoa::Buffer::new()).to_vec());
        }
    };
    let kept_len = len - count;
    reply.set(count);
    let mut rest = None;
    if count < kept_len.saturating_mul(POP_KEEP_FACTOR) {
        for _ in 0..count {
            set.pop(
                || random.u64(..),
                |member| {
                    reply_element(reply, member);
                    tell(member);
                },
            );
        }
    } else {
        // Few stay: they move to a set made anew, and what is left of the old one is the reply.
        let mut kept: Option<Set> = None;
        for _ in 0..kept_len {
            set.pop(
                || random.u64(..),
                |member| {
                    let mut digits = itoa::Buffer::new();
                    let member = member.bytes(&mut digits);
                    kept.get_or_insert_with(|| Set::for_member(member, &limits)).add(member, &limits);
                },
            );
        }
        set.iter().for_each(|member| {
            reply_element(reply, member);
            tell(member);
        });
        rest = Some(std::mem::replace(&mut *set, kept.expect("some stay")));
    }
    drop(set);
    cx.keyspace.discard_value(rest.map(Into::into));
    say_removed(cx, key, &popped);
    cx.keyspace.changed(cx.db, key, Event::SPOP);
    Ok(())
}

/// Tells the log of writes which members chance has chosen.
fn say_removed(cx: &mut Context<'_>, key: &[u8], members: &[Vec<u8>]) {
    if cx.keyspace.records.is_on {
        let head: [&[u8]; 2] = [b"SREM", key];
        let args: Vec<&[u8]> = head.into_iter().chain(members.iter().map(Vec::as_slice)).collect();
        cx.keyspace.records.say(cx.db, key, &args);
    }
}

fn srandmember(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let random = &mut *cx.random;
    let count = match args {
        [_, _] => {
            match cx.keyspace.read_container::<Set>(cx.db, args[1])? {
                Some(set) => set.random(|| random.u64(..), |member| reply_element(reply, member)),
                None => {
                    reply.null();
                    None
                }
            };
            return Ok(());
        }
        [_, _, count] => parse_integer(count).ok_or(Error::NOT_INTEGER)?,
        _ => return Err(Error::SYNTAX),
    };
    if count == i64::MIN {
        return Err(RANGE);
    }
    let Some(set) = cx.keyspace.read_container::<Set>(cx.db, args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let wanted = count.unsigned_abs() as usize;
    if count < 0 && RANDOM_COUNT_MAX < wanted {
        return Err(Error::VALUE_OUT_OF_RANGE);
    }
    if count < 0 {
        reply.array(wanted);
        for _ in 0..wanted {
            set.random(|| random.u64(..), |member| reply_element(reply, member));
        }
    } else if wanted == 0 {
        reply.array(0);
    } else if set.len() <= wanted {
        reply.array(set.len());
        set.iter().for_each(|member| reply_element(reply, member));
    } else if set.len() < wanted.saturating_mul(DRAW_FACTOR) {
        reply.array(wanted);
        for_distinct(set.len(), wanted, || random.u64(..), set.iter(), |member| reply_element(reply, member));
    } else {
        // Few of many: drawn until there are enough different ones.
        reply.array(wanted);
        let mut drawn: AHashSet<Vec<u8>> = AHashSet::with_capacity(wanted);
        while drawn.len() < wanted {
            set.random(
                || random.u64(..),
                |member| {
                    if drawn.insert(member.to_vec()) {
                        reply_element(reply, member);
                    }
                },
            );
        }
    }
    Ok(())
}

/// Visits `wanted` of `len` things, every choice of them being as likely as every other: each is taken with the chance
/// that is left for it. They come in their own order.
pub(super) fn for_distinct<T>(
    len: usize,
    wanted: usize,
    mut draw: impl FnMut() -> u64,
    things: impl Iterator<Item = T>,
    mut visit: impl FnMut(T),
) {
    let (mut left, mut wanted) = (len as u64, wanted as u64);
    for thing in things {
        if wanted == 0 {
            break;
        }
        if ((u128::from(draw()) * u128::from(left)) >> 64) < u128::from(wanted) {
            visit(thing);
            wanted -= 1;
        }
        left -= 1;
    }
}

fn smove(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (from, to, member) = (args[1], args[2], args[3]);
    let limits = limits(cx);
    // Both are accesses, and both are removed first if their time has come.
    let source = cx.keyspace.contains(cx.db, from);
    let _ = cx.keyspace.contains(cx.db, to);
    if !source {
        reply.integer(0);
        return Ok(());
    }
    let is_member = cx.keyspace.peek_container::<Set>(cx.db, from)?.is_some_and(|set| set.contains(member));
    cx.keyspace.peek_container::<Set>(cx.db, to)?;
    if from == to || !is_member {
        reply.integer(is_member.into());
        return Ok(());
    }
    let mut source = cx.keyspace.container_mut::<Set>(cx.db, from)?.expect("seen above");
    source.remove(member);
    let is_empty = source.is_empty();
    drop(source);
    cx.keyspace.changed(cx.db, from, Event::SREM);
    if is_empty {
        cx.keyspace.delete(cx.db, from);
    }
    reply.integer(1);
    let Some(mut destination) = cx.keyspace.container_mut::<Set>(cx.db, to)? else {
        let mut set = Set::for_member(member, &limits);
        set.add(member, &limits);
        cx.keyspace.put(cx.db, to, set.into(), Expiry::Clear, Event::SADD);
        return Ok(());
    };
    let is_new = destination.add(member, &limits);
    drop(destination);
    if is_new {
        cx.keyspace.changed(cx.db, to, Event::SADD);
    }
    Ok(())
}

fn sscan(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = scan::cursor(args[2])?;
    let Some(set) = cx.keyspace.read_container::<Set>(cx.db, args[1])? else {
        scan::reply_empty(reply);
        return Ok(());
    };
    let scan = Scan::parse(&args[3..], false)?;
    scan.reply(reply, |reply| {
        let (mut len, mut digits) = (0, itoa::Buffer::new());
        let next = set.scan(cursor, scan.count, |member| {
            let member = member.bytes(&mut digits);
            if scan.pattern.matches(member) {
                reply.bulk(member);
                len += 1;
            }
        });
        (len, next)
    });
    Ok(())
}

// Several sets

/// The sets under the keys, `None` where there is none.
///
/// # Errors
/// One of them holds something else.
fn sets<'a>(cx: &'a mut Context<'_>, keys: &[&[u8]]) -> Result<Vec<Option<&'a Set>>, Error> {
    for key in keys {
        cx.keyspace.read_container::<Set>(cx.db, key)?;
    }
    Ok(peek_sets(cx, keys))
}

/// The same without an access, of keys that have been read.
fn peek_sets<'a>(cx: &'a Context<'_>, keys: &[&[u8]]) -> Vec<Option<&'a Set>> {
    let (keyspace, db) = (&*cx.keyspace, cx.db);
    keys.iter().map(|key| keyspace.peek_container(db, key).expect("read before")).collect()
}

/// Leaves the combination of the sets to be made bit by bit, if that is much work.
fn leave(
    cx: &mut Context<'_>,
    keys: &[&[u8]],
    how: fn(&[Option<&Set>]) -> (Combination, usize),
) -> Result<bool, Error> {
    let (how, elements) = how(&sets(cx, keys)?);
    let limits = limits(cx);
    Ok(long_reply::leave_combination(&mut cx.long_reply, (keys.len(), elements), how, limits))
}

/// Visits what the sets have in common, in the order of the smallest of them, until `visit` says `false`.
fn for_intersection(sets: &[Option<&Set>], mut visit: impl FnMut(Element<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let (smallest, others) = sets.split_first().expect("there is a key");
    for member in smallest.iter() {
        let is_common = others.iter().all(|set| std::ptr::eq(*set, *smallest) || set.contains_element(member));
        if is_common && !visit(member) {
            break;
        }
    }
}

/// Visits what the first set has and the others have not, in its order, until `visit` says `false`.
fn for_difference(sets: &[Option<&Set>], mut visit: impl FnMut(Element<'_>) -> bool) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    for member in first.iter() {
        if !others.iter().flatten().any(|set| set.contains_element(member)) && !visit(member) {
            break;
        }
    }
}

/// The members of all sets, as a set.
fn union_of(sets: &[Option<&Set>], limits: &Limits, len_max: usize) -> Set {
    let mut union = Set::new();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        union.add_element(member, limits);
        if union.len() == len_max {
            break;
        }
    }
    union
}

fn sinter(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let all_of_smallest = |sets: &[Option<&Set>]| {
        let lens = || sets.iter().map(|set| set.map_or(0, Set::len));
        let (smallest, len) = lens().enumerate().min_by_key(|(_, len)| *len).expect("there is a key");
        (Combination::Intersection { smallest }, len)
    };
    if leave(cx, &args[1..], all_of_smallest)? {
        return Ok(());
    }
    let sets = peek_sets(cx, &args[1..]);
    let mark = reply.defer();
    let mut len = 0;
    for_intersection(&sets, |member| {
        reply_element(reply, member);
        len += 1;
        true
    });
    reply.finish_set(mark, len);
    Ok(())
}

fn sunion(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if leave(cx, &args[1..], |sets| (Combination::Union, sets.iter().flatten().map(|set| set.len()).sum()))? {
        return Ok(());
    }
    let limits = limits(cx);
    let union = union_of(&peek_sets(cx, &args[1..]), &limits, usize::MAX);
    reply_set(reply, &union);
    cx.keyspace.discard_value(Some(union.into()));
    Ok(())
}

fn sdiff(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if leave(cx, &args[1..], |sets| (Combination::Difference, sets[0].map_or(0, Set::len)))? {
        return Ok(());
    }
    let limits = limits(cx);
    let sets = peek_sets(cx, &args[1..]);
    // As in Redis a set is made of them, so that few integers come in their order whatever the first set is.
    let mut difference = Set::new();
    for_difference(&sets, |member| {
        difference.add_element(member, &limits);
        true
    });
    reply_set(reply, &difference);
    cx.keyspace.discard_value(Some(difference.into()));
    Ok(())
}

/// Puts a set under a key, and replies its length; an empty one deletes the key.
fn store(cx: &mut Context<'_>, key: &[u8], set: Set, event: Event, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(set.len() as i64);
    if set.is_empty() {
        cx.keyspace.delete(cx.db, key);
    } else {
        cx.keyspace.put(cx.db, key, set.into(), Expiry::Clear, event);
    }
    Ok(())
}

fn sinterstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let limits = limits(cx);
    let mut common = Set::new();
    for_intersection(&sets(cx, &args[2..])?, |member| {
        common.add_element(member, &limits);
        true
    });
    store(cx, args[1], common, Event::SINTERSTORE, reply)
}

fn sunionstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let limits = limits(cx);
    let union = union_of(&sets(cx, &args[2..])?, &limits, usize::MAX);
    store(cx, args[1], union, Event::SUNIONSTORE, reply)
}

fn sdiffstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let limits = limits(cx);
    let mut difference = Set::new();
    for_difference(&sets(cx, &args[2..])?, |member| {
        difference.add_element(member, &limits);
        true
    });
    store(cx, args[1], difference, Event::SDIFFSTORE, reply)
}

/// What follows a counted list of keys.
struct Counted<'a, 'b> {
    keys: &'b [&'a [u8]],
    /// Where counting ends.
    limit: usize,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn parse(args: &'b Args<'a>, allows_approx: bool) -> Result<Counted<'a, 'b>, Error> {
        let count = parse_integer(args[1]).filter(|&count| 0 < count).ok_or(Error::NUMKEYS_NOT_POSITIVE)?;
        let keys = usize::try_from(count).ok().and_then(|count| args[2..].get(..count));
        let keys = keys.ok_or(Error::NUMKEYS_TOO_BIG)?;
        let mut limit = 0;
        let mut options = args[2 + keys.len()..].iter();
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"limit") {
                let number = parse_integer(options.next().ok_or(Error::SYNTAX)?);
                let number = number.and_then(|number| usize::try_from(number).ok());
                limit = number.ok_or(Error::fixed("ERR LIMIT can't be negative"))?;
            } else if !(allows_approx && option.eq_ignore_ascii_case(b"approx")) {
                return Err(Error::SYNTAX);
            }
        }
        Ok(Counted { keys, limit: if limit == 0 { usize::MAX } else { limit } })
    }
}

fn sintercard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let counted = Counted::parse(args, false)?;
    let mut len = 0;
    for_intersection(&sets(cx, counted.keys)?, |_| {
        len += 1;
        len < counted.limit
    });
    reply.integer(len as i64);
    Ok(())
}

/// `APPROX` allows an estimate; the exact number is one.
fn sunioncard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let counted = Counted::parse(args, true)?;
    let limits = limits(cx);
    let sets = sets(cx, counted.keys)?;
    if let [set] = sets[..] {
        reply.integer(set.map_or(0, Set::len).min(counted.limit) as i64);
        return Ok(());
    }
    let union = union_of(&sets, &limits, counted.limit);
    reply.integer(union.len() as i64);
    cx.keyspace.discard_value(Some(union.into()));
    Ok(())
}

fn sdiffcard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let counted = Counted::parse(args, false)?;
    let mut len = 0;
    for_difference(&sets(cx, counted.keys)?, |_| {
        len += 1;
        len < counted.limit
    });
    reply.integer(len as i64);
    Ok(())
}
