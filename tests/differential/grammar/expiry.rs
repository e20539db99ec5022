//! Times to live.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "expiry",
    rows: &[
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
    ],
    things: &[],
    values: &[],
    givens: &["PSETEX KEY 100000000 abc", "SET KEY abc PXAT 9223372036854775807"],
};
