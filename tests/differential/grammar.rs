//! What is sent: one row per form of a command. A new data type adds rows here and its value command to `VALUES`.
//!
//! A row is `weight [mode:] words`:
//!
//! - `(A|B)` one of them, `[A|B $x]` perhaps one of them, `{A $x}` once or several times;
//! - `$name` a random thing, see `generate.rs`: `$key $value $int $count $offset $float $seconds $ms $at $at_ms
//!   $until $until_ms $db $pattern $cursor $word $lcs $text $bit $field $list
//!   $element $small`;
//! - the mode says how replies are compared where byte for byte is too strict, and is the whole list of what may
//!   differ: `any-order:` a set in array's clothing, `time:` numbers a little apart, `member:` any key that exists,
//!   `kind:` the same type of reply, `scan:` the cursor is the server's own.
//!
//! Rows never set a time to live that could pass within a run except by `expiring:`, after which the driver waits and
//! touches the keys: an expired key may or may not count in DBSIZE until then. Nothing here makes values of megabytes.

/// Strings.
pub const STRINGS: &[&str] = &[
    "40 SET $key $value",
    "30 SET $key $value [NX|XX] [GET] [EX $seconds|PX $ms|EXAT $until|PXAT $until_ms|KEEPTTL]",
    "4 SET $key $value (NX|XX|GET|KEEPTTL|EX|PX|$word|$ms) (NX|XX|GET|KEEPTTL|EX|PX|$word|$ms)",
    "30 GET $key",
    "8 SETNX $key $value",
    "6 SETEX $key $seconds $value",
    "6 PSETEX $key $ms $value",
    "8 GETSET $key $value",
    "8 GETDEL $key",
    "10 GETEX $key [EX $seconds|PX $ms|EXAT $until|PXAT $until_ms|PERSIST]",
    "2 GETEX $key (EX|PX|PERSIST|KEEPTTL|$word) (PERSIST|$ms)",
    "14 APPEND $key $value",
    "10 STRLEN $key",
    "14 GETRANGE $key $int $int",
    "10 GETRANGE $key $count $count",
    "4 SUBSTR $key $count $count",
    "12 SETRANGE $key $offset $value",
    "14 INCR $key",
    "10 DECR $key",
    "14 INCRBY $key $int",
    "10 DECRBY $key $int",
    "14 INCRBYFLOAT $key $float",
    "14 MSET {$key $value}",
    "14 MGET {$key}",
    "8 MSETNX {$key $value}",
    "8 SET $lcs $text",
    "6 LCS $lcs $lcs [LEN|IDX] [MINMATCHLEN $count] [WITHMATCHLEN]",
    "1 LCS $lcs $lcs $word",
];

/// Bits of strings.
pub const BITMAPS: &[&str] = &[
    "12 SETBIT $key $bit (0|1|1|$int)",
    "8 GETBIT $key (0|1|7|8|$int)",
    "12 BITCOUNT $key [$count $count [BIT|BYTE|$word]]",
    "6 BITCOUNT $key $int $int [BIT|BYTE]",
    "12 BITPOS $key (0|1) [$count [$count [BIT|BYTE|$word]]]",
    "6 BITPOS $key (0|1|$int) [$int [$int [BIT|BYTE]]]",
    "10 BITOP (AND|OR|XOR) $key {$key}",
    "4 BITOP NOT $key $key",
    "1 BITOP (NOT|$word) $key {$key}",
    "16 BITFIELD $key {(GET $field $bit|[OVERFLOW (WRAP|SAT|FAIL)] (SET|INCRBY) $field $bit $int)}",
    "2 BITFIELD $key (GET|SET|INCRBY|OVERFLOW|$word) (SAT|$field|$word) [$int [$int]]",
    "6 BITFIELD_RO $key {GET $field (0|1|7|8|$int)}",
    "1 BITFIELD_RO $key [OVERFLOW SAT|SET $field $bit $int]",
];

/// Lists.
pub const LISTS: &[&str] = &[
    "14 (LPUSH|RPUSH) $list {$element}",
    "14 (LPUSH|RPUSH) $list $element $element $element $element $element $element $element",
    "4 (LPUSH|RPUSH) $key $value",
    "4 (LPUSHX|RPUSHX) $list {$element}",
    "10 (LPOP|RPOP) $list [$small]",
    "2 (LPOP|RPOP) $list $int",
    "2 (LPOP|RPOP) $key",
    "4 LLEN $list",
    "8 LINDEX $list $small",
    "2 LINDEX $list $int",
    "8 LSET $list $small $element",
    "2 LSET $list $int $element",
    "10 LRANGE $list $small $small",
    "4 LRANGE $list $int $int",
    "5 LTRIM $list $small $small",
    "1 LTRIM $list $int $int",
    "6 LREM $list (0|1|2|-1|-2|$int) $element",
    "12 LINSERT $list (BEFORE|AFTER) $element $element",
    "1 LINSERT $list $word $element $element",
    "8 LPOS $list $element [RANK (1|2|3|-1|-2|$int)] [COUNT $small] [MAXLEN $small]",
    "2 LPOS $list $element (RANK|COUNT|MAXLEN|$word) $int [RANK $int]",
    "8 LMOVE $list $list (LEFT|RIGHT) (LEFT|RIGHT)",
    "1 LMOVE $list $key (LEFT|$word) (RIGHT|$word)",
    "6 RPOPLPUSH $list $list",
    "6 LMPOP (1 $list|2 $list $list|3 $list $list $list) (LEFT|RIGHT) [COUNT (1|2|5|$int)]",
    "1 LMPOP $int $list (LEFT|$word) [COUNT|$word]",
];

/// Commands on keys of any type.
pub const KEYS: &[&str] = &[
    "10 DEL {$key}",
    "6 UNLINK {$key}",
    "10 EXISTS {$key}",
    "6 TOUCH {$key}",
    "8 TYPE $key",
    "12 RENAME $key $key",
    "10 RENAMENX $key $key",
    "10 COPY $key $key [DB $db] [REPLACE]",
    "8 MOVE $key $db",
    "6 any-order: KEYS $pattern",
    "4 scan: SCAN 0 COUNT 10000 [MATCH $pattern] [TYPE (string|list|hash|$word)]",
    "2 SCAN $cursor [COUNT $int] [MATCH] [TYPE]",
    "4 member: RANDOMKEY",
    "8 DBSIZE",
    "8 SELECT $db",
    "2 SWAPDB $db $db",
    "1 FLUSHDB [ASYNC|SYNC|$word]",
    "8 OBJECT ENCODING $key",
    "2 kind: OBJECT REFCOUNT $key",
    "2 time: OBJECT IDLETIME $key",
    "2 OBJECT FREQ $key",
    "1 OBJECT $word $key",
];

/// Times to live.
pub const EXPIRY: &[&str] = &[
    "12 EXPIRE $key $seconds [NX|XX|GT|LT]",
    "12 PEXPIRE $key $ms [NX|XX|GT|LT]",
    "10 EXPIREAT $key $at [NX|XX|GT|LT]",
    "10 PEXPIREAT $key $at_ms [NX|XX|GT|LT]",
    "2 PEXPIREAT $key $at_ms (NX|XX|GT|LT|$word) (NX|XX|GT|LT)",
    "12 time: TTL $key",
    "12 time: PTTL $key",
    "8 time: EXPIRETIME $key",
    "8 time: PEXPIRETIME $key",
    "8 PERSIST $key",
    "1 expiring: PEXPIRE $key (1|2|5)",
    "1 expiring: SET $key $value PX (1|2|5)",
    "1 expiring: GETEX $key PX (1|2|5)",
    "1 expiring: SET $key $value (EXAT|PXAT) (1|1000|1600000000)",
    "1 expiring: GETEX $key (EXAT|PXAT) (1|1000|1600000000)",
];

/// The connection and the server.
pub const SERVER: &[&str] = &[
    "4 PING [$value]",
    "4 ECHO $value",
    "3 CLIENT SETNAME (a|b|$value)",
    "3 CLIENT GETNAME",
    "2 CLIENT $word [$key]",
    "2 COMMAND GETKEYS (SET $key $value|MSET {$key $value}|MGET {$key}|RENAME $key $key|COPY $key $key DB 1|$word $key)",
    "2 COMMAND GETKEYSANDFLAGS (SET $key $value|DEL {$key}|RENAME $key $key|$word $key)",
    "1 kind: COMMAND (COUNT|LIST|DOCS) $word $word",
    "1 CONFIG GET $word",
    "1 CONFIG SET $word $value",
    "1 CONFIG $word",
    "1 TIME $word",
    "1 ROLE",
    "1 kind: SLOWLOG $word",
    "1 kind: SLOWLOG GET $word",
    "1 LATENCY $word",
    "1 MEMORY $word",
    "1 MEMORY USAGE (none|missing)",
    "2 $word {$key}",
    "1 AUTH $word",
    "1 SELECT $word",
    "1 HELLO $word",
];

/// Every table.
pub const TABLES: &[&[&str]] = &[STRINGS, BITMAPS, LISTS, KEYS, EXPIRY, SERVER];

/// How to read a value whole, by its type: the command, its arguments after the key, and whether order counts.
pub const VALUES: &[(&str, &str, &[&str], bool)] =
    &[("string", "GET", &[], true), ("list", "LRANGE", &["0", "-1"], true)];
