//! A whole log, or a file by itself: what it is made of, and what is wrong with it.

use super::commands::{self, Commands};
use super::{FileReport, Files, Format, Problem, Role, Verdict, Weight, snapshot, verdict};
use crate::aof::group;
use crate::aof::manifest::{self, Entry, Kind, Manifest};
use crate::aof::recovery::{self, Cut, Scan, Source, Tail};
use crate::rdb::load::{begins_snapshot, is_snapshot};
use std::collections::BTreeMap;
use std::io;

/// The longest beginning that tells what a file is.
const HEAD_BYTES: u64 = 16;
/// What names of backups have in them, and a number behind it.
pub const BACKUP: &str = ".bak-";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The manifest's name; `None`: it is a file by itself.
    pub manifest_name: Option<String>,
    /// The files in the order in which they are loaded.
    pub files: Vec<FileReport>,
    /// Files of the log that the manifest does not name, and their bytes.
    pub orphans: Vec<(String, u64)>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth knowing, and not wrong.
    pub remarks: Vec<String>,
    /// What the manifest says, or should say.
    pub(super) manifest: Manifest,
    /// The manifest on disk is another one, or none.
    pub(super) is_rebuilt: bool,
    /// What the incr files are, in their order.
    pub(super) scans: Vec<recovery::File>,
    /// Where they are cut so that what was written on several shards is whole.
    pub(super) cuts: BTreeMap<u64, Cut>,
}

impl Report {
    fn new(manifest_name: Option<String>) -> Report {
        Report {
            manifest_name,
            files: Vec::new(),
            orphans: Vec::new(),
            problems: Vec::new(),
            remarks: Vec::new(),
            manifest: Manifest::default(),
            is_rebuilt: false,
            scans: Vec::new(),
            cuts: BTreeMap::new(),
        }
    }

    /// Whether it can be loaded.
    pub fn verdict(&self) -> Verdict {
        verdict(&self.problems)
    }

    /// All commands.
    pub fn commands(&self) -> Commands {
        let mut all = Commands::default();
        self.files.iter().for_each(|file| all.join(file.commands.clone()));
        all
    }

    /// All keys of snapshots.
    pub fn keys(&self) -> u64 {
        self.files.iter().filter_map(|file| file.snapshot.as_ref()).map(snapshot::Snapshot::keys).sum()
    }

    /// What the manifest says, or should say.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Lanes of the last generation.
    pub fn lanes(&self) -> Option<usize> {
        self.files.iter().rev().find_map(|file| file.lane).map(|lane| lane.lanes)
    }
}

/// The prefix, the number, and whether it is a base, of the name of a file of a log.
fn parts_of_name(name: &str) -> Option<(&str, u64, bool)> {
    let (stem, is_base) = match name.strip_suffix(".incr.aof") {
        Some(stem) => (stem, false),
        None => (name.strip_suffix(".base.rdb").or(name.strip_suffix(".base.aof"))?, true),
    };
    let (prefix, seq) = stem.rsplit_once('.')?;
    Some((prefix, seq.parse().ok()?, is_base))
}

/// Whether a directory with these names is that of a log.
pub fn is_log(names: &[String]) -> bool {
    names.iter().any(|name| prefix_of_manifest(name).is_some() || parts_of_name(name).is_some())
}

fn prefix_of_manifest(name: &str) -> Option<&str> {
    name.strip_suffix(".manifest").filter(|prefix| !prefix.is_empty() && !prefix.starts_with("temp-"))
}

/// Looks through a log. `chosen`: the manifest, where there may be several.
///
/// # Errors
/// Those of the medium; within: why it cannot be told which log is meant.
pub fn examine<F: Files>(files: &F, chosen: Option<&str>, now_ms: u64) -> io::Result<Result<Report, String>> {
    let names = files.names()?;
    let prefix = match prefix(&names, chosen) {
        Ok(prefix) => prefix,
        Err(why) => return Ok(Err(why)),
    };
    let manifest_name = manifest::manifest_name(&prefix);
    let mut report = Report::new(Some(manifest_name.clone()));
    let wrong = match files.open(&manifest_name)? {
        None => Some("The AOF manifest doesn't exist, and files that it should name do".to_string()),
        Some(mut file) => {
            let mut text = vec![0; file.len() as usize];
            file.read_at(0, &mut text)?;
            match Manifest::parse(&text) {
                Ok(manifest) => {
                    report.manifest = manifest;
                    None
                }
                Err(wrong) => Some(wrong.to_string()),
            }
        }
    };
    if let Some(wrong) = wrong {
        report.problems.push(Problem::of_file(&manifest_name, wrong));
        match rebuilt(&names, &prefix) {
            Ok(manifest) => (report.manifest, report.is_rebuilt) = (manifest, true),
            Err(why) => {
                report.problems.push(Problem::of_file(&manifest_name, why));
                return Ok(Ok(report));
            }
        }
    }
    let manifest = report.manifest.clone();
    if let Some(base) = &manifest.base {
        let found = examine_file(files, base, Role::Base, now_ms, &mut report)?;
        report.files.push(found);
    }
    for entry in &manifest.incrs {
        let found = examine_incr(files, entry, now_ms, &mut report)?;
        report.files.push(found);
    }
    report.cuts = recovery::cuts(&report.scans);
    note_cuts(&mut report);
    note_unknown(&mut report);
    note_names(files, &names, &prefix, &mut report)?;
    Ok(Ok(report))
}

/// Looks through a file by itself.
///
/// # Errors
/// Those of the medium; within: it is nothing that is known here.
pub fn examine_single<F: Files>(files: &F, name: &str, now_ms: u64) -> io::Result<Result<Report, String>> {
    let Some(mut source) = files.open(name)? else { return Ok(Err("No such file or directory".to_string())) };
    let mut head = vec![0; source.len().min(HEAD_BYTES) as usize];
    source.read_at(0, &mut head)?;
    let mut report = Report::new(None);
    let entry = Entry { name: name.to_string(), seq: 0, kind: Kind::Base };
    if head.starts_with(group::HEAD) {
        let mut line = vec![0; source.len().min(group::HEADER_BYTES as u64) as usize];
        source.read_at(0, &mut line)?;
        let seq = group::header(&line).map(|header| header.file);
        let seq = seq.or(parts_of_name(name).map(|(_, seq, _)| seq)).unwrap_or(0);
        let found = examine_incr(files, &Entry { seq, kind: Kind::Incr, ..entry }, now_ms, &mut report)?;
        report.files.push(found);
        report.remarks.push("it is one lane of a log: give the directory to have all of them compared".into());
    } else {
        let is_known = head.is_empty() && name.ends_with(".aof")
            || is_snapshot(&head)
            || begins_snapshot(&head)
            || matches!(head.first(), Some(b'*' | b'#'));
        let is_named = name.ends_with(".aof") || name.ends_with(".rdb");
        if !is_known && !is_named {
            let shown = head.escape_ascii();
            let what = "it is neither a snapshot (RDB) nor a log (AOF)";
            return Ok(Err(format!("{what}: it begins with \"{shown}\"")));
        }
        let found = examine_file(files, &entry, Role::Single, now_ms, &mut report)?;
        report.files.push(found);
    }
    note_unknown(&mut report);
    Ok(Ok(report))
}

fn prefix(names: &[String], chosen: Option<&str>) -> Result<String, String> {
    let manifests: Vec<&str> = match chosen {
        Some(chosen) => prefix_of_manifest(chosen).into_iter().collect(),
        None => names.iter().filter_map(|name| prefix_of_manifest(name)).collect(),
    };
    match manifests[..] {
        [prefix] => return Ok(prefix.to_string()),
        [] => {}
        _ => {
            let list = manifests.iter().map(|prefix| manifest::manifest_name(prefix)).collect::<Vec<_>>().join(", ");
            return Err(format!("there are several manifests, say which one is meant: {list}"));
        }
    }
    let mut prefixes: Vec<&str> =
        names.iter().filter_map(|name| parts_of_name(name)).map(|(prefix, ..)| prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    match prefixes[..] {
        [prefix] => Ok(prefix.to_string()),
        [] => Err("there is neither a manifest nor any file of a log".into()),
        _ => Err(format!("there is no manifest, and files of several logs: {}", prefixes.join(", "))),
    }
}

/// The manifest that names all files that are there, if there can be only one.
fn rebuilt(names: &[String], prefix: &str) -> Result<Manifest, String> {
    let mut manifest = Manifest::default();
    for name in names {
        match parts_of_name(name) {
            Some((of, seq, true)) if of == prefix => {
                if let Some(other) = &manifest.base {
                    let both = format!("{} and {name}", other.name);
                    return Err(format!("it cannot be told which base it named: {both} are there"));
                }
                manifest.base = Some(Entry { name: name.clone(), seq, kind: Kind::Base });
            }
            Some((of, seq, false)) if of == prefix => {
                manifest.incrs.push(Entry { name: name.clone(), seq, kind: Kind::Incr });
            }
            _ => {}
        }
    }
    manifest.incrs.sort_by_key(|entry| entry.seq);
    if let Some(pair) = manifest.incrs.windows(2).find(|pair| pair[0].seq + 1 != pair[1].seq) {
        return Err(format!("a file is missing between {} and {}", pair[0].name, pair[1].name));
    }
    if manifest.base.is_none() && manifest.incrs.is_empty() {
        return Err("there are no files that it could name".into());
    }
    Ok(manifest)
}

/// A base, or a file by itself.
fn examine_file<F: Files>(
    files: &F,
    entry: &Entry,
    role: Role,
    now_ms: u64,
    report: &mut Report,
) -> io::Result<FileReport> {
    let name = &entry.name;
    let Some(mut source) = files.open(name)? else {
        let what = format!("The append log file {name} doesn't exist: No such file or directory");
        report.problems.push(Problem::of_file(name, what));
        return Ok(FileReport::new(name, role, 0));
    };
    let source = &mut source;
    let len = source.len();
    let mut found = FileReport::new(name, role, len);
    if len == 0 {
        found.format = Format::Empty;
        if role == Role::Single && !name.ends_with(".aof") {
            report.problems.push(Problem::damage(name, 0, "the file is empty"));
        }
        return Ok(found);
    }
    let mut head = vec![0; len.min(HEAD_BYTES) as usize];
    source.read_at(0, &mut head)?;
    let has_snapshot =
        is_snapshot(&head) || begins_snapshot(&head) || name.ends_with(".rdb") && !matches!(head[0], b'*' | b'#');
    let mut start = 0;
    if has_snapshot {
        let (snapshot, problems) = snapshot::examine(source, name, now_ms)?;
        report.problems.extend(problems);
        found.format = Format::Snapshot;
        found.readable_bytes = snapshot.bytes;
        start = snapshot.bytes;
        let is_ended = snapshot.has_end;
        found.snapshot = Some(snapshot);
        if !is_ended || start == len {
            return Ok(found);
        }
        let mut next = [0];
        source.read_at(start, &mut next)?;
        if role == Role::Single && !matches!(next[0], b'*' | b'#') {
            let what =
                format!("{name}: {} bytes stand behind the end of the snapshot, and are passed over", len - start);
            report.remarks.push(what);
            return Ok(found);
        }
        found.format = Format::Preamble;
    } else {
        found.format = Format::Commands;
    }
    take_plain(source, start, &mut found, report)?;
    Ok(found)
}

/// Commands from an offset on.
fn take_plain(source: &mut impl Source, start: u64, found: &mut FileReport, report: &mut Report) -> io::Result<()> {
    let plain = commands::plain(source, start)?;
    if plain.has_lane && start == 0 {
        // What a checksum should vouch for, and does not any more.
        let (what, commands) = ("the line that its only group should begin with is broken", plain.commands.commands);
        found.behind = (u64::from(0 < commands), commands);
        report.problems.push(Problem::damage(&found.name, 0, what));
        return Ok(());
    }
    found.commands.join(plain.commands);
    found.readable_bytes = plain.valid;
    if let Some(broken) = plain.broken {
        found.behind.1 = broken.commands_behind;
        report.problems.push(Problem::damage(&found.name, broken.offset, broken.what));
    }
    Ok(())
}

fn examine_incr<F: Files>(files: &F, entry: &Entry, now_ms: u64, report: &mut Report) -> io::Result<FileReport> {
    let name = &entry.name;
    let number = entry.seq;
    let Some(mut source) = files.open(name)? else {
        let what = format!("The append log file {name} doesn't exist: No such file or directory");
        report.problems.push(Problem::of_file(name, what));
        let nothing = Scan { is_blank: true, ..Scan::default() };
        report.scans.push(recovery::File { file: number, scan: nothing });
        return Ok(FileReport::new(name, Role::Incr, 0));
    };
    let source = &mut source;
    let len = source.len();
    let scan = recovery::scan_incr(source, number)?;
    report.scans.push(recovery::File { file: number, scan: scan.clone() });
    if scan.groups == 0 && scan.tail == Tail::Nothing {
        return examine_file(files, entry, Role::Incr, now_ms, report);
    }
    let mut found = FileReport::new(name, Role::Incr, len);
    (found.format, found.lane, found.groups) = (Format::Lane, scan.lane, scan.groups);
    found.readable_bytes = scan.bytes;
    let (counted, broken) = commands::lane(source, number, Cut { group: scan.bytes, at: 0 })?;
    found.commands = counted;
    if let Some(broken) = broken {
        report.problems.push(Problem::damage(name, broken.offset, broken.what));
    }
    match scan.tail {
        Tail::Nothing => {}
        Tail::Room => found.room_bytes = len - scan.bytes,
        Tail::Torn => {
            let what = commands::why_no_group(source, scan.bytes, number, scan.groups)?;
            let what = format!("{what}; nothing behind it can be read");
            report.problems.push(Problem::damage(name, scan.bytes, what));
        }
        Tail::Damaged(again) => {
            let what = commands::why_no_group(source, scan.bytes, number, scan.groups)?;
            found.behind = commands::groups_behind(source, again, number)?;
            let (groups, commands) = found.behind;
            let what =
                format!("{what}; from offset {again} on, {groups} groups with {commands} commands can be read again");
            report.problems.push(Problem::damage(name, scan.bytes, what));
        }
        Tail::Foreign => {
            found.format = Format::LaneAndCommands;
            take_plain(source, scan.bytes, &mut found, report)?;
        }
    }
    Ok(found)
}

/// Says of each file that is cut for the sake of others why it is.
fn note_cuts(report: &mut Report) {
    let names: BTreeMap<u64, String> =
        report.manifest.incrs.iter().map(|entry| (entry.seq, entry.name.clone())).collect();
    for (file, cut) in &report.cuts {
        let scan = &report.scans.iter().find(|other| other.file == *file).expect("only these are cut").scan;
        let share = scan.shares.iter().find(|shared| shared.group == cut.group && shared.at == cut.at);
        let what = match share {
            Some(shared) => {
                let others: Vec<&str> = shared
                    .share
                    .files
                    .iter()
                    .filter(|other| *other != file)
                    .map(|other| names.get(other).map_or("a file that is gone", String::as_str))
                    .collect();
                let others = others.join(", ");
                format!("a change on several shards begins here, whose other parts are not all in {others}")
            }
            None => "what happened before this file was begun is not complete in the files before it".to_string(),
        };
        let offset = if cut.at == 0 { cut.group } else { cut.group + (group::HEADER_BYTES + cut.at) as u64 };
        let what = format!("{what}: the server takes it back, with all that follows");
        report.problems.push(Problem::damage(&names[file], offset, what));
    }
}

/// Commands that the server does not know.
fn note_unknown(report: &mut Report) {
    for file in &report.files {
        if let Some((offset, what)) = &file.commands.unknown {
            let problem = Problem::damage(&file.name, *offset, what.clone());
            report.problems.push(Problem { weight: Weight::Unknown, ..problem });
        }
    }
}

/// Files that are there and not loaded.
fn note_names<F: Files>(files: &F, names: &[String], prefix: &str, report: &mut Report) -> io::Result<()> {
    let history = report.manifest.history.iter().filter(|entry| names.contains(&entry.name)).count();
    if 0 < history {
        report.remarks.push(format!("{history} files are history: a server deletes them"));
    }
    let count = |is: &dyn Fn(&str) -> bool| names.iter().filter(|name| is(name)).count();
    let backups = count(&|name| name.contains(BACKUP));
    if 0 < backups {
        report.remarks.push(format!("{backups} files are backups (*{BACKUP}N)"));
    }
    let temporary = count(&|name| name.starts_with("temp-"));
    if 0 < temporary {
        report.remarks.push(format!("{temporary} files are temporary (temp-*), left by somebody who did not end well"));
    }
    let manifest = &report.manifest;
    let named: Vec<&str> = manifest.files().chain(&manifest.history).map(|entry| entry.name.as_str()).collect();
    for name in names {
        let is_of_log = parts_of_name(name).is_some_and(|(of, ..)| of == prefix);
        if is_of_log && !named.contains(&name.as_str()) {
            let bytes = files.open(name)?.map_or(0, |file| file.len());
            report.orphans.push((name.clone(), bytes));
        }
    }
    Ok(())
}
