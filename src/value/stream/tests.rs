//! Streams with their groups against plain models.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits { node_bytes_max: 4096, node_entries_max: 4 };

fn add(stream: &mut Stream, id: Id) {
    stream.push(id, [(&b"field"[..], &b"value"[..])].into_iter(), LIMITS);
}

/// Whose, when, how often; nobody's if none.
type PendingModel = BTreeMap<Id, (Option<String>, u64, u64)>;

#[derive(Debug, Default, Clone)]
struct GroupModel {
    last_id: Id,
    pending: PendingModel,
    consumers: BTreeMap<String, u64>,
    /// In this order.
    given_back: Vec<Id>,
}

#[derive(Debug, Clone)]
enum Change {
    Add(u8),
    Delete(u8),
    Trim(u8),
    Group(u8),
    RemoveGroup(u8),
    Read { group: u8, consumer: u8, count: u8, is_acknowledged: bool },
    Acknowledge { group: u8, nth: u8 },
    Claim { group: u8, consumer: u8, nth: u8 },
    GiveBack { group: u8, nth: u8 },
    RemoveConsumer { group: u8, consumer: u8 },
    Forget(u8),
    Idle { group: u8, until_ms: u64 },
}

fn change() -> impl Strategy<Value = Change> {
    let (group, consumer, nth) = (0..3_u8, 0..4_u8, any::<u8>());
    prop_oneof![
        8 => (1..9_u8).prop_map(Change::Add),
        2 => nth.prop_map(Change::Delete),
        1 => (0..30_u8).prop_map(Change::Trim),
        2 => group.clone().prop_map(Change::Group),
        1 => group.clone().prop_map(Change::RemoveGroup),
        8 => (group.clone(), consumer.clone(), 0..7_u8, any::<bool>())
            .prop_map(|(group, consumer, count, is_acknowledged)|
            Change::Read { group, consumer, count, is_acknowledged }),
        5 => (group.clone(), nth).prop_map(|(group, nth)| Change::Acknowledge { group, nth }),
        4 => (group.clone(), consumer.clone(), nth)
            .prop_map(|(group, consumer, nth)| Change::Claim { group, consumer, nth }),
        2 => (group.clone(), nth).prop_map(|(group, nth)| Change::GiveBack { group, nth }),
        1 => (group.clone(), consumer).prop_map(|(group, consumer)| Change::RemoveConsumer { group, consumer }),
        1 => nth.prop_map(Change::Forget),
        1 => (group, 1000..1200_u64).prop_map(|(group, until_ms)| Change::Idle { group, until_ms }),
    ]
}

fn name(number: u8) -> String {
    // Not in the order of their numbers.
    format!("{}{number}", ["z", "m", "a", ""][usize::from(number) % 4])
}

/// What was delivered no later than a time, by time and id.
fn idle_model(model: &GroupModel, until_ms: u64) -> Vec<Id> {
    let is_given_back = |id: &&Id| model.pending.get(id).is_some_and(|(owner, ..)| owner.is_none());
    let owned = model.pending.iter().filter(|(_, (owner, ..))| owner.is_some());
    let mut due: Vec<(u64, Id)> = owned.map(|(id, (_, ms, _))| (*ms, *id)).filter(|due| due.0 <= until_ms).collect();
    due.sort_unstable();
    model.given_back.iter().filter(is_given_back).copied().chain(due.into_iter().map(|(_, id)| id)).collect()
}

fn nth_of(pending: &PendingModel, nth: u8) -> Option<Id> {
    pending.keys().nth(usize::from(nth) % pending.len().max(1)).copied()
}

fn check(stream: &Stream, entries: &[Id], groups: &BTreeMap<String, GroupModel>) {
    assert!(stream.log().range(Id::MIN, Id::MAX).map(|entry| entry.id).eq(entries.iter().copied()));
    assert!(stream.groups().map(|group| group.name().to_vec()).eq(groups.keys().map(|name| name.as_bytes().to_vec())));
    let mut group_bytes = 0;
    for group in stream.groups() {
        group.check();
        group_bytes += group.heap_bytes();
        let model = &groups[std::str::from_utf8(group.name()).expect("text")];
        assert_eq!(group.last_id, model.last_id);
        let shown = |(id, pending): (Id, &Pending)| {
            let owner = pending.consumer().map(|_| String::from_utf8(group.owner(pending).to_vec()).expect("text"));
            (id, (owner, pending.delivered_ms(), pending.deliveries))
        };
        assert!(group.pending().map(shown).eq(model.pending.clone()));
        let consumers: Vec<String> = model.consumers.keys().cloned().collect();
        let names = group.consumers().map(|(_, consumer)| String::from_utf8(consumer.name().to_vec()).expect("text"));
        assert_eq!(names.collect::<Vec<_>>(), consumers);
        for (number, consumer) in group.consumers() {
            let own = std::str::from_utf8(consumer.name()).expect("text");
            let ids = group.pending_of(number, Id::MIN).map(|(id, _)| id);
            let expected =
                model.pending.iter().filter(|(_, (owner, ..))| owner.as_deref() == Some(own)).map(|(id, _)| *id);
            assert!(ids.eq(expected));
        }
    }
    assert_eq!(stream.inner.group_bytes, group_bytes);
}

proptest! {
    #[test]
    fn groups_know_what_is_pending_for_whom(changes in proptest::collection::vec(change(), 1..120)) {
        let mut stream = Stream::new();
        let mut entries: Vec<Id> = Vec::new();
        let mut groups: BTreeMap<String, GroupModel> = BTreeMap::new();
        let mut now_ms = 1000;
        for change in changes {
            now_ms += 1;
            match change {
                Change::Add(count) => for _ in 0..count {
                    let id = stream.next_id(now_ms / 4).expect("far from the last");
                    add(&mut stream, id);
                    entries.push(id);
                },
                Change::Delete(nth) => if !entries.is_empty() {
                    let id = entries.remove(usize::from(nth) % entries.len());
                    prop_assert!(stream.delete(id));
                },
                Change::Trim(len) => {
                    let (removed, _) = stream.trim(Keep::Last(len.into()), Thorough::Exactly, References::Keep);
                    prop_assert_eq!(removed as usize, entries.len().saturating_sub(len.into()));
                    entries.drain(..removed as usize);
                }
                Change::Group(group) => {
                    let is_new = stream.add_group(name(group).as_bytes(), Id::MIN, None);
                    prop_assert_eq!(is_new, !groups.contains_key(&name(group)));
                    groups.entry(name(group)).or_default();
                }
                Change::RemoveGroup(group) => {
                    let gone = stream.remove_group(name(group).as_bytes());
                    prop_assert_eq!(gone.is_some(), groups.remove(&name(group)).is_some());
                    if let Some(mut gone) = gone {
                        while gone.free_some(2) {}
                        prop_assert!(gone.inner.groups.is_empty() && gone.inner.group_bytes == 0);
                    }
                }
                Change::Read { group, consumer, count, is_acknowledged } => {
                    let read = stream.change_group(name(group).as_bytes(), |group, log, counters| {
                        let name = name(consumer);
                        let known = group.find_consumer(name.as_bytes());
                        let consumer = known.or_else(|| group.add_consumer(name.as_bytes(), now_ms));
                        let consumer = consumer.expect("found or added");
                        let mut read = Vec::new();
                        let delivery = Delivery { consumer, count: count.into(), is_acknowledged, now_ms };
                        group.read_new(log, &counters, delivery, |entry| {
                            read.push(entry.id);
                            true
                        });
                        read
                    });
                    let Some(model) = groups.get_mut(&name(group)) else { prop_assert!(read.is_none()); continue };
                    model.consumers.entry(name(consumer)).or_default();
                    let limit = if count == 0 { usize::MAX } else { count.into() };
                    let unread = entries.iter().copied().filter(|id| model.last_id < *id);
                    let expected: Vec<Id> = unread.take(limit).collect();
                    for id in &expected {
                        model.last_id = *id;
                        if !is_acknowledged {
                            model.pending.insert(*id, (Some(name(consumer)), now_ms, 1));
                        }
                    }
                    prop_assert_eq!(read, Some(expected));
                }
                Change::Acknowledge { group, nth } => if let Some(model) = groups.get_mut(&name(group)) {
                    let id = nth_of(&model.pending, nth).unwrap_or(Id::new(7, 7777));
                    let was = stream.change_group(name(group).as_bytes(), |group, _, _| group.acknowledge(id));
                    prop_assert_eq!(was, Some(model.pending.remove(&id).is_some()));
                },
                Change::Claim { group, consumer, nth } => if let Some(model) = groups.get_mut(&name(group)) {
                    let Some(id) = nth_of(&model.pending, nth) else { continue };
                    if !model.consumers.contains_key(&name(consumer)) {
                        continue;
                    }
                    let deliveries = model.pending[&id].2 + 1;
                    stream.change_group(name(group).as_bytes(), |group, _, _| {
                        let number = group.find_consumer(name(consumer).as_bytes()).expect("in the model");
                        group.deliver(id, number, now_ms, deliveries);
                    });
                    model.pending.insert(id, (Some(name(consumer)), now_ms, deliveries));
                },
                Change::GiveBack { group, nth } => if let Some(model) = groups.get_mut(&name(group)) {
                    let Some(id) = nth_of(&model.pending, nth) else { continue };
                    stream.change_group(name(group).as_bytes(), |group, _, _| group.give_back(id, 9));
                    model.pending.insert(id, (None, 0, 9));
                    model.given_back.retain(|known| *known != id);
                    model.given_back.push(id);
                },
                Change::RemoveConsumer { group, consumer } => if let Some(model) = groups.get_mut(&name(group)) {
                    let removed = stream.change_group(name(group).as_bytes(), |group, _, _| {
                        group.remove_consumer(name(consumer).as_bytes())
                    });
                    let was = model.consumers.remove(&name(consumer));
                    let len_before = model.pending.len();
                    model.pending.retain(|_, (owner, ..)| *owner != Some(name(consumer)));
                    prop_assert_eq!(removed, Some(was.map(|_| len_before - model.pending.len())));
                },
                Change::Forget(nth) => {
                    let id = entries.get(usize::from(nth) % entries.len().max(1)).copied().unwrap_or(Id::MIN);
                    let interests = |model: &GroupModel| model.last_id < id || model.pending.contains_key(&id);
                    prop_assert_eq!(stream.is_acknowledged_by_all(id), !groups.values().any(interests));
                    stream.forget_pending(id);
                    groups.values_mut().for_each(|model| _ = model.pending.remove(&id));
                }
                Change::Idle { group, until_ms } => if let Some(model) = groups.get(&name(group)) {
                    let name = name(group);
                    let idle =
                        stream.change_group(name.as_bytes(), |group, _, _| group.longest_idle(until_ms, 5));
                    let mut expected = idle_model(model, until_ms);
                    expected.truncate(5);
                    prop_assert_eq!(idle, Some(expected));
                },
            }
            check(&stream, &entries, &groups);
        }
        // A copy, and one by way of its parts.
        check(&stream.duplicate(), &entries, &groups);
        let mut log = StreamLog::new();
        for (master, node) in stream.log().nodes() {
            log.push_node(master, node.clone()).expect("a node");
        }
        let mut restored = Stream::from_log(log, stream.counters()).expect("sound");
        for group in stream.groups() {
            restored.restore_group(&group.parts()).expect("sound");
        }
        check(&restored, &entries, &groups);
        for (name, model) in &groups {
            let idle = restored.change_group(name.as_bytes(), |group, _, _| group.longest_idle(u64::MAX, usize::MAX));
            prop_assert_eq!(idle, Some(idle_model(model, u64::MAX)));
        }
        prop_assert_eq!(restored.counters(), stream.counters());
        while restored.free_some(3) {}
        prop_assert_eq!(restored.inner.log.heap_bytes() + restored.inner.group_bytes, 0);
    }
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let id = Id::new(1, 1);
    let consumer =
        |name: &str, pending: Vec<Id>| ConsumerParts { name: name.into(), pending, ..ConsumerParts::default() };
    let group = |pending: Vec<(Id, u64, u64)>, consumers| GroupParts { pending, consumers, ..GroupParts::default() };
    let is_good = |parts: GroupParts| Stream::new().restore_group(&parts).is_ok();
    assert!(is_good(group(vec![(id, 5, 1)], vec![consumer("a", vec![id])])));
    assert!(is_good(group(vec![(id, 5, 1)], vec![])));
    assert!(!is_good(group(vec![], vec![consumer("a", vec![id])])));
    assert!(!is_good(group(vec![(id, 5, 1)], vec![consumer("a", vec![id]), consumer("b", vec![id])])));
    assert!(!is_good(group(vec![(id, 5, 1)], vec![consumer("a", vec![id, id])])));
    assert!(!is_good(group(vec![], vec![consumer("a", vec![]), consumer("a", vec![])])));
    assert!(!is_good(group(vec![(id, 5, 1), (id, 5, 1)], vec![])));
    let given_back = |parts: GroupParts| GroupParts { given_back: vec![id], ..parts };
    assert!(is_good(given_back(group(vec![(id, 0, 1)], vec![]))));
    assert!(!is_good(given_back(group(vec![], vec![]))));
    assert!(!is_good(given_back(group(vec![(id, 5, 1)], vec![consumer("a", vec![id])]))));
    let mut twice = Stream::new();
    assert!(
        twice.restore_group(&group(vec![], vec![])).is_ok() && twice.restore_group(&group(vec![], vec![])).is_err()
    );
    let counters = Counters { len: 1, ..Counters::default() };
    assert!(Stream::from_log(StreamLog::new(), counters).is_err());
}

#[test]
fn lag_is_told_when_it_is_known() {
    let mut stream = Stream::new();
    let lag = |stream: &Stream| stream.counters().lag(stream.group(b"g").expect("made below"));
    stream.add_group(b"g", Id::MIN, None);
    assert_eq!(lag(&stream), Some(0));
    (1..=5).for_each(|ms| add(&mut stream, Id::new(ms, 0)));
    assert_eq!(lag(&stream), Some(5));
    let read = |stream: &mut Stream, count| {
        stream.change_group(b"g", |group, log, counters| {
            let consumer = group.find_consumer(b"c").or_else(|| group.add_consumer(b"c", 1)).expect("there");
            group.read_new(log, &counters, Delivery { consumer, count, is_acknowledged: true, now_ms: 1 }, |_| true);
        });
    };
    read(&mut stream, 1);
    assert_eq!(lag(&stream), Some(4));
    // A deletion ahead makes it unknown, until it has been passed.
    stream.delete(Id::new(4, 0));
    read(&mut stream, 1);
    assert_eq!(lag(&stream), None);
    read(&mut stream, 0);
    assert_eq!(lag(&stream), Some(0));
}

#[test]
fn long_streams_are_freed_in_slices_and_trimmed_at_once() {
    let mut stream = Stream::new();
    (1..=10_000).for_each(|ms| add(&mut stream, Id::new(ms, 0)));
    assert!(stream.is_heavy());
    let (removed, gone) = stream.trim(Keep::Last(10), Thorough::Exactly, References::Keep);
    let mut gone = gone.expect("whole nodes");
    assert_eq!((removed, stream.len(), stream.is_heavy(), gone.is_heavy()), (9_990, 10, false, true));
    let mut slices = 0;
    while gone.free_some(100) {
        slices += 1;
    }
    assert!((15..40).contains(&slices), "{slices}");
    assert_eq!(gone.inner.log.heap_bytes(), 0);
}
