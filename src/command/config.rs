//! `CONFIG`: the configuration of the running server. What a directive is and accepts stands in `crate::config`; here
//! is only what clients see.

use super::{Args, Command, CommandResult, CoreView, Flags, Group, Part, Run, SessionView};
use crate::config::{self, Caller, Config, Directive, reason};
use crate::keyspace::KeyspaceStats;
use crate::resp::{Error, Reply};
use crate::session::{Mode, Session};
use crate::structure::glob;

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// What a cluster client does with the command: asks every node.
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("CONFIG", Run::Container)
    .arity(-2)
    .docs(Group::Server, "2.0.0", "Reads and changes the configuration of the server.")
    .complexity("Depends on subcommand.")
    .subcommands(&[
        Command::new("GET", Run::Session(get))
            .arity(-3)
            .flags(ADMIN)
            .docs(Group::Server, "2.0.0", "Returns the values of directives by name or pattern.")
            .complexity("O(N) where N is the number of patterns")
            .syntax("parameter [parameter ...]"),
        Command::new("HELP", Run::Session(help)).arity(2).flags(Flags::LOADING.union(Flags::STALE)).docs(
            Group::Server,
            "5.0.0",
            "Tells what the subcommands do.",
        ),
        Command::new("RESETSTAT", Run::Everywhere { check: any, part: reset_part, merge: reset_merge })
            .arity(2)
            .flags(ADMIN)
            .docs(Group::Server, "2.0.0", "Begins the statistics of INFO anew.")
            .tips(ALL_NODES),
        Command::new("REWRITE", Run::Session(rewrite))
            .arity(2)
            .flags(ADMIN)
            .docs(Group::Server, "2.8.0", "Writes the values in force into the configuration file.")
            .tips(ALL_NODES),
        Command::new("SET", Run::Session(set))
            .arity(-4)
            .secrets(secret_values)
            .flags(ADMIN)
            .docs(Group::Server, "2.0.0", "Changes directives, all of them or none.")
            .complexity("O(N) where N is the number of directives")
            .syntax("parameter value [parameter value ...]")
            .tips(ALL_NODES),
    ])];

/// Values of directives that logs must not show.
fn secret_values(args: &Args<'_>, positions: &mut Vec<usize>) {
    let is_secret =
        |name: &[u8]| Directive::find(name).is_some_and(|directive| directive.flags.contains(config::Flags::SENSITIVE));
    positions.extend((3..args.len()).step_by(2).filter(|&value| is_secret(args[value - 1])));
}

fn get(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let found = view.config.get(&args[2..], &glob::matches_nocase);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

/// Whether the client is on this machine, for what `enable-protected-configs local` and its like allow.
pub(super) fn is_local(session: &Session) -> bool {
    session.mode.contains(Mode::UNIX_SOCKET) || ["127.0.0.1:", "[::1]:"].iter().any(|ip| session.peer.starts_with(ip))
}

/// The newest configuration is changed, not the one that this core has: another core may have changed it in the same
/// moment. Every core takes it before the reply leaves.
fn set(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(Error::SYNTAX) };
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    let is_local = is_local(view.session);
    let machine = view.shared.machine.as_ref();
    view.shared
        .change_config(|config| {
            let may_change_protected = config.enable_protected_configs.allows(is_local);
            config.set(&pairs, &Caller { may_change_protected, is_loading: false, machine })
        })
        .map_err(Error::new)?;
    view.reconfigured = true;
    reply.ok();
    Ok(())
}

/// Reads and writes a small file on the spot: rare, and the reply promises that it is on disk.
fn rewrite(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rewrite_file(view, Config::rewrite, reply)
}

/// Writes the configuration file anew, as `rewrite` makes it from the old one.
pub(super) fn rewrite_file(
    view: &SessionView<'_>,
    rewrite: fn(&Config, &[u8]) -> Vec<u8>,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let config = view.shared.config();
    let Some(file) = &config.file else { return Err(Error::fixed("ERR The server is running without a config file")) };
    let machine = &view.shared.machine;
    let written = machine.read_file(file).and_then(|old| machine.replace_file(file, &rewrite(&config, &old)));
    if let Err(error) = written {
        let reason = reason(&error);
        tracing::warn!("CONFIG REWRITE failed: {reason}");
        return Err(Error::new(format!("ERR Rewriting config file: {reason}")));
    }
    tracing::warn!("CONFIG REWRITE executed with success.");
    reply.ok();
    Ok(())
}

fn any(_: &SessionView<'_>, _: &Args<'_>) -> CommandResult {
    Ok(())
}

fn reset_part(view: &mut CoreView<'_>, _: &Args<'_>) -> Part {
    view.stats.reset();
    view.shared.note_latencies(view.core, view.stats.latency_bytes());
    view.shard.keyspace.stats = KeyspaceStats::default();
    view.shard.keyspace.expire_lags = Default::default();
    if let Some(adviser) = view.shard.keyspace.adviser_mut() {
        adviser.reset();
    }
    Box::new(())
}

fn reset_merge(view: &mut SessionView<'_>, _: &Args<'_>, _: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    view.shared.budget.reset_statistics();
    view.shared.persistence.reset();
    reply.ok();
    Ok(())
}

fn help(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const LINES: &[&str] = &[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Prints this help.",
    ];
    reply.array(LINES.len());
    LINES.iter().for_each(|line| reply.simple(line));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Machine};
    use crate::resp::Protocol;
    use crate::shared::Shared;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    /// A machine whose only file is in memory, and which refuses a `maxclients` of 7.
    #[derive(Default)]
    struct Fake {
        file: Arc<Mutex<Vec<u8>>>,
        read_only: bool,
    }

    impl Machine for Fake {
        fn resolve_directory(&self, path: &Path) -> io::Result<PathBuf> {
            Ok(path.into())
        }

        fn memory_bytes(&self) -> u64 {
            1 << 30
        }

        fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.file.lock().unwrap().clone())
        }

        fn replace_file(&self, _: &Path, text: &[u8]) -> io::Result<()> {
            if self.read_only {
                return Err(io::Error::from_raw_os_error(libc::EROFS));
            }
            *self.file.lock().unwrap() = text.into();
            Ok(())
        }

        fn apply(&self, _: &Config, new: &Config) -> Result<(), (&'static str, String)> {
            if new.maxclients == 7 { Err(("maxclients", "seven".into())) } else { Ok(()) }
        }
    }

    type Code = fn(&mut SessionView<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult;

    struct Client {
        shared: Shared,
        session: Session,
    }

    impl Client {
        fn new(config: Config, machine: Fake, peer: &str) -> Client {
            let mut shared = Shared::new(config, vec![0], 0, String::new());
            shared.machine = Box::new(machine);
            let mut session = Session::new(1, 0, 5, 0);
            session.peer = peer.into();
            Client { shared, session }
        }

        /// The reply to a call of `code`, with spaces for line ends, and whether the cores are to be told.
        fn run(&mut self, code: Code, line: &str, protocol: Protocol) -> (String, bool) {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let config = self.shared.config();
            let mut view = SessionView {
                session: &mut self.session,
                config: &config,
                shared: &self.shared,
                now_ms: 0,
                reconfigured: false,
            };
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, protocol);
            if let Err(error) = code(&mut view, &args, &mut reply) {
                reply.error(&error);
            }
            let reconfigured = view.reconfigured;
            (String::from_utf8(out).unwrap().replace("\r\n", " "), reconfigured)
        }

        fn call(&mut self, code: Code, line: &str) -> String {
            self.run(code, line, Protocol::Resp2).0
        }
    }

    #[test]
    fn get_is_a_map() {
        let mut client = Client::new(Config::default(), Fake::default(), "10.0.0.1:5");
        assert_eq!(client.call(get, "CONFIG GET maxmemory-s?mples nothing"), "*2 $17 maxmemory-samples $1 5 ");
        assert_eq!(client.run(get, "CONFIG GET Port", Protocol::Resp3).0, "%1 $4 Port $4 6379 ");
    }

    #[test]
    fn set_changes_all_or_nothing_and_tells_the_cores() {
        let mut client = Client::new(Config::default(), Fake::default(), "10.0.0.1:5");
        let resp2 = Protocol::Resp2;
        assert_eq!(client.run(set, "CONFIG SET timeout 3 hz 20", resp2), ("+OK ".into(), true));
        assert_eq!((client.shared.config().timeout, client.shared.config().hz), (3, 20));
        let (reply, told) = client.run(set, "CONFIG SET timeout 4 maxclients 7", resp2);
        assert_eq!(reply, "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - seven ");
        assert!(!told);
        assert_eq!(client.shared.config().timeout, 3);
        assert_eq!(client.call(set, "CONFIG SET timeout 4 hz"), "-ERR syntax error ");
    }

    #[test]
    fn protected_directives_are_for_those_whom_the_configuration_names() {
        let refused =
            "-ERR CONFIG SET failed (possibly related to argument 'dbfilename') - can't set protected config ";
        for (allowed, peer, reply) in [
            ("no", "127.0.0.1:5", refused),
            ("yes", "10.0.0.1:5", "+OK "),
            ("local", "127.0.0.1:5", "+OK "),
            ("local", "[::1]:5", "+OK "),
            ("local", "10.0.0.1:5", refused),
            ("local", "127.0.0.11:5", refused),
        ] {
            let mut config = Config::default();
            config.enable_protected_configs = match allowed {
                "yes" => crate::config::ProtectedAction::Yes,
                "local" => crate::config::ProtectedAction::Local,
                _ => crate::config::ProtectedAction::No,
            };
            let mut client = Client::new(config, Fake::default(), peer);
            assert_eq!(client.call(set, "CONFIG SET dbfilename x.rdb"), reply, "{allowed} {peer}");
        }
        let mut client = Client::new(Config::default(), Fake::default(), "/tmp/redis.sock:0");
        client.session.mode |= Mode::UNIX_SOCKET;
        assert!(is_local(&client.session));
    }

    #[test]
    fn rewrite_writes_the_file_or_says_why_not() {
        let mut client = Client::new(Config::default(), Fake::default(), "10.0.0.1:5");
        assert_eq!(client.call(rewrite, "CONFIG REWRITE"), "-ERR The server is running without a config file ");
        let config = Config { file: Some("/etc/a.conf".into()), dir: "/srv".into(), ..Config::default() };
        let file = Arc::new(Mutex::new(b"# mine\nhz 10\n".to_vec()));
        let machine = Fake { file: file.clone(), read_only: false };
        let mut client = Client::new(config.clone(), machine, "10.0.0.1:5");
        assert_eq!(client.call(set, "CONFIG SET hz 30"), "+OK ");
        assert_eq!(client.call(rewrite, "CONFIG REWRITE"), "+OK ");
        let text = String::from_utf8(file.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("# mine\nhz 30\n"), "{text}");
        assert!(text.contains("\ndir \"/srv\"\n"), "{text}");
        let mut client = Client::new(config, Fake { file, read_only: true }, "10.0.0.1:5");
        let refused = "-ERR Rewriting config file: Read-only file system ";
        assert_eq!(client.call(rewrite, "CONFIG REWRITE"), refused);
    }
}
