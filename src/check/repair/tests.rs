//! Plans, on logs in memory: of lanes, of another server's files, and with everything that can be missing.

use super::super::log::{Report, examine, examine_single};
use super::super::memory::Memory;
use super::super::{Problem, Verdict, tell};
use super::*;
use crate::aof::group::{self, BLOCK_BYTES, Lane};
use crate::aof::record;
use proptest::prelude::*;

const MANIFEST: &str = "log.manifest";

fn examined(files: &Memory) -> Report {
    examine(files, None, 0).expect("memory").expect("a log")
}

fn repaired(files: &Memory) -> Result<(Memory, Plan), String> {
    let plan = repair(files, &examined(files), 0).expect("memory")?.expect("it is damaged");
    Ok((files.after(&plan.steps), plan))
}

fn set(value: &str) -> Vec<u8> {
    let mut records = Vec::new();
    record::write(&mut records, &[b"SET", b"key", value.as_bytes()]);
    records
}

fn push(file: &mut Vec<u8>, seq: u64, shares: u64, records: &[u8]) {
    let mut number = 0;
    let mut at = 0;
    while let Some(header) = group::header(&file[at..]) {
        number += 1;
        at += header.bytes as usize;
    }
    let mut group = vec![0; group::bytes_for(records.len())];
    group::seal(&mut group, group::Place { file: seq, number, synced: number }, shares, records);
    file.extend_from_slice(&group);
}

fn manifest(incrs: &[u64]) -> Vec<u8> {
    let line = |seq: &u64| format!("file log.{seq}.incr.aof seq {seq} type i\n");
    incrs.iter().map(line).collect::<String>().into_bytes()
}

/// Two lanes: steps of one second each, in lane 0, in lane 1, or in both as shares.
fn lanes(steps: &[u8]) -> Memory {
    let mut files = [Vec::new(), Vec::new()];
    for (lane, file) in files.iter_mut().enumerate() {
        let mut records = Vec::new();
        group::write_lane(&mut records, Lane { lane, lanes: 2, first: 1 });
        push(file, lane as u64 + 1, 0, &records);
    }
    for (number, step) in steps.iter().enumerate() {
        let time = 100 + number as u64;
        for (lane, file) in files.iter_mut().enumerate().filter(|(lane, _)| usize::from(*step) == *lane || *step == 2) {
            let mut records = Vec::new();
            if *step == 2 {
                group::write_share(&mut records, number as u64, &[1, 2]);
            }
            group::write_time(&mut records, time);
            records.extend(set(&number.to_string()));
            push(file, lane as u64 + 1, u64::from(*step == 2), &records);
        }
    }
    let [a, b] = files;
    Memory::of([("log.1.incr.aof", a), ("log.2.incr.aof", b), (MANIFEST, manifest(&[1, 2]))])
}

fn problems(report: &Report) -> Vec<(String, Option<u64>)> {
    report.problems.iter().map(|Problem { file, offset, .. }| (file.clone(), *offset)).collect()
}

#[test]
fn a_whole_log_is_left_alone() {
    let files = lanes(&[0, 1, 2]);
    let report = examined(&files);
    assert_eq!((report.verdict(), report.problems.len(), report.lanes()), (Verdict::Whole, 0, Some(2)));
    assert_eq!((report.commands().commands, report.commands().times), (4, Some((100, 102))));
    assert_eq!(repair(&files, &report, 0).expect("memory"), Ok(None));
    let mut with_room = files.clone();
    with_room.0.get_mut("log.1.incr.aof").expect("there").extend_from_slice(&[0; 9000]);
    assert_eq!(examined(&with_room).verdict(), Verdict::Whole);
    // Not to other servers: what they would stumble upon can be cut off, and nothing is lost by that.
    let (trimmed, plan) = repaired(&with_room).expect("it can be");
    assert_eq!(trimmed, files);
    assert_eq!((plan.steps.len(), plan.loss.bytes, plan.loss.commands, plan.loss.is_middle), (1, 0, 0, false));
}

#[test]
fn a_share_without_its_other_half_is_taken_back_on_both_lanes() {
    let mut files = lanes(&[0, 1, 2, 0, 1]);
    // Lane 1: lane note, step 1, the share, step 4. Without the last two blocks the share is gone.
    files.0.get_mut("log.2.incr.aof").expect("there").truncate(2 * BLOCK_BYTES + 100);
    let report = examined(&files);
    let expected = [("log.2.incr.aof".to_string(), Some(8192)), ("log.1.incr.aof".to_string(), Some(8192))];
    assert_eq!(problems(&report), expected);
    assert!(report.problems[1].what.contains("whose other parts are not all in log.2.incr.aof"));
    let (after, plan) = repaired(&files).expect("it can be");
    assert_eq!(after.0["log.1.incr.aof"].len(), 2 * BLOCK_BYTES);
    assert_eq!(after.0["log.2.incr.aof"].len(), 2 * BLOCK_BYTES);
    let loss = &plan.loss;
    assert_eq!((loss.bytes, loss.commands, loss.is_middle), (2 * 4096 + 100, 2, false));
    assert_eq!((loss.last_kept, loss.first_lost), (Some(101), Some(102)));
}

#[test]
fn damage_in_the_middle_is_said_to_be_that() {
    let mut files = lanes(&[0, 0, 0, 1]);
    files.0.get_mut("log.1.incr.aof").expect("there")[2 * BLOCK_BYTES + 200] ^= 1;
    let report = examined(&files);
    let what = "log.1.incr.aof at offset 8192: group 2 of 4096 bytes has another checksum than it should; from offset \
                12288 on, 1 groups with 1 commands can be read again";
    assert_eq!(report.problems[0].to_string(), what);
    let (after, plan) = repaired(&files).expect("it can be");
    assert!(plan.loss.is_middle);
    assert_eq!((plan.loss.commands, examined(&after).commands().commands), (1, 2));
}

#[test]
fn a_group_whose_first_line_is_broken_is_not_taken_for_commands() {
    let mut files = lanes(&[]);
    let lane = files.0.get_mut("log.2.incr.aof").expect("there");
    lane.clear();
    let mut records = Vec::new();
    group::write_lane(&mut records, Lane { lane: 1, lanes: 2, first: 1 });
    records.extend(set("1"));
    push(lane, 2, 0, &records);
    lane[2] ^= 1;
    assert_eq!(problems(&examined(&files)), [("log.2.incr.aof".to_string(), Some(0))]);
    let (after, plan) = repaired(&files).expect("it can be");
    assert!(plan.loss.is_middle && plan.loss.commands == 1 && after.0["log.2.incr.aof"].is_empty());
}

#[test]
fn a_damaged_key_in_the_middle_of_a_snapshot_is_counted_as_lost() {
    let (head, broken) = (b"REDIS0009\xfe\0".as_slice(), b"\x0b\x01k\x03xyz".as_slice());
    let rest = b"\0\x01a\x01b\xff\0\0\0\0\0\0\0\0".as_slice();
    let files = Memory([("dump.rdb".to_string(), [head, broken, rest].concat())].into());
    let report = examine_single(&files, "dump.rdb", 0).expect("memory").expect("a snapshot");
    let (all, whole) = (head.len() + broken.len() + rest.len(), head.len() + rest.len());
    let told = tell::text(&report, ".");
    assert!(told.contains(&format!("\n.: damaged: {whole} of {all} bytes are whole\n")), "{told}");
    assert!(told.contains(&format!(" whole up to offset {}, ", head.len())), "{told}");
    assert!(tell::json(&report, ".").to_string().contains(&format!("\"whole_bytes\":{whole},")), "{told}");
    let plan = repair(&files, &report, 0).expect("memory").expect("a plan").expect("it is damaged");
    assert_eq!((plan.loss.keys, plan.loss.damaged_keys), (0, 1));
    let told = tell::plan_text(&plan);
    let expected = format!(
        "lost would be: {} bytes, 0 commands, 0 keys that can be read, 1 that the check calls damaged\n",
        broken.len()
    );
    assert!(told.contains(&expected), "{told}");
    let after = files.after(&plan.steps);
    assert_eq!(after.0["dump.rdb"], [head, rest].concat());
}

#[test]
fn what_is_missing_is_told_and_the_rest_is_saved_if_that_makes_sense() {
    // A lane: the other one stays, without its shares.
    let mut files = lanes(&[0, 2, 0]);
    files.0.remove("log.2.incr.aof");
    assert!(examined(&files).problems[0].what.contains("log.2.incr.aof doesn't exist"));
    let (after, plan) = repaired(&files).expect("it can be");
    assert!(plan.loss.is_middle);
    assert_eq!((after.0["log.1.incr.aof"].len(), after.0["log.2.incr.aof"].len()), (2 * BLOCK_BYTES, 0));

    // The manifest, or what is in it.
    for text in [None, Some(&b""[..]), Some(b"garbage\n"), Some(b"file log.1.incr.aof seq 1 type i")] {
        let mut files = lanes(&[0, 1, 2]);
        let whole = files.clone();
        match text {
            None => drop(files.0.remove(MANIFEST)),
            Some(text) => drop(files.0.insert(MANIFEST.into(), text.to_vec())),
        }
        let report = examined(&files);
        assert_eq!(report.verdict(), Verdict::Damaged);
        let (after, plan) = repaired(&files).expect("it can be");
        assert_eq!(after, whole, "{text:?}");
        assert_eq!((plan.loss.bytes, plan.loss.commands, plan.loss.is_middle), (0, 0, false));
    }
    // Two bases: nobody knows which.
    let mut files = lanes(&[0]);
    files.0.remove(MANIFEST);
    files.0.insert("log.1.base.aof".into(), set("a"));
    files.0.insert("log.2.base.aof".into(), set("b"));
    assert!(repaired(&files).expect_err("it cannot be").contains("cannot be made anew"));
    // A gap.
    let mut files = lanes(&[0]);
    files.0.remove(MANIFEST);
    let moved = files.0.remove("log.2.incr.aof").expect("there");
    files.0.insert("log.3.incr.aof".into(), moved);
    assert!(repaired(&files).is_err());
}

/// A base and increments as Redis writes them.
fn foreign(files: &[&[u8]]) -> Memory {
    let mut memory = Memory::of([("log.1.base.aof", files[0].to_vec())]);
    let mut text = String::from("file log.1.base.aof seq 1 type b\n");
    for (at, file) in files[1..].iter().enumerate() {
        let (name, seq) = (format!("log.{}.incr.aof", at + 1), at + 1);
        text.push_str(&format!("file {name} seq {seq} type i\n"));
        memory.0.insert(name, file.to_vec());
    }
    memory.0.insert(MANIFEST.into(), text.into_bytes());
    memory
}

#[test]
fn what_came_later_than_damage_is_taken_out_of_the_log() {
    let broken = [set("2"), b"garbage".to_vec()].concat();
    let files = foreign(&[&set("1"), &broken, &set("3"), &set("4")]);
    let (after, plan) = repaired(&files).expect("it can be");
    assert!(plan.loss.is_middle);
    assert_eq!(plan.loss.commands, 2);
    assert_eq!(after.0.keys().collect::<Vec<_>>(), ["log.1.base.aof", "log.1.incr.aof", MANIFEST]);
    assert_eq!(after.0["log.1.incr.aof"], set("2"));
    // At the end of the last one nothing else is touched.
    let files = foreign(&[&set("1"), &set("2"), &broken]);
    let (after, plan) = repaired(&files).expect("it can be");
    assert_eq!((after.0.len(), plan.loss.bytes, plan.loss.is_middle), (4, 7, false));
    // A base is not cut where something goes on with it.
    let files = foreign(&[&broken, &set("1")]);
    assert!(repaired(&files).expect_err("it cannot be").contains("the base log.1.base.aof is damaged"));
    let files = foreign(&[&broken, b""]);
    assert_eq!(repaired(&files).expect("it can be").0.0["log.1.base.aof"], set("2"));
    let mut files = foreign(&[&broken, &set("1")]);
    files.0.remove("log.1.base.aof");
    assert!(repaired(&files).expect_err("it cannot be").contains("is not there"));
}

#[test]
fn what_is_not_known_is_not_repaired() {
    let mut unknown = set("1");
    record::write(&mut unknown, &[b"MODULE.SET", b"x"]);
    let files = foreign(&[b"", &unknown]);
    let report = examined(&files);
    assert_eq!(report.verdict(), Verdict::Unknown);
    assert!(repair(&files, &report, 0).expect("memory").expect_err("no").contains("unknown command 'MODULE.SET'"));
}

fn cut_at(files: &Memory, seconds: u64) -> Planned {
    truncate(files, &examined(files), seconds, 0).expect("memory")
}

#[test]
fn a_log_is_cut_at_a_time_on_all_lanes() {
    let files = lanes(&[0, 1, 2, 0, 1]);
    assert_eq!(cut_at(&files, 104), Ok(None));
    for last in 100..104 {
        let plan = cut_at(&files, last).expect("it can be").expect("something is later");
        let after = files.after(&plan.steps);
        let report = examined(&after);
        assert_eq!(report.verdict(), Verdict::Whole);
        let kept = [0, 1, 2, 4, 5][(last - 99) as usize];
        assert_eq!((report.commands().commands, plan.loss.commands), (kept, 6 - kept), "{last}");
        assert_eq!((plan.loss.last_kept, plan.loss.first_lost), (Some(last), Some(last + 1)));
    }
    let nothing = cut_at(&files, 5).expect("it can be").expect("all is later");
    assert_eq!(examined(&files.after(&nothing.steps)).commands().commands, 0);
    let without = foreign(&[b"", &set("1")]);
    assert!(cut_at(&without, 5).expect_err("no").contains("aof-timestamp-enabled"));
    let mut damaged = files.clone();
    damaged.0.get_mut("log.2.incr.aof").expect("there").truncate(5000);
    assert!(cut_at(&damaged, 5).expect_err("no").contains("has to be mended before"));
}

#[test]
fn files_of_other_servers_are_cut_at_a_time_and_later_ones_go() {
    let timed = |seconds: &[u64]| {
        let mut file = Vec::new();
        for seconds in seconds {
            group::write_time(&mut file, *seconds);
            file.extend(set(&seconds.to_string()));
        }
        file
    };
    let files = foreign(&[b"", &timed(&[1, 2, 3]), &timed(&[4, 5])]);
    let plan = cut_at(&files, 2).expect("it can be").expect("something is later");
    let after = files.after(&plan.steps);
    assert_eq!(after.0["log.1.incr.aof"], timed(&[1, 2]));
    assert!(!after.0.contains_key("log.2.incr.aof") && !after.0[MANIFEST].windows(5).any(|word| word == b"log.2"));
    assert_eq!((plan.loss.commands, plan.loss.last_kept, plan.loss.first_lost), (3, Some(2), Some(3)));
    let plan = cut_at(&files, 4).expect("it can be").expect("something is later");
    assert_eq!(plan.steps.keys().collect::<Vec<_>>(), ["log.2.incr.aof"]);
}

proptest! {
    /// Whatever is cut off, zeroed or flipped: what is repaired is whole, has every group before the damage that no
    /// share draws back, and nothing that was not there.
    #[test]
    fn a_repaired_log_is_whole_and_no_worse(
        steps in proptest::collection::vec(0u8..3, 0..12), lane in 1u64..3,
        at in any::<proptest::sample::Index>(), how in 0u8..3,
    ) {
        let whole = lanes(&steps);
        let mut files = whole.clone();
        let name = format!("log.{lane}.incr.aof");
        let file = files.0.get_mut(&name).expect("there");
        let at = at.index(file.len());
        match how {
            0 => file.truncate(at),
            1 => file[at..].fill(0),
            _ => file[at] ^= 4,
        }
        let report = examined(&files);
        let mended = match report.verdict() {
            // Zeros from a group on are room; a file of nothing is a lane into which nothing was written.
            Verdict::Whole => files.clone(),
            _ => match repaired(&files) {
                Ok((mended, _)) => mended,
                Err(why) => return Err(TestCaseError::fail(why)),
            },
        };
        let after = examined(&mended);
        prop_assert_eq!(after.verdict(), Verdict::Whole);
        // Steps that are not behind a lost one on the lane that was damaged, nor drawn back by one, are there.
        let groups = (at / BLOCK_BYTES) as u64;
        let (mut seen, mut kept, mut is_open) = (1u64, 0u64, [true, true]);
        for step in &steps {
            let takes = |lane: usize| usize::from(*step) == lane || *step == 2;
            let damaged = lane as usize - 1;
            if takes(damaged) {
                seen += 1;
                is_open[damaged] &= seen <= groups;
            }
            let is_kept = (0..2).all(|lane| !takes(lane) || is_open[lane]);
            kept += if is_kept { (0..2).filter(|lane| takes(*lane)).count() as u64 } else { 0 };
            (0..2).filter(|lane| takes(*lane)).for_each(|lane| is_open[lane] &= is_kept);
        }
        prop_assert!(kept <= after.commands().commands, "{} < {kept}", after.commands().commands);
        for (name, bytes) in &mended.0 {
            prop_assert!(whole.0[name].starts_with(bytes) || name == MANIFEST || bytes.ends_with(&[0]));
        }
    }
}
