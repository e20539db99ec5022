//! What a transcript can't say: stopping, large values, slow and greedy clients, many connections, concurrency.

use crate::client::{Client, READ_TIMEOUT_MS, Value, encode};
use crate::extra::{PATIENCE, wait_until};
use crate::process::{Kind, Server, free_port};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The shard counts that every behaviour is tried with.
const SHARDS: [usize; 3] = [1, 2, 4];

/// A server that stops has this long; CI's cores are shared.
const STOP_MS_MAX: u64 = 120_000;

fn start(shards: usize, arguments: &[&str]) -> Server {
    Server::start(Kind::Corering { shards }, arguments)
}

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::Bulk(text.as_ref().to_vec())
}

#[test]
fn stops_cleanly_and_frees_the_port_at_once() {
    for shards in SHARDS {
        for how in ["TERM", "INT", "SHUTDOWN"] {
            let port = free_port();
            let mut server = Server::try_start(Kind::Corering { shards }, port, &[]).expect("the port was free");
            let mut clients: Vec<Client> = (0..8).map(|_| connect(&server)).collect();
            for client in &mut clients {
                assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
            }
            if how == "SHUTDOWN" {
                clients[0].send_raw(&encode(&["SHUTDOWN", "NOSAVE"])).unwrap();
            } else {
                server.signal(how);
            }
            let status = server.wait_exit(STOP_MS_MAX).unwrap_or_else(|| panic!("{how} did not stop {shards} shards"));
            assert_eq!(status.code(), Some(0), "{how}, {shards} shards: {}", server.output());
            for mut client in clients {
                assert!(matches!(client.read_raw(), Ok(None)), "{how}: connections are closed without another reply");
            }
            let again = Server::try_start(Kind::Corering { shards }, port, &[])
                .unwrap_or_else(|output| panic!("the port is not free again after {how}: {output}"));
            assert_eq!(connect(&again).call(&["GET", "k"]).unwrap(), Value::NullBulk);
        }
    }
}

#[test]
fn a_long_pipeline_keeps_its_order_on_every_number_of_shards() {
    const COMMANDS: usize = 100_000;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        let mut writer = client.stream.try_clone().unwrap();
        // Written by another thread, since neither side may have room for all of it.
        let sender = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            for index in 0..COMMANDS {
                let number = index.to_string();
                match index % 4 {
                    0 => bytes.extend(encode(&["ECHO", &number])),
                    1 => bytes.extend(encode(&["SET", &format!("key:{}", index % 97), &number])),
                    2 => bytes.extend(encode(&["GET", &format!("key:{}", (index - 1) % 97)])),
                    _ => bytes.extend(encode(&["INCR", &format!("counter:{}", index % 8)])),
                }
            }
            writer.write_all(&bytes).unwrap();
        });
        let mut counters = [0_i64; 8];
        for index in 0..COMMANDS {
            let expected = match index % 4 {
                0 => bulk(index.to_string()),
                1 => ok(),
                2 => bulk((index - 1).to_string()),
                _ => {
                    counters[index % 8] += 1;
                    Value::Integer(counters[index % 8])
                }
            };
            assert_eq!(client.read().unwrap(), expected, "reply {index} of {COMMANDS}, {shards} shards");
        }
        sender.join().unwrap();
    }
}

#[test]
fn clients_on_the_same_keys_lose_no_increment() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 200;
    const PIPELINE: usize = 10;
    for shards in SHARDS {
        let server = start(shards, &[]);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = connect(&server);
                    let mut last = [0_i64; 3];
                    for _ in 0..ROUNDS {
                        let batch: Vec<u8> =
                            (0..PIPELINE).flat_map(|index| encode(&["INCR", ["a", "b", "c"][index % 3]])).collect();
                        client.send_raw(&batch).unwrap();
                        for index in 0..PIPELINE {
                            match client.read().unwrap() {
                                Value::Integer(number) if last[index % 3] < number => last[index % 3] = number,
                                other => panic!("a counter went from {} to {other}", last[index % 3]),
                            }
                        }
                    }
                });
            }
        });
        let mut client = connect(&server);
        let total: i64 = ["a", "b", "c"]
            .iter()
            .map(|key| match client.call(&["INCRBY", key, "0"]).unwrap() {
                Value::Integer(number) => number,
                other => panic!("{other}"),
            })
            .sum();
        assert_eq!(total, (CLIENTS * ROUNDS * PIPELINE) as i64, "{shards} shards");
    }
}

#[test]
fn large_values_come_back_whole() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        let mut other = connect(&server);
        for length in [16 * 1024 - 1, 16 * 1024, 64 * 1024 + 1, 1024 * 1024, 32 * 1024 * 1024 + 7] {
            let value: Vec<u8> = (0..length).map(|index: usize| (index * 31 + index / 251) as u8).collect();
            for key in ["large:a", "large:b"] {
                assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), &value]).unwrap(), ok());
                assert_eq!(other.call(&["STRLEN", key]).unwrap(), Value::Integer(length as i64));
                assert!(other.call(&["GET", key]).unwrap() == bulk(&value), "{length} bytes, {shards} shards");
            }
        }
        assert_eq!(client.call(&["APPEND", "large:a", "tail"]).unwrap(), Value::Integer(32 * 1024 * 1024 + 11));
        assert_eq!(client.call(&["GETRANGE", "large:a", "-4", "-1"]).unwrap(), bulk("tail"));
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    const VALUE_BYTES: usize = 256 * 1024;
    const REQUESTS: usize = 2_000; // 500 MB of replies
    const GROWTH_KIB_MAX: u64 = 100 * 1024;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut prober = connect(&server);
        let value = vec![b'x'; VALUE_BYTES];
        for key in ["a", "b", "c", "d"] {
            assert_eq!(prober.call(&[b"SET".as_slice(), key.as_bytes(), &value]).unwrap(), ok());
        }
        let before = server.status_kib("VmRSS");
        let mut greedy = connect(&server);
        greedy.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let requests: Vec<u8> =
            (0..REQUESTS).flat_map(|index| encode(&["GET", ["a", "b", "c", "d"][index % 4]])).collect();
        // The server may take the requests or leave them in the socket: both are fine, growing is not.
        let _ = greedy.stream.write_all(&requests);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1_500) {
            assert_eq!(prober.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
            std::thread::sleep(Duration::from_millis(20));
        }
        let grown = server.status_kib("VmRSS").saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{shards} shards: {grown} KiB more for a client that reads nothing");
        // Once it reads, it gets everything it asked for.
        for index in 0..50 {
            match greedy.read().unwrap() {
                Value::Bulk(bytes) if bytes.len() == VALUE_BYTES => {}
                other => panic!("reply {index} is {}", other.to_string().chars().take(80).collect::<String>()),
            }
        }
    }
}

#[test]
fn announced_lengths_take_no_memory() {
    const CLIENTS: usize = 100;
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut prober = connect(&server);
        assert_eq!(prober.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
        let before = server.status_kib("VmRSS");
        let announcements: [&[u8]; 3] =
            [b"*1000000\r\n", b"*2\r\n$3\r\nGET\r\n$536870912\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000000\r\nabc"];
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        // Each question is received as well.
        let asked = encode(&["INFO", "stats"]).len() as i64;
        let (mut sent, received) = (0, prober.info_number("stats", "total_net_input_bytes"));
        for (index, client) in clients.iter_mut().enumerate() {
            let announcement = announcements[index % announcements.len()];
            client.send_raw(announcement).unwrap();
            sent += announcement.len() as i64;
        }
        wait_until("all of it has been read", || {
            sent += asked;
            sent == prober.info_number("stats", "total_net_input_bytes") - received
        });
        let grown = server.status_kib("VmRSS").saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{shards} shards: {grown} KiB for {CLIENTS} announcements");
    }
}

#[test]
fn maxclients_refuses_with_the_exact_text() {
    for shards in SHARDS {
        let server = start(shards, &["--maxclients", "5"]);
        let mut clients: Vec<Client> = (0..5).map(|_| connect(&server)).collect();
        for client in &mut clients {
            assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()), "{shards} shards");
        }
        let received = clients[0].info_number("stats", "total_connections_received");
        let mut refused = connect(&server);
        assert_eq!(refused.read().unwrap(), Value::Error(b"ERR max number of clients reached".to_vec()));
        assert!(matches!(refused.read_raw(), Ok(None)), "a refused connection is closed");
        // As in Redis, it counts among the rejected ones only.
        assert_eq!(clients[0].info_number("stats", "total_connections_received"), received);
        assert_eq!(clients[0].info_number("stats", "rejected_connections"), 1);
        drop(clients.pop());
        wait_until("a place that became free is given out", || {
            let reply = connect(&server).call(&["PING"]);
            matches!(&reply, Ok(Value::Simple(text)) if text == b"PONG")
        });
    }
}

/// Of the tests below, in seconds; the server counts in whole ones.
const TIMEOUT_S: u64 = 3;

/// Waits until the server has closed a client that sends nothing, while another one does. Only a client that was
/// answered far less than the timeout ago is a busy one: where the machine stood still for longer, another takes its
/// place.
fn wait_until_closed(server: &Server, idle: &mut Client, busy: &mut Client) {
    idle.set_read_timeout_ms(100);
    let started = Instant::now();
    let mut answered = started;
    if busy.call(&["PING"]).is_err() {
        *busy = connect(server); // It may have been idle so far.
    }
    loop {
        match idle.read_raw() {
            Ok(None) => break,
            Ok(Some(reply)) => panic!("nobody asked for {}", reply.0),
            Err(_) => assert!(started.elapsed() < PATIENCE, "an idle client is closed"),
        }
        match busy.call(&["PING"]) {
            Ok(reply) => assert_eq!(reply, Value::Simple(b"PONG".to_vec())),
            Err(error) => {
                assert!(Duration::from_secs(TIMEOUT_S) / 2 < answered.elapsed(), "a busy client stays: {error}");
                *busy = connect(server);
            }
        }
        answered = Instant::now();
    }
}

#[test]
fn idle_clients_are_closed_after_timeout() {
    for shards in SHARDS {
        let server = start(shards, &["--timeout", &TIMEOUT_S.to_string()]);
        let mut idle = connect(&server);
        let mut busy = connect(&server);
        let _ = idle.call(&["PING"]); // Where the machine stood still in between, it is closed by now.
        wait_until_closed(&server, &mut idle, &mut busy);
    }
}

#[test]
fn a_timeout_set_while_running_holds_for_clients_that_are_there() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut idle: Vec<Client> = (0..8).map(|_| connect(&server)).collect();
        let mut busy = connect(&server);
        for client in &mut idle {
            assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
        }
        let set = ["CONFIG", "SET", "timeout", &TIMEOUT_S.to_string(), "hz", "100"];
        assert_eq!(busy.call(&set).unwrap(), ok());
        for mut client in idle {
            wait_until_closed(&server, &mut client, &mut busy);
        }
    }
}

#[test]
fn what_a_client_does_not_read_is_limited() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut prober = connect(&server);
        let value = vec![b'x'; 4 * 1024 * 1024];
        assert_eq!(prober.call(&[b"SET".as_slice(), b"k", &value]).unwrap(), ok());
        let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 8mb 0 0"];
        assert_eq!(prober.call(&limit).unwrap(), ok());
        assert!(prober.call(&["GET", "k"]).unwrap() == bulk(&value), "one reply is below the limit");
        let mut greedy = connect(&server);
        greedy.send_raw(&encode(&["GET", "k"]).repeat(10)).unwrap();
        wait_until("it is closed", || prober.info_number("stats", "client_output_buffer_limit_disconnections") == 1);
        let mut whole = 0;
        while let Ok(Some(_)) = greedy.read_raw() {
            whole += 1;
        }
        assert!(whole < 10, "{shards} shards: the connection was closed, yet {whole} replies came");
    }
}

#[test]
fn a_unix_socket_serves_the_same_keyspace() {
    for shards in SHARDS {
        let path = std::env::temp_dir().join(format!("corering-test-{}-{shards}.sock", std::process::id()));
        let text = path.to_str().expect("the temporary directory has a plain name");
        let server = start(shards, &["--unixsocket", text, "--unixsocketperm", "700"]);
        assert_eq!(connect(&server).call(&["SET", "k", "v"]).unwrap(), ok());
        let mut socket = UnixStream::connect(&path).expect("the socket listens");
        socket.set_read_timeout(Some(Duration::from_millis(READ_TIMEOUT_MS))).unwrap();
        socket.write_all(&encode(&["GET", "k"])).unwrap();
        let mut reply = [0_u8; 7];
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"$1\r\nv\r\n");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        drop(server);
        let _ = std::fs::remove_file(&path);
    }
}

#[test]
fn a_thousand_connections_are_served() {
    const CLIENTS: usize = 1_000;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.send_raw(&encode(&["SET", &format!("key:{index}"), &index.to_string()])).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.read().unwrap(), ok());
        }
        for (index, client) in clients.iter_mut().enumerate() {
            client.send_raw(&encode(&["GET", &format!("key:{}", CLIENTS - 1 - index)])).unwrap();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read().unwrap(), bulk((CLIENTS - 1 - index).to_string()), "{shards} shards");
        }
        assert_eq!(clients[0].call(&["DBSIZE"]).unwrap(), Value::Integer(CLIENTS as i64));
        let info = clients[0].call(&["INFO", "clients"]).unwrap().to_string();
        assert!(info.contains(&format!("connected_clients:{CLIENTS}\\r\\n")), "{info}");
        let Value::Bulk(list) = clients[0].call(&["CLIENT", "LIST"]).unwrap() else { panic!("CLIENT LIST is a bulk") };
        assert_eq!(list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), CLIENTS);
    }
}

#[test]
fn scan_shows_every_key_that_stays_while_others_come_and_go() {
    const STABLE: usize = 5_000;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        for index in 0..STABLE {
            client.send_raw(&encode(&["SET", &format!("stable:{index}"), "x"])).unwrap();
        }
        for _ in 0..STABLE {
            assert_eq!(client.read().unwrap(), ok());
        }
        let mut seen = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        let mut churn = 0;
        loop {
            let Value::Array(reply) = client.call(&[b"SCAN".as_slice(), &cursor, b"COUNT", b"20"]).unwrap() else {
                panic!("SCAN replies with an array");
            };
            let [Value::Bulk(next), Value::Array(keys)] = reply.as_slice() else {
                panic!("cursor and keys: {reply:?}")
            };
            seen.extend(keys.iter().map(|key| key.to_string()));
            // Growth and shrinking while the scan runs: the table may move its entries, never hide one.
            for _ in 0..40 {
                let (name, old) = (format!("passing:{churn}"), format!("passing:{}", churn - 3_000));
                client.send_raw(&[encode(&["SET", &name, "x"]), encode(&["DEL", &old])].concat()).unwrap();
                churn += 1;
            }
            for _ in 0..80 {
                client.read().unwrap();
            }
            if next == b"0" {
                break;
            }
            cursor.clone_from(next);
        }
        let missing = (0..STABLE).filter(|index| !seen.contains(&format!("\"stable:{index}\""))).count();
        assert_eq!(missing, 0, "{shards} shards: {missing} of {STABLE} keys were not shown");
    }
}

/// Sends commands that all reply `+OK` or an integer, and reads the replies.
fn send_all(client: &mut Client, commands: &[Vec<u8>]) {
    for batch in commands.chunks(1_000) {
        client.send_raw(&batch.concat()).unwrap();
        for _ in batch {
            match client.read().unwrap() {
                Value::Simple(text) if text == b"OK" => {}
                Value::Integer(_) => {}
                other => panic!("{other}"),
            }
        }
    }
}

fn database_size(client: &mut Client) -> i64 {
    match client.call(&["DBSIZE"]).unwrap() {
        Value::Integer(keys) => keys,
        other => panic!("{other}"),
    }
}

fn wait_until_empty(client: &mut Client) {
    wait_until("all keys have gone", || database_size(client) == 0);
}

/// Waits until somebody waits.
fn wait_until_blocked(client: &mut Client) {
    wait_until("somebody waits", || client.info_number("clients", "blocked_clients") != 0);
}

#[test]
fn keys_expire_on_time_although_nobody_touches_them() {
    const OTHERS: usize = 100_000;
    const TTL_MS: u64 = 60;
    const LATE_MS_MAX: u64 = 500;
    const TRIES: usize = 20;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        for others in [0, OTHERS] {
            let commands: Vec<Vec<u8>> =
                (0..others).map(|index| encode(&["SET", &format!("other:{index}"), "v", "EX", "100000"])).collect();
            send_all(&mut client, &commands);
            let expired = client.info_number("stats", "expired_keys");
            let mut late_ms: Vec<u64> = (0..TRIES)
                .map(|index| {
                    let started = Instant::now();
                    let command = ["SET", &format!("soon:{index}"), "v", "PX", &TTL_MS.to_string()];
                    assert_eq!(client.call(&command).unwrap(), ok());
                    std::thread::sleep(Duration::from_millis(TTL_MS / 2));
                    while database_size(&mut client) != others as i64 {
                        assert!(started.elapsed() < PATIENCE, "{shards} shards, {others} others: it stays");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    (started.elapsed().as_millis() as u64).saturating_sub(TTL_MS)
                })
                .collect();
            assert_eq!(client.info_number("stats", "expired_keys"), expired + TRIES as i64);
            late_ms.sort_unstable();
            // The test machine may be busy: some of them are on time, which by chance would be found after minutes.
            assert!(late_ms[TRIES / 4] <= LATE_MS_MAX, "{shards} shards, {others} others: late by {late_ms:?} ms");
        }
    }
}

#[test]
fn many_keys_that_expire_at_once_stop_nobody() {
    const KEYS: usize = 200_000;
    const QUESTIONS: usize = 5_000;
    // A machine that stands still between two passes makes one try prove nothing.
    const TRIES: usize = 4;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        let was_answered_meanwhile = (1..=TRIES).any(|tried| {
            // All have expired before the first of them may go, however long that takes.
            assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap(), ok());
            let commands: Vec<Vec<u8>> =
                (0..KEYS).map(|index| encode(&["SET", &format!("key:{index}"), "v", "PX", "1"])).collect();
            send_all(&mut client, &commands);
            std::thread::sleep(Duration::from_millis(10));
            // Who asks meanwhile, more than one pass answers, is answered between two slices. His questions are there
            // already, so that it does not matter how seldom this thread has its turn; and the core sleeps for so long
            // that it finds work on keys due when it wakes.
            let mut questions = encode(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]);
            questions.extend(encode(&["DEBUG", "SLEEP", "0.3"]));
            questions.extend(encode(&["DBSIZE"]).repeat(QUESTIONS));
            client.send_raw(&questions).unwrap();
            assert_eq!((client.read().unwrap(), client.read().unwrap()), (ok(), ok()));
            let mut sizes: Vec<Value> = (0..QUESTIONS).map(|_| client.read().unwrap()).collect();
            sizes.dedup();
            wait_until_empty(&mut client);
            assert_eq!(client.info_number("stats", "expired_keys"), (tried * KEYS) as i64);
            2 < sizes.len()
        });
        assert!(was_answered_meanwhile, "{shards} shards: they went at once");
    }
}

#[test]
fn keys_do_not_expire_by_themselves_when_told_not_to_or_paused() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap(), ok());
        std::thread::sleep(Duration::from_millis(300));
        for index in 0..16 {
            assert_eq!(client.call(&["SET", &format!("key:{index}"), "v", "PX", "1"]).unwrap(), ok());
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(database_size(&mut client), 16, "{shards} shards");
        assert_eq!(client.call(&["GET", "key:0"]).unwrap(), Value::NullBulk);
        assert_eq!(database_size(&mut client), 15, "{shards} shards: a key that is asked for goes all the same");
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]).unwrap(), ok());
        wait_until_empty(&mut client);
        // None of them goes before the pause begins.
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap(), ok());
        for index in 0..16 {
            assert_eq!(client.call(&["SET", &format!("key:{index}"), "v", "PX", "1"]).unwrap(), ok());
        }
        assert_eq!(client.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).unwrap(), ok());
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]).unwrap(), ok());
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(database_size(&mut client), 16, "{shards} shards: paused");
        assert_eq!(client.call(&["CLIENT", "UNPAUSE"]).unwrap(), ok());
        wait_until_empty(&mut client);
    }
}

#[test]
fn what_flushall_async_leaves_is_freed_bit_by_bit() {
    const KEYS: usize = 200_000;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        let value = "v".repeat(100);
        let commands: Vec<Vec<u8>> =
            (0..KEYS).map(|index| encode(&["SET", &format!("key:{index}"), &value, "EX", "1000"])).collect();
        send_all(&mut client, &commands);
        let before = client.info_number("memory", "used_memory_dataset");
        assert_eq!(client.call(&["FLUSHALL", "ASYNC"]).unwrap(), ok());
        assert_eq!(database_size(&mut client), 0);
        wait_until("all is freed", || client.info_number("memory", "lazyfree_pending_objects") == 0);
        let after = client.info_number("memory", "used_memory_dataset");
        assert!(after * 5 < before, "{shards} shards: {before} bytes before, {after} after");
    }
}

#[test]
fn a_config_file_is_read_and_rewritten() {
    for shards in [1, 2] {
        let folder = std::env::temp_dir().join(format!("corering-test-config-{}-{shards}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("server.conf");
        std::fs::write(folder.join("more.conf"), "maxmemory-policy allkeys-lru\n").unwrap();
        let text = format!(
            "# a comment that stays\nmaxmemory 100mb\ntimeout 300\ninclude {}\n",
            folder.join("more.conf").display()
        );
        std::fs::write(&path, text).unwrap();
        {
            // The file is the first argument, before what the harness adds.
            let server = Server::spawn(Kind::Corering { shards }, free_port(), Some(&path), &["--timeout", "7"])
                .unwrap_or_else(|output| panic!("{output}"));
            let mut client = connect(&server);
            let mut get = |name: &str| client.call(&["CONFIG", "GET", name]).unwrap().to_string();
            assert_eq!(get("maxmemory"), "[\"maxmemory\", \"104857600\"]");
            assert_eq!(get("maxmemory-policy"), "[\"maxmemory-policy\", \"allkeys-lru\"]");
            assert_eq!(get("timeout"), "[\"timeout\", \"7\"]", "arguments win over the file");
            assert_eq!(client.call(&["CONFIG", "SET", "maxmemory", "200mb"]).unwrap(), ok());
            assert_eq!(client.call(&["CONFIG", "REWRITE"]).unwrap(), ok());
        }
        let rewritten = std::fs::read_to_string(&path).unwrap();
        assert!(rewritten.contains("# a comment that stays"), "{rewritten}");
        assert!(rewritten.contains("maxmemory 200mb") || rewritten.contains("maxmemory 209715200"), "{rewritten}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// Redis adds the line of the default user to a file that it writes; a password is changed by one, then by the other.
#[test]
fn a_file_goes_between_redis_and_corering_whoever_rewrote_it() {
    let folder = std::env::temp_dir().join(format!("corering-test-rewritten-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("made");
    let path = folder.join("server.conf");
    std::fs::write(&path, "# a comment that stays\ntimeout 300\n").expect("written");
    let passwords = ["", "foo bar", "second", "third"];
    for (at, pair) in passwords.windows(2).enumerate() {
        let kind = if at % 2 == 0 { Kind::Redis } else { Kind::Corering { shards: 1 } };
        for kind in [kind, Kind::Redis, Kind::Corering { shards: 1 }] {
            let server = Server::spawn(kind, free_port(), Some(&path), &[]).unwrap_or_else(|output| panic!("{output}"));
            let mut client = connect(&server);
            let text = std::fs::read_to_string(&path).expect("read");
            // The first of the three has changed it.
            let password = if text.contains(pair[1]) { pair[1] } else { pair[0] };
            if !password.is_empty() {
                assert!(client.call(&["PING"]).unwrap().to_string().contains("NOAUTH"), "{text}");
                assert_eq!(client.call(&["AUTH", password]).unwrap(), ok(), "{text}");
            }
            assert_eq!(client.call(&["CONFIG", "SET", "requirepass", pair[1]]).unwrap(), ok());
            assert_eq!(client.call(&["CONFIG", "REWRITE"]).unwrap(), ok());
            let text = std::fs::read_to_string(&path).expect("read");
            assert!(text.starts_with("# a comment that stays\ntimeout 300\n"), "{text}");
            assert!(text.contains(pair[1]) && text.matches("\nuser default on ").count() == 1, "{text}");
            // What the command line said for this one alone: Redis does not know shards.
            let shared = |line: &&str| !["shards ", "port ", "dir "].iter().any(|name| line.starts_with(name));
            let lines: Vec<&str> = text.lines().filter(shared).collect();
            std::fs::write(&path, lines.join("\n") + "\n").expect("written");
        }
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_wrong_directive_stops_the_start_with_a_clear_word() {
    for (arguments, word) in [
        (vec!["--no-such-directive", "1"], "no-such-directive"),
        (vec!["--maxmemory", "abc"], "maxmemory"),
        (vec!["--maxmemory-policy", "sometimes"], "maxmemory-policy"),
    ] {
        match Server::try_start(Kind::Corering { shards: 1 }, free_port(), &arguments) {
            Ok(_) => panic!("{arguments:?} was accepted"),
            Err(output) => assert!(output.contains(word), "{arguments:?}: {output}"),
        }
    }
}

/// A request in two halves, pipelined large replies, and a transaction: each leaves a buffer behind.
fn busy(client: &mut Client) {
    let request = encode(&[b"SET".as_slice(), b"k", &[b'x'; 4000]]);
    client.stream.write_all(&request[..2000]).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    client.stream.write_all(&request[2000..]).unwrap();
    assert_eq!(client.read().unwrap(), ok());
    client.stream.write_all(&encode(&["GET", "k"]).repeat(20)).unwrap();
    (0..20).for_each(|_| drop(client.read().unwrap()));
    assert_eq!(client.call(&["MULTI"]).unwrap(), ok());
    (0..50).for_each(|number| drop(client.call(&["GET", &format!("k{number}")]).unwrap()));
    client.call(&["EXEC"]).unwrap();
}

#[test]
fn clients_that_rest_keep_no_buffers() {
    const CLIENTS: usize = 300;
    // Tables of connections, which grow by doubling, and what a core makes for all its clients.
    const BYTES_PER_SHARD_MAX: i64 = 64 * 1024;
    const BYTES_PER_CLIENT_MAX: i64 = 1024;
    for shards in SHARDS {
        // Histograms of latencies grow by what is measured, not by clients.
        let server = start(shards, &["--hz", "100", "--latency-tracking", "no"]);
        let mut prober = connect(&server);
        assert_eq!(prober.call(&[b"SET".as_slice(), b"k", &[b'x'; 4000]]).unwrap(), ok());
        busy(&mut prober); // What the first of a kind makes for all is there.
        let before = prober.info_number("memory", "used_memory");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        clients.iter_mut().for_each(busy);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let grown = prober.info_number("memory", "used_memory") - before - shards as i64 * BYTES_PER_SHARD_MAX;
            let each = grown / CLIENTS as i64;
            if each <= BYTES_PER_CLIENT_MAX {
                break;
            }
            assert!(Instant::now() < deadline, "{shards} shards: a client that rests takes {each} bytes");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn who_waits_and_says_no_more_is_gone() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut other = connect(&server);
        for sent_behind in [&[][..], &encode(&["SET", "behind", "1"])] {
            let mut client = connect(&server);
            let mut bytes = encode(&["SET", "before", "1"]);
            bytes.extend(encode(&["BLPOP", "list", "other-list", "0"]));
            bytes.extend(sent_behind);
            client.send_raw(&bytes).unwrap();
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(client.read().unwrap(), ok());
            assert!(matches!(client.read_raw(), Ok(None)), "closed without a reply to what waits");
        }
        assert_eq!(other.call(&["MGET", "before", "behind"]).unwrap(), Value::Array(vec![bulk("1"), Value::NullBulk]));
        // What comes later is nobody's.
        assert_eq!(other.call(&["RPUSH", "list", "a"]).unwrap(), Value::Integer(1));
        assert_eq!(other.call(&["LLEN", "list"]).unwrap(), Value::Integer(1));
    }
}

#[test]
fn who_is_killed_gets_nothing_from_then_on() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut killer = connect(&server);
        for wait in [&["BLPOP", "list", "0"][..], &["SUBSCRIBE", "channel"]] {
            let mut victim = connect(&server);
            let Value::Integer(id) = victim.call(&["CLIENT", "ID"]).unwrap() else { panic!("no id") };
            victim.send_raw(&encode(wait)).unwrap();
            if wait[0] == "SUBSCRIBE" {
                victim.read().unwrap();
            } else {
                wait_until_blocked(&mut killer);
            }
            let id = id.to_string();
            for command in [
                &["MULTI"][..],
                &["CLIENT", "KILL", "ID", &id],
                &["RPUSH", "list", "element"],
                &["PUBLISH", "channel", "message"],
            ] {
                killer.call(command).unwrap();
            }
            let told = [1, 1, 0].map(Value::Integer).to_vec();
            assert_eq!(killer.call(&["EXEC"]).unwrap(), Value::Array(told), "{shards} shards, {wait:?}");
            assert_eq!(killer.call(&["LPOP", "list"]).unwrap(), bulk("element"));
            assert!(matches!(victim.read_raw(), Ok(None)));
        }
    }
}

#[test]
fn somebody_who_waits_for_very_many_keys_stops_no_flush() {
    const KEYS: usize = 120_000;
    for shards in SHARDS {
        let server = start(shards, &[]);
        let (mut waiting, mut client) = (connect(&server), connect(&server));
        let names: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
        let words: Vec<&str> = ["BLPOP"].into_iter().chain(names.iter().map(String::as_str)).chain(["0"]).collect();
        waiting.send_raw(&encode(&words)).unwrap();
        wait_until_blocked(&mut client);
        let begun = Instant::now();
        for command in [&["FLUSHALL"][..], &["SWAPDB", "0", "1"], &["SWAPDB", "0", "1"]] {
            assert_eq!(client.call(command).unwrap(), ok());
        }
        // A walk over all others for each of them took more than a minute for each of these.
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(client.call(&["RPUSH", "key:119999", "a"]).unwrap(), Value::Integer(1));
        assert_eq!(waiting.read().unwrap(), Value::Array(vec![bulk("key:119999"), bulk("a")]));
    }
}

#[test]
fn what_a_directive_forbids_is_not_even_queued() {
    let server = start(2, &["--enable-debug-command", "no"]);
    let mut client = connect(&server);
    assert_eq!(client.call(&["MULTI"]).unwrap(), ok());
    let Value::Error(text) = client.call(&["DEBUG", "SLEEP", "0"]).unwrap() else { panic!("refused") };
    assert!(text.starts_with(b"ERR DEBUG command not allowed."), "{}", String::from_utf8_lossy(&text));
    let aborted = Value::Error(b"EXECABORT Transaction discarded because of previous errors.".to_vec());
    assert_eq!(client.call(&["EXEC"]).unwrap(), aborted);
}

#[test]
fn a_client_that_resets_and_leaves_is_gone() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        for _ in 0..20 {
            let mut client = connect(&server);
            client.stream.write_all(&encode(&["RESET"])).unwrap();
        }
        let mut prober = connect(&server);
        wait_until("only one is listed", || {
            let Value::Bulk(list) = prober.call(&["CLIENT", "LIST"]).unwrap() else { panic!("a list is a bulk") };
            list.iter().filter(|&&byte| byte == b'\n').count() == 1
        });
    }
}

/// Work on n keys grows as n, not as its square: with the square, each reply takes many minutes.
#[test]
fn very_many_keys_over_shards_end_soon() {
    const KEYS: usize = 200_000;
    let server = start(2, &[]);
    let mut client = connect(&server);
    let names: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let mut pairs = vec!["MSETNX"];
    pairs.extend(names.iter().flat_map(|name| [name.as_str(), "v"]));
    assert_eq!(client.call(&pairs).unwrap(), Value::Integer(1));
    pairs[0] = "MSET";
    assert_eq!(client.call(&pairs).unwrap(), ok());
    let mut all = vec!["MGET"];
    all.extend(names.iter().map(String::as_str));
    assert!(matches!(client.call(&all).unwrap(), Value::Array(values) if values.len() == KEYS));
    let mut transaction = encode(&["MULTI"]);
    names.iter().for_each(|name| transaction.extend(encode(&["GET", name])));
    transaction.extend(encode(&["EXEC"]));
    let mut stream = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || stream.write_all(&transaction).unwrap());
    (0..=KEYS).for_each(|_| drop(client.read().unwrap()));
    assert!(matches!(client.read().unwrap(), Value::Array(values) if values.len() == KEYS));
    writer.join().unwrap();
    all[0] = "DEL";
    assert_eq!(client.call(&all).unwrap(), Value::Integer(KEYS as i64));
}

#[test]
fn who_kills_itself_in_a_transaction_sees_that_and_nothing_after_it() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        for kill in [&["ID"][..], &["SKIPME", "no", "ID"][..]] {
            let mut client = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"CLIENT ID\r\n").unwrap();
            let mut line = [0; 64];
            let len = client.read(&mut line).unwrap();
            let id = String::from_utf8_lossy(&line[1..len]).trim().to_string();
            let mut words = vec!["CLIENT", "KILL"];
            words.extend(kill);
            words.extend([id.as_str()]);
            if kill.len() == 1 {
                words.extend(["SKIPME", "no"]);
            }
            let calls: [&[&str]; 6] =
                [&["MULTI"], &["SET", "a", "1"], &words, &["INCR", "a"], &["MGET", "a", "b", "c"], &["EXEC"]];
            let bytes: Vec<u8> = calls.iter().flat_map(|call| encode(call)).collect();
            client.write_all(&bytes).unwrap();
            let mut told = Vec::new();
            client.read_to_end(&mut told).unwrap();
            let told = String::from_utf8_lossy(&told);
            assert_eq!(told, format!("+OK\r\n{}*4\r\n+OK\r\n:1\r\n", "+QUEUED\r\n".repeat(4)), "{shards} shards");
            assert_eq!(connect(&server).call(&["GET", "a"]).unwrap(), bulk("2"), "the rest has run");
        }
    }
}

#[test]
fn a_client_that_is_closed_while_it_sends_is_told_so() {
    let server = Server::start(Kind::Corering { shards: 2 }, &["--client-query-buffer-limit", "1mb"]);
    // One argument that is never whole, of more than all buffers on the way take.
    let mut endless = b"*2\r\n$4\r\nECHO\r\n$100000000\r\n".to_vec();
    endless.resize(20_000_000, b'x');
    for _ in 0..20 {
        let mut client = connect(&server);
        client.stream.set_write_timeout(Some(Duration::from_secs(20))).expect("set");
        let error = client.stream.write_all(&endless).expect_err("it is closed long before");
        let kind = error.kind();
        assert!(!matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "it waits for room: {error}");
    }
}
