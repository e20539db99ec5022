//! Payloads go both ways between Debian's redis-server and this one: every type, every encoding, small and large.

use crate::client::{Client, Value};
use crate::process::{Kind, Server};

/// What makes a value: commands in which KEY is the key.
pub struct Made {
    name: &'static str,
    pub commands: Vec<Vec<Vec<u8>>>,
    /// How it is read, and whether the order counts.
    reading: &'static str,
    is_ordered: bool,
}

/// Words of a command from text, KEY being the key `k`.
fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| if word == "KEY" { b"k".to_vec() } else { word.as_bytes().to_vec() }).collect()
}

fn made(name: &'static str, commands: &[&str], reading: &'static str, is_ordered: bool) -> Made {
    Made { name, commands: commands.iter().map(|text| words(text)).collect(), reading, is_ordered }
}

/// Elements of every kind: small and large integers, short, long and compressible texts, any bytes.
fn element(number: usize) -> Vec<u8> {
    match number % 9 {
        0 => number.to_string().into_bytes(),
        1 => format!("-{number}00000").into_bytes(),
        2 => format!("{number}000000000000").into_bytes(),
        3 => format!("00{number}").into_bytes(),
        4 => format!("{number}{}", "ab".repeat(number % 50)).into_bytes(),
        5 => (0..number % 300).map(|at| (at * number) as u8).chain(number.to_le_bytes()).collect(),
        6 => format!("{number}{}", "x".repeat(70)).into_bytes(),
        7 => format!("{number}{}", "y".repeat(5000 * usize::from(number % 100 == 7))).into_bytes(),
        _ => format!("element:{number}").into_bytes(),
    }
}

/// A value of many elements, in commands of some hundred.
fn large(name: &'static str, verb: &str, count: usize, reading: &'static str, is_ordered: bool) -> Made {
    let numbers: Vec<usize> = (0..count).collect();
    let command = |numbers: &[usize]| {
        let mut words = vec![verb.as_bytes().to_vec(), b"k".to_vec()];
        for &number in numbers {
            match verb {
                "ZADD" => words.extend([(number as f64 / 7.0 - 100.0).to_string().into_bytes(), element(number)]),
                "HSET" => words.extend([element(number), element(count - number)]),
                _ => words.push(element(number)),
            }
        }
        words
    };
    Made { name, commands: numbers.chunks(200).map(command).collect(), reading, is_ordered }
}

pub fn values() -> Vec<Made> {
    let long = "Lorem ipsum ".repeat(3_000);
    vec![
        made("an integer", &["SET KEY 12345"], "GET KEY", true),
        made("a large integer", &["SET KEY -9223372036854775808"], "GET KEY", true),
        made("a short string", &["SET KEY hello"], "GET KEY", true),
        made("an empty string", &["SET KEY "], "GET KEY", true),
        made("a string that compresses", &[&format!("SET KEY {}", "abc".repeat(100))], "GET KEY", true),
        Made {
            name: "a long string",
            commands: vec![vec![b"SET".to_vec(), b"k".to_vec(), long.into_bytes()]],
            reading: "GET KEY",
            is_ordered: true,
        },
        made("a string of bits", &["SETBIT KEY 100000 1"], "GET KEY", true),
        made(
            "a sparse HyperLogLog",
            &["PFADD KEY a b c d e f g h i j k l m n o p q r s t u v w x y z"],
            "GET KEY",
            true,
        ),
        Made {
            name: "a dense HyperLogLog",
            commands: (0..40)
                .map(|part| {
                    let elements = (0..200).map(|number| format!("{part}:{number}").into_bytes());
                    [b"PFADD".to_vec(), b"k".to_vec()].into_iter().chain(elements).collect()
                })
                .collect(),
            reading: "GET KEY",
            is_ordered: true,
        },
        made("a short list", &["RPUSH KEY a 1 -5000 xyz 9223372036854775807"], "LRANGE KEY 0 -1", true),
        large("a long list", "RPUSH", 3_000, "LRANGE KEY 0 -1", true),
        large("a list pushed at the front", "LPUSH", 1_000, "LRANGE KEY 0 -1", true),
        made("integers of 16 bits", &["SADD KEY 1 -2 300"], "SMEMBERS KEY", false),
        made("integers of 32 bits", &["SADD KEY 1 -2 300000"], "SMEMBERS KEY", false),
        made("integers of 64 bits", &["SADD KEY 1 -2 30000000000"], "SMEMBERS KEY", false),
        made("a small set", &["SADD KEY 1 a b"], "SMEMBERS KEY", false),
        large("a large set", "SADD", 3_000, "SMEMBERS KEY", false),
        made("a small sorted set", &["ZADD KEY 1.5 a -inf b 3 7 inf d 0.1 e"], "ZRANGE KEY 0 -1 WITHSCORES", true),
        large("a large sorted set", "ZADD", 3_000, "ZRANGE KEY 0 -1 WITHSCORES", true),
        made(
            "places",
            &["GEOADD KEY 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            "GEOPOS KEY Palermo",
            true,
        ),
        made("a small hash", &["HSET KEY f 1 g abc 7 -8"], "HGETALL KEY", false),
        large("a large hash", "HSET", 3_000, "HGETALL KEY", false),
        made(
            "a stream",
            &[
                "XADD KEY 1-1 a b",
                "XADD KEY 1-2 a c",
                "XADD KEY 2-1 d e f g",
                "XADD KEY 3-1 a b",
                "XDEL KEY 1-2",
                "XGROUP CREATE KEY group 0",
                "XREADGROUP GROUP group alice COUNT 2 STREAMS KEY >",
                "XREADGROUP GROUP group bob COUNT 1 STREAMS KEY >",
                "XACK KEY group 1-1",
                "XGROUP CREATE KEY other $",
            ],
            "XINFO GROUPS KEY",
            true,
        ),
        made(
            "a stream whose group has counted beyond the greatest number",
            &[
                "XADD KEY 1-1 a b",
                "XADD KEY 2-1 a b",
                "XGROUP CREATE KEY group 0 ENTRIESREAD 9223372036854775807",
                "XREADGROUP GROUP group alice COUNT 1 STREAMS KEY >",
            ],
            "XINFO GROUPS KEY",
            true,
        ),
        made(
            "a stream that has counted beyond the greatest number",
            &[
                "XADD KEY 1-1 a b",
                "XSETID KEY 5-1 ENTRIESADDED 9223372036854775807",
                "XADD KEY 6-1 a b",
                "XGROUP CREATE KEY group 0 ENTRIESREAD 5",
            ],
            "XINFO GROUPS KEY",
            true,
        ),
        made("a hash of one long value", &[&format!("HSET KEY f {}", "z".repeat(100))], "HGETALL KEY", false),
    ]
}

fn call(client: &mut Client, words: &[Vec<u8>]) -> Value {
    client.call(words).expect("a reply")
}

/// What a client sees of a value.
fn seen(client: &mut Client, made: &Made) -> Vec<String> {
    let mut all: Vec<String> = match call(client, &words(made.reading)) {
        Value::Array(items) if !made.is_ordered && made.reading.starts_with("HGETALL") => {
            items.chunks(2).map(|pair| format!("{} {}", pair[0], pair[1])).collect()
        }
        Value::Array(items) => items.iter().map(Value::to_string).collect(),
        other => vec![other.to_string()],
    };
    assert!(!all.is_empty(), "{} is empty", made.name);
    if !made.is_ordered {
        all.sort();
    }
    all.push(call(client, &words("OBJECT ENCODING KEY")).to_string());
    all.push(call(client, &words("PTTL KEY")).to_string());
    all
}

/// Makes each value here, carries its payload there, and back again.
fn exchange(from: &mut Client, to: &mut Client) {
    for made in values() {
        for command in &made.commands {
            let reply = call(from, command);
            assert!(!matches!(reply, Value::Error(_)), "{}: {reply}", made.name);
        }
        let expected = seen(from, &made);
        let Value::Bulk(payload) = call(from, &words("DUMP KEY")) else { panic!("{} gives no payload", made.name) };
        let restore = |payload: Vec<u8>| vec![b"RESTORE".to_vec(), b"k".to_vec(), b"0".to_vec(), payload];
        let reply = call(to, &restore(payload));
        assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{}", made.name);
        assert_eq!(seen(to, &made), expected, "{}", made.name);

        call(from, &words("DEL KEY"));
        let Value::Bulk(payload) = call(to, &words("DUMP KEY")) else { panic!("{} gives no payload", made.name) };
        let reply = call(from, &restore(payload));
        assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{} back again", made.name);
        assert_eq!(seen(from, &made), expected, "{} back again", made.name);
        for client in [&mut *from, &mut *to] {
            call(client, &words("DEL KEY"));
        }
    }
}

#[test]
fn payloads_go_both_ways_between_redis_and_this_server() {
    let redis = Server::start(Kind::Redis, &[]);
    let ours = Server::start(Kind::Corering { shards: 2 }, &[]);
    let connect = |server: &Server| Client::connect(server.port).expect("a running server accepts connections");
    for limits in [["512", "128", "-2"], ["4", "0", "5"]] {
        for server in [&redis, &ours] {
            let directives = ["hash-max-listpack-entries", "zset-max-listpack-entries", "list-max-listpack-size"];
            for (directive, value) in directives.into_iter().zip(limits) {
                connect(server).call(&["CONFIG", "SET", directive, value]).expect("a reply");
            }
        }
        exchange(&mut connect(&redis), &mut connect(&ours));
        exchange(&mut connect(&ours), &mut connect(&redis));
    }
}

/// A value whose bytes Redis writes in one way only is written so here too.
#[test]
fn payloads_are_those_of_redis_where_it_has_one_form() {
    let redis = Server::start(Kind::Redis, &[]);
    let ours = Server::start(Kind::Corering { shards: 1 }, &[]);
    let mut clients = [&redis, &ours].map(|server| Client::connect(server.port).expect("it accepts connections"));
    for client in &mut clients {
        // How a text is compressed is each compressor's own.
        client.call(&["CONFIG", "SET", "rdbcompression", "no"]).expect("a reply");
    }
    // Sets and hashes lie in any order, and streams tell when consumers were seen.
    let varies = |made: &&Made| {
        ["a large set", "a large hash", "a small set"].contains(&made.name) || made.name.starts_with("a stream")
    };
    for made in values().iter().filter(|made| !varies(made)) {
        let payloads = clients.each_mut().map(|client| {
            call(client, &words("DEL KEY"));
            for command in &made.commands {
                call(client, command);
            }
            call(client, &words("DUMP KEY")).to_string()
        });
        assert_eq!(payloads[1], payloads[0], "{}", made.name);
    }
}
