//! Who is told what, without sockets.

use super::*;
use crate::keyspace::{Actor, Event};
use crate::resp::Protocol;
use crate::session::Address;

fn taken(pubsub: &Pubsub, core: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    pubsub.take(core, &mut deliveries);
    assert!(!pubsub.has_mail(core));
    deliveries
}

fn join(pubsub: &Pubsub, core: usize, audience: Audience, name: &str) {
    pubsub.hold(audience, name.as_bytes()).join(core, name.as_bytes());
}

fn leave(pubsub: &Pubsub, core: usize, audience: Audience, name: &str) {
    pubsub.hold(audience, name.as_bytes()).leave(core, name.as_bytes());
}

#[test]
fn a_message_goes_to_the_cores_that_have_subscribers_and_is_counted_for_each() {
    let pubsub = Pubsub::new(3);
    assert_eq!(pubsub.publish(Audience::Channel, b"a", b"m"), 0);
    join(&pubsub, 0, Audience::Channel, "a");
    join(&pubsub, 2, Audience::Channel, "a");
    join(&pubsub, 2, Audience::Channel, "a");
    join(&pubsub, 1, Audience::Shard, "a");
    assert_eq!(pubsub.publish(Audience::Channel, b"a", b"m"), 3);
    assert_eq!((taken(&pubsub, 0).len(), taken(&pubsub, 1).len(), taken(&pubsub, 2).len()), (1, 0, 1));
    join(&pubsub, 1, Audience::Pattern, "?");
    join(&pubsub, 2, Audience::Pattern, "[a-c]");
    join(&pubsub, 2, Audience::Pattern, "b*");
    assert_eq!(pubsub.publish(Audience::Channel, b"a", b"m"), 5);
    let at_two = taken(&pubsub, 2);
    let Delivery::Message(message) = &at_two[0] else { panic!("{at_two:?}") };
    assert_eq!((at_two.len(), message.patterns.len()), (1, 2));
    assert_eq!(taken(&pubsub, 1).len(), 1);
    assert_eq!(pubsub.publish(Audience::Shard, b"a", b"m"), 1, "no pattern is asked about shard channels");
    assert_eq!(pubsub.names_len(Audience::Pattern), 3);
    for core in [0, 2, 2] {
        assert_eq!(pubsub.names_len(Audience::Channel), 1);
        leave(&pubsub, core, Audience::Channel, "a");
    }
    assert_eq!((pubsub.names_len(Audience::Channel), pubsub.subscribers_len(Audience::Channel, b"a")), (0, 0));
    assert_eq!(pubsub.publish(Audience::Channel, b"a", b"m"), 2);
}

#[test]
fn messages_of_a_publisher_stay_in_order_and_none_is_lost_while_others_publish() {
    const EACH: u32 = 2000;
    let pubsub = Pubsub::new(2);
    join(&pubsub, 1, Audience::Channel, "a");
    let mut seen = [0; 3];
    std::thread::scope(|scope| {
        for publisher in 0..3u8 {
            let pubsub = &pubsub;
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut payload = vec![publisher];
                    payload.extend_from_slice(&number.to_le_bytes());
                    assert_eq!(pubsub.publish(Audience::Channel, b"a", &payload), 1);
                }
            });
        }
        while seen != [EACH; 3] {
            for delivery in taken_if_any(&pubsub, 1) {
                let Delivery::Message(message) = delivery else { panic!("{delivery:?}") };
                let number = u32::from_le_bytes(message.payload[1..].try_into().expect("four bytes"));
                let next = &mut seen[message.payload[0] as usize];
                assert_eq!(number, *next);
                *next += 1;
            }
        }
    });
}

fn taken_if_any(pubsub: &Pubsub, core: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    pubsub.take(core, &mut deliveries);
    deliveries
}

#[test]
fn wire_forms_follow_the_protocol() {
    let message = Message {
        audience: Audience::Channel,
        channel: b"c"[..].into(),
        payload: b"m"[..].into(),
        patterns: Box::default(),
    };
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text").replace("\r\n", "|")
    };
    let (two, three) = (Protocol::Resp2, Protocol::Resp3);
    assert_eq!(text(&|out| write_message(out, two, &message, None)), "*3|$7|message|$1|c|$1|m|");
    let pattern = text(&|out| write_message(out, three, &message, Some(b"*")));
    assert_eq!(pattern, ">4|$8|pmessage|$1|*|$1|c|$1|m|");
    let nothing = text(&|out| write_change(out, two, Audience::Shard, false, None, 0));
    assert_eq!(nothing, "*3|$12|sunsubscribe|$-1|:0|");
    let keys = Keys::These([Box::from(&b"k"[..])].into());
    assert_eq!(text(&|out| write_invalidation(out, three, &keys)), ">2|$10|invalidate|*1|$1|k|");
    let flushed = text(&|out| write_invalidation(out, two, &Keys::All));
    assert_eq!(flushed, "*3|$7|message|$20|__redis__:invalidate|$-1|");
    assert_eq!(text(&|out| write_redirect_broken(out, 7)), ">2|$21|tracking-redir-broken|:7|");
}

// Keyspace notifications

fn effect(event: Event, key: &str, client: u64) -> Effect {
    let by = Actor { client, call: 1, is_script: false };
    Effect { event, by, reader: 0, is_told: false, rank: 0, db: 3, key: key.as_bytes().into() }
}

#[test]
fn events_are_told_by_key_and_by_event_if_wanted() {
    let pubsub = Pubsub::new(1);
    let all = Notifications { by_key: true, by_event: true, classes: Class::all() };
    join(&pubsub, 0, Audience::Pattern, "*");
    let told = |notifications: Notifications| -> Vec<(String, String)> {
        pubsub.tell(&effect(Event::SET, "k", 0), notifications);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pair = |delivery| match delivery {
            Delivery::Message(message) => (text(&message.channel), text(&message.payload)),
            other => panic!("{other:?}"),
        };
        taken_if_any(&pubsub, 0).into_iter().map(pair).collect()
    };
    let by_key = ("__keyspace@3__:k".to_string(), "set".to_string());
    let by_event = ("__keyevent@3__:set".to_string(), "k".to_string());
    assert_eq!(told(all), [by_key.clone(), by_event.clone()]);
    assert_eq!(told(Notifications { by_key: false, ..all }), [by_event]);
    assert_eq!(told(Notifications { by_event: false, ..all }), [by_key]);
    assert_eq!(told(Notifications { classes: Class::GENERIC, ..all }), []);
}

// Client-side caching

const READER: Address = Address { core: 0, index: 5, id: 50 };
const OTHER: Address = Address { core: 1, index: 6, id: 60 };
const NO_PREFIXES: Option<std::iter::Empty<&[u8]>> = None;

/// Who is told of which keys on a core; `*`: of all.
fn told(pubsub: &Pubsub, core: usize) -> Vec<(u64, String)> {
    let of = |delivery| match delivery {
        Delivery::Invalidate { to, keys: Keys::All, .. } => (to.id, "*".to_string()),
        Delivery::Invalidate { to, keys: Keys::These(keys), .. } => {
            let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            (to.id, keys.join(","))
        }
        other => panic!("{other:?}"),
    };
    taken_if_any(pubsub, core).into_iter().map(of).collect()
}

fn change(pubsub: &Pubsub, event: Event, key: &str, by: u64) {
    pubsub.tell(&effect(event, key, by), Notifications::default());
}

#[test]
fn who_has_lost_its_stand_in_is_told_that_at_once() {
    let pubsub = Pubsub::new(2);
    pubsub.tracking.start(READER, None, false, NO_PREFIXES);
    pubsub.tracking.start(OTHER, Some(READER), false, NO_PREFIXES);
    pubsub.tracking.remember(OTHER.id, b"a");
    pubsub.tracking.lose(READER.id);
    change(&pubsub, Event::SET, "a", 1);
    let mut deliveries = Vec::new();
    assert!(pubsub.take(OTHER.core, &mut deliveries), "in its own inbox, not by way of the other core");
    let [Delivery::RedirectBroken { to, gone }] = deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!((to, gone), (OTHER, READER.id));
}

#[test]
fn who_has_read_a_key_is_told_once_of_its_change() {
    let pubsub = Pubsub::new(2);
    pubsub.tracking.start(READER, None, false, NO_PREFIXES);
    pubsub.tracking.start(OTHER, Some(READER), true, NO_PREFIXES);
    for _ in 0..2 {
        pubsub.tracking.remember(READER.id, b"a");
        pubsub.tracking.remember(OTHER.id, b"a");
        pubsub.tracking.remember(OTHER.id, b"b");
    }
    assert_eq!((pubsub.tracking.keys_len(), pubsub.tracking.items_len()), (2, 3));
    change(&pubsub, Event::KEY_MISS, "a", 1);
    change(&pubsub, Event::SET, "c", 1);
    assert_eq!(told(&pubsub, 0), []);
    change(&pubsub, Event::SET, "a", 1);
    change(&pubsub, Event::DEL, "a", 1);
    let to_reader = |key: &str| (READER.id, key.to_string());
    assert_eq!(told(&pubsub, 0), [to_reader("a"), to_reader("a")], "once for itself, once for the other");
    change(&pubsub, Event::SET, "b", OTHER.id);
    assert_eq!((told(&pubsub, 0), pubsub.tracking.keys_len(), pubsub.tracking.items_len()), (vec![], 0, 0));
    pubsub.tracking.remember(READER.id, b"a");
    pubsub.tracking.stop(READER.id);
    change(&pubsub, Event::SET, "a", 1);
    assert_eq!(told(&pubsub, 0), []);
    pubsub.tracking.remember(OTHER.id, b"a");
    pubsub.tracking.stop(OTHER.id);
    assert_eq!((pubsub.tracking.keys_len(), pubsub.tracking.items_len()), (0, 0), "nobody is left");
}

#[test]
fn a_flush_tells_everybody_once_whatever_shards_report_it() {
    let pubsub = Pubsub::new(2);
    pubsub.tracking.start(READER, None, false, NO_PREFIXES);
    pubsub.tracking.start(OTHER, None, true, Some([&b"x"[..]].into_iter()));
    pubsub.tracking.remember(READER.id, b"a");
    change(&pubsub, Event::FLUSHED, "", 9);
    change(&pubsub, Event::FLUSHED, "", 9);
    assert_eq!(told(&pubsub, 0), [(READER.id, "*".to_string())]);
    assert_eq!(told(&pubsub, 1), [(OTHER.id, "*".to_string())]);
    assert_eq!((pubsub.tracking.keys_len(), pubsub.tracking.items_len()), (0, 0));
    change(&pubsub, Event::SWAPPED, "", 9);
    assert_eq!(told(&pubsub, 0), []);
    change(&pubsub, Event::FLUSHED, "", 10);
    assert_eq!(told(&pubsub, 0).len(), 1);
}

#[test]
fn prefixes_are_told_together_in_order_and_each_key_once() {
    let pubsub = Pubsub::new(2);
    pubsub.tracking.start(READER, None, false, Some([&b"a"[..], b"b"].into_iter()));
    pubsub.tracking.start(OTHER, None, true, Some([&b"a"[..]].into_iter()));
    assert_eq!(pubsub.tracking.prefixes_len(), 2);
    for (key, by) in [("a2", 1), ("b", 1), ("a1", OTHER.id), ("a2", 1), ("c", 1)] {
        change(&pubsub, Event::SET, key, by);
    }
    assert_eq!(told(&pubsub, 0), []);
    pubsub.broadcast();
    assert!(!pubsub.tracking.has_broadcasts());
    let to = |id: u64, keys: &str| (id, keys.to_string());
    assert_eq!(told(&pubsub, 0), [to(READER.id, "a1,a2"), to(READER.id, "b")]);
    assert_eq!(told(&pubsub, 1), [to(OTHER.id, "a2")]);
    pubsub.tracking.stop(READER.id);
    assert_eq!((pubsub.tracking.prefixes_len(), pubsub.tracking.clients_len()), (1, 1));
}

#[test]
fn keys_beyond_the_limit_are_forgotten_and_their_readers_told() {
    let pubsub = Pubsub::new(1);
    pubsub.tracking.start(READER, None, false, NO_PREFIXES);
    for index in 0..300 {
        pubsub.tracking.remember(READER.id, format!("k{index}").as_bytes());
    }
    pubsub.bound_tracking(0);
    assert_eq!(pubsub.tracking.keys_len(), 300, "0 is no limit");
    pubsub.bound_tracking(1);
    let mut forgotten = told(&pubsub, 0);
    forgotten.sort_unstable();
    forgotten.dedup();
    assert_eq!((forgotten.len(), pubsub.tracking.keys_len(), pubsub.tracking.items_len()), (299, 1, 1));
    let mut left = (0..300).filter(|index| !forgotten.contains(&(READER.id, format!("k{index}"))));
    let key = format!("k{}", left.next_back().expect("one is left"));
    change(&pubsub, Event::SET, &key, 1);
    assert_eq!(told(&pubsub, 0), [(READER.id, key)]);
}
