//! Clients that die in the middle of what they do, at every step: nothing half done, nothing leaked, nothing locked for
//! ever.

use crate::client::{Client, Value, encode};
use crate::extra::{SetWhenDropped, wait_until};
use crate::process::{Kind, Server};
use std::sync::atomic::{AtomicBool, Ordering};

/// On all shards.
const KEYS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

/// How a client ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It closes its connection.
    Closes,
    /// It closes it after half of its next command.
    ClosesWithin,
    /// Somebody kills it.
    Killed,
    /// It has sent all that it does at once, and closes without reading.
    ClosesUnread,
}

/// Everything that leaves something with other cores, in one life.
fn life() -> Vec<Vec<&'static str>> {
    let mut steps = vec![
        vec!["HELLO", "3"],
        vec!["SUBSCRIBE", "news", "more"],
        vec!["PSUBSCRIBE", "n*"],
        vec!["SSUBSCRIBE", "shard"],
        vec!["CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "k"],
        [&["WATCH"][..], &KEYS].concat(),
        vec!["MULTI"],
    ];
    steps.extend(KEYS.iter().map(|key| vec!["INCR", *key]));
    steps.push(vec!["PUBLISH", "news", "m"]);
    steps.push(vec!["EXEC"]);
    steps.push(vec!["BLPOP", "list:0", "list:1", "list:2", "0"]);
    steps
}

/// Waits until nothing is left of anybody but the given number of clients.
fn wait_for_silence(client: &mut Client, clients: i64, what: &str) {
    let wanted = [
        ("clients", "connected_clients", clients),
        ("clients", "watching_clients", 0),
        ("clients", "total_watched_keys", 0),
        ("clients", "pubsub_clients", 0),
        ("clients", "tracking_clients", 0),
        ("clients", "blocked_clients", 0),
        ("clients", "total_blocking_keys", 0),
        ("stats", "pubsub_channels", 0),
        ("stats", "pubsub_patterns", 0),
        ("stats", "pubsubshard_channels", 0),
        ("stats", "tracking_total_prefixes", 0),
    ];
    for (section, name, value) in wanted {
        wait_until(&format!("{what}: {name} is {value}"), || client.info_number(section, name) == value);
    }
}

#[test]
fn a_client_that_dies_at_any_step_leaves_nothing_behind() {
    let life = life();
    for shards in [1, 2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _done = SetWhenDropped(&done);
            // Others at work on the same keys, so that transactions also borrow and wait.
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut client = connect(&server);
                    let all = [&["MGET"][..], &KEYS].concat();
                    while !done.load(Ordering::Relaxed) {
                        let Value::Array(counts) = client.call(&all).expect("it is answered") else { panic!("six") };
                        assert!(counts.iter().all(|count| *count == counts[0]), "{shards} shards: {counts:?}");
                    }
                });
            }
            let mut other = connect(&server);
            for end in [End::Closes, End::ClosesWithin, End::Killed, End::ClosesUnread] {
                for steps in 0..=life.len() {
                    let what = format!("{shards} shards, {end:?} after {steps} steps");
                    let mut client = connect(&server);
                    let Value::Integer(id) = client.call(&["CLIENT", "ID"]).expect("it is answered") else {
                        panic!("an id");
                    };
                    let bytes: Vec<u8> = life[..steps].iter().flat_map(|step| encode(step)).collect();
                    client.send_raw(&bytes).expect("it is sent");
                    if matches!(end, End::Closes | End::ClosesWithin) && 0 < steps && steps < life.len() {
                        client.read().expect("the first reply"); // The others may be on their way.
                    }
                    match end {
                        End::ClosesWithin if steps < life.len() => {
                            let next = encode(&life[steps]);
                            client.send_raw(&next[..next.len() / 2]).expect("it is sent");
                        }
                        End::Killed => {
                            let killed = other.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
                            assert_eq!(killed.expect("it is answered"), Value::Integer(1), "{what}");
                        }
                        _ => {}
                    }
                    drop(client);
                    wait_for_silence(&mut other, 3, &what);
                    // Nothing is locked: everybody may change all of it.
                    other.call(&["MULTI"]).expect("it is answered");
                    for key in KEYS {
                        other.call(&["INCR", key]).expect("it is answered");
                    }
                    let Value::Array(counts) = other.call(&["EXEC"]).expect("it is answered") else {
                        panic!("{what}: no transaction");
                    };
                    assert!(counts.iter().all(|count| *count == counts[0]), "{what}: {counts:?}");
                }
            }
        });
    }
}

/// What a command that waits has borrowed comes when its client is gone already.
#[test]
fn who_dies_while_a_command_borrows_waits_for_nothing() {
    const LISTS: usize = 1000;
    const NAMED: usize = 40;
    let server = Server::start(Kind::Corering { shards: 4 }, &[]);
    let mut other = connect(&server);
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..800 {
        let mut client = connect(&server);
        let names: Vec<String> = (0..NAMED).map(|_| format!("list:{}", random.usize(..LISTS))).collect();
        let named = |command: &'static str| -> Vec<&str> {
            std::iter::once(command).chain(names.iter().map(String::as_str)).collect()
        };
        let mut bytes = encode(&["PING"]); // Who leaves with a reply unread breaks the connection.
        if round % 2 == 0 {
            bytes.extend(encode(&[&named("BLPOP")[..], &["0"]].concat()));
            bytes.extend(encode(&["SET", "behind", "v"]));
        } else {
            bytes.extend(encode(&named("WATCH")));
            bytes.extend(encode(&["MULTI"]));
            names.iter().for_each(|name| bytes.extend(encode(&["RPUSH", name, &"never".repeat(60)])));
        }
        client.send_raw(&bytes).expect("it is sent");
        if random.u8(..) < 150 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        drop(client);
    }
    wait_for_silence(&mut other, 1, "after them");
    for list in 0..LISTS {
        let pushed = other.call(&["RPUSH", &format!("list:{list}"), "e"]).expect("it is answered");
        assert_eq!(pushed, Value::Integer(1));
    }
    for list in 0..LISTS {
        let len = other.call(&["LLEN", &format!("list:{list}")]).expect("it is answered");
        assert_eq!(len, Value::Integer(1), "list {list} went to nobody");
    }
}

/// As in Redis, which has run what it had read when it finds out that nobody takes the replies.
#[test]
fn what_was_sent_before_closing_still_runs() {
    for shards in [1, 2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let mut other = connect(&server);
        for set in ["{a}s1", "s2"] {
            let members: Vec<String> = (0..5000).map(|member| format!("{set}:{member}")).collect();
            let command: Vec<&str> = ["SADD", set].into_iter().chain(members.iter().map(String::as_str)).collect();
            other.call(&command).expect("it is answered");
        }
        let count = |key: &str| vec![vec!["INCR".to_string(), key.to_string()]];
        let lives: [(&str, Vec<Vec<String>>); 3] = [
            ("more than a pass takes", (0..600).flat_map(|at| count(&format!("c{}", at % 2))).collect()),
            ("long replies of several cores", vec![vec!["SUNION".into(), "{a}s1".into(), "s2".into()]; 3]),
            (
                "what every core is asked",
                vec![vec!["INFO".into()], vec!["DBSIZE".into()], vec!["CLIENT".into(), "LIST".into()]],
            ),
        ];
        for (what, commands) in lives {
            for end in ["end:1", "end:2", "end:3"] {
                let bytes: Vec<u8> = commands
                    .iter()
                    .chain(&count(end))
                    .flat_map(|command| encode(&command.iter().map(String::as_str).collect::<Vec<_>>()))
                    .collect();
                let mut client = connect(&server);
                client.send_raw(&bytes).expect("it is sent");
                drop(client);
                let is_there = |other: &mut Client| {
                    other.call(&["GET", end]).expect("it is answered") == Value::Bulk(b"1".to_vec())
                };
                wait_until(&format!("{shards} shards, {what}: {end}"), || is_there(&mut other));
                other.call(&["DEL", end]).expect("it is answered");
            }
        }
        for key in ["c0", "c1"] {
            assert_eq!(
                other.call(&["GET", key]).expect("it is answered"),
                Value::Bulk(b"900".to_vec()),
                "{shards} shards"
            );
        }
        wait_for_silence(&mut other, 1, "after them");
    }
}
