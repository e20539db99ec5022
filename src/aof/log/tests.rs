//! Lanes under crashes: whatever was flushed of each, what was answered is there, and nothing is there by half.

use super::super::recovery::{self, Cut, Source};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, channel};

const LANES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// One shard's records.
    Append(usize, usize),
    /// Several shards', at one moment.
    Share(BTreeSet<usize>),
    /// Records, a command on all keys, records.
    Global(BTreeSet<usize>, bool, BTreeSet<usize>),
    /// A lane's next group reaches the disk.
    Flush(usize),
    /// The manifest does.
    Name,
    /// All lanes go on in new files.
    Rotate,
}

fn step() -> impl Strategy<Value = Step> {
    let lanes = || proptest::collection::btree_set(0..LANES, 1..=LANES);
    prop_oneof![
        4 => (0..LANES, 1usize..3).prop_map(|(lane, count)| Step::Append(lane, count)),
        3 => lanes().prop_map(Step::Share),
        1 => (lanes(), any::<bool>(), lanes()).prop_map(|(before, all, after)| Step::Global(before, all, after)),
        6 => (0..LANES).prop_map(Step::Flush),
        1 => Just(Step::Name),
        1 => Just(Step::Rotate),
    ]
}

#[derive(Default)]
struct Disk {
    /// Groups by file.
    files: BTreeMap<u64, Vec<u8>>,
    groups: BTreeMap<u64, u64>,
    /// Numbers of files that the manifest names.
    named: BTreeSet<u64>,
}

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }
}

/// One operation: its number, what it wrote where (records by lane), and what its answer waits for.
struct Done {
    id: usize,
    lanes: Vec<usize>,
    gate: Gate,
}

fn text(id: usize, lane: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::write(&mut bytes, &[b"SET", format!("{id}-{lane}").as_bytes(), b"v"]);
    bytes
}

fn records(texts: &[Vec<u8>]) -> Records<'_> {
    texts.iter().map(|bytes| Record { db: 0, bytes, hashes: SmallVec::from_slice(&[1]) }).collect()
}

fn phase<'a>(parts: &'a [(usize, Vec<Vec<u8>>)], global: Option<Global<'a>>) -> Phase<'a> {
    Phase { parts: parts.iter().map(|(lane, texts)| (*lane, records(texts))).collect(), global }
}

fn flush(log: &Log, disk: &mut Disk, lane: usize) {
    if let Some(batch) = log.take(lane, Vec::new()) {
        let mut group = vec![0; group::bytes_for(batch.records.len())];
        let number = disk.groups.entry(batch.file).or_default();
        let place = group::Place { file: batch.file, number: *number, synced: *number };
        group::seal(&mut group, place, batch.shares, &batch.records);
        *number += 1;
        disk.files.entry(batch.file).or_default().extend_from_slice(&group);
        log.note_written(lane, batch.end, true);
    }
}

fn name(log: &Log, disk: &mut Disk, errands: &Receiver<Errand>) {
    for errand in errands.try_iter() {
        let Errand::Opened(opened) = errand else { panic!("nothing else was ordered") };
        disk.named.extend(opened.first..opened.first + LANES as u64);
        log.note_known(opened.ordinal);
    }
}

/// The operations, in the order of each lane's files, that survive.
fn survivors(disk: &Disk) -> BTreeSet<String> {
    let files: Vec<recovery::File> = disk
        .named
        .iter()
        .map(|file| {
            let bytes = disk.files.get(file).map_or(&[][..], Vec::as_slice);
            recovery::File { file: *file, scan: recovery::scan(&mut Bytes(bytes), *file).expect("no medium fails") }
        })
        .collect();
    let cuts = recovery::cuts(&files);
    let mut kept = BTreeSet::new();
    for file in &files {
        let bytes = disk.files.get(&file.file).map_or(&[][..], Vec::as_slice);
        let cut = cuts.get(&file.file).copied().unwrap_or(Cut { group: file.scan.bytes, at: 0 });
        let (mut offset, mut buffer) = (0, Vec::new());
        while offset <= cut.group {
            let found = recovery::group_at(&mut Bytes(bytes), offset, file.file, None, &mut buffer).expect("as above");
            let Some((header, records)) = found else { break };
            let end = if offset == cut.group { cut.at } else { records.len() };
            let mut at = 0;
            while at < end {
                let (item, taken) = record::read(&records[at..]).expect("whole");
                if let record::Item::Command(args) = item
                    && args[0] == b"SET"
                {
                    kept.insert(String::from_utf8(args[1].to_vec()).expect("text"));
                }
                at += taken;
            }
            offset += header.bytes;
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_answered_survives_and_nothing_survives_by_half(steps in proptest::collection::vec(step(), 1..60)) {
        let log = Log::new(LANES, 7);
        let (sender, errands) = channel();
        log.set_clerk(Some(sender));
        log.set_always(true);
        log.begin(None, 1);
        let (mut disk, mut done) = (Disk::default(), Vec::new());
        name(&log, &mut disk, &errands);
        for (id, step) in steps.iter().enumerate() {
            match step {
                Step::Append(lane, count) => {
                    let texts: Vec<Vec<u8>> = (0..*count).map(|_| text(id, *lane)).collect();
                    let position = log.append(*lane, &records(&texts), true);
                    done.push(Done { id, lanes: vec![*lane], gate: log.gate(*lane, position) });
                }
                Step::Share(lanes) => {
                    let texts: Vec<(usize, Vec<Vec<u8>>)> =
                        lanes.iter().map(|lane| (*lane, vec![text(id, *lane)])).collect();
                    let parts = texts.iter().map(|(lane, texts)| (*lane, records(texts))).collect();
                    let mut touched = Vec::new();
                    log.append_shared(&[Phase { parts, global: None }], &mut touched);
                    let mut gate = Gate::default();
                    touched.iter().for_each(|lane| log.raise(&mut gate, *lane, log.position(*lane)));
                    done.push(Done { id, lanes: touched, gate });
                }
                Step::Global(before, is_flush_all, after) => {
                    let of = |lanes: &BTreeSet<usize>, at: usize| -> Vec<(usize, Vec<Vec<u8>>)> {
                        lanes.iter().map(|lane| (*lane, vec![text(id, *lane + at * LANES)])).collect()
                    };
                    let (before, after) = (of(before, 1), of(after, 2));
                    let global = text(id, 0);
                    let parts = |of: &[(usize, Vec<Vec<u8>>)]| -> Vec<usize> { of.iter().map(|part| part.0).collect() };
                    let mut marks: Vec<usize> = parts(&before).iter().map(|lane| lane + LANES).collect();
                    marks.extend(parts(&after).iter().map(|lane| lane + 2 * LANES));
                    marks.push(0);
                    let record = records(std::slice::from_ref(&global)).remove(0);
                    let global = Some(Global { record, is_flush_all: *is_flush_all });
                    let phases = [phase(&before, global), phase(&after, None)];
                    let mut touched = Vec::new();
                    log.append_shared(&phases, &mut touched);
                    let mut gate = Gate::default();
                    touched.iter().for_each(|lane| log.raise(&mut gate, *lane, log.position(*lane)));
                    done.push(Done { id, lanes: marks, gate });
                }
                Step::Flush(lane) => flush(&log, &mut disk, *lane),
                Step::Name => name(&log, &mut disk, &errands),
                Step::Rotate => {
                    log.rotate();
                }
            }
        }
        let kept = survivors(&disk);
        for Done { id, lanes, gate } in &done {
            let there: Vec<bool> = lanes.iter().map(|lane| kept.contains(&format!("{id}-{lane}"))).collect();
            prop_assert!(there.iter().all(|is| *is == there[0]), "half of {id} is there: {there:?}");
            prop_assert!(there[0] || !log.is_met(gate), "{id} was answered and is lost");
        }
        // Nothing is needed but that everything is flushed and named.
        for _ in 0..2 * steps.len() + 2 {
            (0..LANES).for_each(|lane| flush(&log, &mut disk, lane));
        }
        name(&log, &mut disk, &errands);
        let kept = survivors(&disk);
        for Done { id, lanes, gate } in &done {
            prop_assert!(lanes.iter().all(|lane| kept.contains(&format!("{id}-{lane}"))), "{id} is lost");
            prop_assert!(log.is_met(gate), "{id} waits for nothing");
        }
    }
}

#[test]
fn a_reader_waits_for_keys_that_are_not_safe_and_for_no_others() {
    let log = Log::new(2, 1);
    log.set_always(true);
    log.begin(None, 1);
    log.note_known(log.generation());
    let record = |hash| Record { db: 0, bytes: b"*1\r\n$1\r\nX\r\n", hashes: SmallVec::from_slice(&[hash]) };
    let position = log.append(0, &[record(5)], true);
    assert_eq!(log.position_of(0, [6u64].into_iter()), 0);
    assert_eq!(log.position_of(0, [6u64, 5].into_iter()), position);
    let batch = log.take(0, Vec::new()).expect("something to write");
    log.note_written(0, batch.end, true);
    assert_eq!(log.position_of(0, [5u64].into_iter()), 0);
    // A share whose sibling is not on disk is not safe, though its own lane is.
    let mut touched = Vec::new();
    let parts = vec![(0, vec![record(8)]), (1, vec![record(9)])];
    log.append_shared(&[Phase { parts, global: None }], &mut touched);
    let batch = log.take(0, Vec::new()).expect("something to write");
    log.note_written(0, batch.end, true);
    let position = log.position_of(0, [8u64].into_iter());
    assert!(position != 0 && !log.is_met(&log.gate(0, position)));
    let batch = log.take(1, Vec::new()).expect("something to write");
    log.note_written(1, batch.end, true);
    assert!(log.is_met(&log.gate(0, position)));
    assert_eq!(log.position_of(0, [8u64].into_iter()), 0);
}

#[test]
fn what_could_not_be_written_comes_first_the_next_time() {
    let log = Log::new(1, 1);
    log.begin(None, 1);
    let record = |bytes: &'static [u8]| Record { db: 3, bytes, hashes: SmallVec::new() };
    log.append(0, &[record(b"*1\r\n$1\r\nA\r\n")], true);
    let batch = log.take(0, Vec::new()).expect("something to write");
    let end = batch.end;
    log.append(0, &[record(b"*1\r\n$1\r\nB\r\n")], true);
    log.put_back(0, batch);
    let batch = log.take(0, Vec::new()).expect("both");
    let text = String::from_utf8(batch.records.clone()).expect("text");
    assert!(text.find("A").expect("the first") < text.find("B").expect("the second"), "{text}");
    assert_eq!(text.matches("SELECT").count(), 1);
    assert!(end < batch.end && log.position(0) == batch.end && log.has_pending(0));
    log.note_written(0, batch.end, false);
    assert!(!log.has_pending(0) && log.synced(0) == 0 && log.take(0, Vec::new()).is_none());
}

#[test]
fn what_a_sync_has_lost_is_mended_by_a_base_behind_it() {
    let log = Log::new(2, 1);
    assert!(!log.has_lost() && !log.is_rewrite_wanted());
    log.note_lost(3);
    log.note_lost(2);
    assert!(log.has_lost() && log.is_rewrite_wanted());
    log.note_base(3);
    assert!(log.has_lost(), "the file that lost something is behind that base");
    log.note_base(4);
    assert!(!log.has_lost());
}

#[test]
fn a_log_that_is_gone_is_safe_again_when_it_has_begun_anew() {
    let log = Log::new(2, 1);
    let (send, errands) = channel();
    log.set_clerk(Some(send));
    log.begin(None, 1);
    let texts = [text(1, 0)];
    let write = |lane: usize| {
        let batch = log.take(lane, Vec::new()).expect("something to write");
        log.note_written(lane, batch.end, true);
        batch.file
    };
    (0..2).for_each(|lane| {
        log.append(lane, &records(&texts), true);
        write(lane);
    });
    assert_eq!(log.synced(0), log.position(0));
    assert!(log.has_place() && log.note_gone(2) && !log.note_gone(2));
    assert!(log.has_failed() && log.error() == Some(2) && !log.has_place());
    // What is written now is safe nowhere.
    let safe = log.synced(0);
    let position = log.append(0, &records(&texts), true);
    assert_eq!(write(0), 1);
    assert_eq!((log.synced(0), log.written(0)), (safe, position));
    let gate = log.gate(0, position);
    assert!(!log.is_met(&gate));
    log.append(1, &records(&texts), true);
    let under_way = log.take(1, Vec::new()).expect("something to write");
    log.append(1, &records(&texts), true);
    log.note_place();
    assert!(log.has_place() && log.is_rewrite_wanted() && log.has_failed());
    let mut told = 0;
    let first = log.begin_at_cut(|first| told = first);
    assert_eq!((told, log.is_partial()), (first, true));
    assert!(errands.try_iter().any(|errand| matches!(errand, Errand::Begun(opened) if opened.first == first)));
    // What was for files of before comes into none.
    log.put_back(1, under_way);
    assert_eq!((write(0), write(1)), (first, first + 1));
    assert!(!log.is_met(&gate) && log.has_failed(), "there is no base yet");
    assert!(log.note_whole() && !log.has_failed() && !log.is_partial());
    log.note_synced(0, log.written(0));
    log.note_known(log.generation());
    assert!(log.is_met(&gate));
    assert!(!log.note_whole(), "it was there");
}

#[test]
fn a_log_that_is_off_is_closed_when_all_is_written_and_its_errors_are_forgotten() {
    let log = Log::new(1, 1);
    assert!(log.is_closed());
    log.begin(None, 1);
    log.append(0, &records(&[text(1, 0)]), true);
    log.note_open(0, true);
    log.note_error(0, 28);
    log.note_gone(2);
    log.end();
    assert!(!log.has_failed() && log.error().is_none() && !log.is_gone() && !log.is_closed());
    let batch = log.take(0, Vec::new()).expect("it is still to be written");
    log.note_written(0, batch.end, true);
    assert!(!log.is_closed(), "a file is open");
    log.note_open(0, false);
    assert!(log.is_closed());
    log.begin_rewrite(5);
    assert!(!log.is_closed(), "a base is being written");
}

#[test]
fn buffers_count_until_there_is_nothing_to_write_for_a_moment() {
    let log = Log::new(2, 1);
    log.begin(None, 1);
    let text = vec![b'x'; 10_000];
    for _ in 0..100 {
        log.append(1, &records(std::slice::from_ref(&text)), true);
    }
    assert!((1_000_000..3_000_000).contains(&log.buffer_bytes()), "{}", log.buffer_bytes());
    log.rest(1, 1000);
    let batch = log.take(1, Vec::with_capacity(5000)).expect("there is something to write");
    assert!(1_000_000 <= batch.records.len());
    assert!(batch.records.capacity() as u64 + 5000 <= log.buffer_bytes(), "it counts all the time");
    log.note_writing(1, batch.records.capacity());
    assert!(1_000_000 <= log.buffer_bytes());
    log.put_back(1, batch);
    log.note_writing(1, 0);
    assert!(1_000_000 <= log.buffer_bytes(), "it is there again");
    log.take(1, Vec::with_capacity(5000)).expect("as before");
    log.note_writing(1, 0);
    log.rest(1, 6000);
    assert!(5000 <= log.buffer_bytes(), "so much is kept");
    log.rest(1, 1000);
    assert!(log.buffer_bytes() < 100, "heads of files");
}
