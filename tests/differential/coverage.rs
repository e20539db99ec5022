//! Every command on data that Redis 7.0 and this server have is generated, or it is said here why not.

use crate::grammar::FAMILIES;
use corering::command::{Group, lookup};
use std::collections::BTreeSet;

/// Commands that no row of the grammar sends, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("MIGRATE", "needs a second server"),
    ("PFSELFTEST", "takes seconds, and says OK"),
    ("WAIT", "replies for replicas, of which there are none"),
];

/// What must be generated: the commands of these groups.
const GROUPS: &[Group] = &[
    Group::Generic,
    Group::String,
    Group::List,
    Group::Set,
    Group::SortedSet,
    Group::Hash,
    Group::HyperLogLog,
    Group::Geo,
    Group::Stream,
    Group::Bitmap,
];

/// The words in capitals of all rows, the first of which is a command's name or one of several in brackets.
fn generated() -> BTreeSet<String> {
    let rows = FAMILIES.iter().flat_map(|family| family.rows);
    let words = rows.flat_map(|row| {
        let text = row.split_once(' ').expect("a weight stands before a row").1;
        let text = text.split_once(": ").map_or(text, |(_, text)| text);
        let end = if text.starts_with('(') { text.find(')') } else { text.find(' ') };
        text[..end.unwrap_or(text.len())].split(['(', '|']).map(String::from).collect::<Vec<_>>()
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_command_on_data_is_compared() {
    let generated = generated();
    let facts = include_str!("../facts/redis-7.0-commands.tsv");
    let theirs: BTreeSet<String> =
        facts.lines().filter_map(|line| line.split('\t').next()).map(str::to_ascii_uppercase).collect();
    let ours = lookup::rows().iter().filter(|row| row.container.is_none() && GROUPS.contains(&row.command.group));
    let ours: BTreeSet<String> = ours.map(|row| row.command.name.to_string()).collect();
    assert!(100 < ours.len() && ours.contains("ZADD"), "the table has lost its commands");
    let is_left_out = |name: &String| LEFT_OUT.iter().any(|(out, _)| out == name);
    let missing: Vec<&String> =
        ours.intersection(&theirs).filter(|name| !generated.contains(*name) && !is_left_out(name)).collect();
    assert!(missing.is_empty(), "no row of the grammar sends {missing:?}");
    let twice: Vec<_> = LEFT_OUT.iter().filter(|(name, _)| generated.contains(*name)).collect();
    assert!(twice.is_empty(), "generated after all: {twice:?}");
    assert!(LEFT_OUT.iter().all(|(name, _)| theirs.contains(*name)), "a name of LEFT_OUT is no command");
}
