//! Limits beyond which values take another encoding, changed while values of both encodings are there.

use super::Family;

/// The family. Alone it changes nothing that shows: the others do, beside it.
pub const FAMILY: Family = Family {
    name: "encodings",
    rows: &[
        "2 CONFIG SET (hash-max-listpack-entries|hash-max-ziplist-entries) $entries",
        "2 CONFIG SET (hash-max-listpack-value|hash-max-ziplist-value) $longest",
        "2 CONFIG SET (zset-max-listpack-entries|zset-max-ziplist-entries) $entries",
        "2 CONFIG SET (zset-max-listpack-value|zset-max-ziplist-value) $longest",
        "2 CONFIG SET set-max-intset-entries $entries",
        "3 CONFIG SET (list-max-listpack-size|list-max-ziplist-size) $node",
        "2 CONFIG SET stream-node-max-entries $entries",
        "2 CONFIG SET stream-node-max-bytes $nodebytes",
        "2 CONFIG SET hll-sparse-max-bytes $sparse",
        "1 any-order: CONFIG GET (hash-max-listpack-entries|zset-max-ziplist-value|list-max-listpack-size|hll-sparse-max-bytes)",
    ],
    things: &[
        ("entries", &[b"0", b"1", b"2", b"3", b"8", b"128", b"512", b"-1", b""]),
        ("longest", &[b"0", b"1", b"4", b"64", b"65", b"100", b"-1"]),
        ("node", &[b"-1", b"-2", b"-5", b"-6", b"0", b"1", b"2", b"3", b"5", b"128"]),
        ("nodebytes", &[b"0", b"1", b"30", b"100", b"4096", b"1kb", b"-1"]),
        ("sparse", &[b"0", b"10", b"30", b"100", b"3000", b"-1"]),
    ],
    values: &[],
    givens: &[],
};
