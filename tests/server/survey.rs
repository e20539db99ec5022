//! Commands that look at every key: others go on meanwhile, and what they report is exact.

use crate::client::{Client, Value};
use crate::cores::{connect, ok, start_with_core_ports, tag_of};
use crate::extra::{SetWhenDropped, between, wait_until};
use crate::process::{Kind, Server};
use corering::route::slot::slot_of;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn start(shards: usize, arguments: &[&str]) -> (Server, Client) {
    let server = Server::start(Kind::Corering { shards }, arguments);
    let client = connect(server.port);
    (server, client)
}

fn texts(value: Value) -> Vec<String> {
    let Value::Array(items) = value else { panic!("an array, not {value}") };
    let text = |item: &Value| match item {
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("it is text"),
        other => panic!("a string, not {other}"),
    };
    items.iter().map(text).collect()
}

fn populate(client: &mut Client, keys: usize) {
    assert_eq!(client.call(&["DEBUG", "POPULATE", &keys.to_string()]).unwrap(), ok());
}

#[test]
fn keys_reports_what_stays_once_while_tables_grow_and_shrink() {
    const STAYING: usize = 30_000;
    const ROUNDS: usize = 12;
    for shards in [1, 2, 4] {
        let (server, mut client) = start(shards, &[]);
        populate(&mut client, STAYING);
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let port = server.port;
            let end = &end;
            let _end = SetWhenDropped(end);
            // Tables double and shrink again and again.
            scope.spawn(move || {
                let mut client = connect(port);
                for round in 0.. {
                    for first in (0..60_000).step_by(500) {
                        let names: Vec<String> = (first..first + 500).map(|at| format!("come:{at}")).collect();
                        let pairs: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), "v"]).collect();
                        let words: Vec<&str> = match round % 2 {
                            0 => std::iter::once("MSET").chain(pairs).collect(),
                            _ => std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect(),
                        };
                        assert!(!matches!(client.call(&words).unwrap(), Value::Error(_)));
                        if end.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            });
            for round in 0..ROUNDS {
                let found = texts(client.call(&["KEYS", "*"]).unwrap());
                let once: BTreeSet<&String> = found.iter().collect();
                assert_eq!(once.len(), found.len(), "{shards} shards, round {round}: a key was told twice");
                let staying = found.iter().filter(|key| key.starts_with("key:")).count();
                assert_eq!(staying, STAYING, "{shards} shards, round {round}");
            }
        });
        let found = texts(client.call(&["KEYS", "key:1234?"]).unwrap());
        assert_eq!(found.len(), 10, "{found:?}");
        assert_eq!(texts(client.call(&["KEYS", "key:77"]).unwrap()), ["key:77"]);
        assert_eq!(texts(client.call(&["KEYS", "nobody"]).unwrap()), [""; 0]);
        let refused = client.call(&["KEYS", "a", "b"]).unwrap();
        assert_eq!(refused.to_string(), "-ERR wrong number of arguments for 'keys' command");
        // In a transaction as a whole.
        assert_eq!(client.call(&["MULTI"]).unwrap(), ok());
        client.call(&["KEYS", "key:1234?"]).unwrap();
        client.call(&["DBSIZE"]).unwrap();
        let Value::Array(replies) = client.call(&["EXEC"]).unwrap() else { panic!("EXEC is an array") };
        assert_eq!(texts(replies[0].clone()).len(), 10);
    }
}

#[test]
fn others_are_served_while_keys_are_collected() {
    const KEYS: usize = 300_000;
    for shards in [1, 2] {
        let (server, mut client) = start(shards, &[]);
        populate(&mut client, KEYS);
        let mut other = connect(server.port);
        // None matches: only the looking takes time. A step looks at a thousand keys or so, and after each of them
        // others have their turn.
        let slow = ["KEYS", "*nobody*"];
        let found = between(&mut client, &slow, &mut other, &["GET", "key:5"], KEYS / 1400 / shards / 8);
        assert_eq!(texts(found).len(), 0);
        assert_eq!(texts(client.call(&["KEYS", "*"]).unwrap()).len(), KEYS);
    }
}

#[test]
fn the_reply_to_keys_counts_as_unread_and_ends_with_its_client() {
    const KEYS: usize = 300_000;
    for shards in [1, 2] {
        let (server, mut client) = start(shards, &[]);
        populate(&mut client, KEYS);
        let set = ["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"];
        assert_eq!(client.call(&set).unwrap(), ok());
        let mut greedy = connect(server.port);
        assert!(greedy.call(&["KEYS", "*"]).is_err(), "its reply is longer than it may leave unread");
        assert_eq!(client.info_number("stats", "client_output_buffer_limit_disconnections"), 1);
        assert_eq!(texts(client.call(&["KEYS", "key:11*"]).unwrap()).len(), 11_111);
        // One that is killed in the middle, and one that closes.
        for is_killed in [true, false] {
            let mut asking = connect(server.port);
            let Value::Integer(id) = asking.call(&["CLIENT", "ID"]).unwrap() else { panic!("an id") };
            asking.send_raw(b"*2\r\n$4\r\nKEYS\r\n$8\r\n*nobody*\r\n").unwrap();
            if is_killed {
                let killed = client.call(&["CLIENT", "KILL", "ID", &id.to_string()]).unwrap();
                assert!(matches!(killed, Value::Integer(0..=1)));
            }
            drop(asking);
            wait_until("it has gone", || client.info_number("clients", "connected_clients") == 1);
        }
        assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
    }
}

#[test]
fn patterns_made_to_explode_end() {
    let text = "a".repeat(300_000);
    let pattern = format!("*{}b", "a".repeat(150_000));
    for shards in [1, 2] {
        let (server, mut client) = start(shards, &[]);
        let mut other = connect(server.port);
        assert_eq!(client.call(&["SET", &text, "v"]).unwrap(), ok());
        let started = Instant::now();
        assert_eq!(texts(client.call(&["KEYS", &pattern]).unwrap()).len(), 0);
        let scanned = client.call(&["SCAN", "0", "MATCH", &pattern]).unwrap();
        assert!(matches!(scanned, Value::Array(_)));
        assert!(matches!(client.call(&["PSUBSCRIBE", &pattern]).unwrap(), Value::Array(_)));
        assert_eq!(other.call(&["PUBLISH", &text, "m"]).unwrap(), Value::Integer(0));
        assert!(matches!(other.call(&["CONFIG", "GET", &pattern]).unwrap(), Value::Array(_)));
        // More than twenty billion steps each, had they no budget.
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }
}

#[test]
fn keys_of_a_slot_are_counted_and_told() {
    for shards in [1, 2, 4] {
        let (server, first_port) = start_with_core_ports(shards, &[]);
        let mut client = connect(server.port);
        let mut by_slot: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
        for number in 0..3000 {
            let key = format!("{{{}}}:{number}", number % 50);
            by_slot.entry(slot_of(key.as_bytes())).or_default().insert(key.clone());
            assert_eq!(client.call(&["SET", &key, "v"]).unwrap(), ok());
        }
        for shard in 0..shards {
            assert_eq!(client.call(&["SET", &tag_of(shard, shards), "v"]).unwrap(), ok());
            by_slot.entry(slot_of(tag_of(shard, shards).as_bytes())).or_default().insert(tag_of(shard, shards));
        }
        let mut node = connect(first_port);
        for (slot, keys) in &by_slot {
            let slot = slot.to_string();
            for client in [&mut client, &mut node] {
                let count = client.call(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).unwrap();
                assert_eq!(count, Value::Integer(keys.len() as i64));
                for limit in [0, 1, 7, 1000] {
                    let found = texts(client.call(&["CLUSTER", "GETKEYSINSLOT", &slot, &limit.to_string()]).unwrap());
                    assert_eq!(found.len(), keys.len().min(limit));
                    assert!(found.iter().all(|key| keys.contains(key)), "{found:?}");
                }
            }
        }
        let empty = (0..16_384).find(|slot| !by_slot.contains_key(slot)).unwrap().to_string();
        assert_eq!(client.call(&["CLUSTER", "COUNTKEYSINSLOT", &empty]).unwrap(), Value::Integer(0));
        assert_eq!(texts(client.call(&["CLUSTER", "GETKEYSINSLOT", &empty, "10"]).unwrap()).len(), 0);
        let not_integer = "-ERR value is not an integer or out of range";
        for (call, expected) in [
            (vec!["COUNTKEYSINSLOT", "x"], not_integer),
            (vec!["COUNTKEYSINSLOT", "-1"], "-ERR Invalid slot"),
            (vec!["COUNTKEYSINSLOT", "16384"], "-ERR Invalid slot"),
            (vec!["GETKEYSINSLOT", "x", "1"], not_integer),
            (vec!["GETKEYSINSLOT", "99999", "y"], not_integer),
            (vec!["GETKEYSINSLOT", "99999", "1"], "-ERR Invalid slot or number of keys"),
            (vec!["GETKEYSINSLOT", "5", "-1"], "-ERR Invalid slot or number of keys"),
        ] {
            let failed = client.info_number("stats", "total_error_replies");
            assert_eq!(client.call(&[&["CLUSTER"][..], &call].concat()).unwrap().to_string(), expected, "{call:?}");
            assert_eq!(client.info_number("stats", "total_error_replies"), failed + 1, "told once");
        }
        // In a transaction too.
        let slot = slot_of(b"{7}:7").to_string();
        client.call(&["MULTI"]).unwrap();
        client.call(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).unwrap();
        client.call(&["CLUSTER", "GETKEYSINSLOT", &slot, "9"]).unwrap();
        let Value::Array(replies) = client.call(&["EXEC"]).unwrap() else { panic!("EXEC is an array") };
        assert_eq!(replies[0], Value::Integer(by_slot[&slot_of(b"{7}:7")].len() as i64));
        assert_eq!(texts(replies[1].clone()).len(), 9);
    }
}
