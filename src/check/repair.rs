//! What would make a log or a file whole again, or as it was at a time. Each plan is tried on the files as they would
//! be, before anybody hears of it.

use super::log::{Report, examine, examine_single};
use super::plan::{Loss, Patched, Plan, Step, part_bytes};
use super::snapshot::{self, Part, Snapshot};
use super::{FileReport, Files, Format, Role, Verdict, Weight, commands, time};
use crate::aof::recovery::{self, Cut, Source, Tail};
use std::collections::BTreeMap;
use std::io;

/// A plan; nothing is to be done; or why there is none.
type Planned = Result<Option<Plan>, String>;

/// What is lost with a snapshot's last key that is not whole, if no other key is larger.
const LAST_BYTES_MAX: u64 = 4096;

/// A plan on its way.
#[derive(Default)]
struct Draft {
    steps: BTreeMap<String, Step>,
    /// Where commands begin to be lost, by name: the number of the file, the place, and whether it is one of groups.
    lost_from: BTreeMap<String, (u64, Cut, bool)>,
    is_middle: bool,
    is_doubtful: bool,
}

impl Draft {
    /// A file loses what is behind a place.
    fn cut(&mut self, file: &FileReport, number: u64, cut: Cut, is_lane: bool, group: Vec<u8>) {
        let mut parts = vec![Part::Old(0..cut.group)];
        if !group.is_empty() {
            parts.push(Part::New(group));
        }
        self.steps.insert(file.name.clone(), Step::Write(parts));
        self.lost_from.insert(file.name.clone(), (number, cut, is_lane));
    }
}

/// What makes it whole again: everything before what is broken, on all lanes up to the same moment. Room that was not
/// used goes too: to the server it is none, but other servers take it for damage.
///
/// # Errors
/// Those of the medium; within: why it cannot be made whole.
pub fn repair<F: Files>(files: &F, report: &Report, now_ms: u64) -> io::Result<Planned> {
    match report.verdict() {
        Verdict::Whole if report.files.iter().all(|file| file.room_bytes == 0) => return Ok(Ok(None)),
        Verdict::Whole => return finish(files, report, Draft::default(), now_ms),
        Verdict::Unknown => {
            let what = &report.problems[0];
            return Ok(Err(format!("nothing is known to be damaged, and what is not known stays as it is: {what}")));
        }
        Verdict::Damaged => {}
    }
    let Some(manifest_name) = &report.manifest_name else {
        return repair_single(files, report, now_ms);
    };
    if report.files.is_empty() {
        return Ok(Err("the manifest cannot be made anew from the names of the files that are there".into()));
    }
    let mut draft = Draft::default();
    let is_broken = |file: &FileReport| {
        let damage = |problem: &&super::Problem| problem.file == file.name && problem.weight == Weight::Damage;
        report.problems.iter().any(|problem| damage(&problem))
    };
    let (bases, incrs): (Vec<&FileReport>, Vec<&FileReport>) =
        report.files.iter().partition(|file| file.role == Role::Base);
    for base in bases.into_iter().filter(|base| is_broken(base)) {
        if base.format == Format::Missing {
            return Ok(Err(format!("the base {} is not there: all files behind it go on with it", base.name)));
        }
        if incrs.iter().any(|incr| 0 < incr.commands.commands + incr.behind.1) {
            return Ok(Err(format!(
                "the base {0} is damaged, and the files behind it go on with what is lost. What can be read of it can \
                 be saved by itself: copy it elsewhere, and run corering-check --fix on the copy",
                base.name
            )));
        }
        if let Err(why) = mend(files, base, &mut draft)? {
            return Ok(Err(why));
        }
    }
    let mut dropped_from = None;
    for (at, file) in incrs.iter().enumerate() {
        let recovery::File { file: number, scan } = &report.scans[at];
        let (cut, has_rest) = (report.cuts.get(number), incrs[at + 1..].iter().any(|rest| 0 < rest.bytes));
        if file.format == Format::Missing {
            draft.is_middle = true;
            if is_in_generation(report, *number) {
                draft.steps.insert(file.name.clone(), Step::Write(Vec::new()));
                continue;
            }
            dropped_from = Some(at);
            break;
        }
        draft.is_middle |= file.behind != (0, 0);
        if let Some(cut) = cut {
            let mut source = files.open(&file.name)?.expect("it was there");
            let group = recovery::cut_group(&mut source, *number, *cut)?;
            draft.cut(file, *number, *cut, true, group);
        } else if is_broken(file) {
            let is_lane = matches!(scan.tail, Tail::Torn | Tail::Damaged(_));
            let whole = Cut { group: file.readable_bytes, at: 0 };
            draft.cut(file, *number, whole, is_lane, Vec::new());
            // Other servers write one file after the other: what is in later ones came later.
            if !is_lane && has_rest {
                dropped_from = Some(at + 1);
                break;
            }
        }
    }
    let mut manifest = report.manifest().clone();
    if let Some(at) = dropped_from {
        for (entry, file) in manifest.incrs[at..].iter().zip(&incrs[at..]) {
            draft.is_middle |= 0 < file.commands.commands;
            if file.format != Format::Missing {
                draft.steps.insert(entry.name.clone(), Step::Remove);
            }
        }
        manifest.incrs.truncate(at);
    }
    if report.is_rebuilt || dropped_from.is_some() {
        let text = manifest.text().into_bytes();
        draft.steps.insert(manifest_name.clone(), Step::Write(vec![Part::New(text)]));
    }
    finish(files, report, draft, now_ms)
}

/// Whether a file belongs to a generation of lanes, of which others are there.
fn is_in_generation(report: &Report, number: u64) -> bool {
    let lanes = report.scans.iter().filter_map(|file| file.scan.lane);
    lanes.into_iter().any(|lane| (lane.first..lane.first + lane.lanes as u64).contains(&number))
}

fn repair_single<F: Files>(files: &F, report: &Report, now_ms: u64) -> io::Result<Planned> {
    let file = &report.files[0];
    let mut draft = Draft { is_middle: file.behind != (0, 0), ..Draft::default() };
    if file.format == Format::Lane && file.snapshot.is_none() {
        let number = report.scans[0].file;
        draft.cut(file, number, Cut { group: file.readable_bytes, at: 0 }, true, Vec::new());
    } else if let Err(why) = mend(files, file, &mut draft)? {
        return Ok(Err(why));
    }
    finish(files, report, draft, now_ms)
}

/// A snapshot, commands, or both.
fn mend<F: Files>(files: &F, file: &FileReport, draft: &mut Draft) -> io::Result<Result<(), String>> {
    draft.is_middle |= file.behind != (0, 0);
    let Some(snapshot) = &file.snapshot else {
        draft.cut(file, 0, Cut { group: file.readable_bytes, at: 0 }, false, Vec::new());
        return Ok(Ok(()));
    };
    let mut source = files.open(&file.name)?.expect("it was there");
    let Some(mut parts) = snapshot::salvage(&mut source, snapshot)? else {
        return Ok(Err(format!("nothing of the snapshot {} can be read", file.name)));
    };
    if file.format == Format::Preamble {
        match parts.last_mut() {
            Some(Part::Old(range)) if range.start == snapshot.bytes => range.end = file.readable_bytes,
            _ => {}
        }
        draft.lost_from.insert(file.name.clone(), (0, Cut { group: file.readable_bytes, at: 0 }, false));
    }
    let is_cut = !snapshot.has_end && snapshot.dropped.is_empty() && is_at_end(file, snapshot);
    // All of it can be read: what is wrong is the checksum, or stands behind it.
    let is_all = snapshot.has_end && snapshot.dropped.is_empty();
    draft.is_middle |= !is_cut && !is_all;
    draft.is_doubtful |= is_all && snapshot.has_wrong_checksum;
    draft.steps.insert(file.name.clone(), Step::Write(parts));
    Ok(Ok(()))
}

/// Whether a snapshot was cut, as far as that can be told: it ends within something that is no larger than others. A
/// length that is wrong ends there too, and hides keys that are whole.
fn is_at_end(file: &FileReport, snapshot: &Snapshot) -> bool {
    let largest = snapshot.largest.first().map_or(0, |large| large.bytes);
    snapshot.is_short && file.bytes - file.readable_bytes <= largest.max(LAST_BYTES_MAX)
}

/// What makes it as it was at a time, as far as annotations tell times.
///
/// # Errors
/// Those of the medium; within: why that cannot be.
pub fn truncate<F: Files>(files: &F, report: &Report, seconds: u64, now_ms: u64) -> io::Result<Planned> {
    if report.verdict() != Verdict::Whole {
        let what = &report.problems[0];
        return Ok(Err(format!("it is not whole, which has to be mended before: {what}")));
    }
    let has_log = |file: &FileReport| !matches!(file.format, Format::Snapshot | Format::Empty);
    if !report.files.iter().any(has_log) {
        return Ok(Err("it has no commands, so nothing of it can be taken back".into()));
    }
    if report.commands().times.is_none() {
        return Ok(Err("it has no times (aof-timestamp-enabled was off), so it cannot be cut at one".into()));
    }
    let wanted = time::text(seconds);
    for file in &report.files {
        let made = file.snapshot.as_ref().and_then(snapshot::Snapshot::made_seconds);
        if let Some(made) = made.filter(|made| seconds < *made) {
            let made = time::text(made);
            return Ok(Err(format!("the snapshot in {} was made at {made}, after {wanted}", file.name)));
        }
    }
    let mut draft = Draft::default();
    let mut dropped_from = None; // Among all files.
    let is_base = |at: usize| report.files[at].role != Role::Incr || report.manifest_name.is_none();
    let incr_of = |at: usize| at - report.files.iter().take_while(|file| file.role == Role::Base).count();
    let mut limits = BTreeMap::new();
    let mut at = 0;
    while at < report.files.len() {
        let file = &report.files[at];
        let mut end = at + 1;
        if is_base(at) && file.format != Format::Lane {
            let start = file.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes);
            let mut source = files.open(&file.name)?.expect("it was there");
            if file.format != Format::Snapshot
                && let Some(offset) = commands::plain_cut(&mut source, start, seconds)?
            {
                draft.cut(file, 0, Cut { group: offset, at: 0 }, false, Vec::new());
                dropped_from = Some(end);
            }
        } else {
            // All lanes of a generation are cut, and what is in later ones came later.
            let first = report.scans[incr_of(at)].scan.lane.map(|lane| lane.first..lane.first + lane.lanes as u64);
            let first = first.or_else(|| generation(report, report.scans[incr_of(at)].file));
            while end < report.files.len()
                && first.as_ref().is_some_and(|numbers| numbers.contains(&report.scans[incr_of(end)].file))
            {
                end += 1;
            }
            for index in at..end {
                let (file, recovery::File { file: number, scan }) =
                    (&report.files[index], &report.scans[incr_of(index)]);
                let mut source = files.open(&file.name)?.expect("it was there");
                let cut = commands::lane_cut(&mut source, *number, scan.bytes, seconds)?;
                if let Some(cut) = cut {
                    limits.insert(*number, cut);
                } else if matches!(file.format, Format::Commands | Format::LaneAndCommands)
                    && let Some(offset) = commands::plain_cut(&mut source, scan.bytes, seconds)?
                {
                    draft.cut(file, *number, Cut { group: offset, at: 0 }, false, Vec::new());
                    dropped_from = Some(end);
                }
            }
            if !limits.is_empty() {
                dropped_from = Some(end);
            }
        }
        if dropped_from.is_some() {
            break;
        }
        at = end;
    }
    let Some(dropped_from) = dropped_from else { return Ok(Ok(None)) };
    let kept = dropped_from.saturating_sub(report.files.len() - report.scans.len()).min(report.scans.len());
    for (number, cut) in recovery::cuts_within(&report.scans[..kept], limits) {
        let at = report.scans.iter().position(|file| file.file == number).expect("only these are cut");
        let file = &report.files[at + report.files.len() - report.scans.len()];
        let mut source = files.open(&file.name)?.expect("it was there");
        let group = recovery::cut_group(&mut source, number, cut)?;
        draft.cut(file, number, cut, true, group);
    }
    if let Some(manifest_name) = &report.manifest_name
        && dropped_from < report.files.len()
    {
        let mut manifest = report.manifest().clone();
        manifest.incrs.truncate(kept);
        for file in &report.files[dropped_from..] {
            draft.steps.insert(file.name.clone(), Step::Remove);
        }
        draft.steps.insert(manifest_name.clone(), Step::Write(vec![Part::New(manifest.text().into_bytes())]));
    }
    let planned = finish(files, report, draft, now_ms)?;
    if let Ok(Some(plan)) = &planned {
        assert!(plan.loss.last_kept.is_none_or(|last| last <= seconds), "what is later is cut");
    }
    Ok(planned)
}

/// The numbers of the generation to which a file without a group belongs.
fn generation(report: &Report, number: u64) -> Option<std::ops::Range<u64>> {
    let lanes = report.scans.iter().filter_map(|file| file.scan.lane);
    let mut ranges = lanes.map(|lane| lane.first..lane.first + lane.lanes as u64);
    ranges.find(|range| range.contains(&number))
}

/// Tries a draft, and counts what is lost.
fn finish<F: Files>(files: &F, report: &Report, draft: Draft, now_ms: u64) -> io::Result<Planned> {
    let Draft { mut steps, lost_from, is_middle, is_doubtful } = draft;
    for file in report.files.iter().filter(|file| file.room_bytes != 0) {
        let trimmed = || Step::Write(vec![Part::Old(0..file.readable_bytes)]);
        steps.entry(file.name.clone()).or_insert_with(trimmed);
    }
    let patched = Patched { files, steps: &steps };
    let after = match &report.manifest_name {
        Some(manifest) => examine(&patched, Some(manifest), now_ms)?,
        None => examine_single(&patched, &report.files[0].name, now_ms)?,
    };
    let after = match after {
        Ok(after) => after,
        Err(why) => return Ok(Err(format!("it would not be whole afterwards either: {why}"))),
    };
    if let Some(problem) = after.problems.iter().find(|problem| problem.weight == Weight::Damage) {
        return Ok(Err(format!("it would not be whole afterwards either: {problem}")));
    }
    let mut loss = Loss { is_middle, is_doubtful, ..Loss::default() };
    for (name, step) in &steps {
        let Some(file) = files.open(name)?.filter(|_| Some(name) != report.manifest_name.as_ref()) else { continue };
        let kept = match step {
            Step::Write(parts) => parts.iter().map(part_bytes).sum(),
            Step::Remove => 0,
        };
        let room_bytes = report.files.iter().find(|of| of.name == *name).map_or(0, |of| of.room_bytes);
        loss.bytes += file.len().saturating_sub(kept).saturating_sub(room_bytes);
    }
    let behind: u64 = report.files.iter().map(|file| file.behind.1).sum();
    loss.commands = (report.commands().commands + behind).saturating_sub(after.commands().commands);
    loss.keys = report.keys().saturating_sub(after.keys());
    let changed = report.files.iter().filter(|file| steps.contains_key(&file.name));
    loss.damaged_keys = changed.map(|file| file.dropped().len() as u64).sum();
    loss.last_kept = after.commands().times.map(|(_, last)| last);
    let removed = report.files.iter().filter(|file| steps.get(&file.name) == Some(&Step::Remove));
    let mut first_lost: Vec<u64> = removed.filter_map(|file| file.commands.times).map(|(first, _)| first).collect();
    for (name, (number, cut, is_lane)) in &lost_from {
        let mut source = files.open(name)?.expect("it was there");
        if cut.group < source.len() {
            first_lost.extend(commands::first_time(&mut source, *number, *cut, *is_lane)?);
        }
    }
    loss.first_lost = first_lost.into_iter().min();
    Ok(Ok(Some(Plan { steps, loss })))
}

#[cfg(test)]
mod tests;
