//! Commands of later Redis versions: `XDELEX`, `XACKDEL` (8.2), `XCFGSET` (8.6), `XNACK`, `XIDMPRECORD` (8.8).
//!
//! They follow the documentation and the public test suite of Redis; error texts are those of its tests.

use super::id::{c_text, parse_strict};
use super::pending::no_group;
use super::write::{say_limits, say_message};
use super::{idempotency_limits, integer};
use crate::command::{Args, CommandResult, Context};
use crate::keyspace::Event;
use crate::resp::{Error, Reply};
use crate::value::number::parse_integer;
use crate::value::stream::{DELIVERIES_MAX, Id, IdempotencyLimits, References, Stream};

const IDS_NOT_POSITIVE: Error = Error::fixed("ERR Number of IDs must be a positive integer");
const IDS_MISMATCH: Error = Error::fixed("ERR The `numids` parameter must match the number of arguments");
const IDS_MISSING: Error = Error::fixed("ERR syntax error, expected IDS keyword");

/// `KEEPREF`, `DELREF` or `ACKED`.
pub(super) fn parse_references(word: &[u8]) -> Option<References> {
    let all = [("KEEPREF", References::Keep), ("DELREF", References::Delete), ("ACKED", References::Respect)];
    all.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, references)| references)
}

/// `[KEEPREF|DELREF|ACKED] IDS numids id [id ...]`, in any order.
fn parse_ids(words: &Args<'_>) -> Result<(References, Vec<Id>), Error> {
    let (mut references, mut ids) = (None, None);
    let mut at = 0;
    while at < words.len() {
        if let (None, Some(given)) = (references, parse_references(words[at])) {
            references = Some(given);
            at += 1;
        } else if ids.is_none() && words[at].eq_ignore_ascii_case(b"IDS") && at + 1 < words.len() {
            let count = parse_integer(words[at + 1]).filter(|count| 0 < *count).ok_or(IDS_NOT_POSITIVE)?;
            let behind = &words[at + 2..];
            let count = usize::try_from(count).ok().filter(|count| *count <= behind.len()).ok_or(IDS_MISMATCH)?;
            ids = Some(behind[..count].iter().map(|word| parse_strict(word, 0)).collect::<Result<Vec<Id>, Error>>()?);
            at += 2 + count;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok((references.unwrap_or(References::Keep), ids.ok_or(Error::SYNTAX)?))
}

/// What became of an entry that was to be deleted.
fn outcome(stream: &mut Stream, id: Id, references: References) -> i64 {
    if !stream.log().contains(id) {
        if references == References::Delete {
            stream.forget_pending(id);
        }
        return -1;
    }
    if references == References::Respect && !stream.is_acknowledged_by_all(id) {
        return 2;
    }
    stream.delete(id);
    if references == References::Delete {
        stream.forget_pending(id);
    }
    1
}

pub(super) fn xdelex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (references, ids) = parse_ids(&args[2..])?;
    let outcomes: Vec<i64> = match cx.keyspace.container_mut::<Stream>(cx.db, args[1])? {
        None => vec![-1; ids.len()],
        Some(mut stream) => ids.into_iter().map(|id| outcome(&mut stream, id, references)).collect(),
    };
    tell_outcomes(cx, args[1], &outcomes, reply);
    Ok(())
}

fn tell_outcomes(cx: &mut Context<'_>, key: &[u8], outcomes: &[i64], reply: &mut Reply<'_>) {
    let deleted = outcomes.iter().filter(|outcome| **outcome == 1).count();
    if deleted != 0 {
        cx.keyspace.changed_by(cx.db, key, Event::XDEL, deleted as u64);
    }
    reply.array(outcomes.len());
    outcomes.iter().for_each(|outcome| reply.integer(*outcome));
}

pub(super) fn xackdel(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (references, ids) = parse_ids(&args[3..])?;
    let mut acknowledged = 0;
    let outcomes: Vec<i64> = match cx.keyspace.container_mut::<Stream>(cx.db, args[1])? {
        Some(mut stream) if stream.group(args[2]).is_some() => ids
            .into_iter()
            .map(|id| {
                // What is not pending for this group is none of its business.
                if stream.change_group(args[2], |group, _, _| group.acknowledge(id)) != Some(true) {
                    return -1;
                }
                acknowledged += 1;
                // An entry that is gone already is as good as deleted.
                outcome(&mut stream, id, references).abs()
            })
            .collect(),
        _ => vec![-1; ids.len()],
    };
    cx.keyspace.dirty += acknowledged;
    tell_outcomes(cx, args[1], &outcomes, reply);
    Ok(())
}

/// How a delivery counts that is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not at all.
    Silent,
    /// As one.
    Fail,
    /// As the last.
    Fatal,
}

pub(super) fn xnack(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut stream = cx.keyspace.container_mut::<Stream>(cx.db, args[1])?.ok_or_else(|| no_group(args))?;
    if stream.group(args[2]).is_none() {
        return Err(no_group(args));
    }
    let modes = [("SILENT", Mode::Silent), ("FAIL", Mode::Fail), ("FATAL", Mode::Fatal)];
    let mode = modes.into_iter().find(|(name, _)| args[3].eq_ignore_ascii_case(name.as_bytes()));
    let (_, mode) = mode.ok_or(Error::fixed("ERR mode must be SILENT, FAIL, or FATAL"))?;
    let (mut ids, mut deliveries, mut makes_pending) = (None, None, false);
    let mut at = 4;
    while at < args.len() {
        let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
        if is("IDS") && ids.is_none() && at + 1 < args.len() {
            let count = parse_integer(args[at + 1]).filter(|count| 0 < *count);
            let count = count.ok_or(Error::fixed("ERR numids must be a positive integer"))?;
            let behind = &args[at + 2..];
            let count = usize::try_from(count).ok().filter(|count| *count <= behind.len());
            let count = count.ok_or(Error::fixed("ERR number of IDs doesn't match numids"))?;
            ids = Some(behind[..count].iter().map(|word| parse_strict(word, 0)).collect::<Result<Vec<Id>, Error>>()?);
            at += 1 + count;
        } else if is("RETRYCOUNT") && at + 1 < args.len() {
            at += 1;
            let count = u64::try_from(integer(args[at])?);
            deliveries = Some(count.map_err(|_| Error::fixed("ERR Invalid RETRYCOUNT value, must be >= 0"))?);
        } else if is("FORCE") {
            makes_pending = true;
        } else {
            let word = c_text(args[at]);
            return Err(Error::new([b"ERR Unrecognized XNACK option '", word, b"'"].concat()));
        }
        at += 1;
    }
    let ids = ids.ok_or(IDS_MISSING)?;
    let counted = |known: Option<u64>| match (deliveries, mode) {
        (Some(deliveries), _) => deliveries,
        (None, Mode::Fatal) => DELIVERIES_MAX,
        (None, Mode::Fail) => known.unwrap_or(0),
        (None, Mode::Silent) => known.unwrap_or(0).saturating_sub(1),
    };
    let given_back = stream.change_group(args[2], |group, log, _| {
        let mut given_back = 0;
        for id in ids {
            let known = group.find_pending(id).map(|pending| pending.deliveries);
            if known.is_some() || makes_pending && log.contains(id) {
                group.give_back(id, counted(known));
                given_back += 1;
            }
        }
        given_back
    });
    let given_back = given_back.expect("seen above");
    drop(stream);
    if given_back != 0 {
        // Only servers that know the command can have what it leaves.
        cx.keyspace.records.say(cx.db, args[1], args);
        // One who waits with CLAIM gets what was given back: it is told as a change of the key.
        cx.keyspace.changed_by(cx.db, args[1], Event::XNACK, given_back);
    }
    reply.integer(given_back as i64);
    Ok(())
}

pub(super) fn xcfgset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let default = idempotency_limits(cx);
    let (mut duration_s, mut messages_max) = (None, None);
    for option in args[2..].chunks(2) {
        let [name, number] = option else { return Err(Error::SYNTAX) };
        let within = |error: &'static str, max: u32| {
            let number = u32::try_from(integer(number)?).ok().filter(|number| (1..=max).contains(number));
            number.ok_or(Error::fixed(error))
        };
        if name.eq_ignore_ascii_case(b"IDMP-DURATION") {
            duration_s = Some(within(
                "ERR IDMP-DURATION must be between 1 and 86400 seconds",
                IdempotencyLimits::DURATION_S_MAX,
            )?);
        } else if name.eq_ignore_ascii_case(b"IDMP-MAXSIZE") {
            messages_max =
                Some(within("ERR IDMP-MAXSIZE must be between 1 and 10000 entries", IdempotencyLimits::MESSAGES_MAX)?);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if duration_s.is_none() && messages_max.is_none() {
        return Err(Error::fixed("ERR At least one parameter must be specified"));
    }
    let mut stream = cx.keyspace.container_mut::<Stream>(cx.db, args[1])?.ok_or(Error::NO_SUCH_KEY)?;
    stream.change_idempotency(default, |known| {
        let mut limits = known.limits();
        limits.duration_s = duration_s.unwrap_or(limits.duration_s);
        limits.messages_max = messages_max.unwrap_or(limits.messages_max);
        known.set_limits(limits);
    });
    drop(stream);
    say_limits(cx, args[1]);
    cx.keyspace.dirty += 1;
    reply.ok();
    Ok(())
}

pub(super) fn xidmprecord(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (default, now_ms, is_replaying) = (idempotency_limits(cx), cx.now_ms, cx.keyspace.is_replaying);
    let (producer, message) = (args[2], args[3]);
    let mut stream = cx.keyspace.container_mut::<Stream>(cx.db, args[1])?.ok_or(Error::NO_SUCH_KEY)?;
    if producer.is_empty() || message.is_empty() {
        return Err(Error::fixed("ERR The producer ID and the idempotent ID must not be empty"));
    }
    let id = parse_strict(args[4], 0)?;
    // The base of a log remembers messages whose entries are no more.
    if !is_replaying && !stream.log().contains(id) {
        return Err(Error::fixed("ERR The specified stream ID was deleted or doesn't exist"));
    }
    let is_first = stream.idempotency().is_none();
    // And a log has messages that were forgotten before they came again.
    let is_known = stream.change_idempotency(default, |known| {
        let entry = known.find(producer, message, now_ms);
        if entry.is_none_or(|entry| is_replaying && entry != id) {
            known.remember(producer, message, id, now_ms);
        }
        is_replaying || entry.is_none_or(|entry| entry == id)
    });
    if !is_known {
        return Err(Error::fixed(
            "ERR The specified IDMP producer-id/idempotent-id pair maps to a different stream ID",
        ));
    }
    drop(stream);
    say_message(cx, args[1], is_first, [producer, message, args[4]]);
    cx.keyspace.dirty += 1;
    reply.ok();
    Ok(())
}
