//! Long replies: as they are when they are written at once, of one moment, and nobody else waits for them.

use crate::client::{Client, Value, encode};
use crate::extra::between;
use crate::process::{Kind, Server};

/// Enough for several slices.
const ELEMENTS: usize = 12_000;

/// Much work for little.
const EMPTY: &str = "SDIFF set nothing set";

const COMMANDS: &[&str] = &[
    "HGETALL hash",
    "HKEYS hash",
    "HVALS hash",
    "SMEMBERS set",
    "SMEMBERS integers",
    "LRANGE list 0 -1",
    "LRANGE list 5 -7",
    "ZRANGE sorted 0 -1",
    "ZRANGE sorted 3 -4 REV WITHSCORES",
    "ZREVRANGEBYSCORE sorted +inf 10 WITHSCORES",
    "ZRANGEBYLEX sorted - + LIMIT 7 20000",
    "DUMP hash",
    "DUMP set",
    "DUMP list",
    "DUMP sorted",
    "SUNION set integers nothing set",
    "SUNION integers integers",
    "SDIFF set integers nothing",
    EMPTY,
    "SINTER set set",
    "SINTER integers integers integers",
];

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn call(client: &mut Client, text: &str) -> Value {
    client.call(&text.split(' ').collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Adds elements to a key, some hundred at a time.
fn fill(client: &mut Client, verb: &str, key: &str, elements: usize) {
    let numbers: Vec<usize> = (0..elements).collect();
    for part in numbers.chunks(500) {
        let mut words = vec![verb.to_string(), key.to_string()];
        for number in part {
            match verb {
                "HSET" => words.extend([format!("field:{number}"), format!("value:{number}")]),
                "ZADD" => words.extend([(number / 3).to_string(), format!("member:{number}")]),
                _ if key == "integers" => words.push((number * 1000).to_string()),
                _ => words.push(format!("element:{number}")),
            }
        }
        let reply = client.call(&words).expect("a reply");
        assert!(matches!(reply, Value::Integer(_)), "{reply}");
    }
}

/// A reply as it may be compared: sets that are made anew every time have their own order every time.
fn ordered(command: &str, reply: Value) -> Value {
    match reply {
        Value::Array(items) | Value::Set(items) if command.starts_with("SUNION") || command.starts_with("SDIFF") => {
            let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
            texts.sort();
            Value::Array(texts.into_iter().map(|text| Value::Bulk(text.into_bytes())).collect())
        }
        reply => reply,
    }
}

fn fill_all(client: &mut Client) {
    call(client, "CONFIG SET set-max-intset-entries 1000000");
    for (verb, key) in [("HSET", "hash"), ("SADD", "set"), ("SADD", "integers"), ("RPUSH", "list"), ("ZADD", "sorted")]
    {
        fill(client, verb, key, ELEMENTS);
    }
}

#[test]
fn a_long_reply_is_the_one_that_is_written_at_once() {
    for shards in [1, 2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let mut client = connect(&server);
        fill_all(&mut client);
        for protocol in ["2", "3"] {
            client.call(&["HELLO", protocol]).expect("a reply");
            for command in COMMANDS {
                let by_slices = call(&mut client, command);
                // In a transaction a command runs without a pause.
                call(&mut client, "MULTI");
                call(&mut client, command);
                let Value::Array(mut all) = call(&mut client, "EXEC") else { panic!("EXEC replies with an array") };
                let at_once = all.pop().expect("one reply");
                let (by_slices, at_once) = (ordered(command, by_slices), ordered(command, at_once));
                assert!(by_slices == at_once, "{command} on {shards} shards in RESP{protocol}");
                if let Value::Array(items) = &at_once {
                    assert!(9_000 < items.len() || *command == EMPTY, "{command} is not long");
                }
            }
        }
        // Many of them at a time, on one connection and on several.
        let mut others: Vec<Client> = (0..3).map(|_| connect(&server)).collect();
        let all: Vec<u8> = COMMANDS.iter().flat_map(|text| encode(&text.split(' ').collect::<Vec<_>>())).collect();
        others.iter_mut().for_each(|other| other.send_raw(&all).expect("it listens"));
        client.call(&["HELLO", "2"]).expect("a reply");
        let expected: Vec<Value> =
            COMMANDS.iter().map(|command| ordered(command, call(&mut client, command))).collect();
        for other in &mut others {
            for (command, expected) in COMMANDS.iter().zip(&expected) {
                assert!(ordered(command, other.read().expect("a reply")) == *expected, "{command}");
            }
        }
    }
}

#[test]
fn who_changes_what_is_being_written_waits_and_who_reads_it_does_not() {
    for shards in [1, 2] {
        let server = Server::start(Kind::Corering { shards }, &["--databases", "4"]);
        let mut client = connect(&server);
        fill_all(&mut client);
        let (mut writer, mut reader) = (connect(&server), connect(&server));
        let length = |value: Value| match value {
            Value::Array(items) => items.len(),
            other => panic!("{other} is no array"),
        };
        // One's own commands come in order, whatever they do to the key.
        let words =
            ["HGETALL hash", "HSET hash new 1", "HLEN hash", "HGETALL hash", "DEL hash", "HGETALL hash", "PING"];
        let all: Vec<u8> = words.iter().flat_map(|text| encode(&text.split(' ').collect::<Vec<_>>())).collect();
        client.send_raw(&all).expect("it listens");
        assert_eq!(length(client.read().expect("a reply")), 2 * ELEMENTS);
        assert_eq!(client.read().expect("a reply"), Value::Integer(1));
        assert_eq!(client.read().expect("a reply"), Value::Integer(ELEMENTS as i64 + 1));
        assert_eq!(length(client.read().expect("a reply")), 2 * ELEMENTS + 2);
        assert_eq!(client.read().expect("a reply"), Value::Integer(1));
        assert_eq!(length(client.read().expect("a reply")), 0);
        assert_eq!(client.read().expect("a reply"), Value::Simple(b"PONG".to_vec()));
        // Others' changes come before or after all of it.
        for (change, lens) in [
            ("LPUSH list x", [ELEMENTS, ELEMENTS + 1]),
            ("LTRIM list 1 -1", [ELEMENTS + 1, ELEMENTS]),
            ("RENAME list other", [ELEMENTS, 0]),
            ("RENAME other list", [0, ELEMENTS]),
            ("MOVE list 1", [ELEMENTS, 0]),
            ("FLUSHALL", [0, 0]),
        ] {
            client.send_raw(&encode(&["LRANGE", "list", "0", "-1"])).expect("it listens");
            call(&mut writer, change);
            assert!(lens.contains(&length(client.read().expect("a reply"))), "{change}");
            assert_eq!(length(call(&mut reader, "LRANGE list 0 -1")), lens[1], "{change}");
        }
    }
}

/// While one client gets a long reply, another is answered many times.
#[test]
fn others_are_served_while_a_long_reply_is_written() {
    const LONG: usize = 200_000;
    const ANSWERS_MIN: usize = 20;
    for key_is_read in [false, true] {
        let server = Server::start(Kind::Corering { shards: 1 }, &[]);
        let (mut client, mut other) = (connect(&server), connect(&server));
        fill(&mut client, "HSET", "hash", LONG);
        call(&mut other, "SET small 1");
        let quick: &[&str] = if key_is_read { &["HGET", "hash", "field:7"] } else { &["GET", "small"] };
        let whole = between(&mut client, &["HGETALL", "hash"], &mut other, quick, ANSWERS_MIN);
        assert!(matches!(whole, Value::Array(items) if items.len() == 2 * LONG));
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_holds_nothing_up() {
    let server = Server::start(Kind::Corering { shards: 2 }, &[]);
    let mut client = connect(&server);
    fill_all(&mut client);
    for command in COMMANDS {
        let mut leaving = connect(&server);
        leaving.send_raw(&encode(&command.split(' ').collect::<Vec<_>>())).expect("it listens");
        drop(leaving);
        let key = command.split(' ').nth(1).expect("a key");
        assert_eq!(call(&mut client, &format!("PEXPIRE {key} 1000000")), Value::Integer(1), "{command}");
    }
    assert_eq!(call(&mut client, "DBSIZE"), Value::Integer(5));
}
