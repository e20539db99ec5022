//! Transcripts: commands, and what they answer.

use super::*;
use crate::command::syntax;
use crate::config::Config;
use crate::resp::Protocol;
use crate::value::probe::Probe;
use proptest::prelude::*;

/// A keyspace with a client and a clock.
struct World {
    keyspace: Keyspace,
    config: Config,
    now_ms: u64,
    protocol: Protocol,
}

impl World {
    fn new() -> World {
        World {
            keyspace: Keyspace::new(1, 42),
            config: Config::default(),
            now_ms: 1_700_000_000_000,
            protocol: Protocol::Resp2,
        }
    }

    /// Runs a string command, or one of a few words of these tests.
    fn run(&mut self, args: &[&[u8]]) -> String {
        self.keyspace.begin(self.now_ms, true);
        let text = |i: usize| std::str::from_utf8(args[i]).unwrap();
        match text(0) {
            // Lets time pass.
            "SLEEP" => {
                self.now_ms += text(1).parse::<u64>().unwrap();
                return "…".to_string();
            }
            "HELLO" => {
                self.protocol = if text(1) == "3" { Protocol::Resp3 } else { Protocol::Resp2 };
                return "…".to_string();
            }
            "DEL" => return format!(":{}", u8::from(self.keyspace.delete(0, args[1]))),
            "EXISTS" => return format!(":{}", u8::from(self.keyspace.contains(0, args[1]))),
            "PTTL" => {
                return match self.keyspace.inspect(0, args[1]).map(|entry| entry.deadline_ms()) {
                    None => ":-2".to_string(),
                    Some(None) => ":-1".to_string(),
                    Some(Some(deadline_ms)) => format!(":{}", deadline_ms - self.now_ms),
                };
            }
            "ENCODING" => {
                return self.keyspace.peek(0, args[1]).map_or("_", |entry| entry.encoding_name()).to_string();
            }
            // Makes a key of another type.
            "OTHER" => {
                self.keyspace.put(
                    0,
                    args[1],
                    Value::Probe(Probe::new(&Default::default(), 0)),
                    Expiry::Clear,
                    Event::SET,
                );
                return "+OK".to_string();
            }
            _ => {}
        }
        let row = COMMANDS.iter().find(|row| args[0].eq_ignore_ascii_case(row.name.as_bytes())).expect("a command");
        let Run::Keyspace(run) = row.run else { panic!("{} runs on keys", row.name) };
        let arity = row.arity.unsigned_abs() as usize;
        let mut out = Vec::new();
        if args.len() < arity || 0 < row.arity && arity < args.len() {
            Reply::new(&mut out, self.protocol).error(&Error::wrong_arity(&row.name.to_ascii_lowercase()));
            return render(&mut &out[..]);
        }
        let mut cx = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut fastrand::Rng::with_seed(42),
            db: 0,
            now_ms: self.now_ms,
            shard: 0,
            shards: 1,
            long_reply: None,
        };
        let result = run(&mut cx, args, &mut Reply::new(&mut out, self.protocol));
        if let Err(error) = result {
            out.clear();
            Reply::new(&mut out, self.protocol).error(&error);
        }
        let mut rest = &out[..];
        let text = render(&mut rest);
        assert!(rest.is_empty(), "one reply: {}", out.escape_ascii());
        text
    }
}

/// One reply as text: `+OK`, `:1`, `$value`, `_` for no value, `-ERR …`, `,1.5`, `[a b]`, `{key value}`.
fn render(bytes: &mut &[u8]) -> String {
    let line_len = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
    let line = String::from_utf8(bytes[..line_len].to_vec()).unwrap();
    *bytes = &bytes[line_len + 2..];
    let count = || line[1..].parse::<usize>().unwrap();
    let mut elements = |count: usize| (0..count).map(|_| render(bytes)).collect::<Vec<_>>().join(" ");
    match line.as_bytes()[0] {
        b'$' if line == "$-1" => "_".to_string(),
        b'$' => {
            let value = bytes[..count()].escape_ascii().to_string();
            assert_eq!(&bytes[count()..count() + 2], b"\r\n");
            *bytes = &bytes[count() + 2..];
            format!("${value}")
        }
        b'*' => format!("[{}]", elements(count())),
        b'%' => format!("{{{}}}", elements(2 * count())),
        _ => line,
    }
}

/// Words of a command: separated by blanks, `''` is an empty one.
fn words(command: &str) -> Vec<&[u8]> {
    command.split_ascii_whitespace().map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect()
}

/// Runs commands separated by `|` in a new world, and compares their replies.
#[track_caller]
fn check(commands: &str, replies: &str) {
    check_in(&mut World::new(), commands, replies);
}

#[track_caller]
fn check_in(world: &mut World, commands: &str, replies: &str) {
    let answers: Vec<String> = commands.split('|').map(|command| world.run(&words(command))).collect();
    let expected: Vec<&str> = replies.split('|').map(str::trim).collect();
    assert_eq!(answers, expected, "{commands}");
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn rows_are_whole() {
    for row in COMMANDS {
        let parsed = syntax::parse(row.syntax, 1);
        assert!(parsed.problems.is_empty(), "{}: {:?}", row.name, parsed.problems);
        assert!(!row.summary.is_empty() && !row.complexity.is_empty());
        assert!(matches!(row.group, Group::String));
        assert!(row.flags.contains(Flags::WRITE) != row.flags.contains(Flags::READONLY), "{}", row.name);
    }
}

#[test]
fn strings_are_set_and_read() {
    check("GET k | SET k v | GET k | SET k '' | GET k | STRLEN k", "_ | +OK | $v | +OK | $ | :0");
    check("SET k 12 | GET k | ENCODING k | STRLEN k", "+OK | $12 | int | :2");
    check("SET k 012 | GET k | ENCODING k", "+OK | $012 | embstr");
    check("SET k -9223372036854775808 | GET k | ENCODING k", "+OK | $-9223372036854775808 | int");
    check("STRLEN k | SET k hello | STRLEN k", ":0 | +OK | :5");
    check("OTHER k | GET k | STRLEN k", &format!("+OK | {WRONG_TYPE} | {WRONG_TYPE}"));
    check("OTHER k | SET k v | GET k", "+OK | +OK | $v");
    check("HELLO 3 | GET k", "… | _");
    check(
        "GET | GET a b",
        "-ERR wrong number of arguments for 'get' command | -ERR wrong number of arguments for 'get' command",
    );
}

#[test]
fn set_obeys_conditions() {
    check("SET k 1 NX | SET k 2 NX | GET k", "+OK | _ | $1");
    check("SET k 1 XX | GET k | SET k 1 | SET k 2 xx | GET k", "_ | _ | +OK | +OK | $2");
    check("SET k 1 GET | SET k 2 GET | GET k", "_ | $1 | $2");
    check("SET k 1 NX GET | SET k 2 GET NX | GET k", "_ | $1 | $1");
    check("SET k 1 XX GET | EXISTS k | SET k 1 | SET k 2 XX GET | GET k", "_ | :0 | +OK | $1 | $2");
    check(
        "OTHER k | SET k v NX | SET k v GET | SET k v NX GET | SET k v XX | GET k",
        &format!("+OK | _ | {WRONG_TYPE} | {WRONG_TYPE} | +OK | $v"),
    );
    check("SET k a | SET k b IFEQ x | SET k b ifeq a | GET k", "+OK | _ | +OK | $b");
    check("SET k b IFEQ a | EXISTS k | SET k b IFNE a | GET k", "_ | :0 | +OK | $b");
    check("SET k a | SET k b IFNE a | SET k c IFNE b | GET k", "+OK | _ | +OK | $c");
    check("SET k 12345 | SET k v IFEQ 12345 GET | SET k w IFEQ x GET | GET k", "+OK | $12345 | $v | $v");
    check("SET k '' | SET k x IFNE '' | SET k x IFEQ '' | GET k", "+OK | _ | +OK | $x");
    check(
        "OTHER k | SET k v IFEQ a | SET k v IFNE a | SET k v IFDEQ a | SET k v IFDNE a",
        &format!("+OK | {WRONG_TYPE} | {WRONG_TYPE} | {WRONG_TYPE} | {WRONG_TYPE}"),
    );
}

#[test]
fn digests_are_xxh3_in_hexadecimal() {
    // Published by Redis' documentation and tests.
    check(
        "DIGEST k | SET k hello | DIGEST k | SET k '' | DIGEST k",
        "_ | +OK | $9555e8555c62dcfd | +OK | $2d06800538d394c2",
    );
    check("SET k 123 | ENCODING k | DIGEST k", "+OK | int | $404a763b3f4c8c9a");
    check(
        "SET k v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd | DIGEST k",
        "+OK | $00006c38adf31777",
    );
    check("OTHER k | DIGEST k", &format!("+OK | {WRONG_TYPE}"));
    let format = "-ERR must be exactly 16 hexadecimal characters";
    check(
        "SET k hello | SET k x IFDEQ 9555e8555c62dcfe | SET k x IFDEQ 9555E8555C62DCFD | GET k",
        "+OK | _ | +OK | $x",
    );
    check(
        "SET k hello | SET k x IFDNE 9555e8555c62dcfd | SET k x IFDNE zzzzzzzzzzzzzzzz | GET k",
        "+OK | _ | +OK | $x",
    );
    check("SET k x IFDEQ 1 | SET k x IFDNE 1 | GET k", "_ | +OK | $x");
    check(
        "SET k hello | SET k x IFDEQ 9555e8555c62dcf | SET k x IFDNE '' GET | GET k",
        &format!("+OK | {format} | {format} | $hello"),
    );
}

#[test]
fn set_rejects_contradictions() {
    for options in [
        "foo",
        "NX XX",
        "XX NX",
        "EX",
        "PX",
        "EX 1 PX 1",
        "PX 1 EX 1",
        "EX 1 EXAT 1",
        "EXAT 1 PXAT 1",
        "KEEPTTL EX 1",
        "EX 1 KEEPTTL",
        "PERSIST",
        "NX IFEQ a",
        "IFEQ a NX",
        "IFEQ a IFEQ a",
        "IFEQ a IFNE b",
        "IFEQ",
        "GET EX",
        "NX foo bar",
    ] {
        check(&format!("SET k v {options} | EXISTS k"), "-ERR syntax error | :0");
    }
    for options in
        ["NX NX", "XX XX", "GET GET", "EX 5 EX 100", "KEEPTTL KEEPTTL", "PXAT 9999999999999 PXAT 9999999999999"]
    {
        let world = &mut World::new();
        world.run(&words("SET k v"));
        assert!(!world.run(&words(&format!("SET k v {options}"))).starts_with('-'), "{options}");
    }
    check("SET k v EX 5 EX 100 | PTTL k", "+OK | :100000");
}

#[test]
fn set_sets_deadlines() {
    check("SET k v EX 10 | PTTL k | SET k w | PTTL k", "+OK | :10000 | +OK | :-1");
    check("SET k v PX 10 | PTTL k | SLEEP 9 | GET k | SLEEP 1 | GET k", "+OK | :10 | … | $v | … | _");
    check("SET k v EXAT 1700000001 | PTTL k", "+OK | :1000");
    check("SET k v PXAT 1700000000001 | PTTL k | SET k w KEEPTTL | PTTL k | GET k", "+OK | :1 | +OK | :1 | $w");
    check("SET k v KEEPTTL | PTTL k", "+OK | :-1");
    check("SET k v | SET k w PXAT 1 | GET k | EXISTS k", "+OK | +OK | _ | :0");
    check("SET k v EX 10 | SET k w NX | PTTL k | SET k w XX GET | PTTL k", "+OK | _ | :10000 | $v | :-1");
    check("SET k v NX EX 10 | PTTL k | SET k w PX 5 IFEQ v | PTTL k", "+OK | :10000 | +OK | :5");
    check("SETEX k 10 v | PTTL k | PSETEX k 10 v | PTTL k | GET k", "+OK | :10000 | +OK | :10 | $v");
}

#[test]
fn expire_times_must_be_positive_and_countable() {
    for (option, number) in [
        ("EX", "0"),
        ("EX", "-1"),
        ("PX", "0"),
        ("EXAT", "-1"),
        ("PXAT", "0"),
        ("EX", "9223372036854776"),
        ("EX", "9223372036854775"),
        ("PX", "9223372036854775807"),
        ("EXAT", "9223372036854776"),
        ("EX", "-9223372036854775808"),
    ] {
        let error = |command: &str| format!("-ERR invalid expire time in '{command}' command");
        check(&format!("SET k v {option} {number} | EXISTS k"), &format!("{} | :0", error("set")));
        check(&format!("SET k v | GETEX k {option} {number}"), &format!("+OK | {}", error("getex")));
        check(&format!("INCREX k {option} {number} | EXISTS k"), &format!("{} | :0", error("increx")));
        check(&format!("MSETEX 1 k v {option} {number} | EXISTS k"), &format!("{} | :0", error("msetex")));
        match option {
            "EX" => check(&format!("SETEX k {number} v"), &error("setex")),
            "PX" => check(&format!("PSETEX k {number} v"), &error("psetex")),
            _ => {}
        }
    }
    let not_integer = "-ERR value is not an integer or out of range";
    check(
        "SET k v EX a | SET k v PX 1.5 | SETEX k 9223372036854775808 v | PSETEX k '' v | GETEX k EX a",
        &format!("{not_integer} | {not_integer} | {not_integer} | {not_integer} | _"),
    );
    check("SET k v EXAT 9223372036854775 | SET k v PXAT 9223372036854775807 | GET k", "+OK | +OK | $v");
    // The number is wrong whatever the key holds.
    check("OTHER k | SET k v GET EX 0", "+OK | -ERR invalid expire time in 'set' command");
    check("OTHER k | GETEX k EX 0", &format!("+OK | {WRONG_TYPE}"));
}

#[test]
fn getex_changes_the_deadline_alone() {
    check("GETEX k | GETEX k EX 10 | EXISTS k", "_ | _ | :0");
    check("SET k v | GETEX k EX 10 | PTTL k | GETEX k | PTTL k", "+OK | $v | :10000 | $v | :10000");
    check("SET k v EX 10 | GETEX k PERSIST | PTTL k | GETEX k PERSIST", "+OK | $v | :-1 | $v");
    check("SET k v | GETEX k PXAT 1700000000005 | PTTL k | GETEX k EXAT 1 | EXISTS k", "+OK | $v | :5 | $v | :0");
    check("SET k v | GETEX k PXAT 1700000000000 | EXISTS k", "+OK | $v | :0");
    check("SET k 7 | GETEX k PX 5 | PTTL k", "+OK | $7 | :5");
    for options in ["KEEPTTL", "NX", "GET", "IFEQ v", "EX", "EX 1 PX 1", "EX 1 PERSIST", "PERSIST EX 1", "foo"] {
        check(&format!("SET k v | GETEX k {options} | PTTL k"), "+OK | -ERR syntax error | :-1");
    }
}

#[test]
fn reading_and_replacing_at_once() {
    check("GETSET k a | GETSET k 5 | GET k | ENCODING k", "_ | $a | $5 | int");
    check("SET k a EX 5 | GETSET k b | PTTL k", "+OK | $a | :-1");
    check("SET k a | GETDEL k | GETDEL k | EXISTS k", "+OK | $a | _ | :0");
    check("OTHER k | GETSET k a | GETDEL k | EXISTS k", &format!("+OK | {WRONG_TYPE} | {WRONG_TYPE} | :1"));
    check("SETNX k a | SETNX k b | GET k | OTHER o | SETNX o a", ":1 | :0 | $a | +OK | :0");
}

#[test]
fn several_keys_at_once() {
    check("MSET a 1 b two a 3 | MGET a b c", "+OK | [$3 $two _]");
    check("SET a 1 EX 5 | MSET a 2 | PTTL a", "+OK | +OK | :-1");
    check("OTHER o | SET a 1 | MGET o a a | MSET o v | GET o", "+OK | +OK | [_ $1 $1] | +OK | $v");
    check(
        "MSET a | MSET a 1 b",
        "-ERR wrong number of arguments for 'mset' command | -ERR wrong number of arguments for 'mset' command",
    );
    check("MSETNX a 1 b | EXISTS a", "-ERR wrong number of arguments for 'msetnx' command | :0");
    check("MSETNX a 1 b 2 | MSETNX b 3 c 4 | MGET a b c", ":1 | :0 | [$1 $2 _]");
    check("MSETNX a 1 a 2 | GET a | MSETNX a 3 a 4 | GET a", ":1 | $2 | :0 | $2");
    check("OTHER o | MSETNX a 1 o 2 | EXISTS a", "+OK | :0 | :0");
}

#[test]
fn several_keys_with_one_deadline() {
    check("MSETEX 2 a 1 b 2 EX 5 | PTTL a | PTTL b | MGET a b", ":1 | :5000 | :5000 | [$1 $2]");
    check("SET a 0 EX 9 | MSETEX 2 a 1 b 2 KEEPTTL | PTTL a | PTTL b", "+OK | :1 | :9000 | :-1");
    check("SET a 0 EX 9 | MSETEX 1 a 1 | PTTL a", "+OK | :1 | :-1");
    check("MSETEX 2 a 1 b 2 NX PX 5 | MSETEX 2 b 3 c 4 NX | EXISTS c", ":1 | :0 | :0");
    check(
        "SET a 1 | MSETEX 2 a 2 b 2 XX | GET a | MSETEX 1 a 2 PXAT 1700000000007 XX | PTTL a",
        "+OK | :0 | $1 | :1 | :7",
    );
    check("OTHER a | MSETEX 1 a v XX | GET a", "+OK | :1 | $v");
    let (count, pairs) = ("-ERR invalid numkeys value", "-ERR wrong number of key-value pairs");
    check(
        "MSETEX a 1 b | MSETEX 0 a 1 | MSETEX -1 a 1 | MSETEX 2147483648 a 1 | MSETEX 01 a 1",
        &[count; 5].join(" | "),
    );
    check("MSETEX 2 a 1 | MSETEX 2 a 1 b | MSETEX 2147483647 a 1 EX 10", &[pairs; 3].join(" | "));
    for options in ["foo", "c", "NX XX", "EX 10 PX 5", "KEEPTTL EX 1", "EX", "GET", "PERSIST", "IFEQ 1"] {
        check(&format!("MSETEX 1 a 1 {options} | EXISTS a"), "-ERR syntax error | :0");
    }
    let mut positions = Vec::new();
    msetex_keys(&words("MSETEX 2 a 1 b 2 EX 5"), &mut positions);
    assert_eq!(positions, [2, 4]);
    for command in ["MSETEX 2 a 1 b", "MSETEX 2147483647 a 1", "MSETEX x a 1", "MSETEX"] {
        positions.clear();
        msetex_keys(&words(command), &mut positions);
        assert_eq!(positions, [0; 0]);
    }
}

#[test]
fn integers_are_counted() {
    check(
        "INCR k | INCR k | DECR k | INCRBY k 10 | DECRBY k 20 | GET k | ENCODING k",
        ":1 | :2 | :1 | :11 | :-9 | $-9 | int",
    );
    check("SET k 5 EX 9 | INCR k | PTTL k", "+OK | :6 | :9000");
    check("SET k 5 | APPEND k 0 | ENCODING k | INCR k | ENCODING k", "+OK | :2 | raw | :51 | int");
    check(
        "SET k 9223372036854775807 | INCR k | GET k",
        "+OK | -ERR increment or decrement would overflow | $9223372036854775807",
    );
    check(
        "SET k -9223372036854775808 | DECR k | INCRBY k 9223372036854775807",
        "+OK | -ERR increment or decrement would overflow | :-1",
    );
    check(
        "DECRBY k -9223372036854775808 | DECRBY k 9223372036854775807 | DECR k | DECR k",
        "-ERR decrement would overflow | :-9223372036854775807 | :-9223372036854775808 | -ERR increment or decrement would overflow",
    );
    let not_integer = "-ERR value is not an integer or out of range";
    for value in ["a", "''", "1.0", "+1", "01", "-0", "9223372036854775808"] {
        check(
            &format!("SET k {value} | INCR k | DECR k | INCRBY k 1"),
            &format!("+OK | {not_integer} | {not_integer} | {not_integer}"),
        );
        check(
            &format!("INCRBY k {value} | DECRBY k {value} | EXISTS k"),
            &format!("{not_integer} | {not_integer} | :0"),
        );
    }
    check("OTHER k | INCR k | INCRBY k a | DECRBY k 1", &format!("+OK | {WRONG_TYPE} | {not_integer} | {WRONG_TYPE}"));
}

#[test]
fn floats_are_added() {
    check("INCRBYFLOAT k 0.1 | INCRBYFLOAT k 0.2 | GET k | ENCODING k", "$0.1 | $0.3 | $0.3 | embstr");
    check("SET k 3 EX 9 | INCRBYFLOAT k 0 | ENCODING k | PTTL k", "+OK | $3 | embstr | :9000");
    check("SET k 3.0e3 | INCRBYFLOAT k 200 | INCRBYFLOAT k -1e3", "+OK | $3200 | $2200");
    check("SET k 9223372036854775807 | INCRBYFLOAT k 1", "+OK | $9223372036854775808");
    let (not_float, not_finite) = ("-ERR value is not a valid float", "-ERR increment would produce NaN or Infinity");
    check(
        "SET k a | INCRBYFLOAT k 1 | SET k 1 | INCRBYFLOAT k a | INCRBYFLOAT k ''",
        &format!("+OK | {not_float} | +OK | {not_float} | {not_float}"),
    );
    check("INCRBYFLOAT k nan | INCRBYFLOAT k inf | EXISTS k", &format!("{not_float} | {not_finite} | :0"));
    check("SET k inf | INCRBYFLOAT k 1 | INCRBYFLOAT k -inf", &format!("+OK | {not_finite} | {not_finite}"));
    check("OTHER k | INCRBYFLOAT k a", &format!("+OK | {WRONG_TYPE}"));
}

#[test]
fn strings_grow() {
    check("APPEND k hello | APPEND k world | GET k | ENCODING k", ":5 | :10 | $helloworld | raw");
    check("APPEND k 12 | ENCODING k | APPEND k '' | ENCODING k | GET k", ":2 | int | :2 | raw | $12");
    check("SET k a EX 9 | APPEND k b | PTTL k", "+OK | :2 | :9000");
    check("OTHER k | APPEND k a", &format!("+OK | {WRONG_TYPE}"));
    check("SETRANGE k 3 abc | GET k | SETRANGE k 0 xy | GET k", ":6 | $\\x00\\x00\\x00abc | :6 | $xy\\x00abc");
    check("SETRANGE k 0 '' | EXISTS k | SETRANGE k 5 '' | EXISTS k", ":0 | :0 | :0 | :0");
    check(
        "SET k 1234 | SETRANGE k 9 '' | ENCODING k | SETRANGE k 1 x | GET k | ENCODING k",
        "+OK | :4 | int | :4 | $1x34 | raw",
    );
    check("SET k a EX 9 | SETRANGE k 1 b | PTTL k", "+OK | :2 | :9000");
    let not_integer = "-ERR value is not an integer or out of range";
    check(
        "SETRANGE k -1 a | SETRANGE k a a | OTHER k | SETRANGE k 0 a | SETRANGE k 0 '' | SETRANGE k -1 ''",
        &format!(
            "-ERR offset is out of range | {not_integer} | +OK | {WRONG_TYPE} | {WRONG_TYPE} | -ERR offset is out of range"
        ),
    );
}

#[test]
fn strings_stay_below_the_limit() {
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    let both = format!("{too_long} | {too_long} | :0");
    check("SETRANGE k 536870908 world | SETRANGE k 9223372036854775807 A | EXISTS k", &both);
    check("SET k hello | SETRANGE k 536870912 w | GET k", &format!("+OK | {too_long} | $hello"));
    let world = &mut World::new();
    world.config.proto_max_bulk_len = 10;
    check_in(world, "SETRANGE k 9 a | APPEND k b | STRLEN k", &format!(":10 | {too_long} | :10"));
    check_in(
        world,
        "SET k 12345 | APPEND k 67890 | APPEND k '' | SETRANGE k 8 abc",
        &format!("+OK | :10 | :10 | {too_long}"),
    );
    // The type is checked before the length, and nothing is too long for a key that is yet to be.
    check_in(
        world,
        "OTHER o | APPEND o 12345678901 | SETRANGE o 10 a | APPEND n 12345678901",
        &format!("+OK | {WRONG_TYPE} | {WRONG_TYPE} | :11"),
    );
}

#[test]
fn parts_of_strings() {
    let world = &mut World::new();
    world.run(&[b"SET", b"k", b"Hello World"]);
    for (range, part) in [
        ("0 3", "Hell"),
        ("0 -1", "Hello World"),
        ("-4 -1", "orld"),
        ("5 3", ""),
        ("5 5000", " World"),
        ("-5000 10000", "Hello World"),
        ("0 -100", "H"),
        ("1 -100", ""),
        ("-1 -100", ""),
        ("-100 -99", "H"),
        ("-100 -100", "H"),
        ("-100 -101", ""),
        ("0 4294967297", "Hello World"),
        ("11 11", ""),
        ("10 11", "d"),
        ("-9223372036854775808 9223372036854775807", "Hello World"),
        ("9223372036854775807 -9223372036854775808", ""),
        ("-9223372036854775808 -9223372036854775808", "H"),
    ] {
        check_in(world, &format!("GETRANGE k {range}"), &format!("${part}"));
        check_in(world, &format!("SUBSTR k {range}"), &format!("${part}"));
    }
    check(
        "SET k 1234 | GETRANGE k 0 2 | GETRANGE k -3 -1 | GETRANGE n 0 -1 | SET e '' | GETRANGE e 0 -1 | GETRANGE e -1 -1",
        "+OK | $123 | $234 | $ | +OK | $ | $",
    );
    let not_integer = "-ERR value is not an integer or out of range";
    check(
        "GETRANGE k a 1 | GETRANGE k 0 b | OTHER k | GETRANGE k 0 1 | GETRANGE k 0 b",
        &format!("{not_integer} | {not_integer} | +OK | {WRONG_TYPE} | {not_integer}"),
    );
}

#[test]
fn longest_common_subsequences() {
    check("MSET a ohmytext b mynewtext | LCS a b | LCS a b LEN", "+OK | $mytext | :6");
    check(
        "MSET a ohmytext b mynewtext | LCS a b IDX",
        "+OK | [$matches [[[:4 :7] [:5 :8]] [[:2 :3] [:0 :1]]] $len :6]",
    );
    check(
        "MSET a ohmytext b mynewtext | LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
        "+OK | [$matches [[[:4 :7] [:5 :8] :4]] $len :6]",
    );
    check(
        "MSET a ohmytext b mynewtext | LCS a b IDX MINMATCHLEN -4 | HELLO 3 | LCS a b idx minmatchlen 5",
        "+OK | [$matches [[[:4 :7] [:5 :8]] [[:2 :3] [:0 :1]]] $len :6] | … | {$matches [] $len :6}",
    );
    check(
        "SET a 12345 | LCS a n | LCS n m | LCS a a | LCS a n LEN | LCS a n IDX",
        "+OK | $ | $ | $12345 | :0 | [$matches [] $len :0]",
    );
    check("SET a x | LCS a a LEN WITHMATCHLEN MINMATCHLEN 3", "+OK | :1");
    let syntax = "-ERR syntax error";
    check(
        "LCS a b foo | LCS a b MINMATCHLEN | LCS a b LEN IDX | LCS a b MINMATCHLEN a",
        &format!(
            "{syntax} | {syntax} | -ERR If you want both the length and indexes, please just use IDX. | -ERR value is not an integer or out of range"
        ),
    );
    check(
        "OTHER o | LCS a o foo | LCS o a",
        "+OK | -ERR The specified keys must contain string values | -ERR The specified keys must contain string values",
    );
    let world = &mut World::new();
    world.config.proto_max_bulk_len = 1 << 20;
    let text = "x".repeat(511);
    check_in(
        world,
        &format!("SET a {text} | SET b {text} | LCS a b LEN | APPEND b x | LCS a b LEN | LCS a b LEN IDX"),
        "+OK | +OK | :511 | :512 | -ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len | \
         -ERR If you want both the length and indexes, please just use IDX.",
    );
}

#[test]
fn conditional_deletes() {
    check("SET k v | DELIFEQ k w | DELIFEQ k v | DELIFEQ k v", "+OK | :0 | :1 | :0");
    check(
        "SET k 12 | DELIFEQ k 012 | DELIFEQ k 12 | OTHER o | DELIFEQ o v",
        &format!("+OK | :0 | :1 | +OK | {WRONG_TYPE}"),
    );
    check("DELEX k | SET k v | DELEX k | OTHER o | DELEX o", ":0 | +OK | :1 | +OK | :1");
    check("SET k v | DELEX k IFEQ w | DELEX k ifeq v | EXISTS k", "+OK | :0 | :1 | :0");
    check("SET k v | DELEX k IFNE v | DELEX k IFNE w | EXISTS k", "+OK | :0 | :1 | :0");
    check("SET k hello | DELEX k IFDEQ 9555e8555c62dcfe | DELEX k IFDEQ 9555E8555c62dcfd", "+OK | :0 | :1");
    check("SET k hello | DELEX k IFDNE 9555e8555c62dcfd | DELEX k IFDNE zzzzzzzzzzzzzzzz", "+OK | :0 | :1");
    // With no such key, no condition is wrong.
    check(
        "DELEX k IFEQ a | DELEX k IFNE a | DELEX k IFDEQ 1 | DELEX k IFDNE 1 | DELEX k foo a",
        ":0 | :0 | :0 | :0 | :0",
    );
    let format = "-ERR must be exactly 16 hexadecimal characters";
    check(
        "SET k v | DELEX k IFDEQ 1 | DELEX k IFDNE '' | DELEX k foo v | EXISTS k",
        &format!("+OK | {format} | {format} | -ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE | :1"),
    );
    let arity = "-ERR wrong number of arguments for 'delex' command";
    check("DELEX k IFEQ | DELEX k IFEQ a b | DELEX", &[arity; 3].join(" | "));
    let not_string = "-ERR Key should be of string type if conditions are specified";
    check("OTHER k | DELEX k IFEQ a | DELEX k foo a | EXISTS k", &format!("+OK | {not_string} | {not_string} | :1"));
}

#[test]
fn increx_counts() {
    check(
        "INCREX k | INCREX k | INCREX k BYINT -10 | GET k | ENCODING k",
        "[:1 :1] | [:2 :1] | [:-8 :-10] | $-8 | int",
    );
    check(
        "SET k 1.5 | INCREX k BYFLOAT 0.25 | GET k | INCREX k",
        "+OK | [$1.75 $0.25] | $1.75 | -ERR value is not an integer or out of range",
    );
    check("HELLO 3 | INCREX k byfloat 2.5 | SET k 1 | INCREX k", "… | [,2.5 ,2.5] | +OK | [:2 :1]");
    check(
        "OTHER k | INCREX k | INCREX k BYFLOAT 1 | INCREX k EXAT 1",
        &format!("+OK | {WRONG_TYPE} | {WRONG_TYPE} | {WRONG_TYPE}"),
    );
    check("INCREX k XX | INCREX k NX | INCREX k NX BYINT 5 | INCREX k XX", "[:0 :0] | [:1 :1] | [:1 :0] | [:2 :1]");
    check("INCREX k XX BYFLOAT 1.5 | EXISTS k", "[$0 $0] | :0");
    // Rounding shows in what was applied: new = old + applied.
    check("SET k 100000000000000000000 | INCREX k BYFLOAT 3", "+OK | [$100000000000000000000 $0]");
}

#[test]
fn increx_keeps_within_bounds() {
    let world = &mut World::new();
    for (options, reply, left) in [
        ("BYINT 5 UBOUND 20", "[:15 :5]", "15"),
        ("BYINT 5 UBOUND 15", "[:15 :5]", "15"),
        ("BYINT 5 UBOUND 12", "[:10 :0]", "10"),
        ("BYINT 5 UBOUND 5", "[:10 :0]", "10"),
        ("BYINT -5 UBOUND 5", "[:5 :-5]", "5"),
        ("BYINT -5 LBOUND 5", "[:5 :-5]", "5"),
        ("BYINT -5 LBOUND 8", "[:10 :0]", "10"),
        ("BYINT 5 LBOUND 20", "[:10 :0]", "10"),
        ("BYINT 5 UBOUND 12 SATURATE", "[:12 :2]", "12"),
        ("BYINT 5 UBOUND 5 SATURATE", "[:5 :-5]", "5"),
        ("BYINT -5 LBOUND 8 SATURATE", "[:8 :-2]", "8"),
        ("BYINT -5 LBOUND 20 SATURATE", "[:20 :10]", "20"),
        ("LBOUND 0 BYINT 100 UBOUND 10 SATURATE", "[:10 :0]", "10"),
        ("SATURATE", "[:11 :1]", "11"),
        ("BYINT 9223372036854775807 UBOUND 100 SATURATE", "[:100 :90]", "100"),
        ("BYINT 9223372036854775807 UBOUND 100", "[:10 :0]", "10"),
        ("BYFLOAT 2.5 LBOUND 5.0 UBOUND 15.0", "[$12.5 $2.5]", "12.5"),
        ("BYFLOAT 5.5 UBOUND 12.5", "[$10 $0]", "10"),
        ("BYFLOAT 5.5 UBOUND 12.5 SATURATE", "[$12.5 $2.5]", "12.5"),
        ("BYFLOAT -6.0 LBOUND 8.0 SATURATE", "[$8 $-2]", "8"),
        ("BYFLOAT 1e4932 UBOUND 100 SATURATE", "[$100 $90]", "100"),
        ("BYFLOAT 1e4932 UBOUND 100", "[$10 $0]", "10"),
        ("BYFLOAT 1 UBOUND inf", "[$11 $1]", "11"),
        ("BYFLOAT 1 LBOUND -inf UBOUND -inf", "[$10 $0]", "10"),
    ] {
        check_in(world, &format!("SET k 10 | INCREX k {options} | GET k"), &format!("+OK | {reply} | ${left}"));
    }
    check(
        "SET k 9223372036854775807 | INCREX k | INCREX k SATURATE",
        "+OK | [:9223372036854775807 :0] | [:9223372036854775807 :0]",
    );
    check(
        "SET k -9223372036854775801 | INCREX k BYINT -10 | INCREX k BYINT -10 SATURATE",
        "+OK | [:-9223372036854775801 :0] | [:-9223372036854775808 :-7]",
    );
    check("INCREX k UBOUND 0 | EXISTS k | INCREX k UBOUND 0 SATURATE | EXISTS k", "[:0 :0] | :0 | [:0 :0] | :1");
    check("INCREX k LBOUND 5 | EXISTS k | INCREX k LBOUND 5 SATURATE | GET k", "[:0 :0] | :0 | [:5 :5] | $5");
    check(
        "SET k 9223372036854775807 | INCREX k BYINT -5 UBOUND -9223372036854775808 SATURATE | GET k",
        "+OK | -ERR applied increment would overflow | $9223372036854775807",
    );
    let infinite = "-ERR applied increment would be Infinity";
    check(
        "SET k -1e4932 | INCREX k BYFLOAT 1e4932 LBOUND 1e4932 SATURATE | SET k 10 | INCREX k BYFLOAT 1 LBOUND inf UBOUND inf SATURATE",
        &format!("+OK | {infinite} | +OK | {infinite}"),
    );
    // Beyond the largest number: declined, or the largest number.
    let largest = {
        let mut text = Vec::new();
        Extended::MAX.write_human(&mut text);
        String::from_utf8(text).unwrap()
    };
    check(
        &format!("SET k {largest} | INCREX k BYFLOAT {largest} | INCREX k BYFLOAT {largest} SATURATE"),
        &format!("+OK | [${largest} $0] | [${largest} $0]"),
    );
}

#[test]
fn increx_says_which_number_is_wrong() {
    let crossed = "-ERR LBOUND can't be greater than UBOUND";
    check(
        "INCREX k LBOUND 10 UBOUND 5 | INCREX k BYFLOAT 1 LBOUND 1.5 UBOUND 0.5 | INCREX k BYFLOAT 1 UBOUND -inf | INCREX k BYFLOAT 1 LBOUND inf",
        &[crossed; 4].join(" | "),
    );
    check(
        "INCREX k BYINT abc | INCREX k BYINT 1.5 | INCREX k UBOUND inf | INCREX k LBOUND abc",
        "-ERR Increment is not an integer or out of range | -ERR Increment is not an integer or out of range | \
         -ERR UBOUND is not an integer or out of range | -ERR LBOUND is not an integer or out of range",
    );
    check(
        "INCREX k BYFLOAT abc | INCREX k BYFLOAT 1e99999 | INCREX k BYFLOAT nan | INCREX k BYFLOAT 1 UBOUND abc",
        "-ERR Increment is not a valid float | -ERR Increment is not a valid float | -ERR Increment is not a valid float | \
         -ERR UBOUND is not a valid float",
    );
    check(
        "INCREX k BYFLOAT -inf | SET k inf | INCREX k BYFLOAT 1 | INCREX k | SET k a | INCREX k BYFLOAT 1",
        "-ERR BYFLOAT increment cannot be Infinity | +OK | -ERR value cannot be Infinity | \
         -ERR value is not an integer or out of range | +OK | -ERR value is not a valid float",
    );
    for options in [
        "foo",
        "BYINT",
        "BYINT 1 BYINT 2",
        "BYINT 1 BYFLOAT 1",
        "LBOUND 0 LBOUND 1",
        "UBOUND 9 UBOUND 8",
        "LBOUND",
        "SATURATE SATURATE",
        "ENX ENX EX 10",
        "PERSIST PERSIST",
        "PERSIST ENX",
        "ENX PERSIST",
        "EX 10 EX 20",
        "EX 10 PX 20",
        "EX 10 PERSIST",
        "PERSIST EX 10",
        "NX XX",
        "NX NX",
        "EX",
        "KEEPTTL",
        "GET",
    ] {
        check(&format!("INCREX k {options} | EXISTS k"), "-ERR syntax error | :0");
    }
    check(
        "INCREX k ENX | INCREX k BYINT 1 ENX",
        "-ERR ENX flag requires an expiration | -ERR ENX flag requires an expiration",
    );
}

#[test]
fn increx_times_keys() {
    check(
        "SET k 1 EX 9 | INCREX k | PTTL k | INCREX k PX 5 | PTTL k | INCREX k PERSIST | PTTL k",
        "+OK | [:2 :1] | :9000 | [:3 :1] | :5 | [:4 :1] | :-1",
    );
    check(
        "INCREX k EX 60 ENX | PTTL k | SLEEP 1000 | INCREX k EX 60 ENX | PTTL k",
        "[:1 :1] | :60000 | … | [:2 :1] | :59000",
    );
    check("SET k 5 | INCREX k ENX EXAT 1700000001 | PTTL k", "+OK | [:6 :1] | :1000");
    // Declined: nothing changes.
    check(
        "SET k 10 EX 9 | INCREX k UBOUND 5 PX 1 | PTTL k | INCREX k UBOUND 5 PERSIST | PTTL k | INCREX k NX PX 1 | PTTL k",
        "+OK | [:10 :0] | :9000 | [:10 :0] | :9000 | [:10 :0] | :9000",
    );
    check("SET k 10 | INCREX k UBOUND 10 SATURATE PX 7 | PTTL k", "+OK | [:10 :0] | :7");
    // A deadline that has come: counted, and gone.
    check("SET k 10 | INCREX k EXAT 1 | EXISTS k | INCREX k PXAT 1 | EXISTS k", "+OK | [:11 :1] | :0 | [:1 :1] | :0");
    check("SET k 10 EX 9 | INCREX k EXAT 1 ENX | PTTL k | GET k", "+OK | [:11 :1] | :9000 | $11");
    check(
        "SET k 1.5 PX 5 | INCREX k BYFLOAT 1 | PTTL k | INCREX k BYFLOAT 1 PXAT 1 | EXISTS k",
        "+OK | [$2.5 $1] | :5 | [$3.5 $1] | :0",
    );
}

proptest! {
    /// GETRANGE by its definition: indexes into the string, negative ones from its end.
    #[test]
    fn getrange_agrees_with_slices(text in "[a-z]{0,8}", start in -12i64..12, end in -12i64..12) {
        let mut world = World::new();
        world.run(&[b"SET", b"k", text.as_bytes()]);
        let len = text.len() as i64;
        let absolute = |index: i64| if index < 0 { len + index } else { index };
        let is_in = |i: i64| absolute(start) <= i && i <= absolute(end).max(0);
        let mut expected: String = text.chars().enumerate().filter(|&(i, _)| is_in(i as i64)).map(|(_, c)| c).collect();
        if start < 0 && end < 0 && end < start {
            expected.clear();
        }
        let reply = world.run(&[b"GETRANGE", b"k", start.to_string().as_bytes(), end.to_string().as_bytes()]);
        prop_assert_eq!(reply, format!("${expected}"));
    }

    /// Whatever clients say, there is one reply and no panic.
    #[test]
    fn no_arguments_break_a_command(
        calls in proptest::collection::vec(
            (0..COMMANDS.len(), proptest::collection::vec(proptest::sample::select(WORDS), 0..7)),
            1..20,
        ),
    ) {
        let mut world = World::new();
        world.config.proto_max_bulk_len = 1 << 20;
        for (row, words) in calls {
            let mut args = vec![COMMANDS[row].name.as_bytes()];
            args.extend(words.iter().map(|word| word.as_bytes()));
            prop_assert!(!world.run(&args).is_empty());
        }
    }
}

const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "",
    "0",
    "1",
    "2",
    "-1",
    "3.5",
    "nan",
    "inf",
    "9223372036854775807",
    "-9223372036854775808",
    "1048570",
    "NX",
    "XX",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "IFEQ",
    "IFNE",
    "IFDEQ",
    "IFDNE",
    "LEN",
    "IDX",
    "MINMATCHLEN",
    "WITHMATCHLEN",
    "BYINT",
    "BYFLOAT",
    "LBOUND",
    "UBOUND",
    "SATURATE",
    "ENX",
    "0123456789abcdef",
];
