//! `CLIENT`: what is known of clients, and what may be done to them.
//!
//! Clients live on the core that serves them, so LIST and KILL ask every core. Not here: what `CLIENT TRACKING` and its
//! kin do (`tracking`).

use super::connection::{DEFAULT_USER, is_name, set_name};
use super::lookup::find_by_index;
use super::{Args, Command, CommandResult, CoreView, Flags, Group, Part, Run, SessionView, tracking};
use crate::resp::{Error, Protocol, Reply};
use crate::session::{Audience, CONNECTION_BYTES, Mode, Session, Watched};
use crate::value::number::parse_integer;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);
const PLAIN: Flags = ANY_STATE.union(Flags::NOSCRIPT);
const ADMIN: Flags = PLAIN.union(Flags::ADMIN);
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn subcommand(
    name: &'static str,
    run: Run,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, run).arity(arity).flags(flags).docs(Group::Connection, since, summary)
}

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("CLIENT", Run::Container)
    .arity(-2)
    .docs(Group::Connection, "2.4.0", "Commands about client connections.")
    .complexity("Depends on subcommand.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    subcommand(
        "CACHING",
        Run::Session(tracking::caching),
        3,
        PLAIN,
        "6.0.0",
        "Makes the next command an exception to whether the keys it reads are remembered.",
    )
    .syntax("YES|NO"),
    subcommand("CAPA", Run::Session(capa), -3, PLAIN, "Valkey 8.0.0", "Tells the server what the client can do.")
        .syntax("capability [capability ...]"),
    subcommand("GETNAME", Run::Session(getname), 2, PLAIN, "2.6.9", "Returns the client's name."),
    subcommand(
        "GETREDIR",
        Run::Session(tracking::getredir),
        2,
        PLAIN,
        "6.0.0",
        "Returns the client that invalidation messages go to: 0 for itself, -1 when nothing is tracked.",
    ),
    subcommand("HELP", Run::Session(help), 2, ANY_STATE, "5.0.0", "Describes the subcommands."),
    subcommand("ID", Run::Session(id), 2, PLAIN, "5.0.0", "Returns the client's number, unique while the server runs."),
    subcommand("INFO", Run::Session(info), 2, PLAIN, "6.2.0", "Describes the calling client in one line.")
        .tips(&["nondeterministic_output"]),
    subcommand(
        "KILL",
        Run::Everywhere { check: check_kill, part: kill_part, merge: kill_merge },
        -3,
        ADMIN,
        "2.4.0",
        "Closes connections: the one of an address, or all that pass every filter.",
    )
    .complexity("O(N) where N is the number of client connections")
    .syntax(
        "filter=(ip:port|new-format=([ID client-id] [TYPE NORMAL|MASTER|SLAVE|REPLICA|PUBSUB] [USER username] [ADDR ip:port] [LADDR ip:port] \
         [SKIPME YES|NO] [MAXAGE seconds]))",
    ),
    subcommand(
        "LIST",
        Run::Everywhere { check: check_list, part: list_part, merge: list_merge },
        -2,
        ADMIN,
        "2.4.0",
        "Describes the clients of all cores, one line each.",
    )
    .complexity("O(N) where N is the number of client connections")
    .syntax("[TYPE NORMAL|MASTER|REPLICA|PUBSUB] [ID client-id [client-id ...]]")
    .tips(&["nondeterministic_output"]),
    subcommand("NO-EVICT", Run::Session(no_evict), 3, ADMIN, "7.0.0", "Keeps the client when clients are closed for memory.")
        .syntax("ON|OFF"),
    subcommand(
        "DURABILITY",
        Run::Session(super::aof::durability),
        -2,
        PLAIN,
        "7.2.0",
        "Chooses when replies to the client's writes may leave: at once, or when they are on disk.",
    )
    .syntax("[NONE|EVERYSEC|ALWAYS|DEFAULT]"),
    subcommand(
        "NO-TOUCH",
        Run::Session(no_touch),
        3,
        PLAIN,
        "7.2.0",
        "Lets the client's commands leave no trace in how recently and how often keys were used.",
    )
    .syntax("ON|OFF"),
    subcommand("PAUSE", Run::Session(pause), -3, ADMIN, "2.9.50", "Holds back commands of all clients for some time.")
        .syntax("timeout:integer [WRITE|ALL]"),
    subcommand("REPLY", Run::Session(reply_mode), 3, PLAIN, "3.2.0", "Chooses whether the client gets replies.")
        .syntax("ON|OFF|SKIP"),
    subcommand(
        "SETINFO",
        Run::Session(setinfo),
        4,
        PLAIN,
        "7.2.0",
        "Remembers the name or the version of the client's library.",
    )
    .syntax("(LIB-NAME libname|LIB-VER libver)")
    .tips(ALL_NODES),
    subcommand("SETNAME", Run::Session(setname), 3, PLAIN, "2.6.9", "Gives the client a name.")
        .syntax("connection-name")
        .tips(ALL_NODES),
    subcommand(
        "TRACKING",
        Run::Everywhere { check: tracking::check, part: tracking::part, merge: tracking::merge },
        -3,
        PLAIN,
        "6.0.0",
        "Has the client told when keys that it has read change, for a cache of its own.",
    )
    .complexity("O(1). Some options may introduce additional complexity.")
    .syntax("ON|OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"),
    subcommand(
        "TRACKINGINFO",
        Run::Session(tracking::trackinginfo),
        2,
        PLAIN,
        "6.2.0",
        "Tells what the client chose about client-side caching.",
    ),
    subcommand(
        "UNBLOCK",
        Run::Everywhere { check: check_unblock, part: unblock_part, merge: unblock_merge },
        -3,
        ADMIN,
        "5.0.0",
        "Ends the waiting of a client in a blocking command.",
    )
    .complexity("O(N) where N is the number of client connections")
    .syntax("client-id [TIMEOUT|ERROR]"),
    subcommand("UNPAUSE", Run::Session(unpause), 2, ADMIN, "6.2.0", "Ends a pause of clients.")
        .complexity("O(N) where N is the number of paused clients"),
];

/// Writes the reply to a container's `HELP` from its rows. `args`: the call, whose first word is the container's name,
/// which may have been renamed.
pub(super) fn write_help(args: &Args<'_>, subcommands: &[Command], reply: &mut Reply<'_>) {
    let lines: Vec<(String, &str)> =
        subcommands.iter().map(|row| (format!("{} {}", row.name, row.syntax), row.summary)).collect();
    write_help_lines(args, &lines, reply);
}

/// Writes the reply to `HELP`: the syntax of each subcommand and its meaning.
pub(super) fn write_help_lines(args: &Args<'_>, lines: &[(impl AsRef<str>, &str)], reply: &mut Reply<'_>) {
    let command = String::from_utf8_lossy(args[0]).to_uppercase();
    reply.array(1 + 2 * lines.len());
    reply.simple(format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (syntax, meaning) in lines {
        reply.simple(syntax.as_ref().trim_end());
        reply.simple(format!("    {meaning}"));
    }
}

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

// Oneself

fn id(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.session.id as i64);
    Ok(())
}

fn getname(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match &view.session.name[..] {
        [] => reply.null(),
        name => reply.bulk(name),
    }
    Ok(())
}

fn setname(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_name(view, args[2])?;
    reply.ok();
    Ok(())
}

fn setinfo(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (option, value) = (args[2], args[3]);
    let field = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut view.session.library_name
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        &mut view.session.library_version
    } else {
        return Err(Error::quoting("ERR Unrecognized option '", option, "'"));
    };
    if !is_name(value) {
        return Err(Error::quoting("ERR ", option, " cannot contain spaces, newlines or special characters."));
    }
    *field = value.to_vec();
    reply.ok();
    Ok(())
}

/// Accepts anything, as Valkey does: a capability that is not known here changes nothing.
fn capa(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.ok();
    Ok(())
}

fn is_on(word: &[u8]) -> Result<bool, Error> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

fn no_evict(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.session.mode.set(Mode::NO_EVICT, is_on(args[2])?);
    reply.ok();
    Ok(())
}

fn no_touch(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.session.mode.set(Mode::NO_TOUCH, is_on(args[2])?);
    reply.ok();
    Ok(())
}

fn reply_mode(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mode = &mut view.session.mode;
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            mode.remove(Mode::REPLY_OFF | Mode::REPLY_SKIP | Mode::REPLY_SKIP_NEXT);
            reply.ok();
        }
        b"off" => mode.insert(Mode::REPLY_OFF),
        // Where everything is silent already, nothing more is to be skipped.
        b"skip" if mode.contains(Mode::REPLY_OFF) => {}
        b"skip" => mode.insert(Mode::REPLY_SKIP_NEXT),
        _ => return Err(Error::SYNTAX),
    }
    Ok(())
}

fn info(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.verbatim(b"txt", line(view.session, view.now_ms));
    Ok(())
}

// All clients

/// Memory that a client takes, in bytes. What is filled in for listings has been.
pub fn memory_bytes(session: &Session) -> usize {
    let query_bytes = session.query_bytes as usize + session.query_room_bytes as usize;
    session_bytes(session) + query_bytes + session.pending_bytes + CONNECTION_BYTES
}

/// Of that, what is remembered of it.
pub fn session_bytes(session: &Session) -> usize {
    let Session { name, library_name, library_version, peer, local, user, .. } = session;
    let texts = name.len() + library_name.len() + library_version.len() + peer.len() + local.len() + user.len();
    let transaction = session.transaction.memory_bytes() + watched_bytes(session);
    let prefixes = session.tracking.iter().flat_map(|choice| &choice.prefixes);
    let tracking: usize = prefixes.map(|prefix| size_of::<Vec<u8>>() + prefix.len()).sum();
    let subscriptions = session.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.memory_bytes());
    size_of::<Session>() + texts + transaction + tracking + subscriptions
}

fn watched_bytes(session: &Session) -> usize {
    session.watched.iter().map(|watched| size_of::<Watched>() + watched.key.len()).sum()
}

/// One line of `CLIENT LIST`, with its line end. The order of the fields is that of Redis 7.2.
fn line(session: &Session, now_ms: u64) -> Vec<u8> {
    let seconds_since = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
    let last_command = session.last_command.map(|index| find_by_index(index as usize).full_name());
    let mut line = Vec::with_capacity(320);
    let mut put = |name: &str, value: &[u8]| {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(name.as_bytes());
        line.push(b'=');
        line.extend_from_slice(value);
    };
    let mut digits = itoa::Buffer::new();
    macro_rules! number {
        ($name:literal, $value:expr) => {
            put($name, digits.format($value).as_bytes())
        };
    }
    number!("id", session.id);
    put("addr", session.peer.as_bytes());
    put("laddr", session.local.as_bytes());
    number!("fd", session.fd);
    put("name", &session.name);
    number!("age", seconds_since(session.connected_ms));
    number!("idle", seconds_since(session.active_ms));
    put("flags", letters(session).as_bytes());
    number!("db", session.db);
    number!("sub", session.subscriptions_len(Audience::Channel));
    number!("psub", session.subscriptions_len(Audience::Pattern));
    number!("ssub", session.subscriptions_len(Audience::Shard));
    let is_in_transaction = session.mode.contains(Mode::IN_TRANSACTION);
    number!("multi", if is_in_transaction { session.transaction.len() as i64 } else { -1 });
    number!("qbuf", session.query_bytes);
    // While nothing waits, buffers belong to the core, not to its clients.
    number!("qbuf-free", session.query_room_bytes);
    put("argv-mem", b"0");
    let queued_bytes = if is_in_transaction { session.transaction.memory_bytes() } else { 0 };
    number!("multi-mem", queued_bytes + watched_bytes(session));
    for name in ["rbs", "rbp", "obl"] {
        put(name, b"0");
    }
    number!("oll", usize::from(0 < session.pending_bytes));
    number!("omem", session.pending_bytes);
    number!("tot-mem", memory_bytes(session));
    put("events", if 0 < session.pending_bytes { b"rw" } else { b"r" });
    put("cmd", last_command.as_deref().unwrap_or("NULL").as_bytes());
    put("user", session.user.as_bytes());
    number!("redir", tracking::redirect_of(session));
    put("resp", if session.protocol == Protocol::Resp2 { b"2" } else { b"3" });
    put("lib-name", &session.library_name);
    put("lib-ver", &session.library_version);
    number!("watch", session.watched.len());
    line.push(b'\n');
    line
}

/// The letters of `flags=`.
fn letters(session: &Session) -> String {
    let has = |mode: Mode| session.mode.contains(mode);
    let (mut is_broken, mut is_broadcast) = (false, false);
    if let Some(choice) = &session.tracking {
        (is_broken, is_broadcast) = (choice.is_redirect_broken, choice.is_broadcast);
    }
    let all = [
        (has(Mode::MONITOR), 'O'),
        (has(Mode::SUBSCRIBED), 'P'),
        (has(Mode::IN_TRANSACTION), 'x'),
        (has(Mode::BLOCKED) || session.is_blocked, 'b'),
        (has(Mode::TRACKING), 't'),
        (is_broken, 'R'),
        (is_broadcast, 'B'),
        (session.watched.first().is_some_and(|watched| watched.flag.is_raised()), 'd'),
        (has(Mode::CLOSE_AFTER_REPLY), 'c'),
        (has(Mode::CLOSE_NOW), 'A'),
        (has(Mode::UNIX_SOCKET), 'U'),
        (has(Mode::NO_EVICT), 'e'),
        (has(Mode::NO_TOUCH), 'T'),
    ];
    let letters: String = all.iter().filter(|(holds, _)| *holds).map(|(_, letter)| letter).collect();
    if letters.is_empty() { "N".to_string() } else { letters }
}

/// Classes of clients. So far there are no replicas and no primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    PubSub,
    Replica,
    Primary,
}

impl Class {
    fn parse(word: &[u8]) -> Result<Class, Error> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Class::Normal),
            b"pubsub" => Ok(Class::PubSub),
            b"slave" | b"replica" => Ok(Class::Replica),
            b"master" | b"primary" => Ok(Class::Primary),
            _ => Err(Error::quoting("ERR Unknown client type '", word, "'")),
        }
    }

    fn of(session: &Session) -> Class {
        if session.mode.contains(Mode::SUBSCRIBED) { Class::PubSub } else { Class::Normal }
    }
}

/// What `CLIENT LIST` is asked for.
enum Wanted {
    All,
    Class(Class),
    Ids(Vec<u64>),
}

impl Wanted {
    fn parse(args: &Args<'_>) -> Result<Wanted, Error> {
        match &args[2..] {
            [] => Ok(Wanted::All),
            [word, class] if word.eq_ignore_ascii_case(b"TYPE") => Ok(Wanted::Class(Class::parse(class)?)),
            [word, ids @ ..] if word.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
                let id = |word: &&[u8]| parse_integer(word).ok_or(Error::fixed("ERR Invalid client ID"));
                // No client has a negative id; 0 stands for it, which no client has either.
                let ids = ids.iter().map(|word| id(word).map(|id| u64::try_from(id).unwrap_or(0)));
                Ok(Wanted::Ids(ids.collect::<Result<_, _>>()?))
            }
            _ => Err(Error::SYNTAX),
        }
    }
}

/// Lines of the clients of one core, by id.
type Lines = BTreeMap<u64, Vec<u8>>;

fn check_list(_: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    Wanted::parse(args).map(|_| ())
}

fn list_part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let wanted = Wanted::parse(args).expect("checked before any core was asked");
    let mut lines = Lines::new();
    let now_ms = view.now_ms;
    view.clients.for_each(&mut |session| {
        let listed = match &wanted {
            Wanted::All => true,
            Wanted::Class(class) => *class == Class::of(session),
            Wanted::Ids(ids) => ids.contains(&session.id),
        };
        if listed {
            lines.insert(session.id, line(session, now_ms));
        }
    });
    Box::new(lines)
}

fn list_merge(_: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let mut lines = Lines::new();
    for part in parts {
        lines.append(&mut part.downcast::<Lines>().expect("a part of CLIENT LIST"));
    }
    let text: Vec<u8> = match Wanted::parse(args).expect("checked before any core was asked") {
        // As they were asked for.
        Wanted::Ids(ids) => ids.iter().filter_map(|id| lines.get(id)).flatten().copied().collect(),
        _ => lines.values().flatten().copied().collect(),
    };
    reply.verbatim(b"txt", text);
    Ok(())
}

/// What must be true of a client for `CLIENT KILL`.
#[derive(Default)]
struct Filters<'a> {
    id: Option<u64>,
    peer: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    class: Option<Class>,
    user: Option<&'a [u8]>,
    age_seconds_min: Option<u64>,
    /// The caller stays.
    skips_caller: bool,
}

impl<'a> Filters<'a> {
    fn parse(args: &'a Args<'a>) -> Result<Filters<'a>, Error> {
        if let [_, _, address] = args {
            return Ok(Filters { peer: Some(address), ..Filters::default() });
        }
        const BAD_ID: Error = Error::fixed("ERR client-id should be greater than 0");
        let mut filters = Filters { skips_caller: true, ..Filters::default() };
        for pair in args[2..].chunks(2) {
            let [filter, value] = *pair else { return Err(Error::SYNTAX) };
            match filter.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).and_then(|id| u64::try_from(id).ok()).filter(|&id| 0 < id);
                    filters.id = Some(id.ok_or(BAD_ID)?);
                }
                b"type" => filters.class = Some(Class::parse(value)?),
                b"addr" => filters.peer = Some(value),
                b"laddr" => filters.local = Some(value),
                b"user" if value == DEFAULT_USER.as_bytes() => filters.user = Some(value),
                b"user" => return Err(Error::quoting("ERR No such user '", value, "'")),
                b"skipme" => {
                    filters.skips_caller = match value.to_ascii_lowercase().as_slice() {
                        b"yes" => true,
                        b"no" => false,
                        _ => return Err(Error::SYNTAX),
                    };
                }
                b"maxage" => {
                    let age =
                        parse_integer(value).ok_or(Error::fixed("ERR maxage is not an integer or out of range"))?;
                    let age = u64::try_from(age).ok().filter(|&age| 0 < age);
                    filters.age_seconds_min = Some(age.ok_or(Error::fixed("ERR maxage should be greater than 0"))?);
                }
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(filters)
    }

    fn matches(&self, session: &Session, now_ms: u64) -> bool {
        self.id.is_none_or(|id| id == session.id)
            && self.peer.is_none_or(|peer| peer == session.peer.as_bytes())
            && self.local.is_none_or(|local| local == session.local.as_bytes())
            && self.class.is_none_or(|class| class == Class::of(session))
            && self.user.is_none_or(|user| user == session.user.as_bytes())
            && self.age_seconds_min.is_none_or(|age| age <= now_ms.saturating_sub(session.connected_ms) / 1000)
    }
}

/// What one core contributes to `CLIENT KILL`.
#[derive(Default)]
struct Killed {
    count: i64,
    /// The caller is among them. It is closed at home, once its reply is there.
    caller: bool,
}

fn check_kill(_: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    Filters::parse(args).map(|_| ())
}

fn kill_part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let filters = Filters::parse(args).expect("checked before any core was asked");
    let mut killed = Killed::default();
    let (now_ms, caller) = (view.now_ms, view.client);
    view.clients.for_each(&mut |session| {
        let is_caller = session.id == caller;
        if !filters.matches(session, now_ms) || (is_caller && filters.skips_caller) {
            return;
        }
        killed.count += 1;
        if is_caller {
            killed.caller = true;
        } else {
            session.mode |= Mode::CLOSE_NOW;
            if session.is_target {
                view.shared.pubsub.tracking.lose(session.id);
            }
        }
    });
    Box::new(killed)
}

fn kill_merge(view: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let mut count = 0;
    for part in parts {
        let part = part.downcast::<Killed>().expect("a part of CLIENT KILL");
        count += part.count;
        if part.caller {
            view.session.mode |= Mode::CLOSE_AFTER_REPLY;
        }
    }
    match (args.len(), count) {
        (3, 0) => return Err(Error::fixed("ERR No such client")),
        (3, _) => reply.ok(),
        _ => reply.integer(count),
    }
    Ok(())
}

// Holding clients back

/// `Shared::pause_mode` while nobody waits, writers wait, everybody waits.
const PAUSE_NONE: u8 = 0;
const PAUSE_WRITES: u8 = 1;
const PAUSE_ALL: u8 = 2;

fn pause(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mode = match args {
        [_, _, _] => PAUSE_ALL,
        [_, _, _, word] => match word.to_ascii_lowercase().as_slice() {
            b"write" => PAUSE_WRITES,
            b"all" => PAUSE_ALL,
            _ => return Err(Error::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        },
        _ => return Err(Error::subcommand_syntax("CLIENT", args[1])),
    };
    let timeout_ms = parse_integer(args[2]).ok_or(Error::TIMEOUT_NOT_INTEGER)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    // As in Redis, an end that no clock reaches is no pause: nobody, not even UNPAUSE, would ever run again.
    let until_ms = view.now_ms.checked_add(timeout_ms).filter(|until_ms| i64::try_from(*until_ms).is_ok()).unwrap_or(0);
    let shared = view.shared;
    // A pause under way is only ever made longer and stricter.
    if shared.pause_until_ms.fetch_max(until_ms, Ordering::Relaxed) <= view.now_ms {
        shared.pause_mode.store(mode, Ordering::Relaxed);
    } else {
        shared.pause_mode.fetch_max(mode, Ordering::Relaxed);
    }
    reply.ok();
    Ok(())
}

fn unpause(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.shared.pause_mode.store(PAUSE_NONE, Ordering::Relaxed);
    view.shared.pause_until_ms.store(0, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

/// Which client is to be woken, and whether with an error.
fn parse_unblock(args: &Args<'_>) -> Result<(u64, bool), Error> {
    let is_error = match args {
        [_, _, _] => false,
        [_, _, _, reason] => match reason.to_ascii_lowercase().as_slice() {
            b"timeout" => false,
            b"error" => true,
            _ => return Err(Error::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        },
        _ => return Err(Error::subcommand_syntax("CLIENT", args[1])),
    };
    let id = parse_integer(args[2]).ok_or(Error::NOT_INTEGER)?;
    // No client has a negative id; 0 stands for it, which no client has either.
    Ok((u64::try_from(id).unwrap_or(0), is_error))
}

fn check_unblock(_: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    parse_unblock(args).map(|_| ())
}

fn unblock_part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let (id, is_error) = parse_unblock(args).expect("checked before any core was asked");
    Box::new(view.clients.unblock(id, is_error))
}

fn unblock_merge(_: &mut SessionView<'_>, _: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let was_woken = parts.into_iter().any(|part| *part.downcast::<bool>().expect("a part of CLIENT UNBLOCK"));
    reply.integer(was_woken.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::{NOW_MS, Server};
    use super::*;

    #[track_caller]
    fn check(server: &mut Server, id: u64, line: &str, expected: &str) {
        assert_eq!(server.say(COMMANDS, id, line), expected, "{line}");
    }

    /// The text of a bulk string.
    fn text(reply: &str) -> Vec<&str> {
        assert!(reply.starts_with('$'), "{reply}");
        let body = reply.split_once('|').unwrap().1.strip_suffix('|').unwrap();
        body.split_terminator('\n').collect()
    }

    fn ids(reply: &str) -> Vec<u64> {
        text(reply).iter().map(|line| line.split(' ').next().unwrap()["id=".len()..].parse().unwrap()).collect()
    }

    #[test]
    fn a_client_has_a_name_and_a_library() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, 1, "CLIENT ID", ":1|");
        check(&mut server, 1, "CLIENT GETNAME", "$-1|");
        check(&mut server, 1, "CLIENT SETNAME a~!", "+OK|");
        check(&mut server, 1, "CLIENT GETNAME", "$3|a~!|");
        let bad = "-ERR Client names cannot contain spaces, newlines or special characters.|";
        assert_eq!(server.run(COMMANDS, 1, &[b"CLIENT", b"SETNAME", b"a b"]), bad);
        check(&mut server, 1, "CLIENT SETNAME ", "+OK|");
        check(&mut server, 1, "CLIENT GETNAME", "$-1|");
        check(&mut server, 1, "CLIENT SETINFO LIB-NAME lib(1.2_x)", "+OK|");
        check(&mut server, 1, "CLIENT SETINFO lib-ver 1.2", "+OK|");
        check(&mut server, 1, "CLIENT SETINFO foo 1.2", "-ERR Unrecognized option 'foo'|");
        let bad = "-ERR lib-Ver cannot contain spaces, newlines or special characters.|";
        assert_eq!(server.run(COMMANDS, 1, &[b"CLIENT", b"SETINFO", b"lib-Ver", b"a\n"]), bad);
        let session = server.session(1);
        assert_eq!((&session.library_name[..], &session.library_version[..]), (&b"lib(1.2_x)"[..], &b"1.2"[..]));
        check(&mut server, 1, "CLIENT CAPA redirect whatever", "+OK|");
        check(&mut server, 1, "CLIENT GETREDIR", ":-1|");
        let info = "*6|$5|flags|*1|$3|off|$8|redirect|:-1|$8|prefixes|*0|";
        check(&mut server, 1, "CLIENT TRACKINGINFO", info);
    }

    #[test]
    fn a_line_has_every_field_in_order() {
        let mut server = Server::new(2, 1, &[]);
        let session = server.session(1);
        session.name = b"me".to_vec();
        session.library_name = b"lib".to_vec();
        session.db = 3;
        session.mode = Mode::NO_EVICT | Mode::NO_TOUCH | Mode::UNIX_SOCKET;
        session.active_ms = NOW_MS - 1999;
        session.query_bytes = 26;
        let line = text(&server.say(COMMANDS, 1, "CLIENT INFO")).join("");
        let (before, after) = line.split_once(" tot-mem=").unwrap();
        assert_eq!(
            before,
            "id=1 addr=127.0.0.1:50001 laddr=127.0.0.1:6379 fd=8 name=me age=5 idle=1 flags=UeT db=3 sub=0 psub=0 ssub=0 \
             multi=-1 qbuf=26 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0"
        );
        let (memory, after) = after.split_once(' ').unwrap();
        assert!(100 < memory.parse::<usize>().unwrap());
        assert_eq!(after, "events=r cmd=NULL user=default redir=-1 resp=2 lib-name=lib lib-ver= watch=0");
        let session = server.session(1);
        session.mode = Mode::empty();
        session.pending_bytes = 5;
        session.protocol = Protocol::Resp3;
        let reply = server.say(COMMANDS, 1, "CLIENT INFO");
        assert!(reply.starts_with("=") && reply.contains("|txt:id=1 "), "{reply}");
        assert!(
            reply.contains(" flags=N ") && reply.contains(" oll=1 omem=5 ") && reply.contains(" events=rw "),
            "{reply}"
        );
        assert!(reply.contains(" resp=3 "), "{reply}");
    }

    #[test]
    fn the_list_is_of_all_cores_by_id() {
        let mut server = Server::new(3, 7, &[]);
        assert_eq!(ids(&server.say(COMMANDS, 4, "CLIENT LIST")), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ids(&server.say(COMMANDS, 4, "CLIENT LIST TYPE normal")), [1, 2, 3, 4, 5, 6, 7]);
        check(&mut server, 4, "CLIENT LIST TYPE pubsub", "$0||");
        check(&mut server, 4, "CLIENT LIST TYPE replica", "$0||");
        check(&mut server, 4, "CLIENT LIST TYPE master", "$0||");
        assert_eq!(ids(&server.say(COMMANDS, 4, "CLIENT LIST ID 6 -1 99 2 6")), [6, 2, 6]);
        check(&mut server, 4, "CLIENT LIST ID 0", "$0||");
        check(&mut server, 4, "CLIENT LIST ID 1 x", "-ERR Invalid client ID|");
        check(&mut server, 4, "CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'|");
        for line in ["CLIENT LIST foo", "CLIENT LIST TYPE", "CLIENT LIST ID", "CLIENT LIST TYPE normal x"] {
            check(&mut server, 4, line, "-ERR syntax error|");
        }
    }

    /// The clients that a command closed.
    fn closed(server: &mut Server) -> Vec<u64> {
        let sessions = server.sessions.iter_mut();
        let closed = sessions.filter_map(|session| {
            let mode = std::mem::take(&mut session.mode);
            mode.contains(Mode::CLOSE_NOW).then_some(session.id)
        });
        closed.collect()
    }

    #[test]
    fn kill_closes_what_passes_every_filter() {
        let mut server = Server::new(2, 6, &[]);
        for (line, count, who) in [
            ("CLIENT KILL ID 3", 1, &[3][..]),
            ("CLIENT KILL ID 1 ID 2", 1, &[2]),
            ("CLIENT KILL ADDR 127.0.0.1:50005 LADDR 127.0.0.1:6379", 1, &[5]),
            ("CLIENT KILL ADDR 127.0.0.1:50005 LADDR 127.0.0.1:1", 0, &[]),
            ("CLIENT KILL TYPE normal", 5, &[1, 2, 3, 5, 6]),
            ("CLIENT KILL USER default SKIPME YES", 5, &[1, 2, 3, 5, 6]),
            ("CLIENT KILL LADDR 127.0.0.1:6379 TYPE pubsub", 0, &[]),
            ("CLIENT KILL ID 4", 0, &[]),
            ("CLIENT KILL MAXAGE 5", 5, &[1, 2, 3, 5, 6]),
            ("CLIENT KILL MAXAGE 6", 0, &[]),
        ] {
            check(&mut server, 4, line, &format!(":{count}|"));
            assert_eq!(closed(&mut server), who, "{line}");
        }
        check(&mut server, 4, "CLIENT KILL 127.0.0.1:50001", "+OK|");
        assert_eq!(closed(&mut server), [1]);
        check(&mut server, 4, "CLIENT KILL 127.0.0.1:1", "-ERR No such client|");
        check(&mut server, 4, "CLIENT KILL id", "-ERR No such client|");
    }

    #[test]
    fn who_kills_itself_still_gets_the_reply() {
        let mut server = Server::new(2, 3, &[]);
        check(&mut server, 2, "CLIENT KILL 127.0.0.1:50002", "+OK|");
        assert_eq!(server.session(2).mode, Mode::CLOSE_AFTER_REPLY);
        server.session(2).mode = Mode::empty();
        check(&mut server, 2, "CLIENT KILL TYPE normal SKIPME no", ":3|");
        assert_eq!(server.session(2).mode, Mode::CLOSE_AFTER_REPLY);
        assert_eq!(closed(&mut server), [1, 3]);
    }

    #[test]
    fn kill_refuses_before_anybody_is_closed() {
        let mut server = Server::new(2, 3, &[]);
        for (line, error) in [
            ("CLIENT KILL ID x", "ERR client-id should be greater than 0"),
            ("CLIENT KILL ID 0", "ERR client-id should be greater than 0"),
            ("CLIENT KILL TYPE foo", "ERR Unknown client type 'foo'"),
            ("CLIENT KILL USER nobody", "ERR No such user 'nobody'"),
            ("CLIENT KILL TYPE normal SKIPME foo", "ERR syntax error"),
            ("CLIENT KILL TYPE normal ID", "ERR syntax error"),
            ("CLIENT KILL TYPE normal foo bar", "ERR syntax error"),
            ("CLIENT KILL MAXAGE x", "ERR maxage is not an integer or out of range"),
            ("CLIENT KILL MAXAGE 0", "ERR maxage should be greater than 0"),
        ] {
            check(&mut server, 1, line, &format!("-{error}|"));
        }
        assert!(closed(&mut server).is_empty());
    }

    #[test]
    fn replies_can_be_switched_off() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, 1, "CLIENT REPLY SKIP", "");
        assert_eq!(server.session(1).mode, Mode::REPLY_SKIP_NEXT);
        check(&mut server, 1, "CLIENT REPLY ON", "+OK|");
        assert_eq!(server.session(1).mode, Mode::empty());
        check(&mut server, 1, "CLIENT REPLY OFF", "");
        check(&mut server, 1, "CLIENT REPLY SKIP", "");
        assert_eq!(server.session(1).mode, Mode::REPLY_OFF);
        check(&mut server, 1, "CLIENT REPLY foo", "-ERR syntax error|");
        check(&mut server, 1, "CLIENT REPLY on", "+OK|");
        check(&mut server, 1, "CLIENT NO-EVICT on", "+OK|");
        check(&mut server, 1, "CLIENT NO-TOUCH on", "+OK|");
        assert_eq!(server.session(1).mode, Mode::NO_EVICT | Mode::NO_TOUCH);
        check(&mut server, 1, "CLIENT NO-TOUCH OFF", "+OK|");
        check(&mut server, 1, "CLIENT NO-EVICT maybe", "-ERR syntax error|");
    }

    #[test]
    fn a_pause_only_grows() {
        let mut server = Server::new(1, 1, &[]);
        let state = |server: &Server| {
            let until_ms = server.shared.pause_until_ms.load(Ordering::Relaxed);
            (server.shared.pause_mode.load(Ordering::Relaxed), until_ms.wrapping_sub(NOW_MS))
        };
        check(&mut server, 1, "CLIENT PAUSE 500 WRITE", "+OK|");
        assert_eq!(state(&server), (PAUSE_WRITES, 500));
        check(&mut server, 1, "CLIENT PAUSE 100", "+OK|");
        assert_eq!(state(&server), (PAUSE_ALL, 500));
        check(&mut server, 1, "CLIENT PAUSE 600 write", "+OK|");
        assert_eq!(state(&server), (PAUSE_ALL, 600));
        check(&mut server, 1, "CLIENT UNPAUSE", "+OK|");
        assert_eq!(state(&server).0, PAUSE_NONE);
        check(&mut server, 1, "CLIENT PAUSE 9223372036854775807", "+OK|");
        server.shared.pause_until_ms.store(NOW_MS, Ordering::Relaxed);
        check(&mut server, 1, "CLIENT PAUSE 1 write", "+OK|");
        assert_eq!(state(&server), (PAUSE_WRITES, 1), "a pause that is over does not count");
        check(&mut server, 1, "CLIENT PAUSE x", "-ERR timeout is not an integer or out of range|");
        check(&mut server, 1, "CLIENT PAUSE -1", "-ERR timeout is negative|");
        check(&mut server, 1, "CLIENT PAUSE 1 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL|");
        let error = "-ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP.|";
        check(&mut server, 1, "CLIENT pause 1 all x", error);
    }

    #[test]
    fn nobody_waits_to_be_unblocked() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, 1, "CLIENT UNBLOCK 1 TIMEOUT", ":0|");
        check(&mut server, 1, "CLIENT UNBLOCK x", "-ERR value is not an integer or out of range|");
        check(&mut server, 1, "CLIENT UNBLOCK 1 foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|");
        check(&mut server, 1, "CLIENT UNBLOCK x foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|");
    }

    #[test]
    fn help_lists_every_subcommand() {
        let mut server = Server::new(1, 1, &[]);
        let help = server.say(COMMANDS, 1, "CLIENT HELP");
        let first = "+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|";
        assert!(help.starts_with(&format!("*{}|{first}", 1 + 2 * SUBCOMMANDS.len())), "{help}");
        assert!(help.contains("|+GETNAME|+    Returns the client's name.|"), "{help}");
    }
}
