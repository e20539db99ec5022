//! Where the time of commands goes, as `LATENCY STAGES`, `SLOWLOG` and `INFO` tell it of real clients.

use crate::client::{Client, Value, encode};
use crate::cores::{connect, ok, start_with_core_ports, tag_of};
use crate::extra::wait_until;
use crate::process::{Kind, Server};

/// Commands of a kind that a test sends, one after the other: enough for a pass of which the write is sampled.
const TIMES: i64 = 128;

/// A value of a map, which in RESP2 is an array of names and values.
fn entry<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Array(items) = map else { panic!("{name} of {map}") };
    items.chunks_exact(2).find(|pair| pair[0] == Value::Bulk(name.into())).map(|pair| &pair[1])
}

fn names(map: &Value) -> Vec<String> {
    let Value::Array(items) = map else { panic!("{map} is no map") };
    items.chunks_exact(2).map(|pair| text(&pair[0])).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other} is no text"),
    }
}

fn number(map: &Value, name: &str) -> i64 {
    match entry(map, name) {
        Some(Value::Integer(number)) => *number,
        other => panic!("{name} is {other:?} in {map}"),
    }
}

/// The stages of a command: `LATENCY STAGES` with these words behind its name.
fn stages(client: &mut Client, command: &str, words: &[&str]) -> Value {
    let mut asked = vec!["LATENCY", "STAGES", command];
    asked.extend_from_slice(words);
    let told = client.call(&asked).expect("it is answered");
    let stages = entry(&told, "stages").unwrap_or_else(|| panic!("{told}"));
    entry(stages, command).cloned().unwrap_or(Value::Array(Vec::new()))
}

fn calls(of_command: &Value, way: &str, stage: &str) -> i64 {
    let of_way = entry(of_command, way);
    of_way.and_then(|of_way| entry(of_way, stage)).map_or(0, |stage| number(stage, "calls"))
}

#[test]
fn every_call_has_its_stages_here_and_on_other_cores() {
    let (_server, first_port) = start_with_core_ports(2, &["--connection-steering", "no"]);
    let (here, there) = (tag_of(0, 2), tag_of(1, 2));
    let mut client = connect(first_port);
    assert_eq!(client.call(&["SET", here.as_str(), "v"]).unwrap(), ok());
    client.call(&["RPUSH", there.as_str(), "a", "b"]).expect("it is answered");
    for _ in 0..TIMES {
        client.call(&["GET", here.as_str()]).expect("it is answered");
        // Not a command that a core runs on another's shard by itself.
        client.call(&["LRANGE", there.as_str(), "0", "-1"]).expect("it is answered");
    }
    let get = stages(&mut client, "get", &[]);
    assert_eq!(names(&get), ["local"]);
    for stage in ["read", "queue", "execute"] {
        assert_eq!(calls(&get, "local", stage), TIMES, "{stage} of {get}");
    }
    assert!(0 < calls(&get, "local", "write"), "{get}");
    let lrange = stages(&mut client, "lrange", &[]);
    assert_eq!(names(&lrange), ["forwarded"]);
    for stage in ["read", "queue", "hop", "execute", "return"] {
        assert_eq!(calls(&lrange, "forwarded", stage), TIMES, "{stage} of {lrange}");
    }
    assert!(0 < calls(&lrange, "forwarded", "write"), "{lrange}");
    let hop = entry(entry(&lrange, "forwarded").unwrap(), "hop").unwrap();
    assert!(0 < number(hop, "p50_nsec") && number(hop, "p50_nsec") <= number(hop, "max_nsec"), "{hop}");
    // What Redis' own command tells is the execution, wherever it was.
    let histogram = client.call(&["LATENCY", "HISTOGRAM", "lrange"]).expect("it is answered");
    assert_eq!(number(entry(&histogram, "lrange").unwrap(), "calls"), TIMES);

    // What Redis tells too stays when it is switched off, and nothing else.
    assert_eq!(client.call(&["CONFIG", "SET", "latency-tracking", "no"]).unwrap(), ok());
    client.call(&["GET", here.as_str()]).expect("it is answered");
    let get = stages(&mut client, "get", &[]);
    assert_eq!(calls(&get, "local", "execute"), TIMES);
    assert_eq!(names(entry(&get, "local").unwrap()), ["execute"]);
    assert_eq!(names(&stages(&mut client, "get", &["WINDOW", "300"])), [""; 0]);
    assert_eq!(client.call(&["CONFIG", "RESETSTAT"]).unwrap(), ok());
    assert_eq!(names(&stages(&mut client, "get", &[])), [""; 0]);
}

#[test]
fn a_pipeline_is_counted_command_by_command() {
    let server = Server::start(Kind::Corering { shards: 1 }, &[]);
    let mut client = connect(server.port);
    let mut pipeline = Vec::new();
    for _ in 0..TIMES {
        pipeline.extend_from_slice(&encode(&["SET", "k", "v"]));
        pipeline.extend_from_slice(&encode(&["GET", "k"]));
        pipeline.extend_from_slice(&encode(&["INCR", "n"]));
    }
    client.send_raw(&pipeline).expect("it is read");
    for _ in 0..3 * TIMES {
        client.read().expect("it is answered");
    }
    for command in ["set", "get", "incr"] {
        let told = stages(&mut client, command, &[]);
        for stage in ["read", "queue", "execute"] {
            assert_eq!(calls(&told, "local", stage), TIMES, "{stage} of {told}");
        }
    }
}

#[test]
fn a_window_forgets_what_is_older() {
    let server = Server::start(Kind::Corering { shards: 1 }, &[]);
    let mut client = connect(server.port);
    client.call(&["INCR", "n"]).expect("it is answered");
    wait_until("its second is over", || {
        calls(&stages(&mut client, "incr", &["WINDOW", "300"]), "local", "execute") == 1
    });
    wait_until("as many seconds are told as were asked for", || {
        number(&client.call(&["LATENCY", "STAGES", "incr", "WINDOW", "2"]).expect("it is answered"), "seconds") == 2
    });
    wait_until("it is told no more", || calls(&stages(&mut client, "incr", &["WINDOW", "1"]), "local", "execute") == 0);
    assert_eq!(calls(&stages(&mut client, "incr", &["WINDOW", "300"]), "local", "execute"), 1);
    assert_eq!(calls(&stages(&mut client, "incr", &[]), "local", "execute"), 1);
}

#[test]
fn who_waits_for_the_disk_is_told_for_how_long() {
    let server = Server::start(Kind::Corering { shards: 1 }, &["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = connect(server.port);
    for _ in 0..TIMES {
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    }
    let set = stages(&mut client, "set", &[]);
    assert_eq!(calls(&set, "local", "durability"), TIMES, "{set}");
    assert!(0 < calls(&set, "local", "write"), "{set}");
}

#[test]
fn the_slow_log_tells_stages_to_who_asks_for_them() {
    let (_server, first_port) = start_with_core_ports(2, &["--slowlog-log-slower-than", "0"]);
    let (here, there) = (tag_of(0, 2), tag_of(1, 2));
    let mut client = connect(first_port);
    assert_eq!(client.call(&["CONFIG", "SET", "connection-steering", "no", "slowlog-stages", "yes"]).unwrap(), ok());
    client.call(&["GET", here.as_str()]).expect("it is answered");
    client.call(&["LRANGE", there.as_str(), "0", "-1"]).expect("it is answered");
    let Value::Array(log) = client.call(&["SLOWLOG", "GET", "2"]).expect("it is answered") else { panic!("no list") };
    let stages_of = |entry: &Value| {
        let Value::Array(parts) = entry else { panic!("{entry} is no entry") };
        assert_eq!(parts.len(), 7, "{entry}");
        parts[6].clone()
    };
    assert_eq!(names(&stages_of(&log[0])), ["read", "queue", "hop", "execute"], "LRANGE");
    assert_eq!(names(&stages_of(&log[1])), ["read", "queue", "execute"], "GET");
    // Of what runs apart, too.
    let apart: [&[&str]; 7] = [
        &["EVAL", "return 1", "0"],
        &["EVAL", "return 1", "2", here.as_str(), there.as_str()],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["DEBUG", "SLEEP", "0"],
        &["MGET", here.as_str(), there.as_str()],
        &["BLPOP", there.as_str(), "0.01"],
    ];
    for call in apart {
        client.call(call).expect("it is answered");
        let Value::Array(log) = client.call(&["SLOWLOG", "GET", "1"]).expect("it is answered") else {
            panic!("no list")
        };
        assert_eq!(names(&stages_of(&log[0])), ["read", "queue", "execute"], "{call:?}");
    }
    // And of each command of a pipeline that goes to another core.
    let lrange = encode(&["LRANGE", there.as_str(), "0", "-1"]);
    client.send_raw(&lrange.repeat(3)).expect("it is read");
    (0..3).for_each(|_| assert_eq!(client.read().expect("it is answered"), Value::Array(Vec::new())));
    let Value::Array(log) = client.call(&["SLOWLOG", "GET", "3"]).expect("it is answered") else { panic!("no list") };
    log.iter().for_each(|entry| assert_eq!(names(&stages_of(entry)), ["read", "queue", "hop", "execute"]));
    // Also where no histogram wants to know.
    assert_eq!(client.call(&["CONFIG", "SET", "latency-tracking", "no"]).unwrap(), ok());
    client.call(&["GET", here.as_str()]).expect("it is answered");
    let Value::Array(log) = client.call(&["SLOWLOG", "GET", "1"]).expect("it is answered") else { panic!("no list") };
    assert_eq!(names(&stages_of(&log[0])), ["read", "queue", "execute"], "GET");
    assert_eq!(client.call(&["CONFIG", "SET", "slowlog-stages", "no"]).unwrap(), ok());
    let Value::Array(log) = client.call(&["SLOWLOG", "GET", "1"]).expect("it is answered") else { panic!("no list") };
    let Value::Array(parts) = &log[0] else { panic!("no entry") };
    assert_eq!(parts.len(), 6);
}

#[test]
fn a_stall_is_noted_with_the_command_that_caused_it() {
    let server = Server::start(Kind::Corering { shards: 1 }, &["--stall-slower-than", "400000"]);
    let mut client = connect(server.port);
    assert_eq!(client.call(&["DEBUG", "SLEEP", "0.5"]).unwrap(), ok());
    let Value::Bulk(info) = client.call(&["INFO", "corering"]).expect("it is answered") else { panic!("no text") };
    let info = String::from_utf8(info).expect("INFO is text");
    let line = info.lines().find_map(|line| line.strip_prefix("loop0:")).unwrap_or_else(|| panic!("{info}"));
    let value = |name: &str| {
        let found = line.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name} in {line}")).to_string()
    };
    let number = |name: &str| value(name).parse::<u64>().expect("a number");
    assert_eq!(value("last_stall_command"), "debug");
    assert!(500_000 <= number("last_stall_usec") && number("last_stall_usec") <= number("longest_pass_usec"), "{line}");
    assert!(1 <= number("stalls") && number("longest_pass_usec") <= number("busy_usec"), "{line}");
    assert!(0 < number("parked_usec"), "{line}");
}

/// One entry of the slow log whose command has this name: its microseconds, its stages.
fn slow_entry(client: &mut Client, name: &str) -> (i64, Value) {
    let Value::Array(log) = client.call(&["SLOWLOG", "GET", "-1"]).expect("it is answered") else { panic!("no list") };
    let mut found = log.iter().filter_map(|entry| match entry {
        Value::Array(parts) => match (&parts[2], &parts[3]) {
            (Value::Integer(microseconds), Value::Array(args)) if text(&args[0]) == name => {
                Some((*microseconds, parts[6].clone()))
            }
            _ => None,
        },
        _ => None,
    });
    let entry = found.next().unwrap_or_else(|| panic!("no entry of {name} in {log:?}"));
    assert!(found.next().is_none(), "two entries of {name} in {log:?}");
    entry
}

/// `calls` and `usec` of a command.
fn command_stats(client: &mut Client, name: &str) -> (i64, i64) {
    let info = text(&client.call(&["INFO", "commandstats"]).expect("it is answered"));
    let start = format!("cmdstat_{name}:");
    let line = info.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{name}: {info}"));
    let value = |field: &str| {
        let found = line.split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
        found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{field} in {line}"))
    };
    (value("calls"), value("usec"))
}

#[test]
fn who_waits_for_a_key_is_counted_once_and_what_it_waited_is_told() {
    const ELEMENTS: usize = 400_000;
    const PUSHES: usize = 40;
    let (_server, first_port) = start_with_core_ports(2, &["--slowlog-stages", "yes", "--connection-steering", "no"]);
    for (key, way, waits_in) in [(tag_of(0, 2), "local", "queue"), (tag_of(1, 2), "forwarded", "hop")] {
        let mut client = connect(first_port);
        assert_eq!(client.call(&["CONFIG", "RESETSTAT"]).unwrap(), ok());
        assert_eq!(client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]).unwrap(), ok());
        assert_eq!(client.call(&["SLOWLOG", "RESET"]).unwrap(), ok());
        let push = [vec!["RPUSH", key.as_str()], vec!["an element"; ELEMENTS / PUSHES]].concat();
        (0..PUSHES).for_each(|_| drop(client.call(&push).expect("it is answered")));
        assert_eq!(client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]).unwrap(), ok());
        // The list stays as it is until the reply about it is written.
        let mut calls_of = encode(&["LRANGE", key.as_str(), "0", "-1"]);
        calls_of.extend(encode(&["LSET", key.as_str(), "0", "another"]));
        client.send_raw(&calls_of).expect("it is read");
        let Value::Array(elements) = client.read().expect("it is answered") else { panic!("no list") };
        assert_eq!(elements.len(), ELEMENTS);
        assert_eq!(client.read().expect("it is answered"), ok());
        assert_eq!(client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]).unwrap(), ok());

        let lset = stages(&mut client, "lset", &[]);
        assert_eq!(names(&lset), [way], "{lset}");
        for stage in ["read", "queue", "execute"] {
            assert_eq!(calls(&lset, way, stage), 1, "{stage} of {lset}");
        }
        let longest = |stage: &str| number(entry(entry(&lset, way).unwrap(), stage).unwrap(), "max_nsec");
        assert!(50 < longest("execute"), "{lset}");
        assert!(1_000_000 < longest(waits_in), "{lset}");
        assert_eq!(command_stats(&mut client, "lset").0, 1);
        assert_eq!(command_stats(&mut client, "lrange").0, 1);
        assert_eq!(command_stats(&mut client, "rpush").0, PUSHES as i64);
        let (microseconds, split) = slow_entry(&mut client, "LSET");
        let expected: &[&str] =
            if way == "local" { &["read", "queue", "execute"] } else { &["read", "queue", "hop", "execute"] };
        assert_eq!(names(&split), expected);
        assert!(1_000_000 < number(&split, waits_in) && 1_000 < microseconds, "{microseconds} {split}");
        assert!(number(&split, "execute") / 1_000 < microseconds, "what it waited is no part of its run: {split}");
        let (_, split) = slow_entry(&mut client, "LRANGE");
        assert_eq!(names(&split), expected);
    }
}

#[test]
fn of_those_who_only_waited_the_slow_log_has_one() {
    const WAITERS: usize = 20;
    let server = Server::start(Kind::Corering { shards: 1 }, &["--slowlog-stages", "yes"]);
    let mut client = connect(server.port);
    let push = [vec!["RPUSH", "k"], vec!["an element"; 20_000]].concat();
    (0..10).for_each(|_| drop(client.call(&push).expect("it is answered")));
    assert_eq!(client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]).unwrap(), ok());
    let mut calls_of = encode(&["LRANGE", "k", "0", "-1"]);
    (0..WAITERS).for_each(|_| calls_of.extend(encode(&["LSET", "k", "0", "another"])));
    client.send_raw(&calls_of).expect("it is read");
    (0..=WAITERS).for_each(|_| drop(client.read().expect("it is answered")));
    slow_entry(&mut client, "LSET");
    assert_eq!(command_stats(&mut client, "lset").0, WAITERS as i64);
}

#[test]
fn a_snapshot_that_a_client_waits_for_counts_as_long_as_it_took() {
    let server = Server::start(
        Kind::Corering { shards: 2 },
        &["--slowlog-stages", "yes", "--slowlog-log-slower-than", "1000", "--enable-debug-command", "yes"],
    );
    let mut client = connect(server.port);
    for number in 0..50 {
        let mut call = vec!["MSET".to_string()];
        (0..1_000).for_each(|key| call.extend([format!("key:{number}:{key}"), "value ".repeat(20)]));
        assert_eq!(client.call(&call).unwrap(), ok());
    }
    for (call, name) in [(&["SAVE"][..], "save"), (&["DEBUG", "RELOAD"], "debug")] {
        assert_eq!(client.call(call).unwrap(), ok());
        let (calls, microseconds) = command_stats(&mut client, name);
        assert!(calls == 1 && 1_000 < microseconds, "{calls} {microseconds}");
        let (logged, split) = slow_entry(&mut client, call[0]);
        assert!(1_000 <= logged, "{logged}");
        assert_eq!(names(&split), ["read", "queue", "execute"]);
    }
}

#[test]
fn what_waits_for_other_commands_is_queued_and_not_read() {
    let (_server, first_port) = start_with_core_ports(2, &["--connection-steering", "no"]);
    for core in 0..2 {
        let mut client = connect(first_port + core);
        assert_eq!(client.call(&["CONFIG", "RESETSTAT"]).unwrap(), ok());
        let key = tag_of(core.into(), 2);
        let mut pipeline = encode(&["DEBUG", "SLEEP", "0.5"]);
        pipeline.extend(encode(&["ECHO", "x"]));
        pipeline.extend(encode(&["GET", key.as_str()]));
        client.send_raw(&pipeline).expect("it is read");
        (0..3).for_each(|_| drop(client.read().expect("it is answered")));
        let get = stages(&mut client, "get", &[]);
        let longest = |stage: &str| number(entry(entry(&get, "local").unwrap(), stage).unwrap(), "max_nsec");
        assert!(longest("read") < 400_000_000 && 400_000_000 < longest("queue"), "{get}");
    }
}

#[test]
fn a_reply_that_leaves_slowly_is_seen_every_time() {
    let server = Server::start(Kind::Corering { shards: 1 }, &[]);
    let mut client = connect(server.port);
    let value = "v".repeat(20 << 20);
    assert_eq!(client.call(&["SET", "k", value.as_str()]).unwrap(), ok());
    for times in 1..=3 {
        client.send_raw(&encode(&["GET", "k"])).expect("it is read");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(client.read().expect("it is answered"), Value::Bulk(value.clone().into_bytes()));
        wait_until("its end is noted", || calls(&stages(&mut client, "get", &[]), "local", "write") == times);
    }
    // Also of a command that every core is asked for.
    for number in 0..2_000 {
        assert_eq!(client.call(&["SET", &format!("{number}{}", "k".repeat(10_000)), ""]).unwrap(), ok());
    }
    client.send_raw(&encode(&["KEYS", "*"])).expect("it is read");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let Value::Array(keys) = client.read().expect("it is answered") else { panic!("no keys") };
    assert_eq!(keys.len(), 2_001);
    wait_until("its end is noted", || calls(&stages(&mut client, "keys", &[]), "local", "write") == 1);
    let get = stages(&mut client, "get", &[]);
    let write = entry(entry(&get, "local").unwrap(), "write").unwrap();
    assert!(250_000_000 < number(write, "p50_nsec"), "{get}");
}
