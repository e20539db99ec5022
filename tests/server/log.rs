//! The append-only file while the server runs: switched on and off, rewritten, its directory deleted, loaded again.
//! Crashes, damage and round trips of its files: `tests/aof/run`.

use crate::check::{check, is_valid, stop};
use crate::client::{Client, Value};
use crate::extra::{PATIENCE, SetWhenDropped, wait_until as wait_for};
use crate::process::{Kind, Server, free_port};
use crate::scratch::Scratch;
use crate::snapshot::{digest, fill, info, say};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REFUSED: &str = "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. Check \
                       server logs.";

impl Scratch {
    fn manifest(&self) -> String {
        std::fs::read_to_string(self.log().join("appendonly.aof.manifest")).unwrap_or_default()
    }
}

#[track_caller]
fn wait_for_rewrite(client: &mut Client) {
    wait_for("the rewrite", || {
        info(client, "aof_rewrite_in_progress") == "0" && info(client, "aof_rewrite_scheduled") == "0"
    });
    assert_eq!(info(client, "aof_last_bgrewrite_status"), "ok");
}

#[track_caller]
fn wait_for_line(server: &Server, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.output().contains(line) {
        assert!(Instant::now() < deadline, "no line '{line}' in:\n{}", server.output());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_log_is_switched_on_only_where_it_can_be_written() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-on-{at}"));
        let (_server, mut client) = scratch.start(kind, &[]);
        std::fs::write(scratch.log(), "").expect("it is writable");
        assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), REFUSED, "a file is in its place");
        assert_eq!(say(&mut client, "CONFIG GET appendonly"), "[\"appendonly\", \"no\"]");
        assert_eq!(info(&mut client, "aof_enabled"), "0");
        std::fs::remove_file(scratch.log()).expect("it is there");
        assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), "+OK");
        assert_eq!(info(&mut client, "aof_enabled"), "1");
        wait_for_rewrite(&mut client);
    }
}

#[test]
fn what_a_rewrite_replaced_is_kept_while_that_is_wanted() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-kept-{at}"));
        let (server, mut client) = scratch.start(kind, &["--appendonly", "yes"]);
        let history = || {
            let manifest = scratch.manifest();
            let names = manifest.lines().filter(|line| line.ends_with("type h"));
            names.map(|line| scratch.log().join(line.split(' ').nth(1).expect("a name"))).collect::<Vec<_>>()
        };
        assert_eq!(say(&mut client, "CONFIG SET aof-disable-auto-gc yes"), "+OK");
        let value = "v".repeat(50_000);
        assert_eq!(say(&mut client, &format!("SET k {value}")), "+OK");
        for rewrites in 1..=2 {
            assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
            wait_for_rewrite(&mut client);
            wait_for("the names", || scratch.manifest().contains(&format!("base.rdb seq {} type b", rewrites + 1)));
            let kept = history();
            assert!(rewrites < kept.len(), "{}: {kept:?}", kind.name());
            std::thread::sleep(Duration::from_millis(300));
            assert!(kept.iter().all(|path| path.exists()), "{}: {kept:?}", kind.name());
            assert_eq!(history(), kept);
        }
        // What is history does not count.
        let bytes: u64 = info(&mut client, "aof_current_size").parse().expect("a number");
        assert!(bytes < 50_000, "{}: {bytes}", kind.name());
        let kept = history();
        assert_eq!(say(&mut client, "CONFIG SET aof-disable-auto-gc no"), "+OK");
        wait_for("the files to go", || history().is_empty() && !kept.iter().any(|path| path.exists()));
        assert_eq!(say(&mut client, "STRLEN k"), ":50000");
        drop((server, client));
        let (_server, mut client) = scratch.start(kind, &["--appendonly", "yes"]);
        assert_eq!(say(&mut client, "STRLEN k"), ":50000");
    }
}

#[test]
fn a_directory_of_another_server_or_on_a_full_disk_is_refused_with_what_came_with_it() {
    let scratch = Scratch::new("log-locked");
    let (first, _) = scratch.start(Kind::Corering { shards: 1 }, &["--appendonly", "yes"]);
    let (second, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    assert_eq!(say(&mut client, "CONFIG SET maxmemory-samples 7 appendonly yes"), REFUSED);
    assert_eq!(say(&mut client, "CONFIG GET maxmemory-samples"), "[\"maxmemory-samples\", \"5\"]");
    wait_for_line(&second, "another server uses the append-only directory");
    assert_eq!(
        say(&mut client, "BGREWRITEAOF"),
        "-ERR Can't execute an AOF background rewriting. Please check the server logs for more information."
    );
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    drop(first);
    // Every write to what is tried first says that the disk is full.
    std::os::unix::fs::symlink("/dev/full", scratch.log().join("temp-appendonly.aof.tried")).expect("a link");
    assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), REFUSED);
    wait_for_line(&second, "No space left on device");
    assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), "+OK", "the link is gone");
    wait_for_rewrite(&mut client);
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    drop(second);
    let (_third, mut client) = scratch.start(Kind::Corering { shards: 1 }, &["--appendonly", "yes"]);
    assert_eq!(say(&mut client, "GET k"), "\"v\"");
}

#[test]
fn a_log_that_is_off_gives_its_directory_up() {
    let scratch = Scratch::new("log-off");
    let (first, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--appendonly", "yes"]);
    (0..100).for_each(|number| assert_eq!(say(&mut client, &format!("SET key:{number} v")), "+OK"));
    assert_eq!(say(&mut client, "CONFIG SET appendonly no"), "+OK");
    assert_eq!(say(&mut client, "SET later v"), "+OK");
    // Closed files end where their records end: Redis reads them, and has them to itself.
    let (_second, mut other) = scratch.start(Kind::Corering { shards: 1 }, &[]);
    wait_for("the lock", || say(&mut other, "CONFIG SET appendonly yes") == "+OK");
    assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), REFUSED);
    drop(first);
}

/// Whatever is deleted, nothing that is in memory is lost.
#[test]
fn a_log_that_somebody_deletes_is_written_anew() {
    for (policy, shards) in [("everysec", 2), ("always", 1)] {
        let scratch = Scratch::new(&format!("log-gone-{policy}"));
        let arguments = ["--appendonly", "yes", "--appendfsync", policy];
        let (mut server, mut client) = scratch.start(Kind::Corering { shards }, &arguments);
        (0..1000).for_each(|number| assert_eq!(say(&mut client, &format!("SET key:{number} v")), "+OK"));

        // The directory, and nothing in the way of a new one.
        std::fs::remove_dir_all(scratch.log()).expect("it was there");
        wait_for_line(&server, "nothing that is written into the append-only file is safe");
        wait_for_line(&server, "AOF write error looks solved, Redis can write again.");
        wait_for("writes", || say(&mut client, "SET after:1 v") == "+OK");
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");

        // A file of it.
        let incr = std::fs::read_dir(scratch.log())
            .expect("it is there again")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.to_string_lossy().contains(".incr."))
            .expect("a lane");
        let mended = |server: &Server| server.output().matches("AOF write error looks solved").count();
        let before = mended(&server);
        std::fs::remove_file(incr).expect("it was there");
        wait_for_line(&server, "incr.aof was deleted");
        wait_for("the mend", || before < mended(&server));
        wait_for("writes", || say(&mut client, "SET after:2 v") == "+OK");

        // The manifest alone.
        std::fs::remove_file(scratch.log().join("appendonly.aof.manifest")).expect("it was there");
        wait_for("the manifest", || scratch.manifest().contains("type b"));
        assert_eq!(say(&mut client, "SET after:3 v"), "+OK");
        assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");

        server.child.kill().expect("it runs");
        let _ = server.child.wait();
        let (_server, mut client) = scratch.start(Kind::Corering { shards: 3 - shards }, &arguments);
        assert_eq!(say(&mut client, "DBSIZE"), ":1003", "{policy}");
    }
}

#[test]
fn writes_are_refused_while_a_deleted_log_cannot_be_written_anew() {
    const MISCONF: &str = "-MISCONF Errors writing to the AOF file: No such file or directory";
    let scratch = Scratch::new("log-nowhere");
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    assert_eq!(say(&mut client, "SET k v"), "+OK");
    let aside = scratch.0.join("aside");
    std::fs::rename(scratch.log(), &aside).expect("it was there");
    std::fs::write(scratch.log(), "").expect("it is writable");
    wait_for_line(&server, "the append-only file cannot begin anew");
    wait_for("the refusal", || say(&mut client, "SET k v2") == MISCONF);
    assert_eq!(info(&mut client, "aof_last_write_status"), "err");
    assert!(say(&mut client, "GET k").starts_with("\"v"), "reads go on");
    assert!(say(&mut client, "BGREWRITEAOF").starts_with("-ERR Can't execute an AOF background rewriting."));
    // Somebody else's log is nobody's to overwrite.
    std::fs::remove_file(scratch.log()).expect("it was there");
    std::fs::create_dir(scratch.log()).expect("it can be made");
    let foreign = scratch.log().join("appendonly.aof.manifest");
    std::fs::write(&foreign, "file appendonly.aof.1.incr.aof seq 1 type i\n").expect("it is writable");
    std::fs::write(scratch.log().join("appendonly.aof.1.incr.aof"), "").expect("it is writable");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(say(&mut client, "SET k v2"), MISCONF);
    assert!(foreign.exists());
    std::fs::remove_dir_all(scratch.log()).expect("it was there");
    wait_for("writes", || say(&mut client, "SET k v3") == "+OK");
    server.child.kill().expect("it runs");
    let _ = server.child.wait();
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &arguments);
    assert_eq!(say(&mut client, "GET k"), "\"v3\"");
}

#[test]
fn a_log_that_is_off_can_be_rewritten_as_in_redis() {
    const ONE: &str = "file appendonly.aof.1.base.rdb seq 1 type b\n";
    const TWO: &str = "file appendonly.aof.2.base.rdb seq 2 type b\n";
    let pairs = [
        (Kind::Redis, Kind::Corering { shards: 2 }),
        (Kind::Corering { shards: 2 }, Kind::Redis),
        (Kind::Corering { shards: 1 }, Kind::Corering { shards: 4 }),
    ];
    for (at, (kind, other)) in pairs.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-base-{at}"));
        let (server, mut client) = scratch.start(kind, &[]);
        fill(&mut client);
        let expected = digest(&mut client);
        for (transaction, manifest) in [(false, ONE), (true, TWO)] {
            if transaction {
                assert_eq!(say(&mut client, "MULTI"), "+OK");
                assert_eq!(say(&mut client, "BGREWRITEAOF"), "+QUEUED");
                assert_eq!(say(&mut client, "EXEC"), "[+Background append only file rewriting scheduled]");
            } else {
                assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
            }
            wait_for_rewrite(&mut client);
            wait_for("the manifest", || scratch.manifest() == manifest);
            assert_eq!(info(&mut client, "aof_enabled"), "0");
        }
        drop((server, client));
        let (_server, mut client) = scratch.start(other, &["--appendonly", "yes"]);
        assert_eq!(digest(&mut client), expected, "{} has written it, {} loads it", kind.name(), other.name());
    }
}

/// A stream with everything that groups can have, and a library: neither is in a digest.
fn add_what_no_digest_tells(client: &mut Client) {
    for line in [
        "XADD stream 1-1 a b c d",
        "XADD stream 2-1 a b c d",
        "XADD stream 3-1 e f",
        "XGROUP CREATE stream first 0",
        "XREADGROUP GROUP first alice COUNT 2 STREAMS stream >",
        "XGROUP CREATECONSUMER stream first bob",
        "XGROUP CREATE stream second $ ENTRIESREAD 3",
        "XDEL stream 3-1",
        "XADD empty 5-5 a b",
        "XTRIM empty MAXLEN 0",
    ] {
        assert!(!say(client, line).starts_with('-'), "{line}");
    }
    let library = "#!lua name=lib\nredis.register_function('one', function() return 1 end)";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]).expect("a reply").to_string(), "\"lib\"");
}

/// What is known of that stream and the library, but for times.
fn what_no_digest_tells(client: &mut Client) -> Vec<String> {
    let lines = [
        "XINFO GROUPS stream",
        "XPENDING stream first",
        "XRANGE stream - +",
        "XLEN empty",
        "XADD empty 5-5 a b",
        "XADD stream 3-1 a b",
        "FCALL one 0",
        "PEXPIRETIME long",
    ];
    lines.iter().map(|line| say(client, line)).collect()
}

#[test]
fn a_base_of_commands_is_loaded_here_and_by_redis() {
    for shards in [1, 2] {
        let scratch = Scratch::new(&format!("log-commands-{shards}"));
        let arguments = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes"];
        let (server, mut client) = scratch.start(Kind::Corering { shards }, &arguments);
        fill(&mut client);
        add_what_no_digest_tells(&mut client);
        assert_eq!(say(&mut client, "PEXPIREAT long 4102444800000"), ":1");
        assert_eq!(say(&mut client, "PEXPIREAT members 4102444800000"), ":1");
        assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
        wait_for_rewrite(&mut client);
        assert!(scratch.manifest().starts_with("file appendonly.aof.2.base.aof seq 2 type b\n"));
        let base = std::fs::read(scratch.log().join("appendonly.aof.2.base.aof")).expect("a base");
        assert!(base.starts_with(b"#TS:"), "{}", base[..40].escape_ascii());
        assert_eq!(say(&mut client, "SET behind v"), "+OK");
        let (expected, others) = (digest(&mut client), what_no_digest_tells(&mut client));
        stop((server, client));
        assert!(is_valid("redis-check-aof", &scratch.log().join("appendonly.aof.manifest")));
        let (status, told) = check(&scratch.log(), &[], "");
        assert_eq!(status, 0, "{told}");
        for kind in [Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }, Kind::Redis] {
            let (server, mut client) = scratch.start(kind, &["--appendonly", "yes"]);
            assert_eq!(digest(&mut client), expected, "{} loads what {shards} shards wrote", kind.name());
            assert_eq!(what_no_digest_tells(&mut client), others, "{}", kind.name());
            stop((server, client));
        }
    }
}

/// Field deadlines are newer than Redis 7.0: the base says them in a command that it does not know.
#[test]
fn a_base_of_commands_has_deadlines_of_fields() {
    let scratch = Scratch::new("log-fields");
    let arguments = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    for at in 0..300 {
        assert_eq!(say(&mut client, &format!("HSET hash field:{at} v")), ":1");
    }
    assert_eq!(say(&mut client, "HPEXPIREAT hash 4102444800000 FIELDS 2 field:1 field:2"), "[:1, :1]");
    assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    wait_for_rewrite(&mut client);
    wait_for_line(&server, "Redis 7.0 cannot load it");
    stop((server, client));
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &arguments);
    assert_eq!(say(&mut client, "HLEN hash"), ":300");
    assert_eq!(
        say(&mut client, "HPEXPIRETIME hash FIELDS 3 field:1 field:2 field:3"),
        "[:4102444800000, :4102444800000, :-1]"
    );
}

#[test]
fn debug_loadaof_brings_back_what_the_log_has() {
    for shards in [1, 2, 4] {
        let scratch = Scratch::new(&format!("log-again-{shards}"));
        let arguments = ["--appendonly", "yes"];
        let (mut server, mut client) = scratch.start(Kind::Corering { shards }, &arguments);
        fill(&mut client);
        add_what_no_digest_tells(&mut client);
        assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK", "of an empty base");
        assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
        wait_for_rewrite(&mut client);
        assert_eq!(say(&mut client, "MSET a 1 b 2 c 3 d 4"), "+OK");
        let expected = digest(&mut client);
        assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
        assert_eq!(digest(&mut client), expected);
        let others = what_no_digest_tells(&mut client);
        assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
        assert_eq!(what_no_digest_tells(&mut client)[1..3], others[1..3]);
        // What comes behind it is recorded.
        assert_eq!(say(&mut client, "SET after v"), "+OK");
        assert_eq!(say(&mut client, "FLUSHDB"), "+OK");
        assert_eq!(say(&mut client, "SET last v"), "+OK");
        assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
        let expected = digest(&mut client);
        server.child.kill().expect("it runs");
        let _ = server.child.wait();
        let (_server, mut client) = scratch.start(Kind::Corering { shards: 5 - shards }, &arguments);
        assert_eq!(digest(&mut client), expected);
    }
}

#[test]
fn debug_loadaof_of_a_log_that_is_off_goes_back_to_its_base() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-back-{at}"));
        let (_server, mut client) = scratch.start(kind, &[]);
        assert_eq!(say(&mut client, "SET k v"), "+OK");
        if kind != Kind::Redis {
            // Redis ends here.
            let refused = "-ERR Error trying to load the AOF files, check server logs.";
            assert_eq!(say(&mut client, "DEBUG LOADAOF"), refused);
            assert_eq!(say(&mut client, "GET k"), "\"v\"", "nothing is lost");
        }
        assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
        wait_for_rewrite(&mut client);
        assert_eq!(say(&mut client, "SET k later"), "+OK");
        assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
        assert_eq!(say(&mut client, "GET k"), "\"v\"");
        assert_eq!(say(&mut client, "SET k again"), "+OK");
    }
}

#[test]
fn debug_loadaof_loads_what_was_to_be_written_before_it() {
    let scratch = Scratch::new("log-scheduled");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    assert_eq!(say(&mut client, "SET a 1"), "+OK");
    assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    wait_for_rewrite(&mut client);
    assert_eq!(say(&mut client, "MSET b 1 c 1 d 1"), "+OK");
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 300000"), "+OK");
    assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
    assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting scheduled");
    // Who looks at one field alone finds that nothing is in progress.
    assert_eq!(info(&mut client, "aof_rewrite_in_progress"), "0");
    assert_eq!(info(&mut client, "aof_rewrite_scheduled"), "1");
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1");
    assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
    assert_eq!(say(&mut client, "DBSIZE"), ":4");
    assert_eq!(info(&mut client, "aof_rewrite_scheduled"), "0");
}

#[test]
fn a_flush_leaves_nothing_behind_that_others_have_to_wait_for() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-flush-{at}"));
        let (_server, mut client) = scratch.start(kind, &["--save", "900 1"]);
        for round in 0..16 {
            assert_eq!(say(&mut client, &format!("SET k{round} v")), "+OK");
            assert_eq!(say(&mut client, "FLUSHALL"), "+OK");
            assert_eq!(say(&mut client, &format!("SET of{round} v")), "+OK");
            // Somewhen it is saved that all is gone.
            std::thread::sleep(Duration::from_millis(7 * round));
            assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "0");
            assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
            // As Redis' own tests wait.
            wait_for("the rewrite", || info(&mut client, "aof_rewrite_in_progress") == "0");
            assert_eq!(say(&mut client, "SET k v"), "+OK");
            assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
            assert_eq!(say(&mut client, "KEYS *"), format!("[\"of{round}\"]"));
            assert_eq!(say(&mut client, "FLUSHALL"), "+OK");
            assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
            wait_for("the snapshot", || info(&mut client, "rdb_bgsave_in_progress") == "0");
            assert_eq!(info(&mut client, "rdb_saves"), format!("{}", round + 1));
        }
    }
}

#[test]
fn what_is_answered_beside_debug_loadaof_is_there_behind_it() {
    for shards in [1, 2, 3] {
        let scratch = Scratch::new(&format!("log-beside-{shards}"));
        let arguments =
            ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "10", "--auto-aof-rewrite-min-size", "16kb"];
        let (server, mut client) = scratch.start(Kind::Corering { shards }, &arguments);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = SetWhenDropped(&is_over);
            let writers: Vec<_> = (0..6)
                .map(|writer| {
                    let (is_over, port) = (&is_over, server.port);
                    scope.spawn(move || {
                        let mut client = Client::connect(port).expect("it accepts");
                        let (mut alone, mut both, mut told) = (0, 0, 0);
                        while !is_over.load(Ordering::Relaxed) {
                            match say(&mut client, &format!("INCR alone:{writer}:{}", alone % 7)).as_str() {
                                reply if reply.starts_with("-LOADING") => told += 1,
                                reply => {
                                    assert_eq!(reply, format!(":{}", alone / 7 + 1), "writer {writer}, {alone}");
                                    alone += 1;
                                }
                            }
                            // Two keys, mostly of two shards: a step from the one to the other each time.
                            let move_on = format!("RENAME from:{writer}:{both} from:{writer}:{}", both + 1);
                            if both == 0 && say(&mut client, &format!("SET from:{writer}:0 v")) != "+OK" {
                                continue;
                            }
                            match say(&mut client, &move_on).as_str() {
                                reply if reply.starts_with("-LOADING") => {}
                                reply => {
                                    assert_eq!(reply, "+OK", "writer {writer}, {both}");
                                    both += 1;
                                }
                            }
                        }
                        told
                    })
                })
                .collect();
            for _ in 0..12 {
                std::thread::sleep(Duration::from_millis(40));
                assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
            }
            is_over.store(true, Ordering::Relaxed);
            let told: u32 = writers.into_iter().map(|writer| writer.join().expect("all is there")).sum();
            assert_ne!(told, 0, "nobody came upon it");
        });
        wait_for_rewrite(&mut client);
    }
}

#[test]
fn who_waits_for_a_key_gets_it_when_all_is_loaded() {
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 2 }].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("log-waits-{at}"));
        let (server, mut client) = scratch.start(kind, &["--appendonly", "yes"]);
        wait_for_rewrite(&mut client);
        // What the log says of the list on the way is not for anybody.
        for line in ["RPUSH list early", "LPOP list", "SET k v", "CONFIG SET key-load-delay 200000"] {
            say(&mut client, line);
        }
        let mut waiting = Client::connect(server.port).expect("it accepts");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || say(&mut waiting, "BLPOP list 0"));
            wait_for("the client that waits", || {
                let clients = client.call(&["INFO", "clients"]).expect("a reply").to_string();
                clients.contains("blocked_clients:1")
            });
            assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
            assert_eq!(say(&mut client, "RPUSH list late"), ":1");
            assert_eq!(waiter.join().expect("a reply"), "[\"list\", \"late\"]");
        });
    }
}

#[test]
fn info_tells_how_far_a_log_is_loaded() {
    let scratch = Scratch::new("log-progress");
    let arguments = ["--appendonly", "yes", "--rdbcompression", "no"];
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    say(&mut client, "DEBUG POPULATE 30000 key 200");
    assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    wait_for_rewrite(&mut client);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetWhenDropped(&is_over);
        let (is_over, port) = (&is_over, server.port);
        let watcher = scope.spawn(move || {
            let mut client = Client::connect(port).expect("it accepts");
            while !is_over.load(Ordering::Relaxed) {
                let Ok(Value::Bulk(text)) = client.call(&["INFO", "persistence"]) else { panic!("no text") };
                let text = String::from_utf8(text).expect("text");
                let field = |name: &str| {
                    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
                    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().expect("a number")
                };
                if field("loading") == 0.0 {
                    assert!(!text.contains("loading_start_time"));
                    continue;
                }
                let (total, loaded) = (field("loading_total_bytes"), field("loading_loaded_bytes"));
                assert_eq!(field("async_loading"), 0.0);
                assert!(0.0 < field("loading_start_time") && 0.0 <= field("loading_eta_seconds"));
                assert!(loaded <= total);
                if 5e6 < total && 0.0 < loaded {
                    let percent = field("loading_loaded_perc");
                    assert!((percent - loaded * 100.0 / total).abs() < 0.01, "{percent} of {loaded}, {total}");
                    assert!(0.0 < field("loading_rdb_used_mem"));
                    return true;
                }
            }
            false
        });
        // Until it was seen.
        let deadline = Instant::now() + PATIENCE;
        while !watcher.is_finished() && Instant::now() < deadline {
            assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(watcher.join().expect("it does not fail"), "nobody saw it");
    });
    assert_eq!(say(&mut client, "DBSIZE"), ":30000");
    assert!(!server.output().contains("loading ["), "there is no terminal");
}

#[test]
fn a_terminal_gets_a_bar_while_keys_are_loaded() {
    let scratch = Scratch::new("log-bar");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &["--appendonly", "yes"]);
    say(&mut client, "DEBUG POPULATE 1000 key 100");
    assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    wait_for_rewrite(&mut client);
    stop((server, client));
    let port = free_port();
    let binary = Kind::Corering { shards: 1 }.binary().to_string_lossy().into_owned();
    let directory = scratch.0.display();
    let line =
        format!("exec {binary} --port {port} --bind 127.0.0.1 --shards 1 --save '' --appendonly yes --dir {directory}");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = script.spawn().expect("Debian's bsdutils");
    let mut client = None;
    wait_for("a server on a terminal", || {
        client = Client::connect(port).ok();
        client.as_mut().is_some_and(|client| say(client, "DBSIZE") == ":1000")
    });
    let _ = client.expect("connected").call(&["SHUTDOWN"]); // It answers by going away.
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("loading [##############################] 100.0 %    0 s left"), "{text}");
    assert!(text.contains("Ready to accept connections"), "{text}");
}

/// After a crash files end with room that was not used, which Redis takes for damage.
#[test]
fn corering_check_cuts_off_the_room_that_redis_does_not_understand() {
    let scratch = Scratch::new("log-room");
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    (0..50).for_each(|number| assert_eq!(say(&mut client, &format!("SET key:{number} v")), "+OK"));
    server.child.kill().expect("it runs");
    let _ = server.child.wait();
    let manifest = scratch.log().join("appendonly.aof.manifest");
    assert!(!is_valid("redis-check-aof", &manifest));
    let (status, told) = check(&scratch.log(), &[], "");
    assert!(status == 0 && told.contains("room that was not used"), "{told}");
    let (status, told) = check(&scratch.log(), &["--fix"], "n\n");
    assert!(status == 0 && told.contains("Nothing was changed."), "{told}");
    let (status, told) = check(&scratch.log(), &["--fix"], "y\n");
    assert!(status == 0 && told.contains("lost would be: 0 bytes, 0 commands, 0 keys"), "{told}");
    assert!(is_valid("redis-check-aof", &manifest));
    let (status, told) = check(&scratch.log(), &["--fix"], "");
    assert!(status == 0 && told.contains("Nothing is to be done."), "{told}");
    let (_redis, mut client) = scratch.start(Kind::Redis, &["--appendonly", "yes"]);
    assert_eq!(say(&mut client, "DBSIZE"), ":50");
}

#[test]
fn the_log_moves_with_the_servers_directory() {
    for (policy, shards) in [("always", 2), ("everysec", 1)] {
        let (from, to) = (Scratch::new(&format!("log-from-{policy}")), Scratch::new(&format!("log-to-{policy}")));
        let taken = Scratch::new(&format!("log-taken-{policy}"));
        let _other = taken.start(Kind::Corering { shards: 1 }, &["--appendonly", "yes"]);
        let arguments = ["--appendonly", "yes", "--appendfsync", policy];
        let (mut server, mut client) = from.start(Kind::Corering { shards }, &arguments);
        fill(&mut client);
        let refused = say(&mut client, &format!("CONFIG SET dir {}", taken.0.display()));
        assert_eq!(
            refused,
            "-ERR CONFIG SET failed (possibly related to argument 'dir') - Unable to move the append-only file. Check \
             server logs."
        );
        assert_eq!(say(&mut client, "CONFIG GET dir"), format!("[\"dir\", \"{}\"]", from.0.display()));
        assert_eq!(say(&mut client, "SET before v"), "+OK");
        let port = server.port;
        let is_over = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let _end = SetWhenDropped(&is_over);
            let is_over = &is_over;
            let writer = scope.spawn(move || {
                let mut client = Client::connect(port).expect("it accepts");
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(say(&mut client, &format!("MSET a:{number} v b:{number} v")), "+OK");
                    number += 1;
                }
                number
            });
            assert_eq!(say(&mut client, &format!("CONFIG SET dir {}", to.0.display())), "+OK");
            wait_for_line(&server, "the append-only file is in");
            wait_for_rewrite(&mut client);
            assert_eq!(say(&mut client, "SWAPDB 5 6"), "+OK");
            is_over.store(true, Ordering::Relaxed);
            writer.join().expect("it was answered")
        });
        assert!(0 < written);
        assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
        let expected = digest(&mut client);
        server.child.kill().expect("it runs");
        let _ = server.child.wait();
        let (status, told) = check(&to.log(), &[], "");
        assert_eq!(status, 0, "{told}");
        let (loaded, mut client) = to.start(Kind::Corering { shards: 3 - shards }, &arguments);
        assert_eq!(digest(&mut client), expected, "{policy}");
        drop((loaded, client));
        // What was before is there as well.
        let (_loaded, mut client) = from.start(Kind::Corering { shards: 1 }, &arguments);
        assert_eq!(say(&mut client, "GET before"), "\"v\"");
    }
}
