//! `corering-check` on files that servers wrote and tests damage: its verdict beside those of Redis' own checkers, that
//! what it repairs is loaded with everything that stood before the damage, and that nothing gets worse.

use crate::client::{Client, Value};
use crate::extra::wait_until;
use crate::process::{Kind, Server};
use crate::scratch::Scratch;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CHECK: &str = env!("CARGO_BIN_EXE_corering-check");
/// Where both servers keep their log, below their directory.
const LOG: &str = "appendonlydir";
const INCR: &str = "appendonly.aof.1.incr.aof";

impl Scratch {
    /// The directory of the log.
    pub fn log(&self) -> PathBuf {
        self.0.join(LOG)
    }

    /// All files, below the directory of the log too.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for directory in [self.0.clone(), self.log()] {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_file() {
                    files.insert(entry.path(), std::fs::read(entry.path()).expect("it is readable"));
                }
            }
        }
        files
    }

    /// The directory has these files, and no others.
    fn put(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        self.files().keys().filter(|path| !files.contains_key(*path)).for_each(|path| {
            std::fs::remove_file(path).expect("it is there");
        });
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("it is writable"));
    }
}

fn say(client: &mut Client, line: &str) -> String {
    client.call(&line.split(' ').collect::<Vec<_>>()).expect("a reply").to_string()
}

fn number(client: &mut Client, line: &str) -> i64 {
    match client.call(&line.split(' ').collect::<Vec<_>>()).expect("a reply") {
        Value::Integer(number) => number,
        other => panic!("{line}: {other}"),
    }
}

/// Ends a server as its operator would.
pub fn stop((mut server, mut client): (Server, Client)) {
    let _ = client.call(&["SHUTDOWN"]); // It answers by going away.
    wait_until("it ends after SHUTDOWN", || !server.is_alive());
}

/// Runs it with an answer: exit status, and all that it said.
pub fn check(path: &Path, arguments: &[&str], answer: &str) -> (i32, String) {
    let mut command = Command::new(CHECK);
    command.arg(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was built");
    child.stdin.take().expect("piped").write_all(answer.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("no signal"), String::from_utf8(text).expect("text"))
}

/// Whether Redis' checker calls a file valid.
pub fn is_valid(checker: &str, path: &Path) -> bool {
    Command::new(checker).arg(path).output().expect("Debian's redis-tools").status.success()
}

const REPAIR: &[&str] = &["--fix", "--yes", "--lose-what-follows"];

/// A server with keys of some types.
fn fill(client: &mut Client) {
    for at in 0..40 {
        say(client, &format!("SET key:{at} value:{at}"));
    }
    say(client, "RPUSH list a b c 1 2 3");
    say(client, "SADD numbers 1 2 3");
    say(client, "SADD words a b c");
    say(client, "ZADD scores 1 a 2 b");
    say(client, "HSET hash field value");
    say(client, "XADD stream 1-1 a b");
    say(client, "PEXPIREAT key:1 4102444800000");
    say(client, "SELECT 3");
    say(client, "SET elsewhere 1");
}

#[test]
fn snapshots_are_described_judged_as_redis_judges_them_and_saved_to_the_last_whole_key() {
    for kind in [Kind::Redis, Kind::Corering { shards: 2 }] {
        let scratch = Scratch::new(&format!("rdb-{}", kind == Kind::Redis));
        let mut running = scratch.start(kind, &[]);
        fill(&mut running.1);
        assert_eq!(say(&mut running.1, "SAVE"), "+OK");
        drop(running);
        let file = scratch.0.join("dump.rdb");
        let whole = scratch.files();
        let bytes = whole[&file].clone();
        let (status, text) = check(&file, &[], "");
        assert_eq!(status, 0, "{text}");
        for expected in [
            "version 10, with a checksum, made at 20",
            "database 0: 46 keys, 1 with a deadline, 0 expired already",
            "database 3: 1 keys",
            "set (intset): 1 keys",
            "stream (stream): 1 keys",
            "dump.rdb: whole\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        let (status, json) = check(&scratch.0, &["--json"], "");
        assert_eq!((status, json.lines().count()), (0, 1));
        assert!(json.contains("\"verdict\":\"whole\"") && json.contains("\"keys\":47"), "{json}");

        let len = bytes.len();
        let mut cases: Vec<Vec<u8>> =
            (0..len).step_by(61).chain([8, 9, len - 9, len - 1]).map(|at| bytes[..at].to_vec()).collect();
        cases.extend((5..len).step_by(97).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            flipped
        }));
        cases.push([&bytes[..], b"behind"].concat());
        for (number, damaged) in cases.into_iter().enumerate() {
            scratch.put(&whole);
            std::fs::write(&file, &damaged).expect("it is writable");
            let (status, text) = check(&file, &[], "");
            assert_eq!(status == 0, is_valid("redis-check-rdb", &file), "case {number}: {text}");
            if status != 1 {
                continue;
            }
            let (no, _) = check(&file, &["--fix"], "n\n");
            assert!([1, 2].contains(&no) && std::fs::read(&file).expect("there") == damaged, "case {number}");
            let (status, text) = check(&file, REPAIR, "");
            let backup = scratch.0.join("dump.rdb.bak-1");
            if status == 2 {
                assert!(text.contains("nothing of the snapshot") || text.contains("cannot be repaired"), "{text}");
                assert!(std::fs::read(&file).expect("there") == damaged && !backup.exists(), "case {number}");
                continue;
            }
            assert_eq!(status, 0, "case {number}: {text}");
            assert_eq!(std::fs::read(&backup).expect("there"), damaged, "case {number}");
            assert!(is_valid("redis-check-rdb", &file), "case {number}: {text}");
        }
        // Cut in half, each server loads what is left, which is the first half of the keys.
        scratch.put(&whole);
        std::fs::write(&file, &bytes[..len / 2]).expect("it is writable");
        let (status, text) = check(&file, &["--fix", "--yes"], "");
        assert_eq!(status, 0, "{text}");
        let mut sizes = Vec::new();
        for kind in [Kind::Redis, Kind::Corering { shards: 1 }] {
            let (_server, mut client) = scratch.start(kind, &[]);
            sizes.push(number(&mut client, "DBSIZE"));
        }
        assert!(sizes[0] == sizes[1] && 10 < sizes[0], "{sizes:?}");
    }
}

#[test]
fn logs_of_redis_are_judged_as_redis_judges_them_and_cut_where_it_would_cut_them() {
    let scratch = Scratch::new("aof");
    let mut running = scratch.start(Kind::Redis, &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
    fill(&mut running.1);
    say(&mut running.1, "MULTI");
    say(&mut running.1, "SET a 1");
    say(&mut running.1, "SET b 2");
    say(&mut running.1, "EXEC");
    stop(running);
    let whole = scratch.files();
    let incr = scratch.log().join(INCR);
    let manifest = scratch.log().join("appendonly.aof.manifest");
    let bytes = whole[&incr].clone();
    let len = bytes.len();
    let (status, text) = check(&scratch.log(), &[], "");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("50 commands, 1 transactions, databases 0 3"), "{text}");
    let mut cases: Vec<(Vec<u8>, bool)> =
        (1..len).step_by(73).chain([len - 1, len - 15]).map(|at| (bytes[..at].to_vec(), true)).collect();
    cases.push(([&bytes[..], &[0; 100]].concat(), true));
    cases.push(([&bytes[..], b"*3\r\n$3\r\nSET\r\n"].concat(), true));
    cases.push(([&bytes[..], b"*1\r\n$4\r\nEXEC\r\n"].concat(), true));
    for at in (0..len).step_by(131) {
        let mut flipped = bytes.clone();
        flipped[at] = if flipped[at] == b'\r' { b'x' } else { b'\r' };
        cases.push((flipped, false));
    }
    for (number, (damaged, is_tail)) in cases.iter().enumerate() {
        scratch.put(&whole);
        std::fs::write(&incr, damaged).expect("it is writable");
        let (status, text) = check(&scratch.log(), &[], "");
        // An annotation without its end is one for Redis.
        let is_half_annotation =
            damaged.rsplit(|byte| *byte == b'\n').next().is_some_and(|line| line.starts_with(b"#"));
        let is_expected = is_valid("redis-check-aof", &manifest) && !is_half_annotation;
        // Names of commands only this program looks at: with 2 nothing is known to be damaged.
        assert_eq!(status != 1, is_expected, "case {number}: {text}");
        if status != 1 {
            continue;
        }
        let before = scratch.files();
        let (status, text) = check(&scratch.log(), &["--fix"], "n\n");
        assert!(status == 1 && text.contains("Continue? [y/N]"), "case {number}: {text}");
        assert!(scratch.files() == before, "case {number}: the answer was no");
        let (status, text) = check(&incr, &["--fix", "--yes"], "");
        assert!(status == 2 && text.contains("is a part of the log in"), "case {number}: {text}");
        let (status, text) = check(&scratch.log(), REPAIR, "");
        assert_eq!(status, 0, "case {number}: {text}");
        let mended = std::fs::read(&incr).expect("there");
        assert!(damaged.starts_with(&mended) && is_valid("redis-check-aof", &manifest), "case {number}: {text}");
        assert_eq!(std::fs::read(scratch.log().join(format!("{INCR}.bak-1"))).expect("there"), *damaged);
        if *is_tail && !is_half_annotation {
            // Redis' own repair of the same file.
            scratch.put(&whole);
            std::fs::write(&incr, damaged).expect("it is writable");
            let mut fixing = Command::new("redis-check-aof");
            fixing.arg("--fix").arg(&manifest).stdin(Stdio::piped()).stdout(Stdio::null());
            let mut child = fixing.spawn().expect("Debian's redis-tools");
            child.stdin.take().expect("piped").write_all(b"y\n").expect("it asks");
            assert!(child.wait().expect("it ends").success());
            assert_eq!(std::fs::read(&incr).expect("there"), mended, "case {number}");
        }
    }
    // Files that are missing, and a manifest of nothing.
    for (name, text) in [(INCR, "doesn't exist"), ("appendonly.aof.1.base.rdb", "doesn't exist")] {
        scratch.put(&whole);
        std::fs::remove_file(scratch.log().join(name)).expect("there");
        let (status, told) = check(&scratch.0, &[], "");
        assert!(status == 1 && told.contains(&format!("{name} {text}")), "{told}");
    }
    scratch.put(&whole);
    std::fs::write(&manifest, "").expect("it is writable");
    let (status, text) = check(&manifest, &["--fix"], "y\n");
    assert!(status == 0 && text.contains("Found an empty AOF manifest"), "{text}");
    assert_eq!(std::fs::read(&manifest).expect("there"), whole[&manifest]);
    // An old single file, with a snapshot in front.
    scratch.put(&whole);
    let single = scratch.0.join("appendonly.aof");
    let preamble = [&whole[&scratch.log().join("appendonly.aof.1.base.rdb")][..], &bytes].concat();
    for cut in [0, 3, 40] {
        std::fs::write(&single, &preamble[..preamble.len() - cut]).expect("it is writable");
        let (status, text) = check(&single, &[], "");
        assert_eq!(status == 0, is_valid("redis-check-aof", &single), "{cut}: {text}");
        assert!(text.contains("RDB-preamble AOF"), "{text}");
        assert_eq!(check(&single, &["--fix"], "yes\n").0, 0, "{cut}");
        assert!(is_valid("redis-check-aof", &single), "{cut}");
    }
}

/// `MSET` of keys that are on both of two shards, one after the other, beside single keys.
const PAIRS: usize = 30;

fn write_pairs(client: &mut Client, from: usize) {
    for at in from..from + PAIRS {
        assert_eq!(say(client, &format!("SET single:{at} {at}")), "+OK");
        assert_eq!(say(client, &format!("MSET {{a}}:{at} {at} {{b}}:{at} {at} middle:{at} {at}")), "+OK");
    }
}

/// How many pairs are there, from the first on; each is there as a whole, and none behind one that is not.
fn pairs_there(client: &mut Client) -> usize {
    let mut there = 0;
    for at in 0..2 * PAIRS {
        match number(client, &format!("EXISTS {{a}}:{at} {{b}}:{at} middle:{at}")) {
            3 if there == at => there += 1,
            0 => {}
            3 => panic!("pair {at} is there, and not those before it"),
            other => panic!("pair {at} is there by {other} of 3"),
        }
    }
    there
}

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--aof-timestamp-enabled", "yes"];

#[test]
fn lanes_are_cut_at_the_same_moment_and_the_server_loads_what_is_left() {
    let scratch = Scratch::new("lanes");
    let kind = Kind::Corering { shards: 2 };
    let mut running = scratch.start(kind, DURABLE);
    write_pairs(&mut running.1, 0);
    let (status, text) = check(&scratch.log(), &[], "");
    assert!(status == 2 && text.contains("a server uses this directory"), "{text}");
    stop(running);
    let (status, text) = check(&scratch.log(), &[], "");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("2 lanes (one for each core)") && text.contains("lane 1 of 2"), "{text}");
    let whole = scratch.files();
    let lanes: Vec<PathBuf> =
        whole.keys().filter(|path| path.to_string_lossy().ends_with(".incr.aof")).cloned().collect();
    assert_eq!(lanes.len(), 2);
    for lane in &lanes {
        let bytes = whole[lane].clone();
        let blocks = bytes.len() / 4096;
        let mut cases = Vec::new();
        for block in [1, blocks / 2, blocks - 1] {
            let at = block * 4096;
            cases.push((block, bytes[..at + 100].to_vec(), false));
            let mut flipped = bytes.clone();
            flipped[at + 300] ^= 1;
            cases.push((block, flipped, block + 1 < blocks));
            let mut zeroed = bytes.clone();
            zeroed[at + 10..].fill(0);
            cases.push((block, zeroed, false));
        }
        for (block, damaged, is_middle) in cases {
            scratch.put(&whole);
            std::fs::write(lane, &damaged).expect("it is writable");
            let before = scratch.files();
            let (status, text) = check(&scratch.log(), &[], "");
            assert!(status == 1 && text.contains(&format!("at offset {}", block * 4096)), "block {block}: {text}");
            let (status, text) = check(&scratch.log(), &["--fix"], "\n");
            assert!(status == 1 && scratch.files() == before, "block {block}: {text}");
            if is_middle {
                let (status, text) = check(&scratch.log(), &["--fix", "--yes"], "");
                assert!(status == 2 && text.contains("The damage is not at the end"), "block {block}: {text}");
                assert!(scratch.files() == before, "block {block}");
            }
            let (status, text) = check(&scratch.log(), REPAIR, "");
            assert_eq!(status, 0, "block {block}: {text}");
            for (path, bytes) in &before {
                let backup = PathBuf::from(format!("{}.bak-1", path.display()));
                let kept = std::fs::read(path).expect("there");
                assert!(kept == *bytes || std::fs::read(&backup).expect("there") == *bytes, "{}", path.display());
            }
            let (server, mut client) = scratch.start(kind, DURABLE);
            let there = pairs_there(&mut client);
            // A pair has a group of its own in each lane at least, and a single key one in one lane.
            assert!((block - 1) / 2 <= there + 1 && there < PAIRS, "block {block} of {blocks}: {there}\n{text}");
            for at in 0..there {
                assert_eq!(number(&mut client, &format!("EXISTS single:{at}")), 1, "{at} of {there}");
            }
            drop((server, client));
        }
    }
}

#[test]
fn a_log_is_cut_at_a_time() {
    let scratch = Scratch::new("time");
    for kind in [Kind::Corering { shards: 2 }, Kind::Redis] {
        scratch.put(&BTreeMap::new());
        let mut running = scratch.start(kind, DURABLE);
        write_pairs(&mut running.1, 0);
        std::thread::sleep(Duration::from_millis(2100));
        let seconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() - 1;
        std::thread::sleep(Duration::from_millis(1100));
        write_pairs(&mut running.1, PAIRS);
        stop(running);
        let (status, text) = check(&scratch.log(), &["--truncate-to-time", &seconds.to_string()], "y\n");
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("first time that is lost: "), "{text}");
        let (status, text) = check(&scratch.log(), &["--truncate-to-time", &seconds.to_string()], "y\n");
        assert!(status == 0 && text.contains("Nothing is to be done."), "{text}");
        let (status, text) = check(&scratch.log(), &["--truncate-to-time", "yesterday"], "");
        assert!(status == 2 && text.contains("neither unix seconds"), "{text}");
        let (_server, mut client) = scratch.start(kind, DURABLE);
        assert_eq!((pairs_there(&mut client), number(&mut client, "DBSIZE")), (PAIRS, 4 * PAIRS as i64), "{text}");
    }
}

#[test]
fn when_there_is_no_room_for_the_new_file_everything_is_as_it_was() {
    let scratch = Scratch::new("check-full");
    let file = scratch.0.join("appendonly.aof");
    let command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n".repeat(1000);
    std::fs::write(&file, [&command[..], b"*3\r\n$3\r\nSE"].concat()).expect("it is writable");
    let before = scratch.files();
    // A limit of the size of files, whose signal is ignored: writing fails as it does on a full disk.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {CHECK} {} --fix --yes", file.display());
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot write the new appendonly.aof") && text.contains("everything is as it was"), "{text}");
    assert!(scratch.files() == before);
    // Killed by that signal instead: the file is what it was, and what was begun has a name that says so.
    let script = format!("ulimit -f 8; exec {CHECK} {} --fix --yes", file.display());
    let status = Command::new("bash").args(["-c", &script]).output().expect("bash").status;
    assert_eq!(status.code(), None, "a signal ends it");
    let left = scratch.files();
    assert!(left.len() == 2 && left[&file] == before[&file]);
    let is_temporary =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-check-"));
    assert_eq!(left.keys().filter(|path| is_temporary(path)).count(), 1);
    // With room, and then with nothing left to do.
    assert_eq!(check(&file, &["--fix"], "y\n").0, 0);
    assert_eq!(std::fs::read(&file).expect("there"), command);
    let (status, text) = check(&file, &["--fix"], "");
    assert!(status == 0 && text.contains("Nothing is to be done."), "{text}");
}

#[test]
fn what_is_neither_is_refused() {
    let scratch = Scratch::new("neither");
    let file = scratch.0.join("notes.txt");
    std::fs::write(&file, "hello").expect("it is writable");
    for (path, expected) in [
        (file.clone(), "neither a snapshot (RDB) nor a log (AOF)"),
        (scratch.0.clone(), "there is neither a snapshot (*.rdb) nor a log"),
        (scratch.0.join("nothing"), "No such file or directory"),
    ] {
        let (status, text) = check(&path, &[], "");
        assert!(status == 2 && text.contains(expected), "{text}");
    }
    let (status, text) = check(&file, &["--help"], "");
    assert!(status == 0 && text.contains("Exit status:") && text.contains("--truncate-to-time"), "{text}");
}
