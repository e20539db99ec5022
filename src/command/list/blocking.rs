//! The list commands that wait where there is nothing to take.
//!
//! Each takes what there is, or says what it waits for: see [`Wait`]. Who is served first, and when, is not decided
//! here.

use super::{End, FIRST_TWO, HowMany, SOURCE_AND_DESTINATION, move_many, move_one, parse_mpop, pop_first, pop_one};
use crate::command::{
    Args, Command, Context, Flags, Group, KeyAccess, Keys, Refused, Retry, Run, Wait, parse_timeout_ms,
};
use crate::resp::{Error, Reply};
use crate::value::Type;
use crate::value::list::List;

const WRITE: Flags = Flags::WRITE.union(Flags::BLOCKING);
const MOVES: Flags = WRITE.union(Flags::DENYOOM).union(Flags::NOSCRIPT);
const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("BLMOVE", Run::Blocking(blmove))
        .arity(6)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(MOVES)
        .docs(
            Group::List,
            "6.2.0",
            "Takes an element from an end of a list and puts it at an end of another; waits for one.",
        )
        .syntax("source:key destination:key wherefrom=(LEFT|RIGHT) whereto=(LEFT|RIGHT) timeout:double"),
    Command::new("BLMOVEM", Run::Blocking(blmovem))
        .arity(-6)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(WRITE.union(Flags::DENYOOM))
        .docs(
            Group::List,
            "8.10.0",
            "Takes elements from an end of a list and puts them at an end of another; waits for enough of them.",
        )
        .complexity("O(N) where N is the number of elements")
        .syntax(
            "source:key destination:key wherefrom=(LEFT|RIGHT) whereto=(LEFT|RIGHT) timeout:double \
             how-many=[selector=(COUNT count|EXACTLY exactly:integer) ordering=(OBO|BULK)]",
        ),
    Command::new("BLMPOP", Run::Blocking(blmpop))
        .arity(-5)
        .keys(Keys::Counted { at: 2, destination: 0 })
        .access(KeyAccess::TAKE)
        .flags(WRITE.union(Flags::MOVABLEKEYS))
        .docs(Group::List, "7.0.0", "Takes elements from an end of the first list that is not empty; waits for some.")
        .complexity("O(N+M) where N is the number of keys and M the number of elements")
        .syntax("timeout:double numkeys key [key ...] where=(LEFT|RIGHT) [COUNT count]"),
    Command::new("BLPOP", Run::Blocking(blpop))
        .arity(-3)
        .keys(ALL_BUT_LAST)
        .access(KeyAccess::TAKE)
        .flags(WRITE.union(Flags::NOSCRIPT))
        .docs(Group::List, "2.0.0", "Takes the first element of the first list that is not empty; waits for one.")
        .complexity("O(N) where N is the number of keys")
        .syntax("key [key ...] timeout:double"),
    Command::new("BRPOP", Run::Blocking(brpop))
        .arity(-3)
        .keys(ALL_BUT_LAST)
        .access(KeyAccess::TAKE)
        .flags(WRITE.union(Flags::NOSCRIPT))
        .docs(Group::List, "2.0.0", "Takes the last element of the first list that is not empty; waits for one.")
        .complexity("O(N) where N is the number of keys")
        .syntax("key [key ...] timeout:double"),
    Command::new("BRPOPLPUSH", Run::Blocking(brpoplpush))
        .arity(4)
        .keys(FIRST_TWO)
        .key_specs(SOURCE_AND_DESTINATION)
        .flags(MOVES)
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        .docs(Group::List, "2.2.0", "Takes the last element of a list and puts it first in another; waits for one.")
        .syntax("source:key destination:key timeout:double"),
];

/// What such a command returns: `None` if it is done.
type Waits = Result<Option<Wait>, Error>;

fn wait(timeout_ms: u64, refused: Refused, retries: impl Iterator<Item = Retry>) -> Wait {
    Wait { retries: retries.collect(), value_type: Type::List, timeout_ms, refused, orphaned: None, polls_ms: None }
}

fn owned(args: &Args<'_>) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.to_vec()).collect()
}

fn blpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop(cx, args, End::Left, reply)
}

fn brpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop(cx, args, End::Right, reply)
}

fn pop(cx: &mut Context<'_>, args: &Args<'_>, end: End, reply: &mut Reply<'_>) -> Waits {
    let (timeout, keys) = args[1..].split_last().expect("by its arity");
    let timeout_ms = parse_timeout_ms(timeout)?;
    for key in keys {
        if cx.keyspace.peek_container::<List>(cx.db, key)?.is_some() {
            reply.array(2);
            reply.bulk(key);
            let was_popped = pop_one(cx, key, end, reply)?;
            assert!(was_popped, "seen above");
            return Ok(None);
        }
    }
    let retries = keys.iter().map(|key| Retry { key: key.to_vec(), args: owned(&[args[0], key, timeout]) });
    Ok(Some(wait(timeout_ms, Refused::NullArray, retries)))
}

fn blmpop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let (keys, end, count) = parse_mpop(args, 2)?;
    let timeout_ms = parse_timeout_ms(args[1])?;
    if pop_first(cx, keys, end, count, reply)? {
        return Ok(None);
    }
    let options = &args[3 + keys.len()..];
    let retries = keys.iter().map(|key| {
        let head: [&[u8]; 4] = [args[0], args[1], b"1", key];
        Retry { key: key.to_vec(), args: owned(&[&head[..], options].concat()) }
    });
    Ok(Some(wait(timeout_ms, Refused::NullArray, retries)))
}

fn blmove(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let (from, to) = (End::parse(args[3])?, End::parse(args[4])?);
    relay(cx, args, from, to, args[5], reply)
}

fn brpoplpush(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    relay(cx, args, End::Right, End::Left, args[3], reply)
}

fn blmovem(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let ends = (End::parse(args[3])?, End::parse(args[4])?);
    let timeout_ms = parse_timeout_ms(args[5])?;
    let how_many = HowMany::parse(&args[6..])?;
    if move_many(cx, args[1], args[2], ends, how_many, reply)? {
        return Ok(None);
    }
    let retry = Retry { key: args[1].to_vec(), args: owned(args) };
    Ok(Some(wait(timeout_ms, Refused::NullArray, std::iter::once(retry))))
}

fn relay(cx: &mut Context<'_>, args: &Args<'_>, from: End, to: End, timeout: &[u8], reply: &mut Reply<'_>) -> Waits {
    let timeout_ms = parse_timeout_ms(timeout)?;
    if move_one(cx, args[1], args[2], from, to, reply)? {
        return Ok(None);
    }
    let retry = Retry { key: args[1].to_vec(), args: owned(args) };
    Ok(Some(wait(timeout_ms, Refused::Null, std::iter::once(retry))))
}

#[cfg(test)]
mod tests {
    use super::super::super::connection::double::config_with;
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::resp::Protocol;

    const NOW_MS: u64 = 1_700_000_000_000;

    /// Runs a command; its reply, line ends as `|`, and what it waits for.
    fn run(keyspace: &mut Keyspace, line: &str) -> (String, Option<Wait>) {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let row = crate::command::lookup::lookup(args[0]).expect("a command");
        let config = config_with(&[]);
        let mut random = fastrand::Rng::with_seed(1);
        keyspace.begin(NOW_MS, true);
        let mut cx = Context {
            keyspace,
            config: &config,
            random: &mut random,
            db: 0,
            now_ms: NOW_MS,
            shard: 0,
            shards: 1,
            long_reply: None,
        };
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Protocol::Resp2);
        let result = match row.command.run {
            Run::Blocking(run) => run(&mut cx, &args, &mut reply),
            Run::Keyspace(run) => run(&mut cx, &args, &mut reply).map(|()| None),
            _ => panic!("{line}"),
        };
        let wait = result.unwrap_or_else(|error| {
            out.clear();
            Reply::new(&mut out, Protocol::Resp2).error(&error);
            None
        });
        (String::from_utf8_lossy(&out).replace("\r\n", "|"), wait)
    }

    #[test]
    fn what_is_there_is_taken_at_once() {
        let mut keyspace = Keyspace::new(1, 1);
        let mut check = |line: &str, expected: &str| {
            assert_eq!(run(&mut keyspace, line), (expected.to_string(), None), "{line}");
        };
        check("RPUSH l a b c d", ":4|");
        check("BLPOP nothing l 0", "*2|$1|l|$1|a|");
        check("BRPOP l 0", "*2|$1|l|$1|d|");
        check("BLMOVE l m LEFT RIGHT 0", "$1|b|");
        check("BRPOPLPUSH l m 0.1", "$1|c|");
        check("RPUSH n 1 2 3", ":3|");
        check("BLMOVEM n o LEFT RIGHT 0 EXACTLY 2 BULK", "*2|$1|1|$1|2|");
        check("BLMOVEM n o LEFT RIGHT 0 COUNT 2 OBO", "*1|$1|3|");
        check("BLMOVEM n o LEFT RIGHT abc", "-ERR timeout is not a float or out of range|");
        check("BLMOVEM n o LEFT RIGHT 0 COUNT 2", "-ERR syntax error|");
        check("BLMPOP 0 2 l m RIGHT COUNT 5", "*2|$1|m|*2|$1|b|$1|c|");
        check("BLPOP l abc", "-ERR timeout is not a float or out of range|");
        check("BLPOP l -1", "-ERR timeout is negative|");
        check("BLPOP l 1e300", "-ERR timeout is negative|");
        check("BLMOVE l m UP RIGHT abc", "-ERR syntax error|");
        check("BLMPOP abc 1 l LEFT", "-ERR timeout is not a float or out of range|");
        check("BLMPOP 0 0 l LEFT", "-ERR numkeys should be greater than 0|");
        check("SET s v", "+OK|");
        check("BLPOP l s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value|");
    }

    #[test]
    fn what_is_not_there_is_waited_for_key_by_key() {
        let mut keyspace = Keyspace::new(1, 1);
        let mut calls = |line: &str| -> Vec<String> {
            let (reply, wait) = run(&mut keyspace, line);
            let wait = wait.expect("it waits");
            assert_eq!((reply, wait.value_type), (String::new(), Type::List));
            let call = |retry: &Retry| String::from_utf8(retry.args.join(&b" "[..])).expect("text");
            wait.retries.iter().map(call).collect()
        };
        assert_eq!(calls("BLPOP a b 1.5"), ["BLPOP a 1.5", "BLPOP b 1.5"]);
        assert_eq!(calls("BLMPOP 2 2 a b LEFT COUNT 3"), ["BLMPOP 2 1 a LEFT COUNT 3", "BLMPOP 2 1 b LEFT COUNT 3"]);
        assert_eq!(calls("BLMOVE a b LEFT LEFT 0"), ["BLMOVE a b LEFT LEFT 0"]);
        assert_eq!(calls("BLMOVEM a b LEFT LEFT 0 COUNT 2 OBO"), ["BLMOVEM a b LEFT LEFT 0 COUNT 2 OBO"]);
        assert_eq!(calls("BRPOPLPUSH a b 7"), ["BRPOPLPUSH a b 7"]);
        assert_eq!(run(&mut keyspace, "BLPOP a 1.0001").1.expect("it waits").timeout_ms, 1001);
        assert_eq!(run(&mut keyspace, "BLPOP a 0").1.expect("it waits").timeout_ms, 0);
        assert_eq!(run(&mut keyspace, "BRPOPLPUSH a b 0").1.expect("it waits").refused, Refused::Null);
    }
}
