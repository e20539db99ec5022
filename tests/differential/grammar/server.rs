//! The connection and the server.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "server",
    rows: &[
        "4 PING [$value]",
        "4 ECHO $value",
        "3 CLIENT SETNAME (a|b|$value)",
        "3 CLIENT GETNAME",
        "2 CLIENT $word [$key]",
        "2 COMMAND GETKEYS (SET $key $value|MSET {$key $value}|MGET {$key}|RENAME $key $key|COPY $key $key DB 1|$word $key)",
        "2 COMMAND GETKEYSANDFLAGS (SET $key $value|DEL {$key}|RENAME $key $key|$word $key)",
        "1 kind: COMMAND (COUNT|LIST|DOCS) $word $word",
        "1 any-order: CONFIG GET $word",
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
    ],
    things: &[],
    values: &[],
    givens: &[],
};
