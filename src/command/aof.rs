//! Commands about the append-only file and copies elsewhere: how safe a client's writes are when they are answered, and
//! waiting until they are on disk. Not here: the file (`crate::aof`), and the waiting (`runtime`).

use super::{Args, Categories, Command, CommandResult, Context, Flags, Group, Joint, Refused, Run, SessionView, Wait};
use crate::resp::{Error, Reply};
use crate::session::{Durability, Mode};
use crate::shared::Shared;
use crate::value::Type;
use crate::value::number::parse_integer;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("BGREWRITEAOF", Run::Session(bgrewriteaof))
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING))
        .docs(Group::Server, "1.0.0", "Writes the append-only file anew, as short as it can be."),
    Command::new("WAIT", Run::Blocking(wait))
        .arity(3)
        .flags(Flags::NOSCRIPT)
        .categories(Categories::CONNECTION)
        .docs(Group::Generic, "3.0.0", "Waits until what was written so far is on replicas.")
        .complexity("O(1)")
        .syntax("numreplicas:integer timeout:integer")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    Command::new("WAITAOF", Run::Joint(Joint::WaitAof))
        .arity(4)
        .flags(Flags::BLOCKING)
        .categories(Categories::CONNECTION)
        .docs(Group::Generic, "7.2.0", "Waits until what was written so far is on disk, here and on replicas.")
        .complexity("O(1)")
        .syntax("numlocal:integer numreplicas:integer timeout:integer")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
];

const NOT_LOCAL: Error = Error::fixed("ERR value is out of range, value must between 0 and 1");

/// What `WAITAOF` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitAof {
    /// The log of this server.
    pub is_local: bool,
    /// Logs of so many replicas.
    pub replicas: u64,
    /// For how long, in milliseconds; 0: for ever.
    pub timeout_ms: u64,
}

impl WaitAof {
    /// There is no log to wait for, or not any more.
    pub const NOT_ENABLED: Error =
        Error::fixed("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

    /// The arguments. `is_enabled`: this server has a log.
    ///
    /// # Errors
    /// In Redis' words and order.
    pub fn parse(args: &Args<'_>, is_enabled: bool) -> Result<WaitAof, Error> {
        let local = parse_integer(args[1]).ok_or(Error::NOT_INTEGER)?;
        if !(0..=1).contains(&local) {
            return Err(NOT_LOCAL);
        }
        let replicas = parse_integer(args[2]).ok_or(Error::NOT_POSITIVE)?;
        let replicas = u64::try_from(replicas).map_err(|_| Error::NOT_POSITIVE)?;
        let timeout_ms = parse_integer(args[3]).ok_or(Error::TIMEOUT_NOT_INTEGER)?;
        let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
        if local == 1 && !is_enabled {
            return Err(WaitAof::NOT_ENABLED);
        }
        Ok(WaitAof { is_local: local == 1, replicas, timeout_ms })
    }
}

/// There are no replicas: who wants some waits for nothing but the timeout.
fn wait(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Wait>, Error> {
    let replicas = parse_integer(args[1]).ok_or(Error::NOT_INTEGER)?;
    let timeout_ms = parse_integer(args[2]).ok_or(Error::TIMEOUT_NOT_INTEGER)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    if replicas <= 0 {
        reply.integer(0);
        return Ok(None);
    }
    let (retries, refused) = (Vec::new(), Refused::Zero);
    Ok(Some(Wait { retries, value_type: Type::String, timeout_ms, refused, orphaned: None, polls_ms: None }))
}

/// As in Redis there is a base afterwards also where the log is off: it, and nothing else, is the log then.
fn bgrewriteaof(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let log = &view.shared.log;
    if log.is_rewriting() {
        return Err(Error::fixed("ERR Background append only file rewriting already in progress"));
    }
    let is_later = view.shared.persistence.is_busy() || view.session.mode.contains(Mode::DENY_BLOCKING);
    let ready = match log.is_on() {
        true if log.has_place() => Ok(()),
        true => Err("the directory of the append-only file is gone, and there is no new one yet".to_string()),
        false if is_later => Ok(()),
        false => view.shared.machine.make_log_ready(view.config),
    };
    if let Err(why) = ready {
        tracing::warn!("{why}");
        return Err(Error::fixed(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ));
    }
    log.want_rewrite(is_later);
    reply.simple(if is_later {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(())
}

/// A client's mode was one and is another: the log counts who waits for it, and who counts on it.
pub fn count_durability(shared: &Shared, was: Option<Durability>, is: Option<Durability>) {
    let waits = |mode| mode == Some(Durability::Always);
    if waits(was) != waits(is) {
        shared.log.count_waiting(waits(is));
    }
    let is_promised = |mode: Option<Durability>| mode.is_some_and(Durability::needs_log);
    if is_promised(was) != is_promised(is) {
        shared.log.count_promised(is_promised(is));
    }
}

/// `CLIENT DURABILITY NONE|EVERYSEC|ALWAYS|DEFAULT`: when replies to the client's writes may leave. Without an argument
/// it tells. Where the log is switched off later, the client's writes are refused: what it was promised it has.
pub(super) fn durability(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if 3 < args.len() {
        return Err(Error::wrong_arity("client|durability"));
    }
    let Some(word) = args.get(2) else {
        reply.bulk(match view.session.durability {
            None => "default",
            Some(Durability::None) => "none",
            Some(Durability::Everysec) => "everysec",
            Some(Durability::Always) => "always",
        });
        return Ok(());
    };
    let wanted = match word.to_ascii_lowercase().as_slice() {
        b"none" => Some(Durability::None),
        b"everysec" => Some(Durability::Everysec),
        b"always" => Some(Durability::Always),
        b"default" => None,
        _ => return Err(Error::SYNTAX),
    };
    if wanted.is_some_and(Durability::needs_log) && !view.config.appendonly {
        return Err(Error::fixed("ERR CLIENT DURABILITY needs appendonly"));
    }
    let was = std::mem::replace(&mut view.session.durability, wanted);
    count_durability(view.shared, was, wanted);
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, is_enabled: bool) -> Result<WaitAof, Error> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        WaitAof::parse(&args, is_enabled)
    }

    #[test]
    fn arguments_are_checked_as_in_redis() {
        assert_eq!(parsed("waitaof 1 0 5", true), Ok(WaitAof { is_local: true, replicas: 0, timeout_ms: 5 }));
        assert_eq!(parsed("waitaof 0 3 0", false), Ok(WaitAof { is_local: false, replicas: 3, timeout_ms: 0 }));
        assert_eq!(parsed("waitaof 2 0 0", true), Err(NOT_LOCAL));
        assert_eq!(parsed("waitaof 1 -1 0", true), Err(Error::NOT_POSITIVE));
        assert_eq!(parsed("waitaof 1 0 -1", true), Err(Error::TIMEOUT_NEGATIVE));
        assert_eq!(parsed("waitaof 1 0 x", true), Err(Error::TIMEOUT_NOT_INTEGER));
        assert_eq!(parsed("waitaof 1 0 0", false), Err(WaitAof::NOT_ENABLED));
    }
}
