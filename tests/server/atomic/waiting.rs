//! Clients that wait, for keys of several shards: nothing that comes lies beside one who waits for it, every element is
//! taken once, and who came first is served first.

use super::record::{Random, array, integer, text};
use super::{SHARDS, rounds, start};
use crate::client::{Client, Value, encode};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const PAIRS: usize = 3;
const KEYS: usize = 4;

fn connect(port: u16) -> Client {
    Client::connect(port).expect("the server accepts")
}

fn send(client: &mut Client, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    client.send_raw(&encode(&words)).expect("the server reads");
}

fn read(client: &mut Client) -> Value {
    client.read().expect("the server answers, and leaves nobody waiting for what is there")
}

fn call(client: &mut Client, line: &str) -> Value {
    send(client, line);
    read(client)
}

fn string(value: &Value) -> String {
    String::from_utf8(text(value)).expect("words")
}

/// One waits while the other one brings something, in either order, on keys of several shards.
fn meet(port: u16, pair: usize) {
    let mut random = Random(pair as u64);
    let (mut waits, mut brings) = (connect(port), connect(port));
    let keys: Vec<String> = (0..KEYS).map(|key| format!("meet:{pair}:{key}")).collect();
    for round in 0..rounds() {
        let (from, to) = (&keys[random.below(KEYS)], format!("met:{pair}:{}", random.below(KEYS)));
        let moves = random.below(2) == 0;
        let wait =
            if moves { format!("BLMOVE {from} {to} LEFT RIGHT 0") } else { format!("BLPOP {} 0", keys.join(" ")) };
        // Taken again before it is given: then there is something once more.
        let is_stolen = random.below(4) == 0;
        let mut bytes = encode(&["RPUSH", from, &round.to_string()]);
        if is_stolen {
            bytes.extend(encode(&["LPOP", from]));
        }
        if random.below(2) == 0 {
            send(&mut waits, &wait);
            brings.send_raw(&bytes).expect("the server reads");
        } else {
            brings.send_raw(&bytes).expect("the server reads");
            send(&mut waits, &wait);
        }
        assert!([0, 1].contains(&integer(&read(&mut brings))));
        if is_stolen && !text(&read(&mut brings)).is_empty() {
            assert!([0, 1].contains(&integer(&call(&mut brings, &format!("RPUSH {from} {round}")))));
        }
        let reply = read(&mut waits);
        if moves {
            assert_eq!(string(&reply), round.to_string());
            assert_eq!(string(&call(&mut brings, &format!("LPOP {to}"))), round.to_string());
        } else {
            let served = array(reply).expect("something came");
            assert_eq!((string(&served[0]), string(&served[1])), (from.clone(), round.to_string()));
        }
        assert_eq!(integer(&call(&mut brings, &format!("EXISTS {}", keys.join(" ")))), 0, "it was taken");
    }
}

#[test]
fn nothing_lies_beside_one_who_waits() {
    for shards in SHARDS {
        let server = start(shards);
        std::thread::scope(|scope| {
            (0..PAIRS).for_each(|pair| {
                drop(scope.spawn({
                    let port = server.port;
                    move || meet(port, pair)
                }))
            });
        });
    }
}

#[test]
fn what_comes_is_taken_once() {
    for shards in SHARDS {
        let server = start(shards);
        let (bringing, taken) = (AtomicUsize::new(PAIRS), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for index in 0..PAIRS {
                let (bringing, port) = (&bringing, server.port);
                scope.spawn(move || {
                    let mut client = connect(port);
                    let mut random = Random(index as u64);
                    for round in 0..rounds() {
                        let mut push = || format!("RPUSH queue:{} {index}.{round}", random.below(KEYS));
                        let (one, other) = (push(), push());
                        if round % 3 == 0 {
                            call(&mut client, "MULTI");
                            call(&mut client, &format!("{one}.a"));
                            call(&mut client, &format!("{other}.b"));
                            assert!(array(call(&mut client, "EXEC")).is_some());
                        } else {
                            call(&mut client, &format!("{one}.a"));
                            call(&mut client, &format!("{other}.b"));
                        }
                    }
                    bringing.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for index in 0..PAIRS {
                let (bringing, taken, port) = (&bringing, &taken, server.port);
                scope.spawn(move || {
                    let mut client = connect(port);
                    let all =
                        (0..KEYS).map(|key| format!("queue:{}", (key + index) % KEYS)).collect::<Vec<_>>().join(" ");
                    for round in 0.. {
                        let is_over = bringing.load(Ordering::SeqCst) == 0;
                        let element = if index == 0 && !is_over {
                            // Its time is over about when something comes.
                            let moved =
                                call(&mut client, &format!("BLMOVE queue:{} moved LEFT RIGHT 0.001", round % KEYS));
                            drop(moved);
                            continue;
                        } else {
                            array(call(&mut client, &format!("BLPOP {all} 0.001"))).map(|served| string(&served[1]))
                        };
                        match element {
                            Some(element) => taken.lock().expect("nobody panicked").push(element),
                            None if is_over => return,
                            None => {}
                        }
                    }
                });
            }
        });
        let mut client = connect(server.port);
        let moved = array(call(&mut client, "LRANGE moved 0 -1")).expect("a list");
        let mut taken = taken.into_inner().expect("nobody panicked");
        taken.extend(moved.iter().map(string));
        let wanted = PAIRS * rounds() * 2;
        let different: BTreeSet<&String> = taken.iter().collect();
        assert_eq!((taken.len(), different.len()), (wanted, wanted), "{shards} shards: each once");
        assert_eq!(integer(&call(&mut client, "DBSIZE")), i64::from(!moved.is_empty()));
    }
}

#[test]
fn who_came_first_is_served_first() {
    for shards in SHARDS {
        let server = start(shards);
        let mut brings = connect(server.port);
        let mut waiting: Vec<Client> = (0..3).map(|_| connect(server.port)).collect();
        for round in 0..rounds().div_ceil(10) {
            let key = format!("first:{round}");
            for (before, client) in waiting.iter_mut().enumerate() {
                // The second one waits for another key beside, or wants to put what comes on another shard.
                send(
                    client,
                    &match (before, round % 2) {
                        (1, 0) => format!("BLPOP {key} other:{round} 0"),
                        (1, _) => format!("BLMOVE {key} to:{round} LEFT RIGHT 0"),
                        _ => format!("BLPOP {key} 0"),
                    },
                );
                let wanted = format!("blocked_clients:{}\r\n", before + 1);
                while !string(&call(&mut brings, "INFO clients")).contains(&wanted) {
                    std::thread::yield_now();
                }
            }
            assert_eq!(integer(&call(&mut brings, &format!("RPUSH {key} 0 1 2"))), 3);
            for (before, client) in waiting.iter_mut().enumerate() {
                let served = match read(client) {
                    Value::Bulk(moved) => String::from_utf8(moved).expect("a word"),
                    popped => string(&array(popped).expect("something came")[1]),
                };
                assert_eq!(served, before.to_string(), "{shards} shards");
            }
        }
    }
}

/// Waits until so many clients wait.
fn await_blocked(client: &mut Client, clients: usize) {
    let wanted = format!("blocked_clients:{clients}\r\n");
    while !string(&call(client, "INFO clients")).contains(&wanted) {
        std::thread::yield_now();
    }
}

/// Sends several at once; what came back.
fn at_once(client: &mut Client, lines: &[String]) -> Vec<Value> {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
    client.send_raw(&bytes).expect("the server reads");
    lines.iter().map(|_| read(client)).collect()
}

/// What brings an element to `from`, and what takes it away again unless one who waits has it; the last reply then.
fn brings_and_steals(case: usize, from: &str, round: usize) -> (Vec<String>, &'static str, Value) {
    let push = format!("RPUSH {from} {round}");
    let none = Value::NullBulk;
    match case {
        0 => (vec![push], "LPOP", none),
        1 => (vec![push], "DEL", Value::Integer(0)),
        2 => (vec!["MULTI".into(), push, format!("SET flag {round}"), "EXEC".into()], "LLEN", Value::Integer(0)),
        3 => (vec![format!("RPUSH other:{round} {round}"), format!("RENAME other:{round} {from}")], "RPOP", none),
        4 => (vec![format!("EVAL redis.call('RPUSH',KEYS[1],ARGV[1]) 1 {from} {round}")], "LPOP", none),
        5 => (vec![format!("EVAL redis.call('RPUSH',ARGV[1],ARGV[2]) 0 {from} {round}")], "EXISTS", Value::Integer(0)),
        6 => (
            vec![format!("RPUSH other:{round} {round}"), format!("LMOVE other:{round} {from} LEFT LEFT")],
            "LLEN",
            Value::Integer(0),
        ),
        _ => (vec![push, format!("MSET flag {round} {from}:x 1 {from}:y 2")], "LPOP", none),
    }
}

/// Says that it is over, also where a check has failed.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keeps engines busy and keys lent until it is over.
fn make_noise(port: u16, index: usize, is_over: &AtomicBool) {
    let mut client = connect(port);
    let keys: Vec<String> = (0..10).map(|key| format!("noise:{index}:{key}")).collect();
    let mut round = 0;
    while !is_over.load(Ordering::SeqCst) {
        round += 1;
        let mut lines = vec![format!("MGET {}", keys.join(" ")); 10];
        if round % 4 == index % 4 {
            // So long that it borrows, and of what is waited for.
            lines.push("MULTI".into());
            lines.extend((0..70).map(|key| format!("LLEN to:{}", key % KEYS)));
            lines.push("EXEC".into());
        }
        at_once(&mut client, &lines);
    }
}

/// What a push brings goes to who waits for it, whatever follows, wherever the one who waits puts it.
#[test]
fn what_is_pushed_goes_to_who_waits_before_anybody_else() {
    for shards in SHARDS {
        let server = start(shards);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (port, is_over) = (server.port, &is_over);
            let at_end = AtEnd(is_over);
            for index in 0..2 {
                scope.spawn(move || make_noise(port, index, is_over));
            }
            let (mut brings, mut steals, mut waits) = (connect(port), connect(port), connect(port));
            for round in 0..rounds() {
                let (from, to) = (format!("from:{}", round % 7), format!("to:{}", round % KEYS));
                send(&mut waits, &format!("BLMOVE {from} {to} LEFT RIGHT 0"));
                await_blocked(&mut brings, 1);
                call(&mut steals, &format!("WATCH {to}"));
                let (mut lines, steal, wanted) = brings_and_steals(round % 8, &from, round);
                let steal = format!("{steal} {from}");
                let is_one = round % 2 == 0;
                if is_one {
                    lines.push(steal.clone());
                }
                let replies = at_once(&mut brings, &lines);
                let stolen = if is_one { replies.last().cloned().expect("several") } else { call(&mut steals, &steal) };
                assert_eq!(stolen, wanted, "{shards} shards, round {round}: {lines:?}, {replies:?}");
                // It is there by then, and seen by who watches it.
                assert_eq!(integer(&call(&mut brings, &format!("LLEN {to}"))), 1, "{shards} shards, round {round}");
                call(&mut steals, "MULTI");
                assert!(array(call(&mut steals, "EXEC")).is_none(), "{shards} shards, round {round}");
                assert_eq!(string(&read(&mut waits)), round.to_string());
                assert_eq!(string(&call(&mut brings, &format!("LPOP {to}"))), round.to_string());
            }
            drop(at_end);
        });
    }
}

#[test]
fn a_chain_of_those_who_wait_is_gone_through_at_once() {
    const LEN: usize = 6;
    for shards in SHARDS {
        let server = start(shards);
        let mut brings = connect(server.port);
        let mut waiting: Vec<Client> = (0..LEN).map(|_| connect(server.port)).collect();
        for round in 0..rounds().div_ceil(4) {
            let key = |link: usize| format!("chain:{}:{link}", round % 5);
            for (link, client) in waiting.iter_mut().enumerate() {
                send(client, &format!("BLMOVE {} {} LEFT RIGHT 0", key(link), key(link + 1)));
            }
            await_blocked(&mut brings, LEN);
            let lines =
                [format!("RPUSH {} {round}", key(0)), format!("LPOP {}", key(LEN)), format!("EXISTS {}", key(0))];
            let replies = at_once(&mut brings, &lines);
            let wanted = [Value::Integer(1), Value::Bulk(round.to_string().into_bytes()), Value::Integer(0)];
            assert_eq!(replies, wanted, "{shards} shards, round {round}");
            waiting.iter_mut().for_each(|client| assert_eq!(string(&read(client)), round.to_string()));
        }
    }
}

/// However many push and take, who waits is served by the next push.
#[test]
fn nobody_starves_who_waits_for_what_is_taken_at_once() {
    const PUSHES: usize = 50;
    for shards in SHARDS {
        let server = start(shards);
        let (mut waits, mut brings) = (connect(server.port), connect(server.port));
        for round in 0..rounds().div_ceil(10) {
            let (from, to) = (format!("eager:{}", round % 5), format!("fed:{}", round % 3));
            send(&mut waits, &format!("BRPOPLPUSH {from} {to} 0"));
            await_blocked(&mut brings, 1);
            let pairs = (0..PUSHES).flat_map(|_| [format!("RPUSH {from} y"), format!("LPOP {from}")]);
            let replies = at_once(&mut brings, &pairs.collect::<Vec<_>>());
            let missed = replies.chunks(2).position(|pair| pair[1] == Value::NullBulk);
            assert_eq!(missed, Some(0), "{shards} shards, round {round}");
            assert_eq!(string(&read(&mut waits)), "y");
        }
    }
}

/// One who waits for more than there is keeps nobody from it who came later, and has it when there is enough.
#[test]
fn who_waits_for_more_is_passed_by_who_waits_for_less() {
    for shards in SHARDS {
        let server = start(shards);
        let (mut brings, mut first, mut second) = (connect(server.port), connect(server.port), connect(server.port));
        for round in 0..rounds().div_ceil(10) {
            let (from, to, other) = (format!("few:{}", round % 7), format!("many:{round}"), format!("one:{round}"));
            send(&mut first, &format!("BLMOVEM {from} {to} LEFT RIGHT 0 EXACTLY 2 BULK"));
            await_blocked(&mut brings, 1);
            send(&mut second, &format!("BLMOVE {from} {other} LEFT RIGHT 0"));
            await_blocked(&mut brings, 2);
            let lines =
                [format!("RPUSH {from} a"), format!("LLEN {other}"), format!("RPUSH {from} b c"), format!("LLEN {to}")];
            let replies = at_once(&mut brings, &lines);
            let wanted = [1, 1, 2, 2].map(Value::Integer);
            assert_eq!(replies, wanted, "{shards} shards, round {round}");
            assert_eq!(string(&read(&mut second)), "a");
            assert_eq!(array(read(&mut first)).expect("both").len(), 2);
        }
    }
}
