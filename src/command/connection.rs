//! Commands on the connection itself: who is calling, in which protocol, on which database.
//!
//! Not here: `CLIENT` and its subcommands, users other than `default`, and the socket. A command says "close" by
//! setting a mode; the connection's core closes.

use super::info::REDIS_VERSION;
use super::slowlog::{secret_arguments, secrets_behind_auth};
use super::{Args, Command, CommandResult, Flags, Group, Run, SessionView};
use crate::config::Config;
use crate::resp::{Error, Protocol, Reply};
use crate::session::Mode;
use crate::value::number::parse_integer;
use std::sync::atomic::Ordering;
use subtle::{Choice, ConstantTimeEq};

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);
const BEFORE_AUTH: Flags = ANY_STATE.union(Flags::NOSCRIPT).union(Flags::NO_AUTH).union(Flags::ALLOW_BUSY);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("AUTH", Run::Session(auth))
        .arity(-2)
        .secrets(secret_arguments)
        .flags(BEFORE_AUTH)
        .docs(Group::Connection, "1.0.0", "Proves who the client is by a password.")
        .complexity("O(N) where N is the number of passwords of the user")
        .syntax("[username] password"),
    Command::new("ECHO", Run::Session(echo))
        .arity(2)
        .flags(ANY_STATE)
        .docs(Group::Connection, "1.0.0", "Returns its argument.")
        .syntax("message"),
    Command::new("HELLO", Run::Session(hello))
        .arity(-1)
        .secrets(secrets_behind_auth)
        .flags(BEFORE_AUTH)
        .docs(
            Group::Connection,
            "6.0.0",
            "Tells about the server, and chooses the protocol, the user and the client's name.",
        )
        .syntax("[protover [AUTH username password] [SETNAME clientname]]"),
    Command::new("PING", Run::Session(ping))
        .arity(-1)
        .for_subscribers()
        .telling_of_disk()
        .flags(Flags::FAST)
        .docs(Group::Connection, "1.0.0", "Answers PONG, or its argument.")
        .syntax("[message]")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("QUIT", Run::Session(quit)).arity(-1).flags(BEFORE_AUTH).immediate().for_subscribers().docs(
        Group::Connection,
        "1.0.0",
        "Closes the connection once the replies before it are sent.",
    ),
    Command::new("RESET", Run::Session(reset)).arity(1).flags(BEFORE_AUTH).immediate().for_subscribers().docs(
        Group::Connection,
        "6.2.0",
        "Makes the connection what it was when it was new.",
    ),
    Command::new("SELECT", Run::Session(select))
        .arity(2)
        .flags(ANY_STATE)
        .docs(Group::Connection, "1.0.0", "Chooses the database that the following commands use.")
        .syntax("index"),
];

/// The only user until there are access control lists.
pub(super) const DEFAULT_USER: &str = "default";

const BAD_NAME: Error = Error::fixed("ERR Client names cannot contain spaces, newlines or special characters.");

fn ping(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if view.session.mode.contains(Mode::SUBSCRIBED) && view.session.protocol == Protocol::Resp2 && args.len() <= 2 {
        // So that it looks like the messages between which it stands.
        reply.array(2);
        reply.bulk("pong");
        reply.bulk(args.get(1).copied().unwrap_or_default());
        return Ok(());
    }
    match args {
        [_] => reply.simple("PONG"),
        [_, message] => reply.bulk(message),
        _ => return Err(Error::wrong_arity("ping")),
    }
    Ok(())
}

fn echo(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.bulk(args[1]);
    Ok(())
}

fn quit(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.session.mode |= Mode::CLOSE_AFTER_REPLY;
    reply.ok();
    Ok(())
}

fn reset(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if view.session.mode.contains(Mode::MONITOR) {
        view.shared.monitors.fetch_sub(1, Ordering::Relaxed);
    }
    view.shared.pubsub.tracking.stop(view.session.id);
    super::aof::count_durability(view.shared, view.session.durability, None);
    view.session.reset(view.config.requirepass.is_empty());
    reply.simple("RESET");
    Ok(())
}

fn select(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const RANGE: Error = Error::fixed("ERR value is out of range, value must between -2147483648 and 2147483647");
    let index = parse_integer(args[1]).ok_or(Error::NOT_INTEGER)?;
    let index = i32::try_from(index).map_err(|_| RANGE)?;
    let db = usize::try_from(index).ok().filter(|&db| db < view.config.databases as usize).ok_or(Error::DB_INDEX)?;
    view.session.db = db;
    reply.ok();
    Ok(())
}

fn auth(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (user, password) = match args {
        [_, _] if view.config.requirepass.is_empty() => return Err(Error::NO_PASSWORD_SET),
        [_, password] => (DEFAULT_USER.as_bytes(), *password),
        [_, user, password] => (*user, *password),
        _ => return Err(Error::SYNTAX),
    };
    authenticate(view, user, password)?;
    reply.ok();
    Ok(())
}

/// Makes the client a user, or says why not.
fn authenticate(view: &mut SessionView<'_>, user: &[u8], password: &[u8]) -> CommandResult {
    if user != DEFAULT_USER.as_bytes() || !is_password(view.config, password) {
        return Err(Error::WRONG_PASSWORD);
    }
    view.session.user = DEFAULT_USER.to_string();
    view.session.mode.remove(Mode::UNAUTHENTICATED);
    Ok(())
}

/// Whether this is the password; anything is where none is set. Takes the same time whatever the password is: the loop
/// runs over what the client sent, and neither the first wrong byte nor a wrong length ends it.
fn is_password(config: &Config, given: &[u8]) -> bool {
    let wanted = config.requirepass.bytes();
    if wanted.is_empty() {
        return true;
    }
    let mut equal = given.len().ct_eq(&wanted.len());
    for (byte, wanted) in given.iter().zip(wanted.iter().cycle()) {
        equal &= byte.ct_eq(wanted);
    }
    Choice::into(equal)
}

/// Whether a client may be called so: printable ASCII without blanks; empty takes the name away.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

/// `CLIENT SETNAME` and `HELLO … SETNAME`.
pub(super) fn set_name(view: &mut SessionView<'_>, name: &[u8]) -> CommandResult {
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    view.session.name = name.to_vec();
    Ok(())
}

fn hello(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let protocol = match args.get(1) {
        None => view.session.protocol,
        Some(version) => match parse_integer(version).ok_or(Error::PROTOCOL_NOT_INTEGER)? {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(Error::NO_PROTOCOL),
        },
    };
    // As in Redis 7.0, what stands before an option that is refused is done.
    let mut options = args.get(2..).unwrap_or_default();
    while let [option, rest @ ..] = options {
        options = match rest {
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                authenticate(view, user, password)?;
                rest
            }
            [wanted, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                set_name(view, wanted)?;
                rest
            }
            _ => return Err(Error::quoting("ERR Syntax error in HELLO option '", option, "'")),
        };
    }
    if view.session.mode.contains(Mode::UNAUTHENTICATED) {
        return Err(Error::HELLO_NOT_AUTHENTICATED);
    }
    view.session.protocol = protocol;

    // The reply speaks the new protocol already.
    let mut made = Vec::new();
    let mut map = Reply::new(&mut made, protocol);
    map.map(7);
    map.bulk("server");
    map.bulk("redis");
    map.bulk("version");
    map.bulk(REDIS_VERSION);
    map.bulk("proto");
    map.integer(if protocol == Protocol::Resp2 { 2 } else { 3 });
    map.bulk("id");
    map.integer(view.session.id as i64);
    map.bulk("mode");
    map.bulk(view.session.server_mode());
    map.bulk("role");
    map.bulk("master");
    map.bulk("modules");
    map.array(0);
    reply.raw(&made);
    Ok(())
}

/// A server without sockets, for the tests of commands about clients and cores.
#[cfg(test)]
pub(super) mod double {
    use super::*;
    use crate::command::{Clients, CoreView, Part};
    use crate::config::{Host, Loader, Place};
    use crate::keyspace::Keyspace;
    use crate::session::Session;
    use crate::shard::Shard;
    use crate::shared::Shared;
    use crate::stats::Stats;
    use std::sync::Arc;

    /// The time in every test, Unix milliseconds.
    pub const NOW_MS: u64 = 1_700_000_000_000;

    /// The defaults, with some directives as in a file.
    pub fn config_with(directives: &[(&str, &str)]) -> Config {
        let host = Host {
            read_file: &|_| panic!("no files in this test"),
            expand: &|_| Vec::new(),
            resolve_directory: &|path| Ok(path.into()),
            check_renames: &|_| Ok(()),
            machine_memory_bytes: 0,
        };
        let mut loader = Loader::new(&host).expect("the current directory");
        for (name, value) in directives {
            loader.text(format!("{name} {value}").as_bytes(), &Place::CommandLine).expect("a directive");
        }
        loader.finish(Place::CommandLine).expect("a configuration")
    }

    /// A server: cores with their shards and clients. Client `id` is served by core `id % cores`.
    pub struct Server {
        pub shared: Shared,
        pub config: Arc<Config>,
        pub shards: Vec<Shard>,
        pub stats: Vec<Stats>,
        pub sessions: Vec<Session>,
    }

    struct Served<'a>(Vec<&'a mut Session>);

    impl Clients for Served<'_> {
        fn for_each(&mut self, visit: &mut dyn FnMut(&mut Session)) {
            for session in &mut self.0 {
                visit(session);
            }
        }

        fn shared_bytes(&self) -> usize {
            0
        }

        fn unblock(&mut self, id: u64, _: bool) -> bool {
            let session = self.0.iter_mut().find(|session| session.id == id);
            let waits = |session: &&mut &mut Session| session.mode.contains(Mode::BLOCKED);
            session.filter(waits).map(|session| session.mode.remove(Mode::BLOCKED)).is_some()
        }
    }

    impl Server {
        /// With the given directives.
        pub fn new(cores: usize, clients: u64, directives: &[(&str, &str)]) -> Server {
            let config = config_with(directives);
            let shared = Shared::new(config.clone(), (0..cores).collect(), NOW_MS - 100_500, "a".repeat(40));
            let config = Arc::new(config);
            let shards = (0..cores).map(|index| {
                let keyspace = Keyspace::new(config.databases as usize, 1);
                Shard::new(index, cores, config.clone(), keyspace, 1, shared.pubsub.clone(), shared.log.clone())
            });
            let stats = (0..cores).map(|_| Stats::default()).collect();
            let mut server = Server { shards: shards.collect(), stats, config, shared, sessions: Vec::new() };
            for id in 1..=clients {
                let mut session = Session::new(id, id as usize % cores, 7 + id as i32, NOW_MS - 5000);
                session.peer = format!("127.0.0.1:{}", 50000 + id).into();
                session.local = "127.0.0.1:6379".into();
                session.active_ms = NOW_MS;
                session.mode.set(Mode::UNAUTHENTICATED, !server.config.requirepass.is_empty());
                server.sessions.push(session);
            }
            server
        }

        pub fn session(&mut self, id: u64) -> &mut Session {
            self.sessions.iter_mut().find(|session| session.id == id).expect("a client of the test")
        }

        /// Runs a command of a client, and returns the reply as it stands on the wire, line ends as `|`.
        pub fn run(&mut self, commands: &'static [Command], id: u64, args: &[&[u8]]) -> String {
            let mut out = Vec::new();
            let protocol = self.session(id).protocol;
            if let Err(error) = self.execute(commands, id, args, &mut Reply::new(&mut out, protocol)) {
                out.clear();
                Reply::new(&mut out, protocol).error(&error);
            }
            String::from_utf8_lossy(&out).replace("\r\n", "|")
        }

        /// As [`Server::run`], of words without blanks in them.
        pub fn say(&mut self, commands: &'static [Command], id: u64, line: &str) -> String {
            self.run(commands, id, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
        }

        fn execute(
            &mut self,
            commands: &'static [Command],
            id: u64,
            args: &Args<'_>,
            reply: &mut Reply<'_>,
        ) -> CommandResult {
            let named = |row: &&Command, word: &[u8]| row.name.as_bytes().eq_ignore_ascii_case(word);
            let mut row = commands.iter().find(|row| named(row, args[0])).expect("a row");
            if matches!(row.run, Run::Container) {
                row = row.subcommands.iter().find(|row| named(row, args[1])).expect("a subcommand's row");
            }
            let fits = if row.arity < 0 {
                row.arity.unsigned_abs() as usize <= args.len()
            } else {
                row.arity as usize == args.len()
            };
            if !fits {
                return Err(Error::wrong_arity("arity"));
            }
            let Server { shared, config, shards, stats, sessions } = self;
            let (shared, config) = (&*shared, &*config);
            let home = sessions.iter().position(|session| session.id == id).expect("a client of the test");
            fn view<'a>(session: &'a mut Session, config: &'a Arc<Config>, shared: &'a Shared) -> SessionView<'a> {
                SessionView { session, config, shared, now_ms: NOW_MS, reconfigured: false }
            }
            match row.run {
                Run::Session(run) => run(&mut view(&mut sessions[home], config, shared), args, reply),
                Run::Everywhere { check, part, merge } => {
                    check(&view(&mut sessions[home], config, shared), args)?;
                    let db = sessions[home].db;
                    let mut parts: Vec<Part> = Vec::new();
                    for (core, (shard, stats)) in std::iter::zip(shards, stats).enumerate() {
                        let mut clients = Served(sessions.iter_mut().filter(|session| session.core == core).collect());
                        let clients = &mut clients;
                        parts.push(part(
                            &mut CoreView {
                                shard,
                                stats,
                                clients,
                                config,
                                shared,
                                core,
                                db,
                                client: id,
                                now_ms: NOW_MS,
                            },
                            args,
                        ));
                    }
                    merge(&mut view(&mut sessions[home], config, shared), args, parts, reply)
                }
                Run::Keyspace(_) | Run::Blocking(_) | Run::Joint(_) | Run::Subscription { .. } | Run::Container => {
                    panic!("not a command on clients or cores")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::double::{Server, config_with};
    use super::*;

    #[track_caller]
    fn check(server: &mut Server, line: &str, expected: &str) {
        assert_eq!(server.say(COMMANDS, 1, line), expected, "{line}");
    }

    #[test]
    fn ping_and_echo_answer() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "PING", "+PONG|");
        check(&mut server, "PING a", "$1|a|");
        check(&mut server, "PING a b", "-ERR wrong number of arguments for 'ping' command|");
        check(&mut server, "ECHO a", "$1|a|");
    }

    #[test]
    fn select_takes_the_databases_there_are() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "SELECT 15", "+OK|");
        assert_eq!(server.session(1).db, 15);
        check(&mut server, "SELECT 16", "-ERR DB index is out of range|");
        check(&mut server, "SELECT -1", "-ERR DB index is out of range|");
        check(&mut server, "SELECT 1a", "-ERR value is not an integer or out of range|");
        check(
            &mut server,
            "SELECT 2147483648",
            "-ERR value is out of range, value must between -2147483648 and 2147483647|",
        );
        assert_eq!(server.session(1).db, 15);
    }

    #[test]
    fn without_a_password_anything_is_right_for_the_default_user() {
        let mut server = Server::new(1, 1, &[]);
        check(
            &mut server,
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?|",
        );
        check(&mut server, "AUTH default x", "+OK|");
        check(&mut server, "AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.|");
        check(&mut server, "AUTH a b c", "-ERR syntax error|");
    }

    #[test]
    fn a_password_must_be_the_whole_password() {
        let config = config_with(&[("requirepass", "secret")]);
        for (given, right) in [
            ("secret", true),
            ("", false),
            ("s", false),
            ("secreT", false),
            ("Secret", false),
            ("secretsecret", false),
            ("secrets", false),
        ] {
            assert_eq!(is_password(&config, given.as_bytes()), right, "{given}");
        }
    }

    #[test]
    fn a_password_opens_and_reset_closes() {
        let mut server = Server::new(1, 1, &[("requirepass", "secret")]);
        let locked = |server: &mut Server| server.session(1).mode.contains(Mode::UNAUTHENTICATED);
        check(&mut server, "AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.|");
        assert!(locked(&mut server));
        check(&mut server, "AUTH secret", "+OK|");
        assert!(!locked(&mut server));
        check(&mut server, "AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.|");
        assert!(!locked(&mut server), "a failed AUTH leaves the client what it was");
        server.session(1).db = 3;
        server.session(1).protocol = Protocol::Resp3;
        server.session(1).mode |= Mode::MONITOR | Mode::REPLY_OFF | Mode::UNIX_SOCKET;
        server.shared.monitors.store(1, Ordering::Relaxed);
        check(&mut server, "RESET", "+RESET|");
        let session = server.session(1).clone();
        assert_eq!((session.db, session.protocol), (0, Protocol::Resp2));
        assert_eq!(session.mode, Mode::UNAUTHENTICATED | Mode::UNIX_SOCKET);
        assert_eq!(server.shared.monitors.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn quit_closes_after_its_reply() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "QUIT now", "+OK|");
        assert_eq!(server.session(1).mode, Mode::CLOSE_AFTER_REPLY);
    }

    #[test]
    fn hello_answers_in_the_protocol_it_chose() {
        let mut server = Server::new(1, 1, &[]);
        let fields = "$6|server|$5|redis|$7|version|$5|7.2.4|$5|proto|:P|$2|id|:1|$4|mode|$10|standalone|$4|role|$6|master|\
                      $7|modules|*0|";
        let two = format!("*14|{fields}").replace(":P", ":2");
        let three = format!("%7|{fields}").replace(":P", ":3");
        check(&mut server, "HELLO", &two);
        check(&mut server, "HELLO 3", &three);
        check(&mut server, "HELLO", &three);
        check(&mut server, "HELLO 2", &two);
        check(&mut server, "HELLO 3 SETNAME me AUTH default x", &three);
        assert_eq!(server.session(1).name, b"me");
    }

    #[test]
    fn hello_refuses_what_it_does_not_know() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "HELLO 4", "-NOPROTO unsupported protocol version|");
        check(&mut server, "HELLO 5 foo", "-NOPROTO unsupported protocol version|");
        check(&mut server, "HELLO 03", "-ERR Protocol version is not an integer or out of range|");
        check(&mut server, "HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'|");
        check(&mut server, "HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'|");
        check(&mut server, "HELLO 3 foo", "-ERR Syntax error in HELLO option 'foo'|");
        check(&mut server, "HELLO 3 AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.|");
        check(
            &mut server,
            "HELLO 3 SETNAME a\u{7f}",
            "-ERR Client names cannot contain spaces, newlines or special characters.|",
        );
        assert_eq!(server.session(1).protocol, Protocol::Resp2);
    }

    #[test]
    fn hello_asks_for_the_password() {
        let mut server = Server::new(1, 1, &[("requirepass", "secret")]);
        assert!(
            server.say(COMMANDS, 1, "HELLO 3 SETNAME a").starts_with("-NOAUTH HELLO must be called with the client")
        );
        assert_eq!(server.session(1).name, b"a", "it has been set before the password was missed");
        assert!(server.say(COMMANDS, 1, "HELLO 3 AUTH default secret foo").starts_with("-ERR Syntax error in HELLO"));
        assert!(!server.session(1).mode.contains(Mode::UNAUTHENTICATED), "likewise");
        assert!(server.say(COMMANDS, 1, "HELLO 3 AUTH default secret").starts_with("%7|"));
        assert!(!server.session(1).mode.contains(Mode::UNAUTHENTICATED));
    }
}
