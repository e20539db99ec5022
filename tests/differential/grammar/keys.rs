//! Commands on keys of any type.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "keys",
    rows: &[
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
        "2 kind: SCAN $cursor [COUNT $int] [MATCH] [TYPE]",
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
    ],
    things: &[],
    values: &[],
    givens: &["SETEX KEY 100000 abc"],
};
