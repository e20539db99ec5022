//! A script that runs too long: who would have to wait for it is told so, and everybody else is served.

use crate::client::{Client, Value, encode};
use crate::extra::{PATIENCE, wait_until};
use crate::process::{Kind, Server};
use crate::scratch::Scratch;
use std::io;
use std::time::{Duration, Instant};

const BUSY: &[u8] = b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &[u8] =
    b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
/// So many connections that every core has some.
const CLIENTS: usize = 8;

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn send(client: &mut Client, command: &[&str]) {
    client.send_raw(&encode(command)).expect("it is sent");
}

fn call(client: &mut Client, command: &[&str]) -> Value {
    client.call(command).expect("a reply")
}

fn is_busy(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text == BUSY || text == BUSY_FUNCTION)
}

/// The same of `EXEC`.
fn is_aborted(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"EXECABORT Transaction discarded because of: BUSY"))
}

fn is_killed(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"ERR Script killed by user"))
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

fn has_come(client: &mut Client) -> bool {
    client.stream.set_nonblocking(true).expect("set");
    let is_empty = client.stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    client.stream.set_nonblocking(false).expect("set");
    !is_empty
}

/// Waits until a script runs, as the first core says that can say so: the script's own one can from the threshold on.
fn wait_until_one_runs(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(server)).collect();
    clients.iter_mut().for_each(|client| send(client, &["FUNCTION", "STATS"]));
    loop {
        for client in &mut clients {
            if !has_come(client) {
                continue;
            }
            let Value::Array(stats) = client.read().expect("a reply") else { panic!("statistics are an array") };
            if !matches!(stats[1], Value::NullBulk | Value::NullArray) {
                return;
            }
            send(client, &["FUNCTION", "STATS"]);
        }
        assert!(Instant::now() < deadline, "no script runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn with_keys(shards: usize, threshold_ms: &str) -> (Server, Client) {
    let server = Server::start(Kind::Corering { shards }, &["--busy-reply-threshold", threshold_ms]);
    let mut client = connect(&server);
    for key in 0..40 {
        call(&mut client, &["SET", &format!("k{key}"), "v"]);
    }
    (server, client)
}

#[test]
fn who_would_wait_for_a_busy_script_is_told_so() {
    let (server, mut other) = with_keys(4, "200");
    for script in [
        "while true do redis.call('GET', KEYS[1]) end",
        // It names one key, and holds all of them from the second on.
        "redis.call('GET', 'k1') redis.call('GET', 'k2') redis.call('GET', 'k3') while true do end",
    ] {
        let mut runs = connect(&server);
        send(&mut runs, &["EVAL", script, "1", "held"]);
        // From the threshold on, whichever core they come in at.
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        for client in &mut clients {
            wait_until("the script's key is refused", || is_busy(&call(client, &["GET", "held"])));
            for refused in [
                &["DBSIZE"][..],
                &["KEYS", "*"],
                &["FLUSHALL"],
                &["MSET", "held", "1", "k1", "2", "k2", "3", "k3", "4"],
                &["EVAL", "return redis.call('GET', 'held')", "1", "held"],
            ] {
                let reply = call(client, refused);
                assert!(is_busy(&reply), "{refused:?}: {reply:?}");
            }
            call(client, &["MULTI"]);
            call(client, &["SET", "held", "v"]);
            let reply = call(client, &["EXEC"]);
            assert!(is_aborted(&reply), "{reply:?}");
            let pong = call(client, &["PING"]);
            assert!(pong == Value::Simple(b"PONG".to_vec()) || is_busy(&pong), "{pong:?}");
        }
        // Some of them came in at other cores, where other keys are read as ever.
        if script.starts_with("while") {
            let reads: Vec<Value> = clients
                .iter_mut()
                .flat_map(|client| (0..40).map(|key| call(client, &["GET", &format!("k{key}")])).collect::<Vec<_>>())
                .collect();
            let served = reads.iter().filter(|reply| **reply == Value::Bulk(b"v".to_vec())).count();
            assert!(reads.iter().all(|reply| is_busy(reply) || *reply == Value::Bulk(b"v".to_vec())), "{reads:?}");
            assert!(40 <= served, "{served} of {} were served", reads.len());
        }
        assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
        let reply = runs.read().expect("it ends");
        assert!(is_killed(&reply), "{reply:?}");
        wait_until("all keys are counted", || call(&mut other, &["DBSIZE"]) == Value::Integer(40));
    }
}

#[test]
fn a_busy_script_keeps_nothing_but_its_keys_from_other_cores() {
    // With two shards the script's core and the key's are all there are.
    for shards in [2, 4] {
        let (server, mut other) = with_keys(shards, "200");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        for held in ["k0", "k1", "k2", "k3", "k4"] {
            let mut runs = connect(&server);
            send(&mut runs, &["EVAL", "while true do redis.call('GET', KEYS[1]) end", "1", held]);
            wait_until("the script's key is refused", || is_busy(&call(&mut other, &["GET", held])));
            let mut untouched = 0;
            for client in &mut clients {
                let keys = (0..40).map(|key| format!("k{key}")).filter(|key| key != held);
                let replies: Vec<Value> = keys.map(|key| call(client, &["GET", &key])).collect();
                untouched += usize::from(replies.iter().all(|reply| *reply == Value::Bulk(b"v".to_vec())));
            }
            assert_ne!(untouched, 0, "{held} of {shards} shards: clients of every core are refused other keys");
            assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
            assert!(is_killed(&runs.read().expect("it ends")));
        }
    }
}

#[test]
fn a_busy_script_of_a_transaction_keeps_nothing_but_its_keys_from_other_cores() {
    for shards in [2, 4] {
        let (server, mut other) = with_keys(shards, "200");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
        for (held, named) in [("k0", "k5"), ("k1", "k6"), ("k2", "k7"), ("k3", "k8")] {
            let mut runs = connect(&server);
            let script = "while true do redis.call('GET', KEYS[1]) end";
            for command in [&["MULTI"][..], &["SET", named, "w"], &["EVAL", script, "1", held], &["SET", named, "v"]] {
                call(&mut runs, command);
            }
            send(&mut runs, &["EXEC"]);
            wait_until("the transaction's keys are refused", || {
                is_busy(&call(&mut other, &["GET", held])) && is_busy(&call(&mut other, &["GET", named]))
            });
            let mut untouched = 0;
            for client in &mut clients {
                let keys = (0..40).map(|key| format!("k{key}")).filter(|key| key != held && key != named);
                let replies: Vec<Value> = keys.map(|key| call(client, &["GET", &key])).collect();
                untouched += usize::from(replies.iter().all(|reply| *reply == Value::Bulk(b"v".to_vec())));
            }
            assert_ne!(untouched, 0, "{held} of {shards} shards: clients of every core are refused other keys");
            assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
            let Value::Array(replies) = runs.read().expect("it ends") else { panic!("it was not refused") };
            assert!(replies[0] == ok() && is_killed(&replies[1]) && replies[2] == ok(), "{replies:?}");
            wait_until("keys are home", || call(&mut other, &["GET", named]) == Value::Bulk(b"v".to_vec()));
        }
    }
}

#[test]
fn who_came_before_the_threshold_is_told_at_the_threshold() {
    for shards in [1, 2, 4] {
        // Long enough that most of what follows is sent before, also on a slow machine; who comes later is told, too.
        let (server, mut other) = with_keys(shards, "3000");
        for script in [
            "while true do redis.call('GET', KEYS[1]) end",
            "redis.call('GET', 'k1') redis.call('GET', 'k2') redis.call('GET', 'k3') while true do end",
        ] {
            let mut moves = connect(&server);
            send(&mut moves, &["BLMOVE", "from", "held", "LEFT", "RIGHT", "0"]);
            wait_until("one waits", || {
                call(&mut other, &["INFO", "clients"]).to_string().contains("blocked_clients:1")
            });
            let mut runs = connect(&server);
            send(&mut runs, &["EVAL", script, "1", "held"]);
            wait_until_one_runs(&server);
            let waiting: &[&[&str]] = &[
                &["GET", "held"],
                &["SET", "held", "v"],
                &["MSET", "held", "1", "k1", "2", "k2", "3", "k3", "4"],
                &["MGET", "held", "k1", "k2", "k3"],
                &["WATCH", "held", "k1", "k2", "k3"],
                &["EVAL", "return redis.call('GET', KEYS[1])", "2", "held", "k3"],
                &["DBSIZE"],
                &["KEYS", "*"],
                &["SCAN", "0", "COUNT", "1000"],
                &["BLPOP", "held", "k1", "0"],
                &["RENAME", "k5", "held"],
                &["FLUSHALL"],
            ];
            let mut clients: Vec<(Client, &[&str])> = Vec::new();
            for _ in 0..3 {
                clients.extend(waiting.iter().map(|command| (connect(&server), *command)));
            }
            clients.iter_mut().for_each(|(client, command)| send(client, command));
            let mut transactions: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
            for client in &mut transactions {
                let commands: [&[&str]; 4] = [&["MULTI"], &["SET", "held", "w"], &["SET", "k3", "w"], &["EXEC"]];
                commands.iter().for_each(|command| send(client, command));
            }
            let mut pushes = connect(&server);
            send(&mut pushes, &["RPUSH", "from", "element"]);
            for (client, command) in &mut clients {
                let reply = client.read().expect("a reply");
                if command[0] == "WATCH" && reply == ok() {
                    call(client, &["UNWATCH"]); // It is allowed, where nothing has to be waited for.
                    continue;
                }
                assert!(is_busy(&reply), "{command:?} on {shards}: {reply:?}");
            }
            for client in &mut transactions {
                let replies: Vec<Value> = (0..4).map(|_| client.read().expect("a reply")).collect();
                assert!(is_aborted(&replies[3]) || is_busy(&replies[0]), "{replies:?}");
            }
            let is_pushed = pushes.read().expect("a reply") == Value::Integer(1);
            assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
            let reply = runs.read().expect("it ends");
            assert!(is_killed(&reply), "{reply:?}");
            // Nothing is away, nothing has happened, and who waited in a blocking command has waited on.
            if !is_pushed {
                call(&mut pushes, &["RPUSH", "from", "element"]);
            }
            assert_eq!(moves.read().expect("a reply"), Value::Bulk(b"element".to_vec()), "on {shards}");
            for (client, command) in &mut clients {
                assert_eq!(call(client, &["LINDEX", "held", "0"]), Value::Bulk(b"element".to_vec()), "{command:?}");
            }
            for client in clients.iter_mut().map(|(client, _)| client).chain(&mut transactions) {
                call(client, &["MULTI"]);
                call(client, &["MGET", "k0", "k1", "k2", "k3", "k5"]);
                let values = Value::Array(vec![Value::Bulk(b"v".to_vec()); 5]);
                assert_eq!(call(client, &["EXEC"]), Value::Array(vec![values]));
                call(&mut other, &["SET", "k1", "v"]);
            }
            call(&mut other, &["DEL", "held"]);
            assert_eq!(call(&mut other, &["DBSIZE"]), Value::Integer(40));
        }
    }
}

#[test]
fn who_came_in_one_pass_with_a_script_does_not_wait_for_it() {
    let (server, mut other) = with_keys(1, "200");
    let (mut runs, mut sleeps, mut reads) = (connect(&server), connect(&server), connect(&server));
    call(&mut runs, &["PING"]);
    call(&mut reads, &["PING"]);
    send(&mut sleeps, &["DEBUG", "SLEEP", "0.5"]);
    send(&mut runs, &["EVAL", "while true do end", "0"]);
    for command in [&["GET", "k1"][..], &["SCRIPT", "EXISTS", "x"], &["PING"], &["NO", "COMMAND"]] {
        send(&mut reads, command);
    }
    let replies: Vec<Value> = (0..4).map(|_| reads.read().expect("a reply")).collect();
    assert!(is_busy(&replies[0]) || replies[0] == Value::Bulk(b"v".to_vec()), "{replies:?}");
    assert!(matches!(&replies[3], Value::Error(text) if text.starts_with(b"ERR unknown command")), "{replies:?}");
    wait_until("the script is busy", || is_busy(&call(&mut reads, &["GET", "k1"])));
    assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
    assert!(is_killed(&runs.read().expect("it ends")));
}

/// Clients of the script's own core, and of others, as they are told.
fn at_home_and_elsewhere(server: &Server) -> (Vec<Client>, Vec<Client>) {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(server)).collect();
    for client in &mut clients {
        wait_until("keys are refused", || is_busy(&call(client, &["GET", "k1"])));
    }
    let (mut at_home, mut elsewhere) = (Vec::new(), Vec::new());
    for mut client in clients {
        let is_at_home = is_busy(&call(&mut client, &["PING"]));
        if is_at_home { &mut at_home } else { &mut elsewhere }.push(client);
    }
    (at_home, elsewhere)
}

#[test]
fn scripts_in_transactions_are_ended_from_every_core() {
    for shards in [1, 2, 4] {
        let (server, mut other) = with_keys(shards, "200");
        let library = "#!lua name=endless\nredis.register_function('endless', function() while true do end end)";
        call(&mut other, &["FUNCTION", "LOAD", library]);
        let runs: [(&[&str], &[&str]); 2] = [
            (&["EVAL", "while true do redis.pcall('GET', 'k1') end", "0"], &["SCRIPT", "KILL"]),
            (&["FCALL", "endless", "0"], &["FUNCTION", "KILL"]),
        ];
        for (script, kill) in runs {
            for is_at_home in [true, false] {
                let mut runs = connect(&server);
                for command in [&["MULTI"][..], &["SET", "k1", "w"], script, &["SET", "k1", "v"]] {
                    call(&mut runs, command);
                }
                send(&mut runs, &["EXEC"]);
                let (at_home, elsewhere) = at_home_and_elsewhere(&server);
                let mut killers = if is_at_home { at_home } else { elsewhere };
                if let Some(killer) = killers.first_mut() {
                    assert_eq!(call(killer, kill), ok());
                } else {
                    assert_eq!(call(&mut other, kill), ok()); // All clients are on the one core, or on others.
                }
                let Value::Array(replies) = runs.read().expect("it ends") else { panic!("it was not refused") };
                assert!(replies[0] == ok() && is_killed(&replies[1]) && replies[2] == ok(), "{replies:?}");
                wait_until("keys are read", || call(&mut other, &["GET", "k1"]) == Value::Bulk(b"v".to_vec()));
            }
        }
    }
}

/// One that a later call makes begin again: who has ended a script of it has ended it.
#[test]
fn a_script_that_was_ended_does_not_run_again_with_its_transaction() {
    for shards in [1, 2, 4] {
        let (server, mut other) = with_keys(shards, "200");
        let mut runs = connect(&server);
        for number in 0..3 {
            let asks = format!("return redis.call('GET', 'k{}')", number + 20);
            call(&mut runs, &["MULTI"]);
            call(&mut runs, &["EVAL", "while true do end", "1", "k0"]);
            call(&mut runs, &["EVAL", &asks, "1", "k1"]);
            send(&mut runs, &["EXEC"]);
            wait_until("it is busy", || is_busy(&call(&mut other, &["GET", "k0"])));
            assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
            let Value::Array(replies) = runs.read().expect("it ends") else { panic!("it was not refused") };
            assert!(is_killed(&replies[0]) && replies[1] == Value::Bulk(b"v".to_vec()), "{replies:?}");
        }
    }
}

/// It names one key and asks for another when it has been running for a while: it would begin again, with every shard.
#[test]
fn a_script_that_may_not_begin_again_beside_a_busy_one_runs_no_longer() {
    for shards in [2, 4] {
        let (server, mut other) = with_keys(shards, "200");
        let mut runs = connect(&server);
        send(&mut runs, &["EVAL", "while true do redis.call('GET', KEYS[1]) end", "1", "k1"]);
        let (_, mut elsewhere) = at_home_and_elsewhere(&server);
        let client = elsewhere.first_mut().expect("not all are on one core");
        for key in 2..12 {
            let (key, asked) = (format!("k{key}"), format!("k{}", key + 20));
            // Of each its own text: it is not known to ask for more.
            let script = format!("for i = 1, 2000000 do end return redis.call('GET', '{asked}')");
            if key.ends_with(['3', '7']) {
                call(client, &["MULTI"]);
                call(client, &["EVAL", &script, "1", &key]);
                call(client, &["EXEC"]);
            } else {
                call(client, &["EVAL", &script, "1", &key]);
            }
        }
        assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), ok());
        assert!(is_killed(&runs.read().expect("it ends")));
        let not_busy = Value::Error(b"NOTBUSY No scripts in execution right now.".to_vec());
        assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), not_busy, "{shards} shards");
    }
}

#[test]
fn the_server_ends_beside_a_script_that_does_not() {
    for (shards, is_in_transaction) in [(1, false), (1, true), (2, false), (2, true), (4, true)] {
        for is_at_home in [true, false] {
            let (mut server, _) = with_keys(shards, "200");
            let mut runs = connect(&server);
            if is_in_transaction {
                call(&mut runs, &["MULTI"]);
            }
            send(&mut runs, &["EVAL", "while true do redis.pcall('GET', 'k1') end", "1", "k1"]);
            if is_in_transaction {
                runs.read().expect("it is queued");
                send(&mut runs, &["EXEC"]);
            }
            let (at_home, elsewhere) = at_home_and_elsewhere(&server);
            let mut enders = if is_at_home { at_home } else { elsewhere };
            let Some(ender) = enders.first_mut() else { continue };
            assert!(is_busy(&call(ender, &["SHUTDOWN"])), "it would save");
            send(ender, &["SHUTDOWN", "NOSAVE"]);
            let status = server.wait_exit(PATIENCE.as_millis() as u64).expect("it ends");
            assert!(status.success(), "{status:?}");
        }
    }
}

#[test]
fn a_signal_waits_for_a_script_and_nothing_of_half_a_script_is_kept() {
    for shards in [1, 2, 4] {
        let scratch = Scratch::new(&format!("signal-beside-a-script-{shards}"));
        let start =
            || scratch.start(Kind::Corering { shards }, &["--appendonly", "yes", "--busy-reply-threshold", "50"]);
        let kill_says =
            |client: &mut Client, text: &str| call(client, &["SCRIPT", "KILL"]).to_string().starts_with(text);
        for number in 0..8 {
            let key = format!("half{number}");
            let (mut server, mut client) = start();
            assert_eq!(call(&mut client, &["GET", "half0"]), Value::NullBulk, "{shards} shards");
            call(&mut client, &["SET", "kept", "1"]);
            send(&mut client, &["EVAL", "redis.call('SET', KEYS[1], '1') while true do end", "1", &key]);
            let mut other = connect(&server);
            wait_until("it runs", || kill_says(&mut other, "-UNKILLABLE"));
            server.signal("TERM");
            assert!(server.wait_exit(200).is_none(), "{shards} shards: it waits");
            assert!(kill_says(&mut other, "-UNKILLABLE"), "{shards} shards");
            send(&mut other, &["SHUTDOWN", "NOSAVE"]);
            let status = server.wait_exit(PATIENCE.as_millis() as u64).expect("it ends");
            assert!(status.success(), "{status:?}");
            let (server, mut client) = start();
            assert_eq!(call(&mut client, &["GET", &key]), Value::NullBulk, "{shards} shards");
            assert_eq!(call(&mut client, &["GET", "kept"]), Value::Bulk(b"1".to_vec()));
            drop(server);
        }
        let (mut server, mut client) = start();
        send(&mut client, &["EVAL", "while true do end", "1", "k"]);
        let mut other = connect(&server);
        wait_until("it runs", || is_busy(&call(&mut other, &["SHUTDOWN"])));
        server.signal("TERM");
        assert!(server.wait_exit(200).is_none(), "{shards} shards: it waits");
        assert!(kill_says(&mut other, "+OK"));
        assert!(server.wait_exit(PATIENCE.as_millis() as u64).is_some_and(|status| status.success()));
    }
}
