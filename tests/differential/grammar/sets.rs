//! Commands on sets.

use super::Family;
use crate::compare::Mode;

/// The family.
pub const FAMILY: Family = Family {
    name: "sets",
    rows: &[
        "30 SADD $key {$member}",
        "6 SADD $key {$int}",
        "14 SREM $key {$member}",
        "10 any-order: SMEMBERS $key",
        "8 SISMEMBER $key $member",
        "6 SMISMEMBER $key {$member}",
        "8 SCARD $key",
        "2 SPOP $missing [$few]",
        "3 kind: SRANDMEMBER $key",
        "3 kind: SRANDMEMBER $key $few",
        "3 kind: SRANDMEMBER $key $all",
        "2 kind: SRANDMEMBER $key $none",
        "1 kind: SRANDMEMBER $key $none $word",
        "10 SMOVE $key $key $member",
        "10 any-order: SINTER {$key}",
        "8 SINTERSTORE $key {$key}",
        "6 SINTERCARD $numkeys {$key} [LIMIT $few]",
        "4 SINTERCARD 2 $key $key [LIMIT $int]",
        "1 SINTERCARD $int $key $key [LIMIT|$word $few]",
        "8 any-order: SUNION {$key}",
        "8 SUNIONSTORE $key {$key}",
        "8 any-order: SDIFF {$key}",
        "8 SDIFFSTORE $key {$key}",
        "6 scan: SSCAN $key 0 COUNT 10000 [MATCH $pattern]",
        "2 kind: SSCAN $key $cursor [COUNT $few] [MATCH]",
        "2 SSCAN $missing 0 [COUNT $int|MATCH $word|$word]",
        "4 OBJECT ENCODING $key",
    ],
    things: &[
        (
            "member",
            &[
                b"1",
                b"2",
                b"3",
                b"-1",
                b"100",
                b"32767",
                b"32768",
                b"-32769",
                b"2147483648",
                b"9223372036854775807",
                b"-9223372036854775808",
                b"9223372036854775808",
                b"007",
                b"-0",
                b"a",
                b"b",
                b"c",
                b"d",
                b"",
                b"\x00\xff",
                b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ],
        ),
        // What comes out is not chance: nothing, or all there is.
        ("all", &[b"100000", b"2147483648", b"9223372036854775807"]),
        ("none", &[b"0", b"-9223372036854775808", b"9223372036854775808", b"abc", b"", b"1.0"]),
        // No reply of gigabytes.
        ("few", &[b"0", b"1", b"2", b"5", b"30", b"-1", b"-3", b"abc", b"-9223372036854775808"]),
        ("numkeys", &[b"1", b"1", b"2", b"2", b"3", b"4"]),
        // SPOP leaves what chance has left: only where there is nothing do two servers agree afterwards.
        ("missing", &[b"missing:a"]),
    ],
    values: &[("set", "SMEMBERS KEY", Mode::AnyOrder)],
    givens: &[
        "SADD KEY 1 2 3",
        "SADD KEY 32767 -40000 5000000000",
        "SADD KEY a b c",
        "SADD KEY 1 a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ],
};
