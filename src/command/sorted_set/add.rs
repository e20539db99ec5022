//! Members and their scores: added, changed, removed, asked for one by one.

use super::{event, float, limits, note_removals, reply_score};
use crate::command::scan::{self, Scan};
use crate::command::{Args, CommandResult, Context};
use crate::keyspace::Expiry;
use crate::resp::{Error, Reply};
use crate::value::sorted_set::{Limits, SortedSet};

/// The options of `ZADD`.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::command) struct Conditions {
    /// Only members that are new.
    pub nx: bool,
    /// Only members that are not.
    pub xx: bool,
    /// Only to a higher score.
    pub gt: bool,
    /// Only to a lower score.
    pub lt: bool,
    /// Changed members count too.
    pub ch: bool,
    /// The score is added to that of the member.
    pub incr: bool,
}

pub(super) fn zadd(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut conditions = Conditions::default();
    let mut rest = &args[2..];
    while let [option, tail @ ..] = rest {
        let flag = match () {
            () if option.eq_ignore_ascii_case(b"nx") => &mut conditions.nx,
            () if option.eq_ignore_ascii_case(b"xx") => &mut conditions.xx,
            () if option.eq_ignore_ascii_case(b"ch") => &mut conditions.ch,
            () if option.eq_ignore_ascii_case(b"incr") => &mut conditions.incr,
            () if option.eq_ignore_ascii_case(b"gt") => &mut conditions.gt,
            () if option.eq_ignore_ascii_case(b"lt") => &mut conditions.lt,
            () => break,
        };
        *flag = true;
        rest = tail;
    }
    add(cx, args[1], conditions, rest, reply)
}

pub(super) fn zincrby(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args[1], Conditions { incr: true, ..Conditions::default() }, &args[2..], reply)
}

/// `ZADD` behind its options, which are checked here.
fn add(
    cx: &mut Context<'_>,
    key: &[u8],
    conditions: Conditions,
    pairs: &Args<'_>,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let Conditions { nx, xx, gt, lt, incr, .. } = conditions;
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    if nx && xx {
        return Err(Error::fixed("ERR XX and NX options at the same time are not compatible"));
    }
    if nx && (gt || lt) || gt && lt {
        return Err(Error::fixed("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if incr && 2 < pairs.len() {
        return Err(Error::fixed("ERR INCR option supports a single increment-element pair"));
    }
    // All scores are looked at before anything is done. The few of most calls are kept on the stack.
    let mut members: smallvec::SmallVec<[(f64, &[u8]); 8]> = smallvec::SmallVec::new();
    for pair in pairs.chunks_exact(2) {
        members.push((float(pair[0])?, pair[1]));
    }
    add_all(cx, key, conditions, &members, reply)
}

/// `ZADD` with its arguments read: some members.
pub(in crate::command) fn add_all(
    cx: &mut Context<'_>,
    key: &[u8],
    conditions: Conditions,
    members: &[(f64, &[u8])],
    reply: &mut Reply<'_>,
) -> CommandResult {
    let limits = limits(cx);
    let event = event(if conditions.incr { "zincr" } else { "zadd" });
    let there = cx.keyspace.container_mut::<SortedSet>(cx.db, key)?;
    let outcome = match there.map(|mut set| change(&mut set, conditions, members, limits)) {
        Some(outcome) => {
            if 0 < outcome.changes() {
                cx.keyspace.changed(cx.db, key, event);
            }
            outcome
        }
        None if conditions.xx => Outcome::default(),
        None => {
            let mut set = SortedSet::new(limits, members[0].1.len());
            let outcome = change(&mut set, conditions, members, limits);
            assert!(!set.is_empty(), "the first member is new, and its score a number");
            cx.keyspace.put(cx.db, key, set.into(), Expiry::Clear, event);
            outcome
        }
    };
    let changes = outcome.changes();
    // One has been counted with the event.
    cx.keyspace.dirty += changes.saturating_sub(1) as u64;
    if outcome.is_nan {
        return Err(Error::fixed("ERR resulting score is not a number (NaN)"));
    }
    match (conditions.incr, outcome.score) {
        (true, Some(score)) => reply_score(reply, score),
        (true, None) => reply.null(),
        (false, _) => reply.integer(if conditions.ch { changes } else { outcome.added } as i64),
    }
    Ok(())
}

/// What became of some members.
#[derive(Default)]
struct Outcome {
    added: usize,
    updated: usize,
    /// The last score that a member got, or has already.
    score: Option<f64>,
    is_nan: bool,
}

impl Outcome {
    fn changes(&self) -> usize {
        self.added + self.updated
    }
}

fn change(set: &mut SortedSet, conditions: Conditions, members: &[(f64, &[u8])], limits: Limits) -> Outcome {
    let Conditions { nx, xx, gt, lt, incr, .. } = conditions;
    let mut outcome = Outcome::default();
    for &(given, member) in members {
        set.update(member, limits, |old| {
            let Some(old) = old else {
                if xx {
                    return None;
                }
                outcome.added += 1;
                outcome.score = Some(given);
                return Some(given);
            };
            if nx {
                return None;
            }
            let score = if incr { old + given } else { given };
            if score.is_nan() {
                outcome.is_nan = true;
                return None;
            }
            if lt && old <= score || gt && score <= old {
                return None;
            }
            outcome.updated += usize::from(score != old);
            outcome.score = Some(score);
            Some(score)
        });
    }
    outcome
}

pub(super) fn zrem(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut removed, mut is_empty) = (0, false);
    if let Some(mut set) = cx.keyspace.container_mut::<SortedSet>(cx.db, args[1])? {
        for member in &args[2..] {
            removed += usize::from(set.remove(member).is_some());
        }
        is_empty = set.is_empty();
    }
    if 0 < removed {
        note_removals(cx, args[1], removed, event("zrem"), is_empty);
    }
    reply.integer(removed as i64);
    Ok(())
}

pub(super) fn zcard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.integer(set.map_or(0, SortedSet::len) as i64);
    Ok(())
}

pub(super) fn zscore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?.and_then(|set| set.score(args[2])) {
        Some(score) => reply_score(reply, score),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn zmscore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        match set.and_then(|set| set.score(member)) {
            Some(score) => reply_score(reply, score),
            None => reply.null(),
        }
    }
    Ok(())
}

pub(super) fn zrank(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rank(cx, args, reply, false)
}

pub(super) fn zrevrank(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rank(cx, args, reply, true)
}

fn rank(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, is_from_back: bool) -> CommandResult {
    let with_score = match &args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscore") => true,
        // Redis 7.0, which has no such option, says this; later ones speak of the syntax.
        _ => return Err(Error::wrong_arity(if is_from_back { "zrevrank" } else { "zrank" })),
    };
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(args[2])?;
        Some((if is_from_back { set.len() - 1 - rank } else { rank }, score))
    });
    match (found, with_score) {
        (Some((rank, _)), false) => reply.integer(rank as i64),
        (Some((rank, score)), true) => {
            reply.array(2);
            reply.integer(rank as i64);
            reply_score(reply, score);
        }
        (None, false) => reply.null(),
        (None, true) => reply.null_array(),
    }
    Ok(())
}

pub(super) fn zscan(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = scan::cursor(args[2])?;
    let Some(set) = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])? else {
        scan::reply_empty(reply);
        return Ok(());
    };
    let options = Scan::parse(&args[3..], false)?;
    options.reply(reply, |elements| {
        let mut len = 0;
        let next = set.scan(cursor, options.count, |member, score| {
            if options.pattern.matches(member) {
                elements.bulk(member);
                elements.bulk(score);
                len += 2;
            }
        });
        (len, next)
    });
    Ok(())
}
