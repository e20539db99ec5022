//! `XPENDING`, `XCLAIM`, `XAUTOCLAIM`: what was delivered and is not acknowledged, and how it gets another consumer.

use super::id::{c_text, parse_start, parse_stop, parse_strict, reply_id};
use super::integer;
use super::read::{reply_entry, see_consumer};
use crate::command::{Args, CommandResult, Context};
use crate::keyspace::Event;
use crate::resp::{Error, Reply};
use crate::value::number::parse_integer;
use crate::value::stream::{ConsumerNumber, Group, Id, Pending, Stream, StreamLog, delivered_again};

/// There is no such key, or no such group in it.
pub(super) fn no_group(args: &Args<'_>) -> Error {
    let (key, group) = (c_text(args[1]), c_text(args[2]));
    Error::new([b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"].concat())
}

/// How long something that is pending was not delivered, in ms; none: it was given back.
pub(super) fn idle_ms(pending: &Pending, now_ms: u64) -> Option<i64> {
    pending.consumer().map(|_| now_ms.saturating_sub(pending.delivered_ms()) as i64)
}

/// Whether something was not delivered for so long. What was given back was.
fn is_idle(pending: &Pending, idle_ms_min: i64, now_ms: u64) -> bool {
    idle_ms(pending, now_ms).is_none_or(|idle_ms| idle_ms_min <= idle_ms)
}

pub(super) fn xpending(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const ARGS_MAX: usize = 9;
    if args.len() != 3 && (args.len() < 6 || ARGS_MAX < args.len()) {
        return Err(Error::SYNTAX);
    }
    let mut range = None;
    let mut idle_ms_min = 0;
    if 6 <= args.len() {
        let mut at = 3;
        if args[3].eq_ignore_ascii_case(b"IDLE") {
            idle_ms_min = integer(args[4])?;
            at = 5;
            if args.len() < 8 {
                return Err(Error::SYNTAX);
            }
        }
        let count = usize::try_from(integer(args[at + 2])?.max(0)).unwrap_or(usize::MAX);
        range = Some((parse_start(args[at])?, parse_stop(args[at + 1])?, count, args.get(at + 3)));
    }
    let now_ms = cx.now_ms;
    let stream = cx.keyspace.read_container::<Stream>(cx.db, args[1])?;
    let group = stream.and_then(|stream| stream.group(args[2])).ok_or_else(|| no_group(args))?;
    let Some((start, end, count, consumer)) = range else {
        reply_summary(reply, group);
        return Ok(());
    };
    let mark = reply.defer();
    let mut told = 0;
    let mut tell = |(id, pending): (Id, &Pending)| {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(group.owner(pending));
        reply.integer(idle_ms(pending, now_ms).unwrap_or(-1));
        reply.integer(pending.deliveries as i64);
        told += 1;
    };
    let is_asked = |(_, pending): &(Id, &Pending)| idle_ms_min <= 0 || is_idle(pending, idle_ms_min, now_ms);
    let is_within = |(id, _): &(Id, &Pending)| *id <= end;
    match consumer {
        None => group.pending_from(start).take_while(is_within).filter(is_asked).take(count).for_each(&mut tell),
        Some(name) => {
            if let Some(number) = group.find_consumer(name) {
                let pending = group.pending_of(number, start);
                pending.take_while(is_within).filter(is_asked).take(count).for_each(&mut tell);
            }
        }
    }
    reply.finish_array(mark, told);
    Ok(())
}

fn reply_summary(reply: &mut Reply<'_>, group: &Group) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let Some((first, last)) = group.pending_ends() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, first);
    reply_id(reply, last);
    let busy = || group.consumers().filter(|(_, consumer)| consumer.pending_len() != 0);
    reply.array(busy().count());
    for (_, consumer) in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending_len() as i64);
    }
}

/// An integer, or an error that says which one was meant.
fn named_integer(word: &[u8], name: &str, command: &str) -> Result<i64, Error> {
    parse_integer(word).ok_or_else(|| Error::new(format!("ERR Invalid {name} argument for {command}")))
}

/// An entry that is pending for a consumer from now on.
pub(super) struct Given {
    pub(super) id: Id,
    pub(super) delivered_ms: u64,
    pub(super) deliveries: u64,
}

/// Tells the log of writes which entries of a stream (the key, the group and the consumer) are pending for the
/// consumer, which are for nobody any more, and the last id that the group has read.
pub(super) fn say_given(
    cx: &mut Context<'_>,
    [key, group, consumer]: [&[u8]; 3],
    given: &[Given],
    forgotten: &[Id],
    last: Id,
) {
    if !cx.keyspace.records.is_on {
        return;
    }
    let last = last.to_string();
    for Given { id, delivered_ms, deliveries } in given {
        let words = [id.to_string(), delivered_ms.to_string(), deliveries.to_string()];
        let [id, delivered_ms, deliveries] = [0, 1, 2].map(|at| words[at].as_bytes());
        let head: [&[u8]; 8] = [b"XCLAIM", key, group, consumer, b"0", id, b"TIME", delivered_ms];
        let tail: [&[u8]; 6] = [b"RETRYCOUNT", deliveries, b"FORCE", b"JUSTID", b"LASTID", last.as_bytes()];
        cx.keyspace.records.say(cx.db, key, &[&head[..], &tail].concat());
    }
    if !forgotten.is_empty() {
        let ids: Vec<String> = forgotten.iter().map(Id::to_string).collect();
        let head: [&[u8]; 3] = [b"XACK", key, group];
        let args: Vec<&[u8]> = head.into_iter().chain(ids.iter().map(String::as_bytes)).collect();
        cx.keyspace.records.say(cx.db, key, &args);
    }
}

/// What `XCLAIM` and `XAUTOCLAIM` do to each entry.
struct Claim {
    idle_ms_min: i64,
    /// What is told as the time of delivery.
    delivered_ms: u64,
    deliveries: Option<u64>,
    only_ids: bool,
}

impl Claim {
    /// Gives a pending entry to the consumer, and tells it.
    #[expect(clippy::too_many_arguments, reason = "what is given, to whom, and who is told")]
    fn give(
        &self,
        group: &mut Group,
        log: &StreamLog,
        id: Id,
        deliveries: u64,
        to: ConsumerNumber,
        reply: &mut Reply<'_>,
        given: &mut Vec<Given>,
    ) {
        let counted = if self.only_ids { deliveries } else { delivered_again(deliveries) };
        group.deliver(id, to, self.delivered_ms, self.deliveries.unwrap_or(counted));
        given.push(Given { id, delivered_ms: self.delivered_ms, deliveries: self.deliveries.unwrap_or(counted) });
        if self.only_ids {
            reply_id(reply, id);
        } else {
            reply_entry(reply, &log.get(id).expect("seen by who claims"));
        }
    }
}

pub(super) fn xclaim(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let mut stream = cx.keyspace.read_container_mut::<Stream>(cx.db, args[1])?.ok_or_else(|| no_group(args))?;
    let (mut given, mut forgotten, mut last) = (Vec::new(), Vec::new(), Id::MIN);
    let result = stream.change_group(args[2], |group, log, _| {
        let idle_ms_min = named_integer(args[4], "min-idle-time", "XCLAIM")?.max(0);
        let ids: Vec<Id> = args[5..].iter().map_while(|word| parse_strict(word, 0).ok()).collect();
        let mut claim = Claim { idle_ms_min, delivered_ms: now_ms, deliveries: None, only_ids: false };
        let (mut makes_pending, mut last_id) = (false, Id::MIN);
        let mut delivered_ms = now_ms as i64;
        let mut at = 5 + ids.len();
        while at < args.len() {
            let more = args.len() - 1 - at;
            let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
            if is("FORCE") {
                makes_pending = true;
            } else if is("JUSTID") {
                claim.only_ids = true;
            } else if is("IDLE") && 0 < more {
                at += 1;
                delivered_ms = (now_ms as i64).wrapping_sub(named_integer(args[at], "IDLE option", "XCLAIM")?);
            } else if is("TIME") && 0 < more {
                at += 1;
                delivered_ms = named_integer(args[at], "TIME option", "XCLAIM")?;
            } else if is("RETRYCOUNT") && 0 < more {
                at += 1;
                let deliveries = named_integer(args[at], "RETRYCOUNT option", "XCLAIM")?;
                claim.deliveries = u64::try_from(deliveries).ok();
            } else if is("LASTID") && 0 < more {
                at += 1;
                last_id = parse_strict(args[at], 0)?;
            } else {
                let word = c_text(args[at]);
                return Err(Error::new([b"ERR Unrecognized XCLAIM option '", word, b"'"].concat()));
            }
            at += 1;
        }
        group.last_id = group.last_id.max(last_id);
        // A time that has not come is as good as none: clocks differ.
        claim.delivered_ms = u64::try_from(delivered_ms).ok().filter(|ms| *ms <= now_ms).unwrap_or(now_ms);
        let mut owner = None;
        let (mut told, mut changes) = (0, 0);
        let mark = reply.defer_about(ids.len());
        for id in ids {
            let pending = group.find_pending(id).copied();
            if !log.contains(id) {
                if group.acknowledge(id) {
                    changes += 1;
                    forgotten.push(id);
                }
                continue;
            }
            let deliveries = match pending {
                Some(pending) if !is_idle(&pending, claim.idle_ms_min, now_ms) => continue,
                Some(pending) => pending.deliveries,
                // As if it had been delivered once.
                None if makes_pending => 1,
                None => continue,
            };
            let (consumer, _) = *owner.get_or_insert_with(|| see_consumer(group, args[3], now_ms));
            claim.give(group, log, id, deliveries, consumer, reply, &mut given);
            told += 1;
            changes += 1;
        }
        reply.finish_array(mark, told);
        last = group.last_id;
        Ok((note_active(group, owner, now_ms), changes))
    });
    let (is_new, changes) = result.unwrap_or_else(|| Err(no_group(args)))?;
    drop(stream);
    say_given(cx, [args[1], args[2], args[3]], &given, &forgotten, last);
    settle(cx, args[1], is_new, changes);
    Ok(())
}

/// A consumer has got something, if there was anything. Whether it is new.
fn note_active(group: &mut Group, owner: Option<(ConsumerNumber, bool)>, now_ms: u64) -> bool {
    let Some((consumer, is_new)) = owner else { return false };
    group.change_consumer(consumer, |consumer| consumer.active_ms = Some(now_ms));
    is_new
}

/// Notes that a consumer came into being, and how much changed hands.
fn settle(cx: &mut Context<'_>, key: &[u8], is_new: bool, changes: u64) {
    if is_new {
        cx.keyspace.changed(cx.db, key, Event::XGROUP_CREATECONSUMER);
    }
    cx.keyspace.dirty += changes;
}

pub(super) fn xautoclaim(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    /// Pending entries looked at for each one that may be claimed.
    const ATTEMPTS_PER_ENTRY: i64 = 10;
    const COUNT_MAX: i64 = i64::MAX / 16;
    const COUNT_DEFAULT: i64 = 100;
    let now_ms = cx.now_ms;
    let idle_ms_min = named_integer(args[4], "min-idle-time", "XAUTOCLAIM")?.max(0);
    let start = parse_start(args[5])?;
    let mut count = COUNT_DEFAULT;
    let mut claim = Claim { idle_ms_min, delivered_ms: now_ms, deliveries: None, only_ids: false };
    let mut at = 6;
    while at < args.len() {
        let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
        if is("COUNT") && at + 1 < args.len() {
            at += 1;
            let wanted = parse_integer(args[at]).filter(|count| (1..=COUNT_MAX).contains(count));
            count = wanted.ok_or(Error::fixed("ERR COUNT must be > 0"))?;
        } else if is("JUSTID") {
            claim.only_ids = true;
        } else {
            return Err(Error::SYNTAX);
        }
        at += 1;
    }
    let mut stream = cx.keyspace.read_container_mut::<Stream>(cx.db, args[1])?.ok_or_else(|| no_group(args))?;
    let (mut given, mut forgotten, mut last) = (Vec::new(), Vec::new(), Id::MIN);
    let result = stream.change_group(args[2], |group, log, _| {
        let mut attempts = count * ATTEMPTS_PER_ENTRY;
        let (mut gone, mut changes) = (Vec::new(), 0);
        let mut claimed = Vec::new();
        let next_of =
            |group: &Group, from: Option<Id>| group.pending_from(from?).next().map(|(id, pending)| (id, *pending));
        let mut next = next_of(group, Some(start));
        while let Some((id, pending)) = next.filter(|_| 0 < attempts && 0 < count) {
            attempts -= 1;
            if !log.contains(id) {
                group.acknowledge(id);
                gone.push(id);
                count -= 1;
                changes += 1;
            } else if is_idle(&pending, claim.idle_ms_min, now_ms) {
                claimed.push((id, pending));
                count -= 1;
            }
            next = next_of(group, id.next());
        }
        reply.array(3);
        reply_id(reply, next.map_or(Id::MIN, |(id, _)| id));
        reply.array(claimed.len());
        let mut owner = None;
        for (id, pending) in claimed {
            let (consumer, _) = *owner.get_or_insert_with(|| see_consumer(group, args[3], now_ms));
            claim.give(group, log, id, pending.deliveries, consumer, reply, &mut given);
            changes += 1;
        }
        reply.array(gone.len());
        gone.iter().for_each(|id| reply_id(reply, *id));
        forgotten = gone;
        last = group.last_id;
        (note_active(group, owner, now_ms), changes)
    });
    let (is_new, changes) = result.ok_or_else(|| no_group(args))?;
    drop(stream);
    say_given(cx, [args[1], args[2], args[3]], &given, &forgotten, last);
    settle(cx, args[1], is_new, changes);
    Ok(())
}
