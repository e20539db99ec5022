//! Scripts, and transactions with scripts, that begin again with every shard, since they use keys that they did not
//! name: they have happened once.

use crate::client::{Client, Value, encode};
use crate::extra::wait_until;
use crate::info::info_field;
use crate::process::{Kind, Server};
use crate::scratch::Scratch;
use std::sync::atomic::{AtomicBool, Ordering};

const SHARDS: usize = 4;

fn server() -> (Server, Client) {
    // Clients stay where they are: local variables of libraries are each core's own.
    let server = Server::start(Kind::Corering { shards: SHARDS }, &["--connection-steering", "no"]);
    let mut client = Client::connect(server.port).expect("a running server accepts connections");
    for key in 0..20 {
        call(&mut client, &["SET", &format!("k{key}"), "word"]);
    }
    (server, client)
}

fn call(client: &mut Client, command: &[&str]) -> Value {
    client.call(command).expect("a reply")
}

fn widened(client: &mut Client) -> u64 {
    client.info_number("everything", "scripts_widened") as u64
}

#[test]
fn counts_and_lines_are_those_of_one_run() {
    let (server, mut client) = server();
    call(&mut client, &["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "1000"]);
    call(&mut client, &["CONFIG", "RESETSTAT"]);
    call(&mut client, &["SLOWLOG", "RESET"]);
    let script = "redis.log(redis.LOG_WARNING, 'a line of the script') \
                  redis.call('GET', KEYS[1]) redis.call('GET', KEYS[1] .. 'none') redis.pcall('INCR', KEYS[1]) \
                  redis.pcall('NOCOMMAND') redis.pcall('GET') \
                  for key = 0, 19 do redis.call('EXISTS', 'k' .. key) end return 'done'";
    assert_eq!(call(&mut client, &["EVAL", script, "1", "k0"]), Value::Bulk(b"done".to_vec()));
    assert_eq!(widened(&mut client), 1, "keys of every shard were used");
    let stat = |client: &mut Client, command: &str, field: &str| {
        let text = client.info("commandstats");
        let line = info_field(&text, &format!("cmdstat_{command}")).expect("it ran");
        let (_, rest) = line.split_once(&format!("{field}=")).expect("a field");
        rest.split(',').next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    assert_eq!(stat(&mut client, "get", "calls"), 2);
    assert_eq!(stat(&mut client, "get", "rejected_calls"), 1);
    assert_eq!(stat(&mut client, "exists", "calls"), 20);
    assert_eq!((stat(&mut client, "incr", "calls"), stat(&mut client, "incr", "failed_calls")), (1, 1));
    assert_eq!(client.info_number("stats", "keyspace_hits"), 21);
    assert_eq!(client.info_number("stats", "keyspace_misses"), 1);
    assert_eq!(client.info_number("stats", "total_error_replies"), 3);
    assert_eq!(info_field(&client.info("errorstats"), "errorstat_ERR"), Some("count=3"));
    let Value::Array(entries) = call(&mut client, &["SLOWLOG", "GET", "1000"]) else { panic!("a list") };
    let of_get = |entry: &&Value| {
        matches!(entry, Value::Array(parts) if parts[3] == Value::Array(vec![
            Value::Bulk(b"GET".to_vec()), Value::Bulk(b"k0".to_vec()),
        ]))
    };
    assert_eq!(entries.iter().filter(of_get).count(), 1, "{entries:?}");
    let lines = |server: &Server| server.output().matches("a line of the script").count();
    wait_until("the line is in the log", || 0 < lines(&server));
    // The log is in order: what the next script says comes after all that this one has said.
    call(&mut client, &["EVAL", "redis.log(redis.LOG_WARNING, 'the next one')", "0"]);
    wait_until("the next line is in the log", || server.output().contains("the next one"));
    assert_eq!(lines(&server), 1);
}

#[test]
fn very_many_calls_are_counted_once() {
    let (_server, mut client) = server();
    call(&mut client, &["CONFIG", "RESETSTAT"]);
    let script = "for turn = 1, 9000 do redis.call('GET', KEYS[1]) end \
                  for key = 0, 19 do redis.call('EXISTS', 'k' .. key) end return 'done'";
    assert_eq!(call(&mut client, &["EVAL", script, "1", "k0"]), Value::Bulk(b"done".to_vec()));
    assert_eq!(widened(&mut client), 1, "keys of every shard were used");
    let text = client.info("commandstats");
    let calls = info_field(&text, "cmdstat_get").expect("it ran");
    assert!(calls.starts_with("calls=9000,"), "{calls}");
    assert_eq!(client.info_number("stats", "keyspace_hits"), 9020);
}

#[test]
fn who_logs_more_than_is_kept_back_begins_again_and_logs_it_once() {
    let (server, mut client) = server();
    let script = "for line = 1, 300 do redis.log(redis.LOG_WARNING, 'line ' .. line .. string.rep('.', 1000)) end \
                  redis.log(redis.LOG_WARNING, 'the end') return redis.call('GET', KEYS[1])";
    assert_eq!(call(&mut client, &["EVAL", script, "1", "k0"]), Value::Bulk(b"word".to_vec()));
    assert_eq!(widened(&mut client), 1);
    wait_until("all lines are in the log", || server.output().contains("the end"));
    for line in [1, 100, 300] {
        assert_eq!(server.output().matches(&format!("line {line}.")).count(), 1, "line {line}");
    }
}

#[test]
fn what_scripts_publish_is_sent_once_and_keeps_them_where_their_keys_are() {
    let (server, mut client) = server();
    let mut subscriber = Client::connect(server.port).expect("it is accepted");
    call(&mut subscriber, &["SUBSCRIBE", "news"]);
    call(&mut subscriber, &["PSUBSCRIBE", "n*"]);
    call(&mut client, &["CONFIG", "SET", "notify-keyspace-events", "E$"]);
    call(&mut subscriber, &["SUBSCRIBE", "__keyevent@0__:set"]);
    let mut expect = |parts: &[&str]| {
        let Value::Array(message) = subscriber.read().expect("a message") else { panic!("no message") };
        let message: Vec<String> = message.iter().map(Value::to_string).collect();
        let last = message.last().expect("it has parts");
        assert!(parts.iter().all(|part| last.contains(part)), "{message:?} where {parts:?} was due");
    };
    let script = "redis.call('SET', KEYS[1], '1') return redis.call('PUBLISH', 'news', ARGV[1])";
    for (number, key) in ["k0", "k1", "k2", "k3"].into_iter().enumerate() {
        let reply = call(&mut client, &["EVAL", script, "1", key, &format!("message {number}")]);
        assert_eq!(reply, Value::Integer(2), "one by channel, one by pattern");
        expect(&[key]);
        expect(&[&format!("message {number}")]);
        expect(&[&format!("message {number}")]);
    }
    assert_eq!(widened(&mut client), 0, "it used no other keys");
    // Who begins again has published once.
    let roams = "redis.call('PUBLISH', 'news', 'from the first try') \
                 for key = 0, 19 do redis.call('EXISTS', 'k' .. key) end return redis.call('PUBLISH', 'news', 'then')";
    assert_eq!(call(&mut client, &["EVAL", roams, "1", "k0"]), Value::Integer(2));
    assert_eq!(widened(&mut client), 1);
    ["from the first try", "from the first try", "then", "then"].iter().for_each(|text| expect(&[text]));
    // What is too much to be kept back is published at once, with every shard.
    let much = "local n = 0 for i = 1, 100 do n = n + redis.call('PUBLISH', 'news', i .. string.rep('.', 1000)) end \
                return n";
    assert_eq!(call(&mut client, &["EVAL", much, "1", "k0"]), Value::Integer(200));
    assert_eq!(widened(&mut client), 2);
    for number in 1..=100 {
        expect(&[&format!("{number}.")]);
        expect(&[&format!("{number}.")]);
    }
    let nobody = "return {redis.call('SPUBLISH', 'news', 'x'), redis.call('PFADD', KEYS[1], 'a'), \
                  redis.call('PFCOUNT', KEYS[1])}";
    assert_eq!(
        call(&mut client, &["EVAL", nobody, "1", "log"]),
        Value::Array(vec![Value::Integer(0), Value::Integer(1), Value::Integer(1)])
    );
    assert_eq!(widened(&mut client), 2);
}

#[test]
fn local_variables_of_libraries_change_once() {
    let (_server, mut client) = server();
    for library in 0..8 {
        let code = format!(
            "#!lua name=l{library}\nlocal count, list, large = 0, {{}}, {{}}\n\
             local function fill() for i = 1, 1000 do large[i] = i end end\n\
             redis.register_function('f{library}', function(keys)\n\
               count = count + 1\n list[#list + 1] = count\n redis.call('SET', keys[1], count)\n\
               for key = 0, 19 do redis.call('GET', 'k' .. key) end\n\
               return {{count, #list, redis.call('GET', keys[1])}}\n end)\n\
             redis.register_function('fill{library}', function() fill() return #large end)"
        );
        let name = format!("f{library}");
        call(&mut client, &["FUNCTION", "LOAD", &code]);
        let before = widened(&mut client);
        for count in 1..4 {
            let text = Value::Bulk(count.to_string().into_bytes());
            let expected = Value::Array(vec![Value::Integer(count), Value::Integer(count), text]);
            assert_eq!(call(&mut client, &["FCALL", &name, "1", "counter"]), expected);
        }
        assert_eq!(widened(&mut client), before + 1, "the first call began again");
        // With more than is kept back it holds every shard from the beginning.
        call(&mut client, &["FCALL", &format!("fill{library}"), "0"]);
        let Value::Array(values) = call(&mut client, &["FCALL", &name, "1", "counter"]) else { panic!("it runs") };
        assert_eq!(values[..2], [Value::Integer(4), Value::Integer(4)]);
    }
}

#[test]
fn scripts_that_use_very_many_keys_that_they_did_not_name_end_soon() {
    let (_server, mut client) = server();
    let script = "for key = 1, 20000 do redis.call('SET', '{' .. KEYS[1] .. '}' .. key, 'v') end return 'done'";
    client.send_raw(&encode(&["EVAL", script, "1", "k0"])).expect("it is sent");
    assert_eq!(client.read().expect("a reply"), Value::Bulk(b"done".to_vec()));
    assert_eq!(call(&mut client, &["DBSIZE"]), Value::Integer(20_020));
    assert_eq!(widened(&mut client), 1);
}

#[test]
fn scripts_on_all_cores_ask_every_core_at_the_same_time() {
    const ROUNDS: usize = 50;
    let (server, mut client) = server();
    let info_of_script = "redis.call('INCR', KEYS[1]) return redis.call('INFO', 'keyspace')";
    std::thread::scope(|scope| {
        for number in 0..2 * SHARDS {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::connect(server.port).expect("a running server accepts connections");
                let key = format!("count{number}");
                for round in 1..=ROUNDS {
                    match number % 4 {
                        0 | 1 => {
                            let reply = call(&mut client, &["EVAL", info_of_script, "1", &key]).to_string();
                            assert!(reply.contains("db0:keys="), "{reply}");
                        }
                        2 => {
                            for command in [&["MULTI"][..], &["INCR", &key], &["INFO", "keyspace"]] {
                                call(&mut client, command);
                            }
                            let reply = call(&mut client, &["EXEC"]).to_string();
                            assert!(reply.contains("db0:keys="), "{reply}");
                        }
                        _ => {
                            call(&mut client, &["INFO", "everything"]);
                            call(&mut client, &["INCR", &key]);
                        }
                    }
                    let count = call(&mut client, &["GET", &key]);
                    assert_eq!(count, Value::Bulk(round.to_string().into_bytes()), "client {number}");
                }
            });
        }
    });
    assert_eq!(call(&mut client, &["DBSIZE"]), Value::Integer(20 + 2 * SHARDS as i64));
}

/// Runs calls as a transaction; its replies.
fn transaction(client: &mut Client, calls: &[&[&str]]) -> Vec<Value> {
    call(client, &["MULTI"]);
    for queued in calls {
        assert_eq!(call(client, queued), Value::Simple(b"QUEUED".to_vec()));
    }
    match call(client, &["EXEC"]) {
        Value::Array(replies) => replies,
        other => panic!("{other}"),
    }
}

/// Uses keys of every shard.
const ROAMS: &str = "for key = 0, 19 do redis.call('EXISTS', 'k' .. key) end return 'done'";

fn text(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[test]
fn a_transaction_whose_scripts_name_their_keys_begins_once() {
    let (_server, mut client) = server();
    call(&mut client, &["SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"]);
    let library = "#!lua name=l\nredis.register_function('f', function(keys) return redis.call('INCR', keys[1]) end)";
    call(&mut client, &["FUNCTION", "LOAD", library]);
    for key in 0..8 {
        let (key, other) = (format!("n{key}"), format!("m{key}"));
        let script = "return redis.call('INCR', KEYS[1])";
        let sum = "return redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[2]))";
        let replies = transaction(
            &mut client,
            &[
                &["SET", &key, "1"],
                &["EVAL", script, "1", &key],
                &["FCALL", "f", "1", &other],
                // What another call has named is held, too.
                &["EVAL", sum, "2", &other, &key],
                &["EVAL", &format!("return redis.call('GET', '{key}')"), "0"],
                &["PUBLISH", "nobody", "listens"],
                &["GET", &other],
            ],
        );
        let expected =
            [Value::Integer(2), Value::Integer(1), Value::Integer(3), text("2"), Value::Integer(0), text("3")];
        assert_eq!(replies[1..], expected);
    }
    assert_eq!(widened(&mut client), 0);
}

#[test]
fn a_transaction_that_begins_again_has_happened_once() {
    let (server, mut client) = server();
    let library = "#!lua name=l\nlocal count = 0\n\
                   redis.register_function('count', function(keys) count = count + 1 return count end)";
    call(&mut client, &["FUNCTION", "LOAD", library]);
    call(&mut client, &["CONFIG", "SET", "notify-keyspace-events", "KEA", "slowlog-log-slower-than", "0"]);
    call(&mut client, &["CONFIG", "SET", "slowlog-max-len", "1000"]);
    let mut subscriber = Client::connect(server.port).expect("it is accepted");
    call(&mut subscriber, &["PSUBSCRIBE", "__keyevent*"]);
    call(&mut subscriber, &["PSUBSCRIBE", "news"]);
    let mut monitor = Client::connect(server.port).expect("it is accepted");
    call(&mut monitor, &["MONITOR"]);
    call(&mut client, &["CONFIG", "RESETSTAT"]);
    call(&mut client, &["SLOWLOG", "RESET"]);
    call(&mut client, &["RPUSH", "list", "first"]);
    let fails = "redis.call('PUBLISH', 'news', 'before') redis.call('APPEND', KEYS[1], '!') \
                 redis.call('PUBLISH', 'news', 'behind') return redis.call('INCR', KEYS[1])";
    let replies = transaction(
        &mut client,
        &[
            &["INCR", "n"],
            &["RPUSH", "list", "second"],
            &["LPUSH", "k0", "no list"],
            &["GET", "nothing"],
            &["FCALL", "count", "1", "n"],
            &["EVAL", fails, "1", "k0"],
            &["PUBLISH", "news", "of the transaction"],
            &["EVAL", ROAMS, "1", "k0"],
            &["INCR", "n"],
            &["GET", "k0"],
        ],
    );
    assert_eq!(replies[..2], [Value::Integer(1), Value::Integer(2)]);
    assert!(matches!(replies[2], Value::Error(_)) && matches!(replies[5], Value::Error(_)), "{replies:?}");
    assert_eq!((&replies[4], &replies[6]), (&Value::Integer(1), &Value::Integer(1)));
    assert_eq!(replies[7..], [text("done"), Value::Integer(2), text("word!")]);
    assert_eq!(widened(&mut client), 1);
    // What happened comes once, in the order of the calls.
    let mut messages = Vec::new();
    while messages.last().is_none_or(|last: &String| last != "__keyevent@0__:incrby n" || messages.len() < 7) {
        let Value::Array(parts) = subscriber.read().expect("a message") else { panic!("no message") };
        let [.., Value::Bulk(channel), Value::Bulk(told)] = &parts[..] else { panic!("{parts:?}") };
        messages.push(format!("{} {}", String::from_utf8_lossy(channel), String::from_utf8_lossy(told)));
    }
    let at = messages.iter().position(|message| message.ends_with("incrby n")).expect("it was told");
    let expected = [
        "__keyevent@0__:incrby n",
        "__keyevent@0__:rpush list",
        "news before",
        "__keyevent@0__:append k0",
        "news behind",
        "news of the transaction",
        "__keyevent@0__:incrby n",
    ];
    let told: Vec<&str> = messages[at..].iter().map(String::as_str).filter(|told| !told.contains(":new ")).collect();
    let told: Vec<&str> = told.into_iter().filter(|told| !told.contains("keymiss")).collect();
    assert_eq!(told, expected);
    let stat = |client: &mut Client, command: &str| {
        info_field(&client.info("commandstats"), &format!("cmdstat_{command}")).expect("it ran").to_owned()
    };
    for (command, calls, failed) in
        [("incr", 3, 1), ("rpush", 2, 0), ("lpush", 1, 1), ("append", 1, 0), ("eval", 2, 1), ("exists", 20, 0)]
    {
        let line = stat(&mut client, command);
        assert!(line.starts_with(&format!("calls={calls},")), "{command}: {line}");
        assert!(line.contains(&format!("failed_calls={failed}")), "{command}: {line}");
    }
    assert!(stat(&mut client, "fcall").starts_with("calls=1,"));
    assert_eq!(info_field(&client.info("stats"), "total_error_replies"), Some("2"));
    let Value::Array(entries) = call(&mut client, &["SLOWLOG", "GET", "1000"]) else { panic!("a list") };
    let is_rpush = |entry: &&Value| entry.to_string().contains("second");
    assert_eq!(entries.iter().filter(is_rpush).count(), 1, "{entries:?}");
    // The function counts on from one.
    assert_eq!(call(&mut client, &["FCALL", "count", "1", "n"]), Value::Integer(2));
    call(&mut client, &["ECHO", "the end"]);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|last: &String| !last.contains("the end")) {
        lines.push(monitor.read().expect("a line").to_string().replace('\\', ""));
    }
    assert_eq!(lines.iter().filter(|line| line.contains("\"second\"")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("\"APPEND\"")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("\"count\"")).count(), 2, "{lines:?}");
}

#[test]
fn watched_keys_of_a_transaction_that_begins_again() {
    let (server, mut client) = server();
    let mut other = Client::connect(server.port).expect("it is accepted");
    for key in 0..8 {
        let (key, roams) = (format!("w{key}"), format!("{ROAMS} -- {key}"));
        call(&mut client, &["WATCH", &key, "k1"]);
        // What it writes itself in its first try is no change of others.
        let replies = transaction(&mut client, &[&["INCR", &key], &["EVAL", &roams, "0"], &["GET", &key]]);
        assert_eq!(replies, [Value::Integer(1), text("done"), text("1")]);
        call(&mut client, &["WATCH", &key]);
        call(&mut other, &["INCR", &key]);
        call(&mut client, &["MULTI"]);
        call(&mut client, &["EVAL", &format!("{roams}."), "1", &key]);
        assert_eq!(call(&mut client, &["EXEC"]), Value::NullArray);
        // Nobody watches any more.
        call(&mut other, &["INCR", &key]);
        assert_eq!(transaction(&mut client, &[&["INCR", &key]]), [Value::Integer(4)]);
    }
    assert_eq!(widened(&mut client), 8);
    assert_eq!(info_field(&client.info("clients"), "watching_clients"), Some("0"));
    assert_eq!(info_field(&client.info("clients"), "total_watched_keys"), Some("0"));
}

#[test]
fn a_value_too_large_to_be_copied_makes_a_transaction_begin_again() {
    let (_server, mut client) = server();
    call(&mut client, &["SET", "large", &"x".repeat(4 << 20)]);
    let script = "return redis.call('INCR', KEYS[1])";
    let calls: [&[&str]; 3] = [&["INCR", "n"], &["APPEND", "large", "last"], &["EVAL", script, "1", "n"]];
    let expected = [Value::Integer(1), Value::Integer((4 << 20) + 4), Value::Integer(2)];
    assert_eq!(transaction(&mut client, &calls), expected);
    assert_eq!(widened(&mut client), 1);
    // Behind the last script nothing has to be undone.
    let calls: [&[&str]; 2] = [&["EVAL", script, "1", "n"], &["APPEND", "large", "last"]];
    assert_eq!(transaction(&mut client, &calls), [Value::Integer(3), Value::Integer((4 << 20) + 8)]);
    assert_eq!(widened(&mut client), 1);
}

#[test]
fn who_waits_is_served_by_a_transaction_that_begins_again_once_it_has_ended() {
    let (server, mut client) = server();
    for key in 0..8 {
        let (list, roams) = (format!("list{key}"), format!("{ROAMS} -- {key}"));
        let mut waits = Client::connect(server.port).expect("it is accepted");
        waits.send_raw(&encode(&["BLPOP", &list, "0"])).expect("it is sent");
        wait_until("it waits", || info_field(&client.info("clients"), "blocked_clients") == Some("1"));
        let calls: [&[&str]; 4] =
            [&["RPUSH", &list, "a"], &["EVAL", &roams, "1", &list], &["RPUSH", &list, "b"], &["LPOP", &list]];
        let expected = [Value::Integer(1), text("done"), Value::Integer(2), text("a")];
        assert_eq!(transaction(&mut client, &calls), expected);
        assert_eq!(waits.read().expect("a reply"), Value::Array(vec![text(&list), text("b")]));
        assert_eq!(call(&mut client, &["EXISTS", &list]), Value::Integer(0));
    }
    assert_eq!(widened(&mut client), 8);
}

#[test]
fn a_message_has_its_place_among_the_events_of_its_script() {
    let (server, mut client) = server();
    let mut subscriber = Client::connect(server.port).expect("it is accepted");
    call(&mut client, &["CONFIG", "SET", "notify-keyspace-events", "E$"]);
    call(&mut subscriber, &["SUBSCRIBE", "news"]);
    call(&mut subscriber, &["SUBSCRIBE", "__keyevent@0__:set"]);
    let script = "redis.call('PUBLISH', 'news', '1') redis.call('SET', KEYS[1], '') redis.call('PUBLISH', 'news', '3') \
                  redis.call('SET', KEYS[2], '') redis.call('PUBLISH', 'news', '5')";
    for (one, two) in [("k0", "k1"), ("k2", "k3"), ("k4", "k5"), ("k6", "k6")] {
        call(&mut client, &["EVAL", script, "2", one, two]);
        for expected in ["1", one, "3", two, "5"] {
            let Value::Array(message) = subscriber.read().expect("a message") else { panic!("no message") };
            assert_eq!(message[2], text(expected));
        }
    }
    assert_eq!(widened(&mut client), 0);
}

#[test]
fn the_log_has_a_transaction_that_began_again_once() {
    let scratch = Scratch::new("again-log");
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    let (server, mut client) = scratch.start(Kind::Corering { shards: SHARDS }, &options);
    for round in 0..8 {
        let (key, roams) = (format!("n{round}"), format!("redis.call('RPUSH', 'rounds', '{round}') {ROAMS}"));
        let calls: [&[&str]; 3] =
            [&["INCR", &key], &["EVAL", "return redis.call('APPEND', KEYS[1], 'x')", "1", "s"], &["EVAL", &roams, "0"]];
        assert_eq!(transaction(&mut client, &calls), [Value::Integer(1), Value::Integer(round + 1), text("done")]);
    }
    assert_eq!(widened(&mut client), 8);
    drop((client, server));
    let (_server, mut client) = scratch.start(Kind::Corering { shards: SHARDS }, &options);
    assert_eq!(call(&mut client, &["STRLEN", "s"]), Value::Integer(8));
    assert_eq!(call(&mut client, &["LLEN", "rounds"]), Value::Integer(8));
    for round in 0..8 {
        assert_eq!(call(&mut client, &["GET", &format!("n{round}")]), text("1"));
    }
}

#[test]
fn the_log_has_what_a_transaction_did_whose_scripts_took_long() {
    let scratch = Scratch::new("again-long");
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    let (server, mut client) = scratch.start(Kind::Corering { shards: SHARDS }, &options);
    // Together they take long enough to be lent what they hold: in the middle of one, or between two.
    let short = "for call = 1, 100 do redis.call('INCR', KEYS[1]) end return redis.call('GET', KEYS[1])";
    let long = "for call = 1, 2000 do redis.call('INCR', KEYS[1]) end return redis.call('GET', KEYS[1])";
    for (key, script, total) in [("a", short, 100), ("b", long, 2000), ("c", short, 100), ("d", long, 2000)] {
        let eval = ["EVAL", script, "1", key];
        let mut calls: Vec<&[&str]> = vec![&eval; 20];
        calls.push(&["SET", "last", "1"]);
        let replies = transaction(&mut client, &calls);
        assert_eq!(replies[19], text(&(20 * total).to_string()));
    }
    assert_eq!(widened(&mut client), 0);
    drop((client, server));
    let (_server, mut client) = scratch.start(Kind::Corering { shards: SHARDS }, &options);
    let values = ["2000", "40000", "2000", "40000"].map(text);
    assert_eq!(call(&mut client, &["MGET", "a", "b", "c", "d"]), Value::Array(values.to_vec()));
}

/// Runs transactions of four calls while somebody changes what they call, until each of two clients has run some.
/// `is_whole`: whether a reply is of one moment.
#[track_caller]
fn check_changed(change: impl Fn(&mut Client, usize) + Sync, called: &[&str], is_whole: fn(&[Value]) -> bool) {
    const TRANSACTIONS: usize = 1500;
    let (server, mut client) = server();
    change(&mut client, 0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(server.port).expect("a running server accepts connections");
            (1..).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|version| change(&mut client, version));
        });
        let callers = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut client = Client::connect(server.port).expect("a running server accepts connections");
                let torn = |_: &usize| {
                    let mut lines = encode(&["MULTI"]);
                    for key in ["a", "b", "c", "d"] {
                        lines.extend(encode(&[called, &["1", key]].concat()));
                    }
                    lines.extend(encode(&["EXEC"]));
                    client.send_raw(&lines).expect("it is sent");
                    (0..5).for_each(|_| drop(client.read().expect("a reply")));
                    let reply = client.read().expect("a reply");
                    !matches!(&reply, Value::Array(replies) if is_whole(replies))
                };
                (0..TRANSACTIONS).filter(torn).count()
            })
        });
        let torn: usize = callers.into_iter().map(|caller| caller.join().expect("it ends")).sum();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(torn, 0, "of {} transactions", 2 * TRANSACTIONS);
    });
}

#[test]
fn what_a_transaction_calls_stays_as_it_is_to_its_end() {
    let code = |version: usize| {
        format!(
            "#!lua name=l\nredis.register_function('f', function(keys) redis.call('INCR', keys[1]) return {version} end)"
        )
    };
    let replaced = |client: &mut Client, version| drop(call(client, &["FUNCTION", "LOAD", "REPLACE", &code(version)]));
    check_changed(replaced, &["FCALL", "f"], |replies| replies.iter().all(|reply| *reply == replies[0]));
    let all_or_none = |replies: &[Value]| {
        let errors = replies.iter().filter(|reply| matches!(reply, Value::Error(_))).count();
        errors == 0 || errors == replies.len()
    };
    let deleted = |client: &mut Client, version| {
        call(client, &["FUNCTION", "DELETE", "l"]);
        call(client, &["FUNCTION", "LOAD", &code(version)]);
    };
    check_changed(deleted, &["FCALL", "f"], all_or_none);
    let script = "return redis.call('INCR', KEYS[1])";
    let forgotten = |client: &mut Client, _| {
        call(client, &["SCRIPT", "FLUSH"]);
        call(client, &["SCRIPT", "LOAD", script]);
    };
    let (_server, mut client) = server();
    let Value::Bulk(sha) = call(&mut client, &["SCRIPT", "LOAD", script]) else { panic!("a name") };
    check_changed(forgotten, &["EVALSHA", std::str::from_utf8(&sha).expect("digits")], all_or_none);
    let evaluated = |client: &mut Client, _| {
        call(client, &["SCRIPT", "FLUSH"]);
        call(client, &["EVAL", script, "1", "other"]);
    };
    check_changed(evaluated, &["EVALSHA", std::str::from_utf8(&sha).expect("digits")], all_or_none);
}
