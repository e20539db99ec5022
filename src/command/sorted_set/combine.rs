//! Several sorted sets, and sets, made into one: union, intersection, difference. Sets count as sorted sets of score 1.

use super::{count, event, float, integer, limits, reply_member, reply_members, store};
use crate::command::{Args, CommandResult, Context};
use crate::keyspace::{EntryRef, Keyspace};
use crate::resp::{Error, Reply};
use crate::value::ValueRef;
use crate::value::set::Set;
use crate::value::sorted_set::SortedSet;
use ahash::AHashMap;
use std::cmp::Ordering;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// Scores do not matter, only weights, which are added.
    Count,
}

impl Aggregate {
    /// What a score of one input counts.
    fn weighted(self, score: f64, weight: f64) -> f64 {
        if self == Aggregate::Count { weight } else { score * weight }
    }

    /// Two inputs' scores made into one. Opposite infinities add up to nothing.
    fn combine(self, sum: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum | Aggregate::Count => {
                let sum = sum + other;
                if sum.is_nan() { 0.0 } else { sum }
            }
            Aggregate::Min => {
                if other < sum {
                    other
                } else {
                    sum
                }
            }
            Aggregate::Max => {
                if sum < other {
                    other
                } else {
                    sum
                }
            }
        }
    }
}

/// What can be combined.
#[derive(Clone, Copy)]
enum Members<'a> {
    None,
    Sorted(&'a SortedSet),
    /// All of score 1.
    Plain(&'a Set),
}

impl<'a> Members<'a> {
    /// A value's members; `None` if it is of another type.
    fn of(entry: EntryRef<'a>) -> Option<Members<'a>> {
        match entry.value() {
            ValueRef::SortedSet(set) => Some(Members::Sorted(set)),
            ValueRef::Set(set) => Some(Members::Plain(set)),
            _ => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Members::None => 0,
            Members::Sorted(set) => set.len(),
            Members::Plain(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Members::None => None,
            Members::Sorted(set) => set.score(member),
            Members::Plain(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Visits all members until `visit` says false, those of sorted sets from the highest score on, as Redis does.
    fn visit_while(self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        match self {
            Members::None => {}
            Members::Sorted(set) => {
                let mut goes_on = true;
                set.visit(0, set.len(), true, |member, score| goes_on = goes_on && visit(member, score));
            }
            Members::Plain(set) => {
                let mut digits = itoa::Buffer::new();
                _ = set.iter().all(|member| visit(member.bytes(&mut digits), 1.0));
            }
        }
    }
}

/// One input.
#[derive(Clone, Copy)]
struct Input<'a> {
    key: &'a [u8],
    weight: f64,
}

/// What follows the keys.
struct Options {
    aggregate: Aggregate,
    with_scores: bool,
    /// 0: none.
    limit: usize,
}

/// Which options a command takes.
#[derive(Clone, Copy)]
struct Takes {
    weights: bool,
    with_scores: bool,
    limit: bool,
}

pub(super) fn zunion(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, reply, Operation::Union)
}

pub(super) fn zinter(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, reply, Operation::Intersection)
}

pub(super) fn zdiff(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, reply, Operation::Difference)
}

pub(super) fn zunionstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    keep(cx, args, reply, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    keep(cx, args, reply, Operation::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    keep(cx, args, reply, Operation::Difference, "zdiffstore")
}

fn answer(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, operation: Operation) -> CommandResult {
    let takes = Takes { weights: operation != Operation::Difference, with_scores: true, limit: false };
    let (inputs, options) = parse(cx, args, 1, takes)?;
    let result = sorted(combined(cx.keyspace, cx.db, inputs, operation, options.aggregate));
    reply_members(reply, result.len(), options.with_scores);
    for (member, score) in &result {
        reply_member(reply, member, *score, options.with_scores);
    }
    Ok(())
}

fn keep(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
    name: &'static str,
) -> CommandResult {
    let takes = Takes { weights: operation != Operation::Difference, with_scores: false, limit: false };
    let (inputs, options) = parse(cx, args, 2, takes)?;
    let result = sorted(combined(cx.keyspace, cx.db, inputs, operation, options.aggregate));
    let members = result.iter().map(|(member, score)| (&member[..], *score));
    store(cx, args[1], SortedSet::from_sorted(members, limits(cx)), event(name), reply);
    Ok(())
}

pub(super) fn zintercard(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (inputs, options) = parse(cx, args, 1, Takes { weights: false, with_scores: false, limit: true })?;
    let mut count = 0;
    intersect(&members_of(cx.keyspace, cx.db, inputs), Aggregate::Sum, |_, _| {
        count += 1;
        count != options.limit
    });
    reply.integer(count as i64);
    Ok(())
}

/// Reads the count of keys at an index, the keys and the options; looks at every key.
fn parse<'a>(
    cx: &mut Context<'_>,
    args: &Args<'a>,
    at: usize,
    takes: Takes,
) -> Result<(Vec<Input<'a>>, Options), Error> {
    let numkeys = integer(args[at])?;
    if numkeys < 1 {
        return Err(Error::needs_input_key(&String::from_utf8_lossy(args[0]).to_ascii_lowercase()));
    }
    let rest = &args[at + 1..];
    let numkeys = usize::try_from(numkeys).ok().filter(|&numkeys| numkeys <= rest.len()).ok_or(Error::SYNTAX)?;
    let (keys, mut rest) = rest.split_at(numkeys);
    for key in keys {
        if cx.keyspace.read(cx.db, key).is_some_and(|entry| Members::of(entry).is_none()) {
            return Err(Error::WRONG_TYPE);
        }
    }
    let mut inputs: Vec<Input<'a>> = keys.iter().map(|&key| Input { key, weight: 1.0 }).collect();
    let mut options = Options { aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    while let [option, tail @ ..] = rest {
        rest = tail;
        if takes.weights && numkeys <= tail.len() && option.eq_ignore_ascii_case(b"weights") {
            for (input, weight) in inputs.iter_mut().zip(tail) {
                input.weight = float(weight).map_err(|_| Error::fixed("ERR weight value is not a float"))?;
            }
            rest = &tail[numkeys..];
        } else if takes.weights && !tail.is_empty() && option.eq_ignore_ascii_case(b"aggregate") {
            options.aggregate = match () {
                () if tail[0].eq_ignore_ascii_case(b"sum") => Aggregate::Sum,
                () if tail[0].eq_ignore_ascii_case(b"min") => Aggregate::Min,
                () if tail[0].eq_ignore_ascii_case(b"max") => Aggregate::Max,
                () if tail[0].eq_ignore_ascii_case(b"count") => Aggregate::Count,
                () => return Err(Error::SYNTAX),
            };
            rest = &tail[1..];
        } else if takes.with_scores && option.eq_ignore_ascii_case(b"withscores") {
            options.with_scores = true;
        } else if takes.limit && !tail.is_empty() && option.eq_ignore_ascii_case(b"limit") {
            options.limit = count(tail[0], Error::fixed("ERR LIMIT can't be negative"))?;
            rest = &tail[1..];
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok((inputs, options))
}

/// The members of the inputs, which have been looked at, with their weights.
fn members_of<'a>(keyspace: &'a Keyspace, db: usize, inputs: Vec<Input<'_>>) -> Vec<(Members<'a>, f64)> {
    let members = |key| keyspace.peek(db, key).and_then(Members::of).unwrap_or(Members::None);
    inputs.into_iter().map(|input| (members(input.key), input.weight)).collect()
}

/// What an operation makes of the inputs, in no order.
fn combined(
    keyspace: &Keyspace,
    db: usize,
    inputs: Vec<Input<'_>>,
    operation: Operation,
    aggregate: Aggregate,
) -> Vec<(Box<[u8]>, f64)> {
    let mut inputs = members_of(keyspace, db, inputs);
    match operation {
        Operation::Union => {
            // Shortest first, as in Redis: it decides in which order floats are added.
            inputs.sort_by_key(|(members, _)| members.len());
            let mut scores: AHashMap<Box<[u8]>, f64> = AHashMap::new();
            for (members, weight) in inputs {
                members.visit_while(|member, score| {
                    let score = number_or_zero(aggregate.weighted(score, weight));
                    match scores.get_mut(member) {
                        Some(sum) => *sum = aggregate.combine(*sum, score),
                        None => _ = scores.insert(member.into(), score),
                    }
                    true
                });
            }
            scores.into_iter().collect()
        }
        Operation::Intersection => {
            let mut result = Vec::new();
            intersect(&inputs, aggregate, |member, score| {
                result.push((member.into(), score));
                true
            });
            result
        }
        Operation::Difference => {
            let mut result = Vec::new();
            let [(first, _), others @ ..] = &inputs[..] else { unreachable!("there is at least one key") };
            first.visit_while(|member, score| {
                if others.iter().all(|(other, _)| other.score(member).is_none()) {
                    result.push((member.into(), score));
                }
                true
            });
            result
        }
    }
}

/// Visits the members that all inputs have until `visit` says false.
fn intersect(inputs: &[(Members<'_>, f64)], aggregate: Aggregate, mut visit: impl FnMut(&[u8], f64) -> bool) {
    // Shortest first, as in Redis.
    let mut inputs = inputs.to_vec();
    inputs.sort_by_key(|(members, _)| members.len());
    let [(first, weight), others @ ..] = &inputs[..] else { unreachable!("there is at least one key") };
    first.visit_while(|member, score| {
        let mut sum = number_or_zero(aggregate.weighted(score, *weight));
        for (other, weight) in others {
            let Some(score) = other.score(member) else { return true };
            sum = aggregate.combine(sum, aggregate.weighted(score, *weight));
        }
        visit(member, sum)
    });
}

/// Infinity times zero counts as nothing.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Members in the order of a sorted set.
fn sorted(mut members: Vec<(Box<[u8]>, f64)>) -> Vec<(Box<[u8]>, f64)> {
    members.sort_unstable_by(|(a, score_a), (b, score_b)| {
        score_a.partial_cmp(score_b).unwrap_or(Ordering::Equal).then_with(|| a.cmp(b))
    });
    members
}
