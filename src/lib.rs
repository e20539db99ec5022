//! Corering: a Redis-compatible in-memory data store for Linux, one pinned thread per core, io_uring everywhere.
//!
//! This page is the map: the picture, the words, what always holds, why it is so, and the modules in the order a
//! command meets them. What it says is true of the code beside it; where they differ, one of them is a bug.
//! `tests/tidy.rs` reads the tables of this page and compares them with the code.
//!
//! ```text
//!  client ──▶ sys::ring ──▶ connection ──▶ resp::parser ──▶ command::lookup ──▶ route ─┬─▶ own shard: at once
//!    ▲                                                                                 ├─▶ other shard, free: a visit
//!    │                                                                                 ├─▶ other shard, busy: a parcel
//!    │                                                                                 └─▶ several: split, ask, borrow
//!    │                                                                                                │
//!    │                              structure ◀── value ◀── keyspace ◀── command ◀── shard::execute ◀─┘
//!    │                                                                                  │
//!    └── sys::ring ◀── connection::replies, in request order ◀── route::gather ◀── resp::reply
//!
//!   core 0                    core 1                           every pair of cores, both ways:
//!  ┌───────────────────┐     ┌───────────────────┐
//!  │ ring   connections│     │ ring   connections│             requests ═▶  commands of a pass, in one buffer
//!  │ mailbox  counters │◀═══▶│ mailbox  counters │              replies ═▶  their answers, likewise
//!  │ ┌───────────────┐ │     │ ┌───────────────┐ │              control ═▶  sockets, questions to all, loans
//!  │ │ shard: engine │◀┼╌╌╌╌╌┼▶│ shard: engine │ │                visit ╌▶  runs a command in the other's engine
//!  │ └───────────────┘ │     │ └───────────────┘ │                          while its owner is in the kernel
//!  └───────────────────┘     └───────────────────┘
//! ```
//! A pass of a core: take all that the ring completed, read every whole command of every connection, run them, take
//! what other cores sent, queue one send per connection and one parcel per peer, enter the kernel once.
//!
//! # Words
//!
//! | Word | Means |
//! |---|---|
//! | core | a pinned thread with its ring, its connections and its counters |
//! | shard | a core's part of the keyspace; there are as many shards as cores |
//! | engine | a shard and what runs commands on it: [`shard::Shard`] |
//! | owner | the core to which a shard belongs |
//! | slot | one of 16,384 hash slots, the unit in which keys are placed; a shard owns a range of them |
//! | home | the core that serves a connection; it changes when the connection follows its keys |
//! | request | the parsed arguments of one call |
//! | command, row | a row of the command table |
//! | reply | what a client is told, in RESP |
//! | key, value, entry | as usual; an entry is key, value, deadline and access clock in one allocation |
//! | encoding | how a value is kept, as `OBJECT ENCODING` says it |
//! | expiry, eviction | a deadline that came; removal for want of memory |
//! | pass | one turn of a core's loop, between two entries into the kernel |
//! | window | the commands of a pass whose memory is asked for before the first of them runs |
//! | hop | one trip of a command to another core and back |
//! | parcel | the commands, or the replies, that one core has for another in one pass, packed in one buffer |
//! | visit, visitor | a command run in another core's engine without a hop, by the core that read it |
//! | place | the position of a reply among the replies of its connection |
//! | gathering | a command that waits for contributions of several cores |
//! | survey, step | a command that looks at every key, some hundred at a time; one such time, on one shard |
//! | loan, borrower, lender | entries that leave their table, or a keyspace its engine, for a command or transaction on another core; who runs it; their owner |
//! | union | keyspaces of several shards, held at once, on which a command runs as on one |
//! | waiter | somebody in the queue behind keys that are lent |
//! | barrier | a connection runs nothing more until its command that involves several cores is answered |
//! | effect | what happened to a key, for those who listen |
//!
//! # What always holds
//!
//! **Who touches an entry.** An engine is held by one core at a time, and only its holder touches its entries. The
//! owner takes it when it has work for it, lets visitors in between two windows, and lets go before it enters the
//! kernel (with one shard only while keys are loaded). A visitor holds it for one window at most, or for a fraction of
//! a millisecond of commands on several shards, and no longer than until it runs something slow of its own. The owner
//! waits for a visitor (a lock); a visitor never waits for anybody: it tries for some microseconds, and sends a parcel
//! instead. Only a command on several shards waits for engines, with a limit, and then holds only lower ones; a core
//! that waits for its own engine otherwise holds none. So no circle of cores waits. Every eighth window the owner hands
//! its engine to who waits for it. A visitor runs only commands that end soon by their row (`FAST`, or of constant
//! cost), and only while no entry of that shard is lent.
//!
//! **A command runs to completion.** [`shard::Shard::execute`] and all below it are plain functions: no await, no lock,
//! no kernel, no clock, no randomness of their own; `now` and a seeded generator are handed in. `now` is read once a
//! pass (and after slow commands), by the core that executes.
//!
//! One thing is done bit by bit: the reply about huge values ([`command::long_reply`]). It is that of the moment at
//! which the command ran, for until it is written nobody changes, expires or evicts its keys; who would, waits.
//!
//! **Order.** Replies leave a connection in the order of its requests, whatever order they are made in. The commands of
//! one client on one key run in the order in which it sent them: a path from core to core is first in, first out, and a
//! client visits only when none of its replies is outstanding. Commands of one pipeline on *different* shards may run
//! at the same time, as if two clients had sent them. A command on keys of several shards, and one that asks every
//! core, is a barrier: on each shard what the client sent before it runs first, and what it sent after it runs when it
//! is answered. Questions to all cores (`INFO`, `RANDOMKEY`) do not wait for lent keys; those of a script or
//! transaction, which holds every keyspace then, bring them along, so that the answer tells of what it has done.
//! `PUBLISH` and `SUBSCRIBE` wait until what their client sent before is answered; messages come in the order of their
//! publisher. See [`pubsub`].
//!
//! **Atomicity.** Every command and every transaction happens at one moment, whichever shards its keys are on (strict
//! serializability): it holds all engines it needs, or borrows what it needs of their owners. Not so `KEYS` outside a
//! transaction (a survey: key by key, each once), `SCAN`, and what every core answers for itself (`INFO`, `CLIENT
//! LIST`). See [`shard::union`]. Entries may be evicted in the middle of a transaction or script, but none that it
//! uses: only one that looks at all keys can tell (`src/runtime/room.rs`).
//!
//! **Who waits is served at once.** A client in `BLPOP` and its like is served by the command, transaction or script
//! that fills its key, before anybody else has a turn and before the reply leaves; and so are those who wait for what
//! that fills, on any shard, since all of it is held before the first step. See `src/shard/blocked.rs`.
//!
//! **Nobody waits for ever.** Engines of others are tried for, or waited for with a limit, in rising order. Borrowers
//! ask shards in rising order and take all they need of a shard at once or nothing; who has all runs at once; the queue
//! behind what is lent is first come, first served. See [`route::locks`].
//!
//! **What crosses cores.** (1) Parcels, by value, through one bounded single-producer ring per ordered pair of cores.
//! (2) `Control` messages in the same rings, in the same order: accepted sockets, connections that follow their keys,
//! questions to all cores and their parts, loans, answers to blocked clients, "take the new configuration", lines for
//! `MONITOR`. (3) Engines, by visits. (4) [`shared::Shared`]: atomics that the hot path reads at most once, and locks
//! that only configuration changes and slow commands take. (5) What clients are told unasked, through inboxes: see
//! [`pubsub`]. (6) The lanes of the append-only file, to which whoever changed keys appends: see [`aof`]. (7) The log's
//! queue, the allocator's counters, who sleeps, the alarm that a stop raises, who may answer a blocked client and what
//! it would fill, whose watched keys have changed, and the board on which the admin port asks. Nothing else. A
//! `CONFIG SET` is answered when every core has taken the new configuration.
//!
//! **The world outside.** glommio and `async` appear in [`runtime`] alone, and there nothing awaits: the loop is the
//! executor's only task, and parks in the private ring. The kernel is met in [`sys`] and [`runtime`], by [`log`] (one
//! thread writes, cores only queue lines), by [`memory`] (the allocator), and by the programs: `src/main.rs` reads the
//! files of the configuration, `src/bin/corering_check.rs` asks and answers. Clocks are read there too, and by `TIME`
//! and `INFO`, which tell it. Beside one thread per core there are the main thread, which waits, one for signals, one
//! for the log, one that gives memory back to the system, with `admin-port` one per address, one for its clock and one
//! per client of it, with `appendonly` one for its manifest, while keys are loaded one that tells how far that is, from
//! the first snapshot on one that keeps cores with tasks awake, and, where systemd asks, one for its watchdog.
//!
//! **Wire and rows.** Only [`resp`] knows the wire format. Nothing outside the rows asks for a command's name: routing,
//! arity, flags, `COMMAND`, the slow log's secrets and the README's table derive from them.
//!
//! **A broken belief ends the process.** A panic aborts: never one core dead and the others serving. Bad input gets
//! an error reply.
//!
//! **Unsafe code** stands in `src/sys/`, `src/structure/`, `src/keyspace/entry.rs`, `src/memory.rs` and below it (where
//! `pages.c` reaches into the allocator), nowhere else; every block says why it is sound.
//!
//! # Bounds
//!
//! Every queue and loop ends somewhere, and "full" is an answer.
//!
//! | Constant | File | Value | Beyond it |
//! |---|---|---|---|
//! | `COMMANDS_PER_PASS_MAX` | `src/runtime/read.rs` | `512` | the rest of a client's pipeline waits for the next pass |
//! | `MESSAGES_PER_PASS_MAX` | `src/runtime/hop.rs` | `16` | the rest of a peer's messages waits likewise |
//! | `PREFETCH_COMMANDS` | `src/runtime/execute.rs` | `16` | the next window begins |
//! | `WAIT_MAX` | `src/runtime/visit.rs` | `Duration::from_micros(500)` | a command on several shards borrows |
//! | `KEPT_NANOSECONDS_MAX` | `src/runtime/visit.rs` | `200_000` | engines are handed over to who waits for them |
//! | `DEFERRALS_MAX` | `src/runtime/visit.rs` | `4` | a command on several shards borrows, rather than wait for the next pass |
//! | `FAIR_WINDOWS` | `src/runtime/visit.rs` | `8` | an engine is handed over to who waits for it |
//! | `ARGS_AT_ONCE_MAX` | `src/runtime/joint.rs` | `256` | a call borrows rather than keeping engines of others |
//! | `CALLS_AT_ONCE_MAX` | `src/runtime/joint.rs` | `64` | a transaction borrows likewise, or holds every shard if it has scripts |
//! | `QUEUED_BYTES_MAX` | `src/runtime/joint.rs` | `1 << 20` | a transaction with scripts holds every shard |
//! | `VISIT_SPINS` | `src/runtime/visit.rs` | `60` | a parcel instead of a visit |
//! | `VISIT_ARGUMENTS_MAX` | `src/runtime/visit.rs` | `64` | likewise |
//! | `LONG_REPLY_ELEMENTS_MIN` | `src/command/long_reply.rs` | `8192` | a reply is written in slices, and others are served in between |
//! | `SLICE_ELEMENTS` | `src/command/long_reply.rs` | `2048` | the slice ends |
//! | `STEP_KEYS` | `src/command/survey.rs` | `512` | the rest of the keys waits for a later pass |
//! | `SLICE_BYTES` | `src/command/long_reply.rs` | `256 * 1024` | likewise |
//! | `PAYLOAD_SLICE_BYTES` | `src/command/long_reply.rs` | `64 * 1024` | likewise, of `DUMP` |
//! | `SETS_MAX` | `src/command/long_reply.rs` | `256` | so many sets are combined without a pause |
//! | `RESERVE_BYTES_MAX` | `src/runtime/aof_writer.rs` | `64 << 20` | what a full disk leaves no room for stays in memory until it has some |
//! | `LARGE_BYTES_MIN` | `src/keyspace/walk.rs` | `128 * 1024` | a snapshot records a value in slices, and who would change it waits |
//! | `GATHERED_BYTES_MAX` | `src/snapshot/scribe.rs` | `1 << 20` | … and goes over it twice, once to count |
//! | `HELD_BYTES_MIN` | `src/snapshot.rs` | `64 << 20` | writes wait for the disk; 2 % of what is used, where that is more |
//! | `WALK_BYTES_MAX` | `src/snapshot.rs` | `4 << 20` | a snapshot waits for the disk |
//! | `COMPRESSED_LEN_MAX` | `src/rdb/write.rs` | `1 << 20` | a payload has the string as it is |
//! | `OUTSTANDING_MAX` | `src/runtime/read.rs` | `4096` | a client owed so many replies is not read |
//! | `OUTPUT_PAUSE_BYTES` | `src/runtime/read.rs` | `16 * 1024 * 1024` | its commands wait until it takes replies |
//! | `INPUT_PAUSE_BYTES` | `src/runtime/read.rs` | `32 * 1024 * 1024` | a client that sends faster than its commands run is not read |
//! | `INPUT_PAUSE_LIMITED_BYTES` | `src/runtime/read.rs` | `64 * 1024` | likewise, with `maxmemory` |
//! | `RECEIVED_PART` | `src/runtime/read.rs` | `16` | what more of a limit all cores could receive in a pass comes in the next |
//! | `OUTPUT_FREE_BYTES` | `src/runtime/send.rs` | `16 * 1024` | `client-output-buffer-limit` begins to count |
//! | `SEND_BYTES_MAX` | `src/runtime/send.rs` | `1024 * 1024` | the rest of a client's replies waits for the next pass |
//! | `PIECES_MAX` | `src/sys/ring.rs` | `8` | likewise, of long strings and what stands between them |
//! | `SPARE_OUTPUTS` | `src/runtime/send.rs` | `256` | buffers beyond are freed |
//! | `CLIENTS_PER_CRON` | `src/runtime/cron.rs` | `200` | idle and limit checks of further clients come in later slices |
//! | `GIVE_BACK_BYTES` | `src/runtime/core.rs` | `4 * 1024 * 1024` | the rest of large freed blocks waits for the next pass |
//! | `WAITING_BYTES_MAX` | `src/memory/mapped.rs` | `1 << 30` | large blocks freed beyond go back at once |
//! | `COLLECT_BLOCKS` | `src/runtime/core.rs` | `8192` | blocks that other cores freed are taken back in the next pass |
//! | `THIN_WORK` | `src/runtime/core.rs` | `512` | what lies in further free blocks goes back in the next pass |
//! | `WAIT_MS_MAX` | `src/runtime/room.rs` | `5_000` | a write is refused, whose room is out of reach for so long |
//! | `BUSY_MAX` | `src/shared/steering.rs` | `700` | connections that belong to a core stay where they are |
//! | `ARRIVALS_MIN` | `src/shared/steering.rs` | `4` | further ones, where there are few clients, move 0.1 s later |
//! | `DOUBLINGS_MAX` | `src/connection/following.rs` | `6` | a connection that moves to and fro does so no more seldom |
//! | `EVICT_KEYS` | `src/runtime/room.rs` | `16` | clock and sum are looked at before more keys go |
//! | `HELPS_BYTES_MAX` | `src/runtime/room.rs` | `64 << 20` | who needs the room of what was flushed waits until less is missing |
//! | `POOL_LEN` | `src/keyspace/eviction.rs` | `16` | the worst candidate is forgotten |
//! | `ROUNDS_MAX` | `src/keyspace/eviction.rs` | `16` | entries are gone through in order |
//! | `SEARCH_ENTRIES_MAX` | `src/keyspace/eviction.rs` | `4096` | none is evicted in this slice |
//! | `OLDEST_MAX` | `src/keyspace/eviction.rs` | `1 << 16` | LRU remembers no younger candidates |
//! | `PLACES_MAX` | `src/keyspace/eviction.rs` | `64` | LRU looks at no further buckets before one goes |
//! | `CANDIDATES_MAX` | `src/keyspace/eviction.rs` | `32` | LRU looks at other entries, if candidates were used since or are gone |
//! | `KEPT_BYTES_MAX` | `src/memory/spare.rs` | `256 << 10` | freed blocks of entries go back to the allocator |
//! | `BATCH_BYTES_MAX` | `src/runtime/room.rs` | `128 << 10` | no more is evicted ahead at a time |
//! | `LEASES_BYTES_MAX` | `src/memory.rs` | `4 << 20` | a core asks for the sum before it adds more |
//! | `ADVISED_KEYS_MAX` | `src/shard/mod.rs` | `2048` | the adviser's sample becomes smaller |
//! | `RANDOM_REMOVED_MAX` | `src/keyspace/keys.rs` | `1000` | `RANDOMKEY` names a key whose time is over, as Redis' replicas do |
//! | `EXPIRE_SLICE` | `src/shard/mod.rs` | `200` | further keys whose time has come wait for the next pass |
//! | `FREE_SLICE` | `src/shard/mod.rs` | `200` | further keys of a flushed database likewise |
//! | `RING_MESSAGES` | `src/runtime/mailbox.rs` | `256` | the sender keeps messages until there is room |
//! | `SPARE_PARCELS` | `src/runtime/mailbox.rs` | `64` | parcels beyond are freed |
//! | `BATCH_MAX` | `src/runtime/pace.rs` | `16.0` | receives waited for before a busy core wakes |
//! | `BATCH_US` | `src/sys/ring.rs` | `50` | then it wakes with what there is |
//! | `RECEIVE_BUFFERS` | `src/sys/ring.rs` | `256` | receiving ends (ENOBUFS) and is armed again after the pass |
//! | `FILL_BYTES_MIN` | `src/sys/ring.rs` | `4 * 1024` | no less is received at once, however small the limit |
//! | `SUBMISSION_ENTRIES` | `src/sys/ring.rs` | `1024` | a pass submits early |
//! | `PARCEL_BYTES_MAX` | `src/route/parcel.rs` | `256 * 1024` | the parcel leaves before the pass ends |
//! | `SHARDS_MAX` | `src/route/mod.rs` | `1024` | refused at start |
//! | `LINE_BYTES_MAX` | `src/resp/parser.rs` | `64 * 1024` | protocol error, closed |
//! | `UNAUTHENTICATED_ARGUMENTS_MAX` | `src/resp/parser.rs` | `10` | protocol error, closed |
//! | `UNAUTHENTICATED_OUTPUT_BYTES_MAX` | `src/runtime/send.rs` | `1024` | closed |
//! | `UNAUTHENTICATED_BULK_BYTES_MAX` | `src/resp/parser.rs` | `16 * 1024` | protocol error, closed |
//! | `QUEUE_LINES_MAX` | `src/log.rs` | `8192` | lines are dropped, and the log says how many |
//! | `LEAF_BYTES_MAX` | `src/structure/sorted_tree.rs` | `1024` | a leaf of a sorted set is divided |
//! | `LEAVES_MAX` | `src/structure/sorted_tree.rs` | `(1 << 25) - 1` | a broken belief: leaves are larger long before |
//! | `BLOCK_LEN_MAX` | `src/structure/sorted_blocks.rs` | `64` | a block of a stream's index is divided |
//! | `ENTRY_BYTES_MAX` | `src/structure/stream_log.rs` | `1 << 30` | an entry of a stream is refused |
//! | `DELIVERIES_MAX` | `src/value/stream/group.rs` | `i64::MAX as u64` | a delivery is not counted |
//! | `DURATION_S_MAX` | `src/value/stream/idempotency.rs` | `86_400` | a longer `IDMP-DURATION` is refused |
//! | `MESSAGES_MAX` | `src/value/stream/idempotency.rs` | `10_000` | a greater `IDMP-MAXSIZE` is refused |
//! | `TRIM_ENTRIES_MAX` | `src/command/stream/write.rs` | `1_000_000` | the next `XADD` or `XTRIM` with `~` goes on |
//! | `RANDOM_COUNT_MAX` | `src/command/set.rs` | `1 << 27` | elements drawn with repetition: refused |
//! | `EVENTS_MAX` | `src/command/latency.rs` | `64` | a broken belief: the kinds are few and fixed |
//! | `SAMPLES_MAX` | `src/command/latency.rs` | `160` | the oldest sample goes |
//! | `ERRORS_MAX` | `src/stats.rs` | `128` | further error words are counted together |
//! | `CHANGE_SLICE` | `src/runtime/pubsub.rs` | `256` | a client joins or leaves further names in later passes |
//! | `BLOCKS_MAX` | `src/stats/running.rs` | `8192` | what a core has counted of the running second goes where it is kept at once |
//! | `SLICES_BYTES_MAX` | `src/stats/stages.rs` | `256 << 10` | of a core's last seconds the oldest are forgotten |
//! | `WINDOW_SECONDS_MAX` | `src/stats/stages.rs` | `300` | likewise; a longer window is refused |
//! | `FORGET_SLICE` | `src/runtime/pubsub.rs` | `500` | a closed client loses further subscriptions in later passes |
//! | `STRIPES` | `src/pubsub/directory.rs` | `64` | subscribers of some name and publishers of another wait for each other |
//! | `STRIPES` | `src/pubsub/tracking.rs` | `64` | likewise for keys that are remembered |
//! | `FORGET_SLICE` | `src/pubsub/tracking.rs` | `1000` | further keys beyond `tracking-table-max-keys` are forgotten later |
//! | `ROOM_BYTES_MAX` | `src/runtime/aof_writer.rs` | `16 << 20` | so much room is made ahead in a file of the log, no more |
//! | `WAIT_NANOSECONDS_MAX` | `src/runtime/aof_company.rs` | `5_000_000` | a group of the log waits no longer for others to join it |
//! | `ANNOTATION_BYTES_MAX` | `src/aof/record.rs` | `1023` | a log with a longer line is damaged |
//! | `ELEMENTS_MAX` | `src/snapshot/commands.rs` | `64` | a base of commands goes on with another command |
//! | `HASHES_MAX` | `src/check/twice.rs` | `1 << 20` | `corering-check` goes through a file once more |
//! | `MEMORY_BYTES_MAX` | `src/script/mod.rs` | `256 << 20` | a script's allocation fails |
//! | `TEXT_BYTES_MAX` | `src/script/mod.rs` | `8 << 20` | a script is refused |
//! | `DEPTH_MAX` | `src/script/convert.rs` | `1000` | an error stands in the place of what a script returns |
//! | `REPLY_VALUES_MAX` | `src/script/convert.rs` | `1 << 24` | a script's reply is refused |
//! | `REPLY_BYTES_MAX` | `src/script/convert.rs` | `512 << 20` | likewise |
//! | `DEPTH_MAX` | `src/script/cjson.rs` | `1000` | an error of `cjson` |
//! | `PACK_DEPTH_MAX` | `src/script/cmsgpack.rs` | `16` | nil is packed |
//! | `UNPACK_DEPTH_MAX` | `src/script/cmsgpack.rs` | `1000` | an error of `cmsgpack` |
//! | `INTEGER_BYTES_MAX` | `src/script/structs.rs` | `32` | an error of `struct` |
//! | `KEYS_MAX` | `src/runtime/attempt.rs` | `1024` | a script that uses so many keys without naming them begins again with every shard |
//! | `CALLS_MAX` | `src/runtime/trial.rs` | `4096` | calls of a script that may begin again are added up |
//! | `KEPT_BYTES_MAX` | `src/runtime/trial.rs` | `64 << 10` | a script that logs more, and might begin again, does so at once |
//! | `VALUES_MAX` | `src/script/locals.rs` | `512` | functions of a library with so much in local variables hold every shard |
//! | `LOAD_NANOSECONDS_MAX` | `src/runtime/libraries.rs` | `500_000_000` | a library is refused |
//! | `EVAL_SCRIPTS_MAX` | `src/shared/scripts.rs` | `500` | the script that was used longest ago is forgotten |
//! | `EVAL_BYTES_MAX` | `src/shared/scripts.rs` | `32 << 20` | likewise |
//! | `HEAD_BYTES_MAX` | `src/runtime/admin/http.rs` | `8 * 1024` | a request to the admin port is refused |
//! | `REQUEST_MAX` | `src/runtime/admin/http.rs` | `Duration::from_secs(5)` | likewise |
//! | `ANSWER_MAX` | `src/runtime/admin/http.rs` | `Duration::from_secs(10)` | a client of the admin port that does not read is closed |
//! | `CONNECTIONS_MAX` | `src/runtime/admin.rs` | `16` | a client of the admin port that has not said what it wants, or has its answer, makes room for who comes |
//! | `WORKED_FOR_MAX` | `src/runtime/admin.rs` | `CONNECTIONS_MAX / 2` | further clients that want metrics, the page or what it draws wait for a place |
//! | `PLACE_MAX` | `src/runtime/admin.rs` | `Duration::from_secs(1)` | they are refused |
//! | `STALLED_MIN` | `src/runtime/admin.rs` | `Duration::from_millis(200)` | a client of the admin port that takes nothing of its answer makes room for who waits |
//! | `THREADS_MAX` | `src/runtime/admin.rs` | `2 * CONNECTIONS_MAX` | further clients of the admin port are refused |
//! | `ACCEPT_PAUSE` | `src/runtime/admin.rs` | `Duration::from_millis(1)` | further clients of the admin port wait in the kernel |
//! | `REST` | `src/runtime/admin.rs` | `3` | further answers of the admin port wait, that cores have their CPUs |
//! | `SLICES_MAX` | `src/runtime/admin/board.rs` | `60` | seconds that the admin port does not take are forgotten |
//! | `POINTS_MAX` | `src/runtime/admin/series.rs` | `300` | the live page forgets what is older, in seconds |
//! | `KEYS_MAX` | `src/runtime/admin/keys.rs` | `128` | the live page is not told of keys that are used more seldom |
//! | `KEYS_OF_SECOND_MAX` | `src/runtime/admin/keys.rs` | `512` | likewise, of all cores |
//! | `KEYS_OF_CALL_MAX` | `src/runtime/admin/keys.rs` | `16` | further keys of a command do not count as hot |
//! | `COMMANDS_MAX` | `src/runtime/admin/metrics.rs` | `8` | further commands have no histograms of their own among the metrics |
//! | `INCLUDE_DEPTH_MAX` | `src/config/load.rs` | `16` | the configuration is refused |
//!
//! By configuration: `maxclients`, `proto-max-bulk-len`, `client-query-buffer-limit`, `client-output-buffer-limit`,
//! `slowlog-max-len`, `tracking-table-max-keys`. What a sender keeps because a ring is full, and the queue behind lent
//! keys, have no bound of their own: both follow from `maxclients` times what one client may have outstanding. An inbox
//! holds what was published since its core looked last, once a pass. Lines for a `MONITOR` client that does not read
//! are bounded by `client-output-buffer-limit`: of `normal`, or, where that sets none, of `pubsub`.
//!
//! # Why
//!
//! **A ring of our own beside glommio's.** Server CPU seconds for the same work: one server core, one client core, SET
//! and GET of 64 bytes, 100,000 keys, `redis-benchmark`; a minimal parser and hash map behind each path, so that only
//! the path differs. Linux 6.18, virtual machine with 2 cores, medians of noisy runs (about ±5 %).
//!
//! | I/O path | P=1, 1 client | P=1, 50 clients | P=1, 200 clients | P=16, 50 clients |
//! |---|---:|---:|---:|---:|
//! | operations | 200 k | 800 k | 800 k | 6 M |
//! | Valkey 8.0, one thread (the reference) | 1.84 | 4.81 | 4.40 | 5.28 |
//! | glommio's `TcpStream`, a task per connection | 2.89 | 5.40 | 5.23 | 2.71 |
//! | own ring, parking in glommio on an eventfd | 3.57 | 4.50 | 4.57 | 2.63 |
//! | **own ring, the thread parks in it** | **1.38** | **3.75** | **3.95** | **2.57** |
//! | own ring, no executor (the floor) | 1.18 | 3.71 | 3.67 | 2.55 |
//!
//! So glommio hosts the cores' threads, their tasks and the files of snapshots; the network is one loop on a
//! private ring (`SINGLE_ISSUER`, `DEFER_TASKRUN`, multishot accept and receive into shared buffers, one send per
//! connection and pass). A connection holds no buffer while idle.
//!
//! **Parcels and visits.** What a hop costs decides whether several cores help. The naive form (a message and an
//! allocation per command, a wake per message), 2 shards, CPU µs per operation with 0, 50 and 100 % of the keys on the
//! other core: P=1 4.4, 5.9, 6.0, with 0.7 wakes per hop; P=16 0.48, 0.72, 0.75. Spinning 20 µs before sleeping made it
//! worse (9.9 and 0.96) while the client shares the cores. Hence one buffer per peer and pass, one late wake, and no
//! wake at all where it can be had: a core spends most of its time in the kernel, and then a peer may use its engine.
//! `benches/compare --locality 2` measures what that leaves of a hop.
//!
//! **Connections follow their keys.** The best hop is none. A client of one other core moves there, and pays nothing
//! from then on; who uses keys everywhere never moves, since four of five commands have to go to one other core. Moving
//! gathers work where the keys are, so a core that is busy takes nobody in: see `src/runtime/follow.rs`.
//!
//! **Unions and loans rather than locks on a global order.** A command that runs on one core, on entries that are all
//! there, needs no second code path: `RENAME` does not know that its keys came from afar. Commands on one shard pay one
//! branch.
//!
//! **A table of our own.** No pause at any size, full SCAN guarantee, random entries and prefetching at once: see the
//! page of [`structure::table`], with its measurements. **One allocation per entry**: see `src/keyspace/entry.rs`.
//!
//! **An allocator that counts** for 1.2 ns an allocation, where one shared counter costs 18: see [`memory`]. What it
//! holds and nobody uses goes back to the system within some seconds, beside what is served: mimalloc's own way, to
//! give everything back when it is asked for more, stops a core for as long as that takes, and an idle server keeps all
//! ([`memory::pages`]).
//!
//! **A long value arrives once.** From 64 KiB on an argument is received past its request into a buffer of its own,
//! which becomes the value as it is, also when its key lives on another core (the buffer changes hands, its bytes
//! stay). Blocks from 4 MiB on are mapped: they grow without being copied ([`memory::mapped`]), and what is freed goes
//! back to the kernel in slices, between passes.
//!
//! **A long value leaves without a copy.** A string from 64 KiB on is not written among the replies: they hold it by
//! its count of holders, in its place ([`resp::Output`]), whichever core's it is, in `MGET` and transactions too. It is
//! sent from where it lies, 1 MiB a pass, so that others have their turn. The key may be changed or deleted meanwhile:
//! a reader gets what was there when it asked. The price: the first change in place (`SETRANGE`, `APPEND`, `SETBIT`) of
//! a string that is being sent copies it, at once: 0.7 ms per MiB. Elements of containers are copied into the reply.
//!
//! # Modules, in the order a command meets them
//!
//! | Module | What it is |
//! |---|---|
//! | [`sys`] | thin safe wrappers over the kernel: the ring, sockets, limits |
//! | [`runtime`] | the real world: `server.rs` start and end, `core.rs` one core's loop and the map of its steps |
//! | [`connection`] | one client without its socket: bytes in, requests out, replies back in order |
//! | [`session`] | what is remembered of a client: identity, database, protocol, modes |
//! | [`resp`] | the wire format: parser, reply writers, error texts |
//! | [`command`] | the table of commands, and their code; one file per family |
//! | [`route`] | from a key to its shard, from a command to its shards; parcels, merged replies, lent keys |
//! | [`shard`] | one core's engine: runs a command on its keys |
//! | [`keyspace`] | databases and entries: lookup, expiry, access clocks, events |
//! | [`value`] | what a key can hold: strings, numbers, containers |
//! | [`rdb`] | the format of Redis' snapshots: values (`DUMP`, `RESTORE`) and whole files |
//! | [`snapshot`] | all keys as they were at one moment, written down while clients are served |
//! | [`script`] | Lua: what scripts and functions find, and how values pass; where they run: `src/runtime/script.rs` |
//! | [`structure`] | containers as small libraries: the hash table, listpacks, intsets, the timing wheel, glob patterns; what an allocation takes |
//! | [`aof`] | the append-only file: its format, its lanes in memory, what is left of it after a crash |
//! | [`config`] | directives, one row each; files, `CONFIG` |
//! | [`shared`] | what all cores see |
//! | [`pubsub`] | who is told what unasked: published messages, events on keys, stale caches |
//! | [`stats`] | what one core counts, and where the time of its commands went |
//! | [`check`] | what `corering-check` knows of snapshots and logs: whether they are whole, what they would be if mended |
//! | [`cli`] | the command lines of the programs, from which help, manual pages and completions are made |
//! | [`memory`] | the allocator, and how much of it is in use |
//! | [`sync`] | what the protocols between cores are made of, replaced by loom's in `tests/model/` |
//! | [`mutant`] | faults to switch on in a build of its own, for `tests/mutants` |
//! | [`log`] | the operator's log |
//!
//! Around it: `tests/` (`tests/run` runs all), `benches/`, `tuning/`.
//!
//! # Who may import whom
//!
//! A module imports from lower layers only, and only what stands here; there is no circle.
//!
//! | Layer | Module | may import |
//! |---:|---|---|
//! | 0 | `structure` | – |
//! | 0 | `resp` | – |
//! | 0 | `config` | – |
//! | 0 | `memory` | – |
//! | 0 | `sync` | – |
//! | 0 | `mutant` | – |
//! | 0 | `sys` | – |
//! | 0 | `aof` | – |
//! | 1 | `value` | `structure` |
//! | 1 | `session` | `resp` `sync` |
//! | 1 | `log` | `config` |
//! | 2 | `keyspace` | `aof` `value` `structure` `sync` `memory` |
//! | 2 | `rdb` | `value` `structure` |
//! | 2 | `connection` | `aof` `resp` `session` `value` `mutant` |
//! | 2 | `script` | `config` `resp` `value` `sys` |
//! | 3 | `pubsub` | `resp` `session` `keyspace` `structure` `sync` |
//! | 3 | `snapshot` | `aof` `keyspace` `rdb` `value` `structure` |
//! | 3 | `command` | `resp` `config` `session` `keyspace` `rdb` `value` `structure` `memory` `script` |
//! | 4 | `stats` | `command` `structure` |
//! | 4 | `check` | `aof` `command` `rdb` `structure` `value` |
//! | 4 | `shared` | `aof` `command` `config` `pubsub` `resp` `session` `script` `sync` `mutant` |
//! | 4 | `route` | `command` `resp` |
//! | 5 | `cli` | `check` `config` |
//! | 5 | `shard` | `aof` `command` `config` `keyspace` `pubsub` `resp` `route` `session` `stats` `sync` `mutant` |
//!
//! [`runtime`] may import all of them, and nobody imports it. Known exceptions:
//!
//! | Module | imports | because |
//! |---|---|---|
//! | `command` | `shard` `shared` `stats` | the views that its code is handed (`src/command/context.rs`) name their types |
//! | `command` | `route` | `CLUSTER` tells which core owns which slots |
//! | `command` | `sys` | `INFO` tells the CPU time of the process, `DEBUG SEGFAULT` ends it |
#![warn(missing_docs)]

pub mod sys;

pub mod runtime;

pub mod connection;

pub mod session;

pub mod resp;

pub mod command;

pub mod route;

pub mod shard;

pub mod keyspace;

pub mod value;

pub mod rdb;

pub mod snapshot;

pub mod script;

pub mod structure;

pub mod aof;

pub mod config;

pub mod shared;

pub mod pubsub;

pub mod stats;

pub mod check;

pub mod cli;

pub mod memory;

pub mod sync;

pub mod mutant;

pub mod log;
