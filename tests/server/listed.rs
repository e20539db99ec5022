//! What operators see of clients and configuration, and what holds them back: pauses, listings, rewritten files.

use crate::client::{Client, Value, encode};
use crate::extra::{PATIENCE, wait_until};
use crate::process::{Kind, Server, free_port};
use std::io::Write;
use std::time::{Duration, Instant};

const SHARDS: [usize; 3] = [1, 2, 4];

fn start(shards: usize, arguments: &[&str]) -> Server {
    Server::start(Kind::Corering { shards }, arguments)
}

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

/// Waits until the text of a reply has a word in it.
fn wait_for(client: &mut Client, command: &[&str], word: &str) {
    wait_until(&format!("{command:?} shows {word}"), || client.call(command).unwrap().to_string().contains(word));
}

#[test]
fn paused_clients_count_as_blocked_and_what_is_refused_is_refused_at_once() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut operator = connect(&server);
        assert_eq!(operator.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).unwrap(), ok());
        let mut writers: Vec<Client> = (0..3).map(|_| connect(&server)).collect();
        for writer in &mut writers {
            writer.send_raw(&encode(&["SET", "k", "v"])).unwrap();
        }
        wait_for(&mut operator, &["INFO", "clients"], "blocked_clients:3\\r");
        wait_for(&mut operator, &["CLIENT", "LIST"], " flags=b ");
        let error = operator.call(&["SET", "k"]).unwrap().to_string();
        assert_eq!(error, "-ERR wrong number of arguments for 'set' command", "{shards} shards");
        assert_eq!(operator.call(&["CLIENT", "UNPAUSE"]).unwrap(), ok());
        for writer in &mut writers {
            assert_eq!(writer.read_raw().unwrap().expect("it was only held back").0, ok());
        }
        wait_for(&mut operator, &["INFO", "clients"], "blocked_clients:0\\r");
    }
}

#[test]
fn a_pause_hides_from_nobody_that_he_must_authenticate() {
    let server = start(2, &["--requirepass", "secret"]);
    let mut operator = connect(&server);
    assert_eq!(operator.call(&["AUTH", "secret"]).unwrap(), ok());
    assert_eq!(operator.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).unwrap(), ok());
    let error = connect(&server).call(&["SET", "k", "v"]).unwrap().to_string();
    assert_eq!(error, "-NOAUTH Authentication required.");
}

#[test]
fn who_has_not_authenticated_may_leave_little_unread() {
    for shards in [1, 2] {
        let server = start(shards, &["--requirepass", "secret"]);
        let mut stranger = connect(&server);
        socket2::SockRef::from(&stranger.stream).set_recv_buffer_size(4096).unwrap();
        let bytes = encode(&["SET", "k", "v"]).repeat(10_000);
        let started = Instant::now();
        // What the kernel holds in between counts for nobody, so it takes megabytes until the server feels it.
        while stranger.stream.write_all(&bytes).is_ok() {
            assert!(started.elapsed() < PATIENCE, "{shards} shards: the server keeps answering");
        }
        let mut operator = connect(&server);
        assert_eq!(operator.call(&["AUTH", "secret"]).unwrap(), ok());
        wait_for(&mut operator, &["INFO", "stats"], "client_output_buffer_limit_disconnections:1\\r");
    }
}

#[test]
fn a_listing_shows_the_bytes_of_the_command_that_asks() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        for (command, bytes) in [(vec!["CLIENT", "LIST"], 26), (vec!["CLIENT", "INFO"], 26)] {
            let line = client.call(&command).unwrap().to_string();
            assert!(line.contains(&format!(" qbuf={bytes} ")), "{shards} shards, {command:?}: {line}");
        }
        let other = connect(&server).call(&["CLIENT", "LIST", "ID", "1"]).unwrap().to_string();
        assert!(other.contains(" qbuf=0 "), "{shards} shards: nothing of it is under way: {other}");
    }
}

#[test]
fn a_file_with_every_directive_is_read_back_as_it_was() {
    let folder = std::env::temp_dir().join(format!("corering-test-rewrite-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("server.conf");
    std::fs::write(&path, "maxmemory-samples 7\n").unwrap();
    let run = || {
        Server::spawn(Kind::Corering { shards: 2 }, free_port(), Some(&path), &[])
            .unwrap_or_else(|output| panic!("{output}"))
    };
    let values = |client: &mut Client| -> Vec<String> {
        let Value::Array(words) = client.call(&["CONFIG", "GET", "*"]).unwrap() else { panic!("CONFIG GET lists") };
        // Each server of a test has its own port and directory.
        let pairs = words.chunks(2).map(|pair| format!("{} {}", pair[0], pair[1]));
        pairs.filter(|pair| !["\"port\"", "\"dir\""].contains(&pair.split(' ').next().unwrap())).collect()
    };
    let server = run();
    let mut client = connect(&server);
    let before = values(&mut client);
    assert!(before.contains(&"\"maxmemory-samples\" \"7\"".to_string()), "{before:?}");
    assert_eq!(client.call(&["DEBUG", "CONFIG-REWRITE-FORCE-ALL"]).unwrap(), ok());
    drop(client);
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(before.len() / 2 < lines, "only {lines} lines");
    // The first server keeps its directory, which the file names.
    let again = run();
    assert_eq!(values(&mut connect(&again)), before);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A pass runs so many commands of a client at most; what it sends beyond waits in the kernel and with it, not here.
#[test]
fn a_client_that_sends_faster_than_it_is_served_is_slowed_down() {
    const BYTES: usize = 100_000_000;
    for shards in [1, 2] {
        let server = start(shards, &["--client-query-buffer-limit", "64mb"]);
        let mut client = connect(&server);
        client.send_raw(&encode(&["CLIENT", "REPLY", "OFF"])).unwrap();
        let bytes = encode(&["SET", "k", "v"]).repeat(10_000);
        for _ in 0..BYTES / bytes.len() {
            client.stream.write_all(&bytes).unwrap_or_else(|error| panic!("{shards} shards: closed: {error}"));
        }
        client.send_raw(&encode(&["CLIENT", "REPLY", "ON"])).unwrap();
        assert_eq!(client.read_raw().unwrap().expect("the connection is there").0, ok());
    }
}

#[test]
fn what_expires_during_a_pause_is_gone_for_readers_and_goes_afterwards() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = connect(&server);
        // None of them goes before the pause begins.
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap(), ok());
        for index in 0..8 {
            assert_eq!(client.call(&["SET", &format!("key:{index}"), "v", "PX", "1"]).unwrap(), ok());
        }
        assert_eq!(client.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).unwrap(), ok());
        assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]).unwrap(), ok());
        std::thread::sleep(Duration::from_millis(300));
        for index in 0..8 {
            assert_eq!(client.call(&["GET", &format!("key:{index}")]).unwrap(), Value::NullBulk, "{shards} shards");
        }
        wait_for(&mut client, &["INFO", "stats"], "\\nexpired_keys:0\\r");
        assert_eq!(client.call(&["DBSIZE"]).unwrap(), Value::Integer(8), "{shards} shards: they are still there");
        assert_eq!(client.call(&["CLIENT", "UNPAUSE"]).unwrap(), ok());
        wait_for(&mut client, &["INFO", "stats"], "\\nexpired_keys:8\\r");
    }
}

#[test]
fn who_leaves_monitor_by_reset_does_not_see_it() {
    let server = start(2, &[]);
    let mut client = connect(&server);
    assert_eq!(client.call(&["MONITOR"]).unwrap(), ok());
    assert_eq!(client.call(&["RESET"]).unwrap(), Value::Simple(b"RESET".to_vec()));
}
