//! The append-only file while the server runs: switched on and off, rewritten, its directory deleted, loaded again.
//! Crashes, damage and round trips of its files: `tests/aof/run`.

use crate::client::Client;
use crate::extra::wait_until as wait_for;
use crate::process::{Kind, Server};
use crate::scratch::Scratch;
use crate::snapshot::{digest, fill, info, say};
use std::path::PathBuf;

const REFUSED: &str = "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. Check \
                       server logs.";

impl Scratch {
    /// The directory of the log.
    fn log(&self) -> PathBuf {
        self.0.join("appendonlydir")
    }

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
    wait_for(line, || server.output().contains(line));
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
        std::fs::remove_file(incr).expect("it was there");
        wait_for("the warning", || server.output().matches("incr.aof was deleted").count() == 1);
        wait_for("the mend", || server.output().matches("AOF write error looks solved").count() == 2);
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
    std::thread::sleep(std::time::Duration::from_millis(2500));
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
