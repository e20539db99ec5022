//! The directives that mean something here, one row each: field of [`Config`], name and aliases, kind, default, flags.
//!
//! A field is named as its directive; its unit stands in the doc line. `corering.conf`, `CONFIG GET`, `CONFIG REWRITE`
//! and the loader derive from the rows. `PENDING` marks what is read and kept although this version does not act on it
//! yet, `ABSENT` what is refused unless it is the default.

use super::directive::{Access, Directive, Flags};
use super::kind::Kind::{self, *};
use super::kind::{INT_MAX, INT_MIN, LONG_MAX, Remembered, Secret, Setting};
use super::parse::Word;
use super::types::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

macro_rules! directives {
    ($( $group:literal { $(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $name:literal $(| $alias:literal)*, $kind:expr, $default:literal $(, $flag:ident)*;
    )* } )*) => {
        /// The value of every directive. Made by [`Config::default`] or [`super::Loader`] and changed only as a whole,
        /// by [`Config::set`]: a core holds an `Arc<Config>` and sees either the old one or the new one.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $field: $type, )*)*
            /// Commands that take at least so many nanoseconds go into the slow log: `slowlog-log-slower-than` as the
            /// hot path compares it; `u64::MAX`: none.
            pub slow_nanoseconds: u64,
            /// The file that was loaded, absolute: what `CONFIG REWRITE` writes. None: the server runs without one.
            pub file: Option<PathBuf>,
            /// Lines `rename-command old new`; an empty new name takes the command away.
            pub renamed_commands: Vec<(Word, Word)>,
            /// Values of directives without effect, where not the default; as `CONFIG GET` shows them.
            pub remembered: BTreeMap<&'static str, Remembered>,
        }

        impl Config {
            /// No values yet: the defaults stand in the rows.
            pub(super) fn blank() -> Config {
                Config {
                    $($( $field: <$type>::default(), )*)*
                    slow_nanoseconds: u64::MAX,
                    file: None,
                    renamed_commands: Vec::new(),
                    remembered: BTreeMap::new(),
                }
            }
        }

        /// The rows.
        pub(super) static ROWS: &[Directive] = &[$($(
            Directive {
                name: $name,
                aliases: &[$($alias),*],
                group: $group,
                kind: $kind,
                default: $default,
                flags: Flags::from_bits_retain(0 $(| Flags::$flag.bits())*),
                doc: &[$($doc),+],
                access: Access::Field {
                    read: |config, input| config.$field.read(input),
                    write: |config, form| Setting::write(&config.$field, $kind, form),
                    lines: |config, default| config.$field.lines(&default.$field, $kind),
                },
            },
        )*)*];

        /// Names of the directives and of their fields.
        #[cfg(test)]
        pub(super) static FIELDS: &[(&str, &str)] = &[$($( ($name, stringify!($field)), )*)*];
    };
}

/// Widest bounds of an integer.
const ANY_INT: Kind = Integer(INT_MIN, INT_MAX);
/// Zero and more.
const COUNT: Kind = Integer(0, INT_MAX);
/// Zero and more, beyond 32 bits.
const LONG_COUNT: Kind = Integer(0, i64::MAX);
/// Any size.
const SIZE: Kind = Memory(0, LONG_MAX);
/// A TCP port or 0.
const PORT: Kind = Integer(0, 65535);

directives! {
    "Network" {
        /// Addresses to listen on; `*` is every IPv4 address, `::*` every IPv6 address. A `-` before an address makes
        /// it optional: no error where the machine lacks it.
        bind: Vec<String> = "bind", Words("address [address ...]"), "* -::*";
        /// Local address of outgoing connections (to a primary, to cluster nodes); empty: the system chooses.
        bind_source_addr: String = "bind-source-addr", Text, "", PENDING;
        /// Clients from other machines are refused as long as no password is set and every address is listened on.
        protected_mode: bool = "protected-mode", YesNo, "yes";
        /// Port for plain TCP; 0: none.
        port: u16 = "port", PORT, "6379";
        /// Connections that may wait to be accepted, per listening socket; the kernel cuts it to net.core.somaxconn.
        tcp_backlog: u32 = "tcp-backlog", COUNT, "511", IMMUTABLE;
        /// Path of a Unix socket to listen on; empty: none.
        unixsocket: String = "unixsocket", Text, "", IMMUTABLE;
        /// Permissions of the Unix socket; 0: as the umask says.
        unixsocketperm: u32 = "unixsocketperm", Octal(0o777), "0", IMMUTABLE;
        /// Group of the Unix socket; empty: the process' own.
        unixsocketgroup: String = "unixsocketgroup", Text, "", IMMUTABLE, NEWER, PENDING;
        /// A client that sends nothing for so many seconds is disconnected; 0: never.
        timeout: u32 = "timeout", COUNT, "0";
        /// Seconds of silence after which TCP asks whether the other side is still there; 0: never.
        tcp_keepalive: u32 = "tcp-keepalive", COUNT, "300";
        /// Mark (SO_MARK) of listening sockets, for packet filters; 0: none.
        socket_mark_id: u32 = "socket-mark-id", Integer(0, u32::MAX as i64), "0", IMMUTABLE, PENDING;
        /// Clients connected at the same time; more are refused with an error.
        maxclients: u32 = "maxclients", Integer(1, u32::MAX as i64), "10000";
    }

    "Cores" {
        /// Shards of the keyspace, one pinned thread each; 0: one for every CPU the process may use.
        shards: u32 = "shards", Integer(0, 1024), "0", IMMUTABLE, OWN;
        /// First of the ports on which each core is reached directly: core 0 on this one, core 1 on the next, and so
        /// on; a client that sends a core the keys it owns never waits for another. 0: none.
        core_ports: u16 = "core-ports", PORT, "0", IMMUTABLE, OWN;
        /// A connection whose commands go overwhelmingly to one other core moves there.
        connection_steering: bool = "connection-steering", YesNo, "yes", OWN;
        /// CPUs to run the shards on, as `0-3` or `0,2,4`; empty: all that the process may use.
        server_cpulist: String = "server_cpulist" | "server-cpulist", Text, "", IMMUTABLE;
    }

    "Process" {
        /// Runs in the background; the process then writes a pidfile.
        daemonize: bool = "daemonize", YesNo, "no", IMMUTABLE;
        /// Who watches over the process and is told when it is ready.
        supervised: Supervised = "supervised", Choice(Supervised::NAMES), "no", IMMUTABLE;
        /// File for the process id; empty: none, or /var/run/redis.pid when daemonized.
        pidfile: String = "pidfile", Text, "", IMMUTABLE;
        /// How much the log tells: debug, verbose, notice or warning.
        loglevel: LogLevel = "loglevel", Choice(LogLevel::NAMES), "notice";
        /// File for the log; empty: standard output. Opened for each batch of lines, so it may be moved away.
        logfile: String = "logfile", Text, "", IMMUTABLE;
        /// Also logs to syslog.
        syslog_enabled: bool = "syslog-enabled", YesNo, "no", IMMUTABLE;
        /// Name of this server in syslog.
        syslog_ident: String = "syslog-ident", Text, "redis", IMMUTABLE;
        /// Facility in syslog.
        syslog_facility: SyslogFacility = "syslog-facility", Choice(SyslogFacility::NAMES), "local0", IMMUTABLE;
        /// Number of databases, chosen by SELECT from 0 up.
        databases: u32 = "databases", Integer(1, INT_MAX), "16", IMMUTABLE;
        /// Working directory: snapshots and logs of changes are written here.
        dir: PathBuf = "dir", Text, ".", PROTECTED, DENY_LOADING;
        /// Adjusts the score of the kernel's out-of-memory killer: yes (relative) or absolute values.
        oom_score_adj: OomScoreAdj = "oom-score-adj", Choice(OomScoreAdj::NAMES), "no";
        /// Scores as a primary, as a replica and in background work.
        oom_score_adj_values: OomScores = "oom-score-adj-values", Words("primary replica background"), "0 200 800";
        /// Seconds to wait for replicas that lag, when shutting down.
        shutdown_timeout: u32 = "shutdown-timeout", COUNT, "10", PENDING;
        /// How SIGINT shuts down.
        shutdown_on_sigint: ShutdownOptions = "shutdown-on-sigint", Choices(ShutdownOptions::NAMES), "default";
        /// How SIGTERM shuts down.
        shutdown_on_sigterm: ShutdownOptions = "shutdown-on-sigterm", Choices(ShutdownOptions::NAMES), "default";
        /// Times a second that background work (timeouts, statistics) is looked after; 1 to 500.
        hz: u32 = "hz", COUNT, "10";
        /// Looks after background work more often when many clients are connected.
        dynamic_hz: bool = "dynamic-hz", YesNo, "yes";
        /// Keeps the kernel from backing the memory of the process with huge pages by itself.
        disable_thp: bool = "disable-thp", YesNo, "yes", IMMUTABLE;
        /// Where the server stands, as told by HELLO and INFO; empty: not told.
        availability_zone: String = "availability-zone", Text, "", NEWER, PENDING;
    }

    "Security" {
        /// Password that clients must give with AUTH; empty: none.
        requirepass: Secret = "requirepass", Text, "", SENSITIVE;
        /// File with users and their rights; empty: none.
        aclfile: String = "aclfile", Text, "", IMMUTABLE, ABSENT;
        /// Entries kept by ACL LOG.
        acllog_max_len: usize = "acllog-max-len", LONG_COUNT, "128", PENDING;
        /// Channels that a new user may use.
        acl_pubsub_default: AclPubsubDefault = "acl-pubsub-default", Choice(AclPubsubDefault::NAMES), "resetchannels", PENDING;
        /// Whether CONFIG SET may change directives with which a client could write files: no, yes or local.
        enable_protected_configs: ProtectedAction = "enable-protected-configs", Choice(ProtectedAction::NAMES), "no", IMMUTABLE;
        /// Whether DEBUG may be used: no, yes or local.
        enable_debug_command: ProtectedAction = "enable-debug-command", Choice(ProtectedAction::NAMES), "no", IMMUTABLE;
        /// Whether a client may try to load a module, of which none is supported: no, yes or local.
        enable_module_command: ProtectedAction = "enable-module-command", Choice(ProtectedAction::NAMES), "no", IMMUTABLE;
        /// Keeps what clients store out of the log.
        hide_user_data_from_log: bool = "hide-user-data-from-log", YesNo, "yes", NEWER, PENDING;
    }

    "Limits of clients" {
        /// Bytes of one request that may pile up before it is complete.
        client_query_buffer_limit: u64 = "client-query-buffer-limit", Memory(1 << 20, LONG_MAX), "1gb";
        /// Output that a client may leave unread, by class (normal, replica, pubsub): at once, and for so many seconds.
        client_output_buffer_limit: BufferLimits = "client-output-buffer-limit",
            Words("class hard-limit soft-limit soft-seconds [class ...]"),
            "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60";
        /// Longest single value in a request.
        proto_max_bulk_len: u64 = "proto-max-bulk-len", Memory(1 << 20, LONG_MAX), "512mb";
        /// Memory of all clients together, as a size or as a share of maxmemory; 0: no limit.
        maxmemory_clients: MemoryLimit = "maxmemory-clients",
            MemoryOrShare("argument must be a memory or percent value"), "0";
        /// Keys remembered for client-side caching; 0: no limit.
        tracking_table_max_keys: usize = "tracking-table-max-keys", LONG_COUNT, "1000000";
    }

    "Memory" {
        /// Memory for data and buffers of all cores together, as a size or as a share of the machine's; 0: no limit.
        maxmemory: Budget = "maxmemory", MemoryOrShare("argument must be a memory value"), "0";
        /// Which keys leave when memory is full.
        maxmemory_policy: MaxmemoryPolicy = "maxmemory-policy", Choice(MaxmemoryPolicy::NAMES), "noeviction";
        /// Keys looked at to find one that may leave: more finds better ones and costs more.
        maxmemory_samples: u32 = "maxmemory-samples", Integer(1, INT_MAX), "5";
        /// How hard eviction tries within one command, 0 to 100.
        maxmemory_eviction_tenacity: u32 = "maxmemory-eviction-tenacity", Integer(0, 100), "10";
        /// How slowly the frequency counter of a key grows.
        lfu_log_factor: u32 = "lfu-log-factor", COUNT, "10";
        /// Minutes after which an unused key's frequency counter is decremented; 0: at every look.
        lfu_decay_time: u32 = "lfu-decay-time", COUNT, "1";
        /// How much CPU goes into finding keys that reached their end, 1 to 10.
        active_expire_effort: u32 = "active-expire-effort", Integer(1, 10), "1";
    }

    "Encodings" {
        /// A hash of up to so many fields is kept compact.
        hash_max_listpack_entries: usize = "hash-max-listpack-entries" | "hash-max-ziplist-entries", LONG_COUNT, "512";
        /// A hash is kept compact while every field and value is at most so long.
        hash_max_listpack_value: usize = "hash-max-listpack-value" | "hash-max-ziplist-value", SIZE, "64";
        /// Size of a list's nodes: entries if positive, -1 to -5 for 4, 8, 16, 32, 64 kB.
        list_max_listpack_size: i32 = "list-max-listpack-size" | "list-max-ziplist-size", ANY_INT, "-2";
        /// Nodes at both ends of a list that stay uncompressed; 0: no compression.
        list_compress_depth: u32 = "list-compress-depth", COUNT, "0";
        /// A set of integers up to this size is kept as an array.
        set_max_intset_entries: usize = "set-max-intset-entries", LONG_COUNT, "512";
        /// A set of up to so many members is a "listpack", as in Redis 7.2 with 128; 0: none is, as in Redis 7.0.
        set_max_listpack_entries: usize = "set-max-listpack-entries", LONG_COUNT, "0", NEWER;
        /// A set is kept compact while every member is at most so long.
        set_max_listpack_value: usize = "set-max-listpack-value", SIZE, "64", NEWER;
        /// A sorted set of up to so many members is kept compact.
        zset_max_listpack_entries: usize = "zset-max-listpack-entries" | "zset-max-ziplist-entries", LONG_COUNT, "128";
        /// A sorted set is kept compact while every member is at most so long.
        zset_max_listpack_value: usize = "zset-max-listpack-value" | "zset-max-ziplist-value", SIZE, "64";
        /// Bytes in one node of a stream; 0: no limit.
        stream_node_max_bytes: usize = "stream-node-max-bytes", SIZE, "4096";
        /// Entries in one node of a stream; 0: no limit.
        stream_node_max_entries: u64 = "stream-node-max-entries", LONG_COUNT, "100";
        /// A HyperLogLog is kept sparse up to this size.
        hll_sparse_max_bytes: usize = "hll-sparse-max-bytes", SIZE, "3000";
        /// Seconds that a stream remembers the id of a message, so that it is added once.
        stream_idmp_duration: u32 = "stream-idmp-duration", Integer(1, 86_400), "100", NEWER;
        /// Such ids remembered per producer.
        stream_idmp_maxsize: u32 = "stream-idmp-maxsize", Integer(1, 10_000), "100", NEWER;
    }

    "Watching" {
        /// Port of metrics, probes and the live page, by HTTP; 0: none. There is no password: see admin-bind.
        admin_port: u16 = "admin-port", PORT, "0", IMMUTABLE, OWN;
        /// Addresses on which that port is opened.
        admin_bind: Vec<String> = "admin-bind", Words("address [address ...]"), "127.0.0.1", IMMUTABLE, OWN;
        /// Commands that take longer than so many microseconds go into the slow log; -1: none, 0: all.
        slowlog_log_slower_than: i64 = "slowlog-log-slower-than" | "commandlog-execution-slower-than", Integer(-1, i64::MAX), "10000";
        /// Tells of each entry of the slow log where its time went, in a seventh element: nanoseconds by stage.
        slowlog_stages: bool = "slowlog-stages", YesNo, "no", OWN;
        /// Entries of the slow log.
        slowlog_max_len: usize = "slowlog-max-len" | "commandlog-slow-execution-max-len", LONG_COUNT, "128";
        /// Arguments kept of a command in the slow log.
        slowlog_entry_max_argc: usize = "slowlog-entry-max-argc", Integer(2, INT_MAX), "32", NEWER, PENDING;
        /// Bytes kept of an argument in the slow log.
        slowlog_entry_max_string_len: usize = "slowlog-entry-max-string-len", Integer(1, INT_MAX), "128", NEWER, PENDING;
        /// Requests of more than so many bytes go into a log of their own; -1: none.
        commandlog_request_larger_than: i64 = "commandlog-request-larger-than", Integer(-1, i64::MAX), "1048576", NEWER, PENDING;
        /// Entries of the log of large requests.
        commandlog_large_request_max_len: usize = "commandlog-large-request-max-len", LONG_COUNT, "128", NEWER, PENDING;
        /// Replies of more than so many bytes go into a log of their own; -1: none.
        commandlog_reply_larger_than: i64 = "commandlog-reply-larger-than", Integer(-1, i64::MAX), "1048576", NEWER, PENDING;
        /// Entries of the log of large replies.
        commandlog_large_reply_max_len: usize = "commandlog-large-reply-max-len", LONG_COUNT, "128", NEWER, PENDING;
        /// Keeps histograms of the memory that keys take.
        key_memory_histograms: bool = "key-memory-histograms", YesNo, "no", NEWER, PENDING;
        /// Events that take at least so many milliseconds are kept by LATENCY; 0: none.
        latency_monitor_threshold: u64 = "latency-monitor-threshold", LONG_COUNT, "0";
        /// A pass of a core that takes longer than so many microseconds is a stall: INFO tells how many there were, and
        /// of the last one the command that took most of it; -1: none, 0: all.
        stall_slower_than: i64 = "stall-slower-than", Integer(-1, i64::MAX), "10000", OWN;
        /// Keeps latency histograms per command and stage.
        latency_tracking: bool = "latency-tracking", YesNo, "yes";
        /// Percentiles of INFO latencystats.
        latency_tracking_info_percentiles: Percentiles = "latency-tracking-info-percentiles", Words("percentile [percentile ...]"), "50 99 99.9";
        /// Events about keys that are published: K and E choose the channels; g$lshzxetdnm the events, A for most of
        /// them.
        notify_keyspace_events: KeyspaceEvents = "notify-keyspace-events", Text, "";
    }

    "Snapshots" {
        /// A snapshot is taken after so many seconds if so many writes happened; "": never.
        save: SavePoints = "save", Words("seconds changes [seconds changes ...]"), "3600 1 300 100 60 10000";
        /// Name of the snapshot, in dir.
        dbfilename: String = "dbfilename", Checked(check_dbfilename), "dump.rdb", PROTECTED;
        /// Compresses texts in the snapshot; strings of 128 KiB or more are written as they are, in pieces, so that
        /// no client waits for one.
        rdbcompression: bool = "rdbcompression", YesNo, "yes";
        /// Ends the snapshot with a checksum and looks at it when loading.
        rdbchecksum: bool = "rdbchecksum", YesNo, "yes", IMMUTABLE;
        /// Refuses writes while snapshots fail.
        stop_writes_on_bgsave_error: bool = "stop-writes-on-bgsave-error", YesNo, "yes";
        /// Syncs the snapshot bit by bit while writing it.
        rdb_save_incremental_fsync: bool = "rdb-save-incremental-fsync", YesNo, "yes";
        /// Removes snapshots that came from or went to a replica, where nothing else persists.
        rdb_del_sync_files: bool = "rdb-del-sync-files", YesNo, "no", PENDING;
    }

    "Append-only log" {
        /// Logs every change.
        appendonly: bool = "appendonly", YesNo, "no", DENY_LOADING;
        /// Beginning of the names of the log's files.
        appendfilename: String = "appendfilename", Checked(check_appendfilename), "appendonly.aof", IMMUTABLE;
        /// Directory of the log, in dir.
        appenddirname: String = "appenddirname", Checked(check_appenddirname), "appendonlydir", IMMUTABLE;
        /// When the log is synced: always (before the reply), everysec or no. Without always kill -9 loses a second.
        appendfsync: Appendfsync = "appendfsync", Choice(Appendfsync::NAMES), "everysec";
        /// Does not sync the log while it is rewritten or a snapshot is taken.
        no_appendfsync_on_rewrite: bool = "no-appendfsync-on-rewrite", YesNo, "no";
        /// The log is rewritten when it has grown by so many per cent; 0: never by itself.
        auto_aof_rewrite_percentage: u32 = "auto-aof-rewrite-percentage", COUNT, "100";
        /// The log is not rewritten below this size.
        auto_aof_rewrite_min_size: u64 = "auto-aof-rewrite-min-size", SIZE, "64mb";
        /// Loads a log whose end is cut off.
        aof_load_truncated: bool = "aof-load-truncated", YesNo, "yes";
        /// Loads a log whose last bytes, up to so many, are damaged.
        aof_load_corrupt_tail_max_size: u64 = "aof-load-corrupt-tail-max-size", SIZE, "0", NEWER;
        /// A rewritten log begins with a snapshot.
        aof_use_rdb_preamble: bool = "aof-use-rdb-preamble", YesNo, "yes";
        /// Writes the time into the log.
        aof_timestamp_enabled: bool = "aof-timestamp-enabled", YesNo, "no";
        /// Syncs a rewritten log bit by bit while writing it.
        aof_rewrite_incremental_fsync: bool = "aof-rewrite-incremental-fsync", YesNo, "yes", PENDING;
        /// Microseconds that loading waits after each key, and each command of the log; below 0: one, now and then.
        key_load_delay: i32 = "key-load-delay", Integer(INT_MIN, INT_MAX), "0", HIDDEN;
        /// Microseconds that saving waits after each key.
        rdb_key_save_delay: i32 = "rdb-key-save-delay", Integer(INT_MIN, INT_MAX), "0", HIDDEN;
        /// Keeps the files of the log that a rewrite replaced; the manifest names them, and once it is no they go.
        aof_disable_auto_gc: bool = "aof-disable-auto-gc", YesNo, "no";
    }

    "Replication" {
        /// Follows another server: host and port, or "no one".
        replicaof: ReplicaOf = "replicaof" | "slaveof", Words("host port"), "no one", IMMUTABLE, ABSENT;
        /// Password for the primary; empty: none.
        masterauth: Secret = "masterauth" | "primaryauth", Text, "", SENSITIVE, PENDING;
        /// User at the primary; empty: the default one.
        masteruser: String = "masteruser" | "primaryuser", Text, "", SENSITIVE, PENDING;
        /// A replica without its primary answers from the data it has.
        replica_serve_stale_data: bool = "replica-serve-stale-data" | "slave-serve-stale-data", YesNo, "yes", PENDING;
        /// A replica refuses writes of clients.
        replica_read_only: bool = "replica-read-only" | "slave-read-only", YesNo, "yes", PENDING;
        /// Sends a full copy without writing it to disk first.
        repl_diskless_sync: bool = "repl-diskless-sync", YesNo, "yes", PENDING;
        /// Seconds to wait for more replicas before a copy is sent.
        repl_diskless_sync_delay: u32 = "repl-diskless-sync-delay", COUNT, "5", PENDING;
        /// Does not wait longer once so many replicas are there; 0: waits.
        repl_diskless_sync_max_replicas: u32 = "repl-diskless-sync-max-replicas", COUNT, "0", PENDING;
        /// How a replica loads a full copy straight from the socket.
        repl_diskless_load: DisklessLoad = "repl-diskless-load", Choice(DisklessLoad::NAMES), "disabled", DENY_LOADING, PENDING;
        /// Sends a full copy and the changes since then over two connections.
        dual_channel_replication_enabled: bool = "dual-channel-replication-enabled", YesNo, "no", NEWER, PENDING;
        /// Seconds between the primary's pings.
        repl_ping_replica_period: u32 = "repl-ping-replica-period" | "repl-ping-slave-period", Integer(1, INT_MAX), "10", PENDING;
        /// Seconds of silence after which the other side counts as gone.
        repl_timeout: u32 = "repl-timeout", Integer(1, INT_MAX), "60", PENDING;
        /// Lets TCP collect small packets to replicas.
        repl_disable_tcp_nodelay: bool = "repl-disable-tcp-nodelay", YesNo, "no", PENDING;
        /// Changes kept for replicas that come back.
        repl_backlog_size: u64 = "repl-backlog-size", Memory(1, LONG_MAX), "1mb", PENDING;
        /// Seconds without any replica after which the backlog is freed; 0: never.
        repl_backlog_ttl: u64 = "repl-backlog-ttl", LONG_COUNT, "3600", PENDING;
        /// Rank among the replicas when a new primary is sought, lower first; 0: never becomes one.
        replica_priority: u32 = "replica-priority" | "slave-priority", COUNT, "100", PENDING;
        /// Address of this replica as told to the primary; empty: as the primary sees it.
        replica_announce_ip: String = "replica-announce-ip" | "slave-announce-ip", Text, "", PENDING;
        /// Port of this replica as told to the primary; 0: the real one.
        replica_announce_port: u16 = "replica-announce-port" | "slave-announce-port", PORT, "0", PENDING;
        /// Sentinel may see this replica.
        replica_announced: bool = "replica-announced", YesNo, "yes", PENDING;
        /// A replica does not evict by itself: its primary's deletions are enough.
        replica_ignore_maxmemory: bool = "replica-ignore-maxmemory" | "slave-ignore-maxmemory", YesNo, "yes", PENDING;
        /// A replica frees its old data in small steps before a full copy is loaded.
        replica_lazy_flush: bool = "replica-lazy-flush" | "slave-lazy-flush", YesNo, "no", PENDING;
        /// A replica goes on where it cannot write its log.
        replica_ignore_disk_write_errors: bool = "replica-ignore-disk-write-errors", YesNo, "no", PENDING;
        /// Refuses writes with fewer good replicas than this; 0: never.
        min_replicas_to_write: u32 = "min-replicas-to-write" | "min-slaves-to-write", COUNT, "0", PENDING;
        /// A replica is good if it was heard of within so many seconds.
        min_replicas_max_lag: u32 = "min-replicas-max-lag" | "min-slaves-max-lag", COUNT, "10", PENDING;
    }

    "Cluster" {
        /// A node of a cluster.
        cluster_enabled: bool = "cluster-enabled", YesNo, "no", IMMUTABLE, ABSENT;
        /// File in which the node keeps what it knows of the cluster.
        cluster_config_file: String = "cluster-config-file", Text, "nodes.conf", IMMUTABLE, PENDING;
        /// Milliseconds of silence after which a node counts as gone.
        cluster_node_timeout: u64 = "cluster-node-timeout", LONG_COUNT, "15000", PENDING;
        /// Port of the cluster bus; 0: port + 10000.
        cluster_port: u16 = "cluster-port", PORT, "0", IMMUTABLE, PENDING;
        /// Address as told to the cluster; empty: as the others see it.
        cluster_announce_ip: String = "cluster-announce-ip", Text, "";
        /// Host name as told to the cluster; empty: none.
        cluster_announce_hostname: String = "cluster-announce-hostname", Checked(check_hostname), "";
        /// Name of the node for people; empty: none.
        cluster_announce_human_nodename: String = "cluster-announce-human-nodename", Text, "", NEWER, PENDING;
        /// IPv4 address as told to clients; empty: the one of the cluster.
        cluster_announce_client_ipv4: String = "cluster-announce-client-ipv4", Text, "", NEWER, PENDING;
        /// IPv6 address as told to clients; empty: the one of the cluster.
        cluster_announce_client_ipv6: String = "cluster-announce-client-ipv6", Text, "", NEWER, PENDING;
        /// Port as told to the cluster; 0: the real one.
        cluster_announce_port: u16 = "cluster-announce-port", PORT, "0", PENDING;
        /// TLS port as told to the cluster; 0: the real one.
        cluster_announce_tls_port: u16 = "cluster-announce-tls-port", PORT, "0", PENDING;
        /// Bus port as told to the cluster; 0: the real one.
        cluster_announce_bus_port: u16 = "cluster-announce-bus-port", PORT, "0", PENDING;
        /// What clients are told as the address of a node.
        cluster_preferred_endpoint_type: EndpointType = "cluster-preferred-endpoint-type", Choice(EndpointType::NAMES), "ip";
        /// Serves only while every slot is served by somebody.
        cluster_require_full_coverage: bool = "cluster-require-full-coverage", YesNo, "yes", PENDING;
        /// Answers reads although the cluster is down.
        cluster_allow_reads_when_down: bool = "cluster-allow-reads-when-down", YesNo, "no", PENDING;
        /// Delivers sharded messages although the cluster is down.
        cluster_allow_pubsubshard_when_down: bool = "cluster-allow-pubsubshard-when-down", YesNo, "yes", PENDING;
        /// Replicas move to primaries that have none.
        cluster_allow_replica_migration: bool = "cluster-allow-replica-migration", YesNo, "yes", PENDING;
        /// Replicas that a primary keeps before one may move.
        cluster_migration_barrier: u32 = "cluster-migration-barrier", COUNT, "1", PENDING;
        /// How old a replica's data may be to become primary, in node timeouts; 0: any age.
        cluster_replica_validity_factor: u32 = "cluster-replica-validity-factor" | "cluster-slave-validity-factor", COUNT, "10", PENDING;
        /// This replica does not become primary by itself.
        cluster_replica_no_failover: bool = "cluster-replica-no-failover" | "cluster-slave-no-failover", YesNo, "no", PENDING;
        /// Bytes that may wait for another node before its link is closed; 0: no limit.
        cluster_link_sendbuf_limit: u64 = "cluster-link-sendbuf-limit", Memory(0, u64::MAX), "0", PENDING;
        /// Number of databases of a node of a cluster.
        cluster_databases: u32 = "cluster-databases", Integer(1, INT_MAX), "1", IMMUTABLE, NEWER, PENDING;
        /// Seconds that a forgotten node may not come back.
        cluster_blacklist_ttl: u64 = "cluster-blacklist-ttl", LONG_COUNT, "60", NEWER, PENDING;
        /// Keeps statistics per slot.
        cluster_slot_stats_enabled: bool = "cluster-slot-stats-enabled", YesNo, "no", NEWER, PENDING;
    }

    "TLS" {
        /// Port for TLS; 0: none.
        tls_port: u16 = "tls-port", PORT, "0", ABSENT;
        /// Certificate of the server (PEM).
        tls_cert_file: String = "tls-cert-file", Text, "", PENDING;
        /// Private key of the server (PEM).
        tls_key_file: String = "tls-key-file", Text, "", PENDING;
        /// Password of the private key.
        tls_key_file_pass: Secret = "tls-key-file-pass", Text, "", PENDING;
        /// Certificate used as a client of other servers; empty: the server's.
        tls_client_cert_file: String = "tls-client-cert-file", Text, "", PENDING;
        /// Private key used as a client of other servers.
        tls_client_key_file: String = "tls-client-key-file", Text, "", PENDING;
        /// Password of the client's private key.
        tls_client_key_file_pass: Secret = "tls-client-key-file-pass", Text, "", PENDING;
        /// Certificates of trusted authorities (PEM).
        tls_ca_cert_file: String = "tls-ca-cert-file", Text, "", PENDING;
        /// Directory of such certificates.
        tls_ca_cert_dir: String = "tls-ca-cert-dir", Text, "", PENDING;
        /// Whether clients must show a certificate.
        tls_auth_clients: TlsAuthClients = "tls-auth-clients", Choice(TlsAuthClients::NAMES), "yes", PENDING;
        /// Uses TLS to the primary.
        tls_replication: bool = "tls-replication", YesNo, "no", ABSENT;
        /// Uses TLS on the cluster bus.
        tls_cluster: bool = "tls-cluster", YesNo, "no", ABSENT;
        /// Versions of TLS, such as "TLSv1.2 TLSv1.3"; empty: these two.
        tls_protocols: String = "tls-protocols", Text, "", PENDING;
        /// Cipher suites of TLS 1.2, as OpenSSL names them; empty: the usual ones.
        tls_ciphers: String = "tls-ciphers", Text, "", PENDING;
        /// Cipher suites of TLS 1.3; empty: the usual ones.
        tls_ciphersuites: String = "tls-ciphersuites", Text, "", PENDING;
        /// The server chooses the cipher suite.
        tls_prefer_server_ciphers: bool = "tls-prefer-server-ciphers", YesNo, "no", PENDING;
        /// Clients may resume a session.
        tls_session_caching: bool = "tls-session-caching", YesNo, "yes", PENDING;
        /// Sessions remembered; 0: no limit.
        tls_session_cache_size: u32 = "tls-session-cache-size", COUNT, "20480", PENDING;
        /// Seconds that a session is remembered.
        tls_session_cache_timeout: u32 = "tls-session-cache-timeout", COUNT, "300", PENDING;
    }

    "Scripts" {
        /// Milliseconds after which others are told that a script runs too long; 0: never.
        busy_reply_threshold: u64 = "busy-reply-threshold" | "lua-time-limit", LONG_COUNT, "5000";
    }
}

fn check_dbfilename(name: &str) -> Result<(), &'static str> {
    if is_path(name) { Err("dbfilename can't be a path, just a filename") } else { Ok(()) }
}

fn check_appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        _ if is_path(name) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

fn check_appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        _ if is_path(name) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

/// Longest announced host name and the byte behind it.
const HOSTNAME_LEN_MAX: usize = 256;

fn check_hostname(name: &str) -> Result<(), &'static str> {
    if HOSTNAME_LEN_MAX <= name.len() {
        return Err("Hostnames must be less than 256 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(())
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '\\'])
}
