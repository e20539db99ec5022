//! The commands of sorted sets.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does, in replies, error texts and the order of checks. Newer: `ZRANK` and
//! `ZREVRANK … WITHSCORE` of 7.2, `AGGREGATE COUNT` of 8.8.
//!
//! | File | Commands |
//! |---|---|
//! | `add.rs` | members and their scores: `ZADD`, `ZINCRBY`, `ZREM`, `ZSCORE`, `ZRANK`, … |
//! | `range.rs` | ranges by rank, score and member: read, counted, stored, removed |
//! | `pop.rs` | the ends: `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`; and members at random |
//! | `combine.rs` | `ZUNION`, `ZINTER`, `ZDIFF`, what they store, `ZINTERCARD` |

use super::{Command, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Class, Event, Expiry};
use crate::resp::{Error, Protocol, Reply};
use crate::value::number::{format_double, parse_double, parse_integer};
use crate::value::sorted_set::{Limits, SortedSet};

mod add;
pub mod blocking;
mod combine;
mod pop;
mod range;

pub(super) use add::{Conditions, add_all};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);

/// `numkeys key …`.
const COUNTED: Keys = Keys::Counted { at: 1, destination: 0 };
/// `destination numkeys key …`.
const STORED: Keys = Keys::Counted { at: 2, destination: 1 };
/// `destination source`.
const FROM_TO: &[KeySpec] = &[KeySpec::at(1, KeyAccess::OVERWRITE), KeySpec::at(2, KeyAccess::READ)];

const LOG_OR_MORE: &str = "O(log(N)+M) where N is the number of members and M that of those in the range";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("ZADD", Run::Keyspace(add::zadd))
        .arity(-4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::RW.union(KeyAccess::UPDATE))
        .docs(Group::SortedSet, "1.2.0", "Gives members of a sorted set their scores, if a condition holds.")
        .complexity("O(log(N)) for each member, where N is the number of members")
        .syntax(
            "key [NX|XX]@3.0.2 comparison=[GT|LT]@6.2.0 [change=CH]@3.0.2 [increment=INCR]@3.0.2 \
             score member [score member ...]",
        ),
    Command::new("ZINCRBY", Run::Keyspace(add::zincrby))
        .arity(4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::SortedSet, "1.2.0", "Adds to the score of a member of a sorted set.")
        .complexity("O(log(N)) where N is the number of members")
        .syntax("key increment member"),
    Command::new("ZREM", Run::Keyspace(add::zrem))
        .arity(-3)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::DROP)
        .docs(Group::SortedSet, "1.2.0", "Removes members of a sorted set.")
        .complexity("O(M*log(N)) where N is the number of members and M that of those to be removed")
        .syntax("key member [member ...]"),
    Command::new("ZCARD", Run::Keyspace(add::zcard))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::SortedSet, "1.2.0", "Returns the number of members of a sorted set.")
        .syntax("key"),
    Command::new("ZSCORE", Run::Keyspace(add::zscore))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .docs(Group::SortedSet, "1.2.0", "Returns the score of a member of a sorted set.")
        .syntax("key member"),
    Command::new("ZMSCORE", Run::Keyspace(add::zmscore))
        .arity(-3)
        .key()
        .flags(READ_FAST)
        .docs(Group::SortedSet, "6.2.0", "Returns the scores of members of a sorted set.")
        .complexity("O(N) where N is the number of members asked for")
        .syntax("key member [member ...]"),
    Command::new("ZRANK", Run::Keyspace(add::zrank))
        .arity(-3)
        .key()
        .flags(READ_FAST)
        .docs(Group::SortedSet, "2.0.0", "Returns the rank of a member of a sorted set, from the lowest score.")
        .complexity("O(log(N))")
        .syntax("key member [withscore=WITHSCORE]@7.2.0"),
    Command::new("ZREVRANK", Run::Keyspace(add::zrevrank))
        .arity(-3)
        .key()
        .flags(READ_FAST)
        .docs(Group::SortedSet, "2.0.0", "Returns the rank of a member of a sorted set, from the highest score.")
        .complexity("O(log(N))")
        .syntax("key member [withscore=WITHSCORE]@7.2.0"),
    Command::new("ZSCAN", Run::Keyspace(add::zscan))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::SortedSet, "2.8.0", "Iterates over the members of a sorted set and their scores.")
        .complexity("O(1) for every call, O(N) for a whole iteration, where N is the number of members")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .tips(&["nondeterministic_output"]),
    Command::new("ZRANGE", Run::Keyspace(range::zrange))
        .arity(-4)
        .key()
        .flags(READ)
        .docs(Group::SortedSet, "1.2.0", "Returns the members of a sorted set in a range of ranks, scores or members.")
        .complexity(LOG_OR_MORE)
        .syntax(
            "key start:string stop:string sortby=[BYSCORE|BYLEX]@6.2.0 [rev=REV]@6.2.0 \
             [LIMIT offset count]@6.2.0 [withscores=WITHSCORES]",
        ),
    Command::new("ZRANGEBYSCORE", Run::Keyspace(range::zrangebyscore))
        .arity(-4)
        .key()
        .flags(READ)
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
        .docs(Group::SortedSet, "1.0.5", "Returns the members of a sorted set in a range of scores.")
        .complexity(LOG_OR_MORE)
        .syntax("key min:double max:double [withscores=WITHSCORES]@2.0.0 [LIMIT offset count]"),
    Command::new("ZRANGEBYLEX", Run::Keyspace(range::zrangebylex))
        .arity(-4)
        .key()
        .flags(READ)
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
        .docs(Group::SortedSet, "2.8.9", "Returns the members of a sorted set of one score in a range of members.")
        .complexity(LOG_OR_MORE)
        .syntax("key min:string max:string [LIMIT offset count]"),
    Command::new("ZREVRANGE", Run::Keyspace(range::zrevrange))
        .arity(-4)
        .key()
        .flags(READ)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .docs(
            Group::SortedSet,
            "1.2.0",
            "Returns the members of a sorted set in a range of ranks, from the highest score.",
        )
        .complexity(LOG_OR_MORE)
        .syntax("key start:integer stop:integer [withscores=WITHSCORES]"),
    Command::new("ZREVRANGEBYSCORE", Run::Keyspace(range::zrevrangebyscore))
        .arity(-4)
        .key()
        .flags(READ)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
        .docs(Group::SortedSet, "2.2.0", "Returns the members of a sorted set in a range of scores, from the highest.")
        .complexity(LOG_OR_MORE)
        .syntax("key max:double min:double [withscores=WITHSCORES] [LIMIT offset count]"),
    Command::new("ZREVRANGEBYLEX", Run::Keyspace(range::zrevrangebylex))
        .arity(-4)
        .key()
        .flags(READ)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .docs(Group::SortedSet, "2.8.9", "Returns the members of a sorted set of one score in a range, from the last.")
        .complexity(LOG_OR_MORE)
        .syntax("key max:string min:string [LIMIT offset count]"),
    Command::new("ZRANGESTORE", Run::Keyspace(range::zrangestore))
        .arity(-5)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .key_specs(FROM_TO)
        .flags(GROW)
        .docs(Group::SortedSet, "6.2.0", "Stores the members of a sorted set in a range of ranks, scores or members.")
        .complexity("O(log(N)+M) where N is the number of members and M that of those stored")
        .syntax("dst:key src:key min:string max:string sortby=[BYSCORE|BYLEX] [rev=REV] [LIMIT offset count]"),
    Command::new("ZCOUNT", Run::Keyspace(range::zcount))
        .arity(4)
        .key()
        .flags(READ_FAST)
        .docs(Group::SortedSet, "2.0.0", "Returns the number of members of a sorted set in a range of scores.")
        .complexity("O(log(N)) where N is the number of members")
        .syntax("key min:double max:double"),
    Command::new("ZLEXCOUNT", Run::Keyspace(range::zlexcount))
        .arity(4)
        .key()
        .flags(READ_FAST)
        .docs(
            Group::SortedSet,
            "2.8.9",
            "Returns the number of members of a sorted set of one score in a range of members.",
        )
        .complexity("O(log(N)) where N is the number of members")
        .syntax("key min:string max:string"),
    Command::new("ZREMRANGEBYRANK", Run::Keyspace(range::zremrangebyrank))
        .arity(4)
        .key()
        .flags(WRITE)
        .access(KeyAccess::DROP)
        .docs(Group::SortedSet, "2.0.0", "Removes the members of a sorted set in a range of ranks.")
        .complexity(LOG_OR_MORE)
        .syntax("key start:integer stop:integer"),
    Command::new("ZREMRANGEBYSCORE", Run::Keyspace(range::zremrangebyscore))
        .arity(4)
        .key()
        .flags(WRITE)
        .access(KeyAccess::DROP)
        .docs(Group::SortedSet, "1.2.0", "Removes the members of a sorted set in a range of scores.")
        .complexity(LOG_OR_MORE)
        .syntax("key min:double max:double"),
    Command::new("ZREMRANGEBYLEX", Run::Keyspace(range::zremrangebylex))
        .arity(4)
        .key()
        .flags(WRITE)
        .access(KeyAccess::DROP)
        .docs(Group::SortedSet, "2.8.9", "Removes the members of a sorted set of one score in a range of members.")
        .complexity(LOG_OR_MORE)
        .syntax("key min:string max:string"),
    Command::new("ZPOPMIN", Run::Keyspace(pop::zpopmin))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::SortedSet, "5.0.0", "Removes and returns the members of a sorted set with the lowest scores.")
        .complexity("O(M*log(N)) where N is the number of members and M that of those returned")
        .syntax("key [count]"),
    Command::new("ZPOPMAX", Run::Keyspace(pop::zpopmax))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::SortedSet, "5.0.0", "Removes and returns the members of a sorted set with the highest scores.")
        .complexity("O(M*log(N)) where N is the number of members and M that of those returned")
        .syntax("key [count]"),
    Command::new("ZMPOP", Run::Keyspace(pop::zmpop))
        .arity(-4)
        .keys(COUNTED)
        .flags(WRITE.union(Flags::MOVABLEKEYS))
        .access(KeyAccess::TAKE)
        .docs(
            Group::SortedSet,
            "7.0.0",
            "Removes and returns members from the end of the first sorted set that has some.",
        )
        .complexity("O(K)+O(M*log(N)) where K is the number of keys, N of members and M of those returned")
        .syntax("numkeys key [key ...] where=<MIN|MAX> [COUNT count]"),
    Command::new("ZRANDMEMBER", Run::Keyspace(pop::zrandmember))
        .arity(-2)
        .key()
        .flags(READ)
        .docs(Group::SortedSet, "6.2.0", "Returns members of a sorted set at random.")
        .complexity("O(M*log(N)) where N is the number of members and M that of those returned")
        .syntax("key options=[count [withscores=WITHSCORES]]")
        .tips(&["nondeterministic_output"]),
    Command::new("ZUNION", Run::Keyspace(combine::zunion))
        .arity(-3)
        .keys(COUNTED)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "6.2.0", "Returns the members that any of several sorted sets has.")
        .complexity("O(N)+O(M*log(M)) where N is the number of all members and M that of those returned")
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE SUM|MIN|MAX|COUNT@8.8.0] [withscores=WITHSCORES]",
        ),
    Command::new("ZINTER", Run::Keyspace(combine::zinter))
        .arity(-3)
        .keys(COUNTED)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "6.2.0", "Returns the members that all of several sorted sets have.")
        .complexity("O(N*K)+O(M*log(M)) where N is the length of the smallest of K sets and M that of the result")
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE SUM|MIN|MAX|COUNT@8.8.0] [withscores=WITHSCORES]",
        ),
    Command::new("ZDIFF", Run::Keyspace(combine::zdiff))
        .arity(-3)
        .keys(COUNTED)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "6.2.0", "Returns the members of a sorted set that none of several others has.")
        .complexity("O(N*K) where N is the length of the first of K sets")
        .syntax("numkeys key [key ...] [withscores=WITHSCORES]"),
    Command::new("ZINTERCARD", Run::Keyspace(combine::zintercard))
        .arity(-3)
        .keys(COUNTED)
        .flags(READ.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "7.0.0", "Returns the number of members that all of several sorted sets have.")
        .complexity("O(N*K) where N is the length of the smallest of K sets")
        .syntax("numkeys key [key ...] [LIMIT limit]"),
    Command::new("ZUNIONSTORE", Run::Keyspace(combine::zunionstore))
        .arity(-4)
        .keys(STORED)
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "2.0.0", "Stores the members that any of several sorted sets has.")
        .complexity("O(N)+O(M*log(M)) where N is the number of all members and M that of those stored")
        .syntax(
            "destination:key numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE SUM|MIN|MAX|COUNT@8.8.0]",
        ),
    Command::new("ZINTERSTORE", Run::Keyspace(combine::zinterstore))
        .arity(-4)
        .keys(STORED)
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "2.0.0", "Stores the members that all of several sorted sets have.")
        .complexity("O(N*K)+O(M*log(M)) where N is the length of the smallest of K sets and M that of the result")
        .syntax(
            "destination:key numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE SUM|MIN|MAX|COUNT@8.8.0]",
        ),
    Command::new("ZDIFFSTORE", Run::Keyspace(combine::zdiffstore))
        .arity(-4)
        .keys(STORED)
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .docs(Group::SortedSet, "6.2.0", "Stores the members of a sorted set that none of several others has.")
        .complexity("O(N*K) where N is the length of the first of K sets")
        .syntax("destination:key numkeys key [key ...]"),
];

/// How large a small set may be, by configuration.
pub(super) fn limits(cx: &Context<'_>) -> Limits {
    Limits { members_max: cx.config.zset_max_listpack_entries, member_bytes_max: cx.config.zset_max_listpack_value }
}

/// An event of sorted sets.
const fn event(name: &'static str) -> Event {
    Event::new(name, Class::SORTED_SET)
}

fn integer(arg: &[u8]) -> Result<i64, Error> {
    parse_integer(arg).ok_or(Error::NOT_INTEGER)
}

fn float(arg: &[u8]) -> Result<f64, Error> {
    parse_double(arg).ok_or(Error::NOT_FLOAT)
}

/// An integer from 0 on; anything else is answered with `otherwise`.
fn count(arg: &[u8], otherwise: Error) -> Result<usize, Error> {
    parse_integer(arg).and_then(|number| usize::try_from(number).ok()).ok_or(otherwise)
}

/// An integer from 1 on; anything else is answered with `otherwise`.
fn positive(arg: &[u8], otherwise: Error) -> Result<usize, Error> {
    let number = parse_integer(arg).and_then(|number| usize::try_from(number).ok());
    number.filter(|&number| 0 < number).ok_or(otherwise)
}

fn reply_score(reply: &mut Reply<'_>, score: f64) {
    reply.double(&format_double(score));
}

/// Begins a reply of so many members: with their scores they are pairs in RESP3, and one flat array in RESP2.
pub(super) fn reply_members(reply: &mut Reply<'_>, members: usize, with_scores: bool) {
    let is_flat = with_scores && reply.protocol() == Protocol::Resp2;
    reply.array(if is_flat { 2 * members } else { members });
}

pub(super) fn reply_member(reply: &mut Reply<'_>, member: &[u8], score: f64, with_scores: bool) {
    if with_scores && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(member);
    if with_scores {
        reply_score(reply, score);
    }
}

/// Counts `changes` of a key and notes one event for them; and removes the key if it is empty by now.
fn note_removals(cx: &mut Context<'_>, key: &[u8], changes: usize, event: Event, is_empty: bool) {
    assert!(0 < changes);
    cx.keyspace.changed(cx.db, key, event);
    cx.keyspace.dirty += changes as u64 - 1;
    if is_empty {
        // The last change was counted above.
        cx.keyspace.delete(cx.db, key);
        cx.keyspace.dirty -= 1;
    }
}

/// Puts a result under a key in the place of whatever it held, or removes the key if there is none; the result's
/// length is the reply.
pub(super) fn store(cx: &mut Context<'_>, key: &[u8], result: SortedSet, event: Event, reply: &mut Reply<'_>) {
    reply.integer(result.len() as i64);
    if result.is_empty() {
        cx.keyspace.delete(cx.db, key);
    } else {
        cx.keyspace.put(cx.db, key, result.into(), Expiry::Clear, event);
    }
}
