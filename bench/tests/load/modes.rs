//! Every mode against a server of a test, and the actions other than `run`.

use crate::fake::{Fake, is};
use crate::{Folder, bench, complaint, measured, on_some_try, status};
use corering_bench::report::model::Report;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Requests, each a list of arguments.
type Kept = Arc<Mutex<Vec<Vec<Vec<u8>>>>>;

/// A server that answers `+OK` and keeps what it was asked.
fn keeping() -> (Fake, Kept) {
    let kept: Kept = Arc::default();
    let inside = kept.clone();
    let server = Fake::start(move |arguments| {
        inside.lock().expect("no thread panicked").push(arguments.to_vec());
        b"+OK\r\n".to_vec()
    });
    (server, kept)
}

/// The same as the one node of a cluster.
fn keeping_of_cluster() -> (Fake, Kept) {
    let (kept, port): (Kept, Arc<Mutex<u16>>) = Default::default();
    let (inside, own_port) = (kept.clone(), port.clone());
    let server = Fake::start(move |arguments| {
        if is(arguments, "CLUSTER") {
            let port = *own_port.lock().expect("no thread panicked");
            return slots_of_two(&[port, port]);
        }
        inside.lock().expect("no thread panicked").push(arguments.to_vec());
        b"+OK\r\n".to_vec()
    });
    *port.lock().unwrap() = server.port;
    (server, kept)
}

#[test]
fn fill_writes_every_key_once() {
    let (server, kept) = keeping();
    let output = bench(&format!("fill -s {} --keys 5000 --value-size 10-20 --ttl 5-9", server.address));
    assert_eq!(status(&output), 0, "{}", complaint(&output));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("5,000 keys in "));
    let kept = kept.lock().unwrap();
    let sets: Vec<_> = kept.iter().filter(|arguments| is(arguments, "SET")).collect();
    let keys: BTreeSet<_> = sets.iter().map(|arguments| arguments[1].clone()).collect();
    assert_eq!((sets.len(), keys.len()), (5000, 5000));
    assert!(sets.iter().all(|set| (10..=20).contains(&set[2].len()) && set[3] == b"EX"));
    assert_eq!(keys.first().unwrap(), b"key:000000000000");
}

#[test]
fn a_greeting_comes_first_on_every_connection() {
    let (server, kept) = keeping();
    let line = format!("-s {} --user u --password secret --db 3 --resp 3 -c 3 -w 0 -n 30 --mix ping", server.address);
    let run = measured("greeting", &line, 0);
    assert_eq!(run.counts.unwrap().answered, 30);
    let kept = kept.lock().unwrap();
    let count = |words: &[&str]| {
        kept.iter().filter(|arguments| arguments.iter().eq(words.iter().map(|word| word.as_bytes()))).count()
    };
    // Three connections, and the one that asks who the server is.
    assert_eq!((count(&["AUTH", "u", "secret"]), count(&["HELLO", "3"]), count(&["SELECT", "3"])), (4, 4, 4));
    assert!(!format!("{run:?}").contains("secret"), "reports tell no passwords");
}

/// What `CLUSTER SLOTS` says of two nodes with half of the slots each.
fn slots_of_two(ports: &[u16]) -> Vec<u8> {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let range = |from: u16, to: u16, port: u16| {
        format!("*3\r\n:{from}\r\n:{to}\r\n*3\r\n{}:{port}\r\n{}", bulk("127.0.0.1"), bulk("id"))
    };
    format!("*2\r\n{}{}", range(0, 8191, ports[0]), range(8192, 16383, ports[1])).into_bytes()
}

/// Two nodes, each with half of the slots, and a slot that moves.
#[test]
fn a_cluster_is_asked_by_slot_and_redirections_are_followed() {
    let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
    let has_moved = Arc::new(AtomicBool::new(false));
    let seen: Arc<Mutex<[u64; 2]>> = Arc::default();
    let node = |number: usize| {
        let (ports, has_moved, seen) = (ports.clone(), has_moved.clone(), seen.clone());
        Fake::start(move |arguments| {
            let ports = ports.lock().unwrap();
            if is(arguments, "CLUSTER") {
                return slots_of_two(&ports);
            }
            if !is(arguments, "GET") {
                return b"+OK\r\n".to_vec();
            }
            let slot = corering_bench::wire::cluster::slot(&arguments[1]);
            let owner = usize::from(8192 <= slot);
            // The first node sends everything below slot 100 away, after its first requests.
            if owner == 0 && number == 0 && slot < 100 {
                has_moved.store(true, Ordering::Relaxed);
                let word = if slot < 50 { "MOVED" } else { "ASK" };
                return format!("-{word} {slot} 127.0.0.1:{}\r\n", ports[1]).into_bytes();
            }
            assert!(owner == number || slot < 100, "slot {slot} belongs to node {owner}");
            seen.lock().unwrap()[number] += 1;
            b"$-1\r\n".to_vec()
        })
    };
    let nodes = [node(0), node(1)];
    ports.lock().unwrap().extend(nodes.iter().map(|node| node.port));
    for (name, more) in [("cluster-closed", "-n 20000"), ("cluster-open", "--rate 4k -d 1s")] {
        on_some_try(|| {
            let line = format!("-s {} --cluster -c 6 -P 4 -w 0 {more} --mix get --keys 1000000", nodes[0].address);
            let run = measured(name, &line, 0);
            let counts = run.counts.unwrap();
            assert!(has_moved.load(Ordering::Relaxed) && 0 < counts.redirections, "{counts:?}");
            assert_eq!(counts.error_replies, 0);
        });
    }
    let seen = seen.lock().unwrap();
    assert!(4_000 < seen[0] && 4_000 < seen[1], "{seen:?}");
}

/// Two nodes, each with half of the slots, and no mercy: whoever asks the wrong one is sent away.
#[test]
fn a_cluster_is_asked_where_the_whole_key_is() {
    let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
    let node = |number: usize| {
        let ports = ports.clone();
        Fake::start(move |arguments| {
            let ports = ports.lock().unwrap();
            if is(arguments, "CLUSTER") {
                return slots_of_two(&ports);
            }
            let key = match () {
                () if is(arguments, "PING") || is(arguments, "INFO") => return b"+PONG\r\n".to_vec(),
                () if is(arguments, "EVAL") => &arguments[3],
                () => &arguments[1],
            };
            let slot = corering_bench::wire::cluster::slot(key);
            let owner = usize::from(8192 <= slot);
            let every = if is(arguments, "MSET") { 2 } else { 1 };
            let is_several = is(arguments, "MSET") || is(arguments, "MGET");
            if is_several
                && arguments[1..].iter().step_by(every).any(|key| corering_bench::wire::cluster::slot(key) != slot)
            {
                return b"-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_vec();
            }
            if owner == number {
                b":1\r\n".to_vec()
            } else {
                format!("-MOVED {slot} 127.0.0.1:{}\r\n", ports[owner]).into_bytes()
            }
        })
    };
    let nodes = [node(0), node(1)];
    ports.lock().unwrap().extend(nodes.iter().map(|node| node.port));
    let loads = [
        "--mix incr,lpush,lrange_100,sadd,spop,xadd,hset,zadd,ping",
        "--command SET~user:{key}:name~{value} --command GET~fixed --command GET~other",
        "--mix mset,mget,set --key-distribution zipf:0.99",
        "--mix mset,mget,get --key-distribution sequential",
        "--command MGET~{{a}}{key}~{{a}}x{key} --command MSET~{{b}}{key}~{key}~{{b}}{key}~{key}",
        "--command EVAL~return~1~{key}:script --command EVAL~'return~1'~1~{{tag{int:0:99}}}{key}",
    ];
    for load in loads {
        let line = format!("-s {} --cluster -c 4 -w 0 -n 3000 {load}", nodes[0].address);
        let run = measured("cluster-keys", &line, 0);
        let counts = run.counts.unwrap();
        assert_eq!((counts.answered, counts.redirections), (3000, 0), "{load}");
        assert!(nodes.iter().all(|node| 300 < node.requests()), "{load}: both have their share");
    }
}

/// Whatever a mix has, the keys that `fill` wrote are those that it asks for.
#[test]
fn a_cluster_is_filled_with_the_keys_that_every_mix_asks_for() {
    let (server, kept) = keeping_of_cluster();
    let keys_of = |line: &str, expected: i32| {
        kept.lock().unwrap().clear();
        let output = bench(&line.replace("SERVER", &server.address));
        assert_eq!(status(&output), expected, "{}", complaint(&output));
        let kept = kept.lock().unwrap();
        let asked = kept.iter().filter(|arguments| ["SET", "GET", "MGET"].iter().any(|name| is(arguments, name)));
        let keys = |arguments: &Vec<Vec<u8>>| match is(arguments, "MGET") {
            true => arguments[1..].to_vec(),
            false => vec![arguments[1].clone()],
        };
        asked.flat_map(keys).collect::<BTreeSet<Vec<u8>>>()
    };
    let filled = keys_of("fill -s SERVER --cluster --keys 500", 0);
    assert_eq!(filled.len(), 500);
    for mix in ["get:4,set:1,mget:1", "get", "set,get"] {
        let asked = keys_of(&format!("run -s SERVER --cluster --keys 500 -w 0 -n 5000 -q --mix {mix}"), 0);
        assert!(400 < asked.len() && asked.is_subset(&filled), "{mix}: {:?}", asked.difference(&filled).next());
    }
    let plain = keys_of("fill -s SERVER --keys 500", 0);
    let asked = keys_of("run -s SERVER --cluster --hash-tags=no --keys 500 -w 0 -n 5000 -q --mix get", 0);
    assert!(asked.is_subset(&plain) && plain.is_disjoint(&filled));
}

#[test]
fn a_form_can_be_the_output() {
    let server = Fake::prompt();
    let run = |more: &str| bench(&format!("run -s {} -w 0 -n 200 -c 2 --mix get {more}", server.address));
    let output = run("--json -");
    assert_eq!(status(&output), 0, "{}", complaint(&output));
    let report: Report = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(report.runs[0].counts.unwrap().answered, 200);
    assert!(String::from_utf8_lossy(&run("--csv -").stdout).starts_with("run,command,count"));
    assert!(!std::path::Path::new("-").exists(), "no file has that name");
    // What cannot be is refused before anything is measured.
    let before = server.requests();
    for bad in ["--json - --csv -", "--hgrm -", "--out -"] {
        let output = run(bad);
        assert_eq!((status(&output), server.requests()), (2, before), "{bad}: {}", complaint(&output));
    }
}

#[test]
fn all_forms_of_a_report_are_written() {
    on_some_try(|| {
        let server = Fake::prompt();
        let folder = Folder::new("forms");
        let line = format!(
            "run -s {} --rate 2k -w 0 -d 1s -c 4 --title the~title --out {}",
            server.address,
            folder.0.display()
        );
        let output = bench(&line);
        assert_eq!(status(&output), 0, "{}", complaint(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for wanted in ["the title", "requests/s of 2,000 offered", "p99.999", "own lateness"] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        assert!(folder.read("report.html").contains("<title>the title</title>"));
        assert_eq!(folder.read("result.csv").lines().count(), 1 + 3);
        assert!(8 <= folder.read("series.csv").lines().count());
        assert!(folder.read("latency_GET.hgrm").contains("TotalCount"));

        // And read again, with those of other tools.
        std::fs::write(folder.0.join("rb.csv"), "\"test\",\"rps\",\"p50_latency_ms\"\n\"SET\",\"5.0\",\"0.2\"\n")
            .unwrap();
        let (a, b, c) = (folder.file("result.json"), folder.file("latency_all.hgrm"), folder.file("rb.csv"));
        let output = bench(&format!("report ours={a} curve={b} {c} --json {}", folder.file("all.json")));
        assert_eq!(status(&output), 0, "{}", complaint(&output));
        let report: Report = serde_json::from_str(&folder.read("all.json")).unwrap();
        assert_eq!(report.runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["ours", "curve", "rb"]);
        assert_eq!(report.runs[0].rows[0].latency.count, report.runs[1].rows[0].latency.count);
    });
}

#[test]
fn a_sweep_finds_where_a_server_stops_keeping_up() {
    on_some_try(|| {
        // Two connections of about a millisecond each: the knee is below two thousand.
        let server = Fake::start(|arguments| {
            if is(arguments, "GET") {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            b"+OK\r\n".to_vec()
        });
        let folder = Folder::new("sweep");
        let line = format!(
            "sweep -s {} --rates 100,200,4k,8k,16k -c 2 -w 0 -d 700ms --mix get --p99-max 500ms --json {} --html {}",
            server.address,
            folder.file("s.json"),
            folder.file("s.html")
        );
        let output = bench(&line);
        assert_eq!(status(&output), 0, "{}", complaint(&output));
        let report: Report = serde_json::from_str(&folder.read("s.json")).unwrap();
        let sweep = report.sweep.unwrap();
        assert_eq!((sweep.knee_per_s, sweep.steps.len()), (Some(200.0), 4), "after two failures it ends: {sweep:?}");
        assert!(sweep.knee_reason.contains("left over"), "{}", sweep.knee_reason);
        assert!(folder.read("s.html").contains("knee: 200/s"));
    });
}

#[test]
fn a_comparison_tells_a_slow_server_from_itself() {
    on_some_try(|| {
        let fast = Fake::prompt();
        let slow = Fake::start(|arguments| {
            if is(arguments, "GET") {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            b"+OK\r\n".to_vec()
        });
        let folder = Folder::new("compare");
        let line = format!(
            "compare --a {} --b {} --rounds 6 -w 0 -d 150ms -c 2 --mix get --json {}",
            fast.address,
            slow.address,
            folder.file("c.json")
        );
        let output = bench(&line);
        assert_eq!(status(&output), 0, "{}", complaint(&output));
        let report: Report = serde_json::from_str(&folder.read("c.json")).unwrap();
        let comparison = report.comparison.unwrap();
        assert_eq!(comparison.rounds, 6);
        let rate = &comparison.metrics[0];
        assert!(rate.verdict.starts_with("B is worse"), "{rate:?}");
        assert!(rate.ratio.high < rate.control.low, "{rate:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("control A/A") && text.contains("B is worse"), "{text}");
    });
}

#[test]
fn every_help_is_shown() {
    for line in ["--help", "-h", "run --help", "sweep -h", "compare -h", "fill -h", "report -h"] {
        assert_eq!(status(&bench(line)), 0, "{line}");
    }
    assert_eq!(status(&bench("")), 2);
}

#[test]
fn many_connections_are_held_by_few_threads() {
    on_some_try(|| {
        let server = Fake::prompt();
        let run = measured("many", &format!("-s {} -c 400 -t 2 --rate 3k -w 0 -d 1s --mix get", server.address), 0);
        assert_eq!((run.counts.unwrap().planned, run.generator.unwrap().threads), (3_000, 2));
    });
}
