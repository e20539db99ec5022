//! Disks that are full or gone, and what a crash leaves on them: what was accepted is kept, and the server says what it
//! cannot keep.

use crate::check::check;
use crate::client::Client;
use crate::extra::wait_until as wait_for;
use crate::process::{Kind, Server};
use crate::scratch::Scratch;
use crate::snapshot::{info, say};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SHARDS_2: Kind = Kind::Corering { shards: 2 };

/// No file of a server may become longer than this: as a disk that is full, or has room again, without needing to be
/// somebody who may mount one.
fn limit_files(server: &Server, bytes: &str) {
    let done =
        Command::new("prlimit").args(["--pid", &server.child.id().to_string(), &format!("--fsize={bytes}:")]).status();
    assert!(done.expect("prlimit is there").success());
}

fn terminate(server: &Server) {
    assert!(Command::new("kill").arg(server.child.id().to_string()).status().expect("kill is there").success());
}

/// Writes until that is refused. How many writes were accepted.
fn fill(client: &mut Client) -> usize {
    let value = "x".repeat(3000);
    for number in 0..20_000 {
        let reply = client.call(&["SET", &format!("key:{number}"), &value]).expect("a reply").to_string();
        if reply != "+OK" {
            assert_eq!(reply, "-MISCONF Errors writing to the AOF file: File too large");
            return number;
        }
    }
    panic!("nothing is refused");
}

#[test]
fn what_was_accepted_before_the_disk_was_full_outlives_the_process() {
    for policy in ["everysec", "no"] {
        let scratch = Scratch::new(&format!("disk-full-{policy}"));
        let arguments = ["--appendonly", "yes", "--appendfsync", policy];
        let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
        limit_files(&server, "5000000");
        let accepted = fill(&mut client);
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        // Longer than anything is kept in memory.
        std::thread::sleep(Duration::from_millis(1200));
        server.child.kill().expect("it runs");
        let _ = server.child.wait();
        let (server, mut client) = scratch.start(SHARDS_2, &arguments);
        assert_eq!(say(&mut client, "DBSIZE"), format!(":{accepted}"), "{policy}");
        // When there is room again, writes are accepted; and a disk that is full is no reason to stay.
        limit_files(&server, "5000000");
        wait_for("the refusal", || say(&mut client, "SET k v") != "+OK");
        limit_files(&server, "unlimited");
        wait_for("writes", || say(&mut client, "SET k v") == "+OK");
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
    }
}

/// Where nothing can be written any more, what was accepted is in memory alone.
#[test]
fn a_server_does_not_end_before_what_it_has_accepted_is_on_the_disk() {
    let scratch = Scratch::new("disk-refuses");
    let arguments = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    limit_files(&server, "4096");
    let accepted = fill(&mut client);
    assert_ne!(info(&mut client, "aof_buffer_length"), "0");
    assert_eq!(say(&mut client, "SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    for times in 1..=2 {
        terminate(&server);
        let line = "SIGTERM received but errors trying to shut down the server";
        wait_for("the refusal", || server.output().matches(line).count() == times);
        assert!(server.is_alive());
        assert_eq!(say(&mut client, "GET k"), "\"v\"", "commands go on");
    }
    assert!(server.output().contains("are not in the append-only file (File too large), can't exit"));
    limit_files(&server, "unlimited");
    wait_for("writes", || say(&mut client, "SET k w") == "+OK");
    terminate(&server);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    assert_eq!(say(&mut client, "DBSIZE"), format!(":{}", accepted + 1));
    // Who says so ends it anyway, and is told what that costs.
    limit_files(&server, "4096");
    wait_for("the refusal", || say(&mut client, "SET k lost") != "+OK");
    let _ = client.call(&["SHUTDOWN", "NOSAVE"]); // It answers by going away.
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    wait_for("the line", || {
        server.output().contains("bytes of changes that were accepted are not in the append-only file")
    });
}

#[test]
fn the_directory_of_a_server_is_made_anew_and_no_server_ends_without_a_word() {
    let scratch = Scratch::new("disk-gone");
    let arguments = ["--appendonly", "yes"];
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    std::fs::remove_dir_all(&scratch.0).expect("it was there");
    wait_for("the mend", || server.output().contains("AOF write error looks solved"));
    wait_for("writes", || say(&mut client, "SET l v") == "+OK");
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    server.child.kill().expect("it runs");
    let _ = server.child.wait();
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    assert_eq!(say(&mut client, "DBSIZE"), ":2");
    // Where there is no place for it, it stays.
    std::fs::remove_dir_all(&scratch.0).expect("it was there");
    std::fs::write(&scratch.0, "").expect("it is writable");
    wait_for("the refusal", || say(&mut client, "SET k w").starts_with("-MISCONF"));
    terminate(&server);
    wait_for("the line", || server.output().contains("errors trying to shut down the server"));
    assert!(server.is_alive());
    std::fs::remove_file(&scratch.0).expect("it was there");
}

#[test]
fn what_a_crash_has_left_goes_and_nothing_else() {
    let scratch = Scratch::new("disk-left");
    let arguments = ["--appendonly", "yes"];
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    terminate(&server);
    let _ = server.child.wait();
    let dead = server.child.id();
    let log = |name: &str| scratch.log().join(name);
    let own = |name: String| scratch.0.join(name);
    let left: Vec<PathBuf> =
        vec![log("temp-appendonly.aof.manifest"), log(&format!("temp-{dead}.rdb")), own(format!("temp-{dead}.rdb"))];
    let kept: Vec<PathBuf> = vec![
        log("appendonly.aof.7.base.rdb"),
        // Nothing names them, but their manifest may be lost.
        log("appendonly.aof.9.base.rdb"),
        log("appendonly.aof.9.incr.aof"),
        log("other.aof.9.incr.aof"),
        log("appendonly.aof.9.incr.aof.bak-1"),
        own(format!("temp-{}.rdb", std::process::id())),
        own("temp-x.rdb".to_string()),
        own("dump.rdb".to_string()),
    ];
    left.iter().chain(&kept[..7]).for_each(|path| std::fs::write(path, "left").expect("it is writable"));
    std::fs::copy(log("appendonly.aof.1.base.rdb"), own("dump.rdb".to_string())).expect("it is there");
    // Somebody keeps an older manifest, with what it names.
    std::fs::write(log("appendonly.aof.manifest.old"), "file appendonly.aof.7.base.rdb seq 7 type b\n")
        .expect("writable");
    for lines in [left.len(), 0] {
        let (server, mut client) = scratch.start(SHARDS_2, &arguments);
        assert_eq!(say(&mut client, "GET k"), "\"v\"");
        assert_eq!(left.iter().filter(|path| path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
        assert_eq!(kept.iter().filter(|path| !path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
        assert_eq!(server.output().matches("that nothing names were left there").count(), lines);
        assert_eq!(server.output().matches("of a log that no manifest names").count(), 2);
    }
}

/// Nothing that a client sends in a second stands in the log before the line that says when that second began.
#[test]
fn times_in_the_log_are_those_of_what_follows() {
    let scratch = Scratch::new("disk-times");
    let arguments = ["--appendonly", "yes", "--aof-timestamp-enabled", "yes"];
    let (mut server, mut client) = scratch.start(SHARDS_2, &arguments);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(4200) {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_micros();
        assert_eq!(say(&mut client, &format!("SET k{} sent:{micros}", micros % 50)), "+OK");
    }
    terminate(&server);
    let _ = server.child.wait();
    let mut seen = 0;
    for name in ["appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"] {
        let text = String::from_utf8_lossy(&std::fs::read(scratch.log().join(name)).expect("it is there")).into_owned();
        let mut second = 0;
        for line in text.lines() {
            if let Some(time) = line.strip_prefix("#TS:") {
                second = time.trim().parse().expect("a number");
            } else if let Some(sent) = line.strip_prefix("sent:") {
                let sent = sent.trim().parse::<u64>().expect("a number");
                assert!(sent / 1_000_000 <= second, "sent at {sent}, and stands behind {second}");
                seen += 1;
            }
        }
    }
    assert!(100 < seen, "{seen}");
}

/// Data of a module beside keys: who loads the file without it loses it with the next snapshot.
#[test]
fn data_of_a_module_ends_the_start_as_in_redis() {
    // AUX of the module type "bloomflt1": when (2), before keys, a number, the end; then the end of the file.
    let mut file = b"REDIS0010\xf7".to_vec();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |byte: u8| alphabet.iter().position(|&known| known == byte).expect("it is in it") as u64;
    let number = b"bloomflt1".iter().fold(0, |number, &byte| number << 6 | place(byte)) << 10 | 1;
    file.push(0x81);
    file.extend_from_slice(&number.to_be_bytes());
    file.extend_from_slice(b"\x02\x01\x02\x05\x00\xff\0\0\0\0\0\0\0\0");
    for (at, kind) in [Kind::Redis, SHARDS_2].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("disk-module-{at}"));
        std::fs::write(scratch.0.join("dump.rdb"), &file).expect("it is writable");
        let directory = scratch.0.to_str().expect("a name of text");
        let said =
            Server::try_start(kind, crate::process::free_port(), &["--dir", directory]).err().expect("it does not");
        let line = "The RDB file contains AUX module data I can't load: no matching module 'bloomflt1'";
        assert!(said.contains(line), "{}: {said}", kind.name());
        let (status, text) = check(&scratch.0.join("dump.rdb"), &[], "");
        assert!(status == 2 && text.contains(line), "{text}");
    }
}

/// Nothing is lost where only the checksum of a snapshot is wrong, and nobody has to agree that something is.
#[test]
fn a_wrong_checksum_alone_is_mended_without_losing_what_follows() {
    let scratch = Scratch::new("disk-sum");
    let file = scratch.0.join("dump.rdb");
    let (_server, mut client) = scratch.start(SHARDS_2, &[]);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    assert_eq!(say(&mut client, "SAVE"), "+OK");
    let whole = std::fs::read(&file).expect("it is there");
    let mut broken = whole.clone();
    *broken.last_mut().expect("it has bytes") ^= 1;
    std::fs::write(&file, &broken).expect("it is writable");
    let (status, text) = check(&file, &["--fix", "--yes"], "");
    assert!(status == 0 && text.contains("lost would be: 0 bytes, 0 commands, 0 keys"), "{text}");
    assert!(text.contains("The checksum is wrong") && !text.contains("what is lost stands behind it"), "{text}");
    assert!(std::fs::read(&file).expect("it is there") == whole);
}

/// Scripts and functions that may write are refused before they begin, as in Redis, while the disk keeps nothing.
#[test]
fn scripts_that_may_write_do_not_begin_while_nothing_can_be_kept() {
    let run = |kind: Kind, name: &str| {
        let scratch = Scratch::new(name);
        let (_server, mut client) = scratch.start(kind, &["--save", "1000 1000"]);
        let mut words = |words: &[&str]| client.call(words).expect("a reply").to_string();
        let shebang = "#!lua\nreturn 1";
        let sha = words(&["SCRIPT", "LOAD", shebang]).trim_matches('"').to_string();
        let library = "#!lua name=l\nredis.register_function('fw', function() return 1 end)\n\
                       redis.register_function{function_name='fr', callback=function() return 1 end, flags={'no-writes'}}";
        words(&["FUNCTION", "LOAD", library]);
        words(&["SET", "a", "1"]);
        std::fs::create_dir_all(scratch.0.join("dump.rdb/x")).expect("it can be made");
        words(&["BGSAVE"]);
        let mut all = Vec::new();
        let deadline = Instant::now() + crate::extra::PATIENCE;
        while words(&["SET", "a", "1"]) == "+OK" {
            assert!(Instant::now() < deadline);
        }
        let reads = "#!lua flags=no-writes\nreturn redis.call('get', 'a')";
        let short = "#!lua flags=allow-oom\nreturn redis.call('get', 'a')";
        let calls: [&[&str]; 12] = [
            &["EVAL", shebang, "0"],
            &["EVAL_RO", shebang, "0"],
            &["EVAL", reads, "0"],
            &["EVAL", short, "0"],
            &["EVAL", "return 1", "0"],
            &["EVAL", "return redis.pcall('set', 'a', 2)", "0"],
            &["EVALSHA", &sha, "0"],
            &["FCALL", "fw", "0"],
            &["FCALL_RO", "fw", "0"],
            &["FCALL", "fr", "0"],
            &["FCALL", "nothing", "0"],
            &["EVALSHA", &"0".repeat(40), "0"],
        ];
        all.extend(calls.iter().map(|call| words(call)));
        // In a transaction: when it is queued, when it runs, and where only then it is known what it is.
        all.extend([&["MULTI"][..], &["EVALSHA", &sha, "0"], &["EXEC"]].map(&mut words));
        words(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
        let other = "#!lua\nreturn 2";
        let known = words(&["SCRIPT", "LOAD", other]).trim_matches('"').to_string();
        words(&["SCRIPT", "FLUSH"]);
        all.extend([&["MULTI"][..], &["EVAL", shebang, "0"]].map(&mut words));
        let mut second = Client::connect(_server.port).expect("it accepts");
        say(&mut second, "CONFIG SET stop-writes-on-bgsave-error yes");
        all.extend(
            [&["EXEC"][..], &["MULTI"], &["SCRIPT", "LOAD", other], &["EVALSHA", &known, "0"], &["EXEC"]].map(words),
        );
        all
    };
    assert_eq!(run(SHARDS_2, "disk-scripts"), run(Kind::Redis, "disk-scripts-redis"));
}

/// The same where the log cannot be written.
#[test]
fn scripts_that_may_write_do_not_begin_while_the_log_cannot_be_written() {
    let scratch = Scratch::new("disk-scripts-log");
    let (server, mut client) = scratch.start(SHARDS_2, &["--appendonly", "yes"]);
    let library = "#!lua name=l\nredis.register_function('fw', function() return 1 end)";
    client.call(&["FUNCTION", "LOAD", library]).expect("a reply");
    let shebang = "#!lua\nreturn 1";
    let sha = client.call(&["SCRIPT", "LOAD", shebang]).expect("a reply").to_string().trim_matches('"').to_string();
    assert_eq!(client.call(&["SCRIPT", "FLUSH"]).expect("a reply").to_string(), "+OK");
    limit_files(&server, "4096");
    fill(&mut client);
    const MISCONF: &str = "-MISCONF Errors writing to the AOF file: File too large";
    for call in [&["EVAL", shebang, "0"], &["FCALL", "fw", "0"]] {
        assert_eq!(client.call(call).expect("a reply").to_string(), MISCONF);
    }
    let calls: [&[&str]; 4] = [&["MULTI"], &["SCRIPT", "LOAD", shebang], &["EVALSHA", &sha, "0"], &["EXEC"]];
    let replies = calls.map(|call| client.call(call).expect("a reply").to_string());
    let late = "-MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. Writable \
                scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: File too large";
    assert!(replies[3].contains(late), "{replies:?}");
}

/// `rdb_saves` counts what was begun, by commands and save points, whatever came of it.
#[test]
fn saves_are_counted_as_in_redis() {
    let run = |kind: Kind, name: &str| {
        let scratch = Scratch::new(name);
        let (_server, mut client) = scratch.start(kind, &["--save", "1000 1000"]);
        let mut counts = Vec::new();
        let mut count = |client: &mut Client| {
            wait_for("the snapshot", || info(client, "rdb_bgsave_in_progress") == "0");
            counts.push(info(client, "rdb_saves"));
        };
        for line in ["SET a 1", "SAVE", "BGSAVE", "DEBUG RELOAD", "FLUSHALL"] {
            say(&mut client, line);
            count(&mut client);
        }
        std::fs::remove_file(scratch.0.join("dump.rdb")).expect("it is there");
        std::fs::create_dir_all(scratch.0.join("dump.rdb/x")).expect("it can be made");
        for line in ["SAVE", "BGSAVE", "CONFIG RESETSTAT"] {
            say(&mut client, line);
            count(&mut client);
        }
        counts
    };
    assert_eq!(run(SHARDS_2, "disk-saves"), run(Kind::Redis, "disk-saves-redis"));
}
