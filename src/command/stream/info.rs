//! `XINFO`: what is known of a stream, its groups and their consumers.

use super::group::no_group_in;
use super::id::reply_id;
use super::integer;
use super::read::{reply_entries, reply_entry};
use crate::command::client::write_help_lines;
use crate::command::{Args, CommandResult, Context, SessionView};
use crate::resp::{Error, Reply};
use crate::value::stream::{Consumer, ConsumerNumber, Group, Id, Stream, StreamLog};

/// Entries, and pending ones of each group and consumer, that `FULL` tells without `COUNT`.
const FULL_COUNT_DEFAULT: i64 = 10;
/// Nodes of a stream that are looked at to tell how many Redis' index would have for them.
const INDEX_NODES_COUNTED_MAX: usize = 10_000;

pub(super) fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const LINES: &[(&str, &str)] = &[
        ("CONSUMERS <key> <groupname>", "Describes the consumers of a group."),
        ("GROUPS <key>", "Describes the groups of a stream."),
        ("STREAM <key> [FULL [COUNT <count>]]", "Describes a stream; with FULL its entries and groups too."),
        ("HELP", "Describes the subcommands."),
    ];
    write_help_lines(args, LINES, reply);
    Ok(())
}

/// The stream under `args[2]`.
fn stream_of<'a>(cx: &'a mut Context<'_>, args: &Args<'_>) -> Result<&'a Stream, Error> {
    cx.keyspace.read_container::<Stream>(cx.db, args[2])?.ok_or(Error::NO_SUCH_KEY)
}

pub(super) fn stream(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let stream = stream_of(cx, args)?;
    let syntax = || Error::subcommand_syntax("XINFO", args[1]);
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let count = match args[3..] {
        [] => None,
        [full] if is(full, "FULL") => Some(FULL_COUNT_DEFAULT),
        [full, name, count] if is(full, "FULL") && is(name, "COUNT") => {
            let count = integer(count)?;
            Some(if count < 0 { FULL_COUNT_DEFAULT } else { count })
        }
        _ => return Err(syntax()),
    };
    let (log, counters) = (stream.log(), stream.counters());
    let idempotency = stream.idempotency();
    reply.map(if count.is_some() { 9 } else { 10 } + if idempotency.is_some() { 6 } else { 0 });
    reply.bulk("length");
    reply.integer(counters.len as i64);
    reply.bulk("radix-tree-keys");
    reply.integer(log.nodes_len() as i64);
    reply.bulk("radix-tree-nodes");
    reply.integer(index_nodes(log) as i64);
    for (name, id) in [("last-generated-id", counters.last_id), ("max-deleted-entry-id", counters.max_deleted_id)] {
        reply.bulk(name);
        reply_id(reply, id);
    }
    reply.bulk("entries-added");
    reply.integer(counters.entries_added as i64);
    reply.bulk("recorded-first-entry-id");
    reply_id(reply, counters.first_id);
    // Redis 8.6 tells these of every stream; older clients know streams without.
    if let Some(known) = idempotency {
        let limits = known.limits();
        for (name, number) in [
            ("idmp-duration", u64::from(limits.duration_s)),
            ("idmp-maxsize", u64::from(limits.messages_max)),
            ("pids-tracked", known.producers().len() as u64),
            ("iids-tracked", known.messages() as u64),
            ("iids-added", known.added),
            ("iids-duplicates", known.duplicates),
        ] {
            reply.bulk(name);
            reply.integer(number as i64);
        }
    }
    let Some(count) = count else {
        reply.bulk("groups");
        reply.integer(stream.groups().len() as i64);
        let ends = [
            ("first-entry", log.range(Id::MIN, Id::MAX).next()),
            ("last-entry", log.range_back(Id::MIN, Id::MAX).next()),
        ];
        for (name, entry) in ends {
            reply.bulk(name);
            match entry {
                Some(entry) => reply_entry(reply, &entry),
                None => reply.null(),
            }
        }
        return Ok(());
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    reply.bulk("entries");
    reply_entries(reply, log.range(Id::MIN, Id::MAX), count, 10);
    reply.bulk("groups");
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply_full_group(reply, stream, group, count);
    }
    Ok(())
}

/// Up to `count`, or all if that is 0.
fn limit(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

fn reply_number(reply: &mut Reply<'_>, number: Option<i64>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

fn reply_full_group(reply: &mut Reply<'_>, stream: &Stream, group: &Group, count: usize) {
    reply.map(7);
    reply.bulk("name");
    reply.bulk(group.name());
    reply.bulk("last-delivered-id");
    reply_id(reply, group.last_id);
    reply.bulk("entries-read");
    reply_number(reply, group.entries_read);
    reply.bulk("lag");
    reply_number(reply, stream.counters().lag(group));
    reply.bulk("pel-count");
    reply.integer(group.pending_len() as i64);
    reply.bulk("pending");
    reply.array(group.pending_len().min(limit(count)));
    for (id, pending) in group.pending().take(limit(count)) {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(group.owner(pending));
        reply.integer(pending.delivered_ms() as i64);
        reply.integer(pending.deliveries as i64);
    }
    reply.bulk("consumers");
    reply.array(group.consumers().len());
    for (number, consumer) in group.consumers() {
        reply_full_consumer(reply, group, number, consumer, count);
    }
}

fn reply_full_consumer(
    reply: &mut Reply<'_>,
    group: &Group,
    number: ConsumerNumber,
    consumer: &Consumer,
    count: usize,
) {
    reply.map(4);
    reply.bulk("name");
    reply.bulk(consumer.name());
    reply.bulk("seen-time");
    reply.integer(consumer.seen_ms as i64);
    reply.bulk("pel-count");
    reply.integer(consumer.pending_len() as i64);
    reply.bulk("pending");
    reply.array(consumer.pending_len().min(limit(count)));
    for (id, pending) in group.pending_of(number, Id::MIN).take(limit(count)) {
        reply.array(3);
        reply_id(reply, id);
        reply.integer(pending.delivered_ms() as i64);
        reply.integer(pending.deliveries as i64);
    }
}

pub(super) fn groups(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let stream = stream_of(cx, args)?;
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk("name");
        reply.bulk(group.name());
        reply.bulk("consumers");
        reply.integer(group.consumers().len() as i64);
        reply.bulk("pending");
        reply.integer(group.pending_len() as i64);
        reply.bulk("last-delivered-id");
        reply_id(reply, group.last_id);
        reply.bulk("entries-read");
        reply_number(reply, group.entries_read);
        reply.bulk("lag");
        reply_number(reply, stream.counters().lag(group));
    }
    Ok(())
}

pub(super) fn consumers(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let group = stream_of(cx, args)?.group(args[3]).ok_or_else(|| no_group_in(args[3], args[2]))?;
    reply.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        reply.map(3);
        reply.bulk("name");
        reply.bulk(consumer.name());
        reply.bulk("pending");
        reply.integer(consumer.pending_len() as i64);
        reply.bulk("idle");
        reply.integer(now_ms.saturating_sub(consumer.seen_ms) as i64);
    }
    Ok(())
}

/// How many nodes Redis' radix tree would have over the ids of this stream's nodes: that number is told although there
/// is no such tree. Of a long stream, that of its beginning, in proportion.
fn index_nodes(log: &StreamLog) -> usize {
    let keys: Vec<[u8; 16]> = log.nodes().take(INDEX_NODES_COUNTED_MAX).map(|(id, _)| id.to_bytes()).collect();
    if keys.is_empty() {
        return 1; // A root.
    }
    radix_nodes(&keys, 0) * log.nodes_len() / keys.len()
}

/// Nodes of a radix tree over sorted keys, from this byte of theirs on: one for a run of bytes that all share, one
/// where they part, one at each key's end.
fn radix_nodes(keys: &[[u8; 16]], from: usize) -> usize {
    let (first, last) = (keys[0], keys[keys.len() - 1]);
    if keys.len() == 1 {
        return 1 + usize::from(from < first.len());
    }
    let parting = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
    let below = keys.chunk_by(|a, b| a[parting] == b[parting]).map(|part| radix_nodes(part, parting + 1));
    usize::from(from < parting) + 1 + below.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_radix_tree() {
        let nodes = |ids: &[(u64, u64)]| {
            let keys: Vec<[u8; 16]> = ids.iter().map(|(ms, seq)| Id::new(*ms, *seq).to_bytes()).collect();
            radix_nodes(&keys, 0)
        };
        // As redis-server counts them.
        assert_eq!(nodes(&[(1, 1)]), 2);
        assert_eq!(nodes(&[(1, 1), (1, 2)]), 4);
        assert_eq!(nodes(&[(1, 1), (2, 1)]), 6);
        assert_eq!(nodes(&[(1, 1), (1, 2), (1, 3), (2, 1)]), 9);
    }
}
