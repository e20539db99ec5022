//! Directives that other servers have and that mean nothing here: they are checked, remembered and shown by
//! `CONFIG GET`, so that existing files load and tools find what they ask for. Each row says why nothing follows.

use super::directive::{Access, Directive, Flags};
use super::kind::INT_MAX;
use super::kind::Kind::{self, *};

const GROUP: &str = "Accepted without effect";

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    flags: Flags,
    reason: &'static [&'static str],
) -> Directive {
    Directive { name, aliases: &[], group: GROUP, kind, default, flags, doc: reason, access: Access::Remembered }
}

/// As [`row`], for a name that lost its underscores in later versions.
const fn renamed(name: &'static str, alias: &'static [&'static str], reason: &'static [&'static str]) -> Directive {
    Directive { aliases: alias, ..row(name, Text, "", IMMUTABLE, reason) }
}

const NONE: Flags = Flags::empty();
const IMMUTABLE: Flags = Flags::IMMUTABLE;
const HIDDEN: Flags = Flags::HIDDEN;
const NEWER: Flags = Flags::NEWER;

const DEFRAGMENTATION: &[&str] = &["The allocator keeps small entries dense by itself: nothing is moved."];
const TABLE: &[&str] = &["The tables grow in steps too small to need this."];
const ALLOCATOR: &[&str] = &["The allocator is not jemalloc."];
const THREADS: &[&str] = &["Every core serves its own clients: see shards."];
const BACKGROUND: &[&str] = &["No child process and no background thread works on the data: see server_cpulist."];
const TITLE: &[&str] = &["The process keeps the title it was started with."];
const TESTS: &[&str] = &["For tests of the server it belongs to."];
const CRASH: &[&str] = &["A crash is always reported, and memory is not tested afterwards."];
const ERRORS: &[&str] = &["A change that cannot be applied always stops a replica."];
const LOG: &[&str] = &["The lines of the log have the one form that Redis 7.0 gives them."];
const LOGO: &[&str] = &["No logo is shown."];
const PAYLOADS: &[&str] = &["Serialized values are always looked through to their last byte."];
const FREEING: &[&str] = &["Large values, and the keys of flushed databases, are always freed in small steps."];
const PASSES: &[&str] = &["A core accepts what waits in one pass, in between other work."];

/// The rows.
pub(super) static ROWS: &[Directive] = &[
    row("activedefrag", YesNo, "no", NONE, DEFRAGMENTATION),
    row("active-defrag-cycle-max", Integer(1, 99), "25", NONE, DEFRAGMENTATION),
    row("active-defrag-cycle-min", Integer(1, 99), "1", NONE, DEFRAGMENTATION),
    row("active-defrag-ignore-bytes", Memory(1, i64::MAX as u64), "100mb", NONE, DEFRAGMENTATION),
    row("active-defrag-max-scan-fields", Integer(1, i64::MAX), "1000", NONE, DEFRAGMENTATION),
    row("active-defrag-threshold-lower", Integer(0, 1000), "10", NONE, DEFRAGMENTATION),
    row("active-defrag-threshold-upper", Integer(0, 1000), "100", NONE, DEFRAGMENTATION),
    row("activerehashing", YesNo, "yes", NONE, TABLE),
    row("always-show-logo", YesNo, "no", IMMUTABLE, LOGO),
    renamed("aof_rewrite_cpulist", &["aof-rewrite-cpulist"], BACKGROUND),
    renamed("bgsave_cpulist", &["bgsave-cpulist"], BACKGROUND),
    renamed("bio_cpulist", &["bio-cpulist"], BACKGROUND),
    row("crash-log-enabled", YesNo, "yes", NONE, CRASH),
    row("crash-memcheck-enabled", YesNo, "yes", NONE, CRASH),
    row("ignore-warnings", Text, "", NONE, &["Its one warning is about a kernel bug in fork, which is not used."]),
    row("io-threads", Integer(1, 128), "1", IMMUTABLE, THREADS),
    row("io-threads-do-reads", YesNo, "no", IMMUTABLE, THREADS),
    row("jemalloc-bg-thread", YesNo, "yes", NONE, ALLOCATOR),
    row("lazyfree-lazy-eviction", YesNo, "no", NONE, FREEING),
    row("lazyfree-lazy-expire", YesNo, "no", NONE, FREEING),
    row("lazyfree-lazy-server-del", YesNo, "no", NONE, FREEING),
    row("lazyfree-lazy-user-del", YesNo, "no", NONE, FREEING),
    row("lazyfree-lazy-user-flush", YesNo, "no", NONE, FREEING),
    row("loading-process-events-interval-bytes", Integer(1024, INT_MAX), "2097152", HIDDEN, TESTS),
    row("propagation-error-behavior", Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore", NONE, ERRORS),
    row("proc-title-template", Checked(check_title), "{title} {listen-addr} {server-mode}", NONE, TITLE),
    row("sanitize-dump-payload", Choice(&["no", "yes", "clients"]), "no", NONE, PAYLOADS),
    row("set-proc-title", YesNo, "yes", IMMUTABLE, TITLE),
    row("tls-dh-params-file", Text, "", NONE, &["Key exchange uses elliptic curves only."]),
    row("use-exit-on-panic", YesNo, "no", HIDDEN, TESTS),
    row("watchdog-period", Integer(0, INT_MAX), "0", HIDDEN, TESTS),
    // Names that came after Redis 7.0, in Redis or in Valkey.
    row("io-threads-always-active", YesNo, "no", NEWER.union(HIDDEN), THREADS),
    row("events-per-io-thread", Integer(0, INT_MAX), "2", NEWER, THREADS),
    row("extended-redis-compatibility", YesNo, "no", NEWER, &["The server calls itself what it is."]),
    row("locale-collate", Text, "", NEWER, &["Texts are sorted by their bytes."]),
    row("log-format", Choice(&["legacy", "logfmt", "json"]), "legacy", NEWER, LOG),
    row("log-timestamp-format", Choice(&["legacy", "iso8601", "milliseconds"]), "legacy", NEWER, LOG),
    row("max-new-connections-per-cycle", Integer(1, 1000), "10", NEWER, PASSES),
    row("max-new-tls-connections-per-cycle", Integer(1, 1000), "1", NEWER, PASSES),
    row("prefetch-batch-max-size", Integer(0, 128), "16", NEWER, &["A pass prefetches what it reads, however much."]),
];

/// The variables of a title.
const TITLE_VARIABLES: &[&str] =
    &["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

fn check_title(template: &str) -> Result<(), &'static str> {
    const INVALID: &str = "template format is invalid or contains unknown variables";
    let mut rest = template;
    let mut is_empty = true;
    while let Some(open) = rest.find('{') {
        let inside = &rest[open + 1..];
        let close = inside.find('}').ok_or(INVALID)?;
        let name = &inside[..close];
        if !TITLE_VARIABLES.contains(&name) {
            return Err(INVALID);
        }
        is_empty &= open == 0 && matches!(name, "title" | "server-mode"); // These may stand for nothing.
        rest = &inside[close + 1..];
    }
    if is_empty && rest.is_empty() { Err(INVALID) } else { Ok(()) }
}
