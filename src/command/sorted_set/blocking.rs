//! The sorted set commands that wait where there is nothing to take.
//!
//! Each takes what there is, or says what it waits for: see [`Wait`].

use super::pop::{End, parse_zmpop, pop, pop_with_key};
use super::reply_score;
use crate::command::{
    Args, Command, Context, Flags, Group, KeyAccess, Keys, Refused, Retry, Run, Wait, parse_timeout_ms,
};
use crate::resp::{Error, Reply};
use crate::value::Type;
use crate::value::sorted_set::SortedSet;

const WRITE: Flags = Flags::WRITE.union(Flags::BLOCKING);
const POPS: Flags = WRITE.union(Flags::NOSCRIPT).union(Flags::FAST);
const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("BZMPOP", Run::Blocking(bzmpop))
        .arity(-5)
        .keys(Keys::Counted { at: 2, destination: 0 })
        .access(KeyAccess::TAKE)
        .flags(WRITE.union(Flags::MOVABLEKEYS))
        .docs(
            Group::SortedSet,
            "7.0.0",
            "Takes members from an end of the first sorted set that is not empty; waits for some.",
        )
        .complexity("O(K) + O(M*log(N)) where K is the number of keys, N that of members and M that of those taken")
        .syntax("timeout:double numkeys key [key ...] where=(MIN|MAX) [COUNT count]"),
    Command::new("BZPOPMAX", Run::Blocking(bzpopmax))
        .arity(-3)
        .keys(ALL_BUT_LAST)
        .access(KeyAccess::TAKE)
        .flags(POPS)
        .docs(
            Group::SortedSet,
            "5.0.0",
            "Takes the member with the highest score of the first sorted set that is not empty; waits for one.",
        )
        .complexity("O(log(N)) where N is the number of members")
        .syntax("key [key ...] timeout:double"),
    Command::new("BZPOPMIN", Run::Blocking(bzpopmin))
        .arity(-3)
        .keys(ALL_BUT_LAST)
        .access(KeyAccess::TAKE)
        .flags(POPS)
        .docs(
            Group::SortedSet,
            "5.0.0",
            "Takes the member with the lowest score of the first sorted set that is not empty; waits for one.",
        )
        .complexity("O(log(N)) where N is the number of members")
        .syntax("key [key ...] timeout:double"),
];

/// What such a command returns: `None` if it is done.
type Waits = Result<Option<Wait>, Error>;

fn wait(timeout_ms: u64, retries: impl Iterator<Item = Retry>) -> Wait {
    Wait {
        retries: retries.collect(),
        value_type: Type::SortedSet,
        timeout_ms,
        refused: Refused::NullArray,
        orphaned: None,
        polls_ms: None,
    }
}

fn owned(args: &Args<'_>) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.to_vec()).collect()
}

fn bzpopmin(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop_one(cx, args, End::Min, reply)
}

fn bzpopmax(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop_one(cx, args, End::Max, reply)
}

fn pop_one(cx: &mut Context<'_>, args: &Args<'_>, end: End, reply: &mut Reply<'_>) -> Waits {
    let (timeout, keys) = args[1..].split_last().expect("by its arity");
    let timeout_ms = parse_timeout_ms(timeout)?;
    for key in keys {
        if cx.keyspace.container_mut::<SortedSet>(cx.db, key)?.is_none() {
            continue;
        }
        let begin = |reply: &mut Reply<'_>, _| {
            reply.array(3);
            reply.bulk(key);
        };
        pop(cx, key, end, 1, reply, begin, |reply, member, score| {
            reply.bulk(member);
            reply_score(reply, score);
        })?;
        return Ok(None);
    }
    let retries = keys.iter().map(|key| Retry { key: key.to_vec(), args: owned(&[args[0], key, timeout]) });
    Ok(Some(wait(timeout_ms, retries)))
}

fn bzmpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let (keys, end, count) = parse_zmpop(&args[2..])?;
    let timeout_ms = parse_timeout_ms(args[1])?;
    for key in keys {
        if cx.keyspace.container_mut::<SortedSet>(cx.db, key)?.is_some() {
            pop_with_key(cx, key, end, count, reply)?;
            return Ok(None);
        }
    }
    let options = &args[3 + keys.len()..];
    let retries = keys.iter().map(|key| {
        let head: [&[u8]; 4] = [args[0], args[1], b"1", key];
        Retry { key: key.to_vec(), args: owned(&[&head[..], options].concat()) }
    });
    Ok(Some(wait(timeout_ms, retries)))
}
