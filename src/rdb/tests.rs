//! Every value comes back from its bytes, step by step or at once; bytes that are none are refused, and cost little.

use super::payload::{self, checksum};
use super::{
    Encoding, Limits, VERSION, VERSION_FIELD_DEADLINES, VERSION_GIVEN_BACK, VERSION_PRODUCERS, decode, encode,
    saved_bytes, version_of,
};
use crate::structure::stream_log;
use crate::value::hash::{self, Deadline, Hash};
use crate::value::list::{Fill, List};
use crate::value::set::{self, Set};
use crate::value::sorted_set::{self, SortedSet};
use crate::value::stream::{ConsumerParts, GroupParts, Id, IdempotencyLimits, Stream};
use crate::value::{Container, Value, ValueRef};
use proptest::prelude::*;

const CONFIGURED: IdempotencyLimits = IdempotencyLimits { duration_s: 50, messages_max: 100 };

fn limits(len_max: usize) -> Limits {
    Limits {
        hash: hash::Limits { listpack_len_max: len_max, listpack_bytes_max: 20, seed: 1 },
        set: set::Limits { integers_max: len_max, listpack_len_max: 0, listpack_member_bytes_max: 20, seed: 1 },
        sorted_set: sorted_set::Limits { members_max: len_max, member_bytes_max: 20 },
        list: Fill::of_directive(len_max.clamp(1, 20) as i32),
        idempotency: CONFIGURED,
    }
}

fn view<'a>(value: &'a Value<'_>) -> ValueRef<'a> {
    match value {
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::String(text) | Value::Raw(text) => ValueRef::String(text),
        Value::Long(text) => ValueRef::String(text.as_bytes()),
        Value::List(list) => ValueRef::List(list),
        Value::Set(set) => ValueRef::Set(set),
        Value::SortedSet(set) => ValueRef::SortedSet(set),
        Value::Hash(hash) => ValueRef::Hash(hash),
        Value::Stream(stream) => ValueRef::Stream(stream),
        Value::Probe(probe) => ValueRef::Probe(probe),
    }
}

/// What a value says, whatever its form.
fn content(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    match value {
        ValueRef::Integer(integer) => all.push(integer.to_string().into_bytes()),
        ValueRef::String(text) => all.push(text.to_vec()),
        ValueRef::List(list) => {
            let mut texts = Vec::new();
            list.for_each(|element| texts.push(element.to_vec()));
            return texts;
        }
        ValueRef::Set(set) => all.extend(set.iter().map(|member| member.to_vec())),
        ValueRef::SortedSet(set) => {
            set.visit_all(|member, score| all.push([member, &score.to_be_bytes()].concat()));
            return all;
        }
        ValueRef::Hash(hash) => all.extend(hash.iter(0).map(|field| {
            [field.name.to_vec(), b"=".to_vec(), field.value.to_vec(), format!("{:?}", field.deadline_ms).into_bytes()]
                .concat()
        })),
        ValueRef::Stream(stream) => return content_of_stream(stream),
        ValueRef::Probe(_) => {}
    }
    all.sort();
    all
}

fn content_of_stream(stream: &Stream) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = stream
        .log()
        .range(Id::MIN, Id::MAX)
        .map(|entry| {
            let pairs: Vec<_> = entry.pairs().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
            format!("{:?} {pairs:?}", entry.id).into_bytes()
        })
        .collect();
    all.push(format!("{:?}", stream.counters()).into_bytes());
    for mut group in stream.groups().map(|group| group.parts()) {
        // When a consumer was active last is not written.
        group.consumers.iter_mut().for_each(|consumer| consumer.active_ms = None);
        all.push(format!("{group:?}").into_bytes());
    }
    all.extend(stream.idempotency().map(|known| {
        let (added, duplicates) = (known.added, known.duplicates);
        format!("{:?} {:?} {added} {duplicates}", known.limits(), known.producers()).into_bytes()
    }));
    all
}

fn encoding_name(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::List(list) => list.encoding_name(),
        ValueRef::Set(set) => set.encoding_name(),
        ValueRef::SortedSet(set) => set.encoding_name(),
        ValueRef::Hash(hash) => hash.encoding_name(),
        _ => "string",
    }
}

fn check(value: Value<'_>, limits: &Limits) {
    let value = view(&value);
    for compress in [false, true] {
        let mut bytes = Vec::new();
        let version = encode(value, compress, &mut bytes);
        assert_eq!(saved_bytes(value, compress), bytes.len() - 1);
        let mut by_steps = Vec::new();
        let mut encoding = Encoding::begin(value, compress, &mut by_steps);
        while encoding.step(value, 1, &mut by_steps) {}
        assert_eq!(by_steps, bytes);
        let mut text = Vec::new();
        let mut rest = &bytes[..];
        let back = decode(&mut rest, version, limits, &mut text).expect("its own bytes");
        assert!(rest.is_empty());
        assert_eq!(content(view(&back)), content(value));
        if encoding_name(value) != "listpackex" {
            assert_eq!(encoding_name(view(&back)), encoding_name(value));
        }
        drop(back);
        for end in 0..bytes.len() {
            assert!(decode(&mut &bytes[..end], version, limits, &mut text).is_err(), "cut off at {end}");
        }
    }
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof!["[0-9]{1,2}", "-?[0-9]{1,19}", "[a-d]{0,4}", "x{19,25}", "(ab){40,90}"];
    proptest::collection::vec(text, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn every_value_comes_back(texts in texts(), len_max in 0usize..50, deadlines in 0u64..5) {
        let limits = limits(len_max);
        for text in texts.iter().take(3) {
            check(Value::String(text.as_bytes()), &limits);
        }
        check(Value::Integer(texts.len() as i64 * 77_777_777), &limits);
        let mut list = List::new();
        let mut set = Set::for_member(texts[0].as_bytes(), &limits.set);
        let mut sorted = SortedSet::new(limits.sorted_set, texts[0].len());
        let mut hash = Hash::new();
        for (number, text) in texts.iter().enumerate() {
            let text = text.as_bytes();
            list.push_back(text, limits.list);
            set.add(text, &limits.set);
            // As numbers 0 and -0 are the same; clients see which it is.
            let score = if number % 4 == 3 { -0.0 } else { number as f64 / 3.0 - 4.0 };
            sorted.set(text, score, limits.sorted_set);
            let deadline = match number as u64 % 5 {
                turn if turn < deadlines => Deadline::At(4_000_000_000_000 - number as u64 * 1000),
                _ => Deadline::Clear,
            };
            hash.set(text, texts[texts.len() - 1 - number].as_bytes(), deadline, 0, &limits.hash);
        }
        check(list.into(), &limits);
        check(set.into(), &limits);
        check(sorted.into(), &limits);
        check(hash.into(), &limits);
        for (remembers, gives_back) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut stream = stream_of(&texts, len_max);
            if remembers {
                remember(&mut stream, &texts);
            }
            if gives_back {
                let ids: Vec<Id> = stream.groups().flat_map(|group| group.pending().map(|(id, _)| id)).collect();
                stream.change_group(b"workers", |group, _, _| {
                    ids.iter().rev().step_by(3).for_each(|id| group.give_back(*id, 7));
                });
            }
            let version = match (gives_back && 1 < texts.len(), remembers) {
                (true, _) => VERSION_GIVEN_BACK,
                (false, true) => VERSION_PRODUCERS,
                (false, false) => VERSION,
            };
            prop_assert_eq!(version_of(ValueRef::Stream(&stream)), version);
            check(stream.into(), &limits);
        }
    }
}

/// Messages of a few producers.
fn remember(stream: &mut Stream, texts: &[String]) {
    let limits = IdempotencyLimits { duration_s: 86_400, messages_max: 9 };
    stream.change_idempotency(limits, |known| {
        for (number, text) in texts.iter().enumerate() {
            let producer = format!("producer {}", number % 7);
            let entry = Id { ms: 1_600_000_000_000 + number as u64, seq: 3 };
            known.remember(producer.as_bytes(), text.as_bytes(), entry, entry.ms);
        }
        known.duplicates = 3;
    });
}

/// A stream with an entry for each text, some of them deleted, and two groups that have read some.
fn stream_of(texts: &[String], node_entries_max: usize) -> Stream {
    let limits = stream_log::Limits { node_bytes_max: 4096, node_entries_max: node_entries_max as u64 };
    let mut stream = Stream::new();
    let id = |number: usize| Id { ms: 1_600_000_000_000 + number as u64 / 3, seq: number as u64 % 3 };
    for (number, text) in texts.iter().enumerate() {
        let pairs = [(&b"field"[..], text.as_bytes()), (b"n", b"12")];
        stream.push(id(number), pairs.into_iter().take(1 + number % 2), limits);
    }
    for number in (0..texts.len()).step_by(4) {
        stream.delete(id(number));
    }
    let read = texts.len() / 2;
    let pending = |of: usize| (0..read).filter(|number| number % 2 == of).map(id).collect::<Vec<_>>();
    let consumer = |name: &str, of| ConsumerParts {
        name: name.into(),
        seen_ms: 1_600_000_000_123,
        active_ms: Some(1_600_000_000_123),
        pending: pending(of),
    };
    let parts = GroupParts {
        name: b"workers".to_vec(),
        last_id: id(read),
        entries_read: Some(read as i64),
        pending: (0..read).map(|number| (id(number), 1_600_000_000_050, number as u64 + 1)).collect(),
        consumers: vec![consumer("alice", 0), consumer("bob", 1)],
        given_back: Vec::new(),
    };
    stream.restore_group(&parts).expect("it is sound");
    assert!(stream.add_group(b"idle", Id::MIN, None));
    stream
}

#[test]
fn the_checksum_is_that_of_redis() {
    assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}

#[test]
fn payloads_say_the_oldest_version_that_knows_them() {
    let limits = limits(9);
    let mut hash = Hash::new();
    hash.set(b"f", b"v", Deadline::Clear, 0, &limits.hash);
    let version = |hash: &Hash| {
        let mut bytes = Vec::new();
        payload::write(ValueRef::Hash(hash), true, &mut bytes);
        let (version, _) = payload::open(&bytes).expect("its own payload");
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(payload::open(&other), None, "a bit is another at {at}");
        }
        assert_eq!(payload::open(&bytes[1..]), None);
        version
    };
    assert_eq!(version(&hash), VERSION);
    hash.set_deadline(b"f", Some(4_000_000_000_000), 0);
    assert_eq!(version(&hash), VERSION_FIELD_DEADLINES);
    hash.set_deadline(b"f", None, 0);
    assert_eq!(version(&hash), VERSION);
    for len in 0..10 {
        assert_eq!(payload::open(&vec![0; len]), None);
        assert_eq!(payload::open_unchecked(&vec![0; len]), None);
    }
}

/// A stream without entries: a group that reads nothing, with what stands in it and behind it.
fn empty_stream(kind: u8, in_group: &[u8], behind: &[u8]) -> Vec<u8> {
    let counters = [0, 5, 1, 0, 0, 0, 0, 1];
    [&[kind, 0][..], &counters, &[1, 1, b'g', 5, 1, 1], in_group, behind].concat()
}

/// As the documents of Redis 8.6 and 8.8, and those who read its files, have the types.
#[test]
fn streams_of_newer_servers_are_read_and_written() {
    let (limits, mut text) = (limits(9), Vec::new());
    let id = [&5_u64.to_be_bytes()[..], &1_u64.to_be_bytes()].concat();
    let time = 9_u64.to_le_bytes();
    let consumer = [&[1, 1, b'c'][..], &time, &[0xff; 8], &[0]].concat();
    let given_back = [&[1][..], &id].concat();
    let nobodys = [&pending_of_nobody(&id)[..], &consumer, &given_back].concat();
    let own = [&[1][..], &id, &time, &[3, 1, 1, b'c'], &time, &time, &given_back].concat();
    let remembered = [0x40, 200, 7, 1, 1, b'p', 2, 1, b'm', 5, 1, 2, 0xde, 0xad, 5, 2, 9, 4];
    let mut read = |bytes: &[u8]| {
        decode(&mut &bytes[..], VERSION_GIVEN_BACK, &limits, &mut text).map(|value| {
            let Value::Stream(stream) = value else { panic!("not a stream") };
            stream
        })
    };
    let stream = read(&empty_stream(26, &own, &remembered)).expect("Redis 8.6 writes it");
    let group = stream.group(b"g").expect("it is there");
    assert_eq!(group.consumers().next().map(|(_, consumer)| consumer.active_ms), Some(Some(9)));
    let known = stream.idempotency().expect("it is there");
    assert_eq!(known.limits(), IdempotencyLimits { duration_s: 200, messages_max: 7 });
    assert_eq!(known.find(b"p", &[0xde, 0xad], 6), Some(Id::new(5, 2)));
    assert_eq!((known.producers()[0].messages[0].entry, known.added, known.duplicates), (Id::new(5, 1), 9, 4));
    // Only when the consumer was active is written in another type: the same bytes come out.
    let mut written = Vec::new();
    assert_eq!(encode(ValueRef::Stream(&stream), false, &mut written), VERSION_PRODUCERS);
    assert_eq!(written, empty_stream(26, &own, &remembered));

    let stream = read(&empty_stream(27, &nobodys, &remembered)).expect("Redis 8.8 writes it");
    let group = stream.group(b"g").expect("it is there");
    let pending = group.find_pending(Id::new(5, 1)).expect("it is pending");
    assert_eq!((pending.consumer(), pending.delivered_ms(), pending.deliveries), (None, 0, 3));
    written.clear();
    assert_eq!(encode(ValueRef::Stream(&stream), false, &mut written), VERSION_GIVEN_BACK);
    assert_eq!(written, empty_stream(27, &nobodys, &remembered));

    // Those who say nothing of their own are written for older servers.
    let unsaid = |duration: u8| [duration, 0x40, 100, 0, 0, 0];
    let stream = read(&empty_stream(26, &own, &unsaid(50))).expect("sound");
    assert!(stream.idempotency().is_none() && version_of(ValueRef::Stream(&stream)) == VERSION);
    assert!(read(&empty_stream(26, &own, &unsaid(51))).expect("sound").idempotency().is_some());
    let stock = [0x40, 100, 0x40, 100, 0, 0, 0];
    assert!(read(&empty_stream(27, &nobodys, &stock)).expect("sound").idempotency().is_none());
    // What cannot be said has the nearest that can.
    let limits_of = |stream: Stream| stream.idempotency().expect("it is there").limits();
    let nearest = IdempotencyLimits { duration_s: 1, messages_max: 1 };
    assert_eq!(limits_of(read(&empty_stream(26, &own, &[0, 0, 0, 0, 0])).expect("sound")), nearest);

    let twice = [0x40, 200, 7, 2, 1, b'p', 1, 1, b'm', 5, 1, 1, b'p', 1, 1, b'n', 5, 1, 9, 4];
    let other = [&[1][..], &[0; 16]].concat();
    for (bytes, why) in [
        (empty_stream(26, &own, &twice), "a producer twice"),
        (empty_stream(27, &[&own[..], &given_back].concat(), &remembered), "given back, and pending for a consumer"),
        (empty_stream(27, &[&pending_of_nobody(&id)[..], &consumer, &other].concat(), &remembered), "not pending"),
        (empty_stream(26, &own, &[0x40, 200, 7, 0x81, 255, 255, 255, 255, 255, 255, 255, 255]), "no producers there"),
    ] {
        assert!(read(&bytes).is_err(), "{why}");
    }
}

fn pending_of_nobody(id: &[u8]) -> Vec<u8> {
    [&[1][..], id, &[0; 8], &[3]].concat()
}

#[test]
fn long_strings_are_taken_over_and_compressed_up_to_a_length() {
    let limits = limits(9);
    for len in [100, 16 * 1024 + 1, 1 << 20, (1 << 20) + 1] {
        let text = vec![b'x'; len];
        let mut bytes = Vec::new();
        encode(ValueRef::String(&text), true, &mut bytes);
        assert_eq!(bytes.len() < len / 2, len <= 1 << 20);
        let mut buffer = Vec::new();
        let back = decode(&mut &bytes[..], VERSION, &limits, &mut buffer).expect("its own bytes");
        assert_eq!(matches!(back, Value::Long(_)), 16 * 1024 < len);
        assert_eq!(content(view(&back)), [text]);
    }
}
