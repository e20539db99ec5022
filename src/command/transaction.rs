//! Transactions: commands queued between `MULTI` and `EXEC` run at one moment, unless a watched key has changed.
//!
//! Not here: queueing, which is done where commands are read, and how all keys are held at once (see
//! [`crate::shard::union`]).

use super::key_spec::KeyAccess;
use super::{Args, Command, CommandResult, Flags, Group, Joint, Keys, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::session::Mode;

const ANY_STATE: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const FAST: Flags = ANY_STATE.union(Flags::FAST).union(Flags::ALLOW_BUSY);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("DISCARD", Run::Session(discard))
        .flags(FAST)
        .immediate()
        .docs(Group::Transactions, "2.0.0", "Forgets the commands queued since MULTI, and the keys watched.")
        .complexity("O(N), when N is the number of queued commands"),
    Command::new("EXEC", Run::Joint(Joint::Exec))
        .flags(ANY_STATE.union(Flags::SKIP_SLOWLOG))
        .immediate()
        .docs(Group::Transactions, "1.2.0", "Runs the commands queued since MULTI, unless a watched key has changed.")
        .complexity("O(N), when N is the cost of the queued commands."),
    Command::new("MULTI", Run::Session(multi)).flags(FAST).immediate().docs(
        Group::Transactions,
        "1.2.0",
        "Begins a transaction: the commands that follow are queued.",
    ),
    Command::new("UNWATCH", Run::Session(unwatch)).flags(FAST).docs(
        Group::Transactions,
        "2.2.0",
        "Forgets the keys watched.",
    ),
    Command::new("WATCH", Run::Joint(Joint::Watch))
        .arity(-2)
        .keys(Keys::Range { first: 1, last: -1, step: 1 })
        .access(KeyAccess::RO)
        .flags(FAST)
        .immediate()
        .docs(Group::Transactions, "2.2.0", "Lets the next EXEC run only if none of the keys has changed by then.")
        .complexity("O(1) for every key.")
        .syntax("key [key ...]"),
];

fn multi(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if view.session.mode.contains(Mode::IN_TRANSACTION) {
        return Err(Error::MULTI_NESTED);
    }
    view.session.mode.insert(Mode::IN_TRANSACTION);
    reply.ok();
    Ok(())
}

fn discard(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if !view.session.mode.contains(Mode::IN_TRANSACTION) {
        return Err(Error::DISCARD_WITHOUT_MULTI);
    }
    view.session.discard();
    reply.ok();
    Ok(())
}

fn unwatch(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    view.session.unwatch();
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::Server;
    use super::*;
    use crate::session::Watched;

    #[test]
    fn a_transaction_begins_once_and_ends_by_discard() {
        let mut server = Server::new(1, 1, &[]);
        let mut check = |line: &str, expected: &str| assert_eq!(server.say(COMMANDS, 1, line), expected, "{line}");
        check("DISCARD", "-ERR DISCARD without MULTI|");
        check("MULTI", "+OK|");
        check("MULTI", "-ERR MULTI calls can not be nested|");
        let session = server.session(1);
        session.transaction.push(1, [&b"PING"[..]].into_iter());
        session.watched.push(Watched { db: 0, key: b"k".to_vec(), version: 1, flag: Default::default() });
        assert_eq!(server.say(COMMANDS, 1, "DISCARD"), "+OK|");
        let session = server.session(1);
        assert!(session.transaction.is_empty() && session.mode.is_empty());
        assert_eq!((session.watched.len(), session.unwatched.len()), (0, 1));
    }

    #[test]
    fn unwatch_leaves_the_transaction_alone() {
        let mut server = Server::new(1, 1, &[]);
        assert_eq!(server.say(COMMANDS, 1, "MULTI"), "+OK|");
        server.session(1).watched.push(Watched { db: 0, key: b"k".to_vec(), version: 1, flag: Default::default() });
        assert_eq!(server.say(COMMANDS, 1, "UNWATCH"), "+OK|");
        let session = server.session(1);
        assert!(session.mode.contains(Mode::IN_TRANSACTION));
        assert_eq!((session.watched.len(), session.unwatched.len()), (0, 1));
    }
}
