//! Values of payloads: whatever the bytes, they are a value or refused. A value takes no more memory than its bytes
//! explain, and comes back the same from the bytes that are written of it.
//!
//! The input: how small values may stay compact, then the type and the value. Version and checksum are left out, so
//! that changes reach the value.

use corering::rdb::{Limits, decode, encode, payload};
use corering::value::list::Fill;
use corering::value::stream::{Id, IdempotencyLimits, Stream};
use corering::value::{Container, Value, ValueRef, hash, set, sorted_set};

/// LZF makes at most 88 bytes of one; on top of them come an element's own bytes.
const BYTES_PER_BYTE_MAX: usize = 130;
/// What even a small table or chunk takes.
const BYTES_MIN: usize = 16 * 1024;

fn limits(len_max: usize) -> Limits {
    Limits {
        hash: hash::Limits { listpack_len_max: len_max, listpack_bytes_max: 20, seed: 1 },
        set: set::Limits {
            integers_max: len_max,
            listpack_len_max: len_max / 2,
            listpack_member_bytes_max: 20,
            seed: 1,
        },
        sorted_set: sorted_set::Limits { members_max: len_max, member_bytes_max: 20 },
        list: Fill::of_directive(len_max as i32 - 5),
        idempotency: IdempotencyLimits { duration_s: 1 + len_max as u32, messages_max: 3 },
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
    }
}

/// What a value says, whatever its form; and the memory it takes.
fn content(value: ValueRef<'_>) -> (Vec<Vec<u8>>, usize) {
    match value {
        ValueRef::Integer(integer) => (vec![integer.to_string().into_bytes()], 0),
        ValueRef::String(text) => (vec![text.to_vec()], text.len()),
        ValueRef::List(list) => {
            let mut all = Vec::new();
            list.for_each(|element| all.push(element.to_vec()));
            (all, list.heap_bytes())
        }
        ValueRef::Set(set) => {
            let mut all: Vec<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
            all.sort();
            assert_eq!(all.len(), set.len());
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "a member comes twice");
            (all, set.heap_bytes())
        }
        ValueRef::SortedSet(set) => {
            let mut all = Vec::new();
            set.visit_all(|member, score| {
                assert!(!score.is_nan());
                all.push([&score.to_bits().to_be_bytes(), member].concat());
            });
            (all, set.heap_bytes())
        }
        ValueRef::Hash(hash) => {
            let mut all: Vec<Vec<u8>> = hash
                .iter(0)
                .map(|field| {
                    let ends = (field.deadline_ms.unwrap_or(0), field.name.len());
                    [field.name.to_vec(), field.value.to_vec(), format!("{ends:?}").into_bytes()].concat()
                })
                .collect();
            all.sort();
            assert_eq!(all.len(), hash.len());
            (all, hash.heap_bytes())
        }
        ValueRef::Stream(stream) => (content_of_stream(stream), stream.heap_bytes()),
    }
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
    if let Some(known) = stream.idempotency() {
        let (limits, producers) = (known.limits(), known.producers());
        let messages: usize = producers.iter().map(|producer| producer.messages.len()).sum();
        assert_eq!(messages, known.messages());
        assert!(producers.is_sorted_by(|left, right| left.id < right.id), "a producer comes twice");
        all.push(format!("{limits:?} {producers:?} {} {}", known.added, known.duplicates).into_bytes());
    }
    all
}

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let [len_max, bytes @ ..] = input else { return };
    let limits = limits((len_max & 0x1f).into());
    let version = if len_max & 0x80 == 0 { 14 } else { 80 };
    let mut text = Vec::new();
    let Ok(value) = decode(&mut &bytes[..], version, &limits, &mut text) else { return };
    let (said, heap_bytes) = content(view(&value));
    assert!(
        heap_bytes <= BYTES_PER_BYTE_MAX * bytes.len() + BYTES_MIN,
        "{heap_bytes} bytes of memory for {} bytes of payload",
        bytes.len()
    );
    for compress in [false, true] {
        let mut written = Vec::new();
        let version = encode(view(&value), compress, &mut written);
        let mut text = Vec::new();
        let again = decode(&mut &written[..], version, &limits, &mut text).expect("its own bytes");
        assert_eq!(content(view(&again)).0, said);
        let mut whole = Vec::new();
        payload::write(view(&value), compress, &mut whole);
        assert_eq!(payload::open(&whole), Some((version, &written[..])));
    }
}
