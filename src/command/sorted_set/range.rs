//! Ranges of sorted sets, by rank, by score and by member: read, counted, stored and removed.

use super::{event, integer, limits, note_removals, reply_member, reply_members, store};
use crate::command::long_reply::{self, What};
use crate::command::{Args, CommandResult, Context};
use crate::resp::{Error, Reply};
use crate::value::number::parse_double;
use crate::value::sorted_set::{LexBound, LexRange, Limits, ScoreRange, SortedSet};

const NOT_SCORES: Error = Error::fixed("ERR min or max is not a float");
const NOT_MEMBERS: Error = Error::fixed("ERR min or max not valid string range item");

/// What a range is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// A range as it was asked for.
enum Range<'a> {
    /// First and last, counted from the end where negative.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

/// What the name of a command says already.
struct Fixed {
    /// Not to be said by BYSCORE or BYLEX.
    kind: Option<Kind>,
    /// Not to be said by REV.
    is_back: Option<bool>,
    /// There is a key to store the result under, before the one that is read.
    stores: bool,
}

/// A whole `ZRANGE` or one of its relatives.
struct Query<'a> {
    key: &'a [u8],
    range: Range<'a>,
    is_back: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: all.
    limit: i64,
}

impl<'a> Query<'a> {
    fn parse(args: &Args<'a>, fixed: Fixed) -> Result<Query<'a>, Error> {
        let first = 1 + usize::from(fixed.stores);
        let (key, mut min, mut max) = (args[first], args[first + 1], args[first + 2]);
        let (mut kind, mut is_back, mut with_scores, mut offset, mut limit) = (fixed.kind, fixed.is_back, false, 0, -1);
        let mut rest = &args[first + 3..];
        while let [option, tail @ ..] = rest {
            rest = tail;
            if !fixed.stores && option.eq_ignore_ascii_case(b"withscores") {
                with_scores = true;
            } else if option.eq_ignore_ascii_case(b"limit") && 2 <= tail.len() {
                (offset, limit) = (integer(tail[0])?, integer(tail[1])?);
                rest = &tail[2..];
            } else if is_back.is_none() && option.eq_ignore_ascii_case(b"rev") {
                is_back = Some(true);
            } else if kind.is_none() && option.eq_ignore_ascii_case(b"bylex") {
                kind = Some(Kind::Lex);
            } else if kind.is_none() && option.eq_ignore_ascii_case(b"byscore") {
                kind = Some(Kind::Score);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        let (kind, is_back) = (kind.unwrap_or(Kind::Rank), is_back.unwrap_or(false));
        if limit != -1 && kind == Kind::Rank {
            return Err(Error::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && kind == Kind::Lex {
            return Err(Error::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        if is_back && kind != Kind::Rank {
            (min, max) = (max, min);
        }
        let range = match kind {
            Kind::Rank => Range::Rank(integer(min)?, integer(max)?),
            Kind::Score => Range::Score(score_range(min, max)?),
            Kind::Lex => Range::Lex(lex_range(min, max)?),
        };
        Ok(Query { key, range, is_back, with_scores, offset, limit })
    }

    /// The members it is about: the lowest rank, and how many.
    fn ranks(&self, set: &SortedSet) -> (usize, usize) {
        let (start, len) = match &self.range {
            Range::Rank(first, last) => {
                let (start, len) = ranks(*first, *last, set.len());
                // Counted from the highest score where it is read from there.
                return (if self.is_back { set.len() - start - len } else { start }, len);
            }
            Range::Score(range) => set.score_range(range),
            Range::Lex(range) => set.lex_range(range, self.is_back),
        };
        let skipped = usize::try_from(self.offset).map_or(len, |offset| offset.min(len));
        let taken = usize::try_from(self.limit).map_or(len - skipped, |limit| limit.min(len - skipped));
        (if self.is_back { start + len - skipped - taken } else { start + skipped }, taken)
    }
}

/// Members from a first rank to a last, counted from the end where negative: the first, and how many.
fn ranks(first: i64, last: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_start = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
    let (first, last) = (from_start(first).max(0), from_start(last).min(len - 1));
    if last < first { (0, 0) } else { (first as usize, (last - first + 1) as usize) }
}

fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, Error> {
    let (min, min_exclusive) = score_bound(min).ok_or(NOT_SCORES)?;
    let (max, max_exclusive) = score_bound(max).ok_or(NOT_SCORES)?;
    Ok(ScoreRange { min, min_exclusive, max, max_exclusive })
}

/// A bound as Redis reads one, with `strtod`: up to a NUL, spaces before the number, nothing at all is 0, what is too
/// large is infinite and what is too small is 0.
fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let (text, is_exclusive) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    if text.is_empty() {
        return Some((0.0, is_exclusive));
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let number = &text[text.iter().position(|byte| !is_space(byte))?..];
    let beyond = || std::str::from_utf8(number).ok()?.parse().ok().filter(|score: &f64| !score.is_nan());
    Some((parse_double(number).or_else(beyond)?, is_exclusive))
}

fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, Error> {
    Ok(LexRange { min: lex_bound(min).ok_or(NOT_MEMBERS)?, max: lex_bound(max).ok_or(NOT_MEMBERS)? })
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
        [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
        // As a C string the text ends at a NUL.
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Lowest),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Highest),
        _ => None,
    }
}

pub(super) fn zrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, None, None)
}

pub(super) fn zrangebyscore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, Some(Kind::Score), Some(false))
}

pub(super) fn zrangebylex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, Some(Kind::Lex), Some(false))
}

pub(super) fn zrevrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, Some(Kind::Rank), Some(true))
}

pub(super) fn zrevrangebyscore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, Some(Kind::Score), Some(true))
}

pub(super) fn zrevrangebylex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read(cx, args, reply, Some(Kind::Lex), Some(true))
}

fn read(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    kind: Option<Kind>,
    is_back: Option<bool>,
) -> CommandResult {
    let query = Query::parse(args, Fixed { kind, is_back, stores: false })?;
    let Some(set) = cx.keyspace.read_container::<SortedSet>(cx.db, query.key)? else {
        reply.array(0);
        return Ok(());
    };
    let (start, len) = query.ranks(set);
    let what = What::Ranked { start, is_back: query.is_back, with_scores: query.with_scores };
    if long_reply::leave(&mut cx.long_reply, len, what) {
        return Ok(());
    }
    reply_members(reply, len, query.with_scores);
    set.visit(start, len, query.is_back, |member, score| reply_member(reply, member, score, query.with_scores));
    Ok(())
}

pub(super) fn zrangestore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let query = Query::parse(args, Fixed { kind: None, is_back: None, stores: true })?;
    let limits = limits(cx);
    let source = cx.keyspace.read_container::<SortedSet>(cx.db, query.key)?;
    // As in Redis, which knows the length beforehand only where ranks are asked for: a set that begins small becomes
    // large when a member is too long, but one that begins large stays so.
    let mut result = SortedSet::new(limits, 0);
    if let Some(set) = source {
        let (start, len) = query.ranks(set);
        if matches!(query.range, Range::Rank(..)) && limits.members_max < len {
            result = SortedSet::new(Limits { members_max: 0, ..limits }, 0);
        }
        set.visit(start, len, query.is_back, |member, score| result.set(member, score, limits));
    }
    store(cx, args[1], result, event("zrangestore"), reply);
    Ok(())
}

pub(super) fn zcount(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let range = score_range(args[2], args[3])?;
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.integer(set.map_or(0, |set| set.score_range(&range).1) as i64);
    Ok(())
}

pub(super) fn zlexcount(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let range = lex_range(args[2], args[3])?;
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.integer(set.map_or(0, |set| set.lex_range(&range, false).1) as i64);
    Ok(())
}

pub(super) fn zremrangebyrank(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (first, last) = (integer(args[2])?, integer(args[3])?);
    remove(cx, args[1], reply, "zremrangebyrank", |set| ranks(first, last, set.len()))
}

pub(super) fn zremrangebyscore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let range = score_range(args[2], args[3])?;
    remove(cx, args[1], reply, "zremrangebyscore", |set| set.score_range(&range))
}

pub(super) fn zremrangebylex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let range = lex_range(args[2], args[3])?;
    remove(cx, args[1], reply, "zremrangebylex", |set| set.lex_range(&range, false))
}

fn remove(
    cx: &mut Context<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
    name: &'static str,
    find: impl FnOnce(&SortedSet) -> (usize, usize),
) -> CommandResult {
    let (mut removed, mut is_empty) = (0, false);
    if let Some(mut set) = cx.keyspace.container_mut::<SortedSet>(cx.db, key)? {
        let (start, len) = find(&set);
        is_empty = len == set.len();
        // A set that goes as a whole goes with its key, and is freed when nobody waits.
        removed = if is_empty { len } else { set.remove_range(start, len) };
    }
    if 0 < removed {
        note_removals(cx, key, removed, event(name), is_empty);
    }
    reply.integer(removed as i64);
    Ok(())
}
