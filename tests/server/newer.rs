//! What streams of newer servers have beyond those of Redis 7.0: messages of producers that are remembered, entries
//! that were given back. It outlives every restart, and an older server that would not understand it refuses it.

use crate::check::{check, is_valid, stop};
use crate::client::{Client, Value};
use crate::process::{Kind, Server, free_port};
use crate::scratch::Scratch;
use crate::snapshot::say;

/// Directives that nobody says again after the restart: how much a stream remembers is its own.
const CONFIGURED: &[&str] = &["--stream-idmp-duration", "700", "--stream-idmp-maxsize", "5"];

/// Messages of producers and the ids that they got; the entry of one is deleted, that of another trimmed away.
fn make(client: &mut Client) -> Vec<(String, String)> {
    assert!(say(client, "XADD s * f v").starts_with('"'));
    assert_eq!(say(client, "XCFGSET s IDMP-DURATION 5000 IDMP-MAXSIZE 3"), "+OK");
    let lines = [
        "XADD s IDMP p early * f v",
        "XADD s IDMP p m * f v",
        "XADD s IDMP p gone * f v",
        "XADD s IDMP p last * f v",
        "XADD s IDMPAUTO q * a 1 b 2",
        "XADD t IDMP p m * f v",
        "XADD t IDMP r n MAXLEN 1 * f v",
    ];
    let mut ids: Vec<(String, String)> = lines.map(|line| (line.to_string(), say(client, line))).into();
    assert!(ids.iter().all(|(_, id)| id.starts_with('"')), "{ids:?}");
    let gone = ids[2].1.trim_matches('"').to_string();
    assert_eq!(say(client, &format!("XDEL s {gone}")), ":1");
    assert_eq!(say(client, "XADD u * f v").len(), ids[0].1.len());
    assert_eq!(say(client, "XCFGSET u IDMP-DURATION 9"), "+OK");
    // Three of a producer are remembered: not the first one.
    ids.remove(0);
    ids
}

/// The fields of `XINFO STREAM` that say how much is remembered, and of how many.
fn remembered(client: &mut Client) -> [String; 3] {
    ["s", "t", "u"].map(|key| {
        let told = say(client, &format!("XINFO STREAM {key}"));
        let (_, behind) = told.split_once("\"idmp-duration\", ").unwrap_or_else(|| panic!("{key} remembers: {told}"));
        behind.split_once(", \"iids-added\"").expect("it comes behind").0.to_string()
    })
}

#[track_caller]
fn assert_remembered(client: &mut Client, ids: &[(String, String)], how: &str) {
    let expected = [
        ":5000, \"idmp-maxsize\", :3, \"pids-tracked\", :2, \"iids-tracked\", :4",
        ":700, \"idmp-maxsize\", :5, \"pids-tracked\", :2, \"iids-tracked\", :2",
        ":9, \"idmp-maxsize\", :5, \"pids-tracked\", :0, \"iids-tracked\", :0",
    ];
    assert_eq!(remembered(client), expected, "{how}");
    for (line, id) in ids {
        assert_eq!(say(client, line), *id, "{how}: {line}");
    }
    assert_eq!(say(client, "XLEN s"), ":5", "{how}");
    assert_eq!(say(client, "XLEN t"), ":1", "{how}");
}

#[test]
fn messages_are_not_added_again_after_a_restart() {
    for (from, to) in [(1, 3), (2, 1)] {
        let scratch = Scratch::new(&format!("newer-snapshot-{from}"));
        let (server, mut client) = scratch.start(Kind::Corering { shards: from }, CONFIGURED);
        let ids = make(&mut client);
        assert_eq!(say(&mut client, "DEBUG RELOAD"), "+OK");
        assert_remembered(&mut client, &ids, "DEBUG RELOAD");
        for key in ["s", "t", "u"] {
            let Ok(Value::Bulk(payload)) = client.call(&["DUMP", key]) else { panic!("{key} gives no payload") };
            let restore = [&b"RESTORE"[..], key.as_bytes(), b"0", &payload, b"REPLACE"];
            assert_eq!(client.call(&restore).expect("a reply").to_string(), "+OK");
        }
        assert_remembered(&mut client, &ids, "DUMP and RESTORE");
        assert_eq!(say(&mut client, "SAVE"), "+OK");
        stop((server, client));
        assert_eq!(check(&scratch.0.join("dump.rdb"), &[], "").0, 0);
        assert!(!is_valid("redis-check-rdb", &scratch.0.join("dump.rdb")), "Redis 7.0 knows no such type");
        let (_server, mut client) = scratch.start(Kind::Corering { shards: to }, &[]);
        assert_remembered(&mut client, &ids, "a snapshot");
    }
}

#[test]
fn messages_are_not_added_again_after_a_log_was_read() {
    for (preamble, is_rewritten, from, to) in
        [("yes", false, 1, 3), ("yes", true, 2, 1), ("no", true, 1, 2), ("no", true, 2, 4)]
    {
        let how = format!("preamble {preamble}, rewritten {is_rewritten}, {from} shards, then {to}");
        let scratch = Scratch::new(&format!("newer-log-{preamble}-{is_rewritten}-{from}"));
        let log = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        let arguments = [&log[..], CONFIGURED].concat();
        let (server, mut client) = scratch.start(Kind::Corering { shards: from }, &arguments);
        let ids = make(&mut client);
        if is_rewritten {
            assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
            crate::log::wait_for_rewrite(&mut client);
        }
        assert_remembered(&mut client, &ids, &how);
        assert_eq!(say(&mut client, "DEBUG LOADAOF"), "+OK");
        assert_remembered(&mut client, &ids, &format!("{how}: DEBUG LOADAOF"));
        stop((server, client));
        assert_eq!(check(&scratch.log(), &[], "").0, 0, "{how}");
        let (server, mut client) = scratch.start(Kind::Corering { shards: to }, &log);
        assert_remembered(&mut client, &ids, &how);
        stop((server, client));
        assert_refused_by_redis(&scratch, &["--appendonly", "yes"]);
    }
}

/// A message costs the log what it says, not what the stream holds.
#[test]
fn a_message_is_logged_by_itself() {
    let scratch = Scratch::new("newer-bytes");
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &["--appendonly", "yes"]);
    let value = "v".repeat(100_000);
    assert!(say(&mut client, &format!("XADD s * f {value}")).starts_with('"'));
    for at in 0..50 {
        assert!(say(&mut client, &format!("XADD s IDMP p {at} * f v")).starts_with('"'));
    }
    assert!(say(&mut client, "XGROUP CREATE s g 0").starts_with('+'));
    assert!(say(&mut client, "XREADGROUP GROUP g c COUNT 2 STREAMS s >").starts_with('['));
    let given_back = say(&mut client, "XPENDING s g - + 1");
    let id = given_back.split('"').nth(1).expect("an id");
    for _ in 0..50 {
        assert_eq!(say(&mut client, &format!("XNACK s g FAIL IDS 1 {id}")), ":1");
    }
    assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[:1, :0]");
    let bytes: u64 = crate::snapshot::info(&mut client, "aof_current_size").parse().expect("a number");
    assert!(bytes < 1_000_000, "{bytes}");
}

/// Redis does not start with these files, in good order.
#[track_caller]
fn assert_refused_by_redis(scratch: &Scratch, arguments: &[&str]) {
    let all = [&["--dir", scratch.0.to_str().expect("a name of text")][..], arguments].concat();
    let Err(why) = Server::try_start(Kind::Redis, free_port(), &all) else { panic!("Redis 7.0 loads it") };
    assert!(!why.contains("crashed"), "{why}");
}

/// A group whose entries 1-1 and 2-1 were given back, the second one first.
fn give_back(client: &mut Client) {
    for line in [
        "XADD s 1-1 a b",
        "XADD s 2-1 a b",
        "XADD s 3-1 a b",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g c STREAMS s >",
        "XNACK s g FATAL IDS 1 2-1",
        "XNACK s g FAIL IDS 1 1-1",
    ] {
        let reply = say(client, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
}

#[track_caller]
fn assert_given_back(client: &mut Client, how: &str) {
    let pending = say(client, "XPENDING s g - + 10");
    let most = i64::MAX;
    let expected = format!("[[\"1-1\", \"\", :-1, :1], [\"2-1\", \"\", :-1, :{most}], [\"3-1\", \"c\", :");
    assert!(pending.starts_with(&expected), "{how}: {pending}");
    // What was given back first is had first. The copy shows it, so that the stream stays as it is.
    assert_eq!(say(client, "COPY s d REPLACE"), ":1");
    let next = say(client, "XREADGROUP GROUP g d COUNT 1 CLAIM 0 STREAMS d >");
    assert!(next.starts_with("[[\"d\", [[\"2-1\""), "{how}: {next}");
    assert_eq!(say(client, "DEL d"), ":1");
}

#[test]
fn what_was_given_back_is_so_after_a_restart_and_is_refused_by_redis() {
    let scratch = Scratch::new("newer-given-back");
    let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &[]);
    give_back(&mut client);
    assert_eq!(say(&mut client, "DEBUG RELOAD"), "+OK");
    assert_given_back(&mut client, "DEBUG RELOAD");
    let Ok(Value::Bulk(payload)) = client.call(&["DUMP", "s"]) else { panic!("a payload") };
    let restore = [&b"RESTORE"[..], b"s", b"0", &payload, b"REPLACE"];
    assert_eq!(client.call(&restore).expect("a reply").to_string(), "+OK");
    assert_given_back(&mut client, "DUMP and RESTORE");
    let redis = Server::start(Kind::Redis, &[]);
    let mut other = Client::connect(redis.port).expect("it accepts");
    let refused = "-ERR DUMP payload version or checksum are wrong";
    assert_eq!(other.call(&restore).expect("a reply").to_string(), refused);
    // What was claimed again Redis may have.
    assert!(say(&mut client, "XCLAIM s g c 0 1-1 2-1").starts_with('['));
    let Ok(Value::Bulk(payload)) = client.call(&["DUMP", "s"]) else { panic!("a payload") };
    assert_eq!(other.call(&[&b"RESTORE"[..], b"s", b"0", &payload]).expect("a reply").to_string(), "+OK");
    assert!(say(&mut other, "XPENDING s g - + 10").starts_with("[[\"1-1\", \"c\", :"));
    assert_eq!(say(&mut client, "DEL s"), ":1");

    give_back(&mut client);
    assert_eq!(say(&mut client, "SAVE"), "+OK");
    stop((server, client));
    assert_eq!(check(&scratch.0.join("dump.rdb"), &[], "").0, 0);
    assert_refused_by_redis(&scratch, &[]);
    let (_server, mut client) = scratch.start(Kind::Corering { shards: 1 }, &[]);
    assert_given_back(&mut client, "a snapshot");
}

#[test]
fn what_was_given_back_is_so_after_a_log_was_read() {
    for (preamble, is_rewritten) in [("yes", false), ("yes", true), ("no", true)] {
        let how = format!("preamble {preamble}, rewritten {is_rewritten}");
        let scratch = Scratch::new(&format!("newer-given-back-{preamble}-{is_rewritten}"));
        let arguments = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        let (server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
        give_back(&mut client);
        if is_rewritten {
            assert_eq!(say(&mut client, "BGREWRITEAOF"), "+Background append only file rewriting started");
            crate::log::wait_for_rewrite(&mut client);
        }
        stop((server, client));
        assert_refused_by_redis(&scratch, &["--appendonly", "yes"]);
        let (server, mut client) = scratch.start(Kind::Corering { shards: 3 }, &arguments);
        assert_given_back(&mut client, &how);
        // Delivered as often as can be said, and once more: the log can be read all the same.
        assert!(say(&mut client, "XCLAIM s g c 0 2-1").starts_with('['), "{how}");
        let claimed = say(&mut client, "XPENDING s g 2-1 2-1 1");
        assert!(claimed.ends_with(&format!(":{}]]", i64::MAX)), "{claimed}");
        stop((server, client));
        let (_server, mut client) = scratch.start(Kind::Corering { shards: 2 }, &arguments);
        let claimed = say(&mut client, "XPENDING s g 2-1 2-1 1");
        assert!(claimed.ends_with(&format!(":{}]]", i64::MAX)), "{claimed}");
    }
}
