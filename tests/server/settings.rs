//! `CONFIG SET` of every directive of Redis 7.0, with values good and bad: the same reply and the same value after it,
//! as Debian's redis-server gives.

use crate::client::{Client, Value, encode};
use crate::process::{Kind, Server};

/// Tried with every directive.
const VALUES: &[&str] = &[
    "",
    "yes",
    "no",
    "YES",
    "0",
    "1",
    "2",
    "-1",
    "-2",
    "100",
    "101",
    "65535",
    "65536",
    "1000000",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "1gb",
    "1kb",
    "10k",
    "50%",
    "101%",
    "1 2",
    "1 2 3",
    "01",
    "1.5",
    " 1",
    "1 ",
    "abc",
    "x.y",
    "/tmp",
    "a/b",
    "\"",
    "é",
    "KEA",
    "normal 1gb 2 3",
    "replica 1mb 1mb 1",
    "local",
    "default",
    "always",
    "everysec",
    "noeviction",
    "relative",
    "absolute",
    "notice",
    "ip",
    "disabled",
    "optional",
    "allchannels",
    "nosave",
    "save",
    "save nosave",
    "{title} {port}",
    "{title}",
    "{x}",
    "777",
    "800",
    "50 99",
    "no one",
    "127.0.0.1 6379",
];

/// Not tried: what they do to the test is more than a reply. They have tests of their own.
const NOT_TRIED: &[&str] = &[
    "bind",
    "port",
    "dir", // Ports and directories of this machine.
    "requirepass",
    "enable-debug-command",
    "enable-protected-configs", // They would shut this test out.
    "maxclients",               // What the machine can do is not the same for both.
    "appendonly",               // It begins a log, where the test has no directory for it.
    "tls-port",
    "tls-cluster",
    "tls-replication", // Refused here as long as they are not there.
];

/// Differences on purpose, and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("activedefrag", "", "accepted without effect; Debian's redis-server was built without it"),
    ("maxmemory", "%", "a share of the machine's memory is understood"),
    ("maxmemory-policy", "", "later policies and one of our own are understood; the refusal lists them"),
    ("watchdog-period", "", "remembered only; Redis makes it fit its timer"),
];

fn is_on_purpose(name: &str, value: &str) -> bool {
    DIFFERENCES.iter().any(|(known, part, _)| *known == name && value.contains(part))
}

/// Sends `CONFIG SET` and `CONFIG GET`; the replies to both.
fn set(client: &mut Client, name: &str, value: &str) -> (Value, Value) {
    let mut bytes = encode(&["CONFIG", "SET", name, value]);
    bytes.extend(encode(&["CONFIG", "GET", name]));
    client.send_raw(&bytes).expect("sent");
    let mut read = || client.read().unwrap_or_else(|error| panic!("CONFIG SET {name} '{value}': {error}"));
    (read(), read())
}

#[test]
fn every_directive_takes_and_refuses_what_redis_does() {
    let redis = Server::start(Kind::Redis, &[]);
    let ours = Server::start(Kind::Corering { shards: 2 }, &[]);
    let [mut redis, mut ours] = [&redis, &ours].map(|server| Client::connect(server.port).expect("it serves"));
    let Value::Array(all) = redis.call(&["CONFIG", "GET", "*"]).expect("a reply") else { panic!("no list") };
    let names = all.iter().step_by(2).map(|name| match name {
        Value::Bulk(name) => String::from_utf8(name.clone()).expect("plain text"),
        other => panic!("{other}"),
    });
    let hidden = ["key-load-delay", "loading-process-events-interval-bytes", "rdb-key-save-delay", "use-exit-on-panic"];
    let names: Vec<String> = names.chain(hidden.map(str::to_string)).collect();
    assert!(190 < names.len(), "{names:?}");
    let mut differences = Vec::new();
    for name in names.iter().filter(|name| !NOT_TRIED.contains(&name.as_str())) {
        for value in VALUES {
            // Where the machine stands still for a second or two, these would close the test's own connections.
            if name == "timeout" && ["1", "2"].contains(value) {
                continue;
            }
            let (theirs, own) = (set(&mut redis, name, value), set(&mut ours, name, value));
            if is_on_purpose(name, value) {
                // Both go on with the same value.
                let _ = (set(&mut redis, name, "0"), set(&mut ours, name, "0"));
            } else if theirs != own {
                differences.push(format!(
                    "{name} '{value}'\n  Redis: {} then {}\n  ours:  {} then {}",
                    theirs.0, theirs.1, own.0, own.1
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
