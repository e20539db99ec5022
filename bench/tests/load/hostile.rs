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

/// Starts the tool, waits for some requests, sends it signals: it ends soon, and says that it was interrupted.
fn check_interrupted(name: &str, action: &str, signals: &[&str]) -> Report {
    let server = Fake::prompt();
    let folder = Folder::new(name);
    let line = action.replace("SERVER", &server.address);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_corering-bench"))
        .args(line.split(' '))
        .args(["-c", "2", "-q", "-w", "0", "--json", &folder.file("r.json")])
        .spawn()
        .expect("the tool was built");
    while server.requests() < 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    for signal in signals {
        assert!(
            std::process::Command::new("kill").args([*signal, pid.as_str()]).status().expect("there is kill").success()
        );
    }
    let begin = Instant::now();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{name}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{name}: the sixty seconds are not waited for");
    serde_json::from_str(&folder.read("r.json")).unwrap()
}

#[test]
fn an_interrupt_ends_a_run_and_keeps_what_was_measured() {
    // Twice at once is what `timeout` does: it tells the process, and the group it is in.
    let ways = [("interrupt", vec!["-INT"]), ("twice", vec!["-TERM", "-TERM"]), ("int-term", vec!["-INT", "-TERM"])];
    let actions =
        ["run -s SERVER --rate 500 -d 60s", "run -s SERVER -n 1000m", "sweep -s SERVER --rates 300,400 -d 60s"];
    for (name, signals) in ways {
        for action in actions {
            let action_name = action.split(' ').next().unwrap();
            let report = check_interrupted(&format!("{name}-{action_name}"), action, &signals);
            crate::check_sums(&report.runs[0]);
            assert!(100 < report.runs[0].counts.unwrap().answered);
            assert!(report.runs[0].warnings.iter().any(|warning| warning.contains("interrupted")));
            if let Some(sweep) = report.sweep {
                let said = (sweep.steps.len(), sweep.knee_per_s, sweep.knee_reason.as_str());
                assert_eq!(said, (0, None, "interrupted before the end"), "a rate cut short was not held, nor missed");
            }
        }
    }
}

#[test]
fn a_comparison_that_ends_in_its_first_round_tells_what_was_measured() {
    let action = "compare --a SERVER --b SERVER --rounds 3 --rate 500 -d 60s";
    let report = check_interrupted("interrupt-compare", action, &["-TERM", "-TERM"]);
    assert!(report.comparison.is_none(), "nothing can be compared");
    assert_eq!(report.runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["round 1, A"]);
    crate::check_sums(&report.runs[0]);
    assert!(100 < report.runs[0].counts.unwrap().answered);
    let warnings = &report.runs[0].warnings;
    assert!(warnings.iter().any(|warning| warning.contains("within its first round: nothing is compared")));

    // The same where the second server is not there: what the first one did is told.
    let server = Fake::prompt();
    let folder = Folder::new("compare-dead");
    let line =
        format!("compare --a {} --b 127.0.0.1:1 -c 2 -w 0 -d 200ms --json {}", server.address, folder.file("r.json"));
    let output = bench(&line);
    assert_eq!(status(&output), 3, "{}", complaint(&output));
    assert!(complaint(&output).contains("127.0.0.1:1"), "{}", complaint(&output));
    let report: Report = serde_json::from_str(&folder.read("r.json")).unwrap();
    assert_eq!((report.runs.len(), report.runs[0].name.as_str()), (1, "round 1, A"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing is compared"));
}

#[test]
fn a_comparison_that_ends_later_says_how_many_rounds_it_had() {
    // 75 requests a round: the signal comes in the third, or after it.
    let action = "compare --a SERVER --b SERVER --rounds 1000 --rate 500 -d 50ms";
    let report = check_interrupted("interrupt-later", action, &["-INT"]);
    let rounds = report.comparison.expect("there were rounds").rounds;
    assert_eq!((report.runs.len(), report.runs[2].name.as_str()), (3, "round 1, A again"));
    let said = format!("ended after {rounds} of 1000 rounds");
    assert!(report.runs[0].warnings.iter().any(|warning| warning.contains(&said)), "{:?}", report.runs[0].warnings);
}

#[test]
fn who_waits_for_replies_in_vain_can_be_interrupted() {
    on_some_try(|| {
        // Two hundred answers, then none; the half minute that replies may take begins.
        let told = AtomicU64::new(0);
        let server =
            Fake::start(move |arguments| match is(arguments, "GET") && 200 <= told.fetch_add(1, Ordering::Relaxed) {
                true => Vec::new(),
                false => b"+OK\r\n".to_vec(),
            });
        let folder = Folder::new("drain");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_corering-bench"))
            .args(["run", "-s", &server.address, "--rate", "1000", "-d", "1s", "-w", "0", "-c", "2", "-q"])
            .args(["--mix", "get", "--timeout", "30s", "--json", &folder.file("r.json")])
            .spawn()
            .expect("the tool was built");
        std::thread::sleep(Duration::from_secs(3));
        let begin = Instant::now();
        let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(kill.expect("there is kill").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        let report: Report = serde_json::from_str(&folder.read("r.json")).unwrap();
        crate::check_sums(&report.runs[0]);
    });
}

#[test]
fn streams_that_take_nothing_lose_no_result() {
    let server = Fake::prompt();
    let refusing = Fake::start(|arguments| match is(arguments, "SET") {
        true => b"-ERR no\r\n".to_vec(),
        false => b"+OK\r\n".to_vec(),
    });
    let folder = Folder::new("streams");
    let start = |line: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_corering-bench"));
        command.args(line.split(' '));
        command
    };
    let full = std::fs::File::options().write(true).open("/dev/full").expect("there is such a device");
    let json = folder.file("r.json");
    for (line, wanted) in [
        (format!("run -s {} -w 0 -n 10 -c 1 --json {json}", server.address), 4),
        (format!("fill -s {} --keys 10", server.address), 4),
        (format!("report {json}"), 4),
    ] {
        let output = start(&line).stdout(full.try_clone().unwrap()).output().expect("it runs");
        assert_eq!(status(&output), wanted, "{line}: {}", complaint(&output));
        assert!(complaint(&output).contains("cannot write the output: "), "{}", complaint(&output));
    }
    assert!(folder.read("r.json").contains("\"runs\""));
    // An error stream that nobody reads: what cannot be said is not said.
    for (line, wanted) in [
        (format!("run -s {} -w 0 -n 10 -c 1 --csv /proc/no/such", server.address), 4),
        (format!("fill -s {} --keys 10", refusing.address), 1),
        (format!("sweep -s {} --rates 100 -w 0 -d 100ms -c 1", server.address), 0),
        (format!("compare --a {0} --b {0} --rounds 1 -w 0 -d 50ms -c 1", server.address), 0),
        ("run -s 127.0.0.1:1".to_string(), 3),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = start(&line).stderr(writer).output().expect("it runs");
        assert_eq!(output.status.code(), Some(wanted), "{line}");
    }
}
