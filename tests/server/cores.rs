//! What the clients of one core must not feel of another's, and what holds whichever core does the work.

use crate::client::{Client, Value, encode};
use crate::extra::{SetWhenDropped, wait_until};
use crate::process::{Kind, Server, free_port};
use corering::route::SlotMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server on which each core also listens on a port of its own, and the first of those ports.
pub fn start_with_core_ports(shards: usize, arguments: &[&str]) -> (Server, u16) {
    for attempt in 1.. {
        let first = free_port();
        let text = first.to_string();
        let mut all = vec!["--core-ports", text.as_str()];
        all.extend_from_slice(arguments);
        match Server::try_start(Kind::Corering { shards }, free_port(), &all) {
            Ok(server) => return (server, first),
            Err(output) => assert!(output.contains("in use") && attempt < 10, "{output}"),
        }
    }
    unreachable!("the last attempt panics");
}

pub fn connect(port: u16) -> Client {
    Client::connect(port).expect("a running server accepts connections")
}

pub fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

/// A key of a shard; `tag` goes between braces, so that other keys of the same shard are easy to have.
pub fn tag_of(shard: usize, shards: usize) -> String {
    let map = SlotMap::new(shards);
    let tag = (0..).map(|number| format!("{{t{number}}}")).find(|tag| map.shard_of(tag.as_bytes()) == shard);
    tag.expect("every shard owns some slot")
}

/// How often a client was answered that sent the command again and again until `end` was set.
fn times_answered(client: &mut Client, command: &[&str], end: &AtomicBool) -> usize {
    let mut answered = 0;
    while !end.load(Ordering::Relaxed) {
        client.call(command).expect("it is answered");
        answered += 1;
    }
    answered
}

#[test]
fn a_slow_command_holds_no_other_cores_engine() {
    const WINDOWS: usize = 6;
    const SLOW_OF_WINDOW: usize = 15;
    let (_server, first_port) = start_with_core_ports(2, &[]);
    let (own, other) = (tag_of(0, 2), tag_of(1, 2));
    let mut client = connect(first_port);
    for (name, factor) in [("a", 2_654_435_761u32), ("b", 40_503)] {
        let text: Vec<u8> = (0..6_000u32).map(|at| (at.wrapping_mul(factor) >> 13) as u8).collect();
        assert_eq!(client.call(&[b"SET".as_slice(), format!("{own}{name}").as_bytes(), &text]).unwrap(), ok());
    }
    assert_eq!(client.call(&["SET", other.as_str(), "v"]).unwrap(), ok());
    let mut neighbour = connect(first_port + 1);
    let end = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let ends = SetWhenDropped(&end);
        let answers = scope.spawn(|| times_answered(&mut neighbour, &["GET", other.as_str()], &end));
        // The first command of each window makes this core a visitor.
        let mut window = encode(&["GET", other.as_str()]);
        let slow = encode(&["LCS", &format!("{own}a"), &format!("{own}b"), "IDX", "MINMATCHLEN", "9999"]);
        window.extend(slow.repeat(SLOW_OF_WINDOW));
        client.send_raw(&window.repeat(WINDOWS)).unwrap();
        let replies: Vec<_> = (0..WINDOWS * (1 + SLOW_OF_WINDOW)).map(|_| client.read()).collect();
        drop(ends);
        assert!(replies.iter().all(|reply| !matches!(reply, Err(_) | Ok(Value::Error(_)))), "{replies:?}");
        answers.join().unwrap()
    });
    // Each slow command takes far longer than a question and its answer, however busy the machine is. Held for whole
    // windows, the other core would answer once or twice between two of them.
    assert!(WINDOWS * SLOW_OF_WINDOW < answered, "a client of the other core was answered {answered} times");
}

#[test]
fn a_forwarded_slow_command_is_logged_with_its_clients_address_and_name() {
    let (_server, first_port) = start_with_core_ports(2, &["--slowlog-log-slower-than", "0"]);
    let tag = tag_of(1, 2);
    let mut client = connect(first_port);
    assert_eq!(client.call(&["CLIENT", "SETNAME", "me"]).unwrap(), ok());
    let forwarded = client.info_number("all", "commands_forwarded");
    // Its cost is not constant, so that no visit runs it.
    let (a, b) = (format!("{tag}a"), format!("{tag}b"));
    assert_eq!(client.call(&["LCS", &a, &b]).unwrap(), Value::Bulk(Vec::new()));
    assert_eq!(client.info_number("all", "commands_forwarded"), forwarded + 1);
    let Value::Array(entries) = client.call(&["SLOWLOG", "GET", "-1"]).unwrap() else { panic!("a list") };
    let address = client.stream.local_addr().unwrap().to_string();
    let name = |entry: &Value| matches!(entry, Value::Array(parts) if parts[5] == Value::Bulk(b"me".to_vec()));
    let from = |entry: &Value| matches!(entry, Value::Array(parts) if parts[4] == Value::Bulk(address.clone().into()));
    let is_it = |entry: &&Value| entry.to_string().contains("LCS");
    let found: Vec<&Value> = entries.iter().filter(is_it).collect();
    assert!(found.len() == 1 && found.iter().all(|entry| name(entry) && from(entry)), "{address}: {entries:?}");
}

#[test]
fn what_every_core_did_is_counted_once() {
    const CALLS: i64 = 50;
    let (_server, first_port) = start_with_core_ports(2, &["--requirepass", "secret"]);
    let mut clients = [connect(first_port), connect(first_port + 1)];
    for client in &mut clients {
        assert!(matches!(client.call(&["AUTH", "wrong"]).unwrap(), Value::Error(_)));
        assert_eq!(client.call(&["AUTH", "secret"]).unwrap(), ok());
    }
    let fields = ["total_reads_processed", "total_writes_processed", "acl_access_denied_auth"];
    let before = fields.map(|field| clients[0].info_number("stats", field));
    for client in &mut clients {
        for _ in 0..CALLS {
            assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
        }
        assert!(matches!(client.call(&["HELLO", "3", "AUTH", "default", "wrong"]).unwrap(), Value::Error(_)));
    }
    let after = fields.map(|field| clients[1].info_number("stats", field));
    let grown: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    // One receive and one send for each call, the questions themselves (each field is asked for by its own) included.
    let calls = 2 * (CALLS + 1) + fields.len() as i64;
    assert_eq!(grown, [calls, calls, 2]);
    assert_eq!(before[2], 2);
}

#[test]
fn a_monitor_that_does_not_read_is_closed() {
    for limits in [&["normal", "4mb", "0", "0"][..], &["normal", "0", "0", "0", "pubsub", "4mb", "0", "0"]] {
        let limits = limits.join(" ");
        let (server, first_port) = start_with_core_ports(2, &["--client-output-buffer-limit", &limits]);
        let mut monitor = connect(first_port + 1);
        assert_eq!(monitor.call(&["MONITOR"]).unwrap(), ok());
        let mut client = connect(first_port);
        let value = vec![b'x'; 100_000];
        let set = encode(&[b"SET".as_slice(), b"k", &value]);
        // Far more than sockets hold.
        for _ in 0..400 {
            client.send_raw(&set).unwrap();
            assert_eq!(client.read().unwrap(), ok());
        }
        wait_until("it is closed", || client.info_number("stats", "client_output_buffer_limit_disconnections") == 1);
        wait_until("it has gone", || client.info_number("clients", "connected_clients") == 1);
        assert!(server.status_kib("VmHWM") < 100 * 1024, "{limits}: {} KiB", server.status_kib("VmHWM"));
    }
}

/// Bytes that compress to nothing a server could guess.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

#[test]
fn a_long_value_comes_in_once_and_whole_wherever_its_key_is() {
    const BYTES: usize = 96 << 20;
    let value = noise(BYTES);
    for shard in [0, 1] {
        let (server, first_port) = start_with_core_ports(2, &[]);
        let key = tag_of(shard, 2);
        let mut client = connect(first_port);
        let idle_kib = server.status_kib("VmRSS");
        let set = encode(&[b"SET".as_slice(), key.as_bytes(), &value, b"EX", b"100000"]);
        client.send_raw(&set).unwrap();
        assert_eq!(client.read().unwrap(), ok());
        // What was received became the value: at no time were there two of them.
        let peak_kib = server.status_kib("VmHWM") - idle_kib;
        assert!(peak_kib < (BYTES as u64 >> 10) * 5 / 4, "{peak_kib} KiB for {} (shard {shard})", BYTES >> 10);
        assert!(client.call(&["GET", &key]).unwrap() == Value::Bulk(value.clone()));
        assert!(matches!(client.call(&["TTL", &key]).unwrap(), Value::Integer(99_000..=100_000)));
        assert_eq!(client.call(&["APPEND", &key, "end"]).unwrap(), Value::Integer(BYTES as i64 + 3));
        assert_eq!(client.call(&["GETRANGE", &key, "-5", "-1"]).unwrap(), {
            Value::Bulk([&value[BYTES - 2..], b"end"].concat())
        });
        assert_eq!(client.call(&["DEL", &key]).unwrap(), Value::Integer(1));
    }
}

#[test]
fn long_arguments_are_arguments_like_others() {
    let (_server, first_port) = start_with_core_ports(2, &["--slowlog-log-slower-than", "0"]);
    let mut client = connect(first_port);
    let mut control = connect(first_port + 1);
    let (long, key) = (noise(300_000), [b"{k}".to_vec(), noise(100_000)].concat());
    let text = |bytes: &[u8]| Value::Bulk(bytes.to_vec());
    // A long key, two long values in one command, and a pipeline in which the next request follows at once.
    let mut pipeline = encode(&[b"SET".as_slice(), &key, &long]);
    pipeline.extend(encode(&[b"MSET".as_slice(), b"{k}1", &long, b"{k}2", &long[1..]]));
    pipeline.extend(encode(&[b"GET".as_slice(), &key]));
    pipeline.extend(encode(&["STRLEN", "{k}2"]));
    pipeline.extend(encode(&[b"ECHO".as_slice(), &long]));
    pipeline.extend(encode(&[&[b'x'; 100_000][..]]));
    pipeline.extend(encode(&["PING"]));
    client.send_raw(&pipeline).unwrap();
    assert_eq!(client.read().unwrap(), ok());
    assert_eq!(client.read().unwrap(), ok());
    assert!(client.read().unwrap() == text(&long));
    assert_eq!(client.read().unwrap(), Value::Integer(299_999));
    assert!(client.read().unwrap() == text(&long));
    let Value::Error(unknown) = client.read().unwrap() else { panic!("noise is no command") };
    assert!(unknown.starts_with(b"ERR unknown command 'xxx") && 128 < unknown.len(), "{} bytes", unknown.len());
    assert_eq!(client.read().unwrap(), Value::Simple(b"PONG".to_vec()));
    // Held back by a pause, it runs when that ends.
    assert_eq!(control.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).unwrap(), ok());
    client.send_raw(&encode(&[b"SET".as_slice(), b"{k}3", &long])).unwrap();
    client.send_raw(&encode(&["GET", "{k}3"])).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(control.call(&["EXISTS", "{k}3"]).unwrap(), Value::Integer(0));
    assert_eq!(control.call(&["CLIENT", "UNPAUSE"]).unwrap(), ok());
    assert_eq!(client.read().unwrap(), ok());
    assert!(client.read().unwrap() == text(&long));
    // What has come of it counts as what the client has sent and nobody read.
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", long.len());
    client.send_raw(header.as_bytes()).unwrap();
    client.send_raw(&long[..200_000]).unwrap();
    wait_until("what has come is listed", || {
        let list = control.call(&["CLIENT", "LIST"]).unwrap().to_string();
        let buffers = list.split("qbuf=").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<usize>().unwrap());
        let longest = buffers.max().unwrap();
        assert!(longest < 200_100, "{list}");
        200_000 <= longest
    });
    client.send_raw(&long[200_000..]).unwrap();
    client.send_raw(b"\r").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    client.send_raw(b"\n").unwrap();
    assert_eq!(client.read().unwrap(), ok());
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reads so many bytes, which have to be these.
fn expect(client: &mut Client, parts: &[&[u8]]) {
    for part in parts {
        let mut read = vec![0; part.len()];
        client.stream.read_exact(&mut read).expect("as many as expected");
        assert!(read == *part, "{} bytes that are others", part.len());
    }
}

#[test]
fn a_long_value_goes_out_without_a_copy_wherever_its_key_is() {
    const BYTES: usize = 96 << 20;
    let value = noise(BYTES);
    for shard in [0, 1] {
        let (server, first_port) = start_with_core_ports(2, &[]);
        let (key, other) = (tag_of(shard, 2), tag_of(1 - shard, 2));
        let mut client = connect(first_port);
        assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), &value]).unwrap(), ok());
        assert_eq!(client.call(&[b"SET".as_slice(), other.as_bytes(), &value[..1 << 20]]).unwrap(), ok());
        let idle_kib = server.status_kib("VmRSS");
        // Ten times the value, on its way to clients that do not read yet: alone, among others, in a transaction.
        let mut readers: Vec<Client> = (0..5).map(|_| connect(first_port)).collect();
        let words: [&[&str]; 5] = [
            &["GET", &key],
            &["MGET", &key, &other, "nothing", &key, &other],
            &["GETRANGE", &key, "1", "-2"],
            &["EVERYTHING"],
            &["GETEX", &key, "EX", "1000"],
        ];
        for (reader, words) in readers.iter_mut().zip(words) {
            let mut pipeline = encode(words);
            if words[0] == "EVERYTHING" {
                pipeline = encode(&["MULTI"]);
                pipeline.extend(encode(&["STRLEN", &other]));
                pipeline.extend(encode(&["GET", &key]));
                pipeline.extend(encode(&["MGET", &key, &other, &key]));
                pipeline.extend(encode(&["EXEC"]));
            }
            pipeline.extend(encode(&["PING"]));
            reader.send_raw(&pipeline).unwrap();
        }
        let mut writer = connect(first_port + 1);
        for command in ["get", "mget", "getrange", "exec", "getex"] {
            let field = format!("cmdstat_{command}:");
            wait_until(command, || writer.info("commandstats").contains(&field));
        }
        let peak_kib = server.status_kib("VmHWM").saturating_sub(idle_kib);
        assert!(peak_kib < (BYTES as u64 >> 10) / 2, "{peak_kib} KiB for {} (shard {shard})", BYTES >> 10);
        // Whatever happens to it now, they get what it was when they asked.
        assert_eq!(writer.call(&["SETRANGE", &key, "0", "changed"]).unwrap(), Value::Integer(BYTES as i64));
        assert_eq!(writer.call(&["APPEND", &key, "more"]).unwrap(), Value::Integer(BYTES as i64 + 4));
        assert_eq!(writer.call(&["DEL", &key]).unwrap(), Value::Integer(1));
        let (whole, small, pong) = (bulk(&value), bulk(&value[..1 << 20]), b"+PONG\r\n".as_slice());
        expect(&mut readers[0], &[&whole, pong]);
        expect(&mut readers[1], &[b"*5\r\n", &whole, &small, b"$-1\r\n", &whole, &small, pong]);
        expect(&mut readers[2], &[&bulk(&value[1..BYTES - 1]), pong]);
        expect(&mut readers[3], &[b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1048576\r\n", &whole]);
        expect(&mut readers[3], &[b"*3\r\n", &whole, &small, &whole, pong]);
        expect(&mut readers[4], &[&whole, pong]);
        // Nobody holds it any more.
        let used = writer.info_number("memory", "used_memory");
        assert!(used < (BYTES / 4) as i64, "{used}");
    }
}

#[test]
fn long_strings_stand_in_pipelines_in_their_order() {
    let (_server, first_port) = start_with_core_ports(2, &[]);
    let mut client = connect(first_port);
    let keys = [tag_of(0, 2), tag_of(1, 2)];
    let values: Vec<Vec<u8>> = [65_535, 65_536, 1_048_576 - 12, 2_500_000].map(noise).to_vec();
    for value in &values {
        for key in &keys {
            assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), value]).unwrap(), ok());
        }
        let mut expected = Vec::new();
        let mut pipeline = Vec::new();
        for round in 0..40 {
            let key = &keys[round * 7 % 5 % 2];
            let whole = Value::Bulk(value.clone());
            let (words, reply): (&[&str], _) = match round % 8 {
                0 => (&["GET", key], Some(whole)),
                1 => (&["PING"], Some(Value::Simple(b"PONG".to_vec()))),
                2 => (&["MGET", &keys[1], &keys[0]], Some(Value::Array(vec![whole.clone(), whole]))),
                3 => (&["STRLEN", key], Some(Value::Integer(value.len() as i64))),
                4 => (&["GET", key, "many"], None),
                5 => (&["GETSET", key, "x"], Some(whole)),
                6 => (&["CLIENT", "REPLY", "SKIP"], Some(Value::Null)),
                _ => (&["GET", key], Some(Value::Null)),
            };
            pipeline.extend(encode(words));
            if words[0] == "GETSET" {
                pipeline.extend(encode(&[b"SET".as_slice(), key.as_bytes(), value]));
            }
            expected.push((reply, words[0] == "GETSET"));
        }
        let sender = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut &sender, &pipeline));
        for (at, (reply, is_set)) in expected.into_iter().enumerate() {
            match reply {
                Some(Value::Null) => continue, // Not to be told.
                Some(reply) => assert!(client.read().unwrap() == reply, "{at} of {} bytes", value.len()),
                None => assert!(matches!(client.read().unwrap(), Value::Error(_)), "{at}"),
            }
            if is_set {
                assert_eq!(client.read().unwrap(), ok());
            }
        }
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_long_value_is_closed_at_its_limit() {
    let limits = "normal 8mb 0 0";
    let (_server, first_port) = start_with_core_ports(2, &["--client-output-buffer-limit", limits]);
    let mut observer = connect(first_port);
    for shard in [0, 1] {
        let key = tag_of(shard, 2);
        for (bytes, closes) in [(7 << 20, false), (32 << 20, true)] {
            assert_eq!(observer.call(&[b"SET".as_slice(), key.as_bytes(), &noise(bytes)]).unwrap(), ok());
            let mut client = connect(first_port);
            client.send_raw(&encode(&["GET", &key])).unwrap();
            let closed = "client_output_buffer_limit_disconnections";
            if closes {
                let expected = shard as i64 + 1;
                wait_until("it is closed", || observer.info_number("stats", closed) == expected);
                assert!(client.read().is_err(), "it was cut off");
            } else {
                assert!(client.read().unwrap() == Value::Bulk(noise(bytes)));
            }
        }
    }
}

#[test]
fn an_idle_connection_takes_less_than_a_kibibyte() {
    const CONNECTIONS: u64 = 2000;
    // Without what is kept of the last seconds' latencies, which is no connection's.
    let (server, first_port) = start_with_core_ports(2, &["--latency-tracking", "no"]);
    let ping = |port| {
        let mut client = connect(port);
        assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
        client
    };
    // What grows with the first clients only is there already, and every receive buffer has been used once.
    let mut first: Vec<Client> = (0..200).map(|at| connect(first_port + at % 2)).collect();
    for _ in 0..10 {
        for client in &mut first {
            assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
        }
    }
    let mut observer = connect(first_port);
    let used = |client: &mut Client| client.info_number("memory", "used_memory");
    let (before, before_kib) = (used(&mut observer), server.status_kib("VmRSS"));
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| ping(server.port)).collect();
    let (after, after_kib) = (used(&mut observer), server.status_kib("VmRSS"));
    let each = (after - before) as u64 / CONNECTIONS;
    assert!(0 < each && each <= 1024, "{each} bytes allocated for each");
    // Resident are whole pages, some of them for other things.
    assert!(after_kib - before_kib < CONNECTIONS * 5 / 4, "{before_kib} KiB, then {after_kib}");
    drop(clients);
}
