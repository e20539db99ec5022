//! What the parts of a command's way cost by themselves: parsing, the table, encodings, a hop's parcel, a record of the
//! log, and what is noted of its latency.
//!
//! usage: `cargo bench --bench parts [-- NAME]`. `cargo test` runs each of them once, so that they do not rot.
//!
//! A shared machine shows itself: compare runs made one after the other, by the fastest and the median. Whole servers are
//! compared by `corering-bench compare`.
#![allow(clippy::disallowed_methods, reason = "a measurement has a clock")]

use corering::aof::record;
use corering::command::lookup::lookup;
use corering::keyspace::{Expiry, Keyspace};
use corering::resp::{Limits, Parser, Span};
use corering::route::parcel::{ArgSlices, Parcel, ReplyHeader, RequestHeader};
use corering::stats::Stats;
use corering::stats::histogram::Histogram;
use corering::stats::stages::{Lane, Stage, Way};
use corering::structure::listpack::Listpack;
use divan::{Bencher, black_box, counter::ItemsCount};

const NOW_MS: u64 = 1_700_000_000_000;

fn main() {
    divan::main();
}

/// A pipeline of so many `SET key value`.
#[divan::bench(args = [1, 16])]
fn parser(bencher: Bencher<'_, '_>, commands: usize) {
    let request = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$64\r\n".to_vec();
    let request = [request, b"x".repeat(64), b"\r\n".to_vec()].concat();
    let limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
    let mut parser = Parser::new();
    let mut spans: Vec<Span> = Vec::new();
    bencher.counter(ItemsCount::new(commands)).with_inputs(|| request.repeat(commands)).bench_local_refs(|bytes| {
        let mut at = 0;
        while at < bytes.len() {
            let consumed = parser.parse(&mut bytes[at..], &limits, &mut spans).expect("it is a request");
            at += consumed.expect("it is whole");
            black_box(&spans);
            spans.clear();
        }
    });
}

fn keyspace(keys: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(1, 20);
    keyspace.begin(NOW_MS, true);
    for key in 0..keys {
        keyspace.set_string(0, format!("key:{key:012}").as_bytes(), b"xxxxxxxx", Expiry::Clear);
    }
    keyspace
}

/// A key that is there, among so many.
#[divan::bench(args = [1_000, 100_000])]
fn table_get(bencher: Bencher<'_, '_>, keys: usize) {
    let mut keyspace = keyspace(keys);
    let names: Vec<String> = (0..keys).map(|key| format!("key:{key:012}")).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 7_919) % keys;
        black_box(keyspace.read(0, names[turn].as_bytes()).is_some())
    });
}

/// A value replaced, among so many.
#[divan::bench(args = [1_000, 100_000])]
fn table_set(bencher: Bencher<'_, '_>, keys: usize) {
    let mut keyspace = keyspace(keys);
    let names: Vec<String> = (0..keys).map(|key| format!("key:{key:012}")).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 7_919) % keys;
        keyspace.set_string(0, names[turn].as_bytes(), b"yyyyyyyy", Expiry::Clear);
    });
}

/// A listpack of so many elements is read from end to end.
#[divan::bench(args = [16, 128])]
fn listpack_walk(bencher: Bencher<'_, '_>, elements: usize) {
    let mut listpack = Listpack::new();
    for element in 0..elements {
        listpack.push_back(format!("element:{element}").as_bytes());
    }
    bencher.counter(ItemsCount::new(elements)).bench_local(|| black_box(&listpack).iter().count());
}

/// What a command costs that goes to another core: its request packed and read, its reply packed and read. Not the ring
/// between the cores, nor waking.
#[divan::bench(args = [1, 16])]
fn hop(bencher: Bencher<'_, '_>, commands: usize) {
    let command = lookup(b"set").expect("a row").id.index() as u16;
    let header = RequestHeader { target: 1, sequence: 2, command, db: 0, flags: 0, client: 3, handed: 4 };
    let (mut requests, mut replies) = (Parcel::default(), Parcel::default());
    bencher.counter(ItemsCount::new(commands)).bench_local(|| {
        for _ in 0..commands {
            requests.push_request(header, &[b"SET", b"key:000000000042", b"xxxxxxxx"]);
        }
        let mut at = 0;
        {
            let mut args = ArgSlices::new();
            while let Some((header, next)) = requests.request(at, &mut args) {
                black_box(&args);
                let RequestHeader { target, sequence, command, .. } = header;
                replies.push_reply(ReplyHeader { target, sequence, flags: 0, command, handed: 0 }, |out| {
                    out.extend_from_slice(b"+OK\r\n");
                    0
                });
                replies.stamp_last(5);
                at = next;
            }
        }
        let mut at = 0;
        while let Some((header, reply, next)) = replies.reply(at) {
            black_box((header, reply));
            at = next;
        }
        requests = std::mem::take(&mut requests).recycle();
        replies = std::mem::take(&mut replies).recycle();
    });
}

/// A change as the append-only log has it.
#[divan::bench]
fn log_record(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        record::write(&mut out, &[b"SET", b"key:000000000042", b"xxxxxxxx"]);
        black_box(&out);
    });
}

/// One latency into a histogram, of values as they occur.
#[divan::bench]
fn histogram(bencher: Bencher<'_, '_>) {
    let mut histogram = Histogram::default();
    let mut random = fastrand::Rng::with_seed(7);
    let latencies: Vec<u64> = (0..4096).map(|_| 60 + random.u64(0..200)).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % latencies.len();
        histogram.record(latencies[turn]);
    });
}

/// What is counted of a command that ran here: its execution, which Redis' histograms need too, and its other stages.
#[divan::bench]
fn stages(bencher: Bencher<'_, '_>) {
    let command = lookup(b"get").expect("a row").id;
    let mut stats = Stats::new(true);
    let mut random = fastrand::Rng::with_seed(7);
    let latencies: Vec<u64> = (0..4096).map(|_| 60 + random.u64(0..20_000)).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % latencies.len();
        stats.record(command, latencies[turn] / 100);
        for stage in [Stage::Read, Stage::Queue, Stage::Write] {
            stats.record_stage(command, Lane::of(Way::Local, stage), latencies[turn], 1);
        }
    });
}

/// The end of a second in which four commands ran, of 500 calls each: what a core does once a second.
#[divan::bench]
fn second(bencher: Bencher<'_, '_>) {
    let commands = [b"get".as_slice(), b"set", b"incr", b"lpush"].map(|name| lookup(name).expect("a row").id);
    let fill = |stats: &mut Stats| {
        for (command, latency) in commands.into_iter().flat_map(|command| (0..500).map(move |at| (command, at))) {
            stats.record(command, 60 + latency % 200);
            for stage in [Stage::Read, Stage::Queue, Stage::Write] {
                stats.record_stage(command, Lane::of(Way::Local, stage), 1_000 + latency * 50, 1);
            }
        }
    };
    let ready = || {
        let mut stats = Stats::new(true);
        fill(&mut stats);
        stats.turn(1);
        fill(&mut stats);
        stats
    };
    bencher.with_inputs(ready).bench_local_refs(|stats| stats.turn(2));
}
