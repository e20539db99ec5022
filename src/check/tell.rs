//! What was found, in words and as JSON.

use super::json::Json;
use super::log::Report;
use super::plan::{Loss, Plan, Step};
use super::snapshot::{Snapshot, made};
use super::{FileReport, Format, Role, Verdict, Weight, commands, time};
use std::fmt::Write;

/// So many commands are told by name.
const NAMES_TOLD_MAX: usize = 12;

/// A report in words; `place`: where its files are.
pub fn text(report: &Report, place: &str) -> String {
    let mut out = String::new();
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    match &report.manifest_name {
        Some(name) => {
            let lanes = report.lanes().map_or(String::new(), |lanes| format!(", {lanes} lanes (one for each core)"));
            let incrs = report.manifest().incrs.len();
            let bases = usize::from(report.manifest().base.is_some());
            line(&mut out, 0, format!("{place}: append-only file, {bytes} bytes{lanes}"));
            let how = if report.is_rebuilt { "as the names of the files tell it" } else { "names" };
            line(&mut out, 1, format!("manifest {name} {how}: {bases} base, {incrs} increments"));
        }
        None => line(&mut out, 0, format!("{place}: {bytes} bytes")),
    }
    report.files.iter().for_each(|file| file_text(file, &mut out));
    for (name, bytes) in &report.orphans {
        line(&mut out, 1, format!("orphan {name}: {bytes} bytes that the manifest does not name"));
    }
    report.remarks.iter().for_each(|remark| line(&mut out, 1, format!("note: {remark}")));
    for problem in &report.problems {
        let word = if problem.weight == Weight::Damage { "DAMAGED" } else { "UNKNOWN" };
        line(&mut out, 0, format!("{word} {problem}"));
    }
    // Room is nothing that could be whole, or is missing.
    let room_bytes: u64 = report.files.iter().map(|file| file.room_bytes).sum();
    let behind = if 0 < room_bytes { format!(", {room_bytes} bytes of room behind") } else { String::new() };
    let verdict = match report.verdict() {
        Verdict::Whole => format!("whole{behind}"),
        Verdict::Damaged => {
            let whole: u64 = report.files.iter().map(FileReport::whole_bytes).sum();
            format!("damaged: {whole} of {} bytes are whole{behind}", bytes - room_bytes)
        }
        Verdict::Unknown => "nothing is known to be damaged, but not everything in it is known here".to_string(),
    };
    line(&mut out, 0, format!("{place}: {verdict}"));
    out
}

fn line(out: &mut String, indent: usize, text: String) {
    let _ = writeln!(out, "{:width$}{text}", "", width = 2 * indent); // A String takes all.
}

fn role(file: &FileReport) -> &'static str {
    match file.role {
        Role::Single => "file",
        Role::Base => "base",
        Role::Incr => "increment",
    }
}

fn file_text(file: &FileReport, out: &mut String) {
    let lane = file.lane.map_or(String::new(), |lane| format!(", lane {} of {}", lane.lane, lane.lanes));
    let groups = if 0 < file.groups { format!(", {} groups", file.groups) } else { String::new() };
    let kind = file.format.word();
    line(out, 1, format!("{} {}: {kind}{lane}, {} bytes{groups}", role(file), file.name, file.bytes));
    if let Some(snapshot) = &file.snapshot {
        snapshot_text(snapshot, out);
    }
    if 0 < file.commands.commands || file.commands.times.is_some() {
        let counted = &file.commands;
        let databases: Vec<String> = counted.databases.iter().map(u64::to_string).collect();
        let (number, transactions) = (counted.commands, counted.transactions);
        line(out, 2, format!("{number} commands, {transactions} transactions, databases {}", databases.join(" ")));
        let mut names: Vec<(&String, &u64)> = counted.names.iter().collect();
        names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rest = names.len().saturating_sub(NAMES_TOLD_MAX);
        let told: Vec<String> =
            names.iter().take(NAMES_TOLD_MAX).map(|(name, count)| format!("{name} {count}")).collect();
        let rest = if 0 < rest { format!(", and {rest} others") } else { String::new() };
        line(out, 2, format!("{}{rest}", told.join(", ")));
        if let Some(span) = commands::span(counted) {
            line(out, 2, format!("times {span}"));
        }
    }
    if 0 < file.room_bytes {
        line(
            out,
            2,
            format!("{} zeros behind: room that was not used (--fix cuts it off, for Redis)", file.room_bytes),
        );
    }
    let whole = file.whole_until();
    if whole < file.bytes - file.room_bytes && file.format != Format::Missing {
        line(out, 2, format!("whole up to offset {whole}, {} bytes behind", file.bytes - whole));
    }
}

fn snapshot_text(snapshot: &Snapshot, out: &mut String) {
    let at = made(snapshot).map_or(String::new(), |at| format!(", made at {at}"));
    let sum = match (snapshot.has_end, snapshot.has_checksum) {
        (false, _) => "without its end",
        (true, true) => "with a checksum",
        (true, false) => "without a checksum",
    };
    line(out, 2, format!("version {}, {sum}{at}, {} keys", snapshot.version, snapshot.keys()));
    let aux: Vec<String> = snapshot.aux.iter().map(|(name, text)| format!("{name} {text}")).collect();
    if !aux.is_empty() {
        line(out, 2, aux.join(", "));
    }
    if 0 < snapshot.libraries {
        line(out, 2, format!("{} libraries of functions", snapshot.libraries));
    }
    if !snapshot.modules.is_empty() {
        line(out, 2, format!("data of modules, without which no server loads it: {}", snapshot.modules.join(", ")));
    }
    for (db, database) in &snapshot.databases {
        let (keys, expiring, expired) = (database.keys, database.expiring, database.expired);
        line(out, 2, format!("database {db}: {keys} keys, {expiring} with a deadline, {expired} expired already"));
    }
    for ((type_name, encoding), kind) in &snapshot.kinds {
        line(out, 2, format!("{type_name} ({encoding}): {} keys, {} bytes", kind.keys, kind.bytes));
    }
    if 0 < snapshot.empty {
        line(out, 2, format!("{} keys without elements, which are passed over", snapshot.empty));
    }
    for large in &snapshot.largest {
        let key = large.key.escape_ascii();
        line(out, 2, format!("large: {} '{key}' in database {}, {} bytes", large.type_name, large.db, large.bytes));
    }
}

/// What a plan does, before it is asked whether it should.
pub fn plan_text(plan: &Plan) -> String {
    let mut out = String::new();
    for (name, step) in &plan.steps {
        match step {
            Step::Remove => line(&mut out, 0, format!("{name}: would be taken out of the log; a backup stays")),
            Step::Write(parts) => {
                let bytes: u64 = parts.iter().map(super::plan::part_bytes).sum();
                line(&mut out, 0, format!("{name}: would have {bytes} bytes; a backup of the old one stays"));
            }
        }
    }
    let Loss { bytes, commands, keys, damaged_keys, last_kept, first_lost, is_middle, is_doubtful } = &plan.loss;
    let damaged = match damaged_keys {
        0 => String::new(),
        count => format!(", {count} that the check calls damaged"),
    };
    line(
        &mut out,
        0,
        format!("lost would be: {bytes} bytes, {commands} commands, {keys} keys that can be read{damaged}"),
    );
    if let Some(last) = last_kept {
        line(&mut out, 0, format!("last time that is kept: {last} ({})", time::text(*last)));
    }
    if let Some(first) = first_lost {
        line(&mut out, 0, format!("first time that is lost: {first} ({})", time::text(*first)));
    }
    if *is_middle {
        let what = "The damage is not at the end: what is lost stands behind it, and may be whole.";
        line(&mut out, 0, what.to_string());
    }
    if *is_doubtful {
        let what = "The checksum is wrong, and all before it can be read: some name or value is not what was saved, and \
                    which one cannot be told.";
        line(&mut out, 0, what.to_string());
    }
    out
}

/// A report as JSON.
pub fn json(report: &Report, place: &str) -> Json {
    let problems = report.problems.iter().map(|problem| {
        Json::object([
            ("file", Json::text(&problem.file)),
            ("offset", Json::optional(problem.offset)),
            ("what", Json::text(&problem.what)),
            ("weight", Json::text(if problem.weight == Weight::Damage { "damage" } else { "unknown" })),
        ])
    });
    let orphans = report
        .orphans
        .iter()
        .map(|(name, bytes)| Json::object([("name", Json::text(name)), ("bytes", Json::Number(*bytes))]));
    Json::object([
        ("path", Json::text(place)),
        ("verdict", Json::text(report.verdict().word())),
        ("manifest", report.manifest_name.as_ref().map_or(Json::Null, Json::text)),
        ("lanes", Json::optional(report.lanes().map(|lanes| lanes as u64))),
        ("files", Json::List(report.files.iter().map(file_json).collect())),
        ("orphans", Json::List(orphans.collect())),
        ("problems", Json::List(problems.collect())),
        ("remarks", Json::List(report.remarks.iter().map(Json::text).collect())),
    ])
}

fn file_json(file: &FileReport) -> Json {
    let counted = &file.commands;
    let names = counted.names.iter().map(|(name, count)| (name.clone(), Json::Number(*count)));
    Json::object([
        ("name", Json::text(&file.name)),
        ("role", Json::text(role(file))),
        ("format", Json::text(file.format.word())),
        ("bytes", Json::Number(file.bytes)),
        ("whole_bytes", Json::Number(file.whole_bytes())),
        ("lane", Json::optional(file.lane.map(|lane| lane.lane as u64))),
        ("groups", Json::Number(file.groups)),
        ("room_bytes", Json::Number(file.room_bytes)),
        ("commands", Json::Number(counted.commands)),
        ("transactions", Json::Number(counted.transactions)),
        ("commands_by_name", Json::Object(names.collect())),
        ("first_time", Json::optional(counted.times.map(|(first, _)| first))),
        ("last_time", Json::optional(counted.times.map(|(_, last)| last))),
        ("groups_behind", Json::Number(file.behind.0)),
        ("commands_behind", Json::Number(file.behind.1)),
        ("snapshot", file.snapshot.as_ref().map_or(Json::Null, snapshot_json)),
    ])
}

fn snapshot_json(snapshot: &Snapshot) -> Json {
    let aux = snapshot.aux.iter().map(|(name, text)| (name.clone(), Json::text(text)));
    let databases = snapshot.databases.iter().map(|(db, database)| {
        Json::object([
            ("database", Json::Number(*db)),
            ("keys", Json::Number(database.keys)),
            ("expiring", Json::Number(database.expiring)),
            ("expired", Json::Number(database.expired)),
        ])
    });
    let kinds = snapshot.kinds.iter().map(|((type_name, encoding), kind)| {
        Json::object([
            ("type", Json::text(*type_name)),
            ("encoding", Json::text(*encoding)),
            ("keys", Json::Number(kind.keys)),
            ("bytes", Json::Number(kind.bytes)),
        ])
    });
    let largest = snapshot.largest.iter().map(|large| {
        Json::object([
            ("key", Json::text(large.key.escape_ascii().to_string())),
            ("database", Json::Number(large.db)),
            ("type", Json::text(large.type_name)),
            ("bytes", Json::Number(large.bytes)),
        ])
    });
    Json::object([
        ("version", Json::Number(snapshot.version.into())),
        ("has_checksum", Json::Bool(snapshot.has_checksum)),
        ("has_end", Json::Bool(snapshot.has_end)),
        ("keys", Json::Number(snapshot.keys())),
        ("libraries", Json::Number(snapshot.libraries)),
        ("aux", Json::Object(aux.collect())),
        ("databases", Json::List(databases.collect())),
        ("kinds", Json::List(kinds.collect())),
        ("largest", Json::List(largest.collect())),
    ])
}

/// A plan, and whether it was carried out, as JSON.
pub fn plan_json(plan: &Plan, is_done: bool) -> Json {
    let Loss { bytes, commands, keys, damaged_keys, last_kept, first_lost, is_middle, is_doubtful } = &plan.loss;
    Json::object([
        ("files", Json::List(plan.steps.keys().map(Json::text).collect())),
        ("lost_bytes", Json::Number(*bytes)),
        ("lost_commands", Json::Number(*commands)),
        ("lost_keys", Json::Number(*keys)),
        ("lost_damaged_keys", Json::Number(*damaged_keys)),
        ("last_kept_time", Json::optional(*last_kept)),
        ("first_lost_time", Json::optional(*first_lost)),
        ("is_in_the_middle", Json::Bool(*is_middle)),
        ("is_doubtful", Json::Bool(*is_doubtful)),
        ("is_done", Json::Bool(is_done)),
    ])
}
