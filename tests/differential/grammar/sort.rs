//! `SORT`, of lists: the order of equal elements, and of sets without an order, is nobody's promise.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "sort",
    rows: &[
        "6 RPUSH $sorted {$number}",
        "2 RPUSH $sorted $value",
        "6 SET (w_1|w_2|w_3|w_5|v_1|v_2|w_a) $value",
        "2 HSET (h_1|h_2|h_3) (f|g) $number",
        "1 DEL (w_1|w_2|h_1|v_1|$sorted)",
        "10 SORT $sorted [ALPHA] [LIMIT $count $count] [ASC|DESC]",
        "4 SORT $sorted BY (w_*|h_*->f|nosort) [DESC]",
        "4 SORT $sorted [GET (v_*|#|h_*->g|w_*->f|x)] [GET (#|w_*)]",
        "4 SORT $sorted BY (w_*|nosort) GET # GET v_* [DESC] [STORE $sorted]",
        "4 SORT $sorted [ALPHA] STORE $sorted",
        "2 SORT_RO $sorted [ALPHA] [LIMIT $int $int] [GET #]",
        "2 kind: SORT $key [ALPHA|DESC|$word]",
        "1 SORT $sorted (BY|GET|STORE|LIMIT|$word) $word",
    ],
    things: &[
        ("sorted", &[b"sorted:a", b"sorted:b", b"{t}sorted"]),
        ("number", &[b"1", b"2", b"3", b"5", b"-7", b"10", b"1.5", b"1e1"]),
    ],
    values: &[],
    givens: &["RPUSH KEY 3 1 2", "RPUSH KEY b a c", "RPUSH KEY 1 a 2"],
};
