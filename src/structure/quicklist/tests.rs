//! The quicklist against a plain deque.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;

type Model = VecDeque<Vec<u8>>;

fn texts(list: &Quicklist, first: usize, count: usize) -> Vec<Vec<u8>> {
    let (mut texts, mut again) = (Vec::new(), Vec::new());
    list.visit(first, count, |element| texts.push(element.to_vec()));
    list.visit_until(first, |element| {
        let is_enough = again.len() == count;
        if !is_enough {
            again.push(element.to_vec());
        }
        is_enough
    });
    assert_eq!(texts, again);
    texts
}

fn texts_back(list: &Quicklist, last: usize, count: usize) -> Vec<Vec<u8>> {
    let (mut texts, mut again) = (Vec::new(), Vec::new());
    list.visit_back(last, count, |element| texts.push(element.to_vec()));
    list.visit_back_until(last, |element| {
        let is_enough = again.len() == count;
        if !is_enough {
            again.push(element.to_vec());
        }
        is_enough
    });
    assert_eq!(texts, again);
    texts
}

/// Everything that must be true of a list with these elements.
fn check(list: &Quicklist, model: &Model) {
    list.check();
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert!(texts(list, 0, usize::MAX).iter().eq(model.iter()));
    if let Some(last) = model.len().checked_sub(1) {
        assert!(texts_back(list, last, usize::MAX).iter().eq(model.iter().rev()));
    }
    assert_eq!(list.front().map(Element::to_vec).as_ref(), model.front());
    assert_eq!(list.back().map(Element::to_vec).as_ref(), model.back());
    let len = model.len();
    for index in [0, 1, len / 3, len / 2, len.saturating_sub(1), len, usize::MAX] {
        let element = list.with(index, |element| element.to_vec());
        assert_eq!(element.as_ref(), model.get(index), "index {index} of {len}");
        assert!(texts(list, index, 5).iter().eq(model.iter().skip(index).take(5)));
        let skipped = len.saturating_sub(index.saturating_add(1));
        assert!(texts_back(list, index, 5).iter().eq(model.iter().rev().skip(skipped).take(5)));
    }
    let (mut in_chunks, mut is_compressed) = (0, false);
    if let Some(large) = &list.large {
        large.middle.for_each(&mut |chunk| is_compressed |= chunk.is_compressed());
    }
    list.for_each_node(|node| match node {
        Node::Plain(text) => in_chunks += allocated_bytes(text.len()),
        Node::Packed(elements, count) => {
            assert!(count != 0 && !elements.is_empty());
            in_chunks += elements.len();
        }
    });
    assert!(is_compressed || in_chunks <= list.heap_bytes());
}

/// The same list as snapshots write and read it.
fn reread(list: &Quicklist, fill: Fill) -> Quicklist {
    let mut again = Quicklist::new();
    list.for_each_node(|node| match node {
        Node::Plain(text) => again.push_back(text, fill),
        Node::Packed(elements, count) => {
            let all_bytes = (elements.len() + LISTPACK_FRAME_BYTES) as u32;
            let mut bytes = all_bytes.to_le_bytes().to_vec();
            bytes.extend_from_slice(&(count as u16).to_le_bytes());
            bytes.extend_from_slice(elements);
            bytes.push(0xff);
            again.append_listpack(&Listpack::from_bytes(bytes).expect("a listpack"), fill);
        }
    });
    again
}

#[derive(Debug, Clone)]
enum Change {
    Push(bool, Vec<u8>),
    PushMany(bool, Vec<u8>, usize),
    Pop(bool),
    PopMany(bool, usize),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    InsertMany(usize, Vec<u8>, usize),
    Remove(usize),
    RemoveMany(usize, usize),
    RemoveEqual(Vec<u8>, usize, bool),
    Cut(bool, usize),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..4u8).prop_map(|text| vec![b'a' + text]),
        4 => (0..4i64).prop_map(|integer| integer.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        2 => vec(any::<u8>(), 0..30),
        1 => prop_oneof![60usize..70, 95usize..105, 120usize..132].prop_map(|len| vec![b'x'; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<bool>(), text()).prop_map(|(front, text)| Change::Push(front, text)),
        2 => (any::<bool>(), text(), 0..400usize).prop_map(|(front, text, count)| Change::PushMany(front, text, count)),
        4 => any::<bool>().prop_map(Change::Pop),
        1 => (any::<bool>(), 0..300usize).prop_map(|(front, count)| Change::PopMany(front, count)),
        3 => (any::<usize>(), text()).prop_map(|(index, text)| Change::Set(index, text)),
        4 => (any::<usize>(), text()).prop_map(|(index, text)| Change::Insert(index, text)),
        1 => (any::<usize>(), text(), 0..90usize)
            .prop_map(|(index, text, count)| Change::InsertMany(index, text, count)),
        3 => any::<usize>().prop_map(Change::Remove),
        1 => (any::<usize>(), 0..90usize).prop_map(|(index, count)| Change::RemoveMany(index, count)),
        2 => (text(), prop_oneof![0..5usize, Just(usize::MAX)], any::<bool>())
            .prop_map(|(text, count, behind)| Change::RemoveEqual(text, count, behind)),
        2 => (any::<bool>(), prop_oneof![0..5usize, 0..900usize]).prop_map(|(front, count)| Change::Cut(front, count)),
    ]
}

/// Removes as `LREM` does.
fn remove_equal(model: &mut Model, text: &[u8], count: usize, from_behind: bool) -> usize {
    let mut equal: Vec<usize> = (0..model.len()).filter(|index| model[*index] == text).collect();
    if from_behind {
        equal.reverse();
    }
    equal.truncate(count);
    equal.sort_unstable();
    for index in equal.iter().rev() {
        model.remove(*index);
    }
    equal.len()
}

fn apply(list: &mut Quicklist, model: &mut Model, change: Change, fill: Fill) {
    let push = |list: &mut Quicklist, model: &mut Model, front: bool, text: &[u8]| {
        if front {
            list.push_front(text, fill);
            model.push_front(text.to_vec());
        } else {
            list.push_back(text, fill);
            model.push_back(text.to_vec());
        }
    };
    let pop = |list: &mut Quicklist, model: &mut Model, front: bool| {
        if front {
            list.pop_front();
            model.pop_front();
        } else {
            list.pop_back();
            model.pop_back();
        }
    };
    match change {
        Change::Push(front, text) => push(list, model, front, &text),
        Change::PushMany(front, text, count) => (0..count).for_each(|_| push(list, model, front, &text)),
        Change::Pop(front) => pop(list, model, front),
        Change::PopMany(front, count) => (0..count).for_each(|_| pop(list, model, front)),
        Change::Set(index, text) => {
            if !model.is_empty() {
                let index = index % model.len();
                list.set(index, &text[..], fill);
                model[index] = text;
            }
        }
        Change::Insert(index, text) => {
            let index = index % (model.len() + 1);
            list.insert(index, &text[..], fill);
            model.insert(index, text);
        }
        Change::InsertMany(index, text, count) => {
            let index = index % (model.len() + 1);
            for _ in 0..count {
                list.insert(index, &text[..], fill);
                model.insert(index, text.clone());
            }
        }
        Change::Remove(index) => {
            if !model.is_empty() {
                let index = index % model.len();
                list.remove(index, fill);
                model.remove(index);
            }
        }
        Change::RemoveMany(index, count) => {
            for _ in 0..count.min(model.len()) {
                let index = index % model.len();
                list.remove(index, fill);
                model.remove(index);
            }
        }
        Change::RemoveEqual(text, count, from_behind) => {
            let removed = list.remove_equal(Sought::new(&text), count, from_behind, fill);
            assert_eq!(removed, remove_equal(model, &text, count, from_behind));
        }
        Change::Cut(front, count) => {
            let count_there = count.min(model.len());
            if front {
                list.cut_front(count);
                model.drain(..count_there);
            } else {
                list.cut_back(count);
                model.truncate(model.len() - count_there);
            }
        }
    }
}

fn fills() -> impl Strategy<Value = Fill> {
    prop_oneof![
        Just(Fill { count_max: 1, ..Fill::default() }),
        Just(Fill { count_max: 3, ..Fill::default() }),
        Just(Fill { bytes_max: 40, plain_len_min: 100, ..Fill::default() }),
        Just(Fill { bytes_max: 200, ..Fill::default() }),
        (1..4usize).prop_map(|depth| Fill { bytes_max: 200, ..Fill::default() }.compressed(depth)),
        (1..3usize).prop_map(|depth| Fill { count_max: 60, ..Fill::default() }.compressed(depth)),
        Just(Fill::of_directive(-1)),
        Just(Fill::of_directive(-2)),
    ]
}

proptest! {
    #[test]
    fn it_is_a_deque(fill in fills(), changes in vec(change(), 1..60)) {
        let (mut list, mut model) = (Quicklist::new(), Model::new());
        for change in changes {
            apply(&mut list, &mut model, change, fill);
            check(&list, &model);
        }
        check(&list.duplicate(), &model);
        check(&reread(&list, fill), &model);
    }
}

/// Three levels of nodes, changed everywhere.
#[test]
fn long_lists() {
    let fill = Fill { count_max: 2, ..Fill::default() };
    let mut random = fastrand::Rng::with_seed(7);
    let (mut list, mut model) = (Quicklist::new(), Model::new());
    for number in 0..30_000_i64 {
        list.push_back(number, fill);
        model.push_back(number.to_string().into_bytes());
    }
    check(&list, &model);
    for _ in 0..3_000 {
        let (index, text) = (random.usize(..model.len()), random.u32(..100).to_string().into_bytes());
        let change = match random.u8(..4) {
            0 => Change::Insert(index, text),
            1 => Change::Set(index, text),
            2 => Change::InsertMany(index, text, 10),
            _ => Change::RemoveMany(index, 12),
        };
        apply(&mut list, &mut model, change, fill);
    }
    check(&list, &model);
    for (front, count) in [(true, 1), (false, 1), (true, 4_321), (false, 9_999), (true, 128), (false, 64)] {
        apply(&mut list, &mut model, Change::Cut(front, count), fill);
        check(&list, &model);
    }
    apply(&mut list, &mut model, Change::RemoveEqual(b"7".to_vec(), usize::MAX, true), fill);
    check(&list, &model);
    while !model.is_empty() {
        let front = random.bool();
        apply(&mut list, &mut model, Change::PopMany(front, 97), fill);
        check(&list, &model);
    }
    assert_eq!(list.heap_bytes(), 0);
}

#[test]
fn limits_are_those_of_the_directive() {
    let longest = |size: i32, text: &[u8]| {
        let fill = Fill::of_directive(size);
        let mut list = Quicklist::new();
        (0..100_000).for_each(|_| list.push_back(text, fill));
        let (mut count_max, mut bytes_max) = (0, 0);
        list.for_each_node(|node| {
            let Node::Packed(elements, count) = node else { panic!("short texts") };
            count_max = count_max.max(count);
            bytes_max = bytes_max.max(elements.len() + LISTPACK_FRAME_BYTES);
        });
        (count_max, bytes_max)
    };
    // Ten letters take twelve bytes.
    assert_eq!(longest(-1, b"aaaaaaaaaa"), (340, 4087));
    assert_eq!(longest(-2, b"aaaaaaaaaa"), (682, 8191));
    assert_eq!(longest(-5, b"aaaaaaaaaa"), (5460, 65_527));
    assert_eq!(longest(i32::MIN, b"aaaaaaaaaa"), (5460, 65_527));
    assert_eq!(longest(0, b"a"), (1, 10));
    assert_eq!(longest(3, b"a"), (3, 16));
    assert_eq!(longest(i32::MAX, b"1"), (4092, 8191));
}

#[test]
fn a_queue_seldom_moves_its_elements() {
    let mut list = Quicklist::new();
    (0..100).for_each(|number| list.push_back(1_000_000 + number, Fill::default()));
    let bytes_before = list.heap_bytes();
    for number in 0..100_000_i64 {
        list.push_front(1_000_000 + number, Fill::default());
        list.pop_back();
    }
    assert_eq!(list.len(), 100);
    assert!(list.heap_bytes() <= bytes_before * 2, "{} {bytes_before}", list.heap_bytes());
}

#[test]
fn what_is_cut_off_is_freed_bit_by_bit() {
    let fill = Fill { count_max: 1, ..Fill::default() };
    let mut list = Quicklist::new();
    (0..100_000_i64).for_each(|number| list.push_back(number, fill));
    let heap_bytes = list.heap_bytes();
    let mut removed = list.cut_front(99_990).expect("it is heavy");
    list.check();
    assert_eq!(list.len(), 10);
    assert_eq!(list.with(0, |element| element == Element::Integer(99_990)), Some(true));
    assert!(heap_bytes / 2 < removed.heap_bytes());
    let mut steps = 1;
    while removed.free_some(100) {
        steps += 1;
    }
    assert!((1_000..1_100).contains(&steps), "{steps}");
    assert_eq!(removed.heap_bytes(), 0);

    let mut whole = list.duplicate();
    (0..100_000_i64).for_each(|number| whole.push_front(number, fill));
    let mut steps = 1;
    while whole.free_some(100) {
        steps += 1;
    }
    assert!((1_000..1_100).contains(&steps), "{steps}");
    assert_eq!(whole.heap_bytes(), 0);
}

#[test]
fn the_middle_is_compressed_and_the_ends_are_not() {
    let text = |number: i64| format!("a line of a log that repeats itself, number {}", number % 100).into_bytes();
    let states = |list: &Quicklist| {
        let mut states = vec![list.head.is_compressed()];
        let large = list.large.as_ref().expect("a long list");
        large.middle.for_each(&mut |chunk| states.push(chunk.is_compressed()));
        states.push(large.tail.is_compressed());
        states
    };
    for depth in 1..4 {
        for front in [false, true] {
            let mut lists = [0, depth].map(|depth| {
                let fill = Fill::default().compressed(depth);
                let mut list = Quicklist::new();
                for number in 0..100_000_i64 {
                    if front {
                        list.push_front(&text(number)[..], fill)
                    } else {
                        list.push_back(&text(number)[..], fill)
                    }
                }
                list.check();
                list
            });
            let [plain, compressed] = &mut lists;
            let states = states(compressed);
            let expected = |at: usize| depth <= at && depth <= states.len() - 1 - at;
            assert!(states.iter().enumerate().all(|(at, state)| *state == expected(at)), "{depth} {states:?}");
            assert!(compressed.heap_bytes() * 4 < plain.heap_bytes());
            assert_eq!(texts(compressed, 0, usize::MAX), texts(plain, 0, usize::MAX));
            // Changed in the middle it is compressed again; consumed from an end it comes out as it went in.
            let bytes_before = compressed.heap_bytes();
            let fill = Fill::default().compressed(depth);
            compressed.set(50_000, &b"another"[..], fill);
            compressed.remove(60_000, fill);
            assert!(compressed.heap_bytes() < bytes_before + 1000);
            (0..40_000).for_each(|_| compressed.pop_front());
            (0..40_000).for_each(|_| compressed.pop_back());
            compressed.check();
            assert_eq!(compressed.len(), 19_999);
            assert_eq!(compressed.with(10_000, |element| element.to_vec()), Some(b"another".to_vec()));
        }
    }
}
