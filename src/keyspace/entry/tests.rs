//! Entries by themselves: sizes, moves, ownership.

use super::*;
use crate::value::probe::Probe;
use proptest::prelude::*;
use std::ffi::c_void;
use std::sync::Arc;

fn string(view: EntryRef<'_>) -> Vec<u8> {
    match view.value() {
        ValueRef::Integer(integer) => integer.to_string().into_bytes(),
        ValueRef::String(bytes) => bytes.to_vec(),
        _ => panic!("not a string"),
    }
}

/// What the allocator itself says, which the sums rely on. Larger blocks do not come from it; `memory` has their test.
#[test]
fn sizes_are_the_allocators() {
    // Links the allocator into the test.
    let _allocator = mimalloc::MiMalloc;
    unsafe extern "C" {
        fn mi_malloc(size: usize) -> *mut c_void;
        fn mi_usable_size(start: *const c_void) -> usize;
        fn mi_free(start: *mut c_void);
    }
    for bytes in (1..3000).chain([4096, 5000, 16_384, 16_400, 20_000, 100_000, 500_000, 600_000, 3_000_000, 4_194_303])
    {
        // SAFETY: allocated, asked and freed in one line of use.
        let usable = unsafe {
            let start = mi_malloc(bytes);
            let usable = mi_usable_size(start);
            mi_free(start);
            usable
        };
        assert_eq!(allocated_bytes(bytes), usable, "{bytes}");
    }
}

#[test]
fn a_small_entry_is_as_small_as_it_can_be() {
    let key = [b'k'; 16];
    let bytes = |value, deadline| Entry::new(&key, value, deadline, 0).view().memory_bytes();
    assert_eq!(bytes(Value::String(&[b'v'; 32]), None), 56);
    assert_eq!(bytes(Value::String(&[b'v'; 32]), Some(1)), 64);
    assert_eq!(bytes(Value::Integer(i64::MAX), None), 32);
    assert_eq!(bytes(Value::String(&[b'v'; 64]), None), 96);
    assert_eq!(Entry::new(b"", Value::String(b""), None, 0).view().memory_bytes(), 8);
    let long = bytes(Value::String(&vec![b'v'; INLINE_LEN_MAX + 1]), None);
    assert_eq!(long, 32 + 40 + 20_480);
}

#[test]
fn encodings_are_named_as_redis_names_them() {
    let name = |value| Entry::new(b"k", value, None, 0).view().encoding_name();
    assert_eq!(name(Value::Integer(-1)), "int");
    assert_eq!(name(Value::String(&[b'v'; 44])), "embstr");
    assert_eq!(name(Value::String(&[b'v'; 45])), "raw");
    assert_eq!(name(Value::Raw(b"v")), "raw");
    assert_eq!(name(Value::String(&[b'v'; INLINE_LEN_MAX + 1])), "raw");
    assert_eq!(name(Value::Long(LongString::new(b"came as a buffer".to_vec()))), "embstr");
    assert_eq!(name(Value::Probe(Probe::new(&Arc::new(()), 0))), "probe-encoding");
}

#[test]
fn overwriting_stays_in_place_while_it_fits_and_wastes_little() {
    let mut entry = Entry::new(&[b'k'; 16], Value::String(&[b'v'; 32]), None, 7);
    let address = entry.address;
    for len in [31, 4, 32, 20] {
        let value = vec![b'0' + (len % 10) as u8; len];
        assert!(entry.set_value(Value::String(&value)).is_none());
        assert!(entry.address == address, "{len}");
        assert_eq!(string(entry.view()), value);
        assert_eq!(entry.view().memory_bytes(), 56);
    }
    entry.set_value(Value::String(&[b'w'; 33]));
    assert_eq!(entry.view().memory_bytes(), 64);
    entry.set_value(Value::String(&[b'w'; 1000]));
    entry.set_value(Value::String(b"short again"));
    assert_eq!(entry.view().memory_bytes(), 40);
    assert_eq!(entry.view().key(), [b'k'; 16]);
    assert_eq!(entry.view().clock(), 7);
}

#[test]
fn a_long_string_is_overwritten_in_its_buffer_unless_somebody_reads_it() {
    let mut entry = Entry::new(b"k", Value::String(&vec![1; 20_000]), None, 0);
    let buffer = entry.view().long_string().expect("long").as_bytes().as_ptr();
    assert!(entry.set_value(Value::String(&vec![2; 19_000])).is_none());
    assert_eq!(entry.view().long_string().expect("long").as_bytes().as_ptr(), buffer);
    let reply = entry.view().long_string().expect("long").clone();
    assert!(entry.set_value(Value::String(&vec![3; 20_000])).is_some());
    assert_eq!(reply.as_bytes(), vec![2; 19_000]);
    assert_eq!(string(entry.view()), vec![3; 20_000]);
    entry.set_value(Value::Integer(5));
    assert_eq!(entry.view().memory_bytes(), 24);
}

#[test]
fn a_deadline_once_given_keeps_its_place() {
    let mut entry = Entry::new(b"key", Value::Raw(b"value"), None, 9);
    assert_eq!(entry.view().deadline_ms(), None);
    entry.set_deadline(None);
    assert_eq!(entry.view().allocated_bytes(), 16);
    entry.set_deadline(Some(u64::MAX));
    let address = entry.address;
    assert_eq!(entry.view().deadline_ms(), Some(u64::MAX));
    entry.set_deadline(None);
    assert_eq!(entry.view().deadline_ms(), None);
    entry.set_deadline(Some(12));
    assert!(entry.address == address);
    assert!(entry.view().is_expired(12) && !entry.view().is_expired(11));
    assert_eq!(string(entry.view()), b"value");
    assert_eq!(entry.view().encoding_name(), "raw");
    assert_eq!(entry.view().clock(), 9);
}

#[test]
fn a_wide_key_is_kept_whole() {
    for len in [254, 255, 256, 70_000, 3_000_000] {
        let key: Vec<u8> = (0..len).map(|index| index as u8).collect();
        let mut entry = Entry::new(&key, Value::String(b"value"), Some(5), 1);
        let head = if len <= NARROW_KEY_LEN_MAX { 16 } else { 32 };
        assert_eq!(entry.view().allocated_bytes(), allocated_bytes(head + len + 5));
        entry.resize_string(10_000)[9_999] = 1;
        entry.set_value(Value::Integer(77));
        entry.set_deadline(None);
        assert_eq!(entry.view().key(), key);
        assert_eq!(string(entry.view()), b"77");
        let entry = entry.with_key(b"narrow").with_key(&key);
        assert_eq!(entry.view().key(), key);
        assert_eq!(string(entry.view()), b"77");
    }
}

#[test]
fn a_container_lives_in_its_entry_and_dies_once() {
    let alive = Arc::new(());
    let mut entry = Entry::new(b"key", Value::Probe(Probe::new(&alive, 100)), None, 3);
    assert_eq!(entry.view().value_type().name(), "probe");
    assert_eq!(entry.view().memory_bytes(), 40 + 100);
    entry.container_mut::<Probe>().expect("a probe").heap_bytes = 50;
    entry.set_deadline(Some(8));
    assert_eq!(entry.view().memory_bytes(), 48 + 50);
    let copy = Entry::duplicate(entry.view(), b"copy", 0);
    assert_eq!(copy.view().deadline_ms(), Some(8));
    assert_eq!(Arc::strong_count(&alive), 3);
    drop(copy);
    let mut entry = entry.with_key(b"another key");
    assert_eq!(entry.view().container::<Probe>().expect("a probe").heap_bytes, 50);
    assert_eq!(Arc::strong_count(&alive), 2);
    let old = entry.set_value(Value::String(b"overwritten"));
    assert!(matches!(old, Some(Value::Probe(_))));
    assert!(entry.container_mut::<Probe>().is_none() && entry.view().container::<Probe>().is_none());
    drop(old);
    assert_eq!(Arc::strong_count(&alive), 1);
    entry.set_value(Value::Probe(Probe::new(&alive, 0)));
    let elsewhere = std::thread::spawn(move || drop(entry));
    elsewhere.join().expect("dropped on another thread");
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn payloads_carry_ownership() {
    let alive = Arc::new(());
    let payload = Entry::new(b"key", Value::Probe(Probe::new(&alive, 0)), None, 0).into_payload();
    // SAFETY: from `into_payload`, and given back below only.
    let view = unsafe { EntryRef::from_payload(payload) };
    assert_eq!(view.key(), b"key");
    // SAFETY: from `into_payload`; the view is not used again.
    drop(unsafe { Entry::from_payload(payload) });
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[derive(Debug, Clone)]
enum Change {
    Set(Vec<u8>),
    SetRaw(Vec<u8>),
    SetInteger(i64),
    SetProbe,
    Resize(usize, u8),
    Deadline(Option<u64>),
    Key(Vec<u8>),
    Clock(u32),
    Armed(bool),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![6 => 0..80usize, 2 => 200..300usize, 1 => 16_300..16_500usize, 1 => 30_000..60_000usize];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        bytes().prop_map(Change::Set),
        bytes().prop_map(Change::SetRaw),
        any::<i64>().prop_map(Change::SetInteger),
        Just(Change::SetProbe),
        (prop_oneof![0..100usize, 16_000..17_000usize, 0..40_000usize], any::<u8>())
            .prop_map(|(len, byte)| Change::Resize(len, byte)),
        proptest::option::of(any::<u64>()).prop_map(Change::Deadline),
        bytes().prop_map(Change::Key),
        (0..CLOCK_MODULUS).prop_map(Change::Clock),
        any::<bool>().prop_map(Change::Armed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// An entry against a struct of plain fields.
    #[test]
    fn an_entry_holds_what_was_put_in(changes in prop::collection::vec(change(), 1..40)) {
        let alive = Arc::new(());
        let mut entry = Entry::new(b"key", Value::String(b"value"), None, 0);
        let (mut key, mut text, mut deadline_ms) = (b"key".to_vec(), Some(b"value".to_vec()), None);
        let (mut clock, mut armed, mut word_ms) = (0, false, None);
        for change in changes {
            match change {
                Change::Set(bytes) => {
                    entry.set_value(Value::String(&bytes));
                    text = Some(bytes);
                }
                Change::SetRaw(bytes) => {
                    entry.set_value(Value::Raw(&bytes));
                    text = Some(bytes);
                }
                Change::SetInteger(integer) => {
                    entry.set_value(Value::Integer(integer));
                    text = Some(integer.to_string().into_bytes());
                }
                Change::SetProbe => {
                    entry.set_value(Value::Probe(Probe::new(&alive, 0)));
                    text = None;
                }
                Change::Resize(len, byte) => {
                    if let Some(text) = &mut text {
                        text.resize(len, 0);
                        let bytes = entry.resize_string(len);
                        if let Some(last) = bytes.last_mut() {
                            *last = byte;
                            text[len - 1] = byte;
                        }
                    }
                }
                Change::Deadline(new) => {
                    entry.set_deadline(new);
                    deadline_ms = new;
                    word_ms = new.or(word_ms);
                }
                Change::Key(new) => {
                    entry = entry.with_key(&new);
                    key = new;
                    armed = false;
                    word_ms = deadline_ms;
                }
                Change::Clock(new) => {
                    entry.set_clock(new);
                    clock = new;
                }
                Change::Armed(new) => {
                    if word_ms.is_some() {
                        entry.set_armed(new);
                        armed = new;
                    }
                }
            }
            let view = entry.view();
            prop_assert_eq!(view.key(), &key[..]);
            prop_assert_eq!(view.deadline_ms(), deadline_ms);
            prop_assert_eq!(view.clock(), clock);
            prop_assert_eq!(view.armed_until_ms(), word_ms.filter(|_| armed));
            match &text {
                Some(text) => prop_assert_eq!(&string(view), text),
                None => prop_assert!(view.container::<Probe>().is_some()),
            }
            prop_assert_eq!(Arc::strong_count(&alive), 1 + usize::from(text.is_none()));
        }
    }
}
