//! `XADD`, `XTRIM`, `XDEL`, `XSETID`: what changes the entries of a stream and its counters.

use super::id::{parse_new, parse_strict, reply_id};
use super::newer::parse_references;
use super::{idempotency_limits, integer, limits};
use crate::command::{Args, CommandResult, Context, journal};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Reply};
use crate::value::Value;
use crate::value::stream::{ENTRY_BYTES_MAX, Id, Idempotency, IdempotencyLimits, Keep, References, Stream, Thorough};
use xxhash_rust::xxh3::Xxh3;

const TWO_STRATEGIES: Error =
    Error::fixed("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
const MAXLEN_NEGATIVE: Error = Error::fixed("ERR The MAXLEN argument must be >= 0.");
const LIMIT_NEGATIVE: Error = Error::fixed("ERR The LIMIT argument must be >= 0.");
const LIMIT_WITHOUT_STRATEGY: Error =
    Error::fixed("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
const NO_STRATEGY: Error = Error::fixed("ERR syntax error, XTRIM must be called with a trimming strategy");
const LIMIT_WHEN_EXACT: Error = Error::fixed("ERR syntax error, LIMIT cannot be used without the special ~ option");
const ID_ZERO: Error = Error::fixed("ERR The ID specified in XADD must be greater than 0-0");
const ID_EXHAUSTED: Error = Error::fixed("ERR The stream has exhausted the last possible ID, unable to add more items");
const ID_TOO_SMALL: Error =
    Error::fixed("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const TOO_LARGE: Error = Error::fixed("ERR Elements are too large to be stored");

/// Nodes that a trim with `~` and without `LIMIT` looks at; times `stream-node-max-entries`.
const TRIM_NODES_MAX: u64 = 100;
/// Entries that it looks at where nodes have no limit.
const TRIM_ENTRIES_DEFAULT: u64 = 10_000;
/// Entries that it looks at at most.
const TRIM_ENTRIES_MAX: u64 = 1_000_000;

/// The id that `XADD` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    Within(u64),
    /// `ms-seq` or `ms`
    Exact(Id),
}

/// The words between the key and the pairs of `XADD`, and all of `XTRIM`.
struct Options<'a> {
    trim: Option<(Keep, Thorough, References)>,
    makes_stream: bool,
    /// Who sends the message, and its id; none: the pairs are its id.
    message: Option<(&'a [u8], Option<&'a [u8]>)>,
    id: NewId,
    /// Where the id stands.
    id_at: usize,
}

/// A word that must be exactly this sign.
fn is_sign(word: &[u8], sign: u8) -> bool {
    super::id::c_text(word) == [sign]
}

impl<'a> Options<'a> {
    fn parse(cx: &Context<'_>, args: &'a Args<'a>, adds: bool) -> Result<Options<'a>, Error> {
        let mut options = Options { trim: None, makes_stream: true, message: None, id: NewId::Auto, id_at: args.len() };
        let mut references = None;
        let (mut is_about, mut limit, mut keep) = (false, None, None);
        let mut at = 2;
        while at < args.len() {
            let word = args[at];
            let more = args.len() - 1 - at;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if adds && is_sign(word, b'*') {
                options.id_at = at;
                break;
            } else if (is("MAXLEN") || is("MINID")) && 0 < more {
                if keep.is_some() {
                    return Err(TWO_STRATEGIES);
                }
                let has_sign = 2 <= more && (is_sign(args[at + 1], b'~') || is_sign(args[at + 1], b'='));
                is_about = has_sign && is_sign(args[at + 1], b'~');
                at += usize::from(has_sign) + 1;
                keep = Some(if is("MAXLEN") {
                    Keep::Last(u64::try_from(integer(args[at])?).map_err(|_| MAXLEN_NEGATIVE)?)
                } else {
                    Keep::From(parse_strict(args[at], 0)?)
                });
            } else if is("LIMIT") && 0 < more {
                at += 1;
                limit = Some(u64::try_from(integer(args[at])?).map_err(|_| LIMIT_NEGATIVE)?);
            } else if adds && is("NOMKSTREAM") {
                options.makes_stream = false;
            } else if let Some(given) = parse_references(word) {
                if references.replace(given).is_some() {
                    return Err(Error::SYNTAX);
                }
            } else if adds && (is("IDMP") && 2 <= more || is("IDMPAUTO") && 0 < more) {
                let message = if is("IDMP") { Some(args[at + 2]) } else { None };
                options.add_message(args[at + 1], message)?;
                at += if is("IDMP") { 2 } else { 1 };
            } else if adds {
                options.id = match parse_new(word)? {
                    (ms, Some(seq)) => NewId::Exact(Id::new(ms, seq)),
                    (ms, None) => NewId::Within(ms),
                };
                options.id_at = at;
                break;
            } else {
                return Err(Error::SYNTAX);
            }
            at += 1;
        }
        if keep.is_none() && limit.is_some_and(|limit| limit != 0) {
            return Err(LIMIT_WITHOUT_STRATEGY);
        }
        if keep.is_none() && !adds {
            return Err(NO_STRATEGY);
        }
        if limit.is_some() && !is_about {
            return Err(LIMIT_WHEN_EXACT);
        }
        if options.message.is_some() && options.id != NewId::Auto {
            return Err(Error::fixed("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs"));
        }
        let default = || match cx.config.stream_node_max_entries.saturating_mul(TRIM_NODES_MAX) {
            0 => TRIM_ENTRIES_DEFAULT,
            entries => entries.min(TRIM_ENTRIES_MAX),
        };
        let thorough = if is_about { Thorough::WholeNodes(limit.unwrap_or_else(default)) } else { Thorough::Exactly };
        options.trim = keep.map(|keep| (keep, thorough, references.unwrap_or(References::Keep)));
        Ok(options)
    }

    fn add_message(&mut self, producer: &'a [u8], message: Option<&'a [u8]>) -> Result<(), Error> {
        if self.message.is_some() {
            return Err(Error::fixed("ERR IDMP/IDMPAUTO specified multiple times"));
        }
        match message {
            Some(_) if producer.is_empty() => Err(Error::fixed("ERR IDMP requires a non-empty producer ID")),
            Some(b"") => Err(Error::fixed("ERR IDMP requires a non-empty idempotent ID")),
            None if producer.is_empty() => Err(Error::fixed("ERR IDMPAUTO requires a non-empty producer ID")),
            _ => {
                self.message = Some((producer, message));
                Ok(())
            }
        }
    }
}

/// What stands for a message without an id: a digest of its pairs, in whatever order they come.
fn digest(words: &Args<'_>) -> [u8; 16] {
    let mut pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.sort_unstable();
    let mut hash = Xxh3::new();
    for word in pairs.into_iter().flat_map(|(field, value)| [field, value]) {
        hash.update(&(word.len() as u64).to_le_bytes());
        hash.update(word);
    }
    hash.digest128().to_le_bytes()
}

impl NewId {
    /// The id that an entry gets.
    fn choose(self, stream: &Stream, now_ms: u64) -> Result<Id, Error> {
        let last_id = stream.last_id();
        if last_id == Id::MAX {
            return Err(ID_EXHAUSTED);
        }
        let id = match self {
            NewId::Auto => stream.next_id(now_ms),
            NewId::Within(ms) if ms == last_id.ms => last_id.seq.checked_add(1).map(|seq| Id::new(ms, seq)),
            NewId::Within(ms) => Some(Id::new(ms, 0)),
            NewId::Exact(id) => Some(id),
        };
        id.filter(|id| last_id < *id).ok_or(ID_TOO_SMALL)
    }
}

pub(super) fn xadd(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = Options::parse(cx, args, true)?;
    let words = args.get(options.id_at + 1..).unwrap_or_default();
    if words.is_empty() || words.len() % 2 == 1 {
        return Err(Error::wrong_arity("xadd"));
    }
    if options.id == NewId::Exact(Id::MIN) {
        return Err(ID_ZERO);
    }
    let limits = limits(cx);
    let pairs = words.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let bytes: usize = words.iter().map(|word| word.len()).sum();
    let now_ms = cx.now_ms;
    let own = options.message.filter(|(_, message)| message.is_none()).map(|_| digest(words));
    let message = options
        .message
        .map(|(producer, message)| (producer, message.unwrap_or_else(|| own.as_ref().expect("made just now"))));
    let message_limits = idempotency_limits(cx);
    let mut is_first = false;
    let mut add = |stream: &mut Stream| {
        is_first = message.is_some() && stream.idempotency().is_none();
        if let Some((producer, message)) = message
            && let Some(id) = stream.change_idempotency(message_limits, |known| {
                let id = known.find(producer, message, now_ms);
                known.duplicates += u64::from(id.is_some());
                id
            })
        {
            return Ok((id, false));
        }
        let id = options.id.choose(stream, now_ms)?;
        if ENTRY_BYTES_MAX < bytes {
            return Err(TOO_LARGE);
        }
        stream.push(id, pairs.clone(), limits);
        if let Some((producer, message)) = message {
            stream.change_idempotency(message_limits, |known| known.remember(producer, message, id, now_ms));
        }
        Ok((id, true))
    };
    let key = args[1];
    let found = cx.keyspace.container_mut::<Stream>(cx.db, key)?.map(|mut stream| add(&mut stream)).transpose()?;
    let id = match found {
        Some((id, false)) => {
            // It was added before.
            reply_id(reply, id);
            return Ok(());
        }
        Some((id, true)) => {
            cx.keyspace.changed(cx.db, key, Event::XADD);
            id
        }
        None if !options.makes_stream => {
            reply.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::new();
            let (id, _) = add(&mut stream)?;
            cx.keyspace.put(cx.db, key, Value::Stream(stream), Expiry::Clear, Event::XADD);
            id
        }
    };
    if cx.keyspace.records.is_on {
        let text = id.to_string();
        let head: [&[u8]; 3] = [b"XADD", key, text.as_bytes()];
        cx.keyspace.records.say(cx.db, key, &[&head[..], words].concat());
        if let Some((producer, message)) = message {
            say_message(cx, key, is_first, [producer, message, text.as_bytes()]);
        }
    }
    if let Some(trim) = options.trim {
        let removed = trim_at(cx, key, trim)?;
        if removed != 0 {
            cx.keyspace.effects.note(Event::XTRIM, cx.db, key);
            say_trim(cx, key, trim.2);
        }
    }
    reply_id(reply, id);
    Ok(())
}

/// Trims the stream under a key, if there is one. How many entries went.
fn trim_at(
    cx: &mut Context<'_>,
    key: &[u8],
    (keep, thorough, references): (Keep, Thorough, References),
) -> Result<u64, Error> {
    let Some(mut stream) = cx.keyspace.container_mut::<Stream>(cx.db, key)? else { return Ok(0) };
    let (removed, gone) = stream.trim(keep, thorough, references);
    drop(stream);
    cx.keyspace.discard_value(gone.map(Value::Stream));
    Ok(removed)
}

/// Tells the log of writes that a producer's message (producer, message, entry) is remembered; of the first one of a
/// stream also how much is, since the directives may say something else when the log is read.
pub(super) fn say_message(cx: &mut Context<'_>, key: &[u8], is_first: bool, [producer, message, entry]: [&[u8]; 3]) {
    if is_first {
        say_limits(cx, key);
    }
    cx.keyspace.records.say(cx.db, key, &[b"XIDMPRECORD", key, producer, message, entry]);
}

/// Tells the log of writes how much a stream remembers of its producers.
pub(super) fn say_limits(cx: &mut Context<'_>, key: &[u8]) {
    let Ok(Some(stream)) = cx.keyspace.peek_container::<Stream>(cx.db, key) else { return };
    let Some(IdempotencyLimits { duration_s, messages_max }) = stream.idempotency().map(Idempotency::limits) else {
        return;
    };
    let (duration, messages) = (duration_s.to_string(), messages_max.to_string());
    let says: [&[u8]; 6] =
        [b"XCFGSET", key, b"IDMP-DURATION", duration.as_bytes(), b"IDMP-MAXSIZE", messages.as_bytes()];
    cx.keyspace.records.say(cx.db, key, &says);
}

/// Tells the log of writes what a trim has left: how much it takes at a time depends on how the stream was made.
fn say_trim(cx: &mut Context<'_>, key: &[u8], references: References) {
    if !cx.keyspace.records.is_on {
        return;
    }
    if references != References::Keep {
        journal::write_state(cx.keyspace, cx.db, key);
        return cx.keyspace.records.said();
    }
    let len = cx.keyspace.peek_container::<Stream>(cx.db, key).ok().flatten().map_or(0, Stream::len);
    let len = len.to_string();
    cx.keyspace.records.say(cx.db, key, &[b"XTRIM", key, b"MAXLEN", b"=", len.as_bytes()]);
}

pub(super) fn xtrim(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = Options::parse(cx, args, false)?;
    let trim = options.trim.expect("seen by the parser");
    let removed = trim_at(cx, args[1], trim)?;
    if removed != 0 {
        cx.keyspace.changed_by(cx.db, args[1], Event::XTRIM, removed);
        say_trim(cx, args[1], trim.2);
    }
    reply.integer(removed as i64);
    Ok(())
}

pub(super) fn xdel(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(mut stream) = cx.keyspace.container_mut::<Stream>(cx.db, args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let ids = args[2..].iter().map(|word| parse_strict(word, 0)).collect::<Result<Vec<Id>, Error>>()?;
    let deleted = ids.into_iter().filter(|id| stream.delete(*id)).count();
    drop(stream);
    if deleted != 0 {
        cx.keyspace.changed_by(cx.db, args[1], Event::XDEL, deleted as u64);
    }
    reply.integer(deleted as i64);
    Ok(())
}

pub(super) fn xsetid(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let id = parse_strict(args[2], 0)?;
    let (mut entries_added, mut max_deleted_id) = (None, None);
    let mut at = 3;
    while at < args.len() {
        let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes()) && at + 1 < args.len();
        if is("ENTRIESADDED") {
            let added = u64::try_from(integer(args[at + 1])?);
            entries_added = Some(added.map_err(|_| Error::fixed("ERR entries_added must be positive"))?);
        } else if is("MAXDELETEDID") {
            let deleted = parse_strict(args[at + 1], 0)?;
            if id < deleted {
                return Err(Error::fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted_id = Some(deleted);
        } else {
            return Err(Error::SYNTAX);
        }
        at += 2;
    }
    let stream = cx.keyspace.container_mut::<Stream>(cx.db, args[1])?;
    let mut stream = stream.ok_or(Error::NO_SUCH_KEY)?;
    if stream.log().last_id().is_some_and(|last| id < last) {
        return Err(Error::fixed("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if entries_added.is_some_and(|added| added < stream.len()) {
        return Err(Error::fixed("ERR The entries_added specified in XSETID is smaller than the target stream length"));
    }
    stream.set_counters(id, entries_added, max_deleted_id.filter(|id| *id != Id::MIN));
    drop(stream);
    cx.keyspace.changed(cx.db, args[1], Event::XSETID);
    reply.ok();
    Ok(())
}
