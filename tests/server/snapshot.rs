//! Snapshots: at one moment over all shards, both ways between Debian's redis-server and this one, and what happens
//! when files or disks are broken.

use crate::client::{Client, Value};
use crate::dump;
use crate::extra::{PATIENCE, SetWhenDropped, wait_until as wait_for};
use crate::info::info_field;
use crate::process::{Kind, Server, free_port};
use crate::scratch::Scratch;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A reply, as text.
pub fn say(client: &mut Client, line: &str) -> String {
    client.call(&line.split(' ').collect::<Vec<_>>()).expect("a reply").to_string()
}

impl Scratch {
    fn file(&self) -> PathBuf {
        self.0.join("dump.rdb")
    }
}

/// A field of `INFO persistence`.
pub fn info(client: &mut Client, field: &str) -> String {
    let text = client.info("persistence");
    info_field(&text, field).unwrap_or_else(|| panic!("no {field} in {text}")).to_string()
}

/// Keys of every type and encoding, small and large, some with deadlines, in two databases.
pub fn fill(client: &mut Client) {
    for (number, value) in dump::values().iter().enumerate() {
        let key = format!("{{value}}:{number}");
        for command in &value.commands {
            let words: Vec<Vec<u8>> =
                command.iter().map(|word| if word == b"k" { key.clone().into_bytes() } else { word.clone() }).collect();
            client.call(&words).expect("a reply");
        }
        if number % 3 == 0 {
            say(client, &format!("PEXPIREAT {key} {}", 4_102_444_800_000u64 + number as u64));
        }
    }
    for number in 0..5000 {
        say(client, &format!("SET key:{number} value:{number}"));
    }
    for number in 0..300 {
        let mut words = vec!["SADD".to_string(), "members".to_string()];
        words.extend((0..200).map(|at| format!("member:{}", number * 200 + at)));
        client.call(&words).expect("a reply");
    }
    let long: Vec<u8> = (0..2_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.call(&[&b"SET"[..], b"long", &long]).expect("a reply");
    say(client, "SELECT 9");
    say(client, "SET elsewhere 1");
    say(client, "HSET hash a 1 b 2");
    say(client, "SELECT 0");
}

/// What all keys and values come to.
pub fn digest(client: &mut Client) -> String {
    say(client, "DEBUG DIGEST")
}

#[test]
fn redis_loads_what_this_writes_and_this_what_redis_writes() {
    for (shards, compression) in [(1, "yes"), (3, "no")] {
        let scratch = Scratch::new(&format!("ways-{shards}"));
        let (ours, mut client) = scratch.start(Kind::Corering { shards }, &["--rdbcompression", compression]);
        fill(&mut client);
        let expected = digest(&mut client);
        assert_eq!(say(&mut client, "SAVE"), "+OK");
        drop((ours, client));
        let checked = Command::new("redis-check-rdb").arg(scratch.file()).output().expect("Debian's redis-tools");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

        let (redis, mut client) = scratch.start(Kind::Redis, &[]);
        assert_eq!(digest(&mut client), expected, "Redis has loaded what {shards} shards have written");
        assert_eq!(say(&mut client, "SAVE"), "+OK");
        drop((redis, client));
        for shards in [1, 2, 4] {
            let (_ours, mut client) = scratch.start(Kind::Corering { shards }, &[]);
            assert_eq!(digest(&mut client), expected, "{shards} shards have loaded what Redis has written");
            assert_eq!(info(&mut client, "loading"), "0");
            assert_eq!(say(&mut client, "DEBUG RELOAD"), "+OK");
            assert_eq!(digest(&mut client), expected, "and once more");
        }
    }
}

/// The sum of all accounts.
const SUM: i64 = 200_000;
const ACCOUNTS: usize = 2000;

fn sum(client: &mut Client) -> i64 {
    let mut words = vec!["MGET".to_string()];
    words.extend((0..ACCOUNTS).map(|number| format!("account:{number}")));
    let Value::Array(values) = client.call(&words).expect("a reply") else { panic!("no array") };
    let number = |value: &Value| match value {
        Value::Bulk(text) => std::str::from_utf8(text).expect("digits").parse::<i64>().expect("a number"),
        other => panic!("{other}"),
    };
    values.iter().map(number).sum()
}

#[test]
fn a_snapshot_is_of_one_moment_over_all_shards() {
    for shards in [1, 2, 4] {
        let scratch = Scratch::new(&format!("moment-{shards}"));
        let (server, mut client) = scratch.start(Kind::Corering { shards }, &[]);
        for number in 0..ACCOUNTS {
            say(&mut client, &format!("SET account:{number} {}", SUM / ACCOUNTS as i64));
        }
        // What makes a walk long, and shards busy.
        say(&mut client, "DEBUG POPULATE 200000 filler 100");
        let is_over = AtomicBool::new(false);
        let mut sums = Vec::new();
        std::thread::scope(|scope| {
            let _over = SetWhenDropped(&is_over);
            for writer in 0..3u64 {
                let (is_over, port) = (&is_over, server.port);
                scope.spawn(move || {
                    let mut client = Client::connect(port).expect("it accepts");
                    let mut random = fastrand::Rng::with_seed(writer);
                    while !is_over.load(Ordering::Relaxed) {
                        let (from, to) = (random.usize(..ACCOUNTS), random.usize(..ACCOUNTS));
                        let amount = random.i64(1..50);
                        let mut pipeline = Vec::new();
                        for line in [
                            "MULTI".to_string(),
                            format!("DECRBY account:{from} {amount}"),
                            format!("INCRBY account:{to} {amount}"),
                            "EXEC".to_string(),
                        ] {
                            pipeline.extend(crate::client::encode(&line.split(' ').collect::<Vec<_>>()));
                        }
                        client.send_raw(&pipeline).expect("it is there");
                        (0..4).for_each(|_| {
                            client.read().expect("a reply");
                        });
                    }
                });
            }
            for round in 0..6 {
                assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
                wait_for("the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
                let copy = Scratch::new(&format!("moment-{shards}-{round}"));
                std::fs::copy(scratch.file(), copy.file()).expect("a file");
                sums.push(copy);
            }
        });
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        for copy in sums {
            let (_loaded, mut client) = copy.start(Kind::Corering { shards: 2 }, &[]);
            assert_eq!(sum(&mut client), SUM, "{shards} shards");
            assert_eq!(say(&mut client, "DBSIZE"), format!(":{}", ACCOUNTS + 200_000));
        }
    }
}

#[test]
fn what_is_recorded_ahead_of_changes_stays_within_bounds() {
    let scratch = Scratch::new("bounds");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    // 200 MB that are all overwritten while they are saved.
    let value = "x".repeat(10_000);
    let keys = 20_000;
    for number in 0..keys {
        client.call(&["SET", &format!("key:{number}"), &value]).expect("a reply");
    }
    assert_eq!(say(&mut client, "CONFIG SET rdbcompression no"), "+OK");
    // In one go, so that it cannot be over before anything is overwritten.
    let mut pipeline = crate::client::encode(&["BGSAVE"]);
    for number in (0..keys).rev() {
        pipeline.extend(crate::client::encode(&["SET", &format!("key:{number}"), "new"]));
    }
    client.send_raw(&pipeline).expect("it is there");
    assert_eq!(client.read().expect("a reply").to_string(), "+Background saving started");
    (0..keys).for_each(|_| assert_eq!(client.read().expect("a reply").to_string(), "+OK"));
    wait_for("the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
    let held: u64 = info(&mut client, "rdb_last_cow_size").parse().expect("a number");
    assert!(0 < held && held <= 64 << 20, "{held} bytes");
    let (_loaded, mut client) = scratch.start(Kind::Corering { shards: 1 }, &[]);
    for number in [0, keys / 2, keys - 1] {
        assert_eq!(say(&mut client, &format!("STRLEN key:{number}")), ":10000");
    }
}

#[test]
fn a_large_value_is_saved_as_it_was_while_others_are_served() {
    let scratch = Scratch::new("large");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    let members = 400_000;
    for first in (0..members).step_by(1000) {
        let mut words = vec!["SADD".to_string(), "large".to_string()];
        words.extend((first..first + 1000).map(|member| format!("member:{member}")));
        client.call(&words).expect("a reply");
    }
    // At once behind the moment somebody wants to change it, and somebody else to read it.
    let mut pipeline = Vec::new();
    for line in ["BGSAVE", "SADD large new", "SREM large member:0", "SCARD large", "SET other 1", "DEL large"] {
        pipeline.extend(crate::client::encode(&line.split(' ').collect::<Vec<_>>()));
    }
    client.send_raw(&pipeline).expect("it is there");
    let replies: Vec<String> = (0..6).map(|_| client.read().expect("a reply").to_string()).collect();
    assert_eq!(replies, ["+Background saving started", ":1", ":1", ":400000", "+OK", ":1"]);
    wait_for("the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
    let (_loaded, mut client) = scratch.start(Kind::Corering { shards: 1 }, &[]);
    assert_eq!(say(&mut client, "SCARD large"), format!(":{members}"));
    assert_eq!(say(&mut client, "SISMEMBER large new"), ":0");
    assert_eq!(say(&mut client, "SISMEMBER large member:0"), ":1");
    assert_eq!(say(&mut client, "EXISTS other"), ":0");
}

#[test]
fn save_points_and_shutdown_save() {
    let scratch = Scratch::new("points");
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--save", "10000 3"]);
    let last = say(&mut client, "LASTSAVE");
    (0..5).for_each(|number| assert_eq!(say(&mut client, &format!("SET key:{number} v")), "+OK"));
    assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "5");
    assert_eq!(say(&mut client, "LASTSAVE"), last);
    assert_eq!(client.call(&["CONFIG", "SET", "save", "1 3"]).expect("a reply").to_string(), "+OK");
    wait_for("the save point", || scratch.file().exists() && info(&mut client, "rdb_changes_since_last_save") == "0");
    assert_ne!(say(&mut client, "LASTSAVE"), last);
    assert_eq!(say(&mut client, "SET last v"), "+OK");
    let _ = client.call(&["SHUTDOWN"]);
    wait_for("the end", || !server.is_alive());
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &["--save", "1000 1000"]);
    assert_eq!(say(&mut client, "DBSIZE"), ":6");
    assert_eq!(info(&mut client, "rdb_last_load_keys_loaded"), "6");
    assert_eq!(say(&mut client, "SET lost v"), "+OK");
    let _ = client.call(&["SHUTDOWN", "NOSAVE"]);
    wait_for("the end", || !server.is_alive());
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--save", "1000 1000"]);
    assert_eq!(say(&mut client, "DBSIZE"), ":6");
    assert_eq!(say(&mut client, "SET kept v"), "+OK");
    Command::new("kill").arg(server.child.id().to_string()).status().expect("kill");
    wait_for("the end", || !server.is_alive());
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    assert_eq!(say(&mut client, "DBSIZE"), ":7");
}

#[test]
fn writes_are_refused_while_snapshots_fail() {
    const MISCONF: &str = "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
                           disk. Commands that may modify the data set are disabled, because this instance is \
                           configured to report errors during writes if RDB snapshotting fails \
                           (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
                           RDB error.";
    let scratch = Scratch::new("failing");
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--save", "1000 1000"]);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    std::fs::remove_dir_all(&scratch.0).expect("it was there");
    assert_eq!(say(&mut client, "SAVE"), "-ERR");
    assert_eq!(say(&mut client, "SET k v2"), "+OK", "who said SAVE has been told");
    assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
    wait_for("the failure", || info(&mut client, "rdb_last_bgsave_status") == "err");
    wait_for("the refusal", || say(&mut client, "SET k v3") == MISCONF);
    assert_eq!(say(&mut client, "PING"), MISCONF);
    assert_eq!(say(&mut client, "GET k"), "\"v2\"");
    assert_eq!(say(&mut client, "SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert!(server.is_alive());
    assert_eq!(say(&mut client, "CONFIG SET stop-writes-on-bgsave-error no"), "+OK");
    assert_eq!(say(&mut client, "SET k v3"), "+OK");
    assert_eq!(say(&mut client, "CONFIG SET stop-writes-on-bgsave-error yes"), "+OK");
    std::fs::create_dir_all(&scratch.0).expect("it can be made");
    assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
    wait_for("success", || info(&mut client, "rdb_last_bgsave_status") == "ok");
    wait_for("writes again", || say(&mut client, "SET k v4") == "+OK");
    wait_for("the line of the log", || server.output().contains("Failed opening the temp RDB file"));
}

#[test]
fn a_full_disk_fails_a_snapshot_and_leaves_the_last_one() {
    let scratch = Scratch::new("full");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    assert_eq!(say(&mut client, "SAVE"), "+OK");
    let whole = std::fs::read(scratch.file()).expect("a file");
    // Every write to it says that the disk is full.
    std::os::unix::fs::symlink("/dev/full", scratch.0.join(format!("temp-{}.rdb", server.child.id()))).expect("a link");
    assert_eq!(say(&mut client, "SET k v2"), "+OK");
    assert_eq!(say(&mut client, "SAVE"), "-ERR");
    assert_eq!(std::fs::read(scratch.file()).expect("a file"), whole);
    wait_for("the line of the log", || server.output().contains("No space left on device"));
    assert_eq!(say(&mut client, "SAVE"), "+OK", "the link is gone");
}

/// A server that must not start with what is there: what it says.
fn refusal(scratch: &Scratch) -> String {
    let directory = scratch.0.to_str().expect("a name of text");
    Server::try_start(Kind::Corering { shards: 2 }, free_port(), &["--dir", directory])
        .err()
        .expect("it does not start with a broken snapshot")
}

#[test]
fn broken_files_are_refused_at_the_start() {
    let scratch = Scratch::new("broken");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    (0..100).for_each(|number| assert_eq!(say(&mut client, &format!("SET key:{number} value:{number}")), "+OK"));
    assert_eq!(say(&mut client, "SAVE"), "+OK");
    drop((server, client));
    let whole = std::fs::read(scratch.file()).expect("a file");
    let write = |bytes: &[u8]| std::fs::write(scratch.file(), bytes).expect("it can be written");
    write(&whole[..whole.len() / 2]);
    assert!(refusal(&scratch).contains("Unexpected EOF reading RDB file"));
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    write(&flipped);
    assert!(refusal(&scratch).contains("Wrong RDB checksum expected"));
    write(b"REDIS0099");
    assert!(refusal(&scratch).contains("Can't handle RDB format version 99"));
    write(b"something else");
    assert!(refusal(&scratch).contains("Wrong signature trying to load DB from file"));
    write(&whole);
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    assert_eq!(say(&mut client, "DBSIZE"), ":100");
}

#[test]
fn clients_are_told_while_keys_are_loaded() {
    let scratch = Scratch::new("loading");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    say(&mut client, "DEBUG POPULATE 60000 key 200");
    let deadline = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let port = server.port;
        let watcher = scope.spawn(move || {
            let mut client = Client::connect(port).expect("it accepts");
            while Instant::now() < deadline {
                if say(&mut client, "GET key:0") == "-LOADING Redis is loading the dataset in memory" {
                    // Clients are told from before the file is opened on. By now it may be over.
                    let text = client.info("persistence");
                    let total = info_field(&text, "loading_total_bytes").is_some_and(|total| total != "0");
                    if info_field(&text, "loading") == Some("1") && total {
                        return;
                    }
                }
            }
            panic!("nobody said -LOADING");
        });
        // On a busy machine the watcher may have looked away: then again.
        while !watcher.is_finished() {
            assert_eq!(say(&mut client, "DEBUG RELOAD"), "+OK");
        }
        watcher.join().expect("it saw it");
    });
    assert_eq!(say(&mut client, "DBSIZE"), ":60000");
}

/// Whoever is told of a change finds it again: between the snapshot of a reload and its loading nothing is changed, as
/// in Redis, which serves nobody then.
#[test]
fn debug_reload_loses_nothing_that_was_answered() {
    let kinds = [Kind::Redis, Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }];
    for (at, kind) in kinds.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("reload-writes-{at}"));
        let (server, mut client) = scratch.start(kind, &["--save", ""]);
        say(&mut client, "DEBUG POPULATE 300 key 10");
        assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 1000"), "+OK");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let mut client = Client::connect(server.port).expect("it accepts");
                    let is_over = &is_over;
                    scope.spawn(move || {
                        let (mut written, mut number) = (Vec::new(), 0);
                        while !is_over.load(Ordering::Relaxed) {
                            let key = format!("w:{writer}:{number}");
                            match say(&mut client, &format!("SET {key} {number}")).as_str() {
                                "+OK" => written.push(key),
                                "-LOADING Redis is loading the dataset in memory" => {}
                                other => panic!("{other}"),
                            }
                            number += 1;
                        }
                        written
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(say(&mut client, "DEBUG RELOAD"), "+OK", "{}", kind.name());
            is_over.store(true, Ordering::Relaxed);
            for writer in writers {
                let written = writer.join().expect("it writes");
                assert!(!written.is_empty());
                for key in written {
                    assert_eq!(say(&mut client, &format!("EXISTS {key}")), ":1", "{}: {key}", kind.name());
                }
            }
        });
        // A snapshot that fails leaves everybody served.
        assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
        if kind != Kind::Redis {
            std::fs::remove_dir_all(scratch.file().parent().expect("a folder")).expect("it is ours");
            assert_eq!(say(&mut client, "DEBUG RELOAD"), "-ERR");
            assert_eq!(say(&mut client, "SET k v"), "+OK");
        }
    }
}

#[test]
fn debug_reload_keeps_and_merges_as_redis_does() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }].into_iter().enumerate()
    {
        let scratch = Scratch::new(&format!("options-{at}"));
        let (_server, mut client) = scratch.start(kind, &[]);
        let mut expect = |line: &str, reply: &str| assert_eq!(say(&mut client, line), reply, "{}: {line}", kind.name());
        expect("MSET saved 1 both old", "+OK");
        expect("SAVE", "+OK");
        expect("MSET new 1 both new", "+OK");
        expect("EXPIRE both 1000", ":1");
        // What is loaded takes the place of what is there.
        expect("DEBUG RELOAD NOSAVE NOFLUSH MERGE", "+OK");
        expect("MGET saved both new", "[\"1\", \"old\", \"1\"]");
        expect("TTL both", ":-1");
        expect("DEBUG RELOAD NOSAVE", "+OK");
        expect("MGET saved both new", "[\"1\", \"old\", nil]");
        expect("SET new 2", "+OK");
        expect("DEBUG RELOAD NOSAVE MERGE", "+OK");
        expect("MGET saved both new", "[\"1\", \"old\", nil]");
        expect("SET new 3", "+OK");
        expect("DEBUG RELOAD", "+OK");
        expect("MGET saved both new", "[\"1\", \"old\", \"3\"]");
        expect("DEBUG RELOAD MERGE NOFLUSH", "+OK");
        expect("DBSIZE", ":3");
        std::fs::write(scratch.file(), "REDIS9999").expect("it is writable");
        if kind != Kind::Redis {
            // Redis ends here, or serves without keys, as the version goes.
            expect("DEBUG RELOAD NOSAVE", "-ERR Error trying to load the RDB dump");
            expect("PING", "+PONG");
        }
    }
}

#[test]
fn nobody_but_the_server_leaves_files() {
    let scratch = Scratch::new("files");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--dbfilename", "other.rdb"]);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    assert_eq!(say(&mut client, "SAVE"), "+OK");
    assert_eq!(say(&mut client, "BGSAVE CANCEL"), "-ERR Background saving is currently not in progress or scheduled");
    let names: Vec<String> = std::fs::read_dir::<&Path>(&scratch.0)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["other.rdb"]);
}

#[test]
fn saving_and_loading_are_as_slow_as_a_test_wants_them() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }].into_iter().enumerate()
    {
        let scratch = Scratch::new(&format!("slow-{at}"));
        let (server, mut client) = scratch.start(kind, &["--save", "900 1"]);
        say(&mut client, "MSET a 1 b 2 c 3 d 4 e 5 f 6");
        assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 2000000"), "+OK");
        assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
        assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1");
        for line in ["BGSAVE", "BGSAVE SCHEDULE", "SAVE"] {
            assert_eq!(say(&mut client, line), "-ERR Background save already in progress");
        }
        assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting scheduled");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1");
        // It is given up for what is there now, which is saved at once, and what was scheduled comes.
        let started = Instant::now();
        assert_eq!(say(&mut client, "FLUSHALL"), "+OK");
        wait_for("the end of the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
        assert!(started.elapsed().as_secs() < 6, "it is not waited for");
        say(&mut client, "CONFIG SET rdb-key-save-delay 0");
        wait_for("the rewrite", || {
            info(&mut client, "aof_rewrite_scheduled") == "0" && info(&mut client, "aof_rewrite_in_progress") == "0"
        });
        say(&mut client, "DEBUG POPULATE 200 key 10");
        assert_eq!(say(&mut client, "SAVE"), "+OK");
        if kind == Kind::Redis {
            continue; // It serves nobody meanwhile.
        }
        assert_eq!(say(&mut client, "CONFIG SET key-load-delay 50000"), "+OK");
        let mut loading = Client::connect(server.port).expect("it accepts");
        std::thread::scope(|scope| {
            let loader = scope.spawn(move || say(&mut loading, "DEBUG RELOAD NOSAVE"));
            wait_for("loading", || info(&mut client, "loading") == "1");
            assert_eq!(say(&mut client, "GET k"), "-LOADING Redis is loading the dataset in memory");
            let started = Instant::now();
            assert_eq!(say(&mut client, "CONFIG SET key-load-delay 0"), "+OK");
            assert_eq!(loader.join().expect("a reply"), "+OK");
            assert!(started.elapsed().as_secs() < 8, "it does not go on slowly");
        });
        assert_eq!(say(&mut client, "DBSIZE"), ":200");
    }
}

#[test]
fn a_snapshot_of_behind_a_flush_is_not_given_up_for_it() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("behind-flush-{at}"));
        let (server, mut client) = scratch.start(kind, &["--save", ""]);
        say(&mut client, "SET before v");
        assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 300000"), "+OK");
        assert_eq!(say(&mut client, "FLUSHALL"), "+OK");
        assert_eq!(say(&mut client, "SET after v"), "+OK");
        assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
        wait_for("the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
        assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
        drop((server, client));
        let (_server, mut client) = scratch.start(kind, &["--save", ""]);
        assert_eq!(say(&mut client, "KEYS *"), "[\"after\"]");
    }
}

/// What was flushed is gone from the disk too when the client is told, as in Redis.
#[test]
fn what_was_flushed_does_not_come_back_however_the_server_ends() {
    let script = ["EVAL", "redis.call('SET', 'x', 1) return redis.call('FLUSHALL')", "0"];
    let flushes: [&[&[&str]]; 4] =
        [&[&["FLUSHALL"]], &[&["FLUSHALL", "ASYNC"]], &[&script], &[&["MULTI"], &["FLUSHALL"], &["EXEC"]]];
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }].into_iter().enumerate()
    {
        let scratch = Scratch::new(&format!("flushed-{at}"));
        let arguments = ["--save", "3600 1", "--enable-debug-command", "yes"];
        let (mut server, mut client) = scratch.start(kind, &arguments);
        for (way, flush) in flushes.iter().enumerate() {
            assert_eq!(say(&mut client, "DEBUG POPULATE 1000"), "+OK");
            assert_eq!(say(&mut client, "SAVE"), "+OK");
            flush.iter().for_each(|call| drop(client.call(call).expect("a reply")));
            assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0", "{} way {way}", kind.name());
            if way % 2 == 0 {
                server.child.kill().expect("it runs");
            } else {
                client.send_raw(b"SHUTDOWN NOSAVE\r\n").expect("sent");
            }
            let _ = server.child.wait();
            (server, client) = scratch.start(kind, &arguments);
            assert_eq!(say(&mut client, "DBSIZE"), ":0", "{} way {way}", kind.name());
        }
        // In one go, with a rewrite of the log under way that takes its time.
        assert_eq!(say(&mut client, "DEBUG POPULATE 1000"), "+OK");
        assert_eq!(say(&mut client, "SAVE"), "+OK");
        assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 100000"), "+OK");
        assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
        client.send_raw(b"FLUSHALL\r\nSHUTDOWN NOSAVE\r\n").expect("sent");
        let started = Instant::now();
        let _ = server.child.wait();
        assert!(started.elapsed().as_secs() < 20, "it is not waited for: {}", kind.name());
        let (_server, mut client) = scratch.start(kind, &arguments);
        assert_eq!(say(&mut client, "DBSIZE"), ":0", "{}", kind.name());
    }
}

/// A snapshot of nothing that cannot be written is told of in the log; its `FLUSHALL` is answered, as in Redis.
#[test]
fn a_flush_is_answered_where_the_disk_cannot_be_written() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("flush-failed-{at}"));
        let (server, mut client) = scratch.start(kind, &["--save", "3600 1", "--dbfilename", "d.rdb"]);
        std::fs::create_dir(scratch.0.join("d.rdb")).expect("it is writable");
        assert_eq!(say(&mut client, "SET k v"), "+OK");
        assert_eq!(say(&mut client, "FLUSHALL"), "+OK");
        assert_eq!(say(&mut client, "DBSIZE"), ":0");
        wait_for("the line", || server.output().contains("d.rdb"));
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        assert_eq!(say(&mut client, "SET k v"), "+OK", "{}", kind.name());
    }
}

#[test]
fn a_slow_snapshot_tells_how_far_it_is() {
    let scratch = Scratch::new("slow-progress");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &["--enable-debug-command", "yes"]);
    assert_eq!(say(&mut client, "DEBUG POPULATE 2000"), "+OK");
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 2000"), "+OK");
    assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
    wait_for("progress", || {
        assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1", "it tells before its end");
        info(&mut client, "current_save_keys_processed") != "0"
    });
    say(&mut client, "CONFIG SET rdb-key-save-delay 0");
}
