//! The list commands, but for those that block.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does; `LMOVEM` and `BLMOVEM` follow the documentation and the public test
//! suite of Redis 8.10. An empty list is no key: what empties one deletes it.

pub mod blocking;

use super::long_reply::{self, What};
use super::{Args, Command, CommandResult, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Reply};
use crate::value::Value;
use crate::value::list::{Element, Fill, List, Sought};
use crate::value::number::parse_integer;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);

/// A list that gives and one that takes.
const SOURCE_AND_DESTINATION: &[KeySpec] = &[KeySpec::at(1, KeyAccess::TAKE), KeySpec::at(2, KeyAccess::ADD)];
const FIRST_TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("LPUSH", Run::Keyspace(lpush))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::List, "1.0.0", "Puts elements at the left end of a list.")
        .complexity("O(1) for each element")
        .syntax("key element [element ...]"),
    Command::new("RPUSH", Run::Keyspace(rpush))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::List, "1.0.0", "Puts elements at the right end of a list.")
        .complexity("O(1) for each element")
        .syntax("key element [element ...]"),
    Command::new("LPUSHX", Run::Keyspace(lpushx))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::List, "2.2.0", "Puts elements at the left end of a list that exists.")
        .complexity("O(1) for each element")
        .syntax("key element [element ...]"),
    Command::new("RPUSHX", Run::Keyspace(rpushx))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::List, "2.2.0", "Puts elements at the right end of a list that exists.")
        .complexity("O(1) for each element")
        .syntax("key element [element ...]"),
    Command::new("LPOP", Run::Keyspace(lpop))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::List, "1.0.0", "Takes elements from the left end of a list.")
        .complexity("O(N) where N is the number of elements")
        .syntax("key [count]@6.2.0"),
    Command::new("RPOP", Run::Keyspace(rpop))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::List, "1.0.0", "Takes elements from the right end of a list.")
        .complexity("O(N) where N is the number of elements")
        .syntax("key [count]@6.2.0"),
    Command::new("LLEN", Run::Keyspace(llen))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::List, "1.0.0", "Returns the length of a list.")
        .syntax("key"),
    Command::new("LINDEX", Run::Keyspace(lindex))
        .arity(3)
        .key()
        .flags(READ)
        .docs(Group::List, "1.0.0", "Returns an element of a list by its index.")
        .complexity("O(log(N)) where N is the length of the list")
        .syntax("key index:integer"),
    Command::new("LSET", Run::Keyspace(lset))
        .arity(4)
        .key()
        .flags(GROW)
        .docs(Group::List, "1.0.0", "Puts another element in the place of one, by its index.")
        .complexity("O(log(N)) where N is the length of the list")
        .syntax("key index:integer element"),
    Command::new("LRANGE", Run::Keyspace(lrange))
        .arity(4)
        .key()
        .flags(READ)
        .docs(Group::List, "1.0.0", "Returns a range of elements of a list.")
        .complexity("O(log(N)+M) where N is the length of the list and M the length of the range")
        .syntax("key start:integer stop:integer"),
    Command::new("LTRIM", Run::Keyspace(ltrim))
        .arity(4)
        .key()
        .flags(WRITE)
        .access(KeyAccess::DROP)
        .docs(Group::List, "1.0.0", "Removes all elements of a list but a range.")
        .complexity("O(log(N)) where N is the length of the list; what is removed is freed later")
        .syntax("key start:integer stop:integer"),
    Command::new("LREM", Run::Keyspace(lrem))
        .arity(4)
        .key()
        .flags(WRITE)
        .access(KeyAccess::DROP)
        .docs(Group::List, "1.0.0", "Removes elements of a list that equal a given one.")
        .complexity("O(N) where N is the length of the list")
        .syntax("key count element"),
    Command::new("LINSERT", Run::Keyspace(linsert))
        .arity(5)
        .key()
        .flags(GROW)
        .access(KeyAccess::ADD)
        .docs(Group::List, "2.2.0", "Inserts an element into a list before or after another one.")
        .complexity("O(N) where N is the number of elements before the place")
        .syntax("key BEFORE|AFTER pivot element"),
    Command::new("LPOS", Run::Keyspace(lpos))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::List, "6.0.6", "Returns the indices of the elements of a list that equal a given one.")
        .complexity("O(N) where N is the number of elements that are looked at")
        .syntax("key element [RANK rank] [COUNT num-matches:integer] [MAXLEN len:integer]"),
    Command::new("LMOVE", Run::Keyspace(lmove))
        .arity(5)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(GROW)
        .docs(Group::List, "6.2.0", "Takes an element from an end of a list and puts it at an end of another.")
        .syntax("source:key destination:key wherefrom=(LEFT|RIGHT) whereto=(LEFT|RIGHT)"),
    Command::new("LMOVEM", Run::Keyspace(lmovem))
        .arity(-5)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(GROW)
        .docs(Group::List, "8.10.0", "Takes elements from an end of a list and puts them at an end of another.")
        .complexity("O(N) where N is the number of elements")
        .syntax(
            "source:key destination:key wherefrom=(LEFT|RIGHT) whereto=(LEFT|RIGHT) \
             how-many=[selector=(COUNT count|EXACTLY exactly:integer) ordering=(OBO|BULK)]",
        ),
    Command::new("RPOPLPUSH", Run::Keyspace(rpoplpush))
        .arity(3)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(GROW)
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")
        .docs(Group::List, "1.2.0", "Takes the last element of a list and puts it first in another.")
        .syntax("source:key destination:key"),
    Command::new("LMPOP", Run::Keyspace(lmpop))
        .arity(-4)
        .keys(Keys::Counted { at: 1, destination: 0 })
        .access(KeyAccess::TAKE)
        .flags(WRITE.union(Flags::MOVABLEKEYS))
        .docs(Group::List, "7.0.0", "Takes elements from an end of the first list that is not empty.")
        .complexity("O(N+M) where N is the number of keys and M the number of elements")
        .syntax("numkeys key [key ...] where=(LEFT|RIGHT) [COUNT count]"),
];

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Where the first element is.
    Left,
    /// Where the last element is.
    Right,
}

impl End {
    /// `LEFT` or `RIGHT`, in any case.
    pub(super) fn parse(word: &[u8]) -> Result<End, Error> {
        if word.eq_ignore_ascii_case(b"LEFT") {
            Ok(End::Left)
        } else if word.eq_ignore_ascii_case(b"RIGHT") {
            Ok(End::Right)
        } else {
            Err(Error::SYNTAX)
        }
    }

    fn push_event(self) -> Event {
        match self {
            End::Left => Event::LPUSH,
            End::Right => Event::RPUSH,
        }
    }

    fn pop_event(self) -> Event {
        match self {
            End::Left => Event::LPOP,
            End::Right => Event::RPOP,
        }
    }
}

fn integer(word: &[u8]) -> Result<i64, Error> {
    parse_integer(word).ok_or(Error::NOT_INTEGER)
}

pub(super) fn fill(cx: &Context<'_>) -> Fill {
    let depth = usize::try_from(cx.config.list_compress_depth).unwrap_or(usize::MAX);
    Fill::of_directive(cx.config.list_max_listpack_size).compressed(depth)
}

fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Integer(integer) => reply.bulk_integer(integer),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// The place that an index means, counted from the end if negative. `None`: outside.
fn place(list: &List, index: i64) -> Option<usize> {
    let len = list.len() as i64;
    let index = if index < 0 { index.checked_add(len)? } else { index };
    (0..len).contains(&index).then_some(index as usize)
}

/// The range from `start` to `stop`, both included, both counted from the end where negative and moved into the list
/// where outside: the first place and how many.
fn range(list: &List, start: i64, stop: i64) -> (usize, usize) {
    let len = list.len() as i64;
    let from_start = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (first, last) = (from_start(start).max(0), from_start(stop).min(len - 1));
    if last < first {
        return (0, 0);
    }
    (first as usize, (last - first + 1) as usize)
}

// Pushing and popping

fn lpush(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_all(cx, args, End::Left, true, reply)
}

fn rpush(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_all(cx, args, End::Right, true, reply)
}

fn lpushx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_all(cx, args, End::Left, false, reply)
}

fn rpushx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_all(cx, args, End::Right, false, reply)
}

#[inline]
fn push_all(cx: &mut Context<'_>, args: &Args<'_>, end: End, creates: bool, reply: &mut Reply<'_>) -> CommandResult {
    let len = push(cx, args[1], &args[2..], end, creates)?;
    reply.integer(len as i64);
    Ok(())
}

/// Puts elements at an end of a list, one after the other, and notes the event. The length afterwards; 0 if there is no
/// list and none is to be made.
pub(super) fn push(
    cx: &mut Context<'_>,
    key: &[u8],
    elements: &[&[u8]],
    end: End,
    creates: bool,
) -> Result<usize, Error> {
    let fill = fill(cx);
    let add = |list: &mut List| {
        for &element in elements {
            match end {
                End::Left => list.push_front(element, fill),
                End::Right => list.push_back(element, fill),
            }
        }
        list.len()
    };
    let changes = elements.len() as u64;
    let found = cx.keyspace.container_mut::<List>(cx.db, key)?.map(|mut list| add(&mut list));
    let len = match found {
        Some(len) => {
            cx.keyspace.changed_by(cx.db, key, end.push_event(), changes);
            len
        }
        None if !creates => 0,
        None => {
            let mut list = List::new();
            let len = add(&mut list);
            cx.keyspace.put(cx.db, key, Value::List(list), Expiry::Clear, end.push_event());
            cx.keyspace.dirty += changes - 1;
            len
        }
    };
    Ok(len)
}

/// Tells the log of writes of elements that came from another list.
fn say_push(cx: &mut Context<'_>, key: &[u8], elements: &[&[u8]], end: End) {
    if cx.keyspace.records.is_on {
        let name: &[u8] = if end == End::Left { b"LPUSH" } else { b"RPUSH" };
        cx.keyspace.records.say(cx.db, key, &[&[name, key], elements].concat());
    }
}

/// Notes that `count` elements were taken from an end of a list, and deletes the list if it is empty now.
fn popped(cx: &mut Context<'_>, key: &[u8], end: End, count: usize, is_empty: bool) {
    cx.keyspace.changed_by(cx.db, key, end.pop_event(), count as u64);
    let name: &[u8] = if end == End::Left { b"LPOP" } else { b"RPOP" };
    cx.keyspace.records.say(cx.db, key, &[name, key, itoa::Buffer::new().format(count).as_bytes()]);
    if is_empty {
        cx.keyspace.delete_emptied(cx.db, key);
    }
}

fn lpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Left, "lpop", reply)
}

fn rpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Right, "rpop", reply)
}

fn pop(cx: &mut Context<'_>, args: &Args<'_>, end: End, name: &str, reply: &mut Reply<'_>) -> CommandResult {
    let key = args[1];
    match args[2..] {
        [] => {
            if !pop_one(cx, key, end, reply)? {
                reply.null();
            }
        }
        [count] => {
            let count = parse_integer(count).and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or(Error::NOT_POSITIVE)?;
            if !pop_many(cx, key, end, count, reply)? {
                reply.null_array();
            }
        }
        _ => return Err(Error::wrong_arity(name)),
    }
    Ok(())
}

/// Takes an element from an end of a list and replies with it. False, and nothing is replied, if there is no list.
///
/// # Errors
/// The key holds something else.
#[inline]
pub(super) fn pop_one(cx: &mut Context<'_>, key: &[u8], end: End, reply: &mut Reply<'_>) -> Result<bool, Error> {
    let Some(mut list) = cx.keyspace.container_mut::<List>(cx.db, key)? else { return Ok(false) };
    let ends = &mut *list;
    match end {
        End::Left => {
            reply_element(reply, ends.front().expect("no list is empty"));
            ends.pop_front();
        }
        End::Right => {
            reply_element(reply, ends.back().expect("no list is empty"));
            ends.pop_back();
        }
    }
    let is_empty = ends.is_empty();
    drop(list);
    popped(cx, key, end, 1, is_empty);
    Ok(true)
}

/// Takes up to `count` elements from an end of a list and replies with an array of them, that at the end first. False,
/// and nothing is replied, if there is no list.
///
/// # Errors
/// The key holds something else.
pub(super) fn pop_many(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    let Some(mut list) = cx.keyspace.container_mut::<List>(cx.db, key)? else { return Ok(false) };
    let count = count.min(list.len());
    reply.array(count);
    if count == 0 {
        return Ok(true);
    }
    match end {
        End::Left => list.visit(0, count, |element| reply_element(reply, element)),
        End::Right => list.visit_back(list.len() - 1, count, |element| reply_element(reply, element)),
    }
    let removed = cut(&mut list, end, count);
    let is_empty = list.is_empty();
    drop(list);
    cx.keyspace.discard_value(removed);
    popped(cx, key, end, count, is_empty);
    Ok(true)
}

/// Removes elements at an end; gives what is to be freed later.
fn cut(list: &mut List, end: End, count: usize) -> Option<Value<'static>> {
    let removed = match end {
        End::Left => list.cut_front(count),
        End::Right => list.cut_back(count),
    };
    removed.map(Value::List)
}

fn lmpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (keys, end, count) = parse_mpop(args, 1)?;
    if !pop_first(cx, keys, end, count, reply)? {
        reply.null_array();
    }
    Ok(())
}

/// The keys, the end and the count of `LMPOP`, and of `BLMPOP`, whose number of keys stands one word further on.
pub(super) fn parse_mpop<'b, 'a>(args: &'b Args<'a>, at: usize) -> Result<(&'b [&'a [u8]], End, usize), Error> {
    let positive = |word: &[u8]| parse_integer(word).filter(|number| 0 < *number).map(|number| number as usize);
    let numkeys = positive(args[at]).ok_or(Error::NUMKEYS_NOT_POSITIVE)?;
    let (keys, rest) = args[at + 1..].split_at_checked(numkeys).ok_or(Error::SYNTAX)?;
    let (word, options) = rest.split_first().ok_or(Error::SYNTAX)?;
    let end = End::parse(word)?;
    let count = match options {
        [] => 1,
        [word, count, rest @ ..] if word.eq_ignore_ascii_case(b"COUNT") => {
            let count = positive(count).ok_or(Error::fixed("ERR count should be greater than 0"))?;
            if !rest.is_empty() {
                return Err(Error::SYNTAX);
            }
            count
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok((keys, end, count))
}

/// Takes elements from the first of the keys that holds a list, and replies with its name and them. False, and nothing
/// is replied, if none does.
pub(super) fn pop_first(
    cx: &mut Context<'_>,
    keys: &[&[u8]],
    end: End,
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    for key in keys {
        if cx.keyspace.container_mut::<List>(cx.db, key)?.is_some() {
            reply.array(2);
            reply.bulk(key);
            return pop_many(cx, key, end, count, reply);
        }
    }
    Ok(false)
}

// Moving

fn rpoplpush(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if !move_one(cx, args[1], args[2], End::Right, End::Left, reply)? {
        reply.null();
    }
    Ok(())
}

fn lmove(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (from, to) = (End::parse(args[3])?, End::parse(args[4])?);
    if !move_one(cx, args[1], args[2], from, to, reply)? {
        reply.null();
    }
    Ok(())
}

/// Takes an element from an end of a list, puts it at an end of another, and replies with it. False, and nothing is
/// replied, if there is no list to take from.
///
/// # Errors
/// One of the keys holds something else.
pub(super) fn move_one(
    cx: &mut Context<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    let moved = take_for(cx, source, destination, from, 1, true)?;
    let Some(Taken { elements, is_empty }) = moved else { return Ok(false) };
    reply.bulk(&elements[0]);
    push(cx, destination, &[&elements[0]], to, true)?;
    say_push(cx, destination, &[&elements[0]], to);
    // The change is counted once.
    cx.keyspace.dirty -= 1;
    popped(cx, source, from, 1, is_empty && source != destination);
    Ok(true)
}

/// What was taken to be put elsewhere.
struct Taken {
    /// In the order in which they came off.
    elements: Vec<Vec<u8>>,
    /// Whether nothing is left.
    is_empty: bool,
}

/// Takes up to `count` elements (or just as many) from an end of a list, if the destination can take them. `None`:
/// there are none, or not enough.
fn take_for(
    cx: &mut Context<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    count: usize,
    takes_fewer: bool,
) -> Result<Option<Taken>, Error> {
    match cx.keyspace.container_mut::<List>(cx.db, source)? {
        Some(list) if takes_fewer || count <= list.len() => {}
        _ => return Ok(None),
    }
    cx.keyspace.container_mut::<List>(cx.db, destination)?;
    let mut list = cx.keyspace.container_mut::<List>(cx.db, source)?.expect("seen above");
    let count = count.min(list.len());
    let mut elements: Vec<Vec<u8>> = Vec::new();
    match from {
        End::Left => list.visit(0, count, |element| elements.push(element.to_vec())),
        End::Right => list.visit_back(list.len() - 1, count, |element| elements.push(element.to_vec())),
    }
    let removed = cut(&mut list, from, count);
    let is_empty = list.is_empty();
    drop(list);
    cx.keyspace.discard_value(removed);
    Ok(Some(Taken { elements, is_empty }))
}

/// How many elements `LMOVEM` moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct HowMany {
    count: usize,
    /// `COUNT`, rather than `EXACTLY`.
    takes_fewer: bool,
    /// `OBO`, rather than `BULK`.
    one_by_one: bool,
}

impl HowMany {
    /// The words after the ends.
    pub(super) fn parse(words: &[&[u8]]) -> Result<HowMany, Error> {
        let (selector, count, ordering) = match *words {
            [] => return Ok(HowMany { count: 1, takes_fewer: true, one_by_one: true }),
            [selector, count, ordering] => (selector, count, ordering),
            _ => return Err(Error::SYNTAX),
        };
        let takes_fewer = selector.eq_ignore_ascii_case(b"COUNT");
        if !takes_fewer && !selector.eq_ignore_ascii_case(b"EXACTLY") {
            return Err(Error::SYNTAX);
        }
        let count = parse_integer(count).filter(|count| 0 < *count);
        let count = count.ok_or(Error::fixed("ERR count should be greater than 0"))? as usize;
        let one_by_one = ordering.eq_ignore_ascii_case(b"OBO");
        if !one_by_one && !ordering.eq_ignore_ascii_case(b"BULK") {
            return Err(Error::SYNTAX);
        }
        Ok(HowMany { count, takes_fewer, one_by_one })
    }
}

fn lmovem(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (from, to) = (End::parse(args[3])?, End::parse(args[4])?);
    let how_many = HowMany::parse(&args[5..])?;
    if !move_many(cx, args[1], args[2], (from, to), how_many, reply)? {
        reply.null_array();
    }
    Ok(())
}

/// Takes elements from an end of a list, puts them at an end of another, and replies with them as they lie there.
/// False, and nothing is replied, if there is no list to take from, or not enough in it.
///
/// # Errors
/// One of the keys holds something else.
pub(super) fn move_many(
    cx: &mut Context<'_>,
    source: &[u8],
    destination: &[u8],
    (from, to): (End, End),
    how_many: HowMany,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    let moved = take_for(cx, source, destination, from, how_many.count, how_many.takes_fewer)?;
    let Some(Taken { mut elements, is_empty }) = moved else { return Ok(false) };
    // As they will lie in the destination: one by one, the last that came off lies outermost; in bulk, as they lay.
    let turns = if how_many.one_by_one { to == End::Left } else { from == End::Right };
    if turns {
        elements.reverse();
    }
    reply.array(elements.len());
    elements.iter().for_each(|element| reply.bulk(element));
    let mut pushed: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
    if to == End::Left {
        pushed.reverse();
    }
    push(cx, destination, &pushed, to, true)?;
    say_push(cx, destination, &pushed, to);
    // The changes are counted once.
    cx.keyspace.dirty -= pushed.len() as u64;
    popped(cx, source, from, elements.len(), is_empty && source != destination);
    Ok(true)
}

// Reading

fn llen(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.keyspace.read_container::<List>(cx.db, args[1])?.map_or(0, List::len);
    reply.integer(len as i64);
    Ok(())
}

fn lindex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(list) = cx.keyspace.read_container::<List>(cx.db, args[1])? else {
        reply.null();
        return Ok(());
    };
    let place = place(list, integer(args[2])?);
    if place.and_then(|place| list.with(place, |element| reply_element(reply, element))).is_none() {
        reply.null();
    }
    Ok(())
}

fn lrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = cx.keyspace.read_container::<List>(cx.db, args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let (first, count) = range(list, start, stop);
    if long_reply::leave(&mut cx.long_reply, count, What::Elements { first }) {
        return Ok(());
    }
    reply.array(count);
    list.visit(first, count, |element| reply_element(reply, element));
    Ok(())
}

fn lpos(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut rank, mut count, mut compared_max) = (1, None, 0);
    let not_negative = |word: &[u8], error: &'static str| {
        parse_integer(word).filter(|number| 0 <= *number).ok_or(Error::fixed(error)).map(|number| number as u64)
    };
    let mut rest = &args[3..];
    while let [word, tail @ ..] = rest {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let [operand, tail @ ..] = tail else { return Err(Error::SYNTAX) };
        rest = tail;
        if is("RANK") {
            rank = integer(operand)?;
            if rank == 0 {
                return Err(Error::fixed(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                     negative to start from the end of the list",
                ));
            }
        } else if is("COUNT") {
            count = Some(not_negative(operand, "ERR COUNT can't be negative")?);
        } else if is("MAXLEN") {
            compared_max = not_negative(operand, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    let Some(list) = cx.keyspace.read_container::<List>(cx.db, args[1])? else {
        match count {
            Some(_) => reply.array(0),
            None => reply.null(),
        }
        return Ok(());
    };
    // Redis negates the rank: that of the lowest number stays negative, and so skips no match and counts none.
    let (skipped, wanted) = match rank.checked_abs() {
        Some(rank) => (rank as u64 - 1, count.unwrap_or(1)),
        None => (0, if count.is_some() { 0 } else { 1 }),
    };
    let sought = Sought::new(args[2]);
    let compared_max = if compared_max == 0 { usize::MAX } else { usize::try_from(compared_max).unwrap_or(usize::MAX) };
    let wanted = if wanted == 0 { usize::MAX } else { usize::try_from(wanted).unwrap_or(usize::MAX) };
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let last = list.len() - 1;
    let (mut found, mut compared, mut equal) = (Vec::new(), 0, 0);
    let mut compare = |element: Element<'_>| {
        if sought.is(element) {
            if skipped <= equal {
                found.push(if rank < 0 { last - compared } else { compared });
            }
            equal += 1;
        }
        compared += 1;
        found.len() == wanted || compared == compared_max
    };
    if rank < 0 {
        list.visit_back_until(last, &mut compare);
    } else {
        list.visit_until(0, &mut compare);
    }
    match (count, found.first()) {
        (Some(_), _) => {
            reply.array(found.len());
            found.iter().for_each(|index| reply.integer(*index as i64));
        }
        (None, Some(index)) => reply.integer(*index as i64),
        (None, None) => reply.null(),
    }
    Ok(())
}

// Changing the middle

fn lset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let fill = fill(cx);
    let mut list = cx.keyspace.container_mut::<List>(cx.db, args[1])?.ok_or(Error::NO_SUCH_KEY)?;
    let place = place(&list, integer(args[2])?).ok_or(Error::OUT_OF_RANGE)?;
    list.set(place, args[3], fill);
    drop(list);
    cx.keyspace.changed(cx.db, args[1], Event::LSET);
    reply.ok();
    Ok(())
}

fn linsert(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, pivot, element) = (args[1], args[3], args[4]);
    let behind = if args[2].eq_ignore_ascii_case(b"AFTER") {
        1
    } else if args[2].eq_ignore_ascii_case(b"BEFORE") {
        0
    } else {
        return Err(Error::SYNTAX);
    };
    let fill = fill(cx);
    let Some(mut list) = cx.keyspace.container_mut::<List>(cx.db, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let sought = Sought::new(pivot);
    let (mut place, mut is_found) = (0, false);
    list.visit_until(0, |element| {
        is_found = sought.is(element);
        place += usize::from(!is_found);
        is_found
    });
    if !is_found {
        reply.integer(-1);
        return Ok(());
    }
    list.insert(place + behind, element, fill);
    let len = list.len();
    drop(list);
    cx.keyspace.changed(cx.db, key, Event::LINSERT);
    reply.integer(len as i64);
    Ok(())
}

fn lrem(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, count) = (args[1], integer(args[2])?);
    let fill = fill(cx);
    let Some(mut list) = cx.keyspace.container_mut::<List>(cx.db, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let count_max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = list.remove_equal(Sought::new(args[3]), count_max, count < 0, fill);
    let is_empty = list.is_empty();
    drop(list);
    if removed != 0 {
        cx.keyspace.changed_by(cx.db, key, Event::LREM, removed as u64);
        if is_empty {
            cx.keyspace.delete_emptied(cx.db, key);
        }
    }
    reply.integer(removed as i64);
    Ok(())
}

fn ltrim(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, start, stop) = (args[1], integer(args[2])?, integer(args[3])?);
    let Some(mut list) = cx.keyspace.container_mut::<List>(cx.db, key)? else {
        reply.ok();
        return Ok(());
    };
    let (first, count) = range(&list, start, stop);
    let behind = list.len() - first - count;
    let removed = [cut(&mut list, End::Right, behind), cut(&mut list, End::Left, first)];
    let is_empty = list.is_empty();
    drop(list);
    removed.into_iter().for_each(|removed| cx.keyspace.discard_value(removed));
    // An event even when nothing was removed, as in Redis.
    cx.keyspace.changed_by(cx.db, key, Event::LTRIM, (first + behind) as u64);
    if is_empty {
        cx.keyspace.delete_emptied(cx.db, key);
    }
    reply.ok();
    Ok(())
}
