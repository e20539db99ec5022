//! Commands on keys, as a client sees them. What is expected here is what Redis 7.0.15 replied to the same commands.

use super::super::connection::double::config_with;
use super::*;
use crate::config::Config;
use crate::keyspace::Expiry;
use crate::resp::Protocol;

const NOW_MS: u64 = 1_700_000_000_000;

/// One shard that talks.
struct World {
    keyspace: Keyspace,
    config: Config,
    random: fastrand::Rng,
    now_ms: u64,
    db: usize,
    shard: usize,
    shards: usize,
}

impl World {
    fn new() -> World {
        World {
            keyspace: Keyspace::new(16, 1),
            config: config_with(&[]),
            random: fastrand::Rng::with_seed(1),
            now_ms: NOW_MS,
            db: 0,
            shard: 0,
            shards: 1,
        }
    }

    /// Runs a command and returns its reply, line ends as `|`.
    fn run(&mut self, args: &Args<'_>) -> String {
        let named = |row: &&Command, word: &[u8]| row.name.as_bytes().eq_ignore_ascii_case(word);
        let mut row = COMMANDS.iter().find(|row| named(row, args[0])).expect("a row");
        if matches!(row.run, Run::Container) {
            row = row.subcommands.iter().find(|row| named(row, args[1])).expect("a subcommand's row");
        }
        let Run::Keyspace(run) = row.run else { panic!("{} is not for a keyspace", row.name) };
        let mut out = Vec::new();
        self.keyspace.begin(self.now_ms, true);
        let mut context = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut self.random,
            db: self.db,
            now_ms: self.now_ms,
            shard: self.shard,
            shards: self.shards,
            long_reply: None,
        };
        if let Err(error) = run(&mut context, args, &mut Reply::new(&mut out, Protocol::Resp2)) {
            out.clear();
            Reply::new(&mut out, Protocol::Resp2).error(&error);
        }
        String::from_utf8_lossy(&out).replace("\r\n", "|")
    }

    /// Several commands of words without blanks, separated by ` | `; `set key value` and `wait ms` are not of this
    /// family, but needed.
    #[track_caller]
    fn check(&mut self, lines: &str, expected: &str) {
        let replies = lines.split(" | ").map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["set", key, value] => {
                    self.keyspace.begin(self.now_ms, true);
                    self.keyspace.set_string(self.db, key.as_bytes(), value.as_bytes(), Expiry::Clear);
                    "set".to_string()
                }
                ["wait", ms] => {
                    self.now_ms += ms.parse::<u64>().expect("milliseconds");
                    "wait".to_string()
                }
                _ => self.run(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()),
            }
        });
        let replies: Vec<String> = replies.map(|reply| reply.trim_end_matches('|').to_string()).collect();
        assert_eq!(replies.join(" | "), expected, "{lines}");
    }
}

#[test]
fn keys_named_twice_count_twice_but_are_deleted_once() {
    let mut world = World::new();
    world.check("set k v | EXISTS k k none | TOUCH none k k", "set | :2 | :2");
    world.check("DEL k k none | EXISTS k | UNLINK k | TYPE k", ":1 | :0 | :0 | +none");
    world.check("set k v | UNLINK k | set k v | TYPE k", "set | :1 | set | +string");
}

#[test]
fn a_key_goes_by_another_name() {
    let mut world = World::new();
    world.check("RENAME none x | RENAMENX none none", "-ERR no such key | -ERR no such key");
    world.check("set k v | RENAME k k | RENAMENX k k", "set | +OK | :0");
    world.check("set j w | EXPIRE k 100 | RENAMENX k j | RENAME k j", "set | :1 | :0 | +OK");
    world.check("EXISTS k j | TTL j | DBSIZE | RENAMENX j k", ":1 | :100 | :1 | :1");
}

#[test]
fn a_key_is_copied_and_moved_between_databases() {
    let mut world = World::new();
    world.check("COPY k k | COPY none k", "-ERR source and destination objects are the same | :0");
    world.check("set k v | EXPIRE k 100 | COPY k j | TTL j | COPY k j", "set | :1 | :1 | :100 | :0");
    world.check("PERSIST j | COPY j k replace REPLACE | TTL k", ":1 | :1 | :-1");
    world.check("COPY k k DB 1 | COPY k m DB 1 db 2 | EXISTS m", ":1 | :1 | :0");
    world.check("COPY k j DB 99 | COPY k j DB -1", "-ERR DB index is out of range | -ERR DB index is out of range");
    world.check("COPY k j DB abc | COPY k j DB", "-ERR value is not an integer or out of range | -ERR syntax error");
    world.check("COPY k j foo", "-ERR syntax error");
    let range = "-ERR value is out of range, value must between -2147483648 and 2147483647";
    world.check("COPY k j DB 2147483648", range);
    world.check("MOVE k 1 | MOVE k 2 | MOVE k 3", ":0 | :1 | :0");
    world.check("MOVE k 0", "-ERR source and destination objects are the same");
    world.check("MOVE k 16 | MOVE k x", "-ERR DB index is out of range | -ERR value is not an integer or out of range");
    world.check("MOVE k 99999999999", range);
    world.db = 2;
    world.check("DBSIZE | KEYS k | KEYS m", ":2 | *1|$1|k | *1|$1|m");
}

#[test]
fn deadlines_are_set_and_told_in_every_unit() {
    let mut world = World::new();
    world.check("TTL k | PTTL k | EXPIRETIME k | PEXPIRETIME k | PERSIST k", ":-2 | :-2 | :-2 | :-2 | :0");
    world.check("set k v | TTL k | PTTL k | EXPIRETIME k | PERSIST k", "set | :-1 | :-1 | :-1 | :0");
    world.check("EXPIRE none 1 | PEXPIRE none 1 | EXPIREAT none 1 | PEXPIREAT none 1", ":0 | :0 | :0 | :0");
    world.check("PEXPIRE k 99500 | TTL k | PTTL k", ":1 | :100 | :99500");
    world.check("PEXPIRE k 99499 | TTL k | EXPIRETIME k", ":1 | :99 | :1700000099");
    world.check("EXPIREAT k 1700000010 | TTL k | PEXPIRETIME k", ":1 | :10 | :1700000010000");
    world.check("PEXPIREAT k 1700000000001 | TTL k | PTTL k | wait 1 | EXISTS k", ":1 | :0 | :1 | wait | :0");
    world.check("set k v | EXPIREAT k 9223372036854775 | PEXPIRETIME k", "set | :1 | :9223372036854775000");
    world.check("PEXPIREAT k 9223372036854775807 | EXPIRETIME k", ":1 | :9223372036854776");
    world.check("PERSIST k | TTL k", ":1 | :-1");
}

#[test]
fn a_deadline_in_the_past_deletes() {
    let mut world = World::new();
    world.check("set k v | EXPIRE k 0 | EXISTS k", "set | :1 | :0");
    world.check("set k v | EXPIRE k -1 | EXISTS k", "set | :1 | :0");
    world.check("set k v | PEXPIREAT k -9223372036854775808 | EXISTS k", "set | :1 | :0");
    world.check("set k v | EXPIREAT k 1700000000 | EXISTS k", "set | :1 | :0");
    world.check(
        "set k v | EXPIRE k 0 XX | EXPIRE k 0 GT | EXISTS k | EXPIRE k 0 LT | EXISTS k",
        "set | :0 | :0 | :1 | :1 | :0",
    );
    assert_eq!(world.keyspace.stats.expired, 0);
}

#[test]
fn times_that_cannot_be_counted_are_refused() {
    let mut world = World::new();
    world.check("set k v", "set");
    for (line, command) in [
        ("EXPIRE k 9223372036854775807", "expire"),
        ("EXPIRE k 9223372036854776", "expire"),
        ("EXPIRE k -9223372036854775808", "expire"),
        ("PEXPIRE k 9223372036854775807", "pexpire"),
        ("EXPIREAT none 9223372036854776", "expireat"),
    ] {
        world.check(line, &format!("-ERR invalid expire time in '{command}' command"));
    }
    world.check("EXPIRE k abc | PEXPIREAT k 1.5", &["-ERR value is not an integer or out of range"; 2].join(" | "));
    world.check("EXPIRE k abc foo", "-ERR Unsupported option foo");
    let word = "x".repeat(500);
    world.check(&format!("EXPIRE k 1 {word}\0y"), &format!("-ERR Unsupported option {word}"));
}

#[test]
fn conditions_compare_with_the_present_deadline() {
    let mut world = World::new();
    world.check("set k v | EXPIRE k 100 XX | EXPIRE k 100 GT | TTL k", "set | :0 | :0 | :-1");
    world.check("EXPIRE k 100 LT | EXPIRE k 50 NX | EXPIRE k 100 GT | EXPIRE k 100 LT", ":1 | :0 | :0 | :0");
    world.check("EXPIRE k 200 gt | TTL k | EXPIRE k 150 lt xx | TTL k", ":1 | :200 | :1 | :150");
    world.check("EXPIRE k 10 xx xx | TTL k | PERSIST k | EXPIRE k 20 nx | TTL k", ":1 | :10 | :1 | :1 | :20");
    let with_nx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    world.check("EXPIRE k 1 nx xx | EXPIRE k 1 nx lt", &[with_nx; 2].join(" | "));
    world.check("EXPIRE k 1 gt lt", "-ERR GT and LT options at the same time are not compatible");
    world.check("EXPIRE k 1 nx foo", "-ERR Unsupported option foo");
}

#[test]
fn object_tells_how_a_value_is_stored() {
    let mut world = World::new();
    world.check("OBJECT ENCODING k | OBJECT REFCOUNT k | OBJECT IDLETIME k | OBJECT FREQ k", "$-1 | $-1 | $-1 | $-1");
    world.check(
        "set i 9999 | set j 10000 | set s x | OBJECT ENCODING i | OBJECT ENCODING s",
        "set | set | set | $3|int | $6|embstr",
    );
    world.check("OBJECT REFCOUNT i | OBJECT REFCOUNT j | OBJECT REFCOUNT s", ":2147483647 | :1 | :1");
    world.check("wait 20000 | OBJECT IDLETIME s | TOUCH s | OBJECT IDLETIME s", "wait | :20 | :1 | :0");
    world.check(
        "OBJECT FREQ s",
        "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    world.keyspace.set_policy(AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 });
    world.config = config_with(&[("maxmemory", "1gb"), ("maxmemory-policy", "allkeys-lfu")]);
    world.check("set f x | OBJECT FREQ f | OBJECT REFCOUNT i", "set | :5 | :1");
    world.check(
        "OBJECT IDLETIME f",
        "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
         policies at runtime LRU and LFU data will take some time to adjust.",
    );
}

#[test]
fn keys_match_patterns() {
    let mut world = World::new();
    world.check("KEYS * | set one 1 | set two 2 | set three 3", "*0 | set | set | set");
    world.check("KEYS one | KEYS four | KEYS th* | KEYS ?w?", "*1|$3|one | *0 | *1|$5|three | *1|$3|two");
    world.check("PEXPIRE one 5 | wait 5 | KEYS one | DBSIZE", ":1 | wait | *0 | :3");
    assert_eq!(world.run(&[b"KEYS", b"*"]).split('|').next(), Some("*2"));
}

#[test]
fn a_cursor_is_read_as_c_reads_numbers() {
    let mut world = World::new();
    for cursor in ["", "-0", "007", "+3", "-1", "0\0x", "-18446744073709551615", "18446744073709551615"] {
        assert_eq!(world.run(&[b"SCAN", cursor.as_bytes()]), "*2|$1|0|*0|", "{cursor:?}");
    }
    for cursor in [" 1", "1 ", "-", "+", "--1", "0x1", "abc", "18446744073709551616", "-18446744073709551616"] {
        assert_eq!(world.run(&[b"SCAN", cursor.as_bytes()]), "-ERR invalid cursor|", "{cursor:?}");
    }
}

#[test]
fn scan_refuses_options_that_make_no_sense() {
    let mut world = World::new();
    for line in ["0 COUNT", "0 COUNT 0", "0 COUNT -1", "0 foo bar", "0 MATCH", "0 TYPE", "0 COUNT 5 COUNT 0"] {
        world.check(&format!("SCAN {line}"), "-ERR syntax error");
    }
    world.check("SCAN 0 COUNT abc", "-ERR value is not an integer or out of range");
    world.check("SCAN x COUNT abc", "-ERR invalid cursor");
}

#[test]
fn scan_filters_by_pattern_and_type() {
    let mut world = World::new();
    world.check("set k v | set other v", "set | set");
    world.check(
        "SCAN 0 MATCH k* COUNT 100 | SCAN 0 TYPE list | SCAN 0 TYPE foo",
        "*2|$1|0|*1|$1|k | *2|$1|0|*0 | *2|$1|0|*0",
    );
    world.check("SCAN 0 TYPE list TYPE STRING match k", "*2|$1|0|*1|$1|k");
}

#[test]
fn a_scan_goes_from_shard_to_shard() {
    const SHARDS: usize = 3;
    let mut worlds: Vec<World> = (0..SHARDS).map(|shard| World { shard, shards: SHARDS, ..World::new() }).collect();
    let mut expected: Vec<String> = (0..500).map(|index| format!("key:{index}")).collect();
    for (index, key) in expected.iter().enumerate() {
        // The middle shard has nothing.
        worlds[index % 2 * 2].check(&format!("set {key} v"), "set");
    }
    let (mut cursor, mut seen, mut steps) = ("0".to_string(), Vec::new(), 0);
    loop {
        let shard = cursor.parse::<usize>().expect("a cursor") % SHARDS;
        let reply = worlds[shard].run(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"20"]);
        let mut lines = reply.trim_end_matches('|').split('|').skip(2);
        cursor = lines.next().expect("a cursor").to_string();
        seen.extend(lines.skip(1).skip(1).step_by(2).map(str::to_string));
        steps += 1;
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(12 < steps, "{steps}");
}

#[test]
fn databases_are_emptied_and_swapped() {
    let mut world = World::new();
    world.check("set k v | SWAPDB 0 1 | DBSIZE | SWAPDB 1 1 | SWAPDB 1 0 | DBSIZE", "set | +OK | :0 | +OK | +OK | :1");
    world.check("SWAPDB a b | SWAPDB 0 a", "-ERR invalid first DB index | -ERR invalid second DB index");
    world.check("SWAPDB 99999999999 0 | SWAPDB 0 99", "-ERR invalid first DB index | -ERR DB index is out of range");
    world.check("SWAPDB -1 0", "-ERR DB index is out of range");
    world.check("FLUSHDB foo | FLUSHALL sync async", "-ERR syntax error | -ERR syntax error");
    world.check("COPY k k DB 5 | FLUSHDB async | DBSIZE", ":1 | +OK | :0");
    world.db = 5;
    world.check("DBSIZE | FLUSHALL SYNC | DBSIZE", ":1 | +OK | :0");
}
