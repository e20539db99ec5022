//! The admin port: what it tells, to whom, and what clients of it that mean harm cannot do.

use crate::client::Value;
use crate::cores::{connect, ok};
use crate::process::{Kind, Server, free_port};
use crate::scratch::Scratch;
use corering::runtime::admin::names::FIELDS;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what the server does by itself.
const WAIT: Duration = Duration::from_secs(60);
/// Connections that the port serves at a time.
const CONNECTIONS_MAX: usize = 16;

/// A server with an admin port, and that port.
fn start(shards: usize, arguments: &[&str]) -> (Server, u16) {
    for attempt in 1.. {
        let port = free_port();
        let text = port.to_string();
        let mut all = vec!["--admin-port", text.as_str()];
        all.extend_from_slice(arguments);
        match Server::try_start(Kind::Corering { shards }, free_port(), &all) {
            Ok(server) => return (server, port),
            Err(output) => assert!(output.contains("in use") && attempt < 10, "{output}"),
        }
    }
    unreachable!("the last attempt panics");
}

fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.set_read_timeout(Some(WAIT)).expect("a socket takes it");
    stream
}

/// Everything that the server says to some bytes, until it closes.
fn say(port: u16, bytes: &[u8]) -> String {
    let mut stream = open(port);
    stream.write_all(bytes).expect("it is read");
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}: the server does not close"),
    }
    String::from_utf8(text).expect("it says text")
}

/// Status and body.
fn get_with(port: u16, path: &str, headers: &str) -> (u16, String) {
    let answer = say(port, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    assert_eq!(length, body.len().to_string(), "{head}");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}")), body.into())
}

fn get(port: u16, path: &str) -> (u16, String) {
    get_with(port, path, "")
}

/// The value of a sample, 0 where there is none.
fn count(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

fn sample(metrics: &str, name: &str) -> f64 {
    assert!(metrics.contains(&format!("\n{name} ")), "{name} in {metrics}");
    count(metrics, name)
}

/// Asks until an answer is as it has to be: cores bring their seconds when these are over.
fn until(what: &str, mut is_met: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_met() {
        assert!(since.elapsed() < WAIT, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn there_is_none_unless_it_is_asked_for() {
    let server = Server::start(Kind::Corering { shards: 1 }, &[]);
    assert!(!server.output().contains("live page"), "{}", server.output());
    let (server, port) = start(1, &[]);
    assert!(server.output().contains(&format!("on 127.0.0.1 port {port}")), "{}", server.output());
    // A port that is taken ends the start with words.
    let taken = port.to_string();
    let output = Server::try_start(Kind::Corering { shards: 1 }, free_port(), &["--admin-port", &taken]);
    let output = output.err().expect("the port is taken");
    assert!(
        output.contains(&format!("Can't listen on admin-port 127.0.0.1:{port}: Address already in use")),
        "{output}"
    );
}

#[test]
fn metrics_tell_what_clients_did() {
    let (server, port) = start(2, &["--slowlog-log-slower-than", "0"]);
    let mut client = connect(server.port);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(client.call(&["SET", key, "v"]).unwrap(), ok());
        client.call(&["GET", key]).expect("it is answered");
    }
    client.call(&["GET", "nothing"]).expect("it is answered");
    let (status, metrics) = get_with(port, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert_eq!(status, 200);
    for (name, value) in [
        ("redis_up", 1.0),
        ("redis_connected_clients", 1.0),
        ("redis_commands_total{cmd=\"get\"}", 5.0),
        ("redis_commands_total{cmd=\"set\"}", 4.0),
        ("redis_keyspace_hits_total", 4.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_db_keys{db=\"db0\"}", 4.0),
        ("redis_loading_dump_file", 0.0),
        ("redis_slowlog_length", 9.0),
    ] {
        assert_eq!(sample(&metrics, name), value, "{name}");
    }
    assert!(0.0 < sample(&metrics, "redis_memory_used_bytes"));
    assert!(0.0 < sample(&metrics, "redis_commands_duration_seconds_total{cmd=\"get\"}"));
    let of_cores = [0, 1].map(|core| sample(&metrics, &format!("corering_core_keys{{core=\"{core}\"}}")));
    assert_eq!(of_cores.iter().sum::<f64>(), 4.0);
    assert!(metrics.ends_with("# EOF\n"));
    // Histograms come with the end of the second.
    let calls = "corering_command_stage_seconds_count{cmd=\"set\",way=\"local\",stage=\"execute\"}";
    let mut last = String::new();
    until("every SET in a histogram", || {
        last = get(port, "/metrics").1;
        ["local", "forwarded"].iter().map(|way| count(&last, &calls.replace("local", way))).sum::<f64>() == 4.0
    });
    assert!(last.contains("# TYPE corering_stage_seconds histogram") && !last.contains("# EOF"), "{last}");
}

#[test]
fn probes_tell_a_server_that_loads_from_one_that_serves() {
    let (server, port) = start(2, &[]);
    let mut client = connect(server.port);
    assert_eq!(get(port, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(port, "/readyz"), (200, "ready\n".into()));
    client.call(&["DEBUG", "POPULATE", "100000", "key", "100"]).expect("it is answered");
    let has_seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let since = Instant::now();
            let (mut is_unready, mut is_loading) = (false, false);
            while !(is_unready && is_loading) && since.elapsed() < WAIT {
                is_unready |= get(port, "/readyz") == (503, "keys are being loaded\n".into());
                is_loading |= get(port, "/metrics").1.contains("redis_loading_dump_file 1\n");
                assert_eq!(get(port, "/healthz").0, 200);
            }
            has_seen.store(true, Ordering::Relaxed);
            assert!(is_unready && is_loading, "nobody said that keys are loaded");
        });
        while !has_seen.load(Ordering::Relaxed) {
            assert_eq!(client.call(&["DEBUG", "RELOAD"]).unwrap(), ok());
        }
        watcher.join().expect("it saw it");
    });
    assert_eq!(get(port, "/readyz"), (200, "ready\n".into()));
}

/// While the last snapshot is written nobody is served, however long that takes: no client is to be sent there from the
/// decision on, and again once the end was given up.
#[test]
fn a_server_that_is_to_end_is_not_ready_while_it_saves() {
    let scratch = Scratch::new("ready-end");
    let directory = scratch.0.to_str().expect("a name of text");
    let (mut server, port) = start(2, &["--dir", directory, "--save", "1000 1000"]);
    let mut client = connect(server.port);
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), ok());
    let pid = server.child.id().to_string();
    // A snapshot that goes on until it is read, and then fails: there is no room for it in a pipe.
    let pipe = scratch.0.join(format!("temp-{pid}.rdb"));
    let ready = || get(port, "/readyz") == (200, "ready\n".into());
    for is_by_signal in [true, false] {
        assert!(ready());
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
        std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                if is_by_signal {
                    assert!(Command::new("kill").arg(&pid).status().expect("kill is there").success());
                    return None;
                }
                Some(connect(server.port).call(&["SHUTDOWN"]).unwrap())
            });
            until("the end is announced", || get(port, "/readyz") == (503, "the server is about to end\n".into()));
            assert_eq!(get(port, "/healthz").0, 200);
            std::fs::read(&pipe).expect("it can be read");
            let refusal = Value::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
            assert_eq!(told.join().expect("it was asked"), (!is_by_signal).then_some(refusal));
        });
        until("it goes on", ready);
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
    }
    assert!(server.is_alive());
}

#[test]
fn the_page_and_what_it_draws_are_there() {
    let (server, port) = start(2, &["--slowlog-log-slower-than", "0"]);
    let mut client = connect(server.port);
    client.call(&[b"SET".as_slice(), b"<script>\"\xff\n", b"v"]).expect("it is answered");
    let (status, page) = get(port, "/");
    assert_eq!(status, 200);
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for elsewhere in ["http://", "https://", "src=\"", "@import", "url("] {
        assert!(!page.contains(elsewhere), "the page needs nothing else: {elsewhere}");
    }
    let (status, series) = get(port, "/series.json?since=0");
    assert_eq!(status, 200);
    assert!(series.contains("\"cores\":2") && series.contains("\"used_memory\":\""), "{series}");
    assert!(series.contains(r#""\"\u003cscript\u003e\\\"\\xff\\n\"""#), "{series}");
    until("a second with a command", || get(port, "/series.json").1.contains("\"lanes\":{\"local.read\":[["));
    until("its rate, hits and memory", || {
        let series = get(port, "/series.json").1;
        ["\"ops\":[", "\"hits\":0", "\"used\":"].iter().all(|part| series.contains(part))
    });
    assert_eq!(get(port, "/series.json?since=99999999999").1.matches("\"points\":[]").count(), 1);
    assert_eq!(get(port, "/series.json?since=x").0, 400);
    assert_eq!(get(port, "/nothing").0, 404);
    let head = say(port, b"HEAD / HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

/// Numbers of `INFO` that are no metrics, and why.
const NOT_TOLD: &[(&[&str], &str)] = &[
    (&["arch_bits", "tcp_port", "redis_git_dirty", "hz", "configured_hz", "lru_clock"], "nothing to watch"),
    (&["redis_git_sha1"], "likewise"),
    (&["used_memory_vm_total"], "told by others: eval and functions"),
    (&["uptime_in_days", "server_time_usec", "expired_fields", "hop_perc", "hit_perc"], "told by another metric"),
    (&["used_memory_peak_perc", "used_memory_dataset_perc", "rss_overhead_ratio", "rss_overhead_bytes"], "likewise"),
    (&["instantaneous_input_repl_kbps", "instantaneous_output_repl_kbps"], "no replication yet"),
    (&["second_repl_offset", "repl_backlog_first_byte_offset", "slave_expires_tracked_keys"], "likewise"),
    (&["master_replid2"], "likewise"),
    (&["cluster_connections", "mem_cluster_links"], "no cluster yet"),
    (&["module_fork_in_progress", "module_fork_last_cow_size"], "no modules"),
    (&["active_defrag_running", "active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits"], "always 0"),
    (&["active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time"], "always 0"),
    (&["mem_overhead_db_hashtable_rehashing", "latest_fork_usec", "total_forks", "current_fork_perc"], "always 0"),
    (&["migrate_cached_sockets", "unexpected_error_replies", "dump_payload_sanitizations"], "always 0"),
    (&["io_threaded_reads_processed", "io_threaded_writes_processed", "current_cow_size_age"], "always 0"),
    (&["reply_buffer_shrinks", "reply_buffer_expands", "clients_in_timeout_table"], "always 0"),
    (&["total_blocking_keys_on_nokey"], "always 0"),
];

#[test]
fn metrics_tell_every_number_of_info_or_say_why_not() {
    let (server, port) = start(2, &["--appendonly", "yes"]);
    let mut client = connect(server.port);
    let Value::Bulk(info) = client.call(&["INFO", "everything"]).unwrap() else { panic!("INFO is text") };
    let metrics = get_with(port, "/metrics", "Accept: application/openmetrics-text\r\n").1;
    let info = String::from_utf8(info).expect("INFO is text");
    let fields: Vec<(&str, &str)> = info.lines().filter_map(|line| line.split_once(':')).collect();
    let is_number = |value: &str| value.trim_end_matches('%').parse::<f64>().is_ok();
    let is_omitted = |name: &str| NOT_TOLD.iter().any(|(names, _)| names.contains(&name));
    for (name, value) in fields.iter().filter(|(_, value)| is_number(value)) {
        let metrics_of: Vec<&str> = FIELDS.iter().filter(|(field, ..)| field == name).map(|(_, of, ..)| *of).collect();
        assert_eq!(metrics_of.is_empty(), is_omitted(name), "{name}:{value} has no metric and no reason, or both");
        for metric in metrics_of {
            assert!(metrics.contains(&format!("\n# TYPE {metric} ")), "{metric} of {name}");
        }
    }
    for name in NOT_TOLD.iter().flat_map(|(names, _)| *names) {
        assert!(fields.iter().any(|(field, _)| field == name), "INFO has no {name}");
    }
}

#[test]
fn hot_keys_are_counted_while_somebody_looks() {
    let (server, port) = start(2, &[]);
    let mut client = connect(server.port);
    client.call(&["SELECT", "3"]).expect("it is answered");
    let mut number = 0;
    let mut last = String::new();
    (0..50).for_each(|_| drop(client.call(&["GET", "before"]).expect("it is answered")));
    until("the key among the hot ones", || {
        for _ in 0..50 {
            number += 1;
            client.call(&["SET", &format!("cold:{number}"), "v"]).expect("it is answered");
            client.call(&["MGET", "hot", &format!("cold:{number}")]).expect("it is answered");
        }
        last = get(port, "/series.json").1;
        last.contains("\"top\":[{\"key\":\"hot\",\"cut\":false,\"db\":3,\"shard\":")
    });
    assert!(!last.contains("\"before\""), "nobody looked when it was used: {last}");
    // One that is received into a buffer of its own.
    let long = "long".repeat(20_000);
    until("the long key among the hot ones", || {
        (0..20).for_each(|_| drop(client.call(&["GET", &long]).expect("it is answered")));
        last = get(port, "/series.json").1;
        last.contains(&format!("{{\"key\":\"{}\",\"cut\":true,", &long[..128]))
    });
    assert!(!last.contains("\"key\":\"\""), "{last}");
}

#[test]
fn the_page_has_rates_where_latencies_are_not_tracked() {
    let (server, port) = start(1, &["--latency-tracking", "no"]);
    let mut client = connect(server.port);
    until("a second with commands", || {
        (0..20).for_each(|_| drop(client.call(&["PING"]).expect("it is answered")));
        let series = get(port, "/series.json").1;
        let rates = series.split("\"ops\":[").skip(1).filter_map(|rest| rest.split(']').next());
        series.contains("\"tracking\":false") && rates.map(|rate| rate.parse::<u64>().unwrap()).any(|rate| 0 < rate)
    });
    assert!(!get(port, "/series.json").1.contains("local.read"));
    assert!(!get(port, "/metrics").1.contains("corering_stage_seconds_bucket"));
}

#[test]
fn strange_requests_are_refused_and_the_server_goes_on() {
    let (server, port) = start(1, &[]);
    for (request, status) in [
        (&b"POST /metrics HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n"[..], "405"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"GET / HTTP/1.1\r\nnot a header\r\n\r\n", "400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"\0\0\0\0\r\n\r\n", "400"),
        // A page from elsewhere, whose name means this machine now.
        (b"GET /series.json HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
    ] {
        let answer = say(port, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", request.escape_ascii());
    }
    // A head without an end: told so after a few kilobytes, not after all of it.
    let mut stream = open(port);
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &b"a".repeat(64 * 1024)].concat();
    let _ = stream.write_all(&endless); // The server may close before it has all.
    let answer = read_all(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(connect(server.port).call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
}

#[test]
fn who_says_nothing_is_told_to_go() {
    let (_server, port) = start(1, &[]);
    let mut silent = open(port);
    let mut slow = open(port);
    let since = Instant::now();
    // A byte now and then wins no time.
    let mut drops = b"GET / HTTP/1.1\r\nX-Drop: ".iter().chain(std::iter::repeat(&b'a'));
    let gone = std::thread::scope(|scope| {
        let silent = scope.spawn(|| read_all(&mut silent));
        while since.elapsed() < WAIT {
            let byte = [*drops.next().expect("they never end")];
            if slow.write_all(&byte).is_err() {
                break;
            }
            slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket takes it");
            let mut answer = [0; 12];
            match slow.read(&mut answer) {
                Ok(_) => {
                    assert!(answer.starts_with(b"HTTP/1.1 408") || answer[0] == 0, "{answer:?}");
                    break;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        assert!(since.elapsed() < WAIT, "a client that dribbles is served for ever");
        silent.join().expect("it does not panic")
    });
    assert!(gone.starts_with("HTTP/1.1 408 "), "{gone}");
    assert!(Duration::from_secs(4) < since.elapsed(), "it had its time");
}

#[test]
fn who_holds_every_connection_keeps_nobody_from_the_keys() {
    let (server, port) = start(1, &[]);
    let mut holders: Vec<TcpStream> = (0..2 * CONNECTIONS_MAX).map(|_| open(port)).collect();
    for holder in &mut holders {
        let _ = holder.write_all(b"GET /metrics HTTP/1.1\r\nHost: lo"); // The first may be gone already.
    }
    for _ in 0..3 {
        for path in ["/healthz", "/readyz", "/metrics", "/"] {
            assert_eq!(get(port, path).0, 200, "{path}");
        }
    }
    assert_eq!(read_all(&mut holders[0]), "", "it made room");
    let mut client = connect(server.port);
    for _ in 0..100 {
        assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
    }
}

#[test]
fn addresses_may_be_missing_as_those_of_clients_may() {
    let (server, port) = start(1, &["--admin-bind", "127.0.0.1", "-::1", "-192.0.2.1"]);
    assert_eq!(get(port, "/healthz").0, 200);
    drop(server);
    let (mut server, port) = start(1, &["--admin-bind", ""]);
    assert!(server.is_alive() && TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(server.output().contains("nobody listens there"), "{}", server.output());
}

#[test]
fn a_flood_of_scrapes_is_answered_in_turn() {
    let (server, port) = start(2, &[]);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..CONNECTIONS_MAX + 4)
            .map(|number| {
                let path = if number % 2 == 0 { "/metrics" } else { "/series.json" };
                let ends = &ends;
                scope.spawn(move || {
                    let mut served = 0;
                    while !ends.load(Ordering::Relaxed) {
                        // Refused with words, or without them where the request came too late.
                        let mut stream = open(port);
                        let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
                        let answer = read_all(&mut stream);
                        let is_served = answer.starts_with("HTTP/1.1 200 ");
                        assert!(is_served || answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
                        served += u64::from(is_served);
                    }
                    served
                })
            })
            .collect();
        let mut client = connect(server.port);
        for number in 0..2_000 {
            assert_eq!(client.call(&["SET", &format!("key:{number}"), "v"]).unwrap(), ok());
        }
        ends.store(true, Ordering::Relaxed);
        let served: u64 = scrapers.into_iter().map(|scraper| scraper.join().expect("it does not panic")).sum();
        assert!(0 < served, "nobody was served");
    });
    assert_eq!(get(port, "/healthz").0, 200);
}

#[test]
fn who_never_reads_is_left_behind() {
    let (server, port) = start(1, &[]);
    let mut deaf: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| open(port)).collect();
    for stream in &mut deaf {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is read");
    }
    // They have their answers in their sockets or not: others are served as soon as their time is over.
    until("served beside them", || {
        let mut stream = open(port);
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").expect("it is read");
        read_all(&mut stream).starts_with("HTTP/1.1 200 ")
    });
    assert_eq!(connect(server.port).call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
}

#[test]
fn a_scraper_gets_through_beside_many_who_never_read() {
    let (_server, port) = start(2, &[]);
    for round in 0..3 {
        let mut deaf: Vec<TcpStream> = (0..4 * CONNECTIONS_MAX).map(|_| open(port)).collect();
        for stream in &mut deaf {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n"); // The first may be gone already.
        }
        for scrape in 0..5 {
            for path in ["/metrics", "/healthz", "/"] {
                assert_eq!(get(port, path).0, 200, "round {round}, scrape {scrape}, {path}");
            }
        }
    }
}

/// What the others do meanwhile is told, and of the one that is busy what was known last.
#[test]
fn a_core_that_is_busy_empties_no_metrics() {
    let (server, port) = start(2, &[]);
    let mut client = connect(server.port);
    let names = |text: &str| {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| line.split_once(' ')).map(|(name, _)| name.to_string()).collect::<BTreeSet<String>>()
    };
    let answering = |text: &str| {
        [0, 1].iter().filter(|core| count(text, &format!("corering_core_answers{{core=\"{core}\"}}")) == 1.0).count()
    };
    let mut before = String::new();
    until("both cores have told", || {
        before = get(port, "/metrics").1;
        answering(&before) == 2
    });
    std::thread::scope(|scope| {
        scope.spawn(|| client.call(&["DEBUG", "SLEEP", "6"]));
        let mut busy = String::new();
        until("one of them is busy", || {
            busy = get(port, "/metrics").1;
            answering(&busy) == 1
        });
        let told = names(&busy);
        let missing: Vec<String> = names(&before).into_iter().filter(|name| !told.contains(name)).collect();
        assert!(missing.is_empty() && busy.contains("redis_up 1\n"), "{missing:?}: {busy}");
        let series = get(port, "/series.json").1;
        assert!(series.contains("\"used_memory\":\"") && !series.contains("\"silent\":[]"), "{series}");
    });
    until("both answer again", || answering(&get(port, "/metrics").1) == 2);
}

#[test]
fn a_core_that_is_busy_holds_up_no_scrape_for_long() {
    let (server, port) = start(1, &[]);
    let mut client = connect(server.port);
    std::thread::scope(|scope| {
        scope.spawn(|| client.call(&["DEBUG", "SLEEP", "6"]));
        until("told that nobody answers", || get(port, "/metrics").1.contains("redis_up 0\n"));
        assert_eq!(get(port, "/healthz").0, 200);
    });
    until("answered again", || get(port, "/metrics").1.contains("redis_up 1\n"));
}
