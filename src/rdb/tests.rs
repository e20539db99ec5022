//! Every value comes back from its bytes, step by step or at once; bytes that are none are refused, and cost little.

use super::payload::{self, checksum};
use super::{Encoding, Limits, VERSION, VERSION_FIELD_DEADLINES, decode, encode, saved_bytes};
use crate::structure::stream_log;
use crate::value::hash::{self, Deadline, Hash};
use crate::value::list::{Fill, List};
use crate::value::set::{self, Set};
use crate::value::sorted_set::{self, SortedSet};
use crate::value::stream::{ConsumerParts, GroupParts, Id, Stream};
use crate::value::{Container, Value, ValueRef};
use proptest::prelude::*;

fn limits(len_max: usize) -> Limits {
    Limits {
        hash: hash::Limits { listpack_len_max: len_max, listpack_bytes_max: 20, seed: 1 },
        set: set::Limits { integers_max: len_max, listpack_len_max: 0, listpack_member_bytes_max: 20, seed: 1 },
        sorted_set: sorted_set::Limits { members_max: len_max, member_bytes_max: 20 },
        list: Fill::of_directive(len_max.clamp(1, 20) as i32),
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
        check(stream_of(&texts, len_max).into(), &limits);
    }
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
