//! The listpack against a plain list, against Redis' bytes, and against bytes that are none.

use super::*;
use proptest::prelude::*;

/// What a listpack holds, as text.
fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
    listpack.iter().map(Element::to_vec).collect()
}

/// Everything that must be true of a listpack with these elements.
fn check(listpack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(texts(listpack), model);
    let backwards: Vec<Vec<u8>> = listpack.iter().rev().map(Element::to_vec).collect();
    assert!(backwards.iter().eq(model.iter().rev()));
    assert_eq!(listpack.len(), model.len());
    assert_eq!(listpack.is_empty(), model.is_empty());
    assert_eq!(listpack.byte_len(), listpack.as_bytes().len());
    assert!(listpack.byte_len() <= listpack.heap_bytes());
    let count = model.len() as i64;
    for index in [0, 1, count / 2, count - 1, count, -1, -count, -count - 1, i64::MIN, i64::MAX] {
        let at = if index < 0 { index.checked_add(count) } else { Some(index) };
        let expected = at.and_then(|at| model.get(usize::try_from(at).ok()?)).cloned();
        assert_eq!(listpack.get(index).map(Element::to_vec), expected, "index {index} of {count}");
    }
    let reread = Listpack::from_bytes(listpack.as_bytes().to_vec()).expect("its own bytes");
    assert_eq!(&reread, listpack);
}

/// Texts around every limit of the format.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        4 => (0u32..64, any::<i64>()).prop_map(|(bits, integer)| (integer >> bits).to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..8),
        2 => "-?0{0,2}[0-9]{0,20}".prop_map(String::into_bytes),
        1 => prop_oneof![60usize..70, 120usize..132, 4090usize..4100, 16_370usize..16_390]
            .prop_map(|len| vec![b'x'; len]),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    InsertPair(usize, Vec<u8>, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveFrom(usize, usize),
    RemoveRange(i64, usize),
    SplitOff(usize),
    AppendSelf,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => text().prop_map(Change::PushBack),
        2 => text().prop_map(Change::PushFront),
        2 => (any::<usize>(), text()).prop_map(|(at, text)| Change::InsertBefore(at, text)),
        2 => (any::<usize>(), text()).prop_map(|(at, text)| Change::InsertAfter(at, text)),
        2 => (any::<usize>(), text(), text()).prop_map(|(at, a, b)| Change::InsertPair(at, a, b)),
        4 => (any::<usize>(), text()).prop_map(|(at, text)| Change::Replace(at, text)),
        4 => any::<usize>().prop_map(Change::Remove),
        1 => (any::<usize>(), 0usize..5).prop_map(|(at, count)| Change::RemoveFrom(at, count)),
        1 => (-30i64..30, 0usize..5).prop_map(|(at, count)| Change::RemoveRange(at, count)),
        1 => any::<usize>().prop_map(Change::SplitOff),
        1 => Just(Change::AppendSelf),
    ]
}

fn bytes(text: &[u8]) -> Element<'_> {
    Element::Bytes(text)
}

fn apply(listpack: &mut Listpack, model: &mut Vec<Vec<u8>>, change: Change) {
    let count = model.len();
    let at_of = |at: usize| (at % count.max(1), listpack.position((at % count.max(1)) as i64));
    match change {
        Change::PushBack(text) => {
            listpack.push_back(&text[..]);
            model.push(text);
        }
        Change::PushFront(text) => {
            listpack.push_front(&text[..]);
            model.insert(0, text);
        }
        Change::InsertBefore(at, text) => {
            let (at, Some(position)) = at_of(at) else { return };
            let new = listpack.insert_before(position, &text[..]);
            assert!(listpack.at(new).is_text(&text));
            model.insert(at, text);
        }
        Change::InsertAfter(at, text) => {
            let (at, Some(position)) = at_of(at) else { return };
            let new = listpack.insert_after(position, &text[..]);
            assert!(listpack.at(new).is_text(&text));
            model.insert(at + 1, text);
        }
        Change::InsertPair(at, a, b) => {
            let (at, position) = at_of(at);
            let new = listpack.insert_all(position, [bytes(&a), bytes(&b)]);
            assert!(listpack.at(new).is_text(&a));
            model.splice(at..at, [a, b]);
        }
        Change::Replace(at, text) => {
            let (at, Some(position)) = at_of(at) else { return };
            listpack.replace(position, &text[..]);
            model[at] = text;
        }
        Change::Remove(at) => {
            let (at, Some(position)) = at_of(at) else { return };
            let next = listpack.remove(position);
            model.remove(at);
            assert_eq!(next.map(|next| listpack.at(next).to_vec()), model.get(at).cloned());
        }
        Change::RemoveFrom(at, remove) => {
            let (at, Some(position)) = at_of(at) else { return };
            let next = listpack.remove_from(position, remove);
            model.drain(at..count.min(at + remove));
            assert_eq!(next.map(|next| listpack.at(next).to_vec()), model.get(at).cloned());
        }
        Change::RemoveRange(index, remove) => {
            let at = if index < 0 { index + count as i64 } else { index };
            let removed = listpack.remove_range(index, remove);
            if (0..count as i64).contains(&at) {
                let at = at as usize;
                assert_eq!(model.drain(at..count.min(at + remove)).count(), removed);
            } else {
                assert_eq!(removed, 0);
            }
        }
        Change::SplitOff(at) => {
            let (at, Some(position)) = at_of(at) else { return };
            let tail = listpack.split_off(position);
            check(&tail, &model[at..]);
            model.truncate(at);
            check(listpack, model);
            listpack.append(&tail);
            model.extend(texts(&tail));
        }
        Change::AppendSelf => {
            if count < 100 {
                listpack.append(&listpack.clone());
                model.extend_from_within(..);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_list(changes in proptest::collection::vec(change(), 0..60)) {
        let (mut listpack, mut model) = (Listpack::new(), Vec::new());
        check(&listpack, &model);
        for change in changes {
            apply(&mut listpack, &mut model, change);
            check(&listpack, &model);
        }
        for (at, text) in model.iter().enumerate() {
            let expected = model.iter().position(|other| other == text).expect("itself");
            let found = listpack.find(listpack.first(), text, 0).expect("it is there");
            prop_assert_eq!(found, listpack.position(expected as i64).expect("it is there"));
            let fields = model.iter().step_by(2).position(|other| other == text).map(|at| 2 * at as i64);
            let found = listpack.find(listpack.first(), text, 1);
            prop_assert_eq!(found, fields.and_then(|at| listpack.position(at)));
            let from = listpack.position(at as i64).expect("it is there");
            prop_assert_eq!(listpack.find(Some(from), text, 2), Some(from));
            prop_assert!(listpack.iter_from(from).map(Element::to_vec).eq(model[at..].iter().cloned()));
        }
        prop_assert_eq!(listpack.find(listpack.first(), b"not there", 0), None);
    }

    #[test]
    fn bytes_that_are_none_are_refused(
        elements in proptest::collection::vec(text(), 0..12),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut listpack = Listpack::new();
        elements.iter().for_each(|text| listpack.push_back(&text[..]));
        let mut hostile = listpack.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(hostile.len());
            hostile[at] = byte;
        }
        if let Some(cut) = cut {
            hostile.truncate(cut.index(hostile.len() + 1));
        }
        // What is taken nevertheless must be whole: every walk ends, and finds the same.
        if let Ok(taken) = Listpack::from_bytes(hostile) {
            let model = texts(&taken);
            check(&taken, &model);
            for text in &model {
                prop_assert!(taken.find(taken.first(), text, 0).is_some());
            }
        }
    }

    #[test]
    fn noise_is_no_listpack(mut noise in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Some(header) = noise.first_chunk_mut::<HEADER_BYTES>() {
            header[4..].fill(0xff);
        }
        if let Ok(len) = u32::try_from(noise.len()) && let Some(header) = noise.first_chunk_mut::<4>() {
            *header = len.to_le_bytes();
        }
        if let Ok(taken) = Listpack::from_bytes(noise) {
            prop_assert_eq!(taken.iter().count(), taken.iter().rev().count());
        }
    }

    #[test]
    fn only_canonical_text_is_an_integer(text in text()) {
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
        let canonical = parsed.filter(|integer| integer.to_string().as_bytes() == text);
        prop_assert_eq!(element::canonical_integer(&text), canonical);
    }
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn its_bytes_are_those_of_redis() {
    // HSET of these with hash-max-listpack-value 100000 on Redis 7.0.15, and DUMP without compression.
    let integers = [
        "0",
        "127",
        "128",
        "-1",
        "4095",
        "-4096",
        "4096",
        "-32768",
        "32768",
        "-8388608",
        "8388608",
        "-2147483648",
        "2147483648",
        "-9223372036854775808",
    ];
    let mut listpack = Listpack::new();
    integers.iter().for_each(|integer| listpack.push_back(integer.as_bytes()));
    ["007", "-0"].iter().for_each(|text| listpack.push_back(text.as_bytes()));
    listpack.push_back(&[b's'; 63]);
    listpack.push_back(&[b't'; 64]);
    listpack.push_back(b"");
    listpack.push_back(&[0, 255]);
    let expected = "dc000000140000017f01c08002dfff02cfff02d00002f1001003f1008003f200800004f200008004f30000800005f30000\
                    008005f4000000800000000009f40000000000000080098330303704822d3003bf"
        .to_string()
        + &"73".repeat(63)
        + "40e040"
        + &"74".repeat(64)
        + "4280018200ff03ff";
    assert_eq!(listpack.as_bytes(), bytes_of_hex(&expected));

    let mut listpack = Listpack::new();
    for (field, value) in [(b"k", vec![b'a'; 125]), (b"l", vec![b'b'; 126]), (b"m", vec![b'c'; 4095])] {
        listpack.insert_all(None, [bytes(field), bytes(&value)]);
    }
    let expected = "15110000".to_string()
        + "0600"
        + "816b02e07d"
        + &"61".repeat(125)
        + "7f816c02e07e"
        + &"62".repeat(126)
        + "0180816d02efff"
        + &"63".repeat(4095)
        + "2081ff";
    assert_eq!(listpack.as_bytes(), bytes_of_hex(&expected));
}

#[test]
fn longer_codes_than_needed_are_read_and_compared() {
    // "12" as a string of 6 bits, of 12 bits, of 32 bits; 12 as integers of 13, 16, 24, 32 and 64 bits.
    let elements: [&[u8]; 8] = [
        b"\x8212",
        b"\xe0\x0212",
        b"\xf0\x02\x00\x00\x0012",
        b"\xc0\x0c",
        b"\xf1\x0c\0",
        b"\xf2\x0c\0\0",
        b"\xf3\x0c\0\0\0",
        b"\xf4\x0c\0\0\0\0\0\0\0",
    ];
    let mut bytes = vec![0, 0, 0, 0, elements.len() as u8, 0];
    for element in elements {
        bytes.extend_from_slice(element);
        bytes.push(element.len() as u8);
    }
    bytes.push(END);
    bytes[0] = bytes.len() as u8;
    let listpack = Listpack::from_bytes(bytes).expect("all of it is allowed");
    assert_eq!(texts(&listpack), vec![b"12".to_vec(); 8]);
    let mut position = listpack.first();
    while let Some(at) = position {
        assert_eq!(listpack.find(Some(at), b"12", 0), Some(at));
        assert!(listpack.at(at).integer() == Some(12) && listpack.at(at).len() == 2);
        position = listpack.next(at);
    }
}

#[test]
fn what_lies_about_itself_is_refused() {
    let mut good = Listpack::new();
    good.insert_all(None, [bytes(b"ab"), Element::Integer(300)]);
    let good = good.as_bytes().to_vec();
    assert_eq!(good, b"\x0e\0\0\0\x02\0\x82ab\x03\xc1\x2c\x02\xff");
    assert!(Listpack::from_bytes(good.clone()).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Listpack::from_bytes(bytes)
    };
    // More bytes than there are; another count; a string to beyond the end; a wrong size behind it; an end mark in the
    // middle; an unknown code; no end mark.
    for (at, byte) in [(0, 15), (4, 3), (6, 0x90), (9, 2), (6, 0xff), (6, 0xf5), (13, 0)] {
        assert_eq!(with(at, byte), Err(Malformed), "{byte:#x} at {at}");
    }
    assert!(with(4, 255).is_err() && with(5, 255).is_err());
    let mut unknown = good.clone();
    unknown[4..6].fill(0xff);
    assert_eq!(Listpack::from_bytes(unknown).map(|listpack| listpack.len()), Ok(2));
    assert!(Listpack::from_bytes(Vec::new()).is_err());
    assert!(Listpack::from_bytes(vec![6, 0, 0, 0, 0, 0]).is_err());
    // A string of 4 GiB in a few bytes.
    let huge = b"\x0d\0\0\0\x01\0\xf0\xff\xff\xff\xff\x05\xff";
    assert_eq!(Listpack::from_bytes(huge.to_vec()), Err(Malformed));
}

#[test]
fn more_elements_than_the_header_counts() {
    let mut listpack = Listpack::new();
    (0..65_534).for_each(|integer| listpack.push_back(integer % 100));
    assert_eq!(listpack.as_bytes()[4..6], [0xfe, 0xff]);
    (0..3).for_each(|integer| listpack.push_back(integer));
    assert_eq!(listpack.as_bytes()[4..6], [0xff, 0xff]);
    assert_eq!(listpack.len(), 65_537);
    assert_eq!(listpack.get(65_536), Some(Element::Integer(2)));
    assert_eq!(listpack.get(-65_537), Some(Element::Integer(0)));
    assert_eq!(listpack.get(65_537), None);
    assert_eq!(listpack.remove_range(10, 65_000), 65_000);
    assert_eq!(listpack.len(), 537);
    let again = Listpack::from_bytes(listpack.as_bytes().to_vec()).expect("its own bytes");
    assert_eq!(again.len(), 537);
}

#[test]
fn memory_grows_in_classes_and_is_given_back() {
    let mut listpack = Listpack::new();
    let mut moves = 0;
    for integer in 0..10_000 {
        let before = listpack.as_bytes().as_ptr();
        listpack.push_back(integer);
        moves += usize::from(before != listpack.as_bytes().as_ptr());
    }
    assert!(moves < 60, "{moves}");
    assert!(listpack.heap_bytes() < listpack.byte_len() * 5 / 4);
    listpack.remove_range(0, 9_990);
    assert!(listpack.heap_bytes() <= 64, "{}", listpack.heap_bytes());
}

#[test]
fn the_limit_is_told_before_it_is_reached() {
    let listpack = Listpack::new();
    assert!(listpack.can_add(LISTPACK_BYTES_MAX - 7));
    assert!(!listpack.can_add(LISTPACK_BYTES_MAX - 6) && !listpack.can_add(usize::MAX));
}
