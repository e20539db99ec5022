//! Servers that are dead, silent or liars: bounded, a clear sentence, and what was measured is kept.

use crate::fake::{Fake, is};
use crate::{Folder, bench, complaint, measured, on_some_try, status};
use corering_bench::report::model::Report;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For servers whose fault is seen at once: no machine that tests is held up for as long.
const LONG: &str = "--timeout 45s";
/// For servers that are waited for in vain.
const SHORT: &str = "--timeout 2s";

/// Expects that a run is given up soon, with a sentence that says this.
fn check_given_up(name: &str, address: &str, more: &str, says: &str) -> Folder {
    let folder = Folder::new(name);
    let begin = Instant::now();
    let line = format!("run -s {address} -w 0 -d 60s -c 4 --mix get {more} --out {}", folder.0.display());
    let output = bench(&line);
    assert_eq!(status(&output), 3, "{}", complaint(&output));
    assert!(complaint(&output).contains(says), "{says:?} is not in {:?}", complaint(&output));
    assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
    folder
}

#[test]
fn nobody_listens() {
    check_given_up("dead", "127.0.0.1:1", LONG, "Connection refused");
    check_given_up("no-socket", "unix:/nowhere/at/all", LONG, "No such file");
    let output = bench("run -s no.such.host.invalid:1 -d 1s");
    assert_eq!(status(&output), 3, "{}", complaint(&output));
}

#[test]
fn somebody_listens_and_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    check_given_up("silent", &silent.local_addr().unwrap().to_string(), SHORT, "took too long");
}

#[test]
fn it_greets_and_then_says_nothing() {
    let server = Fake::start(|arguments| if is(arguments, "GET") { Vec::new() } else { b"+PONG\r\n".to_vec() });
    for (name, more) in [("mute-closed", ""), ("mute-open", "--rate 100")] {
        on_some_try(|| {
            let more = format!("{more} {SHORT}");
            let folder = check_given_up(name, &server.address, &more, "answers no request within 2 s");
            let report: Report = serde_json::from_str(&folder.read("result.json")).unwrap();
            let counts = report.runs[0].counts.unwrap();
            assert_eq!((counts.answered, 0 < counts.unanswered), (0, true), "{counts:?}");
            assert!(folder.read("report.html").contains("given up before the end"));
        });
    }
}

#[test]
fn it_lies() {
    let lies: [(&str, &[u8], &str); 6] = [
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no reply"),
        ("huge", b"$99999999999999\r\n", "impossible length"),
        ("elements", b"*99999999999999\r\n", "impossible length"),
        ("long-line", &[b'+'; 70_000], "a line of more than"),
        ("length", b"$2\r\nabc\r\n", "does not end where its length says"),
        ("twice", b"+OK\r\n+OK\r\n", "nobody asked for"),
    ];
    for (name, lie, says) in lies {
        // The first hundred answers are true, so that there is something to keep.
        let told = AtomicU64::new(0);
        let server =
            Fake::start(move |arguments| match is(arguments, "GET") && 100 <= told.fetch_add(1, Ordering::Relaxed) {
                true => lie.to_vec(),
                false => b"+OK\r\n".to_vec(),
            });
        let folder = check_given_up(name, &server.address, LONG, says);
        let report: Report = serde_json::from_str(&folder.read("result.json")).unwrap();
        assert!(50 <= report.runs[0].counts.unwrap().answered, "{name}: {:?}", report.runs[0].counts);
        for file in ["result.csv", "series.csv", "latency_all.hgrm", "report.html"] {
            assert!(!folder.read(file).is_empty());
        }
    }
}

#[test]
fn it_announces_much_and_sends_nothing_more() {
    let server =
        Fake::start(|arguments| if is(arguments, "GET") { b"$4000000000\r\nx".to_vec() } else { b"+OK\r\n".to_vec() });
    on_some_try(|| drop(check_given_up("endless", &server.address, SHORT, "answers no request")));
}

#[test]
fn it_closes_connections() {
    let server = Fake::start(|arguments| if is(arguments, "GET") { b"close".to_vec() } else { b"+OK\r\n".to_vec() });
    check_given_up("closing", &server.address, LONG, "keeps closing connections");
}

#[test]
fn it_closes_one_connection_in_between() {
    on_some_try(|| {
        let told = AtomicU64::new(0);
        let server =
            Fake::start(move |arguments| match is(arguments, "GET") && told.fetch_add(1, Ordering::Relaxed) == 200 {
                true => b"close".to_vec(),
                false => b"+OK\r\n".to_vec(),
            });
        let run = measured("one-closed", &format!("-s {} -c 2 -w 0 --rate 500 -d 1s --mix get", server.address), 1);
        let counts = run.counts.unwrap();
        assert_eq!((counts.lost, counts.connections_closed, counts.planned), (1, 1, 500), "{counts:?}");
    });
}

#[test]
fn it_refuses_the_greeting() {
    let server = Fake::start(|_| b"-NOAUTH Authentication required.\r\n".to_vec());
    check_given_up("refusing", &server.address, LONG, "refuses the greeting: NOAUTH Authentication required.");
}

#[test]
fn errors_are_counted_and_told() {
    let server = Fake::start(|arguments| match is(arguments, "SET") {
        true => b"-OOM command not allowed\r\n".to_vec(),
        false => b"$-1\r\n".to_vec(),
    });
    let run = measured("errors", &format!("-s {} -c 2 -w 0 -n 1000 --mix get,set", server.address), 1);
    let counts = run.counts.unwrap();
    assert_eq!(counts.answered, 1000);
    assert_eq!(run.errors, [("OOM".to_string(), counts.error_replies)]);
    assert_eq!(run.rows[0].nils, Some(1000 - counts.error_replies));
    assert!(run.warnings.iter().any(|warning| warning.contains("every GET found nothing")), "{:?}", run.warnings);
}

#[test]
fn what_cannot_be_written_or_read_is_said() {
    let server = Fake::prompt();
    let output = bench(&format!("run -s {} -w 0 -n 10 -c 1 --csv /proc/no/such", server.address));
    assert_eq!(status(&output), 4, "{}", complaint(&output));
    let output = bench("report /nowhere.json --html x.html");
    assert_eq!(status(&output), 4);
    assert!(complaint(&output).contains("/nowhere.json"));
    assert_eq!(status(&bench("run --rate no")), 2);
    assert_eq!(status(&bench("run --command GET~{kay}")), 2);
    assert_eq!(status(&bench("run --mix set --ttl 5 --keys 5 --rate 1000M -d 100h")), 2);
}

#[test]
fn an_interrupt_ends_a_run_and_keeps_what_was_measured() {
    let server = Fake::prompt();
    let folder = Folder::new("interrupt");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_corering-bench"))
        .args([
            "run",
            "-s",
            &server.address,
            "--rate",
            "500",
            "-w",
            "0",
            "-d",
            "60s",
            "-c",
            "2",
            "-q",
            "--json",
            &folder.file("r.json"),
        ])
        .spawn()
        .expect("the tool was built");
    while server.requests() < 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("there is kill").success());
    let begin = Instant::now();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(30), "the sixty seconds are not waited for");
    let report: Report = serde_json::from_str(&folder.read("r.json")).unwrap();
    crate::check_sums(&report.runs[0]);
    assert!(100 < report.runs[0].counts.unwrap().answered);
    assert!(report.runs[0].warnings.iter().any(|warning| warning.contains("interrupted")));
}
