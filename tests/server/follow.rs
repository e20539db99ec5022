//! Connections that follow their keys: what the client sees while its connection moves from core to core is nothing.

use crate::client::{Client, Value, encode};
use crate::cores::{connect, ok, start_with_core_ports, tag_of};
use crate::extra::{PATIENCE, SetWhenDropped, wait_until};
use crate::process::{Kind, Server};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A client that has a core.
fn arrive(server: &Server) -> Client {
    let mut client = connect(server.port);
    assert_eq!(client.call(&["PING"]).unwrap(), Value::Simple(b"PONG".to_vec()));
    client
}

fn moved(client: &mut Client) -> i64 {
    client.info_number("corering", "connections_moved")
}

/// Waits until so many connections have moved, while `work` goes on.
fn until_moved(asking: &mut Client, count: i64, mut work: impl FnMut()) {
    let deadline = Instant::now() + PATIENCE;
    while moved(asking) < count {
        assert!(Instant::now() < deadline, "{} have moved, not {count}", moved(asking));
        work();
    }
}

/// Asks for keys of one tag so many times, one after the other.
fn ask(client: &mut Client, tag: &str, times: usize) {
    for time in 0..times {
        let key = format!("{tag}{time}");
        assert_eq!(client.call(&["SET", &key, "v"]).unwrap(), ok());
    }
}

#[test]
fn a_client_of_one_tag_moves_to_its_owner_and_hops_no_more() {
    for shards in [2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let mut asking = arrive(&server);
        let mut clients: Vec<Client> = (0..shards).map(|_| arrive(&server)).collect();
        let tag = tag_of(1, shards);
        let before = asking.info_number("clients", "connected_clients");
        // New clients are spread evenly: one of them was there from the beginning.
        until_moved(&mut asking, shards as i64 - 1, || clients.iter_mut().for_each(|client| ask(client, &tag, 50)));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let hops = |asking: &mut Client| {
                ["commands_forwarded", "commands_visiting"].map(|field| asking.info_number("corering", field))
            };
            let before = hops(&mut asking);
            clients.iter_mut().for_each(|client| ask(client, &tag, 300));
            if hops(&mut asking) == before {
                break;
            }
            assert!(Instant::now() < deadline, "some still hop");
        }
        assert_eq!(asking.info_number("clients", "connected_clients"), before);
        for client in &mut clients {
            let Value::Integer(id) = client.call(&["CLIENT", "ID"]).unwrap() else { panic!("an id") };
            let Value::Bulk(line) = client.call(&["CLIENT", "INFO"]).unwrap() else { panic!("a line") };
            assert!(line.starts_with(format!("id={id} ").as_bytes()));
        }
    }
}

#[test]
fn a_client_of_transactions_follows_its_keys_too() {
    const SHARDS: usize = 2;
    let server = Server::start(Kind::Corering { shards: SHARDS }, &[]);
    let mut asking = arrive(&server);
    let mut clients: Vec<Client> = (0..SHARDS).map(|_| arrive(&server)).collect();
    let tag = tag_of(1, SHARDS);
    let mut count = 0;
    until_moved(&mut asking, 1, || {
        for client in &mut clients {
            count += 1;
            let mut bytes = encode(&["MULTI"]);
            bytes.extend(encode(&["INCR", tag.as_str()]));
            bytes.extend(encode(&["SET", format!("{tag}b").as_str(), "v"]));
            bytes.extend(encode(&["EXEC"]));
            client.send_raw(&bytes).unwrap();
            (0..3).for_each(|_| drop(client.read().unwrap()));
            assert_eq!(client.read().unwrap(), Value::Array(vec![Value::Integer(count), ok()]));
        }
    });
}

#[test]
fn pipelines_keep_their_order_over_moves() {
    for shards in [1, 2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let mut asking = connect(server.port);
        let mut client = connect(server.port);
        let tags: Vec<String> = (0..shards).map(|shard| tag_of(shard, shards)).collect();
        let mut counts = vec![0; shards];
        let mut random = fastrand::Rng::with_seed(7);
        let wanted = if shards == 1 { 0 } else { 3 };
        let mut round = 0;
        let deadline = Instant::now() + PATIENCE;
        while moved(&mut asking) < wanted || round < 20 {
            assert!(Instant::now() < deadline, "{} moves with {shards} shards", moved(&mut asking));
            let shard = round % shards;
            round += 1;
            let tag = &tags[shard];
            for _ in 0..60 {
                let len = random.usize(1..80);
                let bytes = encode(&["INCR", tag.as_str()]).repeat(len);
                // In two pieces: half a request may have to travel.
                let (first, second) = bytes.split_at(random.usize(0..=bytes.len()));
                client.send_raw(first).unwrap();
                if random.bool() {
                    std::thread::sleep(Duration::from_micros(random.u64(0..300)));
                }
                client.send_raw(second).unwrap();
                for _ in 0..len {
                    counts[shard] += 1;
                    assert_eq!(client.read().unwrap(), Value::Integer(counts[shard]));
                }
            }
        }
        assert!(shards != 1 || moved(&mut asking) == 0);
    }
}

#[test]
fn a_client_on_its_way_is_listed_once_and_killed_for_certain() {
    const CLIENTS: usize = 60;
    const SHARDS: usize = 2;
    // Of one tag: some windows, so that a client moves more than once.
    const COMMANDS: usize = 2000;
    let server = Server::start(Kind::Corering { shards: SHARDS }, &[]);
    let mut asking = connect(server.port);
    let tags: Vec<String> = (0..SHARDS).map(|shard| tag_of(shard, SHARDS)).collect();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut ids = BTreeSet::new();
        let mut threads = Vec::new();
        for worker in 0..3 {
            let mut clients: Vec<Client> = (0..CLIENTS / 3).map(|_| connect(server.port)).collect();
            for client in &mut clients {
                let Value::Integer(id) = client.call(&["CLIENT", "ID"]).unwrap() else { panic!("an id") };
                ids.insert(id);
            }
            let (tags, end) = (&tags, &end);
            threads.push(scope.spawn(move || {
                // Every client wants to move again and again, until it is killed.
                for round in worker.. {
                    clients.retain_mut(|client| {
                        let bytes = encode(&["SET", tags[round % SHARDS].as_str(), "v"]).repeat(COMMANDS);
                        client.send_raw(&bytes).is_ok() && (0..COMMANDS).all(|_| client.read().is_ok())
                    });
                    if end.load(Ordering::Relaxed) || clients.is_empty() {
                        return clients.len();
                    }
                }
                unreachable!("rounds do not end");
            }));
        }
        let ends = SetWhenDropped(&end);
        let deadline = Instant::now() + PATIENCE;
        let mut lists = 0;
        while moved(&mut asking) < 100 || lists < 100 {
            assert!(Instant::now() < deadline, "{} moves, {lists} lists", moved(&mut asking));
            let Value::Bulk(list) = asking.call(&["CLIENT", "LIST"]).unwrap() else { panic!("a list") };
            let list = String::from_utf8(list).unwrap();
            let listed: Vec<i64> = list
                .lines()
                .map(|line| line[3..].split(' ').next().unwrap().parse().unwrap())
                .filter(|id| ids.contains(id))
                .collect();
            assert_eq!(listed.len(), CLIENTS, "{list}");
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
            lists += 1;
        }
        for id in &ids {
            let killed = asking.call(&["CLIENT", "KILL", "ID", &id.to_string()]).unwrap();
            assert_eq!(killed, Value::Integer(1), "client {id}");
        }
        drop(ends);
        let left: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        // Those who were idle when they were killed have yet to notice.
        assert!(left <= CLIENTS);
        wait_until("all have gone", || asking.info_number("clients", "connected_clients") == 1);
    });
}

#[test]
fn a_thousand_clients_move_under_load() {
    const CLIENTS: usize = 1000;
    const SHARDS: usize = 4;
    const BATCH: usize = 40;
    let server = Server::start(Kind::Corering { shards: SHARDS }, &["--maxclients", "2000"]);
    let mut asking = connect(server.port);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(server.port)).collect();
    let batches: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|at| {
            let key = format!("{}{at}", tag_of(at / SHARDS % SHARDS, SHARDS));
            encode(&["INCR", key.as_str()]).repeat(BATCH)
        })
        .collect();
    let mut rounds = 0;
    let deadline = Instant::now() + 2 * PATIENCE;
    while moved(&mut asking) < CLIENTS as i64 / 2 {
        assert!(Instant::now() < deadline, "{} have moved after {rounds} rounds", moved(&mut asking));
        for (client, batch) in clients.iter_mut().zip(&batches) {
            client.send_raw(batch).unwrap();
        }
        for (at, client) in clients.iter_mut().enumerate() {
            for time in 1..=BATCH {
                assert_eq!(client.read().unwrap(), Value::Integer((rounds * BATCH + time) as i64), "client {at}");
            }
        }
        rounds += 1;
    }
    assert_eq!(asking.info_number("clients", "connected_clients"), CLIENTS as i64 + 1);
    drop(clients);
    wait_until("all have gone", || asking.info_number("clients", "connected_clients") == 1);
}

#[test]
fn who_has_reason_to_stay_stays() {
    const SHARDS: usize = 2;
    const TIMES: usize = 3000;
    let (server, first_port) = start_with_core_ports(SHARDS, &[]);
    let mut asking = connect(server.port);
    let tag = tag_of(1, SHARDS);
    let (mut target, mut other) = (connect(server.port), connect(server.port));
    let Value::Integer(id) = target.call(&["CLIENT", "ID"]).unwrap() else { panic!("an id") };
    let redirected = other.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id.to_string()]).unwrap();
    assert_eq!(redirected, ok());
    let mut watching: Vec<Client> = (0..SHARDS).map(|_| arrive(&server)).collect();
    for client in &mut watching {
        assert_eq!(client.call(&["WATCH", "w"]).unwrap(), ok());
    }
    let mut tracking: Vec<Client> = (0..SHARDS).map(|_| arrive(&server)).collect();
    for client in &mut tracking {
        assert!(!matches!(client.call(&["HELLO", "3"]).unwrap(), Value::Error(_)));
        assert_eq!(client.call(&["CLIENT", "TRACKING", "ON"]).unwrap(), ok());
    }
    let mut nodes: Vec<Client> = (0..SHARDS).map(|core| connect(first_port + core as u16)).collect();
    // The targets of other clients' invalidations, whichever core they are on.
    let mut everywhere: Vec<Client> = (0..SHARDS * 50).map(|_| connect(server.port)).collect();
    let tags = [tag, tag_of(0, SHARDS)];
    for client in watching.iter_mut().chain(&mut tracking).chain(&mut nodes).chain([&mut target]) {
        ask(client, &tags[0], TIMES);
        ask(client, &tags[1], TIMES);
    }
    // Keys everywhere: no reason to move.
    for (at, client) in everywhere.iter_mut().enumerate() {
        for time in 0..400 {
            client.call(&["GET", &format!("k{}", at * 1000 + time)]).unwrap();
        }
    }
    assert_eq!(moved(&mut asking), 0);
    drop(everywhere);
    wait_until("they have gone", || asking.info_number("clients", "connected_clients") == 9);
    assert_eq!(asking.call(&["CONFIG", "SET", "connection-steering", "no"]).unwrap(), ok());
    let mut plain: Vec<Client> = (0..6).map(|_| arrive(&server)).collect();
    plain.iter_mut().for_each(|client| ask(client, &tags[0], TIMES));
    assert_eq!(moved(&mut asking), 0);
    assert_eq!(asking.call(&["CONFIG", "SET", "connection-steering", "yes"]).unwrap(), ok());
    until_moved(&mut asking, 1, || plain.iter_mut().for_each(|client| ask(client, &tags[0], 50)));
}
