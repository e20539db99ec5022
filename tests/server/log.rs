//! The append-only file while the server runs: switched on and off, rewritten, its directory deleted, loaded again.
//! Crashes, damage and round trips of its files: `tests/aof/run`.

use crate::check::{check, is_valid, stop};
use crate::client::Client;
use crate::extra::{PATIENCE, SetWhenDropped, wait_until as wait_for};
use crate::info::info_field;
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
pub fn wait_for_rewrite(client: &mut Client) {
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
            wait_for("the client that waits", || client.info_number("clients", "blocked_clients") == 1);
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
                let text = client.info("persistence");
                let field = |name: &str| {
                    let value = info_field(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"));
                    value.parse::<f64>().expect("a number")
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
    assert!(told.contains(": whole, ") && told.contains(" bytes of room behind"), "{told}");
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

/// Commands as a log has them.
fn commands(calls: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for call in calls {
        bytes.extend_from_slice(format!("*{}\r\n", call.len()).as_bytes());
        call.iter().for_each(|word| bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes()));
    }
    bytes
}

/// Servers before Redis 7 wrote scripts into their single file; all of them are run, as in Redis, and what fails is
/// told of.
#[test]
fn scripts_in_an_old_log_are_run_and_what_fails_is_told() {
    const SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; // return 1
    const UNKNOWN: &str = "4e6d8fc8bb01276962cce5371fa795a7763657ae"; // Of no script.
    let library = "#!lua name=l\nredis.register_function('f', function(k, a) redis.call('SET', k[1], a[1]) end)";
    let writes =
        "for i = 1, 50 do redis.call('SET', 's' .. i, i) end redis.call('SELECT', 2) redis.call('SET', 'x', 1)";
    let mut old = commands(&[
        &["SELECT", "0"],
        &["SET", "v", "1"],
        &["SCRIPT", "LOAD", "return 1"],
        &["SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"],
        &["EVALSHA", SHA, "0"],
        &["EVAL", writes, "0"],
        &["EVAL", "return redis.call('INCR', KEYS[1])", "1", "v"],
        &["EVALSHA", UNKNOWN, "0"],
        &["EVAL", "syntax error", "0"],
        &["MULTI"],
        &["EVAL", "redis.call('RENAME', 's1', 'renamed')", "0"],
        &["EXEC"],
        &["FUNCTION", "LOAD", library],
        &["FCALL", "f", "1", "g", "from a function"],
        &["FCALL", "nobody", "0"],
        &["SELECT", "99"],
        &["SET", "behind", "1"],
        &["SCRIPT", "FLUSH"],
    ]);
    // Nobody looks what stands behind an argument.
    old.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$5\r\nlooseXX$1\r\n1\r\n");
    let mut told = Vec::new();
    for (at, kind) in [Kind::Redis, Kind::Corering { shards: 1 }, Kind::Corering { shards: 3 }].into_iter().enumerate()
    {
        let scratch = Scratch::new(&format!("log-scripts-{at}"));
        std::fs::write(scratch.0.join("appendonly.aof"), &old).expect("it is writable");
        let (server, mut client) = scratch.start(kind, &["--appendonly", "yes"]);
        let mut said = Vec::new();
        for line in [
            "DBSIZE",
            "MGET v s2 s50 renamed behind loose g",
            &format!("SCRIPT EXISTS {SHA}"),
            "FCALL f 1 g later",
            "GET g",
            "SELECT 2",
            "GET x",
        ] {
            said.push(say(&mut client, line));
        }
        let critical = |line: &str| Some(line.split_once("== CRITICAL == ")?.1.to_string());
        said.extend(server.output().lines().filter_map(critical));
        // It is in the directory, when it was loaded.
        assert!(!scratch.0.join("appendonly.aof").exists() && scratch.log().join("appendonly.aof").exists());
        told.push((kind.name(), said));
    }
    let (_, redis) = &told[0];
    assert!(redis[0] == ":54" && redis.iter().any(|line| line.contains("NOSCRIPT")), "{redis:?}");
    told[1..].iter().for_each(|(name, said)| assert_eq!(said, redis, "{name}"));
}

/// Until it has been loaded an old file stays where it is: whoever cannot load it here may there.
#[test]
fn an_old_log_that_cannot_be_loaded_stays_where_it_was() {
    let scratch = Scratch::new("log-stays");
    let old = scratch.0.join("appendonly.aof");
    std::fs::write(&old, commands(&[&["SET", "a", "1"], &["NOTHING", "KNOWN"]])).expect("it is writable");
    let port = free_port();
    let dir = scratch.0.to_str().expect("text");
    let kind = Kind::Corering { shards: 2 };
    let output = Server::try_start(kind, port, &["--dir", dir, "--appendonly", "yes"]).err().expect("it ends");
    assert!(output.contains("Unknown command 'NOTHING'"), "{output}");
    assert!(old.exists() && !scratch.log().join("appendonly.aof.manifest").exists());
}

/// A flush or swap of nothing is nothing to be written: it would take a file of each shard.
#[test]
fn what_changes_nothing_begins_no_files() {
    let scratch = Scratch::new("log-idle");
    let arguments = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--save", ""];
    let (mut server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    let files = || std::fs::read_dir(scratch.log()).expect("a directory").count();
    let before = files();
    for _ in 0..50 {
        for line in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "SWAPDB 3 3"] {
            assert_eq!(say(&mut client, line), "+OK");
        }
    }
    assert_eq!(files(), before);
    assert_eq!(say(&mut client, "MULTI"), "+OK");
    for line in ["FLUSHDB", "SET a 1", "FLUSHALL", "SET b 2", "SWAPDB 0 1", "FLUSHDB", "SET c 3"] {
        assert_eq!(say(&mut client, line), "+QUEUED");
    }
    say(&mut client, "EXEC");
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    assert!(files() <= before + 2 * 2, "those of FLUSHALL, which replaces what was before it, and SWAPDB");
    server.child.kill().expect("it runs");
    let _ = server.child.wait();
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 3 }, &arguments);
    assert_eq!(say(&mut client, "KEYS *"), "[\"c\"]");
    assert_eq!(say(&mut client, "SELECT 1"), "+OK");
    assert_eq!(say(&mut client, "KEYS *"), "[\"b\"]");
}

#[test]
fn waitaof_ends_with_the_log_by_others_and_waits_in_no_transaction() {
    const OFF: &str = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    let scratch = Scratch::new("log-waitaof");
    let kind = Kind::Corering { shards: 2 };
    let (server, mut client) = scratch.start(kind, &["--appendonly", "yes", "--save", ""]);
    let mut waiting = Client::connect(server.port).expect("it accepts");
    let id = say(&mut waiting, "CLIENT ID").trim_start_matches(':').to_string();
    let is_waiting = |client: &mut Client| {
        let list = say(client, "CLIENT LIST");
        list.lines().any(|line| line.contains(&format!("id={id} ")) && line.contains("cmd=waitaof"))
    };
    let ask = |client: &mut Client, waiting: &mut Client, end: &[&str]| {
        waiting.send_raw(b"WAITAOF 1 1 0\r\n").expect("sent");
        wait_for("the waiting", || is_waiting(client));
        let reply = client.call(end).expect("a reply").to_string();
        (reply, waiting.read().expect("a reply").to_string())
    };
    // What new files begin with is on disk.
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    let one = (":1".to_string(), "[:1, :0]".to_string());
    assert_eq!(ask(&mut client, &mut waiting, &["CLIENT", "UNBLOCK", &id]), one);
    let (reply, error) = ask(&mut client, &mut waiting, &["CLIENT", "UNBLOCK", &id, "ERROR"]);
    assert!(reply == ":1" && error.starts_with("-UNBLOCKED"), "{reply} {error}");
    assert_eq!(say(&mut client, &format!("CLIENT UNBLOCK {id}")), ":0");
    let off = ask(&mut client, &mut waiting, &["CONFIG", "SET", "appendonly", "no"]);
    assert_eq!(off, ("+OK".to_string(), OFF.to_string()));
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), OFF);
    // Where it is to begin when something else is done, it is waited for.
    assert_eq!(say(&mut client, "MSET a 1 b 2 c 3"), "+OK");
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 1000000"), "+OK");
    assert_eq!(say(&mut client, "BGSAVE"), "+Background saving started");
    assert_eq!(say(&mut client, "CONFIG SET appendonly yes"), "+OK");
    for (field, value) in [("aof_enabled", "1"), ("aof_rewrite_scheduled", "1"), ("aof_pending_rewrite", "1")] {
        assert_eq!(info(&mut client, field), value, "{field}");
    }
    assert_eq!(say(&mut client, "WAITAOF 1 0 20"), "[:0, :0]");
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]", "the base has it");
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]", "and the lanes have begun");
    for line in ["MULTI", "WAITAOF 1 0 0", "WAITAOF 1 3 0"] {
        say(&mut client, line);
    }
    assert_eq!(say(&mut client, "EXEC"), "[[:1, :0], [:1, :0]]");
    let script = "return redis.call('WAITAOF', '1', '0', '0')";
    assert_eq!(client.call(&["EVAL", script, "0"]).expect("a reply").to_string(), "[:1, :0]");
    let script = "redis.call('SET', 'k', 'v') return redis.call('WAITAOF', '1', '0', '0')";
    assert_eq!(client.call(&["EVAL", script, "1", "k"]).expect("a reply").to_string(), "[:0, :0]");
}

/// Who was promised a log writes nothing where there is none.
#[test]
fn a_connection_that_was_promised_a_log_writes_only_with_it() {
    const REFUSED: &str =
        "-MISCONF CLIENT DURABILITY of this connection needs the append-only file, which is off or has no base yet";
    let scratch = Scratch::new("log-promised");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &["--appendonly", "yes", "--save", ""]);
    let mut other = Client::connect(server.port).expect("it accepts");
    for line in ["CLIENT DURABILITY always foo", "CLIENT DURABILITY default x"] {
        assert_eq!(say(&mut client, line), "-ERR wrong number of arguments for 'client|durability' command");
    }
    for mode in ["always", "everysec"] {
        assert_eq!(say(&mut client, &format!("CLIENT DURABILITY {mode}")), "+OK");
        assert_eq!(say(&mut client, "SET k v"), "+OK");
        assert_eq!(say(&mut other, "CONFIG SET appendonly no"), "+OK");
        assert_eq!(say(&mut client, "SET k w"), REFUSED, "{mode}");
        assert_eq!(say(&mut client, "GET k"), "\"v\"");
        assert_eq!(say(&mut client, "MULTI"), "+OK");
        assert!(say(&mut client, "SET k w").starts_with("-MISCONF"));
        assert!(say(&mut client, "EXEC").starts_with("-EXECABORT"));
        assert_eq!(say(&mut other, "SET other v"), "+OK", "nobody has promised it anything");
        assert_eq!(say(&mut client, "CLIENT DURABILITY default"), "+OK");
        assert_eq!(say(&mut client, "SET k v"), "+OK");
        assert_eq!(say(&mut other, "CONFIG SET appendonly yes"), "+OK");
        assert_eq!(say(&mut client, &format!("CLIENT DURABILITY {mode}")), "+OK");
        wait_for("the base", || say(&mut client, "SET k v") == "+OK");
    }
    assert_eq!(say(&mut client, "RESET"), "+RESET");
    assert_eq!(say(&mut client, "CLIENT DURABILITY"), "\"default\"");
    assert_eq!(say(&mut other, "CONFIG SET appendonly no"), "+OK");
    assert_eq!(say(&mut client, "SET k w"), "+OK");
}

/// Large values that a rewrite has yet to record go at once where nothing else can: nobody is told that there is no
/// room, and as much stays as the limit allows.
#[test]
fn a_rewrite_at_the_limit_refuses_no_write_and_empties_no_cache() {
    let scratch = Scratch::new("log-limit");
    let arguments = ["--appendonly", "yes", "--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
    let value = "x".repeat(1_000_000);
    let set = |client: &mut Client, range: std::ops::Range<usize>| {
        for number in range {
            let reply = client.call(&["SET", &format!("k{number}"), &value]).expect("a reply").to_string();
            assert_eq!(reply, "+OK", "{number}");
        }
    };
    set(&mut client, 0..100);
    wait_for_rewrite(&mut client);
    // Slow enough to be under way all the time.
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 50000"), "+OK");
    // One may have begun by itself.
    let begun = say(&mut client, "BGREWRITEAOF");
    let already = "-ERR Background append only file rewriting already in progress";
    assert!(["+Background append only file rewriting started", already].contains(&&*begun), "{begun}");
    set(&mut client, 100..300);
    assert_eq!(say(&mut client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
    wait_for_rewrite(&mut client);
    let keys: usize = say(&mut client, "DBSIZE").trim_start_matches(':').parse().expect("a number");
    assert!(20 < keys, "{keys} keys of some 95 are left");
}
