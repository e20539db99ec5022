//! `COMMAND`: what the table tells clients of itself.
//!
//! Replies have the shape of Redis 7.0's. Nothing here names a command other than `COMMAND`: a row that is added is
//! told of.

use super::client::write_help;
use super::key_spec::{self, Begin, Find, KeySpec};
use super::lookup::{self, Row};
use super::syntax::{self, Argument};
use super::{Args, Categories, Command, CommandResult, Flags, Group, Keys, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::structure::glob;
use std::sync::LazyLock;

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const fn row(name: &'static str, run: Run, since: &'static str, summary: &'static str) -> Command {
    Command::new(name, run).docs(Group::Server, since, summary).flags(ANY_STATE).categories(Categories::CONNECTION)
}

/// The rows.
pub const COMMANDS: &[Command] = &[row("COMMAND", Run::Session(command), "2.8.13", "Describes all commands.")
    .arity(-1)
    .complexity("O(N) where N is the number of commands")
    .tips(UNORDERED)
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    row("COUNT", Run::Session(count), "2.8.13", "Returns the number of commands.").arity(2),
    row("DOCS", Run::Session(docs), "7.0.0", "Documents commands; all of them without a name.")
        .arity(-2)
        .syntax("[command-name [command-name ...]]")
        .complexity("O(N) where N is the number of commands to look up")
        .tips(UNORDERED),
    row("GETKEYS", Run::Session(getkeys), "2.8.13", "Returns the keys of a call of a command.")
        .arity(-4)
        .syntax("command arg [arg ...]")
        .complexity("O(N) where N is the number of arguments to the command"),
    row(
        "GETKEYSANDFLAGS",
        Run::Session(getkeysandflags),
        "7.0.0",
        "Returns the keys of a call of a command, and what it does to them.",
    )
    .arity(-4)
    .syntax("command arg [arg ...]")
    .complexity("O(N) where N is the number of arguments to the command"),
    row("HELP", Run::Session(help), "5.0.0", "Describes the subcommands.").arity(2),
    row("INFO", Run::Session(info), "2.8.13", "Describes commands; all of them without a name.")
        .arity(-2)
        .syntax("[command-name [command-name ...]]")
        .complexity("O(N) where N is the number of commands to look up")
        .tips(UNORDERED),
    row("LIST", Run::Session(list), "7.0.0", "Returns the names of commands.")
        .arity(-2)
        .syntax("filterby=[FILTERBY (MODULE module-name|ACLCAT category|PATTERN pattern)]")
        .complexity("O(N) where N is the number of commands")
        .tips(UNORDERED),
];

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

fn command(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_all_infos(reply);
    Ok(())
}

fn count(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(lookup::commands().len() as i64);
    Ok(())
}

fn info(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() == 2 {
        write_all_infos(reply);
        return Ok(());
    }
    reply.array(args.len() - 2);
    for name in &args[2..] {
        match lookup::lookup_full_name(name) {
            Some(row) => write_info(row, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

fn docs(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let rows: Vec<&'static Row> = if args.len() == 2 {
        lookup::commands().collect()
    } else {
        args[2..].iter().filter_map(|name| lookup::lookup_full_name(name)).collect()
    };
    reply.map(rows.len());
    for row in rows {
        reply.bulk(row.full_name());
        write_docs(row, reply);
    }
    Ok(())
}

fn list(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let names = names_matching(&args[2..])?;
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn getkeys(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (_, positions) = keys_of_call(&args[2..])?;
    reply.array(positions.len());
    positions.iter().for_each(|&position| reply.bulk(args[2 + position]));
    Ok(())
}

fn getkeysandflags(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let call = &args[2..];
    let (row, positions) = keys_of_call(call)?;
    let accesses = key_spec::accesses(row, call, &positions);
    reply.array(positions.len());
    for (position, access) in positions.iter().zip(accesses) {
        reply.array(2);
        reply.bulk(call[*position]);
        write_status_set(access.names(), reply);
    }
    Ok(())
}

/// The command of a call, and where its keys are.
fn keys_of_call(call: &Args<'_>) -> Result<(&'static Row, Vec<usize>), Error> {
    let row = lookup::find_row(call).ok_or(Error::fixed("ERR Invalid command specified"))?;
    if !key_spec::has_keys(row) {
        return Err(lookup::NO_KEYS);
    }
    if !row.accepts(call.len()) {
        return Err(Error::fixed("ERR Invalid number of arguments specified for command"));
    }
    // Redis believes the specifications before its own code, which knows the words of a call better.
    if matches!(row.keys, Keys::Custom(_))
        && let Some(positions) = key_spec::specified_positions(row, call)
    {
        let is_enough = !positions.is_empty() || row.flags.contains(Flags::NO_MANDATORY_KEYS);
        return if is_enough { Ok((row, positions)) } else { Err(lookup::BAD_KEYS) };
    }
    // A specification that finds nothing does not fit the call: PFMERGE without sources.
    let is_unmet = |spec: &KeySpec| spec.positions(call).is_some_and(|positions| positions.len() == 0);
    if matches!(row.keys, Keys::Range { .. }) && key_spec::key_specs(row).iter().any(is_unmet) {
        return Err(lookup::BAD_KEYS);
    }
    let mut positions = Vec::new();
    match lookup::key_positions(row, call, &mut positions) {
        // A destination without sources is no call.
        Ok(()) if matches!(row.keys, Keys::Counted { destination: 1.., .. }) && positions.len() == 1 => {
            Err(lookup::BAD_KEYS)
        }
        Ok(()) => Ok((row, positions)),
        Err(_) if row.flags.contains(Flags::NO_MANDATORY_KEYS) => Ok((row, Vec::new())),
        Err(error) => Err(error),
    }
}

/// The names that a filter lets through; without one, those of all commands but no subcommands'.
fn names_matching(filter: &Args<'_>) -> Result<Vec<String>, Error> {
    let rows = lookup::commands().flat_map(|row| std::iter::once(row).chain(row.subcommand_rows()));
    let (by, value) = match filter {
        [] => return Ok(rows.map(Row::full_name).collect()),
        [word, by, value] if word.eq_ignore_ascii_case(b"FILTERBY") => (by, value),
        _ => return Err(Error::SYNTAX),
    };
    if by.eq_ignore_ascii_case(b"MODULE") {
        // There are no modules.
        Ok(Vec::new())
    } else if by.eq_ignore_ascii_case(b"ACLCAT") {
        let category = lookup::category(value).unwrap_or(Categories::empty());
        Ok(rows.filter(|row| lookup::categories(row).intersects(category)).map(Row::full_name).collect())
    } else if by.eq_ignore_ascii_case(b"PATTERN") {
        let names = rows.map(Row::full_name);
        Ok(names.filter(|name| glob::matches_nocase(value, name.as_bytes())).collect())
    } else {
        Err(Error::SYNTAX)
    }
}

fn write_all_infos(reply: &mut Reply<'_>) {
    let commands = lookup::commands();
    reply.array(commands.len());
    commands.for_each(|row| write_info(row, reply));
}

fn write_status_set(names: impl Iterator<Item = impl AsRef<[u8]>>, reply: &mut Reply<'_>) {
    let mark = reply.defer();
    let count = names.map(|name| reply.simple(name)).count();
    reply.finish_set(mark, count);
}

/// A row as `COMMAND INFO` tells it: ten fields, the last of them the subcommands' rows.
fn write_info(row: &'static Row, reply: &mut Reply<'_>) {
    let specs = key_spec::key_specs(row);
    let range = key_spec::key_range(&specs);
    reply.array(10);
    reply.bulk(row.full_name());
    reply.integer(row.arity.into());
    // Redis 7.0 does not tell which commands are replicated though they write nothing.
    let movable = if range.is_movable { Flags::MOVABLEKEYS } else { Flags::empty() };
    let flags = (row.flags | movable) - Flags::MAY_REPLICATE;
    write_status_set(flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()), reply);
    reply.integer(range.first.into());
    reply.integer(range.last.into());
    reply.integer(range.step.into());
    write_status_set(lookup::category_names(lookup::categories(row)).map(|name| format!("@{name}")), reply);
    reply.set(row.tips.len());
    row.tips.iter().for_each(|tip| reply.bulk(tip));
    reply.set(specs.len());
    specs.iter().for_each(|spec| write_key_spec(spec, reply));
    reply.set(row.subcommands.len());
    row.subcommand_rows().iter().for_each(|subcommand| write_info(subcommand, reply));
}

fn write_key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    let has_notes = !spec.notes.is_empty();
    reply.map(3 + usize::from(has_notes));
    if has_notes {
        reply.bulk("notes");
        reply.bulk(spec.notes);
    }
    reply.bulk("flags");
    write_status_set(spec.access.names(), reply);
    reply.bulk("begin_search");
    match spec.begin {
        Begin::Index(index) => write_search("index", &[("index", index)], reply),
        Begin::Keyword(word, from) => {
            write_search_head("keyword", 2, reply);
            reply.bulk("keyword");
            reply.bulk(word);
            reply.bulk("startfrom");
            reply.integer(from.into());
        }
        Begin::Unknown => write_search("unknown", &[], reply),
    }
    reply.bulk("find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            write_search("range", &[("lastkey", last), ("keystep", step), ("limit", limit)], reply);
        }
        Find::Count { step } => {
            write_search("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", step)], reply);
        }
        Find::Unknown => write_search("unknown", &[], reply),
    }
}

fn write_search_head(kind: &str, fields: usize, reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk("type");
    reply.bulk(kind);
    reply.bulk("spec");
    reply.map(fields);
}

fn write_search(kind: &str, fields: &[(&str, i16)], reply: &mut Reply<'_>) {
    write_search_head(kind, fields.len(), reply);
    for (name, value) in fields {
        reply.bulk(name);
        reply.integer((*value).into());
    }
}

const fn group_name(group: Group) -> &'static str {
    match group {
        Group::Generic => "generic",
        Group::String => "string",
        Group::List => "list",
        Group::Set => "set",
        Group::SortedSet => "sorted-set",
        Group::Hash => "hash",
        Group::PubSub => "pubsub",
        Group::Transactions => "transactions",
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Scripting => "scripting",
        Group::HyperLogLog => "hyperloglog",
        Group::Cluster => "cluster",
        Group::Sentinel => "sentinel",
        Group::Geo => "geo",
        Group::Stream => "stream",
        Group::Bitmap => "bitmap",
    }
}

/// The arguments of every row, read from its grammar once: clients ask for all of them when they start.
static ARGUMENTS: LazyLock<Vec<Vec<Argument>>> = LazyLock::new(|| {
    let arguments = |row: &Row| syntax::parse(row.syntax, key_spec::key_specs(row).len()).arguments;
    lookup::rows().iter().map(arguments).collect()
});

/// A row as `COMMAND DOCS` tells it.
fn write_docs(row: &'static Row, reply: &mut Reply<'_>) {
    let arguments = &ARGUMENTS[row.id.index()];
    let subcommands = row.subcommand_rows();
    let fields = [
        ("summary", row.summary),
        ("since", row.since),
        ("group", group_name(row.group)),
        ("complexity", row.complexity),
    ];
    let told = fields.iter().filter(|(_, text)| !text.is_empty());
    let is_deprecated = !row.replaced_by.is_empty();
    let parts = usize::from(is_deprecated || row.is_system)
        + 2 * usize::from(is_deprecated)
        + usize::from(!arguments.is_empty())
        + usize::from(!subcommands.is_empty());
    reply.map(told.clone().count() + parts);
    for (name, text) in told {
        reply.bulk(name);
        reply.bulk(text);
    }
    if is_deprecated || row.is_system {
        reply.bulk("doc_flags");
        reply.set(usize::from(is_deprecated) + usize::from(row.is_system));
        if is_deprecated {
            reply.simple("deprecated");
        }
        if row.is_system {
            reply.simple("syscmd");
        }
    }
    if is_deprecated {
        reply.bulk("deprecated_since");
        reply.bulk(row.deprecated_since);
        reply.bulk("replaced_by");
        reply.bulk(row.replaced_by);
    }
    if !arguments.is_empty() {
        reply.bulk("arguments");
        write_arguments(arguments, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk("subcommands");
        reply.map(subcommands.len());
        for subcommand in subcommands {
            reply.bulk(subcommand.full_name());
            write_docs(subcommand, reply);
        }
    }
}

fn write_arguments(arguments: &[Argument], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        write_argument(argument, reply);
    }
}

fn write_argument(argument: &Argument, reply: &mut Reply<'_>) {
    let Argument { name, kind, token, since, key_spec, arguments, .. } = argument;
    let flags =
        [(argument.optional, "optional"), (argument.multiple, "multiple"), (argument.multiple_token, "multiple_token")];
    let flags = flags.into_iter().filter(|(is, _)| *is).map(|(_, name)| name);
    let has_flags = flags.clone().next().is_some();
    let optional = [key_spec.is_some(), token.is_some(), since.is_some(), has_flags, !arguments.is_empty()];
    reply.map(2 + optional.into_iter().filter(|is| *is).count());
    reply.bulk("name");
    reply.bulk(name);
    reply.bulk("type");
    reply.bulk(kind.name());
    if let Some(index) = key_spec {
        reply.bulk("key_spec_index");
        reply.integer(*index as i64);
    }
    if let Some(token) = token {
        reply.bulk("token");
        reply.bulk(token);
    }
    if let Some(since) = since {
        reply.bulk("since");
        reply.bulk(since);
    }
    if has_flags {
        reply.bulk("flags");
        write_status_set(flags, reply);
    }
    if !arguments.is_empty() {
        reply.bulk("arguments");
        write_arguments(arguments, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::connection::double::{NOW_MS, Server};
    use crate::resp::Protocol;
    use std::collections::{BTreeMap, BTreeSet};

    /// The reply to a call that words without blanks make, line ends as `|`.
    fn say(protocol: Protocol, line: &str) -> String {
        let server = &mut Server::new(1, 1, &[]);
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, protocol);
        let mut view = SessionView {
            session: &mut server.sessions[0],
            config: &server.config,
            shared: &server.shared,
            now_ms: NOW_MS,
            reconfigured: false,
        };
        let result = lookup::resolve(&args).and_then(|row| match row.run {
            Run::Session(run) => run(&mut view, &args, &mut reply),
            _ => panic!("{line} runs elsewhere"),
        });
        if let Err(error) = result {
            reply.error(&error);
        }
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(say(Protocol::Resp2, line), expected, "{line}");
    }

    /// Redis' own replies, save for the summaries.
    #[test]
    fn a_row_is_told_as_redis_tells_it() {
        check(
            "COMMAND INFO command|COUNT nosuch config|nosuch get|x |",
            "*5|*10|$13|command|count|:2|*2|+loading|+stale|:0|:0|:0|*2|+@slow|+@connection|*0|*0|*0|$-1|$-1|$-1|$-1|",
        );
        let resp3 = say(Protocol::Resp3, "COMMAND INFO command|list nosuch");
        assert_eq!(
            resp3,
            "*2|*10|$12|command|list|:-2|~2|+loading|+stale|:0|:0|:0|~2|+@slow|+@connection|\
             ~1|$29|nondeterministic_output_order|~0|~0|_|"
        );
        let all = say(Protocol::Resp2, "COMMAND");
        assert_eq!(all, say(Protocol::Resp2, "COMMAND INFO"));
        assert!(all.starts_with(&format!("*{}|*10|$", lookup::commands().len())));
        check("COMMAND COUNT", &format!(":{}|", lookup::commands().len()));
        check("COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command|");
        check("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.|");
        assert!(say(Protocol::Resp2, "COMMAND HELP").contains("|+COUNT|+    Returns the number of commands.|"));
    }

    #[test]
    fn key_specifications_are_told_as_redis_tells_them() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Protocol::Resp3);
        let access = super::super::KeyAccess::READ;
        write_key_spec(&KeySpec::at(1, access).notes("why"), &mut reply);
        let half = Find::Range { last: -1, step: 1, limit: 2 };
        write_key_spec(&KeySpec::behind("STREAMS", 1, access).find(half), &mut reply);
        write_key_spec(&KeySpec::counted(2, access), &mut reply);
        write_key_spec(&KeySpec::unknown(access), &mut reply);
        assert_eq!(
            String::from_utf8(out).unwrap().replace("\r\n", "|"),
            "%4|$5|notes|$3|why|$5|flags|~2|+RO|+access|$12|begin_search|%2|$4|type|$5|index|$4|spec|%1|$5|index|:1|\
             $9|find_keys|%2|$4|type|$5|range|$4|spec|%3|$7|lastkey|:0|$7|keystep|:1|$5|limit|:0|\
             %3|$5|flags|~2|+RO|+access|$12|begin_search|%2|$4|type|$7|keyword|$4|spec|%2|$7|keyword|$7|STREAMS|$9|startfrom|:1|\
             $9|find_keys|%2|$4|type|$5|range|$4|spec|%3|$7|lastkey|:-1|$7|keystep|:1|$5|limit|:2|\
             %3|$5|flags|~2|+RO|+access|$12|begin_search|%2|$4|type|$5|index|$4|spec|%1|$5|index|:2|\
             $9|find_keys|%2|$4|type|$6|keynum|$4|spec|%3|$9|keynumidx|:0|$8|firstkey|:1|$7|keystep|:1|\
             %3|$5|flags|~2|+RO|+access|$12|begin_search|%2|$4|type|$7|unknown|$4|spec|%0|\
             $9|find_keys|%2|$4|type|$7|unknown|$4|spec|%0|"
        );
    }

    #[test]
    fn documentation_is_told_as_redis_tells_it() {
        let expected = "%1|$12|command|list|%5|$7|summary|$30|Returns the names of commands.|$5|since|$5|7.0.0|\
            $5|group|$6|server|$10|complexity|$38|O(N) where N is the number of commands|\
            $9|arguments|*1|%5|$4|name|$8|filterby|$4|type|$5|oneof|$5|token|$8|FILTERBY|$5|flags|~1|+optional|\
            $9|arguments|*3|%3|$4|name|$11|module-name|$4|type|$6|string|$5|token|$6|MODULE|\
            %3|$4|name|$8|category|$4|type|$6|string|$5|token|$6|ACLCAT|\
            %3|$4|name|$7|pattern|$4|type|$7|pattern|$5|token|$7|PATTERN|";
        assert_eq!(say(Protocol::Resp3, "COMMAND DOCS nosuch command|list nosuch|x"), expected);
        check("COMMAND DOCS nosuch", "*0|");
        let of_command = say(Protocol::Resp3, "COMMAND DOCS command");
        assert!(of_command.contains("|$11|subcommands|%7|$13|command|count|%4|$7|summary|"), "{of_command}");
        let all = say(Protocol::Resp3, "COMMAND DOCS");
        assert!(all.starts_with(&format!("%{}|", lookup::commands().len())));
    }

    #[test]
    fn names_are_filtered() {
        check("COMMAND LIST FILTERBY PATTERN COMMAND|G*", "*2|$15|command|getkeys|$23|command|getkeysandflags|");
        check("COMMAND LIST FILTERBY MODULE x", "*0|");
        check("COMMAND LIST FILTERBY ACLCAT nosuch", "*0|");
        check("COMMAND LIST FILTERBY ACLCAT @read", "*0|");
        assert!(say(Protocol::Resp2, "COMMAND LIST filterby aclcat CONNECTION").contains("|$13|command|count|"));
        assert!(say(Protocol::Resp2, "COMMAND LIST").starts_with(&format!("*{}|", lookup::rows().len())));
        for wrong in ["x", "FILTERBY", "FILTERBY PATTERN", "FILTERBY FOO x", "FOO PATTERN x", "FILTERBY PATTERN x y"] {
            check(&format!("COMMAND LIST {wrong}"), "-ERR syntax error|");
        }
    }

    #[test]
    fn keys_of_a_call_that_has_none() {
        check("COMMAND GETKEYS ping x", "-ERR The command has no key arguments|");
        check("COMMAND GETKEYSANDFLAGS config get x", "-ERR The command has no key arguments|");
        check("COMMAND GETKEYS nosuch x", "-ERR Invalid command specified|");
        check("COMMAND GETKEYS config nosuch", "-ERR Invalid command specified|");
        check("COMMAND GETKEYS get", "-ERR wrong number of arguments for 'command|getkeys' command|");
    }

    #[test]
    fn keys_of_a_call_and_what_it_does_to_them() {
        check("COMMAND GETKEYS mset a b c", "*2|$1|a|$1|c|");
        check("COMMAND GETKEYS MSET a", "-ERR Invalid number of arguments specified for command|");
        check("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command|");
        check("COMMAND GETKEYSANDFLAGS set a b", "*1|*2|$1|a|*2|+OW|+update|");
        check("COMMAND GETKEYSANDFLAGS set a get", "*1|*2|$1|a|*2|+OW|+update|");
        check("COMMAND GETKEYSANDFLAGS set a b ex 10 get", "*1|*2|$1|a|*3|+RW|+access|+update|");
        check("COMMAND GETKEYSANDFLAGS lcs a b", "*2|*2|$1|a|*2|+RO|+access|*2|$1|b|*2|+RO|+access|");
    }

    /// One command as the facts, and our table, tell it: field by name.
    type Told = BTreeMap<&'static str, String>;

    const FIELDS: [&str; 12] = [
        "arity",
        "flags",
        "first",
        "last",
        "step",
        "categories",
        "tips",
        "key_specs",
        "group",
        "since",
        "standing",
        "arguments",
    ];

    /// What Redis 7.0 tells of its commands, by full name.
    fn facts() -> BTreeMap<&'static str, Told> {
        let lines = include_str!("../../tests/facts/redis-7.0-commands.tsv").lines();
        let command = |line: &'static str| {
            let (name, fields) = line.split_once('\t').unwrap();
            let fields: Vec<&str> = fields.split('\t').collect();
            assert_eq!(fields.len(), FIELDS.len(), "{name}");
            (name, FIELDS.into_iter().zip(fields.into_iter().map(str::to_string)).collect())
        };
        lines.filter(|line| !line.starts_with('#')).map(command).collect()
    }

    fn told(row: &'static Row) -> Told {
        let specs = key_spec::key_specs(row);
        let range = key_spec::key_range(&specs);
        let movable = if range.is_movable { Flags::MOVABLEKEYS } else { Flags::empty() };
        let flags = (row.flags | movable) - Flags::MAY_REPLICATE;
        let flags: Vec<String> = flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let categories = lookup::category_names(lookup::categories(row)).map(|name| format!("@{name}"));
        let spec = |spec: &KeySpec| {
            let begin = match spec.begin {
                Begin::Index(index) => format!("index {index}"),
                Begin::Keyword(word, from) => format!("keyword {word} {from}"),
                Begin::Unknown => "unknown".to_string(),
            };
            let find = match spec.find {
                Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
                Find::Count { .. } => "keynum".to_string(),
                Find::Unknown => "unknown".to_string(),
            };
            format!("{begin}, {find}: {}", spec.access.names().collect::<Vec<_>>().join(" "))
        };
        let values = [
            row.arity.to_string(),
            flags.join(" "),
            range.first.to_string(),
            range.last.to_string(),
            range.step.to_string(),
            categories.collect::<Vec<_>>().join(" "),
            row.tips.join(" "),
            specs.iter().map(spec).collect::<Vec<_>>().join("; "),
            group_name(row.group).to_string(),
            row.since.to_string(),
            match (row.is_system, row.replaced_by) {
                (true, _) => "syscmd".to_string(),
                (false, "") => String::new(),
                (false, instead) => format!("deprecated {} {instead}", row.deprecated_since),
            },
            row.syntax.to_string(),
        ];
        FIELDS.into_iter().zip(values).collect()
    }

    /// The tokens of a grammar.
    fn tokens(grammar: &str) -> BTreeSet<String> {
        fn collect(arguments: &[Argument], tokens: &mut BTreeSet<String>) {
            for argument in arguments {
                tokens.extend(argument.token.clone());
                collect(&argument.arguments, tokens);
            }
        }
        let mut found = BTreeSet::new();
        collect(&syntax::parse(grammar, 0).arguments, &mut found);
        found
    }

    /// Where the table differs from Redis 7.0 on purpose: command, field, reason.
    const DIFFERENCES: &[(&str, &str, &str)] = &[
        ("client|setname", "tips", "told since 7.2"),
        ("config|resetstat", "tips", "told since 7.2"),
        ("config|rewrite", "tips", "told since 7.2"),
        ("randomkey", "tips", "told since 7.2"),
        ("scan", "tips", "told since 7.2"),
        ("zrank", "arity", "takes WITHSCORE since 7.2"),
        ("zrevrank", "arity", "takes WITHSCORE since 7.2"),
    ];

    /// Every row says of itself what Redis 7.0 says of the command; a grammar may have newer tokens.
    #[test]
    fn rows_agree_with_redis() {
        let facts = facts();
        let mut wrong = Vec::new();
        for row in lookup::rows() {
            let name = row.full_name();
            let Some(fact) = facts.get(name.as_str()) else {
                let is_new = ["7.2", "7.4", "8.", "Valkey"].iter().any(|version| row.since.starts_with(version));
                if !is_new {
                    wrong.push(format!("{name}: Redis 7.0 has no such command, yet it is since {}", row.since));
                }
                continue;
            };
            let ours = told(row);
            for field in FIELDS {
                let agrees = match field {
                    "arguments" => tokens(&fact[field]).is_subset(&tokens(&ours[field])),
                    _ => fact[field] == ours[field],
                };
                let is_meant =
                    DIFFERENCES.iter().any(|(command, differing, _)| (*command, *differing) == (&name, field));
                if agrees == is_meant {
                    wrong.push(format!("{name} {field}: Redis \"{}\", here \"{}\"", fact[field], ours[field]));
                }
            }
        }
        assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Commands whose arity is not the one their grammar means, as in Redis: command, arity by the grammar.
    const ARITIES: &[(&str, i64)] = &[("client|kill", -2), ("quit", 1), ("geosearch", -5), ("geosearchstore", -6)];

    #[test]
    fn grammars_are_well_formed_and_mean_the_arity() {
        let mut wrong = Vec::new();
        for row in lookup::rows() {
            let name = row.full_name();
            let syntax = syntax::parse(row.syntax, key_spec::key_specs(row).len());
            if !syntax.problems.is_empty() {
                wrong.push(format!("{name}: {:?} in \"{}\"", syntax.problems, row.syntax));
            }
            let arity = syntax.arity(if row.container.is_some() { 2 } else { 1 });
            let said =
                ARITIES.iter().find(|(command, _)| *command == name).map_or(row.arity.into(), |(_, arity)| *arity);
            if arity != said && row.subcommands.is_empty() {
                wrong.push(format!("{name}: arity {} but \"{}\" means {arity}", row.arity, row.syntax));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
