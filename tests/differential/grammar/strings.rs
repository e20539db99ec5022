//! Commands on strings.

use super::Family;
use crate::compare::Mode;

/// The family.
pub const FAMILY: Family = Family {
    name: "strings",
    rows: &[
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
    ],
    things: &[
        // Keys that nothing lengthens: LCS needs memory of the product of both lengths.
        ("lcs", &[b"lcs:a", b"lcs:b", b"{t}lcs"]),
    ],
    values: &[("string", "GET KEY", Mode::Exact)],
    givens: &[
        "SET KEY 10",
        "SET KEY 9223372036854775807",
        "SET KEY -9223372036854775808",
        "SET KEY 3.0e3",
        "SET KEY inf",
        "SETEX KEY 100000 abc",
    ],
};
