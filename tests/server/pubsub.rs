//! What subscribers and caches are owed on every number of cores: exact counts, order, nothing stale, and that nobody
//! waits for who is slow.

use crate::client::{Client, Value, encode};
use crate::extra::{PATIENCE, SetWhenDropped, wait_until};
use crate::process::{Kind, Server};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// The shard counts that every behaviour is tried with.
const SHARDS: [usize; 3] = [1, 2, 4];

fn start(shards: usize, arguments: &[&str]) -> Server {
    Server::start(Kind::Corering { shards }, arguments)
}

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn in_resp3(server: &Server) -> Client {
    let mut client = connect(server);
    client.call(&["HELLO", "3"]).expect("HELLO is answered");
    client
}

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::Bulk(text.as_ref().to_vec())
}

fn integer(value: Value) -> i64 {
    match value {
        Value::Integer(number) => number,
        other => panic!("an integer, not {other:?}"),
    }
}

/// The texts of an array or push.
fn words(value: Value) -> Vec<String> {
    let (Value::Array(items) | Value::Push(items)) = value else { panic!("an array, not {value:?}") };
    let word = |item| match item {
        Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    items.into_iter().map(word).collect()
}

#[test]
fn a_thousand_subscribers_on_all_cores_get_every_message_in_order() {
    const SUBSCRIBERS: usize = 1000;
    const MESSAGES: usize = 20;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut subscribers: Vec<Client> = (0..SUBSCRIBERS).map(|_| connect(&server)).collect();
        for subscriber in &mut subscribers {
            subscriber.call(&["SUBSCRIBE", "news"]).expect("it is confirmed");
        }
        let mut publisher = connect(&server);
        for number in 0..MESSAGES {
            let reply = publisher.call(&["PUBLISH", "news", &number.to_string()]).expect("it is answered");
            assert_eq!(integer(reply), SUBSCRIBERS as i64, "{shards} shards");
        }
        for subscriber in &mut subscribers {
            for number in 0..MESSAGES {
                assert_eq!(words(subscriber.read().expect("a message")), ["message", "news", &number.to_string()]);
            }
        }
        assert_eq!(publisher.info_number("clients", "pubsub_clients"), SUBSCRIBERS as i64);
        subscribers.truncate(10);
        wait_until("those who left are counted no more", || {
            integer(publisher.call(&["PUBLISH", "news", "m"]).expect("it is answered")) == 10
        });
    }
}

/// Subscribers come and go while messages are published: what they get is what the publishers were told, to the
/// message, and of each publisher in order.
#[test]
fn counts_are_exact_while_subscribers_come_and_go() {
    const SUBSCRIBERS: usize = 6;
    const PUBLISHERS: usize = 2;
    const ROUNDS: usize = 60;
    const TOLD_MIN: i64 = SUBSCRIBERS as i64 * 10;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let leavers = AtomicI64::new(SUBSCRIBERS as i64);
        let told = AtomicI64::new(0);
        let started = Instant::now();
        let (sent, got) = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|publisher| {
                    let (server, leavers, told) = (&server, &leavers, &told);
                    scope.spawn(move || {
                        let mut client = connect(server);
                        let mut sent = 0;
                        let mut number = 0;
                        while 0 < leavers.load(Ordering::Relaxed) && started.elapsed() < 2 * PATIENCE {
                            let text = format!("{publisher}:{number}");
                            let count = integer(client.call(&["PUBLISH", "ch:1", &text]).expect("it is answered"));
                            told.fetch_add(count, Ordering::Relaxed);
                            sent += count;
                            number += 1;
                        }
                        sent
                    })
                })
                .collect();
            let subscribers: Vec<_> = (0..SUBSCRIBERS)
                .map(|subscriber| {
                    let (server, leavers, told) = (&server, &leavers, &told);
                    scope.spawn(move || {
                        let (name, joins, leaves) = match subscriber % 2 {
                            0 => ("ch:1", "SUBSCRIBE", "UNSUBSCRIBE"),
                            _ => ("ch:*", "PSUBSCRIBE", "PUNSUBSCRIBE"),
                        };
                        let mut client = connect(server);
                        let mut got = 0;
                        let mut newest = [-1i64; PUBLISHERS];
                        // On a busy machine publishers may have their turn but seldom.
                        for round in 0.. {
                            let is_enough = TOLD_MIN < told.load(Ordering::Relaxed);
                            if ROUNDS <= round && (is_enough || PATIENCE < started.elapsed()) {
                                break;
                            }
                            let confirmed = words(client.call(&[joins, name]).expect("it is confirmed"));
                            assert_eq!(confirmed[1], name, "nothing comes before the confirmation");
                            std::thread::sleep(Duration::from_micros(300 * (round % 3) as u64));
                            client.send_raw(&encode(&[leaves, name])).expect("it is sent");
                            loop {
                                let message = words(client.read().expect("a message"));
                                if message[0] == leaves.to_lowercase() {
                                    break;
                                }
                                let text = message.last().expect("a payload");
                                let (publisher, number) = text.split_once(':').expect("publisher and number");
                                let (publisher, number): (usize, i64) =
                                    (publisher.parse().expect("a number"), number.parse().expect("a number"));
                                assert!(newest[publisher] < number, "{number} after {}", newest[publisher]);
                                newest[publisher] = number;
                                got += 1;
                            }
                        }
                        assert_eq!(client.call(&["PING"]).expect("PONG"), Value::Simple(b"PONG".to_vec()));
                        leavers.fetch_sub(1, Ordering::Relaxed);
                        got
                    })
                })
                .collect();
            let got: i64 = subscribers.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            let sent: i64 = publishers.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            (sent, got)
        });
        assert_eq!(got, sent, "{shards} shards");
        assert!(TOLD_MIN < sent, "{shards} shards: only {sent} messages");
    }
}

#[test]
fn who_is_told_of_a_change_finds_it_made() {
    const KEYS: usize = 200;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut listener = connect(&server);
        listener.call(&["SUBSCRIBE", "made"]).expect("it is confirmed");
        let mut reader = connect(&server);
        let mut writer = connect(&server);
        let mut pipeline = Vec::new();
        for index in 0..KEYS {
            pipeline.extend_from_slice(&encode(&["SET", &format!("k{index}"), &index.to_string()]));
            pipeline.extend_from_slice(&encode(&["PUBLISH", "made", &index.to_string()]));
        }
        writer.send_raw(&pipeline).expect("it is sent");
        for index in 0..KEYS {
            assert_eq!(words(listener.read().expect("a message"))[2], index.to_string());
            let value = reader.call(&["GET", &format!("k{index}")]).expect("it is answered");
            assert_eq!(value, bulk(index.to_string()), "{shards} shards");
            assert_eq!(writer.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
            assert_eq!(integer(writer.read().expect("a reply")), 1);
        }
    }
}

#[test]
fn a_slow_subscriber_is_closed_and_slows_nobody() {
    for shards in SHARDS {
        let server = start(shards, &["--client-output-buffer-limit", "pubsub 4mb 0 0"]);
        let mut slow: Vec<Client> = (0..4).map(|_| connect(&server)).collect();
        for subscriber in &mut slow {
            subscriber.call(&["SUBSCRIBE", "ch"]).expect("it is confirmed");
        }
        let mut quick = connect(&server);
        quick.call(&["SUBSCRIBE", "ch"]).expect("it is confirmed");
        let mut publisher = connect(&server);
        let payload = vec![b'x'; 100_000];
        let started = Instant::now();
        loop {
            let count = integer(publisher.call(&[b"PUBLISH".as_slice(), b"ch", &payload]).expect("it is answered"));
            assert_eq!(quick.read().expect("a message"), {
                Value::Array(vec![bulk("message"), bulk("ch"), bulk(&payload)])
            });
            if count == 1 {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{shards} shards: {count} are left");
        }
        assert_eq!(publisher.info_number("stats", "client_output_buffer_limit_disconnections"), 4);
        assert_eq!(quick.call(&["PING"]).expect("it is answered"), Value::Array(vec![bulk("pong"), bulk("")]));
    }
}

#[test]
fn a_client_with_many_channels_joins_and_leaves_them_all() {
    const CHANNELS: usize = 100_000;
    /// What may be left of them: buffers for reuse.
    const BYTES_LEFT_MAX: i64 = 2 << 20;
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        let bytes_before = client.info_number("memory", "used_memory");
        let mut subscriber = connect(&server);
        let names: Vec<String> = (0..CHANNELS).map(|index| format!("channel:{index}")).collect();
        let mut command = vec!["SUBSCRIBE".to_string()];
        command.extend(names.iter().cloned());
        subscriber.send_raw(&encode(&command)).expect("it is sent");
        for index in 0..CHANNELS {
            let confirmed = words(subscriber.read().expect("a confirmation"));
            assert_eq!(confirmed[2], (index + 1).to_string());
        }
        assert_eq!(client.info_number("stats", "pubsub_channels"), CHANNELS as i64);
        let bytes_with = client.info_number("memory", "used_memory");
        assert!(bytes_before + CHANNELS as i64 * 20 < bytes_with, "the names alone take more");
        assert_eq!(integer(client.call(&["PUBLISH", "channel:77777", "m"]).expect("it is answered")), 1);
        assert_eq!(words(subscriber.read().expect("a message"))[1], "channel:77777");
        drop(subscriber);
        wait_until("its channels are gone", || client.info_number("stats", "pubsub_channels") == 0);
        wait_until("what they took is free", || {
            client.info_number("memory", "used_memory") - bytes_before < BYTES_LEFT_MAX
        });
    }
}

#[test]
fn one_who_joins_very_many_channels_at_once_lets_others_through() {
    const CHANNELS: usize = 100_000;
    let server = start(1, &[]);
    let (mut client, mut other) = (connect(&server), connect(&server));
    let names: Vec<String> = (0..CHANNELS).map(|channel| format!("channel:{channel}")).collect();
    let mut all = vec!["SUBSCRIBE"];
    all.extend(names.iter().map(String::as_str));
    let bytes = [encode(&all), encode(&["UNSUBSCRIBE"]), encode(&["PING"])].concat();
    // The other client may come too late, when all is done: not every time.
    let is_let_through = (0..20).any(|_| {
        client.send_raw(&bytes).expect("the server reads");
        let mut counts = Vec::new();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for (before, name) in names.iter().enumerate() {
                    assert_eq!(
                        words(client.read().expect("a confirmation"))[1..],
                        [name.clone(), (before + 1).to_string()]
                    );
                }
                for left in (0..CHANNELS).rev() {
                    assert_eq!(words(client.read().expect("a confirmation"))[2], left.to_string());
                }
                assert_eq!(client.read().expect("what came behind waited"), Value::Simple(b"PONG".to_vec()));
            });
            while !reader.is_finished() {
                counts.push(other.info_number("stats", "pubsub_channels"));
            }
            reader.join().expect("the confirmations are right");
        });
        counts.iter().any(|count| (1..CHANNELS as i64).contains(count))
    });
    assert!(is_let_through, "nobody is served while channels are joined or left");
    // Gone in the middle of it.
    client.send_raw(&encode(&all)).expect("the server reads");
    words(client.read().expect("the first confirmation"));
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(60);
    while other.info_number("stats", "pubsub_channels") != 0 || other.info_number("clients", "connected_clients") != 1 {
        assert!(Instant::now() < deadline, "subscriptions of one who is gone");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_event_is_told_once_wherever_its_key_is() {
    const KEYS: usize = 300;
    for shards in SHARDS {
        let server = start(shards, &["--notify-keyspace-events", "Eg$lx"]);
        let mut listeners: Vec<Client> = (0..shards + 1).map(|_| connect(&server)).collect();
        for listener in &mut listeners {
            listener.call(&["PSUBSCRIBE", "__keyevent@*"]).expect("it is confirmed");
        }
        let mut client = connect(&server);
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        let mut expect = |event: &str, key: String| *expected.entry(format!("{event} {key}")).or_default() += 1;
        let mut msets = vec!["MSET".to_string()];
        for index in 0..KEYS {
            let key = format!("k{index}");
            match index % 3 {
                0 => {
                    client.call(&["SET", &key, "v"]).expect("it is answered");
                    expect("set", key.clone());
                }
                1 => {
                    client.call(&["SET", &key, "v", "PX", "5"]).expect("it is answered");
                    expect("set", key.clone());
                    expect("expire", key.clone());
                    expect("expired", key.clone());
                }
                _ => {
                    msets.extend([key.clone(), "v".to_string()]);
                    expect("set", key.clone());
                }
            }
        }
        client.call(&msets).expect("it is answered");
        client.call(&["RENAME", "k0", "other"]).expect("it is answered");
        expect("rename_from", "k0".to_string());
        expect("rename_to", "other".to_string());
        client.call(&["DEL", "k2", "k3", "k5", "k6", "nothing"]).expect("it is answered");
        for key in ["k2", "k3", "k5", "k6"] {
            expect("del", key.to_string());
        }
        // In a transaction, on all shards.
        client.call(&["MULTI"]).expect("it is answered");
        for index in 0..10 {
            client.call(&["SET", &format!("m{index}"), "v"]).expect("it is queued");
            expect("set", format!("m{index}"));
        }
        client.call(&["EXEC"]).expect("it is answered");
        // Of clients that waited, served by what somebody else did.
        for index in 0..8 {
            let list = format!("list:{index}");
            let mut waiter = connect(&server);
            waiter.send_raw(&encode(&["BLPOP", &list, "elsewhere", "0"])).expect("it is sent");
            wait_until("it waits", || client.info_number("clients", "blocked_clients") != 0);
            client.call(&["RPUSH", &list, "x"]).expect("it is answered");
            assert_eq!(words(waiter.read().expect("it is served")), [list.as_str(), "x"]);
            for event in ["rpush", "lpop", "del"] {
                expect(event, list.clone());
            }
        }
        let total: usize = expected.values().sum();
        for listener in &mut listeners {
            let mut told: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..total {
                let message = words(listener.read().expect("a message"));
                let event = message[2].rsplit(':').next().expect("an event");
                *told.entry(format!("{event} {}", message[3])).or_default() += 1;
            }
            assert_eq!(told, expected, "{shards} shards");
        }
        client.call(&["PUBLISH", "__keyevent@end", "end"]).expect("it is answered");
        for listener in &mut listeners {
            assert_eq!(
                words(listener.read().expect("a message"))[2],
                "__keyevent@end",
                "{shards} shards: one too many"
            );
        }
    }
}

/// A client with a cache: what it holds after it took every message up to a reply must be no older than what was known
/// to be written before it asked for that reply.
#[test]
fn no_cache_is_stale_behind_the_reply_to_a_later_command() {
    const KEYS: usize = 8;
    const READERS: usize = 3;
    const WRITES_MIN: i64 = 1500;
    const HITS_MIN: i64 = 100;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let written: [AtomicI64; KEYS] = Default::default();
        let end = AtomicBool::new(false);
        let hits = AtomicI64::new(0);
        std::thread::scope(|scope| {
            let _end = SetWhenDropped(&end);
            for reader in 0..READERS {
                let (server, written, end, hits) = (&server, &written, &end, &hits);
                scope.spawn(move || {
                    let mut client = in_resp3(server);
                    let option: &[&str] = if reader == 0 { &["BCAST"] } else { &[] };
                    let on = [&["CLIENT", "TRACKING", "on"], option].concat();
                    client.call(&on).expect("it is answered");
                    let mut cache: BTreeMap<String, i64> = BTreeMap::new();
                    let mut random = fastrand::Rng::with_seed(reader as u64);
                    // The reply to a command, with all the messages before it taken.
                    let mut ask = |cache: &mut BTreeMap<String, i64>, command: &[&str]| {
                        client.send_raw(&encode(command)).expect("it is sent");
                        loop {
                            match client.read().expect("a reply") {
                                Value::Push(items) => {
                                    let Value::Array(keys) = &items[1] else { panic!("keys") };
                                    for key in keys {
                                        let Value::Bulk(key) = key else { panic!("a key") };
                                        cache.remove(std::str::from_utf8(key).expect("a key"));
                                    }
                                }
                                reply => return reply,
                            }
                        }
                    };
                    while !end.load(Ordering::Relaxed) {
                        let at = random.usize(..KEYS);
                        let key = format!("k{at}");
                        let known = written[at].load(Ordering::SeqCst);
                        ask(&mut cache, &["PING"]);
                        if let Some(&cached) = cache.get(&key) {
                            assert!(known <= cached, "{shards} shards: {key} is {cached}, was {known} before");
                            hits.fetch_add(1, Ordering::Relaxed);
                        } else {
                            let value = match ask(&mut cache, &["GET", &key]) {
                                Value::Bulk(text) => String::from_utf8_lossy(&text).parse().expect("a number"),
                                _ => 0,
                            };
                            cache.insert(key, value);
                        }
                    }
                });
            }
            let mut writer = connect(&server);
            let mut random = fastrand::Rng::with_seed(99);
            // On a busy machine readers may have their turn but seldom.
            let started = Instant::now();
            for number in 1.. {
                let is_enough = HITS_MIN < hits.load(Ordering::Relaxed);
                if WRITES_MIN <= number && (is_enough || PATIENCE < started.elapsed()) {
                    break;
                }
                let at = random.usize(..KEYS);
                let (key, value) = (format!("k{at}"), number.to_string());
                if number % 5 == 0 {
                    let other = (at + 1) % KEYS;
                    writer.call(&["MSET", &key, &value, &format!("k{other}"), &value]).expect("it is answered");
                    written[other].store(number, Ordering::SeqCst);
                } else {
                    writer.call(&["SET", &key, &value]).expect("it is answered");
                }
                written[at].store(number, Ordering::SeqCst);
            }
        });
        let hits = hits.into_inner();
        assert!(HITS_MIN < hits, "{shards} shards: only {hits} hits");
    }
}

/// Who reads after its own write has the key in its cache: the next write of somebody else is told, wherever it is.
#[test]
fn what_is_read_after_an_own_write_is_remembered() {
    const KEYS: usize = 40;
    const SET_AND_GET: &str = "redis.call('SET', KEYS[1], 'mine') return redis.call('GET', KEYS[1])";
    for shards in SHARDS {
        let server = start(shards, &[]);
        for option in [&[][..], &["NOLOOP"]] {
            for way in ["one by one", "in one write", "script", "transaction", "several keys"] {
                let mut client = in_resp3(&server);
                client.call(&[&["CLIENT", "TRACKING", "on"], option].concat()).expect("it is answered");
                for at in 0..KEYS {
                    let (key, beside) = (format!("k{at}"), format!("{{k{at}}}z"));
                    let (set, get) = (["SET", &key, "mine"], ["GET", &key]);
                    let commands: Vec<Vec<&str>> = match way {
                        "script" => vec![vec!["EVAL", SET_AND_GET, "1", &key]],
                        "transaction" => vec![vec!["MULTI"], set.to_vec(), get.to_vec(), vec!["EXEC"]],
                        "several keys" => vec![vec!["MSET", &key, "mine", &beside, "mine"], get.to_vec()],
                        _ => vec![set.to_vec(), get.to_vec()],
                    };
                    let writes = if way == "one by one" { commands.len() } else { 1 };
                    for part in commands.chunks(commands.len().div_ceil(writes)) {
                        client
                            .send_raw(&part.iter().flat_map(|command| encode(command)).collect::<Vec<u8>>())
                            .expect("sent");
                        // Without NOLOOP it may be told of its own write.
                        (0..part.len()).for_each(|_| while let Value::Push(_) = client.read().expect("a reply") {});
                    }
                }
                client.send_raw(&encode(&["PING"])).expect("it is sent");
                while let Value::Push(_) = client.read().expect("a reply") {}
                let mut other = connect(&server);
                for at in 0..KEYS {
                    let key = format!("k{at}");
                    other.call(&["SET", &key, "other"]).expect("it is answered");
                    let told = client.read().expect("it is told");
                    let expected = Value::Push(vec![bulk("invalidate"), Value::Array(vec![bulk(&key)])]);
                    assert_eq!(told, expected, "{shards} shards, {option:?}, {way}");
                }
            }
        }
    }
}

/// An argument as long as that is not received with the others.
#[test]
fn channels_may_have_long_names() {
    const BYTES: usize = 100_000;
    let name = "c".repeat(BYTES);
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut other = connect(&server);
        let mut client = in_resp3(&server);
        for (join, publish) in [("SUBSCRIBE", "PUBLISH"), ("PSUBSCRIBE", "PUBLISH"), ("SSUBSCRIBE", "SPUBLISH")] {
            // Cut, so that the name is not there when its command is first looked at.
            let bytes = encode(&[join, &name]);
            client.send_raw(&bytes[..100]).expect("it is sent");
            std::thread::sleep(Duration::from_millis(20));
            client.send_raw(&bytes[100..]).expect("it is sent");
            let Value::Push(joined) = client.read().expect("a confirmation") else { panic!("a push") };
            assert_eq!(joined[1], bulk(&name), "{shards} shards, {join}");
            let receivers = integer(other.call(&[publish, &name, "message"]).expect("it is answered"));
            assert_eq!(receivers, if join == "PSUBSCRIBE" { 2 } else { 1 });
            assert_eq!(integer(other.call(&[publish, "", "message"]).expect("it is answered")), 0);
            (0..receivers).for_each(|_| assert!(matches!(client.read(), Ok(Value::Push(_)))));
        }
    }
}
