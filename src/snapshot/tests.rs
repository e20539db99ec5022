//! Files that scribes have written are read back.

use super::output::sum_of_pieces;
use super::*;
use crate::keyspace::access::AccessPolicy;
use crate::keyspace::walk::Slice;
use crate::keyspace::{Event, Expiry, Keyspace};
use crate::rdb::file::{self, About, Access};
use crate::rdb::load::{Fault, Item, Reader};
use crate::rdb::{self, Corrupt};
use crate::structure::crc64::Sum;
use crate::value::hash::{self, Deadline, Hash};
use crate::value::{LongString, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW_MS: u64 = 1_700_000_000_000;
const LIMITS: hash::Limits = hash::Limits { listpack_len_max: 128, listpack_bytes_max: 64, seed: 1 };

/// By database and key: deadline, type, value.
type Content = BTreeMap<(u64, Vec<u8>), (Option<i64>, u8, Vec<u8>)>;

fn hash(fields: usize, deadline: Deadline) -> Value<'static> {
    let mut hash = Hash::new();
    for field in 0..fields {
        let value = [b'a' + (field % 26) as u8; 60];
        hash.set(
            format!("field:{field}").as_bytes(),
            &value,
            if field == 1 { deadline } else { Deadline::Clear },
            0,
            &LIMITS,
        );
    }
    hash.into()
}

fn keyspace(timed_fields: bool) -> Keyspace {
    let mut keyspace = Keyspace::new(16, 1);
    keyspace.begin(NOW_MS, true);
    for number in 0..5000u32 {
        let expiry = if number % 3 == 0 { Expiry::At(NOW_MS + 1000 + u64::from(number)) } else { Expiry::Clear };
        keyspace.set_string(0, format!("key:{number}").as_bytes(), format!("value {number}").as_bytes(), expiry);
    }
    keyspace.set_string(9, b"number", b"12345", Expiry::Clear);
    keyspace.put(9, b"small", hash(10, Deadline::Clear), Expiry::Clear, Event::HSET);
    keyspace.put(9, b"gathered", hash(5000, Deadline::Clear), Expiry::Clear, Event::HSET);
    keyspace.put(9, b"counted", hash(40_000, Deadline::Clear), Expiry::At(NOW_MS + 5), Event::HSET);
    keyspace.put(0, b"text", Value::Long(LongString::new(vec![b'x'; 3_000_000])), Expiry::Clear, Event::SET);
    if timed_fields {
        keyspace.put(0, b"timed", hash(4, Deadline::At(NOW_MS + 1000)), Expiry::Clear, Event::HSET);
    }
    keyspace
}

fn content(keyspace: &Keyspace, compress: bool) -> Content {
    let mut content = Content::new();
    for db in 0..keyspace.databases() {
        keyspace.for_each(db, |view| {
            let mut bytes = Vec::new();
            // Long texts are not compressed in files.
            let compress = compress && view.key() != b"text";
            rdb::encode(view.value(), compress, &mut bytes);
            let deadline_ms = view.deadline_ms().map(|ms| ms as i64);
            content.insert((db as u64, view.key().to_vec()), (deadline_ms, bytes[0], bytes[1..].to_vec()));
        });
    }
    content
}

fn about(keyspace: &Keyspace) -> About {
    let len = |db: usize| keyspace.len(db) as u64;
    let databases =
        (0..16).filter(|&db| len(db) != 0).map(|db| (db, len(db), keyspace.volatile_len(db) as u64)).collect();
    let libraries = vec![b"#!lua name=lib\n".to_vec()];
    About { redis_version: "7.2.4", made_seconds: 1, used_bytes: 2, is_log_base: false, libraries, databases }
}

/// The file that shards write together.
fn write(keyspaces: &mut [Keyspace], compress: bool, sums: bool, policy: Option<AccessPolicy>) -> Vec<u8> {
    let about = about(&keyspaces[0]);
    let plan = Arc::new(Plan::new(file::head(rdb::VERSION, &about).len() as u64, sums));
    let clocks = Clocks { policy, now_ms: NOW_MS + 60_000 };
    let outputs: Vec<Arc<Output>> = keyspaces.iter().map(|_| Arc::new(Output::new(plan.clone()))).collect();
    for (keyspace, output) in keyspaces.iter_mut().zip(&outputs) {
        keyspace.begin_walk(|db| Box::new(Scribe::new(db, output.clone(), Form::Snapshot { clocks, compress })));
    }
    let mut bytes = vec![0; 9];
    while keyspaces.iter_mut().any(|keyspace| keyspace.step_walk(Slice { entries: 100, bytes: 20_000 })) {
        for output in &outputs {
            while let Some(piece) = output.pop() {
                let end = piece.offset as usize + piece.bytes.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[piece.offset as usize..end].copy_from_slice(&piece.bytes);
                output.written(piece.bytes.len());
            }
        }
    }
    for output in &outputs {
        while let Some(piece) = output.pop() {
            let end = piece.offset as usize + piece.bytes.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[piece.offset as usize..end].copy_from_slice(&piece.bytes);
            output.written(piece.bytes.len());
        }
        assert_eq!(output.held_bytes(), 0);
        assert!(output.held_bytes_max() < 8 << 20);
    }
    let head = file::head(plan.version(), &about);
    bytes[..head.len()].copy_from_slice(&head);
    assert_eq!(bytes.len() as u64, plan.bytes());
    let mut all_sums: Vec<_> = outputs.iter().flat_map(|output| output.take_sums()).collect();
    all_sums.sort_by_key(|(offset, _)| *offset);
    bytes.extend_from_slice(&file::end(sums.then(|| sum_of_pieces(Sum::of(&head), &all_sums))));
    bytes
}

fn read(bytes: &[u8]) -> Result<(Content, Vec<Item>, Vec<Access>), Fault> {
    let mut reader = Reader::open(bytes, true)?;
    let (mut content, mut others, mut accesses) = (Content::new(), Vec::new(), Vec::new());
    let (mut key, mut value, mut db) = (Vec::new(), Vec::new(), 0);
    loop {
        match reader.next(&mut key, &mut value)? {
            Item::End => {
                assert_eq!(reader.offset(), bytes.len() as u64);
                return Ok((content, others, accesses));
            }
            Item::Database(number) => db = number,
            Item::Key(head) => {
                let before = content.insert((db, key.clone()), (head.deadline_ms, head.kind, value.clone()));
                assert!(before.is_none());
                accesses.push(head.access);
            }
            other => others.push(other),
        }
    }
}

#[test]
fn what_several_shards_write_is_one_file() {
    for (compress, sums, timed_fields) in [(false, true, false), (true, true, true), (true, false, false)] {
        let mut first = keyspace(timed_fields);
        let mut second = Keyspace::new(16, 1);
        second.begin(NOW_MS, true);
        second.set_string(3, b"alone", b"value", Expiry::Clear);
        let mut expected = content(&first, compress);
        expected.extend(content(&second, compress));
        let mut shards = [std::mem::replace(&mut first, Keyspace::new(1, 1)), second];
        let bytes = write(&mut shards, compress, sums, None);
        assert_eq!(&bytes[..9], if timed_fields { b"REDIS0012" } else { b"REDIS0010" });
        assert_eq!(bytes.ends_with(&[0; 8]), !sums);
        let (content, others, accesses) = read(&bytes).expect("it is whole");
        assert!(content == expected, "{} keys of {}", content.len(), expected.len());
        assert!(accesses.iter().all(|access| *access == Access::Unknown));
        assert!(others.contains(&Item::Aux(b"redis-bits".to_vec(), b"64".to_vec())));
        assert!(others.contains(&Item::Library(b"#!lua name=lib\n".to_vec())));
        assert!(others.contains(&Item::Sizes(3 + 1, 1)));
    }
}

#[test]
fn access_clocks_are_told_where_the_policy_asks_for_them() {
    let mut shards = [keyspace(false)];
    let (_, _, accesses) = read(&write(&mut shards, true, true, Some(AccessPolicy::Lru))).unwrap();
    assert!(!accesses.is_empty() && accesses.iter().all(|access| *access == Access::Idle(60)));
    let policy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 0 };
    shards[0].set_policy(policy);
    shards[0].set_string(0, b"new", b"v", Expiry::Clear);
    let (_, _, accesses) = read(&write(&mut shards, true, true, Some(policy))).unwrap();
    assert!(accesses.contains(&Access::Frequency(5)));
}

#[test]
fn broken_files_are_refused() {
    let bytes = write(&mut [keyspace(true)], true, true, None);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let len = random.usize(..bytes.len());
        let fault = read(&bytes[..len]).expect_err("it is cut");
        assert!(matches!(fault, Fault::Corrupt(Corrupt::SHORT)), "{fault}");
        let mut flipped = bytes.clone();
        let at = random.usize(..bytes.len());
        flipped[at] ^= 1 << random.u32(..8);
        // What is there twice is not of the same key: the checksum says so at the end, if nothing else does before.
        assert!(std::panic::catch_unwind(|| read(&flipped)).is_err_and(|_| true) || read(&flipped).is_err(), "{at}");
    }
    for (file, fault) in [
        (&b"REDAS0010"[..], Fault::Signature),
        (b"REDIS0015", Fault::Version(15)),
        (b"REDIS0000", Fault::Version(0)),
        (b"REDIS00xx", Fault::Version(0)),
        (b"VALKEY080\xff\0\0\0\0\0\0\0\0", Fault::Signature),
    ] {
        match Reader::open(file, true) {
            Ok(_) => assert!(file.starts_with(b"VALKEY")),
            Err(got) => assert_eq!(got, fault),
        }
    }
}
