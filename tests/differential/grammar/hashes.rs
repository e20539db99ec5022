//! Commands on hashes.

use super::Family;
use crate::compare::Mode;

/// The family.
pub const FAMILY: Family = Family {
    name: "hashes",
    rows: &[
        "30 HSET $key {$field $value}",
        "6 HSET $key {$field $int}",
        "6 HSET $key {$field $float}",
        "4 HMSET $key {$field $value}",
        "8 HSETNX $key $field $value",
        "14 HGET $key $field",
        "8 HMGET $key {$field}",
        "12 any-order: HGETALL $key",
        "6 any-order: HKEYS $key",
        "6 any-order: HVALS $key",
        "14 HDEL $key {$field}",
        "6 HEXISTS $key $field",
        "8 HLEN $key",
        "6 HSTRLEN $key $field",
        "14 HINCRBY $key $field $int",
        "14 HINCRBYFLOAT $key $field $float",
        "3 kind: HRANDFIELD $key",
        "3 kind: HRANDFIELD $key $fewer [WITHVALUES]",
        "3 kind: HRANDFIELD $key 10000 [WITHVALUES]",
        "2 HRANDFIELD $missing $int [WITHVALUES|$word]",
        "6 scan: HSCAN $key 0 COUNT 10000 [MATCH $pattern]",
        "2 kind: HSCAN $key $cursor [COUNT $fewer] [MATCH]",
        "2 HSCAN $missing 0 [COUNT $int|MATCH $word|$word]",
        "4 OBJECT ENCODING $key",
    ],
    things: &[
        (
            "field",
            &[
                b"f",
                b"g",
                b"h",
                b"i",
                b"1",
                b"2",
                b"-1",
                b"9223372036854775807",
                b"9223372036854775808",
                b"007",
                b"",
                b"\x00\xff",
                b"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                b"fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            ],
        ),
        ("fewer", &[b"0", b"1", b"2", b"5", b"-1", b"-3", b"abc", b"-9223372036854775808", b"5000000000000000000"]),
    ],
    values: &[("hash", "HGETALL KEY", Mode::AnyOrder)],
    givens: &[
        "HSET KEY f 1 g abc h 1.5",
        "HSET KEY f 9223372036854775807 g -9223372036854775808 1 2",
        "HSET KEY f xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx g 10",
    ],
};
