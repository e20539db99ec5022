//! What must be true at every moment, whoever looks: sums that transfers keep, counts that renames keep, sets of keys
//! that come and go together.

use super::record::{Random, array, integer, text};
use super::{SHARDS, rounds, start};
use crate::client::{Client, Value, encode};

const ACCOUNTS: usize = 8;
const STARTED_WITH: i64 = 100;
/// Calls of a transaction that does not hold engines meanwhile.
const CALLS_THAT_BORROW: usize = 70;

fn call(client: &mut Client, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    client.call(&words).expect("the server answers")
}

fn connect(port: u16) -> Client {
    Client::connect(port).expect("the server accepts")
}

fn accounts() -> String {
    (0..ACCOUNTS).map(|account| format!(" acc:{account}")).collect()
}

/// Clients of two kinds at once: `write` so many rounds, `read` as long as they do.
fn beside(port: u16, write: impl Fn(&mut Client, usize, usize) + Sync, read: impl Fn(&mut Client) + Sync) {
    let writing = std::sync::atomic::AtomicUsize::new(3);
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (write, writing) = (&write, &writing);
            scope.spawn(move || {
                let mut client = connect(port);
                (0..rounds()).for_each(|round| write(&mut client, index, round));
                writing.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        for _ in 0..2 {
            let (read, writing) = (&read, &writing);
            scope.spawn(move || {
                let mut client = connect(port);
                while writing.load(std::sync::atomic::Ordering::SeqCst) != 0 {
                    read(&mut client);
                }
            });
        }
    });
}

#[test]
fn transfers_keep_the_sum() {
    for shards in SHARDS {
        let server = start(shards);
        let mut client = connect(server.port);
        let fill: String = (0..ACCOUNTS).map(|account| format!(" acc:{account} {STARTED_WITH}")).collect();
        call(&mut client, &format!("MSET{fill}"));
        let transfer = |client: &mut Client, index: usize, round: usize| {
            let mut random = Random((index * 1_000_000 + round) as u64);
            let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
            if round % 8 == 5 {
                // So many calls that it borrows, however free the shards are.
                let half = format!("DECRBY acc:{from} 1|INCRBY acc:{to} 1");
                let calls = format!("MULTI|{}EXEC", format!("{half}|").repeat(CALLS_THAT_BORROW / 2));
                let words = |call: &str| encode(&call.split(' ').collect::<Vec<_>>());
                let bytes: Vec<u8> = calls.split('|').flat_map(words).collect();
                client.send_raw(&bytes).expect("the server reads");
                (0..=CALLS_THAT_BORROW).for_each(|_| drop(client.read().expect("OK and QUEUED")));
                let done = array(client.read().expect("the server answers")).expect("nothing is watched");
                assert_eq!(done.len(), CALLS_THAT_BORROW);
                return;
            }
            if round.is_multiple_of(3) {
                // Of its own text each time, so that nobody knows beforehand that it uses a key that it does not name.
                let script =
                    format!("redis.call('DECRBY',KEYS[1],7)return redis.call('INCRBY','acc:{to}',7)--{index}.{round}");
                integer(&client.call(&["EVAL", &script, "1", &format!("acc:{from}")]).expect("the server answers"));
            } else if round.is_multiple_of(5) {
                // The same half way through a transaction, where another call has written.
                let script = format!("return redis.call('INCRBY','acc:{to}',5)--{index}.{round}");
                call(client, &format!("WATCH acc:{from}"));
                call(client, "MULTI");
                call(client, &format!("DECRBY acc:{from} 5"));
                client.call(&["EVAL", &script, "0"]).expect("the server answers");
                array(call(client, "EXEC")); // Or somebody else was there first.
            } else if round.is_multiple_of(2) {
                call(client, "MULTI");
                call(client, &format!("DECRBY acc:{from} 3"));
                call(client, &format!("INCRBY acc:{to} 3"));
                assert!(array(call(client, "EXEC")).is_some());
            } else if from != to {
                call(client, &format!("WATCH acc:{from} acc:{to}"));
                let held = array(call(client, &format!("MGET acc:{from} acc:{to}"))).expect("two");
                let held: Vec<i64> = held
                    .iter()
                    .map(|value| String::from_utf8(text(value)).expect("digits").parse().expect("a number"))
                    .collect();
                call(client, "MULTI");
                call(client, &format!("MSET acc:{from} {} acc:{to} {}", held[0] - 5, held[1] + 5));
                call(client, "EXEC");
            }
        };
        beside(server.port, transfer, |client| {
            let held = array(call(client, &format!("MGET{}", accounts()))).expect("all");
            let number =
                |value: &Value| String::from_utf8(text(value)).expect("digits").parse::<i64>().expect("a number");
            let sum: i64 = held.iter().map(number).sum();
            assert_eq!(sum, ACCOUNTS as i64 * STARTED_WITH, "{shards} shards: {held:?}");
        });
    }
}

#[test]
fn renames_keep_the_count_and_flushes_take_all() {
    for shards in SHARDS {
        let server = start(shards);
        let mut client = connect(server.port);
        (0..3).for_each(|index| drop(call(&mut client, &format!("SET name:{index}:0 v"))));
        let rename = |client: &mut Client, index: usize, round: usize| {
            let (from, to) = (round, round + 1);
            assert_eq!(call(client, &format!("RENAME name:{index}:{from} name:{index}:{to}")).to_string(), "+OK");
        };
        beside(server.port, rename, |client| {
            assert_eq!(integer(&call(client, "DBSIZE")), 3, "{shards} shards");
        });
        let pairs: String = (0..ACCOUNTS).map(|account| format!(" acc:{account} 1")).collect();
        let come_and_go = |client: &mut Client, index: usize, round: usize| {
            match (index, round % 2) {
                (0, _) => call(client, "FLUSHALL"),
                (1, 0) => call(client, &format!("DEL{}", accounts())),
                (2, 0) => call(client, "SWAPDB 0 1"),
                _ => call(client, &format!("MSET{pairs}")),
            };
        };
        call(&mut client, "FLUSHALL");
        beside(server.port, come_and_go, |client| {
            let there = integer(&call(client, &format!("EXISTS{}", accounts())));
            assert!([0, ACCOUNTS as i64].contains(&there), "{shards} shards: {there}");
            call(client, "MULTI");
            call(client, "DBSIZE");
            call(client, &format!("EXISTS{}", accounts()));
            let counts = array(call(client, "EXEC")).expect("nothing is watched");
            assert_eq!(integer(&counts[0]), integer(&counts[1]), "{shards} shards");
        });
    }
}
