//! The command table. One row per command, beside its code; lookup, arity, routing, `COMMAND`, ACL categories,
//! documentation coverage and fuzz grammars all derive from the rows.
//!
//! A family file (`string.rs`, `generic.rs`, …) opens with its rows, then the functions, then tests. Nothing outside
//! the rows asks for a command's name.

use crate::config::Config;
use crate::resp::{Error, Reply};
use crate::session::{Audience, Session};
use crate::value::Type;
use crate::value::number::Extended;
use bitflags::bitflags;
use std::cmp::Ordering;

mod aof;
mod bitmap;
mod client;
mod cluster;
mod config;
mod connection;
mod context;
mod debug;
mod dump;
mod elsewhere;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
pub mod info;
mod introspection;
pub mod journal;
pub mod key_spec;
pub mod latency;
mod list;
pub mod long_reply;
pub mod lookup;
mod memory;
mod module;
pub mod persistence;
pub mod pubsub;
mod scan;
pub mod script;
mod server;
mod set;
pub mod slowlog;
mod sort;
mod sorted_set;
mod stream;
mod string;
pub mod survey;
pub mod syntax;
mod tracking;
mod transaction;
pub use aof::{WaitAof, count_durability};
pub use client::session_bytes as client_session_bytes;
pub use context::{Args, Clients, Context, CoreView, Part, SessionView};
pub use journal::Journal;
pub use key_spec::{KeyAccess, KeySpec};
pub use lookup::key_positions;

/// What a command's code returns: the reply is written already, or an error is to be written.
pub type CommandResult = Result<(), Error>;

bitflags! {
    /// Properties of a command, named and ordered as `COMMAND INFO` does it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May change the keyspace.
        const WRITE = 1 << 0;
        /// Reads the keyspace and never changes it.
        const READONLY = 1 << 1;
        /// Refused when memory is full.
        const DENYOOM = 1 << 2;
        /// Administrative.
        const ADMIN = 1 << 3;
        /// Publish and subscribe.
        const PUBSUB = 1 << 4;
        /// Not for scripts.
        const NOSCRIPT = 1 << 5;
        /// May block the client.
        const BLOCKING = 1 << 6;
        /// Allowed while a data set is loaded.
        const LOADING = 1 << 7;
        /// Allowed on a replica with stale data.
        const STALE = 1 << 8;
        /// Not shown to `MONITOR`.
        const SKIP_MONITOR = 1 << 9;
        /// Never in the slow log.
        const SKIP_SLOWLOG = 1 << 10;
        /// Accepted by a cluster node that is importing the slot.
        const ASKING = 1 << 11;
        /// Constant or logarithmic time.
        const FAST = 1 << 12;
        /// Allowed before `AUTH`.
        const NO_AUTH = 1 << 13;
        /// May be replicated although it is no write (`PUBLISH`, `EVAL`).
        const MAY_REPLICATE = 1 << 14;
        /// Its keys are optional.
        const NO_MANDATORY_KEYS = 1 << 15;
        /// Not while loading asynchronously.
        const NO_ASYNC_LOADING = 1 << 16;
        /// Not inside `MULTI`.
        const NO_MULTI = 1 << 17;
        /// Key positions depend on the arguments.
        const MOVABLEKEYS = 1 << 18;
        /// Allowed while a script runs too long.
        const ALLOW_BUSY = 1 << 19;
    }
}

impl Flags {
    /// Whether a command may change something, in the keyspace or by being replicated.
    pub const fn may_change(self) -> bool {
        self.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE))
    }
}

bitflags! {
    /// ACL categories beyond those that follow from the flags and the group (`@read`, `@write`, `@fast`, `@slow`, …).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Categories: u32 {
        /// `@keyspace`
        const KEYSPACE = 1 << 0;
        /// `@read`
        const READ = 1 << 1;
        /// `@write`
        const WRITE = 1 << 2;
        /// `@set`
        const SET = 1 << 3;
        /// `@sortedset`
        const SORTEDSET = 1 << 4;
        /// `@list`
        const LIST = 1 << 5;
        /// `@hash`
        const HASH = 1 << 6;
        /// `@string`
        const STRING = 1 << 7;
        /// `@bitmap`
        const BITMAP = 1 << 8;
        /// `@hyperloglog`
        const HYPERLOGLOG = 1 << 9;
        /// `@geo`
        const GEO = 1 << 10;
        /// `@stream`
        const STREAM = 1 << 11;
        /// `@pubsub`
        const PUBSUB = 1 << 12;
        /// `@admin`
        const ADMIN = 1 << 13;
        /// `@fast`
        const FAST = 1 << 14;
        /// `@slow`
        const SLOW = 1 << 15;
        /// `@blocking`
        const BLOCKING = 1 << 16;
        /// `@dangerous`
        const DANGEROUS = 1 << 17;
        /// `@connection`
        const CONNECTION = 1 << 18;
        /// `@transaction`
        const TRANSACTION = 1 << 19;
        /// `@scripting`
        const SCRIPTING = 1 << 20;
    }
}

/// The documentation group of a command, as `COMMAND DOCS` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

/// Where the keys stand among the arguments (0 is the command's name).
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// No keys.
    None,
    /// `first`, then every `step`th up to `last`; a negative `last` counts from the end (-1: the last argument).
    Range {
        /// Index of the first key.
        first: i16,
        /// Index of the last key, or negative from the end.
        last: i16,
        /// Distance between keys.
        step: i16,
    },
    /// A count at index `at`, then that many keys; keys before `at` (a destination) stand in `first..first+fixed`.
    Counted {
        /// Index of the count.
        at: i16,
        /// Index of the first key standing alone (0: none), such as a destination.
        destination: i16,
    },
    /// Found by code: pushes the index of every key.
    Custom(fn(&Args<'_>, &mut Vec<usize>)),
}

/// What a blocking command waits for that found nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The keys, with the call to run when something happens to one.
    pub retries: Vec<Retry>,
    /// It is run when the key holds this.
    pub value_type: Type,
    /// How long it waits, in milliseconds; 0: for ever.
    pub timeout_ms: u64,
    /// What it replies where it may not wait.
    pub refused: Refused,
    /// What it is told when a key is gone or holds something else; none: it waits on.
    pub orphaned: Option<Orphaned>,
    /// Its calls are run again after so many milliseconds, whether something happened or not; none: they are not.
    pub polls_ms: Option<u64>,
}

/// What ends the waiting of one who needs more than that a key comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphaned {
    /// Told when the key is gone, or holds another type.
    pub no_key: Error,
    /// Told instead of the error of the call when it is run again.
    pub failed: Error,
}

/// One key that a client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The key.
    pub key: Vec<u8>,
    /// The call that looks at this one only (and at a destination).
    pub args: Vec<Vec<u8>>,
}

/// A reply that says that there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Of commands that return arrays.
    NullArray,
    /// Of commands that return one element.
    Null,
    /// Of commands that return how many there are.
    Zero,
}

impl Refused {
    /// Writes what one who has waited long enough is told: arrays that are null, as in Redis 7.0, whatever was wanted.
    pub fn write_late(self, reply: &mut Reply<'_>) {
        match self {
            Refused::NullArray | Refused::Null => reply.null_array(),
            Refused::Zero => reply.integer(0),
        }
    }

    /// Writes it.
    pub fn write(self, reply: &mut Reply<'_>) {
        match self {
            Refused::NullArray => reply.null_array(),
            Refused::Null => reply.null(),
            Refused::Zero => reply.integer(0),
        }
    }
}

/// The timeout of a blocking command, in seconds with fractions, as milliseconds; 0: for ever.
///
/// # Errors
/// No number, or negative, as more milliseconds than 64 bits can count are told to be. Redis reads it as a `long
/// double`, in whose range there are far more numbers than in that of a double.
pub fn parse_timeout_ms(word: &[u8]) -> Result<u64, Error> {
    let milliseconds = Extended::parse(word).ok_or(Error::TIMEOUT_NOT_FLOAT)?.times(1000);
    if milliseconds.compare(Extended::from_integer(i64::MAX)) == Ordering::Greater {
        return Err(Error::TIMEOUT_NEGATIVE); // In Redis 7.0, whose conversion overflows.
    }
    u64::try_from(milliseconds.ceil()).map_err(|_| Error::TIMEOUT_NEGATIVE)
}

/// How a command with several keys, or with none, meets several shards.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    /// All keys on one shard: runs there. Keys on several: their owners lend the entries (see `route`).
    Owner,
    /// Each shard runs the command on its own keys (with their values, by the key step); replies are merged.
    Split(Gather),
    /// Every shard runs the command as it is; replies are merged.
    Every(Gather),
    /// Every shard runs the command bit by bit; the replies of all steps are merged. The argument of this number, if
    /// any, says how many elements are wanted at most. See [`survey`].
    Survey(Gather, Option<usize>),
    /// Runs on the shard that its first argument, a cursor, points into: the cursor modulo the number of shards.
    Cursor,
    /// Runs on a shard drawn by lot, each as often as it has keys.
    Lot,
}

/// How partial replies become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Integers are added.
    Sum,
    /// All say `+OK`, or the first error is the reply.
    Ok,
    /// Elements go back to the places of their keys.
    ByKey,
    /// Arrays are joined.
    Concat,
    /// The first reply that is not null.
    First,
}

/// Makes a reply of the parts of all cores.
pub type Merge = fn(&mut SessionView<'_>, &Args<'_>, Vec<Part>, &mut Reply<'_>) -> CommandResult;

/// The code of a command on what is remembered of its client.
pub type SessionRun = fn(&mut SessionView<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult;

/// What a command's code may touch follows from the variant: a string command cannot reach a socket because its
/// signature has none.
#[derive(Clone, Copy)]
pub enum Run {
    /// On the shard that owns its keys.
    Keyspace(fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult),
    /// The same, but if there is nothing to do yet the client waits, as the result says. Outside a transaction or
    /// script it is run again for each of the keys to which something happens.
    Blocking(fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> Result<Option<Wait>, Error>),
    /// On the connection's own core, with what is remembered of the client.
    Session(SessionRun),
    /// On every core; the parts meet on the connection's core and become the reply there.
    Everywhere {
        /// Checks the client and the arguments once, at home, before any core is asked.
        check: fn(&SessionView<'_>, &Args<'_>) -> CommandResult,
        /// One core's part.
        part: fn(&mut CoreView<'_>, &Args<'_>) -> Part,
        /// All parts, by core, become the reply.
        merge: Merge,
    },
    /// On shards and client alike: `WATCH` on the shards of its keys, `EXEC` on those of all keys that were queued.
    Joint(Joint),
    /// On the connection's own core, which hands out messages: its client subscribes to what the arguments name, or
    /// unsubscribes.
    Subscription {
        /// To what.
        audience: Audience,
        /// Whether a subscription begins.
        joins: bool,
    },
    /// Only its subcommands run.
    Container,
}

/// What a command does with what is remembered of the client and with shards, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// Remembers the versions of keys.
    Watch,
    /// Runs what was queued, unless a watched key has another version now.
    Exec,
    /// Waits until all that was written is on disk.
    WaitAof,
    /// Runs a script, or changes what there is of scripts.
    Script(ScriptCall),
}

/// What a command does with scripts where they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptCall {
    /// `EVAL`, `EVAL_RO`: a text.
    Eval {
        /// It may not write.
        is_readonly: bool,
    },
    /// `EVALSHA`, `EVALSHA_RO`: a text that is known.
    EvalSha {
        /// It may not write.
        is_readonly: bool,
    },
    /// `FCALL`, `FCALL_RO`: a function.
    Function {
        /// It may not write.
        is_readonly: bool,
    },
    /// `SCRIPT LOAD`
    Load,
    /// `FUNCTION LOAD`
    LoadLibrary,
    /// `FUNCTION RESTORE`
    RestoreLibraries,
    /// `FUNCTION DELETE`
    DeleteLibrary,
    /// `FUNCTION FLUSH`
    FlushLibraries,
    /// `SCRIPT FLUSH`
    FlushScripts,
}

impl ScriptCall {
    /// Whether a script runs, which may use any key. All others change what is run, and nobody runs anything meanwhile,
    /// on any core: a transaction must not find one of its functions as it was, and the next one as it is.
    pub fn runs(self) -> bool {
        matches!(self, ScriptCall::Eval { .. } | ScriptCall::EvalSha { .. } | ScriptCall::Function { .. })
    }
}

/// Keys that follow from what other keys hold: `SORT … BY weight_*`. A call that uses them needs every shard.
#[derive(Clone, Copy)]
pub struct Derived {
    /// Whether a call uses such keys.
    pub is_used: fn(&Args<'_>) -> bool,
    /// Which they are, in a keyspace that has those the call names, in a database of it.
    pub keys: fn(&crate::keyspace::Keyspace, usize, &Args<'_>) -> Vec<Vec<u8>>,
}

/// What a call makes of a key, where that can be told before it runs and may be far more than the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// The key: which argument.
    pub key: usize,
    /// How long its value will be at least, in bytes.
    pub bytes: usize,
}

/// Tells a call's growth; it is handed what finds how many bytes a key has now.
pub type Grows = fn(&Args<'_>, &dyn Fn(&[u8]) -> usize) -> Option<Growth>;

/// One row of the table.
pub struct Command {
    /// In capitals; a subcommand's row has only its own word.
    pub name: &'static str,
    /// What runs it.
    pub run: Run,
    /// As Redis counts: the name included, negative for "at least".
    pub arity: i16,
    /// Where its keys are.
    pub keys: Keys,
    /// What it does to its keys; empty: what `flags` imply.
    pub access: KeyAccess,
    /// The same where it depends on the arguments.
    pub access_of: Option<fn(&Args<'_>) -> KeyAccess>,
    /// Keys that a call needs and does not name.
    pub derived: Option<Derived>,
    /// Key specifications as clients are told them; empty: those that `keys` imply.
    pub key_specs: &'static [KeySpec],
    /// Finds the arguments that logs must not show: pushes the index of every secret.
    pub secrets: Option<fn(&Args<'_>, &mut Vec<usize>)>,
    /// Whether a client may call it at all, where a directive or its mode decides that: asked before it is queued, and
    /// of a script again before it runs in a transaction.
    pub permission: Option<fn(&Config, &Session) -> CommandResult>,
    /// What it makes of a key, where that may be far more than it was sent.
    pub grows: Option<Grows>,
    /// Its properties.
    pub flags: Flags,
    /// ACL categories that do not follow from `flags` and `group`.
    pub categories: Categories,
    /// Inside `MULTI` it runs at once rather than being queued.
    pub is_immediate: bool,
    /// A RESP2 client with subscriptions may call it.
    pub is_for_subscribers: bool,
    /// It is refused too while what is written could not be kept: who asks whether the server is well is to know.
    pub tells_of_disk: bool,
    /// Whether a call is to wait for what is not there yet, which no script may.
    pub asks_to_wait: fn(&Args<'_>) -> bool,
    /// How it meets several shards.
    pub spread: Spread,
    /// How what it did is written into the append-only file.
    pub journal: Journal,
    /// Its documentation group.
    pub group: Group,
    /// Version of Redis (or "Valkey N") that had it first.
    pub since: &'static str,
    /// One line for `COMMAND DOCS` and the README.
    pub summary: &'static str,
    /// Cost, for `COMMAND DOCS`.
    pub complexity: &'static str,
    /// The arguments as a grammar: `key value [NX|XX] [GET] [EX seconds|PX milliseconds|KEEPTTL]`, `key [key ...]`.
    pub syntax: &'static str,
    /// Whether it is for the system's own use, not for applications: `syscmd` in COMMAND DOCS.
    pub is_system: bool,
    /// Version since which another is to be preferred, or empty.
    pub deprecated_since: &'static str,
    /// What is to be preferred, in Markdown; empty: nothing is.
    pub replaced_by: &'static str,
    /// Command tips, as `COMMAND INFO` gives them.
    pub tips: &'static [&'static str],
    /// Rows of its subcommands.
    pub subcommands: &'static [Command],
    /// What it says of subcommands that Redis has and that have no row here, if it has a word for this one.
    pub absent: Option<fn(&Config, &Args<'_>) -> Option<Error>>,
}

impl Command {
    /// A row with nothing but a name and code; the builders below add the rest.
    pub const fn new(name: &'static str, run: Run) -> Command {
        Command {
            name,
            run,
            arity: 1,
            keys: Keys::None,
            access: KeyAccess::empty(),
            access_of: None,
            derived: None,
            key_specs: &[],
            secrets: None,
            permission: None,
            grows: None,
            flags: Flags::empty(),
            categories: Categories::empty(),
            is_immediate: false,
            is_for_subscribers: matches!(run, Run::Subscription { .. }),
            tells_of_disk: false,
            asks_to_wait: |_| false,
            spread: Spread::Owner,
            journal: Journal::Call,
            group: Group::Generic,
            since: "1.0.0",
            summary: "",
            complexity: "O(1)",
            syntax: "",
            is_system: false,
            deprecated_since: "",
            replaced_by: "",
            tips: &[],
            subcommands: &[],
            absent: None,
        }
    }

    /// Sets the arity.
    pub const fn arity(mut self, arity: i16) -> Command {
        self.arity = arity;
        self
    }

    /// Its only key is the first argument.
    pub const fn key(mut self) -> Command {
        self.keys = Keys::Range { first: 1, last: 1, step: 1 };
        self
    }

    /// It has a word by which it waits.
    pub const fn asking_to_wait(mut self, asks: fn(&Args<'_>) -> bool) -> Command {
        self.asks_to_wait = asks;
        self
    }

    /// It is refused while writes are.
    pub const fn telling_of_disk(mut self) -> Command {
        self.tells_of_disk = true;
        self
    }

    /// Sets the places of the keys.
    pub const fn keys(mut self, keys: Keys) -> Command {
        self.keys = keys;
        self
    }

    /// Sets what it does to its keys.
    pub const fn access(mut self, access: KeyAccess) -> Command {
        self.access = access;
        self
    }

    /// Sets what tells, from the arguments, what it does to its keys.
    pub const fn access_of(mut self, access_of: fn(&Args<'_>) -> KeyAccess) -> Command {
        self.access_of = Some(access_of);
        self
    }

    /// Sets what tells which keys a call needs beside those it names.
    pub const fn derived(mut self, derived: Derived) -> Command {
        self.derived = Some(derived);
        self
    }

    /// Sets the key specifications, where `keys` and `access` do not imply them.
    pub const fn key_specs(mut self, key_specs: &'static [KeySpec]) -> Command {
        self.key_specs = key_specs;
        self
    }

    /// Sets what finds the arguments that logs must not show.
    pub const fn secrets(mut self, secrets: fn(&Args<'_>, &mut Vec<usize>)) -> Command {
        self.secrets = Some(secrets);
        self
    }

    /// Sets what tells whether a client may call it at all.
    pub const fn permission(mut self, permission: fn(&Config, &Session) -> CommandResult) -> Command {
        self.permission = Some(permission);
        self
    }

    /// Sets what tells how long a value it makes.
    pub const fn grows(mut self, grows: Grows) -> Command {
        self.grows = Some(grows);
        self
    }

    /// Sets the flags.
    pub const fn flags(mut self, flags: Flags) -> Command {
        self.flags = flags;
        self
    }

    /// Adds ACL categories.
    pub const fn categories(mut self, categories: Categories) -> Command {
        self.categories = categories;
        self
    }

    /// A RESP2 client with subscriptions may call it.
    pub const fn for_subscribers(mut self) -> Command {
        self.is_for_subscribers = true;
        self
    }

    /// It is not queued inside `MULTI`.
    pub const fn immediate(mut self) -> Command {
        self.is_immediate = true;
        self
    }

    /// Sets how it meets several shards.
    pub const fn spread(mut self, spread: Spread) -> Command {
        self.spread = spread;
        self
    }

    /// Sets how what it did is written into the append-only file.
    pub const fn journal(mut self, journal: Journal) -> Command {
        self.journal = journal;
        self
    }

    /// Group, first version, one line of meaning.
    pub const fn docs(mut self, group: Group, since: &'static str, summary: &'static str) -> Command {
        self.group = group;
        self.since = since;
        self.summary = summary;
        self
    }

    /// Sets the cost.
    pub const fn complexity(mut self, complexity: &'static str) -> Command {
        self.complexity = complexity;
        self
    }

    /// Sets the grammar of the arguments.
    pub const fn syntax(mut self, syntax: &'static str) -> Command {
        self.syntax = syntax;
        self
    }

    /// It is for the system's own use, not for applications.
    pub const fn system(mut self) -> Command {
        self.is_system = true;
        self
    }

    /// Says what replaces it, since which version, as Redis' documentation has it.
    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Command {
        self.deprecated_since = since;
        self.replaced_by = replaced_by;
        self
    }

    /// Sets the tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    /// Sets what it says of subcommands without a row.
    pub const fn absent(mut self, absent: fn(&Config, &Args<'_>) -> Option<Error>) -> Command {
        self.absent = Some(absent);
        self
    }

    /// Sets the subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }
}

/// Every family's rows. A new family is a line here.
pub const FAMILIES: &[&[Command]] = &[
    aof::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    info::COMMANDS,
    memory::COMMANDS,
    module::COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    server::COMMANDS,
    config::COMMANDS,
    introspection::COMMANDS,
    latency::COMMANDS,
    slowlog::COMMANDS,
    generic::COMMANDS,
    dump::COMMANDS,
    string::COMMANDS,
    bitmap::COMMANDS,
    transaction::COMMANDS,
    script::COMMANDS,
    hash::COMMANDS,
    hash::EXPIRY_COMMANDS,
    set::COMMANDS,
    list::COMMANDS,
    list::blocking::COMMANDS,
    sorted_set::COMMANDS,
    sorted_set::blocking::COMMANDS,
    geo::COMMANDS,
    hyperloglog::COMMANDS,
    sort::COMMANDS,
    stream::COMMANDS,
];

impl From<crate::keyspace::WrongType> for Error {
    fn from(_: crate::keyspace::WrongType) -> Error {
        Error::WRONG_TYPE
    }
}
