//! The cores as cluster clients see them: `core-ports`.

use crate::client::{Client, Value, encode};
use crate::cores::{connect, ok, start_with_core_ports, tag_of};
use corering::route::SlotMap;
use corering::route::slot::slot_of;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const KEYS: usize = 300;

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => panic!("an array, not {other}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("it is text"),
        Value::Verbatim(_, bytes) => String::from_utf8(bytes.clone()).expect("it is text"),
        other => panic!("a string, not {other}"),
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(integer) => *integer,
        other => panic!("an integer, not {other}"),
    }
}

/// First slot, last slot, address, port and id of each node, as `CLUSTER SLOTS` tells them.
fn slots(client: &mut Client) -> Vec<(i64, i64, String, i64, String)> {
    let ranges = array(client.call(&["CLUSTER", "SLOTS"]).unwrap());
    let range = |range: Value| {
        let range = array(range);
        let node = array(range[2].clone());
        assert_eq!((range.len(), node.len()), (3, 4), "no replicas, and the place of more endpoints");
        (integer(&range[0]), integer(&range[1]), text(&node[0]), integer(&node[1]), text(&node[2]))
    };
    ranges.into_iter().map(range).collect()
}

#[test]
fn every_core_is_a_node_with_its_slots() {
    const SHARDS: usize = 3;
    let (server, first_port) = start_with_core_ports(SHARDS, &[]);
    let mut plain = connect(server.port);
    let nodes = slots(&mut plain);
    let map = SlotMap::new(SHARDS);
    let mut ids = BTreeSet::new();
    for (core, (first, last, ip, port, id)) in nodes.iter().enumerate() {
        let range = map.slots_of(core);
        assert_eq!((*first, *last), (range.0.into(), range.1.into()));
        assert_eq!((ip.as_str(), *port), ("127.0.0.1", i64::from(first_port) + core as i64));
        assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        ids.insert(id.clone());
    }
    assert_eq!(ids.len(), SHARDS);
    // The shared port is no core's; a core's own port is that core's.
    let lines = text(&plain.call(&["CLUSTER", "NODES"]).unwrap());
    assert!(lines.lines().count() == SHARDS && !lines.contains("myself"), "{lines}");
    // Asked who it is, it says the same on whichever core a connection happens to be.
    for _ in 0..2 * SHARDS {
        let mut client = connect(server.port);
        assert_eq!(text(&client.call(&["CLUSTER", "MYID"]).unwrap()), nodes[0].4);
        let info = text(&client.call(&["CLUSTER", "INFO"]).unwrap());
        assert!(info.contains("cluster_my_epoch:1\r\n"), "{info}");
    }
    for core in 0..SHARDS {
        let mut client = connect(first_port + core as u16);
        let (first, last, _, port, id) = &nodes[core];
        assert_eq!(text(&client.call(&["CLUSTER", "MYID"]).unwrap()), *id);
        let lines = text(&client.call(&["CLUSTER", "NODES"]).unwrap());
        let epoch = core + 1;
        let line = format!("{id} 127.0.0.1:{port}@0 myself,master - 0 0 {epoch} connected {first}-{last}");
        assert_eq!(lines.lines().filter(|line| line.contains("myself")).collect::<Vec<_>>(), [line], "{lines}");
        assert_eq!(slots(&mut client), nodes);
    }
    let shards = array(plain.call(&["CLUSTER", "SHARDS"]).unwrap());
    let names: Vec<String> = array(array(shards[0].clone())[3].clone())
        .into_iter()
        .flat_map(|node| array(node).into_iter().step_by(2).map(|name| text(&name)).collect::<Vec<_>>())
        .collect();
    assert_eq!(names, ["id", "port", "ip", "endpoint", "role", "replication-offset", "health"]);
    assert_eq!(array(array(shards[2].clone())[1].clone()), [Value::Integer(nodes[2].0), Value::Integer(nodes[2].1)]);
    let info = text(&plain.call(&["CLUSTER", "INFO"]).unwrap());
    assert!(info.starts_with("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"), "{info}");
    assert!(info.contains("cluster_known_nodes:3\r\ncluster_size:3\r\n"), "{info}");
    assert_eq!(plain.call(&["CLUSTER", "KEYSLOT", "{user}x"]).unwrap(), Value::Integer(slot_of(b"user").into()));
    assert_eq!(array(plain.call(&["CLUSTER", "REPLICAS", &nodes[1].4]).unwrap()), []);
    let unknown = Value::Error(b"ERR Unknown node nobody".to_vec());
    assert_eq!(plain.call(&["CLUSTER", "REPLICAS", "nobody"]).unwrap(), unknown);
    assert_eq!(plain.call(&["READONLY"]).unwrap(), ok());
}

#[test]
fn a_client_with_the_map_pays_no_hop() {
    const SHARDS: usize = 2;
    let (server, first_port) = start_with_core_ports(SHARDS, &[]);
    let mut plain = connect(server.port);
    let nodes = slots(&mut plain);
    let mut clients: Vec<Client> = (0..SHARDS).map(|core| connect(first_port + core as u16)).collect();
    let node_of = |key: &str| {
        let slot = i64::from(slot_of(key.as_bytes()));
        nodes.iter().position(|(first, last, ..)| (*first..=*last).contains(&slot)).expect("every slot is somebody's")
    };
    let hops = |client: &mut Client| {
        ["commands_forwarded", "commands_visiting"].map(|field| client.info_number("corering", field))
    };
    let before = hops(&mut plain);
    for number in 0..KEYS {
        let key = format!("k{number}");
        assert_eq!(clients[node_of(&key)].call(&["SET", &key, "v"]).unwrap(), ok());
    }
    assert_eq!(hops(&mut plain), before);
    // One that has it wrong is served all the same.
    for number in 0..KEYS {
        let key = format!("k{number}");
        assert_eq!(clients[1 - node_of(&key)].call(&["GET", &key]).unwrap(), Value::Bulk(b"v".to_vec()));
    }
    let after = hops(&mut plain);
    assert_eq!(after.iter().sum::<i64>() - before.iter().sum::<i64>(), KEYS as i64);
}

/// All keys by `SCAN`, each as often as it was returned.
fn scan(client: &mut Client) -> BTreeMap<String, usize> {
    let (mut found, mut cursor) = (BTreeMap::new(), "0".to_string());
    loop {
        let reply = array(client.call(&["SCAN", &cursor, "COUNT", "17"]).unwrap());
        array(reply[1].clone()).iter().for_each(|key| *found.entry(text(key)).or_default() += 1);
        cursor = text(&reply[0]);
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn what_is_asked_of_every_node_adds_up() {
    const SHARDS: usize = 3;
    let (server, first_port) = start_with_core_ports(SHARDS, &[]);
    let mut plain = connect(server.port);
    for number in 0..KEYS {
        assert_eq!(plain.call(&["SET", &format!("k{number}"), "v"]).unwrap(), ok());
    }
    let mut clients: Vec<Client> = (0..SHARDS).map(|core| connect(first_port + core as u16)).collect();
    let sizes: Vec<i64> = clients.iter_mut().map(|client| integer(&client.call(&["DBSIZE"]).unwrap())).collect();
    assert!(sizes.iter().sum::<i64>() == KEYS as i64 && sizes.iter().all(|&size| 0 < size), "{sizes:?}");
    assert_eq!(plain.call(&["DBSIZE"]).unwrap(), Value::Integer(KEYS as i64));
    assert_eq!(scan(&mut plain).len(), KEYS);
    let told = text(&plain.call(&["INFO", "keyspace", "server"]).unwrap());
    assert!(told.contains(&format!("db0:keys={KEYS},")) && told.contains(&format!("tcp_port:{}\r\n", server.port)));
    let refused = "ERR The nodes are the cores of this server, and change only when it starts anew";
    assert_eq!(
        plain.call(&["CLUSTER", "MEET", "127.0.0.1", "7000"]).unwrap(),
        Value::Error(refused.as_bytes().to_vec())
    );
    let map = SlotMap::new(SHARDS);
    for (core, client) in clients.iter_mut().enumerate() {
        let keys: BTreeSet<String> = array(client.call(&["KEYS", "*"]).unwrap()).iter().map(text).collect();
        assert_eq!(keys.len() as i64, sizes[core]);
        let told = text(&client.call(&["INFO", "keyspace", "server"]).unwrap());
        let port = first_port + core as u16;
        assert!(told.contains(&format!("db0:keys={},", keys.len())) && told.contains(&format!("tcp_port:{port}\r\n")));
        assert!(keys.iter().all(|key| map.shard_of(key.as_bytes()) == core));
        assert!(keys.contains(&text(&client.call(&["RANDOMKEY"]).unwrap())));
        let scanned = scan(client);
        assert!(scanned.values().all(|&times| times == 1));
        assert_eq!(scanned.into_keys().collect::<BTreeSet<_>>(), keys);
    }
    assert_eq!(clients[1].call(&["FLUSHALL"]).unwrap(), ok());
    assert_eq!(plain.call(&["DBSIZE"]).unwrap(), Value::Integer(KEYS as i64 - sizes[1]));
    // A key's command is served wherever the key is.
    let key = format!("{}x", tag_of(2, SHARDS));
    assert_eq!(clients[0].call(&["SET", &key, "v"]).unwrap(), ok());
    assert_eq!(plain.call(&["FLUSHALL"]).unwrap(), ok());
    assert_eq!(clients[2].call(&["DBSIZE"]).unwrap(), Value::Integer(0));
}

#[test]
fn libraries_are_changed_node_by_node() {
    const SHARDS: usize = 3;
    let (server, first_port) = start_with_core_ports(SHARDS, &[]);
    let code = |value: usize| {
        let function = "function_name='f',flags={'no-writes'},callback=function()";
        format!("#!lua name=lib\nredis.register_function{{{function} return {value} end}}")
    };
    let mut nodes: Vec<Client> = (0..SHARDS).map(|core| connect(first_port + core as u16)).collect();
    let mut plain = connect(server.port);
    let mut on_all = |line: &[&str]| -> Vec<Value> { nodes.iter_mut().map(|node| node.call(line).unwrap()).collect() };
    let said = |values: Vec<Value>, wanted: &str| {
        values.into_iter().for_each(|value| assert_eq!(format!("{value}"), wanted));
    };
    let (one, two) = (code(1), code(2));
    let named: Vec<Value> = on_all(&["FUNCTION", "LOAD", &one]);
    assert_eq!(named.iter().map(text).collect::<Vec<_>>(), ["lib"; SHARDS]);
    assert!(matches!(plain.call(&["FUNCTION", "LOAD", &one]).unwrap(), Value::Error(_)), "it is loaded");
    assert!(on_all(&["FUNCTION", "LOAD", &two]).iter().all(|value| matches!(value, Value::Error(_))), "it is another");
    let named: Vec<Value> = on_all(&["FUNCTION", "LOAD", "REPLACE", &two]);
    assert_eq!(named.iter().map(text).collect::<Vec<_>>(), ["lib"; SHARDS]);
    assert_eq!(integer(&plain.call(&["FCALL", "f", "0"]).unwrap()), 2);
    let Value::Bulk(dump) = plain.call(&["FUNCTION", "DUMP"]).unwrap() else { panic!("a payload") };
    let ok = format!("{}", plain.call(&["FUNCTION", "FLUSH"]).unwrap());
    for policy in ["APPEND", "REPLACE", "FLUSH"] {
        for node in &mut nodes {
            let line: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &dump, policy.as_bytes()];
            node.send_raw(&encode(&line)).unwrap();
            assert_eq!(format!("{}", node.read().unwrap()), ok, "{policy}");
        }
    }
    assert_eq!(integer(&plain.call(&["FCALL", "f", "0"]).unwrap()), 2);
    let mut on_all = |line: &[&str]| -> Vec<Value> { nodes.iter_mut().map(|node| node.call(line).unwrap()).collect() };
    said(on_all(&["FUNCTION", "DELETE", "lib"]), &ok);
    assert!(matches!(plain.call(&["FUNCTION", "DELETE", "lib"]).unwrap(), Value::Error(_)), "it is gone");
    said(on_all(&["FUNCTION", "FLUSH"]), &ok);
}

#[test]
fn redis_cli_finds_the_cluster_whole() {
    let (server, first_port) = start_with_core_ports(2, &[]);
    let cluster = |port: u16, command: &[&str]| {
        let node = format!("127.0.0.1:{port}");
        let output = Command::new("redis-cli").args(["--cluster", command[0], &node]).args(&command[1..]).output();
        String::from_utf8_lossy(&output.expect("redis-cli starts").stdout).into_owned()
    };
    let mut client = connect(server.port);
    (0..KEYS).for_each(|key| assert_eq!(client.call(&["SET", &format!("k{key}"), "v"]).unwrap(), ok()));
    let checked = cluster(first_port, &["check"]);
    for line in ["[OK] 300 keys in 2 masters.", "All nodes agree about slots", "[OK] All 16384 slots covered."] {
        assert!(checked.contains(line), "{line} in {checked}");
    }
    assert!(cluster(first_port, &["call", "PING"]).matches("PONG").count() == 2);
    assert!(
        cluster(server.port, &["check"]).contains("is not configured as a cluster node"),
        "its own port is one server"
    );
}

#[test]
fn addresses_are_those_that_clients_reach() {
    let announce = ["--cluster-announce-ip", "203.0.113.7", "--cluster-announce-hostname", "cache.example"];
    let (server, _) = start_with_core_ports(2, &announce);
    let mut client = connect(server.port);
    let node =
        |client: &mut Client| array(array(array(client.call(&["CLUSTER", "SLOTS"]).unwrap())[0].clone())[2].clone());
    let bulk = |text: &str| Value::Bulk(text.into());
    let seen = node(&mut client);
    assert_eq!(
        (&seen[0], &seen[3]),
        (&bulk("203.0.113.7"), &Value::Array(vec![bulk("hostname"), bulk("cache.example")]))
    );
    let set = ["CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname"];
    assert_eq!(client.call(&set).unwrap(), ok());
    let seen = node(&mut client);
    assert_eq!((&seen[0], &seen[3]), (&bulk("cache.example"), &Value::Array(vec![bulk("ip"), bulk("203.0.113.7")])));
    let set = ["CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint"];
    assert_eq!(client.call(&set).unwrap(), ok());
    assert_eq!(node(&mut client)[0], Value::NullBulk);
}
