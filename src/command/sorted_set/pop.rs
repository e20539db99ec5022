//! The ends of sorted sets, which are taken out; and members at random, which stay.

use super::{count, event, integer, note_removals, positive, reply_member, reply_members, reply_score};
use crate::command::set::{RANDOM_COUNT_MAX, RANGE};
use crate::command::{Args, CommandResult, Context};
use crate::resp::{Error, Protocol, Reply};
use crate::value::sorted_set::SortedSet;
use ahash::AHashSet;

/// An end of a sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum End {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

impl End {
    /// `MIN` or `MAX`.
    pub fn parse(word: &[u8]) -> Option<End> {
        match () {
            () if word.eq_ignore_ascii_case(b"min") => Some(End::Min),
            () if word.eq_ignore_ascii_case(b"max") => Some(End::Max),
            () => None,
        }
    }
}

/// Takes up to `count` members, at least one, from an end of a sorted set that is there and not empty, and visits them
/// from the end inwards. `begin` is told before how many they are.
pub(in crate::command) fn pop(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    reply: &mut Reply<'_>,
    begin: impl FnOnce(&mut Reply<'_>, usize),
    mut visit: impl FnMut(&mut Reply<'_>, &[u8], f64),
) -> CommandResult {
    let mut set = cx.keyspace.container_mut::<SortedSet>(cx.db, key)?.expect("the caller has seen it");
    let len = count.min(set.len());
    let start = if end == End::Max { set.len() - len } else { 0 };
    begin(reply, len);
    set.visit(start, len, end == End::Max, |member, score| visit(reply, member, score));
    let is_empty = len == set.len();
    if !is_empty {
        set.remove_range(start, len);
    }
    drop(set);
    let name: &[u8] = if end == End::Max { b"ZPOPMAX" } else { b"ZPOPMIN" };
    cx.keyspace.records.say(cx.db, key, &[name, key, itoa::Buffer::new().format(len).as_bytes()]);
    note_removals(cx, key, len, event(if end == End::Max { "zpopmax" } else { "zpopmin" }), is_empty);
    Ok(())
}

pub(super) fn zpopmin(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop_one_key(cx, args, reply, End::Min)
}

pub(super) fn zpopmax(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop_one_key(cx, args, reply, End::Max)
}

fn pop_one_key(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, end: End) -> CommandResult {
    if 3 < args.len() {
        return Err(Error::SYNTAX);
    }
    let asked = args.get(2).map(|arg| count(arg, Error::NOT_POSITIVE)).transpose()?;
    let is_there = cx.keyspace.container_mut::<SortedSet>(cx.db, args[1])?.is_some();
    if !is_there || asked == Some(0) {
        reply.array(0);
        return Ok(());
    }
    // Pairs in RESP3, unless there is but one and nobody asked for a number of them.
    let is_flat = asked.is_none() || reply.protocol() == Protocol::Resp2;
    pop(
        cx,
        args[1],
        end,
        asked.unwrap_or(1),
        reply,
        |reply, len| reply.array(if is_flat { 2 * len } else { len }),
        |reply, member, score| {
            if !is_flat {
                reply.array(2);
            }
            reply.bulk(member);
            reply_score(reply, score);
        },
    )
}

pub(super) fn zmpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (keys, end, count) = parse_zmpop(&args[1..])?;
    for key in keys {
        if cx.keyspace.container_mut::<SortedSet>(cx.db, key)?.is_some() {
            return pop_with_key(cx, key, end, count, reply);
        }
    }
    reply.null_array();
    Ok(())
}

/// What follows `ZMPOP`, and the timeout of `BZMPOP`: keys, which end, how many.
pub(in crate::command) fn parse_zmpop<'a, 'b>(args: &'b Args<'a>) -> Result<(&'b Args<'a>, End, usize), Error> {
    let numkeys = positive(args[0], Error::NUMKEYS_NOT_POSITIVE)?;
    let end_at = numkeys.checked_add(1).filter(|&at| at < args.len()).ok_or(Error::SYNTAX)?;
    let end = End::parse(args[end_at]).ok_or(Error::SYNTAX)?;
    let count = match &args[end_at + 1..] {
        [] => 1,
        [option, count, rest @ ..] if option.eq_ignore_ascii_case(b"count") => {
            let count = positive(count, Error::fixed("ERR count should be greater than 0"))?;
            if !rest.is_empty() {
                return Err(Error::SYNTAX);
            }
            count
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok((&args[1..end_at], end, count))
}

/// `ZMPOP` of a key whose sorted set is there: its name, then pairs.
pub(in crate::command) fn pop_with_key(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    reply: &mut Reply<'_>,
) -> CommandResult {
    pop(
        cx,
        key,
        end,
        count,
        reply,
        |reply, len| {
            reply.array(2);
            reply.bulk(key);
            reply.array(len);
        },
        |reply, member, score| {
            reply.array(2);
            reply.bulk(member);
            reply_score(reply, score);
        },
    )
}

/// Beyond so many members drawn from a set, in parts of its length, it is cheaper to draw those that are left out.
const DRAWN_SHARE_MAX: usize = 3;

pub(super) fn zrandmember(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(count) = args.get(2) else {
        let Some(set) = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])? else {
            reply.null();
            return Ok(());
        };
        set.visit(cx.random.usize(..set.len()), 1, false, |member, _| reply.bulk(member));
        return Ok(());
    };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(RANGE);
    }
    let with_scores = match &args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(Error::SYNTAX),
    };
    if with_scores && i64::MAX as u64 / 2 < count.unsigned_abs() {
        return Err(Error::VALUE_OUT_OF_RANGE);
    }
    let is_unique = 0 <= count;
    let count = count.unsigned_abs() as usize;
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?.filter(|_| 0 < count);
    let Some(set) = set else {
        reply.array(0);
        return Ok(());
    };
    let len = set.len();
    let say = |reply: &mut Reply<'_>, rank: usize| {
        set.visit(rank, 1, false, |member, score| reply_member(reply, member, score, with_scores));
    };
    if !is_unique {
        if RANDOM_COUNT_MAX < count {
            return Err(Error::VALUE_OUT_OF_RANGE);
        }
        reply_members(reply, count, with_scores);
        for _ in 0..count {
            say(reply, cx.random.usize(..len));
        }
    } else if len <= count {
        // In Redis' order.
        reply_members(reply, len, with_scores);
        set.visit(0, len, true, |member, score| reply_member(reply, member, score, with_scores));
    } else {
        reply_members(reply, count, with_scores);
        let is_few = count * DRAWN_SHARE_MAX < len;
        let drawn = draw(cx.random, len, if is_few { count } else { len - count });
        if is_few {
            drawn.iter().for_each(|&rank| say(reply, rank));
        } else {
            let left_out: AHashSet<usize> = drawn.into_iter().collect();
            (0..len).filter(|rank| !left_out.contains(rank)).for_each(|rank| say(reply, rank));
        }
    }
    Ok(())
}

/// So many different numbers below `len`, in random order.
fn draw(random: &mut fastrand::Rng, len: usize, count: usize) -> Vec<usize> {
    let mut seen = AHashSet::new();
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let rank = random.usize(..len);
        if seen.insert(rank) {
            drawn.push(rank);
        }
    }
    drawn
}
