//! `XGROUP` and `XACK`: groups, their consumers, and the end of what was pending for them.

use super::id::{c_text, parse_any, parse_strict};
use super::integer;
use crate::command::client::write_help_lines;
use crate::command::{Args, CommandResult, Context, SessionView};
use crate::keyspace::{ContainerMut, Event, Expiry};
use crate::resp::{Error, Reply};
use crate::value::Value;
use crate::value::stream::{Id, Stream};

const NO_KEY: Error = Error::fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option \
     to create an empty stream automatically.",
);

/// There is no such group in a stream that is there.
pub(super) fn no_group_in(group: &[u8], key: &[u8]) -> Error {
    let (group, key) = (c_text(group), c_text(key));
    Error::new([b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"].concat())
}

pub(super) fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const LINES: &[(&str, &str)] = &[
        ("CREATE <key> <groupname> <id|$> [MKSTREAM] [ENTRIESREAD entries_read]", "Creates a group, and its stream."),
        ("CREATECONSUMER <key> <groupname> <consumer>", "Creates a consumer in a group."),
        ("DELCONSUMER <key> <groupname> <consumer>", "Removes a consumer and what is pending for it."),
        ("DESTROY <key> <groupname>", "Removes a group; it is freed later."),
        ("SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]", "Sets how far a group has read."),
        ("HELP", "Describes the subcommands."),
    ];
    write_help_lines(args, LINES, reply);
    Ok(())
}

/// The options of `CREATE` and `SETID`: `MKSTREAM` and `ENTRIESREAD`.
struct Options {
    makes_stream: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn parse(args: &Args<'_>, creates: bool) -> Result<Options, Error> {
        let mut options = Options { makes_stream: false, entries_read: None };
        let mut at = 5;
        while at < args.len() {
            let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
            if creates && is("MKSTREAM") {
                options.makes_stream = true;
                at += 1;
            } else if is("ENTRIESREAD") && at + 1 < args.len() {
                let read = integer(args[at + 1])?;
                if read < -1 {
                    return Err(Error::fixed("ERR value for ENTRIESREAD must be positive or -1"));
                }
                options.entries_read = (read != -1).then_some(read);
                at += 2;
            } else {
                return Err(Error::subcommand_syntax("XGROUP", args[1]));
            }
        }
        Ok(options)
    }
}

pub(super) fn create(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const ARGS_MAX: usize = 8;
    let options = Options::parse(args, true)?;
    let (key, name) = (args[2], args[3]);
    let parse_id = |last_id: Id| match c_text(args[4]) {
        _ if ARGS_MAX < args.len() => Err(Error::subcommand_syntax("XGROUP", args[1])),
        b"$" => Ok(last_id),
        _ => parse_strict(args[4], 0),
    };
    let add = |mut stream: ContainerMut<'_, Stream>| {
        let id = parse_id(stream.last_id())?;
        if stream.add_group(name, id, options.entries_read) { Ok(()) } else { Err(Error::BUSY_GROUP) }
    };
    let added = cx.keyspace.container_mut::<Stream>(cx.db, key)?.map(add).transpose()?;
    match added {
        Some(()) => cx.keyspace.changed(cx.db, key, Event::XGROUP_CREATE),
        None if options.makes_stream => {
            let mut stream = Stream::new();
            stream.add_group(name, parse_id(Id::MIN)?, options.entries_read);
            cx.keyspace.put(cx.db, key, Value::Stream(stream), Expiry::Clear, Event::XGROUP_CREATE_STREAM);
        }
        None => return Err(NO_KEY),
    }
    reply.ok();
    Ok(())
}

/// Changes a group that has to be there.
fn change<R>(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    change: impl FnOnce(&mut crate::value::stream::Group, Id) -> Result<R, Error>,
) -> Result<R, Error> {
    let (key, name) = (args[2], args[3]);
    let mut stream = cx.keyspace.container_mut::<Stream>(cx.db, key)?.ok_or(NO_KEY)?;
    let result = stream.change_group(name, |group, _, counters| change(group, counters.last_id));
    result.unwrap_or_else(|| Err(no_group_in(name, key)))
}

pub(super) fn setid(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = Options::parse(args, false)?;
    change(cx, args, |group, last_id| {
        if args.len() != 5 && args.len() != 7 {
            return Err(Error::subcommand_syntax("XGROUP", args[1]));
        }
        group.last_id = match c_text(args[4]) {
            b"$" => last_id,
            _ => parse_any(args[4], 0)?,
        };
        group.entries_read = options.entries_read;
        Ok(())
    })?;
    cx.keyspace.changed(cx.db, args[2], Event::XGROUP_SETID);
    reply.ok();
    Ok(())
}

pub(super) fn destroy(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let gone = cx.keyspace.container_mut::<Stream>(cx.db, args[2])?.ok_or(NO_KEY)?.remove_group(args[3]);
    reply.integer(gone.is_some().into());
    if let Some(gone) = gone {
        cx.keyspace.discard_value(Some(Value::Stream(gone)));
        cx.keyspace.changed(cx.db, args[2], Event::XGROUP_DESTROY);
    }
    Ok(())
}

pub(super) fn createconsumer(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let is_new = change(cx, args, |group, _| Ok(group.add_consumer(args[4], now_ms).is_some()))?;
    if is_new {
        cx.keyspace.changed(cx.db, args[2], Event::XGROUP_CREATECONSUMER);
    }
    reply.integer(is_new.into());
    Ok(())
}

pub(super) fn delconsumer(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let pending = change(cx, args, |group, _| Ok(group.remove_consumer(args[4])))?;
    if pending.is_some() {
        cx.keyspace.changed(cx.db, args[2], Event::XGROUP_DELCONSUMER);
    }
    reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn xack(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let acknowledged = match cx.keyspace.read_container_mut::<Stream>(cx.db, args[1])? {
        None => None,
        Some(mut stream) => stream.change_group(args[2], |group, _, _| {
            let ids = args[3..].iter().map(|word| parse_strict(word, 0)).collect::<Result<Vec<Id>, Error>>()?;
            Ok::<usize, Error>(ids.into_iter().filter(|id| group.acknowledge(*id)).count())
        }),
    };
    let acknowledged = acknowledged.transpose()?.unwrap_or(0);
    cx.keyspace.dirty += acknowledged as u64;
    reply.integer(acknowledged as i64);
    Ok(())
}
