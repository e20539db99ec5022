//! The commands of one file of a log: how many of which, from when, how far they can be read, and why not farther. For
//! files of commands one after the other, and for those of groups.

use super::time;
use crate::aof::group::{self, BLOCK_BYTES, HEADER_BYTES, Note};
use crate::aof::plain::{self, Standing};
use crate::aof::record::{self, Item, Stop};
use crate::aof::recovery::{Cut, Source, group_at};
use crate::command::lookup;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Bytes of what stands where a command should, that are shown.
const SHOWN_BYTES: usize = 16;
/// Bytes in which commands are looked for at a time.
const SEARCHED_BYTES: usize = 1 << 16;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// Commands, without `MULTI`, `EXEC` and `SELECT`.
    pub commands: u64,
    /// Transactions.
    pub transactions: u64,
    /// Commands by name.
    pub names: BTreeMap<String, u64>,
    /// Databases they are for.
    pub databases: BTreeSet<u64>,
    /// The first and the last time that annotations tell, unix seconds.
    pub times: Option<(u64, u64)>,
    /// The first command that the server does not know: where, and what.
    pub unknown: Option<(u64, String)>,
}

impl Commands {
    /// Adds others.
    pub fn join(&mut self, other: Commands) {
        self.commands += other.commands;
        self.transactions += other.transactions;
        for (name, count) in other.names {
            *self.names.entry(name).or_default() += count;
        }
        self.databases.extend(other.databases);
        for seconds in other.times.into_iter().flat_map(|(first, last)| [first, last]) {
            self.note_time(seconds);
        }
        self.unknown = self.unknown.take().or(other.unknown);
    }

    fn note_time(&mut self, seconds: u64) {
        let (first, last) = self.times.unwrap_or((seconds, seconds));
        self.times = Some((first.min(seconds), last.max(seconds)));
    }

    /// Counts an item that stands at an offset; `db`: the database selected, which it may change.
    fn note(&mut self, offset: u64, item: &Item<'_>, db: &mut u64) {
        let args = match item {
            Item::Annotation(line) => {
                if let Note::Time(seconds) = group::note(line) {
                    self.note_time(seconds);
                }
                return;
            }
            Item::Command(args) => args,
        };
        if args[0].eq_ignore_ascii_case(b"multi") {
            return;
        }
        if args[0].eq_ignore_ascii_case(b"exec") {
            self.transactions += 1;
            return;
        }
        if args[0].eq_ignore_ascii_case(b"select") {
            let number = args.get(1).and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
            *db = number.unwrap_or(*db);
            return;
        }
        self.commands += 1;
        self.databases.insert(*db);
        match lookup::find_row(args).filter(|row| row.accepts(args.len())) {
            Some(row) => *self.names.entry(row.full_name()).or_default() += 1,
            None => {
                let name = args[0].escape_ascii();
                let what = format!("unknown command '{name}' with {} arguments", args.len() - 1);
                self.unknown.get_or_insert((offset, what));
            }
        }
    }
}

/// Why a file cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub offset: u64,
    /// What is there, and what was expected.
    pub what: String,
    /// So many commands can be read behind it.
    pub commands_behind: u64,
}

/// Commands one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Those that count.
    pub commands: Commands,
    /// So much of the file is whole.
    pub valid: u64,
    /// What is wrong behind.
    pub broken: Option<Broken>,
    /// There is an annotation that only begins files of ours, whose first line must then be broken.
    pub has_lane: bool,
}

/// Looks through commands from an offset on.
///
/// # Errors
/// Those of the medium.
pub fn plain(source: &mut impl Source, start: u64) -> io::Result<Plain> {
    let (mut commands, mut pending, mut db) = (Commands::default(), Commands::default(), 0);
    let mut has_lane = false;
    let end = plain::read_all(source, start, |read| {
        if let Item::Annotation(line) = read.item {
            has_lane |= matches!(group::note(line), Note::Lane(_));
        }
        if let Item::Command(args) = &read.item {
            let is = |name: &[u8]| args[0].eq_ignore_ascii_case(name);
            match read.standing {
                Standing::Inside if is(b"multi") => return Err((read.offset, "MULTI inside a transaction")),
                Standing::Alone if is(b"exec") => return Err((read.offset, "EXEC without MULTI")),
                _ => {}
            }
        }
        match read.standing {
            Standing::Alone => commands.note(read.offset, &read.item, &mut db),
            Standing::Begins | Standing::Inside => pending.note(read.offset, &read.item, &mut db),
            Standing::Ends => {
                pending.note(read.offset, &read.item, &mut db);
                commands.join(std::mem::take(&mut pending));
            }
        }
        Ok(())
    })?;
    let len = source.len();
    let (valid, broken) = match end {
        Ok(end) => {
            let what = match (end.stop, end.transaction) {
                (Some(stop), _) => Some(why_not(source, end.offset, stop)?),
                (None, Some(_)) => Some("the transaction that begins here has no EXEC".to_string()),
                (None, None) => None,
            };
            let commands_behind = match end.stop {
                Some(_) => readable(source, end.offset + 1)?,
                None => 0,
            };
            let at = if end.stop.is_some() { end.offset } else { end.valid() };
            (end.valid(), what.map(|what| Broken { offset: at, what, commands_behind }))
        }
        Err((offset, what)) => {
            let commands_behind = readable(source, offset + 1)?;
            (offset, Some(Broken { offset, what: what.to_string(), commands_behind }))
        }
    };
    debug_assert!(valid <= len);
    Ok(Plain { commands, valid, broken, has_lane })
}

/// Why there is no command at an offset.
fn why_not(source: &mut impl Source, offset: u64, stop: Stop) -> io::Result<String> {
    let left = source.len() - offset;
    if is_zero(source, offset)? {
        return Ok(format!("{left} zeros stand where a command should begin"));
    }
    if let Stop::Cut(needed) = stop {
        return Ok(format!(
            "the file ends within a command: {left} bytes of it are there, {needed} at least are needed"
        ));
    }
    let mut shown = vec![0; left.min(SHOWN_BYTES as u64) as usize];
    source.read_at(offset, &mut shown)?;
    Ok(format!("no command can be read here: it begins with \"{}\"", shown.escape_ascii()))
}

/// Whether all from an offset on is zeros.
fn is_zero(source: &mut impl Source, mut offset: u64) -> io::Result<bool> {
    let mut bytes = vec![0; SEARCHED_BYTES];
    while offset < source.len() {
        let len = (source.len() - offset).min(SEARCHED_BYTES as u64) as usize;
        source.read_at(offset, &mut bytes[..len])?;
        if bytes[..len].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += len as u64;
    }
    Ok(true)
}

/// Commands of which each is known that can be read somewhere behind an offset.
fn readable(source: &mut impl Source, mut offset: u64) -> io::Result<u64> {
    let mut commands = 0;
    let mut bytes = vec![0; SEARCHED_BYTES];
    while offset < source.len() {
        let len = (source.len() - offset).min(SEARCHED_BYTES as u64) as usize;
        source.read_at(offset, &mut bytes[..len])?;
        let Some(at) = bytes[..len].windows(2).position(|pair| pair == b"\n*") else {
            // The last byte may be the first of the two.
            offset += (len as u64 - 1).max(1);
            continue;
        };
        let start = offset + at as u64 + 1;
        let mut end = start;
        let stopped = plain::read_all(source, start, |read| match &read.item {
            Item::Command(args) if lookup::find_row(args).is_none() => Err(()),
            item => {
                commands += u64::from(matches!(item, Item::Command(_)));
                end = read.offset + read.bytes;
                Ok(())
            }
        })?;
        if stopped.is_ok_and(|end| end.stop.is_none()) {
            break;
        }
        // A command may begin right behind the last one.
        offset = if start < end { end - 1 } else { start };
    }
    Ok(commands)
}

/// The commands of groups, up to a cut, and what is wrong with them: where, and what.
///
/// # Errors
/// Those of the medium.
pub fn lane(source: &mut impl Source, file: u64, until: Cut) -> io::Result<(Commands, Option<Broken>)> {
    let (mut commands, mut db) = (Commands::default(), 0);
    let (mut offset, mut buffer) = (0, Vec::new());
    while offset < until.group || offset == until.group && 0 < until.at {
        let Some((header, records)) = group_at(source, offset, file, None, &mut buffer)? else { break };
        let records = if offset == until.group { &records[..until.at] } else { records };
        let mut at = 0;
        while at < records.len() {
            let here = offset + (HEADER_BYTES + at) as u64;
            match record::read(&records[at..]) {
                Ok((item, taken)) => {
                    commands.note(here, &item, &mut db);
                    at += taken;
                }
                Err(_) => {
                    let what =
                        format!("no command can be read here, in group {}, whose checksum is right", header.number);
                    return Ok((commands, Some(Broken { offset: here, what, commands_behind: 0 })));
                }
            }
        }
        offset += header.bytes;
    }
    Ok((commands, None))
}

/// Why there is no group with a number at an offset of the file with a number.
///
/// # Errors
/// Those of the medium.
pub fn why_no_group(source: &mut impl Source, offset: u64, file: u64, number: u64) -> io::Result<String> {
    let left = source.len() - offset;
    if left < HEADER_BYTES as u64 {
        return Ok(format!("the file ends {left} bytes behind the beginning of group {number}"));
    }
    let mut line = [0; HEADER_BYTES];
    source.read_at(offset, &mut line)?;
    let Some(header) = group::header(&line) else {
        let shown = line[..SHOWN_BYTES].escape_ascii();
        return Ok(format!("group {number} should begin here with \"#cr group\", not with \"{shown}\""));
    };
    Ok(if header.file != file {
        format!("group {number} of file {file} is expected here, not one of file {}", header.file)
    } else if header.number != number {
        format!("group {number} is expected here, not group {}", header.number)
    } else if left < header.bytes {
        format!("group {number} has {} bytes, of which {left} are there", header.bytes)
    } else {
        format!("group {number} of {} bytes has another checksum than it should", header.bytes)
    })
}

/// Whole groups from an offset on, and the commands in them.
///
/// # Errors
/// Those of the medium.
pub fn groups_behind(source: &mut impl Source, mut offset: u64, file: u64) -> io::Result<(u64, u64)> {
    let (mut groups, mut commands, mut buffer) = (0, Commands::default(), Vec::new());
    while offset < source.len() {
        match group_at(source, offset, file, None, &mut buffer)? {
            None => offset += BLOCK_BYTES as u64,
            Some((header, records)) => {
                groups += 1;
                let (mut at, mut db) = (0, 0);
                while let Ok((item, taken)) = record::read(&records[at..]) {
                    commands.note(0, &item, &mut db);
                    at += taken;
                }
                offset += header.bytes;
            }
        }
    }
    Ok((groups, commands.commands))
}

// Times

/// Where commands one after the other are cut so that nothing is later than a time: before the first annotation that
/// tells a later one, and before the transaction in which it stands. `None`: nothing is later.
///
/// # Errors
/// Those of the medium.
pub fn plain_cut(source: &mut impl Source, start: u64, seconds: u64) -> io::Result<Option<u64>> {
    let mut transaction = None;
    let end = plain::read_all(source, start, |read| {
        match read.standing {
            Standing::Begins => transaction = Some(read.offset),
            Standing::Ends => transaction = None,
            Standing::Alone | Standing::Inside => {}
        }
        match read.item {
            Item::Annotation(line) if is_later(line, seconds) => Err(transaction.unwrap_or(read.offset)),
            _ => Ok(()),
        }
    })?;
    Ok(end.err())
}

fn is_later(line: &[u8], seconds: u64) -> bool {
    matches!(group::note(line), Note::Time(time) if seconds < time)
}

/// The same for the groups of a file, of which so many bytes are whole. What announces a share goes with it.
///
/// # Errors
/// Those of the medium.
pub fn lane_cut(source: &mut impl Source, file: u64, bytes: u64, seconds: u64) -> io::Result<Option<Cut>> {
    let (mut offset, mut buffer) = (0, Vec::new());
    while offset < bytes {
        let Some((header, records)) = group_at(source, offset, file, None, &mut buffer)? else { break };
        let (mut at, mut announced) = (0, None);
        while let Ok((item, taken)) = record::read(&records[at..]) {
            match item {
                Item::Annotation(line) if is_later(line, seconds) => {
                    let at = announced.unwrap_or(at);
                    // With nothing left but what says which lane it is, the group still is the first of its file.
                    return Ok(Some(Cut { group: offset, at }));
                }
                Item::Annotation(line) if matches!(group::note(line), Note::Share(_)) => {
                    announced.get_or_insert(at);
                }
                Item::Annotation(_) => {}
                Item::Command(_) => announced = None,
            }
            at += taken;
        }
        offset += header.bytes;
    }
    Ok(None)
}

/// The first time that is told behind a place; `None`: none is.
///
/// # Errors
/// Those of the medium.
pub fn first_time(source: &mut impl Source, file: u64, from: Cut, is_lane: bool) -> io::Result<Option<u64>> {
    if !is_lane {
        let end = plain::read_all(source, from.group, |read| match read.item {
            Item::Annotation(line) => match group::note(line) {
                Note::Time(seconds) => Err(seconds),
                _ => Ok(()),
            },
            Item::Command(_) => Ok(()),
        })?;
        return Ok(end.err());
    }
    let (mut offset, mut buffer) = (from.group, Vec::new());
    while let Some((header, records)) = group_at(source, offset, file, None, &mut buffer)? {
        let skipped = if offset == from.group { from.at } else { 0 };
        let notes = group::notes(records).unwrap_or_default();
        let time = notes.into_iter().filter(|(at, _)| skipped <= *at).find_map(|(_, note)| match note {
            Note::Time(seconds) => Some(seconds),
            _ => None,
        });
        if time.is_some() {
            return Ok(time);
        }
        offset += header.bytes;
    }
    Ok(None)
}

/// From when to when, for people.
pub fn span(commands: &Commands) -> Option<String> {
    commands.times.map(|(first, last)| format!("{} to {}", time::text(first), time::text(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(commands: &[&[&[u8]]]) -> Vec<u8> {
        let mut log = Vec::new();
        commands.iter().for_each(|args| record::write(&mut log, args));
        log
    }

    #[test]
    fn commands_are_counted_by_name_database_and_time() {
        let mut bytes = log(&[&[b"SET", b"a", b"1"]]);
        group::write_time(&mut bytes, 100);
        bytes.extend(log(&[&[b"SELECT", b"3"], &[b"multi"], &[b"set", b"b", b"2"], &[b"DEL", b"a"], &[b"EXEC"]]));
        group::write_time(&mut bytes, 90);
        bytes.extend(log(&[&[b"FROB", b"x"], &[b"GET"]]));
        let found = plain(&mut bytes.clone(), 0).expect("memory");
        assert_eq!((found.valid, &found.broken), (bytes.len() as u64, &None));
        let commands = found.commands;
        assert_eq!((commands.commands, commands.transactions, commands.times), (5, 1, Some((90, 100))));
        assert_eq!(commands.names, BTreeMap::from([("set".to_string(), 2), ("del".to_string(), 1)]));
        assert_eq!(commands.databases, BTreeSet::from([0, 3]));
        assert_eq!(commands.unknown.expect("one").1, "unknown command 'FROB' with 1 arguments");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let set: &[&[u8]] = &[b"SET", b"a", b"1"];
        let one = log(&[set]).len() as u64;
        let broken = |bytes: Vec<u8>| {
            let found = plain(&mut bytes.clone(), 0).expect("memory");
            let broken = found.broken.expect("it is broken");
            (found.valid, broken.offset, broken.what, broken.commands_behind)
        };
        let half = log(&[set, &[b"MULTI"], set]);
        let no_exec = "the transaction that begins here has no EXEC";
        assert_eq!(broken(half.clone()), (one, one, no_exec.into(), 0));
        let cut = broken(half[..half.len() - 3].to_vec());
        assert_eq!((cut.0, cut.1), (one, 2 * one - 12), "the transaction goes, what is wrong is behind it");
        assert!(cut.2.starts_with("the file ends within a command: "), "{}", cut.2);
        let zeros = [log(&[set]), vec![0; 100]].concat();
        assert_eq!(broken(zeros), (one, one, "100 zeros stand where a command should begin".into(), 0));
        let middle = [log(&[set]), b"garbage\r\n".to_vec(), log(&[set, set])].concat();
        let what = "no command can be read here: it begins with \"garbage\\r\\n*3\\r\\n$3\"";
        assert_eq!(broken(middle).3, 2);
        assert!(what.contains("garbage"));
        assert_eq!(broken(log(&[set, &[b"EXEC"], set])), (one, one, "EXEC without MULTI".into(), 1));
    }

    proptest! {
        #[test]
        fn wherever_a_log_is_damaged_all_before_is_kept(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..20),
            at in any::<proptest::sample::Index>(), bit in 0u8..8, is_cut in any::<bool>(),
        ) {
            let mut starts = Vec::new();
            let mut bytes = Vec::new();
            for value in &values {
                starts.push(bytes.len());
                record::write(&mut bytes, &[b"SET", b"key", value]);
            }
            let at = at.index(bytes.len());
            let whole = starts.iter().filter(|start| **start <= at).count() as u64 - 1;
            if is_cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            let found = plain(&mut bytes.clone(), 0).expect("memory");
            prop_assert!(whole <= found.commands.commands);
            bytes.truncate(found.valid as usize);
            let again = plain(&mut bytes.clone(), 0).expect("memory");
            prop_assert_eq!((again.valid, again.broken, again.commands), (found.valid, None, found.commands));
        }
    }

    #[test]
    fn a_cut_at_a_time_takes_the_share_and_the_transaction_along() {
        let set: &[&[u8]] = &[b"SET", b"a", b"1"];
        let mut bytes = Vec::new();
        group::write_time(&mut bytes, 10);
        bytes.extend(log(&[set, &[b"MULTI"]]));
        let multi = bytes.len() as u64 - 15;
        group::write_time(&mut bytes, 20);
        bytes.extend(log(&[set, &[b"EXEC"]]));
        assert_eq!(plain_cut(&mut bytes.clone(), 0, 10).expect("memory"), Some(multi));
        assert_eq!(plain_cut(&mut bytes.clone(), 0, 20).expect("memory"), None);
        assert_eq!(plain_cut(&mut bytes.clone(), 0, 9).expect("memory"), Some(0));

        let mut records = Vec::new();
        group::write_time(&mut records, 10);
        records.extend(log(&[set]));
        let share = records.len();
        group::write_share(&mut records, 5, &[1, 2]);
        group::write_time(&mut records, 20);
        records.extend(log(&[set]));
        let mut file = vec![0; group::bytes_for(records.len())];
        group::seal(&mut file, group::Place { file: 1, number: 0, synced: 0 }, 1, &records);
        let len = file.len() as u64;
        assert_eq!(lane_cut(&mut file.clone(), 1, len, 10).expect("memory"), Some(Cut { group: 0, at: share }));
        assert_eq!(lane_cut(&mut file.clone(), 1, len, 25).expect("memory"), None);
        let behind = first_time(&mut file, 1, Cut { group: 0, at: share }, true).expect("memory");
        assert_eq!(behind, Some(20));
    }
}
