//! Commands on lists.

use super::Family;
use crate::compare::Mode;

/// The family.
pub const FAMILY: Family = Family {
    name: "lists",
    rows: &[
        "14 (LPUSH|RPUSH) $list {$element}",
        "14 (LPUSH|RPUSH) $list $element $element $element $element $element $element $element",
        "6 (LPUSH|RPUSH) $list $value $value",
        "4 (LPUSH|RPUSH) $key $value",
        "4 (LPUSHX|RPUSHX) $list {$element}",
        "1 (LPUSHX|RPUSHX) $key {$element}",
        "10 (LPOP|RPOP) $list [$count]",
        "2 (LPOP|RPOP) $list $int",
        "2 (LPOP|RPOP) $key",
        "4 LLEN $list",
        "1 LLEN $key",
        "8 LINDEX $list $count",
        "2 LINDEX $key $int",
        "8 LSET $list $count $element",
        "2 LSET $list $int $value",
        "1 LSET $key $int $value",
        "10 LRANGE $list $count $count",
        "4 LRANGE $list $int $int",
        "1 LRANGE $key $int $int",
        "5 LTRIM $list $count $count",
        "1 LTRIM $key $int $int",
        "6 LREM $list (0|1|2|-1|-2|$int) $element",
        "1 LREM $key $int $element",
        "12 LINSERT $list (BEFORE|AFTER) $element $element",
        "2 LINSERT $list (BEFORE|AFTER) $element $value",
        "1 LINSERT $key (AFTER|$word) $element $element",
        "8 LPOS $list $element [RANK (1|2|3|-1|-2|$int)] [COUNT $count] [MAXLEN $count]",
        "2 LPOS $list $element (RANK|COUNT|MAXLEN|$word) $int [RANK $int]",
        "1 LPOS $key $element COUNT $int MAXLEN $int",
        "8 LMOVE $list $list (LEFT|RIGHT) (LEFT|RIGHT)",
        "1 LMOVE $list $key (LEFT|$word) (RIGHT|$word)",
        "1 LMOVE $key $list LEFT RIGHT",
        "6 RPOPLPUSH $list $list",
        "1 RPOPLPUSH $key $list",
        "6 LMPOP (1 $list|2 $list $list|3 $list $list $list) (LEFT|RIGHT) [COUNT (1|2|5|$int)]",
        "1 LMPOP $int $key (LEFT|$word) [COUNT|$word]",
        "1 COMMAND GETKEYS (LMPOP (1|2) $key $key LEFT|LMOVE $key $key LEFT LEFT|LPUSH $key $value)",
    ],
    things: &[
        ("list", &[b"list:a", b"list:b", b"list:c", b"{t}list"]),
        // Few, so that they are found again.
        ("element", &[b"0", b"1", b"2", b"-1", b"300", b"a", b"b", b"c", b""]),
    ],
    values: &[("list", "LRANGE KEY 0 -1", Mode::Exact)],
    givens: &["RPUSH KEY a", "RPUSH KEY 0 1 2 a b c 0 1 2 a b c", "RPUSH KEY 9223372036854775807 -129 070 1.0"],
};
