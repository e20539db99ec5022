//! The stream commands.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does; later commands and options follow the documentation and the public
//! test suite of Redis 7.4 to 8.10. A stream may be empty: what empties one does not delete it.

mod group;
mod id;
mod info;
mod newer;
mod pending;
mod read;
mod write;

use super::key_spec::Find;
use super::{Command, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::resp::{Error, Reply};
use crate::structure::listpack::Element;
use crate::value::number::parse_integer;
use crate::value::stream::{IdempotencyLimits, Limits};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.union(Flags::FAST);
const READS: Flags = READ.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.union(Flags::FAST);
const DELIVERS: Flags = WRITE.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS);
const GROW: Flags = WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);
const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);

/// Replies depend on the time, or on what was delivered before.
const VARYING: &[&str] = &["nondeterministic_output"];

/// The key of a subcommand.
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
/// Half of what follows the word.
const HALF: Find = Find::Range { last: -1, step: 1, limit: 2 };
const KEYS_OF_XREAD: &[KeySpec] = &[KeySpec::behind("STREAMS", 1, KeyAccess::READ).find(HALF)];
const KEYS_OF_XREADGROUP: &[KeySpec] = &[KeySpec::behind("STREAMS", 4, KeyAccess::READ).find(HALF)];
const KEYS_OF_XADD: &[KeySpec] =
    &[KeySpec::at(1, KeyAccess::CHANGE).notes("UPDATE instead of INSERT because of the optional trimming feature")];

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("XACK", Run::Keyspace(group::xack))
        .arity(-4)
        .key()
        .flags(WRITE_FAST)
        .docs(Group::Stream, "5.0.0", "Ends what is pending for a group: entries are done with.")
        .complexity("O(1) for each id")
        .syntax("key:key group:string (id:string [id:string ...])"),
    Command::new("XADD", Run::Keyspace(write::xadd))
        .arity(-5)
        .key()
        .key_specs(KEYS_OF_XADD)
        .flags(GROW_FAST)
        .docs(Group::Stream, "5.0.0", "Adds an entry at the end of a stream.")
        .complexity("O(1), and what trimming takes: O(N) where N is the number of entries that go")
        .tips(VARYING)
        .syntax("key:key [nomkstream=NOMKSTREAM]@6.2.0 trim=[strategy=((maxlen=MAXLEN|minid=MINID@6.2.0)) \
             operator=[(equal==|approximately=~)] threshold:string [LIMIT count:integer]@6.2.0] \
             id_or_auto=((auto_id=*|id:string)) field_value=(field:string value:string [field:string \
             value:string ...])"),
    Command::new("XAUTOCLAIM", Run::Keyspace(pending::xautoclaim))
        .arity(-6)
        .key()
        .access(KeyAccess::DROP)
        .flags(WRITE_FAST)
        .docs(Group::Stream, "6.2.0", "Gives what was delivered long ago to another consumer, as far as it finds such entries.")
        .complexity("O(1) where COUNT is small")
        .tips(VARYING)
        .syntax("key:key group:string consumer:string min-idle-time:string start:string [COUNT count:integer] \
             [justid=JUSTID]"),
    Command::new("XCLAIM", Run::Keyspace(pending::xclaim))
        .arity(-6)
        .key()
        .flags(WRITE_FAST)
        .docs(Group::Stream, "5.0.0", "Gives what is pending to another consumer.")
        .complexity("O(log(N)) for each id where N is what is pending for the group")
        .tips(VARYING)
        .syntax("key:key group:string consumer:string min-idle-time:string (id:string [id:string ...]) [IDLE \
             ms:integer] [TIME unix-time-milliseconds:unix-time] [RETRYCOUNT count:integer] [force=FORCE] \
             [justid=JUSTID] [LASTID id:string]"),
    Command::new("XDEL", Run::Keyspace(write::xdel))
        .arity(-3)
        .key()
        .access(KeyAccess::DROP)
        .flags(WRITE_FAST)
        .docs(Group::Stream, "5.0.0", "Deletes entries of a stream.")
        .complexity("O(1) for each entry")
        .syntax("key:key (id:string [id:string ...])"),
    Command::new("XLEN", Run::Keyspace(read::xlen))
        .arity(2)
        .key()
        .access(KeyAccess::RO)
        .flags(READ_FAST)
        .docs(Group::Stream, "5.0.0", "Returns the number of entries of a stream.")
        .syntax("key:key"),
    Command::new("XPENDING", Run::Keyspace(pending::xpending))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Returns what was delivered to a group and is not acknowledged.")
        .complexity("O(N) where N is the number of entries returned; O(M) with IDLE where M is what is pending")
        .tips(VARYING)
        .syntax("key:key group:string filters=[[IDLE min-idle-time:integer]@6.2.0 start:string end:string \
             count:integer [consumer:string]]"),
    Command::new("XRANGE", Run::Keyspace(read::xrange))
        .arity(-4)
        .key()
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Returns the entries of a range of ids.")
        .complexity("O(N) where N is the number of entries returned")
        .syntax("key:key start:string end:string [COUNT count:integer]"),
    Command::new("XREAD", Run::Blocking(read::xread))
        .arity(-4)
        .keys(Keys::Custom(read::stream_keys))
        .asking_to_wait(read::asks_to_wait)
        .key_specs(KEYS_OF_XREAD)
        .flags(READS)
        .docs(Group::Stream, "5.0.0", "Returns the entries of streams behind given ids; waits for some.")
        .complexity("O(N) where N is the number of entries returned")
        .syntax("[COUNT count:integer] [BLOCK milliseconds:integer] streams=(STREAMS (key:key [key:key ...]) \
             (id:string [id:string ...]))"),
    Command::new("XREADGROUP", Run::Blocking(read::xreadgroup))
        .arity(-7)
        .keys(Keys::Custom(read::stream_keys))
        .asking_to_wait(read::asks_to_wait)
        .key_specs(KEYS_OF_XREADGROUP)
        .flags(DELIVERS)
        .docs(Group::Stream, "5.0.0", "Returns entries of streams that nobody of a group has got yet, or what is pending for a consumer; waits for some.")
        .complexity("O(N) where N is the number of entries returned")
        .syntax("group_consumer=(GROUP group:string consumer:string) [COUNT count:integer] [BLOCK \
             milliseconds:integer] [noack=NOACK] streams=(STREAMS (key:key [key:key ...]) (id:string \
             [id:string ...]))"),
    Command::new("XREVRANGE", Run::Keyspace(read::xrevrange))
        .arity(-4)
        .key()
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Returns the entries of a range of ids, the last one first.")
        .complexity("O(N) where N is the number of entries returned")
        .syntax("key:key end:string start:string [COUNT count:integer]"),
    Command::new("XSETID", Run::Keyspace(write::xsetid))
        .arity(-3)
        .key()
        .flags(GROW_FAST)
        .docs(Group::Stream, "5.0.0", "Sets the last id of a stream and its counters.")
        .syntax("key:key last-id:string [ENTRIESADDED entries_added:integer]@7.0.0 [MAXDELETEDID \
             max_deleted_entry_id:string]@7.0.0"),
    Command::new("XTRIM", Run::Keyspace(write::xtrim))
        .arity(-4)
        .key()
        .access(KeyAccess::DROP)
        .flags(WRITE)
        .docs(Group::Stream, "5.0.0", "Removes the oldest entries of a stream.")
        .complexity("O(N) where N is the number of nodes that go, each of some hundred entries")
        .tips(VARYING)
        .syntax("key:key trim=(strategy=((maxlen=MAXLEN|minid=MINID@6.2.0)) operator=[(equal==|approximately=~)] \
             threshold:string [LIMIT count:integer]@6.2.0)"),
    Command::new("XACKDEL", Run::Keyspace(newer::xackdel))
        .arity(-6)
        .key()
        .access(KeyAccess::DROP)
        .flags(WRITE_FAST)
        .docs(Group::Stream, "8.2.0", "Ends what is pending for a group, and deletes the entries.")
        .complexity("O(1) for each id")
        .syntax("key group:string [KEEPREF|DELREF|ACKED] IDS numids:integer id:string [id:string ...]"),
    Command::new("XCFGSET", Run::Keyspace(newer::xcfgset))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .docs(Group::Stream, "8.6.0", "Sets how long the messages of producers are remembered, and how many.")
        .syntax("key [IDMP-DURATION idmp-duration:integer] [IDMP-MAXSIZE idmp-maxsize:integer]"),
    Command::new("XDELEX", Run::Keyspace(newer::xdelex))
        .arity(-5)
        .key()
        .access(KeyAccess::DROP)
        .flags(WRITE_FAST)
        .docs(Group::Stream, "8.2.0", "Deletes entries of a stream, in regard of what is pending.")
        .complexity("O(1) for each id and group")
        .syntax("key [KEEPREF|DELREF|ACKED] IDS numids:integer id:string [id:string ...]"),
    Command::new("XIDMPRECORD", Run::Keyspace(newer::xidmprecord))
        .arity(5)
        .key()
        .flags(WRITE_FAST)
        .docs(Group::Stream, "8.8.0", "Remembers that the message of a producer is an entry.")
        .syntax("key pid:string iid:string stream-id:string"),
    Command::new("XNACK", Run::Keyspace(newer::xnack))
        .arity(-7)
        .key()
        .flags(WRITE_FAST)
        .docs(Group::Stream, "8.8.0", "Gives back what is pending, so that others of the group may have it.")
        .complexity("O(log(N)) for each id where N is what is pending")
        .syntax(
            "key group:string mode=(SILENT|FAIL|FATAL) IDS numids:integer id:string [id:string ...] \
             [RETRYCOUNT count] [FORCE]",
        ),
    Command::new("XGROUP", Run::Container)
        .arity(-2)
        .docs(Group::Stream, "5.0.0", "Groups of consumers.")
        .complexity("Depends on subcommand.")
        .subcommands(SUBCOMMANDS_OF_XGROUP),
    Command::new("XINFO", Run::Container)
        .arity(-2)
        .docs(Group::Stream, "5.0.0", "What is known of streams.")
        .complexity("Depends on subcommand.")
        .subcommands(SUBCOMMANDS_OF_XINFO),
];

const SUBCOMMANDS_OF_XGROUP: &[Command] = &[
    Command::new("CREATE", Run::Keyspace(group::create))
        .arity(-5)
        .keys(SECOND)
        .access(KeyAccess::ADD)
        .flags(GROW)
        .docs(Group::Stream, "5.0.0", "Creates a group.")
        .syntax(
            "key:key groupname:string id=((id:string|new_id=$)) [mkstream=MKSTREAM] [ENTRIESREAD \
             entries_read:integer]",
        ),
    Command::new("CREATECONSUMER", Run::Keyspace(group::createconsumer))
        .arity(5)
        .keys(SECOND)
        .access(KeyAccess::ADD)
        .flags(GROW)
        .docs(Group::Stream, "6.2.0", "Creates a consumer in a group.")
        .syntax("key:key groupname:string consumername:string"),
    Command::new("DELCONSUMER", Run::Keyspace(group::delconsumer))
        .arity(5)
        .keys(SECOND)
        .access(KeyAccess::DROP)
        .flags(WRITE)
        .docs(Group::Stream, "5.0.0", "Removes a consumer and what is pending for it.")
        .complexity("O(N) where N is what is pending for it")
        .syntax("key:key groupname:string consumername:string"),
    Command::new("DESTROY", Run::Keyspace(group::destroy))
        .arity(4)
        .keys(SECOND)
        .access(KeyAccess::DROP)
        .flags(WRITE)
        .docs(Group::Stream, "5.0.0", "Removes a group; it is freed later.")
        .syntax("key:key groupname:string"),
    Command::new("HELP", Run::Session(group::help)).arity(2).flags(ANY_STATE).docs(
        Group::Stream,
        "5.0.0",
        "Describes the subcommands.",
    ),
    Command::new("SETID", Run::Keyspace(group::setid))
        .arity(-5)
        .keys(SECOND)
        .access(KeyAccess::CHANGE)
        .flags(WRITE)
        .docs(Group::Stream, "5.0.0", "Sets how far a group has read.")
        .syntax("key:key groupname:string id=((id:string|new_id=$)) [ENTRIESREAD entries_read:integer]"),
];

const SUBCOMMANDS_OF_XINFO: &[Command] = &[
    Command::new("CONSUMERS", Run::Keyspace(info::consumers))
        .arity(4)
        .keys(SECOND)
        .access(KeyAccess::READ)
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Describes the consumers of a group.")
        .complexity("O(N) where N is the number of consumers")
        .tips(VARYING)
        .syntax("key:key groupname:string"),
    Command::new("GROUPS", Run::Keyspace(info::groups))
        .arity(3)
        .keys(SECOND)
        .access(KeyAccess::READ)
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Describes the groups of a stream.")
        .complexity("O(N) where N is the number of groups")
        .syntax("key:key"),
    Command::new("HELP", Run::Session(info::help)).arity(2).flags(ANY_STATE).docs(
        Group::Stream,
        "5.0.0",
        "Describes the subcommands.",
    ),
    Command::new("STREAM", Run::Keyspace(info::stream))
        .arity(-3)
        .keys(SECOND)
        .access(KeyAccess::READ)
        .flags(READ)
        .docs(Group::Stream, "5.0.0", "Describes a stream; with FULL its entries and groups too.")
        .complexity("O(N) where N is what FULL returns")
        .syntax("key:key full=[full=FULL [COUNT count:integer]]"),
];

fn integer(word: &[u8]) -> Result<i64, Error> {
    parse_integer(word).ok_or(Error::NOT_INTEGER)
}

/// What a stream remembers of producers where `XCFGSET` has not said it.
pub fn idempotency_limits(cx: &Context<'_>) -> IdempotencyLimits {
    let (duration_s, messages_max) = (cx.config.stream_idmp_duration, cx.config.stream_idmp_maxsize);
    IdempotencyLimits { duration_s, messages_max }
}

fn limits(cx: &Context<'_>) -> Limits {
    Limits { node_bytes_max: cx.config.stream_node_max_bytes, node_entries_max: cx.config.stream_node_max_entries }
}

fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Integer(integer) => reply.bulk_integer(integer),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}
