//! `XLEN`, `XRANGE`, `XREVRANGE`, `XREAD`, `XREADGROUP`: what reads entries.
//!
//! `XREAD` and `XREADGROUP` wait where there is nothing to read. One who waits is run again for the key to which
//! something happened, with `$` and `+` as the ids that they stood for, and a count if there was none.

use super::id::{c_text, parse_start, parse_stop, parse_strict, reply_id};
use super::pending::{Given, idle_ms, say_given};
use super::{integer, reply_element};
use crate::command::{Args, CommandResult, Context, Orphaned, Refused, Retry, Wait};
use crate::keyspace::Event;
use crate::resp::{Error, Protocol, Reply};
use crate::value::Type;
use crate::value::number::parse_integer;
use crate::value::stream::{
    ConsumerNumber, Delivery, Entry, Group, Id, Pending, Stream, StreamLog, delivered_again, entries_read_said,
};

/// One who waits for what others have not acknowledged looks again after so long: entries become idle by themselves.
const CLAIM_POLL_MS: u64 = 100;
/// Nothing was delivered before this time (unix ms, the year 2004): what seems so was given back.
const DELIVERED_MS_MIN: u64 = 1 << 40;
/// One who waited without `COUNT` gets at most so many entries.
const WAITED_COUNT_DEFAULT: i64 = 1000;

const READ_WITH_GROUP: Error =
    Error::fixed("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
const READ_WITH_NOACK: Error =
    Error::fixed("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
const UNBALANCED: Error =
    Error::fixed("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.");
const READ_WITH_CLAIM: Error =
    Error::fixed("ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.");
const CLAIM_NOT_INTEGER: Error = Error::fixed("ERR min-idle-time is not an integer");
const CLAIM_NEGATIVE: Error = Error::fixed("ERR min-idle-time must be a positive integer");
const GROUP_MISSING: Error = Error::fixed("ERR Missing GROUP option for XREADGROUP");
const GROUP_WITH_DOLLAR: Error = Error::fixed(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
     specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
);
const READ_WITH_NEW: Error = Error::fixed(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);
const KEY_GONE: Error = Error::fixed("UNBLOCKED the stream key no longer exists");
const GROUP_GONE: Error = Error::fixed("NOGROUP the consumer group this client was blocked on no longer exists");

pub(super) fn xlen(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.keyspace.read_container::<Stream>(cx.db, args[1])?.map_or(0, Stream::len);
    reply.integer(len as i64);
    Ok(())
}

/// Tells an entry: its id, and its fields and values in turn.
pub(super) fn reply_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply_parts(reply, entry);
}

fn reply_parts(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply_id(reply, entry.id);
    let pairs = entry.pairs();
    reply.array(2 * pairs.len());
    for (field, value) in pairs {
        reply_element(reply, field);
        reply_element(reply, value);
    }
}

/// Tells up to `count` entries (0: all), as an array. How many there were.
pub(super) fn reply_entries<'a>(
    reply: &mut Reply<'_>,
    entries: impl Iterator<Item = Entry<'a>>,
    count: usize,
    about: usize,
) -> usize {
    let mark = reply.defer_about(about);
    let mut told = 0;
    for entry in entries {
        reply_entry(reply, &entry);
        told += 1;
        if told == count {
            break;
        }
    }
    reply.finish_array(mark, told);
    told
}

pub(super) fn xrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    range(cx, args, args[2], args[3], false, reply)
}

pub(super) fn xrevrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    range(cx, args, args[3], args[2], true, reply)
}

fn range(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    start: &[u8],
    end: &[u8],
    backwards: bool,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let (start, end) = (parse_start(start)?, parse_stop(end)?);
    let mut count = None;
    for option in args[4..].chunks(2) {
        match option {
            [name, number] if name.eq_ignore_ascii_case(b"COUNT") => count = Some(integer(number)?.max(0)),
            _ => return Err(Error::SYNTAX),
        }
    }
    let Some(stream) = cx.keyspace.read_container::<Stream>(cx.db, args[1])? else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let count = count.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let about = about(stream.log(), count);
    if backwards {
        reply_entries(reply, stream.log().range_back(start, end), count, about);
    } else {
        reply_entries(reply, stream.log().range(start, end), count, about);
    }
    Ok(())
}

/// How many entries a reply will have, at a guess.
fn about(log: &StreamLog, count: usize) -> usize {
    let len = log.len() as usize;
    if count == 0 { len } else { len.min(count) }
}

// Reading on

/// What `XREAD` and `XREADGROUP` were asked for.
struct Question<'a> {
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    group: Option<(&'a [u8], &'a [u8])>,
    /// At most so many entries of each stream; 0: all.
    count: i64,
    /// How long to wait, in milliseconds; 0: for ever; none: not at all.
    block_ms: Option<u64>,
    is_acknowledged: bool,
    /// Entries of others that were not delivered for so long are wanted first, in ms.
    claim_ms: Option<u64>,
    /// At most so many entries of all streams together; 0: all.
    max_count: i64,
    /// At most so many bytes of entries, but one entry at least; 0: all.
    max_bytes: i64,
}

/// How much may still be told.
struct Budget {
    count_left: usize,
    /// Where the buffer ends at the latest.
    bytes_end: usize,
    is_begun: bool,
}

impl Budget {
    fn of(question: &Question<'_>, reply: &Reply<'_>) -> Budget {
        let limit = |limit: i64| if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        let bytes_end = reply.buffer_bytes().saturating_add(limit(question.max_bytes));
        Budget { count_left: limit(question.max_count), bytes_end, is_begun: false }
    }

    /// Tells an entry, with how long it was not delivered and how often it was if that is asked for; or not, if that
    /// would be too much.
    fn tell(&mut self, reply: &mut Reply<'_>, entry: &Entry<'_>, claimed: Option<(i64, u64)>) -> bool {
        if self.count_left == 0 {
            return false;
        }
        let len = if claimed.is_some() { 4 } else { 2 };
        let mark = if self.bytes_end == usize::MAX {
            reply.array(len);
            None
        } else {
            Some(reply.defer())
        };
        reply_parts(reply, entry);
        if let Some((idle_ms, deliveries)) = claimed {
            reply.integer(idle_ms);
            reply.integer(deliveries as i64);
        }
        if let Some(mark) = mark {
            if self.is_begun && self.bytes_end < reply.buffer_bytes() {
                reply.cancel(mark);
                self.count_left = 0;
                return false;
            }
            reply.finish_array(mark, len);
        }
        self.is_begun = true;
        self.count_left -= 1;
        true
    }
}

impl<'a> Question<'a> {
    fn parse(args: &'a Args<'a>, with_group: bool) -> Result<Question<'a>, Error> {
        let mut question = Question {
            keys: &[],
            ids: &[],
            group: None,
            count: 0,
            block_ms: None,
            is_acknowledged: false,
            claim_ms: None,
            max_count: 0,
            max_bytes: 0,
        };
        let mut has_streams = false;
        let mut at = 1;
        while at < args.len() && !has_streams {
            let more = args.len() - 1 - at;
            let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
            if is("BLOCK") && 0 < more {
                at += 1;
                question.block_ms = Some(parse_block_ms(args[at])?);
            } else if is("COUNT") && 0 < more {
                at += 1;
                question.count = integer(args[at])?.max(0);
            } else if is("MAXCOUNT") && 0 < more {
                at += 1;
                question.max_count = integer(args[at])?.max(0);
            } else if is("MAXSIZE") && 0 < more {
                at += 1;
                question.max_bytes = integer(args[at])?.max(0);
            } else if is("CLAIM") && 0 < more {
                if !with_group {
                    return Err(READ_WITH_CLAIM);
                }
                at += 1;
                let claim_ms = parse_integer(args[at]).ok_or(CLAIM_NOT_INTEGER)?;
                question.claim_ms = Some(u64::try_from(claim_ms).map_err(|_| CLAIM_NEGATIVE)?);
            } else if is("STREAMS") && 0 < more {
                has_streams = true;
                let words = &args[at + 1..];
                if words.len() % 2 == 1 {
                    return Err(UNBALANCED);
                }
                (question.keys, question.ids) = words.split_at(words.len() / 2);
            } else if is("GROUP") && 2 <= more {
                if !with_group {
                    return Err(READ_WITH_GROUP);
                }
                question.group = Some((args[at + 1], args[at + 2]));
                at += 2;
            } else if is("NOACK") {
                if !with_group {
                    return Err(READ_WITH_NOACK);
                }
                question.is_acknowledged = true;
            } else {
                return Err(Error::SYNTAX);
            }
            at += 1;
        }
        if !has_streams {
            return Err(Error::SYNTAX);
        }
        if with_group && question.group.is_none() {
            return Err(GROUP_MISSING);
        }
        Ok(question)
    }

    /// The same for one key and one who waits.
    fn retry(&self, key: &[u8], id: &[u8]) -> Retry {
        let count = if self.count == 0 { WAITED_COUNT_DEFAULT } else { self.count };
        let mut words: Vec<Vec<u8>> = Vec::new();
        match self.group {
            None => words.push(b"XREAD".to_vec()),
            Some((group, consumer)) => {
                words.extend([b"XREADGROUP".as_slice(), b"GROUP", group, consumer].map(<[u8]>::to_vec));
                words.extend(self.is_acknowledged.then(|| b"NOACK".to_vec()));
            }
        }
        let claim_ms = self.claim_ms.map(|claim_ms| ("CLAIM", claim_ms as i64));
        let limits = [("COUNT", count), ("MAXCOUNT", self.max_count), ("MAXSIZE", self.max_bytes)];
        for (name, limit) in limits.into_iter().filter(|(_, limit)| *limit != 0).chain(claim_ms) {
            words.extend([name.as_bytes().to_vec(), limit.to_string().into_bytes()]);
        }
        words.extend([b"BLOCK".as_slice(), b"0", b"STREAMS", key, id].map(<[u8]>::to_vec));
        Retry { key: key.to_vec(), args: words }
    }
}

fn parse_block_ms(word: &[u8]) -> Result<u64, Error> {
    let block_ms = parse_integer(word).ok_or(Error::TIMEOUT_NOT_INTEGER)?;
    u64::try_from(block_ms).map_err(|_| Error::TIMEOUT_NEGATIVE)
}

/// The options in front of `STREAMS`, and the position of that word, if it is there: options are gone through, since a
/// key may have that name.
fn options<'a>(args: &'a Args<'a>) -> (Vec<&'a [u8]>, Option<usize>) {
    let (mut options, mut at) = (Vec::new(), 1);
    while let Some(word) = args.get(at) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("STREAMS") {
            return (options, Some(at));
        }
        options.push(*word);
        at += if ["BLOCK", "COUNT", "CLAIM", "MAXCOUNT", "MAXSIZE"].into_iter().any(is) {
            2
        } else if is("GROUP") {
            3
        } else if is("NOACK") {
            1
        } else {
            break;
        };
    }
    (options, None)
}

/// The keys: half of what stands behind `STREAMS`.
pub(super) fn stream_keys(args: &Args<'_>, positions: &mut Vec<usize>) {
    let Some(at) = options(args).1 else { return };
    let words = args.len() - 1 - at;
    if words.is_multiple_of(2) {
        positions.extend(at + 1..=at + words / 2);
    }
}

/// Whether there is a `BLOCK`.
pub(super) fn asks_to_wait(args: &Args<'_>) -> bool {
    options(args).0.iter().any(|word| word.eq_ignore_ascii_case(b"block"))
}

/// Begins what is told of a stream; `told` counts them.
fn begin_stream(reply: &mut Reply<'_>, key: &[u8], told: &mut usize) {
    *told += 1;
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

type Waits = Result<Option<Wait>, Error>;

/// Writes replies by streams: a map in RESP3. `None`: nothing was told, and nothing was written.
fn reply_streams(
    reply: &mut Reply<'_>,
    streams: usize,
    tell: impl FnOnce(&mut Reply<'_>, &mut usize) -> CommandResult,
) -> Result<bool, Error> {
    let mark = reply.defer_about(streams);
    let mut told = 0;
    tell(reply, &mut told)?;
    if told == 0 {
        reply.cancel(mark);
    } else if reply.protocol() == Protocol::Resp2 {
        reply.finish_array(mark, told);
    } else {
        reply.finish_map(mark, told);
    }
    Ok(told != 0)
}

/// Nothing was there: waits, or says so.
fn wait_or_refuse(
    question: &Question<'_>,
    ids: impl Iterator<Item = Vec<u8>>,
    orphaned: Option<Orphaned>,
    reply: &mut Reply<'_>,
) -> Option<Wait> {
    let Some(timeout_ms) = question.block_ms else {
        reply.null_array();
        return None;
    };
    let retries = question.keys.iter().zip(ids).map(|(key, id)| question.retry(key, &id)).collect();
    let polls_ms = question.claim_ms.map(|_| CLAIM_POLL_MS);
    Some(Wait { retries, value_type: Type::Stream, timeout_ms, refused: Refused::NullArray, orphaned, polls_ms })
}

pub(super) fn xread(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let question = Question::parse(args, false)?;
    let mut ids = Vec::with_capacity(question.ids.len());
    for (key, word) in question.keys.iter().zip(question.ids) {
        let stream = cx.keyspace.read_container::<Stream>(cx.db, key)?;
        ids.push(match c_text(word) {
            b"$" => stream.map_or(Id::MIN, Stream::last_id),
            // Of Redis 7.4: the last entry.
            b"+" => stream.and_then(|stream| stream.log().last_id()?.previous()).unwrap_or(Id::MIN),
            b">" => return Err(READ_WITH_NEW),
            _ => parse_strict(word, 0)?,
        });
    }
    let count = usize::try_from(question.count).unwrap_or(usize::MAX);
    let mut budget = Budget::of(&question, reply);
    let is_done = reply_streams(reply, ids.len(), |reply, told| {
        for (key, id) in question.keys.iter().zip(&ids) {
            let Some(stream) = cx.keyspace.peek_container::<Stream>(cx.db, key)? else { continue };
            let Some(start) = id.next() else { continue };
            let mut entries = stream.log().range(start, Id::MAX).peekable();
            if entries.peek().is_some() && budget.count_left != 0 {
                begin_stream(reply, key, told);
                let mark = reply.defer_about(about(stream.log(), count));
                let limit = if count == 0 { usize::MAX } else { count };
                let len = entries.take(limit).take_while(|entry| budget.tell(reply, entry, None)).count();
                reply.finish_array(mark, len);
            }
        }
        Ok(())
    })?;
    if is_done {
        return Ok(None);
    }
    Ok(wait_or_refuse(&question, ids.into_iter().map(|id| id.to_string().into_bytes()), None, reply))
}

/// No key, or no group in it.
fn no_group(key: &[u8], group: &[u8]) -> Error {
    let (key, group) = (c_text(key), c_text(group));
    Error::new(
        [b"NOGROUP No such key '", key, b"' or consumer group '", group, b"' in XREADGROUP with GROUP option"].concat(),
    )
}

pub(super) fn xreadgroup(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let question = Question::parse(args, true)?;
    let (group, consumer) = question.group.expect("seen by the parser");
    // What was delivered to the consumer behind an id; none: new entries.
    let mut histories = Vec::with_capacity(question.ids.len());
    for (key, word) in question.keys.iter().zip(question.ids) {
        let stream = cx.keyspace.read_container::<Stream>(cx.db, key)?;
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_group(key, group));
        }
        histories.push(match c_text(word) {
            b"$" => return Err(GROUP_WITH_DOLLAR),
            b">" => None,
            _ => Some(parse_strict(word, 0)?).filter(|id| *id != Id::MAX),
        });
    }
    let count = usize::try_from(question.count).unwrap_or(usize::MAX);
    let mut budget = Budget::of(&question, reply);
    let is_done = reply_streams(reply, histories.len(), |reply, told| {
        for (key, history) in question.keys.iter().zip(&histories) {
            let reading = Reading { question: &question, group, consumer, count, history: *history };
            reading.read(cx, key, &mut budget, reply, told)?;
        }
        Ok(())
    })?;
    if is_done {
        return Ok(None);
    }
    let orphaned = Orphaned { no_key: KEY_GONE, failed: GROUP_GONE };
    Ok(wait_or_refuse(&question, histories.iter().map(|_| b">".to_vec()), Some(orphaned), reply))
}

/// What a consumer reads of one stream.
struct Reading<'a> {
    question: &'a Question<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
    count: usize,
    history: Option<Id>,
}

impl Reading<'_> {
    fn read(
        &self,
        cx: &mut Context<'_>,
        key: &[u8],
        budget: &mut Budget,
        reply: &mut Reply<'_>,
        told: &mut usize,
    ) -> CommandResult {
        let now_ms = cx.now_ms;
        let mut stream = cx.keyspace.container_mut::<Stream>(cx.db, key)?.expect("seen above");
        let told_before = *told;
        let (mut read_ids, mut forgotten) = (Vec::new(), Vec::new());
        let is_new = stream.change_group(self.group, |group, log, counters| {
            if let Some(after) = self.history {
                let (consumer, is_new) = see_consumer(group, self.consumer, now_ms);
                begin_stream(reply, key, told);
                self.read_history(group, log, consumer, after, now_ms, reply, &mut read_ids);
                return is_new;
            }
            let idle = self.idle(group, log, now_ms, &mut forgotten);
            let has_new = counters.len != 0 && log.last_id().is_some_and(|last| group.last_id < last);
            if budget.count_left == 0 || idle.is_empty() && !has_new {
                return false;
            }
            // Who gets nothing is not noted, as in Redis 7.0.
            let (consumer, is_new) = see_consumer(group, self.consumer, now_ms);
            begin_stream(reply, key, told);
            let mark = reply.defer_about(about(log, self.count));
            let mut read = 0;
            for (id, pending) in idle {
                let entry = log.get(id).expect("seen when it was chosen");
                let idle_ms = idle_ms(&pending, now_ms).unwrap_or(-1);
                if !budget.tell(reply, &entry, Some((idle_ms, pending.deliveries))) {
                    break;
                }
                group.deliver(id, consumer, now_ms, delivered_again(pending.deliveries));
                read_ids.push(id);
                read += 1;
            }
            if self.count == 0 || read < self.count {
                let count = self.count.saturating_sub(read);
                let delivery = Delivery { consumer, count, is_acknowledged: self.question.is_acknowledged, now_ms };
                let claimed = self.question.claim_ms.map(|_| (0, 0));
                read += group.read_new(log, &counters, delivery, |entry| {
                    let is_told = budget.tell(reply, entry, claimed);
                    if is_told {
                        read_ids.push(entry.id);
                    }
                    is_told
                });
            }
            group.change_consumer(consumer, |consumer| consumer.active_ms = Some(now_ms));
            reply.finish_array(mark, read);
            is_new
        });
        drop(stream);
        let is_new = is_new.expect("seen above");
        if is_new {
            cx.keyspace.changed(cx.db, key, Event::XGROUP_CREATECONSUMER);
        }
        cx.keyspace.dirty += u64::from(told_before < *told);
        if cx.keyspace.records.is_on {
            self.say(cx, key, is_new, &read_ids, &forgotten);
        }
        Ok(())
    }

    /// Tells the log of writes what is pending for the consumer now, and how far the group has read.
    #[cold]
    fn say(&self, cx: &mut Context<'_>, key: &[u8], is_new: bool, read: &[Id], forgotten: &[Id]) {
        let (db, name, consumer) = (cx.db, self.group, self.consumer);
        cx.keyspace.records.said();
        if is_new {
            cx.keyspace.records.say(db, key, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
        }
        let Ok(Some(stream)) = cx.keyspace.peek_container::<Stream>(db, key) else { return };
        let Some(group) = stream.group(name) else { return };
        let (last, entries_read) = (group.last_id, group.entries_read);
        let given = |id: &Id| {
            let pending = group.find_pending(*id)?;
            Some(Given { id: *id, delivered_ms: pending.delivered_ms(), deliveries: pending.deliveries })
        };
        let given: Vec<Given> = read.iter().filter_map(given).collect();
        say_given(cx, [key, name, consumer], &given, forgotten, last);
        if self.history.is_none() && !read.is_empty() {
            let (last, count) = (last.to_string(), entries_read_said(entries_read).to_string());
            let says: [&[u8]; 7] = [b"XGROUP", b"SETID", key, name, last.as_bytes(), b"ENTRIESREAD", count.as_bytes()];
            cx.keyspace.records.say(db, key, &says);
        }
    }

    /// What was not delivered for so long that this consumer gets it, the longest idle first. What is pending without
    /// an entry is forgotten.
    fn idle(&self, group: &mut Group, log: &StreamLog, now_ms: u64, forgotten: &mut Vec<Id>) -> Vec<(Id, Pending)> {
        let Some(claim_ms) = self.question.claim_ms else { return Vec::new() };
        let until_ms = now_ms.saturating_sub(claim_ms).max(DELIVERED_MS_MIN);
        let count = if self.count == 0 { usize::MAX } else { self.count };
        let mut idle = Vec::new();
        for id in group.longest_idle(until_ms, count) {
            if log.contains(id) {
                idle.push((id, *group.find_pending(id).expect("it is pending")));
            } else if group.acknowledge(id) {
                forgotten.push(id);
            }
        }
        idle
    }

    /// Tells what is pending for the consumer behind an id; entries that are no more without fields.
    #[expect(clippy::too_many_arguments, reason = "what is read, by whom, and who is told")]
    fn read_history(
        &self,
        group: &mut Group,
        log: &StreamLog,
        consumer: ConsumerNumber,
        after: Id,
        now_ms: u64,
        reply: &mut Reply<'_>,
        read: &mut Vec<Id>,
    ) {
        let start = after.next().expect("not the last id there is");
        let count = if self.count == 0 { usize::MAX } else { self.count };
        let pending: Vec<(Id, u64)> =
            group.pending_of(consumer, start).map(|(id, pending)| (id, pending.deliveries)).take(count).collect();
        reply.array(pending.len());
        for (id, deliveries) in pending {
            match log.get(id) {
                Some(entry) => {
                    reply_entry(reply, &entry);
                    group.deliver(id, consumer, now_ms, delivered_again(deliveries));
                    read.push(id);
                }
                None => {
                    reply.array(2);
                    reply_id(reply, id);
                    reply.null_array();
                }
            }
        }
    }
}

/// The consumer of a name, who was heard of now, and whether it is new.
pub(super) fn see_consumer(group: &mut Group, name: &[u8], now_ms: u64) -> (ConsumerNumber, bool) {
    match group.find_consumer(name) {
        Some(number) => {
            group.change_consumer(number, |consumer| consumer.seen_ms = now_ms);
            (number, false)
        }
        None => (group.add_consumer(name, now_ms).expect("there is none of this name"), true),
    }
}
