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
    assert_eq!(calls(&stages(&mut client, "incr", &["WINDOW", "300"]), "local", "execute"), 1);
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
