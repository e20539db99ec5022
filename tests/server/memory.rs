//! `maxmemory` over several cores: a bound for the sum, whoever takes the memory and wherever it lies.

use crate::client::{Client, Value, encode};
use crate::extra::{PATIENCE, SetWhenDropped, wait_until, wait_until_told};
use crate::process::{Kind, Server};
use corering::route::SlotMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SHARDS: usize = 2;
const MIB: u64 = 1 << 20;
/// By how much the limit may be passed.
const SLACK_BYTES: u64 = 16 * MIB;

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn number(client: &mut Client, field: &str) -> u64 {
    field_of(&client.call(&["INFO", "everything"]).expect("INFO is answered"), field)
}

fn field_of(info: &Value, field: &str) -> u64 {
    let Value::Bulk(text) = info else { panic!("no text") };
    let text = String::from_utf8_lossy(text);
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{field} in {text}"))
}

/// Text between braces that places keys on a shard.
fn tag_of(shard: usize) -> String {
    let map = SlotMap::new(SHARDS);
    let tag = (0..).map(|number| format!("{{t{number}}}")).find(|tag| map.shard_of(tag.as_bytes()) == shard);
    tag.expect("every shard owns some slot")
}

fn start(limit: &str, policy: &str) -> Server {
    Server::start(Kind::Corering { shards: SHARDS }, &["--maxmemory", limit, "--maxmemory-policy", policy])
}

/// Writes keys until the end; how many were refused.
fn write(server: &Server, seed: u64, tag: &str, sizes: &[usize], end: &AtomicBool) -> (u64, u64) {
    let mut client = connect(server);
    let mut random = fastrand::Rng::with_seed(seed);
    let value = vec![b'v'; *sizes.iter().max().expect("some sizes")];
    let (mut written, mut refused) = (0, 0);
    while written == 0 || !end.load(Ordering::Relaxed) {
        let key = format!("{tag}{seed}:{}", random.u32(..100_000));
        let bytes = sizes[random.usize(..sizes.len())];
        match client.call(&[&b"SET"[..], key.as_bytes(), &value[..bytes]]).expect("it is answered") {
            Value::Error(error) => {
                assert!(error.starts_with(b"OOM "), "{}", String::from_utf8_lossy(&error));
                refused += 1;
            }
            _ => written += 1,
        }
    }
    (written, refused)
}

#[test]
fn the_sum_stays_below_the_limit_whatever_is_written_where() {
    const LIMIT: u64 = 64 * MIB;
    let server = start("64mb", "allkeys-lru");
    let end = AtomicBool::new(false);
    let (first, anywhere) = (tag_of(0), String::new());
    std::thread::scope(|scope| {
        let small = scope.spawn(|| write(&server, 1, &anywhere, &[10, 50, 200, 1000], &end));
        let large = scope.spawn(|| write(&server, 2, &first, &[10, 10_000, 1_000_000, 10_000_000], &end));
        let middle = scope.spawn(|| write(&server, 3, &first, &[100, 100_000], &end));
        let ends = SetWhenDropped(&end);
        let mut client = connect(&server);
        let (started, mut most) = (Instant::now(), 0);
        // On a busy machine it takes longer until there is anything to evict.
        let mut is_full = false;
        while started.elapsed() < Duration::from_secs(5) || !is_full {
            let info = client.call(&["INFO", "everything"]).expect("INFO is answered");
            most = most.max(field_of(&info, "used_memory"));
            is_full = LIMIT / 2 < most && 0 < field_of(&info, "evicted_keys");
            assert!(started.elapsed() < PATIENCE, "{most}: the limit was not reached");
        }
        drop(ends);
        for (written, refused) in [small, large, middle].map(|writer| writer.join().expect("it ends")) {
            assert!(0 < written);
            assert_eq!(refused, 0, "there was always something to evict");
        }
        assert!(most <= LIMIT + SLACK_BYTES, "{most} bytes, {} above the limit", most - LIMIT);
    });
}

#[test]
fn one_core_may_have_nearly_all_of_it() {
    const LIMIT: u64 = 64 * MIB;
    let server = start("64mb", "noeviction");
    let mut client = connect(&server);
    let tag = tag_of(1);
    let value = vec![b'v'; 10_000];
    let mut keys = 0;
    let error = loop {
        let key = format!("{tag}{keys}");
        match client.call(&[&b"SET"[..], key.as_bytes(), &value]).expect("it is answered") {
            Value::Error(error) => break error,
            _ => keys += 1,
        }
    };
    assert_eq!(error, b"OOM command not allowed when used memory > 'maxmemory'.");
    let used = number(&mut client, "used_memory");
    assert!(LIMIT - LIMIT / 50 < used && used < LIMIT + LIMIT / 100, "refused at {used} bytes");
    // The other core's keys are refused as well, and there is room again when something goes.
    let other = format!("{}k", tag_of(0));
    assert!(matches!(client.call(&["SET", &other, "v"]).expect("a reply"), Value::Error(_)));
    for key in 0..keys / 10 {
        client.call(&["DEL", &format!("{tag}{key}")]).expect("deleting goes on");
    }
    assert!(!matches!(client.call(&["SET", &other, "v"]).expect("a reply"), Value::Error(_)));
}

/// A pipeline of so many SETs of so many bytes each, from a key of this number on; how many were refused.
fn send_sets(client: &mut Client, tag: &str, first: usize, count: usize, bytes: usize) -> usize {
    refusals_of_sets(client, tag, first, count, bytes).len()
}

/// The same: in which words they were refused.
fn refusals_of_sets(client: &mut Client, tag: &str, first: usize, count: usize, bytes: usize) -> Vec<String> {
    let value = vec![b'v'; bytes];
    let mut commands = Vec::new();
    for key in first..first + count {
        commands.extend(encode(&[&b"SET"[..], format!("{tag}{key}").as_bytes(), &value]));
    }
    client.send_raw(&commands).expect("it takes commands");
    let replies: Vec<Value> = (0..count).map(|_| client.read().expect("each is answered")).collect();
    let texts = replies.into_iter().filter_map(|reply| match reply {
        Value::Error(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn what_another_core_makes_for_a_client_counts() {
    const LIMIT: u64 = 64 * MIB;
    const BATCH: usize = 500;
    for policy in ["noeviction", "volatile-lru"] {
        let server = start("64mb", policy);
        let mut info = connect(&server);
        // Whichever core serves the client, one of the two is another's.
        for shard in 0..SHARDS {
            let mut client = connect(&server);
            let mut keys = 0;
            while send_sets(&mut client, &tag_of(shard), keys, BATCH, 1000) == 0 {
                keys += BATCH;
                assert!(keys * 1000 < 2 * LIMIT as usize, "{policy}: nothing is refused");
            }
            let used = number(&mut info, "used_memory");
            assert!(LIMIT - MIB < used && used < LIMIT + MIB, "{policy}: refused at {used} bytes");
            // What the pipeline itself took is there again, and no more.
            send_sets(&mut client, &tag_of(shard), keys + BATCH, BATCH, 1000);
            let refused = send_sets(&mut client, &tag_of(shard), keys + 2 * BATCH, BATCH, 1000);
            assert!(BATCH / 2 < refused, "{policy}: {refused} refused");
            let used = number(&mut info, "used_memory");
            assert!(used < LIMIT + MIB, "{policy}: then {used} bytes");
            client.call(&["FLUSHALL"]).expect("a reply");
        }
        assert_eq!(number(&mut info, "evicted_keys"), 0);
    }
}

#[test]
fn a_lowered_limit_is_in_force_on_every_core_when_it_is_answered() {
    let server = start("500mb", "noeviction");
    let mut client = connect(&server);
    let tags: Vec<String> = (0..SHARDS).map(tag_of).collect();
    // Of several clients some are served by each of the cores.
    let mut clients: Vec<Client> = (0..8).map(|_| connect(&server)).collect();
    for round in 0..20 {
        client.call(&["CONFIG", "SET", "maxmemory", "500mb"]).expect("a reply");
        for other in &mut clients {
            let reply = other.call(&["SET", &format!("{}k", tags[round % SHARDS]), "v"]).expect("a reply");
            assert_eq!(reply, Value::Simple(b"OK".to_vec()));
        }
        client.call(&["CONFIG", "SET", "maxmemory", "1mb"]).expect("a reply");
        for other in &mut clients {
            for tag in &tags {
                let reply = other.call(&["SET", &format!("{tag}k"), "v"]).expect("a reply");
                assert!(matches!(reply, Value::Error(_)), "round {round}: {reply:?}");
                assert!(!matches!(other.call(&["GET", &format!("{tag}k")]).expect("a reply"), Value::Error(_)));
            }
        }
    }
}

#[test]
fn the_limit_may_be_a_share_of_the_memory() {
    let server = start("50%", "allkeys-lru");
    let mut client = connect(&server);
    let memory = number(&mut client, "total_system_memory");
    assert_eq!(number(&mut client, "maxmemory"), memory / 2);
    client.call(&["CONFIG", "SET", "maxmemory", "25%"]).expect("a reply");
    assert_eq!(number(&mut client, "maxmemory"), memory / 4);
}

/// What the process has in memory, in bytes.
fn resident(client: &mut Client) -> u64 {
    number(client, "used_memory_rss")
}

#[test]
fn memory_that_nobody_uses_goes_back_to_the_system() {
    const BYTES: u64 = 96 * MIB;
    let value = "v".repeat(10_000);
    for limit in ["0", "24mb"] {
        // Those go first that came first: of every page all or nothing.
        let server = start("0", "volatile-ttl");
        let mut client = connect(&server);
        let empty = resident(&mut client);
        for first in (0..(BYTES / 10_000) as usize).step_by(500) {
            let set = |key: usize| encode(&["SET", &format!("k{key}"), &value, "EX", &(1000 + key).to_string()]);
            client.send_raw(&(first..first + 500).flat_map(set).collect::<Vec<u8>>()).expect("it takes commands");
            (0..500).for_each(|_| drop(client.read().expect("each is answered")));
        }
        assert!(empty + BYTES <= resident(&mut client));
        // Nobody asks the allocator for anything afterwards.
        let left = if limit == "0" {
            client.call(&["FLUSHALL"]).expect("a reply");
            16 * MIB
        } else {
            client.call(&["CONFIG", "SET", "maxmemory", limit]).expect("a reply");
            48 * MIB
        };
        wait_until_told(|| {
            std::thread::sleep(Duration::from_millis(100));
            let now = resident(&mut client);
            (now < empty + left, format!("{limit}: {empty} bytes at first, {now} now"))
        });
    }
}

#[test]
fn what_lies_in_large_blocks_between_used_ones_goes_back_too() {
    const KEYS: usize = 5000;
    let value = "v".repeat(20_000);
    // Of every page some keys stay, wherever they are.
    let server = start("0", "allkeys-random");
    let mut client = connect(&server);
    let empty = resident(&mut client);
    for first in (0..KEYS).step_by(500) {
        let set = |key: usize| encode(&["SET", &format!("k{key}"), &value]);
        client.send_raw(&(first..first + 500).flat_map(set).collect::<Vec<u8>>()).expect("it takes commands");
        (0..500).for_each(|_| drop(client.read().expect("each is answered")));
    }
    assert!(empty + 95 * MIB <= resident(&mut client));
    client.call(&["CONFIG", "SET", "maxmemory", "24mb"]).expect("a reply");
    wait_until_told(|| {
        std::thread::sleep(Duration::from_millis(100));
        let now = resident(&mut client);
        (now < empty + 56 * MIB, format!("{empty} bytes at first, {now} now"))
    });
    let mut left = 0;
    for key in 0..KEYS {
        match client.call(&["GET", &format!("k{key}")]).expect("a reply") {
            Value::Bulk(found) => {
                assert!(found == value.as_bytes(), "k{key}");
                left += 1;
            }
            other => assert!(!matches!(other, Value::Error(_)), "{other:?}"),
        }
    }
    assert!(KEYS / 8 < left && left < KEYS / 4, "{left} keys");
}

#[test]
fn a_long_value_that_waits_is_there_once() {
    const BYTES: u64 = 40 * MIB;
    let value = vec![b'v'; BYTES as usize];
    let server = start("0", "noeviction");
    let (mut client, mut control) = (connect(&server), connect(&server));
    let before = number(&mut control, "used_memory");
    control.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).expect("a reply");
    for command in [&b"PING"[..], b"SET k ", b"GET k"] {
        let args: Vec<&[u8]> = command.split(|&byte| byte == b' ').collect();
        let args = args.iter().map(|&arg| if arg.is_empty() { &value[..] } else { arg });
        client.send_raw(&encode(&args.collect::<Vec<_>>())).expect("it takes commands");
    }
    wait_until("all of it has come", || before + BYTES <= number(&mut control, "used_memory"));
    std::thread::sleep(Duration::from_millis(200));
    let peak = number(&mut control, "used_memory_peak");
    assert!(peak < before + BYTES + BYTES / 4, "{before} bytes before, {peak} at most");
    control.call(&["CLIENT", "UNPAUSE"]).expect("a reply");
    assert_eq!(client.read().expect("a reply"), Value::Simple(b"PONG".to_vec()));
    assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
    assert!(client.read().expect("a reply") == Value::Bulk(value));
}

#[test]
fn a_lowered_limit_refuses_all_of_a_pipeline_where_nothing_may_go() {
    for shards in [1, 2, 4] {
        let arguments = ["--maxmemory-policy", "volatile-lru", "--maxmemory-eviction-tenacity", "0"];
        let server = Server::start(Kind::Corering { shards }, &arguments);
        let mut client = connect(&server);
        client.call(&["SET", "a", "1"]).expect("a reply");
        client.call(&["CONFIG", "SET", "maxmemory", "1"]).expect("a reply");
        // One pass: the first of them takes all the time that there is in it.
        let pipeline: Vec<u8> = (0..20).flat_map(|key| encode(&["SET", &format!("k{key}"), "1"])).collect();
        client.send_raw(&pipeline).expect("it takes commands");
        for key in 0..20 {
            let reply = client.read().expect("a reply");
            assert!(matches!(&reply, Value::Error(text) if text.starts_with(b"OOM ")), "{shards} {key}: {reply}");
        }
    }
}

/// What lies before a long argument is more than is received of a client that waits, and it waits for nobody.
#[test]
fn a_long_argument_behind_many_others_arrives() {
    let (element, long) = (vec![b'v'; 60_000], vec![b'w'; 5_000_000]);
    for (limit, elements) in [("200mb", 30), ("0", 700)] {
        let server = start(limit, "noeviction");
        let mut client = connect(&server);
        let mut request: Vec<&[u8]> = vec![b"RPUSH", b"l"];
        request.extend(std::iter::repeat_n(&element[..], elements));
        request.push(&long);
        let request = encode(&request);
        for wait in [&["PING"][..], &["BLPOP", "none", "0.1"]] {
            client.call(&["DEL", "l"]).expect("a reply");
            client.send_raw(&[&encode(wait)[..], &request].concat()).expect("it takes commands");
            client.read().expect("an answer to what came before");
            assert_eq!(client.read().expect("a reply"), Value::Integer(elements as i64 + 1), "{limit} {wait:?}");
        }
    }
}

#[test]
fn a_long_value_waits_for_what_a_flush_frees() {
    let server = Server::start(Kind::Corering { shards: 1 }, &["--maxmemory", "130mb"]);
    let mut client = connect(&server);
    // No time is taken for others in which it could be freed at once.
    client.call(&["CONFIG", "SET", "maxmemory-eviction-tenacity", "0"]).expect("a reply");
    client.call(&["DEBUG", "POPULATE", "350000", "key", "250"]).expect("it is answered");
    assert!(105 * MIB < number(&mut client, "used_memory"));
    let value = vec![b'v'; 100_000_000];
    let mut pipeline = encode(&["FLUSHALL", "SYNC"]);
    pipeline.extend(encode(&["DBSIZE"]));
    pipeline.extend(encode(&[&b"SET"[..], b"k", &value]));
    client.send_raw(&pipeline).expect("it takes commands");
    assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.read().expect("a reply"), Value::Integer(0));
    assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
    let peak = number(&mut client, "used_memory_peak");
    assert!(peak < 240 * MIB, "nothing of it twice: {peak}");
}

#[test]
fn asking_takes_no_memory_for_good_and_evicts_nothing() {
    // Without what is kept of the last seconds' latencies, which grows by the second and does not count.
    let arguments = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--latency-tracking", "no"];
    let server = Server::start(Kind::Corering { shards: SHARDS }, &arguments);
    let mut client = connect(&server);
    let ask = |client: &mut Client| {
        (0..200).for_each(|_| drop(client.call(&["INFO", "everything"]).expect("a reply")));
        number(client, "used_memory")
    };
    let mut round = || {
        client.call(&["CONFIG", "SET", "maxmemory", "100mb"]).expect("a reply");
        for key in 0..1000 {
            client.call(&["SET", &format!("k{key}"), "v"]).expect("a reply");
        }
        ask(&mut client); // What is counted of a command has its place from now on.
        let before = ask(&mut client);
        let after = ask(&mut client);
        assert!(after.abs_diff(before) < 16 << 10, "{before} bytes, then {after}");
        // At the very limit, what a reply takes for a moment makes no key go.
        client.call(&["CONFIG", "SET", "maxmemory", &(after + (8 << 10)).to_string()]).expect("a reply");
        let evicted = number(&mut client, "evicted_keys");
        ask(&mut client);
        number(&mut client, "evicted_keys") - evicted
    };
    // Where a machine stands still within a reply, that was more than a moment: then again.
    let evicted: Vec<u64> = (0..5).map(|_| round()).collect();
    assert!(evicted.contains(&0), "{evicted:?}");
}

#[test]
fn a_small_database_has_gone_when_its_flush_is_answered() {
    let server = start("100mb", "noeviction");
    let mut client = connect(&server);
    for flush in [&["FLUSHALL"][..], &["FLUSHDB", "SYNC"]] {
        send_sets(&mut client, "key", 0, 2000, 500);
        assert!(MIB < number(&mut client, "keyspace_bytes"));
        client.call(flush).expect("a reply");
        assert_eq!(number(&mut client, "keyspace_bytes"), 0, "{flush:?}");
        assert_eq!(number(&mut client, "lazyfreed_objects"), 0);
    }
    send_sets(&mut client, "key", 0, 2000, 500);
    client.call(&["FLUSHALL", "ASYNC"]).expect("a reply");
    wait_until("all is freed", || number(&mut client, "lazyfree_pending_objects") == 0);
    assert_eq!(number(&mut client, "lazyfreed_objects"), 2000);
    client.call(&["CONFIG", "RESETSTAT"]).expect("a reply");
    assert_eq!(number(&mut client, "lazyfreed_objects"), 0);
}

#[test]
fn a_limit_that_is_lowered_is_reached_beside_the_commands() {
    let server = start("500mb", "allkeys-lru");
    let mut client = connect(&server);
    for part in 0..20 {
        client.call(&["DEBUG", "POPULATE", "20000", &format!("p{part}"), "500"]).expect("it is answered");
    }
    let before = number(&mut client, "used_memory");
    assert!(200 * MIB < before, "{before}");
    // What stands behind it in one pipeline is answered before many of some hundred thousand keys have gone: others
    // wait for as long, and half a millisecond of evictions before each write would be half a second.
    const WRITES: usize = 1000;
    let mut pipeline = encode(&["CONFIG", "SET", "maxmemory", "50mb"]);
    (0..WRITES).for_each(|_| pipeline.extend(encode(&["SET", "k", "v"])));
    pipeline.extend(encode(&["INFO", "everything"]));
    client.send_raw(&pipeline).expect("it takes commands");
    for command in std::iter::once("CONFIG SET").chain(std::iter::repeat_n("SET", WRITES)) {
        assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()), "{command}");
    }
    let info = client.read().expect("INFO is answered");
    let (after, gone) = (field_of(&info, "used_memory"), field_of(&info, "evicted_keys"));
    assert!(51 * MIB < after, "it waited until all was evicted: {after}");
    assert!(gone < 20 * WRITES as u64, "{gone} keys went before {WRITES} writes");
    let started = Instant::now();
    while 51 * MIB < number(&mut client, "used_memory") {
        assert!(started.elapsed() < PATIENCE, "it takes too long");
        let reply = client.call(&["SET", "k", "v"]).expect("a reply");
        assert_eq!(reply, Value::Simple(b"OK".to_vec()), "writes go on meanwhile");
    }
    assert!(0 < number(&mut client, "evicted_keys"));
    let Value::Array(limit) = client.call(&["CONFIG", "GET", "maxmemory"]).expect("a reply") else { panic!("no pair") };
    assert_eq!(limit[1], Value::Bulk(b"52428800".to_vec()));
}

#[test]
fn a_cache_as_a_site_uses_it() {
    let server = start("524288000", "allkeys-lru");
    let mut client = connect(&server);
    client.call(&["CONFIG", "SET", "maxmemory", "100mb"]).expect("a reply");
    let Value::Array(limit) = client.call(&["CONFIG", "GET", "maxmemory"]).expect("a reply") else { panic!("no pair") };
    assert_eq!(limit[1], Value::Bulk(b"104857600".to_vec()));
    let mut random = fastrand::Rng::with_seed(3);
    let value = vec![b's'; 1_000_000];
    let mut last = Vec::new();
    for symbol in 0..1000 {
        let key = format!("symcache:xul.pdb/{symbol:032X}");
        let bytes = random.usize(10_000..=1_000_000);
        let reply = client.call(&[&b"SET"[..], key.as_bytes(), &value[..bytes]]).expect("a reply");
        assert_eq!(reply, Value::Simple(b"OK".to_vec()));
        last = vec![key, bytes.to_string()];
    }
    assert!(number(&mut client, "used_memory") <= 101 * MIB);
    assert!(200 < number(&mut client, "evicted_keys"));
    let length = client.call(&["STRLEN", &last[0]]).expect("a reply");
    assert_eq!(length, Value::Integer(last[1].parse().expect("a number")));
    client.call(&["FLUSHALL"]).expect("a reply");
    assert_eq!(client.call(&["DBSIZE"]).expect("a reply"), Value::Integer(0));
}

#[test]
fn latencies_and_scripts_are_overhead_and_no_data() {
    let server = start("0", "noeviction");
    let mut client = connect(&server);
    let lines = [
        "SET k v",
        "GET k",
        "INCR n",
        "RPUSH l a",
        "LPOP l",
        "SADD s a",
        "SREM s a",
        "HSET h f v",
        "HGET h f",
        "ZADD z 1 a",
        "ZSCORE z a",
        "XADD x * f v",
        "XLEN x",
        "PFADD p a",
        "SETBIT b 1 1",
        "GETBIT b 1",
        "EXPIRE k 100",
        "TTL k",
        "EXISTS k",
        "TYPE k",
        "STRLEN k",
        "APPEND a b",
        "GETRANGE a 0 1",
        "HLEN h",
        "LLEN l",
        "SCARD s",
        "ZCARD z",
        "MGET k n",
        "DEL k",
    ];
    for line in lines.iter().cycle().take(100 * lines.len()) {
        client.call(&line.split(' ').collect::<Vec<_>>()).expect("it is answered");
    }
    for number in 0..50 {
        let script = format!("return {number} -- {}", "x".repeat(20_000));
        client.call(&["EVAL", &script, "0"]).expect("it is answered");
    }
    client.call(&["FLUSHALL"]).expect("it is answered");
    let info = info_of(&mut client);
    let of = |field: &str| field_of(&info, field);
    assert!(MIB / 4 < of("mem_not_counted_for_evict"), "{info}");
    assert!(MIB / 2 < of("used_memory_scripts_eval"), "{info}");
    let known = of("mem_not_counted_for_evict") + of("used_memory_scripts") + of("used_memory_startup");
    assert!(known <= of("used_memory_overhead") && of("used_memory_dataset") < MIB, "{info}");
    let stats = client.call(&["MEMORY", "STATS"]).expect("it is answered");
    assert!(MIB / 2 < stat_of(&stats, "lua.caches"), "{stats}");
}

#[test]
fn a_limit_of_one_byte_refuses_whatever_was_counted_before() {
    // So many kinds of commands that their latencies take a part of all that is used.
    const COMMANDS: &str = "APPEND k v|BITCOUNT k|BITPOS k 1|DECR n|DECRBY n 1|DEL k|DUMP k|ECHO k|EXISTS k|EXPIRE k 9|\
        EXPIREAT k 9|EXPIRETIME k|GEOADD g 1 1 m|GEODIST g m m|GEOHASH g m|GEOPOS g m|GET k|GETBIT k 1|GETDEL k|\
        GETEX k|GETRANGE k 0 1|GETSET k v|HDEL h f|HEXISTS h f|HGET h f|HGETALL h|HINCRBY h f 1|HKEYS h|HLEN h|\
        HMGET h f|HMSET h f 1|HRANDFIELD h|HSCAN h 0|HSET h f 1|HSETNX h f 1|HSTRLEN h f|HVALS h|INCR n|INCRBY n 1|\
        INCRBYFLOAT n 1|LINDEX l 0|LINSERT l BEFORE a b|LLEN l|LPOP l|LPOS l a|LPUSH l a|LPUSHX l a|LRANGE l 0 1|\
        LREM l 0 a|LSET l 0 a|LTRIM l 0 9|MGET k n|MSET k v|MSETNX k v|PERSIST k|PEXPIRE k 9|PEXPIREAT k 9|\
        PEXPIRETIME k|PFADD p e|PFCOUNT p|PFMERGE p p|PING|PSETEX k 9 v|PTTL k|RANDOMKEY|RENAME k k2|RENAMENX k2 k|\
        RPOP l|RPOPLPUSH l l|RPUSH l a|RPUSHX l a|SADD s m|SCAN 0|SCARD s|SDIFF s s|SDIFFSTORE s2 s|SET k v|\
        SETBIT k 1 1|SETEX k 9 v|SETNX k v|SETRANGE k 1 v|SINTER s s|SINTERCARD 1 s|SINTERSTORE s2 s|SISMEMBER s m|\
        SMEMBERS s|SMISMEMBER s m|SMOVE s s2 m|SORT s ALPHA|SORT_RO s ALPHA|SPOP s|SRANDMEMBER s|SREM s m|SSCAN s 0|\
        STRLEN k|SUBSTR k 0 1|SUNION s s|SUNIONSTORE s2 s|TIME|TOUCH k|TTL k|TYPE k|UNLINK k|XADD x * f v|\
        XDEL x 0-1|XLEN x|XRANGE x - +|XREAD STREAMS x 0|XREVRANGE x + -|XTRIM x MAXLEN 9|ZADD z 1 m|ZCARD z|\
        ZCOUNT z 0 1|ZDIFF 1 z|ZINCRBY z 1 m|ZINTER 1 z|ZLEXCOUNT z - +|ZMSCORE z m|ZPOPMAX z|ZPOPMIN z|\
        ZRANDMEMBER z|ZRANGE z 0 1|ZRANGEBYLEX z - +|ZRANGEBYSCORE z 0 1|ZRANK z m|ZREM z m|ZREMRANGEBYRANK z 5 6|\
        ZREVRANGE z 0 1|ZREVRANK z m|ZSCAN z 0|ZSCORE z m|ZUNION 1 z|CONFIG GET hz|OBJECT HELP|COMMAND COUNT|DBSIZE";
    for shards in [1, SHARDS] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let (mut client, mut other) = (connect(&server), connect(&server));
        let refused = |client: &mut Client, command: &[&str]| {
            let reply = client.call(command).expect("a reply");
            assert!(matches!(&reply, Value::Error(text) if text.starts_with(b"OOM ")), "{command:?}: {reply:?}");
        };
        let script = ["EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "k"];
        for round in 0..30 {
            if round % 10 == 0 {
                let is_counted = |client: &mut Client| {
                    for command in COMMANDS.split('|') {
                        client.call(&command.split_whitespace().collect::<Vec<_>>()).expect("a reply");
                    }
                    number(client, "used_memory") / 20 < number(client, "mem_not_counted_for_evict")
                };
                wait_until("latencies take much", || is_counted(&mut client));
            }
            // What was counted is forgotten, and counts no longer.
            client.call(&["CONFIG", "RESETSTAT"]).expect("a reply");
            client.call(&["CONFIG", "SET", "maxmemory", "1"]).expect("a reply");
            refused(&mut client, &["SET", "k", "v"]);
            refused(&mut other, &["SET", "k", "v"]);
            refused(&mut client, &script);
            refused(&mut other, &script);
            client.call(&["CONFIG", "SET", "maxmemory", "0"]).expect("a reply");
            assert_eq!(other.call(&script).expect("a reply"), Value::Simple(b"OK".to_vec()));
        }
    }
}

/// Fills the server with keys of 10 kB until some have gone.
fn fill(server: &Server) -> Client {
    let mut client = connect(server);
    for batch in 0.. {
        assert_eq!(send_sets(&mut client, "fill", batch * 1000, 1000, 10_000), 0);
        if 0 < number(&mut client, "evicted_keys") {
            break;
        }
    }
    client
}

/// Writes so many keys of so many bytes.
const WRITE_MANY: &str = "for i = 1, tonumber(ARGV[2]) do \
    redis.call('SET', KEYS[1] .. ':' .. i .. ':' .. ARGV[3], string.rep('x', tonumber(ARGV[1]))) end return 'ok'";

#[test]
fn scripts_and_transactions_find_room_while_anything_may_go() {
    const LIMIT: u64 = 64 * MIB;
    let server = start("64mb", "allkeys-lru");
    let mut client = fill(&server);
    let ok = Value::Bulk(b"ok".to_vec());
    for round in 0..60 {
        for tag in ["{s}", "s"] {
            let round = round.to_string();
            let reply = client.call(&["EVAL", WRITE_MANY, "1", tag, "10000", "300", &round]).expect("a reply");
            assert_eq!(reply, ok, "{tag}, round {round}");
        }
    }
    // Of several clients at once some have what others want, lent for as long as a script runs.
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (mut client, ok) = (connect(&server), &ok);
            scope.spawn(move || {
                let key = format!("{{s{number}}}");
                for round in 0..8 {
                    let round = round.to_string();
                    let call = ["EVAL", WRITE_MANY, "1", &key, "10000", "2000", &round];
                    assert_eq!(client.call(&call).expect("a reply"), *ok, "script {round} of {number}");
                    client.call(&["MULTI"]).expect("a reply");
                    for at in 0..4 {
                        let key = format!("m{number}:{round}:{at}");
                        let reply = client.call(&["SETRANGE", &key, "1999999", "x"]).expect("a reply");
                        assert_eq!(reply, Value::Simple(b"QUEUED".to_vec()), "transaction {round} of {number}");
                    }
                    let reply = client.call(&["EXEC"]).expect("a reply");
                    assert_eq!(reply, Value::Array(vec![Value::Integer(2_000_000); 4]));
                }
            });
        }
    });
    let peak = number(&mut client, "used_memory_peak");
    assert!(peak <= LIMIT + SLACK_BYTES, "{} bytes above the limit", peak - LIMIT);
}

#[test]
fn a_transaction_that_cannot_fit_is_refused_and_nothing_goes_for_it() {
    const LIMIT: u64 = 64 * MIB;
    for policy in ["allkeys-lru", "noeviction"] {
        let server = start("64mb", policy);
        let mut client = connect(&server);
        send_sets(&mut client, "key", 0, 1000, 10_000);
        client.call(&["MULTI"]).expect("a reply");
        for at in 0..40 {
            let reply = client.call(&["SETRANGE", &format!("k{at}"), "9999999", "x"]).expect("a reply");
            assert_eq!(reply, Value::Simple(b"QUEUED".to_vec()));
        }
        let refused: &[u8] = b"EXECABORT Transaction discarded because of: \
            OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(client.call(&["EXEC"]).expect("a reply"), Value::Error(refused.to_vec()));
        let reply = client.call(&["SETRANGE", "k", "99999999", "x"]).expect("a reply");
        assert_eq!(reply, Value::Error(b"OOM command not allowed when used memory > 'maxmemory'.".to_vec()));
        assert_eq!(client.call(&["DBSIZE"]).expect("a reply"), Value::Integer(1000));
        let peak = number(&mut client, "used_memory_peak");
        assert!(peak <= LIMIT + SLACK_BYTES, "{} bytes above the limit", peak - LIMIT);
        // What grows one key again and again is no more than that key.
        client.call(&["MULTI"]).expect("a reply");
        (0..40).for_each(|_| drop(client.call(&["SETRANGE", "k", "9999999", "x"]).expect("a reply")));
        let reply = client.call(&["EXEC"]).expect("a reply");
        assert_eq!(reply, Value::Array(vec![Value::Integer(10_000_000); 40]), "{policy}");
    }
}

/// A pipeline of `MULTI`, so many SETs of so many bytes, and `EXEC`; how many of them were done.
fn send_transaction(client: &mut Client, count: usize, bytes: usize) -> Result<usize, Vec<u8>> {
    let value = vec![b'v'; bytes];
    let mut commands = encode(&["MULTI"]);
    for key in 0..count {
        commands.extend(encode(&[&b"SET"[..], format!("of:{bytes}:{key}").as_bytes(), &value]));
    }
    commands.extend(encode(&["EXEC"]));
    client.send_raw(&commands).expect("it takes commands");
    let replies: Vec<Value> = (0..count + 2).map(|_| client.read().expect("each is answered")).collect();
    match replies.into_iter().last() {
        Some(Value::Array(replies)) => Ok(replies.len()),
        Some(Value::Error(error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_that_fits_runs_and_takes_no_more_room_than_it_writes() {
    const LIMIT: u64 = 64 * MIB;
    for (policy, is_full) in [("allkeys-lru", true), ("allkeys-lru", false), ("noeviction", false)] {
        let server = start("64mb", policy);
        let mut client = if is_full { fill(&server) } else { connect(&server) };
        for (count, bytes) in [(40_000, 1000), (40, 1_000_000)] {
            assert_eq!(send_transaction(&mut client, count, bytes), Ok(count), "{policy}, {bytes}, {is_full}");
            let Value::Integer(keys) = client.call(&["DBSIZE"]).expect("a reply") else { panic!("no number") };
            if is_full {
                assert!(count as i64 + 1000 < keys, "{keys} keys are left, {bytes}");
            } else {
                assert_eq!(keys, count as i64);
                client.call(&["FLUSHALL"]).expect("a reply");
                wait_until("it is freed", || number(&mut client, "used_memory") < LIMIT / 4);
            }
        }
        let peak = number(&mut client, "used_memory_peak");
        assert!(peak <= LIMIT + SLACK_BYTES, "{} bytes above the limit", peak - LIMIT);
    }
}

#[test]
fn what_was_flushed_is_room_for_whoever_needs_it() {
    const LIMIT: u64 = 64 * MIB;
    let script = "for i = 1, 45 do redis.call('SET', 's' .. i, string.rep('x', 1000000)) end return 'ok'";
    let queued = Value::Simple(b"QUEUED".to_vec());
    let calls: [(&[&[&str]], Vec<Value>); 3] = [
        (&[&["SETRANGE", "k", "44999999", "x"]], vec![Value::Integer(45_000_000)]),
        (
            &[&["MULTI"], &["SETRANGE", "a", "22999999", "x"], &["SETRANGE", "b", "22999999", "x"], &["EXEC"]],
            vec![
                Value::Simple(b"OK".to_vec()),
                queued.clone(),
                queued,
                Value::Array(vec![Value::Integer(23_000_000); 2]),
            ],
        ),
        (&[&["EVAL", script, "0"]], vec![Value::Bulk(b"ok".to_vec())]),
    ];
    for shards in [1, SHARDS] {
        let server = Server::start(Kind::Corering { shards }, &["--maxmemory", "64mb"]);
        let mut client = connect(&server);
        for (calls, expected) in &calls {
            // Some 8 MB of it are freed by FLUSHALL itself on each shard.
            for first in (0..29_000).step_by(1000) {
                assert_eq!(send_sets(&mut client, "key", first, 1000, 2000), 0);
            }
            let mut commands = encode(&["FLUSHALL", "SYNC"]);
            calls.iter().for_each(|call| commands.extend(encode(call)));
            client.send_raw(&commands).expect("it takes commands");
            assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
            for value in expected {
                assert_eq!(client.read().expect("a reply"), *value, "{shards} shards, {calls:?}");
            }
            let peak = number(&mut client, "used_memory_peak");
            assert!(peak <= LIMIT + SLACK_BYTES, "{} bytes above the limit, {calls:?}", peak - LIMIT);
            client.call(&["FLUSHALL"]).expect("a reply");
            wait_until("it is freed", || number(&mut client, "used_memory") < LIMIT / 4);
        }
    }
}

#[test]
fn what_a_script_or_transaction_uses_stays_while_others_go_for_it() {
    for shards in [1, SHARDS] {
        let arguments = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-random", "--appendonly", "yes"];
        let server = Server::start(Kind::Corering { shards }, &arguments);
        let mut client = fill(&server);
        // It reads fifty keys, writes 20 MB, for which a third of all goes by lot, and looks whether both are there.
        let script = "local seen = {} for i = 1, 50 do \
                if redis.call('EXISTS', 'read' .. i) == 1 then seen[#seen + 1] = 'read' .. i end end \
            for i = 1, 2000 do redis.call('SET', 'new' .. i .. ARGV[1], string.rep('x', 10000)) end \
            for i = 1, 2000 do seen[#seen + 1] = 'new' .. i .. ARGV[1] end \
            local left = 0 for _, key in ipairs(seen) do left = left + redis.call('EXISTS', key) end \
            return {#seen, left}";
        let before = number(&mut client, "evicted_keys");
        for round in 0..4 {
            assert_eq!(send_sets(&mut client, "read", 1, 50, 10), 0);
            let reply = client.call(&["EVAL", script, "0", &format!(":{round}")]).expect("a reply");
            let Value::Array(counts) = &reply else { panic!("{reply}") };
            assert_eq!(counts[0], counts[1], "round {round}: some went that it uses");
        }
        // Not as many for each: what Lua has yet to collect of one script takes room that the next one finds.
        let gone = number(&mut client, "evicted_keys") - before;
        assert!(2000 < gone, "{gone} keys went for 80 MB");
        // The same of a transaction; what it makes is not known before.
        let members: Vec<String> = (0..40_000).map(|member| format!("member:{member}")).collect();
        let mut sadd = vec!["SADD", "{t}source"];
        sadd.extend(members.iter().map(String::as_str));
        client.call(&["SET", "{t}first", "v"]).expect("a reply");
        client.call(&sadd).expect("a reply");
        client.call(&["MULTI"]).expect("a reply");
        client.call(&["EXISTS", "{t}first"]).expect("a reply");
        for at in 0..12 {
            client.call(&["SUNIONSTORE", &format!("{{t}}union{at}"), "{t}source"]).expect("a reply");
        }
        client.call(&["EXISTS", "{t}first", "{t}source", "{t}union0", "{t}union1"]).expect("a reply");
        let reply = client.call(&["EXEC"]).expect("a reply");
        let Value::Array(replies) = &reply else { panic!("{reply}") };
        if replies[0] == Value::Integer(1) && replies[1] != Value::Integer(0) {
            assert_eq!(replies[13], Value::Integer(4), "some went that it uses");
        }
        // The log tells the same as the keys.
        client.call(&["CONFIG", "SET", "maxmemory", "0"]).expect("a reply");
        let digest = client.call(&["DEBUG", "DIGEST"]).expect("a reply");
        client.call(&["DEBUG", "LOADAOF"]).expect("a reply");
        assert_eq!(client.call(&["DEBUG", "DIGEST"]).expect("a reply"), digest);
    }
}

#[test]
fn what_the_log_has_yet_to_write_makes_no_key_go() {
    let arguments = ["--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"];
    let server = Server::start(Kind::Corering { shards: SHARDS }, &arguments);
    let mut client = connect(&server);
    for batch in 0..5 {
        let refused = refusals_of_sets(&mut client, "key", batch * 2000, 2000, 5000);
        assert!(refused.is_empty(), "batch {batch}: {} refused, the first one {}", refused.len(), refused[0]);
    }
    let Value::Integer(keys) = client.call(&["DBSIZE"]).expect("a reply") else { panic!("no number") };
    assert!(2000 < keys, "{keys} keys of 5 kB are left in 20 MB");
    let info = client.call(&["INFO", "everything"]).expect("INFO is answered");
    let buffers = field_of(&info, "mem_aof_buffer");
    assert!(buffers <= field_of(&info, "mem_not_counted_for_evict"), "{info}");
}

fn info_of(client: &mut Client) -> Value {
    client.call(&["INFO", "everything"]).expect("INFO is answered")
}

/// The parts that `INFO` tells of `used_memory`, all but what nobody counts.
fn parts_of(info: &Value) -> u64 {
    let parts = [
        "used_memory_startup",
        "keyspace_bytes",
        "mem_clients_normal",
        "used_memory_scripts",
        "used_memory_vm_total",
        "mem_not_counted_for_evict",
    ];
    parts.iter().map(|part| field_of(info, part)).sum::<u64>() - field_of(info, "mem_clients_shared")
}

/// The number behind a name in the map that `MEMORY STATS` answers.
fn stat_of(stats: &Value, name: &str) -> u64 {
    let Value::Array(items) = stats else { panic!("no map") };
    let at = items.iter().position(|item| *item == Value::Bulk(name.into())).unwrap_or_else(|| panic!("no {name}"));
    let Value::Integer(number) = items[at + 1] else { panic!("{name} is no number") };
    number as u64
}

#[test]
fn what_the_cores_count_sums_up_to_what_is_in_use() {
    let server = start("0", "noeviction");
    let mut client = connect(&server);
    let value = "v".repeat(200);
    let check = |client: &mut Client, what: &str| {
        // Cores tell ten times a second, if the machine lets them, what buffers of clients and histograms take.
        let mut info = info_of(client);
        wait_until_told(|| {
            info = info_of(client);
            let (used, parts) = (field_of(&info, "used_memory"), parts_of(&info));
            // Of an empty server the odds and ends that nobody counts are more than 2 %.
            let is_so = parts.abs_diff(used) < (used / 50).max(256 << 10);
            (is_so, format!("{what}: {parts} of {used} bytes are accounted for"))
        });
        let used = field_of(&info, "used_memory");
        let Value::Bulk(text) = &info else { panic!("no text") };
        let text = String::from_utf8_lossy(text);
        let cores = (0..SHARDS).map(|core| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("core{core}:"))).expect("of each core");
            let bytes = line.split(',').find_map(|word| word.strip_prefix("bytes=")).expect("its keys' bytes");
            bytes.parse::<u64>().expect("a number")
        });
        let cores: Vec<u64> = cores.collect();
        assert_eq!(cores.iter().sum::<u64>(), field_of(&info, "keyspace_bytes"), "{what}");
        assert!(cores.iter().all(|bytes| what == "nothing" || 1 << 20 < *bytes), "{what}: {cores:?}");
        // What is in use is in pages that the allocator holds, and those are in memory.
        let (active, resident) = (field_of(&info, "allocator_active"), field_of(&info, "used_memory_rss"));
        assert!(used <= active && active <= resident, "{what}: {used} {active} {resident}");
        let stats = client.call(&["MEMORY", "STATS"]).expect("it is answered");
        let stat = |name: &str| stat_of(&stats, name);
        assert!(stat("total.allocated").abs_diff(used) < used / 50, "{what}: {used}");
        assert_eq!(stat("overhead.total") + stat("dataset.bytes"), stat("total.allocated"), "{what}");
        assert!(stat("lua.caches") + stat("functions.caches") <= stat("overhead.total"), "{what}");
    };
    check(&mut client, "nothing");
    let mut fill = |what: &str, count: usize, command: &dyn Fn(usize) -> Vec<String>| {
        for from in (0..count).step_by(1000) {
            let batch: Vec<u8> = (from..count.min(from + 1000)).flat_map(|number| encode(&command(number))).collect();
            client.send_raw(&batch).expect("it is sent");
            (from..count.min(from + 1000)).for_each(|_| {
                let reply = client.read().expect("it is answered");
                assert!(!matches!(reply, Value::Error(_)), "{what}");
            });
        }
        check(&mut client, what);
    };
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<String>>();
    fill("strings", 40_000, &|n| words(&["SET", &format!("s{n}"), &value]));
    fill("numbers with deadlines", 40_000, &|n| words(&["SET", &format!("i{n}"), &n.to_string(), "EX", "10000"]));
    fill("hashes", 40_000, &|n| words(&["HSET", &format!("h{}", n % 1000), &format!("f{n}"), &value]));
    fill("lists", 40_000, &|n| words(&["RPUSH", &format!("l{}", n % 100), &value]));
    fill("sorted sets", 40_000, &|n| words(&["ZADD", &format!("z{}", n % 200), &n.to_string(), &format!("m{n}")]));
    fill("sets", 40_000, &|n| words(&["SADD", &format!("S{}", n % 200), &format!("m{n}")]));
    fill("streams", 20_000, &|n| words(&["XADD", &format!("x{}", n % 50), "*", "f", &value]));
    fill("long strings", 50, &|n| words(&["SET", &format!("big{n}"), &"x".repeat(300_000)]));
    fill("scripts", 200, &|n| words(&["EVAL", &format!("return string.rep('x', {n})"), "0"]));
    // Clients that wait, some of them with half a command.
    let mut clients: Vec<Client> = (0..200).map(|_| connect(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate().take(40) {
        let rest = "y".repeat(1000 + 4000 * number);
        let half = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n{rest}");
        client.send_raw(half.as_bytes()).expect("it is sent");
    }
    let mut last = connect(&server);
    wait_until("input has arrived", || {
        let info = info_of(&mut last);
        3_000_000 < field_of(&info, "mem_clients_normal")
    });
    check(&mut last, "clients");
}

#[test]
fn the_largest_client_of_all_cores_is_closed_first() {
    let server = Server::start(Kind::Corering { shards: 4 }, &[]);
    let mut control = connect(&server);
    control.call(&["CLIENT", "NO-EVICT", "ON"]).expect("a reply");
    let value = vec![b'v'; 100_000];
    for round in 0..5 {
        control.call(&["CONFIG", "SET", "maxmemory-clients", "0"]).expect("a reply");
        let queue = |megabytes: usize| {
            let mut client = connect(&server);
            client.call(&["MULTI"]).expect("a reply");
            for _ in 0..10 * megabytes {
                client.call(&[&b"SET"[..], b"key", &value]).expect("a reply");
            }
            client
        };
        let mut small: Vec<Client> = (0..3).map(|_| queue(1)).collect();
        let mut large = queue(5);
        small.extend((0..4).map(|_| queue(1)));
        let taken = number(&mut control, "mem_clients_normal");
        let before = number(&mut control, "evicted_clients");
        let limit = (taken - 500_000).to_string();
        control.call(&["CONFIG", "SET", "maxmemory-clients", &limit]).expect("a reply");
        wait_until("somebody is closed", || before < number(&mut control, "evicted_clients"));
        assert!(large.call(&["PING"]).is_err(), "round {round}");
        for client in &mut small {
            assert_eq!(client.call(&["DISCARD"]).expect("it is open"), Value::Simple(b"OK".to_vec()), "round {round}");
        }
    }
}

#[test]
fn clients_take_what_their_list_says_they_take() {
    let server = start("0", "noeviction");
    let mut control = connect(&server);
    let value = vec![b'v'; 1_000_000];
    control.call(&[&b"SET"[..], b"key", &value]).expect("a reply");
    let mut silent = connect(&server);
    (0..20).for_each(|_| silent.send_raw(&encode(&["GET", "key"])).expect("it takes commands"));
    let mut seen = (0, 0);
    wait_until("both say the same", || {
        let Value::Bulk(list) = control.call(&["CLIENT", "LIST"]).expect("a reply") else { panic!("no list") };
        let list = String::from_utf8_lossy(&list).into_owned();
        let taken = list.split(' ').filter_map(|word| word.strip_prefix("tot-mem="));
        let taken: u64 = taken.map(|bytes| bytes.parse::<u64>().expect("a number")).sum();
        seen = (taken, number(&mut control, "mem_clients_normal"));
        8 * MIB < taken && taken.abs_diff(seen.1) < taken / 20
    });
    assert!(8 * MIB < number(&mut control, "mem_clients_shared"), "{seen:?}");
}

#[test]
fn what_clients_send_ahead_passes_the_limit_by_little() {
    const LIMIT: u64 = 64 * MIB;
    let server =
        Server::start(Kind::Corering { shards: 1 }, &["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = SetWhenDropped(&end);
        for seed in 0..4 {
            let (server, end) = (&server, &end);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut client = connect(server);
                let value = vec![b'v'; 3_000_000];
                while !end.load(Ordering::Relaxed) {
                    let mut commands = Vec::new();
                    let mut count = 0;
                    while commands.len() < 4_000_000 && count < 64 {
                        let bytes = [10, 1000, 100_000, 1_000_000, 3_000_000][random.usize(..5)];
                        let key = format!("{seed}:{}", random.u32(..));
                        commands.extend(encode(&[&b"SET"[..], key.as_bytes(), &value[..bytes]]));
                        count += 1;
                    }
                    client.send_raw(&commands).expect("it takes commands");
                    for _ in 0..count {
                        assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
                    }
                }
            });
        }
        let mut client = connect(&server);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) || number(&mut client, "evicted_keys") < 500 {
            assert!(started.elapsed() < PATIENCE, "the limit was not reached");
        }
        drop(ends);
        let peak = number(&mut client, "used_memory_peak");
        assert!(peak <= LIMIT + SLACK_BYTES, "{} bytes above the limit", peak - LIMIT);
    });
}

#[test]
fn what_was_compiled_is_freed_when_scripts_are_flushed_though_none_runs() {
    let server = start("0", "noeviction");
    let mut clients: Vec<Client> = (0..8).map(|_| connect(&server)).collect();
    for number in 0..4000 {
        let text = format!("local text = {number} {} return text", "text = text + 1 ".repeat(60));
        clients[number % 8].call(&["SCRIPT", "LOAD", &text]).expect("a reply");
    }
    let client = &mut clients[0];
    let before = number(client, "used_memory_vm_eval");
    client.call(&["SCRIPT", "FLUSH"]).expect("a reply");
    wait_until("most of Lua's memory is free", || number(client, "used_memory_vm_eval") < before / 4);
}

/// How many clients send far ahead, and what each of them sends.
const SENDERS: usize = 8;
const SENT_AHEAD: usize = 20_000;

/// Has clients send many commands before they read a reply, each after `first` if there is one, and calls `meanwhile`.
/// How many were refused.
fn send_far_ahead(server: &Server, first: Option<&[&str]>, meanwhile: impl FnOnce()) -> usize {
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let refused = &refused;
        for number in 0..SENDERS {
            scope.spawn(move || {
                let mut client = connect(server);
                let value = [b'v'; 1000];
                let mut commands = first.map_or(Vec::new(), encode);
                for at in 0..SENT_AHEAD {
                    commands.extend(encode(&[&b"SET"[..], format!("{number}:{at}").as_bytes(), &value]));
                }
                client.send_raw(&commands).expect("it takes commands");
                if first.is_some() {
                    assert!(matches!(client.read().expect("a reply"), Value::Array(_)));
                }
                for _ in 0..SENT_AHEAD {
                    let is_refused = matches!(client.read().expect("a reply"), Value::Error(_));
                    refused.fetch_add(is_refused.into(), Ordering::Relaxed);
                }
            });
        }
        meanwhile();
    });
    refused.into_inner()
}

#[test]
fn clients_that_send_far_ahead_are_not_refused_for_what_they_sent() {
    let server =
        Server::start(Kind::Corering { shards: 1 }, &["--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"]);
    assert_eq!(send_far_ahead(&server, None, || ()), 0);
    let peak = number(&mut connect(&server), "used_memory_peak");
    assert!(peak <= 10 * MIB + SLACK_BYTES, "{peak}");
}

#[test]
fn of_what_clients_send_ahead_little_waits_in_the_server() {
    let server = start("20mb", "allkeys-lru");
    let mut control = connect(&server);
    send_far_ahead(&server, Some(&["BLPOP", "go", "0"]), || {
        wait_until("all have sent more than is received of it", || {
            let Value::Bulk(list) = control.call(&["CLIENT", "LIST"]).expect("a reply") else { panic!("no list") };
            let list = String::from_utf8_lossy(&list).into_owned();
            let waiting = list.split(' ').filter_map(|word| word.strip_prefix("qbuf="));
            waiting.filter(|bytes| 64 * 1024 < bytes.parse::<usize>().expect("a number")).count() == SENDERS
        });
        // Of all that waits, 160 MB.
        let taken = number(&mut control, "mem_clients_normal");
        assert!(taken < 12 * MIB, "{taken}");
        (0..SENDERS).for_each(|_| drop(control.call(&["RPUSH", "go", "x"]).expect("a reply")));
    });
    let peak = number(&mut control, "used_memory_peak");
    assert!(peak <= 20 * MIB + SLACK_BYTES, "{peak}");
}

#[test]
fn long_arguments_sent_far_ahead_arrive_whole_however_little_may_wait() {
    let server = start("64mb", "allkeys-lru");
    let mut client = connect(&server);
    let mut commands = Vec::new();
    let sizes = [1_500_000, 10, 20_000, 40_000, 70_000, 700_000, 100];
    let mut random = fastrand::Rng::with_seed(7);
    let sent: Vec<Vec<u8>> =
        (0..100).map(|at| vec![b'a' + at as u8 % 26; sizes[random.usize(..sizes.len())]]).collect();
    for value in &sent {
        let fields: Vec<String> = (0..random.usize(..800)).map(|at| format!("a word of some length {at}")).collect();
        commands.extend(encode(&[&b"SET"[..], b"key", value]));
        let mut words = vec![&b"DEL"[..]];
        words.extend(fields.iter().map(|field| field.as_bytes()));
        words.push(value);
        commands.extend(encode(&words));
        commands.extend(encode(&["STRLEN", "key"]));
    }
    client.send_raw(&commands).expect("it takes commands");
    for value in &sent {
        assert_eq!(client.read().expect("a reply"), Value::Simple(b"OK".to_vec()));
        assert_eq!(client.read().expect("a reply"), Value::Integer(0));
        assert_eq!(client.read().expect("a reply"), Value::Integer(value.len() as i64));
    }
}
