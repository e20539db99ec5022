//! `MEMORY`: where the memory is, by key and in sum.

use super::client::write_help;
use super::info::{Memory, Report};
use super::{Args, Command, CommandResult, Context, CoreView, Flags, Group, KeyAccess, Keys, Part, Run, SessionView};
use crate::keyspace::DatabaseStats;
use crate::keyspace::adviser::{Advice, FACTORS};
use crate::memory;
use crate::resp::{Error, Reply};
use crate::shared::Shared;
use crate::stats::Wanted;
use crate::value::number::{format_double, parse_integer};
use std::fmt::Write;

const ALL_SHARDS: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const fn subcommand(name: &'static str, run: Run, summary: &'static str) -> Command {
    Command::new(name, run).arity(2).docs(Group::Server, "4.0.0", summary)
}

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("MEMORY", Run::Container)
    .arity(-2)
    .docs(Group::Server, "4.0.0", "Commands about memory.")
    .complexity("Depends on subcommand.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    subcommand(
        "ADVISE",
        Run::Everywhere { check: |_, _| Ok(()), part: advice_part, merge: advise },
        "Tells the hit ratio to expect with more or less memory, and under other policies.",
    )
    .docs(Group::Server, "8.0.0", "Tells the hit ratio to expect with more or less memory, and under other policies.")
    .tips(ALL_SHARDS),
    subcommand(
        "DOCTOR",
        Run::Everywhere { check: |_, _| Ok(()), part: report, merge: doctor },
        "Looks at how memory is used, and advises.",
    )
    .tips(ALL_SHARDS),
    subcommand("HELP", Run::Session(help), "Describes the subcommands.").flags(Flags::LOADING.union(Flags::STALE)),
    subcommand("MALLOC-STATS", Run::Session(malloc_stats), "Returns the allocator's own report.").tips(ALL_SHARDS),
    subcommand(
        "PURGE",
        Run::Everywhere { check: |_, _| Ok(()), part: purge, merge: purged },
        "Has every core give free memory back to the system.",
    )
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    subcommand(
        "STATS",
        Run::Everywhere { check: |_, _| Ok(()), part: report, merge: stats },
        "Tells in numbers what memory is used for.",
    )
    .tips(ALL_SHARDS),
    subcommand("USAGE", Run::Keyspace(usage), "Returns the bytes that a key and its value take.")
        .arity(-3)
        .keys(Keys::Range { first: 2, last: 2, step: 1 })
        .access(KeyAccess::RO)
        .access(KeyAccess::RO)
        .flags(Flags::READONLY)
        .complexity("O(N) where N is the number of samples.")
        .syntax("key [SAMPLES count]"),
];

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

fn usage(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut options = &args[3..];
    // Every value knows its size, so nothing is sampled; the option is only checked.
    while let [option, rest @ ..] = options {
        options = match rest {
            [samples, rest @ ..] if option.eq_ignore_ascii_case(b"SAMPLES") => {
                if parse_integer(samples).ok_or(Error::NOT_INTEGER)? < 0 {
                    return Err(Error::SYNTAX);
                }
                rest
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    // Redis neither counts this as a hit nor as an access.
    match cx.keyspace.peek(cx.db, args[2]) {
        Some(entry) => reply.integer(entry.memory_bytes() as i64),
        None => reply.null(),
    }
    Ok(())
}

fn malloc_stats(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.verbatim(b"txt", memory::report());
    Ok(())
}

fn purge(_: &mut CoreView<'_>, _: &Args<'_>) -> Part {
    memory::give_back();
    Box::new(())
}

fn purged(_: &mut SessionView<'_>, _: &Args<'_>, _: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    // Once more, since only one thread at a time gives back what the heaps no longer hold.
    memory::pages::purge();
    reply.ok();
    Ok(())
}

fn report(view: &mut CoreView<'_>, _: &Args<'_>) -> Part {
    Box::new(Report::of(view, Wanted::empty()))
}

fn advice_part(view: &mut CoreView<'_>, _: &Args<'_>) -> Part {
    Box::new(view.shard.keyspace.adviser_mut().map(|adviser| adviser.advice()))
}

fn advise(view: &mut SessionView<'_>, _: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let parts = parts.into_iter().map(|part| *part.downcast::<Option<Advice>>().expect("a part of MEMORY ADVISE"));
    let Some(advice) = Advice::sum(parts) else {
        return Err(Error::fixed("ERR nothing is learnt without maxmemory, or with less than 8 MiB of it"));
    };
    let (limit, policy) = (view.config.maxmemory.bytes, view.config.maxmemory_policy);
    let advice = advice.anchored(policy.name());
    let write_ratio = |reply: &mut Reply<'_>, hits: f64| match advice.ratio(hits) {
        Some(ratio) => reply.double(&format_double((ratio * 1e4).round() / 1e4)),
        None => reply.null(),
    };
    let since_ms = if advice.since_ms == 0 { view.now_ms } else { advice.since_ms };
    reply.map(10);
    reply.bulk("maxmemory");
    reply.integer(limit as i64);
    reply.bulk("policy");
    reply.bulk(policy.name());
    reply.bulk("sampled.keys");
    reply.integer(advice.keys as i64);
    reply.bulk("reads");
    reply.integer(advice.reads as i64);
    reply.bulk("sampled.reads");
    reply.integer(advice.sampled_reads as i64);
    reply.bulk("seconds");
    reply.integer((view.now_ms.saturating_sub(since_ms) / 1000) as i64);
    reply.bulk("hit-ratio.observed");
    write_ratio(reply, advice.real_hits);
    reply.bulk("hit-ratio.expected");
    let policies = advice.policies();
    reply.map(policies.len());
    for (policy, hits) in policies {
        reply.bulk(policy);
        reply.map(FACTORS.len());
        for (factor, hits) in FACTORS.iter().zip(hits) {
            reply.bulk_text(format_args!("{factor}"));
            write_ratio(reply, hits);
        }
    }
    for (name, wanted) in [("maxmemory.95-percent", 0.95), ("maxmemory.99-percent", 0.99)] {
        reply.bulk(name);
        match advice.limit_for(wanted, limit) {
            Some(bytes) => reply.integer(bytes as i64),
            None => reply.null(),
        }
    }
    Ok(())
}

/// The reports of all cores in sum.
struct Sums {
    memory: Memory,
    client_bytes: u64,
    keys: u64,
    databases: Vec<DatabaseStats>,
}

impl Sums {
    fn of(shared: &Shared, parts: Vec<Part>) -> Sums {
        let reports: Vec<Report> =
            parts.into_iter().map(|part| *part.downcast::<Report>().expect("a report of a core")).collect();
        let mut databases = vec![DatabaseStats::default(); reports[0].databases.len()];
        for report in &reports {
            for (sum, database) in databases.iter_mut().zip(&report.databases) {
                sum.len += database.len;
                sum.table_bytes += database.table_bytes;
                sum.wheel_bytes += database.wheel_bytes;
            }
        }
        let used_bytes = reports.iter().map(|report| report.used_bytes).min().expect("there is a core");
        let table_bytes = reports.iter().map(|report| report.table_bytes as u64).sum();
        let client_bytes = reports.iter().map(|report| report.client_bytes as u64).sum();
        let shared_bytes: u64 = reports.iter().map(|report| report.client_shared_bytes as u64).sum();
        Sums {
            memory: Memory::now(used_bytes, table_bytes, client_bytes - shared_bytes, shared),
            client_bytes,
            keys: databases.iter().map(|database| database.len as u64).sum(),
            databases,
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn stats(view: &mut SessionView<'_>, _: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let Sums { memory, client_bytes, keys, databases } = Sums::of(view.shared, parts);
    let used_databases = || databases.iter().enumerate().filter(|(_, database)| 0 < database.len);
    reply.map(27 + used_databases().count());
    fn put(reply: &mut Reply<'_>, name: &str, value: u64) {
        reply.bulk(name);
        reply.integer(value as i64);
    }
    fn put_double(reply: &mut Reply<'_>, name: &str, value: f64) {
        reply.bulk(name);
        reply.double(&format_double(value));
    }
    put(reply, "peak.allocated", memory.peak);
    put(reply, "total.allocated", memory.used);
    put(reply, "startup.allocated", memory.startup);
    put(reply, "replication.backlog", 0);
    put(reply, "clients.slaves", 0);
    put(reply, "clients.normal", client_bytes);
    put(reply, "cluster.links", 0);
    put(reply, "aof.buffer", view.shared.log.buffer_bytes());
    put(reply, "lua.caches", view.shared.scripts.totals().1 as u64);
    put(reply, "functions.caches", view.shared.scripts.library_bytes() as u64);
    for (db, database) in used_databases() {
        reply.bulk_text(format_args!("db.{db}"));
        reply.map(3);
        put(reply, "overhead.hashtable.main", database.table_bytes as u64);
        put(reply, "overhead.hashtable.expires", database.wheel_bytes as u64);
        put(reply, "overhead.hashtable.slot-to-keys", 0);
    }
    put(reply, "overhead.total", memory.overhead);
    put(reply, "keys.count", keys);
    put(reply, "keys.bytes-per-key", memory.used.saturating_sub(memory.startup).checked_div(keys).unwrap_or(0));
    put(reply, "dataset.bytes", memory.dataset());
    put_double(reply, "dataset.percentage", memory.dataset_percent());
    put_double(reply, "peak.percentage", 100.0 * ratio(memory.used, memory.peak));
    put(reply, "allocator.allocated", memory.used);
    put(reply, "allocator.active", memory.active);
    put(reply, "allocator.resident", memory.resident);
    put_double(reply, "allocator-fragmentation.ratio", ratio(memory.active, memory.used));
    put(reply, "allocator-fragmentation.bytes", memory.active.wrapping_sub(memory.used));
    put_double(reply, "allocator-rss.ratio", ratio(memory.resident, memory.active));
    put(reply, "allocator-rss.bytes", memory.resident.wrapping_sub(memory.active));
    put_double(reply, "rss-overhead.ratio", 1.0);
    put(reply, "rss-overhead.bytes", 0);
    put_double(reply, "fragmentation", ratio(memory.resident, memory.used));
    put(reply, "fragmentation.bytes", memory.resident.wrapping_sub(memory.used));
    Ok(())
}

/// Below this much in use nothing can be said.
const LITTLE_BYTES: u64 = 5 << 20;
/// A waste below this is none.
const WASTE_BYTES: u64 = 64 << 20;
/// Unread output and unfinished input of all clients together that is worth a word.
const CLIENT_BYTES: u64 = 100 << 20;

fn doctor(view: &mut SessionView<'_>, _: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    reply.verbatim(b"txt", advice(&Sums::of(view.shared, parts), view.config.maxmemory.bytes));
    Ok(())
}

/// What an operator should know. `maxmemory_bytes` 0: no limit.
fn advice(sums: &Sums, maxmemory_bytes: u64) -> String {
    let Memory { used, peak, resident, .. } = sums.memory;
    if used < LITTLE_BYTES {
        return "This instance is empty or holds very little: there is nothing to diagnose yet.\n".to_string();
    }
    let mut advice: Vec<String> = Vec::new();
    let mebibytes = |bytes: u64| bytes >> 20;
    if maxmemory_bytes == 0 {
        advice.push(
            "maxmemory is not set: the data may grow until the system kills the server. Set it to at most 80% of \
                     the memory that the server may use."
                .to_string(),
        );
    } else if maxmemory_bytes - maxmemory_bytes / 10 < used {
        advice.push(format!(
            "{} MiB of {} MiB (maxmemory) are in use: keys are evicted or writes refused, or will be soon.",
            mebibytes(used),
            mebibytes(maxmemory_bytes)
        ));
    }
    if used + used / 2 < peak && WASTE_BYTES < peak - used {
        advice.push(format!(
            "At its peak the server used {} MiB, now {} MiB. Free memory goes back to the system within some seconds; \
             MEMORY PURGE gives it back at once.",
            mebibytes(peak),
            mebibytes(used)
        ));
    } else if used + used * 2 / 5 < resident && WASTE_BYTES < resident - used {
        advice.push(format!(
            "The process takes {} MiB for {} MiB in use: many small blocks were freed between others that are still in \
             use. It goes away as new data fills the gaps, or with a restart.",
            mebibytes(resident),
            mebibytes(used)
        ));
    }
    if CLIENT_BYTES < sums.client_bytes {
        advice.push(format!(
            "Clients take {} MiB: some do not read their replies. CLIENT LIST shows them (omem), \
             client-output-buffer-limit bounds them.",
            mebibytes(sums.client_bytes)
        ));
    }
    if advice.is_empty() {
        return "Nothing unusual in the use of memory.\n".to_string();
    }
    let mut text = String::new();
    for (index, line) in advice.iter().enumerate() {
        writeln!(text, "{}. {line}", index + 1).expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::{NOW_MS, Server};
    use super::*;
    use crate::keyspace::{Expiry, Keyspace};
    use crate::resp::Protocol;

    fn run_usage(keyspace: &mut Keyspace, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let config = super::super::connection::double::config_with(&[]);
        let random = &mut fastrand::Rng::with_seed(1);
        let mut out = Vec::new();
        let mut cx =
            Context { keyspace, config: &config, random, db: 0, now_ms: NOW_MS, shard: 0, shards: 1, long_reply: None };
        if let Err(error) = usage(&mut cx, &args, &mut Reply::new(&mut out, Protocol::Resp2)) {
            Reply::new(&mut out, Protocol::Resp2).error(&error);
        }
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn usage_is_what_the_entry_takes() {
        let mut keyspace = Keyspace::new(1, 1);
        keyspace.begin(NOW_MS, true);
        keyspace.set_string(0, b"0123456789abcdef", &[b'v'; 32], Expiry::Clear);
        assert_eq!(run_usage(&mut keyspace, "MEMORY USAGE 0123456789abcdef"), ":56|");
        assert_eq!(run_usage(&mut keyspace, "MEMORY USAGE 0123456789abcdef SAMPLES 0 samples 5"), ":56|");
        assert_eq!(run_usage(&mut keyspace, "MEMORY USAGE none"), "$-1|");
        for line in ["SAMPLES -1", "SAMPLES", "foo", "SAMPLES 1 foo"] {
            assert_eq!(run_usage(&mut keyspace, &format!("MEMORY USAGE none {line}")), "-ERR syntax error|", "{line}");
        }
        let error = "-ERR value is not an integer or out of range|";
        assert_eq!(run_usage(&mut keyspace, "MEMORY USAGE none SAMPLES x"), error);
        assert_eq!((keyspace.stats.hits, keyspace.stats.misses), (0, 0));
    }

    #[test]
    fn stats_have_as_many_pairs_as_they_say() {
        let mut server = Server::new(3, 2, &[]);
        for (index, shard) in server.shards.iter_mut().enumerate() {
            shard.keyspace.begin(NOW_MS, true);
            shard.keyspace.set_string(0, format!("{index}").as_bytes(), b"v", Expiry::Clear);
            shard.keyspace.set_string(4, format!("{index}").as_bytes(), b"v", Expiry::At(NOW_MS + 1));
        }
        server.session(1).protocol = Protocol::Resp3;
        let text = server.say(COMMANDS, 1, "MEMORY STATS");
        let names = text.split('|').filter(|word| word.contains(|c: char| c.is_ascii_lowercase()));
        // Each of the two databases has three fields of its own.
        assert!(text.starts_with("%29|"), "{text}");
        assert_eq!(names.count(), 29 + 2 * 3, "{text}");
        assert!(text.contains("|keys.count|:6|"), "{text}");
        assert!(text.contains("|db.0|%3|$23|overhead.hashtable.main|:"), "{text}");
        let (_, of_database) = text.split_once("|db.4|").expect("it has keys");
        let (_, bytes) = of_database.split_once("overhead.hashtable.expires|:").expect("a field");
        assert!(!bytes.starts_with("0|"), "deadlines take memory: {text}");
    }

    #[test]
    fn the_other_subcommands_answer() {
        let mut server = Server::new(2, 1, &[]);
        assert_eq!(server.say(COMMANDS, 1, "MEMORY PURGE"), "+OK|");
        assert!(server.say(COMMANDS, 1, "MEMORY MALLOC-STATS").contains("committed"));
        assert!(server.say(COMMANDS, 1, "MEMORY DOCTOR").starts_with('$'));
        let help = server.say(COMMANDS, 1, "MEMORY HELP");
        assert!(help.contains("|+USAGE key [SAMPLES count]|+    Returns the bytes"), "{help}");
    }

    #[test]
    fn advice_is_given_where_there_is_a_limit() {
        let mut server = Server::new(2, 1, &[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]);
        for shard in &mut server.shards {
            shard.keyspace.begin(NOW_MS, true);
            shard.keyspace.set_string(0, b"a", b"v", Expiry::Clear);
            (0..3).for_each(|_| assert!(shard.keyspace.read(0, b"a").is_some()));
            assert!(shard.keyspace.read(0, b"b").is_none());
        }
        let text = server.say(COMMANDS, 1, "MEMORY ADVISE");
        assert!(
            text.starts_with("*20|$9|maxmemory|:104857600|$6|policy|$11|allkeys-lru|$12|sampled.keys|:2|"),
            "{text}"
        );
        let counted = "|$5|reads|:8|$13|sampled.reads|:8|$7|seconds|:0|$18|hit-ratio.observed|$4|0.75|";
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("|$11|allkeys-lru|*12|$3|0.5|$-1|$4|0.75|$-1|$1|1|$-1|"), "too early: {text}");
        assert!(text.contains("|$11|allkeys-lhd|*12|"), "{text}");
        assert!(text.ends_with("|$20|maxmemory.95-percent|$-1|$20|maxmemory.99-percent|$-1|"), "{text}");
        for shard in &mut server.shards {
            shard.keyspace.begin(NOW_MS, true);
            for _ in 0..99 {
                (0..3).for_each(|_| assert!(shard.keyspace.read(0, b"a").is_some()));
                assert!(shard.keyspace.read(0, b"b").is_none());
            }
        }
        let text = server.say(COMMANDS, 1, "MEMORY ADVISE");
        assert!(text.contains("|$11|allkeys-lru|*12|$3|0.5|$19|0.7519"), "{text}");
        let mut server = Server::new(2, 1, &[]);
        assert!(server.say(COMMANDS, 1, "MEMORY ADVISE").starts_with("-ERR nothing is learnt without maxmemory"));
    }

    #[test]
    fn the_doctor_names_what_is_wrong() {
        const GIB: u64 = 1 << 30;
        let says = |used, peak, resident, client_bytes, maxmemory| {
            let memory = Memory { used, peak, startup: 0, active: resident, resident, overhead: 0 };
            advice(&Sums { memory, client_bytes, keys: 1, databases: Vec::new() }, maxmemory)
        };
        assert!(says(1 << 20, 10 * GIB, 10 * GIB, 0, 0).contains("very little"));
        assert_eq!(says(GIB, GIB, GIB + GIB / 4, 0, 2 * GIB), "Nothing unusual in the use of memory.\n");
        assert!(says(GIB, GIB, GIB, 0, 0).starts_with("1. maxmemory is not set"));
        assert!(says(GIB, GIB, GIB, 0, GIB).contains("evicted"));
        assert!(
            says(GIB, 2 * GIB, 2 * GIB, 0, 4 * GIB)
                .starts_with("1. At its peak the server used 2048 MiB, now 1024 MiB.")
        );
        assert!(says(GIB, GIB, 2 * GIB, 0, 4 * GIB).starts_with("1. The process takes 2048 MiB for 1024 MiB"));
        let both = says(GIB, GIB, GIB, GIB, 0);
        assert!(both.contains("\n2. Clients take 1024 MiB"), "{both}");
        // Small instances are never quite tight.
        assert_eq!(says(6 << 20, 60 << 20, 60 << 20, 0, GIB), "Nothing unusual in the use of memory.\n");
    }
}
